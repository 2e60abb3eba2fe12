//! RG: dynamic registration.

use std::time::{Duration, Instant};

use doorward_testkit::canary::Canary;
use doorward_testkit::http::Destination;
use doorward_testkit::oauth::{OAuthClient, Pkce};
use doorward_testkit::{Doorward, PASSWORD, Reply, Site};
use serde_json::{Value, json};

use crate::support::{Catalogue, assert_page, look_as};

crate::shared_catalogue!();

async fn register(catalogue: &Catalogue, metadata: &Value) -> Reply {
    catalogue.doorward.post("/register").json(metadata).send().await
}

fn with_redirect(uri: &str) -> Value {
    json!({ "client_name": "x", "redirect_uris": [uri], "token_endpoint_auth_method": "none" })
}

#[track_caller]
fn assert_invalid_redirect(uri: &str, reply: &Reply) {
    assert_eq!(reply.status, 400, "{uri:?}: {}", reply.text());
    assert_eq!(
        reply.oauth_error().as_deref(),
        Some("invalid_redirect_uri"),
        "{uri:?}: {}",
        reply.text()
    );
}

#[tokio::test]
async fn rg_01_schemes_that_run_code_are_refused() {
    let catalogue = catalogue().await;
    for uri in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "java\0script:alert(1)",
        "javascript://c1.test/%0aalert(1)",
        "data:text/html,x",
        "DATA:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://c1.test/x",
        "about:blank",
        "view-source:https://c1.test/",
        "ws://c1.test/cb",
        "ftp://c1.test/cb",
        "x:y",
    ] {
        assert_invalid_redirect(uri, &register(catalogue, &with_redirect(uri)).await);
        let mut beside = with_redirect("http://127.0.0.1/cb");
        beside["redirect_uris"].as_array_mut().unwrap().push(json!(uri));
        assert_invalid_redirect(uri, &register(catalogue, &beside).await);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rg_02_redirects_that_could_lead_elsewhere_are_refused() {
    let catalogue = catalogue().await;
    for uri in [
        "http://c1.test/cb",
        "http://localhost.evil.test/cb",
        "http://127.0.0.1.evil.test/cb",
        "http://0.0.0.0/cb",
        "https://c1.test/cb#fragment",
        "https://c1.test/cb#",
        "https://*.c1.test/cb",
        "https://*/cb",
        "https://user@c1.test/cb",
        "https://user:password@c1.test/cb",
        "http://user@127.0.0.1/cb",
        "https://",
        "//c1.test/cb",
        "/cb",
        "",
        "https://c1.test\\@evil.test/cb",
        "https://c1.test/cb\n",
    ] {
        assert_invalid_redirect(uri, &register(catalogue, &with_redirect(uri)).await);
    }
    for uris in [json!([]), json!("https://c1.test/cb"), json!([1]), json!(null)] {
        let metadata = json!({ "client_name": "x", "redirect_uris": uris });
        let reply = register(catalogue, &metadata).await;
        assert_eq!(reply.status, 400, "{uris}: {}", reply.text());
    }
    let many: Vec<String> = (0..1000)
        .map(|number| format!("https://c1.test/cb{number}"))
        .collect();
    let reply = register(catalogue, &json!({ "client_name": "x", "redirect_uris": many })).await;
    assert!(matches!(reply.status, 400 | 413), "{}", reply.status);
    let huge = json!({ "client_name": "x".repeat(1 << 20), "redirect_uris": ["https://c1.test/cb"] });
    let reply = register(catalogue, &huge).await;
    assert!(matches!(reply.status, 400 | 413), "{}", reply.status);
    for body in [
        "",
        "[]",
        "null",
        "{",
        r#"{"redirect_uris":["http://127.0.0.1/cb"],"redirect_uris":["https://c1.test/cb"]}"#,
    ] {
        let reply = catalogue
            .doorward
            .post("/register")
            .header("Content-Type", "application/json")
            .body(body)
            .send()
            .await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rg_03_urls_about_the_client_are_never_fetched() {
    let catalogue = catalogue().await;
    let canary = Canary::start();
    for name in [
        "logo_uri",
        "client_uri",
        "tos_uri",
        "policy_uri",
        "jwks_uri",
        "sector_identifier_uri",
    ] {
        for value in ["javascript:alert(1)", "data:text/html,x", &canary.url("/fetched")] {
            let mut metadata = with_redirect("http://127.0.0.1/cb");
            metadata[name] = json!(value);
            let reply = register(catalogue, &metadata).await;
            assert!(matches!(reply.status, 201 | 400), "{name}: {}", reply.text());
            if reply.status != 201 {
                continue;
            }
            assert!(
                !reply.text().contains("javascript:") && !reply.text().contains("data:text"),
                "{}",
                reply.text()
            );
            let id = reply.json()["client_id"].as_str().unwrap().to_owned();
            let client = OAuthClient {
                id,
                ..catalogue.n1().await
            };
            let page = look_as(
                &catalogue.alice().await,
                &client.authorize_url(&Pkce::new(), &catalogue.ra()),
            )
            .await;
            for raw in ["javascript:", "data:text", "<img"] {
                assert!(!page.reply.text().contains(raw), "{name}: {raw}");
            }
        }
    }
    catalogue.still_good().await;
    assert_eq!(canary.visits(), 0);
}

#[tokio::test]
async fn rg_05_registration_changes_no_other_client() {
    let catalogue = catalogue().await;
    let first = catalogue.c1().await;
    let before = catalogue
        .doorward
        .command(&["client", "show", &first.id, "--format", "json"])
        .ok()
        .json();
    let mut metadata = with_redirect("https://c2.test/cb");
    metadata["client_id"] = json!(first.id);
    metadata["client_id_issued_at"] = json!(1);
    let reply = register(catalogue, &metadata).await;
    if reply.status == 201 {
        assert_ne!(reply.json()["client_id"], json!(first.id));
    } else {
        assert_eq!(reply.status, 400);
    }
    for method in ["GET", "PUT", "DELETE"] {
        for token in [None, Some("x")] {
            let request = catalogue
                .doorward
                .request(method, &format!("/register/{}", first.id));
            let request = match token {
                Some(token) => request.bearer(token),
                None => request,
            };
            let reply = request.json(&with_redirect("https://c2.test/cb")).send().await;
            assert!(
                matches!(reply.status, 401 | 404 | 405),
                "{method}: {}",
                reply.status
            );
        }
    }
    let after = catalogue
        .doorward
        .command(&["client", "show", &first.id, "--format", "json"])
        .ok()
        .json();
    assert_eq!(before["metadata"], after["metadata"]);
    assert_eq!(before["redirect_uris"], after["redirect_uris"]);
    let page = look_as(
        &catalogue.alice().await,
        &first.authorize_url(&Pkce::new(), &catalogue.ra()),
    )
    .await;
    assert_eq!(page.reply.status, 200);
    catalogue.still_good().await;
}

#[tokio::test]
async fn the_same_metadata_is_the_same_client_whatever_its_port() {
    let catalogue = catalogue().await;
    let metadata = |port: u16| {
        json!({ "client_name": "same", "redirect_uris": [format!("http://127.0.0.1:{port}/cb")],
            "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none" })
    };
    let one = register(catalogue, &metadata(1000)).await;
    let two = register(catalogue, &metadata(2000)).await;
    assert_eq!((one.status, two.status), (201, 201), "{}", one.text());
    let (one, two) = (one.json(), two.json());
    assert_eq!(one["client_id"], two["client_id"]);
    assert!(one["client_id"].as_str().unwrap().starts_with("dcr_"));
    assert_eq!(
        one["redirect_uris"],
        json!(["http://127.0.0.1:1000/cb"]),
        "echoed with the port"
    );
    assert_eq!(two["redirect_uris"], json!(["http://127.0.0.1:2000/cb"]));
    assert!(one.get("client_secret").is_none() && one.get("registration_access_token").is_none());
    assert_eq!(one["token_endpoint_auth_method"], "none");
    let mut other = metadata(1000);
    other["client_name"] = json!("other");
    assert_ne!(
        register(catalogue, &other).await.json()["client_id"],
        one["client_id"]
    );
}

#[tokio::test]
async fn custom_schemes_of_known_hosts_and_reverse_dns_are_accepted() {
    let catalogue = catalogue().await;
    for uri in [
        "cursor://anysphere.cursor-retrieval/oauth/callback",
        "vscode://x/cb",
        "vscode-insiders://x/cb",
        "com.example.app:/cb",
    ] {
        let reply = register(catalogue, &with_redirect(uri)).await;
        assert_eq!(reply.status, 201, "{uri}: {}", reply.text());
    }
}

#[tokio::test]
async fn on_a_public_server_unknown_redirect_hosts_wait_for_approval() {
    let up = doorward_testkit::upstream::Upstream::start();
    let doorward = Doorward::builder()
        .public_url("https://gw.test")
        .upstream(&up.url())
        .user("alice", PASSWORD)
        .start()
        .await;
    let site = Site::at(
        "https://gw.test",
        Destination {
            address: doorward.address,
            tls: None,
        },
    );
    let known = OAuthClient::register(&site, "Claude", "https://claude.ai/api/mcp/auth_callback").await;
    let open = site
        .get(&known.authorize_url(&Pkce::new(), "https://gw.test/mcp"))
        .send()
        .await;
    assert_eq!(open.status, 200, "{}", open.text());
    let unknown = OAuthClient::register(&site, "Unknown", "https://unknown.test/cb").await;
    let url = unknown.authorize_url(&Pkce::new(), "https://gw.test/mcp");
    let waiting = site.get(&url).send().await;
    assert_page(&waiting);
    assert!(
        waiting.text().contains("approve"),
        "says what to do: {}",
        waiting.text()
    );
    let listed = doorward
        .command(&["client", "list", "--format", "json"])
        .ok()
        .json();
    assert!(listed.to_string().contains("pending"), "{listed}");
    doorward.command(&["client", "approve", &unknown.id]).ok();
    assert_eq!(site.get(&url).send().await.status, 200);
    let tokens = unknown.login("alice", PASSWORD, "https://gw.test/mcp").await;
    assert_eq!(tokens.claims()["iss"], "https://gw.test");
}

/// So many different registrations within a minute: the catalogue's number with `--full`.
fn flood() -> usize {
    if std::env::var_os("DOORWARD_FULL").is_some() {
        20_000
    } else {
        400
    }
}

/// Registers as if from `address`, through a proxy that is believed.
async fn register_from(doorward: &Doorward, address: &str, metadata: &Value) -> Reply {
    let request = doorward.post("/register").header("X-Forwarded-For", address);
    request.json(metadata).send().await
}

#[tokio::test]
async fn rg_04_a_flood_of_registrations_from_one_address_is_its_own_problem() {
    let up = doorward_testkit::upstream::Upstream::start();
    let config = format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[[servers]]\nname = \"mcp\"\npath = \"/mcp\"\nupstream = \"{}\"\n",
        up.url()
    );
    let builder = Doorward::builder().config(&config).user("alice", PASSWORD);
    let doorward = builder.start().await;
    let native = OAuthClient::native(&doorward).await;
    let begun = Instant::now();
    let (mut taken, mut told) = (0, 0);
    let mut number = 0;
    while number < flood() && begun.elapsed() < Duration::from_secs(60) {
        let batch = (number..number + 20).map(|number| {
            let doorward = &doorward;
            async move {
                let metadata = with_redirect(&format!("https://c1.test/cb{number}"));
                register_from(doorward, "203.0.113.7", &metadata).await
            }
        });
        for reply in futures_util::future::join_all(batch).await {
            match reply.status {
                201 => taken += 1,
                429 => {
                    told += 1;
                    let after = reply.header("Retry-After").expect("when to come back");
                    assert!((1..=600).contains(&after.parse::<u64>().unwrap()), "{after}");
                }
                other => panic!("{other}: {}", reply.text()),
            }
        }
        number += 20;
    }
    // A hundred, and what came back of them in the time that it took: one every six seconds.
    let back = usize::try_from(begun.elapsed().as_secs()).unwrap() / 6 + 1;
    assert!((100..=100 + back).contains(&taken), "{taken} of {number}");
    assert_eq!(told, number - taken);
    let listed = doorward
        .command(&["client", "list", "--format", "json"])
        .ok()
        .json();
    assert_eq!(
        listed.as_array().unwrap().len(),
        taken + 1,
        "the store holds no more"
    );

    let known = with_redirect("https://c1.test/cb0");
    let again = register_from(&doorward, "203.0.113.7", &known).await;
    assert_eq!(again.status, 201, "registering again is free: {}", again.text());
    let new = with_redirect("https://c2.test/cb");
    let named = |name: &str| {
        let mut own = new.clone();
        own["client_name"] = json!(name);
        own
    };
    // On a machine that is so slow that six seconds have passed, one more is none too many.
    doorward_testkit::eventually("too many still", Duration::from_secs(60), async || {
        let another = named(&doorward_testkit::marker());
        let reply = register_from(&doorward, "203.0.113.7", &another).await;
        (reply.status == 429).then_some(())
    })
    .await;
    for address in ["203.0.113.8", "2001:db8::1"] {
        let reply = register_from(&doorward, address, &named(address)).await;
        assert_eq!(reply.status, 201, "{address}: {}", reply.text());
    }
    let tokens = native.login("alice", PASSWORD, &doorward.url("/mcp")).await;
    assert_eq!(tokens.claims()["aud"], doorward.url("/mcp"));
}

#[tokio::test]
async fn rg_04_clients_that_nobody_allowed_anything_are_limited_in_number() {
    let up = doorward_testkit::upstream::Upstream::start();
    let config = format!(
        "[[servers]]\nname = \"mcp\"\npath = \"/mcp\"\nupstream = \"{}\"\n[registration]\nquota = 20\n",
        up.url()
    );
    let builder = Doorward::builder().config(&config).user("alice", PASSWORD);
    let doorward = builder.start().await;
    let used = OAuthClient::native(&doorward).await;
    let tokens = used.login("alice", PASSWORD, &doorward.url("/mcp")).await;
    for number in 0..20 {
        let metadata = with_redirect(&format!("https://c1.test/cb{number}"));
        let reply = doorward.post("/register").json(&metadata).send().await;
        assert_eq!(reply.status, 201, "{number}: {}", reply.text());
    }
    let metadata = with_redirect("https://c1.test/cb20");
    let reply = doorward.post("/register").json(&metadata).send().await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert!(reply.header("Retry-After").is_some());
    let refreshed = used.refresh(tokens.refresh(), &doorward.url("/mcp")).await;
    assert_eq!(refreshed.status, 200, "a client that is used does not make room");
}
