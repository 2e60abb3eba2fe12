//! The consent page and its answer.
//!
//! The answer is one transaction on the page's nonce:
//!
//! | answered before | the same session now sends | outcome |
//! |---|---|---|
//! | no | approve, something ticked, access rule admits | consent record, code |
//! | no | deny, nothing ticked, or access rule refuses | `access_denied` |
//! | approved < 60 s ago, code unredeemed | the same again (lost reply) | the old code is void, a new one |
//! | denied < 60 s ago | the same again | `access_denied` |
//! | anything else | | a page without a code |

use doorward_oauth::authorize::Location;
use doorward_oauth::client_metadata::ClientIdUrl;
use doorward_oauth::error::ErrorCode;
use doorward_oauth::form::Form;
use doorward_oauth::redirect;
use doorward_policy::ProtectedServer;
use doorward_records::account::{Session, User};
use doorward_records::client::{Client, ClientOrigin, ClientStatus};
use doorward_records::code::{Code, CodeState};
use doorward_records::decision::{Answer as DecisionAnswer, Decision};
use doorward_records::grant::{Evidence, Grant};
use doorward_records::{Precondition, Unit, Write};
use doorward_types::id::{ClientId, GrantId, ServerName};
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;

use crate::asked::{AskedScopes, Elevation};
use crate::client::{for_display, has_redirect, metadata_digest, within_limit};
use crate::page::PageProblem;
use crate::pending::PendingRequest;
use crate::settings::{Settings, admits, may_have};

/// What the consent page shows. Texts from the client are already made safe to stand beside ours; they
/// still need HTML escaping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentView {
    /// The name the client gave itself, if any. Anybody can choose any name.
    pub client_name: Option<String>,
    /// Its id.
    pub client_id: ClientId,
    /// The host (with port) that vouches for its id: where its metadata document is. `None` for a client that
    /// nobody vouches for.
    pub vouched_by: Option<String>,
    /// Whether an operator made it known: then its name is not its own invention.
    pub made_known: bool,
    /// Its home page as it says; not fetched, not checked.
    pub client_uri: Option<String>,
    /// Where the browser goes after approval: host, or scheme of an app. To be shown at least as
    /// prominently as the name (S12).
    pub redirect_host: String,
    /// The exact redirect URI.
    pub redirect_uri: String,
    /// Every redirect URI of the client is on loopback: any program on the person's machine could pose as
    /// it, so the page warns (S12).
    pub loopback_only: bool,
    /// This request returns to loopback or to a custom scheme, which any local program can claim.
    pub returns_to_local_program: bool,
    /// The server.
    pub server: ServerName,
    /// Its resource identifier.
    pub resource: ResourceUri,
    /// What is asked for.
    pub scopes: AskedScopes,
    /// Who is signed in.
    pub username: String,
    /// Whether the access rule lets this person use the server (R37). If not, or if there is nothing to tick, there is
    /// nothing to approve: the person can go back to the client, or sign in as somebody else.
    pub admitted: bool,
}

/// What the page shows for this request and person, or why there is nothing to ask: the client changed or
/// went away. `grant` is the consent record of user, client, [`PendingRequest::redirect_host`] and resource.
pub fn view(
    settings: &Settings,
    pending: &PendingRequest,
    client: Option<&Client>,
    user: &User,
    grant: Option<&Grant>,
) -> Result<ConsentView, PageProblem> {
    let client = unchanged(pending, client)?;
    let server = server(settings, pending)?;
    let local = |uri: &String| redirect::is_loopback(uri);
    let custom = !pending.redirect_uri.starts_with("https://");
    Ok(ConsentView {
        client_name: client
            .metadata
            .client_name
            .as_deref()
            .map(for_display)
            .filter(|name| !name.is_empty()),
        client_id: client.id.clone(),
        vouched_by: vouched_by(client),
        made_known: matches!(client.origin, ClientOrigin::Operator | ClientOrigin::Configured),
        client_uri: client.metadata.client_uri.as_deref().map(for_display),
        redirect_host: pending.redirect_host(),
        redirect_uri: pending.redirect_uri.clone(),
        loopback_only: client.metadata.redirect_uris.iter().all(local),
        returns_to_local_program: custom || redirect::is_loopback(&pending.redirect_uri),
        server: server.name.clone(),
        resource: server.resource.clone(),
        scopes: AskedScopes::of(
            server,
            user,
            &within_limit(client, &server.scopes, &pending.offered),
            grant,
        ),
        username: user.username.clone(),
        admitted: admits(server, user),
    })
}

