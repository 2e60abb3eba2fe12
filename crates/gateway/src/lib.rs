//! The data plane: route, authorize, forward, relay.
//!
//! One call: [`Gateway::route`] finds the server by the raw path, the token becomes a principal, the body a
//! [`Call`](doorward_mcp::Call), policy makes a [`Permit`](doorward_policy::Permit) of it, and the upstream
//! consumes the permit by value. Headers are built from nothing in both directions, so what no rule names
//! cannot pass. Every failure of any of these is answered in one place, the `refuse` module.

mod body;
mod connect;
mod decision;
mod filter;
mod gateway;
mod guard;
mod handed;
mod learner;
mod limit;
mod line;
mod listener;
mod metadata;
mod origin;
mod parameters;
mod receive;
mod refuse;
mod relay;
mod rules;
mod session;
mod settings;
mod standing;
mod stream;
mod trace;
mod upstream;

pub use body::{Body, BodyError};
pub use decision::{Decision, Needed, Observer, Outcome, Transport};
pub use gateway::{Gateway, Parts, Route};
pub use limit::{Meters, RateLimits};
pub use rules::Rules;
pub use settings::{GatewayError, Server, Settings};
pub use standing::Standing;
pub use upstream::{Answer, BoxError, InProcess, Launcher, Launching, Owner, Stdio, StdioSettings, Upstream};

#[cfg(test)]
mod tests;
