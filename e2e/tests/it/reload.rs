//! SIGHUP: a good configuration takes over, a bad one changes nothing.

use std::time::Duration;

use doorward_testkit::command::run;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::{Answer, Part, Upstream, event};
use doorward_testkit::{Doorward, PASSWORD, eventually, marker, mcp};
use serde_json::json;

const SCRIPT: &str = env!("CARGO_BIN_EXE_scripted-stdio");
const GOOD: &str = "configuration reloaded";
const BAD: &str = "the configuration was not reloaded";
/// Far beyond the five seconds that the rule names: this machine may be busy.
const SOON: Duration = Duration::from_secs(60);

fn server(name: &str, rest: &str) -> String {
    format!("[[servers]]\nname = \"{name}\"\npath = \"/{name}/mcp\"\n{rest}\n")
}

fn upstream(name: &str, upstream: &Upstream) -> String {
    server(name, &format!("upstream = \"{}\"", upstream.url()))
}

fn times(doorward: &Doorward, text: &str) -> usize {
    doorward.stderr().matches(text).count()
}

/// Writes the file, sends the signal and waits until the log says `outcome`.
async fn reload(doorward: &Doorward, text: &str, outcome: &str) {
    let before = times(doorward, outcome);
    std::fs::write(doorward.config_file(), text).unwrap();
    doorward.hang_up();
    eventually("the log tells what came of it", SOON, || async {
        (times(doorward, outcome) > before).then_some(())
    })
    .await;
}

async fn token(doorward: &Doorward, user: &str, path: &str) -> String {
    let client = OAuthClient::register(doorward, "N1", "http://127.0.0.1/cb").await;
    client.login(user, PASSWORD, &doorward.url(path)).await.access
}

async fn status(doorward: &Doorward, path: &str, token: &str) -> u16 {
    let call = mcp::call(doorward, path, "t_read", &json!({}));
    call.bearer(token).send().await.status
}

/// A stream that sends one event and then nothing.
fn silent_stream(upstream: &Upstream, marker: &str) {
    upstream.script_for(marker, |_| {
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message" });
        Answer::events(vec![event(None, &note), Part::Hang])
    });
}

#[tokio::test]
async fn ft_19_a_broken_file_changes_nothing_and_everybody_can_see_it() {
    let up = Upstream::start();
    let good = upstream("a", &up);
    let doorward = Doorward::builder()
        .config(&good)
        .user("alice", PASSWORD)
        .start()
        .await;
    let token = token(&doorward, "alice", "/a/mcp").await;
    let health = || {
        let (file, listen) = (doorward.config_file(), doorward.address().to_string());
        let args = [
            "health",
            "--format",
            "json",
            "--listen",
            &listen,
            "--config",
            file.to_str().unwrap(),
        ];
        run(&doorward.work, args, "").ok().json()
    };
    assert_eq!(health()["last_reload_failed"], json!(null));

    for (broken, why) in [
        (
            format!("{good}colour = \"red\"\n"),
            "doorward.toml:5:1: unknown key `colour`",
        ),
        (format!("{good}["), "doorward.toml:5:"),
        (String::new(), "names no server any more"),
        (
            server("a", "command = [\"no-such-program\"]"),
            "there is no program `no-such-program`",
        ),
        (
            format!("log_format = \"human\"\n{good}"),
            "`log_format` (file, line 1) cannot change while Doorward runs",
        ),
        (
            server(
                "a",
                "command = [\"sh\"]\nenv = { A = \"hunter2\", B = \"env:MISSING\" }",
            ),
            "the environment variable `MISSING` is not set",
        ),
    ] {
        reload(&doorward, &broken, BAD).await;
        doorward.logged(why).await;
        assert_eq!(
            status(&doorward, "/a/mcp", &token).await,
            200,
            "the old one stays: {why}"
        );
        let ready = doorward.get("/readyz").send().await;
        assert_eq!(ready.status, 200);
        assert!(
            ready.text().starts_with("ready\nlast reload failed: 20"),
            "{}",
            ready.text()
        );
        assert!(
            !ready.text().contains("doorward.toml"),
            "no path, no reason: {}",
            ready.text()
        );
        let health = health();
        assert_eq!(health["ready"], true);
        assert!(
            health["last_reload_failed"].as_str().unwrap().starts_with("20"),
            "{health}"
        );
    }
    assert!(!doorward.logs().contains("hunter2"));
    assert_eq!(
        times(&doorward, "\"level\":\"ERROR\""),
        6,
        "one record for each: {}",
        doorward.stderr()
    );

    reload(&doorward, &good, GOOD).await;
    assert_eq!(doorward.get("/readyz").send().await.text(), "ready\n");
    assert_eq!(health()["last_reload_failed"], json!(null));
    assert_eq!(status(&doorward, "/a/mcp", &token).await, 200);
}

