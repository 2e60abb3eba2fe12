//! From options to a session with one MCP server: store, network, browser, and where notices go.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorward_client::enterprise::IdpCredential;
use doorward_client::error::{Error, Refusal};
use doorward_client::grant::Grant;
use doorward_client::http::TransportError;
use doorward_client::registration::{Application, PreRegistered};
use doorward_local_login::browser::Browser;
use doorward_local_login::callback::{CallbackHost, CallbackOptions};
use doorward_local_login::network::{ExchangeLog, Network, roots};
use doorward_local_login::session::{Notice, Parts, Session, Settings, Tell};
use doorward_local_login::sign_on::{Provider, SignOn};
use doorward_local_login::store::{KeySource, Store, StoreError, default_folder};
use doorward_outbound::{ClientOptions as HttpOptions, GuardedClient, ProxyRules};
use doorward_types::random::SystemRandom;
use doorward_types::scope::ScopeSet;
use doorward_types::time::SystemClock;
use http::HeaderValue;
use tokio::sync::mpsc;
use url::Url;

use super::remote_options::{GrantOption, NetworkOptions, RemoteOptions, StoreOptions, read_secret};
use crate::error::CommandError;

/// Who uses the session.
pub(crate) enum Mode {
    /// A command at a terminal, which may have lines that a person pastes.
    Command(Option<mpsc::Receiver<String>>),
    /// A bridge: it may start a browser, and nobody types.
    Bridge,
    /// Nobody is there.
    Headless,
}

/// A session with the MCP server at `url`.
pub(crate) fn open(options: &RemoteOptions, url: &Url, mode: Mode) -> Result<Arc<Session>, CommandError> {
    let client = http_client(&options.network)?;
    let (interactive, mut pasted) = match mode {
        Mode::Command(pasted) => (true, pasted),
        Mode::Bridge => (true, None),
        Mode::Headless => (false, None),
    };
    let mut settings = settings(options, url, interactive)?;
    let sign_on = |provider: Provider, credential: &IdpCredential| {
        let at = issuer_url(&provider)?;
        // What is pasted is the answer of the identity provider: there is no other page.
        let parts = parts(options, (client.clone(), &at), pasted.take())?;
        SignOn::new(provider, credential, &settings, parts).map_err(|error| explain(&error))
    };
    if let Some(grant) = options.grant.grant(sign_on)? {
        settings.grant = grant;
    }
    let parts = parts(options, (client, url), pasted)?;
    Ok(Arc::new(Session::new(settings, parts)))
}

/// The sign-on at an identity provider that is kept, to be ended.
pub(crate) fn open_sign_on(options: &RemoteOptions, provider: Provider) -> Result<SignOn, CommandError> {
    let at = issuer_url(&provider)?;
    let settings = settings(options, &at, false)?;
    let parts = parts(options, (http_client(&options.network)?, &at), None)?;
    let credential = options.grant.credential()?;
    SignOn::new(provider, &credential, &settings, parts).map_err(|error| explain(&error))
}

fn issuer_url(provider: &Provider) -> Result<Url, CommandError> {
    Url::parse(&provider.issuer)
        .map_err(|error| CommandError::usage("--idp-issuer is not a URL").because(&error))
}

fn parts(
    options: &RemoteOptions,
    (client, server): (GuardedClient, &Url),
    pasted: Option<mpsc::Receiver<String>>,
) -> Result<Parts, CommandError> {
    let mut network = Network::new(client, server.clone());
    if options.network.verbose {
        network = network.with_log(Arc::new(ExchangeLog::new(Box::new(crate::log::Aside))));
    }
    let browser = (!options.login.no_browser).then(|| Browser::from_environment(&variable));
    let quiet = options.network.quiet;
    Ok(Parts {
        store: store(&options.tokens)?,
        http: Arc::new(network.clone()),
        network: Some(network),
        browser,
        pasted,
        tell: Arc::new(Stderr { quiet }),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
    })
}

/// Refuses `-` for every file of a bridge: what comes on its standard input are the host's messages, and read as a secret they
/// would be sent to the authorization server.
pub(crate) fn not_from_the_host(options: &RemoteOptions) -> Result<(), CommandError> {
    let files = [
        ("--client-secret-file", &options.client.client_secret_file),
        ("--client-key-file", &options.client.client_key_file),
        ("--header-file", &options.network.header_file),
        ("--idp-client-secret-file", &options.grant.idp_client_secret_file),
        ("--idp-client-key-file", &options.grant.idp_client_key_file),
    ];
    let taken = files
        .iter()
        .find(|(_, file)| file.as_deref() == Some(Path::new("-")));
    taken.map_or(Ok(()), |(option, _)| {
        Err(CommandError::usage(format!(
            "{option} -: standard input belongs to the host that started this"
        ))
        .hint("name a file that only you can read"))
    })
}

