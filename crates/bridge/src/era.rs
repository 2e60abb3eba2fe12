//! Between the eras: a host that opens with `initialize` in front of a server of 2026-07-28, and the other way round.
//!
//! Two state machines without input, output or clock. Messages keep the bytes of everything that they do not translate.
//! Whatever has no counterpart is refused in words; nothing that waits for an answer is dropped.

mod capabilities;
mod legacy_host;
mod message;
mod modern_host;
mod refusal;
mod translate;

use bytes::Bytes;
use serde_json::value::RawValue;

pub use self::legacy_host::LegacyHost;
pub use self::modern_host::ModernHost;
use crate::adapter::{Adapter, Message};
use doorward_mcp::members::Members;

/// Most messages that wait until a server has opened.
const BACKLOG: usize = 256;
/// Most bytes of them.
const BACKLOG_BYTES: usize = 8 << 20;

/// What the adapters cannot know by themselves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a server is called that does not say its name, such as its host name.
    pub server_name: String,
    /// What a host is called that does not say its name.
    pub client_name: String,
    /// The version that goes with it.
    pub client_version: String,
    /// Told in every `requestState`: those of another process are recognised as foreign.
    pub nonce: String,
}

/// The adapter for a host that opens with `initialize` and a server of 2026-07-28.
#[must_use]
pub fn legacy_host(settings: Settings) -> Box<dyn Adapter> {
    Box::new(LegacyHost::new(settings))
}

/// The adapter for a host of 2026-07-28 and a server that wants an `initialize`.
#[must_use]
pub fn modern_host(settings: Settings) -> Box<dyn Adapter> {
    Box::new(ModernHost::new(settings))
}

/// Whether the value is an `Implementation` with the members that both eras require.
fn implementation(info: &RawValue) -> bool {
    let info = Members::read(info);
    info.is_some_and(|info| info.text("name").is_some() && info.text("version").is_some())
}

/// What the host wrote before the server was ready.
#[derive(Default)]
struct Backlog {
    lines: Vec<Bytes>,
    bytes: usize,
}

impl Backlog {
    /// Keeps a message. `false` if there are too many.
    fn push(&mut self, message: &Message) -> bool {
        let line = message.line();
        if self.lines.len() >= BACKLOG || self.bytes + line.len() > BACKLOG_BYTES {
            return false;
        }
        self.bytes += line.len();
        self.lines.push(line.clone());
        true
    }

    /// In their order.
    fn into_messages(self) -> Vec<Message> {
        let messages = self.lines.into_iter().map(Message::read);
        messages.filter_map(Result::ok).collect()
    }
}

#[cfg(test)]
mod tests;
