//! The catalogue's fixture (two protected servers, two users), its notation for results, and what is
//! checked after every case.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use doorward_testkit::browser::{Browser, Page};
use doorward_testkit::http::{PATIENCE, Reply};
use doorward_testkit::leak::Secrets;
use doorward_testkit::oauth::{Approved, OAuthClient, Pkce, Tokens, parameter};
use doorward_testkit::server::Builder;
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, mcp};
use serde_json::json;
use tokio::sync::OnceCell;

pub(crate) const RA: &str = "/a/mcp";
pub(crate) const RB: &str = "/b/mcp";

/// Two servers with an upstream each, users alice and bob.
pub(crate) struct Catalogue {
    pub(crate) doorward: Doorward,
    pub(crate) up_a: Upstream,
    pub(crate) up_b: Upstream,
    alice: OnceCell<Browser>,
    good: OnceCell<Mutex<Tokens>>,
    pub(crate) secrets: Mutex<Secrets>,
}

impl Catalogue {
    pub(crate) async fn start() -> Self {
        Self::start_with(Doorward::builder()).await
    }

    pub(crate) async fn start_with(builder: Builder) -> Self {
        let (up_a, up_b) = (Upstream::start(), Upstream::start());
        let config = two_servers(&up_a.url(), &up_b.url());
        let builder = builder
            .config(&config)
            .user("alice", PASSWORD)
            .user_in("bob", PASSWORD, &["eng"]);
        let doorward = builder.start().await;
        Self {
            doorward,
            up_a,
            up_b,
            alice: OnceCell::new(),
            good: OnceCell::new(),
            secrets: Mutex::default(),
        }
    }

    pub(crate) fn ra(&self) -> String {
        self.doorward.url(RA)
    }

    pub(crate) fn rb(&self) -> String {
        self.doorward.url(RB)
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.doorward.public_url
    }

    /// N1: a native client.
    pub(crate) async fn n1(&self) -> OAuthClient {
        OAuthClient::register(&self.doorward, "N1", "http://127.0.0.1/cb").await
    }

    /// C1: a public client on the web.
    pub(crate) async fn c1(&self) -> OAuthClient {
        OAuthClient::register(&self.doorward, "C1", "https://c1.test/cb").await
    }

    /// C2: another one.
    pub(crate) async fn c2(&self) -> OAuthClient {
        OAuthClient::register(&self.doorward, "C2", "https://c2.test/cb").await
    }

    /// A browser in which alice is signed in; each caller gets a copy.
    pub(crate) async fn alice(&self) -> Browser {
        let browser = self.alice.get_or_init(|| async {
            let client = self.n1().await;
            let mut browser = Browser::new(&self.doorward);
            let url = client.authorize_url(&Pkce::new(), &self.ra());
            let page = browser.sign_in(&url, "alice", PASSWORD).await;
            assert!(page.form_with("decision").is_some(), "signed in: {}", page.text());
            browser
        });
        browser.await.clone()
    }

    /// A code that alice just approved for `client` and RA.
    pub(crate) async fn code(&self, client: &OAuthClient) -> Approved {
        let approved = client
            .approve(&mut self.alice().await, "alice", PASSWORD, &self.ra())
            .await;
        self.secrets.lock().unwrap().add("code", &approved.code);
        approved
    }

    /// Tokens of alice for `client` and RA.
    pub(crate) async fn tokens(&self, client: &OAuthClient) -> Tokens {
        let approved = self.code(client).await;
        let tokens = Tokens::from_reply(&client.redeem(&approved).await);
        self.keep(&tokens);
        tokens
    }

    /// Remembers tokens for the leak check.
    pub(crate) fn keep(&self, tokens: &Tokens) {
        let mut secrets = self.secrets.lock().unwrap();
        secrets.add_jwt("access token", &tokens.access);
        if let Some(refresh) = &tokens.refresh {
            secrets.add("refresh token", refresh);
        }
    }

    /// A good access token of alice for RA, the same for every caller.
    pub(crate) async fn t(&self) -> String {
        let good = self.good.get_or_init(|| async {
            let client = OAuthClient::register(&self.doorward, "baseline", "http://localhost/baseline").await;
            Mutex::new(self.tokens(&client).await)
        });
        good.await.lock().unwrap().access.clone()
    }

