//! Reading request bodies: one content type, one size.

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// The largest body that is read, in bytes.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

/// Content type of forms.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
/// Content type of registrations.
pub(crate) const JSON: &str = "application/json";

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// Another content type, several, or none.
    #[error("the content type is not the one that this address takes")]
    WrongType,
    /// More than [`MAX_BYTES`].
    #[error("the request is too large: at most 64 KiB")]
    TooLarge,
    /// The connection broke.
    #[error("the request ended early")]
    Broken,
}

impl BodyError {
    /// The HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::WrongType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a body of the given content type.
pub(crate) async fn read(request: Request, expected: &str) -> Result<Bytes, BodyError> {
    if !has_type(request.headers(), expected) {
        return Err(BodyError::WrongType);
    }
    read_any(request).await
}

/// Reads a body whose content type the rules judge themselves.
pub(crate) async fn read_any(request: Request) -> Result<Bytes, BodyError> {
    let limited: Limited<Body> = Limited::new(request.into_body(), MAX_BYTES);
    match limited.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(_) => Err(BodyError::Broken),
    }
}

/// Exactly one `Content-Type`, with nothing but a UTF-8 charset after it: `text/plain` and lists are what
/// cross-site forms and parser games use.
fn has_type(headers: &HeaderMap, expected: &str) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let (kind, parameter) = match value.split_once(';') {
        Some((kind, parameter)) => (kind, Some(parameter)),
        None => (value, None),
    };
    let charset_is_utf8 = parameter.is_none_or(|parameter| {
        matches!(
            parameter.trim().to_ascii_lowercase().as_str(),
            "charset=utf-8" | "charset=\"utf-8\"" | "charset=utf8" | ""
        )
    });
    kind.trim().eq_ignore_ascii_case(expected) && charset_is_utf8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tk_11_hd_06_only_the_one_content_type() {
        for (value, good) in [
            (FORM, true),
            ("application/x-www-form-urlencoded; charset=UTF-8", true),
            ("Application/X-WWW-Form-Urlencoded;charset=utf-8", true),
            ("application/json", false),
            ("text/plain", false),
            ("multipart/form-data; boundary=x", false),
            ("application/json, application/x-www-form-urlencoded", false),
            ("application/x-www-form-urlencoded, application/json", false),
            ("application/x-www-form-urlencoded; charset=utf-16", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(has_type(&headers, FORM), good, "{value}");
            headers.append(CONTENT_TYPE, FORM.parse().unwrap());
            assert!(!has_type(&headers, FORM), "two headers");
        }
        assert!(!has_type(&HeaderMap::new(), FORM));
    }
}
