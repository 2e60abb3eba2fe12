//! Commands as the file and the flags name them.

use super::*;
use crate::cli::ConfigArgs;
use crate::config::{Config, Upstream};

const SERVER: &str = "[[servers]]\nname = \"files\"\npath = \"/files/mcp\"\n";

/// Loads this text for `serve`; paths are told relative to the folder of the file.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<(Config, String), String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap().display().to_string();
    let path = folder.path().join("doorward.toml");
    std::fs::write(&path, text).unwrap();
    let mut args = ServeArgs::default();
    args.config.config = Some(path);
    let loaded = Config::load_for_serve(&args, &variables.into());
    loaded.map(|config| (config, root.clone())).map_err(|error| {
        error
            .to_string()
            .replace(&format!("{root}/"), "")
            .replace(&root, ".")
    })
}

fn problems(text: &str) -> String {
    load(
        &format!("data = \"data\"\n{SERVER}{text}"),
        &[("TOKEN", "s3cr3t")],
    )
    .unwrap_err()
}

fn by_flags(words: &[&str], env: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
    let args = ServeArgs {
        command: words.iter().map(Into::into).collect(),
        env: env.iter().map(|&name| name.into()).collect(),
        ..ServeArgs::default()
    };
    Config::load_for_serve(&args, &variables.into()).map_err(|error| error.to_string())
}

#[test]
fn a_command_is_read_with_its_variables_and_limits() {
    let text = format!(
        "{SERVER}command = [\"npx\", \"-y\", \"x\"]\nidle = \"5m\"\nmemory = \"512MiB\"\nprocesses = 9\n\
         env = {{ MODE = \"fast\", API_TOKEN = \"env:TOKEN\" }}\n[servers.timeouts]\nstart = \"2m\"\nresponse = \"30s\"\n"
    );
    let (config, root) = load(&text, &[("TOKEN", "s3cr3t")]).unwrap();
    let command = config.servers[0].command().unwrap();
    assert_eq!(
        (command.program.to_str(), command.arguments.len()),
        (Some("npx"), 2)
    );
    let value = |name: &str| command.environment[name].value().map(Secret::expose);
    assert_eq!(
        (value("MODE"), value("API_TOKEN")),
        (Some("fast"), Some("s3cr3t"))
    );
    assert_eq!(real(&command.working_directory).display().to_string(), root);
    assert!(!format!("{config:?}").contains("s3cr3t") && !format!("{config:?}").contains("fast"));
    let shown: Vec<_> = config
        .shown()
        .into_iter()
        .filter(|line| line.key.starts_with("servers[0]") && !line.key.ends_with("working_directory"))
        .map(|line| format!("{} = {} # {}", line.key, line.value, line.origin))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    servers[0].name = "files" # file, line 2
    servers[0].path = "/files/mcp" # file, line 3
    servers[0].command = ["npx","-y","x"] # file, line 4
    servers[0].allow = [] # default
    servers[0].lists = "grantable" # default
    servers[0].allow_insecure_anonymous = false # default
    servers[0].forward_headers = [] # default
    servers[0].env.API_TOKEN = "env:TOKEN" # file, line 8
    servers[0].env.MODE = "[set]" # file, line 8
    servers[0].idle = "5m" # file, line 5
    servers[0].processes_per_user = 8 # default
    servers[0].processes = 9 # file, line 7
    servers[0].memory = "512MiB" # file, line 6
    servers[0].max_children = 256 # default
    servers[0].max_message = "16MiB" # default
    servers[0].timeouts.start = "2m" # file, line 10
    servers[0].timeouts.response = "30s" # file, line 11
    servers[0].limits.calls = "3000/m" # default
    servers[0].limits.discovery = "1200/m" # default
    servers[0].limits.address = "60000/m" # default
    servers[0].limits.tool = "1200/m" # default
    servers[0].limits.tools = {} # default
    servers[0].limits.refused = "300/m" # default
    servers[0].limits.streams = 256 # default
    "#);
}

