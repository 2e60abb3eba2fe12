//! One GET over one connection that is made for it.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use url::{Position, Url};

use crate::connect::{TlsRoots, connect, dial};
use crate::{FetchError, Fetched, freshness};

/// The most that is read of a document, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// The most that is read of an answer's head.
const MAX_HEAD: usize = 16 * 1024;

/// Fetches `url` from one of `addresses`, which were judged. Time limits are the caller's.
pub(crate) async fn get(roots: &TlsRoots, url: &Url, addresses: &[IpAddr]) -> Result<Fetched, FetchError> {
    exchange(roots, url, addresses, request(url)?).await
}

/// Sends `request` to `url` at one of `addresses`. Without TLS only where the scheme says so, which the caller admits
/// for loopback alone.
pub(crate) async fn exchange(
    roots: &TlsRoots,
    url: &Url,
    addresses: &[IpAddr],
    request: Request<Full<Bytes>>,
) -> Result<Fetched, FetchError> {
    let host = url.host_str().ok_or(FetchError::NotHttps)?;
    let port = url.port_or_known_default().ok_or(FetchError::NotHttps)?;
    if url.scheme() == "http" {
        return talk(dial(addresses, port).await?, request).await;
    }
    talk(connect(roots, host, addresses, port).await?, request).await
}

async fn talk<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| FetchError::Broken)?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|_| FetchError::Broken)?;
        read(response).await
    };
    // Both end with this future: when the time is up nothing of the connection remains.
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        fetched = &mut exchange => fetched,
        _ = &mut connection => exchange.await,
    }
}

/// Nothing in it comes from who asks: no cookie, no token, no forwarded address (RG-14).
fn request(url: &Url) -> Result<Request<Full<Bytes>>, FetchError> {
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let mut request = Request::new(Full::default());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url[Position::BeforePath..Position::AfterQuery]
        .parse()
        .map_err(|_| FetchError::NotHttps)?;
    let headers = request.headers_mut();
    headers.insert(
        HOST,
        HeaderValue::from_str(host).map_err(|_| FetchError::NotHttps)?,
    );
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("doorward/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// A form for an endpoint that wants to know who asks (RFC 7662 §2.1).
pub(crate) fn form(
    url: &Url,
    authorization: HeaderValue,
    form: String,
) -> Result<Request<Full<Bytes>>, FetchError> {
    let mut request = request(url)?;
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    *request.body_mut() = Full::from(form);
    Ok(request)
}

async fn read(response: Response<Incoming>) -> Result<Fetched, FetchError> {
    judge_head(response.status(), response.headers())?;
    let fresh_for = freshness::of(response.headers());
    let mut body = response.into_body();
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(FetchError::TooLong);
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| FetchError::Broken)?;
        if let Some(data) = frame.data_ref() {
            if bytes.len().saturating_add(data.len()) > MAX_BODY {
                return Err(FetchError::TooLong);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(Fetched {
        body: bytes.freeze(),
        fresh_for,
    })
}

fn judge_head(status: StatusCode, headers: &HeaderMap) -> Result<(), FetchError> {
    if status.is_redirection() {
        return Err(FetchError::Redirect(status.as_u16()));
    }
    if status != StatusCode::OK {
        return Err(FetchError::Status(status.as_u16()));
    }
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        return Err(FetchError::Encoded);
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next().and_then(|value| value.to_str().ok()), types.next()) {
        (Some(only), None) if is_json(only) => Ok(()),
        _ => Err(FetchError::ContentType),
    }
}

/// `application/json` or `application/…+json`, in UTF-8 if a character set is named.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = essence == "application/json"
        || essence
            .strip_prefix("application/")
            .is_some_and(|subtype| subtype.ends_with("+json"));
    json && parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rg_14_a_request_says_nothing_about_who_asks() {
        let url = Url::parse("https://app.example:8443/oauth/client.json?v=1").unwrap();
        let request = request(&url).unwrap();
        assert_eq!(
            (request.method(), request.uri().to_string().as_str()),
            (&Method::GET, "/oauth/client.json?v=1")
        );
        let mut names: Vec<&str> = request.headers().keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["accept", "accept-encoding", "connection", "host", "user-agent"]
        );
        assert_eq!(request.headers()["host"], "app.example:8443");
    }

    #[test]
    fn rg_08_rg_12_only_a_plain_json_200_is_read() {
        let head = |status: u16, lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            judge_head(StatusCode::from_u16(status).unwrap(), &headers)
        };
        let json = ("content-type", "application/json");
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/cimd+json",
            "application/json; charset=\"utf-8\"; v=1",
        ] {
            assert_eq!(head(200, &[("content-type", good)]), Ok(()), "{good}");
        }
        for status in [301, 302, 303, 307, 308, 300] {
            assert_eq!(head(status, &[json]), Err(FetchError::Redirect(status)));
        }
        for status in [201, 204, 206, 401, 404, 500] {
            assert_eq!(head(status, &[json]), Err(FetchError::Status(status)));
        }
        for encoding in ["gzip", "br", "identity, gzip", "x"] {
            assert_eq!(
                head(200, &[json, ("content-encoding", encoding)]),
                Err(FetchError::Encoded)
            );
        }
        for bad in [
            &[][..],
            &[("content-type", "text/html")],
            &[("content-type", "text/plain")],
            &[("content-type", "application/jsonx")],
            &[("content-type", "application/json; charset=utf-16")],
            &[json, json],
        ] {
            assert_eq!(head(200, bad), Err(FetchError::ContentType), "{bad:?}");
        }
    }
}
