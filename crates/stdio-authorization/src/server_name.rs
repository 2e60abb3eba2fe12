//! What a server is called by the command that starts it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Programs that start the package that their first argument names, and their options that take no value.
const PACKAGES: [(&str, &[&str]); 4] = [
    (
        "npx",
        &[
            "-y",
            "--yes",
            "-q",
            "--quiet",
            "--no-install",
            "--prefer-offline",
            "--prefer-online",
        ],
    ),
    (
        "bunx",
        &["-y", "--yes", "--bun", "--silent", "--verbose", "--no-install"],
    ),
    (
        "uvx",
        &[
            "-q",
            "--quiet",
            "-v",
            "--verbose",
            "--isolated",
            "--offline",
            "-n",
            "--no-cache",
            "--refresh",
        ],
    ),
    ("pipx", &["-q", "--quiet", "-v", "--verbose", "--no-cache"]),
];
/// Their options after which the first argument is not the package.
const OTHER_PACKAGE: [&str; 5] = ["--package", "--call", "--from", "--spec", "-p"];
/// Programs that start other programs: their name says nothing about the server.
const LAUNCHERS: &str = "npm pnpm pnpx yarn node nodejs deno bun ts-node tsx uv pip poetry pdm rye hatch conda ruby perl php java \
    dotnet cargo go make docker podman nerdctl kubectl flatpak snap nix wsl ssh sh bash zsh fish dash ksh busybox cmd powershell pwsh \
    env sudo doas nice nohup timeout setsid stdbuf xvfb-run systemd-run mise asdf direnv time";

/// What a person would call the server, as the end of its resource: the package that is started, else the program without its folder
/// and ending. Two servers must not get one name, or a token for the one opens the other (VT-07): `None` if the command does not
/// say which server it starts.
pub(crate) fn name_of(program: &OsStr, arguments: &[OsString]) -> Option<String> {
    let stem = stem(program);
    let lower = stem.to_ascii_lowercase();
    if let Some((_, plain)) = PACKAGES.iter().find(|(name, _)| *name == lower) {
        let mut arguments = arguments.iter();
        if lower == "pipx" && arguments.next()? != "run" {
            return None;
        }
        return package(arguments, plain);
    }
    let is_version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || ".w".contains(c));
    let interpreter = ["python", "pypy"]
        .iter()
        .any(|name| lower.strip_prefix(name).is_some_and(is_version));
    (!interpreter && !LAUNCHERS.split_whitespace().any(|name| name == lower)).then_some(stem)
}

/// The first argument that is no option, without its version.
fn package<'a>(arguments: impl Iterator<Item = &'a OsString>, plain: &[&str]) -> Option<String> {
    for argument in arguments {
        let argument = argument.to_str()?;
        if !argument.starts_with('-') {
            return package_name(argument);
        }
        let (option, value) = argument.split_once('=').unzip();
        let known = match (option, value) {
            (Some(option), Some(_)) => !OTHER_PACKAGE.contains(&option),
            // What follows might be its value.
            _ => argument == "--" || plain.contains(&argument),
        };
        if !known {
            return None;
        }
    }
    None
}

/// `@scope/name` or `name`, and nothing that leads elsewhere: paths, URLs and archives have names of their own choice.
fn package_name(argument: &str) -> Option<String> {
    let (scope, rest) = match argument.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').map(|(scope, rest)| (Some(scope), rest))?,
        None => (None, argument),
    };
    let end = rest
        .find(['@', '=', '[', '<', '>', '~', '!'])
        .unwrap_or(rest.len());
    let (name, version) = rest.split_at(end);
    let good = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    if !good(name) || !scope.is_none_or(good) || version.contains(['/', ':']) {
        return None;
    }
    Some(match scope {
        Some(scope) => format!("@{scope}/{name}"),
        None => name.to_owned(),
    })
}

/// The program without its folder and ending.
pub(crate) fn stem(program: &OsStr) -> String {
    let stem = Path::new(program).file_stem().unwrap_or(program);
    stem.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(command: &str) -> Option<String> {
        let mut words = command.split(' ').map(OsString::from);
        let program = words.next().unwrap();
        name_of(&program, &words.collect::<Vec<_>>())
    }

    #[test]
    fn r02_vt_07_the_name_is_the_package_or_the_program() {
        for (command, expected) in [
            ("npx -y some-notes-server", "some-notes-server"),
            ("/usr/bin/npx --yes @acme/notes@1.2.3 --verbose", "@acme/notes"),
            ("npx.cmd -y --registry=https://r.example server@latest", "server"),
            ("bunx --bun Notes", "Notes"),
            (
                "uvx -q mcp-server-git[extra]==1.0 --repository /x",
                "mcp-server-git",
            ),
            ("uvx --python=3.12 mcp-server-git", "mcp-server-git"),
            ("pipx run notes", "notes"),
            ("/opt/notes/notes-server --stdio", "notes-server"),
            ("./server.exe", "server"),
            ("python-notes", "python-notes"),
        ] {
            assert_eq!(name(command).as_deref(), Some(expected), "{command}");
        }
    }

    #[test]
    fn r02_vt_07_a_command_that_does_not_say_which_server_has_no_name() {
        for command in [
            "npx",
            "npx -y",
            "npx -p a-package its-command",
            "npx --package=a its-command",
            "npx -y ./local",
            "npx -y github:who/what",
            "npx -y who/what",
            "npx -y @who",
            "npx -y a@https://elsewhere.example/x.tgz",
            "npx -y ..",
            "uvx --python 3.12 a",
            "uvx --from git+https://x.example/y a",
            "uvx --from=b a",
            "pipx list",
            "pipx run --spec b a",
            "node server.js",
            "python3.12 -m notes",
            "/bin/sh -c notes",
            "bash notes.sh",
            "uv run notes",
            "docker run -i notes",
            "DOCKER run -i notes",
            "env A=b notes",
        ] {
            assert_eq!(name(command), None, "{command}");
        }
    }
}
