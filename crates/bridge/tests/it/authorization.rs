//! Authorization as the bridge sees it, with a scripted authorizer.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use doorward_bridge::settings::Settings;
use doorward_client::authorizer::{Attempt, Authorizer};
use doorward_client::error::{Error, Hop, Refusal};
use http::{HeaderMap, Method};
use serde_json::json;
use url::Url;

use crate::host::{Host, call, eventually, initialize};
use crate::legacy;
use crate::server::{Asked, Reply, Server, status};

#[derive(Default)]
struct Scripted {
    state: Mutex<State>,
    /// The token that a refusal brings; none: it refuses in turn.
    tokens: Vec<&'static str>,
}

#[derive(Default)]
struct State {
    token: Option<&'static str>,
    refusals: Vec<(u16, String, u8)>,
    answered: usize,
}

#[async_trait]
impl Authorizer for Scripted {
    async fn headers(&self, _: &Method, _: &Url) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        if let Some(token) = self.state.lock().unwrap().token {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Ok(headers)
    }

    async fn refused(&self, attempt: Attempt<'_>) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap();
        let sent = attempt
            .sent
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(sent, state.token.map(|token| format!("Bearer {token}")));
        let refusal = (
            attempt.status.as_u16(),
            attempt.operation.to_owned(),
            attempt.tries,
        );
        state.refusals.push(refusal);
        let next = state.refusals.len() - 1;
        let Some(token) = self.tokens.get(next) else {
            return Err(Error::Refused(Box::new(Refusal {
                hop: Hop::ServerMetadata,
                url: Some(Url::parse("https://as.example/.well-known/x").unwrap()),
                rule: "D7",
                clause: "RFC 8414 §3.3",
                problem: "the issuer is another".into(),
                remedy: "its operator must correct the issuer".into(),
            })));
        };
        state.token = Some(token);
        Ok(())
    }

    fn answered(&self, _: &HeaderMap) {
        self.state.lock().unwrap().answered += 1;
    }
}

fn authorizer(tokens: &[&'static str]) -> Arc<Scripted> {
    Arc::new(Scripted {
        tokens: tokens.to_vec(),
        ..Scripted::default()
    })
}

fn challenge(code: u16) -> Reply {
    status(code).with("www-authenticate", "Bearer resource_metadata=\"http://x/\"")
}

#[tokio::test]
async fn a_refused_message_is_sent_again_once_there_is_a_token() {
    let server = Server::start(|asked: &Asked| {
        let token = asked.header("authorization");
        match (token, asked.rpc()) {
            (None, _) => challenge(401),
            (Some("Bearer small"), "tools/call") => challenge(403),
            _ => legacy::usual(asked),
        }
    })
    .await;
    let scripted = authorizer(&["small", "large"]);
    let mut host = Host::authorized(Settings::new(server.url()), Some(scripted.clone()));
    host.open().await;
    assert_eq!(host.call(&call(1, "write")).await["result"]["tool"], "write");
    let state = scripted.state.lock().unwrap();
    assert_eq!(
        state.refusals,
        [
            (401, "initialize".to_owned(), 1),
            (403, "tools/call write".to_owned(), 1)
        ]
    );
    assert!(state.answered >= 3);
    let calls = server.of("tools/call");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].raw, calls[1].raw);
}

#[tokio::test]
async fn cl_13_a_server_that_refuses_every_token_is_given_up() {
    for code in [401, 403] {
        let server = Server::start(move |asked: &Asked| match asked.rpc() {
            "tools/call" => challenge(code),
            _ => legacy::usual(asked),
        })
        .await;
        let scripted = authorizer(&["a", "b", "c", "d", "e", "f", "g", "h"]);
        let mut host = Host::authorized(Settings::new(server.url()), Some(scripted.clone()));
        host.open().await;
        let told = host.call(&call(1, "x")).await;
        assert_eq!(told["error"]["code"], code);
        let tries: Vec<u8> = scripted
            .state
            .lock()
            .unwrap()
            .refusals
            .iter()
            .map(|(.., tries)| *tries)
            .collect();
        assert_eq!(tries, [1, 2, 3]);
        assert_eq!(server.of("tools/call").len(), 4);
    }
}

