//! Rows that are looked up together, from one consistent state.

use doorward_types::id::{ClientId, UserId};

use crate::account::User;
use crate::client::Client;
use crate::code::Code;
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

/// A presented code with everything that redeeming it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodeFacts {
    /// The code.
    pub code: Code,
    /// Its client; `None` if removed.
    pub client: Option<Client>,
    /// Who approved; `None` if removed.
    pub user: Option<User>,
    /// The consent it was issued under; `None` if revoked.
    pub grant: Option<Grant>,
    /// The chain it made, if it was redeemed and the chain is still known.
    pub family: Option<Family>,
}

/// A consent record with the chains that live under it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrantFacts {
    /// The consent record.
    pub grant: Grant,
    /// Its chains that are not revoked, oldest first.
    pub families: Vec<Family>,
}

/// Which consent records are looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GrantFilter {
    /// All.
    All,
    /// Those of one person.
    User(UserId),
    /// Those for one client.
    Client(ClientId),
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
