//! An rmcp client that is authorized by Doorward.
//!
//! [`AuthorizedClient`] is the HTTP side of rmcp's Streamable HTTP transport. Each request gets the headers that an
//! [`Authorizer`](doorward_client::authorizer::Authorizer) gives for it; a refusal goes to the authorizer, which refreshes, logs
//! in, asks for more scopes or takes a nonce over, and the same message is sent again. rmcp's own `auth` feature is not
//! used: what it leaves to the application (keeping tokens, sharing them between processes, DPoP, the order of discovery)
//! is what the authorizer does.
//!
//! The network is [`GuardedClient`](doorward_outbound::GuardedClient): no redirect is followed, so that no token goes
//! where a server points, and every size is bounded.

mod answer;
mod client;
mod error;
mod events;

pub use client::AuthorizedClient;
pub use error::ClientError;
