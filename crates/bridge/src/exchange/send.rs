//! Sending one request until it is authorized, refused for good, or does not get through.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use doorward_client::authorizer::{Attempt, Authorizer};
use doorward_mcp::headers::SESSION_ID;
use http::header::{LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{Exchanges, failed};
use crate::event::{Outcome, Refused};
use crate::failure::Failure;
use crate::http::{Answer, Body};

/// How often one message is sent again because of authorization (a nonce, a login, more scopes).
const TRIES: u8 = 3;
/// The waits before a connection that could not be made is tried again: a server that is being restarted is back soon.
const CONNECT_AGAIN: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(750),
    Duration::from_secs(2),
];
/// The same for a server that never answered: most likely it is not there, and the host wants to know.
const CONNECT_FIRST: [Duration; 1] = [Duration::from_millis(100)];
/// The most that is read of a refusal, and for how long: the host waits for it.
const REFUSAL: (usize, Duration) = (64 << 10, Duration::from_secs(5));
/// The same of what answers a message that has no answer, so that its connection can be used again.
pub(super) const ACCEPTED: (usize, Duration) = (4096, Duration::from_secs(1));

/// A request without authorization.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
    pub(super) operation: &'a str,
    /// See [`Post::is_modern`](crate::event::Post::is_modern).
    pub(super) is_modern: bool,
}

impl Exchanges {
    /// The answer, if its status is one of success.
    pub(super) async fn send(&self, asked: &Asked<'_>) -> Result<Answer, Outcome> {
        let mut refusals = 0;
        loop {
            let (answer, sent) = self.reach(asked).await?;
            let status = answer.status;
            if let Some(authorizer) = &self.authorizer
                && asks_for_authorization(status, &answer.headers)
            {
                refusals += 1;
                if refusals > TRIES {
                    let words = format!(
                        "not authorized: the server refused `{}` {refusals} times, whatever token it was given",
                        asked.operation
                    );
                    return Err(Outcome::Failed(Failure::given_up(status.as_u16(), words)));
                }
                if asked.is_modern {
                    authorizer.is_modern();
                }
                let headers = answer.headers.clone();
                // A login takes minutes; the connection must not wait for it.
                drop(answer);
                tracing::debug!(%status, operation = asked.operation, refusals, "the server asks for authorization");
                let refusal = Refusal {
                    status,
                    headers,
                    sent,
                    operation: asked.operation.to_owned(),
                    tries: refusals,
                };
                self.authorize(authorizer, refusal).await?;
                continue;
            }
            if let Some(authorizer) = &self.authorizer {
                authorizer.answered(&answer.headers);
                if status.is_success() {
                    authorizer.succeeded(asked.operation);
                }
            }
            if status.is_success() {
                return Ok(answer);
            }
            if status.is_redirection() {
                return Err(Outcome::Failed(redirected(asked.url, &answer)));
            }
            return Err(Outcome::Refused(read_refusal(answer).await));
        }
    }

    /// The head of the answer, and the headers of authorization that the request went with.
    async fn reach(&self, asked: &Asked<'_>) -> Result<(Answer, HeaderMap), Outcome> {
        let known = self.reached.load(Ordering::Relaxed);
        let mut again = if known {
            &CONNECT_AGAIN[..]
        } else {
            &CONNECT_FIRST[..]
        }
        .iter();
        loop {
            let Authorized {
                request,
                headers: sent,
                login,
            } = self.request(asked).await?;
            let error = match self.http.send(request).await {
                Ok(answer) => {
                    self.reached.store(true, Ordering::Relaxed);
                    if self.settings.cookies {
                        self.cookies.note(&answer.headers, login);
                    }
                    if let Some(session) = answer.headers.get(SESSION_ID) {
                        self.session.named(session, login);
                    }
                    return Ok((answer, sent));
                }
                Err(error) => error,
            };
            if error.maybe_processed {
                let words = format!(
                    "the connection to the server broke before it answered: {error}. The request is not sent again, since the server may have acted on it"
                );
                return Err(failed(502, words));
            }
            let Some(delay) = again.next() else {
                return Err(failed(503, format!("the server cannot be reached: {error}")));
            };
            tracing::debug!(%error, "the server cannot be reached: it is tried again");
            tokio::time::sleep(*delay).await;
        }
    }

    /// A request with the user's headers and with authorization.
    pub(super) async fn request(&self, asked: &Asked<'_>) -> Result<Authorized, Outcome> {
        let mut request = Request::new(asked.body.clone());
        *request.method_mut() = asked.method.clone();
        *request.uri_mut() = asked
            .url
            .as_str()
            .parse()
            .map_err(|_| failed(400, "the server's URL fits no HTTP request"))?;
        let mut headers = self.settings.headers.clone();
        // What the protocol needs is not the user's to replace.
        headers.extend(asked.headers.clone());
        let mut authorization = HeaderMap::new();
        let mut login = None;
        if let Some(authorizer) = &self.authorizer {
            let (authorizer, method, url) = (Arc::clone(authorizer), asked.method.clone(), asked.url.clone());
            authorization = self
                .undisturbed(async move { authorizer.headers(&method, &url).await })
                .await?
                .map_err(|error| Outcome::Failed(Failure::unauthorized(401, &error)))?;
            headers.extend(authorization.clone());
            // Asked for afterwards: it may be that of a later token, never that of an earlier one.
            let logins = self.authorizer.as_ref().map(|authorizer| authorizer.logins());
            login = logins.filter(|_| !authorization.is_empty());
        }
        if let Some(session) = asked.headers.get(SESSION_ID)
            && !self.session.accepts(session, login)
        {
            tracing::debug!("somebody logged in anew: the session of the one before is not used");
            return Err(Outcome::Refused(Refused {
                status: StatusCode::NOT_FOUND,
                body: Bytes::new(),
                retry_after: None,
            }));
        }
        if self.settings.cookies {
            self.cookies.add(&mut headers, login);
        }
        *request.headers_mut() = headers;
        Ok(Authorized {
            request,
            headers: authorization,
            login,
        })
    }
}