#[tokio::test]
async fn ft_19_a_removed_server_is_gone_and_the_others_go_on() {
    let (up_a, up_b) = (Upstream::start(), Upstream::start());
    let both = format!("{}{}", upstream("a", &up_a), upstream("b", &up_b));
    let doorward = Doorward::builder()
        .config(&both)
        .user("alice", PASSWORD)
        .start()
        .await;
    let (ta, tb) = (
        token(&doorward, "alice", "/a/mcp").await,
        token(&doorward, "alice", "/b/mcp").await,
    );
    let (open, slow) = (marker(), marker());
    silent_stream(&up_a, &open);
    silent_stream(&up_b, &open);
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let signal = std::sync::Arc::clone(&go);
    up_b.script_for(&slow, move |request| {
        let answer = doorward_testkit::upstream::friendly(request);
        let mut parts = vec![Part::Wait(std::sync::Arc::clone(&signal))];
        parts.extend(answer.parts);
        Answer {
            parts,
            chunked: true,
            ..answer
        }
    });
    let open = json!({ "marker": open });
    let mut removed = mcp::call(&doorward, "/b/mcp", "t_read", &open)
        .bearer(&tb)
        .stream()
        .await;
    let mut kept = mcp::call(&doorward, "/a/mcp", "t_read", &open)
        .bearer(&ta)
        .stream()
        .await;
    assert!(removed.event().await.is_some() && kept.event().await.is_some());
    let call = mcp::call(&doorward, "/b/mcp", "t_read", &json!({ "marker": slow })).bearer(&tb);
    let call = tokio::spawn(call.try_send());
    eventually("the call is upstream", SOON, || async {
        (!up_b.with(&slow).is_empty()).then_some(())
    })
    .await;

    reload(&doorward, &upstream("a", &up_a), GOOD).await;
    assert_eq!(status(&doorward, "/b/mcp", &tb).await, 404);
    let metadata = "/.well-known/oauth-protected-resource";
    assert_eq!(
        doorward.get(&format!("{metadata}/b/mcp")).send().await.status,
        404
    );
    assert_eq!(
        doorward.get(metadata).send().await.status,
        200,
        "the only one now"
    );
    assert_eq!(status(&doorward, "/a/mcp", &ta).await, 200);
    assert!(removed.event().await.is_none(), "its stream has ended");
    go.notify_one();
    let reply = call.await.unwrap().unwrap();
    assert_eq!(mcp::text_of(&reply), "t_read ok", "a call in flight finishes");
    let still = tokio::time::timeout(Duration::from_secs(4), kept.event()).await;
    assert!(still.is_err(), "the other server's stream goes on");

    reload(&doorward, &both, GOOD).await;
    assert_eq!(status(&doorward, "/b/mcp", &tb).await, 200, "and back again");
}

#[tokio::test]
async fn ft_19_a_file_that_does_not_answer_holds_up_nobody() {
    let up = Upstream::start();
    let config = upstream("a", &up);
    let builder = Doorward::builder().config(&config);
    let doorward = builder.user("alice", PASSWORD).start().await;
    let token = token(&doorward, "alice", "/a/mcp").await;
    let file = doorward.config_file();
    std::fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    doorward.hang_up();
    // This open waits until somebody reads.
    let path = file.clone();
    let mut pipe = tokio::task::spawn_blocking(move || std::fs::File::create(path).unwrap())
        .await
        .unwrap();
    for _ in 0..20 {
        let answered = tokio::time::timeout(SOON, status(&doorward, "/a/mcp", &token)).await;
        assert_eq!(answered, Ok(200), "while it waits for the file");
    }
    std::io::Write::write_all(&mut pipe, config.as_bytes()).unwrap();
    drop(pipe);
    eventually("it was read", SOON, || async {
        (times(&doorward, GOOD) == 1).then_some(())
    })
    .await;
    assert_eq!(status(&doorward, "/a/mcp", &token).await, 200);
}

/// The reload's half: whoever is no longer named is refused from the moment the log says so.
#[tokio::test]
async fn mb_20_who_is_no_longer_allowed_is_refused_at_once_and_streams_end() {
    let up = Upstream::start();
    // The load below is more than one person may send.
    let unlimited = "[limits]\ncalls = \"off\"\ntool = \"off\"\nrefused = \"off\"\n";
    let allow = |who: &str| format!("{}allow = [{who}]\n{unlimited}", upstream("a", &up));
    let config = allow("\"user:alice\", \"user:bob\"");
    let builder = Doorward::builder().config(&config).user("alice", PASSWORD);
    let doorward = std::sync::Arc::new(builder.user("bob", PASSWORD).start().await);
    let (alice, bob) = (
        token(&doorward, "alice", "/a/mcp").await,
        token(&doorward, "bob", "/a/mcp").await,
    );
    let open = marker();
    silent_stream(&up, &open);
    let open = json!({ "marker": open });
    let mut alices = mcp::call(&doorward, "/a/mcp", "t_read", &open)
        .bearer(&alice)
        .stream()
        .await;
    let mut bobs = mcp::call(&doorward, "/a/mcp", "t_read", &open)
        .bearer(&bob)
        .stream()
        .await;
    assert!(alices.event().await.is_some() && bobs.event().await.is_some());
    // Under load, as in real life.
    let (server, caller) = (std::sync::Arc::clone(&doorward), alice.clone());
    let load = tokio::spawn(async move {
        loop {
            assert_eq!(status(&server, "/a/mcp", &caller).await, 200);
        }
    });

    reload(&doorward, &allow("\"user:alice\""), GOOD).await;
    for _ in 0..20 {
        assert_eq!(status(&doorward, "/a/mcp", &bob).await, 403);
    }
    assert!(bobs.event().await.is_none(), "bob's stream has ended");
    let still = tokio::time::timeout(Duration::from_secs(4), alices.event()).await;
    assert!(still.is_err(), "alice's goes on");
    assert!(!load.is_finished(), "nobody else noticed");
    load.abort();
}

