//! What was refused, no server sees, however it reads: mutated messages through a gateway that refuses `t_admin`
//! (by a policy of the test's own, by a table of scopes, by Cedar), in front of a server that reads every arrival
//! in all the ways that servers read.
//!
//! The gateway runs in this process, because the policy is handed to it; what it sends goes over loopback.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use doorward_gateway::{Gateway, Meters, Parts, RateLimits, Server, Settings};
use doorward_policy::cedar::{CedarPolicy, PolicyFile};
use doorward_policy::{
    AccessRule, ListMode, NoFurtherPolicy, Policy, ProtectedServer, Question, Refusal, ScopeEntry, ScopeTable,
};
use doorward_recorder::Recorder;
use doorward_resource_server::{
    Principal, PrincipalFacts, RevocationSet, TokenVerifier, UnverifiedToken, Verification,
};
use doorward_seal::{MasterKey, Purpose, Sealer};
use doorward_testkit::upstream::{Answer, Recorded, Upstream, readings};
use doorward_types::id::{ClientId, FamilyId, ServerName, Tenant, TokenId, UserId};
use doorward_types::random::CountingRandom;
use doorward_types::time::{Clock, FixedClock, UnixTime};
use doorward_types::url::{Issuer, ResourceUri};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};

mod commands;
mod mutate;

use mutate::{Mutant, mutant};

/// The property holds for every number; other ones are tried with `DOORWARD_SEED=…`.
const SEED: u64 = 20_260_728;
/// Messages after which the arrivals are looked at.
const ROUND: u64 = 500;

/// Refuses whatever acts on `t_admin`: tool, prompt, resource or task.
#[derive(Debug)]
struct NoAdmin;

impl Policy for NoAdmin {
    fn objection(&self, question: &Question<'_>) -> Option<Refusal> {
        let name = question.call.and_then(|call| call.name());
        (name == Some("t_admin")).then_some(Refusal::DeniedByPolicy { policies: vec![] })
    }
}

/// By what a gateway judges.
struct Rules {
    policy: Arc<dyn Policy>,
    scopes: ScopeTable,
    /// What alice's token holds.
    held: &'static str,
}

impl Rules {
    /// One scope for everything, and alice has it.
    fn whole(policy: Arc<dyn Policy>) -> Self {
        Self {
            policy,
            scopes: ScopeTable::whole("mcp".parse().unwrap(), "mcp"),
            held: "mcp",
        }
    }

    fn no_admin() -> Self {
        Self::whole(Arc::new(NoAdmin))
    }

    fn open() -> Self {
        Self::whole(Arc::new(NoFurtherPolicy))
    }

    /// `t_read` by one scope and `t_admin` by another, which has to be asked for.
    fn table(held: &'static str, policy: Arc<dyn Policy>) -> Self {
        let entry = |scope: &str, name: &str| {
            let only = || vec![name.parse().unwrap()];
            ScopeEntry {
                tools: only(),
                prompts: only(),
                resources: only(),
                step_up: scope == "admin",
                ..ScopeEntry::new(scope.parse().unwrap(), scope)
            }
        };
        let scopes = vec![entry("read", "t_read"), entry("admin", "t_admin")];
        Self {
            policy,
            scopes: ScopeTable::new(scopes).unwrap(),
            held,
        }
    }

    /// Alice lacks the scope.
    fn lacking() -> Self {
        Self::table("read", Arc::new(NoFurtherPolicy))
    }

    /// Alice has both scopes, and a Cedar policy permits all the rest.
    fn cedar() -> Self {
        let forbidden = ["Tool", "Prompt", "Resource"].map(|kind| {
            format!("forbid (principal, action, resource == Doorward::{kind}::\"mcp/t_admin\");\n")
        });
        let file = PolicyFile {
            name: "policy.cedar".into(),
            text: format!("permit (principal, action, resource);\n{}", forbidden.concat()),
        };
        Self::table("read admin", Arc::new(CedarPolicy::load(&[file]).unwrap()))
    }

    /// The same with nothing forbidden.
    fn all_held() -> Self {
        Self::table("read admin", Arc::new(NoFurtherPolicy))
    }
}

/// Everybody is alice.
#[derive(Debug)]
struct Alice(Arc<Principal>);

impl TokenVerifier<Arc<Principal>> for Alice {
    fn verify<'a>(&'a self, _: &'a ResourceUri, _: UnverifiedToken<'a>) -> Verification<'a, Arc<Principal>> {
        Verification::known(Ok(Arc::clone(&self.0)))
    }
}

fn resource() -> ResourceUri {
    ResourceUri::parse("https://gw.test/mcp").unwrap()
}

