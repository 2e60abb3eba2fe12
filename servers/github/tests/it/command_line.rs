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
