//! Endpoint rules of the authorization server, one module per grant, without I/O.
//!
//! Each endpoint is `parse(request)`, which tells what to load, then `decide(request, loaded, now, random)`,
//! which gives an answer and a [`Unit`](doorward_records::Unit) of writes. The shell commits the unit in one
//! transaction *before* it answers; if that conflicts it loads again and decides again (three times, then
//! `503`). Because every unit carries the facts it rests on, two requests that were decided on the same
//! rows cannot both happen. Tokens leave [`grants`] as claims and are signed by [`mint`] after the commit.
//!
//! | endpoint | parse | load | decide |
//! |---|---|---|---|
//! | GET `/authorize` | [`authorize::parse`] | client | [`authorize::decide`] → [`PendingRequest`](pending::PendingRequest) |
//! | POST `/login` | open the pending request | user by name, then [`password::verify`] | [`login::decide`] |
//! | consent page | | client, user | [`consent::view`] |
//! | POST `/consent` | open it, [`consent::Submission::parse`] | [`consent::ConsentFacts`] | [`consent::decide`] |
//! | GET/POST `/setup` | | setup link and user | [`setup::check`], [`setup::decide`] |
//! | POST `/register` | [`register::parse`] | client | [`register::decide`] |
//! | POST `/token` | [`token::parse`] | [`CodeFacts`](grants::authorization_code::CodeFacts) or `RefreshFacts` | [`grants`] |

pub mod administer;
pub mod authorize;
pub mod client;
pub mod consent;
pub mod grants;
pub mod keys;
pub mod login;
pub mod mint;
pub mod page;
pub mod password;
pub mod pending;
pub mod register;
pub mod settings;
pub mod setup;
pub mod sweep;
pub mod token;

pub use page::{PageProblem, Refusal};
pub use settings::Settings;

#[cfg(test)]
mod fixture;
