//! RG, R17: registrations that authenticate, the initial access token, and RFC 7592.

use std::time::Duration;

use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::{OAuthClient, Tokens, with};
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, Reply, eventually, mcp};
use serde_json::{Value, json};

/// Far beyond the five seconds that the rule names: this machine may be busy.
const SOON: Duration = Duration::from_secs(60);
const TOKEN: &str = "initial-access-token-of-the-operator";

fn config(up: &Upstream, registration: &str) -> String {
    format!(
        "[[servers]]\nname = \"a\"\npath = \"/a/mcp\"\nupstream = \"{}\"\n[registration]\n{registration}\n",
        up.url()
    )
}

async fn start(up: &Upstream, registration: &str) -> Doorward {
    let builder = Doorward::builder().config(&config(up, registration));
    builder.user("alice", PASSWORD).start().await
}

fn metadata(method: &str) -> Value {
    json!({ "client_name": "Confidential", "redirect_uris": ["https://c3.test/cb"],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": method })
}

async fn register(doorward: &Doorward, metadata: &Value) -> Reply {
    doorward.post("/register").json(metadata).send().await
}

fn client(doorward: &Doorward, registration: &Value) -> OAuthClient {
    OAuthClient {
        site: (**doorward).clone(),
        id: registration["client_id"].as_str().unwrap().into(),
        redirect_uri: registration["redirect_uris"][0].as_str().unwrap().into(),
        registration: registration.clone(),
    }
}

/// The whole flow of a client with a secret in the body.
async fn log_in(client: &OAuthClient, secret: &str, resource: &str) -> Tokens {
    let mut browser = Browser::new(&client.site);
    let approved = client.approve(&mut browser, "alice", PASSWORD, resource).await;
    let form = with(client.code_form(&approved), "client_secret", Some(secret));
    Tokens::from_reply(&client.token(&form).await)
}

fn path(registration: &Value) -> String {
    let uri = registration["registration_client_uri"].as_str().unwrap();
    let at = uri.find("/register/").unwrap();
    uri[at..].to_owned()
}

fn bearer(registration: &Value) -> &str {
    registration["registration_access_token"].as_str().unwrap()
}

#[tokio::test]
async fn r17_in_token_mode_the_operators_token_registers_and_nothing_else() {
    let up = Upstream::start();
    let doorward = start(&up, &format!("mode = \"token\"\ntoken = \"{TOKEN}\"")).await;
    let body = metadata("none");
    for (header, error) in [
        (None, false),
        (Some("Bearer another".to_owned()), true),
        (Some(format!("Basic {TOKEN}")), false),
        (Some("Bearer".to_owned()), false),
    ] {
        let request = doorward.post("/register").json(&body);
        let request = match &header {
            Some(value) => request.header("Authorization", value),
            None => request,
        };
        let reply = request.send().await;
        assert_eq!(reply.status, 401, "{header:?}: {}", reply.text());
        let challenge = reply.header("WWW-Authenticate").unwrap();
        assert!(challenge.starts_with("Bearer "), "{challenge}");
        assert_eq!(
            challenge.contains("invalid_token"),
            error,
            "{header:?}: {challenge}"
        );
        assert!(
            reply.json()["error_description"]
                .as_str()
                .unwrap()
                .contains("ask the operator")
        );
    }
    let told = |logs: &str| logs.contains("rule=\"R17\"") || logs.contains("\"rule\":\"R17\"");
    doorward.logged_if("rule R17", told).await;
    let file = doorward.home().join("token");
    std::fs::write(&file, "0123456789-0123456789\n").unwrap();
    let text = config(&up, "mode = \"token\"\ntoken = \"file:token\"");
    std::fs::write(doorward.config_file(), text).unwrap();
    doorward.hang_up();
    let reply = eventually("the token of the file is taken over", SOON, || async {
        let request = doorward.post("/register").bearer("0123456789-0123456789");
        let reply = request.json(&body).send().await;
        (reply.status == 201).then_some(reply)
    })
    .await;
    assert_eq!(reply.json()["token_endpoint_auth_method"], "none");
    let secret = doorward.post("/register").bearer("0123456789-0123456789");
    let reply = secret.json(&metadata("client_secret_post")).send().await;
    assert!(reply.json()["client_secret"].is_string(), "{}", reply.text());
    let logs = doorward.logs();
    for hidden in [
        "0123456789-0123456789",
        TOKEN,
        reply.json()["client_secret"].as_str().unwrap(),
    ] {
        assert!(!logs.contains(hidden), "the log holds a secret");
    }
}

/// What SDKs send that name a secret because that is their default: they get a public client, as before.
#[tokio::test]
async fn r17_who_only_defaults_to_a_secret_gets_a_public_client() {
    let up = Upstream::start();
    let doorward = start(&up, "").await;
    let mut ids = Vec::new();
    for method in [
        json!("client_secret_post"),
        json!("client_secret_basic"),
        json!("none"),
        Value::Null,
    ] {
        let mut body = metadata("none");
        if method.is_null() {
            body.as_object_mut().unwrap().remove("token_endpoint_auth_method");
        } else {
            body["token_endpoint_auth_method"] = method.clone();
        }
        let reply = register(&doorward, &body).await;
        assert_eq!(reply.status, 201, "{method}: {}", reply.text());
        let registration = reply.json();
        assert_eq!(registration["token_endpoint_auth_method"], "none", "{method}");
        assert!(
            registration.get("client_secret").is_none()
                && registration.get("registration_client_uri").is_none()
        );
        ids.push(registration["client_id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "the same public client every time");
}

#[tokio::test]
async fn r17_a_confidential_client_logs_in_with_its_secret_only() {
    let up = Upstream::start();
    let doorward = start(&up, "confidential = true").await;
    let resource = doorward.url("/a/mcp");
    let one = register(&doorward, &metadata("client_secret_post")).await.json();
    let two = register(&doorward, &metadata("client_secret_post")).await.json();
    assert_ne!(
        one["client_id"], two["client_id"],
        "each registration is a client of its own"
    );
    assert_eq!(one["client_secret_expires_at"], 0);
    let client = client(&doorward, &one);
    let secret = one["client_secret"].as_str().unwrap();
    let tokens = log_in(&client, secret, &resource).await;
    assert_eq!(tokens.claims()["client_id"], one["client_id"]);
    for (name, secret) in [
        ("none", None),
        ("the other's", two["client_secret"].as_str()),
        ("empty", Some("")),
    ] {
        let form = with(
            client.refresh_form(tokens.refresh(), &resource),
            "client_secret",
            secret,
        );
        let reply = client.token(&form).await;
        assert!(matches!(reply.status, 400 | 401), "{name}: {}", reply.text());
        assert!(reply.json().get("access_token").is_none(), "{name}");
    }
    let form = with(
        client.refresh_form(tokens.refresh(), &resource),
        "client_secret",
        Some(secret),
    );
    assert_eq!(
        client.token(&form).await.status,
        200,
        "the wrong tries did no harm"
    );
    assert!(!doorward.logs().contains(secret));
}

#[tokio::test]
async fn rg_05_a_registration_is_managed_by_its_token_only() {
    let up = Upstream::start();
    let doorward = start(&up, "confidential = true").await;
    let one = register(&doorward, &metadata("client_secret_post")).await.json();
    let two = register(&doorward, &metadata("client_secret_post")).await.json();
    let public = register(&doorward, &metadata("none")).await.json();
    let public_path = format!("/register/{}", public["client_id"].as_str().unwrap());
    let mut update = metadata("client_secret_post");
    update["client_id"] = one["client_id"].clone();
    for target in [
        path(&one),
        public_path,
        "/register/dcc_unknown".to_owned(),
        "/register/%00".to_owned(),
    ] {
        for token in [None, Some("x"), Some(bearer(&two)), one["client_secret"].as_str()] {
            for method in ["GET", "PUT", "DELETE"] {
                let request = doorward.request(method, &target).json(&update);
                let request = match token {
                    Some(token) => request.bearer(token),
                    None => request,
                };
                let reply = request.send().await;
                assert!(
                    matches!(reply.status, 401 | 404),
                    "{method} {target}: {}",
                    reply.status
                );
            }
        }
    }
    let reply = doorward.get(&path(&one)).bearer(bearer(&one)).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["client_name"], "Confidential", "nobody changed it");
    assert_eq!(reply.header("Cache-Control"), Some("no-store"));
    assert!(reply.json().get("client_secret").is_none());
    let reply = doorward
        .post(&path(&one))
        .bearer(bearer(&one))
        .json(&update)
        .send()
        .await;
    assert_eq!(reply.status, 405);
}

#[tokio::test]
async fn r17_a_registration_is_read_replaced_and_removed() {
    let up = Upstream::start();
    let doorward = start(
        &up,
        "confidential = true\nmode = \"known-hosts\"\nknown_hosts = [\"c3.test\"]",
    )
    .await;
    let resource = doorward.url("/a/mcp");
    let one = register(&doorward, &metadata("client_secret_post")).await.json();
    let secret = one["client_secret"].as_str().unwrap();
    let client = client(&doorward, &one);
    let tokens = log_in(&client, secret, &resource).await;
    let put = async |body: &Value| {
        let request = doorward.request("PUT", &path(&one)).bearer(bearer(&one));
        request.json(body).send().await
    };

    let mut update = metadata("client_secret_post");
    update["client_id"] = one["client_id"].clone();
    update["client_name"] = json!("Renamed");
    let reply = put(&update).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["client_name"], "Renamed");
    assert!(reply.json().get("client_secret").is_none(), "it keeps its secret");
    for (name, value) in [
        ("client_id", json!("dcc_other")),
        ("redirect_uris", json!(["javascript:alert(1)"])),
        ("redirect_uris", json!([])),
        ("token_endpoint_auth_method", json!("none")),
        ("client_secret", json!("chosen by the client")),
        ("registration_client_uri", json!("https://c3.test/")),
        ("grant_types", json!(["implicit"])),
    ] {
        let mut bad = update.clone();
        bad[name] = value.clone();
        let reply = put(&bad).await;
        assert_eq!(reply.status, 400, "{name}: {value}: {}", reply.text());
    }
    let form = with(
        client.refresh_form(tokens.refresh(), &resource),
        "client_secret",
        Some(secret),
    );
    let refreshed = Tokens::from_reply(&client.token(&form).await);

    let reply = doorward
        .request("DELETE", &path(&one))
        .bearer(bearer(&one))
        .send()
        .await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    let reply = doorward.get(&path(&one)).bearer(bearer(&one)).send().await;
    assert_eq!(reply.status, 401, "RFC 7592 section 2.1");
    let call = || mcp::call(&doorward, "/a/mcp", "t_read", &json!({})).bearer(&refreshed.access);
    eventually("its tokens end", SOON, || async {
        (call().send().await.status == 401).then_some(())
    })
    .await;
    let form = with(
        client.refresh_form(refreshed.refresh(), &resource),
        "client_secret",
        Some(secret),
    );
    let reply = client.token(&form).await;
    assert!(matches!(reply.status, 400 | 401), "{}", reply.text());
}

#[tokio::test]
async fn r17_r35_an_update_cannot_get_round_the_operator() {
    let up = Upstream::start();
    let doorward = start(
        &up,
        "confidential = true\nmode = \"known-hosts\"\nknown_hosts = [\"c3.test\"]",
    )
    .await;
    let one = register(&doorward, &metadata("client_secret_basic")).await.json();
    let id = one["client_id"].as_str().unwrap();
    let status = || {
        let shown = doorward
            .command(&["client", "show", id, "--format", "json"])
            .ok()
            .json();
        shown["status"].as_str().unwrap().to_owned()
    };
    let mut update = metadata("client_secret_basic");
    update["client_id"] = one["client_id"].clone();
    let put = async |update: &Value| {
        let request = doorward.request("PUT", &path(&one)).bearer(bearer(&one));
        request.json(update).send().await.status
    };
    assert_eq!(status(), "approved");
    update["redirect_uris"] = json!(["https://unknown.test/cb"]);
    assert_eq!(put(&update).await, 200);
    assert_eq!(status(), "pending", "an unknown host waits for approval");
    doorward.command(&["client", "approve", id]).ok();
    assert_eq!(put(&update).await, 200);
    assert_eq!(status(), "approved", "as much as was approved");
    update["grant_types"] = json!(["authorization_code", "client_credentials"]);
    assert_eq!(put(&update).await, 200);
    assert_eq!(status(), "pending", "tokens without a person are more than that");
    doorward.command(&["client", "disable", id]).ok();
    assert_eq!(put(&update).await, 403);
    let gone = doorward
        .request("DELETE", &path(&one))
        .bearer(bearer(&one))
        .send()
        .await;
    assert_eq!(gone.status, 403, "the memory of it stays");
    assert_eq!(status(), "disabled");
}

#[tokio::test]
async fn r17_tokens_that_ask_no_person_wait_for_the_operator() {
    let up = Upstream::start();
    let doorward = start(&up, "confidential = true\nmode = \"open\"").await;
    let mut body = metadata("client_secret_post");
    body["grant_types"] = json!(["client_credentials"]);
    body["redirect_uris"] = json!([]);
    let reply = register(&doorward, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let one = reply.json();
    let (id, secret) = (
        one["client_id"].as_str().unwrap(),
        one["client_secret"].as_str().unwrap(),
    );
    let ask = || {
        let request = doorward.post("/token").form(&[
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
        ]);
        request.send()
    };
    let refused = ask().await;
    assert!(matches!(refused.status, 400 | 401), "not yet: {}", refused.text());
    doorward.command(&["client", "approve", id]).ok();
    let token = ask().await;
    assert_eq!(token.status, 200, "{}", token.text());
    let access = token.json()["access_token"].as_str().unwrap().to_owned();
    let call = || mcp::call(&doorward, "/a/mcp", "t_read", &json!({})).bearer(&access);
    assert_eq!(call().send().await.status, 200);
    let gone = doorward
        .request("DELETE", &path(&one))
        .bearer(bearer(&one))
        .send()
        .await;
    assert_eq!(gone.status, 204);
    eventually("its token ends with it", SOON, || async {
        (call().send().await.status == 401).then_some(())
    })
    .await;
}

/// A client of revision 2025-03-26 knows no metadata: it calls `/register`, `/authorize` and `/token` on the origin of
/// the MCP server.
#[tokio::test]
async fn r12_a_client_that_knows_default_addresses_only_logs_in_also_under_an_issuer_with_a_path() {
    let up = Upstream::start();
    for issuer_path in ["", "/company"] {
        let path = format!("issuer_path = \"{issuer_path}\"\n");
        let text = format!(
            "{}{}",
            if issuer_path.is_empty() { "" } else { &path },
            config(&up, "")
        );
        let doorward = Doorward::builder()
            .config(&text)
            .user("alice", PASSWORD)
            .start()
            .await;
        let client = OAuthClient::native(&doorward).await;
        let resource = doorward.url("/a/mcp");
        let tokens = client.login("alice", PASSWORD, &resource).await;
        assert_eq!(
            tokens.claims()["iss"],
            format!("{}{issuer_path}", doorward.public_url)
        );
        let call = mcp::call(&doorward, "/a/mcp", "t_read", &json!({}));
        assert_eq!(call.bearer(&tokens.access).send().await.status, 200);
        let refreshed = client.refresh(tokens.refresh(), &resource).await;
        assert_eq!(refreshed.status, 200, "{}", refreshed.text());
        let form = [("token", tokens.access.as_str()), ("client_id", &client.id)];
        for endpoint in ["/revoke".to_owned(), format!("{issuer_path}/revoke")] {
            let reply = doorward.post(&endpoint).form(&form).send().await;
            assert_eq!(reply.status, 200, "{endpoint}: {}", reply.text());
        }
    }
}
