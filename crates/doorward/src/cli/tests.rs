use clap::CommandFactory as _;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// `docs/commands.md` is written from the command line itself. After a change:
/// `UPDATE_DOCS=1 cargo test -p doorward`.
#[test]
fn the_reference_says_what_the_command_line_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
    let text = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        committed, text,
        "docs/commands.md is old: run `UPDATE_DOCS=1 cargo test -p doorward`"
    );
}

fn reference() -> String {
    let mut out = String::from(
        "# Commands\n\nWritten from the command line itself by a test; `doorward COMMAND --help` says the same.\n\n\
         Exit codes: 0 done, 1 the answer is no, 2 wrong usage or configuration, 3 could not run. Results go to stdout, progress and \
         errors to stderr. Commands that read or change state take `--data` or `--config`, make the data folder if there is none, and work \
         while a server runs on the same data; `data restore` and `key rotate --master` want it stopped, and say so.\n",
    );
    let mut root = Cli::command();
    root.build();
    describe(&root, "", &mut out);
    out
}

fn describe(command: &clap::Command, parent: &str, out: &mut String) {
    let name = format!("{parent}{}", command.get_name());
    if !parent.is_empty() {
        let mut page = command
            .clone()
            .bin_name(&name)
            .disable_help_flag(true)
            .term_width(100);
        let help = page.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        out.push_str(&format!(
            "\n## `{name}`\n\n```text\n{}\n```\n",
            lines.join("\n").trim()
        ));
    }
    for below in command.get_subcommands() {
        describe(below, &format!("{name} "), out);
    }
}
