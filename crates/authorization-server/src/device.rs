//! The device authorization grant up to the poll (RFC 8628 §3.1 to §3.3): a device asks for two codes, a person types
//! one of them on a device with a browser and says what the other may do.
//!
//! It is the one flow in which the person who approves need not be near what they approve: somebody else can send them
//! a code (RFC 8628 §5.4). So it is off unless the operator turns it on, the page shows the code and says so, and the
//! approval needs a tick of its own that the code was read off one's own device.

use std::time::Duration;

use doorward_oauth::device::{self, DeviceAuthorizationResponse, UserCode};
use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_oauth::form::Form;
use doorward_oauth::requirement::{self, Requirement};
use doorward_policy::ProtectedServer;
use doorward_records::account::{Session, User};
use doorward_records::client::{Client, ClientStatus};
use doorward_records::device::{DeviceAuthorization, DeviceState};
use doorward_records::grant::{Evidence, Grant};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, GrantId, TraceId};
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::asked::{AskedScopes, Elevation};
use crate::authorize::offered;
use crate::client::{for_display, may_use, metadata_digest, within_limit};
use crate::settings::{Settings, admits, may_have};

/// How long both codes work: long enough to find a telephone, short for whoever guesses or phishes (EX-06).
pub const LIFETIME: Duration = Duration::from_mins(10);
/// How long a device waits between two polls at first (RFC 8628 §3.2).
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Device authorizations that are kept at once; each is a few hundred bytes, for at most a day.
pub const MOST: u64 = 10_000;
/// What stands for the redirect host in the consent record of a device, which has none. Neither a host nor a scheme.
pub const NO_REDIRECT: &str = "(device)";

/// Why a device gets no codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceRefusal {
    /// A parameter was sent twice.
    #[error("a parameter was sent more than once")]
    Repeated,
    /// The client may not (yet) authorize.
    #[error("this client is not approved")]
    NotApproved,
    /// The client did not register for the grant (RFC 8628 §3.1).
    #[error("this client did not register for urn:ietf:params:oauth:grant-type:device_code")]
    NotRegistered,
    /// No server, or several, or one that this client may not use.
    #[error("resource must name one MCP server of this site exactly once (RFC 8707)")]
    Resource,
    /// Malformed.
    #[error("scope is malformed (RFC 6749 section 3.3)")]
    Scope,
}

impl DeviceRefusal {
    /// The OAuth error.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Repeated => ErrorCode::InvalidRequest,
            Self::NotApproved | Self::NotRegistered => ErrorCode::UnauthorizedClient,
            Self::Resource => ErrorCode::InvalidTarget,
            Self::Scope => ErrorCode::InvalidScope,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn body(self) -> ErrorBody {
        ErrorBody::new(self.code(), self.to_string())
    }

    /// The rule it enforces.
    #[must_use]
    pub const fn requirement(self) -> Requirement {
        match self {
            Self::Resource => requirement::ONE_RESOURCE,
            Self::Scope => requirement::SCOPE_GRANTED,
            Self::NotApproved => requirement::REGISTRATION_POLICY,
            Self::Repeated | Self::NotRegistered => requirement::OAUTH_2_1,
        }
    }
}

/// What a device asks for (RFC 8628 §3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRequest {
    /// `scope`.
    pub scope: Option<String>,
    /// `resource`, each one.
    pub resource: Vec<String>,
}

impl DeviceRequest {
    /// Reads the parameters beside those that authenticate the client.
    pub fn parse(form: &Form) -> Result<Self, DeviceRefusal> {
        if form.repeated(&["resource"]).is_some() {
            return Err(DeviceRefusal::Repeated);
        }
        Ok(Self {
            scope: form.get("scope").map(str::to_owned),
            resource: form.all("resource").map(str::to_owned).collect(),
        })
    }
}

/// Two codes for a device.
#[derive(Clone, Debug)]
pub struct Started {
    /// To be committed before the answer is given. A conflict: the user code is taken, or too many devices wait.
    pub unit: Unit,
    /// The answer.
    pub response: DeviceAuthorizationResponse,
}

