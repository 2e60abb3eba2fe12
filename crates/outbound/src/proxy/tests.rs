use std::collections::HashMap;

use super::*;

fn of<'a>(rules: &'a ProxyRules, url: &str) -> Option<&'a str> {
    rules
        .of(&Url::parse(url).unwrap())
        .map(|proxy| proxy.host.as_str())
}

#[test]
fn the_environment_names_proxies_and_what_needs_none() {
    let rules = |pairs: &[(&str, &str)]| {
        let variables: HashMap<String, String> = pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        ProxyRules::from_environment(&|name| variables.get(name).cloned()).unwrap()
    };
    let none = rules(&[("HTTPS_PROXY", " ")]);
    assert!(none.is_direct());
    let both = rules(&[
        ("HTTPS_PROXY", "http://upper.example:3128"),
        ("https_proxy", "lower.example:3128"),
        ("HTTP_PROXY", "http://plain.example"),
        (
            "NO_PROXY",
            "corp.example, .local.example,10.0.0.0/8,[fd00::1],*.wild.example,ported.example:8443",
        ),
    ]);
    assert_eq!(of(&both, "https://a.example/"), Some("lower.example"));
    assert_eq!(of(&both, "http://a.example/"), Some("plain.example"));
    for direct in [
        "https://corp.example/",
        "https://a.b.corp.example/",
        "https://x.local.example/",
        "https://local.example/",
        "https://10.255.0.1/",
        "https://[fd00::1]/",
        "https://a.wild.example/",
        "https://ported.example:8443/",
        "https://localhost/",
        "https://a.localhost/",
        "http://127.0.0.1:4000/",
        "http://[::1]/",
    ] {
        assert_eq!(of(&both, direct), None, "{direct}");
    }
    for proxied in [
        "https://notcorp.example/",
        "https://11.0.0.1/",
        "https://ported.example/",
    ] {
        assert!(of(&both, proxied).is_some(), "{proxied}");
    }
    let all = rules(&[("ALL_PROXY", "http://all.example:1"), ("NO_PROXY", "")]);
    assert_eq!(of(&all, "https://a.example/"), Some("all.example"));
    let star = rules(&[("ALL_PROXY", "http://all.example:1"), ("no_proxy", "*")]);
    assert_eq!(of(&star, "https://a.example/"), None);
    // A CGI program's HTTP_PROXY is a header of a stranger.
    let cgi = rules(&[("HTTP_PROXY", "http://evil.example"), ("REQUEST_METHOD", "GET")]);
    assert!(cgi.is_direct());
}

#[test]
fn a_proxy_url_is_taken_apart_and_never_shown_with_its_password() {
    let proxy = Proxy::parse("https://us%65r:p%3Aw%zz@proxy.example").unwrap();
    assert_eq!(
        (proxy.host.as_str(), proxy.port, proxy.secure),
        ("proxy.example", 443, true)
    );
    let value = proxy.authorization.clone().unwrap();
    assert!(value.is_sensitive());
    let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
    assert_eq!(STANDARD.decode(encoded).unwrap(), b"user:p:w%zz");
    let shown = format!("{proxy:?} {}", proxy.url);
    assert!(!shown.contains("p%3A") && !shown.contains("us%65r"), "{shown}");
    assert_eq!(
        ProxyRules::url("socks5://u:secret@h:1", "").unwrap_err(),
        ProxyError::Scheme("socks5".into())
    );
    for bad in ["http://", "http://u:secret@", "::::"] {
        let error = ProxyRules::url(bad, "").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
