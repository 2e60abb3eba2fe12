use std::time::Duration;

use doorward_records::model::Tables;
use doorward_types::random::CountingRandom;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{NOW, settings};

fn read(body: &Value) -> Result<Registration, RegistrationRefusal> {
    parse(&settings(), None, body.to_string().as_bytes())
}

fn with(redirect_uris: &[&str]) -> Value {
    json!({ "redirect_uris": redirect_uris, "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "client_name": "T" })
}

fn register(
    tables: &mut Tables,
    settings: &Settings,
    body: &Value,
    now: UnixTime,
) -> Result<RegistrationResponse, RegistrationRefusal> {
    register_with(tables, settings, None, body, now)
}

fn register_with(
    tables: &mut Tables,
    settings: &Settings,
    token: Option<&str>,
    body: &Value,
    now: UnixTime,
) -> Result<RegistrationResponse, RegistrationRefusal> {
    let token = token.map(Secret::new);
    let registration = parse(settings, token.as_ref(), body.to_string().as_bytes())?;
    // Chance that goes on from one registration to the next.
    let random = CountingRandom::default();
    for _ in 0..tables.clients().len() {
        let _ = Secret::generate(&random);
        let _ = Secret::generate(&random);
        let _ = Secret::generate(&random);
    }
    let mut conflicts = 0;
    loop {
        let existing = registration.client_id().and_then(|id| tables.client(id));
        match decide(
            settings,
            &registration,
            existing.as_ref(),
            conflicts,
            now,
            &random,
        )? {
            Step::Register { unit, response } => {
                if tables.apply(&unit).is_ok() {
                    return Ok(*response);
                }
            }
            Step::MakeRoom(unit) => drop(tables.apply(&unit)),
        }
        conflicts += 1;
    }
}

fn answer(body: &Value) -> RegistrationResponse {
    register(&mut Tables::new(), &settings(), body, NOW).unwrap()
}

#[test]
fn r17_the_same_metadata_is_the_same_client_whatever_its_ports_and_order() {
    let mut tables = Tables::new();
    let settings = settings();
    let first = register(
        &mut tables,
        &settings,
        &with(&["http://localhost:3000/cb", "http://127.0.0.1:1/cb"]),
        NOW,
    )
    .unwrap();
    let second = register(
        &mut tables,
        &settings,
        &with(&["http://127.0.0.1:9/cb", "http://localhost:8/cb"]),
        NOW,
    )
    .unwrap();
    assert_eq!(first.client_id, second.client_id);
    assert_eq!(
        second.redirect_uris,
        ["http://127.0.0.1:9/cb", "http://localhost:8/cb"],
        "echoed with ports"
    );
    assert_eq!(
        first.client_id, "dcr_fXiQXN9tRuYE7uP_P7fwtDKmCIzh8ANklObNEPxmJ34",
        "stable over releases"
    );
    assert_eq!(tables.clients().len(), 1);
    let other = register(&mut tables, &settings, &with(&["http://localhost/other"]), NOW).unwrap();
    assert_ne!(first.client_id, other.client_id);
    let tenant = Settings {
        tenant: doorward_types::id::Tenant::new("other"),
        ..settings
    };
    let elsewhere = parse(
        &tenant,
        None,
        with(&["http://localhost/other"]).to_string().as_bytes(),
    )
    .unwrap();
    assert_ne!(elsewhere.client_id().unwrap().as_str(), other.client_id);
}

#[test]
fn rg_01_rg_02_bad_redirect_uris() {
    for uri in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///x",
        "blob:https://c.test/x",
        "http://c.test/cb",
        "https://c.test/cb#f",
        "https://*.c.test/cb",
        "https://u:p@c.test/cb",
        "https://c.test/\0",
        "",
        "cb",
    ] {
        let refused = read(&with(&["https://claude.ai/cb", uri])).unwrap_err();
        assert_eq!(
            (refused.status(), refused.body().error),
            (400, ErrorCode::InvalidRedirectUri),
            "{uri:?}"
        );
    }
    assert_eq!(read(&with(&[])).unwrap_err(), RegistrationRefusal::RedirectCount);
    let many: Vec<String> = (0..1000).map(|n| format!("https://claude.ai/{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        read(&with(&many)).unwrap_err(),
        RegistrationRefusal::RedirectCount
    );
    let large = vec![b' '; 1 << 20];
    assert_eq!(parse(&settings(), None, &large).unwrap_err().status(), 413);
}

#[test]
fn rg_03_other_addresses_are_dropped_or_refused() {
    let mut body = with(&["https://claude.ai/cb"]);
    for name in [
        "logo_uri",
        "tos_uri",
        "policy_uri",
        "jwks_uri",
        "sector_identifier_uri",
    ] {
        body[name] = json!("javascript:alert(1)");
    }
    let response = answer(&body).to_json().expose().to_owned();
    assert!(!response.contains("javascript"), "{response}");
    for uri in ["javascript:alert(1)", "data:x", "no address"] {
        body["client_uri"] = json!(uri);
        assert_eq!(
            read(&body).unwrap_err(),
            RegistrationRefusal::Member("client_uri"),
            "{uri}"
        );
    }
}

#[test]
fn rg_05_a_client_id_in_the_request_changes_nothing() {
    let mut body = with(&["https://claude.ai/cb"]);
    let id = read(&body).unwrap().id;
    body["client_id"] = json!("dcr_someone");
    assert_eq!(read(&body).unwrap().id, id);
}

#[test]
fn a_library_default_of_a_secret_is_replaced_and_the_answer_says_so() {
    let mut body = with(&["http://localhost/cb"]);
    let public = read(&body).unwrap().id;
    for method in [
        json!("client_secret_basic"),
        json!("client_secret_post"),
        json!(null),
    ] {
        body["token_endpoint_auth_method"] = method;
        let read = read(&body).unwrap();
        assert_eq!(read.id, public);
        let answer = answer(&body);
        assert_eq!(answer.token_endpoint_auth_method, "none");
        assert_eq!(
            (answer.client_secret, answer.registration_access_token),
            (None, None)
        );
    }
}

#[test]
fn an_empty_home_page_is_none() {
    let mut body = with(&["http://localhost/cb"]);
    let without = read(&body).unwrap().id;
    body["client_uri"] = json!("");
    assert_eq!(read(&body).unwrap().id, without);
}

#[test]
fn only_public_clients_with_codes_register() {
    for (name, value, refused) in [
        (
            "token_endpoint_auth_method",
            json!("private_key_jwt"),
            RegistrationRefusal::Keys(KeyProblem::Count),
        ),
        (
            "token_endpoint_auth_method",
            json!("tls_client_auth"),
            RegistrationRefusal::AuthMethod,
        ),
        (
            "grant_types",
            json!(["client_credentials"]),
            RegistrationRefusal::Grants,
        ),
        (
            "grant_types",
            json!(["refresh_token"]),
            RegistrationRefusal::Grants,
        ),
        ("response_types", json!(["token"]), RegistrationRefusal::Grants),
        (
            "application_type",
            json!("robot"),
            RegistrationRefusal::ApplicationType,
        ),
        ("dpop_bound_access_tokens", json!(true), RegistrationRefusal::Dpop),
        (
            "client_name",
            json!("x".repeat(1001)),
            RegistrationRefusal::Member("client_name"),
        ),
        ("scope", json!("a  b"), RegistrationRefusal::Member("scope")),
        ("client_name", json!(7), RegistrationRefusal::NotMetadata),
        (
            "redirect_uris",
            json!("https://claude.ai/cb"),
            RegistrationRefusal::NotMetadata,
        ),
    ] {
        let mut body = with(&["https://claude.ai/cb"]);
        body[name] = value;
        assert_eq!(read(&body).unwrap_err(), refused, "{name}");
    }
    for text in [
        "",
        "[]",
        "null",
        r#"{"redirect_uris":["https://claude.ai/a"],"redirect_uris":["https://claude.ai/b"]}"#,
    ] {
        assert_eq!(
            parse(&settings(), None, text.as_bytes()).unwrap_err(),
            RegistrationRefusal::NotMetadata,
            "{text}"
        );
    }
    let minimal = read(&json!({ "redirect_uris": ["http://localhost:1/cb"] })).unwrap();
    assert_eq!(minimal.metadata.token_endpoint_auth_method, "none");
    assert_eq!(minimal.metadata.grant_types, ["authorization_code"]);
}

#[test]
fn r17_the_policy_approves_known_places_and_lets_others_wait() {
    use crate::settings::RegistrationMode::{KnownHosts, Off, Open};
    let status = |mode, uris: &[&str]| {
        let mut settings = settings();
        settings.registration.mode = mode;
        parse(&settings, None, with(uris).to_string().as_bytes()).map(|registration| registration.status)
    };
    for known in [
        "https://claude.ai/api/mcp/auth_callback",
        "http://localhost:1/cb",
        "cursor://x/cb",
        "com.example.app:/cb",
        "https://vscode.dev/redirect",
    ] {
        assert_eq!(
            status(KnownHosts, &[known]),
            Ok(ClientStatus::Approved),
            "{known}"
        );
    }
    for unknown in [
        "https://c.test/cb",
        "https://claude.ai.evil.test/cb",
        "https://claude.ai:8443/cb",
    ] {
        assert_eq!(
            status(KnownHosts, &["http://localhost/cb", unknown]),
            Ok(ClientStatus::Pending),
            "{unknown}"
        );
        assert_eq!(status(Open, &[unknown]), Ok(ClientStatus::Approved), "{unknown}");
    }
    assert_eq!(
        status(Off, &["http://localhost/cb"]),
        Err(RegistrationRefusal::Off)
    );
}

#[test]
fn rg_04_the_number_of_clients_without_a_grant_is_limited_and_old_ones_make_room() {
    let mut settings = settings();
    settings.registration.ungranted_limit = 3;
    let mut tables = Tables::new();
    let body = |n: u32| with(&[&format!("http://localhost/{n}")]);
    for n in 0..3 {
        register(&mut tables, &settings, &body(n), NOW).unwrap();
    }
    let soon = NOW.plus(Duration::from_mins(59));
    let full = register(&mut tables, &settings, &body(3), soon).unwrap_err();
    assert_eq!((full.status(), full.retry_after().is_some()), (429, true));
    assert_eq!(tables.clients().len(), 3, "none is evicted under an hour");
    register(&mut tables, &settings, &body(2), soon).expect("registering again is free");
    let later = NOW.plus(Duration::from_mins(61));
    register(&mut tables, &settings, &body(3), later).unwrap();
    assert_eq!(
        tables.clients().len(),
        2,
        "the two idle ones made room, the used one stayed"
    );
}

#[test]
fn a_waiting_client_is_approved_when_the_policy_comes_to_know_it() {
    let mut tables = Tables::new();
    let mut settings = settings();
    let body = with(&["https://c.test/cb"]);
    let id = ClientId::new(register(&mut tables, &settings, &body, NOW).unwrap().client_id);
    assert_eq!(tables.client(&id).unwrap().status, ClientStatus::Pending);
    settings.registration.known_hosts.push("c.test".into());
    register(&mut tables, &settings, &body, NOW).unwrap();
    assert_eq!(tables.client(&id).unwrap().status, ClientStatus::Approved);
}

fn confidential(method: &str) -> Value {
    let mut body = with(&["https://claude.ai/cb"]);
    body["token_endpoint_auth_method"] = json!(method);
    body
}

fn with_key() -> Value {
    let key = doorward_jose::SigningKey::generate().unwrap();
    let mut body = confidential("private_key_jwt");
    body["jwks"] = json!({ "keys": [key.public_jwk()] });
    body
}

fn token_mode() -> Settings {
    let mut settings = settings();
    settings.registration.mode = RegistrationMode::Token;
    settings.registration.initial_token = Some(Secret::new("the operator's word").digest());
    settings
}

#[test]
fn r17_only_who_shows_the_initial_access_token_registers_in_token_mode() {
    let settings = token_mode();
    let body = with(&["https://unknown.test/cb"]);
    let mut tables = Tables::new();
    let mut register = |token| register_with(&mut tables, &settings, token, &body, NOW);
    for (token, refused, challenge) in [
        (
            None,
            RegistrationRefusal::TokenMissing,
            "Bearer realm=\"register\"",
        ),
        (
            Some("another word"),
            RegistrationRefusal::TokenWrong,
            "Bearer realm=\"register\", error=\"invalid_token\"",
        ),
    ] {
        let answer = register(token).unwrap_err();
        assert_eq!(answer, refused);
        assert_eq!((answer.status(), answer.challenge()), (401, Some(challenge)));
        assert_eq!(answer.body().error, ErrorCode::InvalidToken);
    }
    register(Some("the operator's word")).unwrap();
    assert_eq!(
        tables.clients()[0].status,
        ClientStatus::Approved,
        "whatever its host"
    );
    let mut without = settings;
    without.registration.initial_token = None;
    let answer = parse(&without, Some(&Secret::new("")), b"{}").unwrap_err();
    assert_eq!(answer, RegistrationRefusal::TokenWrong, "no token is no token");
}

#[test]
fn r17_secrets_are_given_where_the_policy_says_so_and_never_twice_the_same() {
    let mut tables = Tables::new();
    let mut allowing = settings();
    allowing.registration.confidential = Some(true);
    for method in ["client_secret_basic", "client_secret_post"] {
        let one = register(&mut tables, &allowing, &confidential(method), NOW).unwrap();
        let two = register(&mut tables, &allowing, &confidential(method), NOW).unwrap();
        assert_eq!(one.token_endpoint_auth_method, method);
        assert!(one.client_id.starts_with("dcc_") && one.client_id != two.client_id);
        assert_ne!(one.client_secret, two.client_secret);
        assert_ne!(one.registration_access_token, two.registration_access_token);
        assert_eq!(one.client_secret_expires_at, Some(0), "RFC 7591 section 3.2.1");
        let uri = format!("https://mcp.example.com/register/{}", one.client_id);
        assert_eq!(one.registration_client_uri, Some(uri));
        let row = tables.client(&ClientId::new(one.client_id)).unwrap();
        assert_eq!(row.origin, ClientOrigin::Confidential);
        assert_eq!(row.secret, one.client_secret.map(|secret| secret.digest()));
        let digest = one.registration_access_token.map(|token| token.digest());
        assert_eq!(row.registration_token, digest);
    }
    let mut silent = confidential("client_secret_basic");
    silent
        .as_object_mut()
        .unwrap()
        .remove("token_endpoint_auth_method");
    let public = register(&mut tables, &allowing, &silent, NOW).unwrap();
    assert_eq!(
        public.token_endpoint_auth_method, "none",
        "who names no method gets no secret"
    );
    let by_token = register_with(
        &mut tables,
        &token_mode(),
        Some("the operator's word"),
        &confidential("client_secret_post"),
        NOW,
    );
    assert!(
        by_token.unwrap().client_secret.is_some(),
        "whoever has the token means it"
    );
}

#[test]
fn r17_keys_are_accepted_everywhere_unless_the_operator_says_no() {
    for mode in [RegistrationMode::KnownHosts, RegistrationMode::Open] {
        let mut settings = settings();
        settings.registration.mode = mode;
        let answer = register(&mut Tables::new(), &settings, &with_key(), NOW).unwrap();
        assert_eq!(answer.token_endpoint_auth_method, "private_key_jwt");
        assert!(answer.jwks.is_some() && answer.registration_access_token.is_some());
        assert_eq!(
            (answer.client_secret, answer.client_secret_expires_at),
            (None, None)
        );
        settings.registration.confidential = Some(false);
        let refused = register(&mut Tables::new(), &settings, &with_key(), NOW).unwrap_err();
        assert_eq!(refused, RegistrationRefusal::AuthMethod);
    }
}

#[test]
fn rg_03_keys_that_are_no_public_keys_are_refused() {
    let key = json!(doorward_jose::SigningKey::generate().unwrap().public_jwk());
    let mut private = key.clone();
    private["d"] = json!("AAAA");
    let both = json!({ "jwks": { "keys": [key] }, "jwks_uri": "https://c.test/jwks" });
    for (members, problem) in [
        (json!({}), KeyProblem::Count),
        (both, KeyProblem::Count),
        (json!({ "jwks": { "keys": [] } }), KeyProblem::NoKey),
        (json!({ "jwks": [] }), KeyProblem::NoKey),
        (
            json!({ "jwks": { "keys": [{ "kty": "RSA", "n": "AQAB", "e": "AQAB" }] } }),
            KeyProblem::NoKey,
        ),
        (json!({ "jwks": { "keys": [key, private] } }), KeyProblem::Private),
        (
            json!({ "jwks": { "keys": [{ "kty": "oct", "k": "AAAA" }] } }),
            KeyProblem::Private,
        ),
        (json!({ "jwks_uri": "http://c.test/jwks" }), KeyProblem::Address),
        (json!({ "jwks_uri": "javascript:alert(1)" }), KeyProblem::Address),
        (
            json!({ "jwks_uri": "https://u:p@c.test/jwks" }),
            KeyProblem::Address,
        ),
        (
            json!({ "jwks_uri": "https://c.test/jwks#x" }),
            KeyProblem::Address,
        ),
        (json!({ "jwks_uri": 7 }), KeyProblem::Count),
        (
            json!({ "jwks": { "keys": [key] }, "token_endpoint_auth_signing_alg": "HS256" }),
            KeyProblem::Algorithm,
        ),
    ] {
        let mut body = confidential("private_key_jwt");
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        assert_eq!(
            read(&body).unwrap_err(),
            RegistrationRefusal::Keys(problem),
            "{members}"
        );
    }
}

#[test]
fn r17_a_grant_that_asks_no_person_waits_for_the_operator() {
    let mut body = with_key();
    body["grant_types"] = json!(["client_credentials"]);
    body["redirect_uris"] = json!([]);
    for mode in [RegistrationMode::KnownHosts, RegistrationMode::Open] {
        let mut settings = settings();
        settings.registration.mode = mode;
        let registration = parse(&settings, None, body.to_string().as_bytes()).unwrap();
        assert_eq!(registration.status, ClientStatus::Pending, "{mode:?}");
        assert_eq!(registration.metadata.grant_types, ["client_credentials"]);
        assert!(registration.metadata.response_types.is_empty());
    }
    let token = Secret::new("the operator's word");
    let registration = parse(&token_mode(), Some(&token), body.to_string().as_bytes()).unwrap();
    assert_eq!(registration.status, ClientStatus::Approved);
    body["token_endpoint_auth_method"] = json!("none");
    assert_eq!(
        read(&body).unwrap_err(),
        RegistrationRefusal::Grants,
        "not for public clients"
    );
}

#[test]
fn r35_registering_again_does_not_switch_a_client_on() {
    let mut tables = Tables::new();
    let settings = settings();
    let body = with(&["https://claude.ai/cb"]);
    let id = ClientId::new(register(&mut tables, &settings, &body, NOW).unwrap().client_id);
    let off = Write::SetClientStatus(id.clone(), ClientStatus::Disabled);
    tables.apply(&Unit::writes(vec![off])).unwrap();
    let refused = register(&mut tables, &settings, &body, NOW).unwrap_err();
    assert_eq!(
        (&refused, refused.status()),
        (&RegistrationRefusal::Disabled, 403)
    );
    assert_eq!(tables.client(&id).unwrap().status, ClientStatus::Disabled);
}

#[test]
fn rg_04_registering_the_same_again_in_a_loop_writes_nothing() {
    let settings = settings();
    let mut tables = Tables::new();
    let body = with(&["http://localhost/cb"]);
    register(&mut tables, &settings, &body, NOW).unwrap();
    let registration = read(&body).unwrap();
    let existing = tables.client(registration.client_id().unwrap());
    let unit = |now| {
        let random = CountingRandom::default();
        match decide(&settings, &registration, existing.as_ref(), 0, now, &random) {
            Ok(Step::Register { unit, .. }) => unit,
            other => panic!("{other:?}"),
        }
    };
    assert!(unit(NOW.plus(Duration::from_mins(4))).is_empty());
    assert!(
        !unit(NOW.plus(Duration::from_mins(6))).is_empty(),
        "its last use is known well enough"
    );
}

proptest::proptest! {
    /// Whatever is accepted is something that the endpoints can live with, and the answer says what is stored.
    #[test]
    fn rg_01_rg_02_what_is_accepted_is_safe(
        uris in proptest::collection::vec("(https?|javascript|data|vscode|com\\.x)://?[a-z0-9.:@#*/\\[\\]]{0,20}", 0..3),
        method in "(none|client_secret_(basic|post)|private_key_jwt|x)",
        grants in proptest::collection::vec("(authorization_code|refresh_token|client_credentials|password|implicit)", 0..4),
        name in ".{0,12}",
        mode in 0..3_u8,
    ) {
        let mut settings = settings();
        settings.registration.mode = [RegistrationMode::KnownHosts, RegistrationMode::Open, RegistrationMode::Token][usize::from(mode)];
        settings.registration.initial_token = Some(Secret::new("t").digest());
        settings.registration.confidential = Some(true);
        let body = json!({ "redirect_uris": uris, "token_endpoint_auth_method": method, "grant_types": grants, "client_name": name });
        let mut tables = Tables::new();
        let Ok(answer) = register_with(&mut tables, &settings, Some("t"), &body, NOW) else {
            return Ok(());
        };
        let row = tables.client(&ClientId::new(answer.client_id.clone())).unwrap();
        let metadata = &row.metadata;
        for uri in &metadata.redirect_uris {
            proptest::prop_assert!(!uri.starts_with("javascript") && !uri.starts_with("data"), "{uri}");
            let authority = uri.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
            proptest::prop_assert!(!uri.contains(['#', '*']) && !authority.contains('@'), "{uri}");
            proptest::prop_assert!(!uri.starts_with("http:") || doorward_oauth::redirect::is_loopback(uri), "{uri}");
        }
        for grant in &metadata.grant_types {
            proptest::prop_assert!(grants.contains(grant) && grant != "password" && grant != "implicit");
        }
        let public = metadata.token_endpoint_auth_method == "none";
        proptest::prop_assert!(!(public && metadata.registered("client_credentials")));
        proptest::prop_assert_eq!(public, row.registration_token.is_none());
        proptest::prop_assert_eq!(public, row.origin == ClientOrigin::Dynamic);
        proptest::prop_assert_eq!(answer.client_secret.map(|secret| secret.digest()), row.secret);
        if row.status == ClientStatus::Approved && mode != 2 {
            proptest::prop_assert!(!metadata.registered("client_credentials"));
        }
    }
}
