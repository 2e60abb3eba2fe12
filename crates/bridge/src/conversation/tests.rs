//! The state machine alone: what it asks of the network, and what it makes of what it is told.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::event::{Event, Listen, Outcome, Post, Refused};
use crate::settings::Transport;

mod refusals;
mod unattended;

struct Bench {
    conversation: Conversation,
    posts: Vec<Post>,
    listens: Vec<Listen>,
    told: Vec<Value>,
    aborted: Vec<u64>,
    later: Vec<Due>,
    deleted: usize,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(Url::parse("https://mcp.example/mcp").unwrap());
        change(&mut settings);
        let era = era::Settings {
            server_name: "mcp.example".into(),
            client_name: "doorward".into(),
            client_version: "0".into(),
            nonce: "n".into(),
        };
        Self {
            conversation: Conversation::new(Arc::new(settings), era),
            posts: Vec::new(),
            listens: Vec::new(),
            told: Vec::new(),
            aborted: Vec::new(),
            later: Vec::new(),
            deleted: 0,
        }
    }

    fn act(&mut self) {
        for action in self.conversation.take_actions() {
            match action {
                Action::ToHost(line, _) => self.told.push(serde_json::from_slice(&line).unwrap()),
                Action::Post(post) => self.posts.push(post),
                Action::Listen(listen) => self.listens.push(listen),
                Action::Abort(number) => self.aborted.push(number),
                Action::Delete(_) => self.deleted += 1,
                Action::Later(_, due) => self.later.push(due),
            }
        }
    }

    fn write(&mut self, message: &Value) {
        self.conversation
            .host_line(Line::Whole(message.to_string().into()));
        self.act();
    }

    fn hear(&mut self, event: Event) {
        self.conversation.event(event);
        self.act();
    }

    /// The only post since the last time.
    fn post(&mut self) -> Post {
        assert_eq!(self.posts.len(), 1, "{:?}", self.posts);
        self.posts.remove(0)
    }

    fn answer(&mut self, post: &Post, session: Option<&'static str>, result: &Value) {
        if let Some(session) = session {
            self.hear(Event::Session(post.number, HeaderValue::from_static(session)));
        }
        let request: Value = serde_json::from_slice(&post.body).unwrap();
        let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
        let answer = Message::read(answer.to_string().into()).unwrap();
        self.hear(Event::Message(post.number, Box::new(answer), Share::default()));
        self.hear(Event::Ended(post.number, Outcome::Complete));
    }

    fn refuse(&mut self, number: u64, status: u16, body: &str) {
        let refused = Refused {
            status: StatusCode::from_u16(status).unwrap(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            retry_after: None,
        };
        self.hear(Event::Ended(number, Outcome::Refused(refused)));
    }

    /// A session that is open, with its stream.
    fn open(&mut self) -> Listen {
        self.write(&initialize(0));
        let post = self.post();
        self.answer(&post, Some("one"), &json!({"protocolVersion": "2025-11-25"}));
        self.told.clear();
        self.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        let post = self.post();
        self.hear(Event::Ended(post.number, Outcome::Complete));
        let listen = self.listens.remove(0);
        self.hear(Event::Listening(listen.number));
        listen
    }
}

fn initialize(id: u32) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}})
}

fn call(id: u32) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "t"}})
}

fn modern(id: u32, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"name": "t",
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}}}})
}

fn session_of(headers: &HeaderMap) -> Option<&str> {
    headers.get("mcp-session-id").map(|id| id.to_str().unwrap())
}

