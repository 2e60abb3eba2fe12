//! Several processes on one store: this test binary starts itself again.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorward_types::random::SystemRandom;

use super::tests::entry;
use super::{KeySource, Store};

const FOLDER: &str = "DOORWARD_TEST_STORE";
const ROLE: &str = "DOORWARD_TEST_ROLE";

fn open_at(path: &Path) -> Store {
    Store::open(path, KeySource::File, Arc::new(SystemRandom)).unwrap()
}

/// Starts this binary again, to be only `role` on the store at `folder`, with the umask `000`.
fn start(role: &str, folder: &Path) -> Child {
    Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::process_tests::in_another_process",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env(ROLE, role)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Does nothing unless it was started by another test.
#[test]
fn in_another_process() {
    let (Ok(role), Ok(folder)) = (std::env::var(ROLE), std::env::var(FOLDER)) else {
        return;
    };
    let store = open_at(Path::new(&folder));
    match role.as_str() {
        // Killed at some point; the padding makes a write last.
        "write for ever" => {
            for number in 0_u64.. {
                store.save_tokens(&entry("ann", &padded(number))).unwrap();
            }
        }
        "write 40 times" => {
            for number in 0..40 {
                store.save_tokens(&entry("ann", &padded(number))).unwrap();
            }
        }
        other => panic!("no role {other}"),
    }
}

fn padded(number: u64) -> String {
    format!("{number}{}", "=".repeat(100_000))
}

fn full() -> bool {
    std::env::var_os("DOORWARD_FULL").is_some()
}

#[expect(
    clippy::disallowed_methods,
    reason = "polls with a deadline; there is no event to wait for"
)]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn cl_10_whoever_is_killed_while_writing_leaves_the_old_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let rounds = if full() { 200 } else { 12 };
    for round in 0..rounds {
        let mut child = start("write for ever", &path);
        let seen = || {
            path.exists()
                .then(|| Store::open_existing(&path, KeySource::File, Arc::new(SystemRandom)))
                .and_then(|opened| opened.ok().flatten())
                .and_then(|store| {
                    store
                        .tokens("https://auth.example.com", "https://mcp.example.com/mcp", "ann")
                        .ok()
                })
                .flatten()
                .map(|found| found.tokens().access_token.expose().to_owned())
        };
        let before = seen();
        wait_until("it writes", || seen().is_some_and(|now| Some(now) != before));
        // At another point of a write each time.
        let until = Instant::now() + Duration::from_micros(317 * (round % 40));
        wait_until("a moment", || Instant::now() >= until);
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open_at(&path);
        let found = store
            .tokens("https://auth.example.com", "https://mcp.example.com/mcp", "ann")
            .unwrap()
            .unwrap();
        let text = found.tokens().access_token.expose().to_owned();
        let number: u64 = text.trim_end_matches('=').parse().unwrap();
        assert_eq!(text, padded(number));
        // No stale lock: the next one writes at once.
        store.save_tokens(&entry("bob", "two")).unwrap();
    }
    for file in std::fs::read_dir(&path).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
    }
}

#[test]
fn cl_12_several_processes_make_one_key_and_tear_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut children: Vec<Child> = (0..4).map(|_| start("write 40 times", &path)).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let kept = open_at(&path).all_tokens().unwrap();
    assert_eq!(kept.tokens.len(), 1);
    assert!(kept.unreadable.is_empty(), "{kept:?}");
}
