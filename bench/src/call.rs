//! `bench call`: one `tools/call`, direct, through nginx, and through Doorward with a token it knows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD, mcp};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::Plan;
use crate::figures::{median, print};
use crate::load::{self, Conversation, Outcome};
use crate::machine::{self, Tree};
use crate::nginx::Nginx;
use crate::upstream::Upstream;

/// Connections of a saturating run.
const CONNECTIONS: usize = 16;

/// Something that calls go to.
struct Target {
    name: &'static str,
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

/// The call, to be sent over and over.
#[derive(Clone)]
struct Call {
    head: http::request::Parts,
    body: Bytes,
    until: Instant,
}

impl Call {
    fn new(path: &str, host: &str, token: &str) -> Result<Self> {
        let params = json!({ "name": "echo", "arguments": { "text": "hello" }, "_meta": mcp::meta() });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let request = Request::post(path)
            .header(HOST, host)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("MCP-Protocol-Version", mcp::MODERN)
            .header("Mcp-Method", "tools/call")
            .header("Mcp-Name", "echo")
            .body(())?;
        let (head, ()) = request.into_parts();
        Ok(Self {
            head,
            body: Bytes::from(body.to_string()),
            until: Instant::now(),
        })
    }

    fn during(&self, length: Duration) -> Self {
        Self {
            until: Instant::now() + length,
            ..self.clone()
        }
    }
}

impl Conversation for Call {
    fn next(&mut self) -> Option<Request<Full<Bytes>>> {
        let request = || Request::from_parts(self.head.clone(), Full::new(self.body.clone()));
        (Instant::now() < self.until).then(request)
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
    async fn measure(&mut self, length: Duration) -> Result<()> {
        // Wakes everything up: connections, caches, clock rates.
        let warm = self.call.during(length / 10);
        load::run(self.address, vec![warm; CONNECTIONS]).await?;
        let before = self.process.cpu()?;
        let (saturated, _) = load::run(self.address, vec![self.call.during(length); CONNECTIONS]).await?;
        let cpu = (self.process.cpu()? - before) / saturated.requests() as f64;
        let (alone, _) = load::run(self.address, vec![self.call.during(length / 2)]).await?;
        self.rounds.push(Round {
            cpu,
            saturated,
            alone,
        });
        Ok(())
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }

    fn row(&self, nginx: f64) -> Result<Vec<String>> {
        let cpu = self.median(|round| round.cpu);
        Ok(vec![
            self.name.to_owned(),
            format!("{cpu:.1}"),
            format!("{:.2}", cpu / nginx),
            format!("{:.0}", self.median(|round| round.saturated.per_second())),
            format!("{:.0}", self.median(|round| round.saturated.percentile(0.5))),
            format!("{:.0}", self.median(|round| round.saturated.percentile(0.99))),
            format!("{:.0}", self.median(|round| round.alone.percentile(0.5))),
            format!("{:.0}", self.median(|round| round.alone.percentile(0.99))),
            format!("{:.1}", self.process.resident()?),
        ])
    }
}

/// Measures and prints.
pub(crate) async fn measure(plan: &Plan) -> Result<()> {
    let upstream = Upstream::start()?;
    let nginx = Nginx::start(upstream.address, &plan.measured_core).await?;
    let url = format!("http://{}/mcp", upstream.address);
    let doorward = Doorward::builder()
        .upstream(&url)
        .user("alice", PASSWORD)
        .start()
        .await;
    let client = OAuthClient::native(doorward.site()).await;
    let tokens = client.login("alice", PASSWORD, &doorward.url("/mcp")).await;

    let target = |name, address: SocketAddr, pid| -> Result<Target> {
        let call = Call::new("/mcp", &address.to_string(), &tokens.access)?;
        Ok(Target {
            name,
            address,
            process: Tree(pid),
            call,
            rounds: Vec::new(),
        })
    };
    let mut targets = [
        target(
            "direct (the upstream's own CPU)",
            upstream.address,
            upstream.pid(),
        )?,
        target("nginx, plain proxy", nginx.address, nginx.pid())?,
        target("Doorward, warm token", doorward.address, doorward.pid())?,
    ];
    for _ in 0..plan.rounds() {
        for target in &mut targets {
            target.measure(plan.length()).await?;
        }
    }

    println!(
        "\ntools/call over HTTP/1.1, {}-byte token, {CONNECTIONS} connections then one",
        tokens.access.len()
    );
    println!(
        "medians of {} rounds of {:?}; {}\n",
        plan.rounds(),
        plan.length(),
        machine::describe()
    );
    let nginx_cpu = targets[1].median(|round| round.cpu);
    let rows = targets
        .iter()
        .map(|target| target.row(nginx_cpu))
        .collect::<Result<Vec<_>>>()?;
    let head = [
        "",
        "CPU µs/request",
        "× nginx",
        "requests/s",
        "p50 µs",
        "p99 µs",
        "alone p50",
        "alone p99",
        "RSS MiB",
    ];
    print(&head, &rows);
    Ok(())
}
