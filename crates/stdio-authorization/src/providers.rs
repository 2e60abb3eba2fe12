//! Authorization servers that do not do what the specifications say, as data: what is different, who says so, when it was seen,
//! and what would not work without knowing it.

mod http;

pub use self::http::Corrected;

use doorward_types::scope::{Scope, ScopeSet};
use doorward_types::secret::Secret;
use serde::Serialize;
use url::Url;

use crate::settings::AuthorizationServer;

/// One deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quirk {
    /// Its name in the log.
    pub id: &'static str,
    /// What is different.
    pub what: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// When that was read, as a date.
    pub seen: &'static str,
    /// What it makes work.
    pub unlocks: &'static str,
}

/// A provider that is known by name.
#[derive(Debug)]
pub struct Provider {
    /// Its name on the command line.
    pub name: &'static str,
    /// Where it lives if nobody says otherwise.
    pub base: &'static str,
    /// Where its API lives if nobody says otherwise.
    pub api: &'static str,
    /// Everything that is different.
    pub quirks: &'static [Quirk],
    /// Scopes that open others as well.
    pub implies: &'static [(&'static str, &'static [&'static str])],
}

const OAUTH_APPS: &str =
    "https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps";
const SCOPES: &str = "https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps";
const APP_TOKENS: &str = "https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens";

/// The answer of the token endpoint is JSON only for who asks for JSON.
pub const FORM_ENCODED: Quirk = Quirk {
    id: "form_encoded",
    what: "the token endpoint answers form-encoded unless the request says `Accept: application/json`",
    source: OAUTH_APPS,
    seen: "2026-11-21",
    unlocks: "reading any token answer",
};
/// Errors of the token endpoint come with status 200.
pub const ERROR_IN_200: Quirk = Quirk {
    id: "error_in_200",
    what: "the token endpoint reports errors with status 200 and an `error` member",
    source: "https://docs.github.com/en/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors",
    seen: "2026-11-21",
    unlocks: "telling a refused code from a token answer that lacks its token",
};
/// Scopes are separated by commas.
pub const COMMA_SCOPES: Quirk = Quirk {
    id: "comma_scopes",
    what: "`scope` in token answers, and `X-OAuth-Scopes`, are separated by commas",
    source: SCOPES,
    seen: "2026-11-21",
    unlocks: "knowing what was granted, and asking for what is missing",
};
/// Nothing says where the endpoints are.
pub const NO_METADATA: Quirk = Quirk {
    id: "no_metadata",
    what: "no metadata document is relied on: endpoints, S256 and grants are written down here",
    source: OAUTH_APPS,
    seen: "2026-11-21",
    unlocks: "starting a login at all; Enterprise Server has the same paths under its own host",
};
/// `iss` does not come back.
pub const NO_ISS: Quirk = Quirk {
    id: "no_iss",
    what: "authorization responses carry no `iss` (RFC 9207)",
    source: OAUTH_APPS,
    seen: "2026-11-21",
    unlocks: "accepting a response; mix-up is met by a redirect URI and state for this one server alone",
};
/// OAuth Apps' tokens do not end.
pub const NO_EXPIRY: Quirk = Quirk {
    id: "no_expiry",
    what: "tokens of OAuth Apps have neither `expires_in` nor a refresh token; those of GitHub Apps last 8 hours and have one",
    source: APP_TOKENS,
    seen: "2026-11-21",
    unlocks: "keeping a token until the API refuses it, and refreshing where there is something to refresh with",
};
/// The scopes of a token are a header of the API.
pub const SCOPES_IN_HEADER: Quirk = Quirk {
    id: "scopes_in_header",
    what: "an API answer tells the token's scopes in `X-OAuth-Scopes`, and what the call takes in `X-Accepted-OAuth-Scopes`",
    source: SCOPES,
    seen: "2026-11-21",
    unlocks: "verifying an opaque token without introspection, and step-up when a scope is missing",
};

/// Apps have permissions.
pub const APPS_HAVE_NO_SCOPES: Quirk = Quirk {
    id: "apps_have_no_scopes",
    what: "tokens of GitHub Apps and fine-grained tokens have permissions in place of scopes: `scope` and `X-OAuth-Scopes` are empty or absent",
    source: APP_TOKENS,
    seen: "2026-11-21",
    unlocks: "not refusing them for scopes that they cannot have: the API judges each call",
};

/// GitHub, and GitHub Enterprise Server under another base.
pub const GITHUB: Provider = Provider {
    name: "github",
    base: "https://github.com",
    api: "https://api.github.com",
    quirks: &[
        FORM_ENCODED,
        ERROR_IN_200,
        COMMA_SCOPES,
        NO_METADATA,
        NO_ISS,
        NO_EXPIRY,
        SCOPES_IN_HEADER,
        APPS_HAVE_NO_SCOPES,
    ],
    implies: &[
        ("user", &["read:user", "user:email", "user:follow"]),
        (
            "repo",
            &[
                "public_repo",
                "repo:status",
                "repo_deployment",
                "repo:invite",
                "security_events",
            ],
        ),
        ("admin:org", &["write:org", "read:org"]),
        ("write:org", &["read:org"]),
        ("admin:public_key", &["write:public_key", "read:public_key"]),
        ("write:public_key", &["read:public_key"]),
        ("admin:repo_hook", &["write:repo_hook", "read:repo_hook"]),
        ("write:repo_hook", &["read:repo_hook"]),
        ("project", &["read:project"]),
    ],
};

