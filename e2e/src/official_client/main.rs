//! The client that the official suite starts: rmcp's client, with our authorization under it or our bridge. Everything
//! that is particular to the suite is here and nowhere else.
//!
//! usage: official-client library URL
//!        official-client connect DOORWARD URL
//!        official-client browse URL
//!   library   rmcp's own HTTP transport, authorized by the client library
//!   connect   the bridge at DOORWARD, over its stdin and stdout, with a store of its own
//!   browse    the person at the browser: opens the page and goes where it sends one
//! environment: `MCP_CONFORMANCE_SCENARIO`, `MCP_CONFORMANCE_PROTOCOL_VERSION`, `MCP_CONFORMANCE_CONTEXT`

mod authorizer;
mod bridge;
mod browser;
mod context;
mod host;
mod library;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use context::Scenario;

type Failure = Box<dyn Error + Send + Sync>;

/// The document of the client that the suite knows. Nobody fetches it.
const CLIENT_METADATA_URL: &str = "https://conformance-test.local/client-metadata.json";

/// Before the suite's own thirty seconds are over, so that there are words to read.
const DEADLINE: Duration = Duration::from_secs(27);

async fn run() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["library", url] => library::run(url, &Scenario::from_environment()?).await,
        ["connect", doorward, url] => bridge::run(doorward, url, &Scenario::from_environment()?).await,
        ["browse", url] => browser::browse(url).await,
        _ => Err("usage: official-client library URL | connect DOORWARD URL | browse URL".into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match tokio::time::timeout(DEADLINE, run()).await {
        Ok(outcome) => outcome,
        Err(_) => Err("it took too long".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", words(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error with what caused it, as programs print them.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(current) = source {
        text.push_str(": ");
        text.push_str(&current.to_string());
        source = current.source();
    }
    text
}
