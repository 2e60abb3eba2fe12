//! A backup is taken while the server runs; putting it in place revives nothing. What is lost or damaged is refused
//! clearly, and never replaced by something new.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use doorward_testkit::browser::Browser;
use doorward_testkit::command::{hermetic, run};
use doorward_testkit::oauth::{OAuthClient, Pkce, Tokens};
use doorward_testkit::{Doorward, PASSWORD, mcp};
use serde_json::json;

use crate::support::{assert_t, killed_after};

const PATH: &str = "/mcp";

/// The demo adds a user of its own.
async fn demo() -> Doorward {
    Doorward::builder()
        .demo()
        .user("alice", PASSWORD)
        .user("bob", PASSWORD)
        .start()
        .await
}

async fn status(doorward: &Doorward, tokens: &Tokens) -> u16 {
    let call = mcp::call(doorward, PATH, "echo", &json!({ "message": "b" }));
    call.bearer(&tokens.access).send().await.status
}

/// A page after alice or bob signed in.
async fn signed_in(doorward: &Doorward, client: &OAuthClient, user: &str) -> (Browser, bool) {
    let mut browser = Browser::new(doorward);
    let url = client.authorize_url(&Pkce::new(), &doorward.url(PATH));
    let page = browser.sign_in(&url, user, PASSWORD).await;
    let asked = page.form_with("decision").is_some();
    (browser, asked)
}

#[tokio::test]
async fn a_restore_revives_nothing() {
    let doorward = demo().await;
    let client = OAuthClient::native(&doorward).await;
    let resource = doorward.url(PATH);
    let alice = client.login("alice", PASSWORD, &resource).await;
    let bob = client.login("bob", PASSWORD, &resource).await;
    let file = doorward.home().join("backup.db");
    let name = file.to_str().unwrap();
    let taken = doorward.command(&["data", "backup", name]).ok();
    assert!(
        taken.stdout.contains("does not hold master.key"),
        "{}",
        taken.stdout
    );
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let twice = doorward.command(&["data", "backup", name]);
    assert_ne!(twice.code, 0);
    assert!(twice.stderr.contains("is there already"), "{}", twice.stderr);

    // Since then bob was disabled; and all that a backup holds is still good now.
    doorward.command(&["user", "disable", "bob"]).ok();
    assert_eq!(status(&doorward, &alice).await, 200);
    let (browser, asked) = signed_in(&doorward, &client, "alice").await;
    assert!(asked);

    let running = doorward.command(&["data", "restore", name]);
    assert_ne!(running.code, 0);
    assert!(
        running.stderr.contains("stop `doorward serve`"),
        "{}",
        running.stderr
    );
    assert_eq!(status(&doorward, &alice).await, 200, "nothing was touched");
    doorward.kill();
    let restored = doorward
        .command(&["data", "restore", name, "--format", "json"])
        .ok()
        .json();
    assert_eq!(
        (&restored["users"], &restored["merged"]),
        (&json!(3), &json!(true))
    );
    let aside = restored["aside"].as_str().unwrap();
    assert!(Path::new(aside).join("doorward.db").is_file(), "{aside}");
    doorward.start_again().await;

    // No access token, no refresh token, no session, no consent, no disabled account.
    for tokens in [&alice, &bob] {
        assert_eq!(status(&doorward, tokens).await, 401);
        let reply = client.refresh(tokens.refresh(), &resource).await;
        assert_t(&reply, &["invalid_grant"]);
    }
    let url = client.authorize_url(&Pkce::new(), &resource);
    let page = browser.clone().visit("GET", &url, &[], "none").await;
    assert!(
        page.form_with("password").is_some(),
        "signed out: {}",
        page.text()
    );
    let grants = doorward
        .command(&["grant", "list", "--format", "json"])
        .ok()
        .json();
    assert_eq!(grants, json!([]));
    let (_, asked) = signed_in(&doorward, &client, "bob").await;
    assert!(!asked, "bob stays disabled");
    let again = client.login("alice", PASSWORD, &resource).await;
    assert_eq!(status(&doorward, &again).await, 200);
    assert_eq!(client.refresh(again.refresh(), &resource).await.status, 200);
}

