//! CL-11: the callback listener, attacked by neighbours.

use doorward_testkit::client_home::{ClientHome, Running, callback_of, visit};
use doorward_testkit::evil::{Evil, TOKEN};
use doorward_testkit::http::{self, Reply};
use doorward_testkit::{namespace, raw};
use tokio::io::AsyncWriteExt as _;
use url::Url;

struct Waiting {
    evil: Evil,
    home: ClientHome,
    running: Running,
    callback: Url,
}

impl Waiting {
    async fn start(more: &[&str]) -> Self {
        let (evil, home) = (Evil::start(), ClientHome::new());
        let running = home.start_login(&evil.url(), more);
        let url = home.opened_url(0, &running).await;
        let callback = Url::parse(&callback_of(&url).await).unwrap();
        Self {
            evil,
            home,
            running,
            callback,
        }
    }

    fn at(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.callback.origin().ascii_serialization())
    }

    fn good(&self) -> String {
        format!("{}?{}", self.callback.path(), self.callback.query().unwrap())
    }

    fn socket(&self) -> std::net::SocketAddr {
        format!("127.0.0.1:{}", self.callback.port().unwrap())
            .parse()
            .unwrap()
    }

    /// Nothing of that was taken for the answer, and the right one still counts.
    async fn still_logs_in(self) {
        assert_eq!(self.evil.seen(TOKEN).len(), 0, "nothing was taken for the answer");
        assert!(self.running.is_alive(), "{}", self.running.stderr());
        let page = visit(self.callback.as_str()).await.expect("a page");
        assert_page(&page);
        let finished = self.running.ended().await;
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        self.home.assert_clean(&finished, &self.evil.secrets()).await;
    }
}

/// A page that runs nothing, loads nothing, is kept by nobody and tells nobody where it was.
#[track_caller]
fn assert_page(reply: &Reply) {
    let csp = reply.header("Content-Security-Policy").unwrap_or_default();
    assert!(csp.contains("default-src 'none'"), "{csp}");
    assert!(!csp.contains("unsafe"), "{csp}");
    assert!(csp.contains("frame-ancestors 'none'"), "{csp}");
    for (name, value) in [
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ] {
        assert!(
            reply.header(name).is_some_and(|have| have.contains(value)),
            "{name}: {:?}",
            reply.headers
        );
    }
    let text = reply.text().to_lowercase();
    let tags: Vec<_> = text
        .split('<')
        .skip(1)
        .map(|rest| rest.split(['>', ' ']).next())
        .collect();
    for tag in tags {
        let tag = tag.unwrap_or_default().trim_start_matches(['/', '!']);
        let harmless = [
            "doctype",
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "header",
            "main",
            "h1",
            "p",
            "blockquote",
        ];
        assert!(harmless.contains(&tag), "<{tag}> in {text}");
    }
    assert!(!text.contains("http-equiv"), "{text}");
}

#[tokio::test]
async fn cl_11_wrong_paths_hosts_and_methods_are_refused_and_the_login_goes_on() {
    let waiting = Waiting::start(&[]).await;
    let good = waiting.good();
    let query = waiting.callback.query().unwrap();
    for path in [
        "/",
        "/favicon.ico",
        "/callback/",
        "/Callback",
        "/callback2",
        "/x/../callback2",
        "//callback",
        "/%63allback",
        "/robots.txt",
    ] {
        let reply = http::get(&waiting.at(&format!("{path}?{query}"))).send().await;
        assert_eq!(reply.status, 404, "{path}");
    }
    let port = waiting.callback.port().unwrap();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1:{}", port ^ 1),
        "127.0.0.1@evil.example".into(),
        String::new(),
    ] {
        let reply = http::get(&waiting.at(&good)).header("Host", &host).send().await;
        assert_eq!(reply.status, 403, "Host {host:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let reply = http::Request::new(method, &waiting.at(&good)).send().await;
        assert_eq!(reply.status, 405, "{method}");
        assert!(reply.header("Access-Control-Allow-Origin").is_none());
    }
    waiting.still_logs_in().await;
}

