//! Sessions over a scripted server that is MCP server and authorization server at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use doorward_client::http::{HttpRequest, HttpResponse, TransportError};
use doorward_client::registration::PreRegistered;
use doorward_types::random::SystemRandom;
use doorward_types::time::{FixedClock, UnixTime};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::store::{KeySource, ServerEntry};

mod together;
mod typed_id;
mod vain;

const SERVER: &str = "https://mcp.example.com/mcp";
const ISSUER: &str = "https://auth.example.com";

/// What the servers do and have seen.
#[derive(Default)]
struct World {
    issuer: Mutex<String>,
    seen: Mutex<Vec<(String, BTreeMap<String, String>)>>,
    issued: AtomicU32,
    registered: AtomicU32,
    /// What the token endpoint answers instead of tokens, once each.
    token_errors: Mutex<Vec<Result<&'static str, TransportError>>>,
    /// The seconds that tokens live.
    life: AtomicU32,
    revocation_fails: AtomicU32,
    /// Whether the MCP server refuses whatever token it is shown.
    closed: AtomicBool,
    /// Whether there is no metadata anywhere.
    bare: AtomicBool,
    /// Who holds it holds up renewals between the request and the answer.
    renewals: tokio::sync::Mutex<()>,
}

impl World {
    fn new() -> Arc<Self> {
        let world = Self::default();
        *world.issuer.lock().unwrap() = ISSUER.to_owned();
        world.life.store(600, Ordering::SeqCst);
        Arc::new(world)
    }

    fn count(&self, path: &str) -> usize {
        self.requests(path).len()
    }

    fn requests(&self, path: &str) -> Vec<BTreeMap<String, String>> {
        let seen = self.seen.lock().unwrap();
        let found = seen.iter().filter(|(at, _)| at.ends_with(path));
        found.map(|(_, form)| form.clone()).collect()
    }

    fn hosts(&self, path: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let found = seen.iter().filter(|(at, _)| at.ends_with(path));
        found.map(|(at, _)| at.clone()).collect()
    }

    fn token(&self) -> Result<HttpResponse, TransportError> {
        if let Some(error) = self.token_errors.lock().unwrap().pop() {
            let body = error?;
            return Ok(answer(400, &json!({ "error": body })));
        }
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        Ok(answer(
            200,
            &json!({
                "access_token": format!("access-{number}"),
                "refresh_token": format!("refresh-{number}"),
                "token_type": "Bearer",
                "expires_in": self.life.load(Ordering::SeqCst),
            }),
        ))
    }

    fn metadata(&self) -> Value {
        let issuer = self.issuer.lock().unwrap().clone();
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "registration_endpoint": format!("{issuer}/register"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "code_challenge_methods_supported": ["S256"],
            "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported": ["none", "client_secret_post"],
        })
    }
}

fn answer(status: u16, body: &Value) -> HttpResponse {
    let mut headers = HeaderMap::new();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    HttpResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Bytes::from(body.to_string()),
    }
}

#[async_trait]
impl Http for World {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let body = request
            .body
            .as_ref()
            .map(|body| body.expose().to_owned())
            .unwrap_or_default();
        let form = url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        let at = format!("{}{}", request.url.host_str().unwrap(), request.url.path());
        self.seen.lock().unwrap().push((at, form));
        let issuer = self.issuer.lock().unwrap().clone();
        Ok(match request.url.path() {
            path if path.starts_with("/.well-known/") && self.bare.load(Ordering::SeqCst) => {
                answer(404, &json!({}))
            }
            "/mcp" | "/mcp/sse" => {
                let mut refused = answer(401, &json!({}));
                refused.headers = challenge("Bearer");
                let closed = self.closed.load(Ordering::SeqCst);
                if request.headers.contains_key(http::header::AUTHORIZATION) && !closed {
                    answer(200, &json!({"jsonrpc": "2.0", "id": "login", "result": {}}))
                } else {
                    refused
                }
            }
            "/.well-known/oauth-protected-resource/mcp" | "/.well-known/oauth-protected-resource/mcp/sse" => {
                answer(
                    200,
                    &json!({"resource": SERVER, "authorization_servers": [issuer], "scopes_supported": ["notes:read"]}),
                )
            }
            "/.well-known/oauth-authorization-server" => answer(200, &self.metadata()),
            "/register" => {
                let number = self.registered.fetch_add(1, Ordering::SeqCst);
                let asked: Value = serde_json::from_str(&body).unwrap();
                answer(
                    201,
                    &json!({"client_id": format!("client-{number}"), "redirect_uris": asked["redirect_uris"]}),
                )
            }
            "/token" => {
                if body.contains("grant_type=refresh_token") {
                    drop(self.renewals.lock().await);
                }
                return self.token();
            }
            "/revoke" if self.revocation_fails.load(Ordering::SeqCst) > 0 => {
                answer(503, &json!({"error": "temporarily_unavailable"}))
            }
            "/revoke" => answer(200, &json!({})),
            _ => answer(404, &json!({})),
        })
    }
}

