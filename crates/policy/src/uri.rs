//! A URI as others may read it.
//!
//! A rule names a resource as it is written, but servers take a URI apart before they look for what it names: by the WHATWG
//! URL standard in the SDKs for TypeScript (`new URL`) and Python (`AnyUrl`), and file servers decode it and leave the rest
//! to the file system. So `file:///public/../private/x` is `file:///private/x` to them. What is judged is therefore every
//! form that a reader may make of it: a right to one of them is no right to another (MB-12).

//!
//! And a reader may leave parts of a URI alone: the path is what files are looked for by. What is forbidden under the
//! [bare](bare_forms) name is forbidden with a fragment behind it too.

use std::borrow::Cow;
use std::iter::once;

use doorward_mcp::escape::{digit, unescaped};

/// How many forms there are besides the one that is written.
pub(crate) const FORMS: usize = 4;

/// The other forms of a URI, or of a pattern for URIs, each made of the one before:
///
/// 1. that of the URL standard; of what is no absolute URI, the text itself: whoever reads such a thing reads it so;
/// 2. with every escape decoded that need not be one (RFC 3986 §6.2.2);
/// 3. with every escape decoded, and as a file system reads paths: empty segments and `.` name nothing;
/// 4. the same once more, until no escape is left: several readers in a row may decode one each.
///
/// All are what is written where that [is usual](is_usual), without a parser and without a copy.
pub(crate) fn forms(uri: &str) -> [Cow<'_, str>; FORMS] {
    if is_usual(uri) {
        return [const { Cow::Borrowed("") }; FORMS].map(|_| Cow::Borrowed(uri));
    }
    let parsed = standard(uri);
    let plain = decoded(&parsed, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
    });
    let flat = flattened(&decoded(&plain, may_be_literal));
    let deep = unescaped(flat.as_bytes(), may_be_literal);
    let deep = flattened(&String::from_utf8_lossy(&deep));
    [parsed, plain, flat, deep].map(Cow::Owned)
}

/// An asterisk would become one that stands for anything.
fn may_be_literal(byte: u8) -> bool {
    !byte.is_ascii_control() && byte != b'*'
}

/// What a reader may still find who leaves away what does not name a file: the fragment, the query, the slash at the end, the
/// host of a `file:` URI. Rules about one of these texts can only take away what the [forms] were let through for:
/// with a query there may be much more behind a URI than without.
pub(crate) fn bare_forms(uri: &str) -> Vec<String> {
    let mut bare = Vec::new();
    if is_usual(uri) {
        return bare;
    }
    let known = forms(uri);
    let mut add = |text: &str| {
        let is_news = text != uri && known.iter().all(|form| form != text);
        if is_news && !text.is_empty() && bare.iter().all(|other| other != text) {
            bare.push(text.to_owned());
        }
    };
    for cut in [without_fragment(uri), without_query(uri)] {
        for form in once(Cow::Borrowed(cut)).chain(forms(cut)) {
            // An escaped delimiter is one to whoever decodes first.
            for text in [without_fragment(&form), without_query(&form)] {
                for text in [text, text.trim_end_matches('/')] {
                    add(text);
                    if let Some(path) = file_path(text) {
                        add(&format!("file://{path}"));
                    }
                }
            }
        }
    }
    bare
}

fn without_fragment(uri: &str) -> &str {
    uri.split_once('#').map_or(uri, |(before, _)| before)
}

fn without_query(uri: &str) -> &str {
    uri.split_once(['?', '#']).map_or(uri, |(before, _)| before)
}

/// The path of a `file:` URI that has a host.
fn file_path(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("file://")?;
    let (_, path) = rest.split_at_checked(rest.find('/')?)?;
    Some(path)
}

/// Whether every reader takes it as it is written: nothing is escaped, empty or left away by anybody.
fn is_usual(uri: &str) -> bool {
    let calm = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@!$&()+,;=".contains(&byte);
    if !uri.bytes().all(calm) || uri.ends_with('/') || !is_plain(uri) {
        return false;
    }
    let path = uri.get(behind_scheme(uri)..).unwrap_or(uri);
    // The host of a `file:` URI is empty where it is plain.
    let path = path.strip_prefix('/').unwrap_or(path);
    !path.split('/').any(|segment| matches!(segment, "" | "." | ".."))
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
    !scheme.contains(|char: char| char.is_ascii_uppercase())
        && host_stays
        && (!special || path.starts_with('/'))
        && !path_only.split('/').any(is_dots)
}

/// Whether it is one or two dots, escaped or not.
fn is_dots(segment: &str) -> bool {
    after_dot(segment).is_some_and(|rest| rest.is_empty() || after_dot(rest).is_some_and(str::is_empty))
}

