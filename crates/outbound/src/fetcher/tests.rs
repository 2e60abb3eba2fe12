//! The whole way over real TLS on loopback: a server that answers what a test says, a certificate authority of
//! its own, and a resolver that the test holds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use doorward_types::time::SystemClock;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const NEAR: Destination = Destination::Named {
    by_loopback_peer: true,
};
const FAR: Destination = Destination::Named {
    by_loopback_peer: false,
};

/// Answers names from a list, and counts.
struct Names {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 {
            Ok(answers.remove(0))
        } else {
            answers
                .first()
                .cloned()
                .ok_or_else(|| io::Error::other("no such name"))
        }
    }
}

struct World {
    fetcher: Fetcher,
    names: Arc<Names>,
    port: u16,
    connections: Arc<AtomicUsize>,
}

/// What the server does with a connection, after it has read the request.
#[derive(Clone)]
enum Behaviour {
    Answer(Vec<u8>),
    /// One byte every 20 ms, for ever.
    Drip(Vec<u8>),
    /// Sends this again and again.
    Endless(Vec<u8>),
    Silent,
}

fn ok(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

async fn world(behaviour: Behaviour, addresses: &[&[IpAddr]]) -> World {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::from_params(&authority, &key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["app.example".into()])
        .unwrap()
        .signed_by(&leaf_key, &issuer)
        .unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
        )
        .unwrap();
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let (acceptor, behaviour) = (acceptor.clone(), behaviour.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut request = vec![0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = serve(&mut stream, behaviour).await;
            });
        }
    });
    let names = Arc::new(Names {
        answers: Mutex::new(addresses.iter().map(|list| list.to_vec()).collect()),
        asked: AtomicUsize::new(0),
    });
    let fetcher = Fetcher::new(FetcherParts {
        roots: TlsRoots::new(root.pem().as_bytes()).unwrap(),
        resolver: Arc::clone(&names) as _,
        clock: Arc::new(SystemClock),
    });
    World {
        fetcher,
        names,
        port,
        connections,
    }
}

