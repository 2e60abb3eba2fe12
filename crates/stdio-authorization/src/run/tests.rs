//! A host, a server and an authority that a test holds, over pipes in memory.

use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, split,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::settings::{AuthorizationServer, Protects};
use crate::wrap::Reason;

struct Scripted {
    settings: Arc<Settings>,
    /// Tokens that are good.
    good: Mutex<Vec<String>>,
    standing: Mutex<Option<Secret>>,
    news: Notify,
    refused: Mutex<Vec<String>>,
    /// Nobody answers who could say whether a token is good.
    hangs: bool,
    /// What a verdict holds until it is reached, and a refusal needs as well.
    turn: tokio::sync::Mutex<()>,
    /// The verdict on the token `slow` is being reached, and is reached.
    slow: (Notify, Notify),
}

#[async_trait]
impl Authority for Scripted {
    async fn judge(&self, _: &ScopeSet, presented: Option<&Secret>) -> Verdict {
        if presented.is_some_and(|token| token.expose() == "slow") {
            let _turn = self.turn.lock().await;
            self.slow.0.notify_one();
            self.slow.1.notified().await;
        }
        let standing = self.standing.lock().unwrap().clone();
        let good = self.good.lock().unwrap().clone();
        match presented.cloned().or(standing) {
            Some(token) if good.iter().any(|good| good == token.expose()) => Verdict::Pass(token),
            token => Verdict::Refuse {
                reason: if token.is_some() {
                    Reason::InvalidToken
                } else {
                    Reason::NoToken
                },
                login_url: self.login_url().await,
            },
        }
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings)
    }

    async fn login_url(&self) -> Option<String> {
        Some("http://127.0.0.1:9/login".to_owned())
    }

    async fn standing_token(&self) -> Option<Secret> {
        if self.hangs {
            pending::<()>().await;
        }
        self.standing.lock().unwrap().clone()
    }

    async fn news(&self) {
        self.news.notified().await;
    }

    async fn refused_by_server(&self, refused: &RefusedByServer) {
        let _turn = self.turn.lock().await;
        let token = refused.token.expose().to_owned();
        if token == "renewable" {
            *self.standing.lock().unwrap() = Some(Secret::new("better"));
        }
        self.refused.lock().unwrap().push(token);
    }
}

/// A server that answers every request with its own generation and what it was asked.
struct Echo {
    starts: Arc<Mutex<Vec<Option<String>>>>,
    /// Ends at once when it is started without a token, or with one that it does not like.
    needs_token: bool,
    /// Writes a line every second, whatever happens to its input.
    talks: bool,
    /// It answers the tool `later` when it is told to.
    later: Arc<Notify>,
}

