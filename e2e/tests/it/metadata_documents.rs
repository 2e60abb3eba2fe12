//! Clients that are known by the URL of their metadata document: RG-06 to RG-14, over real TLS in a network of
//! the test's own, with its own DNS and canaries at the addresses that must never be called.

mod hostile;
mod keys;
mod own;
mod screens;
mod world;

use std::time::Duration;

use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::documents::Served;
use doorward_testkit::oauth::{Pkce, Tokens, parameter};
use doorward_testkit::{PASSWORD, namespace};
use serde_json::json;

use self::world::{APP, World, document};
use crate::support::{assert_page, assert_t};

/// Runs a test in a network of its own.
fn alone<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    namespace::run(&format!("metadata_documents::{test}"), world::ADDRESSES, body);
}

/// What somebody sees who has not signed in before, after the sign-in if there is one.
async fn arrive(world: &World, url: &str) -> Page {
    let mut browser = Browser::new(&world.doorward);
    let page = browser.get(url).await;
    match page.form_with("password") {
        Some(_) => browser.sign_in(url, "alice", PASSWORD).await,
        None => page,
    }
}

#[test]
fn a3_g2_g5_g6_g7_g8_rg_14_a_client_logs_in_with_nothing_but_its_url() {
    alone(
        "a3_g2_g5_g6_g7_g8_rg_14_a_client_logs_in_with_nothing_but_its_url",
        async || {
            let world = World::start("").await;
            let site = &world.doorward;
            let metadata = site.get("/.well-known/oauth-authorization-server").send().await;
            assert_eq!(metadata.json()["client_id_metadata_document_supported"], true);
            world.documents.answer(|seen| match seen.path() {
                "/client.json" => Served::Json(
                    document(APP, "App", &["http://127.0.0.1/cb"]).to_string(),
                    vec![("cache-control".into(), "max-age=3600".into())],
                ),
                _ => Served::reply("404 Not Found", "", b""),
            });
            let client = world.client(APP, "http://127.0.0.1:43123/cb");
            let url = client.authorize_url(&Pkce::new(), &world.resource());
            // Nobody signed in: the host is named, nothing is fetched.
            let mut browser = Browser::new(site)
                .with_header("X-Forwarded-For", "203.0.113.9")
                .with_header("Forwarded", "for=203.0.113.9");
            let login = browser.get(&url).await;
            assert!(login.text().contains("app.apps.test"), "{}", login.text());
            assert_eq!(world.documents.seen().len(), 0);
            // Nor for a wrong password.
            let mut form = login.login_form();
            form.fill("username", "alice");
            form.fill("password", "wrong");
            browser.submit(&login, &form, "").await;
            assert_eq!(world.documents.seen().len(), 0);

            let consent = browser.sign_in(&url, "alice", PASSWORD).await;
            let text = consent.text();
            for shown in ["App", "app.apps.test", APP, "127.0.0.1:43123"] {
                assert!(text.contains(shown), "{shown} in {text}");
            }
            let seen = world.documents.seen();
            assert_eq!(seen.len(), 1);
            let head = &seen[0].head;
            assert!(head.starts_with("GET /client.json HTTP/1.1\r\n"), "{head}");
            assert_eq!(seen[0].header("host"), Some("app.apps.test"));
            assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
            for name in [
                "cookie",
                "authorization",
                "forwarded",
                "x-forwarded-for",
                "referer",
                "origin",
            ] {
                assert_eq!(seen[0].header(name), None, "{head}");
            }
            assert!(!head.contains("alice") && !head.contains("203.0.113.9"), "{head}");

            let approved = client
                .approve(&mut browser, "alice", PASSWORD, &world.resource())
                .await;
            let tokens = Tokens::from_reply(&client.redeem(&approved).await);
            assert_eq!(tokens.claims()["client_id"], APP);
            let again = client.refresh(tokens.refresh(), &world.resource()).await;
            assert_eq!(again.status, 200, "{}", again.text());
            assert_eq!(world.documents.seen().len(), 1, "fresh for an hour");
            world.assert_untouched();
        },
    );
}

