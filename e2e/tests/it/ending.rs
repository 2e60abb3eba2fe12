//! However Doorward ends, nothing of its commands is left.

use std::path::Path;
use std::time::{Duration, Instant};

use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD, eventually, mcp};
use serde_json::json;

const PATH: &str = "/a/mcp";
const SCRIPT: &str = env!("CARGO_BIN_EXE_scripted-stdio");

/// A command with a child of its own, whose number it leaves in its HOME.
fn with_a_child() -> String {
    let script = "sleep 1000 & echo $! > $HOME/child; exec \"$0\" modern";
    format!(
        "[[servers]]\nname = \"a\"\npath = \"{PATH}\"\ncommand = [\"sh\", \"-c\", {script:?}, {SCRIPT:?}]\n"
    )
}

async fn start() -> (Doorward, String) {
    let builder = Doorward::builder().config(&with_a_child());
    let doorward = builder.user("alice", PASSWORD).start().await;
    let client = OAuthClient::register(&doorward, "N1", "http://127.0.0.1/cb").await;
    let token = client.login("alice", PASSWORD, &doorward.url(PATH)).await.access;
    (doorward, token)
}

/// The numbers of the command's process and of its child.
async fn processes(doorward: &Doorward, token: &str) -> [String; 2] {
    let call = mcp::call(doorward, PATH, "t_pid", &json!({})).bearer(token);
    let reply = call.send().await;
    assert_eq!(reply.status, 200, "{}\n{}", reply.text(), doorward.logs());
    let homes = std::fs::read_dir(doorward.data.join("homes/a")).unwrap();
    let home = homes.last().unwrap().unwrap().path().join("home/child");
    let child = std::fs::read_to_string(home).unwrap();
    [mcp::text_of(&reply), child.trim().to_owned()]
}

/// Whether it runs. One that has ended and was not waited for yet does not.
fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

async fn all_gone(pids: &[String]) {
    eventually("no process is left", Duration::from_secs(60), || async {
        (!pids.iter().any(|pid| is_alive(pid))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_doorward_leaves_no_process_behind() {
    let (doorward, token) = start().await;
    let pids = processes(&doorward, &token).await;
    assert!(pids.iter().all(|pid| is_alive(pid)), "{pids:?}");
    doorward.kill();
    all_gone(&pids).await;
    // And it starts again on what is there.
    doorward.start_again().await;
    let again = processes(&doorward, &token).await;
    assert_ne!(again, pids);
}

#[tokio::test]
async fn ft_06_a_graceful_end_with_calls_and_streams_of_a_command_open() {
    let (doorward, token) = start().await;
    let pids = processes(&doorward, &token).await;
    let call = |tool: &str, arguments| mcp::call(&doorward, PATH, tool, &arguments).bearer(&token);
    let listen = json!({ "notifications": { "toolsListChanged": true } });
    let mut streams = Vec::new();
    for _ in 0..20 {
        let listen = mcp::modern(&doorward, PATH, "subscriptions/listen", listen.clone());
        let mut stream = listen.bearer(&token).stream().await;
        assert!(stream.event().await.is_some(), "{}", doorward.logs());
        streams.push(stream);
    }
    let slow: Vec<_> = (0..50)
        .map(|number| {
            let arguments = json!({ "marker": format!("call {number}"), "delay": 3000 });
            tokio::spawn(call("t_read", arguments).try_send())
        })
        .collect();
    // These never come to an end by themselves.
    let stuck: Vec<_> = (0..20)
        .map(|number| tokio::spawn(call("t_wait", json!({ "marker": format!("stuck {number}") })).try_send()))
        .collect();
    // What was sent before it has arrived when this is answered, give or take the connections.
    tokio::time::timeout(Duration::from_secs(60), processes(&doorward, &token))
        .await
        .unwrap();
    let begun = Instant::now();
    doorward.terminate();
    for mut stream in streams {
        let mut last = None;
        while let Some(event) = stream.event().await {
            last = Some(event.data);
        }
        let last = last.expect("the subscription is completed");
        assert!(last.contains("\"result\""), "{last}");
    }
    let mut finished = 0;
    for call in slow {
        // Refused, cut with a clear error, or finished: never a truncated success.
        if let Ok(reply) = call.await.unwrap() {
            assert!(matches!(reply.status, 200 | 502 | 503), "{}", reply.text());
            if reply.status == 200 {
                assert!(mcp::text_of(&reply).starts_with("call "));
                finished += 1;
            }
        }
    }
    assert!(finished >= 40, "{finished} of 50 calls were finished");
    assert_eq!(
        doorward.wait(Duration::from_secs(60)).await,
        0,
        "{}",
        doorward.logs()
    );
    let took = begun.elapsed();
    // Within thirty seconds; the rest is for a busy machine.
    assert!(took <= Duration::from_secs(50), "ended after {took:?}");
    for call in stuck {
        if let Ok(reply) = call.await.unwrap() {
            assert_ne!(reply.status, 200, "{}", reply.text());
        }
    }
    assert!(
        !pids.iter().any(|pid| is_alive(pid)),
        "{pids:?} are gone before we are"
    );
}
