use doorward_types::secret::Secret;
use doorward_types::time::{Clock as _, UnixTime};
use serde_json::{Value, json};
use std::time::Duration;

use super::*;
use crate::registration::PreRegistered;
use crate::testing::{Desk, Script, client, headers, metadata, metadata_with, options, tokens, url};

const SERVER: &str = "https://mcp.example.com/mcp";
const PRM: &str = "GET https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
const ONE: &str = "https://one.example";
const TWO: &str = "https://two.example";

fn document(issuer: &str) -> String {
    format!("GET {issuer}/.well-known/oauth-authorization-server")
}

fn prm(issuer: &str) -> Value {
    json!({ "resource": SERVER, "authorization_servers": [issuer] })
}

fn bearer(access_token: &str) -> Value {
    json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": format!("refresh-of-{access_token}")
    })
}

/// An MCP server whose authorization server is `issuer`, which registers clients as `client_id`.
fn world(issuer: &str, client_id: &str) -> Script {
    Script::default()
        .on(PRM, prm(issuer))
        .on(&document(issuer), metadata(issuer))
        .on(
            &format!("POST {issuer}/register"),
            (201, json!({ "client_id": client_id })),
        )
        .on(&format!("POST {issuer}/token"), bearer("new"))
}

async fn redirected(desk: &Desk, options: &Options, why: &Why) -> Url {
    match authorize(&desk.env(), options, why).await.unwrap() {
        Outcome::Redirect(url) => url,
        Outcome::Authorized(tokens) => panic!("{tokens:?}"),
    }
}

async fn authorized(desk: &Desk, options: &Options, why: &Why) -> Tokens {
    match authorize(&desk.env(), options, why).await.unwrap() {
        Outcome::Authorized(tokens) => tokens,
        Outcome::Redirect(url) => panic!("{url}"),
    }
}

fn get(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(n, _)| n == name)
        .map(|(_, value)| value.into_owned())
}

/// What the authorization server of `url` would send back.
fn answer(url: &Url, issuer: &str) -> CallbackParameters {
    let state = get(url, "state").unwrap();
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("code", "the-code"), ("state", &state), ("iss", issuer)])
        .finish();
    CallbackParameters::from_query(&query).unwrap()
}

async fn log_in(desk: &Desk, options: &Options, issuer: &str) -> Tokens {
    let url = redirected(desk, options, &Why::default()).await;
    finish(&desk.env(), options, &answer(&url, issuer)).await.unwrap()
}

#[tokio::test]
async fn r21_r22_a4_a6_a19_r19_a_login_from_the_url_to_the_tokens() {
    let desk = Desk::new(world(ONE, "registered"));
    let options = options(SERVER);
    let shown = redirected(&desk, &options, &Why::default()).await;
    assert_eq!(
        desk.memory.shown.lock().unwrap().as_slice(),
        std::slice::from_ref(&shown)
    );
    assert_eq!(get(&shown, "client_id").as_deref(), Some("registered"));
    assert_eq!(get(&shown, "resource").as_deref(), Some(SERVER));
    assert_eq!(get(&shown, "scope"), None);
    assert_eq!(
        desk.http.take_lines(),
        [PRM.to_owned(), document(ONE), format!("POST {ONE}/register")]
    );

    let tokens = finish(&desk.env(), &options, &answer(&shown, ONE)).await.unwrap();
    assert_eq!(tokens.access_token, Secret::new("new"));
    assert_eq!((tokens.issuer.as_str(), tokens.resource.as_str()), (ONE, SERVER));
    assert_eq!(
        tokens.expires_at,
        Some(desk.clock.now().plus(Duration::from_secs(3600)))
    );
    let form = desk.http.sent()[0].form();
    assert_eq!(form.get("grant_type"), Some("authorization_code"));
    assert_eq!(form.get("code"), Some("the-code"));
    assert_eq!(form.get("resource"), Some(SERVER));
    assert_eq!(form.get("redirect_uri"), Some("http://127.0.0.1:4711/callback"));
    assert_eq!(form.get("client_id"), Some("registered"));
    let challenge =
        doorward_oauth::pkce::CodeChallenge::parse(&get(&shown, "code_challenge").unwrap()).unwrap();
    assert!(challenge.is_answered_by(form.get("code_verifier").unwrap()));

    // The next time they are there.
    desk.http.take_lines();
    assert_eq!(
        authorized(&desk, &options, &Why::default()).await.access_token,
        tokens.access_token
    );
    assert_eq!(desk.http.take_lines(), [PRM.to_owned(), document(ONE)]);
}

