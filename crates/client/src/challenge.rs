//! `WWW-Authenticate` (RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1): what a 401 or 403 asks for.

use doorward_types::scope::{Scope, ScopeSet};
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use crate::named_url::UrlPolicy;
use crate::text::shown;

/// The most bytes of `WWW-Authenticate` lines that are read; longer ones say nothing.
pub const MAX_BYTES: usize = 64 * 1024;

/// One challenge as it is written, before anything is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawChallenge {
    /// The scheme in lower case.
    pub scheme: String,
    /// What follows the scheme instead of parameters (RFC 9110 §11.2).
    pub token68: Option<String>,
    /// The parameters in their order, names in lower case.
    pub parameters: Vec<(String, String)>,
}

impl RawChallenge {
    /// A parameter. One that occurs twice says nothing: readers would not agree which of them counts.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.parameters.iter().filter(|(n, _)| n == name);
        let (_, first) = values.next()?;
        values.next().is_none().then_some(first.as_str())
    }
}

/// Reads the challenges of one header line. What cannot be read ends the line: challenges that were complete before it
/// count, the broken one does not.
#[must_use]
pub fn parse_line(line: &[u8]) -> Vec<RawChallenge> {
    let mut reader = Reader { line, at: 0 };
    let mut done = Vec::new();
    let mut current: Option<RawChallenge> = None;
    loop {
        reader.skip(|b| matches!(b, b' ' | b'\t' | b','));
        if reader.is_at_end() {
            done.extend(current);
            return done;
        }
        let Some(word) = reader.token() else { return done };
        let after_word = reader.at;
        reader.skip_blanks();
        if reader.peek() == Some(b'=') {
            let Some(value) = reader.parameter_value() else {
                return done;
            };
            // A parameter goes with a scheme, and not with one that has a token68 (RFC 9110 §11.2).
            let Some(challenge) = current.as_mut().filter(|challenge| challenge.token68.is_none()) else {
                return done;
            };
            challenge.parameters.push((word.to_ascii_lowercase(), value));
            continue;
        }
        // Only now is the one before known to be complete.
        done.extend(current.take());
        let spaced = reader.at > after_word;
        let mut challenge = RawChallenge {
            scheme: word.to_ascii_lowercase(),
            token68: None,
            parameters: Vec::new(),
        };
        if spaced && !matches!(reader.peek(), None | Some(b',')) {
            match reader.token68() {
                Some(token) => challenge.token68 = Some(token),
                None => match reader.first_parameter() {
                    Some(parameter) => challenge.parameters.push(parameter),
                    None => return done,
                },
            }
        } else if !matches!(reader.peek(), None | Some(b',')) {
            return done;
        }
        current = Some(challenge);
    }
}

struct Reader<'a> {
    line: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.line.len()
    }

    fn skip(&mut self, of: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&of) {
            self.at += 1;
        }
    }

    fn skip_blanks(&mut self) {
        self.skip(|b| matches!(b, b' ' | b'\t'));
    }

    fn word(&mut self, of: impl Fn(u8) -> bool) -> Option<String> {
        let from = self.at;
        self.skip(of);
        let word = self.line.get(from..self.at).filter(|word| !word.is_empty())?;
        Some(String::from_utf8_lossy(word).into_owned())
    }

    fn token(&mut self) -> Option<String> {
        self.word(is_token_character)
    }

    /// A token68 if that is all that stands before the next comma; else nothing is consumed.
    fn token68(&mut self) -> Option<String> {
        let from = self.at;
        let token = self
            .word(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
            .map(|mut token| {
                while self.peek() == Some(b'=') {
                    token.push('=');
                    self.at += 1;
                }
                token
            });
        self.skip_blanks();
        if token.is_some() && matches!(self.peek(), None | Some(b',')) {
            return token;
        }
        self.at = from;
        None
    }

    fn first_parameter(&mut self) -> Option<(String, String)> {
        let name = self.token()?;
        self.skip_blanks();
        let value = self.parameter_value()?;
        Some((name.to_ascii_lowercase(), value))
    }

    /// `= value`, up to the comma or the end.
    fn parameter_value(&mut self) -> Option<String> {
        if self.peek() != Some(b'=') {
            return None;
        }
        self.at += 1;
        self.skip_blanks();
        let value = if self.peek() == Some(b'"') {
            self.quoted()?
        } else {
            self.token()?
        };
        self.skip_blanks();
        matches!(self.peek(), None | Some(b',')).then_some(value)
    }

    fn quoted(&mut self) -> Option<String> {
        let mut out = Vec::new();
        self.at += 1;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(String::from_utf8_lossy(&out).into_owned()),
                b'\\' => {
                    out.push(self.peek().filter(|b| is_quotable(*b))?);
                    self.at += 1;
                }
                byte if is_quotable(byte) => out.push(byte),
                _ => return None,
            }
        }
    }
}

