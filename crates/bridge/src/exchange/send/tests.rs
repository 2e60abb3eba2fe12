//! How long a server is waited for.

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
            is_modern: false,
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

/// Answers with a status and a body that never ends.
struct Endless(StatusCode);

struct Dripping;

#[async_trait]
impl Body for Dripping {
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some(Ok(Bytes::from_static(b" ")))
    }
}

#[async_trait]
impl Http for Endless {
    async fn send(&self, _: Request<Bytes>) -> Result<Answer, SendError> {
        Ok(Answer {
            status: self.0,
            headers: HeaderMap::new(),
            body: Box::new(Dripping),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_matters_to_nobody_holds_nobody_up() {
    let url = Url::parse("https://mcp.example/mcp").unwrap();
    for (status, expects) in [
        (StatusCode::ACCEPTED, None),
        (StatusCode::BAD_GATEWAY, Some("1".to_owned())),
    ] {
        let (_closed, open) = watch::channel(());
        let (events, _) = mpsc::channel(1);
        let settings = Arc::new(Settings::new(url.clone()));
        let exchanges = Exchanges::new(settings, Arc::new(Endless(status)), None, open, events);
        let post = crate::event::Post {
            number: 1,
            url: url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            expects,
            resume: None,
            operation: "x".into(),
            is_modern: false,
        };
        let outcome = tokio::time::timeout(Duration::from_secs(10), exchanges.posted(post)).await;
        assert_eq!(
            matches!(outcome.expect("an end"), Outcome::Complete),
            status.is_success()
        );
    }
}
