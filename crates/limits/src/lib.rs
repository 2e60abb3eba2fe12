//! How often somebody may try, and who that somebody is.
//!
//! [`Limiter`] counts uses per key in bounded memory, for attempts that are dear anyway; [`Limit`]s in a [`Ledger`] do
//! it for every call. [`PeerAddress`] is the address a request comes from, seen through the proxies in
//! [`TrustedProxies`]; [`Network`] is that address as a key. Nothing here is shared between processes and nothing
//! survives a restart: what must hold across both is a row in the database.

mod ledger;
mod limit;
mod limiter;
mod networks;
mod peer;
mod rate;

pub use ledger::{Key, Ledger, Pace};
pub use limit::{Limit, NetworkLimit};
pub use limiter::{Limiter, Quota, Retry};
pub use networks::NetworkLimiter;
pub use peer::{KnownAddress, Network, NotANetwork, PeerAddress, TrustedProxies};
pub use rate::{NotARate, Rate};
