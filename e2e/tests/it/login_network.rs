//! The network of a login in a network of the test's own, with its own DNS and canaries at the addresses that a server must
//! never make us call (CL-07, CL-09).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use doorward_client::error::Hop;
use doorward_client::http::{Http as _, HttpRequest, HttpResponse, NamedBy, TransportError};
use doorward_local_login::network::{Network, roots};
use doorward_outbound::{ClientOptions, GuardedClient};
use doorward_testkit::dns::{self, Record};
use doorward_testkit::documents::{Documents, Served};
use doorward_testkit::namespace;
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

/// Where the server is: looks public.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(45, 45, 45, 45);
/// What the loopback interface has besides its own.
const ADDRESSES: [&str; 10] = [
    "45.45.45.45",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.7.7",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.7",
    "203.0.113.7",
    "fc00::7",
    "2001:db8::7",
];

type Names = Arc<Mutex<HashMap<String, Vec<Vec<Record>>>>>;

struct World {
    documents: Documents,
    names: Names,
    canaries: Arc<AtomicUsize>,
    watched: Vec<IpAddr>,
}

fn record(address: &str) -> Record {
    match address.parse().unwrap() {
        IpAddr::V4(address) => Record::A(address),
        IpAddr::V6(address) => Record::Aaaa(address),
    }
}

fn alone<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    namespace::run(&format!("login_network::{test}"), &ADDRESSES, body);
}

impl World {
    async fn start() -> Self {
        let names: Names = Arc::default();
        let zone = Arc::clone(&names);
        dns::start(
            namespace::DNS,
            Arc::new(move |name, round| {
                let zone = zone.lock().unwrap();
                match zone.get(name) {
                    Some(rounds) => rounds.get(round).or(rounds.last()).cloned().unwrap_or_default(),
                    None if name.ends_with(".test") => vec![Record::A(PUBLIC)],
                    None => Vec::new(),
                }
            }),
        );
        let canaries = Arc::new(AtomicUsize::new(0));
        let watched: Vec<IpAddr> = ["127.0.0.1", "::1"]
            .iter()
            .chain(ADDRESSES.iter().skip(1))
            .map(|address| address.parse().unwrap())
            .collect();
        for address in &watched {
            for port in [443, 80] {
                let listener = TcpListener::bind((*address, port)).unwrap();
                let count = Arc::clone(&canaries);
                std::thread::spawn(move || {
                    for stream in listener.incoming() {
                        count.fetch_add(1, Ordering::SeqCst);
                        drop(stream);
                    }
                });
            }
        }
        let documents = Documents::start((PUBLIC, 443).into(), &["*.corp.test", "*.evil.test"]).await;
        documents.answer(|_| Served::json(&serde_json::json!({})));
        Self {
            documents,
            names,
            canaries,
            watched,
        }
    }

    fn name(&self, name: &str, rounds: Vec<Vec<Record>>) {
        self.names.lock().unwrap().insert(name.into(), rounds);
    }

    fn network(&self, server: &str) -> Network {
        let options = ClientOptions::new(roots(Some(&self.documents.authority()), &|_| None).unwrap());
        Network::new(GuardedClient::new(options), Url::parse(server).unwrap())
    }

    fn untouched(&self) {
        assert_eq!(
            self.canaries.load(Ordering::SeqCst),
            0,
            "somebody called a canary"
        );
    }

    /// The canaries count: otherwise none of these tests could fail. To be called last.
    fn canaries_count(&self) {
        self.untouched();
        for address in &self.watched {
            TcpStream::connect((*address, 443)).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.canaries.load(Ordering::SeqCst) < self.watched.len() {
            assert!(Instant::now() < deadline, "a canary does not count");
            std::thread::yield_now();
        }
    }
}

async fn ask(network: &Network, url: &str, named_by: NamedBy) -> Result<HttpResponse, TransportError> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer secret"));
    let request = HttpRequest {
        method: Method::GET,
        url: Url::parse(url).unwrap(),
        named_by,
        headers,
        body: None,
        hop: Hop::ServerMetadata,
    };
    network.send(request).await
}

