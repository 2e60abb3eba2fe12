//! How to reach and log in to an MCP server elsewhere: the options that `login` and `connect` share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use doorward_types::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::grant_options::GrantOptions;
use crate::error::CommandError;

/// Where tokens are kept, and whose.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tokens")]
pub(crate) struct StoreOptions {
    /// Whose tokens: a label of your own, for several accounts at one server
    #[arg(long, value_name = "LABEL", default_value = "default", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: String,
    /// Where tokens are kept (or DOORWARD_STORE; default: $XDG_DATA_HOME/doorward or ~/.local/share/doorward)
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Keep the store's key in a file beside it, not in the keychain of the system
    #[cfg(feature = "keychain")]
    #[arg(long)]
    pub(crate) no_keychain: bool,
}

/// Who this program is to the authorization server, and what it asks for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Client")]
pub(crate) struct ClientOptions {
    /// A client id that the operator of the authorization server gave you
    #[arg(
        long,
        value_name = "ID",
        conflicts_with = "client_metadata_url",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub(crate) client_id: Option<String>,
    /// The authorization server that gave out --client-id, as its metadata writes its issuer: no other gets to see it
    /// (default: the first that it is used with)
    #[arg(long, value_name = "URL", requires = "client_id")]
    pub(crate) client_issuer: Option<String>,
    /// The file that holds the secret of --client-id (or - for stdin, with `login`)
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// The file that holds the private key of --client-id, PEM or JWK, for private_key_jwt
    #[arg(
        long,
        value_name = "FILE",
        requires = "client_id",
        conflicts_with = "client_secret_file"
    )]
    pub(crate) client_key_file: Option<PathBuf>,
    /// The https URL of a client metadata document that describes this program
    #[arg(long, value_name = "URL")]
    pub(crate) client_metadata_url: Option<String>,
    /// Scopes to ask for instead of those that the server names; may be repeated
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Vec<String>,
    /// A further parameter of the authorization request; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) authorize_param: Vec<String>,
    /// Bind tokens to a key of this machine where the server can (RFC 9449); always done where it must be
    #[arg(long)]
    pub(crate) dpop: bool,
}

/// How a token is got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum GrantOption {
    /// A person logs in, in a browser.
    #[default]
    AuthorizationCode,
    /// A person logs in on another device (RFC 8628).
    Device,
    /// The program itself, with --client-id and its secret or key.
    ClientCredentials,
}

/// How a person logs in.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Login")]
pub(crate) struct LoginOptions {
    /// How to get a token
    #[arg(
        long,
        value_name = "GRANT",
        value_enum,
        default_value_t,
        hide_possible_values = false
    )]
    pub(crate) grant: GrantOption,
    /// Log in on another device: print a code and an address (the same as --grant device)
    #[arg(long, conflicts_with = "grant")]
    pub(crate) device: bool,
    /// Open no browser: print the address and nothing else
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// The port of the redirect URI (default: the one registered before, else one that fits the server)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) callback_port: Option<u16>,
    /// The host of the redirect URI, if a registration says `localhost`; it listens on this machine only
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", value_parser = ["127.0.0.1", "[::1]", "localhost"])]
    pub(crate) callback_host: String,
    /// The path of the redirect URI
    #[arg(long, value_name = "PATH", default_value = "/callback")]
    pub(crate) callback_path: String,
    /// How long to wait for a person, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub(crate) auth_timeout: u64,
}

/// The way to the server.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkOptions {
    /// A header for every request to the MCP server; `${NAME}` becomes a variable of the environment; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// A file of such headers, one a line; `#` starts a comment
    #[arg(long, value_name = "FILE")]
    pub(crate) header_file: Option<PathBuf>,
    /// Allow http to the given server, in a network that nobody else can listen to
    #[arg(long)]
    pub(crate) allow_insecure_http: bool,
    /// The proxy for all requests (or HTTPS_PROXY, HTTP_PROXY, NO_PROXY)
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// A file of further certificate authorities, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Connect over IPv4 only
    #[arg(long)]
    pub(crate) ipv4: bool,
    /// Show every request and answer, without secrets, on stderr
    #[arg(long, short = 'v')]
    pub(crate) verbose: bool,
    /// Show nothing on stderr but what a person must do, and errors
    #[arg(long, short = 'q', conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// Everything about one MCP server elsewhere.
