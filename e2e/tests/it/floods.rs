//! DS-06: HTTP/2 peers that cost more than they ask for. Their connection ends, or they get nothing; memory and
//! computing stay bounded, and everybody else is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorward_testkit::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, INITIAL_WINDOW_SIZE, PING,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};
use doorward_testkit::measure::{self, Memory};
use doorward_testkit::{Doorward, marker};

use crate::support::{Catalogue, RA};
use crate::tls::Certificate;

const MIB: u64 = 1 << 20;
/// How long a peer may wait for its connection to end.
const SOON: Duration = Duration::from_secs(60);
/// More than any peer gets to send.
const MANY: usize = 2_000_000;

/// Sends pieces until the server ends the connection.
async fn flood(what: &str, http2: &mut Http2, mut piece: impl FnMut(usize) -> Vec<u8>) {
    let mut sent = 0;
    while sent < MANY {
        let mut batch = Vec::new();
        for number in sent..sent + 50 {
            batch.extend_from_slice(&piece(number));
        }
        sent += 50;
        match tokio::time::timeout(SOON, http2.send(&batch)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(_) => panic!("{what}: the connection is neither read nor ended after {sent} pieces"),
        }
    }
    assert!(sent < MANY, "{what}: all of it was taken");
    let _ = http2.closed(SOON).await;
}

