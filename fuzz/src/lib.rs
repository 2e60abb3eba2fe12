//! What must hold for any input at all. Each module is one fuzz target; `cargo test` runs them over `seeds/`.

pub mod answers;
pub mod callback;
pub mod challenge;
pub mod client_assertion;
pub mod client_call;
pub mod client_metadata;
pub mod envelope;
pub mod framing;
pub mod headers;
pub mod passkey;
pub mod pushed;
pub mod registration;
pub mod resource_metadata;
pub mod scope_table;
pub mod server_metadata;
pub mod sieve;
pub mod sse;
pub mod statements;
pub mod user_code;

#[path = "../../testkit/src/upstream/readings.rs"]
mod readings;
