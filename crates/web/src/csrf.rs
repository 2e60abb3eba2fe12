//! The hidden `csrf` field: an HMAC over the cookie of the browser that was given the form. Nothing is
//! stored, and a value from another browser or another session does not fit.

use doorward_seal::Mac;
use doorward_types::secret::Secret;

/// The cookie that a form is tied to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound<'a> {
    /// Before sign-in: the pre-login cookie.
    PreLogin(&'a Secret),
    /// After sign-in: the session cookie.
    Session(&'a Secret),
}

/// The field is missing or belongs to another browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form does not belong to this browser")]
pub(crate) struct ForgedForm;

/// The value for a form shown to this browser.
pub(crate) fn token(mac: &Mac, bound: Bound<'_>) -> String {
    mac.tag_text(&parts(bound))
}

/// Checks the value that came back; constant time.
pub(crate) fn check(mac: &Mac, bound: Option<Bound<'_>>, value: Option<&str>) -> Result<(), ForgedForm> {
    match (bound, value) {
        (Some(bound), Some(value)) if mac.verify_text(&parts(bound), value) => Ok(()),
        _ => Err(ForgedForm),
    }
}

fn parts(bound: Bound<'_>) -> [&[u8]; 2] {
    match bound {
        Bound::PreLogin(cookie) => [b"pre-login\0", cookie.expose().as_bytes()],
        Bound::Session(cookie) => [b"session\0", cookie.expose().as_bytes()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorward_seal::{MasterKey, Purpose};
    use doorward_types::random::CountingRandom;

    #[test]
    fn cn_05_a_value_fits_one_browser_and_one_stage() {
        let random = CountingRandom::default();
        let mac = Mac::new(&MasterKey::generate(&random), Purpose::Csrf);
        let (mine, other) = (Secret::generate(&random), Secret::generate(&random));
        let value = token(&mac, Bound::Session(&mine));
        assert_eq!(check(&mac, Some(Bound::Session(&mine)), Some(&value)), Ok(()));
        for (bound, value) in [
            (Some(Bound::Session(&other)), Some(value.as_str())),
            (Some(Bound::PreLogin(&mine)), Some(value.as_str())),
            (None, Some(value.as_str())),
            (Some(Bound::Session(&mine)), None),
            (Some(Bound::Session(&mine)), Some("")),
            (Some(Bound::Session(&mine)), Some("x")),
        ] {
            assert_eq!(check(&mac, bound, value), Err(ForgedForm));
        }
    }
}
