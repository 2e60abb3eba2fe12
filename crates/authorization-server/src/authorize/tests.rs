use doorward_records::client::ClientOrigin;
use doorward_types::random::CountingRandom;
use doorward_types::secret::Secret;

use super::*;
use crate::fixture::{self, NOW, client, settings, two_servers};

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const REDIRECT: &str = "https://c1.test/cb";

fn base(client: &Client) -> Vec<(&'static str, String)> {
    vec![
        ("response_type", "code".into()),
        ("client_id", client.id.as_str().into()),
        ("redirect_uri", REDIRECT.into()),
        ("scope", "t:read".into()),
        ("state", "S 1&ü".into()),
        ("code_challenge", CHALLENGE.into()),
        ("code_challenge_method", "S256".into()),
        ("resource", "https://mcp.example.com/a/mcp".into()),
    ]
}

/// The usual request with some parameters changed, added or (with `-name`) removed.
fn query(client: &Client, changes: &[(&'static str, &str)]) -> String {
    let mut pairs = base(client);
    for (name, value) in changes {
        if let Some(name) = name.strip_prefix('-') {
            pairs.retain(|(n, _)| *n != name);
        } else if let Some(name) = name.strip_prefix('+') {
            pairs.push((name, (*value).into()));
        } else {
            pairs.retain(|(n, _)| n != name);
            pairs.push((name, (*value).into()));
        }
    }
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

fn browser(session: bool) -> Browser {
    let session = session.then(|| Session {
        id: Secret::new("s").digest(),
        user: fixture::user("alice", &[]).id,
        authenticated_at: NOW,
        expires: NOW.plus(std::time::Duration::from_hours(1)),
        device: None,
        methods: vec!["pwd".into()],
    });
    Browser {
        prelogin: Secret::new("p").digest(),
        session,
    }
}

fn ask_with(
    settings: &Settings,
    client: &Client,
    changes: &[(&'static str, &str)],
    signed_in: bool,
) -> Result<PendingRequest, Refusal> {
    let request = parse(&query(client, changes))?;
    decide(
        settings,
        &request,
        Some(client),
        &browser(signed_in),
        NOW,
        &CountingRandom::default(),
    )
}

fn ask(changes: &[(&'static str, &str)]) -> Result<PendingRequest, Refusal> {
    ask_with(&settings(), &client(&[REDIRECT]), changes, false)
}

/// The error that goes back to the client; `state` and `iss` must be there, a code must not.
fn redirected(refused: Result<PendingRequest, Refusal>) -> &'static str {
    let Err(Refusal::Redirect { location, error, .. }) = refused else {
        panic!("{refused:?}")
    };
    let url = url::Url::parse(location.expose()).unwrap();
    let get = |name: &str| {
        url.query_pairs()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.into_owned())
    };
    assert!(location.expose().starts_with("https://c1.test/cb?"));
    assert_eq!(get("error").as_deref(), Some(error.as_str()));
    assert_eq!(get("iss").as_deref(), Some("https://mcp.example.com"));
    assert_eq!(get("code"), None);
    assert!(get("state").is_none_or(|state| state == "S 1&ü"));
    error.as_str()
}

#[test]
fn r18_r19_a_good_request_waits_with_everything_bound() {
    let pending = ask(&[]).unwrap();
    assert_eq!(pending.redirect_uri, REDIRECT);
    assert_eq!(pending.resource.as_str(), "https://mcp.example.com/a/mcp");
    assert_eq!(pending.offered.to_string(), "t:read");
    assert_eq!(pending.state.as_deref(), Some("S 1&ü"));
    assert_eq!(pending.code_challenge.as_str(), CHALLENGE);
    assert_eq!((pending.session, pending.user), (None, None));
    assert_eq!(pending.issued, NOW);
    let text = serde_json::to_string(&pending).unwrap();
    assert_eq!(serde_json::from_str::<PendingRequest>(&text).unwrap(), pending);
}

#[test]
fn az_01_unknown_client_and_missing_or_foreign_redirect_are_pages() {
    let settings = settings();
    let one = client(&[REDIRECT]);
    let two = client(&[REDIRECT, "https://c1.test/other"]);
    let unknown = decide(
        &settings,
        &parse(&query(&one, &[])).unwrap(),
        None,
        &browser(false),
        NOW,
        &CountingRandom::default(),
    );
    assert_eq!(unknown, Err(PageProblem::UnknownClient.into()));
    assert_eq!(
        parse("response_type=code").map(|_| ()),
        Err(PageProblem::MissingClient)
    );
    assert_eq!(
        ask(&[("redirect_uri", "https://evil.test/cb")]),
        Err(PageProblem::UnregisteredRedirect.into())
    );
    assert_eq!(
        ask_with(&settings, &two, &[("-redirect_uri", "")], false),
        Err(PageProblem::MissingRedirect.into())
    );
    let only = ask_with(&settings, &one, &[("-redirect_uri", "")], false).unwrap();
    assert_eq!(only.redirect_uri, REDIRECT);
    let loopback = client(&["http://127.0.0.1/cb"]);
    let missing = ask_with(&settings, &loopback, &[("-redirect_uri", "")], false);
    assert_eq!(
        missing,
        Err(PageProblem::MissingRedirect.into()),
        "the port is unknown"
    );
}

#[test]
fn az_02_redirect_near_misses_are_pages() {
    for near in [
        "https://c1.test/CB",
        "https://c1.test/cb/",
        "https://c1.test/cb?x",
        "https://c1.test:443/cb",
        "https://c1.test@evil.test/cb",
        "https://c1.test.evil.test/cb",
        "https://c1.test\\@evil.test/cb",
        "https://c1.test/%2e%2e/cb",
        "https://c1.test/cb#f",
        "http://c1.test/cb",
        "https://c1\u{2024}test/cb",
        "https:/\t/c1.test/cb",
        "javascript:alert(1)",
        "https://c1.test/%2563b",
    ] {
        assert_eq!(
            ask(&[("redirect_uri", near)]),
            Err(PageProblem::UnregisteredRedirect.into()),
            "{near}"
        );
    }
}

#[test]
fn s8_az_03_loopback_redirects_match_on_any_port_and_keep_it() {
    let client = client(&["http://127.0.0.1/cb"]);
    let pending = ask_with(
        &settings(),
        &client,
        &[("redirect_uri", "http://127.0.0.1:49152/cb")],
        false,
    )
    .unwrap();
    assert_eq!(pending.redirect_uri, "http://127.0.0.1:49152/cb");
    let other = ask_with(
        &settings(),
        &client,
        &[("redirect_uri", "http://localhost:49152/cb")],
        false,
    );
    assert_eq!(other, Err(PageProblem::UnregisteredRedirect.into()));
}

#[test]
fn az_04_only_codes_in_the_query() {
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", "code token"), "unsupported_response_type"),
        (("response_type", "id_token"), "unsupported_response_type"),
        (("-response_type", ""), "invalid_request"),
        (("response_mode", "fragment"), "invalid_request"),
        (("response_mode", "form_post"), "invalid_request"),
    ] {
        assert_eq!(redirected(ask(&[change])), error, "{change:?}");
    }
    assert!(ask(&[("response_mode", "query")]).is_ok());
}

#[test]
fn r18_az_05_pkce_with_s256_or_nothing() {
    let long = "a".repeat(129);
    for change in [
        ("-code_challenge", ""),
        ("-code_challenge_method", ""),
        ("code_challenge_method", "plain"),
        ("code_challenge_method", "s256"),
        ("code_challenge_method", "S512"),
        ("code_challenge", ""),
        ("code_challenge", &CHALLENGE[..42]),
        ("code_challenge", &long),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"),
    ] {
        assert_eq!(redirected(ask(&[change])), "invalid_request", "{change:?}");
    }
}

#[test]
fn az_06_repeated_parameters() {
    let client = client(&[REDIRECT]);
    for (name, value) in base(&client) {
        let again: Vec<(&'static str, &str)> = vec![match name {
            "response_type" => ("+response_type", &value),
            "client_id" => ("+client_id", &value),
            "redirect_uri" => ("+redirect_uri", &value),
            "scope" => ("+scope", &value),
            "state" => ("+state", "other"),
            "code_challenge" => ("+code_challenge", &value),
            "code_challenge_method" => ("+code_challenge_method", &value),
            _ => continue,
        }];
        let refused = ask(&again);
        if matches!(name, "client_id" | "redirect_uri") {
            assert_eq!(refused, Err(PageProblem::AmbiguousClient.into()), "{name}");
        } else {
            assert_eq!(redirected(refused), "invalid_request", "{name}");
        }
    }
}

#[test]
fn r19_a21_az_07_one_resource_that_we_serve() {
    let rb = "https://mcp.example.com/b/mcp";
    for changes in [
        vec![("resource", rb)],
        vec![("resource", "https://mcp.example.com/a/mcp#x")],
        vec![("resource", "/a/mcp")],
        vec![("resource", "http://mcp.example.com/a/mcp")],
        vec![("resource", "*")],
        vec![("+resource", rb)],
        vec![("+resource", "https://mcp.example.com/a/mcp")],
    ] {
        assert_eq!(redirected(ask(&changes)), "invalid_target", "{changes:?}");
    }
    let bound = |pending: PendingRequest| pending.resource.as_str().to_owned();
    assert_eq!(
        bound(ask(&[("-resource", "")]).unwrap()),
        "https://mcp.example.com/a/mcp",
        "the only server"
    );
    assert_eq!(
        bound(ask(&[("resource", "HTTPS://MCP.Example.com:443/a/mcp")]).unwrap()),
        "https://mcp.example.com/a/mcp"
    );
    let client = client(&[REDIRECT]);
    assert_eq!(
        redirected(ask_with(&two_servers(), &client, &[("-resource", "")], false)),
        "invalid_target"
    );
    let b = ask_with(&two_servers(), &client, &[("resource", rb)], false).unwrap();
    assert_eq!((b.resource.as_str(), b.offered.to_string().as_str()), (rb, "b"));
}

#[test]
fn az_07_r17_only_servers_that_the_client_may_use() {
    let restricted = Client {
        servers: Some(vec!["a".into()]),
        ..client(&[REDIRECT])
    };
    let ask = |resource| ask_with(&two_servers(), &restricted, &[("resource", resource)], true);
    assert!(ask("https://mcp.example.com/a/mcp").is_ok());
    assert_eq!(redirected(ask("https://mcp.example.com/b/mcp")), "invalid_target");
}

#[test]
fn r17_a_client_that_only_speaks_for_itself_gets_no_codes() {
    let mut client = client(&[REDIRECT]);
    client.metadata.grant_types = vec!["client_credentials".into()];
    let refused = ask_with(&settings(), &client, &[], true);
    assert_eq!(redirected(refused), "unauthorized_client");
}

#[test]
fn az_08_request_objects_are_refused_and_unknown_parameters_ignored() {
    assert_eq!(
        redirected(ask(&[("request_uri", "https://canary.test/x")])),
        "request_uri_not_supported"
    );
    assert_eq!(redirected(ask(&[("request", "a.b.c")])), "request_not_supported");
    assert!(
        ask(&[
            ("logo_uri", "https://canary.test/x"),
            ("foo", "https://canary.test/y")
        ])
        .is_ok()
    );
}

#[test]
fn az_10_prompt_none_never_shows_a_page_and_never_gives_a_code() {
    let client = client(&[REDIRECT]);
    let prompt = |value, signed_in| ask_with(&settings(), &client, &[("prompt", value)], signed_in);
    assert_eq!(redirected(prompt("none", false)), "login_required");
    assert_eq!(redirected(prompt("none", true)), "consent_required");
    assert_eq!(redirected(prompt("none login", true)), "invalid_request");
    assert!(prompt("consent", true).unwrap().session.is_some());
    assert!(prompt("login", true).unwrap().session.is_none(), "sign in again");
}

#[test]
fn scopes_unknown_ones_are_dropped_and_none_means_the_default_set() {
    for (asked, offered) in [
        ("t:read", "t:read"),
        ("t:read nonsense openid offline_access", "t:read"),
        ("t:read t:write", "t:read t:write"),
        ("", "t:read t:write"),
        ("openid offline_access", "t:read t:write"),
    ] {
        assert_eq!(
            ask(&[("scope", asked)]).unwrap().offered.to_string(),
            offered,
            "{asked}"
        );
    }
    assert_eq!(redirected(ask(&[("scope", "a  b")])), "invalid_scope");
    assert_eq!(redirected(ask(&[("scope", "a\"b")])), "invalid_scope");
}

#[test]
fn a30_what_a_library_registered_for_its_first_login_ends_no_step_up() {
    let mut settings = settings();
    settings.servers[0].scopes = fixture::broad_and_narrow();
    let mut client = client(&[REDIRECT]);
    client.metadata.scope = Some("read openid".into());
    let offered = |client: &Client, scope| {
        let pending = ask_with(&settings, client, &[("scope", scope)], false);
        pending.map(|pending| pending.offered.to_string())
    };
    assert_eq!(
        offered(&client, "").unwrap(),
        "read",
        "of the default set what it registered"
    );
    assert_eq!(offered(&client, "read write").unwrap(), "read write");
    client.metadata.scope = Some("other".into());
    assert_eq!(offered(&client, "").unwrap(), "mail read");
    // An operator's limit is one, and reaches to what it implies.
    client.origin = ClientOrigin::Operator;
    client.metadata.scope = Some("write".into());
    assert_eq!(offered(&client, "read write mail admin").unwrap(), "read write");
    assert_eq!(offered(&client, "").unwrap(), "read");
    let mail = ask_with(&settings, &client, &[("scope", "mail")], false);
    assert_eq!(redirected(mail), "invalid_scope");
}

#[test]
fn r17_a_client_that_waits_for_approval_gets_a_page() {
    let mut pending = client(&[REDIRECT]);
    pending.status = ClientStatus::Pending;
    let refused = ask_with(&settings(), &pending, &[], false);
    assert_eq!(refused, Err(PageProblem::ClientPending(pending.id).into()));
    let long = "s".repeat(MAX_STATE + 1);
    assert_eq!(ask(&[("state", &long)]), Err(PageProblem::StateTooLong.into()));
    assert_eq!(parse("client_id=%zz").map(|_| ()).unwrap_err().status(), 400);
}
