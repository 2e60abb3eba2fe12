//! The bridge, as a host that speaks stdio starts it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::context::Scenario;
use crate::{CLIENT_METADATA_URL, Failure, host};

/// How long the bridge may take to end when its host has gone.
const GOODBYE: Duration = Duration::from_secs(15);

pub(crate) async fn run(doorward: &str, url: &str, scenario: &Scenario) -> Result<(), Failure> {
    let home = PathBuf::from(std::env::var_os("HOME").ok_or("a home")?);
    let mut command = Command::new(doorward);
    command.args(["connect", url, "--store"]).arg(home.join("store"));
    let browser = std::env::current_exe()?;
    command.env("BROWSER", format!("{} browse %s", browser.display()));
    identify(&mut command, &home, scenario).await?;
    let mut bridge = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let reading = bridge.stdout.take().ok_or("stdout was asked for")?;
    let writing = bridge.stdin.take().ok_or("stdin was asked for")?;
    host::run((reading, writing), scenario).await?;
    let ended = tokio::time::timeout(GOODBYE, bridge.wait()).await;
    let status = ended.map_err(|_| "the bridge outlives its host")??;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the bridge ended with {status}").into())
    }
}

/// Who the bridge is to the authorization server: what the scenario gave it, else the document.
async fn identify(command: &mut Command, home: &Path, scenario: &Scenario) -> Result<(), Failure> {
    let context = &scenario.context;
    let Some(id) = &context.client_id else {
        command.args(["--client-metadata-url", CLIENT_METADATA_URL]);
        return Ok(());
    };
    command.args(["--client-id", id]);
    let files = [
        ("--client-secret-file", &context.client_secret),
        ("--client-key-file", &context.private_key_pem),
        ("--workload-token-file", &context.valid_jwt),
        ("--id-token-file", &context.idp_id_token),
    ];
    for (option, content) in files {
        if let Some(content) = content {
            let file = home.join(option);
            tokio::fs::write(&file, content).await?;
            command.arg(option).arg(file);
        }
    }
    let words = [
        ("--idp-issuer", &context.idp_issuer),
        ("--idp-token-endpoint", &context.idp_token_endpoint),
        ("--idp-client-id", &context.idp_client_id),
    ];
    for (option, word) in words {
        if let Some(word) = word {
            command.args([option, word]);
        }
    }
    if scenario.name.starts_with("auth/client-credentials") {
        command.args(["--grant", "client-credentials"]);
    }
    Ok(())
}
