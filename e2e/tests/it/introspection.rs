//! EX-04 and EX-05: asking about tokens (RFC 7662) and giving them up (RFC 7009).

use std::time::Duration;

use doorward_testkit::forge::Forge;
use doorward_testkit::http::Reply;
use doorward_testkit::oauth::{Tokens, claims};
use doorward_testkit::{Doorward, eventually};
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::support::{Catalogue, RA, assert_no_store, assert_t};

crate::shared_catalogue!();

const ITSELF: &[&str] = &["--client-credentials"];
const NOT_ACTIVE: &str = r#"{"active":false}"#;

async fn ask(doorward: &Doorward, machine: &Machine, token: &str) -> Reply {
    let fields = [("token", token), ("token_type_hint", "refresh_token")];
    let reply = machine.send(doorward, "/introspect", &fields).await;
    assert_no_store(&reply);
    reply
}

#[track_caller]
fn assert_inactive(reply: &Reply) {
    assert_eq!((reply.status, reply.text().as_str()), (200, NOT_ACTIVE));
}

#[track_caller]
fn told(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let told = reply.json();
    assert_eq!(told["active"], true, "{told}");
    told
}

async fn revoke(doorward: &Doorward, fields: &[(&str, &str)]) -> Reply {
    let reply = doorward.post("/revoke").form(fields).send().await;
    assert_no_store(&reply);
    reply
}

#[tokio::test]
async fn ex_04_a_resource_server_is_told_about_tokens_for_it() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    let said = claims(&tokens.access);
    for server in [
        Machine::basic(doorward, &["--introspect", "a"]),
        Machine::key(doorward, &["--introspect", "a", "--introspect", "b"]),
    ] {
        let told = told(&ask(doorward, &server, &tokens.access).await);
        for same in [
            "iss",
            "sub",
            "aud",
            "client_id",
            "scope",
            "exp",
            "iat",
            "jti",
            "username",
        ] {
            assert_eq!(told[same], said[same], "{same}");
        }
        assert_eq!(told["token_type"], "Bearer");
        assert!(told.get("family").is_none(), "{told}");
        // Refresh tokens are none of a resource server's business.
        assert_inactive(&ask(doorward, &server, tokens.refresh()).await);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn ex_04_without_authentication_nobody_is_told_anything() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    let fields = [("token", tokens.access.as_str())];
    let nobody = doorward.post("/introspect").form(&fields).send().await;
    assert_t(&nobody, &["invalid_request"]);
    // The public client that holds it, and one that does not.
    for id in [client.id.as_str(), "app_nobody"] {
        let fields = [("token", tokens.access.as_str()), ("client_id", id)];
        assert_t(
            &doorward.post("/introspect").form(&fields).send().await,
            &["invalid_client"],
        );
    }
    let bearer = doorward
        .post("/introspect")
        .bearer(&tokens.access)
        .form(&fields)
        .send()
        .await;
    assert_t(&bearer, &["invalid_client"]);
    let off = Machine::basic(doorward, &["--introspect", "a"]);
    told(&ask(doorward, &off, &tokens.access).await);
    doorward.command(&["client", "disable", &off.id]).ok();
    assert_t(&ask(doorward, &off, &tokens.access).await, &["invalid_client"]);
    let get = doorward.get("/introspect?token=x").send().await;
    assert_eq!(get.status, 405);
    catalogue.still_good().await;
}