async fn serve<S: tokio::io::AsyncWrite + Unpin>(stream: &mut S, behaviour: Behaviour) -> io::Result<()> {
    match behaviour {
        Behaviour::Answer(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Behaviour::Drip(head) => {
            stream.write_all(&head).await?;
            loop {
                stream.write_all(b" ").await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Behaviour::Endless(bytes) => loop {
            stream.write_all(&bytes).await?;
        },
        Behaviour::Silent => std::future::pending().await,
    }
}

impl World {
    async fn get(&self, destination: Destination) -> Result<Fetched, FetchError> {
        self.fetcher.fetch(&self.url("app.example"), destination).await
    }

    fn url(&self, host: &str) -> Url {
        Url::parse(&format!("https://{host}:{}/client.json", self.port)).unwrap()
    }
}

const HERE: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST)];

#[tokio::test]
async fn g5_g8_a_document_is_read_over_tls_with_its_freshness() {
    let answer = ok("cache-control: max-age=120\r\n", "{}");
    let world = world(Behaviour::Answer(answer), &[HERE]).await;
    let fetched = world.get(NEAR).await.unwrap();
    assert_eq!(
        (&fetched.body[..], fetched.fresh_for),
        (&b"{}"[..], Some(Duration::from_secs(120)))
    );
    assert!(world.get(Destination::Configured).await.is_ok());
}

#[tokio::test]
async fn rg_06_nothing_is_dialled_at_an_address_that_is_not_public() {
    let world = world(Behaviour::Answer(ok("", "{}")), &[HERE]).await;
    assert!(matches!(world.get(FAR).await, Err(FetchError::Forbidden(_))));
    for literal in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "2130706433",
        "127.1",
    ] {
        let refused = world.fetcher.fetch(&world.url(literal), FAR).await;
        assert!(
            matches!(refused, Err(FetchError::Forbidden(_))),
            "{literal}: {refused:?}"
        );
    }
    assert_eq!(world.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn rg_07_the_judged_address_is_dialled_and_the_name_asked_once() {
    // The first answer is what was judged; a second question would lead to loopback.
    let public: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1))];
    for answers in [&[public, HERE][..], &[&[public[0], HERE[0]], HERE]] {
        let world = world(Behaviour::Answer(ok("", "{}")), answers).await;
        assert!(world.get(FAR).await.is_err());
        assert_eq!(world.names.asked.load(Ordering::SeqCst), 1);
        assert_eq!(world.connections.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn the_certificate_must_be_the_hosts() {
    let world = world(Behaviour::Answer(ok("", "{}")), &[HERE]).await;
    let other = world.fetcher.fetch(&world.url("other.example"), NEAR).await;
    assert_eq!(other, Err(FetchError::Tls));
    let strict = Fetcher::new(FetcherParts {
        roots: TlsRoots::new(b"").unwrap(),
        resolver: Arc::clone(&world.names) as _,
        clock: Arc::new(SystemClock),
    });
    assert_eq!(
        strict.fetch(&world.url("app.example"), NEAR).await,
        Err(FetchError::Tls)
    );
    assert!(TlsRoots::new(b"no certificate").is_err());
}

#[tokio::test]
async fn only_https_is_spoken() {
    let world = world(Behaviour::Answer(ok("", "{}")), &[HERE]).await;
    for url in [
        "http://app.example/",
        "https://u:p@app.example/",
        "ftp://app.example/",
        "file:///etc/passwd",
    ] {
        let url = Url::parse(url).unwrap();
        assert_eq!(
            world.fetcher.fetch(&url, Destination::Configured).await,
            Err(FetchError::NotHttps),
            "{url}"
        );
    }
}

#[tokio::test]
async fn rg_08_redirects_are_not_followed() {
    let answer = b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n".to_vec();
    let world = world(Behaviour::Answer(answer), &[HERE]).await;
    assert_eq!(world.get(NEAR).await, Err(FetchError::Redirect(302)));
    assert_eq!(world.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn rg_12_long_answers_are_cut_off_at_the_cap() {
    let declared =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11534336\r\n\r\n{".to_vec();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000)).into_bytes();
    let mut chunked =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..64 {
        chunked.extend_from_slice(&chunk);
    }
    let exact = ok("", &" ".repeat(client::MAX_BODY));
    let over = ok("", &" ".repeat(client::MAX_BODY + 1));
    let head = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(5000)).into_bytes();
    for (behaviour, expected) in [
        (Behaviour::Answer(exact), None),
        (Behaviour::Answer(over), Some(FetchError::TooLong)),
        (Behaviour::Answer(declared), Some(FetchError::TooLong)),
        (Behaviour::Answer(chunked), Some(FetchError::TooLong)),
        (Behaviour::Answer(head), Some(FetchError::Broken)),
        (Behaviour::Endless(b"x".repeat(4096)), Some(FetchError::Broken)),
    ] {
        let world = world(behaviour, &[HERE]).await;
        assert_eq!(world.get(NEAR).await.err(), expected);
    }
}

#[tokio::test]
async fn rg_12_slow_answers_end_and_two_callers_share_one_fetch() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n".to_vec();
    let (dripping, silent) = (
        world(Behaviour::Drip(head), &[HERE]).await,
        world(Behaviour::Silent, &[HERE]).await,
    );
    let begun = tokio::time::Instant::now();
    let (one, two, three) = tokio::join!(dripping.get(NEAR), dripping.get(NEAR), silent.get(NEAR));
    assert_eq!(one, Err(FetchError::TimedOut));
    assert_eq!(two, Err(FetchError::TimedOut));
    assert_eq!(three, Err(FetchError::TimedOut));
    // Five seconds is the rule; the rest is a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    assert_eq!(dripping.connections.load(Ordering::SeqCst), 1, "single flight");
    assert!(dripping.fetcher.0.flights.lock().unwrap().is_empty());
    assert!(dripping.fetcher.0.hosts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn rg_12_a_document_that_fails_is_left_alone_for_a_while_and_no_other_one() {
    let world = world(
        Behaviour::Answer(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec()),
        &[HERE],
    )
    .await;
    let mut last = Ok(());
    for _ in 0..12 {
        last = world.get(NEAR).await.map(drop);
    }
    assert_eq!(last, Err(FetchError::CoolingDown));
    assert!(world.connections.load(Ordering::SeqCst) <= 11);
    // Who names what does not exist locks nobody out of what does.
    let mut other = world.url("app.example");
    other.set_path("/other.json");
    let another = world.fetcher.fetch(&other, NEAR).await;
    assert_eq!(another, Err(FetchError::Status(500)));
}

#[tokio::test]
async fn rg_12_a_host_that_does_not_answer_is_left_alone_for_a_while() {
    let world = world(Behaviour::Answer(ok("", "{}")), &[HERE]).await;
    let at = |path: &str, port: u16| Url::parse(&format!("https://app.example:{port}/{path}")).unwrap();
    // Nothing listens where somebody just stopped to.
    let closed = {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut last = Err(FetchError::Busy);
    for attempt in 0..12 {
        last = world.fetcher.fetch(&at(&attempt.to_string(), closed), NEAR).await;
    }
    assert_eq!(last, Err(FetchError::CoolingDown));
    // A port is a host of its own: nobody closes 443 by naming another one.
    assert!(world.get(NEAR).await.is_ok());
}
