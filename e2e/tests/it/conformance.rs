//! The official conformance suite, pinned in `e2e/clients/package.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::port::Port;
use doorward_testkit::{Doorward, PASSWORD, http};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::node;

/// The scenarios of the suite's `authorization` mode and what each check must say.
const VERDICTS: [(&str, &str, &str); 3] = [
    ("authorization-code-grant", "authorization-code-grant", "SUCCESS"),
    (
        "authorization-server-metadata-endpoint",
        "authorization-server-metadata",
        "SUCCESS",
    ),
    (
        "authorization-server-metadata-endpoint",
        "authorization-server-metadata-cimd",
        "SUCCESS",
    ),
];

/// Runs both scenarios (the second needs what the first learned) and logs in at the URL that it prints.
/// Hands back scenario → check → verdict, and everything the suite printed.
async fn authorization_server(
    server: &Doorward,
    issuer: &str,
    resource: Option<&str>,
) -> (BTreeMap<(String, String), String>, String) {
    let callback = Port::reserve();
    let redirect_uri = format!("http://127.0.0.1:{}/callback", callback.number());
    let client = OAuthClient::register(server.site(), "Conformance suite", &redirect_uri).await;
    let folder = node::Folder::new();
    let results = folder.path().join("results");

    let mut command = folder.node();
    command
        .arg("--import")
        .arg(folder.path().join("loopback-only.mjs"));
    command.arg(
        folder
            .path()
            .join("node_modules/@modelcontextprotocol/conformance/dist/index.js"),
    );
    command.args(["authorization", "--url", issuer, "--client-id", &client.id]);
    command
        .args(["--port", &callback.number().to_string(), "--output-dir"])
        .arg(&results);
    if let Some(resource) = resource {
        command.args(["--resource", resource]);
    }
    let mut suite = command
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the suite can be started");
    let mut lines = BufReader::new(suite.stdout.take().expect("stdout was asked for")).lines();
    let authorize = format!("{issuer}/authorize?");
    let mut printed = String::new();
    let run = async {
        while let Some(line) = lines.next_line().await.expect("the suite prints UTF-8") {
            printed.push_str(&line);
            printed.push('\n');
            if line.starts_with(&authorize) {
                let mut browser = Browser::new(server.site());
                let back = browser.login_and_approve(&line, "alice", PASSWORD).await;
                assert!(back.starts_with(&redirect_uri), "back at the suite, not {back}");
                assert_eq!(http::get(&back).send().await.status, 200);
            }
        }
        suite.wait().await.expect("the suite ends")
    };
    tokio::time::timeout(Duration::from_secs(120), run)
        .await
        .expect("the suite ends in time");
    (verdicts(&results), printed)
}

/// Reads `RESULTS/…SCENARIO…/checks.json`.
fn verdicts(results: &Path) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for entry in walk(results) {
        let folder = entry
            .parent()
            .and_then(Path::file_name)
            .expect("a folder")
            .to_string_lossy()
            .into_owned();
        let scenario = VERDICTS
            .iter()
            .map(|verdict| verdict.0)
            .find(|name| folder.contains(name))
            .unwrap_or(&folder);
        let checks: Value = serde_json::from_slice(&std::fs::read(&entry).expect("a file")).expect("JSON");
        for check in checks.as_array().expect("a list of checks") {
            let id = check["id"].as_str().expect("a check has an id").to_owned();
            let status = check["status"].as_str().expect("a check has a status").to_owned();
            assert_eq!(
                found.insert((scenario.to_owned(), id), status),
                None,
                "each check once"
            );
        }
    }
    found
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the suite wrote its results");
    entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .filter(|path| path.file_name().is_some_and(|name| name == "checks.json"))
        .collect()
}

#[track_caller]
fn assert_verdicts((found, printed): (BTreeMap<(String, String), String>, String)) {
    let expected: BTreeMap<_, _> = VERDICTS
        .iter()
        .map(|(scenario, check, status)| {
            (
                ((*scenario).to_owned(), (*check).to_owned()),
                (*status).to_owned(),
            )
        })
        .collect();
    assert_eq!(found, expected, "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_authorization_server_scenarios_pass() {
    let server = Doorward::builder().demo().user("alice", PASSWORD).start().await;
    assert_verdicts(authorization_server(&server, &server.public_url, None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_authorization_server_scenarios_pass_with_a_resource() {
    let server = Doorward::builder().demo().user("alice", PASSWORD).start().await;
    let resource = server.url("/mcp");
    assert_verdicts(authorization_server(&server, &server.public_url, Some(&resource)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_authorization_server_scenarios_pass_by_name_of_localhost() {
    let server = Doorward::builder()
        .demo()
        .public_url("http://localhost:{port}")
        .user("alice", PASSWORD);
    let server = server.start().await;
    let resource = server.url("/mcp");
    assert_verdicts(authorization_server(&server, &server.public_url, Some(&resource)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_authorization_server_scenarios_pass_with_an_issuer_that_has_a_path() {
    let server = Doorward::builder()
        .config("issuer_path = \"/company/one\"\n")
        .demo()
        .user("alice", PASSWORD)
        .start()
        .await;
    let (issuer, resource) = (server.url("/company/one"), server.url("/mcp"));
    assert_verdicts(authorization_server(&server, &issuer, None).await);
    assert_verdicts(authorization_server(&server, &issuer, Some(&resource)).await);
    // Whoever follows a challenge finds the same issuer, and its tokens are the server's.
    let metadata = server
        .get("/.well-known/oauth-protected-resource/mcp")
        .send()
        .await;
    assert_eq!(
        metadata.json()["authorization_servers"],
        serde_json::json!([issuer])
    );
    let client = OAuthClient::native(server.site()).await;
    let tokens = client.login("alice", PASSWORD, &resource).await;
    assert_eq!(tokens.claims()["iss"], issuer);
    let call = doorward_testkit::mcp::call(&server, "/mcp", "whoami", &serde_json::json!({}));
    assert_eq!(call.bearer(&tokens.access).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_authorization_server_scenarios_pass_with_several_protected_servers() {
    let catalogue = crate::support::Catalogue::start().await;
    for resource in [catalogue.ra(), catalogue.rb()] {
        let (server, issuer) = (&catalogue.doorward, catalogue.issuer());
        assert_verdicts(authorization_server(server, issuer, Some(&resource)).await);
    }
    catalogue.still_good().await;
}
