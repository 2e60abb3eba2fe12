//! Where a person goes on after signing in without an app. A closed list: what a URL says is never followed (CN-10).

use doorward_oauth::device::UserCode;
use doorward_oauth::form::Form;

/// A page of ours that needs somebody to be signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// What is connected.
    Account,
    /// Password and second factors.
    Security,
    /// Connecting a device, with the code that its link carried.
    Device(Option<UserCode>),
}

impl Next {
    /// Reads `next` (and `user_code`) from a query string or the hidden fields; anything unknown is nothing.
    pub(crate) fn read(form: &Form) -> Option<Self> {
        match form.get("next")? {
            "account" => Some(Self::Account),
            "security" => Some(Self::Security),
            "device" => {
                let code = form.get("user_code");
                Some(Self::Device(code.and_then(|code| UserCode::parse(code).ok())))
            }
            _ => None,
        }
    }

    /// The same from the query string of a URL.
    pub(crate) fn of_query(query: Option<&str>) -> Option<Self> {
        Self::read(&Form::parse(query?.as_bytes()).ok()?)
    }

    /// The hidden field `next`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Security => "security",
            Self::Device(_) => "device",
        }
    }

    /// The hidden field `user_code`.
    pub(crate) fn user_code(self) -> Option<String> {
        match self {
            Self::Device(Some(code)) => Some(code.to_string()),
            _ => None,
        }
    }

    /// Its address.
    pub(crate) fn path(self) -> String {
        match self.user_code() {
            Some(code) => format!("/{}?user_code={code}", self.name()),
            None => format!("/{}", self.name()),
        }
    }

    /// The sign-in page that leads there.
    pub(crate) fn login(self) -> String {
        match self.user_code() {
            Some(code) => format!("/login?next={}&user_code={code}", self.name()),
            None => format!("/login?next={}", self.name()),
        }
    }

    /// What the person signs in for, after "Sign in".
    pub(crate) const fn purpose(self) -> &'static str {
        match self {
            Self::Account => "to see what is connected to your account",
            Self::Security => "to change how you sign in",
            Self::Device(_) => "to connect a device",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_10_only_pages_of_a_closed_list_are_gone_to() {
        for query in [
            "next=//evil.test",
            "next=/%5Cevil.test",
            "next=https:evil.test",
            "next=/%09/evil.test",
            "next=javascript:alert(1)",
            "next=/account",
            "next=accounts",
            "next=",
            "rd=account",
            "next=%ff",
        ] {
            assert_eq!(Next::of_query(Some(query)), None, "{query}");
        }
        assert_eq!(Next::of_query(None), None);
        let code = UserCode::parse("WDJBMJHT").unwrap();
        for (query, next, path) in [
            ("next=account", Next::Account, "/account"),
            ("next=security", Next::Security, "/security"),
            ("next=device", Next::Device(None), "/device"),
            ("next=device&user_code=..%2Fevil", Next::Device(None), "/device"),
            (
                "next=device&user_code=wdjb+mjht",
                Next::Device(Some(code)),
                "/device?user_code=WDJB-MJHT",
            ),
        ] {
            assert_eq!(Next::of_query(Some(query)), Some(next), "{query}");
            assert_eq!(next.path(), path);
            let again = next.login();
            let (_, query) = again.split_once('?').unwrap();
            assert_eq!(Next::of_query(Some(query)), Some(next), "{again}");
        }
    }
}
