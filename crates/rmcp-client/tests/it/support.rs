//! A server on a free port, and an authorizer that counts.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use doorward_client::authorizer::{Attempt, Authorizer};
use doorward_client::error::Error;
use doorward_outbound::{ClientOptions, GuardedClient, TlsRoots};
use http::{HeaderMap, HeaderValue, Method};
use rmcp::model::ClientJsonRpcMessage;
use url::Url;

/// A server that ends with its value.
pub(crate) struct Server {
    url: Url,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(router: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/mcp", listener.local_addr().unwrap())).unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, task }
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The `Authorization` of every request that a server got.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<Mutex<Vec<String>>>);

impl Counter {
    pub(crate) fn note(&self, headers: &HeaderMap) {
        let value = headers
            .get("authorization")
            .map_or("", |value| value.to_str().unwrap());
        self.0.lock().unwrap().push(value.to_owned());
    }

    pub(crate) fn authorizations(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Gives `Bearer 0`, and the next number after each refusal, until it has lost patience.
pub(crate) struct Counting {
    token: AtomicU32,
    patience: u8,
    pub(crate) attempts: Mutex<Vec<(u16, String, String, u8)>>,
    pub(crate) answered: AtomicUsize,
}

pub(crate) fn authorizer(patience: u8) -> Arc<Counting> {
    Arc::new(Counting {
        token: AtomicU32::new(0),
        patience,
        attempts: Mutex::default(),
        answered: AtomicUsize::new(0),
    })
}

#[async_trait]
impl Authorizer for Counting {
    async fn headers(&self, _method: &Method, _url: &Url) -> Result<HeaderMap, Error> {
        let token = format!("Bearer {}", self.token.load(Ordering::SeqCst));
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&token).unwrap());
        Ok(headers)
    }

    async fn refused(&self, attempt: Attempt<'_>) -> Result<(), Error> {
        let sent = attempt.sent["authorization"].to_str().unwrap().to_owned();
        let noted = (
            attempt.status.as_u16(),
            sent,
            attempt.operation.to_owned(),
            attempt.tries,
        );
        self.attempts.lock().unwrap().push(noted);
        self.token.fetch_add(1, Ordering::SeqCst);
        if attempt.tries >= self.patience {
            let why = "the server keeps refusing".to_owned();
            return Err(Error::GaveUp {
                tries: attempt.tries,
                why,
            });
        }
        Ok(())
    }

    fn answered(&self, _headers: &HeaderMap) {
        self.answered.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn network() -> GuardedClient {
    GuardedClient::new(ClientOptions::new(TlsRoots::new(b"").unwrap()))
}

pub(crate) fn message(json: &str) -> ClientJsonRpcMessage {
    serde_json::from_str(json).unwrap()
}
