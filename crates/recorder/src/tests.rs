use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use doorward_types::digest::Digest;
use doorward_types::id::TraceId;
use doorward_types::random::CountingRandom;
use doorward_types::time::{Clock as _, FixedClock, UnixTime};
use tracing_subscriber::layer::SubscriberExt as _;
use uuid::Uuid;

use crate::hop::trace_of_parent;
use crate::join::{Joins, WINDOW, Wish};
use crate::{
    Actor, Arrival, FILE, Followed, Found, Hop, Joined, Kind, Limits, Login, Reader, Recorder, Refusal,
    adopt, current, layer, login,
};

const HOME: [u8; 4] = [192, 0, 2, 1];
const OFFICE: [u8; 4] = [198, 51, 100, 7];

fn from(peer: [u8; 4]) -> Arrival {
    Arrival {
        peer: Some(IpAddr::from(peer)),
        ..Arrival::default()
    }
}

fn naming(peer: [u8; 4], client: Option<&str>, resource: Option<&str>) -> Arrival {
    Arrival {
        client: client.map(Into::into),
        resource: resource.map(Into::into),
        ..from(peer)
    }
}

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::new(UnixTime::from_seconds(1_800_000_000)))
}

fn recorder(folder: &Path, limits: Limits) -> Recorder {
    Recorder::start(folder, limits, clock(), Arc::new(CountingRandom::default())).unwrap()
}

fn token_request(arrival: Arrival) -> Followed {
    Followed {
        actor: Actor::Client,
        method: "POST".into(),
        path: "/token".into(),
        kind: Kind::Begins,
        arrival,
    }
}

fn refusal(arrival: Arrival, decision: Uuid) -> Refusal<'static> {
    Refusal {
        is_kept: true,
        arrival,
        method: "POST",
        path: "/mcp",
        status: 401,
        decision,
        rule: None,
        family: None,
        fields: vec![("reason", "no_token".into())],
    }
}

fn hops(folder: &Path, id: &str) -> Vec<Hop> {
    match Reader::open(folder).unwrap().unwrap().find(id).unwrap() {
        Found::Trace { hops, .. } => hops,
        other => panic!("one trace, not {other:?}"),
    }
}

#[test]
fn logins_from_one_address_part_at_authorize() {
    let (mut joins, random, now) = (Joins::default(), CountingRandom::default(), clock().now());
    let at = |client, resource| naming(HOME, client, resource);
    let first = joins
        .join(&at(None, Some("r")), Wish::Begin, now, &random)
        .unwrap();
    // The second client's 401 cannot be told from the first's.
    assert_eq!(
        joins.join(&at(None, Some("r")), Wish::Begin, now, &random),
        Some(first)
    );
    assert_eq!(
        joins.join(&at(Some("a"), None), Wish::Begin, now, &random),
        Some(first)
    );
    let second = joins
        .join(&at(Some("b"), None), Wish::Begin, now, &random)
        .unwrap();
    assert_ne!(second, first, "another client is another login");

    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    assert_eq!(joins.claim(&at(Some("a"), Some("r")), one, now, &random), first);
    assert_eq!(joins.claim(&at(Some("b"), Some("r")), two, now, &random), second);
    // The same request again, from anywhere; another request of the same client is another login.
    assert_eq!(
        joins.claim(&naming(OFFICE, Some("a"), None), one, now, &random),
        first
    );
    let third = joins.claim(&at(Some("a"), Some("r")), Digest::of(b"3"), now, &random);
    assert!(third != first && third != second);
    assert_eq!(
        joins.join(&at(Some("a"), None), Wish::Follow, now, &random),
        None,
        "claimed"
    );
}

#[test]
fn what_is_joined_by_address_is_of_that_address_and_young() {
    let (mut joins, random, now) = (Joins::default(), CountingRandom::default(), clock().now());
    let begun = joins.join(&from(HOME), Wish::Begin, now, &random);
    assert!(begun.is_some());
    assert_eq!(joins.join(&from(OFFICE), Wish::Follow, now, &random), None);
    let almost = now.plus(WINDOW - Duration::from_secs(1));
    assert_eq!(joins.join(&from(HOME), Wish::Follow, almost, &random), begun);
    assert_eq!(
        joins.join(&from(HOME), Wish::Follow, now.plus(WINDOW), &random),
        None
    );
    let named = naming(HOME, None, Some("r"));
    let begun = joins.join(&named, Wish::Begin, now, &random);
    let other = naming(HOME, None, Some("another"));
    assert_ne!(joins.join(&other, Wish::Begin, now, &random), begun);
}