#[test]
fn cl_07_b10_b12_what_a_public_server_names_is_called_nowhere_near() {
    alone(
        "cl_07_b10_b12_what_a_public_server_names_is_called_nowhere_near",
        async || {
            let world = World::start().await;
            let network = world.network("https://mcp.corp.test/mcp");
            let served = ask(&network, "https://as.corp.test/ok", NamedBy::Server).await;
            assert_eq!(served.unwrap().status, 200);
            let mapped = [
                "::ffff:127.0.0.1",
                "::ffff:10.1.2.3",
                "64:ff9b::7f00:1",
                "::127.0.0.1",
            ];
            let watched: Vec<String> = world.watched.iter().map(IpAddr::to_string).collect();
            let addresses = watched.iter().map(String::as_str).chain(mapped);
            for (n, address) in addresses.enumerate() {
                let name = format!("n{n}.evil.test");
                world.name(&name, vec![vec![record(address)]]);
                let mixed = format!("m{n}.evil.test");
                world.name(&mixed, vec![vec![Record::A(PUBLIC), record(address)]]);
                let literal = if address.contains(':') {
                    format!("[{address}]")
                } else {
                    address.to_owned()
                };
                for host in [name, mixed, literal] {
                    let refused = ask(&network, &format!("https://{host}/x"), NamedBy::Server).await;
                    assert!(
                        matches!(refused, Err(TransportError::Forbidden(_))),
                        "{host} {address}: {refused:?}"
                    );
                    let refused = ask(&network, &format!("http://{host}/x"), NamedBy::Server).await;
                    assert!(refused.is_err(), "{host} {address}: {refused:?}");
                }
            }
            for url in [
                "https://localhost/",
                "http://localhost/",
                "https://2130706433/",
                "https://0x7f.1/",
                "https://0/",
            ] {
                let refused = ask(&network, url, NamedBy::Server).await;
                assert!(
                    matches!(refused, Err(TransportError::Forbidden(_))),
                    "{url}: {refused:?}"
                );
            }
            world.canaries_count();
            assert_eq!(world.documents.seen().len(), 1);
        },
    );
}

#[test]
fn cl_07_b13_names_that_change_their_mind_gain_nothing() {
    alone(
        "cl_07_b13_names_that_change_their_mind_gain_nothing",
        async || {
            let world = World::start().await;
            let (public, near) = (Record::A(PUBLIC), Record::A(Ipv4Addr::LOCALHOST));
            // What a server names: public when it is judged, near whenever it is asked again.
            for n in 0..20 {
                let name = format!("r{n}.evil.test");
                world.name(&name, vec![vec![public.clone()], vec![near.clone()]]);
                let network = world.network("https://mcp.corp.test/mcp");
                let first = ask(&network, &format!("https://{name}/1"), NamedBy::Server).await;
                assert!(first.is_ok(), "{first:?}");
                let _ = ask(&network, &format!("https://{name}/2"), NamedBy::Server).await;
            }
            // The server itself: near when it is asked where it is, far when it is talked to.
            world.name("mcp.evil.test", vec![vec![near], vec![public]]);
            let network = world.network("https://mcp.evil.test/mcp");
            let server = Url::parse("https://mcp.evil.test/mcp").unwrap();
            let space = network.client().address_space(&server).await.unwrap();
            assert_eq!(space, doorward_outbound::AddressSpace::Loopback);
            assert!(ask(&network, server.as_str(), NamedBy::User).await.is_ok());
            for url in ["https://localhost/", "http://127.0.0.1/", "https://10.1.2.3/"] {
                let refused = ask(&network, url, NamedBy::Server).await;
                assert!(
                    matches!(refused, Err(TransportError::Forbidden(_))),
                    "{url}: {refused:?}"
                );
            }
            world.canaries_count();
        },
    );
}

#[test]
fn cl_07_cl_09_b13_redirects_lead_nowhere() {
    alone("cl_07_cl_09_b13_redirects_lead_nowhere", async || {
        let world = World::start().await;
        let network = world.network("https://mcp.corp.test/mcp");
        for status in ["301 x", "302 x", "303 x", "307 x", "308 x"] {
            for to in [
                "https://127.0.0.1/",
                "http://169.254.169.254/latest/meta-data",
                "https://x.evil.test/steal",
            ] {
                world
                    .documents
                    .answer(move |_| Served::reply(status, &format!("location: {to}\r\n"), b""));
                let before = world.documents.seen().len();
                let answer = ask(&network, "https://mcp.corp.test/mcp", NamedBy::User)
                    .await
                    .unwrap();
                assert!(answer.status.is_redirection());
                assert_eq!(world.documents.seen().len(), before + 1, "{status} {to}");
            }
        }
        world.canaries_count();
    });
}
