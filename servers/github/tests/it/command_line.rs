//! The program, as far as it says no.

use std::process::{Command, Stdio};

/// What it says on stderr, and its exit code, at once: it waits for no host.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = std::env::temp_dir();
    let output = Command::new(env!("CARGO_BIN_EXE_doorward-github"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .env("HOME", &folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.stdout.is_empty(), "stdout belongs to MCP");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn r02_vt_07_options_that_would_send_others_tokens_to_github_are_refused() {
    let http = "127.0.0.1:0";
    for (arguments, environment, said) in [
        (
            &["--issuer", "https://as.example"][..],
            &[][..],
            "--issuer (or DOORWARD_ISSUER in the environment): only GitHub's own tokens",
        ),
        (
            &[],
            &[("DOORWARD_ISSUER", "https://as.example")],
            "--issuer (or DOORWARD_ISSUER in the environment)",
        ),
        (&["--public-tool", "get_*"], &[], "--public-tool (or "),
        (&["--token-env", "GITHUB_TOKEN"], &[], "--token-env (or "),
        (
            &["--http", http, "--tool-scope", "get_*=repo"],
            &[],
            "--tool-scope (or ",
        ),
        (
            &["--http", http],
            &[("DOORWARD_RESOURCE", "https://a.example")],
            "--resource (or ",
        ),
        (
            &["--http", http],
            &[("DOORWARD_TOKEN", "gho_0123456789")],
            "DOORWARD_TOKEN: over HTTP",
        ),
        (&["--http", "0.0.0.0:0"], &[], "--http 0.0.0.0:0: only loopback"),
    ] {
        let (code, stderr) = run(arguments, environment);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(&format!("doorward-github: {said}")), "{stderr}");
    }
}

/// What stands in the environment of a process, for one of the same user that has no more rights than that user has.
#[cfg(target_os = "linux")]
fn environment_of(pid: u32, user: Option<u32>) -> Vec<u8> {
    let file = format!("/proc/{pid}/environ");
    of_user(&mut Command::new("cat"), user)
        .arg(file)
        .output()
        .unwrap()
        .stdout
}

#[cfg(target_os = "linux")]
fn of_user(command: &mut Command, user: Option<u32>) -> &mut Command {
    use std::os::unix::process::CommandExt as _;
    match user {
        Some(user) => command.uid(user).gid(user),
        None => command,
    }
}

/// Other servers of the same host run as the same user.
#[cfg(target_os = "linux")]
#[test]
fn vt_12_other_processes_of_the_user_do_not_see_the_token() {
    use std::os::unix::fs::MetadataExt as _;
    use std::time::{Duration, Instant};
    const TOKEN: &str = "gho_canary0123456789";
    // Root sees everything: then both are nobody, who may have no way to where the program was built.
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let user = root.then_some(65_534);
    let folder = std::env::temp_dir().join(format!("doorward-github-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("doorward-github");
    std::fs::copy(env!("CARGO_BIN_EXE_doorward-github"), &program).unwrap();
    let mut command = Command::new(&program);
    let end = Instant::now() + Duration::from_secs(60);
    let mut child = loop {
        let started = of_user(&mut command, user)
            .env_clear()
            .env("DOORWARD_TOKEN", TOKEN)
            .env("HOME", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => break child,
            // A child of another test holds the copy open for writing until it becomes its program.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && Instant::now() < end => {
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    };
    let holds = |seen: &[u8]| seen.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
    // A process that hides nothing shows what is looked for.
    let mut open = of_user(&mut Command::new("cat"), user)
        .env("DOORWARD_TOKEN", TOKEN)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let mut hidden = false;
    while !hidden && Instant::now() < end {
        // Before it has started it hides nothing, and what it is then is not what is asked about.
        hidden = holds(&environment_of(open.id(), user)) && environment_of(child.id(), user).is_empty();
    }
    let alive = child.try_wait().unwrap().is_none();
    drop((child.stdin.take(), open.stdin.take()));
    for process in [&mut child, &mut open] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(alive && hidden, "alive: {alive}, hidden: {hidden}");
}