#[async_trait]
impl Server for Echo {
    async fn start(&mut self, token: Option<&Secret>) -> io::Result<Pipes> {
        let generation = {
            let mut starts = self.starts.lock().unwrap();
            starts.push(token.map(|token| token.expose().to_owned()));
            starts.len()
        };
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let ends = self.needs_token && token.is_none_or(|token| token.expose() == "disliked");
        let talks = self.talks;
        let later = Arc::clone(&self.later);
        tokio::spawn(async move {
            let (read, mut write) = split(theirs);
            if talks {
                let line = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n";
                while write.write_all(line).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            let mut lines = BufReader::new(read).lines();
            while !ends && let Ok(Some(line)) = lines.next_line().await {
                let message: Value = serde_json::from_str(&line).unwrap();
                let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) else {
                    continue;
                };
                let name = message["params"]["name"].as_str();
                if name == Some("later") {
                    later.notified().await;
                }
                let answer = match (method, name) {
                    ("initialize", _) => {
                        json!({ "result": { "protocolVersion": "2025-11-25", "capabilities": {} } })
                    }
                    ("tools/list", _) => json!({ "result": { "tools": [{ "name": "x" }] } }),
                    (_, Some("revoked" | "later")) => {
                        json!({ "error": { "code": 1, "message": "", "data": { "authorization": { "error": "invalid_token" } } } })
                    }
                    _ => json!({ "result": { "generation": generation, "params": message["params"] } }),
                };
                let mut answer = answer;
                answer["id"] = id.clone();
                answer["jsonrpc"] = "2.0".into();
                if write.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let (output, input) = split(ours);
        Ok(Pipes {
            input: Box::new(input),
            output: Box::new(output),
        })
    }
}

struct Host {
    write: Option<WriteHalf<DuplexStream>>,
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    running: JoinHandle<Result<(), RunError>>,
    authority: Arc<Scripted>,
    starts: Arc<Mutex<Vec<Option<String>>>>,
}

impl Host {
    fn start(hand: Hand, needs_token: bool) -> Self {
        let starts = Arc::<Mutex<Vec<_>>>::default();
        let server = Echo {
            starts: Arc::clone(&starts),
            needs_token,
            talks: false,
            later: Arc::default(),
        };
        Self::of(hand, server, false)
    }

    fn of(hand: Hand, server: Echo, hangs: bool) -> Self {
        Self::with(hand, server, hangs, None)
    }

    fn with(hand: Hand, mut server: Echo, hangs: bool, standing: Option<&str>) -> Self {
        let starts = Arc::clone(&server.starts);
        let authority = Arc::new(Scripted {
            settings: Arc::new(Settings {
                resource: "https://as.example/stdio/x".to_owned(),
                authorization_servers: vec![AuthorizationServer::of_issuer("https://as.example")],
                scopes: "read".parse().unwrap(),
                tools: vec![],
                public_tools: vec![],
                protects: Protects {
                    prompts: false,
                    resources: false,
                },
                hand,
            }),
            good: Mutex::new(["good", "better", "renewable", "slow"].map(str::to_owned).into()),
            standing: Mutex::new(standing.map(Secret::new)),
            news: Notify::new(),
            refused: Mutex::default(),
            hangs,
            turn: tokio::sync::Mutex::default(),
            slow: (Notify::new(), Notify::new()),
        });
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (host_in, host_out) = split(theirs);
        let running = tokio::spawn({
            let authority = Arc::clone(&authority);
            async move { run(host_in, host_out, &mut server, &*authority).await }
        });
        let (read, write) = split(ours);
        Self {
            write: Some(write),
            lines: BufReader::new(read).lines(),
            running,
            authority,
            starts,
        }
    }

    async fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.write
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .await
            .unwrap();
    }

    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(20), self.lines.next_line());
        serde_json::from_str(&line.await.expect("a line in time").unwrap().expect("a line")).unwrap()
    }

