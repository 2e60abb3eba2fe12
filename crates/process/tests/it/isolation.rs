//! What a child can get at. Every test runs as whatever user runs the tests: also as root.

use std::os::fd::AsFd as _;

use doorward_process::{Isolation, Supervisor};
use landlock_scopes::has_signal_scope;

use crate::support::{self, Folders, SECRET, canary, run, start};

/// Tells whether the kernel can keep a child's signals to itself (Linux 6.12).
mod landlock_scopes {
    pub(super) fn has_signal_scope() -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(|char: char| !char.is_ascii_digit());
        let mut number = || numbers.next().and_then(|text| text.parse::<u32>().ok()).unwrap();
        (number(), number()) >= (6, 12)
    }
}

/// Everything a curious program would try. Errors are part of what it says.
const PRY: &str = r#"
exec 2>&1
tr '\0' ' ' < /proc/self/environ; echo
cat /proc/$PPID/environ /proc/$PPID/maps | head -c 10000 | tr '\0' ' '
ls -l /proc/$PPID/fd/ /proc/$PPID/cwd/
head -c 10 /proc/$PPID/mem
for process in /proc/[0-9]*; do tr '\0' ' ' < $process/environ; done
for process in /proc/[0-9]*; do ls $process/root/ $process/cwd/ $process/fd/; done
cat "$DATA"/* "$DATA/master.key" "$DATA/doorward.db" "$BOB/token"
ls "$DATA" "$DATA/children" "$BOB"
find / -xdev -maxdepth 3 -name 'master.key'
echo pried
"#;

fn assert_full_isolation() {
    assert_eq!(
        doorward_process::isolation(),
        Isolation::Full,
        "these tests need Landlock"
    );
}

pub(crate) async fn vt_12_a_child_sees_nothing_of_ours_or_of_another_user() {
    assert_full_isolation();
    for supervisor in support::supervisors() {
        sees_nothing(&supervisor).await;
    }
}

async fn sees_nothing(supervisor: &Supervisor) {
    let folders = Folders::new();
    // Of another user, under the same user id, with a secret in its environment.
    let mut bobs = folders.script("echo ready; cat");
    bobs.environment
        .push(("BOBS_TOKEN".into(), "bobs-secret-token".into()));
    bobs.working_directory = folders.bob.clone();
    bobs.confinement.own = vec![folders.bob.clone()];
    let mut bobs = supervisor.start(bobs).await.unwrap();
    assert_eq!(support::line(&mut bobs).await, "ready");

    let mut alices = supervisor.start(folders.script(PRY)).await.unwrap();
    let seen = support::lines(&mut alices).await.join("\n");
    assert!(seen.ends_with("pried"), "{seen}");
    for secret in [
        canary().as_str(),
        "bobs-secret-token",
        SECRET,
        "doorward.db\n",
        "token\n",
    ] {
        assert!(!seen.contains(secret), "sees {secret}:\n{seen}");
    }
    assert!(
        seen.starts_with("PATH=") || seen.contains("HOME="),
        "its own it sees: {seen}"
    );
    assert!(seen.contains("Permission denied"), "{seen}");
}

pub(crate) async fn vt_12_no_descriptor_of_ours_reaches_a_child() {
    let folders = Folders::new();
    let key = std::fs::File::open(folders.data.join("master.key")).unwrap();
    let inherited = key.as_fd().try_clone_to_owned().unwrap();
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
    let script = "ls /proc/$$/fd; for fd in 3 4 5 6 7 8 9; do cat <&$fd; done 2>/dev/null";
    let (seen, _) = run(folders.script(script)).await;
    assert_eq!(seen, "0\n1\n2");
    // They are pipes, and not the launcher's line.
    let (seen, _) = run(folders.script("for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done")).await;
    assert!(seen.lines().all(|target| target.starts_with("pipe:")), "{seen}");
    // Only the child is kept from it.
    assert_eq!(
        std::io::read_to_string(std::fs::File::from(inherited)).unwrap(),
        SECRET
    );
}

pub(crate) async fn vt_12_a_child_cannot_touch_the_processes_of_others() {
    if !has_signal_scope() {
        // What remains of it without that is tested below; a signal would end this very test.
        return;
    }
    let folders = Folders::new();
    let mut other = start(folders.script("echo $$; cat")).await;
    let other_pid = support::line(&mut other).await;
    let script = format!(
        "for pid in $PPID {other_pid}; do kill -0 $pid && echo can signal; kill -9 $pid && echo has killed; \
         true >> /proc/$pid/mem && echo can write memory; done 2>/dev/null; sleep 100 & kill -9 $! && echo own; wait"
    );
    let (seen, _) = run(folders.script(&script)).await;
    assert_eq!(seen, "own", "its own processes only");
    other.input.send("still there".into()).await.unwrap();
    assert_eq!(support::line(&mut other).await, "still there");
}

pub(crate) async fn vt_12_links_and_other_ways_round_lead_nowhere() {
    let folders = Folders::new();
    let link = folders.root.join("link");
    std::os::unix::fs::symlink(&folders.data, &link).unwrap();
    std::os::unix::fs::symlink(&folders.root, folders.elsewhere.join("up")).unwrap();
    let script = r#"
cat "$ROOT/link/master.key" "$ROOT/elsewhere/up/data/master.key" "/proc/self/root$DATA/master.key"
cd "$ROOT/elsewhere" && cat ../data/master.key
cd "$DATA" && cat master.key
ln "$DATA/master.key" "$HOME/hard"; ln -s "$DATA/master.key" "$HOME/soft"; cat "$HOME/hard" "$HOME/soft"
mv "$DATA/master.key" "$HOME/"; cp -r "$DATA" "$HOME/copy"
mv "$DATA" "$ROOT/moved"; mv "$ROOT/data/children" "$ROOT/elsewhere/"
true > "$DATA/new"; true > "$BOB/new"; true >> "$DATA/master.key"; mkdir "$ROOT/beside"; rm -rf "$DATA"
ls "$ROOT" "$DATA/.."
unshare -Urm true && echo unshared
exec 2>&1; ls "$HOME"
"#;
    // The hidden folder named by a link counts as well.
    let [with, without] = support::supervisors();
    let ways = [&folders.data, &link];
    for (supervisor, hidden) in [
        (&with, ways[0]),
        (&with, ways[1]),
        (&without, ways[0]),
        (&without, ways[1]),
    ] {
        let mut spec = folders.script(script);
        spec.confinement.hidden = vec![hidden.clone()];
        let (seen, _) = support::run_by(supervisor, spec).await;
        assert!(!seen.contains(SECRET) && !seen.contains("master.key"), "{seen}");
        let key = std::fs::read_to_string(folders.data.join("master.key")).unwrap();
        assert_eq!(key, SECRET, "not changed");
        assert!(!folders.data.join("new").exists() && !folders.bob.join("new").exists());
        assert!(folders.bob.join("token").exists() && !folders.root.join("beside").exists());
        // Where the folder can be listed, `rm -rf` found what is alice's own.
        let _ = std::fs::remove_file(folders.alice.join("soft"));
    }
}

/// The folder that holds ours can be listed, and what is in ours cannot, whether or not its cover is taken away by
/// somebody who renames things.
pub(crate) async fn vt_12_what_lies_above_a_hidden_folder_can_be_listed() {
    let folders = Folders::new();
    let settings = folders.root.join("doorward.toml");
    std::fs::write(&settings, SECRET).unwrap();
    std::fs::write(folders.elsewhere.join("module.py"), "text").unwrap();
    let script = r#"
exec 2>&1
ls "$ROOT" "$DATA" "$DATA/children" "$ROOT/elsewhere"; cat "$ROOT/doorward.toml"; cat "$HOME/own"
echo ready; read line
ls "$ROOT" "$DATA"; cat "$ROOT/doorward.toml" "$DATA/master.key" "$BOB/token" "$ROOT/data/doorward.db"
echo done
"#;
    std::fs::write(
        folders.alice.join("own"),
        "my own
",
    )
    .unwrap();
    let mut spec = folders.script(script);
    spec.confinement.hidden.push(settings.clone());
    let mut child = start(spec).await;
    let mut seen = Vec::new();
    loop {
        let line = support::line(&mut child).await;
        if line == "ready" {
            break;
        }
        seen.push(line);
    }
    for there in ["data", "elsewhere", "children", "alice", "module.py", "my own"] {
        assert!(seen.iter().any(|line| line == there), "{there}: {seen:?}");
    }
    for hidden in ["bob", "master.key", "doorward.db", SECRET] {
        assert!(
            !seen.iter().any(|line| line.contains(hidden)),
            "{hidden}: {seen:?}"
        );
    }

    // As an editor saves, and as somebody tidies up: both take the covers away.
    std::fs::write(folders.root.join("doorward.toml~"), SECRET).unwrap();
    std::fs::rename(folders.root.join("doorward.toml~"), &settings).unwrap();
    std::fs::rename(&folders.data, folders.root.join("moved")).unwrap();
    std::fs::rename(folders.root.join("moved"), &folders.data).unwrap();
    child.input.send("go on".into()).await.unwrap();
    let seen = support::lines(&mut child).await.join("\n");
    assert!(seen.ends_with("done") && !seen.contains(SECRET), "{seen}");
}

pub(crate) async fn vt_12_without_landlock_our_memory_is_hidden_all_the_same() {
    let ourselves = support::ourselves();
    let output = tokio::process::Command::new(ourselves)
        .arg("__hidden")
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A process like ours: hidden, and its child shares the user id and no more.
pub(crate) async fn hidden_parent() {
    doorward_process::hide_ourselves().unwrap();
    let folders = Folders::new();
    let none = Isolation::None {
        why: "it is not used".to_owned(),
    };
    let supervisor = Supervisor::with_launcher("/proc/self/exe".into(), none).unwrap();
    let mut spec = folders.script(&PRY.replace("/proc/[0-9]*", "/proc/$PPID"));
    spec.confinement.allow_insecure_shared_uid = true;
    let mut child = supervisor.start(spec).await.unwrap();
    let seen = support::lines(&mut child).await.join("\n");
    assert!(seen.contains("pried") && !seen.contains(&canary()), "{seen}");
    assert!(seen.contains(SECRET), "what the operator accepted: {seen}");
}

pub(crate) async fn vt_12_a_child_of_root_has_no_power() {
    let folders = Folders::new();
    let script = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; \
                  true >> /proc/sys/kernel/core_pattern && echo core_pattern; \
                  true >> /proc/sysrq-trigger && echo sysrq; \
                  head -c 1 /proc/kcore >/dev/null && echo kcore; \
                  mknod $HOME/disk b 8 0 && echo disk; \
                  ls /dev";
    let (seen, _) = run(folders.script(script)).await;
    let root = rustix::process::geteuid().is_root();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(seen.contains(&format!("{set}:\t0000000000000000")), "{seen}");
    }
    assert!(!root || seen.contains("CapBnd:\t0000000000000000"), "{seen}");
    assert!(seen.contains("NoNewPrivs:\t1"), "{seen}");
    for way in ["core_pattern", "sysrq", "kcore", "disk", "mem"] {
        assert!(!seen.lines().any(|line| line == way), "{way}: {seen}");
    }
}

pub(crate) async fn a_child_has_its_own_folders_and_the_rest_of_the_machine() {
    let folders = Folders::new();
    let script = r#"
echo written > "$HOME/file" && cat "$HOME/file"
mkdir "$HOME/folder" && mv "$HOME/file" "$HOME/folder/moved" && cat "$HOME/folder/moved"
printf '#!/bin/sh\necho executed\n' > "$HOME/tool" && chmod +x "$HOME/tool" && "$HOME/tool"
echo beside > "$ROOT/elsewhere/file" && ls "$ROOT/elsewhere"
echo gone > /dev/null && head -c 3 /dev/zero | wc -c
test -s /etc/passwd && echo system files
stat -c %a "$HOME/folder"
"#;
    let (seen, exit) = run(folders.script(script)).await;
    assert_eq!(
        seen, "written\nwritten\nexecuted\nfile\n3\nsystem files\n700",
        "{exit:?}"
    );
}
