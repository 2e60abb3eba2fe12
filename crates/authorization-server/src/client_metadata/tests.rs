use doorward_oauth::client_metadata::{ClientIdUrlError, DocumentError};
use doorward_records::model::Tables;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{self, NOW};

const URL: &str = "https://app.example/client.json";

fn url() -> ClientIdUrl {
    ClientIdUrl::parse(URL).unwrap()
}

fn document(redirects: &[&str]) -> Value {
    json!({ "client_id": URL, "client_name": "App", "redirect_uris": redirects,
        "grant_types": ["authorization_code", "refresh_token"] })
}

fn fetched(body: &[u8], fresh_for: Option<u64>) -> FetchedDocument<'_> {
    FetchedDocument {
        body,
        fresh_for: fresh_for.map(Duration::from_secs),
    }
}

fn accepted(settings: &Settings, redirects: &[&str], cached: Option<&Client>) -> Client {
    let body = document(redirects).to_string();
    accept(settings, &url(), fetched(body.as_bytes(), None), cached, NOW)
        .unwrap()
        .client
}

fn patterns(texts: &[&str]) -> Vec<HostPattern> {
    texts
        .iter()
        .map(|text| HostPattern::parse(text).unwrap())
        .collect()
}

fn at(seconds: u64) -> UnixTime {
    NOW.plus(Duration::from_secs(seconds))
}

#[test]
fn g8_a_copy_is_fresh_by_its_headers_within_bounds() {
    let settings = fixture::settings();
    let body = document(&["http://127.0.0.1/cb"]).to_string();
    let day = 24 * 3600;
    for (said, fresh) in [
        (None, 600),
        (Some(0), 60),
        (Some(59), 60),
        (Some(3600), 3600),
        (Some(day * 30), day),
    ] {
        let client = accept(&settings, &url(), fetched(body.as_bytes(), said), None, NOW)
            .unwrap()
            .client;
        let standing = |now| standing(&settings, &client.id, Some(&client), now);
        assert_eq!(standing(at(fresh - 1)), Standing::AsLoaded, "{said:?}");
        assert_eq!(standing(at(fresh)), Standing::Fetch(url()), "{said:?}");
        // The clock was set back: nobody knows how old the copy is.
        assert_eq!(
            standing(NOW.minus(Duration::from_secs(1))),
            Standing::Fetch(url())
        );
        // The last good copy holds for a day where nobody can be asked, however long it was fresh.
        assert!(is_usable(&settings, &client, at(day - 1)));
        assert!(!is_usable(&settings, &client, at(day)));
    }
}

#[test]
fn g5_rg_11_only_urls_that_could_be_documents_are_fetched() {
    let settings = fixture::settings();
    let standing = |id: &str| standing(&settings, &ClientId::new(id), None, NOW);
    assert_eq!(standing(URL), Standing::Fetch(url()));
    assert_eq!(standing("dcr_abc"), Standing::AsLoaded);
    assert_eq!(
        standing("https://169.254.169.254/x"),
        Standing::Refused(PageProblem::DocumentAddress(ClientIdUrlError::Host))
    );
    assert_eq!(
        standing("http://app.example/x"),
        Standing::Refused(PageProblem::DocumentAddress(ClientIdUrlError::NotHttps))
    );
}

#[test]
fn a_preregistered_url_is_a_client_like_any_other() {
    let mut settings = fixture::settings();
    settings.client_metadata_documents.enabled = false;
    let client = Client {
        id: ClientId::new(URL),
        origin: ClientOrigin::Operator,
        ..fixture::client(&["https://app.example/cb"])
    };
    assert_eq!(
        standing(&settings, &client.id, Some(&client), NOW),
        Standing::AsLoaded
    );
    assert!(is_usable(&settings, &client, at(1_000_000_000)));
}

#[test]
fn a3_switched_off_means_no_fetch_and_no_use_of_copies() {
    let mut settings = fixture::settings();
    let client = accepted(&settings, &["http://127.0.0.1/cb"], None);
    settings.client_metadata_documents.enabled = false;
    for cached in [None, Some(&client)] {
        assert_eq!(
            standing(&settings, &client.id, cached, NOW),
            Standing::Refused(PageProblem::DocumentsOff)
        );
    }
    assert!(!is_usable(&settings, &client, NOW));
}

#[test]
fn s12_b26_hosts_are_allowed_asked_about_or_denied() {
    let mut settings = fixture::settings();
    let policy = &mut settings.client_metadata_documents;
    policy.allow = patterns(&["*.example.com", "app.example"]);
    policy.ask = patterns(&["ask.example.com"]);
    policy.deny = patterns(&["*.bad.example.com"]);
    for otherwise in [Verdict::Allow, Verdict::Ask, Verdict::Deny] {
        policy.otherwise = otherwise;
        for (host, verdict) in [
            ("app.example", Verdict::Allow),
            ("a.example.com", Verdict::Allow),
            ("a.b.example.com", Verdict::Allow),
            ("ask.example.com", Verdict::Ask),
            ("x.bad.example.com", Verdict::Deny),
            ("example.com", otherwise),
            ("evilexample.com", otherwise),
            ("app.example.evil", otherwise),
            ("notapp.example", otherwise),
        ] {
            assert_eq!(policy.verdict(host), verdict, "{host}");
        }
    }
    for bad in [
        "",
        "*",
        "*.",
        "a..b",
        "App.example",
        "https://a.example",
        "a.example/",
        "*.*.a",
        "a.*",
    ] {
        assert_eq!(HostPattern::parse(bad), Err(NotAHostPattern), "{bad}");
    }
}