#[test]
fn nothing_overtakes_the_opening_of_a_session() {
    let mut bench = Bench::new(|_| {});
    bench.write(&initialize(0));
    bench.write(&call(1));
    let opening = bench.post();
    assert_eq!(session_of(&opening.headers), None);
    bench.answer(&opening, Some("one"), &json!({"protocolVersion": "2025-06-18"}));
    let early = bench.post();
    assert_eq!(
        session_of(&early.headers),
        Some("one"),
        "it waited for the answer"
    );
    bench.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let confirming = bench.post();
    bench.write(&call(2));
    assert!(bench.posts.is_empty(), "it waits for the confirmation");
    bench.hear(Event::Ended(confirming.number, Outcome::Complete));
    assert!(bench.posts.is_empty(), "and for the stream");
    let stream = bench.listens.remove(0);
    assert_eq!(stream.headers["mcp-protocol-version"], "2025-06-18");
    bench.hear(Event::Listening(stream.number));
    let second = bench.post();
    assert_eq!(second.headers["mcp-protocol-version"], "2025-06-18");
}

#[test]
fn a_stream_that_does_not_open_holds_nobody_up_for_long() {
    let mut bench = Bench::new(|_| {});
    bench.write(&initialize(0));
    let post = bench.post();
    bench.answer(&post, None, &json!({"protocolVersion": "2025-11-25"}));
    bench.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let post = bench.post();
    bench.hear(Event::Ended(post.number, Outcome::Complete));
    bench.write(&call(1));
    assert!(bench.posts.is_empty());
    let due = bench.later.remove(0);
    bench.conversation.due(due);
    bench.act();
    bench.post();
}

#[test]
fn a_session_that_is_gone_is_opened_once_for_everybody() {
    let mut bench = Bench::new(|_| {});
    let stream = bench.open();
    for id in 1..=3 {
        bench.write(&call(id));
    }
    let calls: Vec<Post> = std::mem::take(&mut bench.posts);
    for post in &calls[..2] {
        bench.refuse(post.number, 404, "");
    }
    assert!(bench.aborted.contains(&stream.number));
    let reopening = bench.post();
    assert_eq!(reopening.body, initialize(0).to_string());
    assert_eq!(session_of(&reopening.headers), None);
    bench.answer(&reopening, Some("two"), &json!({"protocolVersion": "2025-11-25"}));
    let confirming = bench.post();
    bench.hear(Event::Ended(confirming.number, Outcome::Complete));
    let stream = bench.listens.remove(0);
    bench.hear(Event::Listening(stream.number));
    let again: Vec<Post> = std::mem::take(&mut bench.posts);
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|post| session_of(&post.headers) == Some("two")));
    // One that was slower to be refused goes into the new session as well, without another opening.
    bench.refuse(calls[2].number, 404, "");
    assert_eq!(session_of(&bench.post().headers), Some("two"));
    // And nothing goes for the third time.
    bench.refuse(again[0].number, 404, "");
    assert_eq!(bench.told.len(), 1);
    assert_eq!(bench.told[0]["error"]["code"], 502);
}

#[test]
fn a_session_that_cannot_be_opened_again_is_tried_later_and_told() {
    let mut bench = Bench::new(|_| {});
    bench.open();
    bench.write(&call(1));
    let post = bench.post();
    bench.refuse(post.number, 404, "");
    let reopening = bench.post();
    bench.write(&call(2));
    let down = Failure::new(503, "down");
    bench.hear(Event::Ended(reopening.number, Outcome::Failed(down)));
    let codes: Vec<_> = bench
        .told
        .iter()
        .map(|told| told["error"]["code"].clone())
        .collect();
    assert_eq!(codes, [503, 503]);
    bench.told.clear();
    // The next call does not wait for the next attempt.
    bench.write(&call(3));
    let reopening = bench.post();
    assert_eq!(reopening.body, initialize(0).to_string());
    // An attempt that comes due meanwhile is none.
    for due in std::mem::take(&mut bench.later) {
        bench.conversation.due(due);
    }
    bench.act();
    assert!(bench.posts.is_empty());
}

