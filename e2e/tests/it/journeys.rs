//! What people do on their first days with it.

use std::time::Duration;

use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::{OAuthClient, Pkce, parameter};
use doorward_testkit::{Doorward, PASSWORD, mcp};
use serde_json::json;

/// The password of `demo`: printed to terminals only, so here it is in a file whose name is printed.
fn demo_password(doorward: &Doorward) -> String {
    let said = doorward.logs();
    let file = said
        .split_whitespace()
        .map(|word| {
            word.trim_matches(|c: char| matches!(c, '"' | '\'' | '`' | ',' | ')' | '('))
                .trim_end_matches('.')
        })
        .find(|word| word.contains("password") && word.contains('/') && std::path::Path::new(word).is_file())
        .unwrap_or_else(|| panic!("the name of a password file:\n{said}"));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{file}");
    let password = std::fs::read_to_string(file).unwrap().trim().to_owned();
    assert!(password.len() >= 12, "a password nobody guesses");
    assert!(
        !said.contains(&password),
        "not printed where there is no terminal"
    );
    password
}

#[tokio::test]
async fn the_first_run_of_the_demo() {
    let doorward = Doorward::builder().demo().start().await;
    let password = demo_password(&doorward);
    let said = doorward.stdout();
    for line in [
        "claude mcp add --transport http",
        "code --add-mcp",
        &doorward.url("/mcp"),
    ] {
        assert!(said.contains(line), "{line}:\n{said}");
    }

    // curl gets 401 → metadata → token → whoami.
    let refused = mcp::call(&doorward, "/mcp", "whoami", &json!({})).send().await;
    assert_eq!(refused.status, 401);
    let challenge = refused.header("WWW-Authenticate").unwrap();
    let metadata = challenge
        .split("resource_metadata=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let metadata = doorward.get(metadata).send().await.json();
    assert_eq!(metadata["resource"], doorward.url("/mcp"));
    assert_eq!(metadata["scopes_supported"], json!(["mcp"]));
    let bare = doorward.get("/.well-known/oauth-protected-resource").send().await;
    assert_eq!(bare.json(), metadata, "with one server the bare path names it");
    let issuer = metadata["authorization_servers"][0].as_str().unwrap();
    let server = doorward
        .get(&format!("{issuer}/.well-known/oauth-authorization-server"))
        .send()
        .await
        .json();
    assert_eq!(server["issuer"], issuer);

    let client = OAuthClient::native(&doorward).await;
    let tokens = client.login("demo", &password, &doorward.url("/mcp")).await;
    let call = async |tool: &str, arguments: serde_json::Value| {
        let reply = mcp::call(&doorward, "/mcp", tool, &arguments)
            .bearer(&tokens.access)
            .send()
            .await;
        assert_eq!(reply.status, 200, "{tool}: {}", reply.text());
        mcp::text_of(&reply)
    };
    assert!(call("whoami", json!({})).await.contains("demo"));
    assert_eq!(
        call("echo", json!({ "text": "hello" })).await,
        "hello",
        "the text alone"
    );
    let added = call("add_note", json!({ "text": "remember the milk" })).await;
    let listed = call("list_notes", json!({})).await;
    assert!(
        listed.contains("remember the milk") || !added.is_empty(),
        "{listed}"
    );

    // Notes are per user.
    doorward.add_user("eve", PASSWORD, &[]);
    let eve = client.login("eve", PASSWORD, &doorward.url("/mcp")).await;
    let hers = mcp::call(&doorward, "/mcp", "list_notes", &json!({}))
        .bearer(&eve.access)
        .send()
        .await;
    assert!(!mcp::text_of(&hers).contains("milk"), "{}", hers.text());

    // No resource, no scope: there is one server, and it has defaults.
    let pkce = Pkce::new();
    let mut parameters = client.parameters(&pkce, "");
    parameters.retain(|(name, _)| name != "resource");
    let callback = Browser::new(&doorward)
        .login_and_approve(&client.url_with(&parameters), "demo", &password)
        .await;
    assert!(parameter(&callback, "code").is_some());

    // A later start knows the account and says how to reset its password.
    doorward.terminate();
    assert_eq!(doorward.wait(Duration::from_secs(60)).await, 0);
    let before = (doorward.stdout().len(), doorward.stderr().len());
    doorward.start_again().await;
    let later = format!(
        "{}{}",
        &doorward.stdout()[before.0..],
        &doorward.stderr()[before.1..]
    );
    assert!(later.contains("doorward user passwd demo"), "{later}");
    let again = mcp::call(&doorward, "/mcp", "whoami", &json!({}))
        .bearer(&tokens.access)
        .send()
        .await;
    assert_eq!(again.status, 200, "tokens outlive a restart");
}

#[tokio::test]
async fn the_legacy_revisions_work_against_the_demo() {
    let doorward = Doorward::builder().demo().user("alice", PASSWORD).start().await;
    let client = OAuthClient::native(&doorward).await;
    let token = client
        .login("alice", PASSWORD, &doorward.url("/mcp"))
        .await
        .access;
    for revision in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        let mut hello = mcp::initialize();
        hello["params"]["protocolVersion"] = json!(revision);
        let opened = mcp::legacy(&doorward, "/mcp", None, &hello)
            .without("MCP-Protocol-Version")
            .bearer(&token)
            .send()
            .await;
        assert_eq!(opened.status, 200, "{revision}: {}", opened.text());
        assert_eq!(mcp::answer(&opened)["result"]["protocolVersion"], revision);
        let session = opened.header("Mcp-Session-Id").map(str::to_owned);
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let send = |message: &serde_json::Value| {
            let request = mcp::legacy(&doorward, "/mcp", session.as_deref(), message).bearer(&token);
            if revision == "2025-03-26" {
                request.without("MCP-Protocol-Version")
            } else {
                request.set("MCP-Protocol-Version", revision)
            }
        };
        assert_eq!(send(&ready).send().await.status, 202, "{revision}");
        let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "whoami", "arguments": {} } });
        let reply = send(&call).send().await;
        assert!(
            mcp::text_of(&reply).contains("alice"),
            "{revision}: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn accounts_are_managed_while_the_server_runs() {
    let doorward = Doorward::builder().demo().start().await;
    let client = OAuthClient::native(&doorward).await;
    let resource = doorward.url("/mcp");

    // A password on stdin works at once.
    doorward.add_user("alice", PASSWORD, &["eng"]);
    client.login("alice", PASSWORD, &resource).await;
    let twice = doorward.command_with(
        &["user", "add", "alice", "--password-stdin"],
        "another password entirely\n",
    );
    assert_eq!(twice.code, 1, "{}", twice.stderr);

    // A setup link, once.
    let made = doorward.command(&["user", "add", "carol", "--group", "eng"]).ok();
    let link = made
        .stdout
        .split_whitespace()
        .find(|word| word.contains("/setup"))
        .expect("a link")
        .to_owned();
    assert!(link.starts_with(&doorward.public_url), "{link}");
    let mut carol = Browser::new(&doorward);
    let page = carol.get(&link).await;
    assert_eq!(page.reply.status, 200, "{}", page.text());
    assert!(page.text().contains("carol"), "{}", page.text());
    let mut form = page.form_with("password").expect("a form");
    for input in form
        .inputs
        .clone()
        .iter()
        .filter(|input| input.kind == "password")
    {
        form.fill(&input.name, "carol chose this one");
    }
    let done = carol.submit(&page, &form, "").await;
    assert!(done.reply.status < 400, "{}", done.text());
    let again = carol.submit(&page, &form, "").await;
    assert!(
        (400..500).contains(&again.reply.status),
        "a link works once: {}",
        again.reply.status
    );
    let reopened = Browser::new(&doorward).get(&link).await;
    assert!(
        (400..500).contains(&reopened.reply.status),
        "{}",
        reopened.reply.status
    );
    client.login("carol", "carol chose this one", &resource).await;

    let listed = doorward
        .command(&["user", "list", "--format", "json"])
        .ok()
        .json()
        .to_string();
    for word in ["alice", "carol", "demo", "eng"] {
        assert!(listed.contains(word), "{word}: {listed}");
    }
    assert!(!listed.contains("argon2"), "{listed}");

    // A new password ends the old one.
    doorward
        .command_with(
            &["user", "passwd", "alice", "--password-stdin"],
            "a completely new one\n",
        )
        .ok();
    let mut browser = Browser::new(&doorward);
    let page = browser
        .sign_in(&client.authorize_url(&Pkce::new(), &resource), "alice", PASSWORD)
        .await;
    assert!(
        page.form_with("decision").is_none(),
        "the old password is dead: {}",
        page.text()
    );
    client.login("alice", "a completely new one", &resource).await;

    doorward.command(&["user", "remove", "carol"]).ok();
    let mut browser = Browser::new(&doorward);
    let page = browser
        .sign_in(
            &client.authorize_url(&Pkce::new(), &resource),
            "carol",
            "carol chose this one",
        )
        .await;
    assert!(page.form_with("decision").is_none());
    for missing in [
        ["user", "disable", "nobody"],
        ["user", "remove", "nobody"],
        ["client", "show", "nobody"],
        ["client", "remove", "nobody"],
    ] {
        let answer = doorward.command(&missing);
        assert_eq!(answer.code, 1, "{missing:?}: {}{}", answer.stdout, answer.stderr);
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once() {
    let doorward = Doorward::builder().demo().user("alice", PASSWORD).start().await;
    let client = OAuthClient::native(&doorward).await;
    let token = client
        .login("alice", PASSWORD, &doorward.url("/mcp"))
        .await
        .access;
    let mut browser = Browser::new(&doorward);
    browser
        .sign_in(
            &client.authorize_url(&Pkce::new(), &doorward.url("/mcp")),
            "alice",
            PASSWORD,
        )
        .await;
    doorward.command(&["user", "disable", "alice"]).ok();
    doorward_testkit::eventually("her token is refused", Duration::from_secs(60), || async {
        let reply = mcp::call(&doorward, "/mcp", "whoami", &json!({}))
            .bearer(&token)
            .send()
            .await;
        (reply.status == 401).then_some(())
    })
    .await;
    let page = browser
        .get(&client.authorize_url(&Pkce::new(), &doorward.url("/mcp")))
        .await;
    assert!(
        page.form_with("decision").is_none(),
        "her session is dead: {}",
        page.text()
    );
}

#[tokio::test]
async fn clients_are_listed_shown_and_removed() {
    let doorward = Doorward::builder().demo().user("alice", PASSWORD).start().await;
    let client = OAuthClient::register(&doorward, "My editor", "http://127.0.0.1:7777/cb").await;
    let listed = doorward.command(&["client", "list"]).ok();
    assert!(
        listed.stdout.contains(&client.id) && listed.stdout.contains("My editor"),
        "{}",
        listed.stdout
    );
    let shown = doorward.command(&["client", "show", &client.id]).ok();
    assert!(
        shown.stdout.contains("http://127.0.0.1/cb"),
        "without the port: {}",
        shown.stdout
    );
    doorward.command(&["client", "remove", &client.id]).ok();
    let gone = doorward
        .get(&client.authorize_url(&Pkce::new(), &doorward.url("/mcp")))
        .send()
        .await;
    assert!((400..500).contains(&gone.status), "{}", gone.status);
    // A client that asks again is known again, by the same id: it is made from what it says.
    let again = OAuthClient::register(&doorward, "My editor", "http://127.0.0.1:8888/cb").await;
    assert_eq!(again.id, client.id);
}

#[tokio::test]
async fn keys_are_listed_without_their_secrets() {
    let doorward = Doorward::builder().demo().start().await;
    let listed = doorward.command(&["key", "list", "--format", "json"]).ok();
    let jwks = doorward.get("/.well-known/jwks.json").send().await.json();
    let kid = jwks["keys"][0]["kid"].as_str().unwrap().to_owned();
    assert!(listed.json().to_string().contains(&kid), "{}", listed.stdout);
    assert!(!listed.stdout.contains("sealed"), "{}", listed.stdout);
    assert!(doorward.command(&["key", "list"]).ok().stdout.contains(&kid));
}

#[tokio::test]
async fn health_asks_the_running_server() {
    let doorward = Doorward::builder().demo().start().await;
    let listen = doorward.address.to_string();
    doorward.command(&["health", "--listen", &listen]).ok();
    let json = doorward
        .command(&["health", "--listen", &listen, "--format", "json"])
        .ok()
        .json();
    assert_eq!(json["ready"], true);
    doorward.kill();
    let down = doorward.command(&["health", "--listen", &listen]);
    assert_eq!(down.code, 1, "{}", down.stderr);
    assert!(down.stderr.contains("not ready"), "{}", down.stderr);
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_so() {
    let first = Doorward::builder().demo().start().await;
    let listen = first.address.to_string();
    let work = doorward_testkit::folder("doorward-e2e-");
    let second = doorward_testkit::command::run(work.path(), ["serve", "--demo", "--listen", &listen], "");
    assert_eq!(second.code, 3, "{}", second.stderr);
    assert!(
        second.stderr.contains(&listen) || second.stderr.contains(&first.address.port().to_string()),
        "{}",
        second.stderr
    );
    assert!(
        second.stderr.contains("--listen"),
        "says what to do: {}",
        second.stderr
    );
    assert!(first.is_alive());
}

#[tokio::test]
async fn the_demo_answers_on_both_loopback_addresses() {
    let port = doorward_testkit::port::Port::reserve();
    let listen = format!("localhost:{}", port.number());
    let home = doorward_testkit::folder("doorward-e2e-");
    let child =
        doorward_testkit::server::Background::start(home.path(), &["serve", "--demo", "--listen", &listen]);
    let addresses = [
        std::net::SocketAddr::from(([127, 0, 0, 1], port.number())),
        (std::net::Ipv6Addr::LOCALHOST, port.number()).into(),
    ];
    for address in addresses {
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {listen}\r\n\r\n");
        doorward_testkit::eventually("an answer on both", Duration::from_secs(60), || async {
            tokio::net::TcpStream::connect(address).await.ok()?;
            let reply = doorward_testkit::raw::send(address, request.as_bytes()).await;
            (reply.status == 200).then_some(())
        })
        .await;
    }
    drop(child);
}

#[tokio::test]
async fn a_signal_ends_it_in_peace() {
    let doorward = Doorward::builder().demo().start().await;
    for signal in ["TERM", "INT"] {
        doorward_testkit::command::kill(doorward.pid(), signal);
        assert_eq!(
            doorward.wait(Duration::from_secs(60)).await,
            0,
            "{signal}: {}",
            doorward.logs()
        );
        doorward.start_again().await;
    }
}

#[tokio::test]
async fn a_folder_with_one_of_its_two_files_is_refused() {
    let doorward = Doorward::builder().demo().start().await;
    doorward.kill();
    for missing in ["master.key", "doorward.db"] {
        let (file, aside) = (doorward.data.join(missing), doorward.home().join("aside"));
        std::fs::rename(&file, &aside).unwrap();
        for args in [&["user", "list"][..], &["key", "list"], &["client", "list"]] {
            let refused = doorward.command(args);
            assert_eq!(
                refused.code, 3,
                "{missing}, {args:?}: {}{}",
                refused.stdout, refused.stderr
            );
            assert!(refused.stderr.contains(missing), "{}", refused.stderr);
        }
        assert!(!file.exists(), "nothing was made in its place");
        std::fs::rename(&aside, &file).unwrap();
    }
    doorward.start_again().await;
}
