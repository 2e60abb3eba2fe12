//! CL-07: a server on the network that points this machine at itself and at its neighbours.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use doorward_testkit::client_home::{ClientHome, callback_of, visit};
use doorward_testkit::dns::{self, Record};
use doorward_testkit::evil::front::Authority;
use doorward_testkit::evil::{AUTHORIZE, Evil, MCP, REGISTER, RESOURCE_METADATA, SERVER_METADATA, TOKEN};
use doorward_testkit::namespace;
use serde_json::json;

/// Where the hostile server is: looks public, and leads nowhere else in here.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(45, 45, 45, 45);
/// Where a server of the user's own network is.
const OFFICE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
/// CAN: addresses that no server out there may make us call.
const CANARIES: [&str; 10] = [
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
const ADDRESSES: &[&str] = &[
    "45.45.45.45",
    "10.9.9.9",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.7.7",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.7",
    "fc00::7",
    "2001:db8::7",
];

/// Every way to write an address that must not be called.
const TARGETS: [&str; 30] = [
    "https://127.0.0.1",
    "https://127.0.0.1:80",
    "https://127.1",
    "https://0x7f000001",
    "https://2130706433",
    "https://0177.0.0.1",
    "https://0.0.0.0",
    "https://[::1]",
    "https://[::]",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:a01:203]",
    "https://[64:ff9b::7f00:1]",
    "https://localhost",
    "https://localhost.",
    "https://x.localhost",
    "https://10.1.2.3",
    "https://172.16.0.1",
    "https://192.168.7.7",
    "https://169.254.169.254",
    "https://100.64.0.1",
    "https://198.18.0.7",
    "https://[fc00::7]",
    "https://[2001:db8::7]",
    "https://inner.can.test",
    "https://alias.can.test",
    "https://rebind.can.test",
    "https://six.can.test",
    "http://127.0.0.1",
    "http://localhost",
    "http://169.254.169.254",
];

struct World {
    evil: Evil,
    authority: Authority,
    visits: Arc<AtomicUsize>,
}

impl World {
    /// A server `https://mcp.pub.test`, and canaries.
    async fn start() -> Self {
        Self::start_at("mcp.pub.test", PUBLIC).await
    }

    async fn start_at(host: &str, address: Ipv4Addr) -> Self {
        dns::start(
            namespace::DNS,
            Arc::new(|name, round| match name {
                "localhost" | "x.localhost" => vec![Record::A(Ipv4Addr::LOCALHOST)],
                "inner.can.test" => vec![Record::A(Ipv4Addr::new(10, 1, 2, 3))],
                "alias.can.test" => vec![Record::Cname("x.test".into()), Record::A(Ipv4Addr::LOCALHOST)],
                "six.can.test" => vec![Record::Aaaa("fc00::7".parse().unwrap())],
                // Once as it should be, then at home.
                "rebind.can.test" if round == 0 => vec![Record::A(PUBLIC)],
                "rebind.can.test" => vec![Record::A(Ipv4Addr::LOCALHOST)],
                name if name.ends_with(".office.test") => vec![Record::A(OFFICE)],
                name if name.ends_with(".pub.test") => vec![Record::A(PUBLIC)],
                _ => Vec::new(),
            }),
        );
        let visits = Arc::new(AtomicUsize::new(0));
        for canary in CANARIES {
            listen(canary, &visits);
        }
        let evil = Evil::named(&format!("https://{host}"));
        let authority = Authority::new(&["*.pub.test", "*.can.test", "*.office.test", "localhost"]);
        authority
            .front((address, 443).into(), evil.server().address())
            .await;
        Self {
            evil,
            authority,
            visits,
        }
    }

    fn home(&self) -> ClientHome {
        ClientHome::new().trusting(&self.authority.file())
    }

