//! CL-05, CL-06: authorization responses from somebody else, for somebody else, or twice.

use doorward_testkit::client_home::{ClientHome, callback_of, visit};
use doorward_testkit::evil::{AUTHORIZE, Evil, SERVER_METADATA, TOKEN};
use doorward_testkit::http;
use serde_json::json;
use url::Url;

use super::logs_in_now;

/// The callback URL with other parameters: every pair goes through `change`, `more` is appended as it is written.
fn changed(callback: &str, change: impl Fn(&str, &str) -> Option<(String, String)>, more: &str) -> String {
    let mut url = Url::parse(callback).unwrap();
    let pairs: Vec<_> = url
        .query_pairs()
        .filter_map(|(name, value)| change(&name, &value))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(pairs);
    format!("{url}{more}")
}

fn without<'a>(dropped: &'a str) -> impl Fn(&str, &str) -> Option<(String, String)> + 'a {
    move |name, value| (name != dropped).then(|| (name.into(), value.into()))
}

fn flag(evil: &Evil, advertised: Option<bool>) {
    evil.edit(SERVER_METADATA, move |metadata| {
        metadata["authorization_response_iss_parameter_supported"] = json!(advertised);
        if advertised.is_none() {
            metadata
                .as_object_mut()
                .map(|members| members.remove("authorization_response_iss_parameter_supported"));
        }
    });
}

/// Starts a login and brings its browser back with another callback. The code must not go on.
async fn bring(
    evil: &Evil,
    home: &ClientHome,
    case: &str,
    change: impl Fn(&str) -> String,
) -> (String, String) {
    let before = home.opened().len();
    let running = home.start_login(&evil.url(), &[]);
    let url = home.opened_url(before, &running).await;
    let callback = callback_of(&url).await;
    let page = http::get(&change(&callback)).send().await;
    let finished = running.ended().await;
    assert_eq!(finished.code, 1, "{case}:\n{}", finished.stderr);
    assert_eq!(evil.seen(TOKEN).len(), 0, "{case}: a code was sent");
    home.assert_clean(&finished, &evil.secrets()).await;
    (finished.stderr, page.text())
}

#[tokio::test]
async fn cl_05_a16_a17_a_code_from_another_issuer_is_never_sent() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let issuer = evil.issuer();
    let port = evil.server().address().port();
    let variants = [
        "https://as.example.com".to_owned(),
        format!("{issuer}/"),
        issuer.replace("http:", "HTTP:"),
        issuer.replace("http:", "https:"),
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{}", port ^ 1),
        format!("http://127.0.0.1:0{port}"),
        issuer.replace("127.0.0.1", "127.0.0.%31"),
        issuer.replace("http://", "http%3A%2F%2F"),
        format!("{issuer} "),
        format!("{issuer}?"),
        format!("{issuer}\u{0}"),
        String::new(),
    ];
    for advertised in [Some(true), Some(false), None] {
        flag(&evil, advertised);
        for iss in &variants {
            let case = format!("iss {iss:?}, advertised {advertised:?}");
            bring(&evil, &home, &case, |callback| {
                changed(
                    callback,
                    |name, value| {
                        Some((
                            name.into(),
                            if name == "iss" { iss.clone() } else { value.into() },
                        ))
                    },
                    "",
                )
            })
            .await;
        }
    }
    // Absent where it was promised.
    flag(&evil, Some(true));
    bring(&evil, &home, "no iss", |callback| {
        changed(callback, without("iss"), "")
    })
    .await;
    // Twice, the right one first and last.
    for (first, second) in [
        (issuer.as_str(), "https://as.example.com"),
        ("https://as.example.com", issuer.as_str()),
    ] {
        bring(&evil, &home, "iss twice", |callback| {
            changed(callback, without("iss"), &format!("&iss={first}&iss={second}"))
        })
        .await;
    }
    logs_in_now(&evil, &home).await;
}

#[tokio::test]
async fn cl_05_a16_an_absent_iss_is_accepted_where_none_was_promised() {
    for advertised in [Some(false), None] {
        for absent in [true, false] {
            let (evil, home) = (Evil::start(), ClientHome::new());
            flag(&evil, advertised);
            let running = home.start_login(&evil.url(), &[]);
            let url = home.opened_url(0, &running).await;
            let callback = callback_of(&url).await;
            let callback = if absent {
                changed(&callback, without("iss"), "")
            } else {
                callback
            };
            visit(&callback).await.expect("a page");
            let finished = running.ended().await;
            assert_eq!(finished.code, 0, "{advertised:?} {absent}: {}", finished.stderr);
            assert_eq!(evil.grants("authorization_code").len(), 1);
        }
    }
}