#[tokio::test]
async fn ex_04_everybody_else_is_told_that_it_is_not_active() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let c1 = catalogue.n1().await;
    let tokens = catalogue.tokens(&c1).await;
    // C2, another server, and one that is registered for nothing of the kind.
    for other in [
        Machine::basic(doorward, ITSELF),
        Machine::key(doorward, &["--introspect", "b"]),
        Machine::post(doorward, &["--redirect-uri", "https://c3.test/cb"]),
    ] {
        assert_inactive(&ask(doorward, &other, &tokens.access).await);
        assert_inactive(&ask(doorward, &other, tokens.refresh()).await);
    }
    let server = Machine::basic(doorward, &["--introspect", "a"]);
    let forge = Forge::of(doorward).await;
    let good = claims(&tokens.access);
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        forge.sign(&forge.header(), &claims)
    };
    let thief = Forge::attacker();
    for dead in [
        "",
        "x",
        "a.b.c",
        "dwr_nobody",
        "dwc_nobody",
        &format!("{}x", tokens.access),
        &thief.sign(&thief.header(), &good),
        &changed("exp", json!(good["iat"].as_i64().unwrap() - 3600)),
        &changed("aud", json!("https://elsewhere.test/mcp")),
        &changed("iss", json!("https://elsewhere.test")),
        &changed("family", json!("0198c0de-0000-7000-8000-000000000000")),
    ] {
        let reply = ask(doorward, &server, dead).await;
        if dead.is_empty() {
            assert_t(&reply, &["invalid_request"]);
        } else {
            assert_inactive(&reply);
        }
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn ex_04_a_client_may_ask_about_its_own_tokens() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let c3 = Machine::basic(
        doorward,
        &["--client-credentials", "--redirect-uri", "https://c3.test/cb"],
    );
    let own = c3.own_token(doorward, &catalogue.ra()).await.json();
    let own = own["access_token"].as_str().unwrap();
    let about_itself = told(&ask(doorward, &c3, own).await);
    assert_eq!(
        (&about_itself["sub"], about_itself.get("username")),
        (&json!(c3.id), None)
    );
    let client = c3.as_client(doorward, "https://c3.test/cb");
    let approved = catalogue.code(&client).await;
    let redeemed = c3
        .send(doorward, "/token", &crate::machine::redeem(&approved))
        .await;
    let tokens = Tokens::from_reply(&redeemed);
    catalogue.keep(&tokens);
    assert_eq!(
        told(&ask(doorward, &c3, &tokens.access).await)["username"],
        "alice"
    );
    let refresh = told(&ask(doorward, &c3, tokens.refresh()).await);
    assert!(
        refresh.get("token_type").is_none() && refresh["exp"].is_i64(),
        "{refresh}"
    );
    // A superseded one is not active any more; its successor is.
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh()),
    ];
    let rotated = Tokens::from_reply(&c3.send(doorward, "/token", &fields).await);
    catalogue.keep(&rotated);
    assert_inactive(&ask(doorward, &c3, tokens.refresh()).await);
    told(&ask(doorward, &c3, rotated.refresh()).await);
    catalogue.still_good().await;
}

#[tokio::test]
async fn ex_04_what_was_revoked_is_not_active_at_once() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let server = Machine::basic(doorward, &["--introspect", "a"]);
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    told(&ask(doorward, &server, &tokens.access).await);
    let fields = [("token", tokens.refresh()), ("client_id", client.id.as_str())];
    assert_eq!(revoke(doorward, &fields).await.status, 200);
    assert_inactive(&ask(doorward, &server, &tokens.access).await);
    // By command, from another process: the database is asked, not only the feed.
    let tokens = catalogue.tokens(&client).await;
    told(&ask(doorward, &server, &tokens.access).await);
    doorward.command(&["user", "disable", "alice"]).ok();
    assert_inactive(&ask(doorward, &server, &tokens.access).await);
}

