//! Both adapters, message by message. Everything that they write is held against the specification's schemas.

#![expect(
    clippy::needless_pass_by_value,
    reason = "tables of values read better without references"
)]

mod legacy_host;
mod modern_host;
mod random;
mod schema;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use self::schema::Schema;
use super::Settings;
use crate::adapter::{Adapter, Message, Step};

fn settings() -> Settings {
    Settings {
        server_name: "mcp.example.com".into(),
        client_name: "doorward".into(),
        client_version: "1.2.3".into(),
        nonce: "n0nce".into(),
    }
}

fn read(value: &Value) -> Message {
    Message::read(Bytes::from(value.to_string())).unwrap()
}

/// What came of one message.
#[derive(Debug, Default)]
struct Did {
    host: Vec<Value>,
    server: Vec<Value>,
    later: Vec<(Duration, Value)>,
}

impl Did {
    /// The only message for the host; none for the server.
    #[track_caller]
    fn told(self) -> Value {
        assert!(self.server.is_empty(), "{self:#?}");
        let [message]: [Value; 1] = self.host.try_into().expect("one message for the host");
        message
    }

    /// The only message for the server; none for the host.
    #[track_caller]
    fn sent(self) -> Value {
        assert!(self.host.is_empty(), "{self:#?}");
        let [message]: [Value; 1] = self.server.try_into().expect("one message for the server");
        message
    }

    #[track_caller]
    fn nothing(self) {
        assert!(
            self.host.is_empty() && self.server.is_empty() && self.later.is_empty(),
            "{self:#?}"
        );
    }
}

/// An adapter between two sides that hold what they get against their schemas.
struct Rig {
    adapter: Box<dyn Adapter>,
    host: Side,
    server: Side,
}

struct Side {
    schema: Schema,
    /// The requests that this side sent and has no answer to, by id: their method.
    asked: HashMap<String, String>,
    /// The requests that it was sent, whole, by id.
    got: HashMap<String, Value>,
}

impl Side {
    fn new(schema: Schema) -> Self {
        Self {
            schema,
            asked: HashMap::new(),
            got: HashMap::new(),
        }
    }

    fn sends(&mut self, message: &Value) {
        let id = message["id"].to_string();
        if let Some(method) = message["method"].as_str() {
            if message.get("id").is_some() {
                self.asked.insert(id, method.to_owned());
            }
        } else {
            self.got.remove(&id);
        }
    }

    /// Checks a message for this side.
    #[track_caller]
    fn gets(&mut self, message: &Value) {
        self.schema.check("JSONRPCMessage", message);
        let id = message["id"].to_string();
        if let Some(method) = message["method"].as_str() {
            if let Some((name, _)) = self.schema.of_method(method) {
                self.schema.check(&name, message);
            }
            if message.get("id").is_some() {
                assert!(
                    self.got.insert(id, message.clone()).is_none(),
                    "an id twice: {message}"
                );
            }
            return;
        }
        let method = self.asked.remove(&id);
        let method = method.unwrap_or_else(|| panic!("an answer to no request, or a second one: {message}"));
        if let Some(result) = message.get("result") {
            let asks = result["resultType"] == "input_required";
            let known = self.schema.of_method(&method).and_then(|(_, result)| result);
            let name = if asks {
                "InputRequiredResult".to_owned()
            } else {
                known.unwrap_or("Result".into())
            };
            self.schema.check(&name, result);
        }
    }
}

impl Rig {
    fn legacy_host() -> Self {
        Self {
            adapter: super::legacy_host(settings()),
            host: Side::new(Schema::Legacy),
            server: Side::new(Schema::Modern),
        }
    }

    fn modern_host() -> Self {
        Self {
            adapter: super::modern_host(settings()),
            host: Side::new(Schema::Modern),
            server: Side::new(Schema::Legacy),
        }
    }

    #[track_caller]
    fn host(&mut self, message: Value) -> Did {
        self.host.sends(&message);
        let steps = self.adapter.host(&read(&message));
        self.take(steps)
    }

    #[track_caller]
    fn server(&mut self, message: Value) -> Did {
        self.server_during(message, None)
    }

    /// A message of the server on the stream of a request.
    #[track_caller]
    fn server_during(&mut self, message: Value, request: Option<&Value>) -> Did {
        self.server.sends(&message);
        let steps = self.adapter.server(&read(&message), request.map(read).as_ref());
        self.take(steps)
    }

    /// The server's result for a request that it got.
    #[track_caller]
    fn answer(&mut self, request: &Value, result: Value) -> Did {
        self.server(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
    }

    #[track_caller]
    fn fail(&mut self, request: &Value, code: i64, message: &str, data: Value) -> Did {
        let mut error = json!({ "code": code, "message": message });
        if !data.is_null() {
            error["data"] = data;
        }
        self.server(json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }))
    }

    #[track_caller]
    fn elapsed(&mut self, time: Duration) -> Did {
        let steps = self.adapter.elapsed(time);
        self.take(steps)
    }

    #[track_caller]
    fn take(&mut self, steps: Vec<Step>) -> Did {
        let mut did = Did::default();
        for step in steps {
            match step {
                Step::ToHost(bytes) => {
                    let message: Value = serde_json::from_slice(&bytes).unwrap();
                    self.host.gets(&message);
                    did.host.push(message);
                }
                Step::ToServer(bytes) => {
                    let message: Value = serde_json::from_slice(&bytes).unwrap();
                    self.server.gets(&message);
                    did.server.push(message);
                }
                Step::ToServerIn(wait, bytes) => {
                    let message: Value = serde_json::from_slice(&bytes).unwrap();
                    self.server.gets(&message);
                    did.later.push((wait, message));
                }
            }
        }
        did
    }
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

fn notification(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

fn cancelled(id: impl Into<Value>) -> Value {
    notification("notifications/cancelled", json!({ "requestId": id.into() }))
}

/// An elicitation of form mode.
fn form(message: &str) -> Value {
    json!({ "mode": "form", "message": message, "requestedSchema":
        { "type": "object", "properties": { "name": { "type": "string" } } } })
}
