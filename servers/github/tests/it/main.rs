//! The GitHub server in front of a stand-in for GitHub.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set itself up, or gets something else than it expects, must fail"
)]

mod command_line;
mod http;
mod stdio;
