//! Prompts, and completion of their arguments.

use rmcp::ErrorData;
use rmcp::model::{
    ArgumentInfo, CacheScope, CompleteResult, CompletionInfo, ContentBlock, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, ImageContent, ListPromptsResult, Prompt, PromptArgument,
    PromptMessage, Role,
};

use super::input_required::{require, response, text_at};
use super::{KEEP, ask, content, text_argument};

pub(super) fn list() -> ListPromptsResult {
    let arguments = vec![
        PromptArgument::new("arg1").with_required(true),
        PromptArgument::new("arg2").with_required(true),
    ];
    ListPromptsResult::with_all_items(vec![
        prompt("test_simple_prompt", "Takes no arguments", None),
        prompt("test_prompt_with_arguments", "Takes two", Some(arguments)),
        prompt(
            "test_prompt_with_embedded_resource",
            "Includes the resource it is given",
            Some(vec![PromptArgument::new("resourceUri").with_required(true)]),
        ),
        prompt("test_prompt_with_image", "Includes an image", None),
        prompt(
            "test_input_required_result_prompt",
            "Asks for its context first",
            None,
        ),
    ])
    .with_ttl_ms(KEEP)
    .with_cache_scope(CacheScope::Public)
}

fn prompt(name: &str, description: &str, arguments: Option<Vec<PromptArgument>>) -> Prompt {
    Prompt::new(name, Some(description), arguments)
}

/// Answers `prompts/get`; `-32602` if there is no such prompt.
pub(super) fn get(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let arguments = request.arguments.clone().unwrap_or_default();
    let argument = |name| text_argument(&arguments, name).unwrap_or_default();
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![said("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => vec![said(format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1"),
            argument("arg2")
        ))],
        "test_prompt_with_embedded_resource" => vec![
            PromptMessage::new_resource(
                Role::User,
                argument("resourceUri"),
                Some("text/plain".into()),
                Some("Embedded resource content for testing.".into()),
                None,
                None,
                None,
            ),
            said("Please process the embedded resource above."),
        ],
        "test_prompt_with_image" => vec![
            PromptMessage::new(
                Role::User,
                ContentBlock::Image(ImageContent::new(content::PNG, "image/png")),
            ),
            said("Please analyze the image above."),
        ],
        "test_input_required_result_prompt" => {
            match response(request.input_responses.as_ref(), "user_context") {
                Some(answer) => vec![said(format!("Context: {}", text_at(answer, "/content/context")))],
                None => {
                    let context = ask::field("In which context?", "context", "string");
                    return Ok(require([("user_context", context)], None).into());
                }
            }
        }
        name => {
            return Err(ErrorData::invalid_params(
                format!("there is no prompt {name}"),
                None,
            ));
        }
    };
    Ok(GetPromptResult::new(messages).into())
}

fn said(text: impl Into<String>) -> PromptMessage {
    PromptMessage::new_text(Role::User, text.into())
}

/// Three cities, as far as they begin with what is typed.
pub(super) fn complete(argument: &ArgumentInfo) -> Result<CompleteResult, ErrorData> {
    let values: Vec<String> = ["paris", "park", "party"]
        .iter()
        .filter(|value| value.starts_with(&argument.value))
        .map(|&value| value.into())
        .collect();
    let completion = CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None))?;
    Ok(CompleteResult::new(completion))
}
