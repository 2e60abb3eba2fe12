//! A host in front of the bridge, both in this process.

use std::sync::Arc;
use std::time::Duration;

use doorward_bridge::era;
use doorward_bridge::failure::Failure;
use doorward_bridge::network::Network;
use doorward_bridge::settings::Settings;
use doorward_bridge::{Parts, run};
use doorward_client::authorizer::Authorizer;
use doorward_outbound::{ClientOptions, GuardedClient, TlsRoots};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Host {
    input: Option<WriteHalf<DuplexStream>>,
    output: Lines<BufReader<ReadHalf<DuplexStream>>>,
    stop: Option<oneshot::Sender<()>>,
    bridge: JoinHandle<Option<Failure>>,
}

impl Host {
    pub(crate) fn start(settings: Settings) -> Self {
        Self::authorized(settings, None)
    }

    pub(crate) fn authorized(settings: Settings, authorizer: Option<Arc<dyn Authorizer>>) -> Self {
        let client = GuardedClient::new(ClientOptions::new(TlsRoots::new(&[]).unwrap()));
        let parts = Parts {
            settings,
            http: Arc::new(Network::new(client)),
            authorizer,
            era: era::Settings {
                server_name: "127.0.0.1".into(),
                client_name: "doorward".into(),
                client_version: "0".into(),
                nonce: "test".into(),
            },
        };
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (read, write) = tokio::io::split(theirs);
        let (stop, stopped) = oneshot::channel::<()>();
        let bridge = tokio::spawn(run(parts, read, write, async {
            let _ = stopped.await;
        }));
        let (output, input) = tokio::io::split(ours);
        Self {
            input: Some(input),
            output: BufReader::new(output).lines(),
            stop: Some(stop),
            bridge,
        }
    }

    pub(crate) async fn write(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(line.as_bytes()).await.unwrap();
        input.write_all(b"\n").await.unwrap();
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.write(&message.to_string()).await;
    }

    /// The next line as it is.
    pub(crate) async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
        line.expect("a line in time").unwrap().expect("a line")
    }

    /// The next line, which has to be one message.
    pub(crate) async fn message(&mut self) -> Value {
        let line = self.line().await;
        let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert_eq!(value["jsonrpc"], "2.0", "{line}");
        value
    }

    pub(crate) async fn call(&mut self, message: &Value) -> Value {
        self.send(message).await;
        self.message().await
    }

    /// `initialize` and what follows it.
    pub(crate) async fn open(&mut self) -> Value {
        let answer = self.call(&initialize()).await;
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        answer
    }

    /// The host closes its end; everything that still comes.
    pub(crate) async fn close(mut self) -> Vec<String> {
        let mut input = self.input.take().unwrap();
        input.shutdown().await.unwrap();
        drop(input);
        let mut lines = Vec::new();
        while let Ok(Ok(Some(line))) = tokio::time::timeout(PATIENCE, self.output.next_line()).await {
            lines.push(line);
        }
        tokio::time::timeout(PATIENCE, self.bridge)
            .await
            .expect("an end")
            .unwrap();
        lines
    }

    /// As a signal does.
    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.bridge)
            .await
            .expect("an end")
            .unwrap();
    }
}

pub(crate) fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}})
}

pub(crate) fn call(id: u32, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

/// A request of 2026-07-28.
pub(crate) fn modern(id: u32, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "host", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}});
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
