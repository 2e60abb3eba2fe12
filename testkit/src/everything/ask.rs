//! What a server asks of a client: a form to fill in, a completion, its roots.

use rmcp::model::{
    CreateMessageRequest, CreateMessageRequestParams, ElicitRequest, ElicitRequestParams, InputRequest,
    ListRootsRequest, SamplingMessage,
};
use serde_json::{Value, json};

/// A form with this schema.
pub(super) fn form(message: impl Into<String>, schema: Value) -> ElicitRequest {
    ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.into(),
        requested_schema: serde_json::from_value(schema).expect("a schema that elicitation allows"),
    })
}

/// A form with one field, which must be filled in.
pub(super) fn field(message: impl Into<String>, name: &str, kind: &str) -> InputRequest {
    InputRequest::Elicitation(form(
        message,
        json!({ "type": "object", "properties": { name: { "type": kind } }, "required": [name] }),
    ))
}

/// A completion by the client's model.
pub(super) fn sampling(prompt: &str) -> CreateMessageRequest {
    CreateMessageRequest::new(CreateMessageRequestParams::new(
        vec![SamplingMessage::user_text(prompt)],
        100,
    ))
}

/// The client's roots.
pub(super) fn roots() -> InputRequest {
    InputRequest::ListRoots(ListRootsRequest::default())
}
