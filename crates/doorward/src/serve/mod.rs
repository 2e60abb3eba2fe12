//! `doorward serve`: the composition of everything.

pub(crate) mod children;
mod compose;
mod connection;
mod first_run;
mod front;
mod host;
mod limits;
mod listen;
mod pace;
pub(crate) mod reload;
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
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{SERVE_EXAMPLES, ServeArgs};
use crate::config::{Config, Environment};
use crate::error::CommandError;
use crate::log;
use compose::Foundation;
use front::Front;
use reload::{LastReload, Reloader};
use upkeep::Upkeep;

pub(crate) use compose::{lifetimes, registration};

/// Where time and chance come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: ServeArgs) -> Result<(), CommandError> {
    // From the first moment on: without this the signal would end us.
    let hangups = signal(SignalKind::hangup())
        .map_err(|error| CommandError::failed("cannot wait for signals").because(&error))?;
    let config = Config::load_for_serve(&args, &Environment::of_process())?;
    if config.servers.is_empty() {
        return Err(CommandError::usage(format!(
            "what is to be protected?\n\n{SERVE_EXAMPLES}"
        )));
    }
    let tls = config.tls.as_ref().map(tls::server_config).transpose()?;
    children::check(&config)?;
    let logging = Arc::new(log::start(
        config.log_level.value,
        config.log_format.value,
        std::io::stderr().is_terminal(),
    ));
    children::check_isolation(&config)?;
    warn_of(&config);
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
    let foundation = Arc::new(Foundation::lay(&config, &folder, &sources).await?);
    let composition = foundation.compose(&config, &[])?;
    let (stopping, stop) = watch::channel(false);
    let lifetimes = Arc::new(ArcSwap::from_pointee(composition.lifetimes));
    let store: &dyn doorward_storage::Store = &*foundation.store;
    let demo = if args.demo {
        Some(first_run::demo_user(store, &config, &sources).await?)
    } else {
        None
    };
    first_run::greet(store, &config, demo).await?;
    tracing::info!(public_url = %config.public_url.value, servers = config.servers.len(), "listening");

    let last_reload = Arc::new(LastReload::default());
    let public_url = config.public_url.value.clone();
    let front = Front::new(
        public_url,
        composition.serving,
        Arc::clone(&last_reload),
        stop.clone(),
    );
    let front = Arc::new(front);
    let descriptors = limits::raise_descriptor_limit();
    let caps = limits::Caps::of(&config, descriptors);
    let live = Arc::new(ArcSwap::from_pointee(listen::Live { tls, caps }));
    let upkeep = Upkeep {
        store: Arc::clone(&foundation.store),
        revocations: Arc::clone(&foundation.revocations),
        lifetimes: Arc::clone(&lifetimes),
        clock: Arc::clone(&sources.clock),
    };
    let reloader = Reloader {
        args,
        config,
        foundation: Arc::clone(&foundation),
        servers: composition.servers,
        front: Arc::clone(&front),
        live: Arc::clone(&live),
        lifetimes,
        descriptors,
        last_reload,
        logging: Arc::clone(&logging),
        sources,
    };
    let background = [
        tokio::spawn(Arc::clone(&foundation.follower).follow()),
        tokio::spawn(upkeep::run(upkeep, stop.clone())),
        tokio::spawn(reloader.run(hangups, stopping.clone())),
    ];
    let serving = listen::serve(listeners, live, front, stop);
    let finished = stop::until_stopped(serving, stopping).await;
    for task in background {
        task.abort();
    }
    foundation.supervisor.stop_all().await;
    tracing::info!("stopped");
    drop(logging);
    finished
}

/// Says which checks the configuration weakens.
fn warn_of(config: &Config) {
    for weakened in config.weakened() {
        tracing::warn!(weakened, "a check is weakened by the configuration");
    }
}

fn open_data(config: &Config, sources: &Sources) -> Result<DataFolder, CommandError> {
    DataFolder::open_or_create(&config.data.value, &*sources.random)
        .map_err(|error| CommandError::failed("the data folder cannot be used").because(&error))
}
