//! Metadata and results from one era to the other. Content is not touched but where a revision does not know its kind.

use doorward_mcp::Revision;
use serde_json::json;
use serde_json::value::RawValue;

use doorward_mcp::members::{Members, Raw, is_object, raw};

pub(super) const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(super) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
pub(super) const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub(super) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub(super) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
pub(super) const SUBSCRIPTION_ID: &str = doorward_mcp::message::SUBSCRIPTION_ID;

/// Every `_meta` key that means something in 2026-07-28 only.
const MODERN_KEYS: [&str; 6] = [
    PROTOCOL_VERSION,
    CLIENT_INFO,
    CLIENT_CAPABILITIES,
    LOG_LEVEL,
    SERVER_INFO,
    SUBSCRIPTION_ID,
];

/// Levels of logging, least severe first (RFC 5424).
const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// How severe a level is; `None` if it is none.
pub(super) fn severity(level: &str) -> Option<usize> {
    LEVELS.iter().position(|name| *name == level)
}

/// The name of a level.
pub(super) fn level_name(severity: usize) -> &'static str {
    LEVELS.get(severity).copied().unwrap_or("emergency")
}

/// Takes the modern keys out of `_meta`, and `_meta` away if nothing is left.
pub(super) fn strip_meta(members: &mut Members) {
    members.change("_meta", |meta| {
        for key in MODERN_KEYS {
            meta.take(key);
        }
    });
}

/// The methods whose results say how long they may be kept (2026-07-28, "Caching").
fn is_cacheable(method: &str) -> bool {
    matches!(
        method,
        "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    )
}

/// The methods that may be answered with a request for input (2026-07-28, "Supported Requests").
pub(super) fn may_ask(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

/// A complete result of 2026-07-28 as a legacy revision has it. The second value says what could not stay as it was.
pub(super) fn to_legacy(method: &str, mut result: Members, revision: Revision) -> (Members, Vec<String>) {
    let mut notes = Vec::new();
    result.take("resultType");
    if is_cacheable(method) {
        result.take("ttlMs");
        result.take("cacheScope");
    }
    strip_meta(&mut result);
    match method {
        "tools/list" => each(&mut result, "tools", |tool| {
            // Before 2026-07-28 an output schema describes an object.
            let odd = tool
                .object("outputSchema")
                .is_some_and(|schema| schema.text("type").as_deref() != Some("object"));
            if odd {
                tool.take("outputSchema");
                let name = tool.text("name").unwrap_or_default();
                notes.push(format!("the output schema of tool {name:?} describes no object, which {revision} does not know: left out"));
            }
            odd
        }),
        "tools/call" => {
            structured_to_text(&mut result);
            each(&mut result, "content", |block| known_content(block, revision));
        }
        "prompts/get" => each(&mut result, "messages", |message| {
            let Some(mut block) = message.object("content") else {
                return false;
            };
            let changed = known_content(&mut block, revision);
            if changed {
                message.set("content", raw(&block));
            }
            changed
        }),
        _ => {}
    }
    (result, notes)
}

/// A structured content that is no object (2026-07-28 allows any value) goes into the content as text.
fn structured_to_text(result: &mut Members) {
    let Some(structured) = result.get("structuredContent").filter(|value| !is_object(value)) else {
        return;
    };
    let structured = structured.to_owned();
    result.take("structuredContent");
    let mut content: Vec<Raw> = result.value("content").unwrap_or_default();
    let same = |block: &Raw| {
        let text = Members::read(block).and_then(|block| block.text("text"));
        text.is_some_and(|text| equal(&text, structured.get()))
    };
    if !content.iter().any(same) {
        content.push(raw(&json!({ "type": "text", "text": structured.get() })));
    }
    result.set("content", raw(&content));
}

/// Whether two texts are the same JSON.
fn equal(left: &str, right: &str) -> bool {
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    value(left).is_some_and(|left| Some(left) == value(right))
}

/// Puts text in place of a kind of content that the revision does not know. Says whether it did.
fn known_content(block: &mut Members, revision: Revision) -> bool {
    let text = match block.text("type").as_deref() {
        Some("resource_link") if revision < Revision::V2025_06_18 => {
            let name = block.text("name").unwrap_or_default();
            format!("{name}: {}", block.text("uri").unwrap_or_default())
        }
        Some("audio") if revision < Revision::V2025_03_26 => {
            let kind = block.text("mimeType").unwrap_or_default();
            format!("[audio ({kind}) that this host's protocol revision cannot carry]")
        }
        _ => return false,
    };
    *block = Members::default().with("type", "text").with("text", &text);
    true
}

/// Changes the objects in an array. It is written anew only if one of them was changed.
fn each(result: &mut Members, key: &str, mut change: impl FnMut(&mut Members) -> bool) {
    let Some(mut items) = result.value::<Vec<Raw>>(key) else {
        return;
    };
    let mut changed = false;
    for item in &mut items {
        if let Some(mut members) = Members::read(item)
            && change(&mut members)
        {
            changed = true;
            *item = raw(&members);
        }
    }
    if changed {
        result.set(key, raw(&items));
    }
}

/// A result of a legacy server as 2026-07-28 wants it.
pub(super) fn to_modern(method: &str, mut result: Members, server_info: Option<&RawValue>) -> Members {
    result.set("resultType", raw("complete"));
    if is_cacheable(method) {
        if result.value::<u64>("ttlMs").is_none() {
            // Nobody said how long it holds.
            result.set("ttlMs", raw(&0));
        }
        if !matches!(result.text("cacheScope").as_deref(), Some("public" | "private")) {
            result.set("cacheScope", raw("private"));
        }
    }
    strip_meta(&mut result);
    if let Some(info) = server_info {
        let meta = result.object("_meta").unwrap_or_default();
        result.set("_meta", raw(&meta.with(SERVER_INFO, info)));
    }
    if method == "tools/list" {
        each(&mut result, "tools", |tool| tool.take("execution").is_some());
    }
    result
}

/// The names of the tools in a list of 2025-11-25 that can be called as tasks only.
pub(super) fn task_tools(result: &Members) -> (Vec<String>, Vec<String>) {
    let tools: Vec<Members> = result.value("tools").unwrap_or_default();
    let (mut required, mut others) = (Vec::new(), Vec::new());
    for tool in tools {
        let Some(name) = tool.text("name") else { continue };
        let support = tool
            .object("execution")
            .and_then(|execution| execution.text("taskSupport"));
        match support.as_deref() {
            Some("required") => required.push(name),
            _ => others.push(name),
        }
    }
    (required, others)
}
