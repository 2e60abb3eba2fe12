//! The settings of one server, from the command line or the environment (R02).

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use doorward_policy::Pattern;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use url::Url;

use crate::compose::Configuration;
use crate::providers::Provider;
use crate::settings::{Hand, Protects, ToolScopes};

/// Options that are wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {problem}")]
pub struct OptionsError {
    /// Which one, as it is written on the command line.
    pub option: &'static str,
    /// What is wrong, and what to write.
    pub problem: String,
}

/// Whose tokens are accepted, and for what. Every option is also a variable of the environment.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// The authorization server, by its issuer: its endpoints and keys are found from there. May be repeated; a login
    /// goes to the first
    #[arg(long,
        help_heading = "Authorization server",
        value_parser = NonEmptyStringValueParser::new(), value_name = "URL", env = "DOORWARD_ISSUER", value_delimiter = ' ')]
    pub issuer: Vec<String>,
    /// A provider that is known by name and needs no metadata: github
    #[arg(
        long,
        help_heading = "Authorization server",
        value_parser = NonEmptyStringValueParser::new(),
        value_name = "NAME",
        env = "DOORWARD_PROVIDER",
        conflicts_with = "issuer"
    )]
    pub provider: Option<String>,
    /// Where the provider lives, if it is not at its usual address (GitHub Enterprise Server)
    #[arg(long,
        help_heading = "Authorization server",
        value_parser = NonEmptyStringValueParser::new(), value_name = "URL", env = "DOORWARD_PROVIDER_URL")]
    pub provider_url: Option<String>,
    /// Where the provider's API lives (default for GitHub: <https://api.github.com>, or /api/v3 below --provider-url)
    #[arg(long,
        help_heading = "Authorization server",
        value_parser = NonEmptyStringValueParser::new(), value_name = "URL", env = "DOORWARD_API_URL")]
    pub api_url: Option<String>,
    /// The authorization endpoint, for servers without metadata
    #[arg(long,
        help_heading = "Authorization server",
        value_parser = NonEmptyStringValueParser::new(), value_name = "URL", env = "DOORWARD_AUTHORIZATION_ENDPOINT")]
    pub authorization_endpoint: Option<String>,
    /// The token endpoint, for servers without metadata
    #[arg(long,
        help_heading = "Authorization server",
        value_parser = NonEmptyStringValueParser::new(), value_name = "URL", env = "DOORWARD_TOKEN_ENDPOINT")]
    pub token_endpoint: Option<String>,
    /// Where opaque tokens are asked about (RFC 7662), with the client id and its secret
    #[arg(long,
        help_heading = "Authorization server",
        value_parser = NonEmptyStringValueParser::new(), value_name = "URL", env = "DOORWARD_INTROSPECTION_ENDPOINT")]
    pub introspection_endpoint: Option<String>,
    /// The client id that this server logs in as (default: it registers itself where that is possible)
    #[arg(long,
        help_heading = "Client",
        value_parser = NonEmptyStringValueParser::new(), value_name = "ID", env = "DOORWARD_CLIENT_ID")]
    pub client_id: Option<String>,
    /// The file that holds the secret of the client id
    #[arg(
        long,
        help_heading = "Client",
        value_name = "FILE",
        env = "DOORWARD_CLIENT_SECRET_FILE"
    )]
    pub client_secret_file: Option<PathBuf>,
    /// The resource that tokens must be for (default: the issuer, then /stdio/ and the name of the server)
    #[arg(long,
        help_heading = "What tokens are for",
        value_parser = NonEmptyStringValueParser::new(), value_name = "URI", env = "DOORWARD_RESOURCE")]
    pub resource: Option<String>,
    /// A scope that every call needs. May be repeated
    #[arg(
        long,
        help_heading = "What tokens are for",
        value_name = "SCOPE",
        env = "DOORWARD_SCOPES",
        value_delimiter = ' '
    )]
    pub scope: Vec<String>,
    /// Scopes of some tools instead: a name, in which `*` stands for anything, then `=` and scopes with commas. May be repeated; the
    /// first that matches counts
    #[arg(
        long,
        help_heading = "What tokens are for",
        value_name = "TOOL=SCOPES",
        env = "DOORWARD_TOOL_SCOPES",
        value_delimiter = ' '
    )]
    pub tool_scope: Vec<String>,
    /// A tool that needs no token; `*` stands for anything. May be repeated
    #[arg(
        long,
        help_heading = "What tokens are for",
        value_name = "TOOL",
        env = "DOORWARD_PUBLIC_TOOLS",
        value_delimiter = ' '
    )]
    pub public_tool: Vec<String>,
    /// Hand the token to the command in this variable of its environment; it is started anew for each token
    #[arg(long,
        help_heading = "The command",
        value_parser = NonEmptyStringValueParser::new(), value_name = "NAME", env = "DOORWARD_TOKEN_ENV")]
    pub token_env: Option<String>,
    /// Do not run a login here: tokens come from DOORWARD_TOKEN or with each request
    #[arg(long, help_heading = "Login", env = "DOORWARD_NO_LOGIN")]
    pub no_login: bool,
    /// Whose login: a label of your own, for several accounts
    #[arg(long,
        help_heading = "Login",
        value_parser = NonEmptyStringValueParser::new(), value_name = "LABEL", default_value = "default", env = "DOORWARD_USER")]
    pub user: String,
    /// Where tokens are kept (default: where `doorward login` keeps them)
    #[arg(long, help_heading = "Login", value_name = "DIR", env = "DOORWARD_STORE")]
    pub store: Option<PathBuf>,
    /// The port of the login's redirect URI (default: one that fits the server)
    #[arg(long,
        help_heading = "Login", value_name = "PORT", env = "DOORWARD_CALLBACK_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub callback_port: Option<u16>,
}

