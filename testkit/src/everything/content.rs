//! Tools that answer at once: every kind of content, an error, schemas and headers.

use rmcp::model::{
    CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, InputRequests, InputRequiredResult,
    JsonObject, ResourceContents, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::json;

use super::{ask, plain_tool, text_argument, tool};

/// One red pixel.
pub(super) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

/// No samples at all.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

pub(super) fn tools() -> Vec<Tool> {
    vec![
        plain_tool("test_simple_text", "Answers with text"),
        plain_tool("test_image_content", "Answers with an image"),
        plain_tool("test_audio_content", "Answers with a sound"),
        plain_tool("test_embedded_resource", "Answers with a resource"),
        plain_tool(
            "test_multiple_content_types",
            "Answers with text, an image and a resource",
        ),
        plain_tool("test_error_handling", "Answers with a tool's error"),
        plain_tool(
            "test_reconnection",
            "Answers on a stream that a client can resume",
        ),
        plain_tool(
            "test_missing_capability",
            "Works only for clients that can sample",
        ),
        plain_tool(
            "test_streaming_elicitation",
            "Asks for a value in its result, not on the stream",
        ),
        tool(
            "test_custom_header",
            "Takes a parameter that travels in a header as well",
            json!({
                "type": "object",
                "properties": { "value": { "type": "string", "x-mcp-header": "Value" } },
                "required": ["value"],
            }),
        ),
        tool(
            "json_schema_2020_12_tool",
            "Has a schema with the keywords of JSON Schema 2020-12",
            json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "$defs": { "address": {
                    "$anchor": "address",
                    "type": "object",
                    "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
                } },
                "properties": { "name": { "type": "string" }, "address": { "$ref": "#/$defs/address" } },
                "allOf": [{ "anyOf": [{ "required": ["name"] }, { "required": ["address"] }] }],
                "if": { "required": ["address"] },
                "then": { "properties": { "address": { "required": ["street"] } } },
                "else": { "required": ["name"] },
                "additionalProperties": false,
            }),
        ),
    ]
}

/// Answers one of them; `-32602` if there is no such tool.
pub(super) fn call(
    name: &str,
    arguments: &JsonObject,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let content = match name {
        "test_simple_text" => vec![ContentBlock::text("This is a simple text response for testing.")],
        "test_image_content" => vec![ContentBlock::image(PNG, "image/png")],
        "test_audio_content" => vec![ContentBlock::audio(WAV, "audio/wav")],
        "test_embedded_resource" => vec![embedded(
            "This is an embedded resource content.",
            "test://embedded-resource",
            "text/plain",
        )],
        "test_multiple_content_types" => vec![
            ContentBlock::text("Multiple content types test:"),
            ContentBlock::image(PNG, "image/png"),
            embedded(
                r#"{"test":"data","value":123}"#,
                "test://mixed-content-resource",
                "application/json",
            ),
        ],
        "test_error_handling" => {
            let text = ContentBlock::text("This tool intentionally returns an error for testing");
            return Ok(CallToolResult::error(vec![text]).into());
        }
        "test_reconnection" => vec![ContentBlock::text("Reconnection test completed successfully.")],
        "test_missing_capability" => {
            let declared = context.client_capabilities().unwrap_or_default();
            if declared.sampling.is_none() {
                let required = ClientCapabilities::builder().enable_sampling().build();
                return Err(ErrorData::missing_required_client_capability(required));
            }
            vec![ContentBlock::text("The client can sample.")]
        }
        "test_streaming_elicitation" => {
            let requests = InputRequests::from([(
                "value".to_owned(),
                ask::field("A value, please", "value", "string"),
            )]);
            return Ok(InputRequiredResult::from_input_requests(requests).into());
        }
        "test_custom_header" => {
            let value = text_argument(arguments, "value")
                .ok_or_else(|| ErrorData::invalid_params("value is a string", None))?;
            vec![ContentBlock::text(value)]
        }
        "json_schema_2020_12_tool" => {
            let name = text_argument(arguments, "name").unwrap_or_else(|| "nobody".into());
            vec![ContentBlock::text(format!("Hello, {name}."))]
        }
        _ => {
            return Err(ErrorData::invalid_params(
                format!("there is no tool {name}"),
                None,
            ));
        }
    };
    Ok(CallToolResult::success(content).into())
}

fn embedded(text: &str, uri: &str, mime_type: &str) -> ContentBlock {
    ContentBlock::resource(ResourceContents::text(text, uri).with_mime_type(mime_type))
}