#[derive(Clone, Debug, Args)]
pub(crate) struct RemoteOptions {
    #[command(flatten)]
    pub(crate) tokens: StoreOptions,
    #[command(flatten)]
    pub(crate) client: ClientOptions,
    #[command(flatten)]
    pub(crate) login: LoginOptions,
    #[command(flatten)]
    pub(crate) grant: GrantOptions,
    #[command(flatten)]
    pub(crate) network: NetworkOptions,
}

impl LoginOptions {
    /// How long a person may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.auth_timeout)
    }

    /// The grant that is meant.
    pub(crate) fn grant(&self) -> GrantOption {
        if self.device {
            GrantOption::Device
        } else {
            self.grant
        }
    }
}

impl NetworkOptions {
    /// The headers of --header and --header-file, values marked as sensitive: they are for the MCP server alone.
    pub(crate) fn headers(&self) -> Result<HeaderMap, CommandError> {
        let mut headers = HeaderMap::new();
        if let Some(path) = &self.header_file {
            let text = read_secret(path, "--header-file")?;
            for line in text.expose().lines().map(str::trim) {
                if !line.is_empty() && !line.starts_with('#') {
                    add_header(&mut headers, line, "--header-file")?;
                }
            }
        }
        for line in &self.header {
            add_header(&mut headers, line, "--header")?;
        }
        Ok(headers)
    }
}

/// The MCP server's URL: `https`, or `http` on this machine, or `http` where it was allowed.
pub(crate) fn server_url(text: &str, allow_insecure_http: bool) -> Result<Url, CommandError> {
    let wrong = |why: &str| {
        Err(CommandError::usage(format!(
            "`{}` cannot be used: {why}",
            text.escape_debug()
        )))
    };
    if !text.contains("://") {
        return wrong("it does not begin with https:// or http://")
            .map_err(|error| error.hint(with_scheme(text)));
    }
    let Ok(mut url) = Url::parse(text) else {
        return wrong("it is not a URL")
            .map_err(|error| error.hint("write it like https://mcp.example.com/mcp"));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("it holds a user name or password; servers of MCP take tokens only");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return wrong("it names no host");
    }
    match url.scheme() {
        "https" => {}
        "http" if doorward_types::url::is_loopback(&url) || allow_insecure_http => {}
        "http" => {
            return wrong("http to another machine lets everybody on the way read the tokens").map_err(
                |error| {
                    error
                        .hint("use https, or allow it with --allow-insecure-http in a network that you trust")
                },
            );
        }
        _ => return wrong("only http and https servers can be reached"),
    }
    url.set_fragment(None);
    Ok(url)
}

/// What was meant by a URL without its scheme, as far as one can tell.
fn with_scheme(text: &str) -> String {
    let starts_as_host = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    let meant = Url::parse(&format!("https://{text}")).ok().filter(|url| {
        starts_as_host
            && url.username().is_empty()
            && url.password().is_none()
            && (url.port().is_some()
                || doorward_types::url::is_loopback(url)
                || url.host_str().is_some_and(|host| host.contains('.')))
    });
    match meant {
        Some(url) if doorward_types::url::is_loopback(&url) => {
            format!("did you mean http://{}?", text.escape_debug())
        }
        Some(_) => format!("did you mean https://{}?", text.escape_debug()),
        None => "write it like https://mcp.example.com/mcp".to_owned(),
    }
}

/// Reads a file that holds a secret, without the line end.
pub(crate) fn read_secret(path: &Path, option: &str) -> Result<Secret, CommandError> {
    const LONGEST: u64 = 64 * 1024;
    let unreadable = |error: &std::io::Error| {
        CommandError::usage(format!("{option}: {} cannot be read", path.display())).because(error)
    };
    let mut text = String::new();
    let file: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| unreadable(&error))?)
    };
    let read = std::io::Read::read_to_string(&mut std::io::Read::take(file, LONGEST + 1), &mut text);
    let read = read.map_err(|error| unreadable(&error))?;
    if u64::try_from(read).unwrap_or(u64::MAX) > LONGEST {
        return Err(CommandError::usage(format!(
            "{option}: {} is longer than 64 KiB",
            path.display()
        )));
    }
    let secret = Secret::new(text.trim_end_matches(['\n', '\r']));
    zeroize::Zeroize::zeroize(&mut text);
    if secret.expose().is_empty() {
        return Err(CommandError::usage(format!(
            "{option}: {} is empty",
            path.display()
        )));
    }
    Ok(secret)
}

