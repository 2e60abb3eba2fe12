//! RT-06, R35: what people see on their account page and end there, and the same by command.

use std::time::Duration;

use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::oauth::{OAuthClient, Tokens};
use doorward_testkit::{Doorward, PASSWORD, eventually, html};

use crate::support::{Catalogue, RA, RB, assert_page, assert_t};

/// What another process changed is in force within five seconds (RULES: revocation); the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(60);

async fn signed_in(doorward: &Doorward, user: &str) -> Browser {
    let mut browser = Browser::new(doorward);
    let login = browser.get("/login?next=account").await;
    let mut form = login.login_form();
    form.fill("username", user);
    form.fill("password", PASSWORD);
    let page = browser.submit(&login, &form, "").await;
    assert!(page.url.ends_with("/account"), "{}: {}", page.url, page.text());
    assert!(page.text().contains("Connected apps"), "{}", page.text());
    browser
}

/// The addresses of the links that ask about ending something, with their words.
fn ends(page: &Page) -> Vec<(String, String)> {
    let tags = html::tags(&page.reply.text());
    let links = tags.iter().enumerate().filter(|(_, tag)| tag.name == "a");
    links
        .filter_map(|(at, tag)| {
            let href = tag.get("href")?.to_owned();
            let words: String = tags[at..]
                .iter()
                .take_while(|tag| tag.name != "/a")
                .map(|tag| tag.text.as_str())
                .collect();
            href.starts_with("/account/end").then_some((href, words))
        })
        .collect()
}

#[track_caller]
fn end(page: &Page, what: &str, words: &str) -> String {
    let all = ends(page);
    let found = all
        .iter()
        .find(|(href, said)| href.contains(&format!("what={what}")) && said.contains(words));
    found
        .unwrap_or_else(|| panic!("{what} {words} in {all:?}"))
        .0
        .clone()
}

/// Follows the link and says yes.
async fn confirm(browser: &mut Browser, link: &str) -> Page {
    let page = browser.get(link).await;
    let form = page
        .form_with("what")
        .unwrap_or_else(|| panic!("a question: {}", page.text()));
    browser.submit(&page, &form, "").await
}

async fn login(catalogue: &Catalogue, client: &OAuthClient, user: &str) -> Tokens {
    let tokens = client.login(user, PASSWORD, &catalogue.ra()).await;
    catalogue.keep(&tokens);
    tokens
}

async fn works(catalogue: &Catalogue, tokens: &Tokens) -> bool {
    let reply = catalogue.call("account").bearer(&tokens.access).send().await;
    assert!(matches!(reply.status, 200 | 401), "{}", reply.text());
    if reply.status == 401 {
        catalogue.assert_u401(&reply, RA, true);
    }
    reply.status == 200
}