    /// `MCP{…}` to RA without a token, recognisable by `marker`.
    pub(crate) fn call(&self, marker: &str) -> doorward_testkit::http::Request {
        self.call_at(RA, marker)
    }

    pub(crate) fn call_at(&self, path: &str, marker: &str) -> doorward_testkit::http::Request {
        mcp::call(&self.doorward, path, "t_read", &json!({ "marker": marker }))
    }

    /// What is checked after every case: the process lives, a good baseline answers soon, no secret is
    /// in the logs.
    pub(crate) async fn still_good(&self) {
        let token = self.t().await;
        let begun = Instant::now();
        let reply = self.call("baseline").bearer(&token).send().await;
        // One second on an idle machine; this one may run the whole suite at once.
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "a good call took {:?}",
            begun.elapsed()
        );
        assert_eq!(mcp::text_of(&reply), "t_read ok");
        assert!(self.doorward.is_alive(), "{}", self.doorward.logs());
        let logs = self.doorward.logs();
        for bad in ["panicked at", "stack backtrace"] {
            assert!(!logs.contains(bad), "the log holds {bad:?}:\n{logs}");
        }
        self.secrets
            .lock()
            .unwrap()
            .assert_absent("the log", logs.as_bytes());
    }

    /// U401: not let in, told how to log in, nothing forwarded.
    #[track_caller]
    pub(crate) fn assert_u401(&self, reply: &Reply, path: &str, credential: bool) {
        assert_eq!(reply.status, 401, "{}", reply.text());
        let challenge = reply.header("WWW-Authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer "), "Bearer first: {challenge}");
        let metadata = format!(
            "resource_metadata=\"{}/.well-known/oauth-protected-resource{path}\"",
            self.issuer()
        );
        assert!(challenge.contains(&metadata), "{challenge}");
        let scope = format!(
            "scope=\"{}\"",
            path.trim_start_matches('/').split('/').next().unwrap()
        );
        assert!(challenge.contains(&scope), "{challenge}");
        assert_eq!(
            challenge.contains("error=\"invalid_token\""),
            credential,
            "{challenge}"
        );
        assert_eq!(challenge.contains("error="), credential, "{challenge}");
    }

    /// REDIR(errors): back to the client with an error, the exact state and the issuer, no code.
    #[track_caller]
    pub(crate) fn assert_redirected(
        &self,
        reply: &Reply,
        redirect_uri: &str,
        state: Option<&str>,
        errors: &[&str],
    ) {
        assert!(
            matches!(reply.status, 302 | 303),
            "a redirect, not {}: {}",
            reply.status,
            reply.text()
        );
        let location = reply.location().expect("a Location");
        assert!(
            location.starts_with(redirect_uri),
            "{location} begins with {redirect_uri}"
        );
        let error = parameter(location, "error").unwrap_or_else(|| panic!("an error in {location}"));
        assert!(errors.contains(&error.as_str()), "{error} is one of {errors:?}");
        assert_eq!(parameter(location, "state").as_deref(), state, "{location}");
        assert_eq!(
            parameter(location, "iss").as_deref(),
            Some(self.issuer()),
            "{location}"
        );
        assert_eq!(parameter(location, "code"), None, "{location}");
        assert!(!location.contains("access_token"), "{location}");
    }
}

/// Runs `doorward ARGS` on a server's data, and kills it if it still runs so long after a file of the data folder has
/// appeared, which the command makes on its way. Whether it had finished.
pub(crate) fn killed_after(doorward: &Doorward, args: &[&str], file: &str, delay: Duration) -> bool {
    let mut command = doorward_testkit::command::hermetic(&doorward.work);
    command
        .args(args)
        .arg("--data")
        .arg(&doorward.data)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let path = doorward.data.join(file);
    let end = Instant::now() + PATIENCE;
    while !path.exists() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "{args:?} makes {file}");
        std::thread::yield_now();
    }
    let moment = Instant::now() + delay;
    while Instant::now() < moment {
        std::thread::yield_now();
    }
    let _ = child.kill();
    child.wait().unwrap().success()
}

