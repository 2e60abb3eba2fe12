//! The bridge between a host in this process and a server over real connections that answers as each test says.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set itself up must fail"
)]

mod authorization;
mod host;
mod legacy;
mod modern;
mod server;
mod sse;
