//! What is kept: tokens, registrations, which server led to them, and what a secret was first used for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_client::provider::{ClientInformation, ClientOrigin, Tokens};
use doorward_client::sign_on::client_of;
use doorward_seal::Zeroizing;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

use super::record::Name;
use super::{Done, Store};

const TOKENS: &str = "tokens";
const CLIENT: &str = "client";
const SERVER: &str = "server";
const PIN: &str = "pin";
const DPOP_KEY: &str = "dpop";

/// Tokens with what they are for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokensEntry {
    /// The label of the person.
    pub user: String,
    /// The URL of the MCP server as it was given.
    pub server: String,
    issuer: String,
    resource: String,
    client_id: String,
    #[serde(with = "secret")]
    access_token: Secret,
    dpop: bool,
    expires_at: Option<i64>,
    #[serde(with = "optional_secret")]
    refresh_token: Option<Secret>,
    scope: ScopeSet,
    requested: ScopeSet,
    obtained_at: i64,
}

impl TokensEntry {
    /// Who issued them.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What they are for.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// What `user` got for `server`, at `obtained_at` if the tokens do not say when.
    #[must_use]
    pub fn new(user: &str, server: &str, tokens: &Tokens, obtained_at: UnixTime) -> Self {
        Self {
            user: user.to_owned(),
            server: server.to_owned(),
            issuer: tokens.issuer.clone(),
            resource: tokens.resource.clone(),
            client_id: tokens.client_id.clone(),
            access_token: tokens.access_token.clone(),
            dpop: tokens.dpop,
            expires_at: tokens.expires_at.map(UnixTime::millis),
            refresh_token: tokens.refresh_token.clone(),
            scope: tokens.scope.clone(),
            requested: tokens.requested.clone(),
            obtained_at: tokens.issued_at.unwrap_or(obtained_at).millis(),
        }
    }

    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        Tokens {
            issuer: self.issuer.clone(),
            resource: self.resource.clone(),
            client_id: self.client_id.clone(),
            access_token: self.access_token.clone(),
            dpop: self.dpop,
            issued_at: Some(self.obtained_at()),
            expires_at: self.expires_at.map(UnixTime::from_millis),
            refresh_token: self.refresh_token.clone(),
            scope: self.scope.clone(),
            requested: self.requested.clone(),
        }
    }

    /// The client id that a person signed on with, if this is their sign-on at an identity provider: then what stands in the
    /// place of an access token is an ID token, which no MCP server gets.
    #[must_use]
    pub fn signed_on_as(&self) -> Option<&str> {
        client_of(&self.resource)
    }

    /// When they came.
    #[must_use]
    pub const fn obtained_at(&self) -> UnixTime {
        UnixTime::from_millis(self.obtained_at)
    }
}

/// What this program is to one authorization server (G13).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientEntry {
    issuer: String,
    client_id: String,
    #[serde(with = "optional_secret")]
    client_secret: Option<Secret>,
    token_endpoint_auth_method: Option<String>,
    redirect_uri: Option<String>,
    origin: Origin,
    secret_expires_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    PreRegistered,
    MetadataDocument,
    Dynamic,
}

impl ClientEntry {
    /// The client id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }
}

impl From<&ClientInformation> for ClientEntry {
    fn from(client: &ClientInformation) -> Self {
        Self {
            issuer: client.issuer.clone(),
            client_id: client.client_id.clone(),
            client_secret: client.client_secret.clone(),
            token_endpoint_auth_method: client.token_endpoint_auth_method.clone(),
            redirect_uri: client.redirect_uri.clone(),
            origin: match client.origin {
                ClientOrigin::PreRegistered => Origin::PreRegistered,
                ClientOrigin::MetadataDocument => Origin::MetadataDocument,
                ClientOrigin::Dynamic => Origin::Dynamic,
            },
            secret_expires_at: client.secret_expires_at.map(UnixTime::millis),
        }
    }
}

