//! What a hostile program does to others of the same user, and to whoever wants to end it.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use doorward_process::{ExitReason, Supervisor};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{self, Folders, eventually, gone, is_alive, line, run, start};

/// Leaves the session, the group and the parent before anybody looks, and tells its id.
const LEAVE: &str = "(setsid sh -c 'echo $$; exec >/dev/null 2>&1 </dev/null; sleep 1000' &) ; ";

pub(crate) async fn vt_12_limits_and_priorities_of_other_processes_are_not_a_childs_business() {
    let folders = Folders::new();
    let mut other = start(folders.script("echo $$; cat")).await;
    let other = line(&mut other).await;
    let before = std::fs::read_to_string("/proc/self/limits").unwrap();
    // A limit on the CPU time that is over kills; the one set here would after days.
    let script = format!(
        "for pid in $PPID {other}; do \
           prlimit --pid $pid --cpu=999999: && echo limit $pid; \
           renice -n 5 -p $pid && echo renice $pid; \
           taskset -p -c 0 $pid && echo taskset $pid; \
           chrt -b -p 0 $pid && echo chrt $pid; \
           ionice -c 3 -p $pid && echo ionice $pid; \
         done >/dev/null 2>&1 3>&1; \
         prlimit --cpu=999999: true && nice -n 5 true && taskset -c 0 true && echo own"
    );
    let script = script.replace("&& echo", "&& echo >&3").replace(">&3 own", "own");
    let (seen, _) = run(folders.script(&format!("exec 3>&1; {}", script.replace("3>&1; ", "; ")))).await;
    assert_eq!(seen, "own");
    assert_eq!(std::fs::read_to_string("/proc/self/limits").unwrap(), before);
}

pub(crate) async fn vt_12_memory_terminals_and_keys_are_not_shared() {
    let folders = Folders::new();
    let name = format!("doorward-test-{}", std::process::id());
    let script = format!(
        "echo text > /dev/shm/{name}; ipcmk -M 64 >/dev/null && ipcs -m | grep -c 0x; echo made; cat"
    );
    let mut other = start(folders.script(&script)).await;
    assert_eq!(line(&mut other).await, "1");
    assert_eq!(line(&mut other).await, "made");
    let script = format!(
        "cat /dev/shm/{name} 2>/dev/null; ipcs -m | grep 0x; ls /dev/pts; \
         head -c 300000000 /dev/zero > /dev/shm/much 2>/dev/null || echo full; exec 0</dev/null; \
         script -qc 'echo a terminal' /dev/null"
    );
    let mut spec = folders.script(&script);
    spec.caps.memory = 200 << 20;
    let (seen, _) = run(spec).await;
    assert_eq!(seen, "ptmx\nfull\na terminal");
    assert!(
        !std::path::Path::new("/dev/shm").join(name).exists(),
        "it is the child's own"
    );

    // Without a namespace there are no terminals at all.
    let [_, without] = support::supervisors();
    let (seen, _) = support::run_by(&without, folders.script("ls /dev/pts 2>/dev/null; echo nothing")).await;
    assert_eq!(seen, "nothing");
}

pub(crate) async fn vt_12_no_library_is_loaded_before_the_rights_are_gone() {
    let folders = Folders::new();
    // The loader complains of what it cannot load, once for each program.
    let mut spec =
        folders.script("echo \"$LD_PRELOAD $DOORWARD_LATER_LD_PRELOAD\"; echo the shell has begun >&2");
    let library = "/missing/library-of-another.so";
    spec.environment.push(("LD_PRELOAD".into(), library.into()));
    let (seen, _) = run(spec).await;
    assert_eq!(seen, format!("{library} "));
    let log = eventually("the shell's words are logged", || {
        let log = support::logged();
        log.contains("the shell has begun").then_some(log)
    });
    assert_eq!(log.await.matches(library).count(), 1, "the shell alone loads it");
}

/// A folder on the way to the working directory becomes a link, again and again, while children start.
pub(crate) async fn vt_12_a_working_directory_that_is_exchanged_on_the_way_opens_nothing() {
    let folders = Folders::new();
    // Named as the hidden folder is.
    let (folder, link) = (folders.elsewhere.join("folder"), folders.elsewhere.join("link"));
    std::fs::create_dir_all(folder.join("data")).unwrap();
    std::os::unix::fs::symlink(&folders.root, &link).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let exchanging = std::thread::spawn({
        let (over, folder) = (Arc::clone(&over), folder.clone());
        move || {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        }
    });
    let [_, supervisor] = support::supervisors();
    let mut ran = 0;
    for _ in 0..150 {
        let mut spec = folders.script("cat \"$DATA/master.key\" 2>/dev/null; echo ran");
        spec.working_directory = folder.join("data");
        // Half of them find themselves in what is hidden, and are refused.
        if let Ok(mut child) = supervisor.start(spec).await {
            ran += 1;
            assert_eq!(support::lines(&mut child).await, ["ran"]);
        }
    }
    over.store(true, Ordering::Relaxed);
    exchanging.join().unwrap();
    assert!(ran > 0);
}

