//! Tools that need something from the client first and say so in their result (2026-07-28, multi
//! round-trip requests): the client calls again with the answers, and with the state it was given.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, InputRequest, InputRequests,
    InputRequiredResult, InputResponses, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::Value;

use super::sealed::Sealer;
use super::{ask, plain_tool};

const PREFIX: &str = "test_input_required_result_";

pub(super) fn has(name: &str) -> bool {
    name.starts_with(PREFIX)
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        plain_tool("test_input_required_result_elicitation", "Asks for a name"),
        plain_tool("test_input_required_result_sampling", "Asks for a completion"),
        plain_tool("test_input_required_result_list_roots", "Asks for the roots"),
        plain_tool(
            "test_input_required_result_request_state",
            "Has the client hold a sealed state",
        ),
        plain_tool(
            "test_input_required_result_tampered_state",
            "Refuses a state that was changed",
        ),
        plain_tool(
            "test_input_required_result_multiple_inputs",
            "Asks for three things at once",
        ),
        plain_tool(
            "test_input_required_result_multi_round",
            "Asks twice, one after the other",
        ),
        plain_tool(
            "test_input_required_result_capabilities",
            "Asks only for what the client can do",
        ),
    ]
}

/// An answer under `key`. Answers are objects; anything else is as good as none and is asked for again.
pub(super) fn response<'a>(responses: Option<&'a InputResponses>, key: &str) -> Option<&'a Value> {
    responses?.get(key).filter(|response| response.is_object())
}

/// Asks for these inputs; the client has to hold `state`.
pub(super) fn require<const N: usize>(
    inputs: [(&str, InputRequest); N],
    state: Option<String>,
) -> InputRequiredResult {
    let requests: InputRequests = inputs
        .into_iter()
        .map(|(key, request)| (key.to_owned(), request))
        .collect();
    InputRequiredResult::new(Some(requests), state)
}

/// A text somewhere in an answer.
pub(super) fn text_at(response: &Value, pointer: &str) -> String {
    response
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

pub(super) fn call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
    sealer: &Sealer,
) -> Result<CallToolResponse, ErrorData> {
    let responses = request.input_responses.as_ref();
    let state = request
        .request_state
        .as_deref()
        .map(|state| sealer.open(state))
        .transpose()?;
    let kind = request.name.strip_prefix(PREFIX).unwrap_or_default();
    Ok(match kind {
        "elicitation" => once(responses, "user_name", name(), |answer| {
            format!("Hello, {}!", text_at(answer, "/content/name"))
        }),
        "sampling" => once(
            responses,
            "capital_question",
            sampling("What is the capital of France?"),
            |answer| text_at(answer, "/content/text"),
        ),
        "list_roots" => once(responses, "client_roots", ask::roots(), |answer| {
            text_at(answer, "/roots/0/uri")
        }),
        "request_state" | "tampered_state" => match state {
            Some(_) => done("state-ok"),
            None => require(
                [("confirm", ask::field("Please confirm", "ok", "boolean"))],
                Some(sealer.seal("confirm")),
            )
            .into(),
        },
        "multiple_inputs" => {
            let inputs = [
                ("user_name", name()),
                ("greeting", sampling("A greeting")),
                ("client_roots", ask::roots()),
            ];
            let all = inputs.iter().all(|(key, _)| response(responses, key).is_some());
            if all && state.is_some() {
                done("All inputs arrived.")
            } else {
                require(inputs, Some(sealer.seal("gather"))).into()
            }
        }
        "multi_round" => match state.as_deref() {
            None => require([("step1", name())], Some(sealer.seal("first"))).into(),
            Some("first") => {
                let color = ask::field("What is your favourite color?", "color", "string");
                require([("step2", color)], Some(sealer.seal("second"))).into()
            }
            Some(_) => done("Both rounds are over."),
        },
        "capabilities" => by_capability(responses, context),
        _ => {
            return Err(ErrorData::invalid_params(
                format!("there is no tool {}", request.name),
                None,
            ));
        }
    })
}

fn by_capability(
    responses: Option<&InputResponses>,
    context: &RequestContext<RoleServer>,
) -> CallToolResponse {
    let declared = context.client_capabilities().unwrap_or_default();
    let mut requests = InputRequests::new();
    if declared.elicitation.is_some() {
        requests.insert("user_name".into(), name());
    }
    if declared.sampling.is_some() {
        requests.insert("greeting".into(), sampling("A greeting"));
    }
    if declared.roots.is_some() {
        requests.insert("client_roots".into(), ask::roots());
    }
    if responses.is_some() || requests.is_empty() {
        return done("Nothing more to ask.");
    }
    InputRequiredResult::from_input_requests(requests).into()
}

/// Asks once, and answers with what came back.
fn once(
    responses: Option<&InputResponses>,
    key: &str,
    input: InputRequest,
    text: impl FnOnce(&Value) -> String,
) -> CallToolResponse {
    match response(responses, key) {
        Some(answer) => done(text(answer)),
        None => require([(key, input)], None).into(),
    }
}

fn done(text: impl Into<String>) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text.into())]).into()
}

fn name() -> InputRequest {
    ask::field("What is your name?", "name", "string")
}

fn sampling(prompt: &str) -> InputRequest {
    InputRequest::CreateMessage(ask::sampling(prompt))
}
