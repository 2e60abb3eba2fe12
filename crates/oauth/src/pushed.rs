//! Pushed authorization requests (RFC 9126 §2).

use std::time::Duration;

use doorward_types::secret::Secret;

use crate::form::Form;

/// What every `request_uri` of ours starts with (RFC 9126 §2.2); what follows names the pushed request.
pub const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";

/// The parameters that authenticate the client: they are the push's own and no part of the authorization request.
pub const CREDENTIALS: [&str; 3] = ["client_secret", "client_assertion", "client_assertion_type"];

/// The name of a pushed request in a `request_uri`, if it can be one of ours.
#[must_use]
pub fn reference(request_uri: &str) -> Option<&str> {
    request_uri
        .strip_prefix(PREFIX)
        .filter(|reference| !reference.is_empty())
}

/// The authorization request in a pushed one, as a query string: everything but the client's credentials. Empty
/// parameters are left out, as they count for nothing (RFC 6749 §3.1).
#[must_use]
pub fn authorization_query(form: &Form) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in form.pairs().filter(|(_, value)| !value.is_empty()) {
        if !CREDENTIALS.contains(&name) {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

/// The answer to a pushed request (RFC 9126 §2.2).
#[derive(Clone, Debug)]
pub struct PushedResponse {
    /// Names the request. Whoever has it can start this login, so it is handled like a secret.
    pub request_uri: Secret,
    /// How long it works.
    pub expires_in: Duration,
}

impl PushedResponse {
    /// The JSON body, for status 201 and `Cache-Control: no-store`.
    #[must_use]
    pub fn to_json(&self) -> Secret {
        Secret::new(
            serde_json::json!({
                "request_uri": self.request_uri.expose(),
                "expires_in": self.expires_in.as_secs(),
            })
            .to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn az_08_only_our_own_references_are_references() {
        assert_eq!(reference("urn:ietf:params:oauth:request_uri:abc"), Some("abc"));
        for foreign in [
            "https://evil.test/request.jwt",
            "urn:ietf:params:oauth:request_uri:",
            "URN:ietf:params:oauth:request_uri:abc",
            " urn:ietf:params:oauth:request_uri:abc",
            "",
        ] {
            assert_eq!(reference(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn credentials_do_not_become_part_of_the_request() {
        let form =
            Form::parse(b"client_id=c&client_secret=s&state=a%26b&scope=&resource=x&resource=y").unwrap();
        assert_eq!(
            authorization_query(&form),
            "client_id=c&state=a%26b&resource=x&resource=y"
        );
    }

    proptest::proptest! {
        /// The request that is kept reads as the one that was pushed.
        #[test]
        fn the_kept_request_reads_the_same(pairs in proptest::collection::vec(("[a-z_]{1,12}", ".{0,12}"), 0..10)) {
            let pushed = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
            let form = Form::parse(pushed.as_bytes()).unwrap();
            let kept = Form::parse(authorization_query(&form).as_bytes()).unwrap();
            for (name, _) in pairs.iter().filter(|(name, _)| !CREDENTIALS.contains(&name.as_str())) {
                proptest::prop_assert_eq!(kept.get(name), form.get(name));
                proptest::prop_assert_eq!(kept.all(name).collect::<Vec<_>>(), form.all(name).collect::<Vec<_>>());
            }
            proptest::prop_assert!(CREDENTIALS.iter().all(|name| !kept.has(name)));
        }
    }
}
