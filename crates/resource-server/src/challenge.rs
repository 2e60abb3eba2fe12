//! The `WWW-Authenticate` line (RFC 6750 §3, RFC 9728 §5.1, RFC 9110 §11.6.1).

use http::{HeaderValue, StatusCode};

use doorward_types::scope::ScopeSet;

use crate::bearer::CredentialError;
use crate::verify::TokenRefusal;

/// The `error` of a challenge (RFC 6750 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerError {
    /// The request itself is malformed: `400`.
    InvalidRequest,
    /// The token cannot be accepted: `401`. Get another one.
    InvalidToken,
    /// The token is good but grants too little: `403`. Ask for more.
    InsufficientScope,
}

impl BearerError {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }

    /// The status that goes with it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
        }
    }
}

/// The challenges of one protected resource.
#[derive(Clone, Debug)]
pub struct Challenges {
    /// `Bearer resource_metadata="…"`: where every challenge starts.
    start: String,
    scopes: ScopeSet,
    missing: HeaderValue,
}

impl Challenges {
    /// The scopes that a challenge names when nothing more is known: those to log in with.
    #[must_use]
    pub const fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// For the resource whose metadata document (RFC 9728) is at `resource_metadata`, and whose default
    /// scopes are `scopes`.
    #[must_use]
    pub fn new(resource_metadata: &str, scopes: &ScopeSet) -> Self {
        let mut start = String::from("Bearer resource_metadata=\"");
        push_uri(&mut start, resource_metadata);
        start.push('"');
        let missing = line(&start, scopes, None);
        Self {
            start,
            scopes: scopes.clone(),
            missing,
        }
    }

    /// `401` for a request without a credential: no `error` (RFC 6750 §3.1). Made beforehand.
    #[must_use]
    pub fn missing(&self) -> HeaderValue {
        self.missing.clone()
    }

    /// `400` for a request whose credentials are malformed.
    #[must_use]
    pub fn malformed(&self, error: CredentialError) -> HeaderValue {
        line(
            &self.start,
            &self.scopes,
            Some((BearerError::InvalidRequest, &error.to_string())),
        )
    }

    /// `401` for a refused token; `None` where the refusal is our fault and no other token would help
    /// ([`TokenRefusal::status`] is `503`).
    #[must_use]
    pub fn refused(&self, refusal: TokenRefusal) -> Option<HeaderValue> {
        (refusal.status() == StatusCode::UNAUTHORIZED).then(|| {
            line(
                &self.start,
                &self.scopes,
                Some((BearerError::InvalidToken, &refusal.to_string())),
            )
        })
    }

    /// `403` for a good token that grants too little: `needed` is **all** that the call needs, so that one
    /// step up is enough (MCP scope challenge handling).
    #[must_use]
    pub fn insufficient_scope(&self, needed: &ScopeSet) -> HeaderValue {
        let description =
            "this call needs more than was allowed so far: allow it, or connect your application again";
        line(
            &self.start,
            needed,
            Some((BearerError::InsufficientScope, description)),
        )
    }
}

fn line(start: &str, scopes: &ScopeSet, error: Option<(BearerError, &str)>) -> HeaderValue {
    let mut out = String::with_capacity(start.len() + 160);
    out.push_str(start);
    if !scopes.is_empty() {
        // A scope can hold neither quote nor backslash nor control character: its type says so.
        out.push_str(", scope=\"");
        for (position, scope) in scopes.iter().enumerate() {
            if position > 0 {
                out.push(' ');
            }
            out.push_str(scope.as_str());
        }
        out.push('"');
    }
    if let Some((error, description)) = error {
        out.push_str(", error=\"");
        out.push_str(error.code());
        out.push_str("\", error_description=\"");
        push_description(&mut out, description);
        out.push('"');
    }
    // Only printable ASCII went in, so this cannot fail; if it did, the bare scheme is still a challenge.
    HeaderValue::try_from(out).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// Inside a quoted string a URI must neither end the string nor the line: what no URI may contain anyway is
/// percent-encoded (RFC 3986 §2.1).
fn push_uri(out: &mut String, uri: &str) {
    for byte in uri.bytes() {
        match byte {
            0x21 | 0x23..=0x5b | 0x5d..=0x7e => out.push(char::from(byte)),
            _ => {
                out.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    out.push(
                        char::from_digit(u32::from(nibble), 16)
                            .unwrap_or('0')
                            .to_ascii_uppercase(),
                    );
                }
            }
        }
    }
}