fn alice(held: &str) -> Alice {
    let (clock, random) = (UnixTime::EPOCH, CountingRandom::default());
    Alice(Arc::new(Principal::for_test(PrincipalFacts {
        subject: UserId::generate(clock, &random),
        username: "alice".into(),
        groups: vec![],
        client_id: ClientId::new("client"),
        scopes: held.parse().unwrap(),
        client_scopes: None,
        authenticated: None,
        resource: resource(),
        family: Some(FamilyId::generate(clock, &random)),
        revocation_sequence: 0,
        token_id: TokenId::generate(clock, &random),
        issued: clock,
        expires: UnixTime::from_seconds(600),
        tenant: Tenant::default_tenant(),
    })))
}

/// A gateway under `rules` in front of one server.
fn gateway(rules: Rules, upstream: doorward_gateway::Upstream) -> Gateway {
    let protected = ProtectedServer {
        name: ServerName::new("mcp"),
        path: "/mcp".into(),
        resource: resource(),
        scopes: rules.scopes,
        lists: ListMode::default(),
        allow: AccessRule::everyone(),
    };
    let clock = Arc::new(FixedClock::new(UnixTime::from_seconds(60)));
    let revocations = RevocationSet::new();
    revocations.heard(clock.monotonic());
    let random = Arc::new(CountingRandom::default());
    let parts = Parts {
        verifier: Arc::new(alice(rules.held)),
        revocations: Arc::new(revocations),
        policy: rules.policy,
        sealer: Arc::new(Sealer::new(&MasterKey::generate(&*random), Purpose::McpSession)),
        clock: Arc::clone(&clock) as _,
        recorder: Recorder::without_file(clock, Arc::clone(&random) as _),
        meters: Arc::new(Meters::new(Arc::new(FixedClock::new(UnixTime::EPOCH)))),
        observer: Arc::new(()),
        random,
    };
    let settings = Settings::new("https://gw.test", Issuer::parse("https://gw.test").unwrap());
    let mut server = Server::new(Arc::new(protected), upstream);
    // Time stands still here, so that nothing would ever come back.
    server.limits = RateLimits {
        calls: None,
        discovery: None,
        address: None,
        tool: None,
        tools: Vec::new(),
        refused: None,
        streams: None,
    };
    Gateway::new(&settings, vec![server], parts).unwrap()
}

/// What the server answers everything, lists included.
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"prompts":[],"resources":[]}}"#;

/// An answer: status, headers, body.
type Reply = (u16, HeaderMap, Bytes);

/// Sends a mutant. `traceparent`, which passes as it is, says which message it was.
async fn post(gateway: &Gateway, number: u64, mutant: &Mutant, session: Option<&HeaderValue>) -> Reply {
    let mut request = Request::post("/mcp")
        .header("authorization", "Bearer x")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("traceparent", number.to_string());
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    for (name, value) in &mutant.headers {
        // Values that no header can hold are none that could be sent.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            request = request.header(*name, value);
        }
    }
    let request = request.body(Full::new(Bytes::from(mutant.body.clone()))).unwrap();
    let route = gateway.route("/mcp").unwrap();
    let (head, body) = gateway.handle(route, request).await.into_parts();
    let body = body.collect().await.expect("a whole answer").to_bytes();
    (head.status.as_u16(), head.headers, body)
}

/// A gateway and the HTTP server behind it.
struct Case {
    gateway: Gateway,
    upstream: Upstream,
}

impl Case {
    fn under(rules: Rules) -> Self {
        let upstream = Upstream::scripted(|_| Answer::new(200, "application/json", ANSWER));
        let behind = doorward_gateway::Upstream::http(&upstream.url()).unwrap();
        Self {
            gateway: gateway(rules, behind),
            upstream,
        }
    }

    async fn send(&self, number: u64, mutant: &Mutant) -> u16 {
        let (status, _, body) = post(&self.gateway, number, mutant, None).await;
        assert!(
            serde_json::from_slice::<serde_json::Value>(&body).is_ok(),
            "{number}: an answer is JSON"
        );
        status
    }
}

/// What a server could take the request for: every reading of the body, and the header that servers of
/// 2026-07-28 may believe instead.
fn objects(request: &Recorded) -> Vec<String> {
    let named = request.values("mcp-name").into_iter().map(|value| {
        doorward_mcp::headers::decode_value(&value).map_or(value.clone(), std::borrow::Cow::into_owned)
    });
    readings(&request.body)
        .into_iter()
        .map(|reading| reading.object)
        .chain(named)
        .collect()
}

fn seed() -> u64 {
    std::env::var("DOORWARD_SEED").map_or(SEED, |text| text.parse().expect("DOORWARD_SEED is a number"))
}

fn bodies() -> u64 {
    if std::env::var_os("DOORWARD_FULL").is_some() {
        500_000
    } else {
        20_000
    }
}