/// Every provider that is known by name.
pub const ALL: [&Provider; 1] = [&GITHUB];

impl Provider {
    /// The provider of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|provider| provider.name == name)
    }

    /// Its metadata, at `base` (its own address if `None`). Paths are those of GitHub.
    ///
    /// # Errors
    /// When `base` is no base of URLs.
    pub fn authorization_server(&self, base: Option<&Url>) -> Result<AuthorizationServer, url::ParseError> {
        let base = match base {
            Some(base) => base.clone(),
            None => Url::parse(self.base)?,
        };
        let text = base.as_str().trim_end_matches('/');
        tracing::info!(
            provider = self.name,
            quirk = NO_METADATA.id,
            base = text,
            "providers: endpoints as they are known"
        );
        Ok(AuthorizationServer {
            authorization_endpoint: Some(format!("{text}/login/oauth/authorize")),
            token_endpoint: Some(format!("{text}/login/oauth/access_token")),
            device_authorization_endpoint: Some(format!("{text}/login/device/code")),
            grant_types_supported: vec!["authorization_code".to_owned(), "refresh_token".to_owned()],
            token_endpoint_auth_methods_supported: vec!["client_secret_post".to_owned()],
            ..AuthorizationServer::of_issuer(text)
        })
    }

    /// Reads scopes as this provider writes them.
    #[must_use]
    pub fn scopes(&self, text: &str) -> ScopeSet {
        let parts = text.split([',', ' ']).map(str::trim);
        parts
            .filter(|part| !part.is_empty())
            .filter_map(|part| part.parse().ok())
            .collect()
    }

    /// The scopes that an API answer tells of `token`, with those that they open; `None` if it tells nothing. Tokens of
    /// GitHub Apps and fine-grained ones have permissions in place of scopes: for them the header is empty or absent.
    #[must_use]
    pub fn scopes_of(&self, header: Option<&str>, token: &Secret) -> Option<ScopeSet> {
        let scopes = self.scopes(header?);
        (Self::has_scopes(token) || !scopes.is_empty()).then(|| self.closure(&scopes))
    }

    /// Whether a token is of a kind that has scopes: those of OAuth Apps, and the classic ones of people.
    #[must_use]
    pub fn has_scopes(token: &Secret) -> bool {
        ["gho_", "ghp_"]
            .iter()
            .any(|prefix| token.expose().starts_with(prefix))
    }

    /// Of scopes of which any one is enough, those that open none of the others: what a step-up asks for.
    #[must_use]
    pub fn narrowest(&self, any: &ScopeSet) -> ScopeSet {
        let opens_another = |scope: &Scope| {
            let closure = self.closure(&std::iter::once(scope.clone()).collect());
            any.iter().any(|other| other != scope && closure.contains(other))
        };
        let narrow = any.iter().filter(|scope| !opens_another(scope)).take(1);
        narrow.cloned().collect()
    }

    /// The scopes with those that they open as well.
    #[must_use]
    pub fn closure(&self, scopes: &ScopeSet) -> ScopeSet {
        let mut all = scopes.clone();
        for (broad, narrow) in self.implies {
            if scopes.iter().any(|scope| scope.as_str() == *broad) {
                narrow
                    .iter()
                    .filter_map(|scope| scope.parse().ok())
                    .for_each(|scope| all.insert(scope));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_come_with_commas_and_open_others() {
        let scopes = GITHUB.scopes("repo, user:email,gist");
        assert_eq!(scopes.to_string(), "gist repo user:email");
        assert_eq!(GITHUB.scopes(""), ScopeSet::empty());
        let all = GITHUB.closure(&GITHUB.scopes("repo,user"));
        assert!(GITHUB.scopes("public_repo read:user").is_subset(&all));
        assert!(!GITHUB.scopes("read:org").is_subset(&all));
        let of = |header, token: &str| GITHUB.scopes_of(header, &Secret::new(token));
        assert_eq!(of(Some(""), "gho_x"), Some(ScopeSet::empty()));
        assert_eq!(of(Some(""), "ghu_x"), None);
        assert_eq!(of(None, "gho_x"), None);
        assert!(of(Some("user"), "ghu_x").is_some());
        let narrowest = GITHUB.narrowest(&GITHUB.scopes("repo,public_repo"));
        assert_eq!(narrowest.to_string(), "public_repo");
    }

    #[test]
    fn an_enterprise_server_has_the_same_paths() {
        let base = Url::parse("https://github.corp.example/").unwrap();
        let server = GITHUB.authorization_server(Some(&base)).unwrap();
        assert_eq!(server.issuer, "https://github.corp.example");
        assert_eq!(
            server.token_endpoint.as_deref(),
            Some("https://github.corp.example/login/oauth/access_token")
        );
        assert_eq!(
            GITHUB
                .authorization_server(None)
                .unwrap()
                .authorization_endpoint
                .as_deref(),
            Some("https://github.com/login/oauth/authorize")
        );
    }

    #[test]
    fn every_quirk_says_who_says_so_and_since_when() {
        for quirk in ALL.iter().flat_map(|provider| provider.quirks) {
            assert!(quirk.source.starts_with("https://"), "{}", quirk.id);
            assert_eq!(quirk.seen.len(), "2026-11-21".len(), "{}", quirk.id);
            assert!(
                !quirk.unlocks.is_empty() && !quirk.what.is_empty(),
                "{}",
                quirk.id
            );
        }
    }
}
