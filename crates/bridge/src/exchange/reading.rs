//! Messages out of bodies, bounded (CL-15).

use std::fmt;

use bytes::{Bytes, BytesMut};
use doorward_mcp::ServerMessage as Message;
use doorward_mcp::message::MessageError;
use doorward_mcp::on_one_line;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::failed;
use crate::event::Outcome;
use crate::http::Body;
use crate::memory::{Memory, Share};

/// Most messages of a batch.
const LONGEST_BATCH: usize = 1024;

/// Reads a whole body of JSON.
pub(super) async fn read_json(
    body: &mut dyn Body,
    limit: usize,
    memory: &Memory,
) -> Result<(Bytes, Share), Outcome> {
    let mut share = memory.share();
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|words| broken(&words))?;
        if whole.len() + piece.len() > limit {
            return Err(too_long(limit));
        }
        share.grow(piece.len()).map_err(|_| too_much())?;
        whole.extend_from_slice(&piece);
    }
    Ok((whole.freeze(), share))
}

/// The messages of a text: one, or those of a batch (which servers of 2025-03-26 may send), each on one line.
pub(super) fn messages(text: &Bytes) -> Result<Vec<Message>, MessageError> {
    match Message::read(text.clone()) {
        Ok(message) => Ok(vec![flat(message)]),
        Err(error @ MessageError::NotAnObject) => {
            let Batch(batch) = serde_json::from_slice(text).map_err(|_| error)?;
            let each = |raw: &&RawValue| {
                let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
                Message::read(text.slice(start..start + raw.get().len())).map(flat)
            };
            batch.iter().map(each).collect()
        }
        Err(error) => Err(error),
    }
}

/// The items of a batch, if they are not too many: each takes more memory than the two bytes that it may be long (CL-15).
struct Batch<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Batch<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Batch<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {LONGEST_BATCH} messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut batch = Vec::new();
                while let Some(item) = items.next_element()? {
                    if batch.len() == LONGEST_BATCH {
                        return Err(serde::de::Error::invalid_length(batch.len(), &self));
                    }
                    batch.push(item);
                }
                Ok(Batch(batch))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

fn flat(message: Message) -> Message {
    let line = on_one_line(message.line());
    if line.len() == message.line().len() && line.as_ptr() == message.line().as_ptr() {
        return message;
    }
    Message::read(line).unwrap_or(message)
}

pub(super) fn broken(words: &str) -> Outcome {
    failed(
        502,
        format!(
            "the connection broke within the server's answer: {words}. The request is not sent again, since the server may have acted on it"
        ),
    )
}

pub(super) fn too_long(limit: usize) -> Outcome {
    failed(
        502,
        format!("the server's answer is longer than {limit} bytes: it is not read (--max-message)"),
    )
}

pub(super) fn too_much() -> Outcome {
    failed(
        503,
        "the server's answers take too much memory together: try again when fewer are under way",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cl_15_whatever_a_server_writes_becomes_one_line_or_none() {
        let lines = |text: &'static [u8]| {
            let messages = messages(&Bytes::from_static(text))?;
            Ok::<_, MessageError>(
                messages
                    .iter()
                    .map(|message| String::from_utf8(message.line().to_vec()).unwrap())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            lines(b"{\n\"jsonrpc\": \"2.0\",\r\n \"id\": 1,\n\"result\": {\"t\":\"a\\nb \xe2\x80\xa8 \\u001b[31m\"}\n}").unwrap(),
            ["{ \"jsonrpc\": \"2.0\",   \"id\": 1, \"result\": {\"t\":\"a\\nb \\u2028 \\u001b[31m\"} }"]
        );
        assert_eq!(
            lines(
                b"[{\"jsonrpc\":\"2.0\",\"id\":1,\n\"result\":{}} , {\"jsonrpc\":\"2.0\",\"method\":\"x\"}]"
            )
            .unwrap(),
            [
                "{\"jsonrpc\":\"2.0\",\"id\":1, \"result\":{}}",
                "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}"
            ]
        );
        let batch = |length: usize| {
            let one = "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}";
            messages(&format!("[{}]", vec![one; length].join(",")).into())
        };
        assert_eq!(batch(LONGEST_BATCH).unwrap().len(), LONGEST_BATCH);
        assert!(batch(LONGEST_BATCH + 1).is_err());
        for bad in [
            &b"\x1b[31mhello"[..],
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"t\":\"\x1b[31m\"}}",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"t\":\"a\nb\"}}",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"t\":\"\xff\"}}",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}",
            b"",
            b"[1]",
        ] {
            assert!(lines(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
