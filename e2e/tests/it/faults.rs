//! FT: kill -9 at any moment, and what must be true afterwards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorward_testkit::oauth::{OAuthClient, Tokens};
use doorward_testkit::{Doorward, PASSWORD, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Catalogue, RA, assert_t};

fn rounds(full: usize) -> usize {
    if std::env::var_os("DOORWARD_FULL").is_some() {
        full
    } else {
        20
    }
}

/// A point that differs from round to round and is spread evenly (golden-ratio sequence): within 50 ms,
/// and every other round within the first 4 ms, where the transaction is.
fn moment() -> Duration {
    static ROUND: AtomicU64 = AtomicU64::new(1);
    let round = ROUND.fetch_add(1, Ordering::SeqCst);
    let span = if round.is_multiple_of(2) { 50_000 } else { 4_000 };
    Duration::from_micros(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % span)
}

/// Waits to the microsecond, which timers do not.
fn spin(span: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        std::hint::spin_loop();
    }
}

/// Posts a form, kills the server a moment after the request was written, starts it again. The answer
/// if it was received whole.
async fn crash_on(catalogue: &Catalogue, form: &[(String, String)]) -> Option<Reply> {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        catalogue.doorward.host(),
        body.len()
    );
    let mut socket = tokio::net::TcpStream::connect(catalogue.doorward.address())
        .await
        .unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut received = Vec::new();
        let _ = socket.read_to_end(&mut received).await;
        received
    });
    spin(moment());
    catalogue.doorward.kill();
    let received = reader.await.unwrap();
    let begun = Instant::now();
    catalogue.doorward.start_again().await;
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "ready soon after a crash: {:?}",
        begun.elapsed()
    );
    parse(&received)
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    })?;
    let status = head.get(9..12)?.parse().ok()?;
    (body.len() == length).then(|| Reply {
        status,
        headers: http::HeaderMap::new(),
        body: body.as_bytes().to_vec().into(),
    })
}

async fn works(catalogue: &Catalogue, tokens: &Tokens) -> bool {
    let status = catalogue.call("crash").bearer(&tokens.access).send().await.status;
    assert!(matches!(status, 200 | 401), "{status}");
    status == 200
}