/// Decides a request of `client`, which was authenticated.
pub fn start(
    settings: &Settings,
    client: &Client,
    request: &DeviceRequest,
    trace: Option<TraceId>,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Started, DeviceRefusal> {
    if client.status != ClientStatus::Approved {
        return Err(DeviceRefusal::NotApproved);
    }
    if !has_grant(client) {
        return Err(DeviceRefusal::NotRegistered);
    }
    let server = settings
        .requested_server(&request.resource)
        .filter(|server| may_use(client, server))
        .ok_or(DeviceRefusal::Resource)?;
    let offered = offered(server, client, request.scope.as_deref()).map_err(|_| DeviceRefusal::Scope)?;
    let device_code = Secret::generate_with_prefix("dwd_", random);
    let user_code = UserCode::generate(random);
    let authorization = DeviceAuthorization {
        device_code: device_code.digest(),
        user_code: user_code.digest(),
        tenant: settings.tenant.clone(),
        client: client.id.clone(),
        resource: server.resource.clone(),
        offered,
        created: now,
        expires: now.plus(LIFETIME),
        interval: INTERVAL,
        last_poll: None,
        state: DeviceState::Pending,
        trace,
    };
    let unit = Unit::default()
        .given(Precondition::ClientHasStatus(
            client.id.clone(),
            ClientStatus::Approved,
        ))
        .given(Precondition::DeviceAuthorizationsBelow(MOST))
        .given(Precondition::UserCodeFree(authorization.user_code))
        .then(Write::InsertDeviceAuthorization(authorization))
        .then(Write::TouchClient(client.id.clone(), now));
    let response = DeviceAuthorizationResponse {
        device_code,
        user_code,
        verification_uri: page(&settings.issuer),
        expires_in: LIFETIME,
        interval: INTERVAL,
    };
    Ok(Started { unit, response })
}

/// Pages are on the origin, also of an issuer that has a path.
fn page(issuer: &Issuer) -> String {
    let url = Url::parse(issuer.as_str()).and_then(|url| url.join("/device"));
    url.map_or_else(|_| "/device".into(), String::from)
}

fn has_grant(client: &Client) -> bool {
    let grants = &client.metadata.grant_types;
    grants.iter().any(|grant| grant == device::GRANT_TYPE)
}

/// What to load for a code that was typed.
#[derive(Clone, Debug, Default)]
pub struct DeviceFacts {
    /// The device authorization with the code.
    pub authorization: Option<DeviceAuthorization>,
    /// Its client.
    pub client: Option<Client>,
    /// The session of the browser, with its user.
    pub session: Option<(Session, User)>,
    /// The consent record of user, client, [`NO_REDIRECT`] and resource.
    pub grant: Option<Grant>,
}

/// Why there is nothing to approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceProblem {
    /// Unknown, expired, answered: one answer, so that guesses tell nothing apart.
    #[error(
        "No device waits for this code. Look at the code again; if it is right, start again on the device."
    )]
    NotWaiting,
    /// The client changed, or what it asks for is no longer served, while the page was open.
    #[error("The app changed while you were looking at it. Start again on the device.")]
    Changed,
    /// The page was made for another sign-in, or is too old.
    #[error("This page belongs to another sign-in. Type the code again.")]
    OtherSession,
    /// The access rule does not admit this person.
    #[error("Your account may not use this server. Ask its operator for access.")]
    NotAdmitted,
    /// The person may not have any of what is asked for.
    #[error(
        "Your account cannot give what the device asks for. Whoever runs this server can give it to you."
    )]
    NothingToGive,
    /// The box that says that the code is on one's own device is not ticked.
    #[error("Say first whether this is the code on your own device. Without that nothing is allowed.")]
    NotCompared,
    /// Nothing is ticked.
    #[error("Tick at least one thing that the device may do, or deny the request.")]
    NothingTicked,
}

