//! C1 to C4: clients that act for themselves (MCP extension oauth-client-credentials).

use std::time::Duration;

use doorward_testkit::http::Reply;
use doorward_testkit::oauth::claims;
use doorward_testkit::{Doorward, eventually, mcp};
use serde_json::json;

use crate::machine::Machine;
use crate::support::{Catalogue, RA, RB, assert_no_store, assert_t};

crate::shared_catalogue!();

const ITSELF: &[&str] = &["--client-credentials"];

#[track_caller]
fn access_token(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_no_store(reply);
    let body = reply.json();
    assert!(body.get("refresh_token").is_none(), "RFC 6749 section 4.4.3");
    assert_eq!(body["token_type"], "Bearer");
    assert!(body["expires_in"].as_i64().unwrap() <= 3600);
    body["access_token"].as_str().expect("an access token").into()
}

#[tokio::test]
async fn c1_c2_a_client_gets_a_token_of_its_own_and_calls() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    for machine in [
        Machine::basic(doorward, ITSELF),
        Machine::post(doorward, ITSELF),
        Machine::key(doorward, ITSELF),
    ] {
        // Exactly as the draft's examples have it: no `client_id` beside an assertion.
        let token = access_token(&machine.own_token(doorward, &catalogue.ra()).await);
        let said = claims(&token);
        assert_eq!(
            (&said["sub"], &said["client_id"]),
            (&json!(machine.id), &json!(machine.id))
        );
        assert_eq!(said["aud"], json!(catalogue.ra()));
        for absent in ["username", "groups", "family"] {
            assert!(said.get(absent).is_none(), "{absent}");
        }
        let reply = catalogue.call("c1").bearer(&token).send().await;
        assert_eq!(mcp::text_of(&reply), "t_read ok");
        // One audience.
        let reply = catalogue.call_at(RB, "c1").bearer(&token).send().await;
        catalogue.assert_u401(&reply, RB, true);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn c1_the_demo_server_tells_a_client_from_a_person() {
    let doorward = Doorward::builder().demo().start().await;
    let machine = Machine::basic(&doorward, ITSELF);
    let resource = doorward.url("/mcp");
    let token = access_token(&machine.own_token(&doorward, &resource).await);
    let call = |tool: &str, arguments: serde_json::Value| {
        mcp::call(&doorward, "/mcp", tool, &arguments)
            .bearer(&token)
            .send()
    };
    let told: serde_json::Value =
        serde_json::from_str(&mcp::text_of(&call("whoami", json!({})).await)).unwrap();
    assert_eq!(
        (&told["known"], &told["client_id"]),
        (&json!(true), &json!(machine.id))
    );
    assert!(told.get("username").is_none(), "there is no person: {told}");
    // What it keeps is its own, under a key that no account has.
    call("add_note", json!({ "text": "of the machine" })).await;
    let notes = mcp::text_of(&call("list_notes", json!({})).await);
    assert!(notes.contains("of the machine"), "{notes}");
    let other = Machine::basic(&doorward, ITSELF);
    let token = access_token(&other.own_token(&doorward, &resource).await);
    let list = mcp::call(&doorward, "/mcp", "list_notes", &json!({}))
        .bearer(&token)
        .send();
    assert!(!mcp::text_of(&list.await).contains("of the machine"));
}

#[tokio::test]
async fn c1_only_clients_that_an_operator_wanted() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    // A public client, registered or not for the grant.
    let public = catalogue.n1().await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", public.id.as_str()),
    ];
    assert_t(
        &doorward.post("/token").form(&fields).send().await,
        &["unauthorized_client"],
    );
    // A client with a secret that was not registered for it.
    let people = Machine::basic(doorward, &["--redirect-uri", "https://c3.test/cb"]);
    assert_t(
        &people.own_token(doorward, &catalogue.ra()).await,
        &["unauthorized_client"],
    );
    // One server only.
    let only_b = Machine::basic(doorward, &["--client-credentials", "--server", "b"]);
    assert_t(
        &only_b.own_token(doorward, &catalogue.ra()).await,
        &["unauthorized_client"],
    );
    access_token(&only_b.own_token(doorward, &catalogue.rb()).await);
    // Several servers and none named; one that does not exist.
    let machine = Machine::basic(doorward, ITSELF);
    let bare = [("grant_type", "client_credentials")];
    assert_t(
        &machine.send(doorward, "/token", &bare).await,
        &["invalid_target"],
    );
    assert_t(
        &machine.own_token(doorward, "https://evil.test/mcp").await,
        &["invalid_target"],
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn c1_tk_13_the_guide_pages_grant_type_and_others_do_not_exist() {
    let catalogue = catalogue().await;
    let machine = Machine::key(&catalogue.doorward, ITSELF);
    for grant in [
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:device_code",
        "password",
    ] {
        let fields = [
            ("grant_type", grant),
            ("assertion", "a.b.c"),
            ("device_code", "x"),
        ];
        let reply = machine.send(&catalogue.doorward, "/token", &fields).await;
        assert_t(&reply, &["unsupported_grant_type"]);
    }
}

#[tokio::test]
async fn c1_scopes_are_the_registered_ones() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let machine = Machine::basic(doorward, ITSELF);
    let ask = |scope: &'static str| {
        let ra = catalogue.ra();
        let machine = &machine;
        async move {
            let fields = [
                ("grant_type", "client_credentials"),
                ("resource", ra.as_str()),
                ("scope", scope),
            ];
            machine.send(doorward, "/token", &fields).await
        }
    };
    assert_eq!(ask("a").await.json()["scope"], "a");
    assert_eq!(ask("a unknown offline_access").await.json()["scope"], "a");
    assert_t(&ask("b").await, &["invalid_scope"]);
    assert_t(&ask("\"").await, &["invalid_scope"]);
}