/// `error_description` is %x20-21 / %x23-5B / %x5D-7E (RFC 6750 §3): anything else becomes `?`.
fn push_description(out: &mut String, description: &str) {
    out.extend(description.chars().map(|c| match c {
        ' ' | '!' | '#'..='[' | ']'..='~' => c,
        _ => '?',
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/files/mcp";

    fn challenges() -> Challenges {
        Challenges::new(METADATA, &"files:read files:list".parse().unwrap())
    }

    #[test]
    fn r20_a_request_without_a_token_is_told_where_to_go_and_gets_no_error() {
        assert_eq!(
            challenges().missing(),
            format!("Bearer resource_metadata=\"{METADATA}\", scope=\"files:list files:read\"").as_str()
        );
    }

    #[test]
    fn a24_a_refused_token_is_invalid_token() {
        let line = challenges().refused(TokenRefusal::Expired).unwrap();
        assert_eq!(line, format!("Bearer resource_metadata=\"{METADATA}\", scope=\"files:list files:read\", error=\"invalid_token\", error_description=\"the access token has expired\"").as_str());
    }

    #[test]
    fn a31_a32_insufficient_scope_names_all_that_is_needed() {
        let line = challenges().insufficient_scope(&"files:write files:read".parse().unwrap());
        assert_eq!(line, format!("Bearer resource_metadata=\"{METADATA}\", scope=\"files:read files:write\", error=\"insufficient_scope\", error_description=\"this call needs more than was allowed so far: allow it, or connect your application again\"").as_str());
    }

    #[test]
    fn a30_a_malformed_request_is_invalid_request() {
        let line = challenges().malformed(CredentialError::InQuery);
        assert_eq!(line, format!("Bearer resource_metadata=\"{METADATA}\", scope=\"files:list files:read\", error=\"invalid_request\", error_description=\"never send an access token in the URL: use the Authorization header\"").as_str());
    }

    #[test]
    fn a30_statuses() {
        assert_eq!(BearerError::InvalidRequest.status(), 400);
        assert_eq!(BearerError::InvalidToken.status(), 401);
        assert_eq!(BearerError::InsufficientScope.status(), 403);
    }

    #[test]
    fn our_own_blindness_is_no_challenge() {
        assert_eq!(TokenRefusal::Blind.status(), 503);
        assert!(challenges().refused(TokenRefusal::Blind).is_none());
    }

    #[test]
    fn without_scopes_there_is_no_scope_parameter() {
        let line = Challenges::new(METADATA, &ScopeSet::empty()).missing();
        assert_eq!(
            line.to_str().unwrap(),
            format!("Bearer resource_metadata=\"{METADATA}\"")
        );
    }

    #[test]
    fn nothing_breaks_out_of_a_quoted_string_or_the_line() {
        let evil = "https://x/\", error=\"\r\nSet-Cookie: a=b\\\u{e9}\u{0}\u{7f} %";
        let line = Challenges::new(evil, &ScopeSet::empty()).missing();
        assert_eq!(
            line.to_str().unwrap(),
            "Bearer resource_metadata=\"https://x/%22,%20error=%22%0D%0ASet-Cookie:%20a=b%5C%C3%A9%00%7F%20%\""
        );
        let line = super::line(
            "Bearer",
            &ScopeSet::empty(),
            Some((BearerError::InvalidToken, "a\"b\\c\r\né")),
        );
        assert_eq!(
            line.to_str().unwrap(),
            "Bearer, error=\"invalid_token\", error_description=\"a?b?c???\""
        );
    }

    proptest::proptest! {
        #[test]
        fn a_line_has_exactly_its_own_quotes(uri: String, description: String) {
            let mut start = String::from("Bearer resource_metadata=\"");
            push_uri(&mut start, &uri);
            start.push('"');
            let line = super::line(&start, &ScopeSet::empty(), Some((BearerError::InvalidToken, &description)));
            let line = line.to_str().unwrap();
            proptest::prop_assert_eq!(line.matches('"').count(), 6);
            proptest::prop_assert!(line.bytes().all(|b| matches!(b, 0x20..=0x7e)) && !line.contains('\\'));
        }
    }
}
