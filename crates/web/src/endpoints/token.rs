//! `POST /token` (RFC 6749 §3.2): codes, refresh tokens and clients' own credentials become access tokens.

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::call::CallRefusal;
use doorward_authorization_server::client_auth::Authenticated;
use doorward_authorization_server::grants::authorization_code::CodeFacts;
use doorward_authorization_server::grants::device_code::DeviceCodeFacts;
use doorward_authorization_server::grants::{
    Decided, Issue, authorization_code, client_credentials, device_code, refresh_token,
};
use doorward_authorization_server::keys::KeyRing;
use doorward_authorization_server::mint;
use doorward_authorization_server::token::{self, GrantRequest, TokenCall, TokenRefusal};
use doorward_limits::Retry;
use doorward_oauth::token::TokenResponse;
use doorward_records::client::Client;
use doorward_records::device::DeviceState;
use doorward_records::facts::RefreshFacts;
use doorward_storage::LoadError;
use doorward_types::id::TraceId;
use http::StatusCode;

use crate::client_auth;
use crate::commit::{Attempts, Unavailable};
use crate::endpoints::call::{Incoming, log_refusal};
use crate::endpoints::json;
use crate::state::WebState;
use crate::user_agent;

/// Why there is no token.
enum Refused {
    /// By a rule.
    Rule(TokenRefusal),
    /// Because storage did not answer; nothing was changed.
    Storage(Unavailable),
}

impl From<TokenRefusal> for Refused {
    fn from(refusal: TokenRefusal) -> Self {
        Self::Rule(refusal)
    }
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        Self::Storage(error.into())
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        Self::Storage(error)
    }
}

/// `POST /token`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(response) => return response,
    };
    let mut call = match incoming.parse(|http| token::parse(http, state.settings().grants)) {
        Ok(call) => call,
        Err(refusal) => return refuse(&incoming, None, &refusal),
    };
    match &mut call.grant {
        GrantRequest::AuthorizationCode(request) => request.device = user_agent::describe(incoming.headers()),
        GrantRequest::DeviceCode(request) => request.device = user_agent::describe(incoming.headers()),
        GrantRequest::RefreshToken(_) | GrantRequest::ClientCredentials(_) => {}
    }
    let client = Some(call.presented.client_id().as_str());
    match answer(&state, &incoming, &call).await {
        Ok(response) => json(StatusCode::OK, response.to_json().expose().to_owned()),
        Err(Refused::Rule(refusal)) => refuse(&incoming, client, &refusal),
        Err(Refused::Storage(error)) => {
            error.log("token");
            refuse(&incoming, client, &TokenRefusal::Unavailable)
        }
    }
}

fn refuse(incoming: &Incoming, client: Option<&str>, refusal: &TokenRefusal) -> Response {
    log_refusal("token", client, refusal.requirement(), refusal);
    let wait = match refusal {
        TokenRefusal::Call(CallRefusal::TooMany(wait)) => Some(Retry(*wait)),
        _ => None,
    };
    incoming.refuse(refusal.status(), refusal.body(), wait)
}

/// Loads, authenticates, decides and commits, again if rows changed in between; then signs.
async fn answer(state: &WebState, incoming: &Incoming, call: &TokenCall) -> Result<TokenResponse, Refused> {
    let keys = state.keys();
    let mut attempts = Attempts::default();
    // Told once: another attempt must not forget it.
    let mut more_needed = false;
    loop {
        let facts = Facts::load(state, call).await?;
        doorward_recorder::adopt(facts.trace());
        let caller = client_auth::authenticate(state, incoming.peer(), &call.presented, facts.client())
            .await
            .map_err(|refused| match refused {
                client_auth::Refused::Rule(refusal) => Refused::Rule(call.not_authenticated(refusal)),
                client_auth::Refused::Storage(error) => Refused::Storage(error),
            })?;
        call.grant.check_registered(&caller)?;
        let mut decided = decide(state, &keys, call, &facts, &caller);
        if decided.outcome.is_ok() {
            more_needed = more_needed || needs_more(state, call, &facts, &caller);
            if more_needed {
                decided = Decided::refuse(TokenRefusal::MoreNeeded);
            }
        }
        let Decided { unit, outcome } = decided;
        // What harms must be as durable as what helps, a used assertion included.
        let unit = caller.using_up(unit);
        let revocation_sequence = match (unit.is_empty(), &facts) {
            (true, Facts::Own { sequence, .. }) => *sequence,
            (true, _) if outcome.is_err() => 0,
            _ => match attempts.commit(state.store(), unit).await? {
                Some(committed) => committed.revocation_sequence,
                None => continue,
            },
        };
        let issue = outcome?;
        log(&call.grant, &issue);
        return mint::mint(&keys, &state.settings().issuer, &issue, revocation_sequence).map_err(|error| {
            tracing::error!(%error, "token: not signed");
            Refused::Rule(TokenRefusal::KeyMissing)
        });
    }
}

