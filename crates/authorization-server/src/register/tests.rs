use std::time::Duration;

use doorward_records::model::Tables;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{NOW, settings};

fn read(body: &Value) -> Result<Registration, RegistrationRefusal> {
    parse(&settings(), body.to_string().as_bytes())
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
    let registration = parse(settings, body.to_string().as_bytes())?;
    let mut conflicts = 0;
    loop {
        let existing = tables.client(registration.client_id());
        match decide(settings, &registration, existing.as_ref(), conflicts, now)? {
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
    let elsewhere = parse(&tenant, with(&["http://localhost/other"]).to_string().as_bytes()).unwrap();
    assert_ne!(elsewhere.client_id().as_str(), other.client_id);
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
    assert_eq!(parse(&settings(), &large).unwrap_err().status(), 413);
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
    let response = serde_json::to_string(&response(&read(&body).unwrap(), NOW)).unwrap();
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
        assert_eq!(response(&read, NOW).token_endpoint_auth_method, "none");
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
            RegistrationRefusal::AuthMethod,
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
            parse(&settings(), text.as_bytes()).unwrap_err(),
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
        parse(&settings, with(uris).to_string().as_bytes()).map(|registration| registration.status)
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