#[tokio::test]
async fn why_there_is_no_authorization_is_told_with_rule_and_remedy() {
    let server = Server::start(|_: &Asked| challenge(401)).await;
    let mut host = Host::authorized(Settings::new(server.url()), Some(authorizer(&[])));
    let told = host.call(&initialize()).await;
    let error = &told["error"];
    assert_eq!(error["code"], 401);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("the issuer is another"),
        "{told}"
    );
    assert_eq!(error["data"]["rule"], "D7");
    assert_eq!(error["data"]["remedy"], "its operator must correct the issuer");
    assert_eq!(error["data"]["url"], "https://as.example/.well-known/x");
}

#[tokio::test]
async fn a_refusal_without_a_challenge_is_the_servers_last_word() {
    let server = Server::start(|asked: &Asked| match asked.rpc() {
        "tools/call" => status(403),
        _ => legacy::usual(asked),
    })
    .await;
    let scripted = authorizer(&["a"]);
    let mut host = Host::authorized(Settings::new(server.url()), Some(scripted.clone()));
    host.open().await;
    assert_eq!(host.call(&call(1, "x")).await["error"]["code"], 403);
    assert!(scripted.state.lock().unwrap().refusals.is_empty());
}

#[tokio::test]
async fn cl_09_credentials_are_not_carried_along_a_redirect() {
    let evil = Server::start(|asked: &Asked| legacy::usual(asked)).await;
    for code in [301, 302, 303, 307, 308] {
        let target = format!("{}?token=1", evil.url());
        let server = Server::start(move |_: &Asked| status(code).with("location", target.clone())).await;
        let mut settings = Settings::new(server.url());
        settings.headers.insert("x-api-key", "secret".parse().unwrap());
        let mut host = Host::authorized(settings, Some(authorizer(&["a"])));
        let told = host.call(&initialize()).await;
        assert_eq!(told["error"]["code"], code);
        let words = told["error"]["message"].as_str().unwrap();
        assert!(
            words.contains(evil.url().as_str()) && !words.contains("token=1"),
            "{told}"
        );
        let asked = server.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].header("x-api-key"), Some("secret"));
    }
    assert!(evil.asked().is_empty());
}

#[tokio::test]
async fn the_users_headers_go_with_every_request_and_replace_nothing_of_the_protocol() {
    let server = Server::start(legacy::usual).await;
    let mut settings = Settings::new(server.url());
    settings
        .headers
        .insert("authorization", "Bearer mine".parse().unwrap());
    settings.headers.insert("accept", "text/html".parse().unwrap());
    let mut host = Host::start(settings);
    host.open().await;
    host.call(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .await;
    host.close().await;
    let asked = server.asked();
    assert!(asked.len() >= 5);
    for asked in asked {
        assert_eq!(asked.header("authorization"), Some("Bearer mine"));
        assert_ne!(asked.header("accept"), Some("text/html"));
    }
}

/// Somebody who takes a while to log in.
#[derive(Default)]
struct Slow {
    logins: Mutex<u32>,
    token: Mutex<bool>,
    turn: tokio::sync::Mutex<()>,
    go: tokio::sync::Notify,
}

#[async_trait]
impl Authorizer for Slow {
    async fn headers(&self, _: &Method, _: &Url) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        if *self.token.lock().unwrap() {
            headers.insert("authorization", "Bearer t".parse().unwrap());
        }
        Ok(headers)
    }

    async fn refused(&self, _: Attempt<'_>) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        if *self.token.lock().unwrap() {
            return Ok(());
        }
        *self.logins.lock().unwrap() += 1;
        self.go.notified().await;
        *self.token.lock().unwrap() = true;
        Ok(())
    }

    fn answered(&self, _: &HeaderMap) {}
}

#[tokio::test]
async fn a_login_goes_on_when_the_request_is_cancelled_that_began_it() {
    let server = Server::start(|asked: &Asked| match asked.header("authorization") {
        None => challenge(401),
        Some(_) => legacy::usual(asked),
    })
    .await;
    let slow = Arc::new(Slow::default());
    let mut host = Host::authorized(Settings::new(server.url()), Some(slow.clone()));
    host.send(&initialize()).await;
    eventually("somebody logs in", || *slow.logins.lock().unwrap() == 1).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 0}});
    host.send(&cancel).await;
    host.send(&initialize()).await;
    eventually("the second one is refused, too", || {
        server.of("initialize").len() == 2
    })
    .await;
    slow.go.notify_one();
    assert!(host.message().await["result"].is_object());
    assert_eq!(*slow.logins.lock().unwrap(), 1);
    assert_eq!(server.of("initialize").len(), 3);
    host.close().await;
}

