//! DS-10 for clients, TK-05, TK-08, TK-09, TK-10 and the confidential half of TK-03: who a client is.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_testkit::http::Reply;
use doorward_testkit::oauth::{OAuthClient, Pkce, Tokens, parameter, with};
use doorward_testkit::{Doorward, PASSWORD};
use serde_json::{Value, json};

use crate::machine::{ASSERTION_TYPE, Machine, asserted, basic, redeem};
use crate::sign_in::{PROXIED, start};
use crate::support::{Catalogue, RA, all_at_once, assert_t, look};

crate::shared_catalogue!();

const CALLBACK: &str = "https://c3.test/cb";

const PEOPLE: &[&str] = &["--redirect-uri", CALLBACK];
const ITSELF: &[&str] = &["--client-credentials"];

/// T(invalid_client), and the challenge where the header was used.
#[track_caller]
fn assert_not_authenticated(reply: &Reply, with_header: bool) {
    assert_t(reply, &["invalid_client"]);
    let challenge = reply.header("WWW-Authenticate");
    assert_eq!(challenge.is_some(), with_header, "{challenge:?}");
    if let Some(challenge) = challenge {
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    }
}

#[tokio::test]
async fn c2_every_method_gets_tokens_for_a_code() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    for machine in [
        Machine::basic(doorward, PEOPLE),
        Machine::post(doorward, PEOPLE),
        Machine::key(doorward, PEOPLE),
    ] {
        let client = machine.as_client(doorward, CALLBACK);
        let approved = catalogue.code(&client).await;
        let tokens = Tokens::from_reply(&machine.send(doorward, "/token", &redeem(&approved)).await);
        catalogue.keep(&tokens);
        let call = catalogue.call("c2").bearer(&tokens.access).send().await;
        assert_eq!(call.status, 200);
        let refresh = [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh()),
        ];
        let refreshed = machine.send(doorward, "/token", &refresh).await;
        assert_eq!(refreshed.status, 200, "{}", refreshed.text());
        // The refresh token alone is not enough.
        let unproved = client.refresh(tokens.refresh(), &catalogue.ra()).await;
        assert_not_authenticated(&unproved, false);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_03_another_clients_code_is_refused_to_a_client_that_authenticates() {
    let catalogue = catalogue().await;
    let c1 = catalogue.c1().await;
    let approved = catalogue.code(&c1).await;
    let c3 = Machine::basic(&catalogue.doorward, PEOPLE);
    let stolen = c3.send(&catalogue.doorward, "/token", &redeem(&approved)).await;
    assert_t(&stolen, &["invalid_grant"]);
    assert_eq!(c1.redeem(&approved).await.status, 200, "the thief did no harm");
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_05_authentication_does_not_replace_the_challenge() {
    let catalogue = catalogue().await;
    let c3 = Machine::basic(&catalogue.doorward, PEOPLE);
    let client = c3.as_client(&catalogue.doorward, CALLBACK);
    let without = with(
        client.parameters(&Pkce::new(), &catalogue.ra()),
        "code_challenge",
        None,
    );
    let reply = look(catalogue, &client.url_with(&without)).await;
    catalogue.assert_redirected(&reply, CALLBACK, Some("S1"), &["invalid_request"]);
    // With one, the verifier is needed, whoever asks.
    let approved = catalogue.code(&client).await;
    let unverified: Vec<_> = redeem(&approved)
        .into_iter()
        .filter(|(name, _)| *name != "code_verifier")
        .collect();
    assert_t(
        &c3.send(&catalogue.doorward, "/token", &unverified).await,
        &["invalid_grant"],
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_08_no_wrong_empty_double_and_broken_credentials() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let c3 = Machine::basic(doorward, PEOPLE);
    let (id, secret) = (c3.id.as_str(), c3.secret());
    let client = c3.as_client(doorward, CALLBACK);
    let approved = catalogue.code(&client).await;
    let fields = redeem(&approved);
    let named: Vec<_> = fields.into_iter().chain([("client_id", id)]).collect();
    let send = |headers: Vec<String>, fields: Vec<(&'static str, String)>| {
        let request = headers.iter().fold(doorward.post("/token"), |request, value| {
            request.header("Authorization", value)
        });
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        request.form(&fields).send()
    };
    let own = |fields: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    assert_not_authenticated(&send(vec![], own(&named)).await, false);
    for wrong in [
        basic(id, "dws_wrong"),
        basic(id, ""),
        basic(id, &secret[..secret.len() - 1]),
        basic("app_nobody", secret),
        format!("Basic {}", STANDARD.encode(id)),
        format!("Basic {}", STANDARD.encode(format!("{id}:%zz"))),
        "Basic !!!".into(),
        "Basic".into(),
        format!("Bearer {secret}"),
    ] {
        assert_not_authenticated(&send(vec![wrong], own(&fields)).await, true);
    }
    let right = basic(id, secret);
    for (headers, more) in [
        (vec![right.clone()], vec![("client_secret", secret)]),
        (vec![right.clone(), right.clone()], vec![]),
        (vec![right.clone()], asserted("a.b.c").to_vec()),
        (
            vec![],
            vec![
                ("client_id", id),
                ("client_secret", secret),
                ("client_assertion", "a.b.c"),
            ],
        ),
    ] {
        let both: Vec<_> = fields.iter().copied().chain(more).collect();
        assert_t(&send(headers, own(&both)).await, &["invalid_request"]);
    }
    let query = format!("/token?client_id={id}&client_secret={secret}");
    assert_t(
        &doorward.post(&query).form(&fields).send().await,
        &["invalid_request"],
    );
    // Nothing of it counted as a miss of the code.
    let redeemed = c3.send(doorward, "/token", &fields).await;
    catalogue.keep(&Tokens::from_reply(&redeemed));
    catalogue.secrets.lock().unwrap().add("client secret", secret);
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_08_whoever_guesses_slows_down_nobody_else() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let (c3, neighbour) = (Machine::basic(doorward, ITSELF), Machine::basic(doorward, ITSELF));
    let grant = [
        ("grant_type", "client_credentials"),
        ("resource", &catalogue.ra()),
    ];
    let guesses = (0..60).map(|n| {
        let guess = basic(&c3.id, &format!("dws_{n}"));
        doorward
            .post("/token")
            .header("Authorization", &guess)
            .form(&grant)
    });
    let replies = all_at_once(guesses.collect()).await;
    let slowed: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert!(!slowed.is_empty() && slowed.len() < 60, "{} of 60", slowed.len());
    assert!(slowed.iter().all(|reply| reply.header("Retry-After").is_some()));
    assert!(replies.iter().all(|reply| matches!(reply.status, 401 | 429)));
    let reply = neighbour.own_token(doorward, &catalogue.ra()).await;
    assert_eq!(reply.status, 200, "another client: {}", reply.text());
    let client = catalogue.n1().await;
    catalogue.tokens(&client).await;
    catalogue.still_good().await;
}

/// Wrong secrets for `id` from many peers; how often each status came, and what was said with 401.
async fn guess(
    doorward: &Doorward,
    id: &str,
    peers: u32,
    each: u32,
) -> (BTreeMap<u16, u32>, BTreeSet<String>) {
    let (mut statuses, mut said) = (BTreeMap::new(), BTreeSet::new());
    let resource = doorward.url(RA);
    for peer in 0..peers {
        let address = format!("203.0.{}.{}", 113 + peer / 250, peer % 250);
        let guesses = (0..each).map(|n| {
            doorward
                .post("/token")
                .header("X-Forwarded-For", &address)
                .header("Authorization", &basic(id, &format!("dws_{peer}_{n}")))
                .form(&[("grant_type", "client_credentials"), ("resource", &resource)])
        });
        for reply in all_at_once(guesses.collect()).await {
            *statuses.entry(reply.status).or_default() += 1;
            if reply.status == 401 {
                let challenge = reply.header("WWW-Authenticate").unwrap_or_default();
                said.insert(format!("{challenge} {}", reply.text()));
            } else {
                assert!(reply.header("Retry-After").is_some(), "{reply:?}");
            }
        }
    }
    (statuses, said)
}

#[tokio::test]
async fn ds_10_many_wrong_secrets_from_many_peers_leave_the_client_in() {
    let doorward = start(PROXIED).await;
    let (c3, neighbour) = (
        Machine::basic(&doorward, ITSELF),
        Machine::basic(&doorward, ITSELF),
    );
    let full = std::env::var_os("DOORWARD_FULL").is_some();
    let (peers, each) = if full { (200, 50) } else { (20, 30) };
    let known = guess(&doorward, &c3.id, peers, each).await;
    let unknown = guess(&doorward, "app_nobody", peers, each).await;
    for (statuses, said) in [&known, &unknown] {
        assert!(
            statuses.keys().all(|status| matches!(status, 401 | 429)),
            "{statuses:?}"
        );
        // Twenty a minute are looked at, so each peer was told to wait.
        assert!(
            statuses.get(&429).is_some_and(|slowed| *slowed >= peers),
            "{statuses:?}"
        );
        assert_eq!(said.len(), 1, "one answer: {said:?}");
    }
    assert_eq!(known.1, unknown.1, "who does not exist reads the same");

    let grant = [
        ("grant_type", "client_credentials"),
        ("resource", &doorward.url(RA)),
    ];
    let from = async |machine: &Machine, address: &str| {
        let request = machine.request(&doorward, "/token", &grant);
        request.header("X-Forwarded-For", address).send().await
    };
    let elsewhere = from(&c3, "198.51.100.7").await;
    assert_eq!(
        elsewhere.status,
        200,
        "the right one, elsewhere: {}",
        elsewhere.text()
    );
    let attacked_from = "203.0.113.3";
    let beside = from(&neighbour, attacked_from).await;
    assert_eq!(beside.status, 200, "another one, from there: {}", beside.text());
    let client = OAuthClient::native(&doorward).await;
    let tokens = client.login("alice", PASSWORD, &doorward.url(RA)).await;
    assert_eq!(
        client.refresh(tokens.refresh(), &doorward.url(RA)).await.status,
        200
    );
}

#[tokio::test]
async fn tk_09_only_the_registered_method_is_taken() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let (c3, c4) = (Machine::basic(doorward, ITSELF), Machine::key(doorward, ITSELF));
    let in_body = Machine::post(doorward, ITSELF);
    let ra = catalogue.ra();
    let grant = [("grant_type", "client_credentials"), ("resource", ra.as_str())];
    let with_fields = |more: &[(&str, &str)]| {
        let fields: Vec<_> = grant.iter().copied().chain(more.iter().copied()).collect();
        doorward.post("/token").form(&fields).send()
    };
    // C4 with a secret, in both places; C3 with the secret in the body, and with an assertion; the other way round.
    assert_not_authenticated(
        &with_fields(&[("client_id", &c4.id), ("client_secret", "x")]).await,
        false,
    );
    let header = basic(&c4.id, "x");
    let reply = doorward
        .post("/token")
        .header("Authorization", &header)
        .form(&grant)
        .send()
        .await;
    assert_not_authenticated(&reply, true);
    let posted = [("client_id", c3.id.as_str()), ("client_secret", c3.secret())];
    assert_not_authenticated(&with_fields(&posted).await, false);
    let header = basic(&in_body.id, in_body.secret());
    let reply = doorward
        .post("/token")
        .header("Authorization", &header)
        .form(&grant)
        .send()
        .await;
    assert_not_authenticated(&reply, true);
    let mut claims = c4.claims();
    (claims["iss"], claims["sub"]) = (json!(c3.id), json!(c3.id));
    let forged = c4.forge().sign(&c4.header(), &claims);
    assert_not_authenticated(&with_fields(&asserted(&forged)).await, false);
    // A public client that sends a secret does not become another kind of client.
    let public = catalogue.n1().await;
    let approved = catalogue.code(&public).await;
    let secret = with(public.code_form(&approved), "client_secret", Some("x"));
    assert_not_authenticated(&public.token(&secret).await, false);
    assert_t(
        &with_fields(&[("client_id", &public.id)]).await,
        &["unauthorized_client"],
    );
    assert_eq!(public.redeem(&approved).await.status, 200);
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_10_a_bad_assertion_is_refused() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let c4 = Machine::key(doorward, ITSELF);
    let issuer = catalogue.issuer().to_owned();
    let ra = catalogue.ra();
    let send = |assertion: String| {
        let mut fields = vec![("grant_type", "client_credentials"), ("resource", ra.as_str())];
        fields.extend(asserted(&assertion));
        doorward.post("/token").form(&fields).send()
    };
    let claims = |change: fn(&mut Value, &str)| {
        let mut claims = c4.claims();
        change(&mut claims, &issuer);
        c4.forge().sign(&c4.header(), &claims)
    };
    let header = |name: &str, value: Value| {
        let mut header = c4.header();
        header[name] = value;
        c4.forge().sign(&header, &c4.claims())
    };
    let unsigned = c4
        .assertion()
        .rsplit_once('.')
        .map(|(message, _)| format!("{message}."))
        .unwrap();
    let public = c4.forge().public_jwk().to_string();
    let mut hs256 = c4.header();
    hs256["alg"] = json!("HS256");
    let thief = Machine::key(doorward, ITSELF);
    for (what, assertion) in [
        ("alg none", header("alg", json!("none"))),
        ("unsigned", unsigned),
        (
            "HS256",
            doorward_testkit::forge::Forge::hmac(&hs256, &c4.claims(), public.as_bytes()),
        ),
        (
            "aud list",
            claims(|claims, issuer| claims["aud"] = json!([issuer])),
        ),
        (
            "aud token URL",
            claims(|claims, issuer| claims["aud"] = json!(format!("{issuer}/token"))),
        ),
        (
            "aud elsewhere",
            claims(|claims, _| claims["aud"] = json!("https://as.other.test")),
        ),
        ("iss", claims(|claims, _| claims["iss"] = json!("someone"))),
        ("sub", claims(|claims, _| claims["sub"] = json!("someone"))),
        (
            "expired",
            claims(|claims, _| claims["exp"] = json!(claims["iat"].as_i64().unwrap() - 120)),
        ),
        (
            "ten years",
            claims(|claims, _| claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 315_360_000)),
        ),
        (
            "no exp",
            claims(|claims, _| drop(claims.as_object_mut().unwrap().remove("exp"))),
        ),
        (
            "no jti",
            claims(|claims, _| drop(claims.as_object_mut().unwrap().remove("jti"))),
        ),
        ("typ", header("typ", json!("at+jwt"))),
        ("own key", header("jwk", thief.forge().public_jwk())),
        ("other key", thief.forge().sign(&c4.header(), &c4.claims())),
    ] {
        let reply = send(assertion).await;
        assert_not_authenticated(&reply, false);
        assert!(!reply.text().contains(&c4.id), "{what}");
    }
    let good = c4.assertion();
    assert_eq!(send(good.clone()).await.status, 200);
    assert_not_authenticated(&send(good.clone()).await, false);
    let wrong_type = [
        ("grant_type", "client_credentials"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
        ),
        ("client_assertion", good.as_str()),
    ];
    assert_not_authenticated(&doorward.post("/token").form(&wrong_type).send().await, false);
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_10_of_many_uses_at_once_one_counts_and_none_after_a_crash() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let ra = catalogue.ra();
    for _ in 0..3 {
        // One that replays so often is slowed down for a while, so each round has a client of its own.
        let c4 = Machine::key(doorward, ITSELF);
        let assertion = c4.assertion();
        let mut fields = vec![("grant_type", "client_credentials"), ("resource", ra.as_str())];
        fields.extend(asserted(&assertion));
        let requests = (0..16).map(|_| doorward.post("/token").form(&fields)).collect();
        let replies = all_at_once(requests).await;
        let won = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!(won, 1);
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            assert!(
                matches!(reply.status, 401 | 429),
                "{} {}",
                reply.status,
                reply.text()
            );
        }
    }
    let c4 = Machine::key(doorward, ITSELF);
    let assertion = c4.assertion();
    let mut fields = vec![("grant_type", "client_credentials"), ("resource", ra.as_str())];
    fields.extend(asserted(&assertion));
    assert_eq!(doorward.post("/token").form(&fields).send().await.status, 200);
    doorward.kill();
    doorward.start_again().await;
    let again = doorward.post("/token").form(&fields).send().await;
    assert_not_authenticated(&again, false);
    assert_eq!(c4.own_token(doorward, &ra).await.status, 200, "a new one works");
}

