//! The shortest protected server. `README.md` shows the same lines; a test compares and counts them.

use axum::{Router, routing::get};
use doorward_resource_server::{AccessToken, ResourceServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = ResourceServer::builder("https://mcp.example.com/mcp")
        .issuer("https://login.example.com")
        .required_scopes("notes:read")
        .build()?;
    let hello = async |token: AccessToken| format!("Hello {}", token.subject());
    let app = Router::new().route("/mcp", get(hello)).layer(server.layer());
    Ok(axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8000").await?, app).await?)
}
