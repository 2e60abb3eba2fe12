//! Messages of the device authorization grant (RFC 8628): the answer with the two codes, and the code that a
//! person types.

use std::fmt;
use std::time::Duration;

use doorward_types::digest::Digest;
use doorward_types::random::{self, Random};
use doorward_types::secret::Secret;
use serde_json::json;

/// `grant_type` of a poll (RFC 8628 §3.4), and what a client lists among its grant types.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Twenty consonants: no word can be spelled with them, none is mistaken for another letter or a digit, and every
/// keyboard has them (RFC 8628 §6.1).
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// 20^8 codes: at five guesses in a minute for ten minutes, one guess in 500 million hits a given one.
const LETTERS: usize = 8;
/// The longest text that is read as a code, in bytes.
const LONGEST: usize = 64;

/// A code that a device shows and a person types: eight letters, shown as `BCDF-GHJK`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UserCode([u8; LETTERS]);

/// A text is not a user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code has eight letters, none of them A, E, I, O, U or Y")]
pub struct NotAUserCode;

impl UserCode {
    /// A random one, every one as likely as every other.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        // A byte below 240 falls on each of the twenty letters twelve times; others are drawn again.
        let fair = std::iter::from_fn(|| Some(random::bytes::<32>(random)))
            .flatten()
            .filter(|byte| *byte < 240)
            .filter_map(|byte| ALPHABET.get(usize::from(byte % 20)).copied());
        let mut letters = [0; LETTERS];
        for (place, letter) in letters.iter_mut().zip(fair) {
            *place = letter;
        }
        Self(letters)
    }

    /// Reads what a person typed: in any case, with white space and punctuation anywhere (RFC 8628 §6.1). A letter
    /// or digit that no code has is refused rather than skipped: it was mistyped.
    pub fn parse(text: &str) -> Result<Self, NotAUserCode> {
        if text.len() > LONGEST {
            return Err(NotAUserCode);
        }
        let mut letters = [0; LETTERS];
        let mut places = letters.iter_mut();
        for character in text.chars() {
            let upper = character.to_ascii_uppercase();
            match u8::try_from(upper) {
                Ok(letter) if ALPHABET.contains(&letter) => {
                    *places.next().ok_or(NotAUserCode)? = letter;
                }
                _ if separates(character) => {}
                _ => return Err(NotAUserCode),
            }
        }
        match places.next() {
            None => Ok(Self(letters)),
            Some(_) => Err(NotAUserCode),
        }
    }

    /// What is kept of it and looked up.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_parts(&[b"user code\0", &self.0])
    }
}

/// White space, ASCII punctuation, and the dashes that text processors and telephones write.
fn separates(character: char) -> bool {
    character.is_whitespace()
        || character.is_ascii_punctuation()
        || matches!(character, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{b7}')
}

/// As devices show it.
impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in self.0.iter().enumerate() {
            if at == LETTERS / 2 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*letter))?;
        }
        Ok(())
    }
}

/// Whoever reads it in a log could approve their own device with it in another's name.
impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A successful answer of the device authorization endpoint (RFC 8628 §3.2).
#[derive(Clone, Debug)]
pub struct DeviceAuthorizationResponse {
    /// What the client polls with.
    pub device_code: Secret,
    /// What the person types.
    pub user_code: UserCode,
    /// Where.
    pub verification_uri: String,
    /// How long both codes work.
    pub expires_in: Duration,
    /// How long the client waits between two polls.
    pub interval: Duration,
}

