//! One exchange with the server: asks for authorization, sends, reads what comes. What it learns it tells as [`Event`]s; what
//! follows from that is the conversation's to decide.

mod place;
mod reading;
mod send;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use doorward_client::authorizer::Authorizer;
use tokio::sync::{Mutex, mpsc, watch};

use crate::cookies::Jar;
use crate::event::{Delete, Event, Listen, Outcome, Post};
use crate::failure::Failure;
use crate::http::Http;
use crate::memory::Memory;
use crate::owner::OwnedSession;
use crate::settings::Settings;

/// What all exchanges share.
pub(crate) struct Exchanges {
    settings: Arc<Settings>,
    http: Arc<dyn Http>,
    authorizer: Option<Arc<dyn Authorizer>>,
    memory: Memory,
    cookies: Jar,
    /// The session of the one who is logged in.
    session: OwnedSession,
    /// The server has answered before.
    reached: AtomicBool,
    /// Who may ask the authorizer to do something.
    turn: Arc<Mutex<send::Turn>>,
    /// How many logins came to nothing.
    failed_logins: Arc<AtomicU64>,
    /// Until its sender is gone, which is when the bridge ends.
    open: watch::Receiver<()>,
    /// Bounded: whoever does not keep up stops the reading.
    events: mpsc::Sender<Event>,
}

impl Exchanges {
    pub(crate) fn new(
        settings: Arc<Settings>,
        http: Arc<dyn Http>,
        authorizer: Option<Arc<dyn Authorizer>>,
        open: watch::Receiver<()>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            memory: Memory::new(settings.longest_message.saturating_mul(4)),
            settings,
            http,
            authorizer,
            cookies: Jar::default(),
            session: OwnedSession::default(),
            reached: AtomicBool::new(false),
            turn: Arc::default(),
            failed_logins: Arc::default(),
            open,
            events,
        }
    }

    /// Sends a message and reads everything that comes for it.
    pub(crate) async fn post(self: Arc<Self>, post: Post) {
        let number = post.number;
        let outcome = self.posted(post).await;
        self.tell(Event::Ended(number, outcome)).await;
    }

    /// Listens to a stream of the session for as long as it can be had.
    pub(crate) async fn listen(self: Arc<Self>, listen: Listen) {
        let number = listen.number;
        tokio::time::sleep(listen.delay).await;
        let outcome = if listen.is_sse {
            self.listened_to_sse(listen).await
        } else {
            self.listened(listen).await
        };
        self.tell(Event::Ended(number, outcome)).await;
    }

    /// Ends a session. Nobody waits for the answer for long.
    pub(crate) async fn delete(&self, delete: Delete) {
        let request = send::Asked {
            method: http::Method::DELETE,
            url: &delete.url,
            headers: &delete.headers,
            body: bytes::Bytes::new(),
            operation: "end of the session",
            is_modern: false,
        };
        // Only with the authorization that is there: nobody logs in to leave.
        if let Ok(request) = self.request(&request).await {
            let _: Result<_, _> = self.http.send(request.request).await.map(drop);
        }
    }

    async fn tell(&self, event: Event) {
        // Nobody listens once everything is over.
        let _: Result<(), _> = self.events.send(event).await;
    }
}

/// Why an exchange is over before its end.
fn failed(code: i64, words: impl Into<String>) -> Outcome {
    Outcome::Failed(Failure::new(code, words))
}
