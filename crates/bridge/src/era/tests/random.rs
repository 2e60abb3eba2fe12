//! Any order of messages: every request is answered once, under its own id, and nothing grows without end.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Did, Rig, cancelled, form, notification, request};

const MODERN: &str = "2026-07-28";

/// What both sides hold while a conversation goes on.
struct Talk {
    rig: Rig,
    modern_host: bool,
    next: i64,
    /// The host's requests without an answer that were not given up.
    open: HashSet<String>,
    /// Calls that wait for the host to come back with what was asked for: `requestState` and keys.
    suspended: Vec<(Value, Vec<String>)>,
}

impl Talk {
    fn new(modern_host: bool) -> Self {
        let mut talk = Self {
            rig: if modern_host {
                Rig::modern_host()
            } else {
                Rig::legacy_host()
            },
            modern_host,
            next: 0,
            open: HashSet::new(),
            suspended: Vec::new(),
        };
        let capabilities = json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true } });
        if modern_host {
            talk.send("server/discover", json!({}));
            talk.answer_server(
                0,
                &json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities,
                "serverInfo": { "name": "s", "version": "1" } }),
            );
        } else {
            talk.send(
                "initialize",
                json!({ "protocolVersion": "2025-11-25",
                "capabilities": { "elicitation": {} }, "clientInfo": { "name": "h", "version": "1" } }),
            );
            talk.answer_server(
                0,
                &json!({ "resultType": "complete", "supportedVersions": [MODERN],
                "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private" }),
            );
        }
        talk
    }

    fn send(&mut self, method: &str, mut params: Value) {
        self.next += 1;
        if self.modern_host {
            params["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} } });
        }
        self.open.insert(self.next.to_string());
        let did = self.rig.host(request(self.next, method, params));
        self.note(&did);
    }

    fn note(&mut self, did: &Did) {
        for message in &did.host {
            if message.get("method").is_some() {
                continue;
            }
            // That it is no second answer, and to a request that was made, the rig has seen.
            self.open.remove(&message["id"].to_string());
            let result = &message["result"];
            if result["resultType"] == "input_required" {
                let keys = result["inputRequests"]
                    .as_object()
                    .unwrap()
                    .keys()
                    .cloned()
                    .collect();
                self.suspended.push((result["requestState"].clone(), keys));
            }
        }
    }

    /// The server answers one of the requests that it has.
    fn answer_server(&mut self, which: usize, result: &Value) {
        let mut has: Vec<Value> = self.rig.server.got.values().cloned().collect();
        has.sort_by_key(|request| request["id"].to_string());
        if has.is_empty() {
            return;
        }
        let request = has.swap_remove(which % has.len());
        let did = self.rig.answer(&request, result.clone());
        self.note(&did);
    }

    /// The host answers one of the requests that it has.
    fn answer_host(&mut self, which: usize) {
        let mut has: Vec<String> = self
            .rig
            .host
            .got
            .values()
            .map(|request| request["id"].to_string())
            .collect();
        has.sort();
        if has.is_empty() {
            return;
        }
        let id: Value = serde_json::from_str(&has[which % has.len()]).unwrap();
        let did = self
            .rig
            .host(json!({ "jsonrpc": "2.0", "id": id, "result": { "action": "decline" } }));
        self.note(&did);
    }

    fn resume(&mut self, which: usize) {
        if self.suspended.is_empty() {
            return;
        }
        let at = which % self.suspended.len();
        let (state, keys) = self.suspended.swap_remove(at);
        let mut responses = json!({});
        for key in keys {
            responses[key] = json!({ "action": "decline" });
        }
        self.send(
            "tools/call",
            json!({ "name": "t", "requestState": state, "inputResponses": responses }),
        );
    }

    fn step(&mut self, kind: u8, which: usize) {
        match kind % 9 {
            0 | 1 => self.send("tools/call", json!({ "name": "t" })),
            2 => self.send("tools/list", json!({})),
            3 => self.answer_server(which, &complete()),
            4 if self.modern_host => {
                let mut has: Vec<Value> = self.rig.server.got.values().cloned().collect();
                has.sort_by_key(|request| request["id"].to_string());
                let during = (!has.is_empty()).then(|| has[which % has.len()].clone());
                self.next += 1;
                let question = request(format!("q{}", self.next), "elicitation/create", form("?"));
                let did = self.rig.server_during(question, during.as_ref());
                self.note(&did);
            }
            4 => {
                let question = json!({ "method": "elicitation/create", "params": form("?") });
                let inputs = json!({ "a": question, "b": question });
                self.answer_server(
                    which,
                    &json!({ "resultType": "input_required", "inputRequests": inputs }),
                );
            }
            5 if self.modern_host => self.resume(which),
            5 => self.answer_host(which),
            6 => {
                let mut open: Vec<_> = self.open.iter().cloned().collect();
                open.sort();
                if !open.is_empty() {
                    let id = open.swap_remove(which % open.len());
                    self.open.remove(&id);
                    let did = self.rig.host(cancelled(id.parse::<i64>().unwrap()));
                    self.note(&did);
                }
            }
            7 if self.modern_host => {
                self.send(
                    "subscriptions/listen",
                    json!({ "notifications": { "resourceSubscriptions": ["a:1"] } }),
                );
                // It stays without an answer.
                self.open.remove(&self.next.to_string());
            }
            7 if which.is_multiple_of(4) => {
                self.send(
                    "resources/unsubscribe",
                    json!({ "uri": format!("a:{}", which % 3) }),
                );
            }
            7 => self.send(
                "resources/subscribe",
                json!({ "uri": format!("a:{}", which % 3) }),
            ),
            _ => {
                let news = notification("notifications/resources/updated", json!({ "uri": "a:1" }));
                let did = self.rig.server(news);
                self.note(&did);
            }
        }
    }

    /// Everybody answers everything.
    fn drain(&mut self) {
        for _ in 0..2000 {
            if self.open.is_empty() {
                return;
            }
            let listens: Vec<Value> = self.rig.server.got.values().cloned().collect();
            for listen in listens
                .iter()
                .filter(|request| request["method"] == "subscriptions/listen")
            {
                let params = json!({ "_meta": { "io.modelcontextprotocol/subscriptionId": listen["id"] },
                    "notifications": listen["params"]["notifications"] });
                let did = self
                    .rig
                    .server(notification("notifications/subscriptions/acknowledged", params));
                self.note(&did);
                self.rig.server.got.remove(&listen["id"].to_string());
            }
            self.answer_host(0);
            self.resume(0);
            self.answer_server(0, &complete());
        }
        panic!("never answered: {:?}", self.open);
    }
}

/// A result that is right for every method that is called here.
fn complete() -> Value {
    json!({ "resultType": "complete", "content": [], "tools": [], "ttlMs": 0, "cacheScope": "private" })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once(
        modern_host in any::<bool>(),
        steps in vec((any::<u8>(), any::<usize>()), 0..80),
    ) {
        let mut talk = Talk::new(modern_host);
        for (kind, which) in steps {
            talk.step(kind, which);
        }
        talk.drain();
    }
}

#[test]
fn calls_are_bounded() {
    for modern_host in [false, true] {
        let mut talk = Talk::new(modern_host);
        for _ in 0..1024 {
            talk.send("tools/call", json!({ "name": "t" }));
        }
        assert_eq!(talk.open.len(), 1024);
        talk.send("tools/call", json!({ "name": "t" }));
        assert_eq!(talk.open.len(), 1024, "refused at once");
        talk.answer_server(0, &complete());
        talk.send("tools/call", json!({ "name": "t" }));
        assert_eq!(talk.open.len(), 1024);
    }
}