/// The host of a client's metadata document.
fn vouched_by(client: &Client) -> Option<String> {
    (client.origin == ClientOrigin::MetadataDocument)
        .then(|| ClientIdUrl::parse(client.id.as_str()).ok())
        .flatten()
        .map(|url| url.authority().to_owned())
}

const NOT_ADMITTED: &str = "this account may not use this server: ask its operator for access";
const NOTHING_TO_GIVE: &str =
    "this account may not give what was asked for: ask the operator of the server for access";
const DENIED: &str = "the person denied the request";

/// Which button was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `decision=approve`.
    Approve,
    /// `decision=deny`.
    Deny,
}

/// What the consent form sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The button.
    pub choice: Choice,
    /// The boxes that were ticked.
    pub ticked: ScopeSet,
}

impl Submission {
    /// Reads `decision` and every `scope`; a text that is not a scope is nothing that was offered.
    pub fn parse(form: &Form) -> Result<Self, PageProblem> {
        let choice = match form.get("decision") {
            Some("approve") if !form.is_repeated("decision") => Choice::Approve,
            Some("deny") if !form.is_repeated("decision") => Choice::Deny,
            _ => return Err(PageProblem::NoAnswer),
        };
        let ticked = form.all("scope").filter_map(|scope| scope.parse().ok()).collect();
        Ok(Self { choice, ticked })
    }
}

/// What to load for an answer.
#[derive(Clone, Debug, Default)]
pub struct ConsentFacts {
    /// [`PendingRequest::client`].
    pub client: Option<Client>,
    /// The session of the cookie that came with the form, with its user.
    pub session: Option<(Session, User)>,
    /// The answer under [`PendingRequest::decision_key`].
    pub decision: Option<Decision>,
    /// The code that this answer names, if it was an approval.
    pub code: Option<Code>,
    /// The consent record of user, client, [`PendingRequest::redirect_host`] and resource.
    pub grant: Option<Grant>,
}

/// What to commit, then to answer.
#[derive(Clone, Debug)]
pub struct Decided {
    /// To be committed before the answer is given.
    pub unit: Unit,
    /// The answer.
    pub answer: Answer,
    /// What the client has more than before, if it had something.
    pub elevation: Option<Elevation>,
}

/// Where the answer leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Back to the client with a code (`303`).
    Code(Location),
    /// Back to the client with an error (`303`).
    Error(Location, ErrorCode),
    /// To a page, without a code.
    Page(PageProblem),
}

/// Decides what a submitted consent form does.
#[must_use]
pub fn decide(
    settings: &Settings,
    pending: &PendingRequest,
    submission: &Submission,
    facts: &ConsentFacts,
    now: UnixTime,
    random: &dyn Random,
) -> Decided {
    let decided = Asked::judge(settings, pending, submission, facts, now).and_then(|asked| {
        match (&asked.wish, &facts.decision) {
            (Wish::Deny(why), None) => Ok(asked.deny(why)),
            (Wish::Deny(why), Some(decision)) => asked.deny_again(why, decision),
            (Wish::Approve(scopes), None) => Ok(asked.approve(scopes, random)),
            (Wish::Approve(scopes), Some(decision)) => asked.approve_again(scopes, decision, random),
        }
    });
    decided.unwrap_or_else(|problem| Decided {
        unit: Unit::default(),
        answer: Answer::Page(problem),
        elevation: None,
    })
}

enum Wish {
    Approve(ScopeSet),
    Deny(&'static str),
}

/// A form that came from the right session, in time, for a client that is what was shown.
struct Asked<'a> {
    settings: &'a Settings,
    pending: &'a PendingRequest,
    facts: &'a ConsentFacts,
    client: &'a Client,
    session: &'a Session,
    user: &'a User,
    wish: Wish,
    now: UnixTime,
}

