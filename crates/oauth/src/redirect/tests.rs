use super::*;

fn parse(text: &str) -> Result<RedirectUri, RedirectError> {
    RedirectUri::parse(text, &["cursor".into(), "vscode".into()])
}

#[test]
fn r17_what_clients_register_is_accepted() {
    for (text, registered, kind) in [
        (
            "https://claude.ai/api/mcp/auth_callback",
            None,
            RedirectKind::Web("claude.ai".into()),
        ),
        (
            "https://c.example:8443/cb?x=1",
            None,
            RedirectKind::Web("c.example:8443".into()),
        ),
        ("https://c.example", None, RedirectKind::Web("c.example".into())),
        (
            "http://localhost:33418/",
            Some("http://localhost/"),
            RedirectKind::Loopback,
        ),
        (
            "http://127.0.0.1:80/cb",
            Some("http://127.0.0.1/cb"),
            RedirectKind::Loopback,
        ),
        ("http://[::1]:1?x", None, RedirectKind::Loopback),
        ("http://localhost", None, RedirectKind::Loopback),
        (
            "cursor://anysphere.cursor-mcp/oauth/callback",
            None,
            RedirectKind::CustomScheme("cursor".into()),
        ),
        (
            "com.example.app:/oauth",
            None,
            RedirectKind::CustomScheme("com.example.app".into()),
        ),
    ] {
        match (parse(text), text) {
            (Err(_), "http://[::1]:1?x") => {} // not the normal form: the path is missing before `?`
            (parsed, _) => {
                let parsed = parsed.unwrap();
                assert_eq!(parsed.registered(), registered.unwrap_or(text));
                assert_eq!(parsed.kind(), &kind);
                assert!(matches(parsed.registered(), text));
            }
        }
    }
}

#[test]
fn rg_01_rg_02_schemes_hosts_and_forms_that_are_refused() {
    use RedirectError::{Fragment, InsecureHttp, NotNormal, Scheme, Userinfo, Wildcard};
    for (text, why) in [
        ("javascript:alert(1)", Scheme),
        ("JavaScript:alert(1)", NotNormal),
        (" javascript:alert(1)", NotNormal),
        ("java\tscript:alert(1)", NotNormal),
        ("https://c.example/\0", NotNormal),
        ("data:text/html,x", Scheme),
        ("vbscript:x", Scheme),
        ("file:///etc/passwd", Scheme),
        ("blob:https://c.example/x", Scheme),
        ("about:blank", Scheme),
        ("evil://x", Scheme),
        ("http://c.example/cb", InsecureHttp),
        ("http://localhost.evil.test/cb", InsecureHttp),
        ("http://127.0.0.1.evil.test/cb", InsecureHttp),
        ("http://127.1/cb", NotNormal),
        ("http://2130706433/cb", NotNormal),
        ("http://0.0.0.0/cb", InsecureHttp),
        ("http://127.0.0.2/cb", InsecureHttp),
        ("http://localhost:0/cb", InsecureHttp),
        ("http://localhost:99999/cb", NotNormal),
        ("http://localhost@evil.test/cb", Userinfo),
        ("https://c.example/cb#f", Fragment),
        ("https://c.example/cb#", Fragment),
        ("https://u:p@c.example/cb", Userinfo),
        ("https://@c.example/cb", NotNormal),
        ("https://*.c.example/cb", Wildcard),
        ("https://c.example/*", Wildcard),
        ("https://C.example/cb", NotNormal),
        ("HTTPS://c.example/cb", NotNormal),
        ("https://c.example:443/cb", NotNormal),
        ("https://c.example/a/../b", NotNormal),
        ("https://c.example/%2e%2e/b", NotNormal),
        ("https:c.example/cb", NotNormal),
        ("https:///c.example/cb", NotNormal),
        ("https://c.example\\@evil.test/", NotNormal),
        ("//c.example/cb", NotNormal),
        ("/cb", NotNormal),
        ("", NotNormal),
    ] {
        assert_eq!(parse(text), Err(why), "{text:?}");
    }
    assert_eq!(
        parse(&format!("https://c.example/{}", "a".repeat(MAX_BYTES))),
        Err(RedirectError::TooLong)
    );
}

