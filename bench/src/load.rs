//! The load: closed loops over HTTP/1.1 connections that stay open.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What one connection says, one request after the other's answer.
pub(crate) trait Conversation: Send + 'static {
    /// The next request; none ends the conversation.
    fn next(&mut self) -> Option<Request<Full<Bytes>>>;

    /// Hears the answer. An error ends the run: a wrong answer is not worth timing.
    fn answered(&mut self, status: StatusCode, body: &Bytes) -> Result<()>;
}

/// What a run took.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Of each request, sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Outcome {
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `share` (0 to 1) of the requests did not exceed, in µs.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let rank = (last as f64 * share).round() as usize;
        self.latencies
            .get(rank)
            .map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }
}

/// Has every conversation on a connection of its own, all at once, and hands them back as they ended.
pub(crate) async fn run<C: Conversation>(
    target: SocketAddr,
    conversations: Vec<C>,
) -> Result<(Outcome, Vec<C>)> {
    let mut talks = JoinSet::new();
    let begin = Instant::now();
    for conversation in conversations {
        talks.spawn(talk(target, conversation));
    }
    let (mut outcome, mut ended) = (Outcome::default(), Vec::new());
    while let Some(talk) = talks.join_next().await {
        let (latencies, conversation) = talk.context("a conversation broke off")??;
        outcome.latencies.extend(latencies);
        ended.push(conversation);
    }
    outcome.elapsed = begin.elapsed();
    outcome.latencies.sort_unstable();
    Ok((outcome, ended))
}

async fn talk<C: Conversation>(target: SocketAddr, mut conversation: C) -> Result<(Vec<Duration>, C)> {
    let stream = TcpStream::connect(target)
        .await
        .with_context(|| format!("{target} does not answer"))?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut latencies = Vec::new();
    while let Some(request) = conversation.next() {
        let begin = Instant::now();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        latencies.push(begin.elapsed());
        conversation.answered(status, &body)?;
    }
    drop(sender);
    let _ended = connection.await;
    Ok((latencies, conversation))
}
