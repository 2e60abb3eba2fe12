//! Sessions of the revisions before 2026-07-28, bounded.
//!
//! rmcp ends a session after five idle minutes but puts no limit on how many there are. Here the oldest one
//! makes room for a new one beyond [`MAX_SESSIONS`]; its client is answered 404 and starts anew, as the
//! specification has it (2025-11-25, Streamable HTTP, Session Management).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::common::server_side_http::ServerSseMessage;
use rmcp::transport::streamable_http_server::SessionId;
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;

/// Most sessions at one time.
pub const MAX_SESSIONS: usize = 1_000;

/// rmcp's sessions in memory, at most [`MAX_SESSIONS`] of them.
#[derive(Debug, Default)]
pub struct BoundedSessions {
    sessions: LocalSessionManager,
    oldest_first: Mutex<VecDeque<SessionId>>,
}

impl BoundedSessions {
    /// Notes a new session and says which one has to go for it.
    fn admit(&self, id: SessionId) -> Option<SessionId> {
        let mut queue = self.oldest_first.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(id);
        (queue.len() > MAX_SESSIONS).then(|| queue.pop_front()).flatten()
    }

    fn forget(&self, id: &SessionId) {
        let mut queue = self.oldest_first.lock().unwrap_or_else(PoisonError::into_inner);
        queue.retain(|other| other != id);
    }
}

impl SessionManager for BoundedSessions {
    type Error = <LocalSessionManager as SessionManager>::Error;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let (id, transport) = self.sessions.create_session().await?;
        if let Some(oldest) = self.admit(Arc::clone(&id)) {
            self.sessions.close_session(&oldest).await?;
        }
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        self.sessions.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        self.sessions.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        self.forget(id);
        self.sessions.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.sessions.create_stream(id, message).await
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), Self::Error> {
        self.sessions.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.sessions.create_standalone_stream(id).await
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.sessions.resume(id, last_event_id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_session_makes_room() {
        let sessions = BoundedSessions::default();
        let (first, _transport) = sessions.create_session().await.unwrap();
        let mut transports = Vec::new();
        for _ in 1..MAX_SESSIONS {
            transports.push(sessions.create_session().await.unwrap());
        }
        assert!(sessions.has_session(&first).await.unwrap());
        transports.push(sessions.create_session().await.unwrap());
        assert!(!sessions.has_session(&first).await.unwrap());
        assert_eq!(sessions.sessions.sessions.read().await.len(), MAX_SESSIONS);
    }

    #[tokio::test]
    async fn a_closed_session_leaves_its_place() {
        let sessions = BoundedSessions::default();
        let (first, _transport) = sessions.create_session().await.unwrap();
        sessions.close_session(&first).await.unwrap();
        assert!(sessions.oldest_first.lock().unwrap().is_empty());
    }
}
