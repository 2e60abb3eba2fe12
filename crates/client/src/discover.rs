//! From an MCP server's URL to its authorization server (D3 to D7): first [`FindResource`], then [`FindServer`].

use std::collections::VecDeque;

use doorward_types::scope::ScopeSet;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::challenge::Challenge;
use crate::error::{Error, Hop, Refusal};
use crate::http::{HttpRequest, HttpResponse, NamedBy};
use crate::machine::{Answer, Machine, Step, reached};
use crate::named_url::UrlPolicy;
use crate::resource_metadata::{self, ResourceMetadata};
use crate::server_metadata::{self, ServerMetadata};
use crate::sign_on::SignOn;

/// How many of the listed authorization servers are asked.
const MAX_SERVERS: usize = 4;

/// What is known after discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The MCP server as its user calls it.
    pub server: Url,
    /// What `resource` parameters say, byte for byte (A19, A20).
    pub resource: String,
    /// What the MCP server says about itself; `None` for servers of 2025-03-26, which have no such document.
    pub resource_metadata: Option<ResourceMetadata>,
    /// Its authorization server.
    pub authorization_server: ServerMetadata,
    /// What makes this a sign-on at an identity provider, for which no MCP server is asked.
    pub sign_on: Option<SignOn>,
}

impl Discovered {
    /// `scopes_supported` of the resource metadata.
    #[must_use]
    pub fn scopes_supported(&self) -> Option<&ScopeSet> {
        self.resource_metadata.as_ref()?.scopes_supported.as_ref()
    }

    /// Whether the MCP server takes only tokens that are bound to a key (RFC 9728 §2).
    #[must_use]
    pub fn requires_dpop(&self) -> bool {
        self.resource_metadata
            .as_ref()
            .is_some_and(|metadata| metadata.dpop_bound_access_tokens_required)
    }
}

/// What [`FindResource`] ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundResource {
    /// A document that holds.
    Metadata(Box<ResourceMetadata>),
    /// None anywhere.
    Nowhere {
        /// Where it was looked for, and what was there instead, for messages.
        tried: Vec<String>,
    },
}

/// Looks for resource metadata: at the URL of the challenge, then at the server's path, then at its root (D4).
#[derive(Debug)]
pub struct FindResource {
    server: Url,
    policy: UrlPolicy,
    refused: Option<String>,
    places: VecDeque<Place>,
    asked: Option<Place>,
    tried: Vec<String>,
}

/// A place where a document may stand.
#[derive(Debug)]
struct Place {
    url: Url,
    named_by: NamedBy,
    /// A server said that it stands there: then it must.
    promised: bool,
}

impl FindResource {
    /// For the MCP server at `server`, which answered with `challenge`.
    #[must_use]
    pub fn new(server: &Url, challenge: Option<&Challenge>, policy: &UrlPolicy) -> Self {
        let mut places = VecDeque::new();
        if let Some(url) = challenge.and_then(|challenge| challenge.resource_metadata.clone()) {
            let named_by = named_by(&url, server);
            places.push_back(Place {
                url,
                named_by,
                promised: true,
            });
        }
        for url in resource_metadata::locations(server) {
            if places.iter().all(|place| place.url != url) {
                places.push_back(Place {
                    url,
                    named_by: NamedBy::User,
                    promised: false,
                });
            }
        }
        Self {
            server: server.clone(),
            policy: policy.clone(),
            refused: challenge.and_then(|challenge| challenge.refused_resource_metadata.clone()),
            places,
            asked: None,
            tried: Vec::new(),
        }
    }

