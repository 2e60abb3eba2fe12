//! Codes of authenticator apps: TOTP (RFC 6238) over HOTP (RFC 4226), with the parameters that every app takes:
//! HMAC-SHA-1, six digits, thirty seconds. SHA-1 is weak against collisions, which an HMAC does not depend on.

use aws_lc_rs::hmac;
use doorward_types::random::{self, Random};
use doorward_types::time::UnixTime;
use zeroize::Zeroizing;

/// Digits of a code.
pub const DIGITS: usize = 6;
/// How long a code stands, in seconds.
const STEP: i64 = 30;
/// Steps before and after the present one that are accepted (RFC 6238 §5.2): clocks differ, and typing takes time.
const WINDOW: u64 = 1;
/// Bytes of a secret (RFC 4226 §4 R6).
const SECRET: usize = 20;

/// What an app and we share. Wiped when dropped.
#[derive(Clone)]
pub struct TotpSecret(Zeroizing<Vec<u8>>);

impl TotpSecret {
    /// 160 random bits.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        Self(Zeroizing::new(random::bytes::<SECRET>(random).to_vec()))
    }

    /// The secret in these bytes; `None` if they are too few.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() >= SECRET).then(|| Self(Zeroizing::new(bytes)))
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Base32 (RFC 4648 §6) without padding, as people type it into an app.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(base32(&self.0))
    }

    /// The address that apps read from a QR code (Google's Key URI format). `issuer` and `account` name the entry.
    #[must_use]
    pub fn uri(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let encode = |text: &str| {
            url::form_urlencoded::byte_serialize(text.as_bytes())
                .collect::<String>()
                .replace('+', "%20")
        };
        let (issuer, account) = (encode(issuer), encode(account));
        let secret = self.to_text();
        Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP}",
            secret.as_str()
        ))
    }

    /// The step whose code was typed: one around the present, later than the step `last` that was accepted
    /// before (RFC 6238 §5.2: a code is accepted once). All steps are always compared.
    #[must_use]
    pub fn matching_step(&self, typed: &str, last: u64, now: UnixTime) -> Option<u64> {
        let present = step(now);
        let steps = present.saturating_sub(WINDOW)..=present.saturating_add(WINDOW);
        let mut found = None;
        for step in steps {
            let code = self.code_at(step);
            let same: bool = subtle::ConstantTimeEq::ct_eq(code.as_bytes(), typed.as_bytes()).into();
            if same && step > last {
                found = Some(step);
            }
        }
        found
    }

    /// The code of the present.
    #[must_use]
    pub fn code(&self, now: UnixTime) -> Zeroizing<String> {
        self.code_at(step(now))
    }

    /// RFC 4226 §5.3.
    fn code_at(&self, step: u64) -> Zeroizing<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let offset = usize::from(tag.as_ref().last().copied().unwrap_or_default() & 0xf);
        let chosen = tag
            .as_ref()
            .get(offset..)
            .and_then(|rest| rest.first_chunk::<4>());
        let number = u32::from_be_bytes(*chosen.unwrap_or(&[0; 4])) & 0x7fff_ffff;
        Zeroizing::new(format!("{:06}", number % 1_000_000))
    }
}

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

fn step(now: UnixTime) -> u64 {
    u64::try_from(now.seconds().div_euclid(STEP)).unwrap_or(0)
}

/// RFC 4648 §6, without padding.
pub(crate) fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let number = (0..5).fold(0_u64, |number, at| {
            number << 8 | u64::from(group.get(at).copied().unwrap_or_default())
        });
        let characters = (group.len() * 8).div_ceil(5);
        for at in 0..characters {
            let index = usize::try_from(number >> (35 - 5 * at) & 31).unwrap_or_default();
            out.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'A')));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use doorward_types::random::CountingRandom;

    use super::*;

    #[test]
    fn the_vectors_of_rfc_6238() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890".to_vec()).unwrap();
        // The eight-digit codes of Appendix B, cut to six.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let now = UnixTime::from_seconds(seconds);
            assert_eq!(secret.code(now).as_str(), code, "{seconds}");
            assert_eq!(secret.matching_step(code, 0, now), Some(step(now)));
        }
    }

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "MY"),
            (b"fo", "MZXQ"),
            (b"foo", "MZXW6"),
            (b"foob", "MZXW6YQ"),
            (b"fooba", "MZXW6YTB"),
            (b"foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes), text);
        }
    }

    #[test]
    fn a_code_is_good_once_and_for_a_minute_and_a_half() {
        let secret = TotpSecret::generate(&CountingRandom::default());
        let now = UnixTime::from_seconds(1_800_000_000);
        let code = secret.code(now);
        for (seconds, good) in [
            (-61, false),
            (-30, true),
            (0, true),
            (29, true),
            (59, true),
            (60, false),
        ] {
            let then = UnixTime::from_seconds(1_800_000_000 + seconds);
            assert_eq!(secret.matching_step(&code, 0, then).is_some(), good, "{seconds}");
        }
        let accepted = secret.matching_step(&code, 0, now).unwrap();
        assert_eq!(secret.matching_step(&code, accepted, now), None, "once");
        let before = secret.code(UnixTime::from_seconds(1_800_000_000 - 30));
        assert_eq!(
            secret.matching_step(&before, accepted, now),
            None,
            "nor an older one"
        );
        for typed in ["", "0", &code[1..], &format!("{}0", code.as_str())] {
            assert_eq!(secret.matching_step(typed, 0, now), None);
        }
    }

    #[test]
    fn the_address_for_apps() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890".to_vec()).unwrap();
        assert_eq!(
            secret.uri("mcp.example.com", "alice+x@corp").as_str(),
            "otpauth://totp/mcp.example.com:alice%2Bx%40corp?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=mcp.example.com&algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }
}
