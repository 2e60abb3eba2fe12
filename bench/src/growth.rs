//! `bench growth`: what a call costs where there is a lot of everything, beside where there is little. Callers are
//! services with tokens of their own, because a hundred thousand people could not log in in any reasonable time.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use doorward_testkit::Doorward;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use crate::Plan;
use crate::basic;
use crate::figures::print;
use crate::gate::Gate;
use crate::load::{self, Conversation};
use crate::target::{Address, Call, Target, columns};
use crate::upstream::Upstream;

/// The secret of all services.
const SECRET: &str = "a secret that only a measurement has";
const VARIABLE: &str = "BENCH_SECRET";
/// Connections over which tokens are asked for.
const ASKING: usize = 32;

/// How much there is.
#[derive(Clone, Copy)]
struct Size {
    name: &'static str,
    servers: usize,
    /// Named by the table of each.
    tools: usize,
    callers: usize,
}

impl Size {
    /// Every caller has one token for each server, and all of them call in turn.
    const fn tokens(self) -> usize {
        self.callers * self.servers
    }
}

/// The first is what the others are compared with.
const SIZES: [Size; 5] = [
    Size {
        name: "1 server, 10 tools, 1 token",
        servers: 1,
        tools: 10,
        callers: 1,
    },
    Size {
        name: "1,000 servers, a token for each",
        servers: 1_000,
        tools: 10,
        callers: 1,
    },
    Size {
        name: "10,000 tools in the table",
        servers: 1,
        tools: 10_000,
        callers: 1,
    },
    Size {
        name: "10,000 callers, 1 token each",
        servers: 1,
        tools: 10,
        callers: 10_000,
    },
    Size {
        name: "10,000 callers, 10 servers: 100,000 tokens",
        servers: 10,
        tools: 10,
        callers: 10_000,
    },
];

/// Measures and prints.
pub(crate) async fn measure(plan: &Plan) -> Result<()> {
    let upstream = Upstream::start()?;
    let url = format!("http://{}/mcp", upstream.address);
    let (mut targets, mut running) = (Vec::new(), Vec::new());
    for size in SIZES {
        let (target, doorward) = start(size, &url).await?;
        target.warm_up().await?;
        targets.push(target);
        running.push(doorward);
    }
    for _ in 0..plan.rounds() {
        for target in &mut targets {
            target.measure(plan.length()).await?;
        }
    }
    println!("\ntools/call with table, limits and decision log; callers take turns");
    println!("{}\n", plan.describe());
    let rows = targets.iter().map(|target| target.row(&targets[0]));
    print(&columns("the first"), &rows.collect::<Result<Vec<_>>>()?);
    Ok(())
}

async fn start(size: Size, upstream: &str) -> Result<(Target, Doorward)> {
    let gate = Gate {
        tools: size.tools,
        ..Gate::DEFAULT
    };
    let mut config = gate.common();
    for server in 0..size.servers {
        config.push_str(&gate.server(&format!("s{server}"), upstream));
    }
    for caller in 0..size.callers {
        // Writing to a string cannot fail.
        let _ = write!(
            config,
            "[[clients]]\nid = \"caller-{caller}\"\nsecret = \"env:{VARIABLE}\"\n\
             grant_types = [\"client_credentials\"]\n"
        );
    }
    let doorward = Doorward::builder()
        .config(&config)
        .env(VARIABLE, SECRET)
        .start()
        .await;
    let host = doorward.address.to_string();
    let wanted = (0..size.callers)
        .flat_map(|caller| (0..size.servers).map(move |server| (caller, format!("/s{server}/mcp"))));
    let asking = Ask {
        host: host.clone(),
        public_url: doorward.public_url.clone(),
        queue: Arc::new(Mutex::new(wanted.collect())),
        asked: String::new(),
        addresses: Vec::new(),
    };
    let (_, ended) = load::run(doorward.address, vec![asking; ASKING]).await?;
    let addresses: Vec<Address> = ended.into_iter().flat_map(|ask| ask.addresses).collect();
    ensure!(addresses.len() == size.tokens(), "a token for everybody");
    let call = Call::new(&host, addresses)?;
    let target = Target::new(size.name.into(), doorward.address, doorward.pid(), call);
    Ok((target, doorward))
}

/// Asks for one token after the other, from a queue that all connections share.
#[derive(Clone)]
struct Ask {
    host: String,
    public_url: String,
    queue: Arc<Mutex<VecDeque<(usize, String)>>>,
    /// The path of the server that the last one is for.
    asked: String,
    addresses: Vec<Address>,
}

impl Conversation for Ask {
    fn next(&mut self) -> Option<Request<Full<Bytes>>> {
        let next = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let (caller, path) = next?;
        let resource = format!("{}{path}", self.public_url);
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("resource", &resource)
            .finish();
        self.asked = path;
        let credentials = basic(&format!("caller-{caller}"), SECRET).ok()?;
        Request::post("/token")
            .header(HOST, &self.host)
            .header(AUTHORIZATION, credentials)
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )
            .body(Full::new(Bytes::from(form)))
            .ok()
    }

    fn answered(&mut self, status: StatusCode, body: &Bytes) -> Result<()> {
        ensure!(
            status == StatusCode::OK,
            "{status}: {}",
            String::from_utf8_lossy(body)
        );
        let reply: Value = serde_json::from_slice(body)?;
        let token = reply["access_token"].as_str().context("an access token")?;
        self.addresses.push(Address::new(&self.asked, token)?);
        Ok(())
    }
}
