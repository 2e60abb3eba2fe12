//! Tools whose result comes later (SEP-2663, tasks).

use std::future::Future;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
    CreateTaskResult, GetTaskResult, Tool, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::task_manager::{TaskContext, TaskExit, TaskManager, TaskOptions};
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use super::input_required::{require, response, text_at};
use super::{ask, plain_tool, text_argument, tool};

/// How long the short ones work.
const SHORT: Duration = Duration::from_millis(200);

/// Longest that `slow_compute` can be asked to work, in seconds.
const LONGEST: f64 = 60.0;

pub(super) fn tools() -> Vec<Tool> {
    vec![
        tool(
            "greet",
            "Never a task",
            json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] }),
        ),
        tool(
            "slow_compute",
            "Works for some seconds, as a task where it can",
            json!({
                "type": "object",
                "properties": { "seconds": { "type": "number" }, "label": { "type": "string" } },
            }),
        ),
        plain_tool("failing_job", "A task that ends in a tool's error"),
        plain_tool(
            "protocol_error_job",
            "Fails in the protocol, as a task where it can",
        ),
        tool(
            "confirm_delete",
            "A task that asks before it deletes",
            json!({ "type": "object", "properties": { "filename": { "type": "string" } } }),
        ),
        plain_tool("multi_input", "A task that asks two things at once"),
        plain_tool("test_tool_with_task", "Asks first, then becomes a task"),
    ]
}

pub(super) fn has(name: &str) -> bool {
    tools().iter().any(|tool| tool.name == name)
}

/// The tasks under way.
#[derive(Default)]
pub(super) struct Tasks(TaskManager);

impl Tasks {
    pub(super) fn get(&self, id: &str) -> Result<GetTaskResult, ErrorData> {
        Ok(GetTaskResult::new(self.0.get_task(id)?))
    }

    pub(super) fn update(&self, request: UpdateTaskParams) -> Result<(), ErrorData> {
        self.0.update_task(&request.task_id, request.input_responses)
    }

    pub(super) fn cancel(&self, id: &str) -> Result<(), ErrorData> {
        self.0.cancel_task(id)
    }

    /// Answers one of the tools: at once if it can, as a task if the client knows tasks.
    pub(super) async fn call(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.clone().unwrap_or_default();
        let tasks = context
            .client_capabilities()
            .is_some_and(|declared| declared.supports_tasks());
        match (request.name.as_ref(), tasks) {
            ("greet", _) => {
                let name = text_argument(&arguments, "name").unwrap_or_default();
                Ok(text(format!("Hello, {name}!")).into())
            }
            ("slow_compute", _) => {
                let seconds = arguments.get("seconds").and_then(Value::as_f64).unwrap_or(1.0);
                let time = Duration::from_secs_f64(seconds.clamp(0.0, LONGEST));
                let label = text_argument(&arguments, "label").unwrap_or_default();
                let work = async move {
                    tokio::time::sleep(time).await;
                    Ok(text(format!("{label} took {seconds} s")))
                };
                self.task_or_now(tasks, work).await
            }
            ("protocol_error_job", _) => {
                let work = async {
                    tokio::time::sleep(SHORT).await;
                    Err(ErrorData::internal_error("this always fails", None))
                };
                self.task_or_now(tasks, work).await
            }
            (_, false) => Err(ErrorData::missing_required_client_capability(
                ClientCapabilities::builder().enable_tasks().build(),
            )),
            ("failing_job", true) => Ok(self.task(|_| async {
                tokio::time::sleep(SHORT).await;
                Ok(CallToolResult::error(vec![ContentBlock::text(
                    "this always fails",
                )]))
            })),
            ("confirm_delete", true) => {
                let file = text_argument(&arguments, "filename").unwrap_or_default();
                Ok(self.task(move |task| confirm(task, file)))
            }
            ("multi_input", true) => Ok(self.task(two_values)),
            (_, true) => match response(request.input_responses.as_ref(), "user_name") {
                None => {
                    let name = ask::field("What is your name?", "name", "string");
                    Ok(require([("user_name", name)], None).into())
                }
                Some(answer) => {
                    let name = text_at(answer, "/content/name");
                    Ok(self.task(|_| async move {
                        tokio::time::sleep(SHORT).await;
                        Ok(text(format!("Hello, {name}!")))
                    }))
                }
            },
        }
    }

    async fn task_or_now(
        &self,
        task: bool,
        work: impl Future<Output = Result<CallToolResult, ErrorData>> + Send + 'static,
    ) -> Result<CallToolResponse, ErrorData> {
        if !task {
            return work.await.map(Into::into);
        }
        Ok(self.task(|context| async move {
            // Cancelling is a request to the work, and this work obliges.
            tokio::select! {
                () = context.cancelled() => Err(TaskExit::Cancelled),
                result = work => result.map_err(TaskExit::Error),
            }
        }))
    }

    fn task<F>(&self, work: impl FnOnce(TaskContext) -> F) -> CallToolResponse
    where
        F: Future<Output = Result<CallToolResult, TaskExit>> + Send + 'static,
    {
        let task = self
            .0
            .spawn(TaskOptions::default(), |context| Box::pin(work(context)));
        CreateTaskResult::new(task).into()
    }
}

async fn confirm(task: TaskContext, file: String) -> Result<CallToolResult, TaskExit> {
    let question = ask::field(format!("Delete {file}?"), "confirm", "boolean");
    let answer = task.request_input("confirm", question).await?;
    let yes = answer.pointer("/content/confirm").and_then(Value::as_bool) == Some(true);
    Ok(text(format!(
        "{file} was {}",
        if yes { "deleted" } else { "kept" }
    )))
}

async fn two_values(task: TaskContext) -> Result<CallToolResult, TaskExit> {
    let first = task.request_input("first", ask::field("The first value", "value", "string"));
    let second = task.request_input("second", ask::field("The second value", "value", "string"));
    let (first, second) = tokio::try_join!(first, second)?;
    Ok(text(format!(
        "{} and {}",
        text_at(&first, "/content/value"),
        text_at(&second, "/content/value")
    )))
}

fn text(text: String) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}
