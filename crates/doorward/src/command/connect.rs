//! `doorward connect`: a stdio bridge to an MCP server elsewhere, with the login that it needs.

mod network;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use doorward_bridge::settings::{Settings, Transport};
use doorward_bridge::{Parts, era, run as bridge};
use doorward_client::authorizer::Authorizer;
use doorward_policy::Pattern;
use doorward_types::random::{SystemRandom, bytes};
use http::header::AUTHORIZATION;

use self::network::Observed;
use super::remote_options::{RemoteOptions, server_url};
use super::remote_session;
use crate::error::CommandError;
use crate::log::{self, LogFormat, LogLevel};

/// Which transport the server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportOption {
    /// Streamable HTTP, and HTTP+SSE of 2024-11-05 if the server does not have it.
    #[default]
    Auto,
    /// Streamable HTTP alone.
    Http,
    /// HTTP+SSE of 2024-11-05 alone.
    Sse,
}

/// `doorward connect`.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The MCP server: <https://mcp.example.com/mcp>
    pub(crate) url: String,
    /// Which transport the server speaks
    #[arg(long, value_enum, default_value_t)]
    pub(crate) transport: TransportOption,
    /// Tools that the host does not get to see, and cannot call; `*` stands for any characters; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) ignore_tool: Vec<Pattern>,
    /// Send a ping to a quiet session every so many seconds, so that nobody on the way ends it
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub(crate) keep_alive: Option<u64>,
    /// Keep no cookies of the server; they are kept in memory only, for load balancers
    #[arg(long)]
    pub(crate) no_cookies: bool,
    /// The longest message of either side, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) max_message: u64,
    #[command(flatten)]
    pub(crate) remote: Box<RemoteOptions>,
}

/// Runs it until the host closes stdin. Stdout gets JSON-RPC messages and nothing else.
pub(super) async fn run(args: ConnectArgs) -> Result<(), CommandError> {
    let network = &args.remote.network;
    let level = match (network.quiet, network.verbose) {
        (true, _) => LogLevel::Error,
        (_, true) => LogLevel::Debug,
        _ => LogLevel::Warn,
    };
    let _logging = log::start(level, LogFormat::Human, true);
    remote_session::not_from_the_host(&args.remote)?;
    let url = server_url(&args.url, network.allow_insecure_http)?;
    let settings = Settings {
        transport: match args.transport {
            TransportOption::Auto => Transport::Auto,
            TransportOption::Http => Transport::Streamable,
            TransportOption::Sse => Transport::Sse,
        },
        headers: network.headers()?,
        ignored_tools: args.ignore_tool,
        keep_alive: args.keep_alive.map(Duration::from_secs),
        cookies: !args.no_cookies,
        longest_message: usize::try_from(args.max_message << 20).unwrap_or(usize::MAX),
        ..Settings::new(url)
    };
    let session = remote_session::open(&args.remote, &settings.url, remote_session::Mode::Bridge)?;
    let http = session
        .network()
        .cloned()
        .ok_or_else(|| CommandError::failed("the network cannot be used"))?;
    // Who brings a credential of their own does not want to log in.
    let has_own = settings.headers.contains_key(AUTHORIZATION);
    let authorizer: Option<Arc<dyn Authorizer>> = if has_own {
        None
    } else {
        Some(Arc::clone(&session) as Arc<dyn Authorizer>)
    };
    let parts = Parts {
        era: era::Settings {
            server_name: settings.url.host_str().unwrap_or_default().to_owned(),
            client_name: "doorward".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            nonce: nonce(),
        },
        settings,
        http: Arc::new(Observed::new(http)),
        authorizer,
    };
    let shut_out = bridge(
        parts,
        tokio::io::stdin(),
        tokio::io::stdout(),
        doorward_process::asked_to_end(),
    )
    .await;
    session.settled().await;
    match shut_out {
        None => Ok(()),
        Some(failure) => Err(CommandError::no(failure.message)),
    }
}

fn nonce() -> String {
    let bytes: [u8; 12] = bytes(&SystemRandom);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
