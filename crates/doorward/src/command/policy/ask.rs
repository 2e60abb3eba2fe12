//! What a server says about itself: asked in this process through the gateway of `serve`, so what is behind HTTP, a
//! command or nothing at all is asked the same way, and a command is confined as ever.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_storage::DataFolder;
use doorward_types::random::SystemRandom;
use doorward_types::time::SystemClock;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::error::CommandError;
use crate::serve::Sources;
use crate::serve::compose::{Composition, Foundation};

/// Longest wait for one answer: a package behind a command may have to be downloaded first.
const PATIENCE: Duration = Duration::from_secs(90);
/// Longest answer.
const LONGEST: usize = 16 << 20;
/// Pages of one list.
const PAGES: usize = 1000;

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// What a server offers.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) tools: Vec<Tool>,
    pub(super) prompts: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) templates: Vec<String>,
    /// The revision that it was asked in.
    pub(super) revision: String,
}

/// A tool, and what the server claims about it.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) read_only: Option<bool>,
    pub(super) destructive: Option<bool>,
}

/// A gateway that nobody else can reach, in front of the configured servers, on a data folder of its own.
pub(super) struct Asking {
    foundation: Foundation,
    composition: Composition,
    folder: Temporary,
}

/// A folder that goes when this does.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left of it lies among the temporary files.
        let _: std::io::Result<()> = std::fs::remove_dir_all(&self.0);
    }
}

/// How a conversation goes on.
struct Conversation<'a> {
    asking: &'a Asking,
    path: &'a str,
    revision: String,
    session: Option<HeaderValue>,
}

/// Why a server did not say.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTold {
    #[error("it does not know {0}")]
    UnknownMethod(String),
    #[error("it answers {0}")]
    Refused(String),
    #[error("it does not answer within {} seconds", PATIENCE.as_secs())]
    TimedOut,
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
}

impl Asking {
    /// Prepares to ask the servers of `config`.
    pub(super) async fn start(config: Config) -> Result<Self, CommandError> {
        let name = format!("doorward-ask-{}", uuid::Uuid::new_v4());
        let folder = Temporary(std::env::temp_dir().join(name));
        let data = DataFolder::open_or_create(&folder.0, &SystemRandom)
            .map_err(|error| CommandError::failed("a temporary folder cannot be used").because(&error))?;
        crate::serve::children::check(&config)?;
        let config = config.for_asking(folder.0.clone());
        let sources = Sources {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        };
        let foundation = Foundation::lay(&config, &data, &sources).await?;
        let composition = foundation.compose(&config, &[])?;
        Ok(Self {
            foundation,
            composition,
            folder,
        })
    }

    /// Ends what was started.
    pub(super) async fn stop(self) {
        self.foundation.supervisor.stop_all().await;
        drop(self.composition);
        drop(self.foundation);
        drop(self.folder);
    }

    /// Asks the server at this path for everything.
    pub(super) async fn inventory(&self, path: &str) -> Result<Inventory, NotTold> {
        let mut modern = Conversation {
            asking: self,
            path,
            revision: MODERN.into(),
            session: None,
        };
        match modern.list("tools", "tools/list").await {
            Ok(tools) => modern.rest(tools).await,
            // An older server; its own words about an unknown revision are not always the ones of the specification.
            Err(NotTold::Refused(_) | NotTold::UnknownMethod(_) | NotTold::Unreadable(_)) => {
                let mut legacy = Conversation::begin(self, path).await?;
                let told = match legacy.list_if_known("tools", "tools/list").await {
                    Ok(tools) => legacy.rest(tools).await,
                    Err(error) => Err(error),
                };
                legacy.end().await;
                told
            }
            Err(error) => Err(error),
        }
    }
}

impl<'a> Conversation<'a> {
    /// A session of the older revisions.
    async fn begin(asking: &'a Asking, path: &'a str) -> Result<Self, NotTold> {
        let mut conversation = Self {
            asking,
            path,
            revision: LEGACY.into(),
            session: None,
        };
        let client = json!({ "name": "doorward", "version": env!("CARGO_PKG_VERSION") });
        let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        let response = conversation.send("initialize", &message).await?;
        conversation.session = response.headers().get("mcp-session-id").cloned();
        let result = result("initialize", response).await?;
        if let Some(revision) = result.get("protocolVersion").and_then(Value::as_str) {
            conversation.revision = revision.to_owned();
        }
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        conversation
            .send("notifications/initialized", &initialized)
            .await?;
        Ok(conversation)
    }

    async fn end(self) {
        let Some(session) = self.session else { return };
        let request = Request::delete(self.path)
            .header("mcp-session-id", session)
            .header("mcp-protocol-version", &self.revision)
            .body(Full::new(Bytes::new()));
        if let (Some(route), Ok(request)) =
            (self.asking.composition.serving.gateway.route(self.path), request)
        {
            let gateway = &self.asking.composition.serving.gateway;
            // It ends anyway when we do.
            let _: Result<_, _> = tokio::time::timeout(PATIENCE, gateway.handle(route, request)).await;
        }
    }