pub(crate) async fn vt_12_a_cover_that_fails_once_is_tried_again() {
    let folders = Folders::new();
    let supervisor = Supervisor::new().unwrap();
    let list = || folders.script("ls \"$ROOT\" 2>/dev/null; echo listed");
    let (seen, _) = support::run_by(&supervisor, list()).await;
    assert_eq!(seen, "data\nelsewhere\nlisted");
    // A path too long to be a mount's.
    let mut spec = list();
    let long = folders.root.join("x".repeat(200)).join("y".repeat(300));
    std::fs::create_dir(folders.root.join("x".repeat(200))).unwrap();
    spec.confinement.hidden.push(long);
    let (seen, _) = support::run_by(&supervisor, spec).await;
    assert_eq!(seen, "listed");
    std::fs::remove_dir(folders.root.join("x".repeat(200))).unwrap();
    let (seen, _) = support::run_by(&supervisor, list()).await;
    assert_eq!(seen, "data\nelsewhere\nlisted");
}

pub(crate) async fn vt_12_a_child_bears_its_mark_for_good() {
    let folders = Folders::new();
    let script = "prlimit --rttime=1000:1000 true 2>/dev/null && echo lowered; \
                  prlimit --rttime=unlimited true 2>/dev/null && echo raised; \
                  grep realtime.timeout /proc/self/limits | tr -s ' ' | cut -d' ' -f 4,5; echo $$";
    let (seen, _) = run(folders.script(script)).await;
    let (mark, pid) = seen.rsplit_once('\n').unwrap();
    let expected = (1_u64 << 60) + pid.parse::<u64>().unwrap();
    assert_eq!(mark, format!("{expected} {expected}"));
}

pub(crate) async fn vt_12_who_leaves_the_session_at_once_is_found() {
    let folders = Folders::new();
    // The child ends by itself, once the other one has spoken…
    let speaks = LEAVE.replace("echo $$;", "echo $$; : >\"$HOME/spoke\";");
    let waits = "while [ ! -e \"$HOME/spoke\" ]; do :; done";
    let mut child = start(folders.script(&format!("{speaks} {waits}"))).await;
    let leaver: u32 = line(&mut child).await.parse().unwrap();
    assert_eq!(child.control.exited().await.reason, ExitReason::ItsOwn);
    assert!(!is_alive(leaver));
    // …or is stopped, …
    let mut child = start(folders.script(&format!("{LEAVE} cat"))).await;
    let leaver: u32 = line(&mut child).await.parse().unwrap();
    child.control.stop();
    child.control.exited().await;
    assert!(!is_alive(leaver));
    // …or takes too much, in many small parts.
    let mut spec = folders.script(&format!("{} cat", LEAVE.repeat(10)));
    spec.caps.processes = 8;
    let mut child = start(spec).await;
    // On a busy machine it is over the cap, and killed, before it has written a line.
    let leaver: Option<u32> = support::lines(&mut child)
        .await
        .first()
        .map(|first| first.parse().unwrap());
    assert_eq!(child.control.exited().await.reason, ExitReason::ProcessCap);
    assert!(!leaver.is_some_and(is_alive));
}

/// Each process starts the next one, in a session of its own, and ends.
pub(crate) async fn vt_12_who_moves_on_all_the_time_is_stopped() {
    let folders = Folders::new();
    let beats = folders.alice.join("beats");
    let step = folders.alice.join("step");
    std::fs::write(&step, "echo >> \"$HOME/beats\"\nsetsid sh \"$HOME/step\" &\n").unwrap();
    let mut child = start(folders.script("exec >/dev/null 2>&1; sh \"$HOME/step\"; cat")).await;
    let count = || std::fs::metadata(&beats).map_or(0, |beats| beats.len());
    eventually("it moves", || (count() > 20).then_some(())).await;
    child.control.stop();
    child.control.exited().await;
    assert_eq!(support::lines(&mut child).await, [""; 0]);
    let then = count();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(count(), then, "it moves no more");
}

pub(crate) async fn vt_12_who_left_the_session_dies_with_us() {
    let mut parent = tokio::process::Command::new(support::ourselves())
        .arg("__leaver")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(parent.stdout.take().unwrap()).lines();
    let leaver: u32 = said.next_line().await.unwrap().unwrap().parse().unwrap();
    assert!(is_alive(leaver));
    parent.kill().await.unwrap();
    gone(leaver).await;
}

/// A process that has a child that has left, and waits to be killed.
pub(crate) async fn parent_of_a_leaver() {
    let folders = Folders::new();
    let mut child = start(folders.script(&format!("{LEAVE} cat"))).await;
    println!("{}", line(&mut child).await);
    child.control.exited().await;
}

pub(crate) async fn processes_nobody_waits_for_count() {
    let folders = Folders::new();
    let mut spec = folders.spec("perl", &["-e", "for (1..200) { fork or exit } sleep 1000"]);
    spec.caps.processes = 16;
    let child = start(spec).await;
    assert_eq!(child.control.exited().await.reason, ExitReason::ProcessCap);
}

pub(crate) async fn ft_20_a_flood_of_lines_leaves_room_for_others() {
    let folders = Folders::new();
    let mut child = start(folders.spec("yes", &[])).await;
    let others = std::cell::Cell::new(0);
    let reading = async {
        for _ in 0..100_000 {
            child.output.next().await.unwrap().unwrap();
        }
    };
    let working = async {
        loop {
            others.set(others.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = working => {}
    }
    assert!(others.get() > 300, "{} turns", others.get());
}
