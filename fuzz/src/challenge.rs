//! `WWW-Authenticate` lines: one meaning, and no URL comes out that is not used. Each line of an input is a header line.

use doorward_client::challenge::{Challenge, MAX_BYTES, RawChallenge, parse, parse_line};
use doorward_client::named_url::UrlPolicy;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};

/// `input` is header lines.
pub fn check(input: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut single = Vec::new();
    for line in input.split(|b| *b == b'\n').take(64) {
        let read = parse_line(line);
        assert_eq!(read, parse_line(line));
        read.iter().for_each(written);
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
            single.extend(read);
        }
    }
    if headers.values().map(HeaderValue::len).sum::<usize>() <= MAX_BYTES {
        assert_eq!(parse(&headers), single, "lines add up");
    }
    meaning(&Challenge::read(&headers, &UrlPolicy::strict()), &single);
}

/// What was read is read again when it is written as RFC 9110 says.
fn written(challenge: &RawChallenge) {
    assert!(challenge.token68.is_none() || challenge.parameters.is_empty());
    let mut line = challenge.scheme.clone();
    if let Some(token) = &challenge.token68 {
        line = format!("{line} {token}");
    }
    for (at, (name, value)) in challenge.parameters.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        line = format!("{line}{comma} {name}=\"{value}\"");
    }
    assert_eq!(
        parse_line(line.as_bytes()),
        std::slice::from_ref(challenge),
        "{line}"
    );
}

/// What is believed stands in a challenge for us, once, and is fit to be used or shown.
fn meaning(challenge: &Challenge, all: &[RawChallenge]) {
    let stands = |name: &str, value: &str| {
        all.iter()
            .filter(|raw| raw.scheme == "bearer" || raw.scheme == "dpop")
            .any(|raw| {
                raw.parameters
                    .iter()
                    .filter(|(n, _)| n == name)
                    .map(|(_, v)| v)
                    .eq([value])
            })
    };
    if let Some(url) = &challenge.resource_metadata {
        let loopback = matches!(url.host_str(), Some("localhost" | "[::1]"))
            || url.host_str().is_some_and(|host| host.starts_with("127."));
        assert!(
            url.scheme() == "https" || (url.scheme() == "http" && loopback),
            "{url}"
        );
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    }
    if let Some(error) = &challenge.error {
        assert!(stands("error", error));
    }
    for shown in [&challenge.error_description, &challenge.refused_resource_metadata]
        .into_iter()
        .flatten()
    {
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
    assert!(challenge.scope.as_ref().is_none_or(|scope| !scope.is_empty()));
    assert_eq!(challenge.bearer, all.iter().any(|raw| raw.scheme == "bearer"));
}
