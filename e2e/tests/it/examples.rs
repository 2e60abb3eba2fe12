//! The examples of the documentation and the grants without a browser, against a real Doorward.

use std::sync::Arc;

use doorward_testkit::browser::Browser;
use doorward_testkit::client_home::{Browsing, ClientHome, Running};
use doorward_testkit::http;
use doorward_testkit::leak::Secrets;
use doorward_testkit::{Doorward, PASSWORD, eventually};

use crate::machine::Machine;

const CALL_TOOL: &str = env!("CARGO_BIN_EXE_example-call-tool");
const HEADLESS_JOB: &str = env!("CARGO_BIN_EXE_example-headless-job");
const OWN_PROVIDER: &str = env!("CARGO_BIN_EXE_example-own-provider");

async fn demo() -> Doorward {
    Doorward::builder().demo().user("alice", PASSWORD).start().await
}

/// Alice at the browser of her machine, who allows everything.
fn alice(home: &ClientHome, doorward: &Doorward) -> Browsing {
    let browser = Arc::new(tokio::sync::Mutex::new(Browser::new(doorward)));
    home.browse_with(move |url| {
        let browser = Arc::clone(&browser);
        async move {
            let callback = browser
                .lock()
                .await
                .login_and_approve(&url, "alice", PASSWORD)
                .await;
            // The program may be gone.
            let _ = http::get(&callback).try_send().await;
        }
    })
}

#[tokio::test]
async fn r21_an_rmcp_client_logs_in_once_and_calls_a_tool() {
    let (doorward, home) = (demo().await, ClientHome::new());
    let url = doorward.url("/mcp");
    let _alice = alice(&home, &doorward);
    for _ in 0..2 {
        let running = Running::start(home.program(CALL_TOOL, &[&url, "whoami"]));
        let finished = running.ended().await.ok();
        assert!(finished.stdout.contains("alice"), "{}", finished.stdout);
    }
    assert_eq!(home.opened_urls().len(), 1, "the second run had tokens");
}

#[tokio::test]
async fn r21_c1_c2_a_headless_job_authenticates_with_its_key() {
    let (doorward, home) = (demo().await, ClientHome::new());
    let url = doorward.url("/mcp");
    let machine = Machine::key(&doorward, &["--client-credentials"]);
    let key = home.root().join("key.pem");
    std::fs::write(&key, machine.forge().private_pem()).unwrap();
    let key = key.display().to_string();
    let arguments = [url.as_str(), &machine.id, &key, "whoami"];
    let finished = Running::start(home.program(HEADLESS_JOB, &arguments))
        .ended()
        .await
        .ok();
    assert!(finished.stdout.contains(&machine.id), "{}", finished.stdout);
    assert!(home.opened_urls().is_empty(), "nobody is there");
    // The same by the command, and with a key that was never registered.
    let machine_options = [
        "--client-id",
        &machine.id,
        "--grant",
        "client-credentials",
        "--client-key-file",
        &key,
    ];
    let login = [&["login", url.as_str(), "--force"], &machine_options[..]].concat();
    home.run(&login).await.ok();
    std::fs::write(
        home.root().join("key.pem"),
        doorward_testkit::forge::Forge::attacker().private_pem(),
    )
    .unwrap();
    let refused = home.run(&login).await;
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("invalid_client"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("BEGIN"));
}

#[tokio::test]
async fn c2_a_program_authenticates_with_its_secret() {
    let (doorward, home) = (demo().await, ClientHome::new());
    let url = doorward.url("/mcp");
    let machine = Machine::basic(&doorward, &["--client-credentials"]);
    let file = home.root().join("secret");
    std::fs::write(&file, machine.secret()).unwrap();
    let file = file.display().to_string();
    let finished = home
        .run(&[
            "login",
            &url,
            "--client-id",
            &machine.id,
            "--client-secret-file",
            &file,
            "--grant",
            "client-credentials",
        ])
        .await
        .ok();
    assert!(finished.stdout.contains(&machine.id), "{}", finished.stdout);
    std::fs::remove_file(&file).unwrap();
    let mut secrets = Secrets::default();
    secrets.add("the client's secret", machine.secret());
    home.assert_clean(&finished, &secrets).await;
}

#[tokio::test]
async fn r21_s9_an_application_brings_its_own_network_and_place_for_tokens() {
    let (doorward, home) = (demo().await, ClientHome::new());
    let url = doorward.url("/mcp");
    let running = Running::start(home.program(OWN_PROVIDER, &[&url]));
    let shown = eventually(
        "the address is printed",
        doorward_testkit::client_home::PATIENCE,
        async || {
            let printed = running.stdout();
            assert!(running.is_alive(), "{}", running.stderr());
            printed.strip_suffix('\n').map(str::to_owned)
        },
    )
    .await;
    let callback = Browser::new(&doorward)
        .login_and_approve(&shown, "alice", PASSWORD)
        .await;
    running.write_line(&callback);
    let finished = running.ended().await.ok();
    assert!(finished.stdout.contains("granted: "), "{}", finished.stdout);
}

#[tokio::test]
async fn r22_a_person_approves_on_another_device() {
    let doorward = Doorward::builder()
        .demo()
        .config("[grants]\ndevice = true\n")
        .user("alice", PASSWORD)
        .start()
        .await;
    let home = ClientHome::new();
    let url = doorward.url("/mcp");
    let running = home.start_login(&url, &["--device"]);
    running.says("type this code: ").await;
    let told = running.stderr();
    let code = told
        .split("type this code: ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let mut browser = crate::device::signed_in(&doorward, "alice").await;
    let page = browser.get("/device").await;
    let mut form = page.form_with("user_code").expect("the form for the code");
    form.fill("user_code", code);
    let page = browser.submit(&page, &form, "").await;
    crate::device::answer(&mut browser, &page, "approve").await;
    let finished = running.ended().await.ok();
    assert!(finished.stdout.contains("logged in to"), "{}", finished.stdout);
    assert!(home.opened_urls().is_empty(), "no browser on this machine");
}
