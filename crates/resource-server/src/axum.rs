//! Extractors for axum (feature `axum`).

use ::axum::body::Body;
use ::axum::extract::FromRequestParts;
use ::axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::access_token::AccessToken;
use crate::guard::{Granted, Permission};
use crate::server::ResourceServer;

/// The answer instead of the handler's.
#[derive(Debug)]
pub struct Rejection(Response);

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Rejection {
    /// A handler that wants a token stands outside every layer: nobody can be told how to do better.
    fn unprotected() -> Self {
        tracing::error!("a handler takes an access token and no layer of its resource server is around it");
        Self(StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

impl<S: Sync> FromRequestParts<S> for AccessToken {
    type Rejection = Rejection;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Self::of(&head.extensions)
            .cloned()
            .ok_or_else(Rejection::unprotected)
    }
}

impl<S: Sync, P: Permission> FromRequestParts<S> for Granted<P> {
    type Rejection = Rejection;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let Some(server) = head.extensions.get::<ResourceServer>() else {
            return Err(Rejection::unprotected());
        };
        Self::check(head).map_err(|refused| {
            let token = AccessToken::of(&head.extensions);
            Rejection(server.refuse(&refused, head, token).map(Body::from))
        })
    }
}
