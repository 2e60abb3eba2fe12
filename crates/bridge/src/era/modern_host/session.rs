//! The session that the server wants: opened for the host's first request, and again when one declares more.

use doorward_mcp::Revision;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::Backlog;
use super::super::capabilities::{self, Declared, Offered};
use super::super::implementation;
use super::super::message::{self, Id, told};
use super::super::refusal::Refusal;
use super::super::translate::{CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, level_name, severity, to_modern};
use super::{ModernHost, Own, Phase, refuse};
use crate::adapter::{Message, Step};
use doorward_mcp::members::{Members, Raw, raw};

/// What one request says of its sender.
pub(super) struct Caller {
    pub(super) declared: Declared,
    /// How severe messages must be for the host to want them with this request.
    pub(super) level: Option<usize>,
    info: Option<Raw>,
    capabilities: Members,
}

impl Caller {
    pub(super) fn read(meta: &Members) -> Result<Self, Refusal> {
        let capabilities = meta.object(CLIENT_CAPABILITIES);
        let capabilities =
            capabilities.ok_or(Refusal::BadParams("`_meta` does not say what the client can do"))?;
        let level = match meta.get(LOG_LEVEL) {
            None => None,
            Some(_) => {
                let level = meta.text(LOG_LEVEL).and_then(|level| severity(&level));
                Some(level.ok_or(Refusal::BadParams("the log level in `_meta` is none"))?)
            }
        };
        let info = meta.get(CLIENT_INFO).filter(|info| implementation(info));
        Ok(Self {
            declared: Declared::of(&capabilities),
            level,
            info: info.map(RawValue::to_owned),
            capabilities,
        })
    }
}

/// An `initialize` that the server has not answered.
pub(super) struct Opening {
    pub(super) number: u64,
    declared: Declared,
    pub(super) backlog: Backlog,
}

/// What the server said of itself, and what holds for the session.
pub(super) struct Session {
    declared: Declared,
    pub(super) offered: Offered,
    pub(super) server_info: Raw,
    capabilities: Raw,
    instructions: Option<Raw>,
    /// The least severe messages that the server was asked for.
    pub(super) level: Option<usize>,
}

impl ModernHost {
    /// Whether the session serves this caller. `Ok(false)`: one must be opened first.
    pub(super) fn is_served(&self, caller: &Caller) -> Result<bool, Refusal> {
        match &self.phase {
            Phase::New | Phase::Opening(_) => Ok(false),
            Phase::Open(session) if caller.declared.is_within(&session.declared) => Ok(true),
            Phase::Open(_) if self.calls.is_empty() => Ok(false),
            Phase::Open(_) => Err(Refusal::OtherCapabilities),
        }
    }

    /// Opens a session, or waits for the one that is being opened.
    pub(super) fn open(&mut self, message: &Message, id: &Id, caller: &Caller) -> Vec<Step> {
        if let Phase::Opening(opening) = &mut self.phase {
            if opening.backlog.push(message) {
                return Vec::new();
            }
            return vec![refuse(
                id,
                &Refusal::TooMany("requests before the server's session is open"),
            )];
        }
        let number = self.number();
        let mut backlog = Backlog::default();
        if !backlog.push(message) {
            return vec![refuse(
                id,
                &Refusal::TooMany("bytes before the server's session is open"),
            )];
        }
        let mut params = Members::default()
            .with("protocolVersion", Revision::V2025_11_25.as_str())
            .with("capabilities", &capabilities::client(&caller.capabilities));
        let unnamed = json!({ "name": self.settings.client_name, "version": self.settings.client_version });
        params.set("clientInfo", caller.info.clone().unwrap_or_else(|| raw(&unnamed)));
        self.phase = Phase::Opening(Box::new(Opening {
            number,
            declared: caller.declared.clone(),
            backlog,
        }));
        vec![Step::ToServer(message::request(number, "initialize", &params))]
    }

    /// The server's answer to `initialize`.
    pub(super) fn opened(&mut self, outcome: Result<Members, Members>) -> Vec<Step> {
        let Some(opening) = self.end_opening() else {
            return Vec::new();
        };
        let Opening {
            declared, backlog, ..
        } = *opening;
        match Session::read(declared, outcome) {
            Ok(session) => {
                self.phase = Phase::Open(Box::new(session));
                let initialized = message::notification("notifications/initialized", &Members::default());
                let mut steps = vec![Step::ToServer(initialized)];
                steps.extend(self.subscribe_again());
                steps.extend(self.release(backlog));
                steps
            }
            Err(refusal) => {
                let waiting = backlog.into_messages();
                let ids = waiting.iter().filter_map(Message::id).filter_map(Id::new);
                ids.map(|id| refuse(&id, &refusal)).collect()
            }
        }
    }

    /// `server/discover`, from what the server said in its `initialize`.
    pub(super) fn discover(&self, id: &Id) -> Result<Vec<Step>, Refusal> {
        let Some(session) = self.session() else {
            return Ok(Vec::new());
        };
        let mut result = Members::default().with("supportedVersions", &[Revision::V2026_07_28.as_str()]);
        result.set("capabilities", session.capabilities.clone());
        if let Some(instructions) = &session.instructions {
            result.set("instructions", instructions.clone());
        }
        let result = to_modern("server/discover", result, Some(&session.server_info));
        Ok(vec![Step::ToHost(message::result(id, &result))])
    }

    /// Sees to it that the server sends messages of this severity.
    pub(super) fn set_level(&mut self, level: usize) -> Option<Step> {
        let Phase::Open(session) = &mut self.phase else {
            return None;
        };
        if !session.offered.logging || session.level.is_some_and(|now| now <= level) {
            return None;
        }
        session.level = Some(level);
        let number = self.number();
        self.own.insert(number, Own::Ignored);
        let params = Members::default().with("level", level_name(level));
        Some(Step::ToServer(message::request(
            number,
            "logging/setLevel",
            &params,
        )))
    }

    /// The same in a session that knows of none.
    pub(super) fn level_again(&mut self) -> Vec<Step> {
        let Phase::Open(session) = &mut self.phase else {
            return Vec::new();
        };
        let level = session.level.take();
        level
            .and_then(|level| self.set_level(level))
            .into_iter()
            .collect()
    }
}

impl Session {
    fn read(declared: Declared, outcome: Result<Members, Members>) -> Result<Self, Refusal> {
        let result = outcome.map_err(|error| Refusal::Opening {
            method: "initialize",
            told: told(&error),
        })?;
        let version = result.text("protocolVersion").unwrap_or_default();
        if !Revision::parse(&version).is_some_and(Revision::is_legacy) {
            return Err(Refusal::ServerVersion(format!("{version:?}")));
        }
        let broken = |what: &str| Refusal::Server(format!("its answer to initialize holds no {what}"));
        let capabilities = result.object("capabilities");
        let capabilities = capabilities.ok_or_else(|| broken("`capabilities`"))?;
        let server_info = result.get("serverInfo").filter(|info| implementation(info));
        Ok(Self {
            declared,
            offered: Offered::of(&capabilities),
            server_info: server_info.ok_or_else(|| broken("`serverInfo`"))?.to_owned(),
            capabilities: capabilities::server(&capabilities),
            instructions: result.text("instructions").map(|text| raw(&text)),
            level: None,
        })
    }
}
