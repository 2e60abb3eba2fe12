//! R17, R35: clients that an operator adds, by command and by file, and the kill switch for any client.

use std::time::Duration;

use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::{OAuthClient, Pkce, Tokens, with};
use doorward_testkit::{Doorward, PASSWORD, eventually, mcp};
use serde_json::{Value, json};

use crate::support::{Catalogue, RA, assert_page, assert_t, look_as, two_servers};

/// Far beyond the five seconds that the rule names: this machine may be busy.
const SOON: Duration = Duration::from_secs(60);

fn added(doorward: &Doorward, args: &[&str]) -> Value {
    let config = doorward.config_file().display().to_string();
    let mut all = vec!["client", "add", "--format", "json", "--config", &config];
    all.extend(args);
    doorward.command(&all).ok().json()
}

fn client(catalogue: &Catalogue, id: &str, redirect_uri: &str) -> OAuthClient {
    OAuthClient {
        site: (*catalogue.doorward).clone(),
        id: id.into(),
        redirect_uri: redirect_uri.into(),
        registration: Value::Null,
    }
}

/// The whole flow, with a secret in the body if there is one.
async fn log_in(client: &OAuthClient, secret: Option<&str>, resource: &str) -> Tokens {
    let mut browser = Browser::new(&client.site);
    let approved = client.approve(&mut browser, "alice", PASSWORD, resource).await;
    let form = with(client.code_form(&approved), "client_secret", secret);
    Tokens::from_reply(&client.token(&form).await)
}

async fn call(catalogue: &Catalogue, token: &str) -> u16 {
    let call = mcp::call(&catalogue.doorward, RA, "t_read", &json!({}));
    call.bearer(token).send().await.status
}