    /// The document at `place`, or that there is none.
    fn judge(&mut self, place: &Place, answer: Answer) -> Result<Option<ResourceMetadata>, Error> {
        let response = reached(answer, Hop::ResourceMetadata, &place.url)?;
        let what = match presence(Hop::ResourceMetadata, &place.url, &response)? {
            Presence::Document => {
                match ResourceMetadata::parse(&self.server, &place.url, &response.body, &self.policy)? {
                    Some(metadata) => return Ok(Some(metadata)),
                    None => "no JSON object".to_owned(),
                }
            }
            Presence::Absent(what) => what,
        };
        // A document that the challenge names and that is gone is looked for at the other places (404), but one that is
        // something else is not.
        if place.promised && response.status != StatusCode::NOT_FOUND {
            return Err(Refusal::new(
                Hop::ResourceMetadata,
                Some(&place.url),
                ("D3", "RFC 9728 §3.2 and §5.1"),
                format!("the challenge names this document, but the answer is {what}"),
                "the MCP server's operator must serve the document there, with 200 and as a JSON object with unique keys",
            )
            .into());
        }
        self.tried.push(format!("{} ({what})", place.url));
        Ok(None)
    }
}

impl Machine for FindResource {
    type Output = FoundResource;

    fn resume(&mut self, answer: Option<Answer>) -> Result<Step<FoundResource>, Error> {
        if let Some(why) = self.refused.take() {
            return Err(Refusal::new(
                Hop::McpServer,
                Some(&self.server),
                ("B20", "RFC 9728 §5.1; MCP security best practices"),
                format!("the challenge's resource_metadata is {why}"),
                "the MCP server's operator must name an https URL in resource_metadata",
            )
            .into());
        }
        if let (Some(place), Some(answer)) = (self.asked.take(), answer)
            && let Some(metadata) = self.judge(&place, answer)?
        {
            return Ok(Step::Done(FoundResource::Metadata(Box::new(metadata))));
        }
        match self.places.pop_front() {
            Some(place) => {
                let request = get(&place.url, place.named_by, Hop::ResourceMetadata);
                self.asked = Some(place);
                Ok(Step::Send(Box::new(request)))
            }
            None => Ok(Step::Done(FoundResource::Nowhere {
                tried: std::mem::take(&mut self.tried),
            })),
        }
    }
}

/// How [`FindServer`] looks.
#[derive(Clone, Debug, Default)]
pub struct ServerChoice {
    /// Issuers that there are credentials for: asked first if they are listed.
    pub known: Vec<String>,
    /// Whether the server is to be used with a browser: then one that offers no code flow with PKCE is not taken.
    pub code_flow: bool,
    /// Whether a server without any resource metadata may be one of revision 2025-03-26, which is its own authorization
    /// server.
    pub legacy: bool,
}

/// Looks for the metadata of an authorization server that the resource metadata names: of the listed ones the first that
/// holds (RFC 9728 §7.6 leaves the choice to the client).
#[derive(Debug)]
pub struct FindServer {
    server: Url,
    found: FoundResource,
    policy: UrlPolicy,
    choice: ServerChoice,
    candidates: VecDeque<Candidate>,
    current: Option<Candidate>,
    asked: Option<Url>,
    first_error: Option<Error>,
}

/// One authorization server that may be the one.
#[derive(Debug)]
struct Candidate {
    /// The spellings of the issuer that the document may have; the first is the one to use.
    issuers: Vec<String>,
    places: VecDeque<Url>,
    tried: Vec<String>,
    /// There are credentials for it: it is not left for another one because it does not answer at the moment.
    known: bool,
    legacy: bool,
}

impl FindServer {
    /// For the MCP server at `server`, whose metadata is `found`.
    #[must_use]
    pub fn new(server: &Url, found: FoundResource, choice: ServerChoice, policy: &UrlPolicy) -> Self {
        let (candidates, first_error) = match &found {
            FoundResource::Metadata(metadata) => listed(metadata, &choice.known, policy),
            FoundResource::Nowhere { tried } if choice.legacy => (own(server), Some(nowhere(server, tried))),
            FoundResource::Nowhere { tried } => (VecDeque::new(), Some(nowhere(server, tried))),
        };
        Self {
            server: server.clone(),
            found,
            policy: policy.clone(),
            choice,
            candidates,
            current: None,
            asked: None,
            first_error,
        }
    }

