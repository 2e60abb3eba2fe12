//! The specification's JSON schemas (without their descriptions), and as much of a validator as they need.

use std::sync::LazyLock;

use serde_json::Value;

/// The two revisions whose messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    Legacy,
    Modern,
}

static LEGACY: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("schema/2025-11-25.json")).unwrap());
static MODERN: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("schema/2026-07-28.json")).unwrap());

impl Schema {
    fn definition(self, name: &str) -> Option<&'static Value> {
        let schema = match self {
            Self::Legacy => &*LEGACY,
            Self::Modern => &*MODERN,
        };
        schema["$defs"].get(name)
    }

    /// Panics unless `value` is what the definition says.
    #[track_caller]
    pub(super) fn check(self, name: &str, value: &Value) {
        let definition = self.definition(name);
        let definition = definition.unwrap_or_else(|| panic!("{self:?} has no {name}"));
        if let Err(problem) = self.valid(definition, value, name) {
            panic!("not a {self:?} {name}: {problem}\n{value:#}");
        }
    }

    /// The definition of a request or notification with this method: `(message, result)`.
    pub(super) fn of_method(self, method: &str) -> Option<(String, Option<String>)> {
        let result = |name: &str| Some(format!("{name}Result"));
        let (message, result) = match method {
            "tools/list" => ("ListToolsRequest", result("ListTools")),
            "tools/call" => ("CallToolRequest", result("CallTool")),
            "prompts/list" => ("ListPromptsRequest", result("ListPrompts")),
            "prompts/get" => ("GetPromptRequest", result("GetPrompt")),
            "resources/list" => ("ListResourcesRequest", result("ListResources")),
            "resources/templates/list" => ("ListResourceTemplatesRequest", result("ListResourceTemplates")),
            "resources/read" => ("ReadResourceRequest", result("ReadResource")),
            "completion/complete" => ("CompleteRequest", result("Complete")),
            "elicitation/create" => ("ElicitRequest", result("Elicit")),
            "sampling/createMessage" => ("CreateMessageRequest", result("CreateMessage")),
            "roots/list" => ("ListRootsRequest", result("ListRoots")),
            "server/discover" => ("DiscoverRequest", result("Discover")),
            "subscriptions/listen" => ("SubscriptionsListenRequest", result("SubscriptionsListen")),
            "initialize" => ("InitializeRequest", result("Initialize")),
            "logging/setLevel" => ("SetLevelRequest", result("Empty")),
            "resources/subscribe" => ("SubscribeRequest", result("Empty")),
            "resources/unsubscribe" => ("UnsubscribeRequest", result("Empty")),
            "ping" => ("PingRequest", result("Empty")),
            "tasks/result" => ("GetTaskPayloadRequest", result("GetTaskPayload")),
            "tasks/cancel" => ("CancelTaskRequest", result("CancelTask")),
            "notifications/cancelled" => ("CancelledNotification", None),
            "notifications/initialized" => ("InitializedNotification", None),
            "notifications/progress" => ("ProgressNotification", None),
            "notifications/message" => ("LoggingMessageNotification", None),
            "notifications/resources/updated" => ("ResourceUpdatedNotification", None),
            "notifications/resources/list_changed" => ("ResourceListChangedNotification", None),
            "notifications/tools/list_changed" => ("ToolListChangedNotification", None),
            "notifications/prompts/list_changed" => ("PromptListChangedNotification", None),
            "notifications/subscriptions/acknowledged" => ("SubscriptionsAcknowledgedNotification", None),
            _ => return None,
        };
        Some((message.to_owned(), result))
    }

    fn valid(self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            let target = self
                .definition(name)
                .ok_or_else(|| format!("{reference} is not there"))?;
            self.valid(target, value, at)?;
        }
        if let Some(options) = schema["anyOf"].as_array() {
            let tried: Vec<_> = options
                .iter()
                .map(|option| self.valid(option, value, at))
                .collect();
            if !tried.iter().any(Result::is_ok) {
                return Err(format!("{at}: none of {tried:?}"));
            }
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.valid(part, value, at)?;
        }
        if let Some(constant) = schema.get("const")
            && constant != value
        {
            return Err(format!("{at}: {value} is not {constant}"));
        }
        if let Some(options) = schema["enum"].as_array()
            && !options.contains(value)
        {
            return Err(format!("{at}: {value} is none of {options:?}"));
        }
        let types = match &schema["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|name| is_of(value, name)) {
            return Err(format!("{at}: {value} is no {types:?}"));
        }
        if let (Some(minimum), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
            && number < minimum
        {
            return Err(format!("{at}: {number} is too small"));
        }
        self.parts(schema, value, at)
    }

    fn parts(self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(items) = value.as_array() {
            for (index, item) in items.iter().enumerate() {
                if schema.get("items").is_some() {
                    self.valid(&schema["items"], item, &format!("{at}[{index}]"))?;
                }
            }
        }
        let Some(members) = value.as_object() else {
            return Ok(());
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            if !members.contains_key(name) {
                return Err(format!("{at}: {name} is missing"));
            }
        }
        for (name, member) in members {
            let at = format!("{at}.{name}");
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(schema), _) => self.valid(schema, member, &at)?,
                (None, Some(Value::Bool(false))) => return Err(format!("{at} is not known")),
                (None, Some(schema)) => self.valid(schema, member, &at)?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("a schema of type {other}"),
    }
}

#[test]
fn the_validator_says_no() {
    let tool = serde_json::json!({ "name": "a", "inputSchema": { "type": "object" } });
    Schema::Legacy.check("Tool", &tool);
    let cases = [
        ("Tool", serde_json::json!({ "name": "a" })),
        (
            "Tool",
            serde_json::json!({ "name": 1, "inputSchema": { "type": "object" } }),
        ),
        ("ElicitResult", serde_json::json!({ "action": "maybe" })),
        ("ContentBlock", serde_json::json!({ "type": "text" })),
        (
            "ListToolsResult",
            serde_json::json!({ "resultType": "complete", "ttlMs": -1, "cacheScope": "private", "tools": [] }),
        ),
        ("ListToolsResult", serde_json::json!({ "tools": [] })),
    ];
    for (name, value) in cases {
        let definition = Schema::Modern.definition(name).unwrap();
        assert!(
            Schema::Modern.valid(definition, &value, name).is_err(),
            "{name} {value}"
        );
    }
}
