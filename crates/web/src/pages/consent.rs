//! POST `/consent`, and the page that leads to it: what an app asks for, and the person's answer.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::PageProblem;
use doorward_authorization_server::asked::Elevation;
use doorward_authorization_server::consent::{self, Answer, ConsentFacts, ConsentView, Decided, Submission};
use doorward_authorization_server::pending::{PendingRequest, Waiting};
use doorward_oauth::error::ErrorCode;
use doorward_oauth::requirement;
use doorward_records::client::Client;
use doorward_records::decision;
use doorward_types::id::{ClientId, UserId};
use http::StatusCode;

use crate::commit::{Attempts, Unavailable};
use crate::csrf::Bound;
use crate::endpoints::authorize::redirect;
use crate::pages::form::Posted;
use crate::pages::home::ShownServer;
use crate::pages::message::Problem;
use crate::pages::{Chrome, form_page, resume};
use crate::redirect_view::ShownRedirect;
use crate::scope_view::ShownScopes;
use crate::sealed_request::{self, NotSealed};
use crate::session::SignedIn;
use crate::state::WebState;
use crate::text::{LONG, SHORT, shown};

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    chrome: &'a Chrome,
    client: ShownClient,
    server: ShownServer,
    redirect: ShownRedirect,
    username: String,
    asked: ShownScopes,
    csrf: String,
    sealed: String,
}

/// The same facts for somebody who may not use the server.
#[derive(Template)]
#[template(path = "not_admitted.html")]
struct NotAdmittedPage<'a> {
    chrome: &'a Chrome,
    page: ConsentPage<'a>,
    /// They may use the server, and not give what is asked for.
    admitted: bool,
}

struct ShownClient {
    name: String,
    named: bool,
    id: String,
    /// The host of its metadata document.
    vouched_by: Option<String>,
    /// The operator made it known.
    made_known: bool,
    /// Every redirect URI of it is on loopback, so nothing that its document says is bound to a web site.
    loopback_only: bool,
}

/// The name an app gave itself, or words for one that gave none.
pub(crate) fn client_name(client: Option<&str>) -> String {
    let name = shown(client.unwrap_or_default(), SHORT);
    if name.is_empty() {
        "An app without a name".into()
    } else {
        name
    }
}

/// The consent page for the person who is signed in; or, if this account may not use the server, a page that
/// says so and offers to sign in as somebody else.
pub(crate) async fn show(
    state: &WebState,
    pending: &PendingRequest,
    client: Option<&Client>,
    signed_in: &SignedIn,
) -> Result<Response, Problem> {
    let user = &signed_in.user;
    let host = pending.redirect_host();
    let grant = state
        .store()
        .grant(user.id, &pending.client, &host, &pending.resource);
    let view = consent::view(state.settings(), pending, client, user, grant.await?.as_ref())?;
    let sealed = sealed_request::seal(state, &Waiting::Judged(pending.clone()))?;
    let page = fill(state, &view, sealed, signed_in);
    if view.admitted && !view.scopes.offered.is_empty() {
        return Ok(form_page(StatusCode::OK, &page));
    }
    let (client, user) = (pending.client.as_str(), user.id);
    if view.admitted {
        let (rule, scopes) = (requirement::SCOPE_GRANTED.id, pending.offered.to_string());
        tracing::warn!(?client, %user, ?scopes, rule, "consent: not asked, this account may not have any of these scopes");
    } else {
        let rule = requirement::ACCESS_RULE.id;
        tracing::warn!(?client, %user, rule, "consent: not asked, the access rule does not admit this account");
    }
    let chrome = page.chrome;
    Ok(form_page(
        StatusCode::FORBIDDEN,
        &NotAdmittedPage {
            chrome,
            page,
            admitted: view.admitted,
        },
    ))
}

