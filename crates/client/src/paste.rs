//! A machine without a browser: the person copies the address that their own browser ended at, and pastes it here.

use url::Url;

/// The longest text that is read, in bytes. Terminals cut a line at 4096 bytes before we see it.
pub const MAX_PASTE: usize = 16 * 1024;

/// Why a pasted text is not the answer. Nothing of the text is in it: it may hold a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasteError {
    /// Nothing there.
    #[error("nothing was pasted")]
    Empty,
    /// Longer than [`MAX_PASTE`].
    #[error("that is too long for the address of an answer")]
    TooLong,
    /// Another page.
    #[error(
        "that is another address: paste the whole address that the browser ends at, which begins like the one this program waits at"
    )]
    OtherAddress,
    /// The authorization request itself, or a page on the way.
    #[error("that address carries no answer: log in first, then paste the address that the browser ends at")]
    NoAnswer,
}

/// The query of the answer in `pasted`: the whole address, which must be `redirect_uri` with a query, or the query
/// alone. It goes through the same checks as one that came to the listener (state, `iss`, once): pasting is a way, not
/// an authority.
pub fn query_of(pasted: &str, redirect_uri: &str) -> Result<String, PasteError> {
    if pasted.len() > MAX_PASTE {
        return Err(PasteError::TooLong);
    }
    // What copying adds: quotes, brackets, and line breaks of a narrow window.
    let text: String = pasted
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect::<String>()
        .trim_matches(['"', '\'', '<', '>', '`'])
        .to_owned();
    if text.is_empty() {
        return Err(PasteError::Empty);
    }
    let query = if text.contains("://") {
        let address = Url::parse(&text).map_err(|_| PasteError::OtherAddress)?;
        let expected = Url::parse(redirect_uri).map_err(|_| PasteError::OtherAddress)?;
        if !same_place(&address, &expected) {
            return Err(PasteError::OtherAddress);
        }
        address.query().unwrap_or_default().to_owned()
    } else {
        text.trim_start_matches('?').to_owned()
    };
    let names_answer = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        matches!(name, "code" | "error")
    };
    if query.split('&').any(names_answer) {
        Ok(query)
    } else {
        Err(PasteError::NoAnswer)
    }
}

/// Scheme, host, port and path; browsers hide neither of them.
fn same_place(address: &Url, expected: &Url) -> bool {
    address.scheme() == expected.scheme()
        && address.host() == expected.host()
        && address.port_or_known_default() == expected.port_or_known_default()
        && address.path() == expected.path()
        && address.username().is_empty()
        && address.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIRECT: &str = "http://127.0.0.1:4711/callback";

    #[test]
    fn s9_a_pasted_address_or_its_query_gives_the_same_parameters() {
        let query = "code=a%20b&state=s&iss=https%3A%2F%2Fas.example";
        for pasted in [
            format!("{REDIRECT}?{query}"),
            format!("  \"{REDIRECT}?{query}\"\r\n"),
            format!("<{REDIRECT}?{}\n{}>", &query[..12], &query[12..]),
            format!("?{query}"),
            query.to_owned(),
            format!("{REDIRECT}?{query}#_=_"),
        ] {
            assert_eq!(query_of(&pasted, REDIRECT).as_deref(), Ok(query), "{pasted}");
        }
        assert!(query_of("error=access_denied&state=s", REDIRECT).is_ok());
    }

    #[test]
    fn s9_cl_06_another_address_is_no_answer() {
        for pasted in [
            "http://127.0.0.1:4712/callback?code=a",
            "http://127.0.0.1:4711/other?code=a",
            "https://127.0.0.1:4711/callback?code=a",
            "http://localhost:4711/callback?code=a",
            "http://evil@127.0.0.1:4711/callback?code=a",
            "https://evil.example/?u=http://127.0.0.1:4711/callback?code=a",
            "javascript://127.0.0.1:4711/callback?code=a",
        ] {
            assert_eq!(
                query_of(pasted, REDIRECT),
                Err(PasteError::OtherAddress),
                "{pasted}"
            );
        }
        for pasted in [
            REDIRECT,
            "abc",
            "state=x",
            "xcode=1",
            "https",
            &format!("{REDIRECT}?state=x"),
        ] {
            assert_eq!(query_of(pasted, REDIRECT), Err(PasteError::NoAnswer), "{pasted}");
        }
        assert_eq!(query_of(" \n", REDIRECT), Err(PasteError::Empty));
        assert_eq!(
            query_of(&"x".repeat(MAX_PASTE + 1), REDIRECT),
            Err(PasteError::TooLong)
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(query) = query_of(&text, REDIRECT) {
                proptest::prop_assert!(query.contains("code") || query.contains("error"));
            }
        }
    }
}