    async fn ask(&mut self, id: u32, method: &str, params: Value) -> Value {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
        let answer = self.line().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn initialize(&mut self) -> Value {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "h", "version": "1" } });
        let answer = self.ask(1, "initialize", params).await;
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        answer
    }

    async fn call(&mut self, id: u32, name: &str, token: Option<&str>) -> Value {
        let mut params = json!({ "name": name });
        if let Some(token) = token {
            params["_meta"] = json!({ crate::TOKEN: token });
        }
        self.ask(id, "tools/call", params).await
    }

    fn starts(&self) -> Vec<Option<String>> {
        self.starts.lock().unwrap().clone()
    }

    async fn end(mut self) {
        drop(self.write.take());
        // The duplex ends for the other side when both halves are gone.
        drop(self.lines);
        tokio::time::timeout(Duration::from_secs(20), self.running)
            .await
            .expect("it ends")
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn r04_r06_a_call_passes_with_a_good_token_alone() {
    let mut host = Host::start(Hand::Nothing, false);
    let answer = host.initialize().await;
    assert_eq!(
        answer["result"]["capabilities"]["experimental"][crate::EXTENSION]["type"],
        "oauth2"
    );
    assert_eq!(host.call(2, "x", None).await["error"]["code"], -32001);
    let refused = host.call(3, "x", Some("bad")).await;
    assert_eq!(
        refused["error"]["data"]["authorization"]["error"],
        "invalid_token"
    );
    let answer = host.call(4, "x", Some("good")).await;
    assert_eq!(answer["result"]["params"], json!({ "name": "x" }));
    *host.authority.standing.lock().unwrap() = Some(Secret::new("better"));
    assert_eq!(host.call(5, "x", None).await["result"]["generation"], 1);
    assert_eq!(host.starts(), [None]);
    host.end().await;
}

#[tokio::test]
async fn r07_a_token_that_the_server_finds_revoked_is_told_to_the_authority() {
    let mut host = Host::start(Hand::Meta, false);
    host.initialize().await;
    let answer = host.call(2, "revoked", Some("good")).await;
    assert_eq!(answer["error"]["data"]["authorization"]["error"], "invalid_token");
    assert_eq!(*host.authority.refused.lock().unwrap(), ["good"]);
    let answer = host.call(3, "x", Some("good")).await;
    assert_eq!(answer["result"]["params"]["_meta"][crate::TOKEN], "good");
    host.end().await;
}

#[tokio::test]
async fn r11_a_server_that_takes_its_token_from_the_environment_is_started_with_it() {
    let mut host = Host::start(Hand::Environment("X".to_owned()), false);
    host.initialize().await;
    assert_eq!(host.ask(2, "ping", json!({})).await["result"]["generation"], 1);
    assert_eq!(host.call(3, "x", Some("good")).await["result"]["generation"], 2);
    assert_eq!(host.call(4, "x", Some("good")).await["result"]["generation"], 2);
    assert_eq!(host.call(5, "x", Some("better")).await["result"]["generation"], 3);
    assert_eq!(host.call(6, "x", Some("bad")).await["error"]["code"], -32001);
    assert_eq!(
        host.starts(),
        [None, Some("good".to_owned()), Some("better".to_owned())]
    );
    host.end().await;
}

#[tokio::test]
async fn r11_a_server_that_does_not_start_without_a_token_is_waited_for() {
    let mut host = Host::start(Hand::Environment("X".to_owned()), true);
    let answer = host.initialize().await;
    assert_eq!(
        answer["result"]["capabilities"]["experimental"][crate::EXTENSION]["type"],
        "oauth2"
    );
    let refused = host.ask(2, "tools/list", json!({})).await;
    assert_eq!(
        refused["error"]["data"]["authorization"]["login_url"],
        "http://127.0.0.1:9/login"
    );
    assert_eq!(host.ask(3, "ping", json!({})).await["result"], json!({}));
    // Somebody logs in.
    *host.authority.standing.lock().unwrap() = Some(Secret::new("good"));
    host.authority.news.notify_one();
    assert_eq!(host.line().await["method"], "notifications/tools/list_changed");
    let answer = host.ask(4, "tools/list", json!({})).await;
    assert_eq!(
        answer["result"]["tools"][0]["_meta"][crate::EXTENSION]["scopes"],
        json!(["read"])
    );
    assert_eq!(host.call(5, "x", None).await["result"]["generation"], 2);
    host.end().await;
}

#[tokio::test]
async fn r11_the_end_of_the_server_is_the_end() {
    let host = Host::start(Hand::Nothing, true);
    let Host { running, write, .. } = host;
    tokio::time::timeout(Duration::from_secs(20), running)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
    drop(write);
}

#[tokio::test]
async fn r11_lines_keep_their_order_and_none_is_lost() {
    let mut host = Host::start(Hand::Nothing, false);
    host.initialize().await;
    let mut all = String::new();
    for id in 10..400 {
        let name = if id % 3 == 0 { "tools/call" } else { "ping" };
        let params = json!({ "name": "y", "_meta": { crate::TOKEN: "good" } });
        all.push_str(&json!({ "jsonrpc": "2.0", "id": id, "method": name, "params": params }).to_string());
        all.push('\n');
    }
    let mut write = host.write.take().unwrap();
    let writing = tokio::spawn(async move {
        write.write_all(all.as_bytes()).await.unwrap();
        write
    });
    for id in 10..400 {
        assert_eq!(host.line().await["id"], id);
    }
    host.write = Some(writing.await.unwrap());
    host.end().await;
}

#[tokio::test]
async fn r11_a_server_that_does_not_like_the_token_of_a_login_costs_nobody_the_connection() {
    let mut host = Host::start(Hand::Environment("X".to_owned()), true);
    host.initialize().await;
    host.ask(2, "tools/list", json!({})).await;
    *host.authority.standing.lock().unwrap() = Some(Secret::new("disliked"));
    host.authority.news.notify_one();
    eventually_started(&host, 2).await;
    assert_eq!(host.ask(3, "ping", json!({})).await["result"], json!({}));
    // The next login is another chance.
    *host.authority.standing.lock().unwrap() = Some(Secret::new("good"));
    host.authority.news.notify_one();
    assert_eq!(host.line().await["method"], "notifications/tools/list_changed");
    assert_eq!(host.call(4, "x", None).await["result"]["generation"], 3);
    host.end().await;
}

async fn eventually_started(host: &Host, times: usize) {
    let started = async {
        while host.starts().len() < times {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), started)
        .await
        .expect("it starts");
}

#[tokio::test(start_paused = true)]
async fn r11_a_server_that_talks_on_does_not_outlive_its_host() {
    let server = Echo {
        starts: Arc::default(),
        needs_token: false,
        talks: true,
        later: Arc::default(),
    };
    let mut host = Host::of(Hand::Nothing, server, false);
    assert_eq!(host.line().await["method"], "notifications/message");
    host.end().await;
}

#[tokio::test(start_paused = true)]
async fn r02_r11_the_first_answer_waits_for_nobody_who_hangs() {
    let server = Echo {
        starts: Arc::default(),
        needs_token: false,
        talks: false,
        later: Arc::default(),
    };
    let mut host = Host::of(Hand::Environment("X".to_owned()), server, true);
    let before = tokio::time::Instant::now();
    host.initialize().await;
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "{:?}",
        before.elapsed()
    );
    // Whether a token is good is asked again when one is needed.
    assert_eq!(host.call(2, "x", Some("good")).await["result"]["generation"], 2);
    host.end().await;
}

