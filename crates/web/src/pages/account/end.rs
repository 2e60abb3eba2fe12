//! `GET /account/end`: asks whether something is really to end. `POST`: ends it. Only the form of this page does, with
//! csrf and an exact Origin; the GET changes nothing.

use askama::Template;
use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use doorward_authorization_server::account::{self, AccountFacts, Ending, NotThere};
use doorward_oauth::form::Form;
use http::{HeaderMap, StatusCode};

use super::shown::{app_name, device};
use super::{clients, load};
use crate::commit::Attempts;
use crate::csrf::Bound;
use crate::pages::form::Posted;
use crate::pages::message::{Problem, done_in_account};
use crate::pages::next::Next;
use crate::pages::{Chrome, form_page, see_other};
use crate::session::{self, SignedIn};
use crate::state::{Site, WebState};
use crate::text::{SHORT, shown};

#[derive(Template)]
#[template(path = "account_end.html")]
struct EndPage<'a> {
    chrome: &'a Chrome,
    username: String,
    title: String,
    text: String,
    follows: &'static [&'static str],
    button: &'static str,
    what: &'static str,
    id: String,
    csrf: String,
}

impl From<NotThere> for Problem {
    fn from(error: NotThere) -> Self {
        let problem = Self::new(
            StatusCode::NOT_FOUND,
            "This is not there any more",
            "It ended already, or it never was part of your account. Nothing was changed.",
            "Go back to your account and look at what is there now.",
            error.to_string(),
        );
        Self {
            links_account: true,
            ..problem
        }
    }
}

/// `GET /account/end`.
pub(crate) async fn get(
    State(state): State<WebState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match ask(&state, query.as_deref(), &headers).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn ask(state: &WebState, query: Option<&str>, headers: &HeaderMap) -> Result<Response, Problem> {
    let cookies = state.cookies(headers);
    let Some(signed_in) = session::current(state, &cookies).await? else {
        return Ok(see_other(&Next::Account.login()));
    };
    let ending = Ending::parse(&Form::parse(query.unwrap_or_default().as_bytes())?)?;
    let facts = load(state, &signed_in).await?;
    let (title, text) = words(state, &ending, &facts, &signed_in).await?;
    let (what, id) = ending.fields();
    let (button, follows) = consequences(&ending);
    let page = EndPage {
        chrome: &state.site().chrome,
        username: shown(&signed_in.user.username, SHORT),
        title,
        text,
        follows,
        button,
        what,
        id,
        csrf: state.csrf(Bound::Session(&signed_in.cookie)),
    };
    Ok(form_page(StatusCode::OK, &page))
}

/// The question, and a sentence about what it is asked of.
async fn words(
    state: &WebState,
    ending: &Ending,
    facts: &AccountFacts,
    signed_in: &SignedIn,
) -> Result<(String, String), Problem> {
    Ok(match ending {
        Ending::Chain(id) => {
            let family = facts.chain(*id).ok_or(NotThere)?;
            let client = state.store().client(&family.client).await?;
            let device = device(family.device.as_deref(), "a device that did not say what it is");
            (
                format!("End this sign-in of {}?", app_name(client.as_ref())),
                format!("It was made on {} by {device}.", day(family.created)),
            )
        }
        Ending::Client(id) => {
            let all = clients(state, facts).await?;
            let client = all.iter().find(|client| client.id == *id);
            if facts.of_client(id).next().is_none() {
                return Err(NotThere.into());
            }
            let count: usize = facts.of_client(id).map(|facts| facts.families.len()).sum();
            let text = match count {
                0 => "It has no sign-in at the moment, and would have to ask you again.".into(),
                1 => "It loses its access on the one device where it is signed in.".into(),
                count => format!("It loses its access everywhere: {count} sign-ins end."),
            };
            (format!("Disconnect {}?", app_name(client)), text)
        }
        Ending::Browser(id) => {
            let session = facts.browser(*id).ok_or(NotThere)?;
            let device = device(session.device.as_deref(), "A browser");
            let title = if session.id == signed_in.session.id {
                "Sign this browser out?".into()
            } else {
                format!("Sign out {device}?")
            };
            (
                title,
                format!("It signed in on {}.", day(session.authenticated_at)),
            )
        }
        Ending::Everything => (
            "Disconnect everything?".into(),
            format!(
                "Every app loses its access, and every browser is signed out, this one too. Now: {} and {}.",
                counted(
                    facts.grants.iter().map(|facts| facts.families.len()).sum(),
                    "sign-in of apps",
                    "sign-ins of apps"
                ),
                counted(facts.sessions.len(), "browser", "browsers"),
            ),
        ),
    })
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn day(time: doorward_types::time::UnixTime) -> String {
    let text = time.to_string().replace('T', " ");
    format!("{} UTC", text.get(..16).unwrap_or_default())
}

fn consequences(ending: &Ending) -> (&'static str, &'static [&'static str]) {
    match ending {
        Ending::Chain(_) => (
            "End it",
            &[
                "Its access is refused at once, calls that are under way included; where this site runs on several machines, after at most five seconds.",
                "What the app is allowed stays: on that device it asks you to sign in again.",
            ],
        ),
        Ending::Client(_) => (
            "Disconnect",
            &[
                "Its access is refused at once, calls that are under way included; where this site runs on several machines, after at most five seconds.",
                "It can ask again. You then see the page with what it wants to do, and decide anew.",
                "What it has read already it keeps.",
            ],
        ),
        Ending::Browser(_) => (
            "Sign it out",
            &["Apps stay connected: they do not depend on that browser."],
        ),
        Ending::Everything => (
            "Disconnect all",
            &[
                "All access is refused at once; where this site runs on several machines, after at most five seconds.",
                "Your account, its password and its second factors stay as they are. If somebody else may know the password, change it as well.",
            ],
        ),
    }
}

/// `POST /account/end`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    match end(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn end(state: &WebState, request: Request) -> Result<Response, Problem> {
    let posted = Posted::read(state, request).await?;
    let Some(signed_in) = posted.session(state).await? else {
        return Ok(see_other(&Next::Account.login()));
    };
    let ending = Ending::parse(&posted.form)?;
    let mut attempts = Attempts::default();
    loop {
        let facts = load(state, &signed_in).await?;
        let unit = account::end(&ending, &facts, &state.settings().lifetimes, state.now())?;
        // Said only once it is durable and in force here (R35): otherwise this ends in a 503.
        if attempts.commit(state.store(), unit).await?.is_some() {
            break;
        }
    }
    let user = signed_in.user.id;
    let (what, id) = ending.fields();
    // The id of a browser is what its cookie is looked up by: it stays out of the log.
    let id = if what == "browser" { String::new() } else { id };
    tracing::info!(%user, what, ?id, "account: ended");
    let gone = match &ending {
        Ending::Everything => true,
        Ending::Browser(session) => *session == signed_in.session.id,
        Ending::Chain(_) | Ending::Client(_) => false,
    };
    if !gone {
        return Ok(see_other(&format!("/account?done={what}")));
    }
    let (title, text) = if ending == Ending::Everything {
        (
            "Everything is disconnected",
            "No app has access any more, and no browser is signed in. Where this site runs on several machines, that takes at most five seconds.",
        )
    } else {
        ("You are signed out", "This browser is no longer signed in here.")
    };
    let mut response = done_in_account(
        state,
        title,
        text,
        "Sign in again to see your account, or close this page.",
    );
    let cookies = &state.site().cookies;
    Site::set_cookie(response.headers_mut(), cookies.clear_session());
    Ok(response)
}
