//! R34: how often somebody may call.

use std::net::IpAddr;

use doorward_limits::PeerAddress;

use super::*;

const HOME: &str = "203.0.113.7";

async fn under(limits: RateLimits) -> Fixture {
    let upstream = Arc::new(Script::default());
    let address = upstream.listen().await;
    let servers = ["a", "b"].map(|name| {
        let url = format!("http://{address}/up");
        let mut server = Server::new(Arc::new(server(name)), Upstream::http(&url).unwrap());
        server.limits = limits.clone();
        server
    });
    Fixture::of(upstream, &settings(), servers.into())
}

fn from(address: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(PeerAddress(address));
    request
}

fn call(tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
    )
}

/// How many of these pass before the first `429`, which is looked at.
async fn passes(fixture: &Fixture, limit: &str, request: impl Fn(usize) -> Request<Full<Bytes>>) -> usize {
    for number in 0..200 {
        let response = fixture.send(request(number)).await;
        if response.status() != 429 {
            continue;
        }
        let retry = response.headers()["retry-after"].to_str().unwrap().to_owned();
        assert!(!response.headers().contains_key("www-authenticate"));
        let error = error(response).await;
        assert_eq!(error["error"]["code"], 429);
        let data = &error["error"]["data"];
        assert_eq!(
            (&data["reason"], &data["limit"]),
            (&"rate_limited".into(), &limit.into())
        );
        assert_eq!(data["retry_after"].to_string(), retry);
        assert!(data["decision_id"].is_string());
        return number;
    }
    panic!("no limit");
}

fn rate(text: &str) -> Option<doorward_limits::Rate> {
    Some(text.parse().unwrap())
}

#[tokio::test]
async fn r34_calls_are_counted_per_client_and_user_and_come_back() {
    let fixture = under(RateLimits {
        calls: rate("5/m"),
        ..no_limits()
    })
    .await;
    assert_eq!(passes(&fixture, "calls", |_| post("alice", CALL, &[])).await, 5);
    for other in ["bob", "alice-other-client"] {
        assert_eq!(fixture.post(other, CALL, &[]).await.status(), 200, "{other}");
    }
    // A new token of the same user and client is no new allowance.
    let refused = fixture.post("alice-again", CALL, &[]).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "12");
    insta::assert_snapshot!(
        error(refused).await["error"]["message"].as_str().unwrap(),
        @"too many calls by this client for this user: the limit is 5 a minute. Try again in 12 s"
    );
    assert_eq!(fixture.upstream.seen().len(), 7);
    fixture.clock.advance(Duration::from_secs(12));
    assert_eq!(fixture.post("alice", CALL, &[]).await.status(), 200);
    assert_eq!(fixture.post("alice", CALL, &[]).await.status(), 429);
}

