//! `/token` and `/register` over HTTP. The rules themselves are tested where they live.

use std::time::Duration;

use doorward_storage::Store as _;
use doorward_types::id::FamilyId;
use doorward_types::secret::Secret;
use http::{Method, StatusCode};
use tower::ServiceExt as _;

use super::harness::*;

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn tk_01_a_second_presentation_revokes_what_the_first_one_made() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let code = site.code(&client).await;
    let first = site.token(&redeem(&client, &code)).await.json();
    let second = site.token(&redeem(&client, &code)).await;
    assert_eq!(
        (second.status, &second.json()["error"]),
        (StatusCode::BAD_REQUEST, &"invalid_grant".into())
    );
    assert_eq!(second.header("cache-control"), "no-store");
    let refresh = first["refresh_token"].as_str().unwrap();
    let refreshed = site.token(&refresh_fields(&client, refresh)).await;
    assert_eq!(refreshed.json()["error"], "invalid_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tk_02_of_parallel_redemptions_exactly_one_gets_tokens() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    for _ in 0..20 {
        let code = site.code(&client).await;
        let body = form(&redeem(&client, &code));
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let headers = [("content-type", FORM)];
                let request = request(Method::POST, "/token", &headers, body.clone());
                tokio::spawn(site.router.clone().oneshot(request))
            })
            .collect();
        let mut good = 0;
        for call in calls {
            let status = call.await.unwrap().unwrap().status();
            good += u32::from(status == StatusCode::OK);
            assert!(matches!(status.as_u16(), 200 | 400 | 503), "{status}");
        }
        assert_eq!(good, 1);
    }
}

#[tokio::test]
async fn tk_04_tk_06_tk_07_r18_r19_what_does_not_match_gets_no_token() {
    let site = Site::new().await;
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let code = site.code(&client).await;
    for (change, error) in [
        (
            ("code_verifier", "wrong-wrong-wrong-wrong-wrong-wrong-wrong-wrong"),
            "invalid_grant",
        ),
        (("redirect_uri", "http://127.0.0.1:1/cb"), "invalid_grant"),
        (
            ("resource", "https://mcp.example.com/other/mcp"),
            "invalid_target",
        ),
    ] {
        let mut fields = redeem(&client, &code);
        fields.retain(|(name, _)| *name != change.0);
        fields.push(change);
        let reply = site.token(&fields).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]),
            (StatusCode::BAD_REQUEST, &error.into()),
            "{change:?}"
        );
        assert!(!reply.body.contains("_token\""), "{}", reply.body);
    }
    assert_eq!(
        site.token(&redeem(&client, &code)).await.status,
        StatusCode::OK,
        "guesses do no harm"
    );
}

#[tokio::test]
async fn tk_11_tk_12_tk_13_only_one_form_in_the_body() {
    let site = Site::new().await;
    let good = form(&redeem("c", "dwc_x"));
    for content_type in [
        "application/json",
        "multipart/form-data; boundary=x",
        "text/plain",
        "",
        "application/json, application/x-www-form-urlencoded",
    ] {
        let reply = site.post("/token", content_type, good.clone()).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]),
            (StatusCode::BAD_REQUEST, &"invalid_request".into())
        );
    }
    for (path, body, error) in [
        ("/token?code=x", good.clone(), "invalid_request"),
        ("/token", format!("{good}&code=dwc_y"), "invalid_request"),
        ("/token", format!("{good}&client_secret=x"), "invalid_client"),
        (
            "/token",
            "grant_type=password&client_id=c".into(),
            "unsupported_grant_type",
        ),
        ("/token", "a=%zz".into(), "invalid_request"),
        ("/token", String::new(), "invalid_request"),
    ] {
        let reply = site.post(path, FORM, body).await;
        assert_eq!(reply.json()["error"], error, "{path}");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    let basic = [("content-type", FORM), ("authorization", "Basic Yzo=")];
    let reply = site.send(request(Method::POST, "/token", &basic, good)).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(
        reply.header("www-authenticate").starts_with("Basic "),
        "RFC 6749 section 5.2"
    );
    let get = site.call(Method::GET, "/token", &[]).await;
    assert_eq!(
        (get.status, get.header("allow")),
        (StatusCode::METHOD_NOT_ALLOWED, "POST")
    );
}