impl<'a> Asked<'a> {
    fn judge(
        settings: &'a Settings,
        pending: &'a PendingRequest,
        submission: &Submission,
        facts: &'a ConsentFacts,
        now: UnixTime,
    ) -> Result<Self, PageProblem> {
        pending.check_age(settings, now)?;
        let (session, user) = facts.session.as_ref().ok_or(PageProblem::SignedOut)?;
        let bound =
            pending.session == Some(session.id) && pending.user == Some(user.id) && session.user == user.id;
        if !bound || user.disabled || now >= session.expires {
            return Err(PageProblem::SignedOut);
        }
        let client = unchanged(pending, facts.client.as_ref())?;
        let server = server(settings, pending)?;
        // What the user ticked, of what was offered, of what exists and this person and this client may have.
        let offered =
            within_limit(client, &server.scopes, &pending.offered).intersection(&may_have(server, user));
        let scopes = submission.ticked.intersection(&offered);
        let wish = if !admits(server, user) {
            Wish::Deny(NOT_ADMITTED)
        } else if offered.is_empty() {
            Wish::Deny(NOTHING_TO_GIVE)
        } else if submission.choice == Choice::Deny || scopes.is_empty() {
            Wish::Deny(DENIED)
        } else {
            Wish::Approve(scopes)
        };
        Ok(Self {
            settings,
            pending,
            facts,
            client,
            session,
            user,
            wish,
            now,
        })
    }

    fn deny(&self, why: &str) -> Decided {
        let unit = Unit::default()
            .given(Precondition::SessionExists(self.session.id))
            .given(Precondition::DecisionAbsent(self.pending.decision_key()))
            .then(Write::InsertDecision(self.decision(DecisionAnswer::Denied)));
        Decided {
            unit,
            answer: self.denied(why),
            elevation: None,
        }
    }

    fn deny_again(&self, why: &str, decision: &Decision) -> Result<Decided, PageProblem> {
        self.check_repeat(decision)?;
        if decision.answer != DecisionAnswer::Denied {
            return Err(PageProblem::AlreadyAnswered);
        }
        Ok(Decided {
            unit: Unit::default(),
            answer: self.denied(why),
            elevation: None,
        })
    }

    fn approve(&self, scopes: &ScopeSet, random: &dyn Random) -> Decided {
        let (code, unit, elevation) = self.grant_and_code(scopes, random);
        let answer = DecisionAnswer::Approved {
            scopes: scopes.clone(),
            code: code.digest(),
        };
        let unit = unit
            .given(Precondition::DecisionAbsent(self.pending.decision_key()))
            .then(Write::InsertDecision(self.decision(answer)));
        Decided {
            unit,
            answer: self.approved(&code),
            elevation,
        }
    }

    /// The reply to the first answer was lost: its code is void and a new one takes its place. If that code
    /// was redeemed the reply was not lost, and if the consent record is gone somebody took it back.
    fn approve_again(
        &self,
        scopes: &ScopeSet,
        decision: &Decision,
        random: &dyn Random,
    ) -> Result<Decided, PageProblem> {
        self.check_repeat(decision)?;
        let earlier = match (&decision.answer, &self.facts.code) {
            (DecisionAnswer::Approved { scopes: then, code }, Some(earlier))
                if then == scopes && *code == earlier.code && earlier.state == CodeState::Open =>
            {
                earlier
            }
            _ => return Err(PageProblem::AlreadyAnswered),
        };
        if self.facts.grant.is_none() {
            return Err(PageProblem::AlreadyAnswered);
        }
        let (code, unit, elevation) = self.grant_and_code(scopes, random);
        let answer = DecisionAnswer::Approved {
            scopes: scopes.clone(),
            code: code.digest(),
        };
        let unit = unit
            .given(Precondition::DecisionIs(decision.clone()))
            .given(Precondition::CodeIs {
                code: earlier.code,
                state: CodeState::Open,
                misses: earlier.misses,
            })
            .then(Write::SetCodeState {
                code: earlier.code,
                state: CodeState::Void,
                misses: earlier.misses,
            })
            .then(Write::UpdateDecision(Decision {
                answer,
                ..decision.clone()
            }));
        Ok(Decided {
            unit,
            answer: self.approved(&code),
            elevation,
        })
    }

    fn check_repeat(&self, decision: &Decision) -> Result<(), PageProblem> {
        let until = decision.decided.plus(self.settings.lifetimes.consent_repeat);
        if decision.session == self.session.id && self.now < until {
            Ok(())
        } else {
            Err(PageProblem::AlreadyAnswered)
        }
    }

