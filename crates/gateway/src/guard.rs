//! Open streams end when their token's family, user or client is revoked, and at the latest after an hour.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use doorward_resource_server::Revocations;
use doorward_types::random::{self, Random};
use doorward_types::time::Clock;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::decision::StreamWatch;
use crate::standing::{Standing, Visit};

/// Between two looks. What was revoked elsewhere is known here after another 1 s, so 3 s keeps within 5 s.
const INTERVAL: Duration = Duration::from_secs(3);

/// Watches over one stream, from within the stream: it has no task of its own, and while nothing is revoked
/// a look is one comparison of two numbers.
pub(crate) struct Guard {
    revocations: Arc<dyn Revocations>,
    clock: Arc<dyn Clock>,
    standing: Arc<Standing>,
    visit: Visit,
    generation: u64,
    deadline: Instant,
    watch: Option<StreamWatch>,
    next: Pin<Box<Sleep>>,
}

impl Guard {
    /// `generation` is that of the revocations before the token was verified: whatever came since is found
    /// at the first look.
    pub(crate) fn new(
        revocations: Arc<dyn Revocations>,
        clock: Arc<dyn Clock>,
        standing: Arc<Standing>,
        visit: Visit,
        generation: u64,
        lifetime: Duration,
    ) -> Self {
        let now = Instant::now();
        let deadline = now + lifetime;
        let next = Box::pin(sleep_until(deadline.min(now + INTERVAL)));
        Self {
            revocations,
            clock,
            standing,
            visit,
            generation,
            deadline,
            watch: None,
            next,
        }
    }

    /// `watch` is told why the stream ends.
    #[must_use]
    pub(crate) fn watched_by(mut self, watch: Option<StreamWatch>) -> Self {
        self.watch = watch;
        self
    }

    /// The stream ends for another reason than those that are looked for here.
    pub(crate) fn ends(&mut self, reason: &'static str) {
        if let Some(watch) = &mut self.watch {
            watch.ends(reason);
        }
    }

    /// Ready when the stream has to end.
    pub(crate) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.next.as_mut().poll(context).is_ready() {
            if let Some(reason) = self.over() {
                self.ends(reason);
                tracing::info!(
                    reason,
                    user = %self.visit.principal.subject(),
                    token = %self.visit.principal.token_id(),
                    "stream ended"
                );
                return Poll::Ready(());
            }
            let next = self.deadline.min(Instant::now() + INTERVAL);
            self.next.as_mut().reset(next);
        }
        Poll::Pending
    }

    fn over(&mut self) -> Option<&'static str> {
        if Instant::now() >= self.deadline {
            return Some("stream_lifetime");
        }
        if let Some(objection) = self.standing.objection(&self.visit, self.clock.now()) {
            return Some(objection);
        }
        // As for single calls: who has not heard of revocations for too long lets nobody through.
        if self.revocations.is_blind(&*self.clock) {
            return Some("blind");
        }
        let generation = self.revocations.generation();
        if generation != self.generation {
            if self.revocations.is_revoked(&self.visit.principal) {
                return Some("revoked");
            }
            self.generation = generation;
        }
        None
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("principal", &self.visit.principal)
            .finish_non_exhaustive()
    }
}

/// `lifetime` ± 10 %.
pub(crate) fn spread(lifetime: Duration, random: &dyn Random) -> Duration {
    let [roll] = random::bytes::<1>(random);
    lifetime.mul_f64(0.9 + 0.2 * f64::from(roll) / 255.0)
}
