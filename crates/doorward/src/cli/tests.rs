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

#[test]
fn a_forgotten_separator_is_told_with_the_command() {
    let told = |words: &[&str]| {
        let words = words.iter().map(OsString::from);
        let error = Cli::try_parse_from(words.clone()).unwrap_err();
        refused(error, words).to_string()
    };
    let said = told(&["doorward", "stdio", "npx", "-y", "some-server"]);
    assert!(
        said.contains("behind `--`: doorward stdio --issuer URL -- npx"),
        "{said}"
    );
    let said = told(&["doorward", "serve", "npx"]);
    assert!(said.contains("behind `--`: doorward serve -- npx"), "{said}");
    for others in [
        &["doorward", "stdio", "--nope", "--", "npx"][..],
        &["doorward", "login", "a", "b"],
    ] {
        assert!(!told(others).contains("stands behind"), "{others:?}");
    }
}

#[test]
fn a_logout_shows_what_says_something_about_it() {
    let mut root = Cli::command();
    root.build();
    let logout = root
        .find_subcommand_mut("logout")
        .unwrap()
        .render_long_help()
        .to_string();
    for shown in [
        "--all",
        "--keep-unrevoked",
        "--user",
        "--client-secret-file",
        "--proxy",
    ] {
        assert!(logout.contains(shown), "{shown}");
    }
    for hidden in [
        "--device",
        "--callback-port",
        "--workload-token-file",
        "--authorize-param",
    ] {
        assert!(!logout.contains(hidden), "{hidden}");
    }
}

/// What a page names there is. Left columns about another program are that program's.
#[test]
fn the_pages_of_the_client_half_name_no_option_that_there_is_not() {
    const PAGES: [(&str, &str); 3] = [
        ("login.md", include_str!("../../../../docs/login.md")),
        ("connect.md", include_str!("../../../../docs/connect.md")),
        (
            "stdio-authorization.md",
            include_str!("../../../../docs/stdio-authorization.md"),
        ),
    ];
    // Of cargo, and of a feature that is off by default.
    const OTHERS: [&str; 3] = ["features", "profile", "no-keychain"];
    let mut root = Cli::command();
    root.build();
    let known: Vec<&str> = root
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .chain(OTHERS)
        .collect();
    for (name, page) in PAGES {
        let mut elsewhere = false;
        let mut seen = 0;
        for line in page.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                elsewhere = heading.contains("mcp-remote");
            }
            let own = match line.strip_prefix("| ") {
                Some(row) if elsewhere => row.split_once(" | ").map_or("", |(_, right)| right),
                _ => line,
            };
            for option in options_in(own) {
                seen += 1;
                assert!(known.contains(&option), "{name}: there is no --{option}: {line}");
            }
        }
        assert!(seen > 5, "{name} names options");
    }
}

fn options_in(line: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    line.match_indices("--").filter_map(move |(at, _)| {
        let (before, rest) = (&line[..at], &line[at + 2..]);
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let starts = !before.ends_with(|c: char| c.is_alphanumeric() || c == '-');
        let word = &rest[..end];
        (starts && word.starts_with(|c: char| c.is_ascii_lowercase())).then_some(word)
    })
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
