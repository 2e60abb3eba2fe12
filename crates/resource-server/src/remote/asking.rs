//! Questions under way: one about each token, few at once, and not many that wait.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_types::digest::Digest;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::access_token::AccessToken;
use crate::verify::TokenRefusal;

/// The longest wait for a place.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) type Verdict = Result<AccessToken, TokenRefusal>;

/// Places for questions, and for those who wait for one.
pub(super) struct Lane {
    places: Semaphore,
    waiting_room: Semaphore,
}

impl Lane {
    pub(super) const fn new(places: usize, waiting: usize) -> Self {
        Self {
            places: Semaphore::const_new(places),
            waiting_room: Semaphore::const_new(waiting),
        }
    }

    /// A place; `None` at once if too many wait already, and later if none came free in time.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        let _waiting = self.waiting_room.try_acquire().ok()?;
        let place = tokio::time::timeout(PATIENCE, self.places.acquire()).await;
        place.ok()?.ok()
    }
}

/// The questions that somebody is asking.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Digest, Answer>>);

/// `None` until it came.
type Answer = watch::Receiver<Option<Verdict>>;

/// Who has to ask.
pub(super) enum Turn<'a> {
    /// The caller, who lands the flight with the answer.
    Ask(Flight<'a>),
    /// Somebody does already.
    Wait(Waiting),
}

/// A question. Dropped without an answer (whoever asked went away) it lets those who wait ask themselves.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    token: Digest,
    answer: watch::Sender<Option<Verdict>>,
}

/// Somebody else's question.
pub(super) struct Waiting(Answer);

impl Flights {
    pub(super) fn turn(&self, token: &Digest) -> Turn<'_> {
        let mut flights = self.flights();
        if let Some(answer) = flights.get(token) {
            return Turn::Wait(Waiting(answer.clone()));
        }
        let (answer, waiting) = watch::channel(None);
        flights.insert(*token, waiting);
        Turn::Ask(Flight {
            flights: self,
            token: *token,
            answer,
        })
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Digest, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight<'_> {
    pub(super) fn land(self, verdict: &Verdict) {
        self.answer.send_replace(Some(verdict.clone()));
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.flights().remove(&self.token);
    }
}

impl Waiting {
    /// The answer; `None` if whoever asked went away.
    pub(super) async fn answer(mut self) -> Option<Verdict> {
        let answer = self.0.wait_for(Option::is_some).await;
        answer.ok()?.clone()
    }
}
