//! Why a message was not sent.

use doorward_outbound::ClientError as NetworkError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

/// What ends a request, beside what rmcp has words for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no token, or the server refuses it for good. The words name hop, document, rule and remedy.
    #[error("{0}")]
    Authorization(Box<doorward_client::error::Error>),
    /// The server cannot be reached, or its answer not be read.
    #[error("{0}")]
    Network(#[from] NetworkError),
    /// The transport was configured for another server than the authorizer: its tokens are not for that one.
    #[error("the transport's uri is not the server that this client is authorized for")]
    OtherServer,
    /// A message or header that cannot be written.
    #[error("the request cannot be written: {0}")]
    Unwritable(String),
}

impl From<doorward_client::error::Error> for ClientError {
    fn from(error: doorward_client::error::Error) -> Self {
        Self::Authorization(Box::new(error))
    }
}

impl From<ClientError> for StreamableHttpError<ClientError> {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}