impl From<ClientEntry> for ClientInformation {
    fn from(entry: ClientEntry) -> Self {
        Self {
            issuer: entry.issuer,
            client_id: entry.client_id,
            client_secret: entry.client_secret,
            token_endpoint_auth_method: entry.token_endpoint_auth_method,
            redirect_uri: entry.redirect_uri,
            origin: match entry.origin {
                Origin::PreRegistered => ClientOrigin::PreRegistered,
                Origin::MetadataDocument => ClientOrigin::MetadataDocument,
                Origin::Dynamic => ClientOrigin::Dynamic,
            },
            secret_expires_at: entry.secret_expires_at.map(UnixTime::from_millis),
        }
    }
}

/// Where a server's tokens are: its URL is known before its metadata is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerEntry {
    /// The issuer that was last logged in at.
    pub issuer: String,
    /// The resource that it was for.
    pub resource: String,
}

/// The first issuer that a client id and its secret were used with. Nobody else ever gets to see the secret (CL-08).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The issuer, byte for byte.
    pub issuer: String,
    /// The MCP server at which that was.
    pub server: String,
    /// Whether a secret went with the id.
    pub of_secret: bool,
}

/// The private key that tokens are bound to (RFC 9449), kept as well protected as they are (P1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DpopKeyEntry {
    #[serde(with = "secret")]
    pkcs8: Secret,
}

impl DpopKeyEntry {
    /// A key in PKCS #8.
    #[must_use]
    pub fn new(pkcs8: &[u8]) -> Self {
        Self {
            pkcs8: Secret::new(URL_SAFE_NO_PAD.encode(pkcs8)),
        }
    }

    /// The key in PKCS #8; `None` if it is something else.
    #[must_use]
    pub fn bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        URL_SAFE_NO_PAD
            .decode(self.pkcs8.expose())
            .ok()
            .map(Zeroizing::new)
    }
}

/// A record that cannot be read. The others can.
pub type Unreadable = super::StoreError;

/// All tokens of a store.
#[derive(Debug, Default)]
pub struct Kept {
    /// Those that can be read.
    pub tokens: Vec<TokensEntry>,
    /// Those that cannot.
    pub unreadable: Vec<Unreadable>,
}

impl Store {
    /// The tokens of `user` for a resource from an issuer.
    pub fn tokens(&self, issuer: &str, resource: &str, user: &str) -> Done<Option<TokensEntry>> {
        let found: Option<TokensEntry> = self.read(&self.name(TOKENS, &[issuer, resource, user]))?;
        // The name is part of the seal, so this holds; it is what everything else rests on (A25, D2).
        Ok(found.filter(|entry| entry.issuer == issuer && entry.resource == resource && entry.user == user))
    }

    /// Keeps tokens in the place of those for the same issuer, resource and user.
    pub fn save_tokens(&self, entry: &TokensEntry) -> Done {
        let name = self.name(TOKENS, &[&entry.issuer, &entry.resource, &entry.user]);
        self.write(&name, entry)
    }

    /// Forgets tokens; whether there were some.
    pub fn forget_tokens(&self, issuer: &str, resource: &str, user: &str) -> Done<bool> {
        self.remove(&self.name(TOKENS, &[issuer, resource, user]))
    }

    /// Every person's tokens for every server.
    pub fn all_tokens(&self) -> Done<Kept> {
        let mut kept = Kept::default();
        for name in self.0.folder.names()? {
            let Some(name) = Name::of_kind(TOKENS, &name) else {
                continue;
            };
            match self.read::<TokensEntry>(&name) {
                Ok(Some(entry)) => kept.tokens.push(entry),
                // Logged out a moment ago.
                Ok(None) => {}
                Err(error) => kept.unreadable.push(error),
            }
        }
        kept.tokens
            .sort_by(|one, two| (&one.server, &one.user).cmp(&(&two.server, &two.user)));
        Ok(kept)
    }