    /// The consent record and a code under it.
    fn grant_and_code(&self, scopes: &ScopeSet, random: &dyn Random) -> (Secret, Unit, Option<Elevation>) {
        let grant = self.grant(scopes, random);
        let elevation = Elevation::between(self.facts.grant.as_ref(), &grant);
        let secret = Secret::generate_with_prefix("dwc_", random);
        let code = Code {
            code: secret.digest(),
            tenant: self.settings.tenant.clone(),
            grant: grant.id,
            user: self.user.id,
            client: self.client.id.clone(),
            redirect_uri: self.pending.redirect_uri.clone(),
            code_challenge: self.pending.code_challenge.as_str().into(),
            resource: self.pending.resource.clone(),
            scopes: scopes.clone(),
            issued: self.now,
            expires: self.now.plus(self.settings.lifetimes.code),
            state: CodeState::Open,
            misses: 0,
            authenticated: Some(self.session.authenticated_at),
            trace: self.pending.trace,
        };
        let unit = Unit::default()
            .given(Precondition::UserEnabled(self.user.id))
            .given(Precondition::SessionExists(self.session.id))
            .given(Precondition::ClientHasStatus(
                self.client.id.clone(),
                ClientStatus::Approved,
            ));
        let unit = match self.facts.grant {
            Some(_) => unit
                .given(Precondition::GrantExists(grant.id))
                .then(Write::UpdateGrant(grant)),
            None => unit
                .given(Precondition::GrantAbsent(grant.clone()))
                .then(Write::InsertGrant(grant)),
        };
        let unit = unit
            .then(Write::InsertCode(code))
            .then(Write::TouchClient(self.client.id.clone(), self.now));
        (secret, unit, elevation)
    }

    fn grant(&self, scopes: &ScopeSet, random: &dyn Random) -> Grant {
        let evidence = Evidence {
            client_name: self.client.metadata.client_name.clone(),
            client_metadata: self.pending.client_metadata,
            redirect_uri: self.pending.redirect_uri.clone(),
            offered: self.pending.offered.clone(),
            authenticated_at: self.session.authenticated_at,
        };
        match &self.facts.grant {
            Some(grant) => Grant {
                scopes: grant.scopes.union(scopes),
                evidence,
                updated: self.now,
                ..grant.clone()
            },
            None => Grant {
                tenant: self.settings.tenant.clone(),
                id: GrantId::generate(self.now, random),
                user: self.user.id,
                client: self.client.id.clone(),
                redirect_host: self.pending.redirect_host(),
                resource: self.pending.resource.clone(),
                scopes: scopes.clone(),
                evidence,
                created: self.now,
                updated: self.now,
            },
        }
    }

    fn decision(&self, answer: DecisionAnswer) -> Decision {
        Decision {
            nonce: self.pending.decision_key(),
            session: self.session.id,
            answer,
            decided: self.now,
            expires: self
                .pending
                .expires(self.settings)
                .plus(self.settings.lifetimes.consent_repeat),
        }
    }

    fn approved(&self, code: &Secret) -> Answer {
        let state = self.pending.state.as_deref();
        Answer::Code(Location::with_code(
            &self.pending.redirect_uri,
            code,
            state,
            &self.settings.issuer,
        ))
    }

    fn denied(&self, why: &str) -> Answer {
        let error = ErrorCode::AccessDenied;
        Answer::Error(self.pending.error(&self.settings.issuer, error, why), error)
    }
}

/// The client, if it is still the one that was (or will be) shown and may still use this redirect URI.
fn unchanged<'a>(pending: &PendingRequest, client: Option<&'a Client>) -> Result<&'a Client, PageProblem> {
    let client = client
        .filter(|client| client.id == pending.client)
        .ok_or(PageProblem::UnknownClient)?;
    match client.status {
        ClientStatus::Approved => {}
        ClientStatus::Pending => return Err(PageProblem::ClientPending(client.id.clone())),
        ClientStatus::Disabled => return Err(PageProblem::ClientDisabled),
    }
    if metadata_digest(&client.metadata) != pending.client_metadata {
        return Err(PageProblem::ClientChanged);
    }
    if !has_redirect(client, &pending.redirect_uri) {
        return Err(PageProblem::UnregisteredRedirect);
    }
    Ok(client)
}

/// The server may have left the configuration while the page was open.
fn server<'a>(settings: &'a Settings, pending: &PendingRequest) -> Result<&'a ProtectedServer, PageProblem> {
    settings.server(&pending.resource).ok_or(PageProblem::Expired)
}

#[cfg(test)]
mod tests;