#[test]
fn a_flood_of_addresses_is_forgotten_as_it_comes() {
    let (mut joins, random, now) = (Joins::default(), CountingRandom::default(), clock().now());
    for number in 0..50_000_u32 {
        let arrival = from(number.to_be_bytes());
        joins.join(&arrival, Wish::Begin, now, &random);
        joins.claim(&arrival, Digest::of(&number.to_be_bytes()), now, &random);
        joins.remember_family(Uuid::from_u128(number.into()), TraceId::generate(&random));
    }
    let (peers, claims, families) = joins.len();
    assert!(
        peers <= 4096 && claims <= 8192 && families <= 32_768,
        "{peers} {claims} {families}"
    );
    let admitted = (0..2000).filter(|_| joins.admit(None, now)).count();
    assert_eq!(admitted, 500, "one address fills the file for nobody else");
    assert!(joins.admit(Some(IpAddr::from(HOME)), now));
    assert!(joins.admit(None, now.plus(WINDOW)));
}

#[tokio::test]
async fn events_become_notes_whatever_the_log_shows() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path(), Limits::default());
    let quiet = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    let quiet = tracing_subscriber::Layer::with_filter(quiet, tracing::level_filters::LevelFilter::ERROR);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer()).with(quiet));

    let (client, secret) = ("dcr_\"x\"", "5up3r-s3cr3t-c0d3");
    let answering = async {
        tracing::debug!(target: "doorward_web", client, "too fine");
        tracing::info!(target: "hyper", client, "not ours");
        tracing::info!(target: "doorward_web", rule = "R18", ?client, code = secret, reason = ?Some("CodeMismatch"), "token: refused");
        current()
    };
    let (seen, told) = recorder
        .follow(token_request(from(HOME)), answering, |_| 400)
        .await;
    assert!(seen.is_some());
    assert_eq!(told, seen);
    recorder.flush();
    let hops = hops(folder.path(), &seen.unwrap().to_string());
    let [hop] = hops.as_slice() else {
        panic!("one hop: {hops:?}");
    };
    assert_eq!(
        (hop.status, hop.joined, hop.rule()),
        (Some(400), Joined::ByAddress, Some("R18"))
    );
    assert_eq!(hop.notes.len(), 1);
    assert_eq!(hop.field("client"), Some(r#"dcr_\"x\""#));
    assert_eq!(hop.field("reason"), Some("CodeMismatch"));
    let bytes: Vec<u8> = std::fs::read_dir(folder.path())
        .unwrap()
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(
        !bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
    );
}

#[tokio::test]
async fn what_a_code_or_a_family_says_is_exact_and_a_peer_that_left_is_a_hop() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path(), Limits::default());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer()));
    let request = Login {
        client: "c",
        resource: Some("r"),
        request: Digest::of(b"challenge"),
    };
    let authorize = Followed {
        path: "/authorize".into(),
        actor: Actor::Browser,
        ..token_request(from(HOME))
    };
    let (trace, _) = recorder
        .follow(authorize, async { login(&request).unwrap() }, |_| 200)
        .await;
    let family = Uuid::from_u128(7).to_string();
    let redeem = async {
        adopt(Some(trace));
        adopt(TraceId::from_bytes([9; 16]));
        tracing::info!(target: "doorward_web", %family, "token: code redeemed");
    };
    let (_, told) = recorder
        .follow(token_request(from(OFFICE)), redeem, |_| 200)
        .await;
    assert_eq!(told, Some(trace));
    recorder.first_use(Uuid::from_u128(7), "/mcp", vec![("user", "u".into())]);
    recorder.first_use(Uuid::from_u128(8), "/mcp", Vec::new());

    // Another process, or this one after a restart, still knows the family.
    recorder.flush();
    drop(recorder);
    let recorder = self::recorder(folder.path(), Limits::default());
    recorder.flush();
    let refresh = async {
        tracing::info!(target: "doorward_web", %family, "token: refreshed");
        std::future::pending::<()>().await;
    };
    let leaving = recorder.follow(token_request(from(OFFICE)), refresh, |()| 200);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), leaving)
            .await
            .is_err()
    );
    recorder.flush();
    let hops = hops(folder.path(), &family);
    let statuses: Vec<_> = hops.iter().map(|hop| (hop.status, hop.joined)).collect();
    let exact = |status| (status, Joined::Exact);
    assert_eq!(
        statuses,
        [exact(Some(200)), exact(Some(200)), exact(None), exact(None)],
        "{hops:?}"
    );
}

