//! An OAuth client that does one step at a time, right or wrong.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use crate::browser::Browser;
use crate::http::{Reply, Site};
use crate::random_text;

/// A verifier and its S256 challenge (RFC 7636).
#[derive(Clone, Debug)]
pub struct Pkce {
    /// Kept by the client.
    pub verifier: String,
    /// Sent with the authorization request.
    pub challenge: String,
}

impl Pkce {
    /// A new pair.
    #[must_use]
    pub fn new() -> Self {
        let verifier = random_text();
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        Self { verifier, challenge }
    }
}

impl Default for Pkce {
    fn default() -> Self {
        Self::new()
    }
}

/// What a successful token answer holds.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token, if the client may have one.
    pub refresh: Option<String>,
    /// The whole answer.
    pub body: Value,
}

impl Tokens {
    /// Reads a 200 of the token endpoint.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn from_reply(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "tokens: {}", reply.text());
        let body = reply.json();
        Self {
            access: body["access_token"].as_str().expect("an access token").into(),
            refresh: body["refresh_token"].as_str().map(str::to_owned),
            body,
        }
    }

    /// The refresh token.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn refresh(&self) -> &str {
        self.refresh.as_deref().expect("a refresh token")
    }

    /// The access token's claims, unverified.
    #[must_use]
    pub fn claims(&self) -> Value {
        claims(&self.access)
    }
}

/// The claims of a compact JWS, unverified.
///
/// # Panics
/// When it is none.
#[track_caller]
#[must_use]
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWS has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON claims")
}

/// A code that a user just approved, with what redeems it.
#[derive(Clone, Debug)]
pub struct Approved {
    /// The code.
    pub code: String,
    /// What redeems it.
    pub pkce: Pkce,
    /// The redirect URI it is bound to.
    pub redirect_uri: String,
    /// The resource it is good for.
    pub resource: String,
    /// The whole callback URL.
    pub callback: String,
}

/// A registered client.
#[derive(Clone, Debug)]
pub struct OAuthClient {
    /// The server it registered at.
    pub site: Site,
    /// Its id.
    pub id: String,
    /// Its redirect URI.
    pub redirect_uri: String,
    /// The registration answer.
    pub registration: Value,
}

impl OAuthClient {
    /// Registers a native client with a loopback redirect, as MCP clients do.
    pub async fn native(site: &Site) -> Self {
        Self::register(site, "Test client", "http://127.0.0.1:33418/callback").await
    }

    /// Registers a public client with one redirect URI and refresh tokens.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn register(site: &Site, name: &str, redirect_uri: &str) -> Self {
        Self::register_with(
            site,
            json!({
                "client_name": name,
                "redirect_uris": [redirect_uri],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
            }),
        )
        .await
    }

    /// Registers what `metadata` says.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn register_with(site: &Site, metadata: Value) -> Self {
        let reply = site.post("/register").json(&metadata).send().await;
        assert_eq!(reply.status, 201, "a registration: {}", reply.text());
        let registration = reply.json();
        Self {
            site: site.clone(),
            id: registration["client_id"].as_str().expect("a client id").into(),
            redirect_uri: metadata["redirect_uris"][0]
                .as_str()
                .expect("a redirect URI")
                .into(),
            registration,
        }
    }

    /// The parameters of a right authorization request; tests change them.
    #[must_use]
    pub fn parameters(&self, pkce: &Pkce, resource: &str) -> Vec<(String, String)> {
        [
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("state", "S1"),
            ("code_challenge", &pkce.challenge),
            ("code_challenge_method", "S256"),
            ("resource", resource),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// A right authorization URL.
    #[must_use]
    pub fn authorize_url(&self, pkce: &Pkce, resource: &str) -> String {
        self.url_with(&self.parameters(pkce, resource))
    }

    /// An authorization URL with exactly these parameters.
    #[must_use]
    pub fn url_with(&self, parameters: &[(String, String)]) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        format!("{}/authorize?{query}", self.site.public_url)
    }

    /// Lets `browser` sign in and approve; hands back the code.
    ///
    /// # Panics
    /// When no code comes back.
    pub async fn approve(
        &self,
        browser: &mut Browser,
        user: &str,
        password: &str,
        resource: &str,
    ) -> Approved {
        let pkce = Pkce::new();
        let callback = browser
            .login_and_approve(&self.authorize_url(&pkce, resource), user, password)
            .await;
        Approved {
            code: parameter(&callback, "code").unwrap_or_else(|| panic!("a code in {callback}")),
            pkce,
            redirect_uri: self.redirect_uri.clone(),
            resource: resource.into(),
            callback,
        }
    }

    /// The form that redeems a code; tests change it.
    #[must_use]
    pub fn code_form(&self, approved: &Approved) -> Vec<(String, String)> {
        [
            ("grant_type", "authorization_code"),
            ("code", &approved.code),
            ("redirect_uri", &approved.redirect_uri),
            ("client_id", &self.id),
            ("code_verifier", &approved.pkce.verifier),
            ("resource", &approved.resource),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// The form that refreshes; tests change it.
    #[must_use]
    pub fn refresh_form(&self, token: &str, resource: &str) -> Vec<(String, String)> {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", &self.id),
            ("resource", resource),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Posts a form to the token endpoint.
    pub async fn token(&self, form: &[(String, String)]) -> Reply {
        let pairs: Vec<(&str, &str)> = form
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.site.post("/token").form(&pairs).send().await
    }

    /// Redeems a code.
    pub async fn redeem(&self, approved: &Approved) -> Reply {
        self.token(&self.code_form(approved)).await
    }

    /// Refreshes.
    pub async fn refresh(&self, token: &str, resource: &str) -> Reply {
        self.token(&self.refresh_form(token, resource)).await
    }

    /// The whole flow in a new browser.
    ///
    /// # Panics
    /// When any step fails.
    pub async fn login(&self, user: &str, password: &str, resource: &str) -> Tokens {
        let mut browser = Browser::new(&self.site);
        let approved = self.approve(&mut browser, user, password, resource).await;
        Tokens::from_reply(&self.redeem(&approved).await)
    }
}

/// Changes, adds or (with `None`) removes one parameter of a request.
#[must_use]
pub fn with(mut parameters: Vec<(String, String)>, name: &str, value: Option<&str>) -> Vec<(String, String)> {
    let at = parameters.iter().position(|(have, _)| have == name);
    parameters.retain(|(have, _)| have != name);
    if let Some(value) = value {
        let at = at.unwrap_or(parameters.len()).min(parameters.len());
        parameters.insert(at, (name.into(), value.into()));
    }
    parameters
}

/// A query parameter of a URL; `None` if it is not there.
///
/// # Panics
/// When it is there more than once, or `url` is no URL.
#[track_caller]
#[must_use]
pub fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    let all: Vec<String> = url
        .query_pairs()
        .filter(|(have, _)| have == name)
        .map(|(_, value)| value.into_owned())
        .collect();
    assert!(all.len() < 2, "{name} once in {url}");
    all.into_iter().next()
}
