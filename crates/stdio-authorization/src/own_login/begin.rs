//! The person has pressed the button: from there to the address of the authorization server, and to the end of the login.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_local_login::session::{Notice, Tell};
use doorward_types::scope::ScopeSet;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;

use super::OwnLogin;
use super::kept::Kept;
use super::parts::PATIENCE;

/// A login that is under way.
pub(super) struct Pending {
    scopes: ScopeSet,
    /// Where the person was sent.
    url: Url,
    since: Duration,
    /// It has ended, and what is left of it leads nowhere.
    over: Arc<AtomicBool>,
    running: JoinHandle<()>,
}

impl OwnLogin {
    /// The address of the authorization server, as soon as the session has it. Who presses the button again is led to the login that is
    /// under way, unless it asks for less, or is old: then that one is given up.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<Url, String> {
        let mut pending = self.pending.lock().await;
        let (asked, now) = (self.asked().await, self.parts.clock.monotonic());
        let goes_on = |before: &Pending| !before.over.load(Ordering::Relaxed);
        if let Some(before) = pending.take().filter(goes_on) {
            if asked.is_subset(&before.scopes) && now.saturating_sub(before.since) < PATIENCE / 2 {
                let url = before.url.clone();
                *pending = Some(before);
                return Ok(url);
            }
            before.running.abort();
            // Until it is over, it has the lock of logins.
            let _aborted = before.running.await;
        }
        let discovered = self.parts.known.for_login().await;
        let discovered = discovered.inspect_err(|why| {
            (self.parts.say)(&format!("the login cannot start: {why}"));
        })?;
        let (address, told) = oneshot::channel();
        let tell = Arc::new(Catching {
            address: Mutex::new(Some(address)),
            kept: Arc::clone(&self.kept),
        });
        let session = Arc::new(self.parts.session(discovered, asked.clone(), Some(tell.clone())));
        *self.entering.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&session);
        let over = Arc::new(AtomicBool::new(false));
        let (this, ended) = (Arc::clone(self), Arc::clone(&over));
        let running = tokio::spawn(async move {
            let outcome = session.log_in(true).await;
            ended.store(true, Ordering::Relaxed);
            match outcome {
                Ok(outcome) => this.logged_in(&outcome).await,
                Err(error) => {
                    tracing::warn!(%error, "stdio: a login failed");
                    this.parts.known.doubt();
                    (this.parts.say)(&format!("the login failed: {error}"));
                    tell.answer(Err(error.to_string()));
                }
            }
        });
        let told = told.await;
        let url = told.unwrap_or_else(|_| Err("the login ended before it began".to_owned()))?;
        *pending = Some(Pending {
            scopes: asked,
            url: url.clone(),
            since: now,
            over,
            running,
        });
        Ok(url)
    }
}

/// Hands the first address on, or why there is none.
struct Catching {
    address: Mutex<Option<oneshot::Sender<Result<Url, String>>>>,
    kept: Arc<Kept>,
}

impl Catching {
    fn answer(&self, answer: Result<Url, String>) {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(address) = address {
            let _gone = address.send(answer);
        }
    }
}

impl Tell for Catching {
    fn tell(&self, notice: &Notice) {
        match notice {
            Notice::LogIn(url) => self.answer(Ok(url.clone())),
            // Another copy of this server is at it: its page is as good.
            Notice::Waiting {
                authorization_url: Some(url),
                ..
            } => {
                if let Ok(url) = Url::parse(url) {
                    self.answer(Ok(url));
                }
            }
            // Before the person reads so: whoever calls from then on has the new token.
            Notice::LoggedIn { .. } => self.kept.look_again(),
            _ => {}
        }
    }
}
