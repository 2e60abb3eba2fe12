//! A page on this machine from which a person starts a login, for programs that cannot open a browser themselves: they hand
//! out its address.
//!
//! Whoever opens the address is nobody in particular, and opening it starts nothing: a link can be opened by a preview. The
//! login starts with the button, which only our own page can press.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use http::header::{ALLOW, CACHE_CONTROL, LOCATION, ORIGIN, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use url::{Url, form_urlencoded};

use crate::browser::may_open;
use crate::loopback::{self, Answer, Held, Site, is_for};
use crate::page::{Button, Mood, Page, foreign_host, nothing_here};

/// The path of the page.
const PATH: &str = "/login";
/// The longest form.
const MAX_FORM: usize = 1024;

/// What the person is asked to allow, in the words of the page. Nothing of it says who the person is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginDetails {
    /// The program that wants the login.
    pub program: String,
    /// The host of the authorization server.
    pub authorization_server: String,
    /// What access is wanted to.
    pub resource: String,
    /// The scopes; empty if the server decides.
    pub scopes: Vec<String>,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A login is wanted.
    Wanted(LoginDetails),
    /// Somebody has logged in.
    LoggedIn,
}

/// What the page is a page of.
#[async_trait]
pub trait LoginDesk: Send + Sync + 'static {
    /// How things stand. Called for every visit: it starts nothing.
    async fn standing(&self) -> Standing;

    /// The person pressed the button: the authorization URL to be sent to, or why there is none, in words for the person.
    async fn begin(&self) -> Result<Url, String>;
}

/// The page. It is there until it is dropped.
pub struct LoginPage {
    url: String,
    task: AbortHandle,
}

impl fmt::Debug for LoginPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginPage({})", self.url)
    }
}

impl LoginPage {
    /// Listens at a free port of 127.0.0.1.
    pub async fn bind(desk: Arc<dyn LoginDesk>, random: &dyn Random) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let authority = listener.local_addr()?.to_string();
        let url = format!("http://{authority}{PATH}");
        let counter = Counter {
            authority,
            csrf: Secret::generate(random),
            desk,
        };
        let task = tokio::spawn(loopback::serve(listener, Arc::new(counter))).abort_handle();
        Ok(Self { url, task })
    }

    /// Where it is: `http://127.0.0.1:PORT/login`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for LoginPage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Counter {
    authority: String,
    /// What only our own page knows: other sites cannot read it (CSRF).
    csrf: Secret,
    desk: Arc<dyn LoginDesk>,
}

impl Site for Counter {
    async fn answer(&self, request: Request<Incoming>, _: &Held) -> Answer {
        if !is_for(&self.authority, &request) {
            return foreign_host().response();
        }
        if request.uri().path() != PATH {
            return nothing_here().response();
        }
        match *request.method() {
            Method::GET => self.page().await.response(),
            Method::HEAD => Response::new(Full::default()),
            Method::POST => self.begin(request).await,
            _ => {
                let page = Page::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    Mood::Plain,
                    "Not in this way",
                    &["This page is opened, and its button is pressed. Nothing else is done with it."],
                );
                let mut answer = page.response();
                let allowed = HeaderValue::from_static("GET, HEAD, POST");
                answer.headers_mut().insert(ALLOW, allowed);
                answer
            }
        }
    }
}

impl Counter {
    async fn page(&self) -> Page {
        let details = match self.desk.standing().await {
            Standing::LoggedIn => return logged_in(),
            Standing::Wanted(details) => details,
        };
        let scopes = if details.scopes.is_empty() {
            "as the authorization server decides".to_owned()
        } else {
            details.scopes.join(", ")
        };
        let page = Page::new(
            StatusCode::OK,
            Mood::Plain,
            "A program asks you to log in",
            &[
                "It gets the access that you allow, and no password of yours.",
                "If you did not just use this program, close this tab: nothing has happened yet.",
            ],
        );
        Page {
            button: Some(Button {
                action: PATH,
                csrf: self.csrf.expose().to_owned(),
                label: format!("Log in at {}", details.authorization_server),
            }),
            facts: vec![
                ("Program", details.program),
                ("You log in at", details.authorization_server),
                ("To use", details.resource),
                ("With", scopes),
            ],
            ..page
        }
    }

    async fn begin(&self, request: Request<Incoming>) -> Answer {
        let own = is_from_here(&self.authority, request.headers());
        if !own || !self.knows_csrf(request).await {
            return not_from_here().response();
        }
        if self.desk.standing().await == Standing::LoggedIn {
            return logged_in().response();
        }
        let url = match self.desk.begin().await {
            Ok(url) => url,
            Err(reason) => return not_begun(reason).response(),
        };
        // It comes from a server's document (CL-01).
        if let Err(error) = may_open(&url) {
            return not_begun(format!("the authorization endpoint: {error}")).response();
        }
        let Ok(location) = HeaderValue::from_str(url.as_str()) else {
            return not_begun("the authorization endpoint is not a URL that can be opened".to_owned())
                .response();
        };
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SEE_OTHER;
        let headers = answer.headers_mut();
        headers.insert(LOCATION, location);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        answer
    }

    async fn knows_csrf(&self, request: Request<Incoming>) -> bool {
        let Ok(body) = Limited::new(request.into_body(), MAX_FORM).collect().await else {
            return false;
        };
        let body = body.to_bytes();
        let mut values = form_urlencoded::parse(&body).filter(|(name, _)| name == "csrf");
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Secret::new(value) == self.csrf,
            _ => false,
        }
    }
}

/// Our own page sent it: one Origin that is ours, or none (`null`) from a browser that says the page was ours.
fn is_from_here(authority: &str, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let same_site = headers
        .get("sec-fetch-site")
        .is_some_and(|value| value == "same-origin");
    match (origins.next(), origins.next()) {
        (None, None) => same_site,
        (Some(origin), None) if origin == "null" => same_site,
        (Some(origin), None) => {
            let origin = origin.to_str().unwrap_or_default();
            origin.strip_prefix("http://") == Some(authority)
        }
        _ => false,
    }
}

fn logged_in() -> Page {
    Page::new(
        StatusCode::OK,
        Mood::Good,
        "The login is done",
        &[
            "The program that gave you this address can now use what you allowed.",
            "There is nothing more to do here. You can close this tab and go back to it.",
        ],
    )
}

fn not_from_here() -> Page {
    Page::new(
        StatusCode::FORBIDDEN,
        Mood::Bad,
        "This did not come from our page",
        &["No login was started. Open the address of this page again, and press its button."],
    )
}

fn not_begun(reason: String) -> Page {
    Page {
        quote: Some(reason),
        ..Page::new(
            StatusCode::BAD_GATEWAY,
            Mood::Bad,
            "The login could not start",
            &[
                "You are not logged in. What went wrong:",
                "The program that gave you this address says more.",
            ],
        )
    }
}

#[cfg(test)]
mod tests;