#[tokio::test]
async fn r34_no_spelling_goes_uncounted() {
    let legacy = [
        ("mcp-protocol-version", "2025-11-25"),
        ("accept", "text/event-stream"),
    ];
    let requests: Vec<Request<Full<Bytes>>> = vec![
        post("alice", CALL, &[]),
        post(
            "alice",
            &modern("tools/call", r#""name":"t_read""#),
            &[
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-method", "tools/call"),
                ("mcp-name", "t_read"),
            ],
        ),
        post(
            "alice",
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#,
            &[],
        ),
        post("alice", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, &[]),
        post(
            "alice",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/Call","params":{"name":"t_read"}}"#,
            &[],
        ),
        post("alice", "[]", &[]),
        post("alice", "{", &[]),
        post("alice", CALL, &[("content-type", "text/plain")]),
        request("GET", "/a/mcp", "alice", "", &legacy),
        request("GET", "/a/mcp", "alice", "", &[("accept", "text/plain")]),
        request("DELETE", "/a/mcp", "alice", "", &legacy),
        request("PUT", "/a/mcp", "alice", "", &legacy),
    ];
    for (number, spelled) in requests.into_iter().enumerate() {
        let fixture = under(RateLimits {
            calls: rate("3/m"),
            ..no_limits()
        })
        .await;
        let copy = |_| {
            let mut copy = Request::new(spelled.body().clone());
            *copy.method_mut() = spelled.method().clone();
            *copy.uri_mut() = spelled.uri().clone();
            *copy.headers_mut() = spelled.headers().clone();
            copy
        };
        assert_eq!(passes(&fixture, "calls", copy).await, 3, "request {number}");
        assert_eq!(
            fixture.post("alice", CALL, &[]).await.status(),
            429,
            "request {number}"
        );
    }
}

#[tokio::test]
async fn r34_discovery_has_a_limit_of_its_own() {
    let fixture = under(RateLimits {
        calls: rate("2/m"),
        discovery: rate("4/m"),
        ..no_limits()
    })
    .await;
    assert_eq!(passes(&fixture, "calls", |_| post("alice", CALL, &[])).await, 2);
    let methods = [
        "initialize",
        "tools/list",
        "prompts/list",
        "ping",
        "resources/list",
    ];
    let discovery = |number: usize| {
        let method = methods[number % methods.len()];
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
        post("alice", &body, &[])
    };
    assert_eq!(passes(&fixture, "discovery", discovery).await, 4);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    assert_eq!(fixture.post("alice-other-client", body, &[]).await.status(), 200);
}

#[tokio::test]
async fn r34_tools_are_counted_per_user_whatever_the_client() {
    let patterns = [
        ("send_*", rate("2/m")),
        ("send_free*", None),
        ("send_now", rate("1/m")),
    ];
    let fixture = under(RateLimits {
        calls: rate("20/m"),
        tool: rate("6/m"),
        tools: patterns
            .map(|(pattern, rate)| (pattern.parse().unwrap(), rate))
            .into(),
        ..no_limits()
    })
    .await;
    let as_alice = |tool: &'static str| move |_| post("alice", &call(tool), &[]);
    assert_eq!(passes(&fixture, "tool", as_alice("send_mail")).await, 2);
    assert_eq!(
        passes(&fixture, "tool", as_alice("send_post")).await,
        2,
        "each on its own"
    );
    assert_eq!(passes(&fixture, "tool", as_alice("send_now")).await, 1);
    assert_eq!(
        fixture
            .post("alice-other-client", &call("send_mail"), &[])
            .await
            .status(),
        429
    );
    assert_eq!(fixture.post("bob", &call("send_mail"), &[]).await.status(), 200);
    assert_eq!(passes(&fixture, "tool", as_alice("t_read")).await, 6);
    // What the tools' limits refused was not counted: nine of twenty are left.
    assert_eq!(passes(&fixture, "calls", as_alice("send_freely")).await, 9);
}

#[tokio::test]
async fn r34_addresses_are_counted_over_all_servers_and_loopback_is_not() {
    let fixture = under(RateLimits {
        address: rate("4/m"),
        ..no_limits()
    })
    .await;
    let at_home = |number: usize| from(HOME, post(["alice", "bob"][number % 2], CALL, &[]));
    assert_eq!(passes(&fixture, "address", at_home).await, 4);
    let elsewhere = fixture.send(from("203.0.113.8", post("alice", CALL, &[]))).await;
    assert_eq!(elsewhere.status(), 200);
    for _ in 0..20 {
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let response = fixture.send(from(loopback, post("alice", CALL, &[]))).await;
            assert_eq!(response.status(), 200);
        }
    }
    let v6 = |number: usize| from(&format!("2001:db8::{number:x}"), post("alice", CALL, &[]));
    assert_eq!(passes(&fixture, "address", v6).await, 4, "one network");
    let site = |number: usize| from(&format!("2001:db9:0:{number:x}::1"), post("alice", CALL, &[]));
    assert_eq!(passes(&fixture, "address", site).await, 16, "one site");
}

#[tokio::test]
async fn r34_who_is_over_a_limit_takes_nothing_from_those_behind_the_same_address() {
    let fixture = under(RateLimits {
        address: rate("7/m"),
        calls: rate("2/m"),
        ..no_limits()
    })
    .await;
    let of = |user: &'static str| move |_| from(HOME, post(user, CALL, &[]));
    assert_eq!(passes(&fixture, "calls", of("alice")).await, 2);
    for _ in 0..50 {
        assert_eq!(fixture.send(of("alice")(0)).await.status(), 429);
    }
    assert_eq!(passes(&fixture, "calls", of("bob")).await, 2);
    // Three of seven are left.
    assert_eq!(passes(&fixture, "calls", of("alice-other-client")).await, 2);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    let list = |_| from(HOME, post("bob", list, &[]));
    assert_eq!(passes(&fixture, "address", list).await, 1);
}