/// What the approval page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// The name the client gave itself.
    pub client_name: Option<String>,
    /// Its id.
    pub client_id: ClientId,
    /// The server.
    pub server: doorward_types::id::ServerName,
    /// Its resource identifier.
    pub resource: ResourceUri,
    /// What is asked for.
    pub scopes: AskedScopes,
    /// When the device asked.
    pub created: UnixTime,
    /// To be sealed into the form.
    pub shown: Shown,
}

/// What a person was shown, sealed into the approval form: the answer is about nothing else. It is also why an answer
/// is no guess: who holds one has been shown the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    device_code: Digest,
    client_metadata: Digest,
    session: Digest,
}

impl Shown {
    /// What to look the device up by.
    #[must_use]
    pub const fn device_code(&self) -> Digest {
        self.device_code
    }
}

/// What the page shows for a code that a signed-in person typed.
pub fn view(settings: &Settings, facts: &DeviceFacts, now: UnixTime) -> Result<DeviceView, DeviceProblem> {
    let waiting = Waiting::judge(settings, facts, now)?;
    Ok(DeviceView {
        client_name: waiting
            .client
            .metadata
            .client_name
            .as_deref()
            .map(for_display)
            .filter(|name| !name.is_empty()),
        client_id: waiting.client.id.clone(),
        server: waiting.server.name.clone(),
        resource: waiting.server.resource.clone(),
        scopes: AskedScopes::of(
            waiting.server,
            waiting.user,
            &waiting.wanted(),
            facts.grant.as_ref(),
        ),
        created: waiting.authorization.created,
        shown: waiting.shown(),
    })
}

/// What the approval form sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Allow or deny.
    pub approve: bool,
    /// Whether the box is ticked that says that the code is on one's own device.
    pub compared: bool,
    /// The scopes that are ticked.
    pub ticked: ScopeSet,
}

impl Submission {
    /// Reads `decision`, `compared` and every `scope`. `None`: no decision, so it is no answer.
    #[must_use]
    pub fn parse(form: &Form) -> Option<Self> {
        let approve = match form.get("decision")? {
            "approve" => true,
            "deny" => false,
            _ => return None,
        };
        Some(Self {
            approve,
            compared: form.get("compared") == Some("yes"),
            ticked: form.all("scope").filter_map(|scope| scope.parse().ok()).collect(),
        })
    }
}

/// What an answer does.
#[derive(Clone, Debug)]
pub struct Answered {
    /// To be committed before the person is told.
    pub unit: Unit,
    /// What the client has more than before, if it had something.
    pub elevation: Option<Elevation>,
}

/// Decides an answer.
pub fn answer(
    settings: &Settings,
    shown: &Shown,
    submission: &Submission,
    facts: &DeviceFacts,
    now: UnixTime,
    random: &dyn Random,
) -> Result<Answered, DeviceProblem> {
    let waiting = Waiting::judge(settings, facts, now)?;
    let now_shown = waiting.shown();
    if now_shown.session != shown.session {
        return Err(DeviceProblem::OtherSession);
    }
    if now_shown != *shown {
        return Err(DeviceProblem::Changed);
    }
    let move_to = |state| {
        Unit::default()
            .given(Precondition::DeviceAuthorizationIs(waiting.authorization.clone()))
            .given(Precondition::UserEnabled(waiting.user.id))
            .given(Precondition::SessionExists(waiting.session.id))
            .then(Write::UpdateDeviceAuthorization(DeviceAuthorization {
                state,
                ..waiting.authorization.clone()
            }))
    };
    if !submission.approve {
        return Ok(Answered {
            unit: move_to(DeviceState::Denied),
            elevation: None,
        });
    }
    if !submission.compared {
        return Err(DeviceProblem::NotCompared);
    }
    let scopes = submission.ticked.intersection(&waiting.offered());
    if scopes.is_empty() {
        return Err(DeviceProblem::NothingTicked);
    }
    let grant = waiting.grant(facts.grant.as_ref(), &scopes, now, random);
    let elevation = Elevation::between(facts.grant.as_ref(), &grant);
    let approved = DeviceState::Approved {
        user: waiting.user.id,
        grant: grant.id,
        scopes,
        authenticated: Some(waiting.session.authenticated_at),
    };
    let client = waiting.client.id.clone();
    // The consent record first: what is approved rests on it.
    let mut unit = match facts.grant {
        Some(_) => Unit::default()
            .given(Precondition::GrantExists(grant.id))
            .then(Write::UpdateGrant(grant)),
        None => Unit::default()
            .given(Precondition::GrantAbsent(grant.clone()))
            .then(Write::InsertGrant(grant)),
    }
    .given(Precondition::ClientHasStatus(
        client.clone(),
        ClientStatus::Approved,
    ));
    let moved = move_to(approved);
    unit.preconditions.extend(moved.preconditions);
    unit.writes.extend(moved.writes);
    Ok(Answered {
        unit: unit.then(Write::TouchClient(client, now)),
        elevation,
    })
}

