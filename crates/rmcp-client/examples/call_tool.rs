//! Calls a tool of any protected MCP server: logs in with the browser when the server asks for it, and never again while the
//! tokens can be renewed.
//!
//!     cargo run --example call_tool -- http://localhost:8080/mcp whoami

#![allow(clippy::print_stdout, reason = "a program that tells something")]

use doorward_local_login::builder::SessionBuilder;
use doorward_rmcp_client::AuthorizedClient;
use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, ClientConfig};
use url::Url;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = Url::parse(&arguments.next().unwrap_or("http://localhost:8080/mcp".into()))?;
    let tool = arguments.next().unwrap_or("whoami".into());

    let (session, network) = SessionBuilder::new(server.clone(), "Tool caller").open()?;
    let transport = AuthorizedClient::new(server, network, session).transport();
    let client = ClientConfig::default().serve(transport).await?;

    let result = client.call_tool(CallToolRequestParams::new(tool)).await?;
    for content in result.content {
        if let Some(text) = content.as_text() {
            println!("{}", text.text);
        }
    }
    client.cancel().await?;
    Ok(())
}
