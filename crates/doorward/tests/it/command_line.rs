//! The binary from outside: what it prints and how it ends.

use std::path::Path;
use std::process::{Command, Stdio};

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the binary in `folder` with nothing of our environment but `PATH`.
fn doorward(folder: &Path, args: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn transcript(folder: &Path, args: &[&str]) -> String {
    let ended = doorward(folder, args);
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        ended.code, ended.stdout, ended.stderr
    )
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// `docs/config-schema.json` is what `doorward config schema` prints. After a change:
/// `UPDATE_DOCS=1 cargo test -p doorward`.
#[test]
fn the_schema_in_the_documentation_is_the_one_that_the_binary_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config-schema.json");
    let printed = doorward(folder().path(), &["config", "schema"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &printed.stdout).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        committed, printed.stdout,
        "docs/config-schema.json is old: run `UPDATE_DOCS=1 cargo test -p doorward`"
    );
}

/// Every key of the schema is explained in `docs/configuration.md`.
#[test]
fn the_documentation_names_every_key() {
    let text = include_str!("../../../../docs/configuration.md");
    let schema: serde_json::Value =
        serde_json::from_str(&doorward(folder().path(), &["config", "schema"]).stdout).unwrap();
    let mut keys: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    for table in schema["$defs"].as_object().unwrap().values() {
        keys.extend(
            table["properties"]
                .as_object()
                .into_iter()
                .flat_map(|properties| properties.keys()),
        );
    }
    assert!(keys.len() > 20);
    for key in keys {
        assert!(
            text.contains(&format!("`{key}`")),
            "docs/configuration.md does not explain `{key}`"
        );
    }
}

