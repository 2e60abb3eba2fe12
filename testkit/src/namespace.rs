//! A test in a network of its own: addresses that look public, its own DNS, nothing else.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Set in the process that runs inside.
const INSIDE: &str = "DOORWARD_TEST_NETWORK";
/// Where the DNS server of the network listens.
pub const DNS: &str = "127.0.0.53";

/// Runs `body` in network and mount namespaces in which the loopback interface has `addresses` besides its own
/// and names are asked at [`DNS`]. `test` is the full name of the calling test: the test program is started
/// once more in there with nothing but this test.
///
/// # Panics
/// When the test fails inside, or this machine gives no namespaces (it needs root, or unprivileged user
/// namespaces).
pub fn run<F: Future<Output = ()>>(test: &str, addresses: &[&str], body: impl FnOnce() -> F) {
    if std::env::var(INSIDE).as_deref() != Ok(test) {
        return again(test);
    }
    // What is mounted from there stays good when the folder is gone.
    let _folder = prepare(addresses);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(body());
}

fn again(test: &str) {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let program = std::env::current_exe().expect("the test program");
    let output = command
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, test)
        .output()
        .expect("unshare can be run (Debian package util-linux)");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{test} in a network of its own (it needs network and mount namespaces: root, or user namespaces):\n{out}\n{err}"
    );
    // Measurements and the like.
    for line in out.lines() {
        if let Some((_, measured)) = line.split_once("measured: ") {
            println!("measured: {measured}");
        }
    }
}

fn prepare(addresses: &[&str]) -> TempDir {
    sh(&["ip", "link", "set", "lo", "up"]);
    for address in addresses {
        let parsed: IpAddr = address.parse().expect("an address");
        let bits = if parsed.is_ipv4() { 32 } else { 128 };
        let mut words = vec!["ip".to_owned(), "address".into(), "add".into()];
        words.extend([format!("{address}/{bits}"), "dev".into(), "lo".into()]);
        if parsed.is_ipv6() {
            // Usable at once: nobody else is there.
            words.push("nodad".into());
        }
        sh(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let folder = crate::folder("doorward-network-");
    for (name, text) in [
        (
            "resolv.conf",
            format!("nameserver {DNS}\noptions timeout:1 attempts:2\n"),
        ),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n".into()),
        ("nsswitch.conf", "hosts: files dns\n".into()),
    ] {
        let (file, place) = (folder.path().join(name), Path::new("/etc").join(name));
        std::fs::write(&file, text).expect("a file");
        if place.exists() {
            let (file, place) = (file.display().to_string(), place.display().to_string());
            sh(&["mount", "--bind", &file, &place]);
        }
    }
    folder
}

#[track_caller]
fn sh(words: &[&str]) {
    let (program, arguments) = words.split_first().expect("a command");
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!("{program} can be run (Debian packages iproute2 and util-linux): {error}")
        });
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
