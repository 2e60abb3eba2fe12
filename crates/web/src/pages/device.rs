//! GET and POST `/device`: a person types the code that a device shows (RFC 8628 §3.3), sees what asks for what, and
//! says yes or no. Also with the code in the link (`verification_uri_complete`) nothing is skipped: the code is filled
//! in, shown again, and to be compared with the device.

use askama::Template;
use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use doorward_authorization_server::device::{
    self, DeviceFacts, DeviceProblem, DeviceView, NO_REDIRECT, Shown, Submission,
};
use doorward_limits::PeerAddress;
use doorward_oauth::device::UserCode;
use doorward_oauth::form::Form;
use doorward_records::client::Client;
use doorward_records::device::DeviceAuthorization;
use http::{HeaderMap, StatusCode};

use crate::commit::Attempts;
use crate::csrf::Bound;
use crate::pages::account::shown::vouched;
use crate::pages::consent::{client_name, log_elevation};
use crate::pages::form::Posted;
use crate::pages::home::ShownServer;
use crate::pages::message::{Problem, done, done_in_account};
use crate::pages::next::Next;
use crate::pages::{Chrome, form_page, see_other};
use crate::scope_view::ShownScopes;
use crate::session::{self, SignedIn};
use crate::state::WebState;
use crate::text::{LONG, SHORT, shown};
use crate::when::ShownTime;

/// Binds the cipher text to this use of the key.
const ASSOCIATED: &[u8] = b"device approval 1";

#[derive(Template)]
#[template(path = "device.html")]
struct CodePage<'a> {
    chrome: &'a Chrome,
    username: String,
    problem: Option<String>,
    typed: String,
    csrf: String,
}

#[derive(Template)]
#[template(path = "device_approve.html")]
struct ApprovePage<'a> {
    chrome: &'a Chrome,
    username: String,
    problem: Option<String>,
    user_code: String,
    name: String,
    id: String,
    vouched: String,
    made_known: bool,
    server: ShownServer,
    since: ShownTime,
    asked: ShownScopes,
    csrf: String,
    sealed: String,
}

/// `GET /device`.
pub(crate) async fn get(
    State(state): State<WebState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let cookies = state.cookies(&headers);
    let form = Form::parse(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let code = form.get("user_code").and_then(|code| UserCode::parse(code).ok());
    match session::current(&state, &cookies).await {
        Ok(Some(signed_in)) => {
            let typed = code.map(|code| code.to_string()).unwrap_or_default();
            code_page(&state, &signed_in, &typed, None, StatusCode::OK)
        }
        Ok(None) => see_other(&Next::Device(code).login()),
        Err(error) => Problem::from(error).respond(&state),
    }
}

fn code_page(
    state: &WebState,
    signed_in: &SignedIn,
    typed: &str,
    problem: Option<String>,
    status: StatusCode,
) -> Response {
    let page = CodePage {
        chrome: &state.site().chrome,
        username: shown(&signed_in.user.username, SHORT),
        problem,
        typed: shown(typed, SHORT),
        csrf: state.csrf(Bound::Session(&signed_in.cookie)),
    };
    form_page(status, &page)
}

/// `POST /device`: a code, or an answer.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    match posted(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn posted(state: &WebState, request: Request) -> Result<Response, Problem> {
    let peer = request.extensions().get::<PeerAddress>().copied();
    let posted = Posted::read(state, request).await?;
    let Some(signed_in) = posted.session(state).await? else {
        return Ok(see_other(&Next::Device(None).login()));
    };
    match posted.form.get("device") {
        Some(sealed) => answer(state, &posted, &signed_in, sealed).await,
        None => {
            let typed = posted.text("user_code").to_owned();
            look_up(state, &signed_in, peer, &typed).await
        }
    }
}

/// A code was typed: at most five in a minute by one person, and by one address, whether they are right or not
/// (RFC 8628 §5.1).
async fn look_up(
    state: &WebState,
    signed_in: &SignedIn,
    peer: Option<PeerAddress>,
    typed: &str,
) -> Result<Response, Problem> {
    let user = signed_in.user.id;
    let Ok(code) = UserCode::parse(typed) else {
        let problem = "A code has eight letters, like BCDF-GHJK. Vowels and digits are never part of one.";
        return Ok(code_page(
            state,
            signed_in,
            typed,
            Some(problem.into()),
            StatusCode::OK,
        ));
    };
    if let Err(retry) = state.guesses().typed(user, peer) {
        tracing::warn!(rule = "EX-06", %user, "device: refused, too many codes typed");
        let problem = format!(
            "Too many codes were typed. Wait {} seconds, then look at the code again.",
            retry.seconds()
        );
        let mut response = code_page(
            state,
            signed_in,
            typed,
            Some(problem),
            StatusCode::TOO_MANY_REQUESTS,
        );
        let seconds = http::HeaderValue::from(retry.seconds());
        response.headers_mut().insert(http::header::RETRY_AFTER, seconds);
        return Ok(response);
    }
    let found = state
        .store()
        .device_authorization_by_user_code(code.digest())
        .await?;
    let facts = load(state, found, signed_in).await?;
    match device::view(state.settings(), &facts, state.now()) {
        Ok(view) => {
            tracing::info!(client = ?view.client_id.as_str(), %user, "device: code found, asked");
            approve_page(state, signed_in, (&view, facts.client.as_ref()), code, None)
        }
        Err(problem) => {
            tracing::info!(rule = "RFC 8628 3.3", %user, reason = ?problem, "device: refused, nothing to approve");
            Ok(code_page(
                state,
                signed_in,
                typed,
                Some(problem.to_string()),
                StatusCode::OK,
            ))
        }
    }
}

