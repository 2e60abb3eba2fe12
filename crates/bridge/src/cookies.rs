//! Cookies of the MCP server: load balancers keep a session on one machine with them.
//!
//! They live in memory, and go to the URL that the user gave and its origin alone, so neither `Domain` nor `Path` means
//! anything here: a jar of one origin, which may say less than a browser's, never more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::owner::Owner;

/// Most cookies.
const COOKIES: usize = 32;
/// Longest cookie, name and value, in bytes.
const LENGTH: usize = 4096;

/// The cookies that the server has set.
#[derive(Debug, Default)]
pub(crate) struct Jar(Mutex<Cookies>);

#[derive(Debug, Default)]
struct Cookies {
    owner: Owner,
    pairs: Vec<(String, String)>,
}

impl Jar {
    /// The cookies that may go along with the token of this login. Those of another are forgotten.
    fn of(&self, login: Option<u64>) -> MutexGuard<'_, Cookies> {
        let mut jar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !jar.owner.accepts(login) {
            *jar = Cookies::default();
            jar.owner.accepts(login);
        }
        jar
    }

    /// Takes over what an answer to a request of this login sets.
    pub(crate) fn note(&self, headers: &HeaderMap, login: Option<u64>) {
        if !headers.contains_key(SET_COOKIE) || self.is_newer_than(login) {
            return;
        }
        let mut jar = self.of(login);
        for line in headers.get_all(SET_COOKIE) {
            if let Some(cookie) = line.to_str().ok().and_then(parse) {
                jar.set(&cookie);
            }
        }
    }

    fn is_newer_than(&self, login: Option<u64>) -> bool {
        let jar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jar.owner.is_newer_than(login)
    }

    /// Adds them to a request of this login, unless the user gave cookies of their own.
    pub(crate) fn add(&self, headers: &mut HeaderMap, login: Option<u64>) {
        let jar = self.of(login);
        if jar.pairs.is_empty() || headers.contains_key(COOKIE) {
            return;
        }
        let pairs: Vec<String> = jar
            .pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if let Ok(mut value) = HeaderValue::from_str(&pairs.join("; ")) {
            value.set_sensitive(true);
            headers.insert(COOKIE, value);
        }
    }
}

impl Cookies {
    fn set(&mut self, cookie: &Cookie<'_>) {
        self.pairs.retain(|(name, _)| name != cookie.name);
        if !cookie.is_over && self.pairs.len() < COOKIES {
            self.pairs.push((cookie.name.to_owned(), cookie.value.to_owned()));
        }
    }
}

struct Cookie<'a> {
    name: &'a str,
    value: &'a str,
    is_over: bool,
}

/// RFC 6265 §5.2, as far as it matters for as long as this process lives.
fn parse(line: &str) -> Option<Cookie<'_>> {
    let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
    let (name, value) = pair.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || name.len() + value.len() > LENGTH {
        return None;
    }
    let is_over = attributes.split(';').any(|attribute| {
        let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        // An `Expires` is how old servers delete; one in the past has a year that is long gone.
        key.trim().eq_ignore_ascii_case("max-age") && (value.trim().starts_with('-') || value.trim() == "0")
            || key.trim().eq_ignore_ascii_case("expires") && value.contains("1970")
    });
    Some(Cookie { name, value, is_over })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(jar: &Jar) -> Option<String> {
        let mut headers = HeaderMap::new();
        jar.add(&mut headers, None);
        headers
            .get(COOKIE)
            .map(|value| value.to_str().unwrap().to_owned())
    }

    fn noted(jar: &Jar, lines: &[&str]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SET_COOKIE, line.parse().unwrap());
        }
        jar.note(&headers, None);
    }

    #[test]
    fn cookies_are_kept_replaced_and_deleted() {
        let jar = Jar::default();
        assert_eq!(sent(&jar), None);
        noted(
            &jar,
            &[
                "AWSALB=a; Path=/; HttpOnly",
                "b = 2 ;Domain=evil.example",
                "=x",
                "nonsense",
            ],
        );
        assert_eq!(sent(&jar).as_deref(), Some("AWSALB=a; b=2"));
        noted(&jar, &["AWSALB=c; Expires=Thu, 01 Jan 2099 00:00:00 GMT"]);
        assert_eq!(sent(&jar).as_deref(), Some("b=2; AWSALB=c"));
        noted(
            &jar,
            &["b=; Max-Age=0", "AWSALB=x; expires=Thu, 01 Jan 1970 00:00:00 GMT"],
        );
        assert_eq!(sent(&jar), None);
    }

    #[test]
    fn a_server_cannot_fill_the_jar_and_the_users_own_cookies_win() {
        let jar = Jar::default();
        noted(&jar, &[&format!("long={}", "x".repeat(LENGTH))]);
        assert_eq!(sent(&jar), None);
        for number in 0..100 {
            noted(&jar, &[&format!("c{number}=1")]);
        }
        assert_eq!(sent(&jar).unwrap().split("; ").count(), COOKIES);
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("mine=1"));
        jar.add(&mut headers, None);
        assert_eq!(headers[COOKIE], "mine=1");
    }
}
