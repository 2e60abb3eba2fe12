//! What the configuration says to the authorization server.

use std::time::Duration;

use doorward_oauth::metadata::{AuthorizationServerMetadata, Offer};
use doorward_policy::{AccessRule, ProtectedServer};
use doorward_records::account::User;
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, Tenant};
use doorward_types::scope::ScopeSet;
use doorward_types::url::{Issuer, ResourceUri};

use crate::client_auth::SIGNING_ALGORITHMS;
use crate::client_metadata::DocumentPolicy;

/// Everything that the rules take from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our issuer identifier; it may have a path.
    pub issuer: Issuer,
    /// The tenant.
    pub tenant: Tenant,
    /// The protected servers that tokens can be issued for.
    pub servers: Vec<ProtectedServer>,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// Who may register as a client.
    pub registration: RegistrationPolicy,
    /// Which clients may be known by the URL of their metadata document.
    pub client_metadata_documents: DocumentPolicy,
    /// Which grants beside the code and refresh grants are on.
    pub grants: Grants,
}

/// Which grants beside the code and refresh grants are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grants {
    /// `client_credentials` (RFC 6749 §4.4), for clients that authenticate.
    pub client_credentials: bool,
    /// The device grant (RFC 8628).
    pub device: bool,
}

impl Default for Grants {
    fn default() -> Self {
        Self {
            client_credentials: true,
            device: false,
        }
    }
}

impl Settings {
    /// The server with exactly this configured resource.
    #[must_use]
    pub fn server(&self, resource: &ResourceUri) -> Option<&ProtectedServer> {
        self.servers.iter().find(|server| server.resource == *resource)
    }

    /// The RFC 8414 document.
    #[must_use]
    pub fn metadata(&self) -> AuthorizationServerMetadata {
        let none = ScopeSet::empty();
        let scopes = self
            .servers
            .iter()
            .fold(none, |all, server| all.union(&server.scopes.defaults()));
        let offer = Offer {
            registration: self.registration.mode != RegistrationMode::Off,
            client_credentials: self.grants.client_credentials,
            device: self.grants.device,
            client_metadata_documents: self.client_metadata_documents.enabled,
        };
        AuthorizationServerMetadata::new(&self.issuer, scopes, offer, SIGNING_ALGORITHMS)
    }

    /// The server that a request names (RFC 8707 §2): one `resource` must match one server; none means
    /// the only server. Never more than one, and never a token for any audience.
    pub(crate) fn requested_server(&self, resources: &[String]) -> Option<&ProtectedServer> {
        match (resources, self.servers.as_slice()) {
            ([], [only]) => Some(only),
            ([requested], servers) => servers.iter().find(|server| server.resource.matches(requested)),
            _ => None,
        }
    }
}

/// The scopes of a server that this person may have.
pub(crate) fn may_have(server: &ProtectedServer, user: &User) -> ScopeSet {
    let admits = |rule: &AccessRule| rule.admits(&user.username, &user.groups);
    having(server, &admits)
}

/// The scopes of a server that a client may have which acts for itself.
pub(crate) fn client_may_have(server: &ProtectedServer, client: &ClientId) -> ScopeSet {
    having(server, &|rule| rule.admits_client(client))
}

fn having(server: &ProtectedServer, admits: &dyn Fn(&AccessRule) -> bool) -> ScopeSet {
    let entries = server.scopes.entries().iter();
    let had = entries.filter(|entry| entry.allow.as_ref().is_none_or(admits));
    had.map(|entry| entry.scope.clone()).collect()
}

/// Whether the access rule lets this person use the server (R37).
pub(crate) fn admits(server: &ProtectedServer, user: &User) -> bool {
    server.allow.admits(&user.username, &user.groups)
}