#[tokio::test]
async fn a_lost_folder_comes_back_from_one_file() {
    let doorward = demo().await;
    let client = OAuthClient::native(&doorward).await;
    let resource = doorward.url(PATH);
    let before = client.login("alice", PASSWORD, &resource).await;
    let file = doorward.home().join("whole.db");
    let name = file.to_str().unwrap();
    let taken = doorward
        .command(&["data", "backup", name, "--with-master-key"])
        .ok();
    assert!(taken.stdout.contains("holds the master key"), "{}", taken.stdout);
    doorward.kill();
    std::fs::remove_dir_all(&doorward.data).unwrap();
    let restored = doorward.command(&["data", "restore", name]).ok();
    assert!(restored.stdout.contains("3 accounts"), "{}", restored.stdout);
    assert!(
        restored.stdout.contains("Check before you start"),
        "{}",
        restored.stdout
    );
    doorward.start_again().await;
    assert_eq!(status(&doorward, &before).await, 401);
    let after = client.login("alice", PASSWORD, &resource).await;
    assert_eq!(status(&doorward, &after).await, 200);
}

/// Every file of a folder but those that SQLite and the lock keep beside.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let kept = ["-wal", "-shm", ".lock"].iter().all(|end| !name.ends_with(end));
        if kept && entry.file_type().unwrap().is_file() {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// `serve` on a damaged folder: refuses, says why, and leaves everything as it is.
async fn refuses(doorward: &Doorward, what: &str, says: &str) {
    let before = files(&doorward.data);
    let said = doorward.stderr().len();
    doorward.spawn();
    let code = doorward.wait(Duration::from_secs(60)).await;
    let said = doorward.stderr().split_off(said);
    assert_ne!(code, 0, "{what}");
    assert!(said.contains(says), "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
    assert_eq!(
        files(&doorward.data),
        before,
        "{what}: nothing was made or changed"
    );
    // Nor does any other command make something new.
    let listed = doorward.command(&["key", "list"]);
    assert_ne!(listed.code, 0, "{what}");
    assert_eq!(files(&doorward.data), before, "{what}");
}

#[tokio::test]
async fn ft_09_what_is_lost_or_damaged_is_refused_and_never_made_anew() {
    let doorward = demo().await;
    let client = OAuthClient::native(&doorward).await;
    let resource = doorward.url(PATH);
    let tokens = client.login("alice", PASSWORD, &resource).await;
    let backup = doorward.home().join("backup.db");
    doorward
        .command(&["data", "backup", backup.to_str().unwrap()])
        .ok();
    doorward.terminate();
    assert_eq!(doorward.wait(Duration::from_secs(60)).await, 0);
    let database = doorward.data.join("doorward.db");
    // Whoever closes it last moves the log into the file.
    doorward.command(&["key", "list"]).ok();
    assert!(!doorward.data.join("doorward.db-wal").exists());
    let whole = std::fs::read(&database).unwrap();
    let put = |bytes: &[u8]| {
        std::fs::write(&database, bytes).unwrap();
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(doorward.data.join(format!("doorward.db{end}")));
        }
    };

    std::fs::remove_file(&database).unwrap();
    refuses(&doorward, "missing", "has a master.key but no doorward.db").await;
    std::fs::write(&database, &whole).unwrap();
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o600)).unwrap();
    let key = doorward.data.join("master.key");
    let kept = doorward.home().join("kept.key");
    std::fs::rename(&key, &kept).unwrap();
    refuses(&doorward, "key missing", "has a doorward.db but no master.key").await;
    std::fs::rename(&kept, &key).unwrap();
    put(&whole[..whole.len() / 2]);
    refuses(&doorward, "truncated", "damaged").await;
    put(b"");
    refuses(&doorward, "empty", "not a Doorward database").await;
    for at in [3, 28, 100, whole.len() - 4096] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        put(&flipped);
        refuses(&doorward, &format!("bit flipped at {at}"), "damaged").await;
    }
    // `user_version` is at offset 60 of the header, `application_id` at 68.
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&9_999_u32.to_be_bytes());
    put(&newer);
    refuses(&doorward, "newer", "schema version 9999").await;
    put(&std::fs::read(&backup).unwrap());
    refuses(&doorward, "a backup copied into place", "doorward data restore").await;

    put(&whole);
    doorward.start_again().await;
    assert_eq!(status(&doorward, &tokens).await, 200, "the same keys as before");
}

