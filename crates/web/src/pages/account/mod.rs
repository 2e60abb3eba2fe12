//! `GET /account`: what a person has connected, where they are signed in, and the way to end each of it.

mod end;
pub(crate) mod shown;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use doorward_authorization_server::account::AccountFacts;
use doorward_oauth::form::Form;
use doorward_records::client::Client;
use doorward_records::facts::GrantFilter;
use doorward_storage::LoadError;
use doorward_types::id::ClientId;
use http::{HeaderMap, StatusCode};

pub(crate) use end::{get as get_end, post as post_end};

use crate::csrf::Bound;
use crate::pages::message::Problem;
use crate::pages::next::Next;
use crate::pages::{Chrome, form_page, see_other};
use crate::session::{self, SignedIn};
use crate::state::WebState;
use crate::text::{SHORT, shown};
use shown::{ShownApp, ShownBrowser, apps, browsers};

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    chrome: &'a Chrome,
    username: String,
    done: Option<&'static str>,
    apps: Vec<ShownApp>,
    browsers: Vec<ShownBrowser>,
    older_browsers: usize,
    device_grant: bool,
    csrf: String,
}

/// What just happened, for the page that is shown after it. A closed list: a URL puts no words on our page.
fn done(query: Option<&str>) -> Option<&'static str> {
    let form = Form::parse(query?.as_bytes()).ok()?;
    Some(match form.get("done")? {
        "chain" => {
            "That sign-in of the app has ended. Its access is refused from now on; where this site runs on several machines, after at most five seconds."
        }
        "client" => {
            "The app is disconnected. Its access is refused from now on; where this site runs on several machines, after at most five seconds. It has to ask you again."
        }
        "browser" => "That browser is signed out.",
        _ => return None,
    })
}

/// `GET /account`.
pub(crate) async fn get(
    State(state): State<WebState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match show(&state, query.as_deref(), &headers).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn show(state: &WebState, query: Option<&str>, headers: &HeaderMap) -> Result<Response, Problem> {
    let cookies = state.cookies(headers);
    let Some(signed_in) = session::current(state, &cookies).await? else {
        return Ok(see_other(&Next::Account.login()));
    };
    let facts = load(state, &signed_in).await?;
    let clients = clients(state, &facts).await?;
    let now = state.now();
    let (browsers, older_browsers) = browsers(&facts, &signed_in, now);
    let page = AccountPage {
        chrome: &state.site().chrome,
        username: shown(&signed_in.user.username, SHORT),
        done: done(query),
        apps: apps(state.settings(), &facts, &clients, now),
        browsers,
        older_browsers,
        device_grant: state.settings().grants.device,
        csrf: state.csrf(Bound::Session(&signed_in.cookie)),
    };
    Ok(form_page(StatusCode::OK, &page))
}

/// Everything of the person who is signed in.
async fn load(state: &WebState, signed_in: &SignedIn) -> Result<AccountFacts, LoadError> {
    let user = signed_in.user.id;
    let mut sessions = state.store().sessions_of(user).await?;
    let now = state.now();
    sessions.retain(|session| now < session.expires);
    let mut grants = state.store().grants(GrantFilter::User(user)).await?;
    // Chains that time has ended and nobody has swept away yet are no sign-ins any more. They are kept for ending
    // an app, which must name each of them.
    grants.sort_by_key(|facts| std::cmp::Reverse(facts.grant.updated));
    Ok(AccountFacts {
        user: signed_in.user.clone(),
        grants,
        sessions,
    })
}

async fn clients(state: &WebState, facts: &AccountFacts) -> Result<Vec<Client>, LoadError> {
    let mut ids: Vec<&ClientId> = facts.grants.iter().map(|facts| &facts.grant.client).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(state.store().client(id).await?);
    }
    Ok(found)
}
