//! TK: the token endpoint.

use std::time::Duration;

use doorward_testkit::oauth::{OAuthClient, Tokens, claims, with};
use doorward_testkit::{Doorward, PASSWORD, raw};
use serde_json::json;

use crate::support::{Catalogue, RB, all_at_once, assert_no_store, assert_t};

crate::shared_catalogue!();

#[tokio::test]
async fn tk_01_a_code_twice_ends_what_it_made() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let approved = catalogue.code(&client).await;
    let tokens = Tokens::from_reply(&client.redeem(&approved).await);
    assert_eq!(
        catalogue.call("tk01").bearer(&tokens.access).send().await.status,
        200
    );
    // Somebody who has the code but not what goes with it harms nobody.
    let wrong = with(
        client.code_form(&approved),
        "code_verifier",
        Some(&"w".repeat(43)),
    );
    assert_t(&client.token(&wrong).await, &["invalid_grant"]);
    assert_eq!(
        catalogue.call("tk01").bearer(&tokens.access).send().await.status,
        200
    );
    assert_t(&client.redeem(&approved).await, &["invalid_grant"]);
    let after = catalogue.call("tk01").bearer(&tokens.access).send().await;
    catalogue.assert_u401(&after, crate::support::RA, true);
    assert_t(
        &client.refresh(tokens.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_02_fifty_at_once_redeem_a_code_once() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        200
    } else {
        20
    };
    for round in 0..rounds {
        let approved = catalogue.code(&client).await;
        let form = client.code_form(&approved);
        let pairs: Vec<(&str, &str)> = form
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let requests = (0..50)
            .map(|_| catalogue.doorward.post("/token").form(&pairs))
            .collect();
        let replies = all_at_once(requests).await;
        let won = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!(won, 1, "round {round}");
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            assert_t(reply, &["invalid_grant"]);
        }
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_03_a_code_belongs_to_its_client() {
    let catalogue = catalogue().await;
    let (client, other) = (catalogue.n1().await, catalogue.c2().await);
    let approved = catalogue.code(&client).await;
    let stolen = with(client.code_form(&approved), "client_id", Some(&other.id));
    assert_t(&client.token(&stolen).await, &["invalid_grant"]);
    assert_eq!(
        client.redeem(&approved).await.status,
        200,
        "the thief did no harm"
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_04_the_verifier_is_checked_and_cannot_be_guessed() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let approved = catalogue.code(&client).await;
    let right = client.code_form(&approved);
    let missing = with(right.clone(), "code_verifier", None);
    assert_t(
        &client.token(&missing).await,
        &["invalid_grant", "invalid_request"],
    );
    let short = with(right.clone(), "code_verifier", Some(&"v".repeat(42)));
    assert_t(&client.token(&short).await, &["invalid_grant", "invalid_request"]);
    let challenge = with(right.clone(), "code_verifier", Some(&approved.pkce.challenge));
    assert_t(&client.token(&challenge).await, &["invalid_grant"]);

    let approved = catalogue.code(&client).await;
    let right = client.code_form(&approved);
    for guess in 0..6 {
        let wrong = with(
            right.clone(),
            "code_verifier",
            Some(&format!("{guess}{}", "g".repeat(42))),
        );
        assert_t(&client.token(&wrong).await, &["invalid_grant"]);
    }
    assert_t(&client.token(&right).await, &["invalid_grant"]);
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_06_the_redirect_uri_must_be_the_same() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let approved = catalogue.code(&client).await;
    for other in [
        "http://127.0.0.1:81/cb",
        "http://127.0.0.1/other",
        "https://c1.test/cb",
    ] {
        let form = with(client.code_form(&approved), "redirect_uri", Some(other));
        assert_t(&client.token(&form).await, &["invalid_grant", "invalid_request"]);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_06_a_code_lives_a_minute() {
    let catalogue = Catalogue::start_with(Doorward::builder().faketime()).await;
    let client = catalogue.n1().await;
    let in_time = catalogue.code(&client).await;
    catalogue.doorward.advance(Duration::from_secs(50));
    assert_eq!(client.redeem(&in_time).await.status, 200);
    let late = catalogue.code(&client).await;
    catalogue.doorward.advance(Duration::from_secs(61));
    assert_t(&client.redeem(&late).await, &["invalid_grant"]);
}

#[tokio::test]
async fn tk_07_another_resource_gets_nothing_and_harms_nothing() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let approved = catalogue.code(&client).await;
    for resource in [catalogue.rb(), "https://unknown.test".into(), "/a/mcp".into()] {
        let form = with(client.code_form(&approved), "resource", Some(&resource));
        assert_t(&client.token(&form).await, &["invalid_target"]);
    }
    let mut both = client.code_form(&approved);
    both.push(("resource".into(), catalogue.rb()));
    assert_t(&client.token(&both).await, &["invalid_target", "invalid_request"]);
    let tokens = Tokens::from_reply(&client.redeem(&approved).await);
    assert_eq!(tokens.claims()["aud"], catalogue.ra());
    let elsewhere = catalogue.call_at(RB, "tk07").bearer(&tokens.access).send().await;
    catalogue.assert_u401(&elsewhere, RB, true);
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_11_forms_only() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let approved = catalogue.code(&client).await;
    let form = client.code_form(&approved);
    let encoded = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&form)
        .finish();
    let as_json: serde_json::Map<_, _> = form
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let site = &catalogue.doorward;
    let requests = [
        site.post("/token").json(&as_json.into()),
        site.post("/token")
            .header("Content-Type", "multipart/form-data; boundary=x")
            .body(encoded.clone()),
        site.post("/token")
            .header("Content-Type", "text/plain")
            .body(encoded.clone()),
        site.post("/token")
            .header(
                "Content-Type",
                "application/json, application/x-www-form-urlencoded",
            )
            .body(encoded.clone()),
        site.post("/token").body(encoded.clone()),
        site.get(&format!("/token?{encoded}")),
        site.request("PUT", "/token").form(&[]),
    ];
    for request in requests {
        let what = format!("{request:?}");
        let reply = request.send().await;
        assert!(
            matches!(reply.status, 400 | 405 | 415),
            "{what}: {} {}",
            reply.status,
            reply.text()
        );
        assert!(!reply.text().contains("access_token"));
    }
    assert_eq!(
        client.redeem(&approved).await.status,
        200,
        "none of them used the code up"
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_12_each_field_once_and_only_in_the_body() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let approved = catalogue.code(&client).await;
    let right = client.code_form(&approved);
    for (name, value) in right.iter().filter(|(name, _)| name != "resource") {
        for second in [value.as_str(), "other"] {
            let mut form = right.clone();
            form.push((name.clone(), second.into()));
            assert_t(&client.token(&form).await, &["invalid_request"]);
        }
    }
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&right)
        .finish();
    let in_the_query = catalogue
        .doorward
        .post(&format!("/token?{query}"))
        .form(&[])
        .send()
        .await;
    assert_t(&in_the_query, &["invalid_request"]);
    let pairs: Vec<(&str, &str)> = right
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let both = catalogue
        .doorward
        .post(&format!("/token?client_id={}", client.id))
        .form(&pairs)
        .send()
        .await;
    assert_t(&both, &["invalid_request"]);
    assert_eq!(
        client.redeem(&approved).await.status,
        200,
        "none of them used the code up"
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_13_grants_that_are_off_are_refused() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    for grant in [
        "password",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "implicit",
        "AUTHORIZATION_CODE",
        "authorization_code ",
    ] {
        let form = [
            ("grant_type", grant),
            ("client_id", &client.id),
            ("username", "alice"),
            ("password", PASSWORD),
            ("assertion", "x.y.z"),
            ("subject_token", "x.y.z"),
            ("device_code", "x"),
        ];
        let reply = catalogue.doorward.post("/token").form(&form).send().await;
        assert_t(&reply, &["unsupported_grant_type", "unauthorized_client"]);
    }
    let without = catalogue
        .doorward
        .post("/token")
        .form(&[("client_id", client.id.as_str())])
        .send()
        .await;
    assert_t(&without, &["invalid_request", "unsupported_grant_type"]);
    catalogue.still_good().await;
}

#[tokio::test]
async fn tk_14_a_good_answer() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let reply = client.redeem(&catalogue.code(&client).await).await;
    assert_no_store(&reply);
    assert_eq!(reply.header("Pragma").unwrap_or("no-cache"), "no-cache");
    let tokens = Tokens::from_reply(&reply);
    assert_eq!(tokens.body["token_type"], "Bearer");
    assert_eq!(tokens.body["scope"], "a");
    assert_eq!(tokens.body["expires_in"], 600);
    assert!(tokens.body.get("id_token").is_none());
    let claims = tokens.claims();
    assert_eq!(claims["aud"], catalogue.ra());
    assert_eq!(claims["iss"], catalogue.issuer());
    assert_eq!(claims["client_id"], client.id);
    assert_eq!(claims["scope"], "a");
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        600
    );
    let elsewhere = catalogue.call_at(RB, "tk14").bearer(&tokens.access).send().await;
    assert_eq!(elsewhere.status, 401);
    catalogue.still_good().await;
}

#[tokio::test]
async fn a_client_without_the_refresh_grant_gets_an_hour_and_no_refresh_token() {
    let catalogue = catalogue().await;
    let client = OAuthClient::register_with(
        &catalogue.doorward,
        json!({ "client_name": "no refresh", "redirect_uris": ["http://127.0.0.1/cb"],
            "grant_types": ["authorization_code"], "token_endpoint_auth_method": "none" }),
    )
    .await;
    let tokens = catalogue.tokens(&client).await;
    assert_eq!(tokens.refresh, None);
    assert_eq!(tokens.body["expires_in"], 3600);
    assert!(claims(&tokens.access)["jti"].is_string());
}

#[tokio::test]
async fn odd_codes_are_invalid_grants() {
    // The half of RT-08 that is about codes.
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let approved = catalogue.code(&client).await;
    let code = &approved.code;
    let flipped: String = code
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect();
    for odd in [
        code[..code.len() - 1].to_owned(),
        format!("{code}A"),
        flipped,
        format!("{code}%"),
        format!("{code}\0"),
        format!("{code} "),
        format!(" {code}"),
        String::from("x"),
    ] {
        let form = with(client.code_form(&approved), "code", Some(&odd));
        assert_t(&client.token(&form).await, &["invalid_grant"]);
    }
    assert_eq!(client.redeem(&approved).await.status, 200);
    let huge = format!(
        "POST /token HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\ncode={}",
        catalogue.doorward.host(),
        5 + (1 << 20),
        "A".repeat(1 << 20)
    );
    let reply = raw::send(catalogue.doorward.address(), huge.as_bytes()).await;
    assert!(matches!(reply.status, 400 | 413), "a megabyte: {}", reply.text());
    catalogue.still_good().await;
}
