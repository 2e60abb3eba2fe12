//! FT-04: kill -9 while something is revoked, allowed or registered. What somebody was told is still true afterwards
//! (I3); what nobody was told of can be tried again (I4).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::html::Form;
use doorward_testkit::oauth::{Approved, OAuthClient, Pkce, Tokens, parameter};
use doorward_testkit::{Doorward, PASSWORD};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Catalogue, assert_t};

/// Rounds of each case: the catalogue's with `--full`.
fn rounds() -> usize {
    if std::env::var_os("DOORWARD_FULL").is_some() {
        200
    } else {
        12
    }
}

/// A point that differs from round to round and is spread evenly (golden-ratio sequence), half of them in the first
/// milliseconds, where the transaction is.
fn moment() -> Duration {
    static ROUND: AtomicU64 = AtomicU64::new(1);
    let round = ROUND.fetch_add(1, Ordering::SeqCst);
    let span = if round.is_multiple_of(2) { 50_000 } else { 4_000 };
    Duration::from_micros(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % span)
}

/// An answer that was received whole.
struct Answer {
    status: u16,
    location: Option<String>,
    body: String,
}

/// Sends a request, kills the server a moment later, and starts it again.
async fn crash_on(doorward: &Doorward, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n", doorward.host());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!(
        "Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let mut socket = tokio::net::TcpStream::connect(doorward.address()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut received = Vec::new();
        let _ = socket.read_to_end(&mut received).await;
        received
    });
    let (begun, wait) = (Instant::now(), moment());
    // To the microsecond, which timers do not wait.
    while begun.elapsed() < wait {
        std::hint::spin_loop();
    }
    doorward.kill();
    let received = reader.await.unwrap();
    let begun = Instant::now();
    doorward.start_again().await;
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "ready soon after a crash: {:?}",
        begun.elapsed()
    );
    whole(&received)
}

fn whole(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let field = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    let length: usize = field("content-length")?.parse().ok()?;
    (body.len() == length).then(|| Answer {
        status: head
            .get(9..12)
            .and_then(|status| status.parse().ok())
            .unwrap_or_default(),
        location: field("location"),
        body: body.to_owned(),
    })
}

/// Presses a button of a form in a browser whose server dies over it.
async fn crash_on_form(doorward: &Doorward, browser: &Browser, form: &Form, button: &str) -> Option<Answer> {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form.fields(button))
        .finish();
    let cookies = browser.cookie_header().unwrap_or_default();
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", doorward.public_url.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Cookie", cookies.as_str()),
    ];
    crash_on(doorward, &form.action, &headers, &body).await
}

async fn works(catalogue: &Catalogue, tokens: &Tokens) -> bool {
    let status = catalogue.call("crash").bearer(&tokens.access).send().await.status;
    assert!(matches!(status, 200 | 401), "{status}");
    status == 200
}

#[derive(Default)]
struct Tally {
    told: usize,
    untold: usize,
}

impl Tally {
    fn count(&mut self, told: bool) {
        if told {
            self.told += 1;
        } else {
            self.untold += 1;
        }
    }

    fn is_meaningful(&self, what: &str) {
        println!("{what}: answers received {}, lost {}", self.told, self.untold);
        assert!(self.untold > 0, "some crashes came before the answer");
    }
}

/// The page that asks whether `client` is to be disconnected.
async fn question(browser: &mut Browser, client: &OAuthClient) -> Page {
    let id: String = url::form_urlencoded::byte_serialize(client.id.as_bytes()).collect();
    browser.get(&format!("/account/end?what=client&id={id}")).await
}