#[tokio::test]
async fn cl_11_raw_rubbish_and_slow_neighbours_do_not_stop_a_login() {
    let waiting = Waiting::start(&[]).await;
    let good = waiting.good();
    let host = format!("127.0.0.1:{}", waiting.callback.port().unwrap());
    // They say half a request and stay.
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut socket = tokio::net::TcpStream::connect(waiting.socket()).await.unwrap();
        socket.write_all(b"GET /callback?").await.unwrap();
        slow.push(socket);
    }
    for bytes in [
        format!("GET {good} HTTP/1.1\r\n\r\n"),
        format!("GET {good} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n"),
        format!("GET {good} HTTP/1.1\r\nHost: evil.example\r\nHost: {host}\r\n\r\n"),
        format!("GET http://evil.example{good} HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        format!(
            "GET /callback?{} HTTP/1.1\r\nHost: {host}\r\n\r\n",
            "x".repeat(1 << 20)
        ),
        format!(
            "GET /callback HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n",
            "x".repeat(1 << 20)
        ),
        "\u{16}\u{3}\u{1}\u{2}\u{0}".into(),
        "\r\n\r\n\r\n".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
    ] {
        let shown = bytes.get(..60.min(bytes.len())).unwrap_or_default().to_owned();
        let mut socket = tokio::net::TcpStream::connect(waiting.socket()).await.unwrap();
        // It may be cut off before all is written.
        let _ = socket.write_all(bytes.as_bytes()).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut answer);
        let _ = tokio::time::timeout(http::PATIENCE, read).await.expect("an end");
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{shown:?}");
    }
    waiting.still_logs_in().await;
    drop(slow);
}

#[tokio::test]
async fn cl_11_what_a_server_says_is_shown_as_text() {
    let nasty = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>";
    for name in ["error", "error_description", "error_uri"] {
        let waiting = Waiting::start(&[]).await;
        let (state, iss) = {
            let get = |wanted: &str| {
                waiting
                    .callback
                    .query_pairs()
                    .find(|(name, _)| name == wanted)
                    .unwrap()
                    .1
                    .into_owned()
            };
            (get("state"), get("iss"))
        };
        let mut url = waiting.callback.clone();
        {
            let mut pairs = url.query_pairs_mut();
            pairs
                .clear()
                .append_pair("state", &state)
                .append_pair("iss", &iss);
            if name != "error" {
                pairs.append_pair("error", "access_denied");
            }
            pairs.append_pair(name, nasty);
        }
        let page = http::get(url.as_str()).send().await;
        assert_page(&page);
        let finished = waiting.running.ended().await;
        assert_eq!(finished.code, 1, "{name}: {}", finished.stderr);
        assert_eq!(waiting.evil.seen(TOKEN).len(), 0);
        waiting
            .home
            .assert_clean(&finished, &waiting.evil.secrets())
            .await;
    }
}

/// Nobody on the network reaches it: not at this machine's address, and not over the other loopback family either.
#[test]
fn cl_11_s4_it_listens_on_loopback_only() {
    namespace::run(
        "client_hostile::listener::cl_11_s4_it_listens_on_loopback_only",
        &["45.45.45.45", "10.1.2.3", "2001:db8::7"],
        async || {
            for more in [&[][..], &["--callback-host", "localhost"][..]] {
                let waiting = Waiting::start(more).await;
                let port = waiting.callback.port().unwrap();
                for address in ["45.45.45.45", "10.1.2.3", "[2001:db8::7]"] {
                    let tried = tokio::net::TcpStream::connect(format!("{address}:{port}")).await;
                    assert!(tried.is_err(), "{address}:{port} answers ({more:?})");
                }
                // The kernel's own word for it.
                let listening = doorward_listens(&waiting.running);
                assert!(!listening.is_empty(), "it listens somewhere");
                for address in listening {
                    assert!(address.ip().is_loopback(), "{address}");
                }
                let reply = raw::send(
                    waiting.socket(),
                    format!(
                        "GET / HTTP/1.1\r\nHost: {}:{port}\r\n\r\n",
                        waiting.callback.host_str().unwrap()
                    )
                    .as_bytes(),
                )
                .await;
                assert_eq!(reply.status, 404, "the check can succeed");
                waiting.still_logs_in().await;
            }
        },
    );
}

/// The sockets on which a process listens.
fn doorward_listens(running: &Running) -> Vec<std::net::SocketAddr> {
    let folder = format!("/proc/{}/fd", running.pid());
    let inodes: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.ok()?.path()).ok()?;
            let text = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(text.to_owned())
        })
        .collect();
    let mut out = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text =
            std::fs::read_to_string(format!("/proc/{}/net/{table}", running.pid())).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let (Some(local), Some(&"0A"), Some(inode)) = (words.get(1), words.get(3), words.get(9)) else {
                continue;
            };
            if inodes.iter().any(|have| have == inode) {
                out.push(socket(local));
            }
        }
    }
    out
}

/// `0100007F:1F90` as the kernel writes an address.
fn socket(text: &str) -> std::net::SocketAddr {
    let (address, port) = text.split_once(':').unwrap();
    let words: Vec<u32> = (0..address.len() / 8)
        .map(|at| u32::from_str_radix(&address[at * 8..at * 8 + 8], 16).unwrap())
        .collect();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ip: std::net::IpAddr = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => four.into(),
        Err(_) => <[u8; 16]>::try_from(bytes.as_slice()).unwrap().into(),
    };
    (ip, u16::from_str_radix(port, 16).unwrap()).into()
}
