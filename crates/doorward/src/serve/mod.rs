//! `doorward serve`: the composition of everything.

pub(crate) mod children;
mod clients;
mod clock;
pub(crate) mod compose;
mod connection;
mod first_run;
mod front;
mod host;
mod keys;
mod limits;
mod listen;
pub(crate) mod metrics;
mod observe;
pub(crate) mod outbound;
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
use doorward_storage::{DataFolder, Store};
use doorward_types::random::{Random, SystemRandom};
use doorward_types::time::Clock;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{SERVE_EXAMPLES, ServeArgs};
use crate::clock::{MachineClock, Mark, ServerClock};
use crate::config::{Config, Environment};
use crate::error::CommandError;
use crate::log::{self, LogGuard};
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

/// What was checked and taken before anything is served.
struct Prepared {
    args: ServeArgs,
    config: Config,
    tls: Option<Arc<rustls::ServerConfig>>,
    listeners: listen::Listeners,
    admin: metrics::Bound,
    hangups: Signal,
    clock: Arc<ServerClock>,
    sources: Sources,
    foundation: Arc<Foundation>,
    logging: Arc<LogGuard>,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: ServeArgs) -> Result<(), CommandError> {
    let prepared = prepare(args).await?;
    let foundation = Arc::clone(&prepared.foundation);
    let logging = Arc::clone(&prepared.logging);
    let finished = serve(prepared).await;
    foundation.supervisor.stop_all().await;
    foundation.recorder.flush();
    foundation.decisions.flush();
    if finished.is_ok() {
        tracing::info!("stopped");
    }
    drop(logging);
    finished
}

/// Reads the configuration, takes the port and opens the data, in an order in which what fails has touched nothing.
async fn prepare(args: ServeArgs) -> Result<Prepared, CommandError> {
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
    // The port first: a second server on the same data must fail before it touches anything.
    let listeners = listen::bind(&config).await?;
    let admin = metrics::bind(&config).await?;
    let config = config.with_bound_port(listeners.port);
    let folder = open_data(&config)?;
    let mark = folder.clock_mark().and_then(Mark::from_bytes);
    let clock = Arc::new(ServerClock::start(MachineClock, mark));
    let sources = Sources {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        random: Arc::new(SystemRandom),
    };
    if let Err(error) = crate::known_url::note(&config.data.value, &config.public_url.value) {
        tracing::warn!(%error, "links that other commands print need `--public-url`");
    }
    let foundation = Arc::new(Foundation::lay(&config, &folder, &sources).await?);
    Ok(Prepared {
        args,
        config,
        tls,
        listeners,
        admin,
        hangups,
        clock,
        sources,
        foundation,
        logging,
    })
}

/// Answers requests, with everything that goes on beside them, until asked to stop.
async fn serve(prepared: Prepared) -> Result<(), CommandError> {
    let Prepared {
        args,
        config,
        tls,
        listeners,
        admin,
        hangups,
        clock,
        sources,
        foundation,
        logging,
    } = prepared;
    let composition = foundation.compose(&config, &[])?;
    clients::configure(&*foundation.store, &config, sources.clock.now()).await?;
    greet(&args, &config, &*foundation.store, &sources).await?;
    let (stopping, stop) = watch::channel(false);
    let lifetimes = Arc::new(ArcSwap::from_pointee(composition.lifetimes));
    let last_reload = Arc::new(LastReload::default());
    let front = Arc::new(Front::new(
        config.public_url.value.clone(),
        composition.serving,
        Arc::clone(&last_reload),
        stop.clone(),
    ));
    let descriptors = limits::raise_descriptor_limit();
    let live = Arc::new(ArcSwap::from_pointee(listen::Live {
        tls,
        caps: limits::Caps::of(&config, descriptors),
        trusted_proxies: config.trusted_proxies.clone(),
    }));
    let upkeep = Upkeep {
        store: Arc::clone(&foundation.store),
        revocations: Arc::clone(&foundation.revocations),
        lifetimes: Arc::clone(&lifetimes),
        clock: Arc::clone(&sources.clock),
    };
    let background = [
        tokio::spawn(Arc::clone(&foundation.follower).follow()),
        tokio::spawn(upkeep::run(upkeep, stop.clone())),
        tokio::spawn(Arc::clone(&foundation.keys).run(Arc::clone(&lifetimes), stop.clone())),
        tokio::spawn(clock::run(clock, Arc::clone(&foundation.store), stop.clone())),
    ];
    let admission = Arc::new(limits::Admission::default());
    let serving_metrics = admin.tell().map(|listener| {
        let admin = metrics::Admin {
            metrics: Arc::clone(&foundation.metrics),
            decisions: foundation.decisions.clone(),
            admission: Arc::clone(&admission),
            revocations: Arc::clone(&foundation.revocations) as _,
            clock: Arc::clone(&sources.clock),
        };
        tokio::spawn(metrics::serve(listener, admin))
    });
    let reloader = Reloader {
        args,
        config,
        foundation,
        servers: composition.servers,
        front: Arc::clone(&front),
        live: Arc::clone(&live),
        lifetimes,
        descriptors,
        last_reload,
        logging,
        sources,
    };
    let reloading = tokio::spawn(reloader.run(hangups, stopping.clone()));
    let serving = listen::serve(listeners, live, front, admission, stop);
    let finished = stop::until_stopped(serving, stopping).await;
    for task in background.into_iter().chain([reloading]).chain(serving_metrics) {
        task.abort();
    }
    finished
}

/// Tells the operator where it runs and what to do first, on the terminal and in the log.
async fn greet(
    args: &ServeArgs,
    config: &Config,
    store: &dyn Store,
    sources: &Sources,
) -> Result<(), CommandError> {
    let demo = if args.demo {
        Some(first_run::demo_user(store, config, sources).await?)
    } else {
        None
    };
    first_run::greet(store, config, demo).await?;
    tracing::info!(public_url = %config.public_url.value, servers = config.servers.len(), "listening");
    Ok(())
}

/// Says which checks the configuration weakens.
fn warn_of(config: &Config) {
    for weakened in config.weakened() {
        tracing::warn!(weakened, "a check is weakened by the configuration");
    }
}

fn open_data(config: &Config) -> Result<DataFolder, CommandError> {
    DataFolder::open_or_create(&config.data.value, &SystemRandom)
        .map_err(|error| CommandError::failed("the data folder cannot be used").because(&error))
}
