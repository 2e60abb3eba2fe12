//! `doorward-github`: the GitHub server over stdio, or over HTTP with `--http`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use doorward_github::api::Api;
use doorward_github::http::{HttpServer, router};
use doorward_github::refused_options::{refuse, refused_always};
use doorward_github::{GitHubServer, TokenIn};
use doorward_local_login::network::roots;
use doorward_local_login::store::{KeySource, Store, default_folder};
use doorward_outbound::{ClientOptions, GuardedClient, ProxyRules, TlsRoots};
use doorward_stdio_authorization::compose::{Configuration, Machine, compose};
use doorward_stdio_authorization::options::Options;
use doorward_stdio_authorization::providers::GITHUB;
use doorward_stdio_authorization::rmcp::Service;
use doorward_stdio_authorization::{GitHubTokens, Hand, Protects, hide_ourselves, run};
use doorward_types::random::SystemRandom;
use doorward_types::secret::Secret;
use doorward_types::time::SystemClock;
use tracing_subscriber::EnvFilter;
use url::Url;

const EXAMPLES: &str = "\
Examples:
  doorward-github --client-id Iv1.0123 --client-secret-file ~/.github-app-secret
      over stdio, for a host; the first call says where to log in
  DOORWARD_TOKEN=$(gh auth token) doorward-github
      with a token that you have, and no app
  doorward-github --provider-url https://github.corp.example --client-id ID \\
      --client-secret-file FILE
      GitHub Enterprise Server
  doorward-github --http 127.0.0.1:8090 --client-id ID --client-secret-file FILE
      over HTTP at http://127.0.0.1:8090/mcp
Most options are variables of the environment, too: they stand in square brackets.
DOORWARD_LOG=info logs every step on stderr.
Docs: servers/github/README.md";

/// An MCP server that acts on GitHub for its user.
///
/// Without further options it speaks MCP over stdio and runs the login itself: make an OAuth App at
/// <https://github.com/settings/developers> with the callback URL http://127.0.0.1/callback, and give its client id and the file with its
/// secret. With DOORWARD_TOKEN in the environment it uses that token.
#[derive(Parser)]
#[command(version, name = "doorward-github", max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    /// Serve Streamable HTTP here instead of stdio, at /mcp; loopback only
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// The URL of the HTTP server as clients write it (default: `http://` and the address)
    #[arg(long, value_name = "URL", requires = "http")]
    public_url: Option<String>,
    #[command(flatten)]
    options: Options,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Tokens are in memory and in the environment: no core dump, nothing for other processes of the same user.
    let hidden = hide_ourselves();
    let filter = EnvFilter::try_from_env("DOORWARD_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // stdout belongs to MCP.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A stderr that nobody reads any more is no reason to end.
        .log_internal_errors(false)
        .init();
    let matches = Arguments::command().mut_args(own_help).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let asked = hidden.map_err(anyhow::Error::from);
    let asked = asked.and_then(|()| Ok(refuse(&matches, arguments.http.is_some())?));
    let served = match asked {
        Ok(()) => serve(arguments).await,
        Err(error) => Err(error),
    };
    let code = match served {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("{error:#}"));
            2
        }
    };
    // A thread may still be waiting for a line of the host.
    std::process::exit(code)
}

/// The options of the extension in the words of this server. What is refused in any case is not shown.
fn own_help(argument: clap::Arg) -> clap::Arg {
    let id = argument.get_id().as_str();
    if id == "provider" || refused_always().any(|refused| refused == id) {
        return argument.hide(true);
    }
    let help = match id {
        "client_id" => "The client id of your OAuth App or GitHub App",
        "client_secret_file" => "The file that holds its secret",
        "provider_url" => "Where GitHub Enterprise Server lives (default: <https://github.com>)",
        "api_url" => {
            "Where its API lives (default: <https://api.github.com>, or /api/v3 below --provider-url)"
        }
        "resource" => {
            "The resource that clients are told tokens are for (default: <https://github.com/stdio/github>)"
        }
        "scope" => "A scope that every call needs (default: read:user). May be repeated",
        _ => return argument,
    };
    argument.help(help)
}

