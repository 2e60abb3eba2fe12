//! `doorward serve`: the composition of everything.

mod compose;
mod connection;
mod first_run;
mod front;
mod host;
mod limits;
mod listen;
mod pace;
mod revocation;
mod stop;
pub(crate) mod tls;
mod upkeep;
mod upload;
mod wire;

use std::io::IsTerminal as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use doorward_storage::DataFolder;
use doorward_types::random::{Random, SystemRandom};
use doorward_types::time::{Clock, SystemClock};
use tokio::sync::watch;

use crate::cli::{SERVE_EXAMPLES, ServeArgs};
use crate::config::{Config, Environment};
use crate::error::CommandError;
use crate::log;

pub(crate) use compose::{lifetimes, registration};

/// Where time and chance come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: &ServeArgs) -> Result<(), CommandError> {
    let config = Config::load_for_serve(args, &Environment::of_process())?;
    if config.servers.is_empty() {
        return Err(CommandError::usage(format!(
            "what is to be protected?\n\n{SERVE_EXAMPLES}"
        )));
    }
    let tls = config.tls.as_ref().map(tls::server_config).transpose()?;
    let logging = log::start(
        config.log_level.value,
        config.log_format.value,
        std::io::stderr().is_terminal(),
    );
    let sources = Sources {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
    };

    // The port first: a second server on the same data must fail before it touches anything.
    let listeners = listen::bind(&config).await?;
    let config = config.with_bound_port(listeners.port);
    let folder = open_data(&config, &sources)?;
    if let Err(error) = crate::known_url::note(&config.data.value, &config.public_url.value) {
        tracing::warn!(%error, "links that other commands print need `--public-url`");
    }
    let parts = compose::compose(&config, &folder, &sources).await?;
    let (stopping, stop) = watch::channel(false);
    let follower = tokio::spawn(Arc::clone(&parts.follower).follow());
    let upkeep = tokio::spawn(upkeep::run(parts.upkeep, stop.clone()));
    let store: &dyn doorward_storage::Store = &*parts.store;
    let demo = if args.demo {
        Some(first_run::demo_user(store, &config, &sources).await?)
    } else {
        None
    };
    first_run::greet(store, &config, demo).await?;
    tracing::info!(public_url = %config.public_url.value, servers = config.servers.len(), "listening");

    let front = Arc::new(front::Front::new(
        config.public_url.value.clone(),
        parts.gateway,
        parts.web,
        stop.clone(),
    ));
    let caps = limits::Caps::new(None, None, limits::raise_descriptor_limit());
    let live = Arc::new(ArcSwap::from_pointee(listen::Live { tls, caps }));
    let serving = listen::serve(listeners, live, front, stop);
    let finished = stop::until_stopped(serving, stopping).await;
    follower.abort();
    upkeep.abort();
    tracing::info!("stopped");
    drop(logging);
    finished
}

fn open_data(config: &Config, sources: &Sources) -> Result<DataFolder, CommandError> {
    DataFolder::open_or_create(&config.data.value, &*sources.random)
        .map_err(|error| CommandError::failed("the data folder cannot be used").because(&error))
}