impl DeviceAuthorizationResponse {
    /// The JSON body. It holds the secrets: answer with `Cache-Control: no-store`, never log it.
    #[must_use]
    pub fn to_json(&self) -> Secret {
        let complete = format!("{}?user_code={}", self.verification_uri, self.user_code);
        let body = json!({
            "device_code": self.device_code.expose(),
            "user_code": self.user_code.to_string(),
            "verification_uri": self.verification_uri,
            "verification_uri_complete": complete,
            "expires_in": self.expires_in.as_secs(),
            "interval": self.interval.as_secs(),
        });
        Secret::new(body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use doorward_types::random::CountingRandom;

    use super::*;

    #[test]
    fn ex_06_codes_are_spread_over_the_whole_alphabet_and_never_shown_by_debug() {
        let random = CountingRandom::default();
        let mut seen = std::collections::BTreeSet::new();
        let mut counts = [0_u32; 26];
        for _ in 0..1000 {
            let code = UserCode::generate(&random);
            for letter in code.0 {
                counts[usize::from(letter - b'A')] += 1;
            }
            assert_eq!(UserCode::parse(&code.to_string()), Ok(code));
            assert_eq!(format!("{code:?}"), "[redacted]");
            seen.insert(code.to_string());
        }
        assert_eq!(seen.len(), 1000);
        for (at, count) in counts.iter().enumerate() {
            let letter = b'A' + u8::try_from(at).unwrap();
            // 400 expected of each.
            let fair = if ALPHABET.contains(&letter) {
                300..500
            } else {
                0..1
            };
            assert!(fair.contains(count), "{} {count}", char::from(letter));
        }
    }

    #[test]
    fn what_people_type_is_read_and_mistakes_are_not_guessed_at() {
        let right = UserCode(*b"WDJBMJHT");
        for typed in [
            "WDJB-MJHT",
            "wdjbmjht",
            " wdjb mjht\n",
            "W-D-J-B-M-J-H-T",
            "WDJB\u{2013}MJHT",
            "wdjb.mjht.",
            "(WDJB)_MJHT",
        ] {
            assert_eq!(UserCode::parse(typed), Ok(right), "{typed:?}");
        }
        for typed in [
            "",
            "-",
            "WDJB-MJH",
            "WDJB-MJHTT",
            "WDJB-MJH0",
            "WDJB-MJHA",
            "0WDJB-MJHT",
            "WDJB-MJH\u{ff34}",
            "WDJB-MJH\u{422}",
            "\u{212a}DJB-MJHT",
            "WDJB-MJHT\0",
            "\u{200b}WDJB-MJHT",
            &"-".repeat(LONGEST + 1),
        ] {
            assert_eq!(UserCode::parse(typed), Err(NotAUserCode), "{typed:?}");
        }
        assert_ne!(right.digest(), UserCode(*b"WDJBMJHX").digest());
    }

    #[test]
    fn the_answer_of_rfc_8628() {
        let response = DeviceAuthorizationResponse {
            device_code: Secret::new("dwd_x"),
            user_code: UserCode(*b"WDJBMJHT"),
            verification_uri: "https://mcp.example.com/device".into(),
            expires_in: Duration::from_mins(10),
            interval: Duration::from_secs(5),
        };
        let body: serde_json::Value = serde_json::from_str(response.to_json().expose()).unwrap();
        assert_eq!(
            body,
            json!({
                "device_code": "dwd_x", "user_code": "WDJB-MJHT",
                "verification_uri": "https://mcp.example.com/device",
                "verification_uri_complete": "https://mcp.example.com/device?user_code=WDJB-MJHT",
                "expires_in": 600, "interval": 5,
            })
        );
        let debugged = format!("{response:?}");
        assert!(
            !debugged.contains("dwd_x") && !debugged.contains("WDJB"),
            "{debugged}"
        );
    }

    proptest::proptest! {
        /// Whatever is accepted is one code, however it is written again.
        #[test]
        fn ex_06_what_is_read_is_what_is_shown(text in "[a-zA-Z0-9 \\-_.\u{2010}-\u{2015}\u{200b}\u{212a}]{0,24}") {
            if let Ok(code) = UserCode::parse(&text) {
                proptest::prop_assert_eq!(UserCode::parse(&code.to_string()), Ok(code));
                let letters: String = text.chars().filter(char::is_ascii_alphabetic).collect();
                proptest::prop_assert_eq!(code.to_string().replace('-', ""), letters.to_ascii_uppercase());
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(code) = UserCode::parse(&text) {
                proptest::prop_assert_eq!(UserCode::parse(&code.to_string()), Ok(code));
            }
        }
    }
}
