//! Lines in and out, and what happens when one side does not listen.

use std::time::Duration;

use doorward_process::{ExitReason, LineError};

use crate::support::{self, Folders, eventually, line, run, start};

pub(crate) async fn lines_go_in_and_come_out() {
    let folders = Folders::new();
    let mut child = start(folders.script("cat")).await;
    let long = "x".repeat(1 << 20);
    let input = child.input.clone();
    let sent = long.clone();
    let writing = tokio::spawn(async move {
        for number in 0..2000 {
            input
                .send(format!("{{\"id\":{number},\n\"two\":\"lines\"}}").into())
                .await
                .unwrap();
        }
        input.send(sent.into()).await.unwrap();
    });
    for number in 0..2000 {
        assert_eq!(
            line(&mut child).await,
            format!("{{\"id\":{number}, \"two\":\"lines\"}}")
        );
    }
    assert_eq!(line(&mut child).await, long);
    writing.await.unwrap();
}

pub(crate) async fn the_last_line_needs_no_newline() {
    let folders = Folders::new();
    let (seen, _) = run(folders.script("printf 'one\\r\\n\\n\\r\\ntwo\\nthree'")).await;
    assert_eq!(seen, "one\ntwo\nthree");
    let (seen, _) = run(folders.script("true")).await;
    assert_eq!(seen, "");
}

pub(crate) async fn a_line_too_long_is_fatal() {
    let folders = Folders::new();
    let mut spec = folders.script("echo short; head -c 3000 /dev/zero | tr '\\0' x; sleep 1000");
    spec.caps.line = 2000;
    let mut child = start(spec).await;
    assert_eq!(line(&mut child).await, "short");
    let next = child.output.next().await;
    assert_eq!(next, Some(Err(LineError::TooLong { limit: 2000 })));
    assert_eq!(child.output.next().await, None);
    let exit = child.control.exited().await;
    assert_eq!((exit.signal, exit.reason), (Some(9), ExitReason::LineTooLong));
}

pub(crate) async fn a_child_that_is_not_read_waits_alone() {
    let folders = Folders::new();
    let talkative = start(folders.spec("yes", &[])).await;
    let mut other = start(folders.script("cat")).await;
    for _ in 0..100 {
        other.input.send("there?".into()).await.unwrap();
        assert_eq!(line(&mut other).await, "there?");
    }
    talkative.control.stop();
    let exit = talkative.control.exited().await;
    assert_eq!(exit.reason, ExitReason::Stopped);
    // Nobody holds its output any more while it writes: it ends.
    let talkative = start(folders.spec("yes", &[])).await;
    drop(talkative.output);
    let exit = talkative.control.exited().await;
    assert_eq!((exit.signal, exit.reason), (Some(13), ExitReason::ItsOwn));
}

pub(crate) async fn a_child_that_does_not_read_can_be_stopped() {
    let folders = Folders::new();
    let child = start(folders.spec("sleep", &["1000"])).await;
    let line = "x".repeat(100_000);
    let mut queued = 0;
    loop {
        let sending = child.input.send(line.clone().into());
        match tokio::time::timeout(Duration::from_secs(3), sending).await {
            Ok(sent) => sent.unwrap(),
            Err(_it_waits) => break,
        }
        queued += 1;
        assert!(queued < 100, "the queue has an end");
    }
    let waiting = tokio::spawn({
        let input = child.input.clone();
        async move { input.send("one more".into()).await }
    });
    child.control.stop();
    assert!(waiting.await.unwrap().is_err(), "who waits is told");
    let exit = child.control.exited().await;
    assert_eq!(exit.reason, ExitReason::Stopped);
}

pub(crate) async fn ft_20_a_flood_of_standard_error_stops_nobody() {
    let folders = Folders::new();
    let script = "i=0; while [ $i -lt 3000 ]; do echo \"flood $i \u{1b}[2J\" >&2; i=$((i+1)); done; \
                  head -c 100000 /dev/zero >&2; echo answered";
    let (seen, exit) = run(folders.script(script)).await;
    assert_eq!((seen.as_str(), exit.code), ("answered", Some(0)));
    let log = eventually("the log tells what was left out", || {
        let log = support::logged();
        log.contains("more than 100 lines in a second").then_some(log)
    });
    let log = log.await;
    assert!(log.contains("child: flood 0 \\u{1b}[2J"), "{log}");
    let lines = log.lines().filter(|line| line.contains("flood")).count();
    assert!((100..3000).contains(&lines), "{lines}");
}