    fn judge(
        &self,
        candidate: &mut Candidate,
        url: &Url,
        answer: Answer,
    ) -> Result<Option<ServerMetadata>, Error> {
        let response = reached(answer, Hop::ServerMetadata, url)?;
        let what = match presence(Hop::ServerMetadata, url, &response)? {
            Presence::Document => match self.read(candidate, url, &response)? {
                Some(metadata) => {
                    if self.choice.code_flow {
                        metadata.code_flow()?;
                    }
                    return Ok(Some(metadata));
                }
                None => "no JSON object".to_owned(),
            },
            Presence::Absent(what) => what,
        };
        candidate.tried.push(format!("{url} ({what})"));
        Ok(None)
    }

    /// Reads the document under each spelling that the issuer may have: one, but for servers of 2025-03-26, whose issuer
    /// nobody wrote down. Both spellings of an origin lead to the same well-known URL.
    fn read(
        &self,
        candidate: &Candidate,
        url: &Url,
        response: &HttpResponse,
    ) -> Result<Option<ServerMetadata>, Error> {
        let mut first = None;
        for issuer in &candidate.issuers {
            match ServerMetadata::parse(issuer, url, &response.body, &self.policy) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// The next place of the current candidate, or of the next one.
    fn next_place(&mut self) -> Option<Result<Url, ServerMetadata>> {
        loop {
            if let Some(candidate) = &mut self.current {
                if let Some(url) = candidate.places.pop_front() {
                    return Some(Ok(url));
                }
                if candidate.legacy {
                    // Revision 2025-03-26, "Fallbacks for Servers without Metadata Discovery".
                    return ServerMetadata::default_paths(&self.server).map(Err);
                }
                let error = no_document(candidate);
                self.first_error.get_or_insert(error);
            }
            self.current = Some(self.candidates.pop_front()?);
        }
    }

    fn done(&self, authorization_server: ServerMetadata) -> Discovered {
        let (resource, resource_metadata) = match &self.found {
            FoundResource::Metadata(metadata) => (metadata.resource.clone(), Some((**metadata).clone())),
            FoundResource::Nowhere { .. } => (canonical_resource(&self.server), None),
        };
        Discovered {
            server: self.server.clone(),
            resource,
            resource_metadata,
            authorization_server,
            sign_on: None,
        }
    }
}

impl Machine for FindServer {
    type Output = Discovered;

    fn resume(&mut self, answer: Option<Answer>) -> Result<Step<Discovered>, Error> {
        if let (Some(url), Some(answer), Some(mut candidate)) =
            (self.asked.take(), answer, self.current.take())
        {
            match self.judge(&mut candidate, &url, answer) {
                Ok(Some(metadata)) => return Ok(Step::Done(self.done(metadata))),
                Ok(None) => self.current = Some(candidate),
                // A document that does not hold ends this authorization server: its other places are not asked (D7).
                Err(error) if candidate.legacy => return Err(error),
                Err(error @ Error::Unreachable { .. }) if candidate.known => return Err(error),
                Err(error) => {
                    self.first_error.get_or_insert(error);
                }
            }
        }
        match self.next_place() {
            Some(Ok(url)) => {
                let request = get(&url, named_by(&url, &self.server), Hop::ServerMetadata);
                self.asked = Some(url);
                Ok(Step::Send(Box::new(request)))
            }
            Some(Err(metadata)) => Ok(Step::Done(self.done(metadata))),
            None => Err(self
                .first_error
                .take()
                .unwrap_or_else(|| nowhere(&self.server, &[]))),
        }
    }
}

/// The listed servers, those that are known first, and the first refusal among them.
fn listed(
    metadata: &ResourceMetadata,
    known: &[String],
    policy: &UrlPolicy,
) -> (VecDeque<Candidate>, Option<Error>) {
    let mut first_error = None;
    let mut candidates = VecDeque::new();
    let is_known = |issuer: &&String| known.contains(*issuer);
    let servers = &metadata.authorization_servers;
    let ordered = servers
        .iter()
        .filter(is_known)
        .chain(servers.iter().filter(|issuer| !is_known(issuer)));
    for issuer in ordered.take(MAX_SERVERS) {
        match server_metadata::judge_issuer(issuer, &metadata.url, policy) {
            Ok(()) => candidates.push_back(Candidate {
                issuers: vec![issuer.clone()],
                places: server_metadata::locations(issuer).into(),
                tried: Vec::new(),
                known: known.contains(issuer),
                legacy: false,
            }),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    (candidates, first_error)
}

/// The MCP server's own origin as its authorization server (revision 2025-03-26).
fn own(server: &Url) -> VecDeque<Candidate> {
    let origin = server.origin().ascii_serialization();
    let slash = format!("{origin}/");
    let places = server_metadata::locations(&origin).into();
    [Candidate {
        issuers: vec![origin, slash],
        places,
        tried: Vec::new(),
        known: false,
        legacy: true,
    }]
    .into()
}

/// What `resource` says for a server without metadata: its URL without a fragment, and without the slash that a parser adds
/// (A20, A21).
#[must_use]
pub fn canonical_resource(server: &Url) -> String {
    let mut url = server.clone();
    url.set_fragment(None);
    if url.path() == "/" && url.query().is_none() {
        url.as_str().trim_end_matches('/').to_owned()
    } else {
        url.into()
    }
}

fn named_by(url: &Url, server: &Url) -> NamedBy {
    if url.origin() == server.origin() {
        NamedBy::User
    } else {
        NamedBy::Server
    }
}

fn get(url: &Url, named_by: NamedBy, hop: Hop) -> HttpRequest {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    HttpRequest {
        method: Method::GET,
        url: url.clone(),
        named_by,
        headers,
        body: None,
        hop,
    }
}

enum Presence {
    Document,
    /// What is there instead.
    Absent(String),
}

/// Whether there may be a document. Nothing is concluded from a server that does not work at the moment: the next place could
/// name another authorization server.
fn presence(hop: Hop, url: &Url, response: &HttpResponse) -> Result<Presence, Error> {
    let status = response.status;
    if status == StatusCode::OK {
        return Ok(Presence::Document);
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Error::Unreachable {
            hop,
            url: Box::new(url.clone()),
            source: crate::http::TransportError::Failed(format!("it answered {status}; try again later")),
        });
    }
    let redirect = if status.is_redirection() {
        ", which is not followed"
    } else {
        ""
    };
    Ok(Presence::Absent(format!("{status}{redirect}")))
}

fn nowhere(server: &Url, tried: &[String]) -> Error {
    Refusal::new(
        Hop::ResourceMetadata,
        Some(server),
        ("D3", "MCP authorization server discovery; RFC 9728 §3"),
        format!("there is no protected resource metadata. Tried: {}", tried.join(", ")),
        "the MCP server's operator must publish it and name it in the resource_metadata parameter of the 401 answer; or the \
         URL is not that of an MCP server",
    )
    .into()
}

fn no_document(candidate: &Candidate) -> Error {
    let issuer = candidate.issuers.first().map(String::as_str).unwrap_or_default();
    Refusal::new(
        Hop::ServerMetadata,
        Url::parse(issuer).ok().as_ref(),
        ("D6", "MCP authorization server discovery; RFC 8414 §3.1"),
        format!("there is no authorization server metadata. Tried: {}", candidate.tried.join(", ")),
        "the authorization server's operator must publish it at one of these places, or the MCP server's operator must name \
         another issuer",
    )
    .into()
}

#[cfg(test)]
mod tests;