#[test]
fn bare_serve_explains_and_leaves_nothing_behind() {
    let folder = folder();
    insta::assert_snapshot!(transcript(folder.path(), &["serve"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: what is to be protected?

    Examples:
      doorward serve -- npx -y @modelcontextprotocol/server-everything
          protect a server that speaks stdio: the command that starts it
      doorward serve --upstream http://127.0.0.1:3001/mcp
          protect your own Streamable HTTP server
      doorward serve --demo
          try it: a built-in MCP server at http://localhost:8080/mcp
    Several servers, TLS, groups: one file, `--config doorward.toml` (`doorward config schema` describes it)
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["serve", "--", "no-such-server", "--fast"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: server `mcp`: there is no program `no-such-server`
      = help: install it, or write its whole path: it was looked for in the folders of PATH
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["serve", "--", "./no-such-server"]).replace(&folder.path().canonicalize().unwrap().display().to_string(), "FOLDER"), @r"
    exit 2
    --- stdout
    --- stderr
    error: server `mcp`: there is no program `./no-such-server`
      = help: the path is read from the working directory, FOLDER
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["serve", "--demo", "--", "true"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: the argument '--demo' cannot be used with '[COMMAND]...'

    Usage: doorward serve --demo [-- <COMMAND>...]

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["serve", "--upstream", "http://127.0.0.1:1/", "--", "true"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: the argument '--upstream <URL>' cannot be used with '[COMMAND]...'

    Usage: doorward serve --upstream <URL> [-- <COMMAND>...]

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["serve", "--demo", "--env", "A"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: `--env` without a command
     --> flag --env
      = help: the command comes after `--`; other servers get no variables
    ");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_wrong_file_is_told_by_line_and_column() {
    let folder = folder();
    std::fs::write(
        folder.path().join("d.toml"),
        "listen = \"localhost:1\"\nservres = []\n",
    )
    .unwrap();
    insta::assert_snapshot!(transcript(folder.path(), &["config", "check", "--config", "d.toml"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: unknown key `servres`
     --> d.toml:2:1
      |
    2 | servres = []
      | ^^^^^^^
      = help: did you mean `servers`?
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["config", "check", "--config", "d.toml", "--format", "json"]), @r#"
    exit 2
    --- stdout
    {
      "valid": false,
      "problems": [
        {
          "message": "unknown key `servres`",
          "help": [
            "did you mean `servers`?"
          ],
          "file": "d.toml",
          "line": 2,
          "column": 1
        }
      ]
    }
    --- stderr
    error: unknown key `servres`
     --> d.toml:2:1
      |
    2 | servres = []
      | ^^^^^^^
      = help: did you mean `servers`?
    "#);
    insta::assert_snapshot!(transcript(folder.path(), &["serve", "--config", "none.toml"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: cannot read the configuration file: No such file or directory (os error 2)
     --> none.toml
      = help: give its path with `--config FILE`
    ");
}

#[test]
fn a_good_file_is_told_with_its_servers() {
    let folder = folder();
    let text = "public_url = \"https://mcp.example.com\"\n[[servers]]\nname = \"files\"\npath = \"/files/mcp\"\ndemo = true\nallow = [\"group:eng\"]\n";
    std::fs::write(folder.path().join("d.toml"), text).unwrap();
    insta::assert_snapshot!(transcript(folder.path(), &["config", "check", "--config", "d.toml"]), @r"
    exit 0
    --- stdout
    d.toml is good
      https://mcp.example.com/files/mcp (files): group:eng
    --- stderr
    ");
    std::fs::write(
        folder.path().join("tls.toml"),
        format!("{text}[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n"),
    )
    .unwrap();
    insta::assert_snapshot!(transcript(folder.path(), &["config", "check", "--config", "tls.toml"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: cannot read the certificate of `[tls]` from c.pem
      because: I/O error: No such file or directory (os error 2)
      = help: the file must be readable by this user and hold PEM
    ");
}

#[test]
fn accounts_clients_and_keys_of_an_empty_folder() {
    let folder = folder();
    insta::assert_snapshot!(transcript(folder.path(), &["user", "list"]), @r"
    exit 0
    --- stdout
    no accounts yet: `doorward user add NAME` makes one
    --- stderr
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["client", "list", "--format", "json"]), @r"
    exit 0
    --- stdout
    []
    --- stderr
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["key", "list"]), @r"
    exit 0
    --- stdout
    no keys yet: the first start of `doorward serve` makes them
    --- stderr
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["user", "disable", "nobody"]), @r"
    exit 1
    --- stdout
    --- stderr
    error: there is no user `nobody`
      = help: see `doorward user list`
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["user", "add", "No Spaces"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: `No Spaces` cannot be a user name
      because: a user name is written in lower case
      = help: use up to 64 lower-case letters, digits, `.`, `_`, `-`, `+` and `@`, beginning with a letter or digit
    ");
    assert!(folder.path().join("doorward-data/doorward.db").is_file());
    assert!(folder.path().join("doorward-data/master.key").is_file());
}

#[test]
fn an_account_is_added_once_with_a_link() {
    let folder = folder();
    let added = doorward(
        folder.path(),
        &[
            "user",
            "add",
            "alice",
            "--group",
            "eng",
            "--public-url",
            "https://gw.test",
        ],
    );
    assert_eq!(added.code, 0, "{}", added.stderr);
    let link = added.stdout.lines().last().unwrap();
    assert!(
        link.starts_with("https://gw.test/setup?token=") && link.len() > 60,
        "{link}"
    );
    insta::assert_snapshot!(transcript(folder.path(), &["user", "add", "alice"]), @r"
    exit 1
    --- stdout
    --- stderr
    error: user `alice` is there already
      = help: to set a new password: `doorward user passwd alice`
    ");
    insta::assert_snapshot!(transcript(folder.path(), &["user", "list"]), @r"
    exit 0
    --- stdout
    alice                    eng                      no password yet
    --- stderr
    ");
}

#[test]
fn ft_09_one_file_of_the_folder_without_the_other_is_refused() {
    let folder = folder();
    assert_eq!(doorward(folder.path(), &["user", "list"]).code, 0);
    std::fs::remove_file(folder.path().join("doorward-data/master.key")).unwrap();
    insta::assert_snapshot!(transcript(folder.path(), &["serve", "--demo", "--listen", "localhost:0"]), @r"
    exit 3
    --- stdout
    --- stderr
    error: the data folder cannot be used
      because: doorward-data has a doorward.db but no master.key: the database cannot be read without the key it was made with. Put master.key back from your backup, or move doorward.db away to start anew
    ");
}

#[test]
fn nobody_at_home_is_a_no() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let asked = doorward(
        folder.path(),
        &["health", "--listen", &format!("127.0.0.1:{port}")],
    );
    assert_eq!(asked.code, 1, "{}", asked.stderr);
    assert!(
        asked.stderr.contains("is not ready") && asked.stderr.contains("--listen"),
        "{}",
        asked.stderr
    );
}

#[test]
fn a_taken_port_is_told_with_what_to_do() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let shown = transcript(folder.path(), &["serve", "--demo", "--listen", &port]).replace(&port, "PORT");
    let next = (port.parse::<u16>().unwrap() + 1).to_string();
    insta::assert_snapshot!(shown.replace(&next, "NEXT"), @r"
    exit 3
    --- stdout
    --- stderr
    error: port PORT of 127.0.0.1 is taken
      = help: another program listens there, perhaps another Doorward: stop it
      = help: or choose another port: `--listen localhost:NEXT`
    ");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

/// On standard input a host writes JSON-RPC: read as a secret, it would be sent to the authorization server.
#[test]
fn a_bridge_reads_no_secret_from_its_host() {
    let folder = folder();
    for options in [
        &["--client-id", "c", "--client-secret-file", "-"][..],
        &["--client-id", "c", "--client-key-file", "-"],
        &["--header-file", "-"],
    ] {
        let args = [&["connect", "http://127.0.0.1:9/mcp"], options].concat();
        let ended = doorward(folder.path(), &args);
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        let told = format!(
            "{} -: standard input belongs to the host",
            options[options.len() - 2]
        );
        assert!(ended.stderr.contains(&told), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}
