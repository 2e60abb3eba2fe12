//! OAuth messages and rules, one module per RFC or draft.
//!
//! Everything here is a value or a function of values: no clock, no randomness, no I/O. What an endpoint
//! *does* with these messages is the business of `doorward-authorization-server`.

pub mod access_token;
pub mod authorize;
pub mod client_auth;
pub mod client_metadata;
pub mod device;
pub mod error;
pub mod form;
pub mod introspect;
pub mod metadata;
pub mod pkce;
pub mod pushed;
pub mod redirect;
pub mod register;
pub mod requirement;
pub mod token;