/// Somebody is asked, and does not come.
#[derive(Default)]
struct Absent {
    asked: Mutex<Vec<String>>,
    gone: tokio::sync::Notify,
}

#[async_trait]
impl Authorizer for Absent {
    async fn headers(&self, _: &Method, _: &Url) -> Result<HeaderMap, Error> {
        Ok(HeaderMap::new())
    }

    async fn refused(&self, attempt: Attempt<'_>) -> Result<(), Error> {
        self.asked.lock().unwrap().push(attempt.operation.to_owned());
        self.gone.notified().await;
        Err(Error::NeedsUser("nobody logged in".to_owned()))
    }

    fn answered(&self, _: &HeaderMap) {}
}

#[tokio::test]
async fn cl_13_who_waits_for_a_login_that_comes_to_nothing_begins_no_other() {
    let server = Server::start(|asked: &Asked| match asked.rpc() {
        "tools/call" => challenge(401),
        _ => legacy::usual(asked),
    })
    .await;
    let absent = Arc::new(Absent::default());
    let mut host = Host::authorized(Settings::new(server.url()), Some(absent.clone()));
    host.open().await;
    for number in 1..=4 {
        host.send(&call(number, &format!("t{number}"))).await;
        eventually("it is refused", || {
            server.of("tools/call").len() == number as usize
        })
        .await;
    }
    eventually("somebody is asked", || !absent.asked.lock().unwrap().is_empty()).await;
    absent.gone.notify_one();
    for _ in 1..=4 {
        assert_eq!(host.message().await["error"]["code"], 401);
    }
    assert_eq!(*absent.asked.lock().unwrap(), ["tools/call t1"]);
    // Whoever comes later may try again.
    host.send(&call(5, "t5")).await;
    eventually("somebody is asked again", || {
        absent.asked.lock().unwrap().len() == 2
    })
    .await;
    absent.gone.notify_one();
    assert_eq!(host.message().await["id"], 5);
    host.close().await;
}

/// Hands out the tokens of one person and then of the next.
struct Persons(Mutex<u64>, u64);

#[async_trait]
impl Authorizer for Persons {
    async fn headers(&self, _: &Method, _: &Url) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        let token = format!("Bearer t{}", self.0.lock().unwrap());
        headers.insert("authorization", token.parse().unwrap());
        Ok(headers)
    }

    async fn refused(&self, _: Attempt<'_>) -> Result<(), Error> {
        *self.0.lock().unwrap() += 1;
        Ok(())
    }

    fn answered(&self, _: &HeaderMap) {}

    fn logins(&self) -> u64 {
        *self.0.lock().unwrap() * self.1
    }
}

#[tokio::test]
async fn session_and_cookies_of_one_login_do_not_go_along_with_the_next() {
    // The second token is of another login, or only a renewed one.
    for (step, session, openings) in [(1, "s-t2", 2), (0, "s-t1", 1)] {
        let server = Server::start(|asked: &Asked| {
            let token = asked.header("authorization").unwrap_or_default().to_owned();
            let token = token.trim_start_matches("Bearer ");
            match asked.rpc() {
                "initialize" => legacy::opening(asked, &format!("s-{token}"))
                    .with("set-cookie", format!("of-{token}=1; Path=/")),
                "tools/call" if token == "t1" => challenge(401),
                _ => legacy::usual(asked),
            }
        })
        .await;
        let persons = Arc::new(Persons(Mutex::new(1), step));
        let mut host = Host::authorized(Settings::new(server.url()), Some(persons));
        host.open().await;
        assert_eq!(host.call(&call(1, "x")).await["result"]["tool"], "x");
        host.close().await;
        assert_eq!(server.of("initialize").len(), openings);
        let later = server.asked().into_iter().filter(|asked| {
            asked.header("authorization") == Some("Bearer t2") && asked.rpc() != "initialize"
        });
        for asked in later {
            assert_eq!(asked.header("mcp-session-id"), Some(session), "{asked:?}");
            let cookie = session.replace("s-", "of-") + "=1";
            assert_eq!(asked.header("cookie"), Some(&*cookie), "{asked:?}");
        }
        let opening = server.of("initialize").pop().unwrap();
        assert_eq!(opening.header("cookie"), None);
    }
}