impl Options {
    /// Reads them. `name` names the server in its resource; `token` is `DOORWARD_TOKEN`.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn configuration(&self, name: &str, token: Option<Secret>) -> Result<Configuration, OptionsError> {
        let provider = self.provider.as_deref().map(named).transpose()?;
        if provider.is_none() && self.issuer.is_empty() && self.authorization_endpoint.is_none() {
            return Err(wrong(
                "--issuer",
                "say whose tokens are accepted: --issuer URL, --provider github, or --authorization-endpoint URL with --token-endpoint URL",
            ));
        }
        if self.authorization_endpoint.is_some() != self.token_endpoint.is_some() {
            return Err(wrong(
                "--token-endpoint",
                "--authorization-endpoint and --token-endpoint belong together",
            ));
        }
        if self.authorization_endpoint.is_some() && self.issuer.len() > 1 {
            return Err(wrong(
                "--issuer",
                "endpoints can be written down for one authorization server only",
            ));
        }
        for issuer in &self.issuer {
            url("--issuer", Some(issuer))?;
        }
        let secret = match &self.client_secret_file {
            Some(file) => Some(secret(file)?),
            None => None,
        };
        Ok(Configuration {
            name: name.to_owned(),
            issuers: self.issuer.clone(),
            provider,
            provider_url: url("--provider-url", self.provider_url.as_deref())?,
            api_url: url("--api-url", self.api_url.as_deref())?,
            authorization_endpoint: url("--authorization-endpoint", self.authorization_endpoint.as_deref())?,
            token_endpoint: url("--token-endpoint", self.token_endpoint.as_deref())?,
            introspection_endpoint: url("--introspection-endpoint", self.introspection_endpoint.as_deref())?,
            client_id: self.client_id.clone(),
            client_secret: secret,
            resource: url("--resource", self.resource.as_deref())?,
            scopes: scopes("--scope", &self.scope)?,
            tools: self
                .tool_scope
                .iter()
                .map(|text| tool_scopes(text))
                .collect::<Result<_, _>>()?,
            public_tools: self
                .public_tool
                .iter()
                .map(|text| pattern("--public-tool", text))
                .collect::<Result<_, _>>()?,
            protects: Protects {
                prompts: true,
                resources: true,
            },
            hand: match &self.token_env {
                Some(name) => Hand::Environment(variable(name)?),
                None => Hand::Nothing,
            },
            token,
            user: self.user.clone(),
            logs_in: !self.no_login,
            callback_port: self.callback_port,
        })
    }
}

fn wrong(option: &'static str, problem: impl Into<String>) -> OptionsError {
    OptionsError {
        option,
        problem: problem.into(),
    }
}

fn named(name: &str) -> Result<&'static Provider, OptionsError> {
    Provider::named(name).ok_or_else(|| {
        let known: Vec<&str> = crate::providers::ALL
            .iter()
            .map(|provider| provider.name)
            .collect();
        wrong(
            "--provider",
            format!(
                "`{}` is not known; known are: {}",
                name.escape_debug(),
                known.join(", ")
            ),
        )
    })
}

fn url(option: &'static str, text: Option<&str>) -> Result<Option<Url>, OptionsError> {
    let Some(text) = text else { return Ok(None) };
    if !text.contains("://") {
        return Err(wrong(
            option,
            format!(
                "`{}` is not a URL: write it with https:// in front (http:// on this machine)",
                text.escape_debug()
            ),
        ));
    }
    let url = Url::parse(text)
        .map_err(|error| wrong(option, format!("`{}` is not a URL: {error}", text.escape_debug())))?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Err(wrong(
            option,
            format!("`{}` is not an https URL", text.escape_debug()),
        ));
    }
    Ok(Some(url))
}