/// The client that MCP traffic and login share.
fn http_client(options: &NetworkOptions) -> Result<GuardedClient, CommandError> {
    let roots = roots(options.ca_file.as_deref(), &variable)
        .map_err(|error| CommandError::usage("the certificate authorities cannot be read").because(&error))?;
    let proxy = match &options.proxy {
        Some(url) => ProxyRules::url(
            url,
            &variable("NO_PROXY")
                .or_else(|| variable("no_proxy"))
                .unwrap_or_default(),
        ),
        None => ProxyRules::from_environment(&variable),
    };
    let proxy = proxy.map_err(|error| CommandError::usage("the proxy cannot be used").because(&error))?;
    let mut http = HttpOptions::new(roots);
    http.proxy = proxy;
    http.ipv4_only = options.ipv4;
    http.insecure_http = options.allow_insecure_http;
    http.user_agent = HeaderValue::from_static(concat!("doorward/", env!("CARGO_PKG_VERSION")));
    Ok(GuardedClient::new(http))
}

fn settings(options: &RemoteOptions, url: &Url, interactive: bool) -> Result<Settings, CommandError> {
    let client = &options.client;
    let login = &options.login;
    let secret = client
        .client_secret_file
        .as_ref()
        .map(|file| read_secret(file, "--client-secret-file"))
        .transpose()?;
    let key = client
        .client_key_file
        .as_ref()
        .map(|file| {
            let text = read_secret(file, "--client-key-file")?;
            doorward_client::client_assertion::ClientKey::parse(text.expose())
                .map(Arc::new)
                .map_err(|error| {
                    CommandError::usage("--client-key-file holds no key that can sign").because(&error)
                })
        })
        .transpose()?;
    let scope = scopes(&client.scope)?;
    let pre_registered = client.client_id.as_ref().map(|client_id| PreRegistered {
        client_id: client_id.clone(),
        client_secret: secret,
        token_endpoint_auth_method: None,
        issuer: client.client_issuer.clone(),
    });
    Ok(Settings {
        server: url.clone(),
        user: options.tokens.user.clone(),
        application: Application {
            client_name: "Doorward".to_owned(),
            client_uri: None,
            software_id: Some("doorward".to_owned()),
            software_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            client_metadata_url: client.client_metadata_url.clone(),
            pre_registered,
            may_register: true,
        },
        client_key: key,
        scope,
        authorize_parameters: parameters(&client.authorize_param)?,
        headers: options.network.headers()?,
        grant: match login.grant() {
            GrantOption::AuthorizationCode => Grant::AuthorizationCode,
            GrantOption::Device => Grant::Device,
            GrantOption::ClientCredentials => Grant::ClientCredentials,
        },
        dpop: client.dpop,
        callback: CallbackOptions {
            host: match login.callback_host.as_str() {
                "[::1]" => CallbackHost::V6,
                "localhost" => CallbackHost::Localhost,
                _ => CallbackHost::V4,
            },
            ports: login.callback_port.into_iter().collect(),
            path: login.callback_path.clone(),
        },
        interactive,
        login_timeout: login.timeout(),
        allow_insecure_http: options.network.allow_insecure_http,
        discovered: None,
        sign_on: None,
    })
}

fn scopes(words: &[String]) -> Result<Option<ScopeSet>, CommandError> {
    let joined = words.join(" ");
    let text = joined.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        CommandError::usage(format!(
            "--scope: `{}` is not a list of scopes",
            text.escape_debug()
        ))
    })
}