    /// What this program is to an issuer, when `user` uses `server`. Not for all servers of an issuer alike: each has its own
    /// port in its redirect URI, and two of them can be logged in to at once.
    pub fn client(&self, issuer: &str, server: &str, user: &str) -> Done<Option<ClientEntry>> {
        let found: Option<ClientEntry> = self.read(&self.name(CLIENT, &[issuer, server, user]))?;
        Ok(found.filter(|entry| entry.issuer == issuer))
    }

    /// Keeps a registration.
    pub fn save_client(&self, server: &str, user: &str, entry: &ClientEntry) -> Done {
        self.write(&self.name(CLIENT, &[&entry.issuer, server, user]), entry)
    }

    /// Forgets a registration; whether there was one.
    pub fn forget_client(&self, issuer: &str, server: &str, user: &str) -> Done<bool> {
        self.remove(&self.name(CLIENT, &[issuer, server, user]))
    }

    /// Where the tokens of `user` for a server are.
    pub fn server(&self, server: &str, user: &str) -> Done<Option<ServerEntry>> {
        self.read(&self.name(SERVER, &[server, user]))
    }

    /// Notes where they are.
    pub fn save_server(&self, server: &str, user: &str, entry: &ServerEntry) -> Done {
        if self.server(server, user).ok().flatten().as_ref() == Some(entry) {
            return Ok(());
        }
        self.write(&self.name(SERVER, &[server, user]), entry)
    }

    /// Forgets where they were.
    pub fn forget_server(&self, server: &str, user: &str) -> Done<bool> {
        self.remove(&self.name(SERVER, &[server, user]))
    }

    /// Which issuer a client id belongs to: with a secret wherever it is used, without one for each server apart, because ids
    /// without a secret are often names.
    pub fn pin(&self, server: &str, client_id: &str, secret: Option<&Secret>) -> Done<Option<Pin>> {
        self.read(&self.pin_name(server, client_id, secret))
    }

    /// Notes it. The caller has looked that there is none.
    pub fn save_pin(&self, server: &str, client_id: &str, secret: Option<&Secret>, pin: &Pin) -> Done {
        self.write(&self.pin_name(server, client_id, secret), pin)
    }

    /// Lets go of the client ids without a secret that were first used with a server: its user logs out, and may mean another
    /// authorization server from now on. A secret stays with whom it was first shown to: what names it, a host's
    /// configuration, outlives logins, and a new authorization server gives out a new one (CL-08).
    pub fn forget_pins(&self, server: &str) -> Done {
        for name in self.0.folder.names()? {
            let Some(name) = Name::of_kind(PIN, &name) else {
                continue;
            };
            if self
                .read::<Pin>(&name)
                .ok()
                .flatten()
                .is_some_and(|pin| pin.server == server && !pin.of_secret)
            {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    fn pin_name(&self, server: &str, client_id: &str, secret: Option<&Secret>) -> Name {
        match secret {
            Some(secret) => self.name(PIN, &["secret", client_id, secret.expose()]),
            None => self.name(PIN, &["id", client_id, server]),
        }
    }

    /// The key that tokens of `user` for a server are bound to.
    pub fn dpop_key(&self, server: &str, user: &str) -> Done<Option<DpopKeyEntry>> {
        self.read(&self.name(DPOP_KEY, &[server, user]))
    }

    /// Keeps it.
    pub fn save_dpop_key(&self, server: &str, user: &str, entry: &DpopKeyEntry) -> Done {
        self.write(&self.name(DPOP_KEY, &[server, user]), entry)
    }

    /// Forgets it, with the tokens that are bound to it.
    pub fn forget_dpop_key(&self, server: &str, user: &str) -> Done<bool> {
        self.remove(&self.name(DPOP_KEY, &[server, user]))
    }
}

mod secret {
    use doorward_types::secret::Secret;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

mod optional_secret {
    use doorward_types::secret::Secret;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the shape that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => serializer.serialize_some(secret.expose()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
    }
}