fn secret(file: &std::path::Path) -> Result<Secret, OptionsError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        wrong(
            "--client-secret-file",
            format!("{} cannot be read: {error}", file.display()),
        )
    })?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(wrong(
            "--client-secret-file",
            format!("{} is empty", file.display()),
        ));
    }
    Ok(Secret::new(text))
}

fn scopes(option: &'static str, words: &[String]) -> Result<ScopeSet, OptionsError> {
    let words = words
        .iter()
        .flat_map(|word| word.split([' ', ',']))
        .filter(|word| !word.is_empty());
    words
        .map(|word| {
            word.parse()
                .map_err(|_| wrong(option, format!("`{}` is not a scope", word.escape_debug())))
        })
        .collect()
}

fn pattern(option: &'static str, text: &str) -> Result<Pattern, OptionsError> {
    text.parse().map_err(|error| wrong(option, format!("{error}")))
}

fn tool_scopes(text: &str) -> Result<ToolScopes, OptionsError> {
    let Some((tool, list)) = text.split_once('=') else {
        return Err(wrong(
            "--tool-scope",
            format!("`{}` should be TOOL=SCOPE", text.escape_debug()),
        ));
    };
    Ok(ToolScopes {
        pattern: pattern("--tool-scope", tool)?,
        scopes: scopes("--tool-scope", &[list.to_owned()])?,
    })
}

fn variable(name: &str) -> Result<String, OptionsError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong(
            "--token-env",
            format!("`{}` is not the name of a variable", name.escape_debug()),
        ));
    }
    if name.starts_with("DOORWARD_") {
        return Err(wrong(
            "--token-env",
            "variables that start with DOORWARD_ are not handed on",
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut Options)) -> Result<Configuration, OptionsError> {
        let mut options = Options {
            issuer: vec!["https://as.example".to_owned()],
            user: "default".to_owned(),
            ..Options::default()
        };
        change(&mut options);
        options.configuration("notes", None)
    }

    #[test]
    fn r02_r11_tools_have_scopes_of_their_own() {
        let configuration = read(|options| {
            options.scope = vec!["a b".to_owned(), "c".to_owned()];
            options.tool_scope = vec!["delete_*=x,y".to_owned(), "about=".to_owned()];
            options.public_tool = vec!["ping".to_owned()];
            options.token_env = Some("API_TOKEN".to_owned());
        })
        .unwrap();
        assert_eq!(configuration.scopes.to_string(), "a b c");
        assert_eq!(configuration.tools[0].scopes.to_string(), "x y");
        assert!(configuration.tools[1].scopes.is_empty());
        assert_eq!(configuration.hand, Hand::Environment("API_TOKEN".to_owned()));
    }

    #[test]
    fn wrong_options_say_which_and_what_to_write() {
        for (change, expected) in [
            (
                Box::new(|o: &mut Options| o.issuer.clear()) as Box<dyn FnOnce(&mut Options)>,
                "--issuer: say whose",
            ),
            (
                Box::new(|o| o.provider = Some("gitlab".to_owned())),
                "--provider: `gitlab` is not known; known are: github",
            ),
            (
                Box::new(|o| o.token_endpoint = Some("https://a/t".to_owned())),
                "--token-endpoint: --authorization-endpoint and",
            ),
            (
                Box::new(|o| o.resource = Some("urn:x".to_owned())),
                "--resource: `urn:x` is not a URL: write it with https://",
            ),
            (
                Box::new(|o| o.issuer = vec!["localhost:8080".to_owned()]),
                "--issuer: `localhost:8080` is not a URL: write it with https:// in front (http:// on this machine)",
            ),
            (
                Box::new(|o| o.issuer = vec!["ftp://as.example".to_owned()]),
                "--issuer: `ftp://as.example` is not an https URL",
            ),
            (
                Box::new(|o| o.scope = vec!["a\"".to_owned()]),
                "--scope: `a\\\"` is not a scope",
            ),
            (
                Box::new(|o| o.tool_scope = vec!["x".to_owned()]),
                "--tool-scope: `x` should be TOOL=SCOPE",
            ),
            (
                Box::new(|o| o.token_env = Some("A-B".to_owned())),
                "--token-env: `A-B` is not the name",
            ),
            (
                Box::new(|o| o.token_env = Some("DOORWARD_X".to_owned())),
                "--token-env: variables that start",
            ),
            (
                Box::new(|o| o.client_secret_file = Some("/nowhere/x".into())),
                "--client-secret-file: /nowhere/x cannot be read",
            ),
        ] {
            let error = read(change).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
