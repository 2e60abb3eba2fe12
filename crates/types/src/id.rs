//! Identifiers: one type each, so that two of them cannot be swapped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::random::{self, Random};
use crate::time::UnixTime;

/// A text is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id (a UUID such as 0198c0de-0000-7000-8000-000000000000)")]
pub struct NotAnId;

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new UUIDv7 (RFC 9562 §5.7): it sorts by `now`.
            #[must_use]
            pub fn generate(now: UnixTime, random: &dyn Random) -> Self {
                let millis = u64::try_from(now.millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random::bytes(random)).into_uuid())
            }

            /// The id that nothing has (RFC 9562 §5.9).
            #[must_use]
            pub const fn nil() -> Self {
                Self(Uuid::nil())
            }

            /// The id that a row or a claim carries.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                Uuid::try_parse(text).map(Self).map_err(|_| NotAnId)
            }
        }
    )*};
}

uuid_ids! {
    /// A person with a local account (or, later, one known through an identity provider).
    UserId;
    /// What a user allowed a client to do: user × client × redirect host × resource.
    GrantId;
    /// The token chain that grew out of one authorization code.
    FamilyId;
    /// One access token: the `jti` claim (RFC 7519 §4.1.7).
    TokenId;
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that was already judged.
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_ids! {
    /// An OAuth `client_id` (RFC 6749 §2.2).
    ClientId;
    /// A JWK `kid` (RFC 7517 §4.5).
    KeyId;
    /// The name of a protected MCP server, as configured.
    ServerName;
    /// A tenant. Reserved: every row carries one, there is one so far.
    Tenant;
}

impl Tenant {
    /// The only tenant so far: `default`.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::CountingRandom;

    #[test]
    fn ids_sort_by_time_and_round_trip() {
        let random = CountingRandom::default();
        let earlier = UserId::generate(UnixTime::from_seconds(1), &random);
        let later = UserId::generate(UnixTime::from_seconds(2), &random);
        assert!(earlier < later);
        assert_eq!(earlier.to_string().parse(), Ok(earlier));
        assert_eq!(earlier.as_uuid().get_version_num(), 7);
        assert_eq!("x".parse::<UserId>(), Err(NotAnId));
    }
}
