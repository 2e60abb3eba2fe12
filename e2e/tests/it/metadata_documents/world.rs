//! The network: a site with documents at a public-looking address, canaries at the others, DNS for both.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use doorward_testkit::dns::{self, Record};
use doorward_testkit::documents::{Documents, Served};
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::server::Builder;
use doorward_testkit::{Doorward, PASSWORD, namespace};
use serde_json::{Value, json};

use crate::tls::Certificate;

/// Where the documents are: looks public, and leads nowhere else in here.
pub(super) const PUBLIC: Ipv4Addr = Ipv4Addr::new(45, 45, 45, 45);
/// Addresses that must never be called (127.0.0.1 and ::1 are there as well).
pub(super) const PRIVATE: [&str; 10] = [
    "127.0.0.1",
    "::1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.7.7",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.7",
    "fc00::7",
    "2001:db8::7",
];
/// What the loopback interface has besides its own.
pub(super) const ADDRESSES: &[&str] = &[
    "45.45.45.45",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.7.7",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.7",
    "fc00::7",
    "2001:db8::7",
];

/// An ordinary client.
pub(super) const APP: &str = "https://app.apps.test/client.json";

/// A metadata document.
pub(super) fn document(id: &str, name: &str, redirects: &[&str]) -> Value {
    json!({ "client_id": id, "client_name": name, "redirect_uris": redirects,
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none" })
}

type Names = Arc<Mutex<HashMap<String, Vec<Vec<Record>>>>>;

pub(super) struct World {
    pub(super) doorward: Doorward,
    pub(super) documents: Documents,
    names: Names,
    paths: Mutex<HashMap<String, Served>>,
    canaries: Arc<AtomicUsize>,
    _certificate: Certificate,
}

impl World {
    pub(super) async fn start(config: &str) -> Self {
        Self::start_with(config, |builder| builder).await
    }

    pub(super) async fn start_with(config: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
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
        for address in PRIVATE {
            canary(address, &canaries);
        }
        let documents = Documents::start((PUBLIC, 443).into(), &["*.apps.test", "*.evil.test"]).await;
        let certificate = Certificate::new();
        let config = format!(
            "{}\n[outbound]\ncertificates = \"{}\"\n\n{config}",
            certificate.config(),
            documents.authority().display()
        );
        let builder = Doorward::builder()
            .config(&config)
            .public_url("https://gw.test:{port}")
            .tls(certificate.der.clone())
            .user("alice", PASSWORD);
        let doorward = change(builder).start().await;
        Self {
            doorward,
            documents,
            names,
            paths: Mutex::default(),
            canaries,
            _certificate: certificate,
        }
    }

    /// What a name is, each time it is asked for; the last one stays.
    pub(super) fn name(&self, name: &str, rounds: Vec<Vec<Record>>) {
        self.names.lock().unwrap().insert(name.into(), rounds);
    }

    /// A client with this id, as if it had been registered.
    pub(super) fn client(&self, id: &str, redirect_uri: &str) -> OAuthClient {
        OAuthClient {
            site: (*self.doorward).clone(),
            id: id.into(),
            redirect_uri: redirect_uri.into(),
            registration: Value::Null,
        }
    }

    pub(super) fn resource(&self) -> String {
        self.doorward.url("/mcp")
    }

    /// One path serves this from now on; the others go on as they do.
    pub(super) fn source(&self, path: &str, served: Served) {
        let mut paths = self.paths.lock().unwrap();
        paths.insert(path.into(), served);
        let paths = paths.clone();
        self.documents.answer(move |seen| {
            let served = paths.get(seen.path()).cloned();
            served.unwrap_or_else(|| Served::reply("404 Not Found", "", b""))
        });
    }

    /// Every path serves this document from now on.
    pub(super) fn serve(&self, document: Value) {
        self.documents.answer(move |_| Served::json(&document));
    }

    pub(super) fn serve_with(&self, document: Value, headers: &[(&str, &str)]) {
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        self.documents
            .answer(move |_| Served::Json(document.to_string(), headers.clone()));
    }

    /// The canaries count: otherwise none of these tests could fail. To be called last.
    pub(super) fn assert_canaries_count(&self) {
        self.assert_untouched();
        for address in PRIVATE {
            let address: IpAddr = address.parse().unwrap();
            std::net::TcpStream::connect((address, 443)).unwrap();
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while self.canaries.load(Ordering::SeqCst) < PRIVATE.len() {
            assert!(std::time::Instant::now() < deadline, "a canary does not count");
            std::thread::yield_now();
        }
    }

    /// CAN=0.
    #[track_caller]
    pub(super) fn assert_untouched(&self) {
        assert_eq!(
            self.canaries.load(Ordering::SeqCst),
            0,
            "somebody called a canary"
        );
        assert!(self.doorward.is_alive());
    }
}

/// Counts connections to the ports that an https client or a metadata service would use.
fn canary(address: &str, count: &Arc<AtomicUsize>) {
    let address: IpAddr = address.parse().unwrap();
    for port in [443, 80] {
        let listener = TcpListener::bind((address, port))
            .unwrap_or_else(|error| panic!("a canary at {address}:{port}: {error}"));
        let count = Arc::clone(count);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
    }
}