#[tokio::test]
async fn bodies_over_64_kib_are_refused() {
    let site = Site::new().await;
    let large = format!("a={}", "x".repeat(64 * 1024));
    for (path, content_type) in [
        ("/token", FORM),
        ("/register", "application/json"),
        ("/authorize", FORM),
    ] {
        let reply = site.post(path, content_type, large.clone()).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
    for path in ["/login", "/consent", "/setup", "/logout"] {
        let reply = site.browser().post(path, &[("a", &large)]).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
}

#[tokio::test]
async fn r17_registration_answers_with_what_was_sent() {
    let site = Site::new().await;
    let body = r#"{"client_name":"C","redirect_uris":["http://localhost:4711/cb"],"grant_types":["authorization_code","refresh_token"]}"#;
    let first = site.post("/register", "application/json", body.into()).await;
    assert_eq!(
        (first.status, first.header("cache-control")),
        (StatusCode::CREATED, "no-store")
    );
    assert_eq!(first.json()["redirect_uris"][0], "http://localhost:4711/cb");
    let again = site
        .post("/register", "application/json", body.replace("4711", "4712"))
        .await;
    assert_eq!(again.json()["client_id"], first.json()["client_id"]);
    assert_eq!(again.json()["redirect_uris"][0], "http://localhost:4712/cb");
    for (content_type, body, status, error) in [
        (
            "text/plain",
            body,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request",
        ),
        (
            "application/json",
            "{",
            StatusCode::BAD_REQUEST,
            "invalid_client_metadata",
        ),
        (
            "application/json",
            r#"{"redirect_uris":["http://evil.test/cb"]}"#,
            StatusCode::BAD_REQUEST,
            "invalid_redirect_uri",
        ),
    ] {
        let reply = site.post("/register", content_type, body.into()).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]),
            (status, &error.into()),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_client_that_waits_for_approval_gets_a_page() {
    let site = Site::new().await;
    let client = site.register("C1", &["https://unknown.test/cb"]).await;
    let reply = site
        .browser()
        .get(&authorize_url(
            &client,
            &[("redirect_uri", "https://unknown.test/cb")],
        ))
        .await;
    reply.assert_page("pending");
    assert!(reply.status == StatusCode::FORBIDDEN && reply.body.contains("doorward client approve"));
}

/// A client with a refresh token, and the chain that it is of.
async fn refreshing(site: &Site) -> (String, String, FamilyId) {
    let client = site.register("C1", &["http://127.0.0.1/cb"]).await;
    let code = site.code(&client).await;
    let tokens = site.token(&redeem(&client, &code)).await.json();
    let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
    let stored = site.store.refresh_token(Secret::new(&refresh).digest()).await;
    let family = stored.unwrap().unwrap().family.family.id;
    (client, refresh, family)
}

#[tokio::test]
async fn a31_who_refreshes_because_of_a_challenge_is_told_once_to_ask_the_person() {
    let site = Site::new().await;
    let (client, refresh, family) = refreshing(&site).await;
    site.challenged.note(family, NOW.plus(Duration::from_mins(10)));
    let reply = site.token(&refresh_fields(&client, &refresh)).await;
    assert_eq!(
        (reply.status, &reply.json()["error"]),
        (StatusCode::BAD_REQUEST, &"interaction_required".into()),
        "{}",
        reply.body
    );
    assert_eq!(reply.header("cache-control"), "no-store");
    let words = reply.json()["error_description"].as_str().unwrap().to_owned();
    assert!(words.contains("refresh again"), "{words}");
    let stored = site.store.refresh_token(Secret::new(&refresh).digest()).await;
    let stored = stored.unwrap().unwrap();
    assert!(
        stored.token.rotated.is_none() && !stored.family.family.revoked,
        "nothing was changed"
    );

    // The same token, again.
    let reply = site.token(&refresh_fields(&client, &refresh)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(reply.json()["scope"], "notes");
}

#[tokio::test]
async fn a31_who_repeats_a_refresh_has_its_answer() {
    let site = Site::new().await;
    let (client, refresh, family) = refreshing(&site).await;
    let first = site.token(&refresh_fields(&client, &refresh)).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    site.challenged.note(family, NOW.plus(Duration::from_mins(10)));
    // Its answer was lost, or another process of the client has it: later this token would count as stolen.
    let again = site.token(&refresh_fields(&client, &refresh)).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
    assert_eq!(again.json()["refresh_token"], first.json()["refresh_token"]);
}

#[tokio::test]
async fn a31_who_refreshes_for_another_reason_is_not_told() {
    let site = Site::new().await;
    let (client, refresh, family) = refreshing(&site).await;
    site.challenged.note(family, NOW.plus(Duration::from_mins(10)));
    // Another chain of the same client, a bad token, another client with this one, and one that says what it wants.
    let (_, other, _) = refreshing(&site).await;
    assert_eq!(
        site.token(&refresh_fields(&client, "unknown")).await.json()["error"],
        "invalid_grant"
    );
    let stranger = site.register("C2", &["http://127.0.0.1/cb"]).await;
    let stolen = site.token(&refresh_fields(&stranger, &refresh)).await;
    assert_eq!(stolen.json()["error"], "invalid_grant", "{}", stolen.body);
    let mut named = refresh_fields(&client, &refresh);
    named.push(("scope", "notes"));
    let named = site.token(&named).await;
    assert_eq!(named.status, StatusCode::OK, "{}", named.body);
    assert_eq!(
        site.token(&refresh_fields(&stranger, &other)).await.json()["error"],
        "invalid_grant",
        "of its own client"
    );
    // None of it used the one answer up.
    let next = named.json()["refresh_token"].as_str().unwrap().to_owned();
    let reply = site.token(&refresh_fields(&client, &next)).await;
    assert_eq!(reply.json()["error"], "interaction_required", "{}", reply.body);
}