#[tokio::test]
async fn r34_invented_tokens_are_throttled_and_neighbours_go_on() {
    let fixture = under(RateLimits {
        refused: rate("1/m"),
        ..no_limits()
    })
    .await;
    // Ten times as many as other refusals, and the same again and again is one.
    for _ in 0..20 {
        assert_eq!(
            fixture.send(from(HOME, post("stale", CALL, &[]))).await.status(),
            401
        );
    }
    let invented = |number: usize| from(HOME, post(&format!("invented-{number}"), CALL, &[]));
    assert_eq!(passes(&fixture, "refused", invented).await, 9);
    let asked = fixture.tokens.resources_asked.lock().unwrap().len();
    assert_eq!(
        fixture.send(from(HOME, post("alice", CALL, &[]))).await.status(),
        200,
        "remembered"
    );
    assert_eq!(
        fixture.send(from(HOME, post("stale", CALL, &[]))).await.status(),
        429
    );
    let elsewhere = fixture.send(from("203.0.113.8", post("stale", CALL, &[]))).await;
    assert_eq!(elsewhere.status(), 401);
    let asked = fixture.tokens.resources_asked.lock().unwrap().len() - asked;
    assert_eq!(asked, 1, "nothing is verified for the flood");
    let login = fixture.send(from(HOME, post("", CALL, &[]))).await;
    assert_eq!(login.status(), 401, "logins begin as ever");
}

#[tokio::test]
async fn r34_the_same_refusal_counts_once_a_minute() {
    let fixture = under(RateLimits {
        refused: rate("3/m"),
        calls: rate("20/m"),
        ..no_limits()
    })
    .await;
    for _ in 0..10 {
        let response = fixture.post("alice-no-scope", CALL, &[]).await;
        assert_eq!(
            response.status(),
            403,
            "a client that tries again is told the same"
        );
    }
    let probing = |number: usize| post("alice-no-scope", &call(&format!("tool_{number}")), &[]);
    assert_eq!(passes(&fixture, "refused", probing).await, 2);
    // Further ones of those that are known are calls, as the nine were: a loop that does not end is stopped.
    let again = |_| post("alice-no-scope", CALL, &[]);
    assert_eq!(passes(&fixture, "calls", again).await, 11);
}

#[tokio::test]
async fn r34_what_was_not_told_for_the_limit_s_sake_is_not_told_to_who_asks_again() {
    let fixture = under(RateLimits {
        refused: rate("3/m"),
        calls: rate("20/m"),
        ..no_limits()
    })
    .await;
    let probing = |number: usize| post("alice-no-scope", &call(&format!("tool_{number}")), &[]);
    assert_eq!(passes(&fixture, "refused", probing).await, 3);
    for _ in 0..3 {
        let again = fixture.send(probing(3)).await;
        assert_eq!(again.status(), 429);
        assert_eq!(error(again).await["error"]["data"]["limit"], "refused");
    }
    fixture.clock.advance(Duration::from_secs(20));
    assert_eq!(fixture.send(probing(3)).await.status(), 403);
    assert_eq!(fixture.send(probing(4)).await.status(), 429, "it was counted");
    assert_eq!(fixture.send(probing(3)).await.status(), 403, "now it is the same");
}

#[tokio::test]
async fn r34_what_is_permitted_goes_on_beside_what_is_refused() {
    let fixture = under(RateLimits {
        refused: rate("3/m"),
        calls: rate("3/m"),
        ..no_limits()
    })
    .await;
    let probing = |number: usize| post("alice-no-scope", &call(&format!("tool_{number}")), &[]);
    assert_eq!(passes(&fixture, "refused", probing).await, 3);
    assert_eq!(passes(&fixture, "calls", |_| post("alice", CALL, &[])).await, 3);
}

