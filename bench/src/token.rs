//! `bench token`: the token endpoint on durable SQLite, and the way to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::{Approved, OAuthClient};
use doorward_testkit::{Doorward, PASSWORD};
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::Plan;
use crate::figures::{median, print};
use crate::load::{self, Conversation, Outcome};
use crate::machine::{self, Tree};

/// Connections to the token endpoint; concurrent work is what group commit is for.
const CONNECTIONS: usize = 32;
/// Browsers that consent at once.
const BROWSERS: usize = 4;

type Form = Vec<(String, String)>;

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

    fn row(&self) -> Vec<String> {
        let over = |figure: &dyn Fn(&Round) -> f64| median(self.rounds.iter().map(figure));
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
        vec![
            self.name.to_owned(),
            format!("{:.0}", over(&|round| round.cpu)),
            // The database grows from round to round; what it costs should not.
            self.rounds
                .first()
                .map_or_else(String::new, |round| format!("{:.0}", round.cpu)),
            self.rounds
                .last()
                .map_or_else(String::new, |round| format!("{:.0}", round.cpu)),
            format!("{:.0}", over(&|round| round.per_second)),
            percentile(&|(half, _)| half),
            percentile(&|(_, most)| most),
        ]
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

    /// Redeems codes; hands back the refresh tokens.
    async fn redeem(&self, codes: &[Approved]) -> Result<(Round, Vec<String>)> {
        let forms = codes.iter().map(|code| self.client.code_form(code)).collect();
        let queue = Arc::new(Mutex::new(forms));
        let host = self.doorward.address.to_string();
        let talk = Redeem {
            host,
            queue,
            refresh_tokens: Vec::new(),
        };
        let before = self.process().cpu()?;
        let (outcome, ended) = load::run(self.doorward.address, vec![talk; CONNECTIONS]).await?;
        let tokens = ended.into_iter().flat_map(|talk| talk.refresh_tokens).collect();
        Ok((self.round_of(before, &outcome)?, tokens))
    }

    /// Rotates refresh tokens, one chain on each connection, for `length`.
    async fn refresh(&self, tokens: Vec<String>, length: Duration) -> Result<Round> {
        let until = Instant::now() + length;
        let talks = tokens.into_iter().take(CONNECTIONS).map(|token| Refresh {
            host: self.doorward.address.to_string(),
            client: self.client.clone(),
            resource: self.resource.clone(),
            token,
            until,
        });
        let before = self.process().cpu()?;
        let (outcome, _) = load::run(self.doorward.address, talks.collect()).await?;
        self.round_of(before, &outcome)
    }

    fn round(&self, before: f64, elapsed: Duration, times: usize) -> Result<Round> {
        let cpu = (self.process().cpu()? - before) / times as f64;
        Ok(Round {
            cpu,
            per_second: times as f64 / elapsed.as_secs_f64(),
            percentiles: None,
        })
    }

    fn round_of(&self, before: f64, outcome: &Outcome) -> Result<Round> {
        let round = self.round(before, outcome.elapsed, outcome.requests())?;
        Ok(Round {
            percentiles: Some((outcome.percentile(0.5), outcome.percentile(0.99))),
            ..round
        })
    }
}

/// Redeems one code after the other, from a queue that all connections share.
#[derive(Clone)]
struct Redeem {
    host: String,
    queue: Arc<Mutex<VecDeque<Form>>>,
    refresh_tokens: Vec<String>,
}

impl Conversation for Redeem {
    fn next(&mut self) -> Option<Request<Full<Bytes>>> {
        let form = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()?;
        Some(token_request(&self.host, &form))
    }

    fn answered(&mut self, status: StatusCode, body: &Bytes) -> Result<()> {
        self.refresh_tokens.push(refresh_token(status, body)?);
        Ok(())
    }
}

/// Follows one chain of refresh tokens.
struct Refresh {
    host: String,
    client: OAuthClient,
    resource: String,
    token: String,
    until: Instant,
}

impl Conversation for Refresh {
    fn next(&mut self) -> Option<Request<Full<Bytes>>> {
        let request = || token_request(&self.host, &self.client.refresh_form(&self.token, &self.resource));
        (Instant::now() < self.until).then(request)
    }

    fn answered(&mut self, status: StatusCode, body: &Bytes) -> Result<()> {
        self.token = refresh_token(status, body)?;
        Ok(())
    }
}

fn token_request(host: &str, form: &Form) -> Request<Full<Bytes>> {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("/token");
    let host = http::HeaderValue::from_str(host).expect("an address is a header value");
    request.headers_mut().insert(HOST, host);
    let form = http::HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form);
    request
}

fn refresh_token(status: StatusCode, body: &Bytes) -> Result<String> {
    ensure!(
        status == StatusCode::OK,
        "{status}: {}",
        String::from_utf8_lossy(body)
    );
    let answer: Value = serde_json::from_slice(body)?;
    answer["refresh_token"]
        .as_str()
        .map(str::to_owned)
        .context("a refresh token")
}

/// Measures and prints.
pub(crate) async fn measure(plan: &Plan) -> Result<()> {
    let bench = Bench::start().await;
    let (sign_ins, consents) = if plan.quick { (5, 200) } else { (20, 1_000) };
    let mut sign_in = Work::new("sign in with a password, consent, code");
    let mut consent = Work::new("consent of a signed-in user, code (no argon2)");
    let mut redeem = Work::new("code to tokens");
    let mut refresh = Work::new("refresh, rotated");
    for _ in 0..plan.rounds() {
        sign_in.rounds.push(bench.sign_in(sign_ins).await?);
        let (round, codes) = bench.consent(consents).await?;
        consent.rounds.push(round);
        let (round, tokens) = bench.redeem(&codes).await?;
        redeem.rounds.push(round);
        refresh.rounds.push(bench.refresh(tokens, plan.length()).await?);
    }

    println!("\ntoken endpoint, SQLite with synchronous=FULL, {CONNECTIONS} connections");
    println!("medians of {} rounds; {}\n", plan.rounds(), machine::describe());
    let rows: Vec<Vec<String>> = [sign_in, consent, redeem, refresh]
        .iter()
        .map(Work::row)
        .collect();
    print(
        &[
            "",
            "CPU µs each",
            "first round",
            "last round",
            "each/s",
            "p50 µs",
            "p99 µs",
        ],
        &rows,
    );
    println!("\nRSS {:.1} MiB", bench.process().resident()?);
    Ok(())
}
