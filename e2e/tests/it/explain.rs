//! A login one can see: from the first 401 to the last token under one id, and the rule that ended it.

use std::time::Duration;

use doorward_testkit::browser::Browser;
use doorward_testkit::http::Reply;
use doorward_testkit::leak::Secrets;
use doorward_testkit::oauth::{OAuthClient, Pkce, Tokens, parameter, with};
use doorward_testkit::{Doorward, PASSWORD, eventually, mcp, random_text};
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::support::{Catalogue, RA, all_at_once};

crate::shared_catalogue!();

const SOON: Duration = Duration::from_secs(60);

/// The trace that a refusal names in its header.
#[track_caller]
fn trace_of(reply: &Reply) -> String {
    let trace = reply
        .header("Doorward-Trace")
        .unwrap_or_else(|| panic!("a trace with {}: {:?}", reply.status, reply.headers));
    assert_eq!(trace.len(), 32, "{trace}");
    trace.into()
}

/// What `explain` says of an id, as soon as it says what is asked for: steps are written a moment after the answer.
async fn explained(doorward: &Doorward, id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, || async {
        let finished = doorward.command(&["explain", id, "--format", "json"]);
        let report: Value = serde_json::from_str(&finished.stdout).ok()?;
        holds(&report).then_some(report)
    })
    .await
}

fn failed_by<'a>(rule: &'a str, reason: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |report| {
        let failure = &report["failure"];
        let why = failure["reason"].as_str().unwrap_or_default();
        failure["rule"]["id"] == rule && why.starts_with(reason)
    }
}

fn routes(report: &Value) -> Vec<(String, u64, String)> {
    let hops = report["hops"].as_array().expect("hops");
    let text = |hop: &Value, name: &str| hop[name].as_str().unwrap_or_default().to_owned();
    hops.iter()
        .map(|hop| {
            let route = format!("{} {}", text(hop, "method"), text(hop, "path"));
            (route, hop["status"].as_u64().unwrap_or(0), text(hop, "joined"))
        })
        .collect()
}