#[test]
fn eras_are_known_from_the_first_answer() {
    let legacy_refusal = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request"}}"#;
    let modern_refusal = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"no"}}"#;
    // What the host opens with, the refusal, and the method that the bridge sends then.
    for (first, status, body, then) in [
        (initialize(1), 400, modern_refusal, Some("server/discover")),
        (
            modern(1, "server/discover"),
            400,
            legacy_refusal,
            Some("initialize"),
        ),
        (modern(1, "tools/list"), 405, "", Some("initialize")),
        (modern(1, "server/discover"), 400, modern_refusal, None),
        (modern(1, "server/discover"), 500, "", None),
    ] {
        let mut bench = Bench::new(|_| {});
        bench.write(&first);
        let post = bench.post();
        bench.refuse(post.number, status, body);
        let methods: Vec<Value> = bench
            .posts
            .iter()
            .map(|post| serde_json::from_slice::<Value>(&post.body).unwrap()["method"].clone())
            .collect();
        assert_eq!(
            methods,
            then.into_iter().collect::<Vec<_>>(),
            "{first} {status} {body}"
        );
        assert_eq!(
            bench.told.len(),
            usize::from(then.is_none()),
            "{first} {status} {body}"
        );
    }
}

#[test]
fn what_the_host_wrote_meanwhile_follows_once_the_era_is_known() {
    let mut bench = Bench::new(|_| {});
    bench.write(&modern(1, "server/discover"));
    bench.write(&modern(2, "prompts/get"));
    bench.write(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}));
    let first = bench.post();
    bench.answer(&first, None, &json!({}));
    let second = bench.post();
    assert_eq!(second.headers["mcp-name"], "t");
    assert_eq!(bench.aborted, [second.number], "and was cancelled again");
    // The first request itself can be cancelled: then the next one shows the era.
    let mut bench = Bench::new(|_| {});
    bench.write(&initialize(1));
    bench.write(&modern(2, "server/discover"));
    let first = bench.post();
    bench
        .write(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1.0}}));
    assert_eq!(bench.aborted, [first.number]);
    assert_eq!(bench.post().headers["mcp-method"], "server/discover");
}

#[test]
fn a_modern_notification_names_the_version_of_the_requests() {
    let mut bench = Bench::new(|_| {});
    bench.write(&modern(1, "server/discover"));
    let first = bench.post();
    bench.answer(&first, None, &json!({}));
    bench.write(&json!({"jsonrpc": "2.0", "method": "notifications/other"}));
    let post = bench.post();
    assert_eq!(post.headers["mcp-protocol-version"], "2026-07-28");
    assert_eq!(post.headers["mcp-method"], "notifications/other");
}

#[test]
fn an_answer_under_another_id_is_not_the_answer() {
    let mut bench = Bench::new(|_| {});
    bench.open();
    bench.write(&call(1));
    bench.write(&call(2));
    let first = bench.posts.remove(0);
    let foreign = Message::read(Bytes::from_static(br#"{"jsonrpc":"2.0","id":2,"result":{}}"#)).unwrap();
    bench.hear(Event::Message(first.number, Box::new(foreign), Share::default()));
    assert!(bench.told.is_empty());
    bench.hear(Event::Ended(first.number, Outcome::Complete));
    assert_eq!(
        (&bench.told[0]["id"], &bench.told[0]["error"]["code"]),
        (&json!(1), &json!(502))
    );
}

#[test]
fn an_error_without_an_id_answers_the_request_all_the_same() {
    let hear = |bench: &mut Bench, error: &str| {
        let post = bench.post();
        let line = format!(r#"{{"jsonrpc":"2.0","id":null,"error":{error}}}"#);
        let error = Message::read(line.into()).unwrap();
        bench.hear(Event::Message(post.number, Box::new(error), Share::default()));
        bench.hear(Event::Ended(post.number, Outcome::Complete));
    };
    let refusal = r#"{"code":-32000,"message":"busy"}"#;
    let mut bench = Bench::new(|_| {});
    bench.open();
    bench.write(&call(1));
    hear(&mut bench, refusal);
    assert_eq!(
        bench.told,
        [json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "busy"}})]
    );
    bench.told.clear();
    bench.write(&call(2));
    hear(&mut bench, r#"{"code":"no number","message":"busy"}"#);
    assert_eq!(
        (&bench.told[0]["id"], &bench.told[0]["error"]["code"]),
        (&json!(2), &json!(502))
    );
    // Between the eras, in either direction.
    let mut bench = Bench::new(|_| {});
    bench.write(&initialize(7));
    let post = bench.post();
    let modern_refusal = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32022,"message":"no"}}"#;
    bench.refuse(post.number, 400, modern_refusal);
    hear(&mut bench, refusal);
    assert_eq!(bench.told[0]["id"], 7);
    let mut bench = Bench::new(|_| {});
    bench.write(&modern(8, "tools/list"));
    let post = bench.post();
    bench.refuse(post.number, 405, "");
    hear(&mut bench, refusal);
    assert_eq!(bench.told[0]["id"], 8);
}

