//! SIGHUP: the configuration is read again. If anything is wrong with it, everything stays as it was.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use doorward_authorization_server::settings::Lifetimes;
use tokio::runtime::Handle;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::compose::{Foundation, RunningServer, succeed};
use super::front::Front;
use super::limits::Caps;
use super::listen::Live;
use super::{Sources, children, clients, tls};
use crate::cli::ServeArgs;
use crate::config::command::real;
use crate::config::{Config, Environment, Setting};
use crate::error::CommandError;
use crate::log::LogGuard;

/// Pause after a reload: however many signals come, no more than a few reloads a second are made of them.
const PAUSE: Duration = Duration::from_millis(200);

/// How the second line of `/readyz` begins after a reload that failed. `doorward health` looks for it.
pub(crate) const RELOAD_FAILED: &str = "last reload failed: ";

/// When the last reload failed, if it did.
#[derive(Debug, Default)]
pub(crate) struct LastReload(ArcSwapOption<String>);

impl LastReload {
    /// The time of the failure (RFC 3339).
    pub(super) fn failure(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }
}

/// What runs, and what a new configuration changes of it.
pub(super) struct Reloader {
    pub(super) args: ServeArgs,
    /// The configuration in effect.
    pub(super) config: Config,
    pub(super) foundation: Arc<Foundation>,
    pub(super) servers: Vec<RunningServer>,
    pub(super) front: Arc<Front>,
    pub(super) live: Arc<ArcSwap<Live>>,
    pub(super) lifetimes: Arc<ArcSwap<Lifetimes>>,
    pub(super) descriptors: u64,
    pub(super) last_reload: Arc<LastReload>,
    pub(super) logging: Arc<LogGuard>,
    pub(super) sources: Sources,
}

impl Reloader {
    /// Reloads whenever `hangups` says so. If we run on a terminal and that is what hung up, we stop.
    pub(super) async fn run(mut self, mut hangups: Signal, stopping: watch::Sender<bool>) {
        let on_terminal = std::io::stdin().is_terminal();
        while hangups.recv().await.is_some() {
            if on_terminal && !std::io::stdin().is_terminal() {
                tracing::info!("the terminal is gone: calls in flight finish first");
                stopping.send_replace(true);
                return;
            }
            // It reads files, perhaps from a folder that does not answer: calls go on meanwhile.
            tokio::task::block_in_place(|| self.reload());
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn reload(&mut self) {
        match self.take_over() {
            Ok(()) => {
                self.last_reload.0.store(None);
                let (permits, forbids) = self.config.policies.counted();
                let servers = self.config.servers.len();
                tracing::info!(servers, permits, forbids, "configuration reloaded");
            }
            Err(error) => {
                let now = self.sources.clock.now().to_string();
                self.last_reload.0.store(Some(Arc::new(now)));
                tracing::error!(
                    cause = error.in_one_line(),
                    "the configuration was not reloaded: the one before stays in effect"
                );
            }
        }
    }

    /// All that can fail comes first.
    fn take_over(&mut self) -> Result<(), CommandError> {
        let config = Config::load_for_serve(&self.args, &Environment::of_process())?;
        let config = config.with_bound_port(self.config.listen.value.port());
        if config.servers.is_empty() {
            return Err(CommandError::usage("the configuration names no server any more"));
        }
        self.unchangeable(&config)?;
        let tls = config.tls.as_ref().map(tls::server_config).transpose()?;
        children::check(&config)?;
        children::check_isolation(&config)?;
        let next = self.foundation.compose(&config, &self.servers)?;
        // The last that can fail, because it is the first that changes something.
        let configured = clients::configure(&*self.foundation.store, &config, self.sources.clock.now());
        Handle::current().block_on(configured)?;

        self.logging.set_level(config.log_level.value);
        super::warn_of(&config);
        self.foundation.decisions.configure(config.decision_log());
        let caps = Caps::of(&config, self.descriptors);
        self.live.store(Arc::new(Live {
            tls,
            caps,
            trusted_proxies: config.trusted_proxies.clone(),
        }));
        self.lifetimes.store(Arc::new(next.lifetimes));
        self.front.serve_with(next.serving);
        succeed(&self.servers, &next.servers);
        self.servers = next.servers;
        self.config = config;
        Ok(())
    }

    /// Keys on which everything else was built.
    fn unchangeable(&self, next: &Config) -> Result<(), CommandError> {
        let ours = &self.config;
        same("listen", &ours.listen, &next.listen, |listen| *listen)?;
        same("public_url", &ours.public_url, &next.public_url, |url| {
            url.as_str().to_owned()
        })?;
        same("admin_listen", &ours.admin_listen, &next.admin_listen, |listen| {
            *listen
        })?;
        same("data", &ours.data, &next.data, |data| real(data))?;
        same("log_format", &ours.log_format, &next.log_format, |format| *format)
    }
}

fn same<T, V: PartialEq>(
    key: &str,
    ours: &Setting<T>,
    next: &Setting<T>,
    value: impl Fn(&T) -> V,
) -> Result<(), CommandError> {
    if value(&ours.value) == value(&next.value) {
        return Ok(());
    }
    let message = format!("`{key}` ({}) cannot change while Doorward runs", next.origin);
    Err(CommandError::usage(message).hint(format!("restart it, or change `{key}` back")))
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}