fn challenge(text: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static(text));
    headers
}

/// One process, as far as a test can have several in one.
struct Machine {
    session: Arc<Session>,
    notices: Arc<Mutex<Vec<Notice>>>,
}

struct Place {
    folder: tempfile::TempDir,
    clock: Arc<FixedClock>,
    world: Arc<World>,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(FixedClock::new(UnixTime::from_seconds(1_800_000_000))),
            world: World::new(),
        }
    }

    fn store(&self) -> Store {
        Store::open(self.folder.path(), KeySource::File, Arc::new(SystemRandom)).unwrap()
    }

    fn settings() -> Settings {
        let server = Url::parse(SERVER).unwrap();
        let mut settings = crate::builder::SessionBuilder::new(server, "Doorward").settings;
        settings.callback.ports = vec![0];
        settings.login_timeout = Duration::from_secs(60);
        settings
    }

    fn machine(&self) -> Machine {
        self.machine_with(Self::settings())
    }

    fn machine_with(&self, settings: Settings) -> Machine {
        let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let told = Arc::clone(&notices);
        let session = Session::new(
            settings,
            Parts {
                store: self.store(),
                http: Arc::clone(&self.world) as Arc<dyn Http>,
                network: None,
                browser: None,
                pasted: None,
                tell: Arc::new(move |notice: &Notice| told.lock().unwrap().push(notice.clone())),
                clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
                random: Arc::new(SystemRandom),
            },
        );
        Machine {
            session: Arc::new(session),
            notices,
        }
    }

    /// Keeps tokens that end in `life` seconds.
    fn keep(&self, access: &str, life: i64) {
        let now = self.clock.now();
        let tokens = Tokens {
            issuer: ISSUER.to_owned(),
            resource: SERVER.to_owned(),
            client_id: "kept".to_owned(),
            access_token: Secret::new(access),
            dpop: false,
            issued_at: Some(now.minus(Duration::from_hours(1))),
            expires_at: Some(UnixTime::from_seconds(now.seconds() + life)),
            refresh_token: Some(Secret::new(format!("refresh-of-{access}"))),
            scope: "notes:read".parse().unwrap(),
            requested: "notes:read".parse().unwrap(),
        };
        let store = self.store();
        store
            .save_tokens(&TokensEntry::new("default", SERVER, &tokens, now))
            .unwrap();
        let place = ServerEntry {
            issuer: ISSUER.to_owned(),
            resource: SERVER.to_owned(),
        };
        store.save_server(SERVER, "default", &place).unwrap();
        let client = doorward_client::provider::ClientInformation {
            issuer: ISSUER.to_owned(),
            client_id: "kept".to_owned(),
            client_secret: None,
            token_endpoint_auth_method: Some("none".to_owned()),
            redirect_uri: Some("http://127.0.0.1:20001/callback".to_owned()),
            origin: doorward_client::provider::ClientOrigin::Dynamic,
            secret_expires_at: None,
        };
        store
            .save_client(SERVER, "default", &crate::store::ClientEntry::from(&client))
            .unwrap();
    }
}

impl Machine {
    async fn header(&self) -> Option<String> {
        let url = Url::parse(SERVER).unwrap();
        let headers = self.session.headers(&Method::POST, &url).await.unwrap();
        let value = headers.get(http::header::AUTHORIZATION)?;
        Some(value.to_str().unwrap().to_owned())
    }

