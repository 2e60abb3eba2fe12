//! `bench token`: the token endpoint on durable SQLite, the way to it, and the certified reference for Node beside
//! it, in memory.

mod peer;
mod talk;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::{Approved, OAuthClient};
use doorward_testkit::{Doorward, PASSWORD};
use http::HeaderValue;
use tokio::task::JoinSet;

use crate::figures::{median, print};
use crate::load::{self, Outcome};
use crate::machine::{self, Tree};
use crate::{Plan, basic};
use peer::Peer;
use talk::{Credentials, Form, Redeem, Refresh};

/// Connections to the token endpoint; concurrent work is what group commit is for.
const CONNECTIONS: usize = 32;
/// Browsers that consent at once.
const BROWSERS: usize = 4;
/// Codes that the peer keeps at the same time: its memory is bounded too.
const PEER_CODES: usize = 400;
/// How long the peer serves each kind of request before it is measured, and how often.
const WARM_UP: Duration = Duration::from_secs(2);
const WARM_UPS: usize = 3;
/// A service of ours: its id and secret.
const SERVICE: &str = "bench-service";

/// What the budgets of PERFORMANCE ask of us against the peer, by CPU for one.
const BUDGETS: [(&str, f64); 3] = [("client_credentials", 8.0), ("code", 4.0), ("refresh", 4.0)];

/// One kind of work over the rounds.
struct Work {
    name: &'static str,
    rounds: Vec<Round>,
}

struct Round {
    /// µs of CPU for one.
    cpu: f64,
    per_second: f64,
    /// Latencies in µs; none where one thing takes several requests.
    percentiles: Option<(f64, f64)>,
}

impl Work {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            rounds: Vec::new(),
        }
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }

    fn row(&self) -> Vec<String> {
        let percentile = |which: &dyn Fn((f64, f64)) -> f64| {
            let figures: Vec<f64> = self
                .rounds
                .iter()
                .filter_map(|round| round.percentiles)
                .map(which)
                .collect();
            if figures.is_empty() {
                "-".to_owned()
            } else {
                format!("{:.0}", median(figures))
            }
        };
        let cpu = |round: Option<&Round>| round.map_or_else(String::new, |round| format!("{:.0}", round.cpu));
        vec![
            self.name.to_owned(),
            format!("{:.0}", self.median(|round| round.cpu)),
            // The database grows from round to round; what it costs should not.
            cpu(self.rounds.first()),
            cpu(self.rounds.last()),
            format!("{:.0}", self.median(|round| round.per_second)),
            percentile(&|(half, _)| half),
            percentile(&|(_, most)| most),
        ]
    }
}

/// A token endpoint, and what it takes to talk to it.
struct Target {
    process: Tree,
    address: std::net::SocketAddr,
    host: String,
    client: String,
    resource: String,
    service: HeaderValue,
}

impl Target {
    /// Redeems codes; hands back the refresh tokens.
    async fn redeem(&self, codes: Vec<Form>) -> Result<(Round, Vec<String>)> {
        let talk = Redeem::new(&self.host, codes);
        let before = self.process.cpu()?;
        let (outcome, ended) = load::run(self.address, vec![talk; CONNECTIONS]).await?;
        let tokens = ended.into_iter().flat_map(|talk| talk.refresh_tokens).collect();
        Ok((self.round(before, &outcome)?, tokens))
    }

    /// Refreshes, with one token on each connection, for `length`.
    async fn refresh(&self, tokens: Vec<String>, length: Duration) -> Result<Round> {
        let until = Instant::now() + length;
        let talks = tokens.into_iter().take(CONNECTIONS).map(|token| Refresh {
            host: self.host.clone(),
            client: self.client.clone(),
            resource: self.resource.clone(),
            token,
            until,
        });
        let before = self.process.cpu()?;
        let (outcome, _) = load::run(self.address, talks.collect()).await?;
        self.round(before, &outcome)
    }