#[test]
fn a_variable_that_is_not_set_is_told_with_its_place_and_nothing_of_its_neighbours() {
    insta::assert_snapshot!(problems("command = [\"x\"]\nenv = { A = \"hunter2\", B = \"env:MISSING\" }\n"), @r"
    error: the environment variable `MISSING` is not set
     --> doorward.toml:6:28
      |
    6 | env = …
      |                            ^
      = help: set `MISSING` before starting Doorward, or leave it out if the command does not need it
    ");
    insta::assert_snapshot!(problems("command = [\"x\"]\n[servers.env]\nA = \"env:MISSING hunter2\"\n"), @r"
    error: what follows `env:` is not the name of a variable
     --> doorward.toml:7:5
      |
    7 | A = …
      |     ^
      = help: use letters, digits and `_`, not beginning with a digit
    ");
    for text in [
        "command = [\"x\"]\nenv = { A = 1717 }\n",
        "command = [\"x\"]\nenv = { A = \"hunter2\", 1717 }\n",
        "command = [\"x\"]\nenv.A = \"hunter2\n",
        "command = [\"x\"]\n[servers.env]\nA = \"hunter2\n",
        "command = [\"x\"]\nenv = {\n  A = \"hunter2\",\n  B = \"env:MISSING\", C = \"hunter2\"\n}\n",
    ] {
        let error = problems(text);
        assert!(!error.contains("hunter2") && !error.contains("1717"), "{error}");
        assert!(error.contains("doorward.toml:"), "{error}");
    }
}

/// `user add` needs no secret of a server.
#[test]
fn a_command_that_starts_nothing_needs_no_variable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doorward.toml");
    std::fs::write(
        &path,
        format!("{SERVER}command = [\"x\"]\nenv = {{ B = \"env:MISSING\" }}\n"),
    )
    .unwrap();
    let args = ConfigArgs {
        config: Some(path),
        ..ConfigArgs::default()
    };
    assert!(Config::load(&args, &Environment::default()).is_ok());
    assert!(Config::load_to_check(&args, &Environment::default()).is_err());
}

#[test]
fn commands_are_checked() {
    insta::assert_snapshot!(problems("command = []\nprocesses = 0\nmemory = \"1KiB\"\nidle = \"25h\"\nmax_message = \"1GB\"\n"), @r#"
    error: not a size: write a whole number and a unit, such as `512KiB`, `64MiB` or `2GiB`
     --> doorward.toml:9:15
      |
    9 | max_message = "1GB"
      |               ^^^^^
    "#);
    insta::assert_snapshot!(problems("command = [\"x\"]\nprocesses = 2\nmemory = \"1KiB\"\nidle = \"25h\"\nenv = { HOME = \"/x\", \"A-B\" = \"\" }\n"), @r#"
    error: `A-B` cannot be the name of a variable
     --> doorward.toml:9:30
      |
    9 | env = …
      |                              ^
      = help: use letters, digits and `_`, not beginning with a digit

    error: `HOME` cannot be set: it would be one folder for all users
     --> doorward.toml:9:16
      |
    9 | env = …
      |                ^
      = help: each user's processes get folders of their own

    error: `idle` must be between 1s and 1d
     --> doorward.toml:8:8
      |
    8 | idle = "25h"
      |        ^^^^^

    error: one user may have more processes (`processes_per_user`) than all together (`processes`)
     --> doorward.toml:6:13
      |
    6 | processes = 2
      |             ^

    error: `memory` must be between 16MiB and 1024GiB
     --> doorward.toml:7:10
      |
    7 | memory = "1KiB"
      |          ^^^^^^
    "#);
    insta::assert_snapshot!(problems("command = [\"x\"]\nupstream = \"http://127.0.0.1:1/mcp\"\nforward_headers = [\"X-Tenant\", \"Cookie\", \"a b\"]\n"), @r#"
    error: `Cookie` cannot be forwarded: it carries credentials: a client's token never passes to an upstream
     --> doorward.toml:7:32
      |
    7 | forward_headers = ["X-Tenant", "Cookie", "a b"]
      |                                ^^^^^^^^
      = help: name headers of your own, such as `X-Tenant`

    error: `a b` is not the name of a header
     --> doorward.toml:7:42
      |
    7 | forward_headers = ["X-Tenant", "Cookie", "a b"]
      |                                          ^^^^^

    error: server `files` has both `upstream` and `command`
     --> doorward.toml:5:11
      |
    5 | command = ["x"]
      |           ^^^^^
      = help: a server has exactly one of `upstream`, `command` and `demo`
    "#);
    insta::assert_snapshot!(problems("upstream = \"http://127.0.0.1:1/mcp\"\nenv = { A = \"b\" }\nidle = \"1m\"\n[servers.timeouts]\nstart = \"1m\"\nconnect = \"1ms\"\n"), @r#"
    error: `connect` must be between 100ms and 1d
      --> doorward.toml:10:11
       |
    10 | connect = "1ms"
       |           ^^^^^

    error: `env` belongs to a `command`, and server `files` has none
     --> doorward.toml:6:7
      |
    6 | env = …
      |       ^
      = help: leave it out

    error: `idle` belongs to a `command`, and server `files` has none
     --> doorward.toml:7:8
      |
    7 | idle = "1m"
      |        ^^^^
      = help: leave it out

    error: `timeouts.start` belongs to a `command`, and server `files` has none
     --> doorward.toml:9:9
      |
    9 | start = "1m"
      |         ^^^^
      = help: leave it out
    "#);
    insta::assert_snapshot!(problems("demo = true\nforward_headers = [\"X-Tenant\"]\nallow = [\"user:alice\"]\nallow_insecure_anonymous = true\n"), @r#"
    error: server `files` admits everybody without a login (`allow_insecure_anonymous`) and only some people (`allow`)
     --> doorward.toml:8:28
      |
    8 | allow_insecure_anonymous = true
      |                            ^^^^
      = help: keep one of the two

    error: `forward_headers` belongs to an `upstream`: nothing else gets HTTP headers
     --> doorward.toml:6:19
      |
    6 | forward_headers = ["X-Tenant"]
      |                   ^^^^^^^^^^^^
      = help: leave it out
    "#);
}

#[cfg(unix)]
#[test]
fn vt_12_no_command_works_in_the_data_folder() {
    insta::assert_snapshot!(problems("command = [\"x\"]\nworking_directory = \"data/homes\"\n"), @r#"
    error: the command would work in the data folder, which no child may read
     --> doorward.toml:6:21
      |
    6 | working_directory = "data/homes"
      |                     ^^^^^^^^^^^^
      = help: set `working_directory` to a folder outside of it, or move `data`
    "#);
    // By the folder of the file, by `..`, and by a link.
    let inside = load(&format!("data = \".\"\n{SERVER}command = [\"x\"]\n"), &[]).unwrap_err();
    assert!(inside.contains("data folder"), "{inside}");
    let around = problems("command = [\"x\"]\nworking_directory = \"data/../data\"\n");
    assert!(around.contains("data folder"), "{around}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::os::unix::fs::symlink("data", folder.path().join("link")).unwrap();
    let around = Surroundings {
        environment: None,
        folder: folder.path(),
        data: &folder.path().join("data"),
    };
    let mut found = Vec::new();
    working_directory(Some(Path::new("link")), &around, || Place::Nowhere, &mut found);
    assert_eq!(found.len(), 1);
    found.clear();
    working_directory(None, &around, || Place::Nowhere, &mut found);
    assert_eq!(found, [], "the data folder may lie below the working directory");
}

#[test]
fn a_command_by_flags_is_the_server_mcp() {
    let config = by_flags(&["npx", "x", "--upstream"], &["TOKEN"], &[("TOKEN", "s3cr3t")]).unwrap();
    let server = &config.servers[0];
    assert_eq!((server.name.as_str(), server.path.as_str()), ("mcp", "/mcp"));
    let Upstream::Command(command) = &server.upstream else {
        panic!("{server:?}");
    };
    assert_eq!(command.environment["TOKEN"].value().unwrap().expose(), "s3cr3t");
    assert_eq!(command.working_directory, std::env::current_dir().unwrap());
    insta::assert_snapshot!(by_flags(&["x"], &["MISSING", "A=hunter2", "9"], &[("9", "")]).unwrap_err(), @r"
    error: the environment variable `MISSING` is not set
     --> flag --env
      = help: set `MISSING` before starting Doorward, or leave it out if the command does not need it

    error: `--env A=…` carries a value
     --> flag --env
      = help: everybody on this machine can read command lines: set the variable, and say `--env A`

    error: `9` cannot be the name of a variable
     --> flag --env
      = help: use letters, digits and `_`, not beginning with a digit
    ");
}
