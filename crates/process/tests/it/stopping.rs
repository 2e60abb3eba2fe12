//! How a child ends, by itself and otherwise.

use std::process::Stdio;
use std::time::{Duration, Instant};

use doorward_process::{Exit, ExitReason, Supervisor};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{self, Folders, eventually, gone, is_alive, line, run, start};

const KILL: i32 = 9;
const TERM: i32 = 15;

fn signalled(signal: i32, reason: ExitReason) -> Exit {
    Exit {
        code: None,
        signal: Some(signal),
        reason,
    }
}

fn exited(code: i32, reason: ExitReason) -> Exit {
    Exit {
        code: Some(code),
        signal: None,
        reason,
    }
}

pub(crate) async fn a_child_that_reads_its_input_ends_with_it() {
    let folders = Folders::new();
    let (_, exit) = run(folders.script("exit 3")).await;
    assert_eq!(exit, exited(3, ExitReason::ItsOwn));

    let child = start(folders.script("cat; exit 4")).await;
    child.control.stop();
    assert_eq!(child.control.exited().await, exited(4, ExitReason::Stopped));

    let child = start(folders.script("cat; exit 5")).await;
    drop(child.input);
    assert_eq!(
        child.control.exited().await,
        exited(5, ExitReason::ItsOwn),
        "the end of its input"
    );
}

pub(crate) async fn a_child_that_ignores_the_end_of_input_gets_a_signal() {
    let folders = Folders::new();
    let child = start(folders.spec("sleep", &["1000"])).await;
    let begin = Instant::now();
    child.control.stop();
    assert_eq!(child.control.exited().await, signalled(TERM, ExitReason::Stopped));
    assert!(
        begin.elapsed() >= Duration::from_secs(2),
        "it had its time: {:?}",
        begin.elapsed()
    );
}

pub(crate) async fn a_child_that_ignores_everything_is_killed() {
    let folders = Folders::new();
    // So does one that it started, which has the pipes open too.
    let script = "trap '' TERM HUP; (while :; do sleep 1; done) & echo $!; while :; do sleep 1; done";
    let mut child = start(folders.script(script)).await;
    let other = line(&mut child).await.parse().unwrap();
    child.control.stop();
    child.control.stop();
    assert_eq!(child.control.exited().await, signalled(KILL, ExitReason::Stopped));
    assert!(!is_alive(other), "all of them");
    assert_eq!(support::lines(&mut child).await, [""; 0]);
}

pub(crate) async fn a_child_that_ends_takes_its_processes_along() {
    let folders = Folders::new();
    let mut child = start(folders.script("trap '' TERM; sleep 1000 & echo $!; sleep 1001 & echo $!")).await;
    let others = [line(&mut child).await, line(&mut child).await].map(|pid| pid.parse::<u32>().unwrap());
    assert_eq!(child.control.exited().await, exited(0, ExitReason::ItsOwn));
    assert!(!others.into_iter().any(is_alive));
}

pub(crate) async fn dropping_the_last_control_stops_the_child() {
    let folders = Folders::new();
    let mut child =
        start(folders.script("echo $$; trap 'exit 0' TERM; cat; while :; do sleep 0.1; done")).await;
    let pid: u32 = line(&mut child).await.parse().unwrap();
    let clone = child.control.clone();
    drop(child.control);
    child.input.send("echo".into()).await.unwrap();
    let echoed = child.output.next().await.unwrap().unwrap();
    assert_eq!(echoed, "echo", "a clone is as good");
    drop(clone);
    gone(pid).await;
    assert_eq!(child.output.next().await, None);
    assert!(child.input.send("too late".into()).await.is_err());
}

pub(crate) async fn a_child_outlives_its_supervisor() {
    let folders = Folders::new();
    let supervisor = Supervisor::new().unwrap();
    let mut child = supervisor.start(folders.script("cat")).await.unwrap();
    drop(supervisor);
    for _ in 0..50 {
        child.input.send("there?".into()).await.unwrap();
        assert_eq!(line(&mut child).await, "there?");
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn a_child_dies_with_us() {
    let mut parent = tokio::process::Command::new(support::ourselves())
        .arg("__parent")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(parent.stdout.take().unwrap()).lines();
    let child: u32 = said.next_line().await.unwrap().unwrap().parse().unwrap();
    assert!(is_alive(child));
    parent.kill().await.unwrap();
    gone(child).await;
}

/// A process that has a child which does not care, and waits to be killed.
pub(crate) async fn parent() {
    let folders = Folders::new();
    let child = start(folders.script("trap '' HUP TERM; while :; do sleep 1; done")).await;
    println!("{}", child.control.pid().unwrap());
    child.control.exited().await;
}

pub(crate) async fn too_much_memory_is_fatal() {
    let folders = Folders::new();
    // Each holds what it read until the input ends, and none is over the cap alone.
    let hold = "{ head -c 60000000 /dev/zero; sleep 1000; } | tail -c 60000000 >/dev/null &";
    let mut spec = folders.script(&format!("{hold} {hold} wait"));
    spec.caps.memory = 90 << 20;
    let child = start(spec).await;
    assert_eq!(
        child.control.exited().await,
        signalled(KILL, ExitReason::MemoryCap)
    );
    let said = eventually("the log says so", || {
        let log = support::logged();
        log.contains("it takes more memory than it may").then_some(log)
    });
    said.await;
}

pub(crate) async fn too_many_processes_are_fatal() {
    let folders = Folders::new();
    // It may be killed before the last one is started.
    let script = "sleep 1000 & echo $!; i=1; while [ $i -lt 30 ]; do sleep 1000 & i=$((i+1)); done; wait";
    let mut spec = folders.script(script);
    spec.caps.processes = 20;
    let mut child = start(spec).await;
    let first: u32 = line(&mut child).await.parse().unwrap();
    assert_eq!(
        child.control.exited().await,
        signalled(KILL, ExitReason::ProcessCap)
    );
    assert!(!is_alive(first));
}
