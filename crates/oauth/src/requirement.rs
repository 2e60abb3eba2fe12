//! The rules that the code enforces, by id: a refusal names the rule it enforces, so that logs, tests and
//! the checker speak of the same thing.

/// One rule of a specification, as `docs/requirements.toml` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its id there.
    pub id: &'static str,
    /// Where it is written.
    pub clause: &'static str,
    /// What it says, in a few words.
    pub sentence: &'static str,
}

impl Requirement {
    /// The rule with this id.
    #[must_use]
    pub fn find(id: &str) -> Option<Self> {
        ALL.iter().copied().find(|requirement| requirement.id == id)
    }
}

macro_rules! requirements {
    ($($(#[doc = $sentence:literal])+ $name:ident = $id:literal, $clause:literal;)*) => {
        $($(#[doc = $sentence])+ pub const $name: Requirement = Requirement {
            id: $id,
            clause: $clause,
            sentence: concat!($($sentence),+).trim_ascii(),
        };)*

        /// Every rule of this module.
        pub const ALL: &[Requirement] = &[$($name),*];
    };
}

requirements! {
    /// OAuth 2.1 with its security measures.
    OAUTH_2_1 = "A2", "MCP 2026-07-28 authorization, overview 1; OAuth 2.1 draft 13";
    /// `iss` on success and error.
    ISSUER_IN_RESPONSE = "A14", "RFC 9207 section 2";
    /// One token, one resource.
    ONE_RESOURCE = "R19", "RFC 8707 section 2";
    /// Only what is asked for and offered.
    SCOPE_GRANTED = "A11", "RFC 6749 section 3.3";
    /// PKCE for every client, S256 only.
    PKCE_REQUIRED = "R18", "RFC 7636 section 4.4.1; MCP 2026-07-28 security considerations";
    /// A client authenticates, and as it registered to.
    CLIENT_AUTHENTICATION = "C2", "RFC 6749 section 2.3; MCP extension oauth-client-credentials (draft)";
    /// A client that acts for itself.
    CLIENT_CREDENTIALS = "C1", "RFC 6749 section 4.4; MCP extension oauth-client-credentials (draft)";
    /// Redirect URIs match exactly.
    REDIRECT_EXACT = "S8", "OAuth 2.1 draft 13 section 2.3.2";
    /// Redirect URIs are https or loopback.
    REDIRECT_SECURE = "S4", "OAuth 2.1 draft 13 section 1.5; RFC 8252 section 7";
    /// No automatic redirect to an untrusted URI.
    REDIRECT_TRUSTED = "S10", "RFC 9700 section 4.11.2";
    /// Refresh tokens of public clients rotate, access tokens are short-lived.
    ROTATION = "S3", "RFC 9700 section 4.14.2";
    /// Registration follows a policy.
    REGISTRATION_POLICY = "R17", "RFC 7591 section 3.2.2";
    /// A metadata document describes exactly the client whose id led to it.
    CLIENT_DOCUMENT = "G6", "MCP 2026-07-28 client registration; client id metadata document draft section 4";
    /// Documents are fetched from public addresses only.
    DOCUMENT_FETCH = "S11", "client id metadata document draft section 6";
    /// An access token comes in the Authorization header, once.
    BEARER_IN_HEADER = "A22", "MCP 2026-07-28 authorization, access token usage; OAuth 2.1 draft 13 section 5.1";
    /// An access token is checked before anything else: signature, issuer, lifetime, revocation.
    TOKEN_VALID = "A23", "OAuth 2.1 draft 13 section 5.2; MCP 2026-07-28 authorization, token handling";
    /// An access token is good for the one resource it names, and nowhere else.
    TOKEN_AUDIENCE = "A26", "RFC 8707 section 2; MCP 2026-07-28 authorization, token handling";
    /// A call needs every scope of its operation.
    SCOPE_SUFFICES = "A31", "RFC 6750 section 3.1; MCP 2026-07-28 authorization, scope challenge handling";
    /// A form of ours is answered by the browser that was given it, and by no other site.
    CONSENT_FORGED = "B3", "MCP 2026-07-28 security best practices, confused deputy; RFC 6749 section 10.12";
    /// A web page may call a server only if its origin is known.
    ORIGIN_KNOWN = "X1", "MCP 2026-07-28, Streamable HTTP, security";
    /// May this person and client use this server?
    ACCESS_RULE = "R37", "MCP 2026-07-28 authorization, access token usage";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_clauses_named() {
        let mut ids: Vec<_> = ALL.iter().map(|requirement| requirement.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len());
        assert!(ALL.iter().all(|requirement| !requirement.clause.is_empty()));
    }
}
