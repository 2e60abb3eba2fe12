use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use doorward_types::random::SystemRandom;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

struct Desk {
    standing: Mutex<Standing>,
    leads_to: Result<Url, String>,
    begun: AtomicUsize,
}

#[async_trait]
impl LoginDesk for Desk {
    async fn standing(&self) -> Standing {
        self.standing.lock().unwrap().clone()
    }

    async fn begin(&self) -> Result<Url, String> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.leads_to.clone()
    }
}

struct World {
    page: LoginPage,
    desk: Arc<Desk>,
    authority: String,
}

async fn world(leads_to: Result<&str, &str>) -> World {
    let details = LoginDetails {
        program: "notes <b>server</b>".into(),
        authorization_server: "as.example".into(),
        resource: "https://notes.example/mcp".into(),
        scopes: vec!["read".into(), "write".into()],
    };
    let desk = Arc::new(Desk {
        standing: Mutex::new(Standing::Wanted(details)),
        leads_to: leads_to
            .map(|url| Url::parse(url).unwrap())
            .map_err(str::to_owned),
        begun: AtomicUsize::new(0),
    });
    let page = LoginPage::bind(Arc::clone(&desk) as _, &SystemRandom)
        .await
        .unwrap();
    let authority = page
        .url()
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix("/login")
        .unwrap()
        .to_owned();
    World {
        page,
        desk,
        authority,
    }
}

impl World {
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let host = format!("Host: {}\r\n", self.authority);
        let host = if headers.contains("Host:") { "" } else { &host };
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\n{host}{headers}content-length: {length}\r\n\r\n{body}");
        let mut stream = TcpStream::connect(&self.authority).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8(reply).unwrap()
    }

    async fn csrf(&self) -> String {
        let page = self.ask("GET", "/login", "", "").await;
        let value = page.split("name=\"csrf\" value=\"").nth(1).unwrap();
        format!("csrf={}", value.split('"').next().unwrap())
    }

    fn origin(&self) -> String {
        format!("Origin: http://{}\r\n", self.authority)
    }

    fn begun(&self) -> usize {
        self.desk.begun.load(Ordering::SeqCst)
    }
}

fn status(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn x6_the_page_says_what_is_asked_for_and_opening_it_starts_nothing() {
    let world = world(Ok("https://as.example/authorize?state=s")).await;
    for headers in ["", "Sec-Purpose: prefetch\r\n"] {
        let page = world.ask("GET", "/login", headers, "").await;
        assert_eq!(status(&page), "200");
        for shown in [
            "as.example",
            "https://notes.example/mcp",
            "read, write",
            "notes &lt;b&gt;server",
        ] {
            assert!(page.contains(shown), "{shown}: {page}");
        }
        assert!(
            page.contains("frame-ancestors 'none'") && !page.contains("form-action"),
            "{page}"
        );
        assert!(
            !page.contains("<script") && !page.contains("<b>") && !page.contains("set-cookie"),
            "{page}"
        );
        assert!(page.contains("referrer-policy: same-origin"), "{page}");
    }
    assert_eq!(status(&world.ask("HEAD", "/login", "", "").await), "200");
    assert_eq!(world.begun(), 0);
    let csrf = world.csrf().await;
    let reply = world.ask("POST", "/login", &world.origin(), &csrf).await;
    assert_eq!(status(&reply), "303");
    assert!(
        reply.contains("location: https://as.example/authorize?state=s"),
        "{reply}"
    );
    assert!(reply.contains("referrer-policy: no-referrer"), "{reply}");
    assert_eq!(world.begun(), 1);
    *world.desk.standing.lock().unwrap() = Standing::LoggedIn;
    for (method, body) in [("GET", ""), ("POST", csrf.as_str())] {
        let page = world.ask(method, "/login", &world.origin(), body).await;
        assert!(
            page.contains("The login is done") && !page.contains("<form"),
            "{page}"
        );
    }
    assert_eq!(world.begun(), 1);
}

#[tokio::test]
async fn cl_11_only_our_own_page_presses_the_button() {
    let world = world(Ok("https://as.example/authorize")).await;
    let csrf = world.csrf().await;
    let origin = world.origin();
    let port = world.authority.rsplit(':').next().unwrap().to_owned();
    for (headers, body) in [
        (origin.as_str(), ""),
        (&origin, "csrf="),
        (&origin, "csrf=wrong"),
        (&origin, &format!("{csrf}&{csrf}")),
        (&origin, &format!("{csrf}&x={}", "y".repeat(2000))),
        ("", &csrf),
        ("Origin: null\r\n", &csrf),
        ("Origin: null\r\nSec-Fetch-Site: cross-site\r\n", &csrf),
        (
            "Origin: https://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
            &csrf,
        ),
        (&format!("Origin: http://localhost:{port}\r\n"), &csrf),
        (&format!("Origin: https://{}\r\n", world.authority), &csrf),
        (&format!("{origin}{origin}"), &csrf),
        (&format!("{origin}Host: evil.example\r\n"), &csrf),
        (&format!("{origin}Host: localhost:{port}\r\n"), &csrf),
    ] {
        let reply = world.ask("POST", "/login", headers, body).await;
        assert_eq!(status(&reply), "403", "{headers} {body}: {reply}");
    }
    for path in ["/", "/login/", "/callback", "/favicon.ico"] {
        assert_eq!(
            status(&world.ask("POST", path, &origin, &csrf).await),
            "404",
            "{path}"
        );
    }
    assert_eq!(status(&world.ask("PUT", "/login", &origin, &csrf).await), "405");
    assert_eq!(world.begun(), 0);
    let same = "Origin: null\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(status(&world.ask("POST", "/login", same, &csrf).await), "303");
}

#[tokio::test]
async fn cl_01_b20_b21_the_person_is_sent_to_nothing_but_a_web_page() {
    for hostile in [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "http://as.example/authorize",
        "https://user:password@as.example/",
    ] {
        let world = world(Ok(hostile)).await;
        let csrf = world.csrf().await;
        let reply = world.ask("POST", "/login", &world.origin(), &csrf).await;
        assert_eq!(status(&reply), "502", "{hostile}: {reply}");
        assert!(!reply.contains("location:"), "{reply}");
    }
    let world = world(Err("the server said <img src=x onerror=alert(1)>")).await;
    let csrf = world.csrf().await;
    let reply = world.ask("POST", "/login", &world.origin(), &csrf).await;
    assert_eq!(status(&reply), "502");
    assert!(
        reply.contains("could not start") && !reply.contains("<img"),
        "{reply}"
    );
    let url = world.page.url().to_owned();
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with("/login"),
        "{url}"
    );
}