#[test]
fn the_host_is_not_read_while_too_much_waits() {
    let mut bench = Bench::new(|_| {});
    bench.write(&initialize(0));
    let mut written = 0;
    while bench.conversation.wants_more() {
        written += 1;
        bench.write(&call(written));
    }
    assert!(written < 300, "{written}");
    let mut bench = Bench::new(|_| {});
    bench.write(&initialize(0));
    let mut large = call(1);
    large["params"]["arguments"] = "x".repeat(5 << 20).into();
    bench.write(&large);
    assert!(bench.conversation.wants_more());
    bench.write(&large);
    assert!(!bench.conversation.wants_more());
}

#[test]
fn a_call_that_waits_for_the_list_of_tools_is_waited_for() {
    let mut bench = Bench::new(|_| {});
    bench.write(&modern(1, "server/discover"));
    let first = bench.post();
    bench.answer(&first, None, &json!({}));
    assert!(!bench.conversation.is_asked());
    let mut id = 2;
    while bench.conversation.wants_more() {
        bench.write(&modern(id, "tools/call"));
        id += 1;
        assert!(id < 1000, "no end");
    }
    let list = bench.post();
    assert_eq!(list.headers["mcp-method"], "tools/list");
    assert!(bench.conversation.is_asked());
}

#[test]
fn the_end_deletes_the_session_and_aborts_what_is_under_way() {
    let mut bench = Bench::new(|_| {});
    let stream = bench.open();
    bench.write(&call(1));
    let post = bench.post();
    assert!(bench.conversation.is_asked());
    let farewell = bench.conversation.close().unwrap();
    bench.act();
    assert_eq!(session_of(&farewell.headers), Some("one"));
    assert!(bench.aborted.contains(&post.number) && bench.aborted.contains(&stream.number));
    // Without a session there is nothing to delete.
    let mut bench = Bench::new(|_| {});
    bench.write(&modern(1, "server/discover"));
    let first = bench.post();
    bench.answer(&first, None, &json!({}));
    assert!(bench.conversation.close().is_none());
    assert_eq!(bench.deleted, 0);
}

#[test]
fn http_with_sse_is_tried_once_and_told_in_the_words_of_the_first_refusal() {
    let mut bench = Bench::new(|_| {});
    bench.write(&initialize(0));
    let post = bench.post();
    bench.refuse(post.number, 404, "");
    let listen = bench.listens.remove(0);
    assert!(listen.is_sse);
    bench.refuse(listen.number, 405, "");
    assert_eq!(bench.told[0]["error"]["code"], 404);
    // With it, the answer comes on the stream.
    let mut bench = Bench::new(|settings| settings.transport = Transport::Sse);
    bench.write(&initialize(0));
    assert!(bench.posts.is_empty());
    let listen = bench.listens.remove(0);
    let endpoint = Url::parse("https://mcp.example/messages").unwrap();
    bench.hear(Event::Endpoint(listen.number, endpoint.clone()));
    let post = bench.post();
    assert_eq!((post.url, post.expects), (endpoint, None));
    bench.hear(Event::Ended(post.number, Outcome::Complete));
    let answer = Bytes::from_static(br#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2024-11-05"}}"#);
    let answer = Message::read(answer).unwrap();
    bench.hear(Event::Message(listen.number, Box::new(answer), Share::default()));
    assert_eq!(bench.told.len(), 1);
}
