//! URLs that a server names: which of them are used at all (B20, B21, B23).

use doorward_types::url::{ResourceUri, UrlError};
use url::Url;

/// The longest URL that is taken from a server, in bytes.
pub const MAX_URL: usize = 4096;

/// Why a URL that a server named is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamedUrlError {
    /// Longer than [`MAX_URL`].
    #[error("it is longer than 4096 bytes")]
    TooLong,
    /// Characters that RFC 3986 does not have in a URL, or that shells and browsers read in their own way.
    #[error("it has characters that do not belong in a URL")]
    Characters,
    /// Not an absolute `https` URL, or `http` elsewhere than on this machine, or with a user name or a fragment.
    #[error("it {0}")]
    Url(
        #[from]
        #[source]
        UrlError,
    ),
    /// The parser does not agree.
    #[error("it is not a URL")]
    NotAUrl,
}

/// Which URLs are used: `https`, and `http` on this machine. Another host over `http` only if the user typed it and said
/// that it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlPolicy {
    insecure_host: Option<String>,
}

impl UrlPolicy {
    /// `https` everywhere, `http` on this machine.
    #[must_use]
    pub fn strict() -> Self {
        Self::default()
    }

    /// [`strict`](Self::strict), and `http` at the host of `server`: what its user typed, and said that it is meant (B11).
    #[must_use]
    pub fn with_insecure_host_of(server: &Url) -> Self {
        Self {
            insecure_host: server.host_str().map(str::to_owned),
        }
    }

    /// Reads a URL that a server wrote down.
    pub fn judge(&self, text: &str) -> Result<Url, NamedUrlError> {
        if text.len() > MAX_URL {
            return Err(NamedUrlError::TooLong);
        }
        if !text.bytes().all(is_url_character) {
            return Err(NamedUrlError::Characters);
        }
        match ResourceUri::parse(text) {
            Ok(_) => {}
            Err(UrlError::InsecureScheme) if self.is_insecure_host(text) => {
                let (_, rest) = text.split_once(':').unwrap_or_default();
                ResourceUri::parse(&format!("https:{rest}"))?;
            }
            Err(why) => return Err(why.into()),
        }
        Url::parse(text).map_err(|_| NamedUrlError::NotAUrl)
    }

    fn is_insecure_host(&self, text: &str) -> bool {
        let Ok(url) = Url::parse(text) else { return false };
        url.scheme() == "http"
            && self.insecure_host.is_some()
            && url.host_str() == self.insecure_host.as_deref()
    }
}

/// The characters of RFC 3986 (unreserved, reserved, percent).
fn is_url_character(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b20_b21_b23_cl_01_only_https_or_this_machine() {
        let policy = UrlPolicy::strict();
        for good in [
            "https://as.example/authorize?tenant=a%20b",
            "http://127.0.0.1:8080/x",
            "http://localhost:1",
            "http://[::1]:9/a",
        ] {
            assert!(policy.judge(good).is_ok(), "{good}");
        }
        for bad in [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "vbscript:x",
            "a:$(touch mark)",
            "--flag",
            "-x",
            "",
            "http://as.example/",
            "http://127.0.0.1.evil.example/",
            "http://10.0.0.1/",
            "HTTPS://user@as.example/",
            "https://as.example/#x",
            "https://as.example/a b",
            "https://as.example/\"--x",
            "https://as.example/'\u{a}",
            "https://as.example/`id`",
            "https://as.example\\@evil.example/",
            "//as.example/",
            "https:as.example",
        ] {
            assert!(policy.judge(bad).is_err(), "{bad}");
        }
        assert_eq!(
            policy.judge(&format!("https://a.example/{}", "x".repeat(MAX_URL))),
            Err(NamedUrlError::TooLong)
        );
    }

    #[test]
    fn b11_plain_http_only_at_the_host_that_its_user_allowed() {
        let server = Url::parse("http://10.1.2.3:8000/mcp").unwrap();
        let policy = UrlPolicy::with_insecure_host_of(&server);
        assert!(policy.judge("http://10.1.2.3:9000/token").is_ok());
        for bad in [
            "http://10.1.2.4/token",
            "http://u@10.1.2.3/",
            "http://10.1.2.3/#f",
            "ftp://10.1.2.3/",
        ] {
            assert!(policy.judge(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_is_secure_for_the_parser_too(text in "(https?|HTTPS|file|a):/{0,3}[a-z0-9.:@\\[\\]%#?/\\\\ -]{0,40}") {
            if let Ok(url) = UrlPolicy::strict().judge(&text) {
                proptest::prop_assert!(url.scheme() == "https" || doorward_types::url::is_loopback(&url));
                proptest::prop_assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
            }
        }
    }
}
