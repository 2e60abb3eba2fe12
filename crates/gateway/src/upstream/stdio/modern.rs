//! 2026-07-28: no sessions, one process for all calls of a user.

use std::sync::Arc;

use doorward_mcp::{Action, Call};
use doorward_process::Process;
use doorward_types::id::UserId;
use http::{Response, StatusCode};

use super::answer;
use super::conversation::Conversation;
use super::failure::StdioFailure;
use super::pool::{Pool, Shared, Speaks};
use super::probe::{self, Found};
use super::state::Era;
use crate::body::UpstreamBody;
use crate::refuse::Failure;

pub(super) async fn send(
    pool: &Arc<Pool>,
    call: Call,
    user: UserId,
) -> Result<Response<UpstreamBody>, Failure> {
    if call.action() != Action::Request {
        // 2026-07-28, Streamable HTTP, "Sending Messages": clients have no notifications here, not even
        // cancellations: an id is one of many clients' that share a process.
        return Ok(answer::status(StatusCode::ACCEPTED));
    }
    let conversation = conversation(pool, user).await?;
    let answer = conversation.call(call, pool.settings.answer_timeout).await?;
    let answer = answer.ok_or(StdioFailure::NotTaken)?;
    Ok(answer.into_response())
}

async fn conversation(pool: &Arc<Pool>, user: UserId) -> Result<Arc<Conversation>, StdioFailure> {
    if let Some(Speaks::Legacy { versions, .. }) = pool.speaks() {
        return Err(StdioFailure::Version { supported: versions });
    }
    let start = {
        let pool = Arc::clone(pool);
        async move { start(&pool, user).await }
    };
    let mut started = match pool.shared(user, start)? {
        Shared::Running(conversation) => return Ok(conversation),
        Shared::Starting(started) => started,
    };
    let started = started.wait_for(Option::is_some).await;
    let started = started.ok().and_then(|started| started.clone());
    started.unwrap_or(Err(StdioFailure::NotStarted))
}

/// Starts the user's process, and finds out what the command speaks if that is not known.
async fn start(pool: &Arc<Pool>, user: UserId) -> Result<Arc<Conversation>, StdioFailure> {
    let (seat, mut process) = pool.launch(user).await?;
    if pool.speaks().is_none() {
        let found = match probe::discover(&mut process, pool.settings.start_timeout).await {
            Err(probe::Error::Died { .. }) => {
                // Some legacy servers end at anything that comes before `initialize`.
                gone(process).await;
                process = relaunch(pool, user).await?;
                probe::initialize(&mut process, pool.settings.start_timeout).await
            }
            found => found,
        };
        match found {
            Ok(Found::Modern { untouched }) => {
                pool.learn_modern();
                if !untouched {
                    // It may have taken the `initialize` for the beginning of a legacy session.
                    gone(process).await;
                    process = relaunch(pool, user).await?;
                }
            }
            Ok(Found::Legacy { versions }) => {
                gone(process).await;
                pool.learn_legacy(versions.clone());
                return Err(StdioFailure::Version { supported: versions });
            }
            Err(error) => {
                gone(process).await;
                let failure = error.into();
                if failure != StdioFailure::NotReady {
                    pool.rest(user);
                }
                return Err(failure);
            }
        }
    }
    Ok(Conversation::begin(pool, Era::Modern, seat, process))
}

/// Another process on the same seat.
async fn relaunch(pool: &Arc<Pool>, user: UserId) -> Result<Process, StdioFailure> {
    pool.start(user).await
}

/// Stops a process and reads it empty until it is gone.
async fn gone(mut process: Process) {
    process.control.stop();
    drop(process.input);
    while let Some(Ok(_)) = process.output.next().await {}
    process.control.exited().await;
}
