use std::collections::BTreeMap;

use doorward_recorder::{Actor, Hop, Joined, Note};
use doorward_types::id::TraceId;
use doorward_types::time::UnixTime;
use uuid::Uuid;

use super::diagram;
use super::report::{Outcome, Report};

fn trace() -> TraceId {
    "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap()
}

fn note(message: &str, rule: Option<&str>, fields: &[(&str, &str)]) -> Note {
    let fields = fields
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Note {
        message: message.into(),
        rule: rule.map(Into::into),
        fields: fields.collect::<BTreeMap<_, _>>(),
    }
}

fn hop(after: i64, actor: Actor, route: &str, status: u16, joined: Joined, notes: Vec<Note>) -> Hop {
    let (method, path) = route.split_once(' ').unwrap();
    Hop {
        trace: trace(),
        at: UnixTime::from_millis(1_800_000_000_000 + after),
        took: 1,
        actor,
        method: method.into(),
        path: path.into(),
        status: Some(status),
        joined,
        notes,
        client: None,
        resource: None,
        decision: None,
        parent: None,
    }
}

fn beginning() -> Vec<Hop> {
    let first = note("call refused", None, &[("reason", "no_token"), ("server", "mcp")]);
    let registered = note("register: done", None, &[("client", "dcr_abc")]);
    let accepted = note(
        "authorize: request accepted",
        None,
        &[
            ("client", "dcr_abc"),
            ("resource", "http://localhost:8080/mcp"),
            ("scopes", "mcp"),
        ],
    );
    let (client, browser) = (Actor::Client, Actor::Browser);
    let metadata = "GET /.well-known/oauth-protected-resource/mcp";
    let mut hops = vec![
        hop(0, client, "POST /mcp", 401, Joined::ByAddress, vec![first]),
        hop(12, client, metadata, 200, Joined::ByAddress, Vec::new()),
        hop(
            20,
            client,
            "POST /register",
            201,
            Joined::ByAddress,
            vec![registered],
        ),
        hop(900, browser, "GET /authorize", 200, Joined::Exact, vec![accepted]),
    ];
    hops[0].decision = Some(Uuid::from_u128(1));
    hops
}

fn redeemed() -> Hop {
    let fields = [("token", "t"), ("user", "u"), ("family", "f")];
    let note = note("token: code redeemed", None, &fields);
    hop(
        150_000,
        Actor::Client,
        "POST /token",
        200,
        Joined::Exact,
        vec![note],
    )
}

fn mismatch() -> Hop {
    let note = note(
        "token: refused",
        Some("R18"),
        &[("reason", "CodeMismatch"), ("client", "dcr_abc")],
    );
    hop(2000, Actor::Client, "POST /token", 400, Joined::Exact, vec![note])
}