#[tokio::test]
async fn cl_06_one_answer_is_exchanged_and_no_other() {
    let desk = Desk::new(world(ONE, "registered"));
    let options = options(SERVER);
    let url = redirected(&desk, &options, &Why::default()).await;
    desk.http.take_lines();
    for wrong in ["code=evil", "code=evil&state=x", "error=access_denied"] {
        let wrong = CallbackParameters::from_query(wrong).unwrap();
        assert!(matches!(
            finish(&desk.env(), &options, &wrong).await,
            Err(CallbackError::NotOurs)
        ));
    }
    let good = answer(&url, ONE);
    assert!(finish(&desk.env(), &options, &good).await.is_ok());
    assert!(matches!(
        finish(&desk.env(), &options, &good).await,
        Err(CallbackError::NotOurs)
    ));
    assert_eq!(desk.http.take_lines(), [format!("POST {ONE}/token")]);
}

#[tokio::test]
async fn cl_05_a16_a_code_of_somebody_else_is_sent_nowhere() {
    let desk = Desk::new(world(ONE, "registered"));
    let options = options(SERVER);
    let url = redirected(&desk, &options, &Why::default()).await;
    desk.http.take_lines();
    assert!(finish(&desk.env(), &options, &answer(&url, TWO)).await.is_err());
    assert!(desk.http.take_lines().is_empty());
    // And the request is over: the right answer that comes later is not exchanged either.
    assert!(matches!(
        finish(&desk.env(), &options, &answer(&url, ONE)).await,
        Err(CallbackError::NotOurs)
    ));
}

#[tokio::test]
async fn r21_a_token_that_ends_is_renewed_and_one_that_was_refused_too() {
    let desk = Desk::new(world(ONE, "registered"));
    let options = options(SERVER);
    let first = log_in(&desk, &options, ONE).await;
    desk.http.clear(&format!("POST {ONE}/token"));
    desk.http.add(&format!("POST {ONE}/token"), bearer("second"));
    desk.http.add(&format!("POST {ONE}/token"), bearer("third"));
    desk.clock.advance(Duration::from_secs(3595));
    let second = authorized(&desk, &options, &Why::default()).await;
    assert_eq!(second.access_token, Secret::new("second"));
    let form = desk.http.sent().last().unwrap().form();
    assert_eq!(form.get("refresh_token"), Some("refresh-of-new"));
    assert_eq!(form.get("resource"), Some(SERVER));

    let why = Why {
        rejected: Some(second.access_token.clone()),
        ..Why::default()
    };
    assert_eq!(
        authorized(&desk, &options, &why).await.access_token,
        Secret::new("third")
    );
    // What another process refused meanwhile is not ours any more: nothing to do.
    let why = Why {
        rejected: Some(first.access_token),
        ..Why::default()
    };
    assert_eq!(
        authorized(&desk, &options, &why).await.access_token,
        Secret::new("third")
    );
}

#[tokio::test]
async fn a_dead_refresh_token_leads_to_a_login_with_the_scopes_of_before() {
    let desk = Desk::new(world(ONE, "registered"));
    let options = options(SERVER);
    let mut kept = tokens(ONE, SERVER);
    kept.expires_at = Some(UnixTime::EPOCH);
    kept.client_id = "registered".into();
    desk.memory.save_tokens(&kept).await.unwrap();
    desk.memory
        .save_client(&ClientInformation {
            client_id: "registered".into(),
            ..client(ONE)
        })
        .await
        .unwrap();
    desk.http.clear(&format!("POST {ONE}/token"));
    desk.http.add(
        &format!("POST {ONE}/token"),
        (400, json!({ "error": "invalid_grant" })),
    );
    let url = redirected(&desk, &options, &Why::default()).await;
    assert_eq!(
        (get(&url, "scope").as_deref(), get(&url, "client_id").as_deref()),
        (Some("notes"), Some("registered"))
    );
    assert!(desk.memory.tokens(ONE, SERVER).await.unwrap().is_none());

    // A server that forgot its clients is registered with anew.
    desk.memory.save_tokens(&kept).await.unwrap();
    desk.http.clear(&format!("POST {ONE}/token"));
    desk.http.add(
        &format!("POST {ONE}/token"),
        (401, json!({ "error": "invalid_client" })),
    );
    desk.http.take_lines();
    redirected(&desk, &options, &Why::default()).await;
    assert!(desk.http.take_lines().contains(&format!("POST {ONE}/register")));
}

