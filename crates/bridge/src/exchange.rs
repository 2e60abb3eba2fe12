//! One exchange with the server: asks for authorization, sends, reads what comes. What it learns it tells as [`Event`]s; what
//! follows from that is the conversation's to decide.

mod reading;
mod send;
mod stream;

use std::sync::Arc;

use doorward_client::authorizer::Authorizer;
use tokio::sync::{mpsc, watch};

use crate::cookies::Jar;
use crate::event::{Delete, Event, Listen, Outcome, Post};
use crate::failure::Failure;
use crate::http::Http;
use crate::memory::Memory;
use crate::settings::Settings;

/// What all exchanges share.
pub(crate) struct Exchanges {
    pub(crate) settings: Arc<Settings>,
    pub(crate) http: Arc<dyn Http>,
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    pub(crate) memory: Memory,
    pub(crate) cookies: Jar,
    /// Until its sender is gone, which is when the bridge ends.
    pub(crate) open: watch::Receiver<()>,
    /// Bounded: whoever does not keep up stops the reading.
    pub(crate) events: mpsc::Sender<Event>,
}

impl Exchanges {
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
        };
        // Only with the authorization that is there: nobody logs in to leave.
        if let Ok(request) = self.request(&request).await {
            let _: Result<_, _> = self.http.send(request.0).await.map(drop);
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