#[tokio::test]
async fn ft_09_a_read_only_folder_is_refused() {
    let doorward = demo().await;
    doorward.terminate();
    assert_eq!(doorward.wait(Duration::from_secs(60)).await, 0);
    let before = files(&doorward.data);
    // Permissions do not bind root, so the folder is mounted read-only, in a namespace of its own.
    let binary = hermetic(&doorward.work).get_program().to_owned();
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", script])
        .arg(&doorward.data)
        .arg(binary)
        .args(["serve", "--demo", "--listen", "127.0.0.1:0", "--data"])
        .arg(&doorward.data)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .current_dir(&doorward.work)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    assert!(said.contains("write access"), "{said}");
    assert_eq!(files(&doorward.data), before);
}

/// A backup that is taken while people sign in is of one moment, and opens.
#[tokio::test]
async fn a_backup_under_load_is_whole() {
    let doorward = demo().await;
    let client = OAuthClient::native(&doorward).await;
    let resource = doorward.url(PATH);
    let mut tokens = client.login("alice", PASSWORD, &resource).await;
    let (work, data) = (doorward.work.clone(), doorward.data.display().to_string());
    let file = doorward.home().join("busy.db");
    let name = file.display().to_string();
    let backup = tokio::task::spawn_blocking(move || {
        run(
            &work,
            ["data", "backup", &name, "--with-master-key", "--data", &data],
            "",
        )
    });
    let mut refreshed = 0;
    while refreshed < 5 || !backup.is_finished() {
        tokens = Tokens::from_reply(&client.refresh(tokens.refresh(), &resource).await);
        refreshed += 1;
    }
    backup.await.unwrap().ok();
    let other = doorward.home().join("other");
    let args = [
        "data",
        "restore",
        file.to_str().unwrap(),
        "--data",
        other.to_str().unwrap(),
    ];
    let restored = run(&doorward.work, args, "").ok();
    assert!(restored.stdout.contains("3 accounts"), "{}", restored.stdout);
    assert_eq!(
        status(&doorward, &tokens).await,
        200,
        "the running server goes on"
    );
}

/// Killed at any moment, one of both databases is in place, whole: never none, never half of one.
#[tokio::test]
async fn ft_05_a_killed_restore_leaves_the_old_or_the_new_database() {
    let doorward = demo().await;
    let client = OAuthClient::native(&doorward).await;
    let resource = doorward.url(PATH);
    let tokens = client.login("alice", PASSWORD, &resource).await;
    let file = doorward.home().join("whole.db");
    let name = file.to_str().unwrap();
    doorward
        .command(&["data", "backup", name, "--with-master-key"])
        .ok();
    doorward.kill();
    let (before, data) = (doorward.home().join("before"), &doorward.data);
    let copy = |from: &Path, to: &Path| {
        let _ = std::fs::remove_dir_all(to);
        let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(done.success());
    };
    copy(data, &before);
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        50
    } else {
        5
    };
    let (mut old, mut finished) = (0, 0);
    for round in 0..rounds {
        copy(&before, data);
        // From the moment at which the copy is there until the end and beyond.
        let delay = Duration::from_micros(u64::from(round) * 1_777 % 30_000);
        let done = killed_after(&doorward, &["data", "restore", name], "doorward.db.new", delay);
        finished += u32::from(done);
        doorward.start_again().await;
        match status(&doorward, &tokens).await {
            200 if !done => old += 1,
            401 => {}
            other => panic!("round {round}: {other}, although it finished: {done}"),
        }
        let users = doorward
            .command(&["user", "list", "--format", "json"])
            .ok()
            .json();
        assert_eq!(users.as_array().unwrap().len(), 3, "round {round}");
        doorward.kill();
    }
    assert!(
        old > 0 && finished < rounds,
        "some were killed in time: {old}, {finished}"
    );
}
