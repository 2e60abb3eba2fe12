//! DS-05: logins that are begun and never finished cost nothing that stays.

use std::time::{Duration, Instant};

use doorward_testkit::PASSWORD;
use doorward_testkit::measure::Memory;
use doorward_testkit::multiplex::Multiplex;
use doorward_testkit::oauth::{OAuthClient, Pkce};
use http_body_util::BodyExt as _;

use crate::support::Catalogue;

const MIB: u64 = 1 << 20;
/// Connections that begin logins at the same time.
const CONNECTIONS: usize = 8;

fn logins() -> usize {
    if std::env::var_os("DOORWARD_FULL").is_some() {
        100_000
    } else {
        4_000
    }
}

/// Begins logins with a state and a challenge of their own, and forgets the pages.
async fn begin(catalogue: &Catalogue, client: &OAuthClient, count: usize) {
    let peer = Multiplex::connect(catalogue.doorward.site()).await;
    for _ in 0..count {
        let url = client.authorize_url(&Pkce::new(), &catalogue.ra());
        let reply = peer
            .send(catalogue.doorward.get(&url).header("Accept", "text/html"))
            .await
            .unwrap();
        // Everybody may begin one; who begins very many may be asked to wait.
        assert!(matches!(reply.status().as_u16(), 200 | 429), "{reply:?}");
        reply.into_body().collect().await.unwrap();
    }
}

/// What the data folder takes.
fn stored(catalogue: &Catalogue) -> u64 {
    let files = std::fs::read_dir(&catalogue.doorward.data).unwrap();
    files
        .filter_map(|file| file.unwrap().metadata().ok())
        .map(|file| file.len())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn ds_05_unfinished_logins_cost_nothing_that_stays() {
    let catalogue = std::sync::Arc::new(Catalogue::start().await);
    let client = catalogue.n1().await;
    // Warm: caches and tables of bounded size are full afterwards.
    begin(&catalogue, &client, 500).await;
    catalogue.still_good().await;
    let before = stored(&catalogue);
    let memory = Memory::watch(catalogue.doorward.pid());
    let begun = Instant::now();
    let mut beginning = Vec::new();
    for _ in 0..CONNECTIONS {
        let (catalogue, client) = (std::sync::Arc::clone(&catalogue), client.clone());
        beginning.push(tokio::spawn(async move {
            begin(&catalogue, &client, logins() / CONNECTIONS).await;
        }));
    }
    // Meanwhile somebody logs in.
    let person = OAuthClient::register(&catalogue.doorward, "person", "http://127.0.0.1/person").await;
    let tokens = person.login("bob", PASSWORD, &catalogue.ra()).await;
    assert_eq!(
        catalogue.call("ds05").bearer(&tokens.access).send().await.status,
        200
    );
    println!("a login beside it took {:?}", begun.elapsed());
    for beginning in beginning {
        beginning.await.unwrap();
    }
    println!("{} logins begun in {:?}", logins(), begun.elapsed());
    let grown = memory.growth();
    assert!(grown < 48 * MIB, "memory grew by {} MiB", grown / MIB);
    let after = stored(&catalogue);
    assert!(
        after.saturating_sub(before) < 24 * MIB,
        "the data folder grew by {} MiB",
        after.saturating_sub(before) / MIB
    );
    let begun = Instant::now();
    let tokens = person.login("bob", PASSWORD, &catalogue.ra()).await;
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(
        catalogue.call("ds05").bearer(&tokens.access).send().await.status,
        200
    );
    catalogue.still_good().await;
}
