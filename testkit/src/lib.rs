//! What end-to-end tests are made of: the real binary under a harness ([`Doorward`]), a browser that
//! fills in forms ([`browser::Browser`]), an OAuth client ([`oauth::OAuthClient`]), raw sockets, and
//! fake peers that are real servers on loopback ([`upstream::Upstream`], [`canary::Canary`]).
//!
//! Everything here panics with a readable message when the world is not as a test needs it: a
//! harness that returns errors only moves the `unwrap` into every test.

pub mod browser;
pub mod canary;
pub mod client_home;
pub mod command;
mod disk;
pub mod dns;
pub mod documents;
pub mod everything;
pub mod evil;
pub mod folder;
pub mod forge;
pub mod forwarder;
pub mod github;
pub mod html;
pub mod http;
pub mod http2;
pub mod identity;
pub mod leak;
pub mod mcp;
pub mod measure;
pub mod multiplex;
pub mod namespace;
pub mod oauth;
pub mod port;
pub mod raw;
pub mod server;
pub mod upstream;
pub mod usage;

pub use command::{Finished, doorward_binary};
pub use folder::folder;
pub use http::{Reply, Site};
pub use server::Doorward;

/// A password that every policy accepts.
pub const PASSWORD: &str = "correct horse battery staple";

/// `N` random bytes in base64url, for markers, verifiers and states.
#[must_use]
pub fn random_text() -> String {
    use base64::Engine as _;
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A short text that occurs nowhere else in a run.
#[must_use]
pub fn marker() -> String {
    let mut bytes = [0; 10];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("mark{hex}")
}

/// Polls `probe` every few milliseconds until it gives something.
///
/// # Panics
/// When `what` has not happened after `deadline`.
pub async fn eventually<T, F>(what: &str, deadline: std::time::Duration, mut probe: impl FnMut() -> F) -> T
where
    F: std::future::Future<Output = Option<T>>,
{
    let end = tokio::time::Instant::now() + deadline;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "not within {deadline:?}: {what}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