async fn is_dead(catalogue: &Catalogue, client: &OAuthClient, tokens: &Tokens) {
    assert!(!works(catalogue, tokens).await, "refused at once on this node");
    assert_t(
        &client.refresh(tokens.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
}

async fn dies(catalogue: &Catalogue, tokens: &Tokens) {
    eventually("a running server refuses it", SOON, async || {
        (!works(catalogue, tokens).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rt_06_r35_an_app_is_seen_and_disconnected_with_all_its_sign_ins() {
    let catalogue = Catalogue::start().await;
    let (n1, c1) = (catalogue.n1().await, catalogue.c1().await);
    let phone = login(&catalogue, &n1, "alice").await;
    let laptop = login(&catalogue, &n1, "alice").await;
    let other = login(&catalogue, &c1, "alice").await;
    let bobs = login(&catalogue, &n1, "bob").await;

    let mut alice = signed_in(&catalogue.doorward, "alice").await;
    let page = alice.get("/account").await;
    let text = page.text();
    for words in [
        "N1",
        "C1",
        "It chose this name itself; nobody vouches for it",
        "c1.test",
        "127.0.0.1",
        "Use every tool, prompt and resource of a",
        &catalogue.ra(),
        "First allowed",
        "Last use",
        "This browser",
        "Disconnect everything",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(page.reply.text().contains("href=\"/security\""));

    let link = end(&page, "client", "N1");
    let asked = alice.get(&link).await;
    for words in [
        "Disconnect N1?",
        "2 sign-ins end",
        "five seconds",
        "It can ask again",
    ] {
        assert!(asked.text().contains(words), "{words}: {}", asked.text());
    }
    assert!(works(&catalogue, &phone).await, "asking ends nothing");
    let done = confirm(&mut alice, &link).await;
    assert!(done.url.ends_with("/account?done=client"), "{}", done.url);
    assert!(done.text().contains("The app is disconnected"), "{}", done.text());
    for tokens in [&phone, &laptop] {
        is_dead(&catalogue, &n1, tokens).await;
    }
    assert!(works(&catalogue, &other).await && works(&catalogue, &bobs).await);
    assert!(
        ends(&done).iter().all(|(_, words)| !words.contains("N1")),
        "{}",
        done.text()
    );
    // Once more, from a page that was left open.
    let gone = alice.get(&link).await;
    assert_eq!(gone.reply.status, 404);
    assert!(gone.text().contains("not there any more"));
    // It can ask again, and is shown the page.
    let again = login(&catalogue, &n1, "alice").await;
    assert!(works(&catalogue, &again).await);
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_06_one_sign_in_and_one_browser_end_alone() {
    let catalogue = Catalogue::start().await;
    let n1 = catalogue.n1().await;
    let first = login(&catalogue, &n1, "alice").await;
    let second = login(&catalogue, &n1, "alice").await;
    let mut alice = signed_in(&catalogue.doorward, "alice").await;
    let page = alice.get("/account").await;
    let chains: Vec<_> = ends(&page)
        .into_iter()
        .filter(|(href, _)| href.contains("what=chain"))
        .collect();
    assert_eq!(chains.len(), 2, "{chains:?}");
    // One of the two; which one is told by what then works.
    let done = confirm(&mut alice, &chains[0].0).await;
    assert!(done.url.ends_with("done=chain"), "{}", done.url);
    let alive = (works(&catalogue, &first).await, works(&catalogue, &second).await);
    assert!(alive.0 != alive.1, "one of them: {alive:?}");

    let other = signed_in(&catalogue.doorward, "alice").await;
    let page = alice.get("/account").await;
    let browsers: Vec<_> = ends(&page)
        .into_iter()
        .filter(|(href, words)| href.contains("what=browser") && !words.contains("this browser"))
        .collect();
    for (link, _) in &browsers {
        let done = confirm(&mut alice, link).await;
        assert!(done.url.ends_with("done=browser"), "{}", done.url);
    }
    let sent_away = other.clone().get("/account").await;
    assert!(sent_away.url.contains("/login"), "{}", sent_away.url);
    assert!(
        alice.get("/account").await.url.ends_with("/account"),
        "this one stays"
    );
    // And this one.
    let page = alice.get("/account").await;
    let link = end(&page, "browser", "this browser");
    let done = confirm(&mut alice, &link).await;
    assert!(done.text().contains("You are signed out"), "{}", done.text());
    assert!(alice.get("/account").await.url.contains("/login"));
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_06_r35_everything_ends_and_the_account_stays() {
    let catalogue = Catalogue::start().await;
    let (n1, c1) = (catalogue.n1().await, catalogue.c1().await);
    let tokens = [
        login(&catalogue, &n1, "alice").await,
        login(&catalogue, &c1, "alice").await,
    ];
    let bobs = login(&catalogue, &n1, "bob").await;
    // A code that is out at that moment, too.
    let mut early = Browser::new(&catalogue.doorward);
    let code = c1.approve(&mut early, "alice", PASSWORD, &catalogue.ra()).await;
    let mut alice = signed_in(&catalogue.doorward, "alice").await;
    let page = alice.get("/account").await;
    let done = confirm(&mut alice, &end(&page, "everything", "")).await;
    assert!(
        done.text().contains("Everything is disconnected"),
        "{}",
        done.text()
    );
    is_dead(&catalogue, &n1, &tokens[0]).await;
    is_dead(&catalogue, &c1, &tokens[1]).await;
    assert_t(&c1.redeem(&code).await, &["invalid_grant"]);
    for mut browser in [alice, early] {
        assert!(browser.get("/account").await.url.contains("/login"));
    }
    assert!(works(&catalogue, &bobs).await);
    let mut again = signed_in(&catalogue.doorward, "alice").await;
    let page = again.get("/account").await;
    assert!(page.text().contains("No app is connected"), "{}", page.text());
    assert!(works(&catalogue, &login(&catalogue, &n1, "alice").await).await);
    catalogue.still_good().await;
}

#[tokio::test]
async fn cn_05_rt_06_nobody_else_ends_anything() {
    let catalogue = Catalogue::start().await;
    let n1 = catalogue.n1().await;
    let tokens = login(&catalogue, &n1, "alice").await;
    let mut alice = signed_in(&catalogue.doorward, "alice").await;
    let mut bob = signed_in(&catalogue.doorward, "bob").await;
    let page = alice.get("/account").await;
    let links: Vec<String> = ends(&page).into_iter().map(|(href, _)| href).collect();
    assert_eq!(links.len(), 4 + usize::from(links.len() > 4), "{links:?}");
    let question = alice.get(&end(&page, "client", "N1")).await;
    let right = question.form_with("what").unwrap();
    for name in ["csrf", "what"] {
        let mut form = right.clone();
        form.remove(name);
        let refused = alice.submit(&question, &form, "").await;
        assert_page(&refused.reply);
    }
    // From another site, and by another person: with their own value, and with alice's.
    let mut evil = alice
        .clone()
        .with_header("Origin", "https://evil.test")
        .with_header("Sec-Fetch-Site", "cross-site");
    assert_eq!(evil.submit(&question, &right, "").await.reply.status, 403);
    assert_page(&bob.submit(&question, &right, "").await.reply);
    let bobs_page = bob.get("/account").await;
    let bobs_question = bob.get(&end(&bobs_page, "everything", "")).await;
    let bobs_csrf = bobs_question.form_with("what").unwrap();
    for link in links.iter().filter(|link| !link.contains("everything")) {
        let mine = alice.get(link).await.form_with("what").unwrap();
        let mut form = mine.clone();
        form.fill("csrf", bobs_csrf.value("csrf").unwrap());
        let refused = bob.submit(&bobs_question, &form, "").await;
        let own_app = link.contains("what=client");
        assert_eq!(refused.reply.status, 404, "{own_app} {link}: {}", refused.text());
        assert_eq!(bob.get(link).await.reply.status, 404);
    }
    // By its address alone nothing ends.
    let mut by_get = right.clone();
    by_get.method = "get".into();
    alice.submit(&question, &by_get, "").await;
    let nobody = Browser::new(&catalogue.doorward)
        .submit(&question, &right, "")
        .await;
    assert_page(&nobody.reply);
    assert!(works(&catalogue, &tokens).await, "after all of that");
    assert!(alice.get("/account").await.url.ends_with("/account"));
    catalogue.still_good().await;
}

#[tokio::test]
async fn r35_a_stream_that_is_open_ends_with_its_app() {
    use doorward_testkit::upstream::{Answer, Part, event};
    let catalogue = Catalogue::start().await;
    let n1 = catalogue.n1().await;
    let tokens = login(&catalogue, &n1, "alice").await;
    let marker = doorward_testkit::marker();
    catalogue.up_a.script_for(&marker, |_| {
        let message = serde_json::json!({ "jsonrpc": "2.0", "method": "x" });
        Answer::events(vec![event(None, &message), Part::Hang])
    });
    let mut stream = catalogue.call(&marker).bearer(&tokens.access).stream().await;
    stream.event().await.expect("it is open");
    let mut alice = signed_in(&catalogue.doorward, "alice").await;
    let page = alice.get("/account").await;
    confirm(&mut alice, &end(&page, "client", "N1")).await;
    let ended = tokio::time::timeout(SOON, stream.event()).await;
    assert!(ended.expect("soon").is_none());
    catalogue.still_good().await;
}

#[tokio::test]
async fn r35_grants_are_listed_and_revoked_by_command() {
    let catalogue = Catalogue::start().await;
    let (n1, c1) = (catalogue.n1().await, catalogue.c1().await);
    let alices = login(&catalogue, &n1, "alice").await;
    let alices_c1 = login(&catalogue, &c1, "alice").await;
    let bobs = login(&catalogue, &n1, "bob").await;
    let at_b = c1.login("bob", PASSWORD, &catalogue.rb()).await;
    let run = |arguments: &[&str]| catalogue.doorward.command(arguments).ok().stdout;
    let json = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--format", "json"]);
        serde_json::from_str::<serde_json::Value>(&run(&all)).expect("JSON")
    };

    let all = json(&["grant", "list"]);
    assert_eq!(all.as_array().unwrap().len(), 4, "{all}");
    let alices_n1 = json(&["grant", "list", "--user", "alice", "--client", &n1.id]);
    let row = &alices_n1[0];
    assert_eq!(
        (row["user"].as_str(), row["client_name"].as_str()),
        (Some("alice"), Some("N1"))
    );
    assert_eq!(row["resource"], catalogue.ra());
    assert_eq!(row["sign_ins"].as_array().unwrap().len(), 1, "{row}");
    let human = run(&["grant", "list", "--user", "alice"]);
    for words in ["alice", "N1", "C1", "c1.test", "last used"] {
        assert!(human.contains(words), "{words}: {human}");
    }

    let said = run(&["grant", "revoke", row["grant"].as_str().unwrap()]);
    assert!(said.contains("1 grants revoked, 1 sign-ins ended"), "{said}");
    dies(&catalogue, &alices).await;
    assert_t(
        &n1.refresh(alices.refresh(), &catalogue.ra()).await,
        &["invalid_grant"],
    );
    assert!(works(&catalogue, &alices_c1).await && works(&catalogue, &bobs).await);

    let gone = json(&["grant", "revoke", "--client", &c1.id]);
    assert_eq!(
        (gone["revoked"].as_array().unwrap().len(), &gone["sign_ins"]),
        (2, &2.into())
    );
    dies(&catalogue, &alices_c1).await;
    let reply = catalogue.call_at(RB, "b").bearer(&at_b.access).send().await;
    assert_eq!(reply.status, 401);
    assert!(works(&catalogue, &bobs).await);
    run(&["grant", "revoke", "--user", "bob"]);
    dies(&catalogue, &bobs).await;
    assert_eq!(json(&["grant", "list"]).as_array().unwrap().len(), 0);

    for (arguments, code) in [
        (&["grant", "revoke"][..], 2),
        (&["grant", "revoke", "nonsense"], 1),
        (&["grant", "revoke", "01900000-0000-7000-8000-000000000000"], 1),
        (&["grant", "revoke", "--user", "nobody"], 1),
    ] {
        let finished = catalogue.doorward.command(arguments);
        assert_eq!(finished.code, code, "{arguments:?}: {}", finished.stderr);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rt_06_r35_the_kill_switches_of_a_user() {
    let catalogue = Catalogue::start().await;
    let n1 = catalogue.n1().await;
    let run = |arguments: &[&str]| catalogue.doorward.command(arguments).ok().stdout;
    for switch in ["revoke", "disable"] {
        let tokens = login(&catalogue, &n1, "alice").await;
        let bobs = login(&catalogue, &n1, "bob").await;
        let mut browser = signed_in(&catalogue.doorward, "alice").await;
        let code = n1.approve(&mut browser, "alice", PASSWORD, &catalogue.ra()).await;
        run(&["user", switch, "alice"]);
        dies(&catalogue, &tokens).await;
        if switch == "disable" {
            run(&["user", "enable", "alice"]);
        }
        // Nothing from before comes back: no chain, no code, no browser.
        is_dead(&catalogue, &n1, &tokens).await;
        assert_t(&n1.redeem(&code).await, &["invalid_grant"]);
        assert!(browser.get("/account").await.url.contains("/login"), "{switch}");
        assert!(works(&catalogue, &bobs).await, "{switch} harms nobody else");
        assert!(
            works(&catalogue, &login(&catalogue, &n1, "alice").await).await,
            "{switch}"
        );
    }
    catalogue.still_good().await;
}
