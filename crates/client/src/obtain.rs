//! Tokens without the authorization endpoint: the grants that need no browser on this machine.
//!
//! Whichever grant was chosen, no other one is tried when it fails: a server cannot talk a client into a weaker one.

use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::client_assertion::ClientKey;
use crate::client_auth::{self, ClientAuthentication, Method};
use crate::client_credentials;
use crate::device::{self, DeviceAuthorization, Poll};
use crate::dpop::Dpop;
use crate::enterprise::{self, EnterpriseManaged, Wanted};
use crate::error::{Error, Hop, Refusal};
use crate::grant::{AssertionSource, Grant};
use crate::http::{HttpRequest, NamedBy};
use crate::machine::{drive, reached};
use crate::named_url::UrlPolicy;
use crate::orchestrate::Environment;
use crate::proven::ProvenRequest;
use crate::provider::ClientInformation;
use crate::server_metadata::{ServerMetadata, locations};
use crate::text::shown;
use crate::token::{TokenRequest, TokenResponse};
use crate::workload::{self, Audience, Workload};

/// Who asks whom for what.
pub struct Asking<'a> {
    /// What a login runs with.
    pub env: &'a Environment<'a>,
    /// The MCP server's authorization server.
    pub server: &'a ServerMetadata,
    /// The resource, byte for byte.
    pub resource: &'a str,
    /// The scopes; none if empty.
    pub scope: &'a ScopeSet,
    /// Who asks. An empty id is a workload that the server knows by its assertion alone.
    pub client: &'a ClientInformation,
    /// The client's key, if it has one.
    pub key: Option<&'a ClientKey>,
    /// The key that the token shall be bound to.
    pub dpop: Option<&'a Dpop>,
    /// Which URLs of a server are shown.
    pub policy: &'a UrlPolicy,
}

