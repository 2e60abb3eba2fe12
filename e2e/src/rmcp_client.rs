//! A client made with rmcp, as the scripts in `e2e/clients` are made with other SDKs: connects (logging in if
//! it has to), lists the tools, makes the calls it is asked for, and prints what it saw as one line of JSON.
//!
//! usage: rmcp-client URL STORE [--discover]
//!   --discover   speak 2026-07-28, beginning with `server/discover`
//! environment: `E2E_CALLS`, `E2E_STEP_UP` (see `e2e/clients/run.mjs`); `BROWSER`, which is sent the
//! authorization URL

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResult, ProtocolVersion};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthError, AuthorizationCallback, AuthorizationManager, AuthorizationRequest,
    AuthorizationSession, CredentialStore, StoredCredentials,
};
use rmcp::transport::streamable_http_client::{InsufficientScopeError, StreamableHttpClientTransportConfig};
use rmcp::{ClientLifecycleMode, ClientServiceExt, RoleClient, ServiceError};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

type Failure = Box<dyn Error + Send + Sync>;

/// Longest wait for the person at the browser.
const DEADLINE: Duration = Duration::from_secs(100);

/// Keeps everything in one JSON file, as a desktop client keeps its tokens.
struct FileStore(PathBuf);

#[async_trait::async_trait]
impl CredentialStore for FileStore {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        Ok(std::fs::read(&self.0)
            .ok()
            .and_then(|stored| serde_json::from_slice(&stored).ok()))
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let text = serde_json::to_vec(&credentials)
            .map_err(|error| AuthError::CredentialStoreError(error.to_string()))?;
        std::fs::write(&self.0, text).map_err(|error| AuthError::CredentialStoreError(error.to_string()))
    }

    async fn clear(&self) -> Result<(), AuthError> {
        let _ = std::fs::remove_file(&self.0);
        Ok(())
    }
}

/// The listener on a random loopback port that the browser comes back to.
struct Callback(TcpListener);

impl Callback {
    fn uri(&self) -> Result<String, Failure> {
        Ok(format!(
            "http://127.0.0.1:{}/callback",
            self.0.local_addr()?.port()
        ))
    }

    /// Sends the browser to `url` and waits until it comes back.
    async fn login(&self, url: &str) -> Result<AuthorizationCallback, Failure> {
        let browser = std::env::var("BROWSER")?;
        tokio::process::Command::new(browser).arg(url).status().await?;
        let target = tokio::time::timeout(DEADLINE, self.arrival()).await??;
        Ok(AuthorizationCallback::from_redirect_url(&format!(
            "http://127.0.0.1{target}"
        ))?)
    }

    async fn arrival(&self) -> Result<String, Failure> {
        let (mut socket, _) = self.0.accept().await?;
        let (reading, mut writing) = socket.split();
        let mut lines = BufReader::new(reading).lines();
        let first = lines.next_line().await?.ok_or("the browser says nothing")?;
        while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
        writing
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await?;
        Ok(first.split(' ').nth(1).ok_or("a request line")?.to_owned())
    }
}

struct Program {
    url: String,
    store: PathBuf,
    discover: bool,
    callback: Callback,
}

type Http = AuthClient<reqwest::Client>;

impl Program {
    async fn manager(&self) -> Result<AuthorizationManager, Failure> {
        let mut manager = AuthorizationManager::new(self.url.as_str()).await?;
        manager.set_credential_store(FileStore(self.store.clone()));
        Ok(manager)
    }