/// The words never hold the value: it may be a credential.
fn add_header(headers: &mut HeaderMap, line: &str, option: &str) -> Result<(), CommandError> {
    let malformed = || {
        CommandError::usage(format!("{option}: a header is written `Name: value`")).hint(
            "quote it for the shell; hosts that cannot pass spaces may leave out the space behind the colon",
        )
    };
    let (name, value) = line.split_once(':').ok_or_else(malformed)?;
    let parsed: HeaderName = name.trim().parse().map_err(|_| malformed())?;
    let value = expanded(value.trim(), option)?;
    let mut value = HeaderValue::from_str(value.expose()).map_err(|_| {
        CommandError::usage(format!(
            "{option}: the value of `{parsed}` holds a character that headers cannot"
        ))
    })?;
    value.set_sensitive(true);
    headers.append(parsed, value);
    Ok(())
}

/// Replaces `${NAME}` by the environment's variable: hosts often cannot, and a credential in an argument is seen by all.
fn expanded(text: &str, option: &str) -> Result<Secret, CommandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, behind)) = after.split_once('}') else {
            break;
        };
        let value = std::env::var(name).map_err(|_| {
            CommandError::usage(format!(
                "{option}: there is no variable `{}` in the environment",
                name.escape_debug()
            ))
        })?;
        out.push_str(before);
        out.push_str(&value);
        rest = behind;
    }
    out.push_str(rest);
    Ok(Secret::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(error: &CommandError) -> String {
        error.in_one_line()
    }

    #[test]
    fn a_server_is_https_or_on_this_machine() {
        for good in [
            "https://mcp.example.com/mcp",
            "http://localhost:8080/mcp",
            "http://127.0.0.1/",
            "http://[::1]:1/x",
        ] {
            assert!(server_url(good, false).is_ok(), "{good}");
        }
        for bad in [
            "mcp.example.com",
            "http://mcp.example.com/mcp",
            "http://10.0.0.1/mcp",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://user:secret@mcp.example.com/",
        ] {
            assert!(server_url(bad, false).is_err(), "{bad}");
        }
        assert!(server_url("http://10.0.0.1/mcp", true).is_ok());
        assert!(server_url("file:///x", true).is_err());
        let error = server_url("http://mcp.example.com/mcp", false).unwrap_err();
        assert!(words(&error).contains("--allow-insecure-http"), "{error}");
    }

    #[test]
    fn a_url_without_its_scheme_is_told_with_it() {
        for (text, meant) in [
            ("mcp.example.com/mcp", "did you mean https://mcp.example.com/mcp?"),
            ("localhost:8080/mcp", "did you mean http://localhost:8080/mcp?"),
            ("127.0.0.1:8080/mcp", "did you mean http://127.0.0.1:8080/mcp?"),
            ("intranet:8443/mcp", "did you mean https://intranet:8443/mcp?"),
            ("javascript:alert(1)", "write it like https://mcp.example.com/mcp"),
            ("notes", "write it like https://mcp.example.com/mcp"),
            ("/mcp", "write it like https://mcp.example.com/mcp"),
        ] {
            let error = server_url(text, false).unwrap_err();
            assert!(words(&error).contains(meant), "{}", words(&error));
        }
    }

    #[test]
    fn headers_come_from_options_and_file_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        std::fs::write(&file, "# ours\nX-One: 1\n\nAuthorization: Bearer hush\n").unwrap();
        let mut network = NetworkOptions {
            header: vec!["X-Two:2".to_owned(), "X-Path: ${PATH}".to_owned()],
            header_file: Some(file),
            allow_insecure_http: false,
            proxy: None,
            ca_file: None,
            ipv4: false,
            verbose: false,
            quiet: false,
        };
        let headers = network.headers().unwrap();
        assert_eq!(headers["x-one"], "1");
        assert_eq!(headers["x-two"], "2");
        assert_eq!(
            headers["x-path"].to_str().unwrap(),
            std::env::var("PATH").unwrap()
        );
        assert!(!format!("{headers:?}").contains("hush"));
        for bad in [
            "no colon",
            "a b: c",
            "X: ${NOT_SET_ANYWHERE_7}",
            "X-Y: sec\u{1}ret",
        ] {
            network.header = vec![bad.to_owned()];
            let error = network.headers().unwrap_err();
            assert!(!words(&error).contains("sec"), "{error}");
        }
    }
}
