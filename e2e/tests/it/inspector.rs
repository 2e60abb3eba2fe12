//! The Inspector's web pages, in a browser: version 2, whose own backend talks to servers, and version 1 with
//! a direct connection, where the page itself does and `allowed_origins` decides.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use doorward_testkit::port::Port;
use doorward_testkit::{Doorward, PASSWORD, eventually};
use fantoccini::Locator;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;

use crate::chromium::{Chromium, PATIENCE};
use crate::node;

const TOOLS: [&str; 6] = [
    "add_note",
    "delete_note",
    "echo",
    "list_notes",
    "read_note",
    "whoami",
];

/// The page of version 1, served as its own server serves it: files, and the page itself for every other path.
struct Page {
    origin: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Page {
    async fn serve() -> Self {
        let files = node::inspector_page();
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let serving = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                let files = files.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = file(&files, request.uri().path());
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                });
                tokio::spawn(async move {
                    // A browser may leave at any time.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self {
            origin: format!("http://127.0.0.1:{port}"),
            serving,
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn file(files: &Path, path: &str) -> Response<Full<Bytes>> {
    let wanted = files.join(path.trim_start_matches('/'));
    let found: PathBuf = if wanted.is_file() {
        wanted
    } else {
        files.join("index.html")
    };
    let kind = match found.extension().and_then(|extension| extension.to_str()) {
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        _ => "text/html",
    };
    let body = std::fs::read(&found).expect("a file of the page");
    let mut response = Response::new(Full::new(body.into()));
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn demo(allowed_origins: &[&str]) -> Doorward {
    let origins: Value = allowed_origins.into();
    let config =
        format!("allowed_origins = {origins}\n[[servers]]\nname = \"mcp\"\npath = \"/mcp\"\ndemo = true\n");
    let server = Doorward::builder().config(&config);
    let server = server.public_url("http://localhost:{port}");
    // Calls that are let through are told of at this level only.
    let server = server.env("DOORWARD_LOG", "debug");
    server.user("alice", PASSWORD).start().await
}

/// Presses what carries this text, as soon as it is there.
async fn press_text(chromium: &Chromium, kind: &str, text: &str) {
    let path = format!("//{kind}[contains(normalize-space(.), '{text}')]");
    let wait = chromium.page.wait().at_most(PATIENCE);
    let found = wait.for_element(Locator::XPath(&path)).await.expect(text);
    found.click().await.expect(text);
}

/// Waits until the page shows all of these words.
async fn reads(chromium: &Chromium, words: &[&str]) {
    eventually(&format!("{words:?} on the page"), PATIENCE, async || {
        let text = chromium
            .page
            .execute("return document.body ? document.body.innerText : ''", Vec::new())
            .await
            .ok()?;
        let text = text.as_str()?.to_owned();
        words.iter().all(|word| text.contains(word)).then_some(())
    })
    .await;
}

async fn sign_in_and_approve(chromium: &Chromium) {
    chromium.shows("Sign in").await;
    chromium.sign_in("alice", PASSWORD).await;
    chromium.appears("button[value=approve]").await;
    chromium.press("button[value=approve]").await;
}

/// Opens the page of version 1 with a direct connection to `server` filled in, and presses "Connect".
async fn connect_directly(chromium: &Chromium, page: &Page, server: &Doorward) {
    chromium.goto(&page.origin).await;
    let script = "localStorage.setItem('lastConnectionType', 'direct'); \
                  localStorage.setItem('lastTransportType', 'streamable-http'); \
                  localStorage.setItem('lastSseUrl', arguments[0]);";
    chromium
        .page
        .execute(script, vec![json!(server.url("/mcp"))])
        .await
        .expect("the page can be told");
    chromium.goto(&page.origin).await;
    press_text(chromium, "button", "Connect").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_page_logs_in_from_an_allowed_origin() {
    let page = Page::serve().await;
    let server = demo(&[&page.origin]).await;
    let chromium = Chromium::start().await;
    connect_directly(&chromium, &page, &server).await;
    sign_in_and_approve(&chromium).await;
    reads(&chromium, &["Connected", "List Tools"]).await;
    press_text(&chromium, "button", "List Tools").await;
    reads(&chromium, &TOOLS).await;
    chromium.stop().await;
}

/// The control: what lets the page in is that its origin is named.
#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_page_is_kept_out_from_another_origin() {
    let page = Page::serve().await;
    let server = demo(&["http://localhost:6274"]).await;
    let chromium = Chromium::start().await;
    connect_directly(&chromium, &page, &server).await;
    reads(&chromium, &["Connection Error"]).await;
    // The operator is told why.
    let log = server.logged("origin").await;
    assert!(!log.contains("client registered"), "{log}");
    chromium.stop().await;
}

/// Version 2 as people start it.
struct Inspector {
    process: Child,
    /// With the token that its page needs.
    url: String,
    _folder: node::Folder,
    _ports: [Port; 2],
}

impl Inspector {
    async fn start(server: &Doorward, era: &str) -> Self {
        let folder = node::Folder::new();
        let ports = [Port::reserve(), Port::reserve()];
        let mut command = folder.node();
        command.arg(
            folder
                .path()
                .join("node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"),
        );
        command.args(["--web", "--transport", "http", "--protocol-era", era]);
        command.args(["--server-url", &server.url("/mcp")]);
        command
            .env("MCP_AUTO_OPEN_ENABLED", "false")
            .env("MCP_INSPECTOR_SECRET_STORE", "file")
            .env("CLIENT_PORT", ports[0].number().to_string())
            .env("MCP_SANDBOX_PORT", ports[1].number().to_string());
        let mut process = command
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the Inspector starts");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout was asked for")).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.expect("it prints UTF-8") {
                if let Some(at) = line
                    .find("http://")
                    .filter(|_| line.contains("MCP_INSPECTOR_API_TOKEN"))
                {
                    return line[at..].trim().to_owned();
                }
            }
            panic!("the Inspector ended before it was up");
        };
        let url = tokio::time::timeout(PATIENCE, address)
            .await
            .expect("it is up in time");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            process,
            url,
            _folder: folder,
            _ports: ports,
        }
    }

    async fn lists_the_tools(era: &str) {
        let server = demo(&[]).await;
        let mut inspector = Self::start(&server, era).await;
        let chromium = Chromium::start().await;
        chromium.goto(&inspector.url).await;
        let switch = "input[aria-label^='Connect or disconnect']";
        chromium.appears(switch).await;
        // The input lies below its own drawing of a switch.
        let script = format!("document.querySelector(\"{switch}\").click()");
        chromium
            .page
            .execute(&script, Vec::new())
            .await
            .expect("a switch");
        sign_in_and_approve(&chromium).await;
        reads(&chromium, &["Connected", "Tools"]).await;
        eventually("the Inspector lists the tools", PATIENCE, async || {
            server.logs().contains("tools/list").then_some(())
        })
        .await;
        chromium.stop().await;
        inspector.process.kill().await.expect("the Inspector ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_inspector_logs_in_and_lists_tools() {
    Inspector::lists_the_tools("auto").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_inspector_logs_in_and_lists_tools_in_the_legacy_era() {
    Inspector::lists_the_tools("legacy").await;
}