/// What SDKs do that look for the newer revision: an error of `server/discover` is an older server to them.
#[tokio::test]
async fn r34_who_looks_for_the_revision_too_often_does_not_fall_back_to_an_older_one() {
    let fixture = under(RateLimits {
        discovery: rate("60/m burst 2"),
        ..no_limits()
    })
    .await;
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "server/discover"),
    ];
    let discover = |_| post("alice", &modern("server/discover", ""), &headers);
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    assert_eq!(passes(&fixture, "discovery", discover).await, 2);
    // Two of them have come back by now.
    fixture.clock.advance(Duration::from_secs(2));
    let fallback = fixture.post("alice", initialize, &[]).await;
    assert_eq!(fallback.status(), 429);
    assert_eq!(fallback.headers()["retry-after"], "3");
    for other in ["bob", "alice-other-client"] {
        assert_eq!(
            fixture.post(other, initialize, &[]).await.status(),
            200,
            "{other}"
        );
    }
    assert_eq!(
        fixture.send(discover(0)).await.status(),
        200,
        "the time that it was told is over"
    );
    fixture.clock.advance(Duration::from_secs(3));
    assert_eq!(fixture.post("alice", initialize, &[]).await.status(), 200);
}

#[tokio::test]
async fn r34_without_tokens_the_networks_of_a_site_share() {
    let limits = RateLimits {
        calls: rate("4/m"),
        tools: vec![("send_*".parse().unwrap(), rate("2/m"))],
        streams: Some(1),
        ..no_limits()
    };
    let upstream = Arc::new(Script::default());
    let url = format!("http://{}/up", upstream.listen().await);
    let open = ProtectedServer {
        allow: AccessRule::everyone(),
        ..server("a")
    };
    let open = Server {
        limits,
        anonymous: true,
        ..unlimited(Arc::new(open), Upstream::http(&url).unwrap())
    };
    let fixture = Fixture::of(upstream, &settings(), vec![open]);
    let call = &call;
    let at = |site: &'static str, tool: &'static str| {
        move |number: usize| from(&format!("{site}:{number:x}::1"), post("", &call(tool), &[]))
    };
    assert_eq!(passes(&fixture, "tool", at("2001:db8:0", "send_mail")).await, 8);
    assert_eq!(
        passes(&fixture, "calls", at("2001:db8:0", "t_read")).await,
        8,
        "of 16"
    );
    assert_eq!(passes(&fixture, "calls", at("2001:db8:1", "t_read")).await, 16);
    let mut held = Vec::new();
    let listen = |number: usize| {
        let headers = [
            ("mcp-protocol-version", "2025-11-25"),
            ("accept", "text/event-stream"),
        ];
        from(
            &format!("2001:db8:2:{number:x}::1"),
            request("GET", "/a/mcp", "", "", &headers),
        )
    };
    for number in [0, 0, 1, 2, 3, 4] {
        let (sender, answer) = events();
        fixture.upstream.answer(answer);
        let response = fixture.send(listen(number)).await;
        held.push((response.status().as_u16(), sender, response));
    }
    let statuses: Vec<u16> = held.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [200, 429, 200, 200, 200, 429]);
}

#[tokio::test]
async fn r34_streams_of_a_user_are_counted_until_they_end() {
    let fixture = under(RateLimits {
        streams: Some(2),
        ..no_limits()
    })
    .await;
    let headers = [
        ("mcp-protocol-version", "2025-11-25"),
        ("accept", "text/event-stream"),
    ];
    let listen = |token: &str| request("GET", "/a/mcp", token, "", &headers);
    let mut open = Vec::new();
    for _ in 0..2 {
        let (sender, answer) = events();
        fixture.upstream.answer(answer);
        open.push((sender, fixture.send(listen("alice")).await));
    }
    let refused = fixture.send(listen("alice-other-client")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(error(refused).await["error"]["data"]["limit"], "streams");
    assert_eq!(fixture.upstream.seen().len(), 2, "the upstream is not asked");
    assert_eq!(fixture.post("alice", CALL, &[]).await.status(), 200);
    let (sender, answer) = events();
    fixture.upstream.answer(answer);
    let of_bob = fixture.send(listen("bob")).await;
    assert_eq!(of_bob.status(), 200);
    drop((sender, of_bob));
    open.pop();
    // Whoever refuses a stream holds none.
    for _ in 0..5 {
        fixture.upstream.answer(json(405, "{}"));
        assert_eq!(fixture.send(listen("alice")).await.status(), 405);
    }
    let (_sender, answer) = events();
    fixture.upstream.answer(answer);
    assert_eq!(fixture.send(listen("alice")).await.status(), 200);
}
