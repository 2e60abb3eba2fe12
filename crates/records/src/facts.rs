//! Rows that are looked up together, from one consistent state.

use crate::account::User;
use crate::client::Client;
use crate::grant::{Family, Grant};
use crate::refresh::RefreshToken;

/// A family with everything that a refresh depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FamilyFacts {
    /// The family.
    pub family: Family,
    /// Its consent record; `None` if it was revoked.
    pub grant: Option<Grant>,
    /// Its user; `None` if removed.
    pub user: Option<User>,
    /// Its client; `None` if removed.
    pub client: Option<Client>,
}

/// So many later links are loaded at most: more than can be made in the seconds in which they are followed,
/// and few enough that presenting an ancient token costs no more than presenting a young one.
pub const LATER_LINKS: u32 = 256;

/// A presented refresh token with its chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefreshFacts {
    /// The presented token.
    pub token: RefreshToken,
    /// The first [`LATER_LINKS`] tokens after it, by counter. Empty if it is the head; the last one is the
    /// head unless the chain goes on beyond them.
    pub later: Vec<RefreshToken>,
    /// The family.
    pub family: FamilyFacts,
}
