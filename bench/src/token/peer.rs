//! npm `oidc-provider`, the certified reference, everything in memory: what we compare with.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use doorward_testkit::port::Port;

use super::talk::Form;
use crate::peer::listens;

/// A running one, on a core of its choice.
pub(super) struct Peer {
    child: Child,
    pub(super) address: SocketAddr,
    pub(super) version: String,
    _port: Port,
}

impl Peer {
    /// `packages` is the folder of the installed npm packages, with the Node they run on.
    pub(super) async fn start(packages: &Path, core: &str) -> Result<Self> {
        let manifest = packages.join("oidc-provider/package.json");
        let manifest = std::fs::read(&manifest)
            .with_context(|| format!("{} is not there: is it installed?", manifest.display()))?;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
        let version = manifest["version"].as_str().unwrap_or("?").to_owned();
        let machine = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x64"
        };
        let node = packages.join(format!("node-linux-{machine}/bin/node"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/oidc-provider.mjs");
        let port = Port::reserve();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let child = Command::new("taskset")
            .args(["--cpu-list", core])
            .arg(node)
            .arg(script)
            .arg(port.number().to_string())
            .arg(packages)
            .env("NODE_ENV", "production")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It warns of what a demonstration may do.
            .stderr(Stdio::null())
            .spawn()
            .context("Node cannot be started")?;
        let peer = Self {
            child,
            address,
            version,
            _port: port,
        };
        listens("oidc-provider", address).await?;
        Ok(peer)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn resource(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Codes that somebody approved, as the forms that redeem them.
    pub(super) async fn codes(&self, count: usize) -> Result<Vec<Form>> {
        let url = format!("http://{}/seed/{count}", self.address);
        let reply = doorward_testkit::http::get(&url).lenient().try_send().await?;
        ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
        Ok(serde_json::from_slice(&reply.body)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
