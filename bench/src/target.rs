//! Where calls go, and what a call costs there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use doorward_testkit::mcp;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::json;

use crate::figures::median;
use crate::load::{self, Conversation, Outcome};
use crate::machine::Tree;

/// Connections of a saturating run.
pub(crate) const CONNECTIONS: usize = 16;

/// Longest time in which every address is called once before anything is measured.
const WARM_UP: Duration = Duration::from_secs(300);

/// The tool that is called. Every table and policy of a measurement lets it through.
pub(crate) const TOOL: &str = "echo";

/// Something that calls go to.
pub(crate) struct Target {
    pub(crate) name: String,
    address: SocketAddr,
    /// Whose CPU counts.
    process: Tree,
    call: Call,
    rounds: Vec<Round>,
}

/// What one round of one target showed.
struct Round {
    /// µs of CPU per request.
    cpu: f64,
    saturated: Outcome,
    alone: Outcome,
}

/// Where one call goes, and with which token.
#[derive(Clone)]
pub(crate) struct Address {
    path: Uri,
    authorization: HeaderValue,
}

impl Address {
    pub(crate) fn new(path: &str, token: &str) -> Result<Self> {
        Ok(Self {
            path: path.parse()?,
            authorization: HeaderValue::from_str(&format!("Bearer {token}"))?,
        })
    }
}

/// The call, to be sent over and over, to one address after the other. Every answer has to be `200`: a refusal,
/// such as one for the rate of calls, is cheaper, and would make a figure look good.
#[derive(Clone)]
pub(crate) struct Call {
    head: http::request::Parts,
    body: Bytes,
    addresses: Arc<[Address]>,
    next: usize,
    /// Where it ends if time does not end it before.
    last: usize,
    until: Instant,
}

impl Call {
    pub(crate) fn new(host: &str, addresses: Vec<Address>) -> Result<Self> {
        ensure!(!addresses.is_empty(), "a call goes somewhere");
        let params = json!({ "name": TOOL, "arguments": { "text": "hello" }, "_meta": mcp::meta() });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let request = Request::post("/")
            .header(HOST, host)
            .header(AUTHORIZATION, "")
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("MCP-Protocol-Version", mcp::MODERN)
            .header("Mcp-Method", "tools/call")
            .header("Mcp-Name", TOOL)
            .body(())?;
        let (head, ()) = request.into_parts();
        Ok(Self {
            head,
            body: Bytes::from(body.to_string()),
            addresses: addresses.into(),
            next: 0,
            last: usize::MAX,
            until: Instant::now(),
        })
    }

    /// Every address once, over several connections.
    fn everywhere(&self) -> Vec<Self> {
        let (length, until) = (self.addresses.len(), Instant::now() + WARM_UP);
        let apart = length.div_ceil(CONNECTIONS);
        (0..length)
            .step_by(apart.max(1))
            .map(|next| Self {
                next,
                last: (next + apart).min(length),
                until,
                ..self.clone()
            })
            .collect()
    }

    /// One conversation on each connection for so long; each begins at another address.
    fn during(&self, length: Duration, connections: usize) -> Vec<Self> {
        let until = Instant::now() + length;
        let apart = self.addresses.len().div_ceil(connections.max(1));
        (0..connections)
            .map(|connection| Self {
                until,
                next: self.next + connection * apart,
                ..self.clone()
            })
            .collect()
    }
}

impl Conversation for Call {
    fn next(&mut self) -> Option<Request<Full<Bytes>>> {
        if self.next >= self.last || Instant::now() >= self.until {
            return None;
        }
        let address = self.addresses.get(self.next % self.addresses.len())?;
        self.next += 1;
        let mut head = self.head.clone();
        head.uri = address.path.clone();
        head.headers.insert(AUTHORIZATION, address.authorization.clone());
        Some(Request::from_parts(head, Full::new(self.body.clone())))
    }

    fn answered(&mut self, status: StatusCode, body: &Bytes) -> Result<()> {
        ensure!(
            status == StatusCode::OK,
            "{status}: {}",
            String::from_utf8_lossy(body)
        );
        Ok(())
    }
}

impl Target {
    pub(crate) const fn new(name: String, address: SocketAddr, pid: u32, call: Call) -> Self {
        Self {
            name,
            address,
            process: Tree(pid),
            call,
            rounds: Vec::new(),
        }
    }

    /// Calls every address once: what a first sight costs is no part of what is measured.
    pub(crate) async fn warm_up(&self) -> Result<()> {
        let warming = load::run(self.address, self.call.everywhere()).await;
        warming
            .map(drop)
            .with_context(|| format!("{} could not be warmed up", self.name))
    }

    pub(crate) async fn measure(&mut self, length: Duration) -> Result<()> {
        self.try_measure(length)
            .await
            .with_context(|| format!("{} could not be measured", self.name))
    }

    async fn try_measure(&mut self, length: Duration) -> Result<()> {
        // Wakes everything up: connections, caches, clock rates.
        load::run(self.address, self.call.during(length / 10, CONNECTIONS)).await?;
        let before = self.process.cpu()?;
        let talks = self.call.during(length, CONNECTIONS);
        let (saturated, ended) = load::run(self.address, talks).await?;
        let cpu = (self.process.cpu()? - before) / saturated.requests() as f64;
        // The next round goes on where this one ended, so that many addresses all have their turn.
        self.call.next = ended.iter().map(|call| call.next).min().unwrap_or(0);
        let (alone, _) = load::run(self.address, self.call.during(length / 2, 1)).await?;
        self.rounds.push(Round {
            cpu,
            saturated,
            alone,
        });
        Ok(())
    }

    /// µs of CPU per request.
    pub(crate) fn cpu(&self) -> f64 {
        self.median(|round| round.cpu)
    }

    /// Of each round, the ratio to the round of `other` that was measured next to it: what else the machine did at that
    /// time hit both.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(own, others)| own.cpu / others.cpu))
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }

    pub(crate) fn row(&self, base: &Self) -> Result<Vec<String>> {
        Ok(vec![
            self.name.clone(),
            format!("{:.1}", self.cpu()),
            format!("{:.2}", self.ratio(base)),
            format!("{:.0}", self.median(|round| round.saturated.per_second())),
            format!("{:.0}", self.median(|round| round.saturated.percentile(0.5))),
            format!("{:.0}", self.median(|round| round.saturated.percentile(0.99))),
            format!("{:.0}", self.median(|round| round.alone.percentile(0.5))),
            format!("{:.0}", self.median(|round| round.alone.percentile(0.99))),
            format!("{:.1}", self.process.resident()?),
        ])
    }
}

/// What the columns of [`Target::row`] are; `base` is what the ratios are to.
pub(crate) fn columns(base: &str) -> [String; 9] {
    [
        "",
        "CPU µs/request",
        &format!("× {base}"),
        "requests/s",
        "p50 µs",
        "p99 µs",
        "alone p50",
        "alone p99",
        "RSS MiB",
    ]
    .map(str::to_owned)
}