#[tokio::test]
async fn c1_access_rules_name_clients_apart_from_people() {
    let (up_a, up_b) = (
        doorward_testkit::upstream::Upstream::start(),
        doorward_testkit::upstream::Upstream::start(),
    );
    let config = format!(
        "[[servers]]\nname = \"a\"\npath = \"{RA}\"\nupstream = \"{}\"\nallow = [\"user:reports\", \"client:loader\"]\n\n\
         [[servers]]\nname = \"b\"\npath = \"{RB}\"\nupstream = \"{}\"\n",
        up_a.url(),
        up_b.url()
    );
    let doorward = Doorward::builder().config(&config).start().await;
    let reports = Machine::basic(&doorward, &["--client-credentials", "--id", "reports"]);
    let loader = Machine::basic(&doorward, &["--client-credentials", "--id", "loader"]);
    let (a, b) = (doorward.url(RA), doorward.url(RB));
    assert_t(&reports.own_token(&doorward, &a).await, &["unauthorized_client"]);
    access_token(&reports.own_token(&doorward, &b).await);
    let token = access_token(&loader.own_token(&doorward, &a).await);
    let call = || {
        mcp::call(&doorward, RA, "t_read", &json!({}))
            .bearer(&token)
            .send()
    };
    assert_eq!(call().await.status, 200);
    // The rule is looked at with every call, not only when the token is issued.
    let narrowed = config.replace(", \"client:loader\"", "");
    std::fs::write(doorward.config_file(), narrowed).unwrap();
    doorward.hang_up();
    eventually("the new rule holds", Duration::from_secs(60), || async {
        (call().await.status == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn c1_a_client_that_is_switched_off_is_out_within_seconds() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let machine = Machine::key(doorward, ITSELF);
    let token = access_token(&machine.own_token(doorward, &catalogue.ra()).await);
    let call = || catalogue.call("off").bearer(&token).send();
    assert_eq!(call().await.status, 200);
    doorward.command(&["client", "disable", &machine.id]).ok();
    eventually("the token is refused", Duration::from_secs(60), || async {
        (call().await.status == 401).then_some(())
    })
    .await;
    assert_t(
        &machine.own_token(doorward, &catalogue.ra()).await,
        &["unauthorized_client"],
    );
    doorward.command(&["client", "enable", &machine.id]).ok();
    assert_eq!(call().await.status, 401, "what was revoked stays revoked");
    let token = access_token(&machine.own_token(doorward, &catalogue.ra()).await);
    assert_eq!(catalogue.call("on").bearer(&token).send().await.status, 200);
}

#[tokio::test]
async fn c3_az_11_metadata_lists_what_is_on_and_nothing_else() {
    let (up_a, up_b) = (
        doorward_testkit::upstream::Upstream::start(),
        doorward_testkit::upstream::Upstream::start(),
    );
    let servers = crate::support::two_servers(&up_a.url(), &up_b.url());
    let off = format!(
        "[grants]\nclient_credentials = false\n\n[client_metadata_documents]\nenabled = false\n\n{servers}"
    );
    let on = format!("[grants]\ndevice = true\n\n{servers}");
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    for (config, grants, documents) in [
        (&servers, vec!["client_credentials"], true),
        (&off, vec![], false),
        (&on, vec!["client_credentials", device], true),
    ] {
        let doorward = Doorward::builder().config(config).start().await;
        let document = doorward
            .get("/.well-known/oauth-authorization-server")
            .send()
            .await
            .json();
        let openid = doorward
            .get("/.well-known/openid-configuration")
            .send()
            .await
            .json();
        let expected: Vec<&str> = ["authorization_code", "refresh_token"]
            .into_iter()
            .chain(grants.clone())
            .collect();
        assert_eq!(document["grant_types_supported"], json!(expected));
        assert_eq!(
            document["token_endpoint_auth_methods_supported"],
            json!([
                "none",
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt"
            ])
        );
        let algorithms = document["token_endpoint_auth_signing_alg_values_supported"]
            .as_array()
            .unwrap();
        assert!(algorithms.contains(&json!("ES256")) && !algorithms.contains(&json!("none")));
        assert_eq!(
            document.get("client_id_metadata_document_supported"),
            documents.then_some(&json!(true))
        );
        assert_eq!(
            document.get("device_authorization_endpoint").is_some(),
            grants.contains(&device)
        );
        for name in [
            "token_endpoint",
            "revocation_endpoint",
            "introspection_endpoint",
            "pushed_authorization_request_endpoint",
        ] {
            let url = document[name].as_str().unwrap_or_else(|| panic!("{name}"));
            assert_eq!(openid[name], document[name]);
            let reply = doorward_testkit::http::post(url).form(&[]).send().await;
            assert_eq!(
                reply.oauth_error().as_deref(),
                Some("invalid_request"),
                "{name} is there"
            );
        }
        if !grants.contains(&"client_credentials") {
            let machine = Machine::basic(&doorward, ITSELF);
            let reply = machine.own_token(&doorward, &doorward.url(RA)).await;
            assert_t(&reply, &["unsupported_grant_type"]);
        }
    }
}

#[tokio::test]
async fn c4_a_client_that_declares_the_extension_is_served_and_nothing_is_added_to_what_the_server_says() {
    let catalogue = catalogue().await;
    let machine = Machine::key(&catalogue.doorward, ITSELF);
    let token = access_token(&machine.own_token(&catalogue.doorward, &catalogue.ra()).await);
    let mut meta = mcp::meta();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({
        "extensions": { "io.modelcontextprotocol/oauth-client-credentials": {} }
    });
    let params = json!({ "name": "t_read", "arguments": { "marker": "c4" }, "_meta": meta });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let reply = catalogue
        .call("c4")
        .body(message.to_string())
        .bearer(&token)
        .send()
        .await;
    assert_eq!(mcp::text_of(&reply), "t_read ok");
    let discover =
        |site: &doorward_testkit::Site, path: &str| mcp::modern(site, path, "server/discover", json!({}));
    let through = discover(&catalogue.doorward, RA).bearer(&token).send().await;
    assert_eq!(through.status, 200, "{}", through.text());
    assert!(
        !through.text().contains("oauth-client-credentials"),
        "relayed as the server said it"
    );
}
