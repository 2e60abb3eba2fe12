//! Taking the bearer token out of a request (RFC 6750 §2).

use std::fmt;

use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};

use crate::access_token::{AccessToken, TokenFacts};
use crate::verify::TokenRefusal;

/// A bearer token as it was sent. Nothing about it is known to be true; it prints as `[redacted]`.
#[derive(Clone, Copy)]
pub struct UnverifiedToken<'a>(&'a str);

impl<'a> UnverifiedToken<'a> {
    /// A token that did not come in an `Authorization` header.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The token itself, for verifiers. Every call is a place to look at in a review.
    #[must_use]
    pub const fn expose(self) -> &'a str {
        self.0
    }

    /// Makes an access token of this credential, for verifiers: `facts` are what its issuer said about it, and the
    /// caller has made sure of that, by a signature or by asking. Every call is a place to look at in a review.
    ///
    /// What does not depend on who said it is judged here: the facts must be about `resource` and about a lifetime
    /// that holds `now`, give or take [`LEEWAY`](crate::LEEWAY).
    pub fn accept(
        self,
        facts: TokenFacts,
        resource: &ResourceUri,
        now: UnixTime,
    ) -> Result<AccessToken, TokenRefusal> {
        AccessToken::verified(facts, resource, now)
    }
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a request's credentials were not even looked at. Each is `400` with `error="invalid_request"`
/// (RFC 6750 §3.1): a client that sends this has a defect that another login would not cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// More than one `Authorization` header, or a list in one (RFC 9110 §5.3, §11.6.2).
    #[error("send exactly one Authorization header with one credential")]
    Several,
    /// The scheme is `Bearer`, but what follows is no `b64token` (RFC 6750 §2.1).
    #[error("the Authorization header must be: Bearer, one space, the token")]
    Malformed,
    /// `access_token` in the query: it would end up in logs and histories, so MCP forbids it.
    #[error("never send an access token in the URL: use the Authorization header")]
    InQuery,
}

/// The bearer token of a request.
///
/// `Ok(None)` means that the request carries no credential we know: no `Authorization` header, or one of
/// another scheme; RFC 6750 §3.1 wants a challenge without an error code then. `Proxy-Authorization` is not
/// ours and ignored. A token in a form body (RFC 6750 §2.2) is not looked for: the body is MCP's.
pub fn bearer_token<'a>(
    headers: &'a HeaderMap,
    uri: &Uri,
) -> Result<Option<UnverifiedToken<'a>>, CredentialError> {
    if uri.query().is_some_and(names_access_token) {
        return Err(CredentialError::InQuery);
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(CredentialError::Several);
    }
    let bytes = value.as_bytes();
    let end = bytes
        .iter()
        .position(|b| !is_token_byte(*b))
        .unwrap_or(bytes.len());
    let (scheme, rest) = bytes.split_at_checked(end).ok_or(CredentialError::Malformed)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        // `Basic x, Bearer T` must not read as "no credential" here and as T somewhere behind us.
        return if contains_bearer(rest) {
            Err(CredentialError::Several)
        } else {
            Ok(None)
        };
    }
    let spaces = rest.iter().take_while(|b| **b == b' ').count();
    let token = rest.get(spaces..).unwrap_or_default();
    if token.contains(&b',') {
        return Err(CredentialError::Several);
    }
    if spaces == 0 || !is_b64token(token) {
        return Err(CredentialError::Malformed);
    }
    // `b64token` is ASCII, so this cannot fail; if it did, refusing is right.
    let token = std::str::from_utf8(token).map_err(|_| CredentialError::Malformed)?;
    Ok(Some(UnverifiedToken(token)))
}

/// Whether a parameter of the query decodes to the name `access_token`.
fn names_access_token(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}

/// `token68` without its padding plus what else RFC 9110 §5.6.2 allows in a scheme name.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|b| **b == b'=').count();
    let body = token
        .get(..token.len().saturating_sub(padding))
        .unwrap_or_default();
    // Every byte is looked at, also after a bad one: without the early end the compiler takes many at once,
    // and nearly every token is good.
    !body.is_empty()
        && body.iter().fold(true, |good, b| {
            good & (b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
        })
}