/// A device that waits, with everything that must be true of it.
struct Waiting<'a> {
    authorization: &'a DeviceAuthorization,
    client: &'a Client,
    server: &'a ProtectedServer,
    session: &'a Session,
    user: &'a User,
}

impl<'a> Waiting<'a> {
    fn judge(settings: &'a Settings, facts: &'a DeviceFacts, now: UnixTime) -> Result<Self, DeviceProblem> {
        let (session, user) = facts.session.as_ref().ok_or(DeviceProblem::OtherSession)?;
        if user.disabled || session.user != user.id || now >= session.expires {
            return Err(DeviceProblem::OtherSession);
        }
        let authorization = facts
            .authorization
            .as_ref()
            .filter(|found| found.state == DeviceState::Pending && now < found.expires)
            .ok_or(DeviceProblem::NotWaiting)?;
        let client = facts
            .client
            .as_ref()
            .filter(|client| client.id == authorization.client)
            .filter(|client| client.status == ClientStatus::Approved && has_grant(client))
            .ok_or(DeviceProblem::Changed)?;
        let server = settings
            .server(&authorization.resource)
            .filter(|server| may_use(client, server))
            .ok_or(DeviceProblem::Changed)?;
        if !admits(server, user) {
            return Err(DeviceProblem::NotAdmitted);
        }
        let waiting = Self {
            authorization,
            client,
            server,
            session,
            user,
        };
        if waiting.offered().is_empty() {
            return Err(DeviceProblem::NothingToGive);
        }
        Ok(waiting)
    }

    /// What the device asked for, of what its client can be granted.
    fn wanted(&self) -> ScopeSet {
        within_limit(self.client, &self.server.scopes, &self.authorization.offered)
    }

    /// Of that, what this person may have.
    fn offered(&self) -> ScopeSet {
        self.wanted().intersection(&may_have(self.server, self.user))
    }

    fn shown(&self) -> Shown {
        Shown {
            device_code: self.authorization.device_code,
            client_metadata: metadata_digest(&self.client.metadata),
            session: self.session.id,
        }
    }

    fn grant(&self, known: Option<&Grant>, scopes: &ScopeSet, now: UnixTime, random: &dyn Random) -> Grant {
        let evidence = Evidence {
            client_name: self.client.metadata.client_name.clone(),
            client_metadata: metadata_digest(&self.client.metadata),
            redirect_uri: NO_REDIRECT.into(),
            offered: self.authorization.offered.clone(),
            authenticated_at: self.session.authenticated_at,
        };
        match known {
            Some(grant) => Grant {
                scopes: grant.scopes.union(scopes),
                evidence,
                updated: now,
                ..grant.clone()
            },
            None => Grant {
                tenant: self.authorization.tenant.clone(),
                id: GrantId::generate(now, random),
                user: self.user.id,
                client: self.client.id.clone(),
                redirect_host: NO_REDIRECT.into(),
                resource: self.server.resource.clone(),
                scopes: scopes.clone(),
                evidence,
                created: now,
                updated: now,
            },
        }
    }
}

#[cfg(test)]
mod tests;