#[tokio::test]
async fn cl_05_a18_an_error_from_another_issuer_is_not_shown() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    for (iss, told) in [
        ("&iss=https%3A%2F%2Fas.example.com".to_owned(), false),
        (String::new(), false),
        (format!("&iss={}/", evil.issuer()), false),
        (format!("&iss={}", evil.issuer()), true),
    ] {
        let case = format!("an error with {iss:?}");
        let (stderr, page) = bring(&evil, &home, &case, |callback| {
            let bare = changed(
                callback,
                |name, value| (name == "state").then(|| (name.into(), value.into())),
                "",
            );
            format!("{bare}&error=access_denied&error_description=CALLTHISNUMBER&error_uri=http%3A%2F%2Fevil.example%2FVISITME{iss}")
        })
        .await;
        for words in ["CALLTHISNUMBER", "VISITME", "access_denied"] {
            if !told {
                assert!(!stderr.contains(words), "{case}: {stderr}");
                assert!(!page.contains(words), "{case}: {page}");
            }
        }
        assert_eq!(stderr.contains("access_denied"), told, "{case}: {stderr}");
    }
    logs_in_now(&evil, &home).await;
}

#[tokio::test]
async fn cl_06_s9_a_callback_without_our_state_is_ignored_and_the_right_one_still_counts() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let running = home.start_login(&evil.url(), &[]);
    let url = home.opened_url(0, &running).await;
    let callback = callback_of(&url).await;
    let right = Url::parse(&callback).unwrap();
    let state = right
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    assert!(state.len() >= 22, "128 bits: {state}");
    let with_state = |given: &str| {
        changed(
            &callback,
            |name, value| {
                Some((
                    name.into(),
                    if name == "state" {
                        given.into()
                    } else {
                        value.into()
                    },
                ))
            },
            "",
        )
    };
    for wrong in [
        changed(&callback, without("state"), ""),
        with_state(""),
        with_state("x"),
        with_state(&state[1..]),
        with_state(&format!("{state}x")),
        with_state(&state.to_uppercase()),
        changed(&callback, without("state"), &format!("&state=x&state={state}")),
        changed(&callback, without("state"), &format!("&state={state}&state=x")),
        changed(&callback, without("state"), "&error=access_denied"),
        with_state("x&error=access_denied"),
        format!("{}?", right.origin().ascii_serialization() + right.path()),
    ] {
        let reply = http::get(&wrong).send().await;
        assert!((400..500).contains(&reply.status), "{wrong}: {}", reply.status);
        assert!(
            running.is_alive(),
            "{wrong}: still waiting:\n{}",
            running.stderr()
        );
        assert_eq!(evil.seen(TOKEN).len(), 0, "{wrong}: a code was sent");
    }
    visit(&callback).await.expect("a page");
    let finished = running.ended().await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    // Nobody listens any more, or nobody cares.
    let again = http::get(&callback).try_send().await;
    assert!(again.is_err() || again.is_ok_and(|reply| reply.status >= 400));
    assert_eq!(evil.seen(TOKEN).len(), 1, "one exchange at most");
    home.assert_clean(&finished, &evil.secrets()).await;
}

/// The token endpoint is slow: the browser reloads, the mail scanner follows the link, all while the exchange runs.
#[tokio::test]
async fn cl_06_twenty_equal_callbacks_at_once_make_one_exchange() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let gate = evil.hold(TOKEN);
    let running = home.start_login(&evil.url(), &[]);
    let url = home.opened_url(0, &running).await;
    let callback = callback_of(&url).await;
    let visits: Vec<_> = (0..20)
        .map(|_| {
            let callback = callback.clone();
            tokio::spawn(async move { http::get(&callback).try_send().await })
        })
        .collect();
    doorward_testkit::eventually("the exchange begins", http::PATIENCE, async || {
        (!evil.seen(TOKEN).is_empty()).then_some(())
    })
    .await;
    gate.notify_one();
    let finished = running.ended().await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    for visit in visits {
        // Answered or closed; nothing hangs.
        let _ = visit.await.unwrap();
    }
    assert_eq!(evil.seen(TOKEN).len(), 1, "one exchange");
}

#[tokio::test]
async fn cl_06_s5_each_login_has_a_state_a_verifier_and_a_challenge_of_its_own() {
    let evil = Evil::start();
    for _ in 0..3 {
        let home = ClientHome::new();
        assert_eq!(home.login(&evil.url(), &[]).await.code, 0);
    }
    let asked = evil.authorizations();
    assert_eq!(asked.len(), 3);
    for name in ["state", "code_challenge"] {
        let mut values: Vec<_> = asked.iter().map(|query| query[name].clone()).collect();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), 3, "{name}");
    }
    for form in evil.grants("authorization_code") {
        let verifier = &form["code_verifier"];
        assert!((43..=128).contains(&verifier.len()), "RFC 7636 §4.1");
    }
    assert_eq!(evil.seen(AUTHORIZE).len(), 3);
}
