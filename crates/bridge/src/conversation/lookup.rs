//! Asking a modern server for its tools before one is called whose schema nobody has seen.

use std::sync::Arc;

use bytes::Bytes;
use doorward_mcp::ServerMessage as Message;
use doorward_mcp::message::identity;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::{Conversation, Purpose};
use crate::memory::Share;
use crate::reading;

/// Most pages that are asked for.
const PAGES: u8 = 32;

/// One look-up.
pub(super) struct Lookup {
    meta: Value,
    pages: u8,
    waiting: Vec<Waiting>,
}

struct Waiting {
    call: Arc<Message>,
    refused: Option<HeaderMismatch>,
}

/// A call that the server refused because of its headers: "the client SHOULD call `tools/list` to check for changes to the
/// tool's `inputSchema`, then retry the original request".
pub(super) struct HeaderMismatch {
    /// With which it went.
    pub(super) parameters: Vec<(HeaderName, HeaderValue)>,
    /// What the host is told if they turn out to be right.
    pub(super) answer: Bytes,
}

impl Lookup {
    /// The calls that wait for it.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.waiting.iter().map(|waiting| &waiting.call)
    }

    /// A call that waits was cancelled.
    pub(super) fn forget(&mut self, id: &str) {
        let wanted = identity(id);
        self.waiting
            .retain(|waiting| waiting.call.id().map(identity) != Some(wanted.clone()));
    }
}

impl Conversation {
    pub(super) fn look_up(&mut self, call: Arc<Message>, refused: Option<HeaderMismatch>) {
        let waiting = Waiting { call, refused };
        if let Some(lookup) = &mut self.lookup {
            return lookup.waiting.push(waiting);
        }
        self.lookup = Some(Lookup {
            meta: reading::lent_meta(&waiting.call),
            pages: 0,
            waiting: vec![waiting],
        });
        self.ask_for_page(None);
    }

    fn ask_for_page(&mut self, cursor: Option<&str>) {
        let id = self.own_id();
        let Some(lookup) = &mut self.lookup else {
            return;
        };
        lookup.pages += 1;
        let body = reading::tools_list(&id, &lookup.meta, cursor);
        match Message::read(body) {
            Ok(message) => {
                self.post(Arc::new(message), Purpose::Lookup, false);
            }
            Err(_) => self.looked_up(),
        }
    }

    /// A page came.
    pub(super) fn page(&mut self, answer: &Message) {
        let learnt = self.learner.learn(answer);
        let more = self.lookup.as_ref().is_some_and(|lookup| lookup.pages < PAGES);
        match learnt.next.filter(|_| more) {
            Some(cursor) => self.ask_for_page(Some(&cursor)),
            None => self.looked_up(),
        }
    }

    /// There is no more to learn: calls go with what is known.
    pub(super) fn looked_up(&mut self) {
        let waiting = self.lookup.take().map(|lookup| lookup.waiting);
        for Waiting { call, refused } in waiting.into_iter().flatten() {
            let Some(refused) = refused else {
                self.send(call, Purpose::Passed, false);
                continue;
            };
            let tool = reading::Params::of(&call).name.unwrap_or_default();
            if self.learner.headers(&tool, call.line()) == refused.parameters {
                // The server means another header: the host is told.
                self.hear_line(refused.answer, Some(&call), Share::default());
            } else {
                self.send(call, Purpose::Passed, true);
            }
        }
    }
}
