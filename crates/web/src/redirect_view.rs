//! How a redirect URI is shown: where the answer goes, in a form that people can judge.

use doorward_oauth::redirect;
use url::{Position, Url};

use crate::text::{LONG, SHORT, shown};

/// A redirect URI for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownRedirect {
    /// Host and port; the scheme of a custom-scheme URI.
    pub(crate) goes_to: String,
    /// The exact URI.
    pub(crate) uri: String,
    /// What to be careful about.
    pub(crate) warning: Option<Warning>,
}

/// A caution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) title: &'static str,
    pub(crate) text: String,
}

impl ShownRedirect {
    /// Prepares an exact redirect URI, as it was requested. Nobody but a web site's owner can receive at an
    /// https address; at a loopback port or a custom scheme any local program can (RFC 8252 §8.6), so
    /// people are told to think of what they started.
    pub(crate) fn new(uri: &str) -> Self {
        let url = Url::parse(uri).ok();
        let authority = url
            .as_ref()
            .map(|url| &url[Position::BeforeHost..Position::AfterPort]);
        let (goes_to, warning) = match (&url, authority) {
            (Some(_), Some(authority)) if redirect::is_loopback(uri) => (
                authority.to_owned(),
                Some("Any program on this computer can give this name. Allow it only if you have just started to connect it yourself.".to_owned()),
            ),
            (Some(url), Some(authority)) if url.scheme() == "https" => (authority.to_owned(), None),
            (Some(url), _) => (
                format!("{}:", url.scheme()),
                Some(format!(
                    "Any app here that opens {}: links can give this name. Allow it only if you have just started to connect it yourself.",
                    shown(url.scheme(), SHORT)
                )),
            ),
            (None, _) => (uri.to_owned(), None),
        };
        Self {
            goes_to: shown(&goes_to, SHORT),
            uri: shown(uri, LONG),
            warning: warning.map(|text| Warning {
                title: "An app on this computer is asking.",
                text,
            }),
        }
    }

    /// Whether it is received on the person's own machine.
    pub(crate) fn is_local(&self) -> bool {
        self.warning.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_cn_12_the_host_stands_out_and_local_apps_are_warned_about() {
        for (uri, goes_to, local) in [
            ("https://claude.ai/api/mcp/auth_callback", "claude.ai", false),
            ("https://c1.test:8443/cb", "c1.test:8443", false),
            ("http://localhost:43123/oauth/callback", "localhost:43123", true),
            ("http://127.0.0.1/cb", "127.0.0.1", true),
            ("http://[::1]:9/cb", "[::1]:9", true),
            (
                "cursor://anysphere.cursor-retrieval/oauth/callback",
                "cursor:",
                true,
            ),
            ("com.example.app:/cb", "com.example.app:", true),
        ] {
            let shown = ShownRedirect::new(uri);
            assert_eq!(
                (shown.goes_to.as_str(), shown.uri.as_str(), shown.is_local()),
                (goes_to, uri, local)
            );
        }
    }
}