#[test]
fn a_refused_login_is_drawn_and_its_rule_named() {
    let hops = beginning().into_iter().chain([mismatch()]).collect();
    let report = Report::new(trace(), hops, None);
    insta::assert_snapshot!(diagram::draw(&report).join("\n"), @r"
    Trace     4bf92f3577b34da6a3ce929d0e0e4736
    Begun     2027-01-15T08:00:00.000Z
    Client    dcr_abc
    Resource  http://localhost:8080/mcp
    Scopes    mcp

                Browser     Client                                                          Doorward
      +0.000 s ~   │           │── POST /mcp ─────────────────────────────────────────────────>│
                   │           │   call refused: no_token                                      │
                   │           │<─────────────────────────────────────────────────────── 401 ──│
      +0.012 s ~   │           │── GET /.well-known/oauth-protected-resource/mcp ─────────────>│
                   │           │<─────────────────────────────────────────────────────── 200 ──│
      +0.020 s ~   │           │── POST /register ────────────────────────────────────────────>│
                   │           │   register: done                                              │
                   │           │<─────────────────────────────────────────────────────── 201 ──│
      +0.900 s     │── GET /authorize ────────────────────────────────────────────────────────>│
                   │           │   authorize: request accepted (scopes mcp)                    │
                   │<─────────────────────────────────────────────────────────────────── 200 ──│
      +2.000 s     │           │── POST /token ───────────────────────────────────────────────>│
                   │           │   token: refused: CodeMismatch [R18]                          │
               ✗   │           │<─────────────────────────────────────────────────────── 400 ──│

    Result    refused.
    Failed    token: refused (CodeMismatch)
    Rule      R18  PKCE for every client, S256 only.
              RFC 7636 section 4.4.1; MCP 2026-07-28 security considerations
    To do     The client redeemed the code with another client_id, redirect_uri or code_verifier than it
              began with. The verifier must be the one whose SHA-256 was sent as code_challenge. This is
              an error in the client, or somebody else's attempt with its code.
    ~         joined by address: it came from the same address within ten minutes, and may be another
              login's.
    ");
}

#[test]
fn what_came_last_decides() {
    let outcome = |hops: Vec<Hop>| {
        let report = Report::new(trace(), hops, None);
        (
            report.outcome,
            report
                .failure
                .and_then(|failure| failure.rule)
                .map(|rule| rule.id),
        )
    };
    let wrong = note("sign-in: failed", None, &[]);
    let wrong = hop(
        1000,
        Actor::Browser,
        "POST /login",
        200,
        Joined::Exact,
        vec![wrong],
    );
    let begun = beginning();
    assert_eq!(outcome(begun.clone()), (Outcome::Unfinished, None));
    let with = |more: &[Hop]| begun.iter().chain(more).cloned().collect::<Vec<_>>();
    assert_eq!(
        outcome(with(std::slice::from_ref(&wrong))),
        (Outcome::Refused, None)
    );
    assert_eq!(outcome(with(&[wrong, redeemed()])), (Outcome::Token, None));
    assert_eq!(
        outcome(with(&[redeemed(), mismatch()])),
        (Outcome::Refused, Some("R18".into()))
    );
    let waiting = note("token: refused", Some("A2"), &[("reason", "DevicePending")]);
    let waiting = hop(
        1000,
        Actor::Client,
        "POST /token",
        400,
        Joined::Exact,
        vec![waiting],
    );
    assert_eq!(outcome(with(&[waiting])), (Outcome::Unfinished, None));
}

#[test]
fn a_decision_that_was_asked_for_is_explained_whatever_came_after() {
    let hops = beginning().into_iter().chain([redeemed()]).collect();
    let report = Report::new(trace(), hops, Some(Uuid::from_u128(1)));
    assert_eq!(report.outcome, Outcome::Token);
    let failure = report.failure.unwrap();
    assert_eq!((failure.hop, failure.reason.as_deref()), (0, Some("no_token")));
    assert!(
        failure.advice.contains("every login begins"),
        "{}",
        failure.advice
    );
}

#[test]
fn a_client_that_waits_is_told_with_its_command() {
    let pending = note(
        "refused",
        Some("R17"),
        &[("reason", "ClientPending(ClientId(\"dcr_abc\"))")],
    );
    let mut hops = beginning();
    hops.push(hop(
        1000,
        Actor::Browser,
        "GET /authorize",
        403,
        Joined::ByAddress,
        vec![pending],
    ));
    let failure = Report::new(trace(), hops, None).failure.unwrap();
    assert!(
        failure.advice.contains("`doorward client approve dcr_abc`"),
        "{}",
        failure.advice
    );
}

#[test]
fn whatever_clients_call_themselves_lines_stay_short_and_printable() {
    let long = "x".repeat(500);
    let strange = note(
        &format!("{long} \u{1b}[31m"),
        Some("Z99"),
        &[("client", &long), ("reason", &long), ("scopes", "a b c")],
    );
    let hops = vec![hop(
        7_000_000,
        Actor::Browser,
        &format!("GET /{long}"),
        400,
        Joined::Exact,
        vec![strange],
    )];
    for line in diagram::draw(&Report::new(trace(), hops, None)) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_very_long_trace_is_drawn_at_both_ends() {
    let hops: Vec<_> = std::iter::repeat_with(redeemed).take(2000).collect();
    let lines = diagram::draw(&Report::new(trace(), hops, None));
    assert!(lines.len() < 1000, "{}", lines.len());
    assert!(lines.iter().any(|line| line.contains("1800 more steps")));
}

#[test]
fn the_json_form_is_stable() {
    let hops = vec![mismatch()];
    let report = serde_json::to_value(Report::new(trace(), hops, None)).unwrap();
    let expected = serde_json::json!({
      "begun": "2027-01-15T08:00:02.000Z",
      "client": "dcr_abc",
      "failure": {
        "advice": "The client redeemed the code with another client_id, redirect_uri or code_verifier than it began with. The verifier must be the one whose SHA-256 was sent as code_challenge. This is an error in the client, or somebody else's attempt with its code.",
        "hop": 0,
        "reason": "CodeMismatch",
        "rule": {
          "clause": "RFC 7636 section 4.4.1; MCP 2026-07-28 security considerations",
          "id": "R18",
          "sentence": "PKCE for every client, S256 only."
        },
        "what": "token: refused"
      },
      "hops": [
        {
          "at": "2027-01-15T08:00:02.000Z",
          "failed": true,
          "from": "client",
          "joined": "exact",
          "method": "POST",
          "notes": [
            {
              "fields": {
                "client": "dcr_abc",
                "reason": "CodeMismatch"
              },
              "message": "token: refused",
              "rule": "R18"
            }
          ],
          "offset_ms": 0,
          "path": "/token",
          "status": 400,
          "took_ms": 1
        }
      ],
      "outcome": "refused",
      "resource": null,
      "scopes": null,
      "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
      "user": null
    });
    assert_eq!(report, expected);
}

#[test]
fn a_refused_call_says_what_was_asked_needed_and_held() {
    let fields = [
        ("reason", "insufficient_scope"),
        ("server", "files"),
        ("method", "tools/call"),
        ("name", "write_file"),
        ("scopes", "files:read files:write"),
        ("held", "files:read"),
        ("limit", "calls"),
        ("retry_after", "7"),
        ("policies", "p0 p1"),
    ];
    let mut refused = hop(
        0,
        Actor::Client,
        "POST /mcp",
        403,
        Joined::Exact,
        vec![note("call refused", Some("R15"), &fields)],
    );
    let id = Uuid::from_u128(1);
    refused.decision = Some(id);
    let drawn = diagram::draw(&Report::new(trace(), vec![refused], Some(id))).join("\n");
    for line in [
        "Asked     tools/call write_file",
        "Needed    files:read files:write",
        "Held      files:read",
        "Policies  p0 p1",
        "Limit     calls",
        "Again     after 7 s",
        "To do     The token lacks a scope",
    ] {
        assert!(drawn.contains(line), "{line} in\n{drawn}");
    }
}
