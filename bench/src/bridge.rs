//! The stdio bridge beside mcp-remote: the same host, the same protected server, one after the other in every round.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use doorward_testkit::client_home::ClientHome;
use doorward_testkit::evil::{Evil, MCP};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::Plan;
use crate::figures::{self, median};
use crate::load::{self, Conversation, Outcome};
use crate::machine::{self, Tree};

/// The revision that mcp-remote speaks.
const REVISION: &str = "2025-11-25";
/// How long the tokens of the login live: no refresh falls into a measurement.
const TOKEN_LIFE: u64 = 24 * 3600;
/// How long a bridge is left alone before its memory is read.
const REST: Duration = Duration::from_secs(1);

/// A bridge that is measured.
struct Peer {
    name: &'static str,
    command: Box<dyn Fn() -> Command>,
    rounds: Vec<Round>,
}

struct Round {
    /// ms from the start of the process to the answer to `initialize`, the median of several.
    start: f64,
    calls: Outcome,
    resident: f64,
    proportional: f64,
}

/// Measures and prints.
pub(crate) async fn measure(plan: &Plan, packages: &Path) -> Result<()> {
    let server = Evil::start();
    server.tokens_live(TOKEN_LIFE);
    let home = ClientHome::new();
    let finished = home.login(&server.url(), &[]).await;
    ensure!(finished.code == 0, "the login failed: {}", finished.stderr);
    let node = Node::new(&home, packages, &plan.measured_core)?;
    log_in(&home, &node, &server).await?;

    let url = server.url();
    let (own, other) = (home.command(&["connect", &url]), node.command(&url));
    let mut peers = [Peer::new("doorward connect", own), Peer::new("mcp-remote", other)];
    let direct = Direct::new(&server)?;
    let mut base = Vec::new();
    for round in 0..plan.rounds() {
        eprintln!("round {} of {}", round + 1, plan.rounds());
        let (outcome, _) = load::run(direct.address, vec![direct.clone_for(plan)]).await?;
        base.push(outcome);
        for peer in &mut peers {
            let measured = peer.measure(plan).await;
            measured.with_context(|| format!("{} could not be measured", peer.name))?;
        }
    }
    print(plan, &base, &peers);
    Ok(())
}

/// mcp-remote signs in by itself when it is first started.
async fn log_in(home: &ClientHome, node: &Node, server: &Evil) -> Result<()> {
    let browsing = home.browse();
    let mut command = node.command(&server.url());
    let host = tokio::task::spawn_blocking(move || Host::start(&mut command)?.initialize()).await??;
    drop(browsing);
    drop(host);
    Ok(())
}

/// Node and the packages that run on it.
struct Node {
    program: PathBuf,
    script: PathBuf,
    home: PathBuf,
    bin: PathBuf,
    core: String,
}

impl Node {
    fn new(home: &ClientHome, packages: &Path, core: &str) -> Result<Self> {
        let machine = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x64"
        };
        let bin = home.root().join("bin");
        std::fs::create_dir(&bin)?;
        // What it starts on a desktop.
        let browser = bin.join("xdg-open");
        let script = format!(
            "#!/bin/sh\nexec /bin/sh '{}' \"$@\"\n",
            home.browser_script().display()
        );
        std::fs::write(&browser, script)?;
        std::fs::set_permissions(&browser, PermissionsExt::from_mode(0o755))?;
        let node = Self {
            program: packages.join(format!("node-linux-{machine}/bin/node")),
            script: packages.join("mcp-remote/dist/proxy.js"),
            home: home.root().join("home"),
            bin,
            core: core.to_owned(),
        };
        ensure!(node.program.is_file(), "there is no {}", node.program.display());
        ensure!(node.script.is_file(), "there is no {}", node.script.display());
        Ok(node)
    }

    fn command(&self, url: &str) -> Command {
        let mut path = self.bin.clone().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", &self.core])
            .arg(&self.program)
            .arg(&self.script)
            .arg(url)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", path)
            .env("BROWSER", self.bin.join("xdg-open"))
            .current_dir(&self.home);
        command
    }
}

/// The same command again.
fn again(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            copy.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        copy.current_dir(folder);
    }
    copy
}

impl Peer {
    fn new(name: &'static str, command: Command) -> Self {
        Self {
            name,
            command: Box::new(move || again(&command)),
            rounds: Vec::new(),
        }
    }

    async fn measure(&mut self, plan: &Plan) -> Result<()> {
        let mut starts = Vec::new();
        for _ in 0..starts_of(plan) {
            let begin = Instant::now();
            let host = Host::start(&mut (self.command)())?.initialize()?;
            starts.push(begin.elapsed().as_secs_f64() * 1e3);
            drop(host);
        }
        let mut host = Host::start(&mut (self.command)())?.initialize()?;
        host.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        host.calls(calls_of(plan) / 10)?;
        let calls = host.calls(calls_of(plan))?;
        tokio::time::sleep(REST).await;
        let process = Tree(host.child.id());
        self.rounds.push(Round {
            start: median(starts),
            calls,
            resident: process.resident()?,
            proportional: process.proportional()?,
        });
        Ok(())
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }

    /// What a call takes longer than the direct one of the same round, in µs.
    fn added(&self, base: &[Outcome], share: f64) -> f64 {
        let pairs = self.rounds.iter().zip(base);
        median(pairs.map(|(round, direct)| round.calls.percentile(share) - direct.percentile(share)))
    }
}

const fn starts_of(plan: &Plan) -> usize {
    if plan.quick { 3 } else { 7 }
}

const fn calls_of(plan: &Plan) -> usize {
    if plan.quick { 500 } else { 3_000 }
}

/// A host that speaks MCP to a bridge.
pub(crate) struct Host {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Host {
    /// The process that it speaks to.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        let input = child.stdin.take().context("a pipe")?;
        let output = child.stdout.take().context("a pipe")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
            next: 0,
        })
    }

    pub(crate) fn initialize(mut self) -> Result<Self> {
        let params = json!({ "protocolVersion": REVISION, "capabilities": {},
            "clientInfo": { "name": "bench", "version": "1" } });
        self.ask("initialize", &params)?;
        Ok(self)
    }

    pub(crate) fn calls(&mut self, number: usize) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let begin = Instant::now();
        for _ in 0..number {
            let sent = Instant::now();
            self.ask("tools/call", &json!({ "name": "t_read", "arguments": {} }))?;
            outcome.latencies.push(sent.elapsed());
        }
        outcome.elapsed = begin.elapsed();
        outcome.latencies.sort_unstable();
        Ok(outcome)
    }

    pub(crate) fn send(&mut self, message: &Value) -> Result<()> {
        self.input.write_all(format!("{message}\n").as_bytes())?;
        Ok(self.input.flush()?)
    }

    /// A request and its answer, which has to be a result.
    fn ask(&mut self, method: &str, params: &Value) -> Result<()> {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line)? == 0 {
                bail!("it ended before it answered {method}");
            }
            let message: Value = serde_json::from_str(&line)?;
            if message["id"] == id {
                ensure!(message.get("result").is_some(), "{method}: {message}");
                return Ok(());
            }
        }
    }
}

/// The same call without a bridge, with the token that a bridge sent.
struct Direct {
    address: SocketAddr,
    request: Request<()>,
    body: Bytes,
    left: usize,
}

impl Direct {
    fn new(server: &Evil) -> Result<Self> {
        let calls = server.seen(MCP);
        let token = calls
            .iter()
            .rev()
            .find_map(|call| call.values("authorization").into_iter().next());
        let token = token.context("a bridge sends its token")?;
        let params = json!({ "name": "t_read", "arguments": {} });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let address: SocketAddr = server.base().trim_start_matches("http://").parse()?;
        let request = Request::post(MCP)
            .header(HOST, address.to_string())
            .header(AUTHORIZATION, HeaderValue::from_str(&token)?)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("MCP-Protocol-Version", REVISION)
            .body(())?;
        Ok(Self {
            address,
            request,
            body: body.to_string().into(),
            left: 0,
        })
    }

    fn clone_for(&self, plan: &Plan) -> Self {
        Self {
            address: self.address,
            request: self.request.clone(),
            body: self.body.clone(),
            left: calls_of(plan),
        }
    }
}

impl Conversation for Direct {
    fn next(&mut self) -> Option<Request<Full<Bytes>>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.request.clone().map(|()| Full::new(self.body.clone())))
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

fn print(plan: &Plan, base: &[Outcome], peers: &[Peer]) {
    println!(
        "medians of {} rounds of {} starts and {} calls; {}",
        plan.rounds(),
        starts_of(plan),
        calls_of(plan),
        machine::describe()
    );
    let direct = |share: f64| median(base.iter().map(|outcome| outcome.percentile(share)));
    let figures = |peer: &Peer| {
        [
            peer.median(|round| round.start),
            peer.added(base, 0.5),
            peer.added(base, 0.99),
            peer.median(|round| round.resident),
            peer.median(|round| round.proportional),
        ]
    };
    let mut rows = vec![vec![
        "direct".to_owned(),
        String::new(),
        format!("({:.0})", direct(0.5)),
        format!("({:.0})", direct(0.99)),
    ]];
    for peer in peers {
        let mut row = vec![peer.name.to_owned()];
        for (figure, digits) in figures(peer).into_iter().zip([1, 0, 0, 1, 1]) {
            row.push(format!("{figure:.digits$}"));
        }
        rows.push(row);
    }
    if let [own, other] = peers {
        let ratios = figures(own).into_iter().zip(figures(other));
        let mut row = vec!["ratio".to_owned()];
        row.extend(ratios.map(|(own, other)| format!("{:.3}", own / other)));
        rows.push(row);
    }
    let head = [
        "",
        "start ms",
        "added p50 µs",
        "added p99 µs",
        "RSS MiB",
        "PSS MiB",
    ];
    figures::print(&head, &rows);
}