#[tokio::test]
async fn mb_09_mb_10_mb_11_mb_12_no_reader_sees_what_policy_refused() {
    assert_no_reader_sees(Rules::no_admin(), Rules::open(), bodies()).await;
}

#[tokio::test]
async fn mb_09_mb_10_mb_11_mb_12_no_reader_sees_what_scopes_do_not_open() {
    assert_no_reader_sees(Rules::lacking(), Rules::all_held(), bodies() / 4).await;
}

#[tokio::test]
async fn mb_09_mb_10_mb_11_mb_12_no_reader_sees_what_cedar_forbids() {
    assert_no_reader_sees(Rules::cedar(), Rules::all_held(), bodies() / 4).await;
}

/// Sends so many messages to a gateway that refuses `t_admin` and to one that does not.
async fn assert_no_reader_sees(refusing: Rules, open: Rules, sent: u64) {
    let (refusing, open) = (Case::under(refusing), Case::under(open));
    let first = seed();
    // How many would have been taken for t_admin by somebody, and how many arrived: behind the policy, and with
    // the seam open.
    let (mut dangerous, mut harmless, mut admitted) = (0, 0, 0);
    let mut statuses = BTreeMap::new();
    for round in 0..sent / ROUND {
        let numbers = (0..ROUND).map(|step| first + round * ROUND + step);
        for number in numbers {
            let mutant = mutant(number);
            let seen = readings(&mutant.body);
            dangerous += u64::from(seen.iter().any(|reading| reading.object == "t_admin"));
            *statuses.entry(refusing.send(number, &mutant).await).or_insert(0) += 1;
            open.send(number, &mutant).await;
        }
        for request in refusing.upstream.take() {
            harmless += 1;
            let objects = objects(&request);
            assert!(
                !objects.iter().any(|object| object == "t_admin"),
                "DOORWARD_SEED={}: somebody sees t_admin: {objects:?}\n{}",
                request.values("traceparent").concat(),
                String::from_utf8_lossy(&request.bytes())
            );
        }
        for request in open.upstream.take() {
            let objects = objects(&request);
            admitted += u64::from(objects.iter().any(|object| object == "t_admin"));
            // Whatever is let through says the same to all of them.
            assert!(
                objects.iter().all(|object| *object == objects[0]),
                "DOORWARD_SEED={}: readers differ: {objects:?}\n{}",
                request.values("traceparent").concat(),
                String::from_utf8_lossy(&request.bytes())
            );
        }
    }
    println!("{dangerous} dangerous, {harmless} passed, {admitted} with the seam open, {statuses:?}");
    // The messages are worth sending, and only the policy stands in the way of many of them.
    assert!(
        dangerous > sent / 3,
        "{dangerous} of {sent} could be taken for t_admin"
    );
    assert!(harmless > sent / 20, "{harmless} of {sent} passed");
    assert!(
        admitted > sent / 20,
        "{admitted} of {sent} reach t_admin without the policy"
    );
    assert!(
        statuses.keys().all(|status| matches!(status, 200 | 400..=499)),
        "{statuses:?}"
    );
    assert!(
        statuses.get(&403).is_some_and(|refused| *refused > sent / 20),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn mb_05_in_legacy_revisions_policy_judges_the_body_whatever_the_headers_say() {
    for rules in [Rules::no_admin(), Rules::lacking(), Rules::cedar()] {
        assert_the_body_counts(&Case::under(rules)).await;
    }
}

async fn assert_the_body_counts(case: &Case) {
    for (method, named_by) in [
        ("tools/call", "name"),
        ("prompts/get", "name"),
        ("resources/read", "uri"),
    ] {
        for version in [Some("2025-11-25"), Some("2025-06-18"), Some("2025-03-26"), None] {
            for (number, name, status) in [(1, "t_admin", 403), (2, "t_read", 200)] {
                let body = format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"{named_by}":"{name}"}}}}"#
                );
                let mut headers = vec![
                    ("mcp-name", "t_read".to_owned()),
                    ("mcp-method", "tools/list".to_owned()),
                ];
                headers.extend(version.map(|version| ("mcp-protocol-version", version.to_owned())));
                let mutant = Mutant {
                    body: body.into_bytes(),
                    headers,
                };
                assert_eq!(
                    case.send(number, &mutant).await,
                    status,
                    "{version:?} {method} {name}"
                );
                let arrived = case.upstream.take();
                assert_eq!(
                    arrived.len(),
                    usize::from(status == 200),
                    "{version:?} {method} {name}"
                );
                for request in arrived {
                    assert!(request.values("mcp-name").is_empty() && request.values("mcp-method").is_empty());
                }
            }
        }
    }
}
