//! A1, B25: what a bridge is connected to. Its host's credentials come from the environment, nobody but its host reaches it, and
//! it reaches nobody but its server.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use doorward_testkit::client_home::{ClientHome, Running};
use doorward_testkit::evil::{AUTHORIZE, Evil, REGISTER};
use doorward_testkit::leak::Secrets;
use doorward_testkit::upstream::Upstream;
use serde_json::{Value, json};

fn list(id: u32) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" })
}

async fn open(running: &Running) {
    let answer = running.ask(&doorward_testkit::mcp::initialize()).await;
    assert!(answer.get("result").is_some(), "{answer}\n{}", running.stderr());
    running.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
}

/// A socket of a process, as the kernel tells it.
#[derive(Debug)]
struct Socket {
    peer: SocketAddr,
    listens: bool,
}

/// The TCP sockets of a process; and whether it has a Unix socket that others can find by a name.
fn sockets(running: &Running) -> (Vec<Socket>, bool) {
    let inodes: BTreeSet<String> = std::fs::read_dir(format!("/proc/{}/fd", running.pid()))
        .expect("its descriptors")
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.ok()?.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{}/net/{name}", running.pid())).unwrap_or_default();
        let lines = text.lines().skip(1).map(|line| {
            line.split_ascii_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        lines.collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for words in [table("tcp"), table("tcp6")].concat() {
        if words.get(9).is_some_and(|inode| inodes.contains(inode)) {
            found.push(Socket {
                peer: address(&words[2]),
                listens: words[3] == "0A",
            });
        }
    }
    let named = table("unix")
        .iter()
        .any(|words| words.len() > 7 && inodes.contains(&words[6]));
    (found, named)
}

/// `0100007F:1F90` as the kernel writes an address.
fn address(text: &str) -> SocketAddr {
    let (address, port) = text.split_once(':').expect("an address and a port");
    let words: Vec<u32> = (0..address.len() / 8)
        .map(|at| u32::from_str_radix(&address[at * 8..at * 8 + 8], 16).expect("an address"))
        .collect();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let port = u16::from_str_radix(port, 16).expect("a port");
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => (four, port).into(),
        Err(_) => (<[u8; 16]>::try_from(bytes.as_slice()).expect("an address"), port).into(),
    }
}

#[tokio::test]
async fn b25_a_bridge_is_reached_by_its_host_alone_and_reaches_its_server_alone() {
    let evil = Evil::start();
    let home = ClientHome::new();
    // The check can find something: who waits for a person listens.
    let waiting = home.start_login(&evil.url(), &[]);
    let url = home.opened_url(0, &waiting).await;
    assert!(sockets(&waiting).0.iter().any(|socket| socket.listens));
    doorward_testkit::client_home::visit(&url).await.expect("a page");
    assert_eq!(waiting.ended().await.code, 0);

    let bridge = home.start_connect(&evil.url(), &[]);
    open(&bridge).await;
    let server: SocketAddr = evil
        .base()
        .strip_prefix("http://")
        .and_then(|text| text.parse().ok())
        .expect("an address");
    for id in 1..=5 {
        let answer = bridge.ask(&list(id)).await;
        assert!(answer.get("result").is_some(), "{answer}");
        let (found, named) = sockets(&bridge);
        for socket in &found {
            assert!(!socket.listens, "nobody else gets in: {socket:?}");
            assert_eq!(socket.peer, server, "it talks to nobody else");
        }
        assert!(!named, "nor over a Unix socket");
    }
    bridge.close_stdin();
    let finished = bridge.ended().await;
    home.assert_clean(&finished, &evil.secrets()).await;
}

#[tokio::test]
async fn a1_on_stdio_credentials_come_from_the_environment() {
    let server = Upstream::start();
    let home = ClientHome::new().with_env("NOTES_TOKEN", "the-token-of-the-environment");
    let mut secrets = Secrets::default();
    secrets.add("the token", "the-token-of-the-environment");
    let header = "Authorization: Bearer ${NOTES_TOKEN}";
    let bridge = home.start_connect(&server.url(), &["--header", header]);
    open(&bridge).await;
    let answer = bridge.ask(&list(1)).await;
    assert!(answer.get("result").is_some(), "{answer}\n{}", bridge.stderr());
    for request in server.requests() {
        assert_eq!(
            request.values("authorization"),
            ["Bearer the-token-of-the-environment"],
            "on HTTP it goes as the specification says"
        );
    }
    assert_eq!(home.opened().len(), 0, "and nobody is sent to a login");
    bridge.close_stdin();
    let finished = bridge.ended().await;
    home.assert_clean(&finished, &secrets).await;
    // On HTTP without one, the same program does what the specification says.
    let evil = Evil::start();
    let done = home.login(&evil.url(), &[]).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!((evil.seen(REGISTER).len(), evil.seen(AUTHORIZE).len()), (1, 1));
}
