use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const LONG: Duration = Duration::from_secs(30);

async fn listener() -> CallbackListener {
    CallbackListener::bind(&CallbackOptions::default()).await.unwrap()
}

fn ours(state: &str) -> bool {
    state == "s t"
}

/// The good query: `state` is `s t`.
const GOOD: &str = "code=c0de&state=s%20t&iss=https%3A%2F%2Fas.example";

/// Everything that comes back for some bytes.
async fn raw(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8(reply).unwrap()
}

async fn visit(port: u16, method: &str, target: &str) -> String {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    raw(port, request.as_bytes()).await
}

fn status(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or_default()
}

fn server() -> Ending {
    Ending::LoggedIn {
        server: "https://mcp.example/mcp".into(),
    }
}

#[tokio::test]
async fn s4_a_login_comes_back_and_the_page_says_how_it_ended() {
    let listener = listener().await;
    let port = listener.port();
    assert_eq!(
        listener.redirect_uri(),
        format!("http://127.0.0.1:{port}/callback")
    );
    // The browser may be faster than whoever waits.
    let browser = tokio::spawn(async move { visit(port, "GET", &format!("/callback?{GOOD}")).await });
    let arrival = listener.wait(ours, LONG).await.unwrap();
    assert_eq!(arrival.query(), GOOD);
    assert_eq!(arrival.url(), format!("http://127.0.0.1:{port}/callback?{GOOD}"));
    assert!(!format!("{arrival:?}").contains("c0de"));
    arrival.answer(server()).await;
    drop(listener);
    let reply = browser.await.unwrap();
    assert_eq!(status(&reply), "200");
    assert!(
        reply.contains("You are logged in") && reply.contains("https://mcp.example/mcp"),
        "{reply}"
    );
    assert!(
        reply.contains("content-security-policy: default-src 'none'"),
        "{reply}"
    );
    assert!(!reply.contains("c0de"), "{reply}");
}

#[tokio::test]
async fn cl_06_s9_a_wrong_or_missing_state_is_ignored_and_the_waiting_goes_on() {
    let listener = listener().await;
    let port = listener.port();
    let waiting = listener.wait(ours, LONG);
    let visits = async {
        for query in [
            "code=evil",
            "code=evil&state=",
            "code=evil&state=other",
            "code=evil&state=s+t&state=s+t",
            "code=evil&state=other&state=s+t",
            "error=access_denied&error_description=%3Cscript%3Ealert(1)%3C/script%3E",
            "error=access_denied&state=x",
            "",
        ] {
            let reply = visit(port, "GET", &format!("/callback?{query}")).await;
            assert_eq!(status(&reply), "400", "{query}");
            assert!(
                reply.contains("belongs to no login") && !reply.contains("evil"),
                "{reply}"
            );
            assert!(!reply.contains("script"), "{reply}");
        }
        visit(port, "GET", "/callback?code=mine&state=s+t").await
    };
    let finish = async {
        let arrival = waiting.await.unwrap();
        assert_eq!(arrival.query(), "code=mine&state=s+t");
        arrival.answer(server()).await;
    };
    let (reply, ()) = tokio::join!(visits, finish);
    assert_eq!(status(&reply), "200");
}

#[tokio::test]
async fn cl_06_a_second_answer_after_the_first_is_ignored_and_a_repeated_one_sees_the_same_page() {
    let listener = listener().await;
    let port = listener.port();
    let first = tokio::spawn(async move { visit(port, "GET", &format!("/callback?{GOOD}")).await });
    let arrival = listener.wait(ours, LONG).await.unwrap();
    // The same once more (a reload, a browser that asks twice): waits with the first.
    let again = tokio::spawn(async move { visit(port, "GET", &format!("/callback?{GOOD}")).await });
    // Another code with the same state.
    let other = visit(port, "GET", "/callback?code=other&state=s+t").await;
    assert_eq!(status(&other), "400");
    arrival.answer(server()).await;
    for reply in [first.await.unwrap(), again.await.unwrap()] {
        assert!(reply.contains("You are logged in"), "{reply}");
    }
    let late = visit(port, "GET", &format!("/callback?{GOOD}")).await;
    assert!(late.contains("You are logged in"), "{late}");
    let late = visit(port, "GET", "/callback?code=other&state=s+t").await;
    assert_eq!(status(&late), "400");
    // The next login at the same place.
    let next = tokio::spawn(async move { visit(port, "GET", "/callback?code=2&state=two").await });
    let waited = async {
        loop {
            // Whoever comes before the waiting begins again is told so.
            let arrival = listener
                .wait(|state| state == "two", Duration::from_millis(200))
                .await;
            if let Ok(arrival) = arrival {
                break arrival;
            }
            let _ = visit(port, "HEAD", "/callback").await;
            tokio::spawn(async move { visit(port, "GET", "/callback?code=2&state=two").await });
        }
    };
    let arrival = tokio::time::timeout(LONG, waited).await.unwrap();
    assert_eq!(arrival.query(), "code=2&state=two");
    arrival.answer(server()).await;
    let _ = next.await;
}

