//! `initialize`, answered from `server/discover`.

use doorward_mcp::Revision;
use serde_json::value::RawValue;

use super::super::capabilities::{self, Declared, Offered};
use super::super::message::{self, Id};
use super::super::refusal::Refusal;
use super::super::translate::{
    CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROTOCOL_VERSION, SERVER_INFO, strip_meta,
};
use super::super::{Backlog, implementation};
use super::{LegacyHost, Phase, answer, refuse};
use crate::adapter::Step;
use doorward_mcp::members::{Members, Raw, raw};

/// What the host said of itself.
pub(super) struct Host {
    /// The revision that it gets.
    pub(super) revision: Revision,
    info: Option<Raw>,
    capabilities: Raw,
    pub(super) declared: Declared,
}

impl Host {
    fn read(params: &Members) -> Result<Self, Refusal> {
        let asked = params.text("protocolVersion");
        let asked = asked.ok_or(Refusal::BadParams("`protocolVersion` is missing"))?;
        let known = Revision::parse(&asked).filter(|revision| revision.is_legacy());
        let capabilities = params.object("capabilities").unwrap_or_default();
        Ok(Self {
            // "Otherwise, the server MUST respond with another protocol version it supports", its latest.
            revision: known.unwrap_or(Revision::V2025_11_25),
            info: params
                .get("clientInfo")
                .filter(|info| implementation(info))
                .map(RawValue::to_owned),
            capabilities: capabilities::client(&capabilities),
            declared: Declared::of(&capabilities),
        })
    }

    /// Puts the metadata of 2026-07-28 into a request's params, beside what the host put into `_meta` itself.
    pub(super) fn meta(&self, params: &mut Members, level: Option<&RawValue>) {
        strip_meta(params);
        let mut meta = params.object("_meta").unwrap_or_default();
        meta.set(PROTOCOL_VERSION, raw(Revision::V2026_07_28.as_str()));
        if let Some(info) = &self.info {
            meta.set(CLIENT_INFO, info.clone());
        }
        meta.set(CLIENT_CAPABILITIES, self.capabilities.clone());
        if let Some(level) = level {
            meta.set(LOG_LEVEL, level.to_owned());
        }
        params.set("_meta", raw(&meta));
    }
}

/// What the server said of itself.
pub(super) struct Server {
    pub(super) offered: Offered,
}

/// An `initialize` that waits for the server.
pub(super) struct Opening {
    id: Id,
    host: Host,
    pub(super) discover: u64,
    pub(super) backlog: Backlog,
}

impl LegacyHost {
    pub(super) fn initialize(&mut self, id: Id, params: &Members) -> Vec<Step> {
        let host = match Host::read(params) {
            Ok(host) => host,
            Err(refusal) => return vec![refuse(&id, &refusal)],
        };
        let discover = self.number();
        let mut params = Members::default();
        host.meta(&mut params, None);
        self.phase = Phase::Opening(Box::new(Opening {
            id,
            host,
            discover,
            backlog: Backlog::default(),
        }));
        vec![Step::ToServer(message::request(
            discover,
            "server/discover",
            &params,
        ))]
    }

    /// The answer to `server/discover`.
    pub(super) fn discovered(&mut self, outcome: Result<Members, Members>) -> Vec<Step> {
        let Some(opening) = self.end_opening() else {
            return Vec::new();
        };
        let Opening {
            id, host, backlog, ..
        } = *opening;
        let mut steps = match welcome(&host, &self.settings.server_name, outcome) {
            Ok((result, server)) => {
                self.phase = Phase::Open(Box::new((host, server)));
                vec![answer(&id, &result)]
            }
            Err(refusal) => vec![refuse(&id, &refusal)],
        };
        steps.extend(self.release(backlog));
        steps
    }
}

/// The result of `initialize`.
fn welcome(
    host: &Host,
    server_name: &str,
    outcome: Result<Members, Members>,
) -> Result<(Members, Server), Refusal> {
    let mut discovered = outcome.map_err(|error| not_discovered(&error))?;
    let versions: Vec<String> = discovered.value("supportedVersions").unwrap_or_default();
    if !versions
        .iter()
        .any(|version| version == Revision::V2026_07_28.as_str())
    {
        return Err(Refusal::ServerVersion(versions.join(", ")));
    }
    let capabilities = discovered.object("capabilities");
    let capabilities = capabilities
        .ok_or_else(|| Refusal::Server("its answer to server/discover holds no `capabilities`".to_owned()))?;
    let info = discovered
        .object("_meta")
        .and_then(|mut meta| meta.take(SERVER_INFO));
    let info = info.filter(|info| implementation(info));
    strip_meta(&mut discovered);
    let mut result = Members::default()
        .with("protocolVersion", host.revision.as_str())
        .with("capabilities", &capabilities::server(&capabilities));
    // A server of 2026-07-28 need not say who it is; `initialize` must.
    let unnamed = Members::default()
        .with("name", server_name)
        .with("version", "unknown");
    result.set("serverInfo", info.unwrap_or_else(|| raw(&unnamed)));
    for name in ["instructions", "_meta"] {
        if let Some(value) = discovered.take(name) {
            result.set(name, value);
        }
    }
    let offered = Offered::of(&capabilities);
    Ok((result, Server { offered }))
}

fn not_discovered(error: &Members) -> Refusal {
    let data = error.object("data");
    let supported = data.and_then(|data| data.value::<Vec<String>>("supported"));
    match (error.value::<i64>("code"), supported) {
        (Some(-32022), Some(versions)) => Refusal::ServerVersion(versions.join(", ")),
        _ => Refusal::Opening {
            method: "server/discover",
            told: message::told(error),
        },
    }
}