fn say(text: &str) {
    // Nobody may read stderr any more.
    let _: std::io::Result<()> = writeln!(std::io::stderr(), "doorward-github: {text}");
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn serve(arguments: Arguments) -> Result<()> {
    let mut options = arguments.options;
    options.provider.get_or_insert_with(|| GITHUB.name.to_owned());
    let token = variable("DOORWARD_TOKEN").map(Secret::new);
    if token.is_some() && arguments.http.is_some() {
        bail!(
            "DOORWARD_TOKEN: over HTTP each request brings a token of its own, so this one would not be used: remove it"
        );
    }
    let mut configuration = options.configuration("github", token)?;
    // Whatever else is known by name some day: a token that GitHub did not issue is never sent to GitHub.
    if configuration.provider.map(|provider| provider.name) != Some(GITHUB.name) {
        bail!("--provider: only github's tokens are taken here");
    }
    if configuration.scopes.is_empty() {
        configuration.scopes = GITHUB.scopes("read:user");
    }
    // The handlers take the token from the request. Prompts are texts.
    configuration.hand = Hand::Meta;
    configuration.protects = Protects {
        prompts: false,
        resources: false,
    };
    // GitHub gives nobody a client id by itself.
    configuration.logs_in &= configuration.client_id.is_some();
    let roots = roots(None, &variable).context("the certificate authorities cannot be read")?;
    let mut http = ClientOptions::new(roots.clone());
    http.proxy = ProxyRules::from_environment(&variable).context("the proxy cannot be used")?;
    let client = GuardedClient::new(http);
    let api = api_url(&configuration)?;
    match arguments.http {
        Some(address) => serve_http(address, arguments.public_url, &configuration, client, api).await,
        None => serve_stdio(&options, configuration, client, roots, api).await,
    }
}

fn api_url(configuration: &Configuration) -> Result<Url> {
    Ok(match (&configuration.api_url, &configuration.provider_url) {
        (Some(api), _) => api.clone(),
        (None, Some(base)) => Url::parse(&format!("{}/api/v3", base.as_str().trim_end_matches('/')))?,
        (None, None) => Url::parse(GITHUB.api)?,
    })
}

async fn serve_stdio(
    options: &Options,
    configuration: Configuration,
    client: GuardedClient,
    roots: TlsRoots,
    api: Url,
) -> Result<()> {
    let store = match configuration.logs_in {
        true => Some(store(options)?),
        false => None,
    };
    if store.is_none() && configuration.token.is_none() {
        say(
            "no login here: give --client-id and --client-secret-file of a GitHub app, or set DOORWARD_TOKEN",
        );
    }
    if configuration.logs_in && configuration.client_secret.is_none() {
        say("--client-secret-file is missing: GitHub ends a login only with the secret of the app");
    }
    let machine = Machine {
        client: client.clone(),
        roots,
        store,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        say: Arc::new(say),
    };
    let composed = compose(&configuration, machine)?;
    let mut server = Service::new(GitHubServer::new(Api::new(client, api), TokenIn::Meta));
    let authority = composed.authority;
    let ended = tokio::select! {
        ended = run(tokio::io::stdin(), tokio::io::stdout(), &mut server, &*authority) => ended,
        () = composed.upkeep.run() => Ok(()),
    };
    authority.settled().await;
    Ok(ended?)
}

fn store(options: &Options) -> Result<Store> {
    let folder = match &options.store {
        Some(folder) => folder.clone(),
        None => default_folder(std::env::var_os("HOME"), std::env::var_os("XDG_DATA_HOME"))?,
    };
    Ok(Store::open(&folder, KeySource::File, Arc::new(SystemRandom))?)
}

async fn serve_http(
    address: SocketAddr,
    public_url: Option<String>,
    configuration: &Configuration,
    client: GuardedClient,
    api: Url,
) -> Result<()> {
    if !address.ip().is_loopback() {
        bail!(
            "--http {address}: only loopback is served; put Doorward in front for anything else (doorward serve --upstream http://…/mcp)"
        );
    }
    let verify = GitHubTokens::new(client.clone(), &api, Arc::new(SystemClock))?;
    let verify = match (&configuration.client_id, &configuration.client_secret) {
        (Some(id), Some(secret)) => verify.of_app(&api, id, secret)?,
        _ => {
            say("without --client-id and --client-secret-file, GitHub tokens of any app are taken");
            verify
        }
    };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let base = public_url.unwrap_or(format!("http://{}", listener.local_addr()?));
    let mut authorization_server = GITHUB.authorization_server(configuration.provider_url.as_ref())?;
    authorization_server.scopes_supported = configuration
        .scopes
        .iter()
        .map(|scope| scope.as_str().to_owned())
        .collect();
    let router = router(HttpServer {
        api: Api::new(client, api),
        resource: format!("{}/mcp", base.trim_end_matches('/')),
        authorization_server,
        scopes: configuration.scopes.clone(),
        client_id: configuration
            .client_id
            .clone()
            .unwrap_or_else(|| "unknown".to_owned()),
        verify: Arc::new(verify),
    })?;
    say(&format!("serving {}/mcp", base.trim_end_matches('/')));
    Ok(axum::serve(listener, router).await?)
}