#[tokio::test]
async fn cl_11_only_its_own_path_name_and_method_are_answered() {
    let listener = listener().await;
    let port = listener.port();
    let waiting = listener.wait(ours, LONG);
    let visits = async {
        for (target, expected) in [
            ("/", "404"),
            ("/callback/", "404"),
            ("/Callback?state=s+t", "404"),
            ("/callback%2f?state=s+t", "404"),
            ("/favicon.ico", "404"),
            ("/../callback?state=s+t", "404"),
        ] {
            let reply = visit(port, "GET", target).await;
            assert_eq!(status(&reply), expected, "{target}");
        }
        for host in [
            "evil.example",
            "127.0.0.1",
            "127.0.0.1:1",
            "localhost",
            "127.0.0.1.evil.example",
            "",
        ] {
            let request = format!("GET /callback?{GOOD} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(status(&raw(port, request.as_bytes()).await), "403", "{host}");
        }
        let name = format!("127.0.0.1:{port}");
        for head in [
            format!("GET /callback?{GOOD} HTTP/1.1\r\n\r\n"),
            format!("GET /callback?{GOOD} HTTP/1.0\r\n\r\n"),
            format!("GET /callback?{GOOD} HTTP/1.1\r\nHost: {name}\r\nHost: {name}\r\n\r\n"),
            format!("GET http://evil.example/callback?{GOOD} HTTP/1.1\r\nHost: {name}\r\n\r\n"),
        ] {
            let reply = raw(port, head.as_bytes()).await;
            assert!(["403", "400"].contains(&status(&reply)), "{head}: {reply}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let reply = visit(port, method, &format!("/callback?{GOOD}")).await;
            assert_eq!(status(&reply), "405", "{method}");
            assert!(reply.contains("allow: GET, HEAD"), "{reply}");
        }
        assert_eq!(
            status(&visit(port, "HEAD", &format!("/callback?{GOOD}")).await),
            "200"
        );
        let prefetch = format!(
            "GET /callback?{GOOD} HTTP/1.1\r\nHost: {name}\r\nSec-Purpose: prefetch;prerender\r\n\r\n"
        );
        assert_eq!(status(&raw(port, prefetch.as_bytes()).await), "503");
        let long = format!(
            "GET /callback?{GOOD} HTTP/1.1\r\nHost: {name}\r\nx: {}\r\n\r\n",
            "y".repeat(200_000)
        );
        assert!(["431", ""].contains(&status(&raw(port, long.as_bytes()).await)));
        visit(port, "GET", "/callback?code=mine&state=s+t").await
    };
    let finish = async {
        // None of the others was taken for the answer.
        let arrival = waiting.await.unwrap();
        assert_eq!(arrival.query(), "code=mine&state=s+t");
        arrival.answer(server()).await;
    };
    let (reply, ()) = tokio::join!(visits, finish);
    assert_eq!(status(&reply), "200");
}

#[tokio::test]
async fn cl_11_b23_what_a_server_wrote_is_escaped() {
    let listener = listener().await;
    let port = listener.port();
    let browser =
        tokio::spawn(async move { visit(port, "GET", "/callback?error=%3Cscript%3E&state=s+t").await });
    let arrival = listener.wait(ours, LONG).await.unwrap();
    let reason =
        "access_denied: <script>alert(document.cookie)</script><img src=x onerror=y>\u{1b}[31m".into();
    arrival.answer(Ending::Failed { reason }).await;
    let reply = browser.await.unwrap();
    assert_eq!(status(&reply), "400");
    assert!(reply.contains("The login failed"), "{reply}");
    assert!(reply.contains("&lt;script&gt;alert(document.cookie)"), "{reply}");
    assert!(
        !reply.contains("<script") && !reply.contains("<img") && !reply.contains('\u{1b}'),
        "{reply}"
    );
}

#[tokio::test]
async fn who_said_no_reads_that_nothing_was_allowed() {
    let listener = listener().await;
    let port = listener.port();
    for (words, said) in [
        (Some("<b>not today</b>"), "The authorization server says:"),
        (None, "the program got nothing."),
    ] {
        // Another query each time: the same one would be the same browser once more.
        let query = format!("/callback?error=access_denied&n={}&state=s+t", said.len());
        let browser = tokio::spawn(async move { visit(port, "GET", &query).await });
        let arrival = listener.wait(ours, LONG).await.unwrap();
        let words = words.map(str::to_owned);
        arrival.answer(Ending::Declined { words }).await;
        let reply = browser.await.unwrap();
        assert!(
            reply.contains("Access was not allowed") && reply.contains(said),
            "{reply}"
        );
        assert!(!reply.contains("failed") && !reply.contains("<b>"), "{reply}");
    }
}

#[tokio::test]
async fn a_login_that_is_given_up_has_a_page_too() {
    let listener = listener().await;
    let port = listener.port();
    let browser = tokio::spawn(async move { visit(port, "GET", &format!("/callback?{GOOD}")).await });
    let arrival = listener.wait(ours, LONG).await.unwrap();
    drop(arrival);
    let reply = browser.await.unwrap();
    assert!(reply.contains("did not come to an end"), "{reply}");
}

#[tokio::test]
async fn cl_11_it_listens_on_this_machine_only() {
    let listener = listener().await;
    let port = listener.port();
    // Bound to all interfaces, it would answer here.
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    assert!(TcpStream::connect(other).await.is_err());
    let options = CallbackOptions {
        host: CallbackHost::Localhost,
        ..CallbackOptions::default()
    };
    let both = CallbackListener::bind(&options).await.unwrap();
    assert_eq!(
        both.redirect_uri(),
        format!("http://localhost:{}/callback", both.port())
    );
    let foreign = visit(both.port(), "GET", &format!("/callback?{GOOD}")).await;
    assert_eq!(status(&foreign), "403");
    // Both families lead to it.
    for address in ["127.0.0.1", "::1"] {
        let Ok(mut stream) = TcpStream::connect((address, both.port())).await else {
            assert_eq!(address, "::1", "IPv4 is there");
            continue;
        };
        let request = format!(
            "GET /favicon.ico HTTP/1.1\r\nHost: localhost:{}\r\n\r\n",
            both.port()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert_eq!(status(&reply), "404");
    }
}

#[tokio::test]
async fn ports_are_tried_in_order_and_what_does_not_work_is_said() {
    let first = listener().await;
    let options = CallbackOptions {
        ports: vec![first.port(), 0],
        ..CallbackOptions::default()
    };
    let second = CallbackListener::bind(&options).await.unwrap();
    assert_ne!(second.port(), first.port());
    let only = CallbackOptions {
        ports: vec![first.port()],
        ..CallbackOptions::default()
    };
    let error = CallbackListener::bind(&only).await.unwrap_err().to_string();
    assert!(error.contains(&format!("port {}", first.port())), "{error}");
    let port = first.port();
    drop(first);
    // The port is free again as soon as its task has ended.
    let deadline = tokio::time::Instant::now() + LONG;
    while CallbackListener::bind(&only).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "{port}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for path in ["callback", "", "/a?b", "/a#b", "/a b", "/ä", "/\r\n"] {
        let options = CallbackOptions {
            path: path.into(),
            ..CallbackOptions::default()
        };
        let refused = CallbackListener::bind(&options).await;
        assert!(matches!(refused, Err(CallbackError::Path(_))), "{path:?}");
    }
}

#[tokio::test]
async fn nobody_comes() {
    let listener = listener().await;
    let within = Duration::from_millis(50);
    let refused = listener.wait(ours, within).await;
    assert!(matches!(refused, Err(CallbackError::TimedOut(_))), "{refused:?}");
}

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    let listener = listener().await;
    let port = listener.port();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap());
    }
    let browser = tokio::spawn(async move { visit(port, "GET", &format!("/callback?{GOOD}")).await });
    let arrival = listener.wait(ours, LONG).await.unwrap();
    arrival.answer(server()).await;
    assert_eq!(status(&browser.await.unwrap()), "200");
    drop(idle);
}

#[tokio::test]
async fn cl_06_a_flood_of_wrong_answers_pushes_out_no_right_one() {
    let listener = listener().await;
    let port = listener.port();
    let wrong: Vec<_> = (0..2 * WAITING)
        .map(|n| {
            let target = format!("/callback?code=x&state=wrong-{n}");
            tokio::spawn(async move { visit(port, "GET", &target).await })
        })
        .collect();
    // All of them are in the queue, or before it.
    while listener.arrivals.lock().await.len() < WAITING {
        tokio::task::yield_now().await;
    }
    let right = tokio::spawn(async move { visit(port, "GET", &format!("/callback?{GOOD}")).await });
    // Long enough for it to be turned away; what is right does not depend on it.
    for _ in 0..60 {
        if right.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let arrival = listener.wait(ours, LONG).await.unwrap();
    arrival.answer(server()).await;
    assert_eq!(status(&right.await.unwrap()), "200");
    for reply in wrong {
        assert_eq!(status(&reply.await.unwrap()), "400");
    }
}