#[tokio::test]
async fn a_server_that_does_not_answer_loses_no_tokens() {
    let desk = Desk::new(world(ONE, "registered"));
    let options = options(SERVER);
    log_in(&desk, &options, ONE).await;
    desk.http.clear(&format!("POST {ONE}/token"));
    desk.http.add(
        &format!("POST {ONE}/token"),
        (503, json!({ "error": "temporarily_unavailable" })),
    );
    desk.clock.advance(Duration::from_secs(3595));
    assert_eq!(
        authorized(&desk, &options, &Why::default()).await.access_token,
        Secret::new("new"),
        "good for 5 s more"
    );
    desk.clock.advance(Duration::from_secs(5));
    assert!(authorize(&desk.env(), &options, &Why::default()).await.is_err());
    assert!(desk.memory.tokens(ONE, SERVER).await.unwrap().is_some());
}

#[tokio::test]
async fn a25_d2_g13_g14_cl_08_a_new_authorization_server_sees_nothing_of_the_old_one() {
    let desk = Desk::new(world(ONE, "id-of-one"));
    let options = options(SERVER);
    let old = log_in(&desk, &options, ONE).await;
    desk.http.clear(PRM);
    desk.http.add(PRM, prm(TWO));
    desk.http.add(&document(TWO), metadata(TWO));
    desk.http.add(
        &format!("POST {TWO}/register"),
        (201, json!({ "client_id": "id-of-two" })),
    );
    desk.http.add(&format!("POST {TWO}/token"), bearer("of-two"));
    desk.http.take_lines();

    let why = Why {
        rejected: Some(old.access_token.clone()),
        ..Why::default()
    };
    let url = redirected(&desk, &options, &why).await;
    assert_eq!(get(&url, "client_id").as_deref(), Some("id-of-two"));
    assert!(url.as_str().starts_with("https://two.example/authorize?"));
    assert_eq!(
        finish(&desk.env(), &options, &answer(&url, TWO))
            .await
            .unwrap()
            .access_token,
        Secret::new("of-two")
    );
    for sent in desk
        .http
        .sent()
        .iter()
        .filter(|sent| sent.request.url.host_str() == Some("two.example"))
    {
        for secret in ["id-of-one", "refresh-of-new", "\"new\""] {
            assert!(
                !sent.body().contains(secret) && !sent.line().contains(secret),
                "{}",
                sent.line()
            );
        }
    }
    assert!(
        desk.http
            .sent()
            .iter()
            .all(|sent| sent.request.url.host_str() != Some("one.example"))
    );
}

#[tokio::test]
async fn cl_08_g14_a_secret_is_pinned_to_the_first_server_it_was_used_with() {
    let desk = Desk::new(world(ONE, "unused"));
    let mut options = options(SERVER);
    options.application.pre_registered = Some(PreRegistered {
        client_id: "typed".into(),
        client_secret: Some(Secret::new("typed-secret")),
        token_endpoint_auth_method: None,
        issuer: None,
    });
    log_in(&desk, &options, ONE).await;
    assert!(!desk.http.take_lines().contains(&format!("POST {ONE}/register")));
    desk.http.clear(PRM);
    desk.http.add(PRM, prm(TWO));
    desk.http.add(&document(TWO), metadata(TWO));
    let Err(Error::Refused(refusal)) = authorize(&desk.env(), &options, &Why::default()).await else {
        panic!()
    };
    assert_eq!(refusal.rule, "G14");
    assert_eq!(desk.http.take_lines(), [PRM.to_owned(), document(TWO)]);
}

#[tokio::test]
async fn g10_a_secret_goes_by_the_method_that_the_server_lists() {
    let basic = metadata_with(
        ONE,
        &json!({
            "token_endpoint_auth_methods_supported": ["client_secret_basic"], "registration_endpoint": null
        }),
    );
    let desk = Desk::new(world(ONE, "unused"));
    desk.http.clear(&document(ONE));
    desk.http.add(&document(ONE), basic);
    let mut options = options(SERVER);
    options.application.pre_registered = Some(PreRegistered {
        client_id: "pre-registered-client".into(),
        client_secret: Some(Secret::new("pre-registered-secret")),
        token_endpoint_auth_method: None,
        issuer: None,
    });
    log_in(&desk, &options, ONE).await;
    let sent = desk.http.sent();
    let exchange = sent.last().unwrap();
    assert_eq!(
        exchange.header("authorization"),
        Some("Basic cHJlLXJlZ2lzdGVyZWQtY2xpZW50OnByZS1yZWdpc3RlcmVkLXNlY3JldA==")
    );
    assert!(!exchange.body().contains("pre-registered-secret"));
}

