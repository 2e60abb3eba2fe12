//! A URI as others may read it.
//!
//! A rule names a resource as it is written, but servers take a URI apart before they look for what it names: by the WHATWG
//! URL standard in the SDKs for TypeScript (`new URL`) and Python (`AnyUrl`), and many file servers decode it further. So
//! `file:///public/../private/x` is `file:///private/x` to them. What we judge is therefore every form that a reader may
//! make of it: a right to one of them is no right to another.

use url::Url;

/// The forms of `uri` besides itself: that of the URL standard, and that one with every escape decoded that need not be
/// one (RFC 3986 §6.2.2). None of what is no absolute URI: who reads such a thing at all reads it as it is.
pub(crate) fn other_forms(uri: &str) -> impl Iterator<Item = String> + use<> {
    let parsed = Url::parse(uri).ok().map(String::from);
    let plain = parsed.as_deref().map(unescaped).filter(|plain| plain != uri);
    let parsed = parsed.filter(|parsed| parsed != uri);
    let plain = plain.filter(|plain| Some(plain) != parsed.as_ref());
    parsed.into_iter().chain(plain)
}

/// Without escapes of unreserved characters (RFC 3986 §2.3), the others in upper case.
fn unescaped(uri: &str) -> String {
    let mut out = String::with_capacity(uri.len());
    let mut rest = uri;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let escape = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok().zip(Some(hex)));
        let Some((byte, hex)) = escape.filter(|(_, hex)| !hex.starts_with('+')) else {
            out.push('%');
            rest = after;
            continue;
        };
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex.to_ascii_uppercase());
        }
        rest = after.get(2..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mb_12_a_uri_has_the_forms_that_readers_make_of_it() {
        for (uri, forms) in [
            ("file:///public/x", &[][..]),
            ("file:///public/../private/x", &["file:///private/x"]),
            ("file:///public/%2e%2E/private/x", &["file:///private/x"]),
            (r"file:///public\..\private/x", &["file:///private/x"]),
            ("notes://h/public/../private/x", &["notes://h/private/x"]),
            ("file:///%70rivate/x", &["file:///private/x"]),
            ("FILE:///private/x", &["file:///private/x"]),
            (" file:///private/x", &["file:///private/x"]),
            ("https://Host:443/a", &["https://host/a"]),
            ("https:/host/a", &["https://host/a"]),
            ("https://host", &["https://host/"]),
            ("file:///%c3%a9", &["file:///%C3%A9"]),
            ("file:///é", &["file:///%C3%A9"]),
            ("file:///a b/%7E", &["file:///a%20b/%7E", "file:///a%20b/~"]),
            ("file:///100%", &[]),
            ("file:///%+7", &[]),
            ("urn:x:a/../b", &[]),
            ("relative/../x", &[]),
            ("", &[]),
        ] {
            assert_eq!(other_forms(uri).collect::<Vec<_>>(), forms, "{uri}");
        }
    }

    proptest::proptest! {
        #[test]
        fn forms_of_forms_are_no_news(uri in "(file|https|x):/{1,3}[a-cA-C%2eE./\\\\é ]{0,16}") {
            for form in other_forms(&uri) {
                let again: Vec<_> = other_forms(&form).collect();
                proptest::prop_assert!(again.iter().all(|again| *again == unescaped(again)), "{} {:?}", form, again);
            }
        }
    }
}