    async fn connect(
        &self,
        http: Http,
    ) -> Result<RunningService<RoleClient, ()>, rmcp::service::ClientInitializeError> {
        let config = StreamableHttpClientTransportConfig::with_uri(self.url.as_str());
        let transport = StreamableHttpClientTransport::with_client(http, config);
        let lifecycle = if self.discover {
            ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            }
        } else {
            ClientLifecycleMode::Initialize
        };
        ().serve_with_lifecycle(transport, lifecycle).await
    }

    /// Connects with what is stored, else after a login that the server's challenge begins.
    async fn connected(&self) -> Result<(Http, RunningService<RoleClient, ()>), Failure> {
        let mut manager = self.manager().await?;
        manager.initialize_from_store().await?;
        let http = AuthClient::new(reqwest::Client::new(), manager);
        let refused = match self.connect(http.clone()).await {
            Ok(running) => return Ok((http, running)),
            Err(refused) => refused,
        };
        let challenge = refused.auth_challenge().map(str::to_owned);
        let Some(challenge) = challenge else {
            return Err(refused.into());
        };
        let mut manager = self.manager().await?;
        let found = manager.resolve_metadata_from_challenge(Some(&challenge)).await?;
        manager.set_metadata(found.metadata);
        let request = AuthorizationRequest::new(self.callback.uri()?)
            .with_client_name("Doorward e2e client")
            .with_initial_scope_selection();
        let session = AuthorizationSession::new(manager, request)
            .await
            .map_err(|(_, error)| error)?;
        let back = self.callback.login(session.get_authorization_url()).await?;
        session
            .handle_callback_with_issuer(&back.code, &back.csrf_token, back.issuer.as_deref())
            .await?;
        let http = AuthClient::new(reqwest::Client::new(), session.auth_manager);
        let running = self.connect(http.clone()).await?;
        Ok((http, running))
    }

    /// Calls a tool; once per call, asks for the scopes that the server says it lacks.
    async fn call(
        &self,
        http: &Http,
        running: &RunningService<RoleClient, ()>,
        call: &CallToolRequestParams,
    ) -> Result<CallToolResult, Failure> {
        let refused = match running.call_tool(call.clone()).await {
            Ok(result) => return Ok(result),
            Err(refused) => refused,
        };
        let Some(scope) = lacking(&refused) else {
            return Err(refused.into());
        };
        let manager = http.auth_manager.lock().await;
        let url = manager.request_scope_upgrade(&scope).await?;
        let back = self.callback.login(&url).await?;
        manager
            .exchange_code_for_token_with_issuer(&back.code, &back.csrf_token, back.issuer.as_deref())
            .await?;
        drop(manager);
        Ok(running.call_tool(call.clone()).await?)
    }
}

/// The scopes of a challenge for more of them.
fn lacking(refused: &ServiceError) -> Option<String> {
    let ServiceError::TransportSend(error) = refused else {
        return None;
    };
    let mut source: Option<&(dyn Error + 'static)> = Some(error.error.as_ref());
    while let Some(current) = source {
        if let Some(insufficient) = current.downcast_ref::<InsufficientScopeError>() {
            return insufficient.required_scope.clone();
        }
        source = current.source();
    }
    None
}

/// An error with what caused it, as programs print them.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(current) = source {
        text.push_str(": ");
        text.push_str(&current.to_string());
        source = current.source();
    }
    text
}

/// A result as it was on the wire.
fn plain(result: &CallToolResult) -> Result<Value, Failure> {
    let whole = serde_json::to_value(result)?;
    let kept = ["content", "structuredContent"].into_iter();
    Ok(kept
        .filter_map(|name| Some((name.to_owned(), whole.get(name)?.clone())))
        .collect::<serde_json::Map<_, _>>()
        .into())
}

async fn run() -> Result<(), Failure> {
    let mut words_given = std::env::args().skip(1);
    let url = words_given.next().ok_or("usage: rmcp-client URL STORE")?;
    let store = words_given.next().ok_or("usage: rmcp-client URL STORE")?.into();
    let program = Program {
        url,
        store,
        discover: words_given.next().is_some(),
        callback: Callback(TcpListener::bind("127.0.0.1:0").await?),
    };
    let (http, running) = program.connected().await?;
    let protocol = if program.discover {
        ProtocolVersion::V_2026_07_28.to_string()
    } else {
        running
            .peer_info()
            .ok_or("it was initialized")?
            .protocol_version
            .to_string()
    };
    let mut tools: Vec<String> = running
        .list_all_tools()
        .await?
        .into_iter()
        .map(|tool| tool.name.into_owned())
        .collect();
    tools.sort();
    let reports_errors = std::env::var_os("E2E_STEP_UP").is_some();
    let calls: Vec<(String, Value)> = serde_json::from_str(&std::env::var("E2E_CALLS")?)?;
    let mut answers = Vec::new();
    for (name, arguments) in calls {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let call = CallToolRequestParams::new(name).with_arguments(arguments);
        match program.call(&http, &running, &call).await {
            Ok(result) => answers.push(plain(&result)?),
            Err(error) if reports_errors => answers.push(json!({ "error": words(error.as_ref()) })),
            Err(error) => return Err(error),
        }
    }
    running.cancel().await?;
    println!(
        "{}",
        json!({ "protocol": protocol, "tools": tools, "answers": answers })
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run().await
}
