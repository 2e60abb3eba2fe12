//! How long a server is waited for that cannot be reached.

use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::*;
use crate::http::{Http, SendError};
use crate::settings::Settings;

/// Answers so many requests, and is gone then.
struct Leaving(AtomicUsize);

struct Nothing;

#[async_trait]
impl Body for Nothing {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        None
    }
}

#[async_trait]
impl Http for Leaving {
    async fn send(&self, _: Request<Bytes>) -> Result<Answer, SendError> {
        let left = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(|_| Answer {
            status: StatusCode::ACCEPTED,
            headers: HeaderMap::new(),
            body: Box::new(Nothing),
        })
        .map_err(|_| SendError {
            maybe_processed: false,
            words: "connection refused".into(),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn patience_is_for_servers_that_have_answered_before() {
    let url = Url::parse("https://mcp.example/mcp").unwrap();
    let settings = Arc::new(Settings::new(url.clone()));
    for (answers, least, most) in [(0, 0, 300), (1, 2_000, 5_000)] {
        let (_closed, open) = watch::channel(());
        let (events, _) = mpsc::channel(1);
        let http = Arc::new(Leaving(AtomicUsize::new(answers)));
        let exchanges = Exchanges::new(Arc::clone(&settings), http, None, open, events);
        let asked = Asked {
            method: Method::POST,
            url: &url,
            headers: &HeaderMap::new(),
            body: Bytes::new(),
            operation: "initialize",
        };
        for _ in 0..answers {
            assert!(exchanges.send(&asked).await.is_ok());
        }
        let start = Instant::now();
        let told = exchanges.send(&asked).await;
        assert!(matches!(told, Err(Outcome::Failed(Failure { code: 503, .. }))));
        let waited = start.elapsed().as_millis();
        assert!((least..=most).contains(&waited), "{answers} answers: {waited} ms");
    }
}