/// Answers that are still being given may be those of a server that is long replaced.
#[tokio::test]
async fn ft_19_mb_20_streams_of_a_replaced_server_end_with_what_comes_after_it() {
    let (before, after) = (Upstream::start(), Upstream::start());
    let config = |up: &Upstream, allow: &str| format!("{}allow = [{allow}]\n", upstream("a", up));
    let both = "\"user:alice\", \"user:bob\"";
    let builder = Doorward::builder().config(&config(&before, both));
    let builder = builder.user("alice", PASSWORD).user("bob", PASSWORD);
    let doorward = builder.start().await;
    let open = marker();
    silent_stream(&before, &open);
    let mut streams = Vec::new();
    for user in ["alice", "bob"] {
        let token = token(&doorward, user, "/a/mcp").await;
        let call = mcp::call(&doorward, "/a/mcp", "t_read", &json!({ "marker": open }));
        let mut stream = call.bearer(&token).stream().await;
        assert!(stream.event().await.is_some());
        streams.push(stream);
    }
    let [mut alices, mut bobs] = <[_; 2]>::try_from(streams).ok().unwrap();

    reload(&doorward, &config(&after, both), GOOD).await;
    let still = tokio::time::timeout(Duration::from_secs(4), bobs.event()).await;
    assert!(still.is_err(), "an answer that was begun is finished");
    reload(&doorward, &config(&after, "\"user:alice\""), GOOD).await;
    let ended = tokio::time::timeout(SOON, bobs.event()).await;
    assert!(ended.expect("it ends").is_none(), "bob is no longer named");
    let still = tokio::time::timeout(Duration::from_secs(4), alices.event()).await;
    assert!(still.is_err(), "alice is");
    reload(&doorward, &upstream("b", &after), GOOD).await;
    let ended = tokio::time::timeout(SOON, alices.event()).await;
    assert!(ended.expect("it ends").is_none(), "the server is gone");
}

#[tokio::test]
async fn a_command_keeps_its_processes_unless_its_own_table_changed() {
    let command = |more: &str| server("a", &format!("command = [{SCRIPT:?}, \"modern\"]\n{more}"));
    let doorward = Doorward::builder()
        .config(&command(""))
        .user("alice", PASSWORD)
        .start()
        .await;
    let token = token(&doorward, "alice", "/a/mcp").await;
    let pid = || async {
        let call = mcp::call(&doorward, "/a/mcp", "t_pid", &json!({})).bearer(&token);
        mcp::text_of(&call.send().await)
    };
    let first = pid().await;
    let more = format!(
        "log_level = \"debug\"\n{}{}",
        command("allow = [\"user:alice\"]"),
        server("b", "demo = true")
    );
    reload(&doorward, &more, GOOD).await;
    assert_eq!(pid().await, first, "the same process");
    // And the new level.
    doorward.logged("\"level\":\"DEBUG\"").await;

    let slow = mcp::call(
        &doorward,
        "/a/mcp",
        "t_read",
        &json!({ "marker": "slow", "delay": 3000 }),
    );
    let slow = tokio::spawn(slow.bearer(&token).try_send());
    // It reached the process when the process answers what came after it.
    assert_eq!(pid().await, first);
    reload(&doorward, &command("env = { A = \"b\" }"), GOOD).await;
    assert_ne!(pid().await, first, "another process");
    let reply = slow.await.unwrap().unwrap();
    assert_eq!(mcp::text_of(&reply), "slow", "its call was finished first");
    let gone = || async { (!std::path::Path::new(&format!("/proc/{first}")).exists()).then_some(()) };
    eventually("the old process is gone", SOON, gone).await;
}

#[tokio::test]
async fn a_storm_of_signals_is_a_few_reloads() {
    let up = Upstream::start();
    let config = upstream("a", &up);
    let doorward = Doorward::builder()
        .config(&config)
        .user("alice", PASSWORD)
        .start()
        .await;
    let token = token(&doorward, "alice", "/a/mcp").await;
    let begun = std::time::Instant::now();
    for _ in 0..300 {
        doorward.hang_up();
    }
    reload(&doorward, &config, GOOD).await;
    let reloads = times(&doorward, GOOD);
    let most = usize::try_from(begun.elapsed().as_millis() / 200).unwrap() + 2;
    assert!(
        reloads <= most,
        "{reloads} reloads of 301 signals, {most} at most"
    );
    assert_eq!(status(&doorward, "/a/mcp", &token).await, 200);
}