#[test]
fn g8_the_last_good_copy_serves_refreshes_for_a_day_and_no_longer() {
    alone(
        "g8_the_last_good_copy_serves_refreshes_for_a_day_and_no_longer",
        async || {
            let world = World::start_with("", |builder| builder.faketime()).await;
            world.serve(document(APP, "App", &["http://127.0.0.1/cb"]));
            let client = world.client(APP, "http://127.0.0.1:1/cb");
            let tokens = client.login("alice", PASSWORD, &world.resource()).await;
            let fetched = world.documents.seen().len();
            // Stale after ten minutes: asked again, and the answer is bad; the copy holds.
            world.doorward.advance(Duration::from_secs(3600));
            for bad in [
                Served::reply("500 No", "content-type: application/json\r\n", b"{}"),
                Served::json(&json!([])),
                Served::json(&document(
                    "https://other.apps.test/x",
                    "App",
                    &["http://127.0.0.1/cb"],
                )),
            ] {
                world.documents.answer(move |_| bad.clone());
                let reply = client.refresh(tokens.refresh(), &world.resource()).await;
                assert_eq!(reply.status, 200, "{}", reply.text());
            }
            assert_eq!(
                world.documents.seen().len(),
                fetched + 3,
                "bad results are not remembered"
            );
            // A person is not sent on with an old copy.
            let url = client.authorize_url(&Pkce::new(), &world.resource());
            let page = Browser::new(&world.doorward)
                .sign_in(&url, "alice", PASSWORD)
                .await;
            assert_page(&page.reply);
            world.doorward.advance(Duration::from_secs(24 * 3600));
            assert_t(
                &client.refresh(tokens.refresh(), &world.resource()).await,
                &["invalid_grant"],
            );
            // The document is back: so is the client.
            world.serve(document(APP, "App", &["http://127.0.0.1/cb"]));
            let tokens = client.login("alice", PASSWORD, &world.resource()).await;
            assert_eq!(
                client.refresh(tokens.refresh(), &world.resource()).await.status,
                200
            );
        },
    );
}

#[test]
fn cn_09_a_document_that_changes_voids_the_page_that_was_shown() {
    alone(
        "cn_09_a_document_that_changes_voids_the_page_that_was_shown",
        async || {
            let world = World::start_with("", |builder| builder.faketime()).await;
            let serve = |name| {
                let document = document(APP, name, &["http://127.0.0.1/cb"]);
                world.serve_with(document, &[("cache-control", "no-store")]);
            };
            serve("Honest");
            let client = world.client(APP, "http://127.0.0.1:1/cb");
            let url = client.authorize_url(&Pkce::new(), &world.resource());
            let mut browser = Browser::new(&world.doorward);
            let shown = browser.sign_in(&url, "alice", PASSWORD).await;
            assert!(shown.text().contains("Honest"), "{}", shown.text());
            let mut form = shown.consent_form();
            form.tick_all();
            serve("Changed");
            // Within a minute nobody is asked again, whatever the headers say.
            assert!(browser.get(&url).await.text().contains("Honest"));
            world.doorward.advance(Duration::from_secs(61));
            let anew = browser.get(&url).await;
            assert!(anew.text().contains("Changed"), "{}", anew.text());
            let answered = browser.submit(&shown, &form, "approve").await;
            assert_eq!(
                answered.redirect(),
                None,
                "no code for a page that showed something else"
            );
            assert_page(&answered.reply);
            let mut form = anew.consent_form();
            form.tick_all();
            let approved = browser.submit(&anew, &form, "approve").await;
            assert!(parameter(&approved.redirect().unwrap(), "code").is_some());
        },
    );
}

#[test]
fn s12_b26_rg_13_the_page_shows_who_vouches_and_where_it_goes() {
    alone(
        "s12_b26_rg_13_the_page_shows_who_vouches_and_where_it_goes",
        async || {
            let world = World::start("").await;
            let cases = [
                ("Trusted IDE", "http://127.0.0.1:7/cb", "127.0.0.1:7", true),
                (
                    "Claude \u{202e}tpGtahC",
                    "https://claude.ai/api/mcp/auth_callback",
                    "claude.ai",
                    false,
                ),
                ("claude.ai", "com.evil.app:/cb", "com.evil.app:", true),
            ];
            for (n, (name, redirect, shown, warned)) in cases.into_iter().enumerate() {
                let host = format!("evil{n}.apps.test");
                let evil = format!("https://{host}/client.json");
                world.serve(document(&evil, name, &[redirect]));
                let client = world.client(&evil, redirect);
                let url = client.authorize_url(&Pkce::new(), &world.resource());
                let page = Browser::new(&world.doorward)
                    .sign_in(&url, "alice", PASSWORD)
                    .await;
                let body = page.reply.text();
                // The two addresses stand out at least as much as the name.
                for strong in [host.as_str(), shown] {
                    assert!(
                        body.contains(&format!("<span class=\"value strong mono\">{strong}</span>")),
                        "{strong} in {body}"
                    );
                }
                assert!(body.contains("Unverified") && !body.contains('\u{202e}'));
                assert_eq!(
                    body.contains("class=\"notice warn\""),
                    warned,
                    "{redirect}: {body}"
                );
                if redirect.starts_with("http://127") {
                    assert!(body.contains("only ever returns to this computer"), "{body}");
                }
            }
        },
    );
}

