//! What is not started, and what the operator is told.

use std::os::unix::fs::PermissionsExt;

use doorward_process::{Isolation, Spec, StartError, Supervisor};

use crate::support::{self, Folders};

async fn refusal(spec: Spec) -> String {
    match Supervisor::new().unwrap().start(spec).await {
        Err(StartError::NotStarted(words)) => words,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn vt_12_without_isolation_nothing_starts_unless_the_operator_accepts_it() {
    let folders = Folders::new();
    let none = Isolation::None {
        why: "the kernel is too old".to_owned(),
    };
    let supervisor = Supervisor::with_launcher(support::ourselves(), none).unwrap();
    let refused = supervisor
        .start(folders.script("echo started"))
        .await
        .unwrap_err();
    let words = refused.to_string();
    assert!(matches!(refused, StartError::NoIsolation { .. }), "{refused:?}");
    assert!(
        words.contains("allow_insecure_shared_uid") && words.contains("the kernel is too old"),
        "{words}"
    );

    let mut accepted = folders.script("echo started");
    accepted.confinement.allow_insecure_shared_uid = true;
    let mut child = supervisor.start(accepted).await.unwrap();
    assert_eq!(support::lines(&mut child).await, ["started"]);
}

pub(crate) async fn vt_12_a_kernel_without_landlock_is_noticed() {
    let ourselves = support::ourselves();
    let output = tokio::process::Command::new(ourselves)
        .arg("__without_landlock")
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A process for which the kernel does not know Landlock's system calls.
pub(crate) async fn without_landlock() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    const LANDLOCK: std::ops::RangeInclusive<i64> = 444..=446;
    const ENOSYS: u32 = 38;
    let filter = SeccompFilter::new(
        LANDLOCK.map(|call| (call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(ENOSYS),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter_all_threads(&program).unwrap();

    assert!(matches!(doorward_process::isolation(), Isolation::None { why } if why.contains("Landlock")));
    let folders = Folders::new();
    let refused = Supervisor::new()
        .unwrap()
        .start(folders.script("echo started"))
        .await;
    assert!(
        matches!(refused, Err(StartError::NoIsolation { .. })),
        "{refused:?}"
    );
    // Nor does the launcher go on without it.
    let deceived = Supervisor::with_launcher("/proc/self/exe".into(), Isolation::Full).unwrap();
    let refused = deceived.start(folders.script("echo started")).await;
    assert!(
        matches!(&refused, Err(StartError::NotStarted(words)) if words.contains("Landlock")),
        "{refused:?}"
    );

    let mut accepted = folders.script("cat $DATA/master.key");
    accepted.confinement.allow_insecure_shared_uid = true;
    let mut child = Supervisor::new().unwrap().start(accepted).await.unwrap();
    assert_eq!(support::lines(&mut child).await, [support::SECRET]);
}

pub(crate) async fn words_for_a_program_that_is_not_there() {
    let folders = Folders::new();
    let words = refusal(folders.spec("no-such-program", &[])).await;
    assert_eq!(
        words,
        "no-such-program was not found in PATH (/usr/local/bin:/usr/bin:/bin): install it, or write its full path \
         into `command`"
    );
    let words = refusal(folders.spec("./server.py", &[])).await;
    assert!(
        words.starts_with(&format!(
            "./server.py was not found in {}",
            folders.alice.display()
        )),
        "{words}"
    );
    let words = refusal(folders.spec("/no/such/program", &[])).await;
    assert!(words.starts_with("/no/such/program was not found"), "{words}");
}

pub(crate) async fn words_for_a_program_that_does_not_run() {
    let folders = Folders::new();
    let tool = folders.elsewhere.join("tool");
    let tool_path = tool.to_str().unwrap();
    std::fs::write(&tool, "#!/no/such/interpreter\n").unwrap();
    let words = refusal(folders.spec(tool_path, &[])).await;
    assert!(
        words.contains("not executable") && words.contains("chmod"),
        "{words}"
    );
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
    let words = refusal(folders.spec(tool_path, &[])).await;
    assert!(words.contains("interpreter"), "after all was prepared: {words}");
    let words = refusal(folders.spec("/usr", &[])).await;
    assert!(words.contains("it is a folder"), "{words}");
}

pub(crate) async fn words_for_a_working_directory_that_is_not_there() {
    let folders = Folders::new();
    let mut spec = folders.script("echo started");
    spec.working_directory = folders.root.join("missing");
    let words = refusal(spec).await;
    assert!(
        words.contains("missing: No such file") && words.contains("`working_directory`"),
        "{words}"
    );
}

pub(crate) async fn words_for_what_lies_in_a_hidden_folder() {
    let folders = Folders::new();
    let mut spec = folders.script("echo started");
    spec.working_directory = folders.data.clone();
    let words = refusal(spec).await;
    assert!(
        words.contains("children cannot see") && words.contains("`working_directory`"),
        "{words}"
    );

    let tool = folders.bob.join("tool");
    std::fs::write(&tool, "#!/bin/sh\necho started\n").unwrap();
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
    let words = refusal(folders.spec(tool.to_str().unwrap(), &[])).await;
    assert!(
        words.contains("tool lies in") && words.contains("children cannot see"),
        "{words}"
    );

    // All of the machine: nothing could run.
    let mut spec = folders.script("echo started");
    spec.confinement.hidden = vec!["/".into()];
    spec.confinement.own = Vec::new();
    let words = refusal(spec).await;
    assert!(words.contains("children cannot see"), "{words}");
}

pub(crate) async fn words_for_an_own_folder_that_is_not_there() {
    let folders = Folders::new();
    let mut spec = folders.script("echo started");
    spec.working_directory = folders.elsewhere.clone();
    spec.confinement.own = vec![folders.root.join("missing")];
    let words = refusal(spec).await;
    assert!(
        words.contains("missing as a folder of the child's own"),
        "{words}"
    );
    let mut spec = folders.script("echo started");
    spec.confinement.own = vec![folders.root.clone()];
    let words = refusal(spec).await;
    assert!(words.contains("must not see lies in it"), "{words}");
}

pub(crate) async fn the_launcher_is_not_a_command_for_people() {
    let mut by_hand = tokio::process::Command::new(support::ourselves());
    by_hand.args([doorward_process::LAUNCH, "--", "sh", "-c", "echo started"]);
    let output = by_hand.stdin(std::process::Stdio::null()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert_eq!(output.stdout, b"");
}
