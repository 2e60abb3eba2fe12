//! The authenticator app: adding it (a QR code, then its first code), taking it away, new recovery codes.

use std::time::Duration;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::totp::TotpSecret;
use doorward_authorization_server::{second_factor, sign_in_methods};
use doorward_types::digest::Digest;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use http::StatusCode;
use qrcode::{Color, EcLevel, QrCode};
use serde::{Deserialize, Serialize};

use super::{change, fresh};
use crate::csrf::Bound;
use crate::pages::message::Problem;
use crate::pages::{Chrome, form_page, see_other};
use crate::sealed_step::{self, Kind};
use crate::session::SignedIn;
use crate::state::WebState;
use crate::text::{SHORT, shown};

/// How long a new app may wait for its first code.
const LIFETIME: Duration = Duration::from_mins(10);

const WRONG: &str =
    "That is not the code of the app. Check that its clock is right, and type the code that it shows now.";

/// An app that is being added, sealed into the form.
#[derive(Serialize, Deserialize)]
struct NewApp {
    secret: Vec<u8>,
    session: Digest,
    issued: UnixTime,
}

#[derive(Template)]
#[template(path = "new_app.html")]
struct NewAppPage<'a> {
    chrome: &'a Chrome,
    username: String,
    problem: Option<&'a str>,
    csrf: String,
    sealed: String,
    /// The path of an SVG with as many units to a side.
    drawing: String,
    side: usize,
    uri: &'a str,
    groups: String,
}

#[derive(Template)]
#[template(path = "recovery_codes.html")]
struct RecoveryCodesPage<'a> {
    chrome: &'a Chrome,
    added: bool,
    codes: Vec<&'a str>,
}

/// `POST /security/app`: shows a new secret.
pub(crate) async fn begin(State(state): State<WebState>, request: Request) -> Response {
    let shown = async {
        let (_, signed_in) = match fresh(&state, request).await? {
            Ok(fresh) => fresh,
            Err(response) => return Ok(response),
        };
        let app = NewApp {
            secret: TotpSecret::generate(state.random()).expose().to_vec(),
            session: signed_in.session.id,
            issued: state.now(),
        };
        show(&state, &signed_in, &app, None)
    };
    shown
        .await
        .unwrap_or_else(|problem: Problem| problem.respond(&state))
}

fn show(
    state: &WebState,
    signed_in: &SignedIn,
    app: &NewApp,
    problem: Option<&str>,
) -> Result<Response, Problem> {
    let secret = secret_of(app)?;
    let host = &state.site().chrome.host;
    let uri = secret.uri(host, &signed_in.user.username);
    let (drawing, side) = drawing(&uri).ok_or_else(|| Problem::unreadable("no room in a QR code"))?;
    let text = secret.to_text();
    let groups: Vec<&str> = text
        .as_bytes()
        .chunks(4)
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    let status = if problem.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let page = NewAppPage {
        chrome: &state.site().chrome,
        username: shown(&signed_in.user.username, SHORT),
        problem,
        csrf: state.csrf(Bound::Session(&signed_in.cookie)),
        sealed: sealed_step::seal(state, Kind::NewApp, app)?,
        drawing,
        side,
        uri: &uri,
        groups: groups.join(" "),
    };
    Ok(form_page(status, &page))
}

fn secret_of(app: &NewApp) -> Result<TotpSecret, Problem> {
    TotpSecret::from_bytes(app.secret.clone()).ok_or_else(|| Problem::stale("the secret is too short"))
}

/// A QR code as the path of an SVG, with its quiet zone of four modules.
fn drawing(text: &str) -> Option<(String, usize)> {
    use std::fmt::Write as _;
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let mut path = String::new();
    for (at, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            let (x, y) = (at % width + 4, at / width + 4);
            write!(path, "M{x} {y}h1v1h-1z").ok()?;
        }
    }
    Some((path, width + 8))
}

/// `POST /security/app/confirm`: the app's first code.
pub(crate) async fn confirm(State(state): State<WebState>, request: Request) -> Response {
    let shown = async {
        let (posted, signed_in) = match fresh(&state, request).await? {
            Ok(fresh) => fresh,
            Err(response) => return Ok(response),
        };
        let app: NewApp = sealed_step::open(&state, Kind::NewApp, posted.form.get("app"))?;
        let now = state.now();
        if app.session != signed_in.session.id || now >= app.issued.plus(LIFETIME) {
            return Err(Problem::stale("another session's, or too old"));
        }
        let (secret, user, code) = (secret_of(&app)?, &signed_in.user, posted.text("code"));
        let (sealer, random) = (state.authenticator_sealer(), state.random());
        let added = change(&state, &signed_in, |before| {
            second_factor::add_totp(user, before, &secret, code, sealer, now, random)
        });
        if added.await?.is_err() {
            return show(&state, &signed_in, &app, Some(WRONG));
        }
        tracing::info!(user = %user.id, "security: authenticator app added");
        new_set(&state, &signed_in, true).await
    };
    shown
        .await
        .unwrap_or_else(|problem: Problem| problem.respond(&state))
}

/// `POST /security/codes`: new recovery codes in the place of the old ones.
pub(crate) async fn codes(State(state): State<WebState>, request: Request) -> Response {
    let shown = async {
        let (_, signed_in) = match fresh(&state, request).await? {
            Ok(fresh) => fresh,
            Err(response) => return Ok(response),
        };
        new_set(&state, &signed_in, false).await
    };
    shown
        .await
        .unwrap_or_else(|problem: Problem| problem.respond(&state))
}

async fn new_set(state: &WebState, signed_in: &SignedIn, added: bool) -> Result<Response, Problem> {
    let (now, random) = (state.now(), state.random());
    let made = std::sync::Mutex::new(Vec::new());
    let changed = change(state, signed_in, |before| {
        if !second_factor::is_required(before) {
            return Err(sign_in_methods::MethodProblem::NotThere);
        }
        let (codes, unit) = second_factor::new_recovery_codes(&signed_in.user, before, now, random);
        *made.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = codes;
        Ok(unit)
    });
    if changed.await?.is_err() {
        return Ok(see_other("/security"));
    }
    tracing::info!(user = %signed_in.user.id, "security: new recovery codes");
    let codes = made
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let page = RecoveryCodesPage {
        chrome: &state.site().chrome,
        added,
        codes: codes.iter().map(Secret::expose).collect(),
    };
    Ok(form_page(StatusCode::OK, &page))
}

/// `POST /security/app/remove`.
pub(crate) async fn remove(State(state): State<WebState>, request: Request) -> Response {
    let shown = async {
        let (_, signed_in) = match fresh(&state, request).await? {
            Ok(fresh) => fresh,
            Err(response) => return Ok(response),
        };
        let removed = change(&state, &signed_in, sign_in_methods::remove_app).await?;
        if removed.is_ok() {
            tracing::info!(user = %signed_in.user.id, "security: authenticator app removed");
        }
        Ok(see_other("/security?done=no-app"))
    };
    shown
        .await
        .unwrap_or_else(|problem: Problem| problem.respond(&state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_code_is_drawn_with_its_quiet_zone() {
        let (path, side) = drawing("otpauth://totp/x").unwrap();
        assert!(side > 8 + 20, "{side}");
        assert!(path.starts_with("M4 4h1v1h-1z"), "the corner is dark");
        let numbers = path
            .split(['M', 'h', ' '])
            .filter_map(|part| part.parse::<usize>().ok());
        assert!(numbers.into_iter().all(|number| number < side - 4));
        assert_eq!(drawing(&"x".repeat(5000)), None);
    }
}
