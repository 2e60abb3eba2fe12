//! Identifiers: one type each, so that two of them cannot be swapped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::Digest;
use crate::random::{self, Random};
use crate::time::UnixTime;
use crate::url::Issuer;

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
    /// A second factor or passkey of a person.
    AuthenticatorId;
}

impl UserId {
    /// Stands for a client that acts for itself (RFC 6749 §4.4) wherever a person is expected: in keys of caches,
    /// processes and sessions. A UUIDv8 (RFC 9562 §5.8) of the client id's digest, so no account, whose id is a
    /// UUIDv7, can have it.
    #[must_use]
    pub fn of_client(client: &ClientId) -> Self {
        let digest = Digest::of_parts(&[b"client\0", client.as_str().as_bytes()]);
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Stands for a person whom another issuer knows as `subject`. The same subject of two issuers is two people, and
    /// neither is a local account.
    #[must_use]
    pub fn of_foreign(issuer: &Issuer, subject: &str) -> Self {
        let issuer = issuer.as_str().as_bytes();
        let length = u64::try_from(issuer.len()).unwrap_or(u64::MAX).to_be_bytes();
        let digest = Digest::of_parts(&[b"foreign\0", &length, issuer, subject.as_bytes()]);
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// One login as it is followed through every step: a W3C `trace-id`, 16 bytes that are not all zero, written as
/// 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// A text is not a trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a trace id (32 lower-case hex digits)")]
pub struct NotATraceId;

impl TraceId {
    /// A new one.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes: [u8; 16] = random::bytes(random);
        if bytes == [0; 16] {
            bytes = [1; 16];
        }
        Self(bytes)
    }

    /// The id that these bytes are; `None` for all zeros, which W3C Trace Context forbids.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for TraceId {
    type Err = NotATraceId;

    fn from_str(text: &str) -> Result<Self, NotATraceId> {
        let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_lower_hex) {
            return Err(NotATraceId);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| NotATraceId)?;
        Self::from_bytes(number.to_be_bytes()).ok_or(NotATraceId)
    }
}

impl Serialize for TraceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
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

    #[test]
    fn a_client_that_acts_for_itself_is_never_an_account() {
        let one = UserId::of_client(&ClientId::new("reports"));
        assert_eq!(one, UserId::of_client(&ClientId::new("reports")));
        assert_ne!(one, UserId::of_client(&ClientId::new("Reports")));
        assert_eq!(one.as_uuid().get_version_num(), 8);
    }

    #[test]
    fn trace_ids_are_32_hex_digits_and_not_zero() {
        let random = CountingRandom::default();
        let id = TraceId::generate(&random);
        let text = id.to_string();
        assert_eq!((text.len(), text.parse()), (32, Ok(id)));
        assert_ne!(id, TraceId::generate(&random));
        let zero = "0".repeat(32);
        for bad in [
            &zero,
            &text[1..],
            &text.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"),
            &format!("+{}", &text[1..]),
            &format!("{text}0"),
        ] {
            assert_eq!(bad.parse::<TraceId>(), Err(NotATraceId), "{bad}");
        }
    }
}