#[tokio::test]
async fn a10_a35_a_step_up_asks_for_the_union_and_does_not_renew() {
    let desk = Desk::new(world(ONE, "registered"));
    let options = options(SERVER);
    log_in(&desk, &options, ONE).await;
    let why = Why {
        scope: Some("a b".parse().unwrap()),
        ..Why::default()
    };
    let url = redirected(&desk, &options, &why).await;
    assert_eq!(get(&url, "scope").as_deref(), Some("a b"));
    let tokens = finish(&desk.env(), &options, &answer(&url, ONE)).await.unwrap();
    assert_eq!(tokens.scope.to_string(), "a b", "not told: as asked");
    // Somebody else did it meanwhile: nothing to do.
    assert_eq!(
        authorized(&desk, &options, &why).await.access_token,
        tokens.access_token
    );
}

#[tokio::test]
async fn a12_a28_the_first_request_asks_for_what_the_challenge_names() {
    let desk = Desk::new(world(ONE, "registered"));
    desk.http.clear(&document(ONE));
    desk.http.add(
        &document(ONE),
        metadata_with(ONE, &json!({ "scopes_supported": ["x", "offline_access"] })),
    );
    let line = "Bearer scope=\"mcp:basic\", resource_metadata=\"https://mcp.example.com/custom\"";
    let challenge = Challenge::read(&headers(&[("www-authenticate", line)]), &UrlPolicy::strict());
    desk.http.add("GET https://mcp.example.com/custom", prm(ONE));
    let why = Why {
        challenge: Some(challenge),
        ..Why::default()
    };
    let url = redirected(&desk, &options(SERVER), &why).await;
    assert_eq!(get(&url, "scope").as_deref(), Some("mcp:basic offline_access"));
    assert_eq!(desk.http.take_lines()[0], "GET https://mcp.example.com/custom");
}

#[tokio::test]
async fn cl_13_nobody_is_registered_for_a_list_of_scopes_without_end() {
    let desk = Desk::new(world(ONE, "registered"));
    let scopes: Vec<String> = (0..200).map(|n| format!("scope-{n}")).collect();
    desk.http.clear(PRM);
    let prm = json!({ "resource": SERVER, "authorization_servers": [ONE], "scopes_supported": scopes });
    desk.http.add(PRM, prm);
    let Err(Error::Refused(refusal)) = authorize(&desk.env(), &options(SERVER), &Why::default()).await else {
        panic!()
    };
    assert_eq!(refusal.rule, "A12");
    assert_eq!(desk.http.take_lines(), [PRM.to_owned(), document(ONE)]);
}

#[tokio::test]
async fn b11_plain_http_to_elsewhere_is_for_who_asks_for_it() {
    let mut options = options("http://10.0.0.5:8000/mcp");
    let desk = Desk::new(Script::default());
    let Err(Error::Refused(refusal)) = discover(&desk.env(), &options, None).await else {
        panic!()
    };
    assert_eq!(refusal.rule, "B11");
    assert!(desk.http.take_lines().is_empty());
    options.allow_insecure_http = true;
    assert!(discover(&desk.env(), &options, None).await.is_err());
    assert_eq!(desk.http.take_lines().len(), 2);
}

#[tokio::test]
async fn legacy_is_off_when_the_challenge_names_a_document() {
    let mut options = options(SERVER);
    options.legacy = true;
    let desk = Desk::new(Script::default());
    let found = discover(&desk.env(), &options, None).await.unwrap();
    assert_eq!(
        found.authorization_server.token_endpoint,
        url("https://mcp.example.com/token")
    );
    let line = "Bearer resource_metadata=\"https://mcp.example.com/gone\"";
    let challenge = Challenge::read(&headers(&[("www-authenticate", line)]), &UrlPolicy::strict());
    let Err(Error::Refused(refusal)) = discover(&desk.env(), &options, Some(&challenge)).await else {
        panic!()
    };
    assert_eq!(refusal.rule, "D3");
}

