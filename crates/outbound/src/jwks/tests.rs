use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use doorward_jose::SigningKey;
use doorward_types::time::{FixedClock, UnixTime};

use super::*;
use crate::Fetched;

const URL: &str = "https://keys.example/jwks.json";
const NAMED: Destination = Destination::Named {
    by_loopback_peer: false,
};

/// A source that answers what a test put there.
struct Source {
    answer: Mutex<Result<Fetched, FetchError>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Fetch for Source {
    async fn fetch(&self, _: &Url, _: Destination) -> Result<Fetched, FetchError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answer.lock().unwrap().clone()
    }
}

struct World {
    source: Arc<Source>,
    clock: Arc<FixedClock>,
    cache: JwksCache,
}

impl World {
    fn new(keys: &[&SigningKey]) -> Self {
        let source = Arc::new(Source {
            answer: Mutex::new(Ok(set(keys, None))),
            asked: AtomicUsize::new(0),
        });
        let clock = Arc::new(FixedClock::new(UnixTime::EPOCH));
        let cache = JwksCache::new(Arc::clone(&source) as _, Arc::clone(&clock) as _);
        Self { source, clock, cache }
    }

    fn answer(&self, answer: Result<Fetched, FetchError>) {
        *self.source.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.source.asked.load(Ordering::SeqCst)
    }

    async fn keys(&self, wanted: Option<&SigningKey>) -> Result<Vec<KeyId>, FetchError> {
        let wanted = wanted.map(id);
        let set = self.cache.keys(URL, NAMED, wanted.as_ref()).await?;
        Ok(set
            .keys()
            .iter()
            .filter_map(|key| key.key_id().cloned())
            .collect())
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn id(key: &SigningKey) -> KeyId {
    key.public_jwk().key_id().unwrap().clone()
}

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn set(keys: &[&SigningKey], fresh_for: Option<u64>) -> Fetched {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| {
            let set = JwkSet::new([key.public_jwk().clone()]).unwrap();
            let text = json(&set);
            text.trim_start_matches("{\"keys\":[")
                .trim_end_matches("]}")
                .to_owned()
        })
        .collect();
    Fetched {
        body: Bytes::from(format!("{{\"keys\":[{}]}}", keys.join(","))),
        fresh_for: fresh_for.map(Duration::from_secs),
    }
}

fn json(set: &JwkSet) -> String {
    serde_json::json!(set).to_string()
}

#[tokio::test]
async fn ds_04_a_set_is_fetched_once_and_again_when_it_is_stale() {
    let one = key();
    let world = World::new(&[&one]);
    for _ in 0..3 {
        assert_eq!(world.keys(Some(&one)).await.unwrap(), [id(&one)]);
    }
    world.pass(299);
    world.keys(None).await.unwrap();
    assert_eq!(world.asked(), 1, "fresh for at least five minutes");
    world.pass(1);
    world.keys(None).await.unwrap();
    assert_eq!(world.asked(), 2);
    world.answer(Ok(set(&[&one], Some(365 * 86_400))));
    world.pass(300);
    world.keys(None).await.unwrap();
    world.pass(86_399);
    world.keys(None).await.unwrap();
    assert_eq!(world.asked(), 3);
    world.pass(1);
    world.keys(None).await.unwrap();
    assert_eq!(world.asked(), 4, "a day at most");
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_at_most_every_ten_seconds() {
    let (one, two) = (key(), key());
    let world = World::new(&[&one]);
    world.keys(Some(&one)).await.unwrap();
    world.answer(Ok(set(&[&one, &two], None)));
    for _ in 0..5 {
        assert_eq!(world.keys(Some(&two)).await.unwrap(), [id(&one)]);
    }
    assert_eq!(world.asked(), 1);
    world.pass(10);
    assert_eq!(world.keys(Some(&two)).await.unwrap().len(), 2, "rotated");
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn ds_04_the_last_good_set_stays_while_the_source_fails() {
    let one = key();
    let world = World::new(&[&one]);
    world.keys(None).await.unwrap();
    let many: Vec<SigningKey> = (0..=MAX_CLIENT_KEYS).map(|_| key()).collect();
    for bad in [
        Err(FetchError::TimedOut),
        Err(FetchError::TooLong),
        Ok(set(&[], None)),
        Ok(set(&many.iter().collect::<Vec<_>>(), None)),
        Ok(Fetched {
            body: Bytes::from_static(b"<html>"),
            fresh_for: None,
        }),
    ] {
        world.answer(bad);
        world.pass(400);
        assert_eq!(world.keys(Some(&one)).await.unwrap(), [id(&one)]);
    }
    assert_eq!(world.asked(), 6);
}

#[tokio::test]
async fn a_source_that_never_worked_is_left_alone_for_a_moment() {
    let world = World::new(&[]);
    world.answer(Err(FetchError::Unreachable));
    assert_eq!(world.keys(None).await, Err(FetchError::Unreachable));
    assert_eq!(world.keys(None).await, Err(FetchError::CoolingDown));
    assert_eq!(world.asked(), 1);
    world.pass(10);
    world.answer(Ok(set(&[&key()], None)));
    assert_eq!(world.keys(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_memory_is_bounded() {
    let world = World::new(&[&key()]);
    for n in 0..SETS + 50 {
        let url = format!("https://keys.example/{n}");
        world.cache.keys(&url, NAMED, None).await.unwrap();
    }
    assert_eq!(world.cache.sets.lock().unwrap().len(), SETS);
}
