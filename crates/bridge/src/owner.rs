//! Whose something is that the server handed out: a session, cookies.
//!
//! What was handed out under the token of one login does not go along with that of another: it may be another person's, who
//! would then work in what is not theirs.

use std::sync::{Mutex, PoisonError};

use http::HeaderValue;

/// The login that something belongs to; nobody's until it went along with a token.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner(Option<u64>);

impl Owner {
    /// Whether it may go along with the token of this login, if with any: from then on it is theirs.
    pub(crate) fn accepts(&mut self, login: Option<u64>) -> bool {
        match (self.0, login) {
            (Some(own), Some(login)) => own == login,
            (Some(_), None) => true,
            (None, login) => {
                self.0 = login;
                true
            }
        }
    }

    /// Whether this login was before.
    pub(crate) fn is_newer_than(self, login: Option<u64>) -> bool {
        login.is_some_and(|login| self.0.is_some_and(|own| own > login))
    }
}

/// The session that the server named last.
#[derive(Debug, Default)]
pub(crate) struct OwnedSession(Mutex<Option<(HeaderValue, Owner)>>);

impl OwnedSession {
    /// An answer to a request of this login named it.
    pub(crate) fn named(&self, session: &HeaderValue, login: Option<u64>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(own, _)| own != session) {
            *known = Some((session.clone(), Owner(login)));
        }
    }

    /// Whether a request of this login may name it.
    pub(crate) fn accepts(&self, session: &HeaderValue, login: Option<u64>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some((own, owner)) if own == session => owner.accepts(login),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_nobodys_belongs_to_the_first_who_uses_it() {
        let session = HeaderValue::from_static("one");
        let owned = OwnedSession::default();
        owned.named(&session, None);
        assert!(owned.accepts(&session, None) && owned.accepts(&session, Some(1)));
        // Many servers repeat it in every answer.
        owned.named(&session, Some(2));
        assert!(owned.accepts(&session, Some(1)) && owned.accepts(&session, None));
        assert!(!owned.accepts(&session, Some(2)));
        let other = HeaderValue::from_static("two");
        owned.named(&other, Some(2));
        assert!(owned.accepts(&other, Some(2)) && !owned.accepts(&other, Some(3)));
    }
}
