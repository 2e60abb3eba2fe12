use std::sync::Arc;

use http::HeaderValue;

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn log() -> (ExchangeLog, Sink) {
    let sink = Sink::default();
    (ExchangeLog::new(Box::new(sink.clone())), sink)
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn lk_01_cl_an_exchange_is_told_without_its_secrets() {
    let (log, sink) = log();
    let url = Url::parse("https://us:pw-secret1@as.example:8443/token?api_key=key-secret2&resource=https%3A%2F%2Fmcp.example%2Fmcp%3Fkey%3Dkey-secret3#frag-secret4").unwrap();
    let sent = headers(&[
        ("authorization", "Basic YmFzaWMtc2VjcmV0NQ=="),
        ("content-type", "application/x-www-form-urlencoded"),
        ("dpop", "eyJ.dpop-secret6.sig"),
        ("cookie", "sid=cookie-secret7"),
    ]);
    let body = "grant_type=authorization_code&code=code-secret8&code_verifier=verifier-secret9&client_id=abc\
        &client_secret=a%2Bclient-secret10&redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fcallback&scope=read%20write&state=state-secret11&new_thing=unknown-secret12";
    let exchange = Exchange {
        label: "the token endpoint",
        method: &Method::POST,
        url: &url,
        sent: &sent,
        body: Some(body),
    };
    // A server that repeats all it was told, where it is shown.
    let answered = headers(&[
        ("content-type", "application/json; x=code-secret8"),
        (
            "www-authenticate",
            "Bearer error_description=\"code-secret8 verifier-secret9 a+client-secret10 a%2Bclient-secret10 state-secret11 YmFzaWMtc2VjcmV0NQ==\"",
        ),
        (
            "location",
            "https://elsewhere.example/x?code=code-secret8&iss=https%3A%2F%2Fas.example",
        ),
        ("set-cookie", "session=set-secret13"),
        ("retry-after", "unknown-secret12"),
    ]);
    let reply = r#"{"access_token":"access-secret14","refresh_token":"refresh-secret15","error":"invalid_grant","error_description":"code-secret8"}"#;
    let heard = Heard {
        status: StatusCode::BAD_REQUEST,
        headers: &answered,
        body: reply.as_bytes(),
    };
    log.exchange(&exchange, Ok(&heard), Duration::from_millis(7));
    // Later, what was learnt is still hidden.
    log.note("the server said access-secret14 and refresh-secret15 and code-secret8");
    log.exchange(
        &exchange,
        Err("cannot: verifier-secret9"),
        Duration::from_millis(7),
    );
    let text = sink.text();
    assert!(
        !text.contains("secret") || text.matches("secret").count() == text.matches("client_secret=").count(),
        "{text}"
    );
    for shown in [
        "> POST https://as.example:8443/token?api_key=…&resource=https://mcp.example/mcp?key=…  (the token endpoint)",
        "grant_type=authorization_code&code=…&code_verifier=…&client_id=abc&client_secret=…",
        "redirect_uri=http://127.0.0.1:4711/callback&scope=read write&state=…&new_thing=…",
        "< 400 application/json",
        "error invalid_grant",
        "location: https://elsewhere.example/x?code=…&iss=https://as.example/ (not followed)",
    ] {
        assert!(text.contains(shown), "{shown}\n{text}");
    }
}

#[test]
fn cl_15_what_a_server_sends_does_not_move_the_cursor_or_fake_lines() {
    let (log, sink) = log();
    let url = Url::parse("https://mcp.example/mcp").unwrap();
    let sent = HeaderMap::new();
    let mut answered = HeaderMap::new();
    let hostile = HeaderValue::from_bytes(b"Bearer \x9b31m\xe2\x80\xae a\tb").unwrap();
    answered.append("www-authenticate", hostile);
    answered.append(
        "www-authenticate",
        HeaderValue::from_str(&"x".repeat(5000)).unwrap(),
    );
    let heard = Heard {
        status: StatusCode::UNAUTHORIZED,
        headers: &answered,
        body: b"\x1b[2J",
    };
    let exchange = Exchange {
        label: "the MCP server",
        method: &Method::POST,
        url: &url,
        sent: &sent,
        body: Some("{\"jsonrpc\":\"2.0\"}"),
    };
    log.exchange(&exchange, Ok(&heard), Duration::ZERO);
    log.exchange(&exchange, Err("broken\n< 200 fake\u{1b}[1m"), Duration::ZERO);
    let text = sink.text();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(!text.contains('\u{202e}') && text.len() < 3000, "{text}");
    assert!(text.lines().all(|line| line.starts_with(['>', '<'])), "{text}");
    assert!(!text.contains("\n< 200"), "{text}");
    assert!(!text.contains("jsonrpc"), "{text}");
}

#[test]
fn keys_in_paths_are_masked_and_ordinary_paths_are_not() {
    for (url, expected) in [
        (
            "https://mcp.example/api/s/Zm9vYmFyMTIzNDU2Nzg5MA/mcp",
            "https://mcp.example/api/s/…/mcp",
        ),
        (
            "https://as.example/.well-known/oauth-authorization-server/tenant",
            "https://as.example/.well-known/oauth-authorization-server/tenant",
        ),
        (
            "https://as.example/v2/authorize",
            "https://as.example/v2/authorize",
        ),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("data:text/plain,x", "data:…"),
    ] {
        assert_eq!(masked(&Url::parse(url).unwrap()), expected);
    }
}