async fn key_ids(doorward: &Doorward) -> Vec<String> {
    let jwks = doorward.get("/.well-known/jwks.json").send().await.json();
    jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn ft_01_a_crash_while_a_code_is_redeemed() {
    let catalogue = Catalogue::start().await;
    let client = catalogue.n1().await;
    let keys = key_ids(&catalogue.doorward).await;
    let mut received = 0;
    let mut lost = 0;
    for round in 0..rounds(500) {
        let approved = catalogue.code(&client).await;
        let first = crash_on(&catalogue, &client.code_form(&approved)).await;
        let again = client.redeem(&approved).await;
        match first {
            Some(reply) => {
                received += 1;
                // I2: what was received whole is honoured. I1: the code is not accepted twice, and its
                // second presentation ends the family.
                let tokens = Tokens::from_reply(&reply);
                assert_t(&again, &["invalid_grant"]);
                assert!(
                    !works(&catalogue, &tokens).await,
                    "round {round}: a code used twice leaves nothing"
                );
                assert_t(
                    &client.refresh(tokens.refresh(), &catalogue.ra()).await,
                    &["invalid_grant"],
                );
            }
            None => {
                lost += 1;
                // I4: nothing was committed and the retry works, or it was and the person logs in again.
                if again.status == 200 {
                    let tokens = Tokens::from_reply(&again);
                    assert!(works(&catalogue, &tokens).await, "round {round}");
                    assert_t(&client.redeem(&approved).await, &["invalid_grant"]);
                } else {
                    assert_t(&again, &["invalid_grant"]);
                    catalogue.tokens(&client).await;
                }
            }
        }
        assert_eq!(
            key_ids(&catalogue.doorward).await,
            keys,
            "I5: the same signing keys"
        );
    }
    println!("answers received {received}, lost {lost}");
    assert!(lost > 0, "some crashes came before the answer");
    catalogue.still_good().await;
}

#[tokio::test]
async fn ft_02_a_crash_while_a_token_is_refreshed() {
    let catalogue = Catalogue::start().await;
    let client = catalogue.n1().await;
    let keys = key_ids(&catalogue.doorward).await;
    let mut tokens = catalogue.tokens(&client).await;
    let mut received = 0;
    let mut lost = 0;
    for round in 0..rounds(500) {
        let r1 = tokens.refresh().to_owned();
        let first = crash_on(&catalogue, &client.refresh_form(&r1, &catalogue.ra())).await;
        let next = match first {
            Some(reply) => {
                received += 1;
                let second = Tokens::from_reply(&reply);
                assert!(
                    works(&catalogue, &second).await,
                    "round {round}: I2, received means kept"
                );
                second
            }
            None => {
                lost += 1;
                let retried = client.refresh(&r1, &catalogue.ra()).await;
                let second = Tokens::from_reply(&retried);
                assert!(
                    works(&catalogue, &second).await,
                    "round {round}: I4, nobody is locked out"
                );
                second
            }
        };
        // I1: whatever R1 is answered within its grace is the same chain.
        let repeated = Tokens::from_reply(&client.refresh(&r1, &catalogue.ra()).await);
        assert_eq!(repeated.refresh, next.refresh, "round {round}: one chain");
        tokens = Tokens::from_reply(&client.refresh(next.refresh(), &catalogue.ra()).await);
        assert_eq!(
            key_ids(&catalogue.doorward).await,
            keys,
            "I5: the same signing keys"
        );
    }
    println!("answers received {received}, lost {lost}");
    assert!(lost > 0, "some crashes came before the answer");
    catalogue.still_good().await;
}

#[tokio::test]
async fn a_damaged_data_folder_is_refused_in_words() {
    let doorward = Doorward::builder().demo().start().await;
    doorward.kill();
    let (database, key) = (
        doorward.data.join("doorward.db"),
        doorward.data.join("master.key"),
    );
    let (good_database, good_key) = (std::fs::read(&database).unwrap(), std::fs::read(&key).unwrap());
    for extra in ["doorward.db-wal", "doorward.db-shm"] {
        let _ = std::fs::remove_file(doorward.data.join(extra));
    }
    let refuse = async |what: &str| {
        doorward.spawn();
        let code = doorward.wait(Duration::from_secs(60)).await;
        assert_eq!(code, 3, "{what}: {}", doorward.logs());
        assert!(
            doorward.stderr().contains("error:"),
            "{what}: {}",
            doorward.stderr()
        );
        assert!(
            !doorward.stderr().contains("panicked"),
            "{what}: {}",
            doorward.stderr()
        );
    };
    std::fs::remove_file(&key).unwrap();
    refuse("no key").await;
    assert!(!key.exists(), "no new key is made");
    std::fs::write(&key, "nonsense\n").unwrap();
    refuse("not a key").await;
    std::fs::write(&key, format!("{}\n", "A".repeat(43))).unwrap();
    refuse("another key").await;
    std::fs::write(&key, &good_key).unwrap();
    std::fs::remove_file(&database).unwrap();
    refuse("no database").await;
    assert!(!database.exists(), "no new database is made");
    std::fs::write(&database, &good_database[..good_database.len().min(1000)]).unwrap();
    refuse("a truncated database").await;
    std::fs::write(&database, b"").unwrap();
    refuse("an empty database").await;
    std::fs::write(&database, b"not a database, not at all, in no way whatsoever").unwrap();
    refuse("not a database").await;
}

#[tokio::test]
async fn ft_06_a_graceful_end_with_calls_and_streams_open() {
    use doorward_testkit::upstream::{Answer, Part, event};
    let catalogue = Catalogue::start().await;
    let (endless, slow) = (doorward_testkit::marker(), doorward_testkit::marker());
    catalogue.up_a.script_for(&endless, |_| {
        Answer::events(vec![
            event(None, &serde_json::json!({ "jsonrpc": "2.0", "method": "x" })),
            Part::Hang,
        ])
    });
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let signal = std::sync::Arc::clone(&go);
    catalogue.up_a.script_for(&slow, move |request| {
        let answer = doorward_testkit::upstream::friendly(request);
        let mut parts = vec![Part::Wait(std::sync::Arc::clone(&signal))];
        parts.extend(answer.parts);
        Answer {
            parts,
            chunked: true,
            ..answer
        }
    });
    let token = catalogue.t().await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = catalogue.call(&endless).bearer(&token).stream().await;
        stream.event().await.expect("it is open");
        streams.push(stream);
    }
    let calls: Vec<_> = (0..100)
        .map(|_| tokio::spawn(catalogue.call(&slow).bearer(&token).try_send()))
        .collect();
    doorward_testkit::eventually("every call is upstream", Duration::from_secs(60), || async {
        (catalogue.up_a.with(&slow).len() == 100).then_some(())
    })
    .await;
    let begun = Instant::now();
    catalogue.doorward.terminate();
    doorward_testkit::eventually(
        "no new connection is accepted",
        Duration::from_secs(60),
        || async {
            tokio::net::TcpStream::connect(catalogue.doorward.address())
                .await
                .is_err()
                .then_some(())
        },
    )
    .await;
    go.notify_waiters();
    let mut finished = 0;
    for call in calls {
        // Finished, or cut with a clear error: never a truncated success.
        if let Ok(reply) = call.await.unwrap() {
            assert!(matches!(reply.status, 200 | 502 | 503), "{}", reply.text());
            if reply.status == 200 {
                assert_eq!(doorward_testkit::mcp::text_of(&reply), "t_read ok");
                finished += 1;
            }
        }
    }
    assert!(finished > 0, "calls in flight finish");
    assert_eq!(
        catalogue.doorward.wait(Duration::from_secs(60)).await,
        0,
        "{}",
        catalogue.doorward.logs()
    );
    // Within thirty seconds; the rest is for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    for mut stream in streams {
        assert!(stream.event().await.is_none(), "closed");
    }
    catalogue.doorward.start_again().await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn a_finished_registration_and_consent_outlive_a_crash() {
    let catalogue = Catalogue::start().await;
    for _ in 0..3 {
        let client = OAuthClient::register(
            &catalogue.doorward,
            &doorward_testkit::marker(),
            "http://127.0.0.1/cb",
        )
        .await;
        catalogue.doorward.kill();
        catalogue.doorward.start_again().await;
        let approved = client
            .approve(
                &mut doorward_testkit::browser::Browser::new(&catalogue.doorward),
                "alice",
                PASSWORD,
                &catalogue.ra(),
            )
            .await;
        catalogue.doorward.kill();
        catalogue.doorward.start_again().await;
        let tokens = Tokens::from_reply(&client.redeem(&approved).await);
        catalogue.doorward.kill();
        catalogue.doorward.start_again().await;
        let reply = catalogue.call_at(RA, "kept").bearer(&tokens.access).send().await;
        assert_eq!(reply.status, 200);
    }
}