    async fn rest(&mut self, tools: Vec<Value>) -> Result<Inventory, NotTold> {
        let prompts = self.list_if_known("prompts", "prompts/list").await?;
        let resources = self.list_if_known("resources", "resources/list").await?;
        let templates = self
            .list_if_known("resourceTemplates", "resources/templates/list")
            .await?;
        let names = |items: &[Value], key: &str| {
            let names = items
                .iter()
                .filter_map(|item| item.get(key).and_then(Value::as_str));
            names.map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let hint = |tool: &Value, key: &str| {
            tool.pointer(&format!("/annotations/{key}"))
                .and_then(Value::as_bool)
        };
        Ok(Inventory {
            tools: tools
                .iter()
                .filter_map(|tool| {
                    Some(Tool {
                        name: tool.get("name")?.as_str()?.to_owned(),
                        read_only: hint(tool, "readOnlyHint"),
                        destructive: hint(tool, "destructiveHint"),
                    })
                })
                .collect(),
            prompts: names(&prompts, "name"),
            resources: names(&resources, "uri"),
            templates: names(&templates, "uriTemplate"),
            revision: self.revision.clone(),
        })
    }

    /// A list that not every server has.
    async fn list_if_known(&mut self, key: &str, method: &str) -> Result<Vec<Value>, NotTold> {
        match self.list(key, method).await {
            Err(NotTold::UnknownMethod(_)) => Ok(Vec::new()),
            told => told,
        }
    }

    /// Every page of a list.
    async fn list(&mut self, key: &str, method: &str) -> Result<Vec<Value>, NotTold> {
        let (mut items, mut cursor) = (Vec::new(), None);
        for page in 0..PAGES {
            let mut params = Map::new();
            if self.revision == MODERN {
                let meta = json!({
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientInfo": { "name": "doorward", "version": env!("CARGO_PKG_VERSION") },
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                params.insert("_meta".into(), meta);
            }
            if let Some(cursor) = cursor.take() {
                params.insert("cursor".into(), cursor);
            }
            let message = json!({ "jsonrpc": "2.0", "id": page + 2, "method": method, "params": params });
            let mut result = result(method, self.send(method, &message).await?).await?;
            match result.get_mut(key).map(Value::take) {
                Some(Value::Array(page)) => items.extend(page),
                _ => {
                    return Err(NotTold::Unreadable(format!(
                        "`{key}` is missing in the answer to {method}"
                    )));
                }
            }
            match result.get_mut("nextCursor").map(Value::take) {
                Some(next @ Value::String(_)) => cursor = Some(next),
                _ => return Ok(items),
            }
        }
        Err(NotTold::Unreadable(format!(
            "{method} has more than {PAGES} pages"
        )))
    }

    async fn send(&self, method: &str, message: &Value) -> Result<Response<doorward_gateway::Body>, NotTold> {
        let gateway = &self.asking.composition.serving.gateway;
        let unreadable = |error: &dyn std::fmt::Display| NotTold::Unreadable(error.to_string());
        let route = gateway
            .route(self.path)
            .ok_or_else(|| unreadable(&"no such path"))?;
        let mut request = Request::post(self.path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json, text/event-stream")
            .body(Full::new(Bytes::from(message.to_string())))
            .map_err(|error| unreadable(&error))?;
        let headers = request.headers_mut();
        if method != "initialize" {
            let revision = self.revision.parse().map_err(|error| unreadable(&error))?;
            headers.insert("mcp-protocol-version", revision);
        }
        if self.revision == MODERN {
            let method = method.parse().map_err(|error| unreadable(&error))?;
            headers.insert(HeaderName::from_static("mcp-method"), method);
        }
        if let Some(session) = &self.session {
            headers.insert("mcp-session-id", session.clone());
        }
        let answer = tokio::time::timeout(PATIENCE, gateway.handle(route, request)).await;
        answer.map_err(|_| NotTold::TimedOut)
    }
}

/// The result in an answer, whether it comes as JSON or as a stream.
async fn result(method: &str, response: Response<doorward_gateway::Body>) -> Result<Value, NotTold> {
    let status = response.status();
    let streamed = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let message = tokio::time::timeout(PATIENCE, message(response, streamed))
        .await
        .map_err(|_| NotTold::TimedOut)?;
    let message = match message {
        Ok(message) => message,
        Err(_) if !status.is_success() => return Err(NotTold::Refused(status.to_string())),
        Err(error) => return Err(error),
    };
    if let Some(error) = message.get("error") {
        let text = error.get("message").and_then(Value::as_str).unwrap_or_default();
        return Err(match error.get("code").and_then(Value::as_i64) {
            Some(-32601) => NotTold::UnknownMethod(method.to_owned()),
            _ => NotTold::Refused(format!("{}: {text}", status.as_u16())),
        });
    }
    let missing = || NotTold::Unreadable(format!("no result for {method}"));
    message.get("result").cloned().ok_or_else(missing)
}

/// The first answer in a body. A stream may go on after it.
async fn message(response: Response<doorward_gateway::Body>, streamed: bool) -> Result<Value, NotTold> {
    let unreadable = |error: &dyn std::fmt::Display| NotTold::Unreadable(error.to_string());
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreadable(&error))?;
        read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if read.len() > LONGEST {
            return Err(NotTold::Unreadable(format!("it is longer than {LONGEST} bytes")));
        }
        if let Some(answer) = streamed.then(|| answer_in(&read)).flatten() {
            return Ok(answer);
        }
    }
    if streamed {
        return Err(NotTold::Unreadable("the stream ends without an answer".into()));
    }
    serde_json::from_slice(&read).map_err(|error| unreadable(&error))
}

/// The first answer among the events that came completely.
fn answer_in(read: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(read).replace("\r\n", "\n");
    let (complete, _) = text.rsplit_once("\n\n")?;
    complete.split("\n\n").find_map(|event| {
        let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
        let data: Vec<&str> = data.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        let message: Value = serde_json::from_str(&data.join("\n")).ok()?;
        let is_answer = message.get("result").or_else(|| message.get("error")).is_some();
        is_answer.then_some(message)
    })
}
