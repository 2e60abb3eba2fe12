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

/// A presented refresh token with its chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefreshFacts {
    /// The presented token.
    pub token: RefreshToken,
    /// The tokens after it, by counter, ending with the head. Empty if it is the head.
    pub later: Vec<RefreshToken>,
    /// The family.
    pub family: FamilyFacts,
}
