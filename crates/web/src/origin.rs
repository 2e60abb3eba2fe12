//! Whether a form was sent from one of our own pages (RULES: forms; defence in depth beside the csrf field).

use http::HeaderMap;
use http::header::ORIGIN;

/// A form POST came, or could have come, from another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form was not sent from a page of this site")]
pub(crate) struct ForeignOrigin;

/// Accepts the exact origin of our public URL, or no (or an opaque) `Origin` when the browser itself says
/// that the request is same-origin (Fetch Metadata, `Sec-Fetch-Site`).
pub(crate) fn check_form(headers: &HeaderMap, ours: &str) -> Result<(), ForeignOrigin> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let first = origins.next();
    if origins.next().is_some() {
        return Err(ForeignOrigin);
    }
    match first.map(http::HeaderValue::as_bytes) {
        Some(origin) if origin == ours.as_bytes() => Ok(()),
        None | Some(b"null") if is_same_origin(headers) => Ok(()),
        _ => Err(ForeignOrigin),
    }
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all("sec-fetch-site").iter();
    values.next().is_some_and(|value| value == "same-origin") && values.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hd_05_only_our_own_origin_may_post_a_form() {
        let ours = "https://mcp.example.com";
        for (headers, good) in [
            (vec![("origin", ours)], true),
            (vec![("origin", ours), ("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("origin", "null"), ("sec-fetch-site", "same-origin")], true),
            (vec![], false),
            (vec![("origin", "null")], false),
            (vec![("origin", "null"), ("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "none")], false),
            (
                vec![("origin", "https://evil.test"), ("sec-fetch-site", "same-origin")],
                false,
            ),
            (vec![("origin", "https://mcp.example.com.evil.test")], false),
            (vec![("origin", "https://mcp.example.com:443")], false),
            (vec![("origin", "http://mcp.example.com")], false),
            (vec![("origin", "http://localhost.evil.test")], false),
            (vec![("origin", "file://")], false),
            (vec![("origin", ours), ("origin", "https://evil.test")], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, value.parse().unwrap());
            }
            assert_eq!(check_form(&map, ours).is_ok(), good, "{headers:?}");
        }
    }
}
