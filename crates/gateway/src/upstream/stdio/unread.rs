//! What a legacy server sent while no client listened.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// Less than fits into the stream that takes it (`outbox`).
const MESSAGES: usize = 64;
const BYTES: usize = 512 << 10;

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) line: Bytes,
    /// Set for a request: its identity.
    pub(super) asked: Option<String>,
    id: Box<str>,
    since: Instant,
}

impl Kept {
    /// Of a request: its identity, and its id as JSON text.
    pub(super) fn request(&self) -> Option<(&str, &str)> {
        Some((self.asked.as_deref()?, &self.id))
    }
}

#[derive(Debug, Default)]
pub(super) struct Unread {
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Unread {
    /// Keeps a message; gives back what has to give way, oldest first, if need be the message itself.
    pub(super) fn push(
        &mut self,
        line: Bytes,
        asked: Option<(String, Box<str>)>,
        since: Instant,
    ) -> Vec<Kept> {
        let (asked, id) = asked.map_or_else(Default::default, |(asked, id)| (Some(asked), id));
        self.bytes += line.len();
        self.kept.push_back(Kept {
            line,
            asked,
            id,
            since,
        });
        let mut dropped = Vec::new();
        while self.kept.len() > MESSAGES || self.bytes > BYTES {
            let Some(kept) = self.kept.pop_front() else { break };
            self.bytes -= kept.line.len();
            dropped.push(kept);
        }
        dropped
    }

    pub(super) fn take(&mut self) -> VecDeque<Kept> {
        self.bytes = 0;
        std::mem::take(&mut self.kept)
    }

    /// Takes a request out; whether it was there.
    pub(super) fn remove(&mut self, asked: &str) -> bool {
        !self
            .remove_if(|kept| kept.asked.as_deref() == Some(asked))
            .is_empty()
    }

    /// Takes out the requests that have waited for `limit`.
    pub(super) fn expired(&mut self, now: Instant, limit: Duration) -> Vec<Kept> {
        self.remove_if(|kept| kept.asked.is_some() && now.duration_since(kept.since) >= limit)
    }

    fn remove_if(&mut self, matches: impl Fn(&Kept) -> bool) -> Vec<Kept> {
        if !self.kept.iter().any(&matches) {
            return Vec::new();
        }
        let (removed, kept): (Vec<_>, Vec<_>) = self.kept.drain(..).partition(matches);
        self.kept = kept.into();
        self.bytes = self.kept.iter().map(|kept| kept.line.len()).sum();
        removed
    }
}
