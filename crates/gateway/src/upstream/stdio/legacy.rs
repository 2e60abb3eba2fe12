//! Revisions with `initialize`: one process per session (2025-11-25, Streamable HTTP, "Session Management").

use std::sync::Arc;
use std::time::Duration;

use doorward_mcp::{Action, Call, Rewrite, Summary};
use doorward_types::id::UserId;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::answer::{self, Answer};
use super::conversation::Conversation;
use super::failure::StdioFailure;
use super::pool::Pool;
use super::state::{Era, Over};
use crate::body::UpstreamBody;
use crate::refuse::Failure;
use crate::relay;

/// How long a process that takes no input may take to show why.
const GOODBYE: Duration = Duration::from_secs(2);

pub(super) async fn send(
    pool: &Arc<Pool>,
    call: Call,
    headers: &HeaderMap,
    user: UserId,
) -> Result<Response<UpstreamBody>, Failure> {
    let Some(id) = headers.get(relay::SESSION_ID) else {
        if call.action() == Action::Request && call.method() == Some("initialize") {
            return open(pool, call, user).await;
        }
        return Err(StdioFailure::NoSession.into());
    };
    let conversation = id.to_str().ok().and_then(|id| pool.session(id, user));
    let conversation = conversation.ok_or(Failure::Session)?;
    match call.action() {
        Action::Request => {
            let answer = conversation.call(call, pool.settings.answer_timeout).await?;
            answer.map(Answer::into_response).ok_or(Failure::Session)
        }
        Action::Notification => notify(&conversation, call).await,
        Action::Response => reply(&conversation, call).await,
        Action::OpenStream => {
            let events = conversation.listen().ok_or(Failure::Session)?;
            Ok(events.into_response())
        }
        Action::EndSession => {
            conversation.end(Over::Closed);
            Ok(answer::status(StatusCode::NO_CONTENT))
        }
    }
}

/// A session that nobody knows of yet: it ends with the call that opens it.
struct Opening(Option<Arc<Conversation>>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(conversation) = self.0.take() {
            conversation.end(Over::Abandoned);
        }
    }
}

async fn open(pool: &Arc<Pool>, call: Call, user: UserId) -> Result<Response<UpstreamBody>, Failure> {
    let (seat, process) = pool.launch(user).await?;
    let conversation = Conversation::begin(pool, Era::Legacy, seat, process);
    let mut opening = Opening(Some(Arc::clone(&conversation)));
    let answer = match conversation.call(call, pool.settings.start_timeout).await {
        Err(StdioFailure::TimedOut) => return Err(StdioFailure::NotReady.into()),
        // Nothing took effect that anybody could see.
        Err(StdioFailure::Ended) | Ok(None) => {
            // It may have taken no input; what it wrote instead says more.
            let _: Result<(), Elapsed> = timeout(GOODBYE, conversation.gone()).await;
            return Err(conversation.start_failure().into());
        }
        answer => answer?,
    };
    let opened = !matches!(answer, Some(Answer::Whole { is_error: true, .. }));
    let mut response = answer.map(Answer::into_response).ok_or(Failure::Session)?;
    if opened {
        let id = pool.open_session(&conversation);
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert(relay::SESSION_ID, id);
        }
        opening.0 = None;
    }
    Ok(response)
}

async fn notify(conversation: &Conversation, call: Call) -> Result<Response<UpstreamBody>, Failure> {
    let mut cancelled = None;
    if call.method() == Some("notifications/cancelled") {
        let number =
            Summary::cancelled_request(&call).and_then(|id| conversation.state().cancel(id, Instant::now()));
        let Some(number) = number else {
            // 2025-11-25, Cancellation: unknown and finished requests are ignored.
            return Ok(answer::status(StatusCode::ACCEPTED));
        };
        cancelled = Some(number.to_string());
    }
    let rewrite = Rewrite {
        cancelled_request: cancelled.as_deref(),
        ..Rewrite::default()
    };
    pass(conversation, call, &rewrite).await
}

/// Only what was asked is answered: a client cannot answer for another one, nor twice.
async fn reply(conversation: &Conversation, call: Call) -> Result<Response<UpstreamBody>, Failure> {
    let asked = call.id().is_some_and(|id| conversation.state().reply(id));
    if !asked {
        return Ok(answer::status(StatusCode::ACCEPTED));
    }
    pass(conversation, call, &Rewrite::default()).await
}

async fn pass(
    conversation: &Conversation,
    call: Call,
    rewrite: &Rewrite<'_>,
) -> Result<Response<UpstreamBody>, Failure> {
    match conversation.tell_for_client(call, rewrite).await? {
        true => Ok(answer::status(StatusCode::ACCEPTED)),
        false => Err(Failure::Session),
    }
}
