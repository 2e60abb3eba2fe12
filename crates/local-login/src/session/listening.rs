//! Where the answer of a login comes back to: the same port each time, where that is possible.

use doorward_client::discover::Discovered;
use doorward_client::error::Error;
use doorward_client::provider::{ClientInformation, Provider as _};
use doorward_types::digest::Digest;
use url::Url;

use super::Inner;
use crate::callback::{CallbackHost, CallbackListener, CallbackOptions};

/// Ports that programs do not get by themselves on any common system, so that the redirect URI stays the same.
const PORTS: (u16, u16) = (20_000, 32_000);

/// A listener on the port that the registration has, if there is one, so that it can be used again.
pub(super) async fn listen(inner: &Inner, discovered: &Discovered) -> Result<CallbackListener, Error> {
    let mut options: CallbackOptions = inner.settings.callback.clone();
    if options.ports.is_empty() {
        let issuer = &discovered.authorization_server.issuer;
        let kept: Option<ClientInformation> = inner.provider.client(issuer).await?;
        let registered = kept
            .and_then(|client| client.redirect_uri)
            .and_then(|uri| Url::parse(&uri).ok()?.port());
        options.ports.extend(registered);
        options.ports.push(derived_port(inner));
        options.ports.push(0);
    }
    CallbackListener::bind(&options)
        .await
        .map_err(|error| Error::NeedsUser(error.to_string()))
}

/// A registration without a browser serves one with a browser later.
pub(super) async fn redirect_uri_for_later(inner: &Inner, discovered: &Discovered) -> Result<String, Error> {
    let kept = inner
        .provider
        .client(&discovered.authorization_server.issuer)
        .await?;
    let callback = &inner.settings.callback;
    let port = callback.ports.first().copied().filter(|port| *port != 0);
    Ok(kept.and_then(|client| client.redirect_uri).unwrap_or_else(|| {
        let host = match callback.host {
            CallbackHost::V4 => "127.0.0.1",
            CallbackHost::V6 => "[::1]",
            CallbackHost::Localhost => "localhost",
        };
        format!(
            "http://{host}:{}{}",
            port.unwrap_or_else(|| derived_port(inner)),
            callback.path
        )
    }))
}

/// The same one each time for the same server and person: servers that compare redirect URIs exactly like that.
fn derived_port(inner: &Inner) -> u16 {
    let digest = Digest::of(format!("{}\n{}", inner.provider.server, inner.provider.user).as_bytes());
    let number = digest
        .as_bytes()
        .iter()
        .take(4)
        .fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    let (first, last) = PORTS;
    let offset = number % u32::from(last - first);
    first + u16::try_from(offset).unwrap_or(0)
}
