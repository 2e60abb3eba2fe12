//! Proof Key for Code Exchange (RFC 7636), method S256 only.

use std::fmt;

use doorward_types::digest::Digest;
use serde::{Deserialize, Serialize};

/// The only method there is (OAuth 2.1 draft 13 §7.5.2; MCP forbids `plain`).
pub const METHOD: &str = "S256";

/// An S256 `code_challenge`: 43 characters of base64url (RFC 7636 §4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodeChallenge(String);

/// A text is not an S256 challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an S256 code challenge: 43 characters of base64url (RFC 7636 section 4.2)")]
pub struct NotAChallenge;

impl CodeChallenge {
    /// Reads a challenge.
    pub fn parse(text: &str) -> Result<Self, NotAChallenge> {
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if text.len() != 43 || !text.bytes().all(alphabet) {
            return Err(NotAChallenge);
        }
        Ok(Self(text.into()))
    }

    /// The challenge that `verifier` answers. For clients and tests.
    #[must_use]
    pub fn of(verifier: &str) -> Self {
        Self(Digest::of(verifier.as_bytes()).to_string())
    }

    /// Whether `verifier` is well-formed (43 to 128 unreserved characters, RFC 7636 §4.1) and its SHA-256
    /// is this challenge (§4.6). Compares in constant time.
    #[must_use]
    pub fn is_answered_by(&self, verifier: &str) -> bool {
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        (43..=128).contains(&verifier.len())
            && verifier.bytes().all(unreserved)
            && self
                .0
                .parse::<Digest>()
                .is_ok_and(|digest| digest == Digest::of(verifier.as_bytes()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CodeChallenge {
    type Error = NotAChallenge;

    fn try_from(text: String) -> Result<Self, NotAChallenge> {
        Self::parse(&text)
    }
}

impl From<CodeChallenge> for String {
    fn from(challenge: CodeChallenge) -> Self {
        challenge.0
    }
}

impl fmt::Display for CodeChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn r18_the_example_of_rfc_7636() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        assert_eq!(CodeChallenge::of(VERIFIER), challenge);
        assert!(challenge.is_answered_by(VERIFIER));
    }

    #[test]
    fn tk_04_no_other_verifier_answers() {
        let challenge = CodeChallenge::parse(CHALLENGE).unwrap();
        let long = VERIFIER.repeat(3);
        for wrong in [
            "",
            CHALLENGE,
            &VERIFIER[..42],
            &VERIFIER.to_uppercase(),
            &long,
            &format!("{VERIFIER} "),
        ] {
            assert!(!challenge.is_answered_by(wrong), "{wrong}");
        }
    }

    #[test]
    fn az_05_only_43_characters_of_base64url_are_a_challenge() {
        for bad in [
            "",
            &CHALLENGE[..42],
            &format!("{CHALLENGE}A"),
            &"a".repeat(129),
            &CHALLENGE.replace('-', "+"),
        ] {
            assert_eq!(CodeChallenge::parse(bad), Err(NotAChallenge), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_verifier_answers_its_own_challenge_and_no_other(
            one in "[A-Za-z0-9._~-]{43,128}", other in "[A-Za-z0-9._~-]{43,128}"
        ) {
            let challenge = CodeChallenge::of(&one);
            proptest::prop_assert!(challenge.is_answered_by(&one));
            proptest::prop_assert_eq!(challenge.is_answered_by(&other), one == other);
            proptest::prop_assert_eq!(CodeChallenge::parse(challenge.as_str()), Ok(challenge));
        }

        #[test]
        fn a_short_long_or_odd_verifier_answers_nothing(
            verifier in "[A-Za-z0-9._~-]{0,42}|[A-Za-z0-9._~-]{129,140}|[A-Za-z0-9]{42,60}[ %/+=é]"
        ) {
            proptest::prop_assert!(!CodeChallenge::of(&verifier).is_answered_by(&verifier));
        }
    }
}
