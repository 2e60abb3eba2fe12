//! An application with a network and a place for tokens of its own: it implements `Http` and `Provider`, and shows the address
//! to log in at itself. It prints the address, reads the one that the browser ended at, and prints what was granted.
//!
//!     cargo run --example own_provider -- http://localhost:8080/mcp

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program")]

use std::sync::Mutex;

use async_trait::async_trait;
use doorward_client::callback::CallbackParameters;
use doorward_client::decide::Why;
use doorward_client::grant::Grant;
use doorward_client::http::{Http, HttpRequest, HttpResponse, TransportError};
use doorward_client::orchestrate::{Environment, Options, Outcome, authorize, finish};
use doorward_client::paste::query_of;
use doorward_client::provider::{ClientInformation, Pending, Provider, ProviderError, Tokens};
use doorward_client::registration::Application;
use doorward_types::random::SystemRandom;
use doorward_types::time::SystemClock;
use url::Url;

/// The network, on reqwest. What is missing for a product: judging the addresses that servers name (`request.named_by`).
struct Network(reqwest::Client);

#[async_trait]
impl Http for Network {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let failed = |error: reqwest::Error| TransportError::Failed(error.without_url().to_string());
        let mut outgoing = self
            .0
            .request(request.method, request.url)
            .headers(request.headers);
        if let Some(body) = &request.body {
            outgoing = outgoing.body(body.expose().to_owned());
        }
        let mut answer = outgoing.send().await.map_err(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > 64 * 1024 {
                return Err(TransportError::Failed("the answer is too long".into()));
            }
        }
        Ok(HttpResponse {
            status,
            headers,
            body: body.into(),
        })
    }
}

/// A place for tokens that ends with the process.
#[derive(Default)]
struct Memory {
    tokens: Mutex<Vec<Tokens>>,
    clients: Mutex<Vec<ClientInformation>>,
    pending: Mutex<Option<Pending>>,
}

#[async_trait]
impl Provider for Memory {
    async fn tokens(&self, issuer: &str, resource: &str) -> Result<Option<Tokens>, ProviderError> {
        let all = self.tokens.lock().unwrap();
        Ok(all
            .iter()
            .find(|kept| kept.issuer == issuer && kept.resource == resource)
            .cloned())
    }
    async fn save_tokens(&self, tokens: &Tokens) -> Result<(), ProviderError> {
        self.forget_tokens(&tokens.issuer, &tokens.resource).await?;
        self.tokens.lock().unwrap().push(tokens.clone());
        Ok(())
    }
    async fn forget_tokens(&self, issuer: &str, resource: &str) -> Result<(), ProviderError> {
        self.tokens
            .lock()
            .unwrap()
            .retain(|kept| kept.issuer != issuer || kept.resource != resource);
        Ok(())
    }
    async fn client(&self, issuer: &str) -> Result<Option<ClientInformation>, ProviderError> {
        Ok(self
            .clients
            .lock()
            .unwrap()
            .iter()
            .find(|kept| kept.issuer == issuer)
            .cloned())
    }
    async fn issuer_of(&self, client_id: &str) -> Result<Option<String>, ProviderError> {
        let clients = self.clients.lock().unwrap();
        Ok(clients
            .iter()
            .find(|kept| kept.client_id == client_id)
            .map(|kept| kept.issuer.clone()))
    }
    async fn save_client(&self, client: &ClientInformation) -> Result<(), ProviderError> {
        self.forget_client(&client.issuer).await?;
        self.clients.lock().unwrap().push(client.clone());
        Ok(())
    }
    async fn forget_client(&self, issuer: &str) -> Result<(), ProviderError> {
        self.clients.lock().unwrap().retain(|kept| kept.issuer != issuer);
        Ok(())
    }
    async fn pending(&self) -> Result<Option<Pending>, ProviderError> {
        Ok(self.pending.lock().unwrap().clone())
    }
    async fn save_pending(&self, pending: Option<&Pending>) -> Result<(), ProviderError> {
        *self.pending.lock().unwrap() = pending.cloned();
        Ok(())
    }
    async fn redirect(&self, authorization_url: &Url) -> Result<(), ProviderError> {
        println!("{authorization_url}");
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args()
        .nth(1)
        .unwrap_or("http://localhost:8080/mcp".into());
    let redirect_uri = "http://127.0.0.1:53682/callback";
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let (network, memory) = (Network(client), Memory::default());
    let env = Environment {
        provider: &memory,
        http: &network,
        clock: &SystemClock,
        random: &SystemRandom,
    };
    let options = Options {
        server: Url::parse(&server)?,
        redirect_uri: redirect_uri.into(),
        application: Application {
            client_name: "An application of my own".into(),
            client_uri: None,
            software_id: None,
            software_version: None,
            client_metadata_url: None,
            pre_registered: None,
            may_register: true,
        },
        grant: Grant::AuthorizationCode,
        scope: None,
        extra: Vec::new(),
        wants_refresh: true,
        legacy: false,
        allow_insecure_http: false,
        key: None,
        dpop: None,
        prefer_dpop: false,
    };
    let tokens = match authorize(&env, &options, &Why::default()).await? {
        Outcome::Authorized(tokens) => tokens,
        Outcome::Redirect(_) => {
            let mut pasted = String::new();
            std::io::stdin().read_line(&mut pasted)?;
            let answer = CallbackParameters::from_query(&query_of(&pasted, redirect_uri)?)?;
            finish(&env, &options, &answer).await?
        }
    };
    println!("granted: {}", tokens.scope);
    Ok(())
}