#[tokio::test]
async fn ex_05_a_client_gives_up_its_tokens() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    for give_up in ["refresh", "superseded", "access"] {
        let first = catalogue.tokens(&client).await;
        let second = Tokens::from_reply(&client.refresh(first.refresh(), &catalogue.ra()).await);
        catalogue.keep(&second);
        let token = match give_up {
            "refresh" => second.refresh(),
            "superseded" => first.refresh(),
            _ => &second.access,
        };
        // A wrong hint changes nothing (RFC 7009 section 2.1).
        let fields = [
            ("token", token),
            ("client_id", &client.id),
            ("token_type_hint", "access_token"),
        ];
        let reply = revoke(doorward, &fields).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, ""), "{give_up}");
        // The same node knows at once, whatever it had remembered.
        for access in [&first.access, &second.access] {
            let reply = catalogue.call("ex05").bearer(access).send().await;
            catalogue.assert_u401(&reply, RA, true);
        }
        assert_t(
            &client.refresh(second.refresh(), &catalogue.ra()).await,
            &["invalid_grant"],
        );
        assert_eq!(revoke(doorward, &fields).await.status, 200, "once more");
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn ex_05_nobody_gives_up_another_clients_tokens() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let (c1, c2) = (catalogue.n1().await, catalogue.c2().await);
    let tokens = catalogue.tokens(&c1).await;
    for token in [
        tokens.refresh(),
        tokens.access.as_str(),
        "dwr_nobody",
        "x",
        "a.b.c",
    ] {
        let fields = [("token", token), ("client_id", c2.id.as_str())];
        assert_eq!(revoke(doorward, &fields).await.status, 200);
        let machine = Machine::basic(doorward, ITSELF);
        let reply = machine.send(doorward, "/revoke", &[("token", token)]).await;
        assert_eq!(reply.status, 200);
    }
    let call = catalogue.call("ex05").bearer(&tokens.access).send().await;
    assert_eq!(call.status, 200, "no effect");
    assert_eq!(c1.refresh(tokens.refresh(), &catalogue.ra()).await.status, 200);
    // Who does not exist, who should have authenticated, what cannot be revoked, and nothing at all.
    let c3 = Machine::basic(doorward, ITSELF);
    for (fields, error) in [
        (
            vec![("token", "x"), ("client_id", "app_nobody")],
            "invalid_client",
        ),
        (
            vec![("token", "x"), ("client_id", c3.id.as_str())],
            "invalid_client",
        ),
        (vec![("token", "x")], "invalid_request"),
        (vec![("client_id", c1.id.as_str())], "invalid_request"),
        (
            vec![("token", "x"), ("token", "y"), ("client_id", c1.id.as_str())],
            "invalid_request",
        ),
        (
            vec![("token", "dwc_x"), ("client_id", c1.id.as_str())],
            "unsupported_token_type",
        ),
    ] {
        assert_t(&revoke(doorward, &fields).await, &[error]);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn ex_05_a_client_gives_up_a_token_of_its_own() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let machine = Machine::key(doorward, ITSELF);
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let reply = machine.own_token(doorward, &catalogue.ra()).await.json();
        tokens.push(reply["access_token"].as_str().unwrap().to_owned());
    }
    let reply = machine
        .send(doorward, "/revoke", &[("token", tokens[0].as_str())])
        .await;
    assert_eq!(reply.status, 200);
    let dead = catalogue.call("own").bearer(&tokens[0]).send().await;
    catalogue.assert_u401(&dead, RA, true);
    assert_eq!(
        catalogue.call("own").bearer(&tokens[1]).send().await.status,
        200,
        "that one alone"
    );
    assert_inactive(&ask(doorward, &machine, &tokens[0]).await);
    told(&ask(doorward, &machine, &tokens[1]).await);
    catalogue.still_good().await;
}

#[tokio::test]
async fn ex_05_a_revocation_outlives_a_crash_and_is_not_reported_before() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    let fields = [
        ("token", tokens.access.as_str()),
        ("client_id", client.id.as_str()),
    ];
    assert_eq!(revoke(doorward, &fields).await.status, 200);
    doorward.kill();
    doorward.start_again().await;
    eventually("it serves", Duration::from_secs(60), || async {
        let reply = catalogue.call("crash").bearer(&tokens.access).send().await;
        (reply.status == 401).then_some(())
    })
    .await;
    assert_t(
        &client.refresh(tokens.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
}
