//! The page's side of a login.

use std::sync::Weak;

use async_trait::async_trait;
use doorward_local_login::login_page::{LoginDesk, LoginDetails, Standing};
use url::Url;

use super::OwnLogin;
use crate::settings::names;

/// The page's side of a login. It keeps nothing alive.
pub(super) struct Desk(pub(super) Weak<OwnLogin>);

#[async_trait]
impl LoginDesk for Desk {
    async fn standing(&self) -> Standing {
        let Some(login) = self.0.upgrade() else {
            return Standing::LoggedIn;
        };
        let asked = login.asked().await;
        if login.has(&asked).await {
            return Standing::LoggedIn;
        }
        let parts = &login.parts;
        Standing::Wanted(LoginDetails {
            program: parts.name.clone(),
            authorization_server: host(&parts.known.configured().issuer),
            resource: parts.wanted.resource.to_string(),
            scopes: names(&asked),
        })
    }

    async fn begin(&self) -> Result<Url, String> {
        match self.0.upgrade() {
            Some(login) => login.begin().await,
            None => Err("the server that wanted this login has ended".to_owned()),
        }
    }
}

/// With the port where it is not the usual one: another port is somebody else.
fn host(issuer: &str) -> String {
    let url = Url::parse(issuer).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => issuer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_person_sees_where_the_login_is() {
        for (issuer, expected) in [
            ("https://login.example.com/tenant", "login.example.com"),
            ("https://login.example.com:8443", "login.example.com:8443"),
            ("http://127.0.0.1:9/", "127.0.0.1:9"),
            ("no URL", "no URL"),
        ] {
            assert_eq!(host(issuer), expected);
        }
    }
}