#[test]
fn b26_r17_hosts_are_denied_or_wait_for_an_operator() {
    alone("b26_r17_hosts_are_denied_or_wait_for_an_operator", async || {
        let world = World::start(
            "[client_metadata_documents]\ndeny = [\"*.evil.test\"]\nask = [\"ask.apps.test\"]\nallow = [\"app.apps.test\"]\n",
        )
        .await;
        let visit = async |id: &str, redirect: &str| {
            let url = world
                .client(id, redirect)
                .authorize_url(&Pkce::new(), &world.resource());
            arrive(&world, &url).await
        };
        world.documents.answer(|seen| {
            let id = format!(
                "https://{}{}",
                seen.header("host").unwrap_or_default(),
                seen.path()
            );
            Served::json(&document(&id, "App", &["https://elsewhere.test/cb"]))
        });
        // Denied: never fetched.
        let denied = visit("https://a.evil.test/c", "https://elsewhere.test/cb").await;
        assert_page(&denied.reply);
        assert_eq!(world.documents.seen().len(), 0);
        // Allowed by name: also with a redirect that nobody knows.
        let allowed = visit("https://app.apps.test/c", "https://elsewhere.test/cb").await;
        assert!(allowed.form_with("decision").is_some(), "{}", allowed.text());
        // Not named: the redirect rules of registration.
        let unknown = visit("https://other.apps.test/c", "https://elsewhere.test/cb").await;
        assert!(
            unknown.text().contains("doorward client approve"),
            "{}",
            unknown.text()
        );
        // Asked about: waits, whatever its redirects.
        let ask = "https://ask.apps.test/c";
        let waits = visit(ask, "https://elsewhere.test/cb").await;
        assert_page(&waits.reply);
        assert!(
            waits.text().contains(&format!("doorward client approve {ask}")),
            "{}",
            waits.text()
        );
        world.doorward.command(&["client", "approve", ask]).ok();
        let approved = visit(ask, "https://elsewhere.test/cb").await;
        assert!(approved.form_with("decision").is_some(), "{}", approved.text());
    });
}

#[test]
fn a3_switched_off_nothing_is_fetched_or_advertised() {
    alone("a3_switched_off_nothing_is_fetched_or_advertised", async || {
        let world = World::start("[client_metadata_documents]\nenabled = false\n").await;
        let metadata = world
            .doorward
            .get("/.well-known/oauth-authorization-server")
            .send()
            .await
            .json();
        assert_ne!(metadata["client_id_metadata_document_supported"], true);
        let client = world.client(APP, "http://127.0.0.1/cb");
        let url = client.authorize_url(&Pkce::new(), &world.resource());
        let page = Browser::new(&world.doorward).get(&url).await;
        assert_page(&page.reply);
        assert_eq!(world.documents.seen().len(), 0);
    });
}

#[test]
fn rg_10_only_redirects_of_the_document_are_used() {
    alone("rg_10_only_redirects_of_the_document_are_used", async || {
        let world = World::start("").await;
        world.serve(document(APP, "App", &["http://localhost/cb"]));
        for other in [
            "https://claude.ai/api/mcp/auth_callback",
            "http://127.0.0.1/cb",
            "http://localhost/cb/",
            "http://localhost.evil.test/cb",
        ] {
            let url = world
                .client(APP, other)
                .authorize_url(&Pkce::new(), &world.resource());
            let page = arrive(&world, &url).await;
            assert_page(&page.reply);
        }
        let client = world.client(APP, "http://localhost:5/cb");
        let url = client.authorize_url(&Pkce::new(), &world.resource());
        let callback = Browser::new(&world.doorward)
            .login_and_approve(&url, "alice", PASSWORD)
            .await;
        assert!(parameter(&callback, "code").is_some());
    });
}
