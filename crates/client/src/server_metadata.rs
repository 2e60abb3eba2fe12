//! Authorization server metadata (RFC 8414, OpenID Connect Discovery): where it may stand, and what of it is believed.

use doorward_types::scope::ScopeSet;
use doorward_types::url::Issuer;
use url::Url;

use crate::document::Document;
use crate::error::{Error, Hop, Refusal};
use crate::named_url::UrlPolicy;
use crate::text::shown;

const RULE: (&str, &str) = ("D7", "RFC 8414 §2");

/// Where what we know of an authorization server comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A document, checked.
    Document(Url),
    /// Nothing: the default paths of revision 2025-03-26 at the MCP server's origin.
    DefaultPaths,
    /// Whoever runs this client wrote it down.
    Configured,
}

/// What is known of an authorization server, after every check that does not depend on the grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerMetadata {
    /// `issuer`, byte for byte; what tokens, registrations and answers are bound to.
    pub issuer: String,
    /// `authorization_endpoint`; servers without a grant that needs a browser have none.
    pub authorization_endpoint: Option<Url>,
    /// `token_endpoint`.
    pub token_endpoint: Url,
    /// `registration_endpoint` (RFC 7591).
    pub registration_endpoint: Option<Url>,
    /// `revocation_endpoint` (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// `device_authorization_endpoint` (RFC 8628).
    pub device_authorization_endpoint: Option<Url>,
    /// `scopes_supported`.
    pub scopes_supported: Option<ScopeSet>,
    /// `response_types_supported`.
    pub response_types_supported: Option<Vec<String>>,
    /// `grant_types_supported`.
    pub grant_types_supported: Option<Vec<String>>,
    /// `code_challenge_methods_supported` (RFC 7636).
    pub code_challenge_methods_supported: Option<Vec<String>>,
    /// `token_endpoint_auth_methods_supported`.
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// `token_endpoint_auth_signing_alg_values_supported`.
    pub token_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    /// `revocation_endpoint_auth_methods_supported`.
    pub revocation_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// `authorization_response_iss_parameter_supported` (RFC 9207).
    pub authorization_response_iss_parameter_supported: bool,
    /// `client_id_metadata_document_supported`.
    pub client_id_metadata_document_supported: bool,
    /// `dpop_signing_alg_values_supported` (RFC 9449 §5.1).
    pub dpop_signing_alg_values_supported: Option<Vec<String>>,
    /// `authorization_grant_profiles_supported` (enterprise-managed authorization).
    pub authorization_grant_profiles_supported: Option<Vec<String>>,
    /// Where this comes from.
    pub source: Source,
}

