//! CL-01: what an authorization server may make this machine open.

use doorward_testkit::client_home::ClientHome;
use doorward_testkit::evil::{Evil, REGISTER, SERVER_METADATA};
use serde_json::json;

use super::{logs_in_now, refuse};

fn put(evil: &Evil, member: &'static str, url: &str) {
    let url = url.to_owned();
    evil.edit(SERVER_METADATA, move |metadata| metadata[member] = json!(url));
}

/// URLs that are never opened or asked, whatever names them. `mark` is a file that a shell would make.
fn never(mark: &str) -> Vec<String> {
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "a:$(touch MARK)",
        "a:`touch MARK`",
        "--flag",
        "-e touch MARK",
        "",
        " ",
        "/authorize",
        "//198.51.100.7/authorize",
        "http://198.51.100.7/authorize",
        "http://intranet/authorize",
        "http://127.0.0.1.example.com/authorize",
        "http://127.0.0.1@198.51.100.7/authorize",
        "ftp://127.0.0.1/authorize",
        "ws://127.0.0.1/authorize",
        "x-scheme://127.0.0.1/authorize",
        "view-source:http://127.0.0.1/",
        "https://",
    ]
    .iter()
    .map(|url| url.replace("MARK", mark))
    .collect()
}

#[tokio::test]
async fn cl_01_b20_b21_b22_no_other_scheme_is_opened_and_no_shell_sees_a_url() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let mark = home.root().join("mark");
    for url in never(&mark.display().to_string()) {
        put(&evil, "authorization_endpoint", &url);
        let finished = refuse(&evil, &home, &[], &url).await;
        assert!(
            finished.stderr.contains("authorization_endpoint"),
            "which member: {}",
            finished.stderr
        );
        assert!(!mark.exists(), "{url:?} reached a shell");
    }
    assert_eq!(
        evil.seen(REGISTER).len(),
        0,
        "nobody registers where nobody can log in"
    );
    logs_in_now(&evil, &home).await;
}

#[tokio::test]
async fn cl_01_b20_the_endpoints_that_are_asked_have_the_same_schemes() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let mark = home.root().join("mark");
    for member in ["token_endpoint", "registration_endpoint"] {
        for url in never(&mark.display().to_string()) {
            put(&evil, member, &url);
            let finished = refuse(&evil, &home, &[], &format!("{member} {url}")).await;
            assert!(
                finished.stderr.contains(member),
                "which member: {}",
                finished.stderr
            );
        }
    }
    assert!(!mark.exists());
    logs_in_now(&evil, &home).await;
}

/// What is legal in a URL but means something to a shell, or looks like a second argument.
#[tokio::test]
async fn cl_01_b22_a_url_is_one_argument_whatever_is_in_it() {
    let evil = Evil::start();
    for (template, before, after) in [
        ("/bin/sh SCRIPT %s", 0, 0),
        ("/bin/sh SCRIPT", 0, 0),
        ("/bin/sh SCRIPT --new-window %s --private", 1, 1),
        ("/no/such/browser:/bin/sh SCRIPT %s", 0, 0),
    ] {
        let home = ClientHome::new();
        let (mark, script) = (home.root().join("mark"), home.browser_script());
        let home = home.with_env(
            "BROWSER",
            &template.replace("SCRIPT", &script.display().to_string()),
        );
        let mark_text = mark.display().to_string();
        for tail in [
            "?a=$(touch MARK)",
            "?a=`touch MARK`",
            "?a=x; touch MARK",
            "?a=x' 'touch MARK",
            "?a=\"; touch MARK; \"",
            "?a=x | touch MARK &",
            "?a=x --flag",
            "?a=x\n--flag\ttouch",
            "?a=%s%s%s",
            "?a=%20--flag",
            "/ --flag",
            "?a=$IFS${HOME}>MARK",
        ] {
            let url = evil.at(&format!("/authorize{}", tail.replace("MARK", &mark_text)));
            put(&evil, "authorization_endpoint", &url);
            let done = home.opened().len();
            let running = home.start_login(&evil.url(), &[]);
            let end = tokio::time::Instant::now() + doorward_testkit::client_home::PATIENCE;
            while running.is_alive() && home.opened().len() == done {
                assert!(
                    tokio::time::Instant::now() < end,
                    "{url}: neither opened nor refused"
                );
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            running.kill();
            for arguments in home.opened().into_iter().skip(done) {
                assert_eq!(arguments.len(), before + 1 + after, "{template}: {arguments:?}");
                let opened = &arguments[before];
                assert!(opened.starts_with(&evil.at("/authorize")), "{opened}");
                assert!(
                    !opened.contains([' ', '\n', '\t', '"', '`', '\'', '<', '>', '|']),
                    "encoded: {opened}"
                );
                assert!(opened.contains("code_challenge="), "the whole of it: {opened}");
            }
            assert!(!mark.exists(), "{url:?} reached a shell");
        }
        put(&evil, "authorization_endpoint", &evil.at("/authorize"));
        let finished = home.login(&evil.url(), &[]).await;
        // A browser with an argument after the URL is beyond this double, which goes where the last one points.
        if after == 0 {
            assert_eq!(
                finished.code, 0,
                "{template} opens a good URL:\n{}",
                finished.stderr
            );
        }
        evil.behave();
    }
}

#[tokio::test]
async fn cl_01_what_a_server_says_cannot_write_to_the_terminal() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    for evil_text in [
        "javascript:\u{1b}[2J\u{1b}]0;owned\u{7}",
        "javascript:\r\nlogged in as admin",
        "javascript:\u{202e}gnp.exe",
        "javascript:\u{9b}31m",
    ] {
        put(&evil, "authorization_endpoint", evil_text);
        let finished = refuse(&evil, &home, &[], evil_text).await;
        for line in finished.stderr.lines() {
            assert!(
                !line.trim_start().starts_with("logged in"),
                "a line of the server's own: {line}"
            );
            let bad =
                |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!line.contains(bad), "{line:?}");
        }
    }
    logs_in_now(&evil, &home).await;
}
