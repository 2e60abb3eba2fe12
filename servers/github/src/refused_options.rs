//! Options of the extension that are refused here: because a token that GitHub did not issue would be sent to GitHub, or because they
//! would be without effect.

use clap::ArgMatches;
use clap::parser::ValueSource;

/// An option that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} (or {variable} in the environment): {why}; remove it")]
pub struct OptionRefused {
    option: &'static str,
    variable: &'static str,
    why: &'static str,
}

/// What others say is good is nothing that GitHub has to see (token passthrough: MCP, "Access token privilege restriction").
const ONLY_GITHUB: &str = "only GitHub's own tokens are taken here, because tokens are sent to GitHub's API";
const NO_COMMAND: &str = "there is no command that a token could be handed to";
const NO_PUBLIC: &str = "every tool acts on GitHub for somebody, and none works without a token";
const NOT_OVER_HTTP: &str = "it says nothing with --http";
const PUBLIC_URL: &str = "with --http, --public-url says what the resource is";
const NO_LOGIN: &str = "with --http no login runs here: clients find the way to GitHub by the metadata";

/// Id, option, variable, why.
type Row = (&'static str, &'static str, &'static str, &'static str);

const ALWAYS: [Row; 6] = [
    ("issuer", "--issuer", "DOORWARD_ISSUER", ONLY_GITHUB),
    (
        "authorization_endpoint",
        "--authorization-endpoint",
        "DOORWARD_AUTHORIZATION_ENDPOINT",
        ONLY_GITHUB,
    ),
    (
        "token_endpoint",
        "--token-endpoint",
        "DOORWARD_TOKEN_ENDPOINT",
        ONLY_GITHUB,
    ),
    (
        "introspection_endpoint",
        "--introspection-endpoint",
        "DOORWARD_INTROSPECTION_ENDPOINT",
        ONLY_GITHUB,
    ),
    ("token_env", "--token-env", "DOORWARD_TOKEN_ENV", NO_COMMAND),
    ("public_tool", "--public-tool", "DOORWARD_PUBLIC_TOOLS", NO_PUBLIC),
];

const WITH_HTTP: [Row; 5] = [
    (
        "tool_scope",
        "--tool-scope",
        "DOORWARD_TOOL_SCOPES",
        NOT_OVER_HTTP,
    ),
    ("resource", "--resource", "DOORWARD_RESOURCE", PUBLIC_URL),
    ("no_login", "--no-login", "DOORWARD_NO_LOGIN", NO_LOGIN),
    (
        "callback_port",
        "--callback-port",
        "DOORWARD_CALLBACK_PORT",
        NO_LOGIN,
    ),
    ("user", "--user", "DOORWARD_USER", NO_LOGIN),
];

/// The ids of the options that are refused in any case.
pub fn refused_always() -> impl Iterator<Item = &'static str> {
    ALWAYS.iter().map(|(id, ..)| *id)
}

/// Refuses options that were given, on the command line or by the environment. Where the token store is may stay said for all programs
/// of a person.
///
/// # Errors
/// The first that is refused.
pub fn refuse(matches: &ArgMatches, http: bool) -> Result<(), OptionRefused> {
    let with_http: &[Row] = if http { &WITH_HTTP } else { &[] };
    let given = |id: &str| {
        matches!(
            matches.value_source(id),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        )
    };
    match ALWAYS.iter().chain(with_http).find(|(id, ..)| given(id)) {
        Some(&(_, option, variable, why)) => Err(OptionRefused {
            option,
            variable,
            why,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};
    use doorward_stdio_authorization::options::Options;

    use super::*;

    fn judge(arguments: &[&str], http: bool) -> Result<(), String> {
        let command = Options::augment_args(Command::new("github"));
        let matches = command.get_matches_from([&["github"], arguments].concat());
        refuse(&matches, http).map_err(|refused| refused.to_string())
    }

    #[test]
    fn r02_r07_options_that_would_mislead_a_token_or_do_nothing_are_refused() {
        for (arguments, http_only) in [
            (&["--issuer", "https://a.example"][..], false),
            (&["--authorization-endpoint", "https://a.example/a"], false),
            (&["--token-endpoint", "https://a.example/t"], false),
            (&["--introspection-endpoint", "https://a.example/i"], false),
            (&["--token-env", "GITHUB_TOKEN"], false),
            (&["--public-tool", "*"], false),
            (&["--tool-scope", "*=repo"], true),
            (&["--resource", "https://a.example/x"], true),
            (&["--no-login"], true),
            (&["--callback-port", "8080"], true),
            (&["--user", "work"], true),
        ] {
            let refused = judge(arguments, true).unwrap_err();
            assert!(refused.starts_with(arguments[0]), "{refused}");
            assert_eq!(judge(arguments, false).is_ok(), http_only, "{arguments:?}");
        }
        let good = [
            "--scope",
            "repo",
            "--client-id",
            "x",
            "--store",
            "/x",
            "--provider",
            "github",
        ];
        assert_eq!(judge(&good, true), Ok(()));
    }
}
