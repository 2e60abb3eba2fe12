//! How long an answer is fresh by its own headers (RFC 9111 §4.2).

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};

/// What the headers say. `None` if they say nothing. What cannot be read means: not fresh (RFC 9111 §4.2.1).
pub(crate) fn of(headers: &HeaderMap) -> Option<Duration> {
    let said = directives(headers).or_else(|| expires(headers))?;
    let age = headers
        .get(AGE)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs);
    Some(said.saturating_sub(age))
}

/// `no-store` and `no-cache` before `max-age`; a directive that is repeated counts by its smallest value.
fn directives(headers: &HeaderMap) -> Option<Duration> {
    let mut found = None;
    for value in headers.get_all(CACHE_CONTROL) {
        let Ok(value) = value.to_str() else {
            return Some(Duration::ZERO);
        };
        for directive in value.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(Duration::ZERO),
                "max-age" => {
                    let seconds = argument.trim().trim_matches('"').parse().unwrap_or(0);
                    let age = Duration::from_secs(seconds);
                    found = Some(found.map_or(age, |other: Duration| other.min(age)));
                }
                _ => {}
            }
        }
    }
    found
}

fn expires(headers: &HeaderMap) -> Option<Duration> {
    let expires = headers.get(EXPIRES)?;
    let time = |value: &http::HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
    let until = time(expires).zip(headers.get(DATE).and_then(time));
    let span = until.and_then(|(expires, date)| expires.duration_since(date).ok());
    Some(span.unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g8_freshness_follows_the_http_caching_rules() {
        let date = ("date", "Fri, 15 Jan 2027 08:00:00 GMT");
        let seconds = |n| Some(Duration::from_secs(n));
        for (lines, expected) in [
            (&[][..], None),
            (&[("cache-control", "public")], None),
            (&[("cache-control", "max-age=60")], seconds(60)),
            (&[("cache-control", "Public, Max-Age=\"60\"")], seconds(60)),
            (
                &[("cache-control", "max-age=60"), ("cache-control", "max-age=30")],
                seconds(30),
            ),
            (&[("cache-control", "max-age=60, no-store")], seconds(0)),
            (&[("cache-control", "no-cache=\"x\", max-age=60")], seconds(0)),
            (&[("cache-control", "max-age=-1")], seconds(0)),
            (
                &[("cache-control", "max-age=99999999999999999999999")],
                seconds(0),
            ),
            (&[("cache-control", "max-age=60"), ("age", "50")], seconds(10)),
            (&[("cache-control", "max-age=60"), ("age", "70")], seconds(0)),
            (
                &[date, ("expires", "Fri, 15 Jan 2027 08:10:00 GMT")],
                seconds(600),
            ),
            (&[date, ("expires", "Fri, 15 Jan 2027 07:10:00 GMT")], seconds(0)),
            (&[date, ("expires", "0")], seconds(0)),
            (&[("expires", "Fri, 15 Jan 2027 08:10:00 GMT")], seconds(0)),
            (
                &[
                    date,
                    ("expires", "Fri, 15 Jan 2027 08:10:00 GMT"),
                    ("cache-control", "max-age=5"),
                ],
                seconds(5),
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(of(&headers), expected, "{lines:?}");
        }
    }
}
