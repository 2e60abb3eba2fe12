//! What the suite says in the environment.

use rmcp::model::ProtocolVersion;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Failure;

/// One scenario, as the suite announces it.
pub(crate) struct Scenario {
    /// Its name.
    pub(crate) name: String,
    /// The revision that its server speaks.
    pub(crate) revision: ProtocolVersion,
    /// What it gives the client.
    pub(crate) context: Context,
}

/// A call that a scenario wants.
#[derive(Debug, Deserialize)]
pub(crate) struct ToolCall {
    pub(crate) name: String,
    pub(crate) arguments: Option<Map<String, Value>>,
}

/// Credentials and calls; which of them there are depends on the scenario.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Context {
    #[serde(default, rename = "toolCalls")]
    pub(crate) tool_calls: Vec<ToolCall>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
    pub(crate) private_key_pem: Option<String>,
    pub(crate) idp_client_id: Option<String>,
    pub(crate) idp_id_token: Option<String>,
    pub(crate) idp_issuer: Option<String>,
    pub(crate) idp_token_endpoint: Option<String>,
    pub(crate) valid_jwt: Option<String>,
}

impl Scenario {
    pub(crate) fn from_environment() -> Result<Self, Failure> {
        let revision = std::env::var("MCP_CONFORMANCE_PROTOCOL_VERSION")?;
        let context = match std::env::var("MCP_CONFORMANCE_CONTEXT") {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => Context::default(),
        };
        Ok(Self {
            name: std::env::var("MCP_CONFORMANCE_SCENARIO")?,
            revision: serde_json::from_value(Value::String(revision))?,
            context,
        })
    }

    /// Whether its server knows no sessions and no `initialize`.
    pub(crate) fn modern(&self) -> bool {
        self.revision.as_str() >= ProtocolVersion::V_2026_07_28.as_str()
    }
}
