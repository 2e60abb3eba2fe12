use super::*;
use crate::cli::{ConfigArgs, ServeArgs};
use crate::config::Environment;

fn load(section: &str, files: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().join("doorward.toml");
    let text = format!(
        "[policy]\n{section}\n[[servers]]\nname = \"files\"\npath = \"/files\"\nupstream = \"http://127.0.0.1:1/mcp\"\n"
    );
    std::fs::write(&path, text).unwrap();
    let config = ConfigArgs {
        config: Some(path),
        ..ConfigArgs::default()
    };
    let args = ServeArgs {
        config,
        ..ServeArgs::default()
    };
    let prefix = format!("{}/", folder.path().display());
    let environment = Environment::from([]);
    Config::load_for_serve(&args, &environment).map_err(|error| error.to_string().replace(&prefix, ""))
}

const PERMIT: &str = "permit(principal, action, resource);\n";

#[test]
fn r30_one_file_or_several_are_read_beside_the_configuration() {
    assert!(!Policies::default().policy().restricts());
    for (section, count) in [
        ("file = \"a.cedar\"", 1),
        ("file = [\"a.cedar\", \"b.cedar\"]", 2),
    ] {
        let config = load(section, &[("a.cedar", PERMIT), ("b.cedar", PERMIT)]).unwrap();
        let loaded = config.policies.loaded().unwrap();
        assert_eq!(loaded.policies().count(), count, "{section}");
        assert!(config.policies.policy().restricts());
        let hidden = config.hidden_from_commands();
        assert!(hidden.iter().any(|path| path.ends_with("a.cedar")), "{hidden:?}");
    }
}

#[test]
fn r30_files_without_a_policy_are_no_policies() {
    let told = load("", &[]).unwrap_err();
    assert!(told.contains("`[policy]` names no file"), "{told}");
    let told = load("file = \"a.cedar\"", &[("a.cedar", "// nothing\n")]).unwrap_err();
    assert!(told.contains("there is no policy in the files"), "{told}");
    // One of several may be empty; that is worth a word.
    let config = load(
        "file = [\"a.cedar\", \"b.cedar\"]",
        &[("a.cedar", PERMIT), ("b.cedar", "")],
    )
    .unwrap();
    assert_eq!(config.policies.counted(), (1, 0));
    assert_eq!(config.policy_notes().len(), 1, "{:?}", config.policy_notes());
}

#[test]
fn r30_mistakes_are_shown_in_the_file_that_has_them() {
    let mistake = "\npermit(principal, action, resource)\nwhen { context.hour > 9 };\n";
    let told = load(
        "file = [\"a.cedar\", \"b.cedar\"]",
        &[("a.cedar", PERMIT), ("b.cedar", mistake)],
    );
    insta::assert_snapshot!(told.unwrap_err(), @r#"
    error: for policy `b.cedar:2`, attribute `hour` in context not found
     --> b.cedar:3:8
      |
    3 | when { context.hour > 9 };
      |        ^
      = help: did you mean `time`?
    "#);
    let stranger = "forbid(principal, action, resource in Doorward::Server::\"fiels\");\n";
    let told = load("file = \"a.cedar\"", &[("a.cedar", stranger)]);
    insta::assert_snapshot!(told.unwrap_err(), @r#"
    error: policy `a.cedar:1` speaks of the server `fiels`, which is not there
     --> a.cedar:1:1
      |
    1 | forbid(principal, action, resource in Doorward::Server::"fiels");
      | ^
      = help: correct the name, or take the policy out
    "#);
    let told = load("file = \"none.cedar\"", &[]);
    insta::assert_snapshot!(told.unwrap_err(), @r#"
    error: cannot read the policies in none.cedar: No such file or directory (os error 2)
     --> doorward.toml:2:8
      |
    2 | file = "none.cedar"
      |        ^^^^^^^^^^^^
      = help: a path is relative to the folder of the configuration file
    "#);
    let told = load("file = []", &[]);
    insta::assert_snapshot!(told.unwrap_err(), @r#"
    error: `file` names no file
     --> doorward.toml:2:8
      |
    2 | file = []
      |        ^^
      = help: name one, or leave `[policy]` out: then everything is permitted that `allow` and `scopes` open
    "#);
    let told = load("file = [1]", &[]);
    insta::assert_snapshot!(told.unwrap_err(), @r#"
    error: write a path in quotes, or a list of such paths
     --> doorward.toml:2:8
      |
    2 | file = [1]
      |        ^^^
    "#);
}
