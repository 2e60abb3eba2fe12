//! What people read on the command line: answers and errors, as transcripts.

use std::path::Path;

use doorward_testkit::command::{Finished, run, run_with};

/// Runs a command and writes down what a person would see. What differs from run to run is replaced.
fn transcript(work: &Path, args: &[&str]) -> String {
    shown(work, args, &run(work, args, ""))
}

fn shown(work: &Path, args: &[&str], finished: &Finished) -> String {
    let clean = |text: &str| {
        let text = text.replace(&work.display().to_string(), "WORK");
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    };
    format!(
        "$ doorward {}\n(exit {})\n--- stdout\n{}\n--- stderr\n{}\n",
        clean(&args.join(" ")),
        finished.code,
        clean(&finished.stdout),
        clean(&finished.stderr)
    )
}

fn folder() -> tempfile::TempDir {
    doorward_testkit::folder("doorward-e2e-")
}

#[test]
fn bare_serve_explains_with_three_examples() {
    let work = folder();
    let bare = run(work.path(), ["serve"], "");
    assert_eq!(bare.code, 2);
    let examples = bare.stderr.matches("doorward serve --").count();
    assert_eq!(examples, 3, "{}", bare.stderr);
    insta::assert_snapshot!(shown(work.path(), &["serve"], &bare));
    assert!(
        !work.path().join("doorward-data").exists(),
        "a refusal leaves nothing behind"
    );
}