#[test]
fn a_refusal_is_found_by_its_decision_and_by_the_clients_own_trace() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(folder.path(), Limits::default());
    let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut ours = Vec::new();
    for peer in [HOME, OFFICE] {
        let arrival = Arrival {
            traceparent: Some(format!("00-{theirs}-00f067aa0ba902b7-01")),
            ..from(peer)
        };
        ours.push(recorder.refused(&refusal(arrival, Uuid::from_u128(u128::from(peer[0])))));
    }
    assert_ne!(
        ours[0], ours[1],
        "the same traceparent does not make one login of two"
    );
    recorder.flush();
    let reader = Reader::open(folder.path()).unwrap().unwrap();
    let decision = Uuid::from_u128(192);
    assert!(
        matches!(reader.find(&decision.to_string()).unwrap(), Found::Trace { trace, decision: Some(found), .. }
            if trace == ours[0] && found == decision)
    );
    assert!(matches!(reader.find(theirs).unwrap(), Found::Several(several) if several.len() == 2));
    assert_eq!(reader.find("nonsense").unwrap(), Found::Nothing);
    assert_eq!(
        reader.find(&Uuid::from_u128(1).to_string()).unwrap(),
        Found::Nothing
    );
    let last: Vec<_> = reader
        .last(10)
        .unwrap()
        .iter()
        .map(|summary| summary.trace)
        .collect();
    assert_eq!(last, [ours[1], ours[0]]);
}

#[test]
fn traceparents_are_read_strictly() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (header, valid) in [
        (format!("00-{trace}-00f067aa0ba902b7-01"), true),
        (format!("01-{trace}-00f067aa0ba902b7-01-more"), true),
        (format!("00-{trace}-00f067aa0ba902b7-01-more"), false),
        (format!("ff-{trace}-00f067aa0ba902b7-01"), false),
        (format!("00-{trace}-0000000000000000-01"), false),
        (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
        (format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), false),
        (format!("00-{trace}-00f067aa0ba902b7"), false),
        (String::new(), false),
    ] {
        assert_eq!(trace_of_parent(&header).is_some(), valid, "{header}");
    }
}

#[test]
fn the_file_is_private_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        hops: 1000,
        ..Limits::default()
    };
    let recorder = recorder(folder.path(), limits);
    for number in 0..4000_u32 {
        let [_, high, middle, low] = number.to_be_bytes();
        recorder.refused(&refusal(
            from([10, high, middle, low]),
            Uuid::from_u128(number.into()),
        ));
        if number % 1000 == 0 {
            recorder.flush();
        }
    }
    recorder.flush();
    let path = folder.path().join(FILE);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(recorder);
    let rows: u32 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM hops", [], |row| row.get(0))
        .unwrap();
    assert!((500..=1512).contains(&rows), "{rows}");
}

#[test]
fn old_hops_go_and_a_full_file_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, random) = (clock(), Arc::new(CountingRandom::default()));
    let limits = Limits {
        bytes: 256 * 1024,
        ..Limits::default()
    };
    let recorder = Recorder::start(folder.path(), limits, clock.clone(), random.clone()).unwrap();
    let mut last = None;
    for number in 0..3000_u32 {
        let [_, high, middle, low] = number.to_be_bytes();
        last = Some(recorder.refused(&refusal(
            from([10, high, middle, low]),
            Uuid::from_u128(number.into()),
        )));
        if number % 100 == 0 {
            recorder.flush();
        }
    }
    recorder.flush();
    assert!(std::fs::metadata(folder.path().join(FILE)).unwrap().len() <= 256 * 1024);
    let last = last.unwrap();
    assert_eq!(
        hops(folder.path(), &last.to_string()).len(),
        1,
        "the newest is kept"
    );
    drop(recorder);

    clock.advance(Duration::from_secs(8 * 24 * 3600));
    let recorder = Recorder::start(folder.path(), limits, clock, random).unwrap();
    recorder.flush();
    let reader = Reader::open(folder.path()).unwrap().unwrap();
    assert_eq!(reader.find(&last.to_string()).unwrap(), Found::Nothing);
}

#[test]
fn a_broken_or_missing_file_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    let recorder = recorder(folder.path(), Limits::default());
    let first = recorder.refused(&refusal(from(HOME), Uuid::from_u128(1)));
    recorder.flush();
    assert_eq!(hops(folder.path(), &first.to_string()).len(), 1);
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(folder.path().join(format!("{FILE}{suffix}"))).unwrap();
    }
    let second = recorder.refused(&refusal(from(OFFICE), Uuid::from_u128(2)));
    recorder.flush();
    assert_eq!(hops(folder.path(), &second.to_string()).len(), 1);
}

#[test]
fn a_file_that_cannot_be_had_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(FILE)).unwrap();
    let recorder = recorder(folder.path(), Limits::default());
    let begun = std::time::Instant::now();
    for number in 0..10_000_u32 {
        let [_, high, middle, low] = number.to_be_bytes();
        recorder.refused(&refusal(
            from([10, high, middle, low]),
            Uuid::from_u128(number.into()),
        ));
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    recorder.flush();
}