fn is_token_character(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn is_quotable(b: u8) -> bool {
    b == b'\t' || (b >= 0x20 && b != 0x7f)
}

/// All challenges of an answer, over all its lines.
#[must_use]
pub fn parse(headers: &HeaderMap) -> Vec<RawChallenge> {
    let lines = || headers.get_all(WWW_AUTHENTICATE).iter();
    if lines().map(http::HeaderValue::len).sum::<usize>() > MAX_BYTES {
        return Vec::new();
    }
    lines().flat_map(|line| parse_line(line.as_bytes())).collect()
}

/// What an MCP server's refusal asks for, as far as it may be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// `resource_metadata`: a URL that is used at all.
    pub resource_metadata: Option<Url>,
    /// A `resource_metadata` that is not used, fit to be shown, with the reason.
    pub refused_resource_metadata: Option<String>,
    /// `scope`: what the operation needs (A9). `None` also if it cannot be read or is empty.
    pub scope: Option<ScopeSet>,
    /// `error`, e.g. `insufficient_scope`, if it has the alphabet of RFC 6750 §3.
    pub error: Option<String>,
    /// `error_description`, fit to be shown.
    pub error_description: Option<String>,
    /// Whether a `Bearer` challenge is there.
    pub bearer: bool,
    /// Whether a `DPoP` challenge is there (RFC 9449 §7.1).
    pub dpop: bool,
}

impl Challenge {
    /// Reads the challenge of an answer: of several for us the first `Bearer` one, else the first `DPoP` one; what it leaves
    /// out is taken from the other.
    #[must_use]
    pub fn read(headers: &HeaderMap, policy: &UrlPolicy) -> Self {
        let all = parse(headers);
        let of = |scheme: &str| all.iter().find(|challenge| challenge.scheme == scheme);
        let (bearer, dpop) = (of("bearer"), of("dpop"));
        let get = |name: &str| {
            [bearer, dpop]
                .into_iter()
                .flatten()
                .find_map(|challenge| challenge.get(name))
        };
        let mut out = Self {
            bearer: bearer.is_some(),
            dpop: dpop.is_some(),
            scope: get("scope").and_then(scopes),
            error: get("error").filter(|code| is_error_code(code)).map(str::to_owned),
            error_description: get("error_description").map(shown),
            ..Self::default()
        };
        if let Some(text) = get("resource_metadata") {
            match policy.judge(text) {
                Ok(url) => out.resource_metadata = Some(url),
                Err(why) => out.refused_resource_metadata = Some(format!("\"{}\": {why}", shown(text))),
            }
        }
        out
    }

    /// Whether only key-bound tokens are taken: there is a `DPoP` challenge and no `Bearer` one.
    #[must_use]
    pub const fn requires_dpop(&self) -> bool {
        self.dpop && !self.bearer
    }

    /// Whether a nonce is asked for (RFC 9449 §9).
    #[must_use]
    pub fn asks_for_nonce(&self) -> bool {
        self.error.as_deref() == Some("use_dpop_nonce")
    }

    /// Whether more scopes are asked for (RFC 6750 §3.1).
    #[must_use]
    pub fn asks_for_scope(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }
}

/// A list of scopes, separated by any number of blanks. One that is none makes the whole list worthless.
fn scopes(text: &str) -> Option<ScopeSet> {
    let set: ScopeSet = text
        .split_ascii_whitespace()
        .map(str::parse::<Scope>)
        .collect::<Result<_, _>>()
        .ok()?;
    (!set.is_empty()).then_some(set)
}

/// Whether it is an error code (RFC 6749 §5.2) of a sensible length.
pub(crate) fn is_error_code(code: &str) -> bool {
    (1..=64).contains(&code.len())
        && code
            .bytes()
            .all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests;
