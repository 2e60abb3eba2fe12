//! People and their sign-ins.

use doorward_types::digest::Digest;
use doorward_types::id::{Tenant, UserId};
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

/// A local account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// The tenant it belongs to.
    pub tenant: Tenant,
    /// What tokens carry as `sub`.
    pub id: UserId,
    /// What the person types: unique in the tenant, compared byte for byte, lower case.
    pub username: String,
    /// argon2id in PHC string format; `None` until the setup link was used.
    pub password_hash: Option<String>,
    /// Groups, for `allow = ["group:…"]`, sorted.
    pub groups: Vec<String>,
    /// May administer.
    pub admin: bool,
    /// Cannot sign in, refresh or call.
    pub disabled: bool,
    /// When it was made.
    pub created: UnixTime,
}

/// A one-time link with which a person sets their own password.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetupLink {
    /// Digest of the secret in the link.
    pub token: Digest,
    /// Whose password it sets.
    pub user: UserId,
    /// When it stops working.
    pub expires: UnixTime,
}

/// A browser that signed in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session {
    /// Digest of the cookie.
    pub id: Digest,
    /// Who signed in.
    pub user: UserId,
    /// When.
    pub authenticated_at: UnixTime,
    /// When it ends, used or not.
    pub expires: UnixTime,
    /// What the browser said it is, in a few words, for the list of sessions; never trusted to be true.
    #[serde(default)]
    pub device: Option<String>,
    /// How the person proved who they are: `amr` values (RFC 8176), such as `pwd` and `otp`.
    #[serde(default)]
    pub methods: Vec<String>,
}
