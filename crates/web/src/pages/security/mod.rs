//! `/security`: how a person signs in, and the changes of it. Every one of them takes a sign-in of the last five
//! minutes: a browser that somebody left open is not enough.

mod app;
mod passkeys;
mod password;

use askama::Template;
use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use doorward_authorization_server::login::is_fresh;
use doorward_authorization_server::passkey::{Purpose, StoredPasskey, user_handle};
use doorward_authorization_server::password as passwords;
use doorward_oauth::form::Form;
use doorward_records::Unit;
use doorward_records::authenticator::{Authenticator, AuthenticatorKind};
use http::{HeaderMap, StatusCode};

pub(crate) use app::{begin as begin_app, codes as new_codes, confirm as confirm_app, remove as remove_app};
pub(crate) use passkeys::{REFUSED, add as add_passkey, is_taken, passkey_name, remove as remove_passkey};
pub(crate) use password::post as change_password;

use crate::cookies::Cookies;
use crate::csrf::Bound;
use crate::pages::form::Posted;
use crate::pages::login::{self, Question};
use crate::pages::message::Problem;
use crate::pages::next::Next;
use crate::pages::{Chrome, form_page, see_other, with_script};
use crate::session::{self, PreLogin, SignedIn};
use crate::state::WebState;
use crate::text::{SHORT, shown};
use crate::when::ShownTime;

#[derive(Template)]
#[template(path = "security.html")]
struct SecurityPage<'a> {
    chrome: &'a Chrome,
    username: String,
    done: Option<&'static str>,
    problem: Option<String>,
    csrf: String,
    has_password: bool,
    minimum: usize,
    has_app: bool,
    recovery_codes: usize,
    passkeys: Vec<ShownPasskey>,
    new_passkey: NewPasskey<'a>,
}

struct ShownPasskey {
    id: String,
    name: String,
    synced: bool,
    created: ShownTime,
    last_used: Option<ShownTime>,
}

/// What the script needs to make a passkey.
pub(crate) struct NewPasskey<'a> {
    pub(crate) question: Question<'a>,
    /// The user handle.
    pub(crate) user: String,
    pub(crate) username: String,
    /// Credential ids that there are already.
    pub(crate) exclude: String,
    /// A name for it.
    pub(crate) name: String,
}

/// What just happened. A closed list: a URL puts no words on our page.
fn done(query: Option<&str>) -> Option<&'static str> {
    let form = Form::parse(query?.as_bytes()).ok()?;
    Some(match form.get("done")? {
        "password" => "Your password is changed, and every other browser is signed out.",
        "apps" => {
            "Your password is changed, every other browser is signed out, and every app has to ask you again."
        }
        "passkey" => "The passkey is added. You can sign in with it from now on.",
        "no-passkey" => "The passkey is removed here. Remove it from your device as well.",
        "no-app" => "The second step is gone: your password alone signs you in.",
        _ => return None,
    })
}

/// `GET /security`.
pub(crate) async fn get(
    State(state): State<WebState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let cookies = state.cookies(&headers);
    let shown = async {
        let Some(signed_in) = session::current(&state, &cookies).await? else {
            return Ok(see_other(&Next::Security.login()));
        };
        if !is_fresh(&signed_in.session, state.now()) {
            return Ok(confirm(&state, &cookies, &signed_in));
        }
        let device = crate::user_agent::describe(&headers);
        show(&state, &signed_in, done(query.as_deref()), None, device).await
    };
    shown
        .await
        .unwrap_or_else(|problem: Problem| problem.respond(&state))
}

/// Asks for a fresh sign-in, which leads back here.
fn confirm(state: &WebState, cookies: &Cookies, signed_in: &SignedIn) -> Response {
    let prelogin = PreLogin::of(state, cookies);
    let form = login::Form {
        next: Some(Next::Security),
        username: signed_in.user.username.clone(),
        confirms: true,
        ..login::Form::default()
    };
    prelogin.remember(state, form.show(state, &prelogin.cookie))
}

async fn show(
    state: &WebState,
    signed_in: &SignedIn,
    done: Option<&'static str>,
    problem: Option<String>,
    device: Option<String>,
) -> Result<Response, Problem> {
    let user = &signed_in.user;
    let authenticators = state.store().authenticators_of(user.id).await?;
    let count = |kind| authenticators.iter().filter(|one| one.kind == kind).count();
    let status = if problem.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let page = SecurityPage {
        chrome: &state.site().chrome,
        username: shown(&user.username, SHORT),
        done,
        problem,
        csrf: state.csrf(Bound::Session(&signed_in.cookie)),
        has_password: user.password_hash.is_some(),
        minimum: passwords::MIN_CHARACTERS,
        has_app: count(AuthenticatorKind::Totp) > 0,
        recovery_codes: count(AuthenticatorKind::RecoveryCode),
        passkeys: authenticators
            .iter()
            .filter_map(|one| shown_passkey(state, one))
            .collect(),
        new_passkey: NewPasskey {
            question: Question::new(state, Purpose::Add(user.id), &signed_in.cookie)?,
            user: text(&user_handle(user.id)),
            username: user.username.clone(),
            exclude: known_ids(state, &authenticators),
            name: device.unwrap_or_default(),
        },
    };
    Ok(with_script(form_page(status, &page)))
}

fn shown_passkey(state: &WebState, one: &Authenticator) -> Option<ShownPasskey> {
    let stored = StoredPasskey::open(one, state.authenticator_sealer())?;
    let now = state.now();
    Some(ShownPasskey {
        id: one.id.to_string(),
        name: shown(&one.name, SHORT),
        synced: stored.backup_eligible,
        created: ShownTime::new(one.created, now),
        last_used: one.last_used.map(|used| ShownTime::new(used, now)),
    })
}

/// The credential ids of these passkeys, so that a device does not make a second one.
pub(crate) fn known_ids(state: &WebState, authenticators: &[Authenticator]) -> String {
    let sealer = state.authenticator_sealer();
    let stored = authenticators
        .iter()
        .filter_map(|one| StoredPasskey::open(one, sealer));
    let ids: Vec<String> = stored.map(|stored| text(&stored.id)).collect();
    ids.join(" ")
}

/// base64url, as the script reads it.
pub(crate) fn text(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A change that somebody asks for who signed in a moment ago, or the page that asks for that.
async fn fresh(state: &WebState, request: Request) -> Result<Result<(Posted, SignedIn), Response>, Problem> {
    let posted = Posted::read(state, request).await?;
    let Some(signed_in) = posted.session(state).await? else {
        return Ok(Err(see_other(&Next::Security.login())));
    };
    if !is_fresh(&signed_in.session, state.now()) {
        let mut response = confirm(state, &posted.cookies, &signed_in);
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Ok(Err(response));
    }
    Ok(Ok((posted, signed_in)))
}

/// Commits what `decide` makes of the authenticators of the account.
async fn change<E>(
    state: &WebState,
    signed_in: &SignedIn,
    decide: impl Fn(&[Authenticator]) -> Result<Unit, E>,
) -> Result<Result<(), E>, Problem> {
    let mut attempts = crate::commit::Attempts::default();
    loop {
        let authenticators = state.store().authenticators_of(signed_in.user.id).await?;
        let unit = match decide(&authenticators) {
            Err(error) => return Ok(Err(error)),
            Ok(unit) => unit,
        };
        if attempts.commit(state.store(), unit).await?.is_some() {
            return Ok(Ok(()));
        }
    }
}
