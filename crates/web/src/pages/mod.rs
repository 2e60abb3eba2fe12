//! Every page: server-rendered, without script, readable on a phone and by a screen reader.

pub(crate) mod account;
pub(crate) mod consent;
pub(crate) mod device;
pub(crate) mod entry;
pub(crate) mod form;
pub(crate) mod home;
pub(crate) mod login;
pub(crate) mod login_code;
pub(crate) mod login_passkey;
pub(crate) mod logout;
pub(crate) mod message;
pub(crate) mod next;
mod resume;
pub(crate) mod security;
pub(crate) mod setup;

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};

use crate::headers::FORM_REFERRER;

/// What the frame around every page needs.
#[derive(Clone, Debug)]
pub(crate) struct Chrome {
    /// Path of the style sheet.
    pub(crate) style: String,
    /// Path of the icon.
    pub(crate) icon: String,
    /// Host and port of our public URL: people check it before they type a password.
    pub(crate) host: String,
}

/// Renders a page without a form.
pub(crate) fn page(status: StatusCode, template: &impl Template) -> Response {
    let html = match template.render() {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    (
        status,
        [(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))],
        html,
    )
        .into_response()
}

/// Sends the browser to a page of ours, by GET.
pub(crate) fn see_other(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    match HeaderValue::try_from(path) {
        Ok(path) => {
            response.headers_mut().insert(LOCATION, path);
        }
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

/// Lets a page load our one script: its policy says so, and no other page's does.
pub(crate) fn with_script(mut response: Response) -> Response {
    response.extensions_mut().insert(crate::headers::Scripted);
    response
}

/// Renders a page with a form.
pub(crate) fn form_page(status: StatusCode, template: &impl Template) -> Response {
    let mut response = page(status, template);
    let (name, value) = FORM_REFERRER;
    response.headers_mut().insert(name, value);
    response
}