#[tokio::test]
async fn c2_an_assertion_that_was_refused_its_grant_is_used_up() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let c4 = Machine::key(doorward, ITSELF);
    let assertion = c4.assertion();
    let ask = |resource: String| {
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("resource", resource.as_str()),
        ];
        fields.extend(asserted(&assertion));
        doorward.post("/token").form(&fields).send()
    };
    assert_t(
        &ask("https://elsewhere.test/mcp".into()).await,
        &["invalid_target"],
    );
    assert_not_authenticated(&ask(catalogue.ra()).await, false);
}

#[tokio::test]
async fn c2_a_switched_off_client_and_a_new_secret_count_at_once() {
    let catalogue = Catalogue::start_with(Doorward::builder()).await;
    let doorward = &catalogue.doorward;
    let c3 = Machine::basic(doorward, ITSELF);
    let ra = catalogue.ra();
    assert_eq!(c3.own_token(doorward, &ra).await.status, 200);
    let rotated = doorward
        .command(&["client", "rotate-secret", &c3.id, "--format", "json"])
        .ok();
    assert_not_authenticated(&c3.own_token(doorward, &ra).await, true);
    let rotated = rotated.json()["client_secret"]
        .as_str()
        .expect("a new secret")
        .to_owned();
    let header = basic(&c3.id, &rotated);
    let grant = [("grant_type", "client_credentials"), ("resource", ra.as_str())];
    let ask = || {
        doorward
            .post("/token")
            .header("Authorization", &header)
            .form(&grant)
            .send()
    };
    assert_eq!(ask().await.status, 200);
    doorward.command(&["client", "disable", &c3.id]).ok();
    assert_t(&ask().await, &["unauthorized_client"]);
    doorward.command(&["client", "remove", &c3.id]).ok();
    assert_not_authenticated(&ask().await, true);
}

#[tokio::test]
async fn tk_08_the_parameter_that_names_the_method_is_part_of_the_page_of_nobody() {
    // Credentials at /authorize are not looked at: it is a page, and nobody authenticates there.
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let mut browser = catalogue.alice().await;
    let pkce = Pkce::new();
    let url = format!(
        "{}&client_secret=x&client_assertion_type={}",
        client.authorize_url(&pkce, &catalogue.ra()),
        ASSERTION_TYPE
    );
    let callback = browser.login_and_approve(&url, "alice", PASSWORD).await;
    assert!(parameter(&callback, "code").is_some());
}
