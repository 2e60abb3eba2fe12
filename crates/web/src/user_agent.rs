//! A few words for the browser or program that a request comes from, so that people recognise it in a list. It is
//! what that program says of itself: shown, never relied on.

use http::HeaderMap;
use http::header::USER_AGENT;

use crate::text::{SHORT, shown};

/// As much of a header as is looked at, in bytes.
const LONGEST: usize = 512;

/// "Firefox on Linux" for browsers, else the first word of the header. `None` if it says nothing.
pub(crate) fn describe(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end)?.trim();
    let words = match (browser(text), system(text)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        // "node", "python-httpx/0.27", "claude-code/2.1 (cli)": the product is enough.
        (None, _) => text.split_whitespace().next()?.to_owned(),
    };
    let words = shown(&words, SHORT - 1);
    (!words.is_empty()).then_some(words)
}

/// In the order in which one name hides behind another: every browser says that it is several.
fn browser(text: &str) -> Option<&'static str> {
    if !text.starts_with("Mozilla/") {
        return None;
    }
    let known = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chromium/", "Chromium"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let found = known.iter().find(|(mark, _)| text.contains(mark));
    Some(found.map_or("A browser", |(_, name)| name))
}

fn system(text: &str) -> Option<&'static str> {
    let known = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("CrOS", "ChromeOS"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Macintosh", "macOS"),
        ("Linux", "Linux"),
    ];
    known
        .iter()
        .find(|(mark, _)| text.contains(mark))
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, text.parse().unwrap());
        describe(&headers)
    }

    #[test]
    fn browsers_and_programs_are_recognised() {
        for (text, words) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
                "Safari on macOS",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1",
                "Chrome on iPhone",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64) something", "A browser on Linux"),
            ("node", "node"),
            ("claude-code/2.1.4 (cli)", "claude-code/2.1.4"),
        ] {
            assert_eq!(described(text).as_deref(), Some(words), "{text}");
        }
        assert_eq!(described(""), None);
        assert_eq!(describe(&HeaderMap::new()), None);
    }

    proptest::proptest! {
        #[test]
        fn cn_07_whatever_it_says_a_few_words_are_shown(bytes in proptest::collection::vec(0x20_u8..=0xff, 0..700)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                headers.insert(USER_AGENT, value);
            }
            if let Some(words) = describe(&headers) {
                proptest::prop_assert!((1..=SHORT).contains(&words.chars().count()));
            }
        }
    }
}
