//! An MCP server on rmcp with one of everything that the official conformance suite asks a server for,
//! over Streamable HTTP ([`serve::start`]) and over stdio ([`serve::stdio`]).
//!
//! The names of its tools, prompts and resources are the suite's: each scenario documents what it calls.
//! One module for each part of the protocol; a module lists its tools and answers them.

#![expect(
    deprecated,
    reason = "logging, sampling and roots are deprecated since 2026-07-28"
)]

mod ask;
mod content;
mod conversation;
mod input_required;
mod one_era;
mod prompts;
mod resources;
mod sealed;
pub mod serve;
mod skills;
mod subscriptions;
mod tasks;

use std::sync::{Arc, LazyLock};

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
    CompleteResult, GetPromptRequestParams, GetPromptResponse, GetSkillRequestParams, GetSkillResult,
    GetTaskParams, GetTaskResult, Implementation, JsonObject, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListSkillsResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceDirectoryRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    ServerConfig, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;

use self::sealed::Sealer;
use self::subscriptions::Subscriptions;
use self::tasks::Tasks;

/// How long clients may keep a list, in milliseconds (2026-07-28, `ttlMs`).
const KEEP: u64 = 60_000;

/// Every tool of every module.
static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
    [
        content::tools(),
        conversation::tools(),
        input_required::tools(),
        subscriptions::tools(),
        tasks::tools(),
    ]
    .concat()
});

/// The server. Clones share subscriptions, tasks and the key that seals request states.
#[derive(Clone)]
struct Everything(Arc<Shared>);

struct Shared {
    subscriptions: Subscriptions,
    tasks: Tasks,
    sealer: Sealer,
}

impl Everything {
    fn new() -> Self {
        Self(Arc::new(Shared {
            subscriptions: Subscriptions::default(),
            tasks: Tasks::default(),
            sealer: Sealer::new(),
        }))
    }
}

/// A tool whose input schema is written as JSON.
fn tool(name: &'static str, description: &'static str, schema: Value) -> Tool {
    let Value::Object(schema) = schema else {
        panic!("{name}: a schema is an object")
    };
    Tool::new(name, description, schema)
}

/// A tool that takes no arguments.
fn plain_tool(name: &'static str, description: &'static str) -> Tool {
    tool(
        name,
        description,
        serde_json::json!({ "type": "object", "properties": {} }),
    )
}

/// A text among a tool's arguments.
fn text_argument(arguments: &JsonObject, name: &str) -> Option<String> {
    Some(arguments.get(name)?.as_str()?.to_owned())
}

impl ServerHandler for Everything {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .enable_skills_with_directory_read()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("doorward-everything", "1.0.0"))
            .with_instructions("Answers every scenario of the conformance suite.")
    }

    /// Says which parameters of a tool travel in `Mcp-Param-*` headers; the transport checks them.
    fn get_tool(&self, name: &str) -> Option<Tool> {
        TOOLS.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(TOOLS.clone())
            .with_ttl_ms(KEEP)
            .with_cache_scope(CacheScope::Public))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Shared {
            subscriptions,
            tasks,
            sealer,
        } = &*self.0;
        let name = request.name.clone();
        match name.as_ref() {
            name if input_required::has(name) => input_required::call(&request, &context, sealer),
            name if tasks::has(name) => tasks.call(&request, &context).await,
            name if subscriptions::has(name) => Ok(subscriptions.announce(name).await.into()),
            name if conversation::has(name) => {
                let arguments = request.arguments.unwrap_or_default();
                conversation::call(name, &arguments, &context)
                    .await
                    .map(Into::into)
            }
            name => content::call(name, &request.arguments.unwrap_or_default(), &context),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(resources::list())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(resources::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        resources::read(&request.uri).map(Into::into)
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.0.subscriptions.expect();
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        self.0.subscriptions.hold(&subscription).await;
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(prompts::list())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(&request)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        prompts::complete(&request.argument)
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_skills(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListSkillsResult, ErrorData> {
        Ok(skills::list())
    }

    async fn get_skill(
        &self,
        request: GetSkillRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetSkillResult, ErrorData> {
        skills::get(&request.uri)
    }

    async fn read_resource_directory(
        &self,
        request: ReadResourceDirectoryRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        skills::directory(&request.uri)
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.0.tasks.get(&request.task_id)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.0.tasks.update(request)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.0.tasks.cancel(&request.task_id)
    }
}