fn decide(
    state: &WebState,
    keys: &KeyRing,
    call: &TokenCall,
    facts: &Facts,
    caller: &Authenticated,
) -> Decided {
    let (settings, now, random) = (state.settings(), state.now(), state.random());
    let refresh_keys = keys.refresh();
    match (&call.grant, facts) {
        (GrantRequest::AuthorizationCode(request), Facts::Code(facts)) => {
            authorization_code::decide(settings, refresh_keys, request, facts, now, random)
        }
        (GrantRequest::RefreshToken(request), Facts::Refresh(facts)) => {
            refresh_token::decide(settings, refresh_keys, request, facts.as_deref(), now, random)
        }
        (GrantRequest::DeviceCode(request), Facts::Device(facts)) => {
            device_code::decide(settings, refresh_keys, request, facts, now, random)
        }
        (GrantRequest::ClientCredentials(request), _) => {
            client_credentials::decide(settings, request, caller, now, random)
        }
        // `Facts::load` gives each grant its own.
        _ => Decided::refuse(TokenRefusal::Unavailable),
    }
}

/// Whether this refresh is what some clients do when a call needed more scopes, instead of asking for them.
fn needs_more(state: &WebState, call: &TokenCall, facts: &Facts, caller: &Authenticated) -> bool {
    let (GrantRequest::RefreshToken(request), Facts::Refresh(Some(facts))) = (&call.grant, facts) else {
        return false;
    };
    // Others have no way to start a new authorization upon this.
    let can_ask = caller.client().metadata.registered("authorization_code");
    let names_scopes = request.scope.as_deref().is_some_and(|scope| !scope.is_empty());
    // Whoever repeats a refresh needs its answer now: later the same token would be taken for a stolen one.
    let is_head = facts.token.rotated.is_none();
    can_ask && is_head && !names_scopes && state.challenged().answer(facts.family.family.id)
}

/// What was loaded for a grant.
enum Facts {
    Code(Box<CodeFacts>),
    Refresh(Option<Box<RefreshFacts>>),
    Device(Box<DeviceCodeFacts>),
    /// The client as it was at this end of the revocation feed: whatever switches the client off after it was
    /// looked at has a higher number, so the token that is signed without a commit is refused.
    Own {
        client: Option<Box<Client>>,
        sequence: u64,
    },
}

impl Facts {
    async fn load(state: &WebState, call: &TokenCall) -> Result<Self, LoadError> {
        let store = state.store();
        Ok(match &call.grant {
            GrantRequest::AuthorizationCode(request) => {
                let facts = store.code_facts(request.lookup()).await?;
                Self::Code(Box::new(facts.map(CodeFacts::from).unwrap_or_default()))
            }
            GrantRequest::RefreshToken(request) => {
                Self::Refresh(store.refresh_token(request.lookup()).await?.map(Box::new))
            }
            GrantRequest::DeviceCode(request) => Self::Device(Box::new(device_facts(state, request).await?)),
            GrantRequest::ClientCredentials(_) => {
                let (client, sequence) = store.client_and_sequence(call.presented.client_id()).await?;
                Self::Own {
                    client: client.map(Box::new),
                    sequence,
                }
            }
        })
    }

    /// The login that the code or the token comes from.
    fn trace(&self) -> Option<TraceId> {
        match self {
            Self::Code(facts) => facts.code.as_ref()?.trace,
            Self::Refresh(facts) => facts.as_ref()?.family.family.trace,
            Self::Device(facts) => facts.authorization.as_ref()?.trace,
            Self::Own { .. } => None,
        }
    }

    /// The client that the facts name, so that it need not be loaded twice.
    fn client(&self) -> Option<&Client> {
        match self {
            Self::Code(facts) => facts.client.as_ref(),
            Self::Refresh(facts) => facts.as_ref()?.family.client.as_ref(),
            Self::Device(facts) => facts.client.as_ref(),
            Self::Own { client, .. } => client.as_deref(),
        }
    }
}

async fn device_facts(
    state: &WebState,
    request: &device_code::Request,
) -> Result<DeviceCodeFacts, LoadError> {
    let store = state.store();
    let Some(device) = store.device_authorization(request.lookup()).await? else {
        return Ok(DeviceCodeFacts::default());
    };
    let client = store.client(&device.client).await?;
    let (mut user, mut grant, mut family) = (None, None, None);
    match &device.state {
        DeviceState::Approved {
            user: id,
            grant: record,
            ..
        } => {
            user = store.user(*id).await?;
            grant = store.grant_by_id(*record).await?;
        }
        DeviceState::Redeemed { family: id } => {
            family = store.family(*id).await?.map(|facts| facts.family);
        }
        DeviceState::Pending | DeviceState::Denied => {}
    }
    Ok(DeviceCodeFacts {
        authorization: Some(device),
        client,
        user,
        grant,
        family,
    })
}

fn log(request: &GrantRequest, issue: &Issue) {
    let step = match request {
        GrantRequest::AuthorizationCode(_) => "token: code redeemed",
        GrantRequest::RefreshToken(_) => "token: refreshed",
        GrantRequest::ClientCredentials(_) => "token: issued to the client itself",
        GrantRequest::DeviceCode(_) => "token: device code redeemed",
    };
    let (client, resource) = (issue.client.as_str(), issue.resource.as_str());
    let (user, token) = (&issue.subject, issue.token);
    let family = issue.family.map(tracing::field::display);
    let scopes = issue.scopes.to_string();
    tracing::info!(?client, ?resource, %user, family, %token, ?scopes, "{step}");
}