#[tokio::test]
async fn r04_a_call_that_cannot_be_made_once_more_is_answered_all_the_same() {
    let mut host = Host::start(Hand::Meta, false);
    host.initialize().await;
    *host.authority.standing.lock().unwrap() = Some(Secret::new("renewable"));
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "revoked" } });
    host.send(&call).await;
    // The host has said all it had to say, and the server hears nothing any more.
    let mut write = host.write.take().unwrap();
    write.shutdown().await.unwrap();
    let answer = host.line().await;
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&2.into(), &(-32001).into())
    );
    host.write = Some(write);
    host.end().await;
}

#[tokio::test]
async fn r11_a_server_that_does_not_like_the_token_of_its_first_start_is_waited_for() {
    let server = Echo {
        starts: Arc::default(),
        needs_token: true,
        talks: false,
        later: Arc::default(),
    };
    let hand = Hand::Environment("X".to_owned());
    let mut host = Host::with(hand, server, false, Some("disliked"));
    let answer = host.initialize().await;
    assert_eq!(
        answer["result"]["capabilities"]["experimental"][crate::EXTENSION]["type"],
        "oauth2"
    );
    assert_eq!(host.starts(), [Some("disliked".to_owned())]);
    assert_eq!(host.call(2, "x", Some("good")).await["result"]["generation"], 2);
    host.end().await;
}

#[tokio::test]
async fn r07_a_refusal_of_the_server_waits_for_the_verdict_on_another_call() {
    let later = Arc::<Notify>::default();
    let server = Echo {
        starts: Arc::default(),
        needs_token: false,
        talks: false,
        later: Arc::clone(&later),
    };
    let mut host = Host::of(Hand::Meta, server, false);
    host.initialize().await;
    for (id, name, token) in [(2, "later", "good"), (3, "x", "slow")] {
        let params = json!({ "name": name, "_meta": { crate::TOKEN: token } });
        host.send(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }))
            .await;
    }
    host.authority.slow.0.notified().await;
    later.notify_one();
    // The refusal arrives while the verdict is being reached.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    host.authority.slow.1.notify_one();
    let mut answers = [host.line().await, host.line().await];
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(
        answers[0]["error"]["data"]["authorization"]["error"],
        "invalid_token"
    );
    assert!(answers[1]["result"].is_object(), "{}", answers[1]);
    host.end().await;
}
