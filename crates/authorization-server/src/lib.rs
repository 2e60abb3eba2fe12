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
//! | POST `/login/code` | open the half sign-in | user, authenticators | [`second_factor::decide`] |
//! | POST `/login/passkey` | open the ceremony | passkey and user by credential id | [`passkey::sign_in`] |
//! | consent page | | client, user | [`consent::view`] |
//! | POST `/consent` | open it, [`consent::Submission::parse`] | [`consent::ConsentFacts`] | [`consent::decide`] |
//! | GET/POST `/setup` | | setup link and user | [`setup::check`], [`setup::decide`] |
//! | POST `/register` | [`register::parse`] | client | [`register::decide`] |
//! | `/register/{client_id}` | | client | [`register::manage`] |
//! | POST `/device_authorization` | [`device::DeviceRequest::parse`] | client | [`device::start`] |
//! | POST `/device` | [`device::Submission::parse`] | [`device::DeviceFacts`] | [`device::view`], [`device::answer`] |
//! | POST `/account/end` | [`account::Ending::parse`] | [`account::AccountFacts`] | [`account::end`] |
//! | POST `/token` | [`token::parse`] | [`CodeFacts`](grants::authorization_code::CodeFacts), `RefreshFacts`, … and the client | [`client_auth::authenticate`], [`grants`] |
//! | POST `/introspect` | [`introspect::parse`] | client, token | [`client_auth::authenticate`], [`introspect`] |
//! | POST `/revoke` | [`revoke::parse`] | client, token | [`client_auth::authenticate`], [`revoke`] |
//! | POST `/par` | [`par::parse`] | client | [`client_auth::authenticate`], [`par::decide`] |

pub mod account;
pub mod administer;
pub mod asked;
pub mod authorize;
pub mod call;
pub mod client;
pub mod client_auth;
pub mod client_metadata;
pub mod clients;
pub mod consent;
pub mod device;
pub mod grants;
pub mod introspect;
pub mod keys;
pub mod login;
pub mod mint;
pub mod page;
pub mod par;
pub mod passkey;
pub mod password;
pub mod pending;
pub mod register;
pub mod revoke;
pub mod second_factor;
pub mod settings;
pub mod setup;
pub mod sign_in_methods;
pub mod sweep;
pub mod token;
pub mod totp;

pub use page::{PageProblem, Refusal};
pub use settings::Settings;

#[cfg(test)]
mod fixture;