async fn load(
    state: &WebState,
    authorization: Option<DeviceAuthorization>,
    signed_in: &SignedIn,
) -> Result<DeviceFacts, doorward_storage::LoadError> {
    let store = state.store();
    let session = store.session(signed_in.session.id).await?;
    let Some(found) = authorization else {
        return Ok(DeviceFacts {
            session,
            ..DeviceFacts::default()
        });
    };
    let user = signed_in.user.id;
    doorward_recorder::adopt(found.trace);
    Ok(DeviceFacts {
        session,
        client: store.client(&found.client).await?,
        grant: store
            .grant(user, &found.client, NO_REDIRECT, &found.resource)
            .await?,
        authorization: Some(found),
    })
}

fn approve_page(
    state: &WebState,
    signed_in: &SignedIn,
    (view, client): (&DeviceView, Option<&Client>),
    code: UserCode,
    problem: Option<DeviceProblem>,
) -> Result<Response, Problem> {
    let page = ApprovePage {
        chrome: &state.site().chrome,
        username: shown(&signed_in.user.username, SHORT),
        problem: problem.map(|problem| problem.to_string()),
        user_code: code.to_string(),
        name: client_name(view.client_name.as_deref()),
        id: shown(view.client_id.as_str(), LONG),
        vouched: vouched(client, &view.client_id),
        made_known: client.is_some_and(|client| !client.origin.is_self_service()),
        server: ShownServer {
            name: shown(view.server.as_str(), SHORT),
            url: shown(view.resource.as_str(), LONG),
        },
        since: ShownTime::new(view.created, state.now()),
        asked: ShownScopes::new(&view.scopes),
        csrf: state.csrf(Bound::Session(&signed_in.cookie)),
        sealed: seal(state, &view.shown, code)?,
    };
    Ok(form_page(StatusCode::OK, &page))
}

fn seal(state: &WebState, shown: &Shown, code: UserCode) -> Result<String, Problem> {
    let unsealed = || Problem::stale("the page could not be sealed");
    let plain = serde_json::to_vec(&(shown, code.to_string())).map_err(|_| unsealed())?;
    let sealed = state.sealer().seal_text(b"", ASSOCIATED, &plain, state.random());
    sealed.map_err(|_| unsealed())
}

fn open(state: &WebState, sealed: &str) -> Option<(Shown, UserCode)> {
    let plain = state.sealer().open_text(b"", ASSOCIATED, sealed).ok()?;
    let (shown, code): (Shown, String) = serde_json::from_slice(&plain).ok()?;
    Some((shown, UserCode::parse(&code).ok()?))
}

/// The form of the approval page came back.
async fn answer(
    state: &WebState,
    posted: &Posted,
    signed_in: &SignedIn,
    sealed: &str,
) -> Result<Response, Problem> {
    let stale = || Problem::stale("no device approval of ours");
    let (shown, code) = open(state, sealed).ok_or_else(stale)?;
    let submission = Submission::parse(&posted.form).ok_or_else(stale)?;
    let user = signed_in.user.id;
    let mut attempts = Attempts::default();
    let client = loop {
        let found = state.store().device_authorization(shown.device_code()).await?;
        let facts = load(state, found, signed_in).await?;
        let now = state.now();
        let decided = device::answer(state.settings(), &shown, &submission, &facts, now, state.random());
        match decided {
            Ok(answered) => {
                if attempts.commit(state.store(), answered.unit).await?.is_some() {
                    if let (Some(elevation), Some(client)) = (&answered.elevation, &facts.client) {
                        log_elevation(&client.id, user, elevation, "device: widened");
                    }
                    break facts.client;
                }
            }
            Err(problem @ (DeviceProblem::NotCompared | DeviceProblem::NothingTicked)) => {
                let view = device::view(state.settings(), &facts, now);
                let view = view.map_err(|problem| refused(user, problem))?;
                let shown = (&view, facts.client.as_ref());
                return approve_page(state, signed_in, shown, code, Some(problem));
            }
            Err(problem) => return Err(refused(user, problem)),
        }
    };
    let (id, name) = client.map_or_else(Default::default, |client| {
        let name = client_name(client.metadata.client_name.as_deref());
        (client.id.to_string(), name)
    });
    if submission.approve {
        tracing::info!(client = ?id, %user, scopes = ?submission.ticked.to_string(), "device: approved");
        let text =
            format!("{name} gets its access within a few seconds. Go on there; you can close this page.");
        let next = "It is among the connected apps of your account, and can be disconnected there.";
        return Ok(done_in_account(state, "The device is connected", &text, next));
    }
    tracing::info!(client = ?id, %user, "device: denied");
    let text = "The device gets no access, and its code does not work any more.";
    Ok(done(
        state,
        "Denied",
        text,
        "If somebody sent you the code, tell whoever runs this site.",
    ))
}

fn refused(user: doorward_types::id::UserId, problem: DeviceProblem) -> Problem {
    tracing::info!(rule = "RFC 8628 3.3", %user, reason = ?problem, "device: not answered");
    Problem::new(
        StatusCode::BAD_REQUEST,
        "This page is no longer valid",
        problem.to_string(),
        "Nothing was allowed.",
        format!("{problem:?}"),
    )
}