/// Limits that the catalogue's attacks do not meet: what they attack lies behind them.
pub(crate) const AMPLE: &str = "[limits]\ncalls = \"1000000/m\"\ntool = \"1000000/m\"\ndiscovery = \"1000000/m\"\n\
                                refused = \"1000000/m\"\nstreams = 100000\n\n";

pub(crate) fn two_servers(a: &str, b: &str) -> String {
    format!(
        "{AMPLE}[[servers]]\nname = \"a\"\npath = \"{RA}\"\nupstream = \"{a}\"\n\n\
         [[servers]]\nname = \"b\"\npath = \"{RB}\"\nupstream = \"{b}\"\n"
    )
}

/// PAGE: an error page that goes nowhere and repeats nothing unescaped.
#[track_caller]
pub(crate) fn assert_page(reply: &Reply) {
    assert!(
        (400..500).contains(&reply.status),
        "a page with 4xx, not {}: {}",
        reply.status,
        reply.text()
    );
    assert_eq!(reply.location(), None);
    assert!(reply.headers.get("Refresh").is_none());
    let text = reply.text();
    for raw in ["<svg", "onload=", "<script>alert", "javascript:"] {
        assert!(!text.contains(raw), "unescaped {raw}: {text}");
    }
}

/// T(errors): an OAuth error as RFC 6749 §5.2 wants it, no token.
#[track_caller]
pub(crate) fn assert_t(reply: &Reply, errors: &[&str]) {
    let error = reply
        .oauth_error()
        .unwrap_or_else(|| panic!("an OAuth error: {} {}", reply.status, reply.text()));
    assert!(
        errors.contains(&error.as_str()),
        "{error} is one of {errors:?}: {}",
        reply.text()
    );
    let status = if error == "invalid_client" { 401 } else { 400 };
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_no_store(reply);
    assert!(reply.json().get("access_token").is_none());
    assert!(reply.json().get("refresh_token").is_none());
}

#[track_caller]
pub(crate) fn assert_no_store(reply: &Reply) {
    let value = reply.header("Cache-Control").unwrap_or_default();
    assert!(value.contains("no-store"), "no-store: {:?}", reply.headers);
}

/// A GET by a browser without cookies that follows nothing.
pub(crate) async fn look(catalogue: &Catalogue, url: &str) -> Reply {
    catalogue
        .doorward
        .get(url)
        .header("Accept", "text/html")
        .send()
        .await
}

/// The same in a browser with a session.
pub(crate) async fn look_as(browser: &Browser, url: &str) -> Page {
    browser.clone().visit("GET", url, &[], "none").await
}

/// Runs requests at the same time and collects their answers.
pub(crate) async fn all_at_once(requests: Vec<doorward_testkit::http::Request>) -> Vec<Reply> {
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|request| tokio::spawn(request.send()))
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(
            tokio::time::timeout(PATIENCE, task)
                .await
                .expect("answers in time")
                .expect("no panic"),
        );
    }
    replies
}

/// Changes the last base64url character of a JWS so that strict decoders refuse it and lenient ones
/// read the same bytes: only its unused bits differ.
pub(crate) fn non_canonical(token: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = *token.as_bytes().last().unwrap();
    let value = ALPHABET.iter().position(|letter| *letter == last).unwrap();
    format!("{}{}", &token[..token.len() - 1], char::from(ALPHABET[value ^ 1]))
}

/// A family's server, started by the first test that needs it and shared by all of its module.
#[macro_export]
macro_rules! shared_catalogue {
    () => {
        async fn catalogue() -> &'static $crate::support::Catalogue {
            static SHARED: tokio::sync::OnceCell<$crate::support::Catalogue> =
                tokio::sync::OnceCell::const_new();
            SHARED.get_or_init($crate::support::Catalogue::start).await
        }
    };
}

/// A server on rmcp on a port of its own, until the test process ends.
pub(crate) fn rmcp_server() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            doorward_demo::serve(tokio::net::TcpListener::from_std(listener).unwrap())
                .await
                .unwrap();
        });
    });
    address
}