#[test]
fn s8_az_02_near_misses_do_not_match() {
    let registered = "https://c1.test/cb";
    for near in [
        "https://c1.test/CB",
        "https://C1.test/cb",
        "https://c1.test/cb/",
        "https://c1.test/cb?x=1",
        "https://c1.test/cb?",
        "https://c1.test:443/cb",
        "https://c1.test@evil.test/cb",
        "https://c1.test.evil.test/cb",
        "https://c1.test\\@evil.test/cb",
        "https://c1.test/x/%2e%2e/cb",
        "https://c1.test/x/../cb",
        "https://c1.test/%63b",
        "https://c1.test/%2563b",
        "https://c1.test/cb#f",
        "http://c1.test/cb",
        "https://\u{441}1.test/cb",
        "https://c1\t.test/cb",
        "\thttps://c1.test/cb",
        "https://c1.test/cb ",
        "https:/c1.test/cb",
        "https://c1.test//cb",
        "https://c1.test/cb;x",
        "",
    ] {
        assert!(!matches(registered, near), "{near:?}");
    }
    assert!(matches(registered, registered));
}

#[test]
fn az_03_loopback_matches_on_any_port_and_nothing_else() {
    let registered = "http://127.0.0.1/cb";
    for same in [
        "http://127.0.0.1/cb",
        "http://127.0.0.1:1/cb",
        "http://127.0.0.1:65535/cb",
    ] {
        assert!(
            matches(registered, same) && matches("http://127.0.0.1:3000/cb", same),
            "{same}"
        );
    }
    for other in [
        "http://localhost:1/cb",
        "http://127.0.0.1.evil.test/cb",
        "http://127.1:1/cb",
        "http://2130706433/cb",
        "http://0.0.0.0:1/cb",
        "http://[::1]:1/cb",
        "http://127.0.0.1:1@evil.test/cb",
        "http://u@127.0.0.1:1/cb",
        "http://127.0.0.1:1/other",
        "http://127.0.0.1:1/cb/",
        "http://127.0.0.1:1/cb?x",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:01/cb",
        "http://127.0.0.1:+1/cb",
        "http://127.0.0.1:65536/cb",
        "http://127.0.0.1:0/cb",
        "https://127.0.0.1:1/cb",
        "http://127.0.0.1:1cb",
    ] {
        assert!(!matches(registered, other), "{other}");
    }
}

#[test]
fn hosts_for_records_and_pages() {
    for (uri, host, loopback) in [
        ("https://c.example:8443/cb", "c.example:8443", false),
        ("http://localhost:33418/cb", "localhost", true),
        ("http://[::1]:1/cb", "[::1]", true),
        ("cursor://x/cb", "cursor:", false),
        ("com.example.app:/cb", "com.example.app:", false),
    ] {
        assert_eq!(
            (redirect_host(uri).as_str(), is_loopback(uri)),
            (host, loopback),
            "{uri}"
        );
    }
}

proptest::proptest! {
    /// Whatever is accepted is what a browser would load, at the host we show.
    #[test]
    fn an_accepted_uri_leads_where_it_says(text in "(https?|cursor|javascript|com\\.x)://[a-zA-Z0-9@:.%/?#\\[\\]\\\\*_-]{0,24}") {
        if let Ok(uri) = parse(&text) {
            let seen = url::Url::parse(&text).unwrap();
            match uri.kind() {
                RedirectKind::Web(authority) => {
                    let port = seen.port().map(|port| format!(":{port}")).unwrap_or_default();
                    proptest::prop_assert_eq!(authority, &format!("{}{port}", seen.host_str().unwrap()));
                    proptest::prop_assert_eq!(seen.scheme(), "https");
                }
                RedirectKind::Loopback => proptest::prop_assert!(doorward_types::url::is_loopback(&seen)),
                RedirectKind::CustomScheme(scheme) => proptest::prop_assert_eq!(scheme, seen.scheme()),
            }
            proptest::prop_assert!(seen.username().is_empty() && seen.fragment().is_none());
        }
    }

    /// A match never changes the host.
    #[test]
    fn a_match_goes_to_the_same_place(
        registered in "https?://(localhost|127\\.0\\.0\\.1|c\\.example)(:[0-9]{1,5})?(/[a-z]{0,2})?",
        requested in "https?://(localhost|127\\.0\\.0\\.1|c\\.example)(:[0-9]{1,5})?(/[a-z]{0,2})?"
    ) {
        if matches(&registered, &requested) {
            proptest::prop_assert_eq!(redirect_host(&registered), redirect_host(&requested));
            proptest::prop_assert!(registered == requested || is_loopback(&requested));
        }
    }
}
