//! An HTTP API on axum: rules on routes, and permissions that a handler's signature demands.

use std::sync::LazyLock;

use axum::Router;
use axum::routing::{delete, get};
use doorward_resource_server::{AccessToken, Granted, Permission, ResourceServer, ScopeRule};
use http::request::Parts;

static RULE: LazyLock<ScopeRule> = LazyLock::new(|| {
    ScopeRule::all_of(["notes:read", "notes:delete"]).unwrap_or_else(|_| unreachable!("two scopes"))
});

/// Deleting takes a scope, and the group that keeps the notes.
struct DeleteNotes;

impl Permission for DeleteNotes {
    fn scopes() -> ScopeRule {
        RULE.clone()
    }

    fn allows(token: &AccessToken, _: &Parts) -> bool {
        token.groups().iter().any(|group| group == "keepers")
    }
}

async fn list(token: AccessToken) -> String {
    format!("the notes of {}", token.subject())
}

async fn delete_all(granted: Granted<DeleteNotes>) -> String {
    format!("deleted by {}", granted.token().subject())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = ResourceServer::builder("http://127.0.0.1:8000/notes")
        .issuer("http://127.0.0.1:8080")
        .build()?;
    let readers = server.require(ScopeRule::any_of(["notes:read", "notes:admin"])?);
    let app = Router::new()
        .route("/notes", get(list).route_layer(readers))
        .route("/notes", delete(delete_all))
        .layer(server.layer());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    Ok(axum::serve(listener, app).await?)
}
