//! TLS ends in front of Doorward: the nginx settings that `docs/quick-start.md` gives, in a real nginx.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use doorward_testkit::http::Destination;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::port::Port;
use doorward_testkit::upstream::{Answer, Part, Upstream, event};
use doorward_testkit::{Doorward, PASSWORD, Site, eventually, mcp};
use serde_json::json;

/// An nginx that ends TLS for `https://mcp.example.test` and proxies as the documentation says.
struct Nginx {
    child: Child,
    address: SocketAddr,
    certificate: doorward_testkit::http::Certificate<'static>,
    _folder: tempfile::TempDir,
    _port: Port,
}

impl Nginx {
    async fn before(doorward: SocketAddr) -> Self {
        let folder = doorward_testkit::folder("doorward-e2e-");
        let made =
            rcgen::generate_simple_self_signed(vec!["mcp.example.test".into()]).expect("a certificate");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("a file in our own folder");
        };
        write("cert.pem", &made.cert.pem());
        write("key.pem", &made.signing_key.serialize_pem());
        let port = Port::reserve();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let location = documented().replace("127.0.0.1:8080", &doorward.to_string());
        write("nginx.conf", &configuration(folder.path(), address, &location));
        let child = Command::new(program())
            .args(["-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx starts (Debian package nginx-light): run `cargo xtask test --install`");
        eventually("nginx listens", Duration::from_secs(60), async || {
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        Self {
            child,
            address,
            certificate: made.cert.der().clone(),
            _folder: folder,
            _port: port,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // By signal, so that the master takes its worker along.
        doorward_testkit::command::kill(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}

fn program() -> &'static str {
    // Not on everybody's PATH.
    let debian = "/usr/sbin/nginx";
    if Path::new(debian).is_file() {
        debian
    } else {
        "nginx"
    }
}

/// The block that people copy.
fn documented() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/quick-start.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let block = page.split("```nginx\n").nth(1).expect("an nginx block");
    block.split("```").next().expect("its end").to_owned()
}

fn configuration(folder: &Path, address: SocketAddr, location: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address} ssl;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        {location}
    }}
}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn login_calls_and_streams_work_behind_the_documented_nginx() {
    let go_on = Arc::new(tokio::sync::Notify::new());
    let signal = Arc::clone(&go_on);
    let upstream = Upstream::scripted(move |request| {
        if request.json()["method"] != "tools/call" {
            return doorward_testkit::upstream::friendly(request);
        }
        let id = request.json()["id"].clone();
        let result = json!({ "resultType": "complete", "content": [{ "type": "text", "text": "done" }] });
        Answer::events(vec![
            event(
                None,
                &json!({ "jsonrpc": "2.0", "method": "notifications/progress",
                "params": { "progressToken": "p", "progress": 1 } }),
            ),
            Part::Wait(Arc::clone(&signal)),
            event(None, &json!({ "jsonrpc": "2.0", "id": id, "result": result })),
        ])
    });
    let doorward = Doorward::builder()
        .upstream(&upstream.url())
        .public_url("https://mcp.example.test")
        .user("alice", PASSWORD)
        .start()
        .await;
    let nginx = Nginx::before(doorward.address).await;
    let site = Site::at(
        "https://mcp.example.test",
        Destination {
            address: nginx.address,
            tls: Some(nginx.certificate.clone()),
        },
    );

    let challenge = mcp::call(&site, "/mcp", "t_read", &json!({})).send().await;
    assert_eq!(challenge.status, 401);
    let challenge = challenge
        .header("WWW-Authenticate")
        .unwrap_or_default()
        .to_owned();
    assert!(
        challenge.contains("https://mcp.example.test/.well-known/"),
        "{challenge}"
    );
    // Cookies are `Secure` and `__Host-` here, so this login also shows that those come through.
    let tokens = OAuthClient::native(&site)
        .await
        .login("alice", PASSWORD, &site.url("/mcp"))
        .await;

    let mut stream = mcp::call(&site, "/mcp", "t_read", &json!({}))
        .bearer(&tokens.access)
        .stream()
        .await;
    assert_eq!(stream.status, 200);
    let first = stream
        .event()
        .await
        .expect("the first event, while the call still runs");
    assert!(first.data.contains("notifications/progress"), "{first:?}");
    go_on.notify_one();
    let last = stream.event().await.expect("the result");
    assert!(last.data.contains("done"), "{last:?}");
}
