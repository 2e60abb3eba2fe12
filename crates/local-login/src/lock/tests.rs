use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use doorward_types::random::SystemRandom;

use super::*;
use crate::store::KeySource;

const FOLDER: &str = "DOORWARD_TEST_LOCK_STORE";

fn open_at(path: &Path) -> Store {
    Store::open(path, KeySource::File, Arc::new(SystemRandom)).unwrap()
}

fn name() -> LockName {
    LockName::login("https://mcp.example.com/mcp", "ann")
}

fn note_of(url: &str) -> Note {
    Note {
        pid: std::process::id(),
        attempt: "one".to_owned(),
        authorization_url: Some(url.to_owned()),
        failed: None,
    }
}

/// Starts this binary again, to take the lock and hold it; returns when it has it.
fn holder(folder: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lock::tests::in_another_process", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    assert!(out.lines().any(|line| line.unwrap().contains("holding it")));
    child
}

/// Does nothing unless it was started by another test.
#[test]
#[expect(clippy::print_stdout, reason = "how it tells the test that started it")]
fn in_another_process() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let store = open_at(Path::new(&folder));
    let mut held = try_take(&store, &name()).unwrap().unwrap();
    held.tell(&note_of("https://auth.example.com/authorize?state=1"));
    println!("\nholding it");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn one_holds_it_and_others_read_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    let mut held = try_take(&store, &name()).unwrap().unwrap();
    assert!(try_take(&store, &name()).unwrap().is_none());
    let another = LockName::login("https://mcp.example.com/mcp", "bob");
    assert!(try_take(&store, &another).unwrap().is_some());
    assert_eq!(note(&store, &name()), None);
    held.tell(&note_of("https://auth.example.com/a-long-one"));
    held.tell(&note_of("https://auth.example.com/"));
    assert_eq!(note(&store, &name()), Some(note_of("https://auth.example.com/")));
    drop(held);
    assert!(try_take(&store, &name()).unwrap().is_some());
}

#[tokio::test]
async fn cl_12_a_lock_dies_with_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path());
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        50
    } else {
        3
    };
    for _ in 0..rounds {
        let mut child = holder(folder.path());
        let mut told = Vec::new();
        let early = take(&store, &name(), Duration::from_millis(120), |note| {
            told.push(note.cloned());
        })
        .await;
        assert!(early.unwrap().is_none());
        let url = told[0].as_ref().unwrap().authorization_url.as_deref();
        assert_eq!(url, Some("https://auth.example.com/authorize?state=1"));
        assert_ne!(told[0].as_ref().unwrap().pid, std::process::id());
        assert_eq!(told.len(), 1, "said once");
        child.kill().unwrap();
        child.wait().unwrap();
        let late = take(&store, &name(), Duration::from_secs(60), |_| {}).await;
        assert!(late.unwrap().is_some());
    }
}