    async fn refused(&self, status: u16, text: &'static str, token: &str, tries: u8) -> Result<(), Error> {
        self.refused_for("tools/call add_note", (status, text), token, tries)
            .await
    }

    async fn refused_for(
        &self,
        operation: &str,
        (status, text): (u16, &'static str),
        token: &str,
        tries: u8,
    ) -> Result<(), Error> {
        let headers = challenge(text);
        let mut sent = HeaderMap::new();
        if !token.is_empty() {
            sent.insert(
                http::header::AUTHORIZATION,
                HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
            );
        }
        let attempt = Attempt {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            sent: &sent,
            operation,
            tries,
        };
        self.session.refused(attempt).await
    }

    /// The `n`th address that a person was sent to.
    async fn address(&self, n: usize) -> Url {
        for _ in 0..2000 {
            let found: Vec<Url> = self.addresses();
            if let Some(url) = found.get(n) {
                return url.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody was sent anywhere: {:?}", self.notices.lock().unwrap());
    }

    fn addresses(&self) -> Vec<Url> {
        let notices = self.notices.lock().unwrap();
        let sent = |notice: &Notice| match notice {
            Notice::LogIn(url) => Some(url.clone()),
            _ => None,
        };
        notices.iter().filter_map(sent).collect()
    }

    /// A person who allows it, and reads that it worked.
    async fn allow(&self, n: usize) -> BTreeMap<String, String> {
        let (asked, page) = self.approve(n).await;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        asked
    }

    /// A person who allows it; with the page that comes in the end.
    async fn approve(&self, n: usize) -> (BTreeMap<String, String>, String) {
        let url = self.address(n).await;
        let asked: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let back = Url::parse(&asked["redirect_uri"]).unwrap();
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", back.port().unwrap()))
            .await
            .unwrap();
        let request = format!(
            "GET {}?code=c{n}&state={} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            back.path(),
            asked["state"],
            back.port().unwrap()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).await.unwrap();
        (asked, page)
    }
}

#[tokio::test]
async fn a_good_token_is_sent_without_asking_anybody() {
    let place = Place::new();
    place.keep("good", 600);
    assert_eq!(place.machine().header().await.as_deref(), Some("Bearer good"));
    assert!(place.world.seen.lock().unwrap().is_empty());
    let nobody = Place::new();
    assert_eq!(nobody.machine().header().await, None);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_kept() {
    let place = Place::new();
    place.keep("old", 5);
    let machine = place.machine();
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
    let sent = &place.world.requests("/token")[0];
    assert_eq!(sent["grant_type"], "refresh_token");
    assert_eq!(sent["refresh_token"], "refresh-of-old");
    assert_eq!(sent["resource"], SERVER);
    assert_eq!(sent["client_id"], "kept");
    // Another process has it at once, and asks nobody.
    assert_eq!(place.machine().header().await.as_deref(), Some("Bearer access-0"));
    assert_eq!(place.world.count("/token"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a27_cl_12_one_refresh_token_is_used_once_by_all() {
    let place = Place::new();
    place.keep("old", 5);
    let machines: Vec<_> = (0..4).map(|_| Arc::new(place.machine())).collect();
    let mut tasks = Vec::new();
    for machine in machines.iter().chain(&machines) {
        let machine = Arc::clone(machine);
        tasks.push(tokio::spawn(async move { machine.header().await }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap().as_deref(), Some("Bearer access-0"));
    }
    assert_eq!(place.world.count("/token"), 1);
}

#[tokio::test]
async fn a_server_that_is_away_costs_no_login() {
    let place = Place::new();
    place.keep("old", 5);
    let gone = || Err(TransportError::Failed("away".to_owned()));
    place.world.token_errors.lock().unwrap().extend([gone(), gone()]);
    let machine = place.machine();
    // It still does for the moment.
    assert_eq!(machine.header().await.as_deref(), Some("Bearer old"));
    place.clock.advance(Duration::from_secs(10));
    let url = Url::parse(SERVER).unwrap();
    assert!(machine.session.headers(&Method::POST, &url).await.is_err());
    // The same refresh token again: nobody knows whether the first answer was only lost.
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
    let used: Vec<_> = place.world.requests("/token");
    assert!(
        used.iter().all(|form| form["refresh_token"] == "refresh-of-old"),
        "{used:?}"
    );
}

#[tokio::test]
async fn a_refusal_renews_first_and_logs_in_only_then() {
    let place = Place::new();
    place.keep("old", 600);
    let machine = place.machine();
    machine
        .refused(401, "Bearer error=\"invalid_token\"", "old", 1)
        .await
        .unwrap();
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
    assert!(machine.addresses().is_empty());
    // Somebody else's refusal of the old one is answered by the new one.
    machine
        .refused(401, "Bearer error=\"invalid_token\"", "old", 1)
        .await
        .unwrap();
    assert_eq!(place.world.count("/token"), 1);

    place.world.token_errors.lock().unwrap().push(Ok("invalid_grant"));
    let (done, asked) = tokio::join!(
        machine.refused(401, "Bearer error=\"invalid_token\"", "access-0", 1),
        machine.allow(0)
    );
    done.unwrap();
    assert_eq!(asked["client_id"], "client-0");
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-1"));
}

#[tokio::test]
async fn a10_a35_more_scopes_are_the_union() {
    let place = Place::new();
    place.keep("old", 600);
    let machine = place.machine();
    let text = "Bearer error=\"insufficient_scope\", scope=\"notes:write\"";
    let (done, asked) = tokio::join!(machine.refused(403, text, "old", 1), machine.allow(0));
    done.unwrap();
    assert_eq!(asked["scope"], "notes:read notes:write");
    assert_eq!(
        place.world.requests("/token")[0]["grant_type"],
        "authorization_code"
    );
}

#[tokio::test]
async fn a35_a36_cl_13_an_operation_that_went_through_has_its_tries_again() {
    let place = Place::new();
    place.keep("old", 600);
    let machine = place.machine();
    let text = "Bearer error=\"insufficient_scope\", scope=\"notes:write\"";
    // The grant is gone again and again; each time the person allows it anew.
    for round in 0..4 {
        let token = format!("round-{round}");
        place.keep(&token, 600);
        let machine_token = machine.refused(401, "Bearer", "old", 1).await;
        machine_token.unwrap();
        let (done, _) = tokio::join!(machine.refused(403, text, &token, 1), machine.allow(round));
        done.unwrap_or_else(|error| panic!("round {round}: {error}"));
        machine.session.succeeded("tools/call add_note");
    }
    // A server that is never content is not one through which anything goes.
    let more = "Bearer error=\"insufficient_scope\", scope=\"notes:";
    for (round, scope) in ["a\"", "b\"", "c\""].into_iter().enumerate() {
        let token = format!("more-{round}");
        place.keep(&token, 600);
        machine.refused(401, "Bearer", "old", 1).await.unwrap();
        let text: &'static str = format!("{more}{scope}").leak();
        if round < 2 {
            let (done, _) = tokio::join!(machine.refused(403, text, &token, 1), machine.allow(4 + round));
            done.unwrap();
        } else {
            let error = machine.refused(403, text, &token, 1).await.unwrap_err();
            assert!(matches!(error, Error::GaveUp { tries: 3, .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn a36_cl_13_endless_refusals_end() {
    let place = Place::new();
    place.keep("old", 600);
    let machine = place.machine();
    let error = machine.refused(401, "Bearer", "old", 3).await.unwrap_err();
    assert!(matches!(error, Error::GaveUp { .. }), "{error}");
}

#[tokio::test]
async fn g13_g14_another_authorization_server_gets_nothing_old() {
    let place = Place::new();
    place.keep("old", 600);
    "https://other.example.net".clone_into(&mut place.world.issuer.lock().unwrap());
    let machine = place.machine();
    let (done, asked) = tokio::join!(
        machine.refused(401, "Bearer error=\"invalid_token\"", "old", 1),
        machine.allow(0)
    );
    done.unwrap();
    assert_eq!(asked["client_id"], "client-0");
    assert_eq!(place.world.hosts("/token"), ["other.example.net/token"]);
    let forms = place.world.requests("/token");
    assert!(!format!("{forms:?}").contains("refresh-of-old"), "{forms:?}");
    let kept = machine.session.kept().await.unwrap().unwrap();
    assert_eq!(kept.issuer(), "https://other.example.net");
}

#[tokio::test]
async fn cl_08_a_given_secret_goes_to_the_first_issuer_alone() {
    let place = Place::new();
    let mut settings = Place::settings();
    settings.application.pre_registered = Some(PreRegistered {
        client_id: "given".to_owned(),
        client_secret: Some(Secret::new("hush")),
        token_endpoint_auth_method: Some("client_secret_post".to_owned()),
        issuer: None,
    });
    let machine = place.machine_with(settings.clone());
    let (done, _) = tokio::join!(machine.session.log_in(false), machine.allow(0));
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
    "https://other.example.net".clone_into(&mut place.world.issuer.lock().unwrap());
    let again = place.machine_with(settings);
    let error = again
        .refused(401, "Bearer error=\"invalid_token\"", "access-0", 2)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Refused(refusal) if refusal.rule == "G14"),
        "{error}"
    );
    assert!(again.addresses().is_empty());
    let all = format!("{:?}", place.world.seen.lock().unwrap());
    assert!(
        !place
            .world
            .hosts("/token")
            .contains(&"other.example.net/token".to_owned()),
        "{all}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_12_one_tab_and_one_registration_for_all() {
    let place = Place::new();
    let machines: Vec<_> = (0..4).map(|_| Arc::new(place.machine())).collect();
    let tasks: Vec<_> = machines
        .iter()
        .map(|machine| {
            let machine = Arc::clone(machine);
            tokio::spawn(async move { machine.refused(401, "Bearer", "", 1).await })
        })
        .collect();
    let asker = loop {
        if let Some(machine) = machines.iter().find(|machine| !machine.addresses().is_empty()) {
            break machine;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    asker.allow(0).await;
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    for machine in &machines {
        assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
    }
    let tabs: usize = machines.iter().map(|machine| machine.addresses().len()).sum();
    assert_eq!(tabs, 1);
    assert_eq!(place.world.count("/register"), 1);
    assert_eq!(place.world.count("/token"), 1);
    let waited = machines.iter().any(|machine| {
        let notices = machine.notices.lock().unwrap();
        notices
            .iter()
            .any(|notice| matches!(notice, Notice::Waiting { .. }))
    });
    assert!(waited);
}

#[tokio::test]
async fn a_forgotten_registration_is_made_anew_once() {
    let place = Place::new();
    let machine = place.machine();
    place
        .world
        .token_errors
        .lock()
        .unwrap()
        .push(Ok("invalid_client"));
    let (done, (_, second)) = tokio::join!(machine.session.log_in(false), async {
        (machine.approve(0).await, machine.allow(1).await)
    });
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
    assert_eq!(second["client_id"], "client-1");
    // And not for ever.
    let place = Place::new();
    let machine = place.machine();
    let errors = vec![Ok("invalid_client"), Ok("invalid_client")];
    *place.world.token_errors.lock().unwrap() = errors;
    let (done, _) = tokio::join!(machine.session.log_in(false), async {
        (machine.approve(0).await, machine.approve(1).await)
    });
    assert!(matches!(done.unwrap_err(), Error::Answered { .. }));
    assert_eq!(machine.addresses().len(), 2);
}

#[tokio::test]
async fn nobody_is_asked_where_nobody_is() {
    let place = Place::new();
    let mut settings = Place::settings();
    settings.interactive = false;
    let machine = place.machine_with(settings);
    let error = machine.refused(401, "Bearer", "", 1).await.unwrap_err();
    assert!(error.to_string().contains("doorward login"), "{error}");
    assert_eq!(place.world.count("/register"), 0);
}

#[tokio::test]
async fn who_stops_waiting_lets_go_of_everything() {
    let place = Place::new();
    let first = place.machine();
    {
        let login = first.session.log_in(false);
        tokio::select! {
            _ = login => panic!("nobody answered"),
            _ = first.address(0) => {}
        }
    }
    // Neither the lock nor the listener is held.
    let second = place.machine();
    let (done, _) = tokio::join!(second.session.log_in(false), second.allow(0));
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
    assert!(
        !second
            .notices
            .lock()
            .unwrap()
            .iter()
            .any(|n| matches!(n, Notice::Waiting { .. }))
    );
}

#[tokio::test]
async fn logging_in_twice_is_said_and_done_only_when_it_is_meant() {
    let place = Place::new();
    place.keep("good", 600);
    let machine = place.machine();
    assert!(matches!(
        machine.session.log_in(false).await.unwrap(),
        LoggedIn::Already(_)
    ));
    let (done, _) = tokio::join!(machine.session.log_in(true), machine.allow(0));
    let LoggedIn::Now(entry) = done.unwrap() else {
        panic!("anew")
    };
    assert_eq!(entry.tokens().access_token.expose(), "access-0");
    assert!(
        !place
            .world
            .requests("/token")
            .iter()
            .any(|form| form["grant_type"] == "refresh_token")
    );
}

#[tokio::test]
async fn a_logout_revokes_both_tokens_and_forgets_them() {
    let place = Place::new();
    place.keep("good", 600);
    let machine = place.machine();
    assert_eq!(machine.session.log_out(false).await.unwrap(), LoggedOut::Revoked);
    let given_back: Vec<_> = place.world.requests("/revoke");
    let tokens: Vec<&str> = given_back.iter().map(|form| form["token"].as_str()).collect();
    assert_eq!(tokens, ["refresh-of-good", "good"]);
    assert!(machine.session.kept().await.unwrap().is_none());
    assert_eq!(machine.header().await, None);
    assert_eq!(machine.session.log_out(false).await.unwrap(), LoggedOut::Nobody);
}

#[tokio::test]
async fn r22_what_a_forgotten_client_got_is_revoked_all_the_same() {
    let place = Place::new();
    place.keep("good", 600);
    place.store().forget_client(ISSUER, SERVER, "default").unwrap();
    let machine = place.machine();
    assert_eq!(machine.session.log_out(false).await.unwrap(), LoggedOut::Revoked);
    let given_back = place.world.requests("/revoke");
    assert_eq!(given_back.len(), 2);
    assert!(given_back.iter().all(|form| form["client_id"] == "kept"));
}

#[tokio::test]
async fn r21_tokens_of_a_short_life_are_not_renewed_for_each_request() {
    let place = Place::new();
    place.keep("old", -1);
    place.world.life.store(8, Ordering::SeqCst);
    let machine = place.machine();
    for _ in 0..5 {
        assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
    }
    // Another process finds the same in the store.
    assert_eq!(place.machine().header().await.as_deref(), Some("Bearer access-0"));
    assert_eq!(place.world.count("/token"), 1);
}

#[tokio::test]
async fn what_cannot_be_revoked_is_kept_only_if_it_is_wanted() {
    let place = Place::new();
    place.keep("good", 600);
    place.world.revocation_fails.store(1, Ordering::SeqCst);
    let machine = place.machine();
    let kept = machine.session.log_out(true).await.unwrap();
    assert!(matches!(kept, LoggedOut::NotRevoked { .. }), "{kept:?}");
    assert_eq!(machine.header().await.as_deref(), Some("Bearer good"));
    let gone = machine.session.log_out(false).await.unwrap();
    assert!(matches!(gone, LoggedOut::NotRevoked { .. }), "{gone:?}");
    assert!(machine.session.kept().await.unwrap().is_none());
}

#[tokio::test]
async fn new_tokens_without_room_are_used_and_written_later() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place.keep("old", 5);
    let machine = place.machine();
    // A folder in the place of the record's new file: it cannot be written, as on a full disk, also by root.
    let record = std::fs::read_dir(place.folder.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tokens-"))
        .unwrap();
    let mut blocked = record.into_os_string();
    blocked.push(".new");
    std::fs::create_dir(&blocked).unwrap();
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
    assert!(
        machine
            .notices
            .lock()
            .unwrap()
            .iter()
            .any(|n| matches!(n, Notice::NotKept(_)))
    );
    assert_eq!(place.world.count("/token"), 1);
    std::fs::remove_dir(&blocked).unwrap();
    // Their refresh token is the one that is used next, not the old one that is still on the disk.
    place.clock.advance(Duration::from_secs(595));
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-1"));
    assert_eq!(place.world.requests("/token")[1]["refresh_token"], "refresh-0");
    assert_eq!(place.machine().header().await.as_deref(), Some("Bearer access-1"));
    let mode = std::fs::metadata(place.folder.path())
        .unwrap()
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o700);
}