#[tokio::test]
async fn ft_04_a_crash_while_an_app_is_disconnected() {
    let catalogue = Catalogue::start().await;
    let client = catalogue.n1().await;
    let mut alice = catalogue.alice().await;
    let mut tally = Tally::default();
    for round in 0..rounds() {
        let tokens = catalogue.tokens(&client).await;
        let page = question(&mut alice, &client).await;
        let form = page
            .form_with("what")
            .unwrap_or_else(|| panic!("round {round}: {}", page.text()));
        let answer = crash_on_form(&catalogue.doorward, &alice, &form, "").await;
        tally.count(answer.is_some());
        match answer {
            Some(answer) => {
                assert_eq!(
                    (answer.status, answer.location.as_deref()),
                    (303, Some("/account?done=client"))
                );
            }
            // Nobody was told. It may be done or not; pressing again does it, or finds it done.
            None => {
                let again = alice.submit(&page, &form, "").await;
                assert!(
                    matches!(again.reply.status, 200 | 404),
                    "round {round}: {}",
                    again.text()
                );
            }
        }
        // I3: it was told, so it is true, after the restart too.
        assert!(
            !works(&catalogue, &tokens).await,
            "round {round}: revoked means revoked"
        );
        let refreshed = client.refresh(tokens.refresh(), &catalogue.ra()).await;
        assert_t(&refreshed, &["invalid_grant"]);
        assert_eq!(
            question(&mut alice, &client).await.reply.status,
            404,
            "round {round}"
        );
    }
    tally.is_meaningful("revoke");
    catalogue.still_good().await;
}

#[tokio::test]
async fn ft_04_a_crash_while_an_app_is_allowed() {
    let catalogue = Catalogue::start().await;
    let client = catalogue.n1().await;
    let mut alice = catalogue.alice().await;
    let mut tally = Tally::default();
    for round in 0..rounds() {
        let pkce = Pkce::new();
        let page = alice.get(&client.authorize_url(&pkce, &catalogue.ra())).await;
        let mut form = page.consent_form();
        form.tick_all();
        let answer = crash_on_form(&catalogue.doorward, &alice, &form, "approve").await;
        tally.count(answer.is_some());
        let callback = match answer {
            Some(answer) => {
                assert_eq!(answer.status, 303, "round {round}: {}", answer.body);
                answer.location.expect("a Location")
            }
            // The same browser presses again, as people do when nothing happens.
            None => {
                let again = alice.submit(&page, &form, "approve").await;
                again
                    .redirect()
                    .unwrap_or_else(|| panic!("round {round}: {}", again.text()))
            }
        };
        let approved = Approved {
            code: parameter(&callback, "code").unwrap_or_else(|| panic!("a code in {callback}")),
            pkce,
            redirect_uri: client.redirect_uri.clone(),
            resource: catalogue.ra(),
            callback,
        };
        let tokens = Tokens::from_reply(&client.redeem(&approved).await);
        assert!(
            works(&catalogue, &tokens).await,
            "round {round}: the consent was kept"
        );
        // I4: one chain, however often it was pressed.
        assert_t(&client.redeem(&approved).await, &["invalid_grant"]);
    }
    let listed = catalogue.doorward.command(&[
        "grant", "list", "--user", "alice", "--client", &client.id, "--format", "json",
    ]);
    let grants: Value = serde_json::from_str(&listed.ok().stdout).unwrap();
    assert_eq!(
        grants.as_array().unwrap().len(),
        1,
        "one consent record: {grants}"
    );
    tally.is_meaningful("approve");
    catalogue.still_good().await;
}

#[tokio::test]
async fn ft_04_a_crash_while_an_app_registers() {
    let catalogue = Catalogue::start().await;
    let mut alice = catalogue.alice().await;
    let mut tally = Tally::default();
    for round in 0..rounds() {
        let metadata = json!({
            "client_name": format!("Registers {round}"),
            "redirect_uris": ["http://127.0.0.1/cb"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        let headers = [("Content-Type", "application/json")];
        let body = metadata.to_string();
        let answer = crash_on(&catalogue.doorward, "/register", &headers, &body).await;
        tally.count(answer.is_some());
        let told = answer.map(|answer| {
            assert_eq!(answer.status, 201, "round {round}: {}", answer.body);
            serde_json::from_str::<Value>(&answer.body).expect("JSON")["client_id"].clone()
        });
        if told.is_none() {
            // Nobody was told: the client registers again.
            let again = catalogue.doorward.post("/register").json(&metadata).send().await;
            assert_eq!(again.status, 201, "round {round}: {}", again.text());
        }
        let client = OAuthClient {
            id: match &told {
                Some(id) => id.as_str().expect("an id").to_owned(),
                None => OAuthClient::register_with(&catalogue.doorward, metadata).await.id,
            },
            ..catalogue.n1().await
        };
        // I3: who was told an id can use it.
        let approved = client
            .approve(&mut alice, "alice", PASSWORD, &catalogue.ra())
            .await;
        let _ = Tokens::from_reply(&client.redeem(&approved).await);
    }
    tally.is_meaningful("register");
    catalogue.still_good().await;
}