#[test]
fn b26_a_denied_host_is_not_fetched_and_its_copies_die() {
    let mut settings = fixture::settings();
    let client = accepted(&settings, &["http://127.0.0.1/cb"], None);
    assert!(is_usable(&settings, &client, NOW));
    settings.client_metadata_documents.deny = patterns(&["app.example"]);
    let refused = Standing::Refused(PageProblem::DocumentHostDenied("app.example".into()));
    assert_eq!(standing(&settings, &client.id, None, NOW), refused);
    assert_eq!(standing(&settings, &client.id, Some(&client), NOW), refused);
    assert!(!is_usable(&settings, &client, NOW));
}

#[test]
fn r17_the_redirect_rules_of_registration_hold_for_documents() {
    let mut settings = fixture::settings();
    let status = |settings: &Settings, redirects: &[&str]| accepted(settings, redirects, None).status;
    let unknown = &["https://app.example/cb"][..];
    assert_eq!(
        status(&settings, &["http://127.0.0.1/cb"]),
        ClientStatus::Approved
    );
    assert_eq!(
        status(&settings, &["https://claude.ai/api/mcp/auth_callback"]),
        ClientStatus::Approved
    );
    assert_eq!(status(&settings, unknown), ClientStatus::Pending);
    settings.registration.mode = RegistrationMode::Open;
    assert_eq!(status(&settings, unknown), ClientStatus::Approved);
    settings.client_metadata_documents.otherwise = Verdict::Ask;
    assert_eq!(status(&settings, unknown), ClientStatus::Pending);
    // Registration may be off: documents have a switch of their own.
    settings.registration.mode = RegistrationMode::Off;
    settings.client_metadata_documents.allow = patterns(&["app.example"]);
    assert_eq!(status(&settings, unknown), ClientStatus::Approved);
}

#[test]
fn an_operators_word_outlives_the_copy_it_was_given_for() {
    let mut settings = fixture::settings();
    settings.client_metadata_documents.otherwise = Verdict::Ask;
    let pending = accepted(&settings, &["http://127.0.0.1/cb"], None);
    let approved = Client {
        status: ClientStatus::Approved,
        approved: Some(NOW),
        ..pending.clone()
    };
    let disabled = Client {
        status: ClientStatus::Disabled,
        ..pending.clone()
    };
    let again = |cached: &Client| accepted(&settings, &["http://127.0.0.1/other"], Some(cached));
    assert_eq!(again(&pending).status, ClientStatus::Pending);
    assert_eq!(again(&approved).status, ClientStatus::Approved);
    assert_eq!(again(&disabled).status, ClientStatus::Disabled);
    assert_eq!(
        again(&approved).metadata.redirect_uris,
        ["http://127.0.0.1/other"]
    );
    // Nothing is fetched for a client that is switched off.
    assert_eq!(
        standing(&settings, &disabled.id, Some(&disabled), at(1_000_000)),
        Standing::AsLoaded
    );
}

#[test]
fn rg_09_a_bad_document_is_stored_nowhere_and_leaves_a_good_copy_alone() {
    let settings = fixture::settings();
    let good = accepted(&settings, &["http://127.0.0.1/cb"], None);
    for cached in [None, Some(&good)] {
        let refused = accept(&settings, &url(), fetched(b"[]", None), cached, NOW);
        assert_eq!(
            refused.map(|_| ()),
            Err(PageProblem::DocumentRefused(DocumentError::NotAnObject))
        );
    }
}

#[test]
fn the_unit_stores_the_copy_once_and_renews_it() {
    let settings = fixture::settings();
    let mut tables = Tables::new();
    let body = document(&["http://127.0.0.1:3000/cb", "http://127.0.0.1:4000/cb"]).to_string();
    let first = accept(&settings, &url(), fetched(body.as_bytes(), None), None, NOW).unwrap();
    tables.apply(&first.unit).unwrap();
    assert!(tables.apply(&first.unit).is_err(), "somebody else was first");
    let stored = tables.client(&first.client.id).unwrap();
    assert_eq!(stored, first.client);
    assert_eq!(stored.metadata.redirect_uris, ["http://127.0.0.1/cb"]);
    let later = at(700);
    let second = accept(
        &settings,
        &url(),
        fetched(body.as_bytes(), None),
        Some(&stored),
        later,
    )
    .unwrap();
    tables.apply(&second.unit).unwrap();
    assert!(
        tables.apply(&second.unit).is_err(),
        "decided on a row that is no more"
    );
    let renewed = tables.client(&first.client.id).unwrap();
    assert_eq!((renewed.created, renewed.document.unwrap().fetched), (NOW, later));
}

#[test]
fn keys_of_a_document_become_the_clients_keys() {
    let settings = fixture::settings();
    let mut body = document(&["http://127.0.0.1/cb"]);
    body["token_endpoint_auth_method"] = json!("private_key_jwt");
    body["jwks_uri"] = json!("https://app.example/jwks.json");
    body["token_endpoint_auth_signing_alg"] = json!("ES256");
    let body = body.to_string();
    let metadata = accept(&settings, &url(), fetched(body.as_bytes(), None), None, NOW)
        .unwrap()
        .client
        .metadata;
    assert_eq!(metadata.token_endpoint_auth_method, "private_key_jwt");
    assert_eq!(
        metadata.jwks_uri.as_deref(),
        Some("https://app.example/jwks.json")
    );
    assert_eq!(metadata.token_endpoint_auth_signing_alg.as_deref(), Some("ES256"));
}
