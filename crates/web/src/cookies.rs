//! The cookies: which browser began (pre-login), who is signed in (session), and who signed in before (known).

use std::time::Duration;

use doorward_types::secret::Secret;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::known_browser::KnownBrowser;

/// How long a browser is remembered after the last sign-in there.
const KNOWN: Duration = Duration::from_hours(365 * 24);

/// How our cookies are called and marked on this origin.
#[derive(Clone, Debug)]
pub(crate) struct CookieNames {
    session: String,
    prelogin: String,
    known: String,
    secure: bool,
}

/// What a browser sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cookies {
    /// The session cookie, if it has the form that we give out.
    pub(crate) session: Option<Secret>,
    /// The pre-login cookie, likewise.
    pub(crate) prelogin: Option<Secret>,
    /// Who signed in here before.
    pub(crate) known: KnownBrowser,
}

impl CookieNames {
    /// `__Host-` names on https: then no sub-domain and no plain-http page can have planted them. On http
    /// loopback all ports of a host share their cookies, so the port is in the name.
    pub(crate) fn new(https: bool, port: u16) -> Self {
        if https {
            return Self {
                session: "__Host-doorward_session".into(),
                prelogin: "__Host-doorward_prelogin".into(),
                known: "__Host-doorward_known".into(),
                secure: true,
            };
        }
        Self {
            session: format!("doorward_session_{port}"),
            prelogin: format!("doorward_prelogin_{port}"),
            known: format!("doorward_known_{port}"),
            secure: false,
        }
    }

    /// Reads both; anything that we cannot have given out counts as absent.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Cookies {
        let mut cookies = Cookies::default();
        let pairs = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        for (name, value) in pairs {
            let slot = match name {
                name if name == self.session => &mut cookies.session,
                name if name == self.prelogin => &mut cookies.prelogin,
                name if name == self.known && cookies.known == KnownBrowser::default() => {
                    cookies.known = KnownBrowser::read(value);
                    continue;
                }
                _ => continue,
            };
            if slot.is_none() && is_ours(value) {
                *slot = Some(Secret::new(value));
            }
        }
        cookies
    }

    /// Sets the pre-login cookie until the browser closes.
    pub(crate) fn set_prelogin(&self, value: &Secret) -> Option<HeaderValue> {
        self.set(&self.prelogin, value.expose(), None)
    }

    /// Sets the session cookie for as long as the session lives.
    pub(crate) fn set_session(&self, value: &Secret, lifetime: Duration) -> Option<HeaderValue> {
        self.set(&self.session, value.expose(), Some(lifetime))
    }

    /// Notes who signed in, for longer than any session.
    pub(crate) fn set_known(&self, value: &Secret) -> Option<HeaderValue> {
        self.set(&self.known, value.expose(), Some(KNOWN))
    }

    /// Takes the session cookie away.
    pub(crate) fn clear_session(&self) -> Option<HeaderValue> {
        self.set(&self.session, "", Some(Duration::ZERO))
    }

    fn set(&self, name: &str, value: &str, lifetime: Option<Duration>) -> Option<HeaderValue> {
        let mut line = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
        if self.secure {
            line.push_str("; Secure");
        }
        if let Some(lifetime) = lifetime {
            line.push_str(&format!("; Max-Age={}", lifetime.as_secs()));
        }
        let mut value = HeaderValue::try_from(line).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// 256 bits in base64url.
fn is_ours(value: &str) -> bool {
    value.len() == 43
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorward_types::random::CountingRandom;

    #[test]
    fn cn_08_attributes() {
        let secret = Secret::generate(&CountingRandom::default());
        let https = CookieNames::new(true, 443);
        let line = https.set_session(&secret, Duration::from_secs(60)).unwrap();
        assert_eq!(
            line.to_str().unwrap().replace(secret.expose(), "VALUE"),
            "__Host-doorward_session=VALUE; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60"
        );
        let http = CookieNames::new(false, 8080);
        let line = http.set_prelogin(&secret).unwrap();
        assert_eq!(
            line.to_str().unwrap().replace(secret.expose(), "VALUE"),
            "doorward_prelogin_8080=VALUE; Path=/; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            http.clear_session().unwrap(),
            "doorward_session_8080=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
        );
    }

    #[test]
    fn reads_only_what_we_can_have_given_out() {
        let names = CookieNames::new(false, 8080);
        let good = "a".repeat(43);
        let read = |line: String| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, line.parse().unwrap());
            names
                .read(&headers)
                .session
                .map(|secret| secret.expose().to_owned())
        };
        assert_eq!(
            read(format!("x=y; doorward_session_8080={good}")),
            Some(good.clone())
        );
        for bad in [
            format!("doorward_session_8081={good}"),
            format!("__Host-doorward_session={good}"),
            format!("doorward_session_8080={good}a"),
            "doorward_session_8080=".into(),
            format!("doorward_session_8080=\"{good}\""),
        ] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
    }
}