/// Parameters of the login itself cannot be replaced: that would undo its checks.
fn parameters(words: &[String]) -> Result<Vec<(String, String)>, CommandError> {
    const OURS: [&str; 11] = [
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "dpop_jkt",
        "redirect_uri",
        "request_uri",
        "resource",
        "response_type",
        "scope",
        "state",
    ];
    words
        .iter()
        .map(|word| {
            let (name, value) = word
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| CommandError::usage("--authorize-param is written NAME=VALUE"))?;
            if OURS.contains(&name) {
                return Err(CommandError::usage(format!(
                    "--authorize-param: `{name}` is set by the login itself"
                )));
            }
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// The folder of the store.
fn store_folder(options: &StoreOptions) -> Result<PathBuf, CommandError> {
    if let Some(folder) = &options.store {
        return Ok(folder.clone());
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("DOORWARD_STORE") {
        return Ok(folder.into());
    }
    default_folder(set("HOME"), set("XDG_DATA_HOME")).map_err(|error| unusable(&error))
}

fn store(options: &StoreOptions) -> Result<Store, CommandError> {
    Store::open(
        &store_folder(options)?,
        key_source(options),
        Arc::new(SystemRandom),
    )
    .map_err(|error| unusable(&error))
}

/// The store, if there is one.
pub(crate) fn existing_store(options: &StoreOptions) -> Result<Option<Store>, CommandError> {
    Store::open_existing(
        &store_folder(options)?,
        key_source(options),
        Arc::new(SystemRandom),
    )
    .map_err(|error| unusable(&error))
}

#[cfg(not(feature = "keychain"))]
const fn key_source(_: &StoreOptions) -> KeySource {
    KeySource::File
}

#[cfg(feature = "keychain")]
const fn key_source(options: &StoreOptions) -> KeySource {
    if options.no_keychain {
        KeySource::File
    } else {
        KeySource::Keychain
    }
}

fn unusable(error: &StoreError) -> CommandError {
    CommandError::failed("the token store cannot be used").because(error)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Notices in lines on stderr: stdout is for answers, or a protocol.
struct Stderr {
    quiet: bool,
}

impl Tell for Stderr {
    fn tell(&self, notice: &Notice) {
        if self.quiet && !notice.is_important() {
            return;
        }
        let mut line = Vec::new();
        for part in notice.to_string().lines() {
            crate::log::escape_controls(part.as_bytes(), &mut line);
            line.push(b'\n');
        }
        // Nobody reads it any more: that is their business.
        let _: std::io::Result<()> = crate::log::Aside.write_all(&line);
    }
}

/// A failed login in words: what, where, which rule, what who must change.
pub(crate) fn explain(error: &Error) -> CommandError {
    explain_as("log in", error)
}

/// The same for whatever could not be done.
pub(crate) fn explain_as(what: &str, error: &Error) -> CommandError {
    match error {
        Error::Refused(refusal) => refused(refusal),
        Error::Answered { .. } => CommandError::no("the login was refused").because(error),
        Error::NeedsUser(words) => {
            let told = CommandError::no(format!("cannot {what}")).because(error);
            match what_to_do(words) {
                Some(hint) => told.hint(hint),
                None => told,
            }
        }
        Error::GaveUp { .. } => CommandError::no("the login came to nothing").because(error),
        Error::Unreachable { hop, url, source } => {
            // An authorization URL has the state in its query.
            let mut place = url.clone();
            place.set_query(None);
            let forbidden = matches!(source, TransportError::Forbidden(_) | TransportError::NotHttps);
            let told = if forbidden {
                CommandError::no(format!(
                    "this server points to a place where no login may go: {hop} ({place})"
                ))
            } else {
                CommandError::failed(format!("cannot {what}: {hop} ({place})"))
            };
            match what_to_try(&place, source) {
                Some(hint) => told.because(source).hint(hint),
                None => told.because(source),
            }
        }
        Error::Provider(_) | Error::Dpop(_) | Error::Key(_) => {
            CommandError::failed(format!("cannot {what}")).because(error)
        }
    }
}

/// What a person can do about what they had to do, where the words do not say it.
fn what_to_do(words: &str) -> Option<&'static str> {
    if words.starts_with("nobody logged in within") {
        return Some("--auth-timeout SECONDS waits longer; if the page showed an error, run it again");
    }
    words
        .starts_with("nothing can listen on")
        .then_some("another program has that port: choose another --callback-port, or leave it out")
}

/// What a person can try by themselves when a server is not reached: most of the time the URL is not quite right.
fn what_to_try(place: &Url, source: &TransportError) -> Option<&'static str> {
    let TransportError::Failed(why) = source else {
        return None;
    };
    if why.starts_with("TLS with") {
        return Some(if why.contains("InvalidContentType") {
            "it does not answer in TLS: a server on this machine is often http:// instead of https://"
        } else {
            "with an authority of your own: --ca-file FILE, or SSL_CERT_FILE"
        });
    }
    if why.contains("onnection refused") {
        return Some(if doorward_types::url::is_loopback(place) {
            "is the server running, and is the port right?"
        } else {
            "is the port right, and does the way there need a proxy (--proxy, HTTPS_PROXY)?"
        });
    }
    why.contains("has no address").then_some(
        "is the name written right? Behind a proxy that resolves names: --proxy URL, or HTTPS_PROXY",
    )
}

fn refused(refusal: &Refusal) -> CommandError {
    let Refusal {
        hop,
        url,
        rule,
        clause,
        problem,
        remedy,
    } = refusal;
    let place = url.as_ref().map(|url| format!(" ({url})")).unwrap_or_default();
    CommandError::no(format!(
        "this server cannot be used: {hop}{place}: {problem} [{rule}, {clause}]"
    ))
    .hint(remedy)
}