/// The trace of the newest login of a client that `holds`.
async fn newest(doorward: &Doorward, client: &OAuthClient, holds: impl Fn(&Value) -> bool) -> String {
    eventually("the login is listed", SOON, || async {
        let listed = doorward.command(&["explain", "--last", "1000", "--format", "json"]);
        let listed: Value = serde_json::from_str(&listed.stdout).ok()?;
        let mut listed = listed.as_array()?.iter();
        let found = listed.find(|row| row["client"] == client.id.as_str() && holds(row))?;
        found["trace"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_login_is_one_sequence_from_the_first_401_to_the_refresh() {
    let doorward = Doorward::builder().demo().user("alice", PASSWORD).start().await;
    let resource = doorward.url("/mcp");
    let first = mcp::call(&doorward, "/mcp", "whoami", &json!({})).send().await;
    assert_eq!(first.status, 401);
    let trace = trace_of(&first);
    for path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
    ] {
        assert_eq!(doorward.get(path).send().await.status, 200);
    }
    let client = OAuthClient::native(&doorward).await;
    let tokens = client.login("alice", PASSWORD, &resource).await;
    let call = mcp::call(&doorward, "/mcp", "whoami", &json!({}));
    assert_eq!(call.clone().bearer(&tokens.access).send().await.status, 200);
    assert_eq!(call.bearer(&tokens.access).send().await.status, 200);
    let second = client.refresh(tokens.refresh(), &resource).await;
    assert_eq!(second.status, 200);

    let report = explained(&doorward, &trace, "nine steps", |report| {
        report["hops"].as_array().is_some_and(|hops| hops.len() >= 9)
    })
    .await;
    let (near, exact) = ("by_address", "exact");
    let expected = [
        ("POST /mcp", 401, near),
        ("GET /.well-known/oauth-protected-resource/mcp", 200, near),
        ("GET /.well-known/oauth-authorization-server", 200, near),
        ("POST /register", 201, near),
        ("GET /authorize", 200, exact),
        ("POST /login", 200, exact),
        ("POST /consent", 303, exact),
        ("POST /token", 200, exact),
        ("POST /mcp", 0, exact),
        ("POST /token", 200, exact),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(route, status, joined)| ((*route).to_owned(), *status, (*joined).to_owned()))
        .collect();
    let report = if routes(&report) == expected {
        report
    } else {
        explained(&doorward, &trace, "every step", |report| {
            routes(report) == expected
        })
        .await
    };
    assert_eq!(report["outcome"], "token");
    assert_eq!(report["client"], client.id);
    assert_eq!(report["failure"], Value::Null);

    // By the family too, and as a drawing that fits a terminal.
    let family = tokens.claims()["family"].as_str().unwrap().to_owned();
    let drawn = doorward.command(&["explain", &family]).ok().stdout;
    for needed in [
        "Browser",
        "Client",
        "Doorward",
        &trace,
        "~",
        "code redeemed",
        "first one with this token",
    ] {
        assert!(drawn.contains(needed), "{needed} in\n{drawn}");
    }
    for line in drawn.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    // The log has the id on the lines of this login.
    let lines = |log: &str| log.lines().filter(|line| line.contains(&trace)).count();
    doorward
        .logged_if("six lines of this login", |log| lines(log) >= 6)
        .await;

    // A restart forgets nothing of it: a refresh goes on with the same sequence.
    doorward.terminate();
    doorward.wait(SOON).await;
    doorward.start_again().await;
    let third = Tokens::from_reply(
        &client
            .refresh(Tokens::from_reply(&second).refresh(), &resource)
            .await,
    );
    explained(&doorward, &trace, "the refresh after the restart", |report| {
        routes(report).len() == expected.len() + 1
    })
    .await;
    // So does what another client tries with what it was not given.
    let thief = OAuthClient::register(&doorward, "Thief", "http://127.0.0.1/thief").await;
    let refused = thief.refresh(third.refresh(), &resource).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(trace_of(&refused), trace);
    explained(&doorward, &trace, "the theft", failed_by("A2", "WrongClient")).await;
}

#[tokio::test]
async fn an_error_page_names_the_trace_and_explain_names_the_rule() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.c1().await;
    let right = client.parameters(&Pkce::new(), &catalogue.ra());
    let mut browser = Browser::new(doorward);
    let mismatch = with(right.clone(), "redirect_uri", Some("https://c1.test/other"));
    let page = browser.get(&client.url_with(&mismatch)).await;
    let trace = trace_of(&page.reply);
    assert!(page.text().contains(&trace), "on the page: {}", page.text());
    let report = explained(
        doorward,
        &trace,
        "the redirect",
        failed_by("S8", "UnregisteredRedirect"),
    )
    .await;
    let rule = &report["failure"]["rule"];
    assert!(rule["clause"].as_str().unwrap().contains("OAuth 2.1"), "{rule}");
    assert!(rule["sentence"].as_str().unwrap().contains("match"), "{rule}");
    let drawn = doorward.command(&["explain", &trace]).ok().stdout;
    for needed in ["Rule", "S8", "To do", "✗"] {
        assert!(drawn.contains(needed), "{needed} in\n{drawn}");
    }

    // Sent back to the client: no page, and still a step.
    let unknown_scope = with(right.clone(), "resource", Some("https://elsewhere.test/mcp"));
    let sent_back = browser.get(&client.url_with(&unknown_scope)).await;
    assert!(sent_back.redirect().is_some());
    let listed = newest(doorward, &client, |row| row["rule"] == "R19").await;
    explained(doorward, &listed, "the resource", failed_by("R19", "")).await;

    // Nobody knows this client: the page is a login of its own.
    let stranger = browser.get(&doorward.url("/authorize?client_id=nobody")).await;
    explained(
        doorward,
        &trace_of(&stranger.reply),
        "the client",
        failed_by("S10", "UnknownClient"),
    )
    .await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn each_cause_is_named() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let mut alice = catalogue.alice().await;

    let mut wrong = client
        .approve(&mut alice, "alice", PASSWORD, &catalogue.ra())
        .await;
    wrong.pkce = Pkce::new();
    let reply = client.redeem(&wrong).await;
    explained(
        doorward,
        &trace_of(&reply),
        "the verifier",
        failed_by("R18", "CodeMismatch"),
    )
    .await;

    let approved = client
        .approve(&mut alice, "alice", PASSWORD, &catalogue.ra())
        .await;
    let tokens = Tokens::from_reply(&client.redeem(&approved).await);
    let again = client.redeem(&approved).await;
    let trace = trace_of(&again);
    let report = explained(
        doorward,
        &trace,
        "the second use",
        failed_by("A2", "CodeRedeemed"),
    )
    .await;
    assert_eq!(report["outcome"], "refused");
    assert!(report["failure"]["advice"].as_str().unwrap().contains("revoked"));

    // Its token is dead; the gateway's refusal belongs to the same login, and its decision id leads there.
    let dead = eventually("the token is dead", SOON, || async {
        let reply = catalogue.call("x").bearer(&tokens.access).send().await;
        (reply.status == 401).then_some(reply)
    })
    .await;
    let decision = dead.json()["error"]["data"]["decision_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let report = explained(doorward, &decision, "the call", failed_by("A23", "revoked")).await;
    assert_eq!(report["decision_id"], decision);
    assert_eq!(report["trace"], trace_of(&dead));

    // For another server.
    let other = catalogue
        .call_at(crate::support::RB, "x")
        .bearer(&catalogue.t().await)
        .send()
        .await;
    let decision = other.json()["error"]["data"]["decision_id"]
        .as_str()
        .unwrap()
        .to_owned();
    explained(
        doorward,
        &decision,
        "the audience",
        failed_by("A26", "wrong_audience"),
    )
    .await;

    // A wrong password is a step of a login that may still end well.
    let mut bob = Browser::new(doorward);
    let another = OAuthClient::register(doorward, "Another", "http://127.0.0.1/another").await;
    let page = bob
        .get(&another.authorize_url(&Pkce::new(), &catalogue.ra()))
        .await;
    let mut form = page.login_form();
    form.fill("username", "bob");
    form.fill("password", "this is not the one");
    let _ = bob.submit(&page, &form, "").await;
    let trace = newest(doorward, &another, |_| true).await;
    let report = explained(doorward, &trace, "the password", |report| {
        report["failure"]["what"]
            .as_str()
            .is_some_and(|what| what.starts_with("sign-in: "))
    })
    .await;
    assert!(
        report["failure"]["advice"]
            .as_str()
            .unwrap()
            .contains("doorward user passwd")
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn a_client_that_waits_and_a_page_that_was_open_too_long() {
    let doorward = Doorward::builder()
        .config("[registration]\nmode = \"known-hosts\"\n\n[[servers]]\nname = \"mcp\"\npath = \"/mcp\"\ndemo = true\n")
        .faketime()
        .user("alice", PASSWORD)
        .start()
        .await;
    let resource = doorward.url("/mcp");
    let waiting = OAuthClient::register(&doorward, "Waiting", "https://waiting.test/cb").await;
    let mut browser = Browser::new(&doorward);
    let page = browser.get(&waiting.authorize_url(&Pkce::new(), &resource)).await;
    if page.reply.status == 403 {
        let report = explained(
            &doorward,
            &trace_of(&page.reply),
            "the approval",
            failed_by("R17", "ClientPending"),
        )
        .await;
        let advice = report["failure"]["advice"].as_str().unwrap().to_owned();
        assert!(
            advice.contains(&format!("doorward client approve {}", waiting.id)),
            "{advice}"
        );
    } else {
        panic!("a client of an unknown host waits: {}", page.text());
    }

    let client = OAuthClient::native(&doorward).await;
    let page = browser
        .sign_in(&client.authorize_url(&Pkce::new(), &resource), "alice", PASSWORD)
        .await;
    let mut form = page.consent_form();
    form.tick_all();
    doorward.advance(Duration::from_secs(11 * 60));
    let late = browser.submit(&page, &form, "approve").await;
    assert_eq!(late.reply.status, 400, "{}", late.text());
    let report = explained(
        &doorward,
        &trace_of(&late.reply),
        "the page",
        failed_by("A2", "Expired"),
    )
    .await;
    assert_eq!(report["client"], client.id, "the page is a step of its login");
    assert!(
        routes(&report)
            .iter()
            .any(|(route, _, _)| route == "GET /authorize")
    );
}

#[tokio::test]
async fn logins_from_one_address_do_not_mix_after_authorize() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut logins = Vec::new();
    for user in ["alice", "bob", "alice", "bob"] {
        let (client, resource) = (client.clone(), catalogue.ra());
        logins.push(async move {
            // Every one of them says that it is the same trace.
            let mut browser = Browser::new(&client.site)
                .with_header("traceparent", &format!("00-{theirs}-00f067aa0ba902b7-01"));
            let approved = client.approve(&mut browser, user, PASSWORD, &resource).await;
            Tokens::from_reply(&client.redeem(&approved).await)
        });
    }
    let mut families = Vec::new();
    for login in logins.into_iter().map(|login| tokio::spawn(login)) {
        let tokens = login.await.unwrap();
        families.push((
            tokens.claims()["family"].as_str().unwrap().to_owned(),
            tokens.claims()["sub"].as_str().unwrap().to_owned(),
        ));
    }
    let mut traces = Vec::new();
    for (family, user) in &families {
        let report = explained(doorward, family, "four steps", |report| routes(report).len() >= 4).await;
        let hops = report["hops"].as_array().unwrap();
        let exact = hops.iter().filter(|hop| hop["joined"] == "exact");
        for note in exact.flat_map(|hop| hop["notes"].as_array().unwrap()) {
            for (name, own) in [("user", user), ("family", family)] {
                let value = note["fields"][name].as_str();
                assert!(
                    value.is_none_or(|value| value == own),
                    "{name} of another login: {report:#}"
                );
            }
        }
        let authorized = routes(&report)
            .iter()
            .filter(|(route, _, _)| route == "GET /authorize")
            .count();
        assert_eq!(authorized, 1, "{report:#}");
        traces.push(report["trace"].as_str().unwrap().to_owned());
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), families.len(), "{traces:?}");
    // By the id that their client gave them all four are found, each by itself.
    let several = doorward.command(&["explain", theirs]).ok().stdout;
    for trace in &traces {
        assert!(several.contains(trace), "{trace} in\n{several}");
    }
}

#[tokio::test]
async fn a_flood_of_refusals_stays_small_and_hurts_nobody() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let token = catalogue.t().await;
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        400
    } else {
        40
    };
    for _ in 0..rounds {
        for reply in all_at_once((0..50).map(|_| catalogue.call("flood")).collect()).await {
            assert_eq!(reply.status, 401);
        }
    }
    let reply = catalogue.call("after").bearer(&token).send().await;
    assert_eq!(mcp::text_of(&reply), "t_read ok");
    let size: u64 = std::fs::read_dir(&doorward.data)
        .unwrap()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("traces.db"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(size < 8 * 1024 * 1024, "{size} bytes");
    // Who signs in meanwhile is still seen.
    let client = catalogue.c2().await;
    let _ = catalogue.tokens(&client).await;
    let trace = newest(doorward, &client, |_| true).await;
    explained(doorward, &trace, "a token", |report| report["outcome"] == "token").await;
}

#[tokio::test]
async fn service_does_not_need_the_file() {
    let catalogue = Catalogue::start().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let path = doorward.data.join("traces.db");
    eventually("the file is made", SOON, || async { path.exists().then_some(()) }).await;
    // Overwritten by something else while it is open.
    std::fs::write(&path, random_text().repeat(1000)).unwrap();
    let tokens = catalogue.tokens(&client).await;
    let reply = catalogue.call("x").bearer(&tokens.access).send().await;
    assert_eq!(mcp::text_of(&reply), "t_read ok");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(doorward.data.join(format!("traces.db{suffix}")));
    }
    std::fs::create_dir(&path).unwrap();
    let _ = catalogue.tokens(&client).await;
    catalogue.still_good().await;
    std::fs::remove_dir(&path).unwrap();
    // Also what has never been there is no reason not to start.
    doorward.kill();
    std::fs::create_dir(&path).unwrap();
    doorward.start_again().await;
    assert_eq!(catalogue.call("x").send().await.status, 401);
}

#[tokio::test]
async fn lk_02_no_secret_is_in_the_traces() {
    let catalogue = Catalogue::start().await;
    let client = catalogue.n1().await;
    let mut secrets = Secrets::default();
    secrets.add("password", PASSWORD);
    let mut browser = Browser::new(&catalogue.doorward);
    let state = random_text();
    let pkce = Pkce::new();
    let parameters = with(client.parameters(&pkce, &catalogue.ra()), "state", Some(&state));
    let page = browser.get(&client.url_with(&parameters)).await;
    let mut form = page.login_form();
    secrets.add("state", &state);
    secrets.add("verifier", &pkce.verifier);
    secrets.add("csrf of the login page", form.value("csrf").unwrap());
    secrets.add("sealed request", form.value("request").unwrap());
    form.fill("username", "a password in the wrong field");
    form.fill("password", "and once more but wrong");
    secrets.add("mistyped name", "a password in the wrong field");
    secrets.add("mistyped password", "and once more but wrong");
    let page = browser.submit(&page, &form, "").await;
    let mut form = page.login_form();
    form.fill("username", "alice");
    form.fill("password", PASSWORD);
    let page = browser.submit(&page, &form, "").await;
    let mut form = page.consent_form();
    secrets.add("csrf of the consent page", form.value("csrf").unwrap());
    form.tick_all();
    let callback = browser.submit(&page, &form, "approve").await.redirect().unwrap();
    let code = parameter(&callback, "code").unwrap();
    secrets.add("code", &code);
    for (name, cookie) in &browser.cookies {
        secrets.add(name, &cookie.value);
    }
    let approved = doorward_testkit::oauth::Approved {
        code,
        pkce,
        redirect_uri: client.redirect_uri.clone(),
        resource: catalogue.ra(),
        callback,
    };
    let first = Tokens::from_reply(&client.redeem(&approved).await);
    let second = Tokens::from_reply(&client.refresh(first.refresh(), &catalogue.ra()).await);
    for (name, tokens) in [("first", &first), ("second", &second)] {
        secrets.add_jwt(&format!("{name} access token"), &tokens.access);
        secrets.add(&format!("{name} refresh token"), tokens.refresh());
    }
    // Refusals see secrets too.
    let _ = client.redeem(&approved).await;
    let _ = client.refresh(first.refresh(), &catalogue.ra()).await;
    let _ = catalogue.call("x").bearer(&second.access).send().await;
    let _ = catalogue
        .call_at(&format!("{RA}?access_token={}", second.access), "x")
        .send()
        .await;
    let trace = newest(&catalogue.doorward, &client, |_| true).await;
    explained(&catalogue.doorward, &trace, "the reuse", failed_by("S3", "")).await;
    secrets.assert_not_leaked_by(&catalogue.doorward);
    // Not secret, and not needed either.
    secrets.add("challenge", &approved.pkce.challenge);
    let mut seen = 0;
    for suffix in ["", "-wal"] {
        let path = catalogue.doorward.data.join(format!("traces.db{suffix}"));
        if let Ok(bytes) = std::fs::read(&path) {
            seen += bytes.len();
            secrets.assert_absent(&path.display().to_string(), &bytes);
        }
    }
    assert!(seen > 4096, "there is something to look at");
    let shown = catalogue.doorward.command(&["explain", &trace]).ok().stdout;
    secrets.assert_absent("explain", shown.as_bytes());
}

#[tokio::test]
async fn what_is_not_known_is_said_and_helped_with() {
    let catalogue = catalogue().await;
    for id in [
        "4bf92f3577b34da6a3ce929d0e0e4737",
        "0198c0de-0000-7000-8000-00000000dead",
        "nonsense",
    ] {
        let finished = catalogue.doorward.command(&["explain", id]);
        assert_eq!(finished.code, 1, "{}", finished.stderr);
        assert!(
            finished.stderr.contains("nothing is known of"),
            "{}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains("doorward explain --last"),
            "{}",
            finished.stderr
        );
    }
    let neither = catalogue.doorward.command(&["explain"]);
    assert_eq!(neither.code, 2);
    let listed = catalogue.doorward.command(&["explain", "--last"]).ok();
    assert!(listed.stdout.lines().count() <= 10);
}

#[tokio::test]
async fn ex_06_a_login_of_a_device_is_one_sequence() {
    let world = crate::device::World::start().await;
    let (another, _) = world.connect("bob").await;
    let (tokens, codes) = world.connect("alice").await;
    let family = tokens.claims()["family"].as_str().expect("a family").to_owned();
    let wanted = ["POST /device_authorization", "POST /device", "POST /token"];
    let report = explained(&world.doorward, &family, "the whole login", |report| {
        let routes = routes(report);
        report["outcome"] == "token"
            && wanted.iter().all(|wanted| {
                routes
                    .iter()
                    .any(|(route, _, joined)| route == wanted && joined == "exact")
            })
    })
    .await;
    assert_eq!(report["client"], world.client.id);
    let another = another.claims()["family"].as_str().expect("a family").to_owned();
    let other = explained(&world.doorward, &another, "the other device", |report| {
        report["outcome"] == "token"
    })
    .await;
    assert_ne!(
        other["trace"], report["trace"],
        "two devices of one client behind one address"
    );
    let said = report.to_string();
    for name in ["device_code", "user_code"] {
        let code = codes[name].as_str().expect("a code");
        assert!(!said.contains(code), "{name} is a secret: {said}");
    }
}

#[tokio::test]
async fn c1_a_client_that_acts_for_itself_is_explained() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let machine = Machine::basic(doorward, &["--client-credentials"]);
    let granted = machine.own_token(doorward, &catalogue.ra()).await;
    assert_eq!(granted.status, 200, "{}", granted.text());
    let client = machine.as_client(doorward, "");
    let trace = newest(doorward, &client, |row| row["outcome"] == "token").await;
    let report = explained(doorward, &trace, "the token", |report| {
        routes(report)
            .iter()
            .any(|(route, status, _)| route == "POST /token" && *status == 200)
    })
    .await;
    assert_eq!(
        (&report["client"], &report["failure"]),
        (&json!(machine.id), &Value::Null)
    );
    // And one that gets none, with what to do.
    let refused = machine.own_token(doorward, "https://elsewhere.test/mcp").await;
    assert_eq!(refused.status, 400);
    let report = explained(doorward, &trace_of(&refused), "the refusal", |report| {
        report["outcome"] == "refused" && report["client"] == machine.id.as_str()
    })
    .await;
    assert!(report["failure"]["rule"]["id"].is_string(), "{report}");
}