    /// Logs in; the test is the browser, which gets there by a way of its own.
    async fn log_in(&self, home: &ClientHome) -> doorward_testkit::command::Finished {
        let before = home.opened().len();
        let running = home.start_login(&self.evil.url(), &[]);
        let near = format!("http://{}", self.evil.server().address());
        while running.is_alive() {
            if let Some(url) = home.opened_urls().get(before) {
                let callback = callback_of(&url.replace(self.evil.base(), &near)).await;
                visit(&callback).await;
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        running.ended().await
    }

    async fn refuse(&self, home: &ClientHome, case: &str) {
        let finished = self.log_in(home).await;
        // A name that leads to the right place once was looked up once, and led there.
        let led_right = finished.code == 0 && case.contains("rebind");
        assert!(
            led_right || matches!(finished.code, 1 | 3),
            "{case}: {}",
            finished.stderr
        );
        assert_eq!(
            self.visits.load(Ordering::SeqCst),
            0,
            "{case}: a canary was called"
        );
        home.assert_clean(&finished, &self.evil.secrets()).await;
    }

    /// Refused also where `path` is not there.
    async fn refuse_with(&self, home: &ClientHome, path: &str, case: &str) {
        self.evil
            .instead(path, |_| doorward_testkit::upstream::Answer::empty(404));
        self.refuse(home, case).await;
        self.evil.behave_at(path);
    }

    /// The server behaves and lets us in, and the canaries count: otherwise none of these tests could fail.
    async fn end(&self) {
        self.evil.behave();
        let home = self.home();
        let finished = self.log_in(&home).await;
        assert_eq!(finished.code, 0, "the baseline logs in:\n{}", finished.stderr);
        assert_eq!(self.visits.load(Ordering::SeqCst), 0, "a canary was called");
        for canary in CANARIES {
            let address: IpAddr = canary.parse().unwrap();
            std::net::TcpStream::connect((address, 443)).unwrap();
        }
        doorward_testkit::eventually(
            "every canary counts",
            doorward_testkit::client_home::PATIENCE,
            async || (self.visits.load(Ordering::SeqCst) == CANARIES.len()).then_some(()),
        )
        .await;
    }
}

fn listen(address: &str, visits: &Arc<AtomicUsize>) {
    let address: IpAddr = address.parse().unwrap();
    for port in [443, 80] {
        let socket = SocketAddr::from((address, port));
        let listener = TcpListener::bind(socket).unwrap_or_else(|error| panic!("{socket}: {error}"));
        let visits = Arc::clone(visits);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                visits.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
    }
}

fn alone<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    namespace::run(&format!("client_hostile::network::{test}"), ADDRESSES, body);
}

#[test]
fn cl_07_b10_b12_resource_metadata_lead_to_no_inner_address() {
    alone(
        "cl_07_b10_b12_resource_metadata_lead_to_no_inner_address",
        async || {
            let world = World::start().await;
            let home = world.home();
            for target in TARGETS {
                let challenge = format!("Bearer resource_metadata=\"{target}/metadata\"");
                world.evil.set_header(MCP, "WWW-Authenticate", &challenge);
                // Without what the well-known place would say instead.
                world.refuse_with(&home, RESOURCE_METADATA, target).await;
            }
            world.end().await;
        },
    );
}

#[test]
fn cl_07_b10_b12_authorization_servers_are_at_no_inner_address() {
    alone(
        "cl_07_b10_b12_authorization_servers_are_at_no_inner_address",
        async || {
            let world = World::start().await;
            let home = world.home();
            for target in TARGETS {
                world.evil.edit(RESOURCE_METADATA, move |metadata| {
                    metadata["authorization_servers"] = json!([target]);
                });
                world.refuse(&home, target).await;
                world.evil.edit(RESOURCE_METADATA, move |metadata| {
                    metadata["authorization_servers"] = json!([format!("{target}/tenant")]);
                });
                world.refuse(&home, target).await;
            }
            assert_eq!(home.opened().len(), 0);
            world.end().await;
        },
    );
}

#[test]
fn cl_07_b10_b12_endpoints_are_at_no_inner_address() {
    alone("cl_07_b10_b12_endpoints_are_at_no_inner_address", async || {
        let world = World::start().await;
        for (member, path) in [("token_endpoint", TOKEN), ("registration_endpoint", REGISTER)] {
            for target in TARGETS {
                let home = world.home();
                world.evil.edit(SERVER_METADATA, move |metadata| {
                    metadata[member] = json!(format!("{target}{path}"));
                });
                world.refuse(&home, &format!("{member} {target}")).await;
            }
        }
        world.end().await;
    });
}

#[test]
fn cl_07_b13_a_redirect_leads_to_no_inner_address() {
    alone("cl_07_b13_a_redirect_leads_to_no_inner_address", async || {
        let world = World::start().await;
        for path in [RESOURCE_METADATA, SERVER_METADATA, REGISTER, TOKEN] {
            let home = world.home();
            for status in [301, 302, 303, 307, 308] {
                for target in [
                    "https://127.0.0.1",
                    "http://127.0.0.1",
                    "https://10.1.2.3",
                    "https://inner.can.test",
                ] {
                    world.evil.redirect(path, status, &format!("{target}{path}"));
                    world.refuse(&home, &format!("{path} {status} {target}")).await;
                }
            }
            world.evil.behave();
        }
        // The server itself: that somebody must log in is told by its metadata as well.
        let home = world.home();
        for status in [301, 302, 303, 307, 308] {
            world.evil.redirect(MCP, status, "https://127.0.0.1/mcp");
            let finished = world.log_in(&home).await;
            home.assert_clean(&finished, &world.evil.secrets()).await;
            assert_eq!(
                world.visits.load(Ordering::SeqCst),
                0,
                "{status}: a canary was called"
            );
        }
        world.end().await;
    });
}

/// A refresh and a logout much later, with metadata that have changed meanwhile.
#[test]
fn cl_07_later_requests_are_guarded_as_well() {
    alone("cl_07_later_requests_are_guarded_as_well", async || {
        let world = World::start().await;
        for target in ["https://127.0.0.1", "https://10.1.2.3", "https://inner.can.test"] {
            let home = world.home();
            world.evil.behave();
            assert_eq!(world.log_in(&home).await.code, 0);
            world.evil.expire_access_tokens();
            world.evil.edit(SERVER_METADATA, move |metadata| {
                metadata["token_endpoint"] = json!(format!("{target}{TOKEN}"));
                metadata["revocation_endpoint"] = json!(format!("{target}/revoke"));
            });
            let running = home.start_connect(&world.evil.url(), &["--no-browser", "--auth-timeout", "5"]);
            running.send(&super::initialize());
            let _ = tokio::time::timeout(std::time::Duration::from_secs(20), async {
                while running.is_alive() && running.messages().is_empty() {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            })
            .await;
            running.kill();
            let finished = home.run(&["logout", &world.evil.url()]).await;
            home.assert_clean(&finished, &world.evil.secrets()).await;
            assert_eq!(world.visits.load(Ordering::SeqCst), 0, "{target}");
        }
        world.end().await;
    });
}

/// A server in the user's own network may name its neighbours, not this machine.
#[test]
fn cl_07_b12_a_server_nearby_may_not_point_nearer() {
    alone("cl_07_b12_a_server_nearby_may_not_point_nearer", async || {
        let world = World::start_at("mcp.office.test", OFFICE).await;
        let home = world.home();
        for target in [
            "https://127.0.0.1",
            "https://localhost",
            "https://[::1]",
            "https://169.254.169.254",
        ] {
            world.evil.edit(RESOURCE_METADATA, move |metadata| {
                metadata["authorization_servers"] = json!([target]);
            });
            world.refuse(&home, target).await;
        }
        assert_eq!(world.evil.seen(AUTHORIZE).len(), 0);
        world.end().await;
    });
}
