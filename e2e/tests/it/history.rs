//! FT-03: crash rounds under mixed load. Clients log in, redeem, refresh, call and revoke, also several at once
//! with the same tokens; the server is killed at some moment and started again; everything that was asked and
//! answered is recorded, and judged against a reference model of the invariants:
//!
//! - I1: at most one live chain per code and per refresh token;
//! - I2: every answer that was received whole is honoured;
//! - I3: revocations, consents and registrations that were acknowledged persist;
//! - I4: what was not acknowledged can be tried again, to success or to a clean new login, never to two chains;
//! - I5: the database is whole, the server is ready soon, its signing keys are the same.

mod client;
mod model;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::Catalogue;
use client::{Load, Worker};
use model::Record;

/// People whose clients work at the same time.
const WORKERS: usize = 12;
/// Requests per second, all together; less where the machine cannot.
const PACE: u32 = 500;

fn rounds() -> usize {
    if std::env::var_os("DOORWARD_FULL").is_some() {
        200
    } else {
        12
    }
}

/// When the kill comes: spread over the round, so that it hits every kind of request.
fn moment(round: usize) -> Duration {
    let spread = (round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 350_000;
    Duration::from_micros(150_000 + spread)
}

async fn key_ids(catalogue: &Catalogue) -> String {
    catalogue
        .doorward
        .get("/.well-known/jwks.json")
        .send()
        .await
        .text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ft_03_a_recorded_history_of_crashes_under_mixed_load() {
    let catalogue = Arc::new(Catalogue::start().await);
    let keys = key_ids(&catalogue).await;
    let record = Arc::new(Record::default());
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Worker::new(Arc::clone(&catalogue), Arc::clone(&record)).await);
    }
    let (mut slowest, mut loaded) = (Duration::ZERO, Duration::ZERO);
    for round in 0..rounds() {
        let load = Load::new(PACE);
        let begun = Instant::now();
        let running: Vec<_> = workers
            .drain(..)
            .map(|worker| tokio::spawn(worker.work(load.clone())))
            .collect();
        tokio::time::sleep(moment(round)).await;
        loaded += begun.elapsed();
        catalogue.doorward.kill();
        load.stop();
        for worker in running {
            workers.push(worker.await.unwrap());
        }
        // I5, and I1 as the rows say.
        examine(&catalogue.doorward.data.join("doorward.db"), round);
        let begun = Instant::now();
        catalogue.doorward.start_again().await;
        slowest = slowest.max(begun.elapsed());
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "round {round}: ready soon"
        );
        assert_eq!(
            key_ids(&catalogue).await,
            keys,
            "round {round}: the same signing keys"
        );
        // I2, I3, I4: each asks again for what it has and what it does not know.
        let mut asking = Vec::new();
        for worker in workers.drain(..) {
            asking.push(tokio::spawn(worker.reconcile()));
        }
        for worker in asking {
            workers.push(worker.await.unwrap());
        }
    }
    let verdict = record.judge();
    println!("{verdict}");
    println!(
        "{} rounds, {:.0} requests/s under load, slowest start {slowest:?}",
        rounds(),
        f64::from(u32::try_from(record.asked()).unwrap_or(u32::MAX)) / loaded.as_secs_f64()
    );
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    verdict.assert_it_says_something();
    catalogue.still_good().await;
}

/// What a database must be like at any moment: whole, one head for each chain, one chain for each code.
fn examine(database: &Path, round: usize) {
    let connection = rusqlite::Connection::open(database).unwrap();
    let text = |sql: &str| -> String { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
    let count = |sql: &str| -> i64 { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(text("PRAGMA integrity_check"), "ok", "round {round}");
    assert_eq!(
        count("SELECT count(*) FROM pragma_foreign_key_check"),
        0,
        "round {round}: no row without its parent"
    );
    let heads = "SELECT count(*) FROM (SELECT family_id FROM refresh_tokens WHERE rotated IS NULL \
                 GROUP BY family_id HAVING count(*) <> 1)";
    assert_eq!(count(heads), 0, "round {round}: one head for each chain");
    let headless = "SELECT count(*) FROM families WHERE NOT EXISTS (SELECT 1 FROM refresh_tokens \
                    WHERE family_id = families.id AND rotated IS NULL)";
    assert_eq!(count(headless), 0, "round {round}: a head for each chain");
    let shared = "SELECT count(*) FROM (SELECT family_id FROM codes WHERE family_id IS NOT NULL \
                  GROUP BY family_id HAVING count(*) > 1)";
    assert_eq!(
        count(shared),
        0,
        "round {round}: a chain of its own for each code"
    );
    let lost = "SELECT count(*) FROM codes WHERE state = 'redeemed' AND NOT EXISTS \
                (SELECT 1 FROM families WHERE families.id = codes.family_id)";
    assert_eq!(count(lost), 0, "round {round}: a redeemed code has its chain");
    let told = "SELECT count(*) FROM families WHERE revoked = 1 AND NOT EXISTS (SELECT 1 FROM revocations \
                WHERE kind = 'family')";
    assert_eq!(count(told), 0, "round {round}: what was revoked is in the feed");
}
