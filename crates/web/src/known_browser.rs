//! The cookie of a browser in which somebody signed in before: a random id, and for each account (a few at most) a
//! code that only we can make. It opens nothing; it lets its owner try a password while others are throttled.

use doorward_seal::Mac;
use doorward_types::digest::Digest;
use doorward_types::id::UserId;
use doorward_types::random::Random;
use doorward_types::secret::Secret;

/// Accounts that one browser is remembered for.
const ACCOUNTS: usize = 4;
/// Length of an id or a code in base64url.
const PART: usize = 43;

/// What a browser showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownBrowser(Option<Secret>);

impl KnownBrowser {
    /// Reads the cookie's value; whatever we cannot have given out counts as none.
    pub(crate) fn read(value: &str) -> Self {
        let parts: Vec<&str> = value.split('.').collect();
        let is_ours = |part: &&str| {
            part.len() == PART
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let fits = (2..=ACCOUNTS + 1).contains(&parts.len()) && parts.iter().all(is_ours);
        Self(fits.then(|| Secret::new(value)))
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        let value = self.0.as_ref().map(Secret::expose).unwrap_or_default();
        value.split('.').filter(|part| !part.is_empty())
    }

    /// The browser's id, if `user` signed in there before. The same work for an account that does not exist.
    pub(crate) fn knows(&self, mac: &Mac, user: Option<UserId>) -> Option<Digest> {
        let mut parts = self.parts();
        let id = parts.next()?;
        let account = user.unwrap_or(UserId::nil());
        let mut known = false;
        for code in parts {
            known |= mac.verify_text(&tagged(id, &account), code);
        }
        (known && user.is_some()).then(|| Digest::of(id.as_bytes()))
    }

    /// The cookie's value after `user` signed in.
    pub(crate) fn with(&self, mac: &Mac, user: UserId, random: &dyn Random) -> Secret {
        let mut parts = self.parts();
        let id = parts
            .next()
            .map_or_else(|| Secret::generate(random).expose().to_owned(), Into::into);
        let code = mac.tag_text(&tagged(&id, &user));
        let others = parts.filter(|other| *other != code).take(ACCOUNTS - 1);
        let all: Vec<&str> = [id.as_str(), code.as_str()].into_iter().chain(others).collect();
        Secret::new(all.join("."))
    }
}

fn tagged<'a>(id: &'a str, user: &'a UserId) -> [&'a [u8]; 3] {
    [b"known browser\0", id.as_bytes(), user.as_uuid().as_bytes()]
}

#[cfg(test)]
mod tests {
    use doorward_seal::{MasterKey, Purpose};
    use doorward_types::random::CountingRandom;
    use doorward_types::time::UnixTime;

    use super::*;

    #[test]
    fn a_browser_is_known_for_whom_it_signed_in() {
        let random = CountingRandom::default();
        let mac = Mac::new(&MasterKey::generate(&random), Purpose::Device);
        let users: Vec<UserId> = (0..6)
            .map(|_| UserId::generate(UnixTime::EPOCH, &random))
            .collect();
        let mut browser = KnownBrowser::default();
        assert_eq!(browser.knows(&mac, Some(users[0])), None);
        for user in &users {
            browser = KnownBrowser::read(browser.with(&mac, *user, &random).expose());
        }
        let id = browser.knows(&mac, Some(users[5]));
        assert!(id.is_some());
        for user in &users[2..] {
            assert_eq!(browser.knows(&mac, Some(*user)), id);
        }
        assert_eq!(
            browser.knows(&mac, Some(users[0])),
            None,
            "the oldest are forgotten"
        );
        assert_eq!(browser.knows(&mac, None), None);
        assert_eq!(browser.knows(&mac, Some(UserId::nil())), None);
        let again = KnownBrowser::read(browser.with(&mac, users[5], &random).expose());
        assert_eq!(again, browser, "the same account once");
    }

    #[test]
    fn what_others_made_up_is_nothing() {
        let random = CountingRandom::default();
        let mac = Mac::new(&MasterKey::generate(&random), Purpose::Device);
        let user = UserId::generate(UnixTime::EPOCH, &random);
        let part = "a".repeat(PART);
        for value in [
            String::new(),
            part.clone(),
            format!("{part}.{part}"),
            format!("{part}.{part}."),
            [part.as_str(); 6].join("."),
            format!("{part}.{}", &part[1..]),
            format!("{part}. {}", &part[1..]),
        ] {
            assert_eq!(
                KnownBrowser::read(&value).knows(&mac, Some(user)),
                None,
                "{value}"
            );
        }
        let stolen_id = KnownBrowser::default().with(&mac, user, &random);
        let (id, code) = stolen_id.expose().split_once('.').unwrap();
        let other = KnownBrowser::read(&format!("{}.{code}", &part[..PART]));
        assert_eq!(other.knows(&mac, Some(user)), None, "a code belongs to its id");
        assert!(!id.is_empty());
    }
}
