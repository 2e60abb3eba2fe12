//! How a child starts: its program, environment, limits.

use std::time::{Duration, Instant};

use doorward_process::Supervisor;

use crate::support::{self, Folders, eventually, run, with_argument};

pub(crate) async fn programs_are_found_in_the_childs_path_and_below_its_directory() {
    let folders = Folders::new();
    let tool = folders.alice.join("tool");
    std::fs::write(&tool, "#!/bin/sh\necho \"tool $0 in $(pwd)\"\n").unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let in_path = format!("tool {} in {}", tool.display(), folders.alice.display());
    let mut spec = folders.spec("tool", &[]);
    // A folder on PATH that is not absolute would be somebody else's working directory.
    spec.environment[0].1 = format!("{}:/usr/bin:/bin", folders.alice.display()).into();
    assert_eq!(run(spec).await.0, in_path);
    let (relative, _) = run(folders.spec("./tool", &[])).await;
    assert_eq!(relative, format!("tool ./tool in {}", folders.alice.display()));
    let mut spec = folders.spec("tool", &[]);
    spec.environment[0].1 = ".:/usr/bin:/bin".into();
    let refused = Supervisor::new().unwrap().start(spec).await.unwrap_err();
    assert!(refused.to_string().contains("not found"), "{refused}");
}

pub(crate) async fn the_environment_is_the_given_one_and_nothing_else() {
    let folders = Folders::new();
    let mut spec = folders.spec("env", &["-0"]);
    spec.environment = vec![
        ("PATH".into(), "/usr/bin:/bin".into()),
        ("NAME".into(), "a value".into()),
    ];
    let (seen, exit) = run(spec).await;
    let mut variables: Vec<&str> = seen.split_terminator('\0').collect();
    variables.sort_unstable();
    assert_eq!(variables, ["NAME=a value", "PATH=/usr/bin:/bin"], "{exit:?}");
}

pub(crate) async fn limits_and_session() {
    let folders = Folders::new();
    let mut spec = folders
        .script("ulimit -c; ulimit -n; ulimit -d; umask; cut -d' ' -f1,5,6,7 /proc/$$/stat; echo $0 \"$1\"");
    spec.caps.memory = 256 << 20;
    spec.arguments.extend(["name".into(), "an argument".into()]);
    let mut child = support::start(spec).await;
    let pid = child.control.pid().unwrap();
    let seen = support::lines(&mut child).await;
    // No core dumps, two times the memory cap, private files; leader of its group and session, without a terminal.
    let expected = [
        "0",
        "1024",
        "524288",
        "0077",
        &format!("{pid} {pid} {pid} 0"),
        "name an argument",
    ];
    assert_eq!(seen, expected);
}

pub(crate) async fn ignored_signals_are_not_passed_on() {
    let mut shell = tokio::process::Command::new("sh");
    shell
        .args(["-c", "trap '' HUP TERM INT PIPE; exec \"$0\" __signals"])
        .arg(support::ourselves());
    let output = shell.output().await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A process that ignores signals, as under `nohup`.
pub(crate) async fn signals() {
    const HANGUP_AND_TERMINATE: u64 = 1 << 14 | 1;
    // The C library's own, which programs set when they need them.
    const RESERVED: u64 = 1 << 31 | 1 << 32;
    let ignored = |status: &str| -> u64 {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        u64::from_str_radix(mask.unwrap(), 16).unwrap()
    };
    let ours = ignored(&std::fs::read_to_string("/proc/self/status").unwrap());
    assert_eq!(ours & HANGUP_AND_TERMINATE, HANGUP_AND_TERMINATE);
    let folders = Folders::new();
    let (seen, _) = run(folders.spec("grep", &["-E", "^Sig(Ign|Blk)", "/proc/self/status"])).await;
    assert_eq!(ignored(&seen) & !RESERVED, 0, "{seen}");
    assert!(seen.contains("SigBlk:\t0000000000000000"), "{seen}");
}

pub(crate) async fn a_start_that_nobody_waits_for_leaves_nothing_behind() {
    let folders = Folders::new();
    let supervisor = Supervisor::new().unwrap();
    // Also an argument of what the program has started by then.
    let marker = format!("1000.{}", std::process::id());
    for millis in 0..20 {
        let spec = folders.spec("sh", &["-c", "sleep \"$0\"; true", &marker]);
        let wait = Duration::from_millis(millis);
        let started = tokio::time::timeout(wait, supervisor.start(spec)).await;
        drop(started);
    }
    eventually("all of them are gone", || {
        with_argument(&marker).is_empty().then_some(())
    })
    .await;
}

/// Says what isolation costs (`--nocapture` shows it), and that it is not seconds.
pub(crate) async fn what_a_start_costs() {
    let folders = Folders::new();
    let supervisor = Supervisor::new().unwrap();
    let mut confined = Vec::new();
    let mut plain = Vec::new();
    for _ in 0..20 {
        let begin = Instant::now();
        let mut child = supervisor.start(folders.spec("true", &[])).await.unwrap();
        confined.push(begin.elapsed());
        support::lines(&mut child).await;
        child.control.exited().await;
        let begin = Instant::now();
        let mut child = tokio::process::Command::new("true").env_clear().spawn().unwrap();
        plain.push(begin.elapsed());
        child.wait().await.unwrap();
    }
    confined.sort_unstable();
    plain.sort_unstable();
    println!(
        "start, median: confined {:?}, plain {:?}",
        confined[10], plain[10]
    );
    assert!(confined[0] < Duration::from_secs(5), "{confined:?}");
}
