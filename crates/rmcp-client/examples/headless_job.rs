//! A job that nobody watches: it authenticates with a key of its own (`private_key_jwt`) and calls a tool.
//!
//!     cargo run --example headless_job -- https://mcp.example.com/mcp CLIENT_ID key.pem whoami

#![allow(clippy::print_stdout, reason = "a program that tells something")]

use doorward_client::client_assertion::ClientKey;
use doorward_client::grant::Grant;
use doorward_local_login::builder::SessionBuilder;
use doorward_rmcp_client::AuthorizedClient;
use rmcp::ServiceExt as _;
use rmcp::model::{CallToolRequestParams, ClientConfig};
use url::Url;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, client_id, key_file, tool] = &arguments[..] else {
        return Err("usage: headless_job URL CLIENT_ID KEY_FILE TOOL".into());
    };
    let server = Url::parse(server)?;
    let key = ClientKey::parse(&std::fs::read_to_string(key_file)?)?;

    let (session, network) = SessionBuilder::new(server.clone(), "Nightly job")
        .grant(Grant::ClientCredentials)
        .client(client_id, None)
        .client_key(key)
        .open()?;
    let transport = AuthorizedClient::new(server, network, session).transport();

    // Servers may treat programs of their own differently; this is how they see one.
    let mut info = ClientConfig::default();
    if let Some(extension) = Grant::ClientCredentials.extension() {
        let extensions = info.capabilities.extensions.get_or_insert_default();
        extensions.insert(extension.to_owned(), rmcp::model::JsonObject::new());
    }
    let client = info.serve(transport).await?;
    let result = client.call_tool(CallToolRequestParams::new(tool.clone())).await?;
    for content in result.content {
        if let Some(text) = content.as_text() {
            println!("{}", text.text);
        }
    }
    client.cancel().await?;
    Ok(())
}
