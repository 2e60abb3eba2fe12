//! An MCP server on rmcp and axum: scopes per tool, and a tool that knows who calls.
//!
//!     cargo run --example rmcp -- https://login.example.com

use std::sync::Arc;

use axum::Router;
use doorward_policy::{ScopeEntry, ScopeTable};
use doorward_resource_server::{AccessToken, ResourceServer};
use http::request::Parts;
use rmcp::handler::server::common::Extension;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};

#[derive(Clone)]
struct Notes;

#[tool_router]
impl Notes {
    #[tool(description = "Tells who is calling.")]
    async fn whoami(&self, Extension(head): Extension<Parts>) -> String {
        // The layer put it there; without the layer there is none.
        AccessToken::of(&head.extensions).map_or_else(|| "nobody".into(), |token| token.subject().to_owned())
    }

    #[tool(description = "Deletes every note.")]
    async fn delete_notes(&self) -> String {
        "deleted".into()
    }
}

#[tool_handler]
impl ServerHandler for Notes {}

/// What each tool needs. A tool that no scope names cannot be called.
fn scopes() -> Result<ScopeTable, Box<dyn std::error::Error>> {
    let mut read = ScopeEntry::new("notes:read".parse()?, "Read your notes");
    read.tools = vec!["whoami".parse()?];
    let mut delete = ScopeEntry::new("notes:delete".parse()?, "Delete your notes");
    delete.tools = vec!["delete_*".parse()?];
    delete.step_up = true;
    Ok(ScopeTable::new(vec![read, delete])?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let issuer = std::env::args().nth(1).unwrap_or("http://127.0.0.1:8080".into());
    let server = ResourceServer::builder("http://127.0.0.1:8000/mcp")
        .issuer(issuer)
        .scope_table(scopes()?)
        .build()?;
    let mcp = StreamableHttpService::new(
        || Ok(Notes),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    let app = Router::new().nest_service("/mcp", mcp).layer(server.layer());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    Ok(axum::serve(listener, app).await?)
}
