//! nginx as a plain proxy, without authorization: what we compare with.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use doorward_testkit::port::Port;
use tempfile::TempDir;

/// nginx with one worker, on a core of its choice.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
    _port: Port,
    _folder: TempDir,
}

impl Nginx {
    pub(crate) async fn start(upstream: SocketAddr, core: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nginx-").tempdir()?;
        let port = Port::reserve();
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration(folder.path(), address, upstream))?;
        let child = Command::new("taskset")
            .args(["--cpu-list", core, "nginx", "-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .context("nginx cannot be started")?;
        let nginx = Self {
            child,
            address,
            _port: port,
            _folder: folder,
        };
        nginx.ready().await?;
        Ok(nginx)
    }

    async fn ready(&self) -> Result<()> {
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(self.address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!("nginx does not listen on {}", self.address);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // By signal, so that the master takes its worker along.
        doorward_testkit::command::kill(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}

fn configuration(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream mcp {{
        server {upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://mcp;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    )
}