/// A request that can be sent.
pub(super) struct Authorized {
    pub(super) request: Request<Bytes>,
    /// What the authorizer gave.
    headers: HeaderMap,
    /// Which login the token is of, if there is one.
    login: Option<u64>,
}

/// An answer that asks for authorization.
struct Refusal {
    status: StatusCode,
    headers: HeaderMap,
    sent: HeaderMap,
    operation: String,
    tries: u8,
}

/// What became of the last refusals, for those that waited for their turn meanwhile.
#[derive(Debug, Default)]
pub(super) struct Turn {
    failures: u64,
    last: Option<Failure>,
}

impl Exchanges {
    /// Has done what a refusal asks for. One at a time, and whoever is cancelled while it waits for its turn is not asked for:
    /// each would put a page of its own in front of the person, long after anybody wanted something. Who waited in vain for
    /// the login of another does not begin the next one.
    async fn authorize(&self, authorizer: &Arc<dyn Authorizer>, refusal: Refusal) -> Result<(), Outcome> {
        let before = self.failed_logins.load(Ordering::Relaxed);
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let is_login = refusal.status == StatusCode::UNAUTHORIZED;
        if is_login
            && turn.failures != before
            && let Some(failure) = &turn.last
        {
            return Err(Outcome::Failed(failure.clone()));
        }
        let (authorizer, failed_logins) = (Arc::clone(authorizer), Arc::clone(&self.failed_logins));
        let done = self.undisturbed(async move {
            let mut turn = turn;
            let attempt = Attempt {
                status: refusal.status,
                headers: &refusal.headers,
                sent: &refusal.sent,
                operation: &refusal.operation,
                tries: refusal.tries,
            };
            let done = authorizer.refused(attempt).await;
            done.map_err(|error| {
                let failure = Failure::unauthorized(refusal.status.as_u16(), &error);
                // For a sign of life nobody was asked.
                if is_login && failure.for_want_of_login && refusal.operation != "ping" {
                    turn.failures += 1;
                    turn.last = Some(failure.clone());
                    failed_logins.store(turn.failures, Ordering::Relaxed);
                }
                Outcome::Failed(failure)
            })
        });
        done.await?
    }

    /// Runs to its end even if the exchange is cancelled that began it: a login may be the one that others wait for, and a
    /// renewal that is dropped midway loses the refresh token that the server has just handed out. It ends with the bridge.
    async fn undisturbed<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Outcome> {
        let mut open = self.open.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                done = work => Some(done),
                _ = open.changed() => None,
            }
        });
        let done = task.await.ok().flatten();
        done.ok_or_else(|| failed(503, "the bridge is ending"))
    }
}

/// A 401 always does; a 403 or 400 if it says how (RFC 6750 §3.1). Other refusals are the server's last word.
fn asks_for_authorization(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => headers.contains_key(WWW_AUTHENTICATE),
        _ => false,
    }
}

/// Followed, a redirect would take the token to wherever the server says (CL-09, RFC 9700 §4.9).
fn redirected(url: &Url, answer: &Answer) -> Failure {
    let target = answer
        .headers
        .get(LOCATION)
        .and_then(|target| target.to_str().ok());
    let target = target.and_then(|target| url.join(target).ok());
    let to = target.map_or_else(
        || "elsewhere".to_owned(),
        |mut target| {
            // A query may hold what is not for the screen.
            target.set_query(None);
            target.set_fragment(None);
            let _: Result<(), ()> = target.set_username("");
            let _: Result<(), ()> = target.set_password(None);
            target.to_string()
        },
    );
    let status = answer.status;
    Failure::new(
        status.as_u16().into(),
        format!(
            "the server answered {status} and points to {to}: redirects are not followed, since they would take the token along. If you trust that address, give it instead"
        ),
    )
}

async fn read_refusal(answer: Answer) -> Refused {
    let retry_after = answer
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Refused {
        status: answer.status,
        body: read_some(answer.body, REFUSAL).await,
        retry_after,
    }
}

/// The beginning of a body, as far as it comes in that time.
pub(super) async fn read_some(mut body: Box<dyn Body>, (most, longest): (usize, Duration)) -> Bytes {
    let mut read = BytesMut::new();
    let end = Instant::now() + longest;
    while let Ok(Some(Ok(piece))) = timeout_at(end, body.next()).await {
        let room = most.saturating_sub(read.len());
        read.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if read.len() >= most {
            break;
        }
    }
    read.freeze()
}

#[cfg(test)]
mod tests;