#[test]
fn wrong_usage() {
    let work = folder();
    let mut all = String::new();
    for args in [
        &["serv"][..],
        &["serve", "--demo", "--upstream", "http://127.0.0.1:1/mcp"],
        &["serve", "--upstream", "ftp://x"],
        &["serve", "--upstream", "http://user:password@127.0.0.1:1/mcp"],
        &["serve", "--demo", "--listen", "nonsense"],
        &["serve", "--demo", "--public-url", "http://mcp.example.com"],
        &["serve", "--", "no-such-program", "server"],
        &["serve", "--config", "missing.toml"],
        &["user", "add"],
        &["user", "add", "No Spaces"],
    ] {
        let finished = run(work.path(), args, "");
        assert_eq!(
            finished.code, 2,
            "{args:?}: {}{}",
            finished.stdout, finished.stderr
        );
        all.push_str(&shown(work.path(), args, &finished));
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn bad_configuration_files_are_shown_with_line_and_column() {
    let work = folder();
    let mut all = String::new();
    for (name, text) in [
        ("not TOML", "public_url = \n"),
        (
            "an unknown key",
            "public_url = \"https://mcp.example.com\"\nlistne = \"127.0.0.1:1\"\n",
        ),
        ("a wrong type", "listen = 8080\n"),
        (
            "two servers with one name",
            "[[servers]]\nname = \"a\"\npath = \"/a\"\ndemo = true\n[[servers]]\nname = \"a\"\npath = \"/b\"\ndemo = true\n",
        ),
        (
            "two servers with one path",
            "[[servers]]\nname = \"a\"\npath = \"/a\"\ndemo = true\n[[servers]]\nname = \"b\"\npath = \"/a\"\ndemo = true\n",
        ),
        (
            "a path of ours",
            "[[servers]]\nname = \"a\"\npath = \"/authorize\"\ndemo = true\n",
        ),
        (
            "a server that leads nowhere",
            "[[servers]]\nname = \"a\"\npath = \"/a\"\n",
        ),
        (
            "a rule for later",
            "[[servers]]\nname = \"a\"\npath = \"/a\"\ndemo = true\nallow = [\"domain:corp.com\"]\n",
        ),
        (
            "a rule that is none",
            "[[servers]]\nname = \"a\"\npath = \"/a\"\ndemo = true\nallow = [\"alice\"]\n",
        ),
        (
            "a public URL with a fragment",
            "public_url = \"https://mcp.example.com/#x\"\n",
        ),
    ] {
        std::fs::write(work.path().join("doorward.toml"), text).unwrap();
        let args = ["config", "check", "--config", "doorward.toml"];
        let finished = run(work.path(), args, "");
        assert_eq!(finished.code, 2, "{name}: {}{}", finished.stdout, finished.stderr);
        assert!(
            finished.stderr.contains("doorward.toml:"),
            "{name}: file, line and column: {}",
            finished.stderr
        );
        all.push_str(&format!("# {name}\n{}\n", shown(work.path(), &args, &finished)));
    }
    insta::assert_snapshot!(all);
}

const TWO_SERVERS: &str = r#"public_url = "https://mcp.example.com"
listen = "127.0.0.1:8443"
allowed_origins = ["http://localhost:6274"]

[[servers]]
name = "files"
path = "/files/mcp"
upstream = "http://127.0.0.1:3001/mcp"
allow = ["group:eng", "user:alice"]

[[servers]]
name = "notes"
path = "/notes/mcp"
demo = true
"#;

#[test]
fn a_good_configuration_is_checked_and_shown() {
    let work = folder();
    std::fs::write(work.path().join("doorward.toml"), TWO_SERVERS).unwrap();
    insta::assert_snapshot!(transcript(
        work.path(),
        &["config", "check", "--config", "doorward.toml"]
    ));
    let args = ["config", "show", "--config", "doorward.toml", "--format", "json"];
    let from_file = run(work.path(), args, "").ok().json();
    assert!(from_file.to_string().contains("127.0.0.1:8443"));
    let env = [
        ("DOORWARD_LISTEN", "127.0.0.1:9000"),
        ("DOORWARD_CONFIG", "doorward.toml"),
    ];
    let from_env = run_with(work.path(), ["config", "show", "--format", "json"], "", &env)
        .ok()
        .json();
    assert!(
        from_env.to_string().contains("127.0.0.1:9000"),
        "the environment beats the file: {from_env}"
    );
    let flag = ["config", "show", "--format", "json", "--listen", "127.0.0.1:9001"];
    let from_flag = run_with(work.path(), flag, "", &env).ok().json();
    assert!(
        from_flag.to_string().contains("127.0.0.1:9001"),
        "a flag beats both: {from_flag}"
    );
    assert!(
        !work.path().join("doorward-data").exists(),
        "looking changes nothing"
    );
}

#[test]
fn the_schema_describes_the_file() {
    let work = folder();
    let schema = run(work.path(), ["config", "schema"], "").ok().json();
    for key in [
        "public_url",
        "listen",
        "servers",
        "lifetimes",
        "tls",
        "allowed_origins",
    ] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false, "unknown keys are errors");
}

#[test]
fn commands_make_the_data_folder_with_both_its_files() {
    let work = folder();
    let added = run(
        work.path(),
        ["user", "add", "alice", "--password-stdin"],
        "correct horse battery staple\n",
    );
    assert_eq!(added.code, 0, "{}", added.stderr);
    let data = work.path().join("doorward-data");
    assert!(data.join("doorward.db").is_file() && data.join("master.key").is_file());
    insta::assert_snapshot!(shown(
        work.path(),
        &["user", "add", "alice", "--password-stdin"],
        &added
    ));
    let mut all = String::new();
    for args in [
        &["user", "add", "alice", "--password-stdin"][..],
        &["user", "disable", "nobody"],
        &["client", "show", "dcr_nobody"],
        &["client", "approve", "dcr_nobody"],
    ] {
        let finished = run(work.path(), args, "correct horse battery staple\n");
        assert_eq!(
            finished.code, 1,
            "{args:?}: {}{}",
            finished.stdout, finished.stderr
        );
        all.push_str(&shown(work.path(), args, &finished));
        all.push('\n');
    }
    let short = run(work.path(), ["user", "add", "bob", "--password-stdin"], "short\n");
    assert_ne!(short.code, 0, "a password of five letters: {}", short.stdout);
    all.push_str(&shown(
        work.path(),
        &["user", "add", "bob", "--password-stdin"],
        &short,
    ));
    all.push('\n');
    std::fs::remove_file(data.join("master.key")).unwrap();
    let finished = run(work.path(), ["user", "list"], "");
    assert_eq!(finished.code, 3);
    all.push_str(&shown(work.path(), &["user", "list"], &finished));
    insta::assert_snapshot!(all);
}
