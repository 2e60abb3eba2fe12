//! Is this request meant for us? The `Host` check (HD-04, and DNS rebinding, HD-05).

use http::header::HOST;
use http::uri::Authority;
use http::{Request, StatusCode};

use crate::config::PublicUrl;
use crate::config::address::{host_of, is_loopback_host};

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotForUs {
    /// No `Host`, two of them, one that is no authority, or another one than the request target's
    /// (RFC 9112 §3.2).
    Malformed,
    /// Another spelling of loopback than `public_url`'s: cookies, issuer and redirects would not fit.
    OtherLoopback,
    /// Somebody else's name.
    Foreign,
}

impl NotForUs {
    /// `400` or `421` (RFC 9110 §15.5.20).
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::OtherLoopback | Self::Foreign => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    /// What to do about it.
    pub(crate) fn message(self, public_url: &PublicUrl) -> String {
        match self {
            Self::Malformed => "the request needs exactly one Host, the same as in its target\n".into(),
            Self::OtherLoopback => format!("this server is {public_url}: use exactly this URL\n"),
            Self::Foreign => "this server does not answer for that host\n".into(),
        }
    }
}

/// Checks that the request names exactly the authority of `public_url`. Forwarded headers are never
/// believed: an intermediary that ends TLS in front of us must pass `Host` on.
pub(crate) fn check<B>(request: &Request<B>, public_url: &PublicUrl) -> Result<(), NotForUs> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (field, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(NotForUs::Malformed);
    }
    let field = match field {
        Some(value) => Some(value.to_str().map_err(|_| NotForUs::Malformed)?),
        None => None,
    };
    // HTTP/2's `:authority`, or the absolute form of HTTP/1.1.
    let target = request.uri().authority().map(Authority::as_str);
    let named = match (field, target) {
        (Some(field), Some(target)) if !field.eq_ignore_ascii_case(target) => {
            return Err(NotForUs::Malformed);
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(NotForUs::Malformed),
    };
    // Letter for letter ours, as nearly always: nothing about it can be strange.
    if named == public_url.authority() {
        return Ok(());
    }
    let strange = |b: u8| !b.is_ascii_alphanumeric() && !matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if named.bytes().any(strange) || named.parse::<Authority>().is_err() {
        return Err(NotForUs::Malformed);
    }
    if is_ours(named, public_url) {
        return Ok(());
    }
    if public_url.is_loopback() && is_loopback_host(host_of(named)) {
        return Err(NotForUs::OtherLoopback);
    }
    Err(NotForUs::Foreign)
}

/// Host names compare without case, and the scheme's own port may be written (RFC 9110 §4.2.3).
fn is_ours(named: &str, public_url: &PublicUrl) -> bool {
    let default_port = if public_url.is_https() { ":443" } else { ":80" };
    let ours = public_url.authority();
    named.eq_ignore_ascii_case(ours)
        || named
            .strip_suffix(default_port)
            .is_some_and(|host| host.eq_ignore_ascii_case(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(public_url: &str, target: &str, hosts: &[&str]) -> Result<(), NotForUs> {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).unwrap(), &PublicUrl::parse(public_url).unwrap())
    }

    #[test]
    fn hd_04_only_the_exact_authority_is_answered() {
        let gw = "https://gw.test";
        for good in ["gw.test", "GW.test", "gw.test:443"] {
            assert_eq!(judge(gw, "/mcp", &[good]), Ok(()), "{good}");
        }
        assert_eq!(judge(gw, "https://gw.test/mcp", &["gw.test"]), Ok(()));
        assert_eq!(judge(gw, "https://gw.test/mcp", &[]), Ok(()));
        for (hosts, why) in [
            (&["evil.test"][..], NotForUs::Foreign),
            (&["gw.test:80"], NotForUs::Foreign),
            (&["gw.test."], NotForUs::Foreign),
            (&["gw.test.evil.test"], NotForUs::Foreign),
            (&["127.0.0.1"], NotForUs::Foreign),
            (&["gw.test/x?"], NotForUs::Malformed),
            (&["gw.test#"], NotForUs::Malformed),
            (&["u@gw.test"], NotForUs::Malformed),
            (&["gw.test,evil.test"], NotForUs::Malformed),
            (&["gw.test", "evil.test"], NotForUs::Malformed),
            (&["gw.test", "gw.test"], NotForUs::Malformed),
            (&[""], NotForUs::Malformed),
            (&[], NotForUs::Malformed),
        ] {
            assert_eq!(judge(gw, "/mcp", hosts), Err(why), "{hosts:?}");
        }
        assert_eq!(
            judge(gw, "http://evil.test/mcp", &["gw.test"]),
            Err(NotForUs::Malformed)
        );
        assert_eq!(
            judge(gw, "http://gw.test@evil.test/mcp", &["gw.test"]),
            Err(NotForUs::Malformed)
        );
    }

    #[test]
    fn another_spelling_of_loopback_is_told_the_right_one() {
        let ours = "http://localhost:8080";
        assert_eq!(judge(ours, "/", &["localhost:8080"]), Ok(()));
        for other in ["127.0.0.1:8080", "[::1]:8080", "localhost", "localhost:9"] {
            assert_eq!(
                judge(ours, "/", &[other]),
                Err(NotForUs::OtherLoopback),
                "{other}"
            );
        }
        for foreign in [
            "localhost.evil.test:8080",
            "127.0.0.1.evil.test:8080",
            "0.0.0.0:8080",
        ] {
            assert_eq!(judge(ours, "/", &[foreign]), Err(NotForUs::Foreign), "{foreign}");
        }
        let message = NotForUs::OtherLoopback.message(&PublicUrl::parse(ours).unwrap());
        assert_eq!(
            message,
            "this server is http://localhost:8080: use exactly this URL\n"
        );
    }
}
