//! A URI as others may read it.
//!
//! A rule names a resource as it is written, but servers take a URI apart before they look for what it names: by the WHATWG
//! URL standard in the SDKs for TypeScript (`new URL`) and Python (`AnyUrl`), and file servers decode it and leave the rest
//! to the file system. So `file:///public/../private/x` is `file:///private/x` to them. What is judged is therefore every
//! form that a reader may make of it: a right to one of them is no right to another (MB-12).

/// How many forms there are besides the one that is written.
pub(crate) const FORMS: usize = 3;

/// The other forms of a URI, or of a pattern for URIs, each made of the one before:
///
/// 1. that of the URL standard; of what is no absolute URI, the text itself: whoever reads such a thing reads it so;
/// 2. with every escape decoded that need not be one (RFC 3986 §6.2.2);
/// 3. with every escape decoded, and as a file system reads paths: empty segments and `.` name nothing.
pub(crate) fn forms(uri: &str) -> [String; FORMS] {
    let parsed = standard(uri);
    let plain = decoded(&parsed, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
    });
    // An asterisk would become one that stands for anything.
    let flat = flattened(&decoded(&plain, |byte| !byte.is_ascii_control() && byte != b'*'));
    [parsed, plain, flat]
}

#[cfg(feature = "url")]
fn standard(uri: &str) -> String {
    url::Url::parse(uri).map_or_else(|_| uri.to_owned(), String::from)
}

/// Nothing else is asked about: see [`is_readable`].
#[cfg(not(feature = "url"))]
fn standard(uri: &str) -> String {
    uri.to_owned()
}

/// Whether the forms of this URI, or pattern, are known.
pub(crate) fn is_readable(uri: &str) -> bool {
    cfg!(feature = "url") || is_plain(uri)
}

/// Whether the URL standard leaves it as it is written. Says no where that takes more to know.
fn is_plain(uri: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&()*+,;=%".contains(&byte);
    if !uri.bytes().all(usual) {
        return false;
    }
    let in_scheme = |char: char| char.is_ascii_alphanumeric() || matches!(char, '+' | '-' | '.');
    let scheme = uri.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.chars().all(in_scheme)
    });
    let Some((scheme, rest)) = scheme else {
        return true;
    };
    let special = matches!(scheme, "http" | "https" | "ws" | "wss" | "ftp" | "file");
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None if special => return false,
        None => ("", rest),
    };
    let host_stays = match scheme {
        "file" => host.is_empty() && !path.starts_with("//"),
        _ if special => is_plain_domain(host),
        _ => host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.*".contains(&byte)),
    };
    let path_only = path.split(['?', '#']).next().unwrap_or_default();
    let dots = path_only.to_ascii_lowercase().replace("%2e", ".");
    scheme == scheme.to_ascii_lowercase()
        && host_stays
        && (!special || path.starts_with('/'))
        && !dots.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Labels in lower case, none encoded, the last one no number, which could be (part of) an address.