impl Asking<'_> {
    /// Gets a token by `grant`. [`Grant::AuthorizationCode`] is not one of them.
    pub async fn obtain(&self, grant: &Grant) -> Result<TokenResponse, Error> {
        match grant {
            Grant::AuthorizationCode => Err(Error::NeedsUser(
                "the authorization code grant goes through a browser".into(),
            )),
            Grant::ClientCredentials => self.client_credentials().await,
            Grant::EnterpriseManaged(idp) => self.enterprise_managed(idp).await,
            Grant::Workload(workload) => self.workload(workload).await,
            Grant::Device => self.device().await,
        }
    }

    /// Sends a token request, with proof of possession if there is a key.
    async fn ask(
        &self,
        build: impl FnMut() -> Result<TokenRequest, Error> + Send,
    ) -> Result<TokenResponse, Error> {
        drive(
            &mut ProvenRequest::new(self.env.proof(self.dpop), build),
            self.env.http,
        )
        .await
    }

    fn method(&self) -> Result<Method, Error> {
        client_auth::choose(self.server, self.client, self.key.is_some())
    }

    /// Made anew for every request: an assertion is good for one.
    fn authentication(&self, method: Method) -> Result<ClientAuthentication, Error> {
        let (now, random) = (self.env.clock.now(), self.env.random);
        client_auth::authenticate(&self.server.issuer, self.client, method, self.key, now, random)
    }

    fn supports(&self, grant: &Grant, rule: (&'static str, &'static str)) -> Result<(), Error> {
        let listed = &self.server.grant_types_supported;
        let name = grant.grant_type();
        // RFC 8414 §2: a server that lists nothing has the two grants of a browser.
        match listed {
            Some(listed) if listed.iter().any(|listed| listed == name) => Ok(()),
            None if !matches!(grant, Grant::Device) => Ok(()),
            None if self.server.device_authorization_endpoint.is_some() => Ok(()),
            _ => Err(Refusal::new(
                Hop::ServerMetadata,
                Some(&self.server.token_endpoint),
                rule,
                format!("grant_types_supported does not list {name}"),
                "choose another grant, or ask the operator of the authorization server to allow this one",
            )
            .into()),
        }
    }

    async fn client_credentials(&self) -> Result<TokenResponse, Error> {
        self.supports(
            &Grant::ClientCredentials,
            ("C3", "MCP OAuth client credentials extension"),
        )?;
        let method = self.method()?;
        let build = || {
            let client = self.authentication(method)?;
            client_credentials::request(
                &self.server.token_endpoint,
                &client,
                Some(self.resource),
                self.scope,
            )
        };
        self.ask(build).await
    }

    async fn enterprise_managed(&self, idp: &EnterpriseManaged) -> Result<TokenResponse, Error> {
        let method = self.method()?;
        let wanted = Wanted {
            issuer: &self.server.issuer,
            resource: self.resource,
            scope: self.scope,
        };
        let subject_token = asserted(idp.subject_token.as_ref()).await?;
        let (now, random) = (self.env.clock.now(), self.env.random);
        let endpoint = match &idp.token_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => self.token_endpoint_of(&idp.issuer).await?,
        };
        let request = idp.exchange_request(&endpoint, &subject_token, wanted, now, random)?;
        let answer = self.env.http.send(request.build()).await;
        let answer = reached(answer, Hop::TokenExchange, &endpoint)?;
        let id_jag = enterprise::exchange_response(&endpoint, &answer, wanted)?;
        let build = || {
            let client = self.authentication(method)?;
            Ok(enterprise::grant_request(
                &id_jag,
                &self.server.token_endpoint,
                &client,
                wanted,
            ))
        };
        self.ask(build).await
    }

    /// The token endpoint of an identity provider that the configuration names, as its metadata says (D6, D7).
    async fn token_endpoint_of(&self, issuer: &str) -> Result<Url, Error> {
        let mut tried = Vec::new();
        for url in locations(issuer) {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            let request = HttpRequest {
                method: http::Method::GET,
                url: url.clone(),
                named_by: NamedBy::User,
                headers,
                body: None,
                hop: Hop::ServerMetadata,
            };
            let response = reached(self.env.http.send(request).await, Hop::ServerMetadata, &url)?;
            if response.status == http::StatusCode::OK
                && let Some(metadata) =
                    ServerMetadata::parse(issuer, &url, &response.body, &UrlPolicy::strict())?
            {
                return Ok(metadata.token_endpoint);
            }
            tried.push(format!("{url} ({})", response.status));
        }
        Err(Error::NeedsUser(format!(
            "the identity provider {} has no metadata that can be used: name its token endpoint. Tried: {}",
            shown(issuer),
            tried.join(", ")
        )))
    }

    async fn workload(&self, workload: &Workload) -> Result<TokenResponse, Error> {
        let method = match self.client.client_id.as_str() {
            "" => None,
            _ => Some(self.method()?),
        };
        let assertion = asserted(workload.assertion.as_ref()).await?;
        let to = Audience {
            issuer: &self.server.issuer,
            token_endpoint: &self.server.token_endpoint,
        };
        let build = || {
            let client = method.map(|method| self.authentication(method)).transpose()?;
            let now = self.env.clock.now();
            let target = (Some(self.resource), self.scope);
            workload::request(workload, &assertion, to, client.as_ref(), target, now)
        };
        self.ask(build).await
    }

    async fn device(&self) -> Result<TokenResponse, Error> {
        self.supports(&Grant::Device, ("R22", "RFC 8628 §4"))?;
        let endpoint = self.server.device_authorization_endpoint.as_ref().ok_or_else(|| {
            Refusal::new(
                Hop::ServerMetadata,
                Some(&self.server.token_endpoint),
                ("R22", "RFC 8628 §4"),
                "the metadata names no device_authorization_endpoint",
                "log in with a browser, or ask the operator of the authorization server to turn the device grant on",
            )
        })?;
        let method = self.method()?;
        let client = self.authentication(method)?;
        let request = device::request(endpoint, &client, Some(self.resource), self.scope);
        let answer = self.env.http.send(request.build()).await;
        let answer = reached(answer, Hop::DeviceAuthorization, endpoint)?;
        let told = DeviceAuthorization::read(&answer, endpoint, self.policy, self.env.clock.now())?;
        self.env.provider.show_code(&told).await?;
        self.poll(method, &told).await
    }

    async fn poll(&self, method: Method, told: &DeviceAuthorization) -> Result<TokenResponse, Error> {
        let mut polling = told.polling();
        loop {
            self.env.provider.pause(polling.interval()).await?;
            if polling.is_over(self.env.clock.now()) {
                return Err(Error::NeedsUser(
                    "the code has expired before anybody approved it: begin anew".into(),
                ));
            }
            let build = || {
                let client = self.authentication(method)?;
                Ok(polling.request(&self.server.token_endpoint, &client, Some(self.resource)))
            };
            match self.ask(build).await {
                Err(Error::Answered {
                    hop,
                    code,
                    description,
                }) => match polling.refused(&code) {
                    Poll::Again => {}
                    Poll::Over(why) => return Err(Error::NeedsUser(why.to_owned())),
                    Poll::Other => {
                        return Err(Error::Answered {
                            hop,
                            code,
                            description,
                        });
                    }
                },
                Err(Error::Unreachable { .. }) => polling.unreachable(),
                other => return other,
            }
        }
    }
}

async fn asserted(source: &dyn AssertionSource) -> Result<Secret, Error> {
    let assertion = source.assertion().await?;
    if assertion.expose().is_empty() {
        return Err(Error::NeedsUser(format!("{} is empty", source.name())));
    }
    Ok(assertion)
}

#[cfg(test)]
mod tests;
