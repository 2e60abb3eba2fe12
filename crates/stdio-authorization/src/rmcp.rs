//! rmcp servers in this process, behind the wrapper (feature `rmcp`).

use std::io;

use async_trait::async_trait;
use doorward_types::secret::Secret;
use rmcp::{ServerHandler, ServiceExt as _};
use tokio::io::split;
use tokio::task::JoinHandle;

use crate::run::{Pipes, Server};

/// Bytes between the wrapper and the service.
const ROOM: usize = 256 * 1024;

/// An rmcp service as the server behind the wrapper. With [`Hand::Meta`](crate::Hand::Meta) its handlers find the verified token of
/// each request in the request's `_meta`, under [`TOKEN`](crate::TOKEN).
pub struct Service<H> {
    handler: H,
    running: Option<JoinHandle<()>>,
}

impl<H> Service<H> {
    /// Nothing runs yet.
    pub const fn new(handler: H) -> Self {
        Self {
            handler,
            running: None,
        }
    }
}

impl<H> Drop for Service<H> {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

#[async_trait]
impl<H: ServerHandler + Clone> Server for Service<H> {
    async fn start(&mut self, _: Option<&Secret>) -> io::Result<Pipes> {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        let (ours, theirs) = tokio::io::duplex(ROOM);
        let handler = self.handler.clone();
        self.running = Some(tokio::spawn(async move {
            match handler.serve(theirs).await {
                Ok(service) => {
                    let _ended = service.waiting().await;
                }
                Err(error) => tracing::warn!(%error, "stdio: the service did not start"),
            }
        }));
        let (output, input) = split(ours);
        Ok(Pipes {
            input: Box::new(input),
            output: Box::new(output),
        })
    }
}