fn after_dot(text: &str) -> Option<&str> {
    let escaped = || text.strip_prefix("%2e").or_else(|| text.strip_prefix("%2E"));
    text.strip_prefix('.').or_else(escaped)
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
    let mut others: Vec<String> = Vec::new();
    for form in forms(uri) {
        if form != uri && !others.iter().any(|other| form == *other) {
            others.push(form.into_owned());
        }
    }
    others.into_iter()
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

/// Where the authority begins, or, where there is none, the text. A `://` further on is no authority's: `notes:/a//b?://c`.
fn behind_scheme(uri: &str) -> usize {
    match uri.split_once(':') {
        Some((scheme, rest)) if rest.starts_with("//") && !scheme.contains(['/', '?', '#']) => {
            scheme.len() + 3
        }
        _ => 0,
    }
}

/// With a path as a file system reads it, behind scheme and authority.
fn flattened(uri: &str) -> String {
    let uri = uri.replace('\\', "/");
    let start = behind_scheme(&uri);
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
            (
                "file:///%2570rivate/x",
                &["file:///%70rivate/x", "file:///private/x"],
            ),
            ("notes:/a//private/x?://y", &["notes:/a/private/x?:/y"]),
            ("", &[]),
        ] {
            assert_eq!(other_forms(uri).collect::<Vec<_>>(), forms, "{uri}");
        }
    }

    #[cfg(feature = "url")]
    #[test]
    fn mb_12_what_is_left_away_leaves_the_bare_name() {
        for (uri, expected) in [
            ("file:///private/key#x", &["file:///private/key"][..]),
            ("file:///private/key?x", &["file:///private/key"]),
            ("file:///private/key#{x}", &["file:///private/key"]),
            ("file:///private/key/", &["file:///private/key"]),
            (
                "file:///private/key/#x",
                &["file:///private/key/", "file:///private/key"],
            ),
            ("file://x/private/key", &["file:///private/key"]),
            ("file:///private/key%23x", &["file:///private/key"]),
            ("file:///%2570rivate/key#x", &["file:///private/key"]),
            ("file:///what%3F/key?x", &["file:///what?/key"]),
            ("notes://h/a?b=c#d", &["notes://h/a?b=c", "notes://h/a"]),
            ("notes://h/a//b/?c", &["notes://h/a/b"]),
        ] {
            let bare = bare_forms(uri);
            for form in expected {
                assert!(bare.iter().any(|known| known == form), "{uri}: {bare:?}");
            }
        }
        for uri in [
            "file:///a/b",
            "notes://h/a",
            "file:///a%20b",
            "https://h/é",
            "urn:x:a",
            "",
        ] {
            assert_eq!(bare_forms(uri), [""; 0], "{uri}");
        }
        // The length of a URI bounds how many there can be.
        let hostile = format!("file://h/{}#x", "%25".repeat(2000));
        assert!(bare_forms(&hostile).len() < 40);
    }

    #[test]
    fn mb_12_what_is_usual_is_not_copied() {
        for (uri, usual) in [
            ("file:///public/x.txt", true),
            ("https://mcp.example.com/notes/1", true),
            ("notes://Host/a", true),
            ("urn:x:a", true),
            ("file:///public/x/", false),
            ("file:///public//x", false),
            ("file:///public/x#y", false),
            ("file:///public/x?y", false),
            ("file:///public/%20", false),
            ("file:///public/*", false),
            ("file://x/private", false),
            ("relative/./x", false),
        ] {
            assert_eq!(is_usual(uri), usual, "{uri}");
            let borrowed = forms(uri).iter().all(|form| matches!(form, Cow::Borrowed(_)));
            assert_eq!(borrowed, usual, "{uri}");
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
        fn mb_12_what_is_usual_is_read_in_one_way(
            uri in r"((file|https|x)://?)?(/|host/|h.x/)?[abA./:=@]{0,10}"
        ) {
            if is_usual(&uri) {
                proptest::prop_assert_eq!(&standard(&uri), &uri);
                proptest::prop_assert_eq!(&flattened(&uri), &uri);
                proptest::prop_assert_eq!(decoded(&uri, |_| true), uri);
            }
        }

        #[test]
        fn a_form_is_its_own_form(uri in "(file|https|x):/{1,3}[a-cA-C%2eE./é ]{0,16}") {
            let [_, plain, flat, deep] = forms(&uri);
            proptest::prop_assert_eq!(flattened(&flat), flat);
            proptest::prop_assert_eq!(flattened(&deep), &*deep);
            proptest::prop_assert_eq!(unescaped(deep.as_bytes(), may_be_literal), deep.as_bytes());
            proptest::prop_assert_eq!(decoded(&plain, |byte| byte == b'.'), plain);
        }
    }
}
