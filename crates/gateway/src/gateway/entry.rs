//! One server of the data plane, and the paths that lead to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_policy::ProtectedServer;
use doorward_resource_server::Principal;
use doorward_resource_server::challenge::Challenges;
use doorward_resource_server::metadata::{WELL_KNOWN, metadata_url};
use http::header::HeaderName;

use super::{Parts, Route, Target};
use crate::connect::{HttpClient, HttpClients};
use crate::limit::Gauge;
use crate::metadata;
use crate::parameters::Parameters;
use crate::rules::Rules;
use crate::settings::{GatewayError, Server, Settings};
use crate::standing::{Standing, nobody};
use crate::upstream::Upstream;

/// What is made ready of one server.
pub(super) struct Entry {
    pub(super) protected: Arc<ProtectedServer>,
    pub(super) upstream: Upstream,
    /// The way to an upstream over HTTP.
    pub(super) http: Option<HttpClient>,
    pub(super) head_timeout: Duration,
    pub(super) forward_headers: Vec<HeaderName>,
    /// Who callers without a token are, if they are let in.
    pub(super) anonymous: Option<Arc<Principal>>,
    pub(super) rules: Rules,
    pub(super) gauge: Gauge,
    pub(super) standing: Arc<Standing>,
    pub(super) challenges: Challenges,
    pub(super) document: Bytes,
    pub(super) parameters: Arc<Parameters>,
}

impl Entry {
    pub(super) fn new(
        settings: &Settings,
        server: Server,
        parts: &Parts,
        clients: &mut HttpClients,
    ) -> Result<Self, GatewayError> {
        let protected = server.protected;
        let connect_timeout = server.connect_timeout.unwrap_or(settings.connect_timeout);
        let http = match &server.upstream {
            Upstream::Http(uri) => Some(clients.to(uri, settings, connect_timeout)?),
            Upstream::InProcess(_) | Upstream::Stdio(_) => None,
        };
        let metadata_url = metadata_url(&protected.resource);
        Ok(Self {
            challenges: Challenges::new(&metadata_url, &protected.default_scopes()),
            document: metadata::document(&protected, &settings.issuer)?,
            upstream: server.upstream,
            http,
            head_timeout: server.head_timeout.unwrap_or(settings.head_timeout),
            forward_headers: server.forward_headers,
            anonymous: server.anonymous.then(|| Arc::new(nobody(&protected))),
            rules: Rules::new(Arc::clone(&protected), Arc::clone(&parts.policy)),
            gauge: Gauge::new(&parts.meters, &protected.name, &server.limits),
            standing: server.standing,
            protected,
            parameters: Arc::default(),
        })
    }

    /// The paths that lead to the server at `index`, and to its metadata (RFC 9728 §3.1). The `only` server also has its
    /// metadata where clients look that know no path.
    pub(super) fn add_routes(
        &self,
        routes: &mut HashMap<String, Route>,
        index: usize,
        only: bool,
    ) -> Result<(), GatewayError> {
        let path = &self.protected.path;
        if !is_servable(path) {
            return Err(GatewayError::Path(path.clone()));
        }
        let suffix = if path == "/" { "" } else { path };
        let document_path = format!("{WELL_KNOWN}{suffix}");
        let mut targets = vec![(path.clone(), Target::Endpoint(index))];
        if only && document_path != WELL_KNOWN {
            targets.push((WELL_KNOWN.to_owned(), Target::Metadata(index)));
        }
        targets.push((document_path, Target::Metadata(index)));
        for (path, target) in targets {
            if routes.insert(path.clone(), Route(target)).is_some() {
                return Err(GatewayError::PathTaken(path));
            }
        }
        Ok(())
    }
}

/// A path that a client can ask for in one way only.
fn is_servable(path: &str) -> bool {
    let clean = path
        .bytes()
        .all(|byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'?' | b'#' | b'\\' | b'%' | b';'));
    let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
    clean
        && segments.is_some_and(|mut segments| {
            path == "/" || segments.all(|segment| !matches!(segment, "" | "." | ".."))
        })
}