#[tokio::test]
async fn bound_tokens_where_they_are_asked_for() {
    let bound = json!({ "access_token": "bound", "token_type": "DPoP" });
    let world = || {
        let script = Script::default()
            .on(PRM, json!({ "resource": SERVER, "authorization_servers": [ONE], "dpop_bound_access_tokens_required": true }))
            .on(&document(ONE), metadata_with(ONE, &json!({ "dpop_signing_alg_values_supported": ["ES256"] })))
            .on(&format!("POST {ONE}/register"), (201, json!({ "client_id": "registered" })))
            .on(&format!("POST {ONE}/token"), bound.clone());
        Desk::new(script)
    };
    let (desk, mut options) = (world(), options(SERVER));
    assert!(matches!(
        authorize(&desk.env(), &options, &Why::default()).await,
        Err(Error::NeedsUser(_))
    ));
    options.dpop = Some(Dpop::generate().unwrap());
    // Tokens that are not bound do not do here.
    desk.memory.save_tokens(&tokens(ONE, SERVER)).await.unwrap();
    let url = redirected(&desk, &options, &Why::default()).await;
    assert_eq!(get(&url, "dpop_jkt"), options.dpop.as_ref().map(Dpop::thumbprint));
    let tokens = finish(&desk.env(), &options, &answer(&url, ONE)).await.unwrap();
    assert!(tokens.dpop && desk.http.sent().last().unwrap().header("dpop").is_some());
    assert_eq!(authorization(&tokens).unwrap(), "DPoP bound");
    assert!(authorized(&desk, &options, &Why::default()).await.dpop);
}

#[tokio::test]
async fn logging_out_revokes_and_forgets_whatever_the_server_says() {
    let desk = Desk::new(world(ONE, "registered"));
    let options = options(SERVER);
    log_in(&desk, &options, ONE).await;
    desk.http.take_lines();
    desk.http.add(&format!("POST {ONE}/revoke"), (200, ""));
    let found = discover(&desk.env(), &options, None).await.unwrap();
    log_out(&desk.env(), &options, &found).await.unwrap();
    assert_eq!(
        desk.http
            .sent()
            .iter()
            .filter(|sent| sent.line() == format!("POST {ONE}/revoke"))
            .count(),
        2
    );
    assert!(desk.memory.tokens(ONE, SERVER).await.unwrap().is_none());
    log_in(&desk, &options, ONE).await;
    desk.http.clear(&format!("POST {ONE}/revoke"));
    assert!(
        log_out(&desk.env(), &options, &found).await.is_err(),
        "the user is told"
    );
    assert!(desk.memory.tokens(ONE, SERVER).await.unwrap().is_none());
}

#[tokio::test]
async fn a25_a_log_out_revokes_also_what_a_client_got_that_is_not_known_any_more() {
    let desk = Desk::new(world(ONE, "registered"));
    let options = options(SERVER);
    let found = discover(&desk.env(), &options, None).await.unwrap();
    let revoke = format!("POST {ONE}/revoke");
    for (answer, revoked) in [
        ((200, json!({})), true),
        ((401, json!({ "error": "invalid_client" })), false),
    ] {
        log_in(&desk, &options, ONE).await;
        desk.memory.clients.lock().unwrap().clear();
        desk.http.take_lines();
        desk.http.clear(&revoke);
        desk.http.add(&revoke, answer);
        assert_eq!(
            log_out(&desk.env(), &options, &found).await.is_ok(),
            revoked,
            "the user is told"
        );
        let sent = desk.http.sent();
        assert!(!sent.is_empty());
        for request in sent.iter() {
            assert_eq!(request.line(), revoke);
            assert_eq!(request.form().get("client_id"), Some("registered"));
        }
    }
}

#[tokio::test]
async fn a_registration_for_another_redirect_uri_is_not_used() {
    let desk = Desk::new(world(ONE, "registered"));
    let mut options = options(SERVER);
    redirected(&desk, &options, &Why::default()).await;
    desk.http.take_lines();
    redirected(&desk, &options, &Why::default()).await;
    assert_eq!(desk.http.take_lines().len(), 2, "kept");
    options.redirect_uri = "http://127.0.0.1:4712/callback".into();
    redirected(&desk, &options, &Why::default()).await;
    assert_eq!(desk.http.take_lines()[2], format!("POST {ONE}/register"));
}
