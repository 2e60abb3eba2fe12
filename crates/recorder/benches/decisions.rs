//! What a line of the decision log costs: `cargo bench -p doorward-recorder`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement of something broken should stop, one is there to be read, and this one waits as a server does"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use doorward_recorder::decisions::{Caller, DecisionLog, Entry, ServerFacts, Settings};
use doorward_types::scope::ScopeSet;
use doorward_types::time::{FixedClock, UnixTime};

const ROUNDS: u32 = 100;
/// What a busy server decides in 50 ms.
const EACH: u32 = 2000;

fn entry<'a>(server: &'a ServerFacts, scopes: &'a ScopeSet) -> Entry<'a> {
    Entry {
        at: UnixTime::from_millis(1_795_264_480_298),
        id: uuid::Uuid::from_u128(1),
        outcome: "permitted",
        reason: None,
        status: Some(200),
        server,
        caller: Some(Caller {
            user: uuid::Uuid::from_u128(2),
            client: "dcr_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
            token: uuid::Uuid::from_u128(3),
            family: Some(uuid::Uuid::from_u128(4)),
            audience: "https://mcp.example.com/files/mcp",
            scopes,
        }),
        http_method: "POST",
        method: Some("tools/call"),
        name: Some("read_file"),
        revision: Some("2026-07-28"),
        needed: Some(scopes),
        repeated: false,
        policies: &[],
        trace: None,
        traceparent: None,
        peer: Some([192, 0, 2, 17].into()),
        took: Duration::from_micros(1240),
        upstream_took: Some(Duration::from_micros(1090)),
        upstream_status: Some(200),
        opens_stream: false,
    }
}

/// What the whole process has used of the processor.
fn processor() -> Duration {
    // utime and stime, in clock ticks of 10 ms.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    let settings = Settings {
        path,
        max_size: 64 << 20,
    };
    let log = DecisionLog::start(Some(settings), Arc::new(FixedClock::new(UnixTime::EPOCH))).unwrap();
    let facts = ServerFacts::new(
        "files",
        "https://mcp.example.com/files/mcp",
        "http",
        "https://mcp.example.com",
        "https://mcp.example.com/.well-known/oauth-authorization-server",
    );
    let scopes = "files:read files:write".parse().unwrap();
    let entry = entry(&facts, &scopes);
    let (mut caller, before) = (Duration::ZERO, processor());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..EACH {
            log.record(&entry);
        }
        caller += begun.elapsed();
        // As on a server: batches of 50 ms.
        std::thread::sleep(Duration::from_millis(55));
    }
    let total = processor() - before;
    log.flush();
    let records = ROUNDS * EACH;
    println!(
        "one line: {:?} for whoever decides, {:?} of the processor in all; lost {}",
        caller / records,
        total / records,
        log.lost()
    );
}