fn contains_bearer(bytes: &[u8]) -> bool {
    bytes
        .windows(7)
        .any(|window| window.eq_ignore_ascii_case(b"bearer "))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::PROXY_AUTHORIZATION;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn read(values: &[&str], uri: &str) -> Result<Option<String>, CredentialError> {
        let headers = headers(values);
        let token = bearer_token(&headers, &uri.parse().unwrap())?;
        Ok(token.map(|token| token.expose().to_owned()))
    }

    #[test]
    fn reads_one_bearer_token_whatever_the_case_of_the_scheme() {
        for value in [
            "Bearer a.b-c_d~e+f/g==",
            "bearer a.b-c_d~e+f/g==",
            "BEARER   a.b-c_d~e+f/g==",
        ] {
            assert_eq!(
                read(&[value], "/mcp"),
                Ok(Some("a.b-c_d~e+f/g==".into())),
                "{value}"
            );
        }
    }

    #[test]
    fn another_scheme_is_no_credential() {
        for values in [
            &[][..],
            &["Basic YTpi"],
            &["DPoP abc"],
            &["Negotiate"],
            &[""],
            &["Bearerx abc"],
        ] {
            assert_eq!(read(values, "/mcp"), Ok(None), "{values:?}");
        }
    }

    #[test]
    fn rs_16_a_token_in_the_query_is_refused_even_beside_a_header() {
        for uri in [
            "/mcp?access_token=T",
            "/mcp?a=b&access_token=T",
            "/mcp?access%5Ftoken=T",
            "/mcp?access_token",
            "/mcp?%61ccess_token=",
        ] {
            assert_eq!(read(&[], uri), Err(CredentialError::InQuery), "{uri}");
            assert_eq!(read(&["Bearer T"], uri), Err(CredentialError::InQuery), "{uri}");
        }
        assert_eq!(
            read(&["Bearer T"], "/mcp?x_access_token=1&a=access_token"),
            Ok(Some("T".into()))
        );
    }

    #[test]
    fn rs_17_several_credentials_are_refused() {
        for values in [
            &["Bearer T", "Bearer X"][..],
            &["Bearer T", "Basic X"],
            &["Basic X", "Bearer T"],
            &["Bearer T, Bearer X"],
            &["Bearer T,Bearer X"],
            &["Bearer T,"],
            &["Basic YTpi, Bearer T"],
            &["Basic YTpi,bearer T"],
        ] {
            assert_eq!(read(values, "/mcp"), Err(CredentialError::Several), "{values:?}");
        }
    }

    #[test]
    fn rs_17_proxy_authorization_is_not_ours() {
        let mut headers = HeaderMap::new();
        headers.insert(PROXY_AUTHORIZATION, HeaderValue::from_static("Bearer T"));
        assert!(
            bearer_token(&headers, &Uri::from_static("/mcp"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_is_not_a_b64token_is_refused() {
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer =",
            "Bearer a b",
            "Bearer \"T\"",
            "Bearer a=b",
            "Bearer\tT",
            "Bearer T\t",
            "Bearer T;x",
            "Bearer é",
            "Bearer:T",
            "Bearer=T",
            "Bearer  ",
            "Bearer T\"",
            "Bearer {T}",
        ] {
            assert_eq!(read(&[value], "/mcp"), Err(CredentialError::Malformed), "{value}");
        }
    }

    #[test]
    fn never_prints_the_token() {
        assert_eq!(format!("{:?}", UnverifiedToken::new("secret")), "[redacted]");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_only_yields_b64tokens(value in "(?s)[ -~\\x{80}-\\x{ff}]{0,40}") {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            if let Ok(Some(token)) = bearer_token(&headers, &Uri::from_static("/mcp")) {
                proptest::prop_assert!(is_b64token(token.expose().as_bytes()));
            }
        }
    }
}
