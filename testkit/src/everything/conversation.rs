//! Tools that talk to the client while they work: log lines, progress, sampling, forms.

use std::time::Duration;

use rmcp::model::{
    CallToolResult, ClientResult, ContentBlock, JsonObject, LoggingLevel, LoggingMessageNotificationParam,
    ProgressNotificationParam, ServerRequest, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use super::{ask, plain_tool, text_argument, tool};

/// Between two notifications: far enough apart that a relay which waits for more would be seen.
const STEP: Duration = Duration::from_millis(50);

pub(super) fn tools() -> Vec<Tool> {
    vec![
        plain_tool("test_tool_with_logging", "Writes three log lines while it works"),
        plain_tool(
            "test_logging_tool",
            "Writes a log line if the request asks for a level",
        ),
        plain_tool("test_tool_with_progress", "Reports its progress"),
        tool(
            "test_sampling",
            "Asks the client's model",
            json!({ "type": "object", "properties": { "prompt": { "type": "string" } }, "required": ["prompt"] }),
        ),
        tool(
            "test_elicitation",
            "Asks the user",
            json!({ "type": "object", "properties": { "message": { "type": "string" } }, "required": ["message"] }),
        ),
        plain_tool(
            "test_elicitation_sep1034_defaults",
            "Asks with a default in every field",
        ),
        plain_tool("test_elicitation_sep1330_enums", "Asks with every kind of choice"),
    ]
}

pub(super) fn has(name: &str) -> bool {
    tools().iter().any(|tool| tool.name == name)
}

pub(super) async fn call(
    name: &str,
    arguments: &JsonObject,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    match name {
        "test_tool_with_logging" => {
            for line in [
                "Tool execution started",
                "Tool processing data",
                "Tool execution completed",
            ] {
                log(context, LoggingLevel::Info, line).await;
                tokio::time::sleep(STEP).await;
            }
            Ok(text("Three lines were logged."))
        }
        "test_logging_tool" => {
            if let Some(level) = context.meta.log_level() {
                log(context, level, "The request asked for this line").await;
            }
            Ok(text("As much was logged as the request asked for."))
        }
        "test_tool_with_progress" => {
            for step in [0.0, 50.0, 100.0] {
                progress(context, step).await;
                tokio::time::sleep(STEP).await;
            }
            Ok(text("All progress was reported."))
        }
        "test_sampling" => {
            let prompt = text_argument(arguments, "prompt").unwrap_or_default();
            let request = ServerRequest::CreateMessageRequest(ask::sampling(&prompt));
            Ok(told("LLM response", context, request).await)
        }
        "test_elicitation" => {
            let message = text_argument(arguments, "message").unwrap_or_default();
            let schema = json!({
                "type": "object",
                "properties": {
                    "username": { "type": "string", "description": "User's response" },
                    "email": { "type": "string", "description": "User's email address" },
                },
                "required": ["username", "email"],
            });
            let request = ServerRequest::ElicitRequest(ask::form(message, schema));
            Ok(told("User response", context, request).await)
        }
        "test_elicitation_sep1034_defaults" => {
            let request = ServerRequest::ElicitRequest(ask::form("All of these have defaults", defaults()));
            Ok(told("Elicitation completed", context, request).await)
        }
        _ => {
            let request = ServerRequest::ElicitRequest(ask::form("Choose", choices()));
            Ok(told("Elicitation completed", context, request).await)
        }
    }
}

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text.into())])
}

/// A client that went away gets no line; the call goes on and finds out by itself.
async fn log(context: &RequestContext<RoleServer>, level: LoggingLevel, line: &str) {
    let message = LoggingMessageNotificationParam::new(level, json!(line)).with_logger("everything");
    let _gone = context.peer.notify_logging_message(message).await;
}

async fn progress(context: &RequestContext<RoleServer>, step: f64) {
    if let Some(token) = context.meta.get_progress_token() {
        let message = ProgressNotificationParam::new(token, step)
            .with_total(100.0)
            .with_message(format!("{step} of 100"));
        let _gone = context.peer.notify_progress(message).await;
    }
}

/// Sends a request to the client and repeats its answer as the tool's text.
async fn told(what: &str, context: &RequestContext<RoleServer>, request: ServerRequest) -> CallToolResult {
    match context.peer.send_request(request).await {
        Ok(ClientResult::CreateMessageResult(result)) => {
            let answer = result.message.content.first().and_then(|block| block.as_text());
            text(format!(
                "{what}: {}",
                answer.map_or("", |answer| answer.text.as_str())
            ))
        }
        Ok(answer) => text(format!(
            "{what}: {}",
            serde_json::to_string(&answer).expect("an answer is JSON")
        )),
        Err(error) => CallToolResult::error(vec![ContentBlock::text(format!("{what}: {error}"))]),
    }
}

/// SEP-1034: a default for every primitive kind.
fn defaults() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "User name", "default": "John Doe" },
            "age": { "type": "integer", "description": "User age", "default": 30 },
            "score": { "type": "number", "description": "User score", "default": 95.5 },
            "status": { "type": "string", "description": "User status",
                "enum": ["active", "inactive", "pending"], "default": "active" },
            "verified": { "type": "boolean", "description": "Verification status", "default": true },
        },
        "required": [],
    })
}

/// SEP-1330: one and several of many, with titles and without, and the form of before.
fn choices() -> Value {
    let titled = json!([
        { "const": "value1", "title": "First Option" },
        { "const": "value2", "title": "Second Option" },
        { "const": "value3", "title": "Third Option" },
    ]);
    let plain = json!(["option1", "option2", "option3"]);
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": { "type": "string", "enum": plain },
            "titledSingle": { "type": "string", "oneOf": titled },
            "legacyEnum": { "type": "string", "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"] },
            "untitledMulti": { "type": "array", "items": { "type": "string", "enum": plain } },
            "titledMulti": { "type": "array", "items": { "anyOf": titled } },
        },
        "required": [],
    })
}
