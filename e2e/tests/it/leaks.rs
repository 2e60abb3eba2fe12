//! LK: secrets stay where they belong.

use doorward_testkit::browser::Browser;
use doorward_testkit::leak::Secrets;
use doorward_testkit::oauth::{OAuthClient, Pkce, Tokens, with};
use doorward_testkit::{Doorward, PASSWORD, marker, mcp};
use serde_json::json;

use crate::support::{Catalogue, RA};

async fn tracing_everything() -> Catalogue {
    Catalogue::start_with(
        Doorward::builder()
            .env("DOORWARD_LOG", "trace")
            .env("DOORWARD_LOG_FORMAT", "json"),
    )
    .await
}

#[tokio::test]
async fn lk_01_nobody_writes_a_second_line_into_the_log() {
    let catalogue = tracing_everything().await;
    let client = catalogue.n1().await;
    let token = catalogue.t().await;
    let mut alice = catalogue.alice().await;
    let mark = marker();
    for hostile in [
        format!("x\r\n{{\"level\":\"INFO\",\"message\":\"{mark}\"}}"),
        format!("x\n{{\"level\":\"ERROR\",\"message\":\"{mark}\"}}"),
        format!("\u{1b}[2J\u{1b}[31m{mark}"),
        format!("\"}},{{\"message\":\"{mark}"),
        format!("{mark}\0hidden"),
        format!("{mark}\u{2028}next"),
    ] {
        let metadata = json!({ "client_name": hostile, "redirect_uris": ["http://127.0.0.1/cb"] });
        let _ = catalogue.doorward.post("/register").json(&metadata).send().await;
        let right = client.parameters(&Pkce::new(), &catalogue.ra());
        for name in ["state", "scope", "client_id", "login_hint", "resource"] {
            let _ = alice
                .visit(
                    "GET",
                    &client.url_with(&with(right.clone(), name, Some(&hostile))),
                    &[],
                    "none",
                )
                .await;
        }
        let page = Browser::new(&catalogue.doorward)
            .get(&client.authorize_url(&Pkce::new(), &catalogue.ra()))
            .await;
        let mut form = page.login_form();
        form.fill("username", &hostile);
        form.fill("password", "wrong");
        let _ = Browser::new(&catalogue.doorward).submit(&page, &form, "").await;
        let _ = client.refresh(&hostile, &catalogue.ra()).await;
        let tool = mcp::modern(
            &catalogue.doorward,
            RA,
            "tools/call",
            json!({ "name": "t_read", "arguments": {} }),
        );
        let body = json!({ "jsonrpc": "2.0", "id": hostile, "method": "tools/call",
            "params": { "name": hostile, "arguments": {}, "_meta": mcp::meta() } });
        let _ = tool.without("Mcp-Name").json(&body).bearer(&token).send().await;
        let printable: String = hostile.chars().filter(|c| !c.is_control()).collect();
        let _ = catalogue
            .call("x")
            .bearer(&token)
            .header("User-Agent", &printable)
            .send()
            .await;
        let request = format!(
            "GET {RA} HTTP/1.1\r\nHost: {}\r\n\r\n",
            printable.replace(' ', "")
        );
        let _ = doorward_testkit::raw::send(catalogue.doorward.address(), request.as_bytes()).await;
    }
    catalogue.still_good().await;
    let log = catalogue.doorward.stderr();
    assert!(!log.is_empty(), "there is a log");
    for line in log.lines() {
        let record: serde_json::Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("one JSON record on each line ({error}): {line:?}"));
        assert_ne!(record["message"], json!(mark), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[tokio::test]
async fn lk_02_s2_no_secret_is_written_anywhere() {
    let catalogue = tracing_everything().await;
    let mut secrets = Secrets::default();
    secrets.add("alice's password", PASSWORD);
    let client = catalogue.n1().await;

    // A login with everything that it mints.
    let mut browser = Browser::new(&catalogue.doorward);
    let url = client.authorize_url(&Pkce::new(), &catalogue.ra());
    let wrong = browser.get(&url).await;
    let mut form = wrong.login_form();
    form.fill("username", "alice");
    form.fill("password", "a wrong password that I typed");
    secrets.add("a mistyped password", "a wrong password that I typed");
    secrets.add("csrf", form.value("csrf").unwrap());
    let _ = browser.submit(&wrong, &form, "").await;
    let approved = client
        .approve(&mut browser, "alice", PASSWORD, &catalogue.ra())
        .await;
    secrets.add("code", &approved.code);
    secrets.add("verifier", &approved.pkce.verifier);
    for (name, cookie) in &browser.cookies {
        secrets.add(name, &cookie.value);
    }
    let first = Tokens::from_reply(&client.redeem(&approved).await);
    let second = Tokens::from_reply(&client.refresh(first.refresh(), &catalogue.ra()).await);
    for (name, tokens) in [("first", &first), ("second", &second)] {
        secrets.add_jwt(&format!("{name} access token"), &tokens.access);
        secrets.add(&format!("{name} refresh token"), tokens.refresh());
    }

    // Calls that work, and each way to be refused.
    let legacy = mcp::legacy(&catalogue.doorward, RA, None, &mcp::initialize())
        .bearer(&second.access)
        .send()
        .await;
    assert_eq!(legacy.status, 200);
    let mut bodies = Vec::new();
    for reply in [
        catalogue.call("lk02").bearer(&second.access).send().await,
        catalogue
            .call("lk02")
            .bearer(&format!("{}x", second.access))
            .send()
            .await,
        catalogue
            .call_at(crate::support::RB, "lk02")
            .bearer(&second.access)
            .send()
            .await,
        catalogue
            .call_at(&format!("{RA}?access_token={}", second.access), "lk02")
            .send()
            .await,
        catalogue.call("lk02").bearer(second.refresh()).send().await,
        catalogue
            .call("lk02")
            .bearer(&second.access)
            .header("Origin", "https://evil.test")
            .send()
            .await,
        client.refresh(second.refresh(), &catalogue.rb()).await,
        client
            .refresh(&format!("{}x", second.refresh()), &catalogue.ra())
            .await,
        client.redeem(&approved).await,
        catalogue
            .doorward
            .get(&format!(
                "/authorize?code={}&state={}",
                approved.code, approved.pkce.verifier
            ))
            .send()
            .await,
        catalogue
            .doorward
            .get(&format!("/nothing/{}", second.refresh()))
            .send()
            .await,
    ] {
        bodies.extend_from_slice(&reply.body);
        bodies.extend_from_slice(format!("{:?}", reply.headers).as_bytes());
    }
    secrets.assert_absent("an answer", &bodies);

    // A setup link, used.
    let made = catalogue.doorward.command(&["user", "add", "carol"]).ok();
    let link = made
        .stdout
        .split_whitespace()
        .find(|word| word.contains("/setup"))
        .expect("a link")
        .to_owned();
    let token = url::Url::parse(&link)
        .unwrap()
        .query_pairs()
        .next()
        .map(|(_, value)| value.into_owned());
    let token = token
        .or_else(|| link.rsplit('/').next().map(str::to_owned))
        .unwrap();
    secrets.add("setup token", &token);
    let mut carol = Browser::new(&catalogue.doorward);
    let page = carol.get(&link).await;
    let mut form = page.form_with("password").expect("a form to choose a password");
    let chosen = "carol chose this one herself";
    secrets.add("carol's password", chosen);
    for input in form
        .inputs
        .clone()
        .iter()
        .filter(|input| input.kind == "password")
    {
        form.fill(&input.name, chosen);
    }
    let _ = carol.submit(&page, &form, "").await;
    let carols = client.login("carol", chosen, &catalogue.ra()).await;
    secrets.add_jwt("carol's access token", &carols.access);

    catalogue.still_good().await;
    assert!(secrets.len() > 15);
    secrets.assert_not_leaked_by(&catalogue.doorward);
    for other in ["key list", "client list", "user list", "config show"] {
        let args: Vec<&str> = other.split(' ').collect();
        let shown = catalogue.doorward.command(&args).ok();
        secrets.assert_absent(other, format!("{}{}", shown.stdout, shown.stderr).as_bytes());
    }
    // The master key opens everything: it is in its own file only.
    let key = std::fs::read_to_string(catalogue.doorward.data.join("master.key")).unwrap();
    let mut master = Secrets::default();
    master.add("master key", key.trim());
    master.assert_absent("the log", catalogue.doorward.logs().as_bytes());
    for file in ["doorward.db", "doorward.db-wal"] {
        let bytes = std::fs::read(catalogue.doorward.data.join(file)).unwrap_or_default();
        master.assert_absent(file, &bytes);
    }
}

#[tokio::test]
async fn data_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let doorward = Doorward::builder().demo().start().await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&doorward.data), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&doorward.data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files >= 2);
}

#[tokio::test]
async fn unknown_and_known_users_get_the_same_answer() {
    let doorward = Doorward::builder().demo().user("alice", PASSWORD).start().await;
    let client = OAuthClient::native(&doorward).await;
    let mut answers = Vec::new();
    for user in ["alice", "nobody"] {
        let mut browser = Browser::new(&doorward);
        let page = browser
            .get(&client.authorize_url(&Pkce::new(), &doorward.url("/mcp")))
            .await;
        let mut form = page.login_form();
        form.fill("username", user);
        form.fill("password", "wrong");
        let refused = browser.submit(&page, &form, "").await;
        answers.push((refused.reply.status, refused.text().replace(user, "USER")));
    }
    assert_eq!(answers[0], answers[1]);
}
