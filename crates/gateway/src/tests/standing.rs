//! What a new configuration makes of open streams, callers without a token, and headers that are named.

use http::HeaderValue;
use http::header::{AUTHORIZATION, HeaderName};

use doorward_mcp::{Call, Envelope, Extensions};
use doorward_policy::ScopeEntry;

use super::*;
use crate::Rules;
use crate::standing::{Standing, Visit, nobody};

fn rules(server: ProtectedServer) -> Rules {
    Rules::new(Arc::new(server), Arc::new(NoFurtherPolicy))
}

fn admitting(allow: &[&str]) -> Rules {
    let allow = match allow {
        [] => AccessRule::everyone(),
        allow => AccessRule::parse(allow).unwrap(),
    };
    rules(ProtectedServer { allow, ..server("a") })
}

fn visit(principal: &Principal, listening: bool) -> Visit {
    let call = if listening {
        Call::open_stream(&HeaderMap::new()).unwrap()
    } else {
        let envelope = Envelope::read(Bytes::from_static(CALL.as_bytes())).unwrap();
        Call::admit(envelope, &HeaderMap::new(), &Extensions::none()).unwrap()
    };
    Visit {
        principal: Arc::new(principal.clone()),
        call: call.summary(),
        address: None,
        rules: rules(server("a")),
        tool: None,
        sieved: false,
    }
}

#[test]
fn streams_look_at_what_is_said_of_their_server_now() {
    let alice = principal("alice").unwrap();
    let nobody = nobody(&server("a"));
    let standing = Standing::new();
    let judge = |listening: bool| {
        [&alice, &nobody].map(|who| standing.objection(&visit(who, listening), UnixTime::EPOCH))
    };
    standing.admit(admitting(&[]), false);
    assert_eq!(judge(false), [None, Some("not_allowed")]);
    standing.admit(admitting(&[]), true);
    assert_eq!(judge(true), [None, None]);
    standing.admit(admitting(&["user:bob"]), false);
    assert_eq!(judge(false), [Some("not_allowed"); 2]);
    standing.replace(admitting(&[]), true);
    assert_eq!(
        (judge(false), judge(true)),
        ([None; 2], [Some("server_replaced"); 2])
    );
    standing.remove();
    assert_eq!(
        (judge(false), judge(true)),
        ([Some("server_removed"); 2], [Some("server_removed"); 2])
    );
}

