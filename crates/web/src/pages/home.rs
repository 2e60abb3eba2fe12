//! `GET /`: what this is, and the addresses to give to a client. No secret, nothing about people.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::pages::{Chrome, page};
use crate::state::WebState;

/// A protected server, as pages show it.
#[derive(Clone, Debug)]
pub(crate) struct ShownServer {
    pub(crate) name: String,
    pub(crate) url: String,
}

/// A client whose id everybody may know, as pages show it.
#[derive(Clone, Debug)]
pub(crate) struct ShownClient {
    pub(crate) id: String,
    pub(crate) name: String,
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage<'a> {
    chrome: &'a Chrome,
    servers: &'a [ShownServer],
    clients: &'a [ShownClient],
}

/// Shows the start page.
pub(crate) async fn show(State(state): State<WebState>) -> Response {
    let site = state.site();
    page(
        StatusCode::OK,
        &HomePage {
            chrome: &site.chrome,
            servers: &site.servers,
            clients: &site.clients,
        },
    )
}