fn fill<'a>(
    state: &'a WebState,
    view: &ConsentView,
    sealed: String,
    signed_in: &SignedIn,
) -> ConsentPage<'a> {
    ConsentPage {
        chrome: &state.site().chrome,
        client: ShownClient {
            name: client_name(view.client_name.as_deref()),
            named: view.client_name.is_some(),
            id: shown(view.client_id.as_str(), LONG),
            vouched_by: view.vouched_by.as_deref().map(|host| shown(host, LONG)),
            made_known: view.made_known,
            loopback_only: view.loopback_only,
        },
        server: ShownServer {
            name: shown(view.server.as_str(), SHORT),
            url: shown(view.resource.as_str(), LONG),
        },
        redirect: ShownRedirect::new(&view.redirect_uri),
        username: shown(&view.username, SHORT),
        asked: ShownScopes::new(&view.scopes),
        csrf: state.csrf(Bound::Session(&signed_in.cookie)),
        sealed,
    }
}

/// `POST /consent`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    match answer(&state, request).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&state),
    }
}

async fn answer(state: &WebState, request: Request) -> Result<Response, Problem> {
    let posted = Posted::read(state, request).await?;
    let signed_in = match posted.session(state).await {
        Ok(Some(signed_in)) => signed_in,
        Ok(None) => return resume::consent(state, &posted, PageProblem::SignedOut.into()).await,
        Err(problem) if problem.status == StatusCode::FORBIDDEN => {
            return resume::consent(state, &posted, problem).await;
        }
        Err(problem) => return Err(problem),
    };
    let Waiting::Judged(pending) = sealed_request::open(state, posted.form.get("request"))? else {
        return Err(NotSealed.into());
    };
    let submission = Submission::parse(&posted.form)?;
    let client = pending.client.as_str();
    let user = signed_in.user.id.to_string();
    match settle(state, &pending, &submission, &signed_in).await {
        Ok(Answer::Code(location)) => {
            tracing::info!(?client, user, scopes = ?submission.ticked.to_string(), "consent: given");
            Ok(redirect(StatusCode::SEE_OTHER, &location))
        }
        Ok(Answer::Error(location, error)) => {
            tracing::info!(?client, user, %error, "consent: not given");
            Ok(redirect(StatusCode::SEE_OTHER, &location))
        }
        Ok(Answer::Page(problem)) => Err(problem.into()),
        Err(error) => {
            // The request was judged before it was sealed, so the client can be told.
            error.log("consent");
            let words = "this could not be done just now: try again in a few seconds";
            let code = ErrorCode::TemporarilyUnavailable;
            let location = pending.error(&state.settings().issuer, code, words);
            Ok(redirect(StatusCode::SEE_OTHER, &location))
        }
    }
}

/// Loads, decides and commits.
async fn settle(
    state: &WebState,
    pending: &PendingRequest,
    submission: &Submission,
    signed_in: &SignedIn,
) -> Result<Answer, Unavailable> {
    let mut attempts = Attempts::default();
    loop {
        let facts = load(state, pending, signed_in).await?;
        let Decided {
            unit,
            answer,
            elevation,
        } = consent::decide(
            state.settings(),
            pending,
            submission,
            &facts,
            state.now(),
            state.random(),
        );
        if unit.is_empty() || attempts.commit(state.store(), unit).await?.is_some() {
            if let Some(elevation) = elevation {
                log_elevation(&pending.client, signed_in.user.id, &elevation, "consent: widened");
            }
            return Ok(answer);
        }
    }
}

/// A client can do more than before: whom to ask about it later, and what it was (MCP security best practices, scope
/// minimization).
pub(crate) fn log_elevation(client: &ClientId, user: UserId, elevation: &Elevation, step: &str) {
    let (client, grant) = (client.as_str(), elevation.grant);
    let (before, after) = (elevation.before.to_string(), elevation.after.to_string());
    tracing::info!(rule = "B27", ?client, %user, %grant, ?before, ?after, "{step}");
}

async fn load(
    state: &WebState,
    pending: &PendingRequest,
    signed_in: &SignedIn,
) -> Result<ConsentFacts, Unavailable> {
    let store = state.store();
    let decision = store.decision(pending.decision_key()).await?;
    let code = match decision.as_ref().map(|decision| &decision.answer) {
        Some(decision::Answer::Approved { code, .. }) => store.code(*code).await?,
        _ => None,
    };
    let host = pending.redirect_host();
    let user = signed_in.user.id;
    Ok(ConsentFacts {
        client: store.client(&pending.client).await?,
        session: store.session(signed_in.session.id).await?,
        decision,
        code,
        grant: store
            .grant(user, &pending.client, &host, &pending.resource)
            .await?,
    })
}