/// The well-known URLs of an issuer in the order of the specification (D6). `issuer` is an absolute URL without query and
/// fragment, as [`judge_issuer`] lets through.
#[must_use]
pub fn locations(issuer: &str) -> Vec<Url> {
    let Some((scheme, rest)) = issuer.split_once("://") else {
        return Vec::new();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // RFC 8414 §3.1: a terminating slash goes before the insertion.
    let path = path.trim_end_matches('/');
    let origin = format!("{scheme}://{authority}");
    let texts = if path.is_empty() {
        vec![
            format!("{origin}/.well-known/oauth-authorization-server"),
            format!("{origin}/.well-known/openid-configuration"),
        ]
    } else {
        vec![
            format!("{origin}/.well-known/oauth-authorization-server{path}"),
            format!("{origin}/.well-known/openid-configuration{path}"),
            format!("{origin}{path}/.well-known/openid-configuration"),
        ]
    };
    texts.iter().filter_map(|text| Url::parse(text).ok()).collect()
}

/// Judges an issuer that resource metadata at `from` names: a URL that is used at all, without a query (RFC 8414 §2).
pub fn judge_issuer(issuer: &str, from: &Url, policy: &UrlPolicy) -> Result<(), Error> {
    let why = match (policy.judge(issuer), Issuer::parse(issuer)) {
        (Err(why), _) => why.to_string(),
        (Ok(_), Err(doorward_types::url::UrlError::Query)) => "it must not have a query".into(),
        (Ok(url), _) if !keeps_its_path(issuer, &url) => "its path has dot segments".into(),
        (Ok(_), _) => return Ok(()),
    };
    Err(Refusal::new(
        Hop::ResourceMetadata,
        Some(from),
        ("B20", "RFC 8414 §2; MCP security best practices"),
        format!("authorization_servers names \"{}\": {why}", shown(issuer)),
        "the MCP server's operator must name the https issuer of its authorization server",
    )
    .into())
}

/// Whether a parser leaves the path as it is. Dot segments, plain or percent-encoded, would climb out of the well-known folder
/// that the path is inserted behind, and let any document of that host pass for metadata.
fn keeps_its_path(issuer: &str, url: &Url) -> bool {
    let rest = issuer.split_once("://").map_or("", |(_, rest)| rest);
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
    url.path() == path
}

impl ServerMetadata {
    /// Judges the document that stands at `url` and was asked for because of `issuer`. `None`: it is no JSON object (a page
    /// that a web server shows for every path), so there is no document here.
    pub fn parse(issuer: &str, url: &Url, body: &[u8], policy: &UrlPolicy) -> Result<Option<Self>, Error> {
        let Some(document) = Document::parse(body, Hop::ServerMetadata, url, RULE, policy) else {
            return Ok(None);
        };
        let named = document.text("issuer")?.unwrap_or_default();
        if named != issuer {
            return Err(other_issuer(&document, issuer, named));
        }
        Self::read(&document, issuer, url).map(Some)
    }

    fn read(document: &Document<'_>, issuer: &str, url: &Url) -> Result<Self, Error> {
        let token_endpoint = document.endpoint("token_endpoint")?.ok_or_else(|| {
            document.refuse(
                ("A5", "RFC 8414 §2"),
                "there is no token_endpoint",
                "its operator must add token_endpoint to this document",
            )
        })?;
        Ok(Self {
            issuer: issuer.into(),
            authorization_endpoint: document.endpoint("authorization_endpoint")?,
            token_endpoint,
            registration_endpoint: document.endpoint("registration_endpoint")?,
            revocation_endpoint: document.endpoint("revocation_endpoint")?,
            device_authorization_endpoint: document.endpoint("device_authorization_endpoint")?,
            scopes_supported: document.scopes("scopes_supported")?,
            response_types_supported: document.texts("response_types_supported")?,
            grant_types_supported: document.texts("grant_types_supported")?,
            code_challenge_methods_supported: document.texts("code_challenge_methods_supported")?,
            token_endpoint_auth_methods_supported: document.texts("token_endpoint_auth_methods_supported")?,
            token_endpoint_auth_signing_alg_values_supported: document
                .texts("token_endpoint_auth_signing_alg_values_supported")?,
            revocation_endpoint_auth_methods_supported: document
                .texts("revocation_endpoint_auth_methods_supported")?,
            authorization_response_iss_parameter_supported: document
                .flag("authorization_response_iss_parameter_supported")?,
            client_id_metadata_document_supported: document.flag("client_id_metadata_document_supported")?,
            dpop_signing_alg_values_supported: document.texts("dpop_signing_alg_values_supported")?,
            authorization_grant_profiles_supported: document
                .texts("authorization_grant_profiles_supported")?,
            source: Source::Document(url.clone()),
        })
    }

    /// What revision 2025-03-26 assumes of a server without any metadata: default paths at the MCP server's origin.
    #[must_use]
    pub fn default_paths(server: &Url) -> Option<Self> {
        let at = |path: &str| {
            let mut url = server.clone();
            url.set_path(path);
            url.set_query(None);
            url.set_fragment(None);
            url
        };
        let issuer = server
            .origin()
            .is_tuple()
            .then(|| server.origin().ascii_serialization())?;
        Some(Self {
            issuer,
            authorization_endpoint: Some(at("/authorize")),
            token_endpoint: at("/token"),
            registration_endpoint: Some(at("/register")),
            revocation_endpoint: None,
            device_authorization_endpoint: None,
            scopes_supported: None,
            response_types_supported: None,
            grant_types_supported: None,
            code_challenge_methods_supported: None,
            token_endpoint_auth_methods_supported: None,
            token_endpoint_auth_signing_alg_values_supported: None,
            revocation_endpoint_auth_methods_supported: None,
            authorization_response_iss_parameter_supported: false,
            client_id_metadata_document_supported: false,
            dpop_signing_alg_values_supported: None,
            authorization_grant_profiles_supported: None,
            source: Source::DefaultPaths,
        })
    }

    /// The document's URL, for messages.
    #[must_use]
    pub fn document_url(&self) -> Option<&Url> {
        match &self.source {
            Source::Document(url) => Some(url),
            Source::DefaultPaths | Source::Configured => None,
        }
    }

    /// Whether `grant_type` is listed; a list that is not there says `authorization_code` (RFC 8414 §2).
    #[must_use]
    pub fn supports_grant(&self, grant_type: &str) -> bool {
        match &self.grant_types_supported {
            Some(listed) => listed.iter().any(|listed| listed == grant_type),
            None => matches!(grant_type, "authorization_code" | "implicit"),
        }
    }

    /// The authorization endpoint of a server whose code flow may be used: there is one, it answers with codes, and PKCE with
    /// S256 is listed (S5, S6). Without any document, revision 2025-03-26 says that PKCE is there.
    pub fn code_flow(&self) -> Result<&Url, Error> {
        if self.source != Source::DefaultPaths {
            self.judge_pkce(true)?;
        }
        self.offers_codes()
    }

    /// The authorization endpoint of an identity provider that people sign on at (E16). PKCE with S256 is always used there; that
    /// it is listed is not asked for, because large providers do it and do not say so, and the nonce protects the code as
    /// well (RFC 9700 §2.1.1). One that lists other methods only would not check it.
    pub fn sign_on_flow(&self) -> Result<&Url, Error> {
        self.judge_pkce(false)?;
        self.offers_codes()
    }

    fn refuse(&self, rule: (&'static str, &'static str), problem: String, remedy: &str) -> Error {
        Refusal::new(Hop::ServerMetadata, self.document_url(), rule, problem, remedy).into()
    }

    fn judge_pkce(&self, must_be_listed: bool) -> Result<(), Error> {
        let listed = self.code_challenge_methods_supported.as_deref();
        let methods = match listed {
            None if !must_be_listed => return Ok(()),
            listed => listed.unwrap_or_default(),
        };
        if methods
            .iter()
            .any(|method| method == doorward_oauth::pkce::METHOD)
        {
            return Ok(());
        }
        let problem = if methods.is_empty() {
            "code_challenge_methods_supported is missing: nothing says that PKCE protects the code".into()
        } else {
            format!(
                "code_challenge_methods_supported does not list S256: {}",
                shown(&methods.join(", "))
            )
        };
        Err(self.refuse(
            ("S6", "MCP authorization, code protection; OAuth 2.1 §7.5.2"),
            problem,
            "its operator must support PKCE with S256 and list it in code_challenge_methods_supported",
        ))
    }

    fn offers_codes(&self) -> Result<&Url, Error> {
        let lists_code = |types: &Vec<String>| types.iter().any(|kind| kind == "code");
        if !self.response_types_supported.as_ref().is_none_or(lists_code)
            || !self.supports_grant("authorization_code")
        {
            return Err(self.refuse(
                ("A2", "OAuth 2.1 §4.1"),
                "it does not offer the authorization code grant".into(),
                "its operator must list code in response_types_supported and authorization_code in grant_types_supported",
            ));
        }
        self.authorization_endpoint.as_ref().ok_or_else(|| {
            self.refuse(
                ("A5", "RFC 8414 §2"),
                "there is no authorization_endpoint".into(),
                "its operator must add authorization_endpoint to this document",
            )
        })
    }
}

fn other_issuer(document: &Document<'_>, expected: &str, named: &str) -> Error {
    let problem = if document.has("issuer") {
        format!(
            "issuer is \"{}\", but the document was looked up for \"{}\"",
            shown(named),
            shown(expected)
        )
    } else {
        format!("issuer is missing; it must be \"{}\"", shown(expected))
    };
    document.refuse(
        ("D7", "RFC 8414 §3.3"),
        problem,
        "the same text must stand in issuer here and in authorization_servers of the resource metadata, byte for byte \
         (a slash at the end counts)",
    )
}

#[cfg(test)]
mod tests;
