//! Clients that authenticate, as `doorward client add` makes them, and what they send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_testkit::Doorward;
use doorward_testkit::forge::Forge;
use doorward_testkit::http::{Reply, Request};
use doorward_testkit::oauth::{Approved, OAuthClient};
use doorward_types::time::{Clock as _, SystemClock};
use serde_json::{Value, json};

pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How it authenticates.
pub(crate) enum Credential {
    Basic(String),
    Post(String),
    Key(Forge),
}

/// A client that authenticates.
pub(crate) struct Machine {
    pub(crate) id: String,
    pub(crate) credential: Credential,
    issuer: String,
}

impl Machine {
    /// C3: a client with a secret in the header.
    pub(crate) fn basic(doorward: &Doorward, args: &[&str]) -> Self {
        Self::with_secret(doorward, args, Credential::Basic)
    }

    /// A client with a secret in the body.
    pub(crate) fn post(doorward: &Doorward, args: &[&str]) -> Self {
        let args: Vec<&str> = args.iter().copied().chain(["--secret-in-body"]).collect();
        Self::with_secret(doorward, &args, Credential::Post)
    }

    fn with_secret(doorward: &Doorward, args: &[&str], credential: fn(String) -> Credential) -> Self {
        let added = add(doorward, args.iter().copied().chain(["--secret"]));
        let secret = added["client_secret"].as_str().expect("a secret");
        Self::new(doorward, &added, credential(secret.into()))
    }

    /// C4: a client with a key.
    pub(crate) fn key(doorward: &Doorward, args: &[&str]) -> Self {
        let forge = Forge::attacker();
        let file = doorward
            .home()
            .join(format!("{}.json", doorward_testkit::marker()));
        let set = json!({ "keys": [forge.public_jwk()] });
        std::fs::write(&file, set.to_string()).expect("the key set is written");
        let file = file.display().to_string();
        let added = add(doorward, args.iter().copied().chain(["--jwks", file.as_str()]));
        Self::new(doorward, &added, Credential::Key(forge))
    }

    /// A client whose keys are at `url`; put [`Forge::public_jwk`] there.
    pub(crate) fn key_at(doorward: &Doorward, args: &[&str], url: &str) -> Self {
        let added = add(doorward, args.iter().copied().chain(["--jwks-uri", url]));
        Self::new(doorward, &added, Credential::Key(Forge::attacker()))
    }

    /// A client that is known by the URL of its metadata document.
    pub(crate) fn of_document(doorward: &Doorward, id: &str) -> Self {
        let named = json!({ "client_id": id });
        Self::new(doorward, &named, Credential::Key(Forge::attacker()))
    }

    /// One that the configuration names, with its secret.
    pub(crate) fn known(doorward: &Doorward, id: &str, secret: &str) -> Self {
        Self::new(
            doorward,
            &json!({ "client_id": id }),
            Credential::Basic(secret.into()),
        )
    }

    fn new(doorward: &Doorward, added: &Value, credential: Credential) -> Self {
        Self {
            id: added["client_id"].as_str().expect("an id").into(),
            credential,
            issuer: doorward.public_url.clone(),
        }
    }

    pub(crate) fn secret(&self) -> &str {
        match &self.credential {
            Credential::Basic(secret) | Credential::Post(secret) => secret,
            Credential::Key(_) => panic!("a client with a key"),
        }
    }

    pub(crate) fn forge(&self) -> &Forge {
        match &self.credential {
            Credential::Key(forge) => forge,
            _ => panic!("a client with a secret"),
        }
    }

    /// A good assertion's header: what the official libraries send.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": "ES256", "typ": "JWT", "kid": self.forge().header()["kid"] })
    }

    /// A good assertion's claims, with an id of their own.
    pub(crate) fn claims(&self) -> Value {
        let now = SystemClock.now().seconds();
        json!({
            "iss": self.id, "sub": self.id, "aud": self.issuer,
            "iat": now, "exp": now + 300, "jti": doorward_testkit::marker(),
        })
    }

    pub(crate) fn assertion(&self) -> String {
        self.forge().sign(&self.header(), &self.claims())
    }

    /// A request with `fields` and whatever proves who sends it.
    pub(crate) fn request(&self, doorward: &Doorward, path: &str, fields: &[(&str, &str)]) -> Request {
        let request = doorward.post(path);
        let mut fields = fields.to_vec();
        match &self.credential {
            Credential::Basic(secret) => request
                .header("Authorization", &basic(&self.id, secret))
                .form(&fields),
            Credential::Post(secret) => {
                fields.extend([("client_id", self.id.as_str()), ("client_secret", secret)]);
                request.form(&fields)
            }
            Credential::Key(_) => {
                let assertion = self.assertion();
                fields.extend(asserted(&assertion));
                request.form(&fields)
            }
        }
    }

    pub(crate) async fn send(&self, doorward: &Doorward, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.request(doorward, path, fields).send().await
    }

    /// A token for itself.
    pub(crate) async fn own_token(&self, doorward: &Doorward, resource: &str) -> Reply {
        let fields = [("grant_type", "client_credentials"), ("resource", resource)];
        self.send(doorward, "/token", &fields).await
    }

    /// The same client as one that people log in with.
    pub(crate) fn as_client(&self, doorward: &Doorward, redirect_uri: &str) -> OAuthClient {
        OAuthClient {
            site: doorward.site().clone(),
            id: self.id.clone(),
            redirect_uri: redirect_uri.into(),
            registration: Value::Null,
        }
    }
}

fn add<'a>(doorward: &Doorward, args: impl Iterator<Item = &'a str>) -> Value {
    let mut all = vec!["client", "add", "--format", "json"];
    all.extend(args);
    doorward.command(&all).ok().json()
}

/// The value of an `Authorization` header (RFC 6749 §2.3.1).
pub(crate) fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", encode(id), encode(secret)))
    )
}

/// The fields that carry an assertion.
pub(crate) fn asserted(assertion: &str) -> [(&'static str, &str); 2] {
    [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ]
}

/// The fields that redeem a code, without those that say who does.
pub(crate) fn redeem(approved: &Approved) -> [(&'static str, &str); 5] {
    [
        ("grant_type", "authorization_code"),
        ("code", &approved.code),
        ("redirect_uri", &approved.redirect_uri),
        ("code_verifier", &approved.pkce.verifier),
        ("resource", &approved.resource),
    ]
}
