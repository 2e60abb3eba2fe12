//! What a host does with a server, the same in every scenario: connects, lists what there is, uses each of it once.

use rmcp::model::{
    CallToolRequestParams, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
    GetPromptRequestParams, Implementation, ProtocolVersion, ReadResourceRequestParams, Tool,
};
use rmcp::service::{RequestContext, RunningService};
use rmcp::transport::IntoTransport;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, ErrorData, RoleClient};
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::context::Scenario;

/// The extension of skills (SEP-2640).
const SKILLS: &str = "io.modelcontextprotocol/skills";

/// A person who accepts every form as it is filled in already.
#[derive(Clone)]
struct Person {
    revision: ProtocolVersion,
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = json!({ "elicitation": { "form": {} }, "roots": {}, "sampling": {} });
        let capabilities = serde_json::from_value(capabilities).unwrap_or_default();
        let client = Implementation::new("doorward-official-client", env!("CARGO_PKG_VERSION"));
        let mut config = ClientConfig::new(capabilities, client);
        config.protocol_version = self.revision.clone();
        config
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let content = match &request {
            ElicitRequestParams::FormElicitationParams { requested_schema, .. } => defaults(
                &serde_json::to_value(requested_schema)
                    .map_err(|error| ErrorData::internal_error(error.to_string(), None))?,
            ),
            _ => json!({}),
        };
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(content))
    }
}

/// Every property of a form that has a default, with it (SEP-1034).
fn defaults(schema: &Value) -> Value {
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())))
        .collect::<Map<_, _>>()
        .into()
}

fn lifecycle(scenario: &Scenario) -> ClientLifecycleMode {
    if !scenario.modern() {
        return ClientLifecycleMode::Initialize;
    }
    ClientLifecycleMode::Discover {
        preferred_versions: vec![scenario.revision.clone()],
    }
}

/// Connects over `transport` and does what a host does.
pub(crate) async fn run<T, E, A>(transport: T, scenario: &Scenario) -> Result<(), Failure>
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let person = Person {
        revision: scenario.revision.clone(),
    };
    let running = person
        .serve_with_lifecycle(transport, lifecycle(scenario))
        .await?;
    let outcome = use_everything(&running, scenario).await;
    running.cancel().await?;
    outcome
}

async fn use_everything(
    running: &RunningService<RoleClient, Person>,
    scenario: &Scenario,
) -> Result<(), Failure> {
    let capabilities = running.peer_info().ok_or("it is connected")?.capabilities.clone();
    let tools = running.list_all_tools().await?;
    for call in calls(&tools, scenario) {
        running.call_tool(call).await?;
    }
    if capabilities.resources.is_some() {
        for resource in running.list_all_resources().await? {
            let read = ReadResourceRequestParams::new(resource.uri.clone());
            running.read_resource(read).await?;
        }
    }
    if capabilities
        .extensions
        .is_some_and(|all| all.contains_key(SKILLS))
    {
        running.list_all_skills().await?;
    }
    if capabilities.prompts.is_some() {
        for prompt in running.list_all_prompts().await? {
            running
                .get_prompt(GetPromptRequestParams::new(prompt.name))
                .await?;
        }
    }
    Ok(())
}

/// The calls that the scenario wants, else one for each tool.
fn calls(tools: &[Tool], scenario: &Scenario) -> Vec<CallToolRequestParams> {
    if !scenario.context.tool_calls.is_empty() {
        let wanted = scenario.context.tool_calls.iter();
        return wanted
            .map(|call| with_arguments(&call.name, call.arguments.clone()))
            .collect();
    }
    match scenario.name.as_str() {
        "json-schema-2020-12-preservation" => echo(tools).into_iter().collect(),
        // Its server has a list of tools and no tools.
        "json-schema-ref-no-deref" => Vec::new(),
        _ => tools
            .iter()
            .map(|tool| with_arguments(&tool.name, arguments(tool)))
            .collect(),
    }
}

fn with_arguments(name: &str, arguments: Option<Map<String, Value>>) -> CallToolRequestParams {
    let call = CallToolRequestParams::new(name.to_owned());
    match arguments {
        Some(arguments) => call.with_arguments(arguments),
        None => call,
    }
}

/// Hands the schema of the first tool, as it arrived, to the second, which echoes it.
fn echo(tools: &[Tool]) -> Option<CallToolRequestParams> {
    let rich = tools.iter().find(|tool| tool.name != "json_schema_echo")?;
    let schema = Value::Object((*rich.input_schema).clone());
    let arguments = Map::from_iter([("schema".to_owned(), schema)]);
    Some(with_arguments("json_schema_echo", Some(arguments)))
}

/// Something of the right type for each argument that a tool requires.
fn arguments(tool: &Tool) -> Option<Map<String, Value>> {
    let required = tool.input_schema.get("required")?.as_array()?;
    let properties = tool.input_schema.get("properties")?.as_object()?;
    let filled = required.iter().filter_map(Value::as_str).map(|name| {
        let kind = properties
            .get(name)
            .and_then(|property| property["type"].as_str());
        let value = match kind {
            Some("number") => json!(1.5),
            Some("integer") => json!(1),
            Some("boolean") => json!(true),
            Some("object") => json!({}),
            Some("array") => json!([]),
            Some("null") => json!(null),
            _ => json!("test"),
        };
        (name.to_owned(), value)
    });
    Some(filled.collect())
}