async fn ends(catalogue: &Catalogue, token: &str) {
    eventually("the access token ends", SOON, || async {
        (call(catalogue, token).await == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn r17_with_registration_off_a_client_that_was_added_logs_in() {
    let up = doorward_testkit::upstream::Upstream::start();
    let config = format!(
        "{}\n[registration]\nmode = \"off\"\n\
         [[clients]]\nid = \"shared\"\nname = \"Shared <b>IDE</b>\"\nredirect_uris = [\"http://127.0.0.1/cb\"]\nlisted = true\n\
         [[clients]]\nid = \"private\"\nredirect_uris = [\"http://127.0.0.1/cb\"]\n",
        two_servers(&up.url(), &up.url())
    );
    let builder = Doorward::builder().config(&config).user("alice", PASSWORD);
    let doorward = builder.start().await;
    let metadata = doorward
        .get("/.well-known/oauth-authorization-server")
        .send()
        .await
        .json();
    assert!(metadata.get("registration_endpoint").is_none(), "{metadata}");
    let refused = doorward
        .post("/register")
        .json(&json!({ "redirect_uris": ["http://127.0.0.1/cb"] }))
        .send()
        .await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(
        refused.text().contains("home page"),
        "says what to do: {}",
        refused.text()
    );
    let home = doorward.get("/").send().await.text();
    assert!(
        home.contains("shared") && home.contains("Shared &#60;b&#62;IDE"),
        "{home}"
    );
    assert!(!home.contains("private"), "only those that are listed: {home}");

    let config = doorward.config_file().display().to_string();
    let shown = [
        "client", "show", "shared", "--format", "json", "--config", &config,
    ];
    let shown = doorward.command(&shown).ok().json();
    let (hosts, url) = (shown["hosts"].to_string(), doorward.url(RA));
    for part in [
        "claude mcp add",
        "--client-id shared",
        "--static-oauth-client-info",
        "CLIENT_ID",
        &url,
    ] {
        assert!(hosts.contains(part), "{part}: {hosts}");
    }
    for id in ["shared", "private"] {
        let client = OAuthClient {
            site: (*doorward).clone(),
            id: id.into(),
            redirect_uri: "http://127.0.0.1:4711/cb".into(),
            registration: Value::Null,
        };
        let tokens = client.login("alice", PASSWORD, &doorward.url(RA)).await;
        assert_eq!(tokens.claims()["client_id"], id);
    }
}

#[tokio::test]
async fn r17_az_07_a_client_that_was_added_uses_its_servers_only() {
    let catalogue = Catalogue::start().await;
    let redirect = "https://app.test/cb";
    let args = [
        "--redirect-uri",
        redirect,
        "--name",
        "App",
        "--secret",
        "--secret-in-body",
        "--server",
        "a",
    ];
    let added = added(&catalogue.doorward, &args);
    let (id, secret) = (
        added["client_id"].as_str().unwrap(),
        added["client_secret"].as_str().unwrap(),
    );
    let client = client(&catalogue, id, redirect);
    let tokens = log_in(&client, Some(secret), &catalogue.ra()).await;
    assert_eq!(call(&catalogue, &tokens.access).await, 200);
    let url = client.authorize_url(&Pkce::new(), &catalogue.rb());
    let reply = look_as(&catalogue.alice().await, &url).await.reply;
    catalogue.assert_redirected(&reply, redirect, Some("S1"), &["invalid_target"]);
    let form = with(
        client.refresh_form(tokens.refresh(), &catalogue.rb()),
        "client_secret",
        Some(secret),
    );
    assert_t(&client.token(&form).await, &["invalid_target"]);

    let shown = catalogue.doorward.command(&["client", "show", id]).ok();
    assert!(!shown.stdout.contains(secret), "told once");
    let rotated = catalogue
        .doorward
        .command(&["client", "rotate-secret", id, "--format", "json"])
        .ok()
        .json();
    let form = |secret| {
        with(
            client.refresh_form(tokens.refresh(), &catalogue.ra()),
            "client_secret",
            Some(secret),
        )
    };
    assert_t(&client.token(&form(secret)).await, &["invalid_client"]);
    let renewed = client
        .token(&form(rotated["client_secret"].as_str().unwrap()))
        .await;
    assert_eq!(renewed.status, 200, "{}", renewed.text());

    let config = catalogue.doorward.config_file().display().to_string();
    for wrong in [
        vec!["--redirect-uri", "javascript:alert(1)"],
        vec!["--redirect-uri", "http://app.test/cb"],
        vec!["--client-credentials"],
        vec!["--introspect", "a"],
        vec!["--redirect-uri", redirect, "--server", "unknown"],
        vec!["--redirect-uri", redirect, "--id", "dcr_x"],
        vec![],
    ] {
        let mut all = vec!["client", "add", "--config", &config];
        all.extend(&wrong);
        let refused = catalogue.doorward.command(&all);
        assert_eq!(refused.code, 2, "{wrong:?}: {}", refused.stderr);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn r35_rt_06_the_kill_switch_of_a_client_ends_everything_on_a_running_server() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let registered = catalogue.n1().await;
    let tokens = catalogue.tokens(&registered).await;
    let other = catalogue.c1().await;
    let others = catalogue.tokens(&other).await;
    assert_eq!(call(&catalogue, &tokens.access).await, 200);

    doorward.command(&["client", "disable", &registered.id]).ok();
    ends(&catalogue, &tokens.access).await;
    assert_t(
        &registered.refresh(tokens.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    let url = registered.authorize_url(&Pkce::new(), &catalogue.ra());
    assert_page(&look_as(&catalogue.alice().await, &url).await.reply);
    let again = json!({ "client_name": "N1", "redirect_uris": ["http://127.0.0.1/cb"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none" });
    let again = doorward.post("/register").json(&again).send().await;
    assert_eq!(
        again.status,
        403,
        "registering again switches nothing on: {}",
        again.text()
    );
    assert_eq!(call(&catalogue, &others.access).await, 200, "others are unharmed");

    doorward.command(&["client", "enable", &registered.id]).ok();
    assert_eq!(
        call(&catalogue, &tokens.access).await,
        401,
        "what ended stays ended"
    );
    assert_t(
        &registered.refresh(tokens.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    let fresh = catalogue.tokens(&registered).await;
    assert_eq!(call(&catalogue, &fresh.access).await, 200);

    let open = catalogue.code(&registered).await;
    doorward.command(&["client", "revoke", &registered.id]).ok();
    ends(&catalogue, &fresh.access).await;
    assert_t(
        &registered.refresh(fresh.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    assert_t(&registered.redeem(&open).await, &["invalid_grant"]);
    let asked = catalogue.tokens(&registered).await;
    assert_eq!(call(&catalogue, &asked.access).await, 200, "the client stays");

    doorward.command(&["client", "remove", &registered.id]).ok();
    ends(&catalogue, &asked.access).await;
    assert_t(
        &registered.refresh(asked.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn r17_r35_clients_of_the_file_come_and_go_with_it() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let without = two_servers(&catalogue.up_a.url(), &catalogue.up_b.url());
    let file = |secret: &str| {
        format!(
            "{without}\n[[clients]]\nid = \"ide\"\nredirect_uris = [\"https://ide.test/cb\"]\nsecret = \"file:{secret}\"\nsecret_in_body = true\n"
        )
    };
    let status = || {
        let shown = doorward.command(&["client", "show", "ide", "--format", "json"]);
        let status = (shown.code == 0).then(|| shown.json()["status"].as_str().unwrap().to_owned());
        status.unwrap_or_default()
    };
    let becomes = async |text: &str, wanted: &str| {
        std::fs::write(doorward.config_file(), text).unwrap();
        doorward.hang_up();
        eventually("the clients are those of the file", SOON, || async {
            (status() == wanted).then_some(())
        })
        .await;
    };
    let secret = "0123456789012345678901234567890123456789";
    std::fs::write(doorward.home().join("secret"), format!("{secret}\n")).unwrap();
    let with_client = file(&doorward.home().join("secret").display().to_string());
    becomes(&with_client, "approved").await;
    let client = client(&catalogue, "ide", "https://ide.test/cb");
    let tokens = eventually("the new configuration is in effect", SOON, || async {
        Some(log_in(&client, Some(secret), &catalogue.ra()).await)
    })
    .await;
    assert_eq!(call(&catalogue, &tokens.access).await, 200);

    becomes(&without, "disabled").await;
    ends(&catalogue, &tokens.access).await;
    let refused = doorward.command(&["client", "enable", "ide"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("[[clients]]"),
        "{}",
        refused.stderr
    );
    becomes(&with_client, "approved").await;

    let refused = doorward.command(&["client", "remove", "ide"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("configuration file"),
        "{}",
        refused.stderr
    );
    doorward.command(&["client", "disable", "ide"]).ok();
    doorward.hang_up();
    eventually("a reload says that it stays off", SOON, || async {
        doorward.stderr().contains("stays switched off").then_some(())
    })
    .await;
    assert_eq!(status(), "disabled");
    assert!(!doorward.logs().contains(secret));

    // A secret that cannot be read is said, and nothing changes.
    std::fs::write(doorward.config_file(), file("/nowhere/secret")).unwrap();
    doorward.hang_up();
    eventually("the log tells what is wrong", SOON, || async {
        doorward
            .stderr()
            .contains("the file of this secret cannot be read")
            .then_some(())
    })
    .await;
    assert_eq!(status(), "disabled");
    catalogue.still_good().await;
}
