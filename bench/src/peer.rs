//! agentgateway in front of the same upstream. It verifies the same token, with the keys of the Doorward that issued it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use doorward_testkit::Doorward;
use doorward_testkit::port::Port;
use serde_json::{Value, json};
use tempfile::TempDir;

/// An HTTP route with `jwtAuth`: its mode for MCP would want a session of its own with the upstream.
pub(crate) struct AgentGateway {
    child: Child,
    pub(crate) address: SocketAddr,
    _port: Port,
    _folder: TempDir,
}

impl AgentGateway {
    /// Starts `binary` on `core`. Tokens for `/mcp` of `issuer` pass.
    pub(crate) async fn start(
        binary: &Path,
        core: &str,
        issuer: &Doorward,
        upstream: SocketAddr,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("agentgateway-").tempdir()?;
        let port = Port::reserve();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let keys = folder.path().join("jwks.json");
        std::fs::write(&keys, issuer.get("/jwks").send().await.text())?;
        // JSON is YAML.
        let file = folder.path().join("config.yaml");
        let config = configuration(issuer, &keys, port.number(), upstream);
        std::fs::write(&file, config.to_string())?;
        let child = Command::new("taskset")
            .args(["--cpu-list", core])
            .arg(binary)
            .arg("-f")
            .arg(&file)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        let peer = Self {
            child,
            address,
            _port: port,
            _folder: folder,
        };
        listens("agentgateway", address).await?;
        Ok(peer)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Waits until a peer takes connections.
pub(crate) async fn listens(peer: &str, address: SocketAddr) -> Result<()> {
    for _ in 0..400 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("{peer} does not listen on {address}");
}

impl Drop for AgentGateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(issuer: &Doorward, keys: &Path, port: u16, upstream: SocketAddr) -> Value {
    json!({
        "config": {
            "adminAddr": "127.0.0.1:0",
            "statsAddr": "127.0.0.1:0",
            "readinessAddr": "127.0.0.1:0",
        },
        "binds": [{
            "port": port,
            "listeners": [{
                "routes": [{
                    "policies": {
                        "jwtAuth": {
                            "mode": "strict",
                            "issuer": issuer.public_url,
                            "audiences": [issuer.url("/mcp")],
                            "jwks": { "file": keys },
                        },
                    },
                    "backends": [{ "host": upstream.to_string() }],
                }],
            }],
        }],
    })
}