/// How long things live. Every field is a configuration key in `[lifetimes]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// An access token of a client that has refresh tokens.
    pub access_token: Duration,
    /// An access token of a client without the refresh grant.
    pub access_token_without_refresh: Duration,
    /// An authorization code.
    pub code: Duration,
    /// A login or consent page, from the authorization request to the answer.
    pub authorization_request: Duration,
    /// How long the same answer on a consent page may be repeated after a lost reply.
    pub consent_repeat: Duration,
    /// A refresh token that is not used.
    pub refresh_idle: Duration,
    /// A chain of refresh tokens, used or not.
    pub refresh_absolute: Duration,
    /// How long a superseded refresh token gets the same answer freely.
    pub refresh_repeat: Duration,
    /// How long it gets the same answer once a day, if its successor was not used.
    pub refresh_late_repeat: Duration,
    /// A browser session.
    pub session: Duration,
    /// A link to set a password.
    pub setup_link: Duration,
    /// A client nobody ever approved.
    pub client_ungranted: Duration,
    /// A client that is not used any more.
    pub client_unused: Duration,
    /// A key, until the next one takes over.
    pub key_rotation: Duration,
    /// How long the next key is published before it takes over: longer than anybody keeps a key set.
    pub key_publication: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        const DAY: u64 = 24;
        Self {
            access_token: Duration::from_mins(10),
            access_token_without_refresh: Duration::from_mins(60),
            code: Duration::from_secs(60),
            authorization_request: Duration::from_mins(10),
            consent_repeat: Duration::from_secs(60),
            refresh_idle: Duration::from_hours(30 * DAY),
            refresh_absolute: Duration::from_hours(90 * DAY),
            refresh_repeat: Duration::from_secs(30),
            refresh_late_repeat: Duration::from_mins(10),
            session: Duration::from_hours(12),
            setup_link: Duration::from_hours(DAY),
            client_ungranted: Duration::from_hours(30 * DAY),
            client_unused: Duration::from_hours(90 * DAY),
            key_rotation: Duration::from_hours(90 * DAY),
            key_publication: Duration::from_mins(10),
        }
    }
}

impl Lifetimes {
    /// How long a revocation must be remembered: until every token that it can concern has expired, with
    /// room for the clock skew that verifiers allow.
    #[must_use]
    pub fn revocation(&self) -> Duration {
        self.access_token
            .max(self.access_token_without_refresh)
            .saturating_add(Duration::from_mins(5))
    }
}

/// Which registrations are accepted and approved (R17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationMode {
    /// Loopback redirects, listed custom schemes, reversed domain names and known https hosts are approved;
    /// other https hosts wait for the operator.
    KnownHosts,
    /// Everything that is valid is approved.
    Open,
    /// Everything that is valid is approved, for those who show the operator's initial access token.
    Token,
    /// Nobody registers.
    Off,
}

/// Who may register as a client (RFC 7591 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationPolicy {
    /// What is accepted.
    pub mode: RegistrationMode,
    /// https redirect hosts that are approved at once, compared exactly (with port, if there is one).
    pub known_hosts: Vec<String>,
    /// Custom redirect schemes besides reversed domain names.
    pub custom_schemes: Vec<String>,
    /// How many clients without a grant are kept.
    pub ungranted_limit: u64,
    /// How long a client without a grant is safe from making room for another.
    pub ungranted_minimum: Duration,
    /// How many new clients one address may register within [`RegistrationPolicy::per_address_time`].
    pub per_address: u32,
    /// The time in which that many may be registered.
    pub per_address_time: Duration,
    /// Digest of the initial access token (RFC 7591 §3) that [`RegistrationMode::Token`] asks for.
    pub initial_token: Option<Digest>,
    /// Whether registrations can authenticate. Nothing said: with keys of their own, and in
    /// [`RegistrationMode::Token`] with a secret too. Elsewhere a secret would go to every client whose library
    /// names `client_secret_post` without being asked, and every one of its logins would be a new client.
    pub confidential: Option<bool>,
    /// Clients that everybody may know of: the home page shows their ids.
    pub listed: Vec<ListedClient>,
}

