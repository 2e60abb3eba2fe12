//! The vocabulary of Doorward: ids, time, secrets, URLs, scopes and digests, and the traits
//! [`Clock`](time::Clock) and [`Random`](random::Random) through which time and chance come in.
//!
//! This crate does no I/O apart from the two `System…` implementations of those traits, and it depends
//! on no other crate of ours. Every other crate speaks in these types.

pub mod digest;
pub mod id;
pub mod random;
pub mod scope;
pub mod secret;
pub mod time;
pub mod url;
