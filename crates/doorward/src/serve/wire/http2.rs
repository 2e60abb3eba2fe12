//! HTTP/2 frames, counted by what they cost us and do not cost the peer (DS-06).
//!
//! The HTTP library bounds what one kind of frame can pile up. What it does not bound is a peer that goes on
//! for ever with frames that carry nothing: PING, SETTINGS, PRIORITY, RST_STREAM, empty DATA, empty
//! CONTINUATION, unknown types. Such a peer pays for them out of a budget that fills up slowly.

use std::io;

use tokio::time::Instant;

use super::Seen;

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Price of a frame that carries nothing. Two thousand of them at once, then two hundred a second.
const OVERHEAD: u64 = 100;
/// Price of a DATA frame so small that it costs more than it carries.
const CRUMB: u64 = 10;
/// Price of a WINDOW_UPDATE: a client that reads fast sends thousands a second.
const WINDOW: u64 = 1;
const BUDGET: u64 = 200_000;
const REFILL_PER_SECOND: u64 = 20_000;
/// DATA below this many bytes is a crumb.
const SMALL: u32 = 64;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
/// Padding, and the byte that tells its length.
const MOST_PADDING: u32 = 256;

/// Reads the frames of one connection after its preface.
#[derive(Debug)]
pub(super) struct Frames {
    /// The part of a frame's header that came so far.
    head: [u8; 9],
    filled: usize,
    /// Bytes of the payload that have not come.
    payload: u32,
    in_block: bool,
    complete: u64,
    budget: u64,
    filled_up: Instant,
}

impl Frames {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            head: [0; 9],
            filled: 0,
            payload: 0,
            in_block: false,
            complete: 0,
            budget: BUDGET,
            filled_up: now,
        }
    }

    /// The frame or header block that has begun and not ended, by number.
    pub(super) const fn unfinished(&self) -> Option<u64> {
        if self.filled > 0 || self.payload > 0 || self.in_block {
            Some(self.complete)
        } else {
            None
        }
    }

    /// An error once the peer has used up its budget.
    pub(super) fn read(&mut self, mut bytes: &[u8], seen: &Seen) -> io::Result<()> {
        let mut price = 0;
        while !bytes.is_empty() {
            if self.payload > 0 {
                let now = usize::try_from(self.payload)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.payload = self
                    .payload
                    .saturating_sub(u32::try_from(now).unwrap_or(u32::MAX));
                bytes = bytes.get(now..).unwrap_or_default();
                self.count();
                continue;
            }
            let now = (self.head.len() - self.filled).min(bytes.len());
            let (more, rest) = bytes.split_at(now);
            if let Some(room) = self.head.get_mut(self.filled..self.filled + now) {
                room.copy_from_slice(more);
            }
            self.filled += now;
            bytes = rest;
            if self.filled == self.head.len() {
                price += self.begin(seen);
                self.count();
            }
        }
        self.pay(price)
    }

    /// A frame's header is there; what the frame costs.
    fn begin(&mut self, seen: &Seen) -> u64 {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.filled = 0;
        self.payload = length;
        match kind {
            HEADERS => {
                seen.began();
                self.in_block = flags & END_HEADERS == 0;
                0
            }
            CONTINUATION => {
                self.in_block = flags & END_HEADERS == 0;
                OVERHEAD
            }
            // It ends a request, and there is one of it for each.
            DATA if flags & END_STREAM != 0 => 0,
            DATA => {
                let carried = length.saturating_sub(if flags & PADDED == 0 { 0 } else { MOST_PADDING });
                match carried {
                    0 => OVERHEAD,
                    1..SMALL => CRUMB,
                    _ => 0,
                }
            }
            WINDOW_UPDATE => WINDOW,
            _ => OVERHEAD,
        }
    }

    const fn count(&mut self) {
        if self.payload == 0 && !self.in_block {
            self.complete += 1;
        }
    }

    fn pay(&mut self, price: u64) -> io::Result<()> {
        if price == 0 {
            return Ok(());
        }
        if price > self.budget {
            let now = Instant::now();
            let waited = u64::try_from(now.duration_since(self.filled_up).as_millis()).unwrap_or(u64::MAX);
            self.budget = self
                .budget
                .saturating_add(waited.saturating_mul(REFILL_PER_SECOND) / 1000)
                .min(BUDGET);
            self.filled_up = now;
        }
        self.budget = self
            .budget
            .checked_sub(price)
            .ok_or_else(|| io::Error::other("the peer sends nothing but overhead"))?;
        Ok(())
    }
}