    async fn client_credentials(&self, length: Duration) -> Result<Round> {
        let talk = Credentials {
            host: self.host.clone(),
            resource: self.resource.clone(),
            authorization: self.service.clone(),
            until: Instant::now() + length,
        };
        let before = self.process.cpu()?;
        let (outcome, _) = load::run(self.address, vec![talk; CONNECTIONS]).await?;
        self.round(before, &outcome)
    }

    fn round(&self, before: f64, outcome: &Outcome) -> Result<Round> {
        Ok(Round {
            cpu: (self.process.cpu()? - before) / outcome.requests() as f64,
            per_second: outcome.per_second(),
            percentiles: Some((outcome.percentile(0.5), outcome.percentile(0.99))),
        })
    }
}

/// The server, a client of it, and a browser in which alice is signed in.
struct Bench {
    doorward: Doorward,
    client: OAuthClient,
    browser: Browser,
    resource: String,
}

impl Bench {
    async fn start() -> Self {
        let doorward = Doorward::builder().demo().user("alice", PASSWORD).start().await;
        let client = OAuthClient::native(doorward.site()).await;
        let mut browser = Browser::new(doorward.site());
        let resource = doorward.url("/mcp");
        client.approve(&mut browser, "alice", PASSWORD, &resource).await;
        Self {
            doorward,
            client,
            browser,
            resource,
        }
    }

    fn target(&self) -> Result<Target> {
        Ok(Target {
            process: self.process(),
            address: self.doorward.address,
            host: self.doorward.address.to_string(),
            client: self.client.id.clone(),
            resource: self.resource.clone(),
            service: self.service()?,
        })
    }

    /// A client that asks for tokens of its own.
    fn service(&self) -> Result<HeaderValue> {
        let added = self.doorward.command(&[
            "client",
            "add",
            "--id",
            SERVICE,
            "--secret",
            "--client-credentials",
            "--format",
            "json",
        ]);
        let added = added.ok().json();
        basic(SERVICE, added["client_secret"].as_str().context("a secret")?)
    }

    fn process(&self) -> Tree {
        Tree(self.doorward.pid())
    }

    /// A whole sign-in with a password, in a new browser each time.
    async fn sign_in(&self, times: usize) -> Result<Round> {
        let (before, begin) = (self.process().cpu()?, Instant::now());
        for _ in 0..times {
            self.client
                .approve(
                    &mut Browser::new(self.doorward.site()),
                    "alice",
                    PASSWORD,
                    &self.resource,
                )
                .await;
        }
        self.round(before, begin.elapsed(), times)
    }

    /// Consents of a signed-in user: authorization request, consent page, code. No password, so no argon2.
    async fn consent(&self, times: usize) -> Result<(Round, Vec<Approved>)> {
        let (before, begin) = (self.process().cpu()?, Instant::now());
        let mut people = JoinSet::new();
        for _ in 0..BROWSERS {
            let (client, mut browser, resource) =
                (self.client.clone(), self.browser.clone(), self.resource.clone());
            people.spawn(async move {
                let mut codes = Vec::new();
                for _ in 0..times / BROWSERS {
                    codes.push(client.approve(&mut browser, "alice", PASSWORD, &resource).await);
                }
                codes
            });
        }
        let codes = people.join_all().await.concat();
        Ok((self.round(before, begin.elapsed(), codes.len())?, codes))
    }

    fn round(&self, before: f64, elapsed: Duration, times: usize) -> Result<Round> {
        Ok(Round {
            cpu: (self.process().cpu()? - before) / times as f64,
            per_second: times as f64 / elapsed.as_secs_f64(),
            percentiles: None,
        })
    }
}

