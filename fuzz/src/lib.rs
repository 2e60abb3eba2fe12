//! What must hold for any input at all. Each module is one fuzz target; `cargo test` runs them over `seeds/`.

pub mod envelope;
pub mod framing;
pub mod headers;
pub mod passkey;
pub mod registration;
pub mod sse;
pub mod user_code;

#[path = "../../testkit/src/upstream/readings.rs"]
mod readings;
