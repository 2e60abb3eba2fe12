//! Which arguments of which tools a modern server wants mirrored into headers.

use std::collections::HashMap;

use bytes::Bytes;
use doorward_mcp::ServerMessage as Message;
use doorward_mcp::param_headers::{ParameterHeaders, may_annotate, tools};
use http::{HeaderName, HeaderValue};

use crate::reading;

/// Most tools that are remembered.
const TOOLS: usize = 10_000;
/// Most bytes that what they ask for may take.
const SIZE: usize = 4 << 20;

/// What `tools/list` answers said.
#[derive(Debug, Default)]
pub(crate) struct Learner {
    tools: HashMap<Box<str>, Option<ParameterHeaders>>,
    size: usize,
    /// A list was seen to its end: tools that are not known are none.
    complete: bool,
}

/// What became of a list.
#[derive(Debug)]
pub(crate) struct Learnt {
    /// The list without the tools that ask for headers in a way that is forbidden; `None` if there are none.
    pub(crate) without_invalid: Option<Bytes>,
    /// Where it goes on.
    pub(crate) next: Option<String>,
}

impl Learner {
    /// Takes a page of a list in.
    pub(crate) fn learn(&mut self, answer: &Message) -> Learnt {
        let next = reading::next_cursor(answer);
        let mut invalid = Vec::new();
        // A list without annotations needs no second look; its tools ask for nothing.
        let listed = tools(answer.line()).unwrap_or_default();
        for tool in listed {
            if tool.invalid {
                tracing::warn!(
                    tool = %tool.name.escape_debug(),
                    "a tool is left out: the `x-mcp-header` annotations of its schema break the specification (2026-07-28, Custom Headers from Tool Parameters)"
                );
                invalid.push(tool.name.clone());
            }
            self.remember(tool.name, tool.headers);
        }
        if next.is_none() && !answer.is_error() {
            self.complete = true;
        }
        let is_valid = |name: &str| !invalid.iter().any(|tool| **tool == *name);
        let without_invalid = if invalid.is_empty() || !may_annotate(answer.line()) {
            None
        } else {
            reading::retain_tools(answer, is_valid).ok().flatten()
        };
        Learnt {
            without_invalid,
            next,
        }
    }

    fn remember(&mut self, name: Box<str>, headers: Option<ParameterHeaders>) {
        let size = name.len() + 64 + headers.as_ref().map_or(0, ParameterHeaders::size);
        if self.tools.len() >= TOOLS || self.size + size > SIZE {
            // Calls of tools that were forgotten are looked up again.
            *self = Self::default();
        }
        self.size += size;
        self.tools.insert(name, headers);
    }

    /// Whether a call of this tool can be sent, or the list is to be asked for first.
    pub(crate) fn knows(&self, tool: &str) -> bool {
        self.complete || self.tools.contains_key(tool)
    }

    /// What was learnt may be wrong: it is looked up again.
    pub(crate) fn doubt(&mut self) {
        self.complete = false;
    }

    /// The headers of a call.
    pub(crate) fn headers(&self, tool: &str, body: &Bytes) -> Vec<(HeaderName, HeaderValue)> {
        let asked = self.tools.get(tool).and_then(Option::as_ref);
        asked.map(|headers| headers.write(body)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Message {
        Message::read(text.to_owned().into()).unwrap()
    }

    #[test]
    fn invalid_tools_disappear_and_the_others_are_mirrored() {
        let mut learner = Learner::default();
        let first = learner.learn(&page(
            r#"{"jsonrpc":"2.0","id":1,"result":{"nextCursor":"2","tools":[
            {"name":"good","inputSchema":{"type":"object","properties":{"r":{"type":"string","x-mcp-header":"Region"}}}},
            {"name":"bad","inputSchema":{"properties":{"r":{"type":"array","x-mcp-header":"R"}}}}]}}"#,
        ));
        assert_eq!(first.next.as_deref(), Some("2"));
        let kept = String::from_utf8(first.without_invalid.unwrap().to_vec()).unwrap();
        assert!(
            kept.contains(r#""name":"good""#) && !kept.contains("bad"),
            "{kept}"
        );
        assert!(learner.knows("good") && !learner.knows("other"));
        let last = learner.learn(&page(
            r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"plain"}]}}"#,
        ));
        assert!(last.without_invalid.is_none() && last.next.is_none());
        assert!(learner.knows("other"));
        let call = Bytes::from_static(br#"{"params":{"name":"good","arguments":{"r":"eu"}}}"#);
        let headers = learner.headers("good", &call);
        assert_eq!(
            headers,
            [(
                HeaderName::from_static("mcp-param-region"),
                HeaderValue::from_static("eu")
            )]
        );
        assert!(learner.headers("plain", &call).is_empty());
        learner.doubt();
        assert!(learner.knows("good") && !learner.knows("other"));
    }

    #[test]
    fn a_server_cannot_fill_the_memory_with_tools() {
        let mut learner = Learner::default();
        for page_number in 0..300 {
            let tools: Vec<String> = (0..100)
                .map(|number| format!(r#"{{"name":"{page_number}-{number}-{}"}}"#, "x".repeat(1000)))
                .collect();
            learner.learn(&page(&format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"nextCursor":"n","tools":[{}]}}}}"#,
                tools.join(",")
            )));
            assert!(learner.tools.len() <= TOOLS && learner.size <= SIZE);
        }
    }
}