struct Target<'a> {
    catalogue: &'a Catalogue,
    fields: [(&'static str, String); 4],
}

impl<'a> Target<'a> {
    fn new(catalogue: &'a Catalogue, path: &str) -> Self {
        let fields = [
            (":method", "GET".into()),
            (":scheme", "http".into()),
            (":authority", catalogue.doorward.host()),
            (":path", path.into()),
        ];
        Self { catalogue, fields }
    }

    fn fields(&self) -> Vec<(&str, &str)> {
        self.fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect()
    }

    fn headers(&self, flags: u8, number: usize) -> Vec<u8> {
        frame(HEADERS, flags, stream(number), &block(&self.fields()))
    }

    /// A connection on which one request was served: what ends it comes after that.
    async fn connect(&self, settings: &[(u16, u32)]) -> Http2 {
        let mut peer = Http2::connect(self.catalogue.doorward.address(), settings).await;
        peer.request(&self.fields(), &[]).await.unwrap();
        let answer = peer.until(|frame| frame.kind == HEADERS).await.unwrap();
        assert!(matches!(answer.status(), Some(200 | 401)), "{answer:?}");
        peer
    }
}

/// The stream of an attack's request; the first stream was a good one.
fn stream(number: usize) -> u32 {
    u32::try_from(number).unwrap() * 2 + 3
}

/// Runs one attack while somebody else calls tools; what it cost.
async fn under(catalogue: &Catalogue, what: &str, attack: impl Future<Output = ()>) {
    let token = catalogue.t().await;
    let pid = catalogue.doorward.pid();
    let memory = Memory::watch(pid);
    let computed = measure::computed(pid);
    let over = Arc::new(AtomicBool::new(false));
    let others = async {
        let mut served = 0;
        while served == 0 || !over.load(Ordering::Relaxed) {
            let reply = catalogue.call(&marker()).bearer(&token).send().await;
            assert_eq!(reply.status, 200, "{what}: {}", reply.text());
            served += 1;
        }
    };
    let attack = async {
        attack.await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(attack, others);
    let computed = measure::computed(pid).saturating_sub(computed);
    eprintln!(
        "{what}: {} KiB more, computed {computed:?}",
        memory.growth() / 1024
    );
    assert!(
        memory.growth() <= 24 * MIB,
        "{what}: {} bytes more",
        memory.growth()
    );
    assert!(memory.most() <= 256 * MIB, "{what}: {} bytes", memory.most());
    assert!(
        computed <= Duration::from_secs(20),
        "{what}: computed {computed:?}"
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn ds_06_ft_18_frames_without_end() {
    let catalogue = Catalogue::start().await;
    let target = Target::new(&catalogue, "/healthz");
    let get = END_HEADERS | END_STREAM;

    let mut peer = target.connect(&[]).await;
    let attack = flood("rapid reset", &mut peer, |number| {
        let mut bytes = target.headers(get, number);
        bytes.extend_from_slice(&frame(RST_STREAM, 0, stream(number), &8u32.to_be_bytes()));
        bytes
    });
    under(&catalogue, "rapid reset", attack).await;

    let mut peer = target.connect(&[]).await;
    let attack = flood("resets provoked by windows", &mut peer, |number| {
        let mut bytes = target.headers(END_HEADERS, number);
        bytes.extend_from_slice(&frame(WINDOW_UPDATE, 0, stream(number), &[0; 4]));
        bytes
    });
    under(&catalogue, "resets provoked by windows", attack).await;

    let mut peer = target.connect(&[]).await;
    let attack = flood("resets provoked by data", &mut peer, |number| {
        let mut bytes = target.headers(get, number);
        bytes.extend_from_slice(&frame(DATA, 0, stream(number), b"after the end"));
        bytes
    });
    under(&catalogue, "resets provoked by data", attack).await;

    let field = block(&[("x", &"y".repeat(16_000))]);
    for (what, continuation) in [("CONTINUATION", &field[..]), ("empty CONTINUATION", &[])] {
        let mut peer = target.connect(&[]).await;
        let attack = flood(what, &mut peer, |number| match number {
            0 => target.headers(END_STREAM, 0),
            _ => frame(CONTINUATION, 0, stream(0), continuation),
        });
        under(&catalogue, what, attack).await;
    }

    for (what, piece) in [
        ("empty DATA", frame(DATA, 0, stream(0), &[])),
        ("padding", frame(DATA, 8, stream(0), &[255; 256])),
        ("single bytes", frame(DATA, 0, stream(0), b"x")),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("answers to no PING", frame(PING, ACK, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("answers to no SETTINGS", frame(SETTINGS, ACK, 0, &[])),
        ("PRIORITY", frame(2, 0, stream(0), &[0, 0, 0, 0, 1])),
        ("an unknown type", frame(77, 0, 0, &[0; 100])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ] {
        let mut peer = target.connect(&[]).await;
        let attack = flood(what, &mut peer, |number| match number {
            0 => target.headers(END_HEADERS, 0),
            _ => piece.clone(),
        });
        under(&catalogue, what, attack).await;
    }
}

#[tokio::test]
async fn ds_06_a_window_that_never_opens_costs_little() {
    let catalogue = Catalogue::start().await;
    let target = Target::new(&catalogue, "/.well-known/oauth-authorization-server");
    let attack = async {
        let mut peers = Vec::new();
        for _ in 0..10 {
            let mut peer = target.connect(&[(INITIAL_WINDOW_SIZE, 0)]).await;
            for _ in 0..100 {
                let stream = peer.request(&target.fields(), &[]).await.unwrap();
                let answer = peer
                    .until(|frame| frame.kind == HEADERS && frame.stream == stream)
                    .await;
                assert_eq!(answer.unwrap().status(), Some(200));
            }
            peers.push(peer);
        }
    };
    under(&catalogue, "zero window", attack).await;
}

#[tokio::test]
async fn ds_06_more_streams_than_allowed_are_refused() {
    let catalogue = Catalogue::start().await;
    let target = Target::new(&catalogue, RA);
    let attack = async {
        let mut peer = target.connect(&[]).await;
        for number in 0..1_000 {
            // Requests whose body never comes.
            if peer.send(&target.headers(END_HEADERS, number)).await.is_err() {
                break;
            }
        }
        let refused = peer
            .until(|frame| matches!(frame.kind, RST_STREAM | GOAWAY) && frame.error() != Some(0))
            .await;
        let refused = refused.expect("a refusal before the end");
        assert!(
            matches!(refused.error(), Some(7 | 11)),
            "REFUSED_STREAM or ENHANCE_YOUR_CALM: {refused:?}"
        );
    };
    under(&catalogue, "streams", attack).await;
}

#[tokio::test]
async fn ds_01_ds_06_heads_that_are_too_much_over_http2() {
    let catalogue = Catalogue::start().await;
    let target = Target::new(&catalogue, "/healthz");
    let long = "y".repeat(1 << 20);
    let names: Vec<String> = (0..10_000).map(|number| format!("x-{number}")).collect();
    let path = format!("/{}", "a".repeat(64 << 10));
    for (what, more, path) in [
        ("1 MiB", vec![("x", long.as_str())], "/healthz"),
        (
            "10,000 fields",
            names.iter().map(|name| (name.as_str(), "1")).collect(),
            "/healthz",
        ),
        ("64 KiB of path", Vec::new(), path.as_str()),
    ] {
        let attack = async {
            let mut peer = target.connect(&[]).await;
            let mut fields = target.fields();
            fields[3].1 = path;
            fields.extend(more);
            let all = block(&fields);
            let pieces: Vec<&[u8]> = all.chunks(16_000).collect();
            for (number, piece) in pieces.iter().enumerate() {
                let kind = if number == 0 { HEADERS } else { CONTINUATION };
                let flags = if number == 0 { END_STREAM } else { 0 }
                    | if number + 1 == pieces.len() {
                        END_HEADERS
                    } else {
                        0
                    };
                if peer.send(&frame(kind, flags, stream(0), piece)).await.is_err() {
                    break;
                }
            }
            // 431 or 414 on the stream, its reset, or the end of the connection.
            let answer = peer
                .until(|frame| matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY))
                .await;
            if let Some(answer) = answer
                && answer.kind == HEADERS
            {
                assert!(
                    matches!(answer.status(), Some(431 | 414)),
                    "{what}: {:?}",
                    answer.status()
                );
            }
        };
        under(&catalogue, what, attack).await;
    }
}

#[tokio::test]
async fn ds_06_a_broken_frame_ends_the_connection() {
    let catalogue = Catalogue::start().await;
    let target = Target::new(&catalogue, "/healthz");
    for (what, bytes) in [
        ("a frame longer than allowed", vec![0xff; 100]),
        (
            "a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
        ),
        ("DATA without a stream", frame(DATA, 0, stream(0), b"x")),
        ("a pushed promise", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, &[])),
        ("a PING of seven bytes", frame(PING, 0, 0, &[0; 7])),
        (
            "a field block that is none",
            frame(HEADERS, END_HEADERS, stream(0), &[0xff; 10]),
        ),
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, END_HEADERS, stream(0), &[]),
        ),
    ] {
        let attack = async {
            let mut peer = target.connect(&[]).await;
            peer.send(&bytes).await.unwrap();
            let said = peer.closed(SOON).await;
            assert_ne!(said, Some(0), "{what}: an error, not a farewell");
        };
        under(&catalogue, what, attack).await;
    }
}

#[tokio::test]
async fn ds_06_over_tls_as_well() {
    let certificate = Certificate::new();
    let doorward = Doorward::builder()
        .config(&certificate.config())
        .public_url("https://gw.test:{port}")
        .tls(certificate.der.clone())
        .start()
        .await;
    let host = doorward.host();
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", host.as_str()),
        (":path", "/healthz"),
    ];
    let connect = || Http2::connect_tls(doorward.address(), "gw.test", certificate.der.clone(), &[]);
    let mut good = connect().await;
    let mut peer = connect().await;
    flood("rapid reset", &mut peer, |number| {
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &block(&fields));
        bytes.extend_from_slice(&frame(RST_STREAM, 0, stream(number), &8u32.to_be_bytes()));
        bytes
    })
    .await;
    let mut peer = connect().await;
    flood("PING", &mut peer, |_| frame(PING, 0, 0, &[0; 8])).await;
    good.request(&fields, &[]).await.unwrap();
    let answer = good.until(|frame| frame.kind == HEADERS).await.unwrap();
    assert_eq!(answer.status(), Some(200));
    assert!(doorward.is_alive());
}