#[test]
fn mb_19_streams_are_held_against_the_newest_table() {
    let alice = principal("alice").unwrap();
    let standing = Standing::new();
    let judge = |listening: bool| standing.objection(&visit(&alice, listening), UnixTime::EPOCH);
    let table = |tool: &str, scope: &str| {
        let mut entry = ScopeEntry::new(scope.parse().unwrap(), "");
        entry.tools = vec![tool.parse().unwrap()];
        let scopes = ScopeTable::new(vec![entry]).unwrap();
        rules(ProtectedServer {
            scopes,
            ..server("a")
        })
    };
    standing.admit(table("t_read", "a"), false);
    assert_eq!(judge(false), None);
    assert_eq!(judge(true), Some("rules_changed"), "it is not filtered");
    standing.admit(table("t_read", "b"), false);
    assert_eq!(judge(false), Some("insufficient_scope"));
    standing.admit(table("t_other", "a"), false);
    assert_eq!(judge(false), Some("no_scope_opens_it"));
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_ends_within_5_s_of_a_configuration_without_its_reader() {
    let (keep, response) = events();
    let response = Arc::new(Mutex::new(Some(response)));
    let service = tower::service_fn(move |_: Request<Bytes>| {
        let response = response.lock().unwrap().take().unwrap();
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let server = unlimited(Arc::new(server("a")), Upstream::in_process(service));
    let standing = Arc::clone(&server.standing);
    let fixture = Fixture::of(Arc::default(), &settings(), vec![server]);
    let mut body = fixture.post("alice", CALL, &[]).await.into_body();
    keep.send(Ok("data: {}\n\n")).await.unwrap();
    assert!(body.frame().await.unwrap().is_ok());
    standing.admit(admitting(&["user:bob"]), false);
    let begun = tokio::time::Instant::now();
    while body.frame().await.is_some() {}
    assert!(begun.elapsed() <= Duration::from_secs(5));
}

async fn anonymous(anonymous: bool) -> Fixture {
    let upstream = Arc::new(Script::default());
    let address = upstream.listen().await;
    let protected = ProtectedServer {
        allow: AccessRule::everyone(),
        ..server("a")
    };
    let http = Upstream::http(&format!("http://{address}/up")).unwrap();
    let server = Server {
        anonymous,
        forward_headers: vec![HeaderName::from_static("x-tenant")],
        ..unlimited(Arc::new(protected), http)
    };
    Fixture::of(upstream, &settings(), vec![server])
}

#[tokio::test]
async fn only_a_request_without_any_credential_is_anonymous() {
    for (admitted, expected) in [(true, 200), (false, 401)] {
        let fixture = anonymous(admitted).await;
        let mut request = post("alice", CALL, &[]);
        request.headers_mut().remove(AUTHORIZATION);
        assert_eq!(fixture.send(request).await.status(), expected);
        assert_eq!(fixture.upstream.seen().len(), usize::from(admitted));
    }
    let fixture = anonymous(true).await;
    for credential in ["Bearer", "Bearer nobody-knows", "Basic YTpi", "DPoP x", ""] {
        let mut request = post("alice", CALL, &[]);
        request
            .headers_mut()
            .insert(AUTHORIZATION, HeaderValue::from_static(credential));
        let status = fixture.send(request).await.status();
        assert!(status == 401 || status == 400, "{credential:?}: {status}");
    }
    assert_eq!(fixture.upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_named_header_passes_once_and_no_other() {
    let fixture = anonymous(false).await;
    let headers = [("x-tenant", "blue"), ("x_tenant", "red"), ("x-other", "no")];
    assert_eq!(fixture.post("alice", CALL, &headers).await.status(), 200);
    let mut twice = post("alice", CALL, &[("x-tenant", "blue")]);
    twice
        .headers_mut()
        .append("x-tenant", HeaderValue::from_static("red"));
    assert_eq!(fixture.send(twice).await.status(), 200);
    let seen = fixture.upstream.seen();
    assert_eq!(seen[0].headers.get("x-tenant").unwrap(), "blue");
    assert!(!seen[0].headers.contains_key("x_tenant") && !seen[0].headers.contains_key("x-other"));
    assert!(!seen[1].headers.contains_key("x-tenant"), "two values are none");
}

#[test]
fn mb_14_a_stream_about_a_task_is_reviewed_when_the_task_is_forgotten() {
    let alice = principal("alice").unwrap();
    let message = r#"{"jsonrpc":"2.0","id":7,"method":"tasks/result","params":{"taskId":"t-1"}}"#;
    let envelope = Envelope::read(Bytes::from_static(message.as_bytes())).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2025-11-25"));
    let call = Call::admit(envelope, &headers, &Extensions::none()).unwrap();
    let visit = || Visit {
        call: call.summary(),
        tool: Some("t_read".into()),
        ..visit(&alice, false)
    };
    let standing = Standing::new();
    let judge = |rules: Rules| {
        standing.admit(rules, false);
        standing.objection(&visit(), UnixTime::EPOCH)
    };
    assert_eq!(judge(admitting(&["user:alice"])), None);
    assert_eq!(judge(admitting(&["user:bob"])), Some("not_allowed"));
    let table = |tool: &str| {
        let mut entry = ScopeEntry::new("a".parse().unwrap(), "");
        entry.tools = vec![tool.parse().unwrap()];
        let scopes = ScopeTable::new(vec![entry]).unwrap();
        rules(ProtectedServer {
            scopes,
            ..server("a")
        })
    };
    assert_eq!(judge(table("t_read")), None);
    assert_eq!(judge(table("t_other")), Some("no_scope_opens_it"));
}