/// Measures and prints.
pub(crate) async fn measure(plan: &Plan, packages: &Path) -> Result<()> {
    let bench = Bench::start().await;
    let peer = Peer::start(packages, &plan.measured_core).await?;
    let ours = bench.target()?;
    let theirs = Target {
        process: Tree(peer.pid()),
        address: peer.address,
        host: peer.host(),
        client: "native".to_owned(),
        resource: peer.resource(),
        service: basic("service", &"s".repeat(43))?,
    };
    let (sign_ins, consents) = if plan.quick { (5, 200) } else { (20, 1_000) };
    let mut way = [
        Work::new("sign in with a password, consent, code"),
        Work::new("consent of a signed-in user, code (no argon2)"),
    ];
    let mut work = [
        Work::new("client_credentials"),
        Work::new("code to tokens"),
        Work::new("refresh, rotated"),
    ];
    let mut reference = [
        Work::new("  oidc-provider: client_credentials"),
        Work::new("  oidc-provider: code to tokens"),
        Work::new("  oidc-provider: refresh, not rotated"),
    ];
    warm_up(&ours, &bench, &peer, &theirs).await?;
    for _ in 0..plan.rounds() {
        way[0].rounds.push(bench.sign_in(sign_ins).await?);
        let (round, codes) = bench.consent(consents).await?;
        way[1].rounds.push(round);
        let forms = codes.iter().map(|code| bench.client.code_form(code)).collect();
        measure_target(&ours, forms, plan.length(), &mut work).await?;
        let forms = peer.codes(PEER_CODES).await?;
        measure_target(&theirs, forms, plan.length(), &mut reference).await?;
    }

    println!("\ntoken endpoint, SQLite with synchronous=FULL, {CONNECTIONS} connections");
    println!("beside it: oidc-provider {} on Node, in memory", peer.version);
    println!("medians of {} rounds; {}\n", plan.rounds(), machine::describe());
    let pairs = work
        .iter()
        .zip(&reference)
        .flat_map(|(ours, theirs)| [ours, theirs]);
    let rows: Vec<Vec<String>> = way.iter().chain(pairs).map(Work::row).collect();
    let head = [
        "",
        "CPU µs each",
        "first round",
        "last round",
        "each/s",
        "p50 µs",
        "p99 µs",
    ];
    print(&head, &rows);
    println!();
    let rows: Vec<Vec<String>> = work.iter().zip(&reference).zip(BUDGETS).map(ratio).collect();
    print(
        &["against oidc-provider", "× by CPU", "× by rate", "budget", ""],
        &rows,
    );
    println!("\nRSS {:.1} MiB", bench.process().resident()?);
    Ok(())
}

/// Both do everything for some time before anything counts: a peer that is still being compiled while it serves
/// would flatter us.
async fn warm_up(ours: &Target, bench: &Bench, peer: &Peer, theirs: &Target) -> Result<()> {
    let unused = || [Work::new(""), Work::new(""), Work::new("")];
    let (_, codes) = bench.consent(CONNECTIONS).await?;
    let forms = codes.iter().map(|code| bench.client.code_form(code)).collect();
    measure_target(ours, forms, WARM_UP / 4, &mut unused()).await?;
    for _ in 0..WARM_UPS {
        let forms = peer.codes(PEER_CODES).await?;
        measure_target(theirs, forms, WARM_UP, &mut unused()).await?;
    }
    Ok(())
}

async fn measure_target(
    target: &Target,
    codes: Vec<Form>,
    length: Duration,
    [credentials, redeem, refresh]: &mut [Work; 3],
) -> Result<()> {
    credentials.rounds.push(target.client_credentials(length).await?);
    let (round, tokens) = target.redeem(codes).await?;
    redeem.rounds.push(round);
    refresh.rounds.push(target.refresh(tokens, length).await?);
    Ok(())
}

fn ratio(((ours, theirs), (name, budget)): ((&Work, &Work), (&str, f64))) -> Vec<String> {
    let by_cpu = theirs.median(|round| round.cpu) / ours.median(|round| round.cpu);
    let by_rate = ours.median(|round| round.per_second) / theirs.median(|round| round.per_second);
    vec![
        name.to_owned(),
        format!("{by_cpu:.1}"),
        format!("{by_rate:.1}"),
        format!("≥ {budget}"),
        if by_cpu >= budget { "kept" } else { "missed" }.to_owned(),
    ]
}