fn is_plain_domain(host: &str) -> bool {
    let plain = |label: &str| {
        !label.is_empty()
            && !label.starts_with("xn--")
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-*".contains(&byte))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.split('.').all(plain) && !last.starts_with(|first: char| first.is_ascii_digit())
}

/// Those of them that are not `uri` itself, each once.
pub(crate) fn other_forms(uri: &str) -> impl Iterator<Item = String> + use<> {
    let [parsed, plain, flat] = forms(uri);
    let is_news = [
        parsed != uri,
        plain != uri && plain != parsed,
        flat != uri && flat != plain && flat != parsed,
    ];
    [parsed, plain, flat]
        .into_iter()
        .zip(is_news)
        .filter_map(|(form, is_news)| is_news.then_some(form))
}

/// With the escapes decoded that stand for such bytes, the others in upper case.
fn decoded(uri: &str, decodes: impl Fn(u8) -> bool) -> String {
    let mut out = Vec::with_capacity(uri.len());
    let mut rest = uri.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let escaped = match (first, after) {
            (b'%', [high, low, after @ ..]) => digit(*high).zip(digit(*low)).map(|digits| (digits, after)),
            _ => None,
        };
        let Some(((high, low), after)) = escaped else {
            out.push(*first);
            continue;
        };
        let byte = high << 4 | low;
        if decodes(byte) {
            out.push(byte);
        } else {
            out.extend(format!("%{byte:02X}").into_bytes());
        }
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// With a path as a file system reads it, behind scheme and authority.
fn flattened(uri: &str) -> String {
    let uri = uri.replace('\\', "/");
    let start = uri.find("://").map_or(0, |at| at + 3);
    let path = uri
        .get(start..)
        .and_then(|rest| rest.find('/'))
        .map(|at| start + at);
    let Some((before, path)) = path.and_then(|at| uri.split_at_checked(at)) else {
        return uri;
    };
    let last = path.rsplit('/').next().unwrap_or_default();
    let named = path.split('/').filter(|segment| !matches!(*segment, "" | "."));
    let mut out = before.to_owned();
    for segment in named {
        out.push('/');
        out.push_str(segment);
    }
    if matches!(last, "" | ".") {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "url")]
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
            ("notes://h//private//x/", &["notes://h/private/x/"]),
            ("notes://h//a/%2E/b", &["notes://h//a/b", "notes://h/a/b"]),
            ("file:///a%2fb", &["file:///a%2Fb", "file:///a/b"]),
            ("file:///a%5Cb", &["file:///a/b"]),
            ("file:///a%2Ab", &[]),
            ("file:///a%00b", &[]),
            ("file:///%c3%a9", &["file:///%C3%A9", "file:///é"]),
            ("file:///é", &["file:///%C3%A9"]),
            ("file:///Reports%20%282024%29", &["file:///Reports (2024)"]),
            ("file:///100%", &[]),
            ("file:///%+7", &[]),
            ("urn:x:a", &[]),
            ("relative//x", &["relative/x"]),
            ("", &[]),
        ] {
            assert_eq!(other_forms(uri).collect::<Vec<_>>(), forms, "{uri}");
        }
    }

    #[test]
    fn mb_12_what_is_usual_needs_no_parser() {
        for uri in [
            "file:///public/x",
            "file:///a%20b/%C3%A9?x#y",
            "https://mcp.example.com/notes/1?a=b",
            "notes://Host",
            "notes://h//private//x/",
            "urn:x:a",
            "file:///*",
            "https://*.example.com/*",
            "*",
            "relative//x",
        ] {
            assert!(is_plain(uri), "{uri}");
        }
        for uri in [
            "file:///public/../private/x",
            "file:///public/%2e%2E/private/x",
            "notes://h/./x",
            "x:a/../b",
            r"file:///public\..\private/x",
            "FILE:///private/x",
            " file:///private/x",
            "file:///pri\tvate/x",
            "file:/private/x",
            "file://localhost/private/x",
            "https:/host/a",
            "https://host",
            "https://Host/a",
            "https://host:443/a",
            "https://a@host/a",
            "https://h%6Fst/a",
            "https://0x7f.1/a",
            "https://1/a",
            "https://xn--a/a",
            "file:///é",
        ] {
            assert!(!is_plain(uri), "{uri}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]
        #[cfg(feature = "url")]
        #[test]
        fn mb_12_the_standard_leaves_what_is_plain(
            uri in r"(file|https|http|ws|x|xn--a|File|[a1*])?:?/{0,4}(localhost|[a-c0-9x.*-]{0,5})[a-cA-C0-9%2eE./:?#@*\\é ~'-]{0,10}"
        ) {
            if is_plain(&uri) {
                proptest::prop_assert_eq!(standard(&uri), uri);
            }
        }

        #[test]
        fn a_form_is_its_own_form(uri in "(file|https|x):/{1,3}[a-cA-C%2eE./é ]{0,16}") {
            let [_, plain, flat] = forms(&uri);
            proptest::prop_assert_eq!(flattened(&flat), flat);
            proptest::prop_assert_eq!(decoded(&plain, |byte| byte == b'.'), plain);
        }
    }
}