/// A client whose id is shown to everybody, so that people can give it to their MCP host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedClient {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl RegistrationPolicy {
    /// The shipped lists with `mode`.
    #[must_use]
    pub fn new(mode: RegistrationMode) -> Self {
        Self {
            mode,
            known_hosts: shipped_hosts(),
            custom_schemes: ["cursor", "vscode", "vscode-insiders"].map(str::to_owned).into(),
            ungranted_limit: 10_000,
            ungranted_minimum: Duration::from_hours(1),
            per_address: 100,
            per_address_time: Duration::from_mins(10),
            initial_token: None,
            confidential: None,
            listed: Vec::new(),
        }
    }

    /// Whether a client that asks for a secret gets one.
    #[must_use]
    pub fn gives_secrets(&self) -> bool {
        self.confidential.unwrap_or(self.mode == RegistrationMode::Token)
    }

    /// Whether a client may register its public keys.
    #[must_use]
    pub fn accepts_keys(&self) -> bool {
        self.confidential.unwrap_or(true)
    }
}

impl Default for RegistrationPolicy {
    fn default() -> Self {
        Self::new(RegistrationMode::KnownHosts)
    }
}

fn shipped_hosts() -> Vec<String> {
    include_str!("../data/known_redirect_hosts.txt")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn az_11_metadata_lists_every_servers_scopes_and_only_what_is_on() {
        let mut settings = fixture::two_servers();
        settings.issuer = Issuer::parse("https://mcp.example.com/t/acme").unwrap();
        let document = settings.metadata();
        assert_eq!(document.scopes_supported.to_string(), "b t:read t:write");
        assert_eq!(document.issuer.as_str(), "https://mcp.example.com/t/acme");
        assert_eq!(
            document.registration_endpoint.as_deref(),
            Some("https://mcp.example.com/t/acme/register")
        );
        settings.registration.mode = RegistrationMode::Off;
        assert_eq!(settings.metadata().registration_endpoint, None);
        assert_eq!(document.device_authorization_endpoint, None);
        settings.grants = Grants {
            client_credentials: false,
            device: true,
        };
        settings.client_metadata_documents.enabled = false;
        let changed = settings.metadata();
        assert!(document.client_id_metadata_document_supported);
        assert!(!changed.client_id_metadata_document_supported);
        assert!(changed.device_authorization_endpoint.is_some());
        assert!(document.grant_types_supported.contains(&"client_credentials"));
        assert!(!changed.grant_types_supported.contains(&"client_credentials"));
    }

    #[test]
    fn r17_the_shipped_hosts_are_plain_host_names() {
        let policy = RegistrationPolicy::default();
        for host in ["claude.ai", "claude.com", "chatgpt.com", "vscode.dev"] {
            assert!(policy.known_hosts.iter().any(|known| known == host), "{host}");
        }
        for host in &policy.known_hosts {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
            assert!(host.chars().all(plain) && host.contains('.'), "{host}");
        }
    }

    #[test]
    fn r17_each_shipped_host_names_where_its_vendor_says_so() {
        let text = include_str!("../data/known_redirect_hosts.txt");
        let mut source = None;
        for line in text.lines() {
            match line.strip_prefix("# source: ") {
                Some(url) => source = Some(url),
                None if line.is_empty() => source = None,
                None if line.starts_with('#') => {}
                None => assert!(source.is_some_and(|url| url.starts_with("https://")), "{line}"),
            }
        }
    }

    #[test]
    fn r17_the_redirects_of_clients_that_many_people_use_need_no_hand() {
        use doorward_oauth::redirect::{RedirectKind, RedirectUri};
        let policy = RegistrationPolicy::default();
        for uri in [
            "https://claude.ai/api/mcp/auth_callback",
            "https://claude.com/api/mcp/auth_callback",
            "https://chatgpt.com/connector_platform_oauth_redirect",
            "https://chatgpt.com/connector/oauth/abc123",
            "https://vscode.dev/redirect",
            "https://insiders.vscode.dev/redirect",
            "http://127.0.0.1:33418",
            "http://127.0.0.1:33418/",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "cursor://anysphere.cursor-retrieval/oauth/user-test/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ] {
            let parsed = RedirectUri::parse(uri, &policy.custom_schemes).unwrap();
            let known = match parsed.kind() {
                RedirectKind::Web(host) => policy.known_hosts.contains(host),
                RedirectKind::Loopback | RedirectKind::CustomScheme(_) => true,
            };
            assert!(known, "{uri}");
        }
    }
}
