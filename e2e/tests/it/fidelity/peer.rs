//! Whom to ask, and what came back.

use std::collections::BTreeMap;

use doorward_testkit::everything::serve as everything;
use doorward_testkit::http::{Reply, Request};
use doorward_testkit::mcp::{self, take_event};
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD, Site};
use serde_json::{Value, json};

pub(super) const PATH: &str = "/mcp";

/// What an upstream's answer keeps through the gateway. A session id is ours, so only that there is one
/// counts.
pub(super) const HEADERS: [&str; 5] = [
    "content-type",
    "cache-control",
    "mcp-session-id",
    "retry-after",
    "x-accel-buffering",
];

/// Somebody to ask: the server itself, or the gateway with a token.
pub(super) struct Peer {
    pub(super) site: Site,
    pub(super) token: Option<String>,
}

impl Peer {
    pub(super) fn modern(&self, method: &str, params: Value) -> Request {
        self.admitted(mcp::modern(&self.site, PATH, method, params))
    }

    pub(super) fn call(&self, tool: &str, arguments: Value) -> Request {
        self.modern("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    pub(super) fn legacy(&self, session: Option<&str>, message: &Value) -> Request {
        self.admitted(mcp::legacy(&self.site, PATH, session, message))
    }

    pub(super) fn plain(&self, method: &str) -> Request {
        self.admitted(self.site.request(method, PATH))
    }

    pub(super) fn admitted(&self, request: Request) -> Request {
        let request = request.lenient();
        match &self.token {
            Some(token) => request.bearer(token),
            None => request,
        }
    }

    /// Opens a legacy session whose client can be asked anything.
    pub(super) async fn session(&self) -> String {
        let mut message = mcp::initialize();
        message["params"]["capabilities"] = json!({ "sampling": {}, "elicitation": {}, "roots": {} });
        let reply = self.legacy(None, &message).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let session = reply.header("Mcp-Session-Id").expect("a session id").to_owned();
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let reply = self.legacy(Some(&session), &initialized).send().await;
        assert_eq!(reply.status, 202, "{}", reply.text());
        session
    }
}

/// What a client saw.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<&'static str, String>,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn of(reply: &Reply) -> Self {
        let mut headers = BTreeMap::new();
        for name in HEADERS {
            if let Some(value) = reply.header(name) {
                let value = if name == "mcp-session-id" { "one" } else { value };
                headers.insert(name, value.to_owned());
            }
        }
        Self {
            status: reply.status,
            headers,
            body: reply.text(),
        }
    }

    /// The JSON-RPC messages of the body, in order.
    pub(super) fn messages(&self) -> Vec<Value> {
        if self
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
        {
            let mut text = self.body.clone();
            return std::iter::from_fn(|| take_event(&mut text))
                .filter(|event| !event.data.is_empty())
                .map(|event| serde_json::from_str(&event.data).expect("an event holds JSON"))
                .collect();
        }
        serde_json::from_str(&self.body).into_iter().collect()
    }

    /// Status and JSON-RPC error code: what a refusal of our own has in common with the server's.
    pub(super) fn refusal(&self) -> (u16, Vec<i64>) {
        let codes = self
            .messages()
            .iter()
            .filter_map(|message| message["error"]["code"].as_i64())
            .collect();
        (self.status, codes)
    }
}

pub(super) async fn logged_in(doorward: &Doorward) -> Peer {
    let client = OAuthClient::register(doorward, "Side by side", "http://127.0.0.1/cb").await;
    let tokens = client.login("alice", PASSWORD, &doorward.url(PATH)).await;
    Peer {
        site: doorward.site().clone(),
        token: Some(tokens.access),
    }
}

pub(super) fn direct(server: everything::Server) -> Peer {
    Peer {
        site: Site::new(server.url().trim_end_matches(PATH)),
        token: None,
    }
}
