//! FT-08: another process keeps the database to itself. Who needs it hears 503 within five seconds, nobody
//! waits behind them, calls with tokens go on, and afterwards everything works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::{OAuthClient, Pkce, Tokens};
use doorward_testkit::{PASSWORD, Reply};
use serde_json::json;

use crate::support::Catalogue;

/// Within which a request is told that storage does not answer: five seconds, and the rest is for a busy machine.
const TOLD_WITHIN: Duration = Duration::from_secs(12);

fn length() -> Duration {
    Duration::from_secs(if std::env::var_os("DOORWARD_FULL").is_some() {
        30
    } else {
        18
    })
}

/// What somebody heard while the lock was held.
#[derive(Debug)]
struct Heard {
    what: &'static str,
    /// The lock was held from before the request to after the answer.
    during: bool,
    took: Duration,
    reply: Reply,
}

/// What is asked again and again.
#[derive(Clone)]
enum Ask {
    Refresh(Tokens),
    Register(String),
    SignIn,
    Call(String),
}

/// Who asks, and when to stop.
#[derive(Clone)]
struct Asker {
    catalogue: Arc<Catalogue>,
    client: Arc<OAuthClient>,
    locked: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Asker {
    async fn ask(&self, ask: &Ask) -> (&'static str, Reply) {
        let (catalogue, client) = (&self.catalogue, &self.client);
        match ask {
            Ask::Refresh(tokens) => ("refresh", client.refresh(tokens.refresh(), &catalogue.ra()).await),
            Ask::Register(name) => {
                let metadata = json!({ "client_name": name, "redirect_uris": ["http://127.0.0.1/new"] });
                let request = catalogue.doorward.post("/register").json(&metadata);
                ("register", request.send().await)
            }
            Ask::SignIn => ("sign in", sign_in(catalogue, client).await),
            Ask::Call(token) => ("call", catalogue.call("ft08").bearer(token).send().await),
        }
    }

    /// Asks, again as soon as there is an answer, until told to stop.
    async fn keep_asking(self, ask: Ask) -> Vec<Heard> {
        let mut heard = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            let before = self.locked.load(Ordering::SeqCst);
            let begun = Instant::now();
            let (what, reply) = self.ask(&ask).await;
            heard.push(Heard {
                what,
                during: before && self.locked.load(Ordering::SeqCst),
                took: begun.elapsed(),
                reply,
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        heard
    }
}

/// Sixteen that write, and one that calls, while `lock` (dropped at the end) holds the database.
async fn while_locked<L>(catalogue: Arc<Catalogue>, lock: impl FnOnce() -> L) {
    let asker = Asker {
        client: Arc::new(catalogue.n1().await),
        catalogue,
        locked: Arc::default(),
        stop: Arc::default(),
    };
    let (catalogue, client) = (&asker.catalogue, &asker.client);
    let mut asks = vec![
        Ask::Call(catalogue.t().await),
        Ask::Register("new 1".into()),
        Ask::Register("new 2".into()),
        Ask::SignIn,
        Ask::SignIn,
    ];
    let mut chains = Vec::new();
    for _ in 0..12 {
        chains.push(catalogue.tokens(client).await);
    }
    asks.extend(chains.iter().cloned().map(Ask::Refresh));
    let held = lock();
    asker.locked.store(true, Ordering::SeqCst);
    let asking: Vec<_> = asks
        .into_iter()
        .map(|ask| tokio::spawn(asker.clone().keep_asking(ask)))
        .collect();
    tokio::time::sleep(length()).await;
    asker.locked.store(false, Ordering::SeqCst);
    drop(held);

    let begun = Instant::now();
    for tokens in &chains {
        let again = || async {
            let reply = client.refresh(tokens.refresh(), &catalogue.ra()).await;
            (reply.status == 200).then_some(reply)
        };
        let reply = doorward_testkit::eventually("it recovers", Duration::from_secs(60), again).await;
        let works = Tokens::from_reply(&reply);
        let call = catalogue.call("ft08").bearer(&works.access).send().await;
        assert_eq!(call.status, 200);
    }
    println!(
        "all chains refreshed {:?} after the lock was let go",
        begun.elapsed()
    );
    asker.stop.store(true, Ordering::SeqCst);
    let mut all = Vec::new();
    for asking in asking {
        all.extend(asking.await.unwrap());
    }
    judge(&all);
    catalogue.still_good().await;
}

/// Opens an authorization page and types a password; whichever step is refused first is the answer.
async fn sign_in(catalogue: &Catalogue, client: &OAuthClient) -> Reply {
    let mut browser = Browser::new(&catalogue.doorward);
    let page = browser
        .get(&client.authorize_url(&Pkce::new(), &catalogue.ra()))
        .await;
    let Some(mut form) = page.form_with("password") else {
        return page.reply;
    };
    form.fill("username", "alice");
    form.fill("password", PASSWORD);
    let button = form
        .buttons
        .first()
        .map_or(String::new(), |button| button.value.clone());
    browser
        .submit_without_following(&page, &form, &button)
        .await
        .reply
}

fn judge(all: &[Heard]) {
    for what in ["refresh", "register", "sign in", "call"] {
        let of_it: Vec<&Heard> = all
            .iter()
            .filter(|heard| heard.what == what && heard.during)
            .collect();
        let longest = of_it.iter().map(|heard| heard.took).max().unwrap_or_default();
        println!(
            "{what}: {} answers while locked, the longest after {longest:?}",
            of_it.len()
        );
        assert!(!of_it.is_empty(), "{what} was answered while the lock was held");
        for heard in of_it {
            assert!(heard.took <= TOLD_WITHIN, "{what}: told after {:?}", heard.took);
            let reply = &heard.reply;
            if what == "call" {
                assert_eq!(
                    reply.status,
                    200,
                    "tokens are verified without the database: {}",
                    reply.text()
                );
            } else {
                assert_eq!(reply.status, 503, "{what}: {}", reply.text());
                let seconds = reply.header("Retry-After").map(str::parse::<u32>);
                assert!(matches!(seconds, Some(Ok(1..))), "{what}: {reply:?}");
            }
        }
    }
    for heard in all {
        let status = heard.reply.status;
        assert!(
            matches!(status, 200 | 201 | 303 | 503),
            "{}: {status} {}",
            heard.what,
            heard.reply.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ft_08_another_process_locks_the_database_for_half_a_minute() {
    let catalogue = Arc::new(Catalogue::start().await);
    let database = catalogue.doorward.data.join("doorward.db");
    while_locked(catalogue, || {
        let connection = rusqlite::Connection::open(&database).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
        connection
    })
    .await;
}
