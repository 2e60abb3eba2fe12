//! Who a request says it is from: an `Authorization` header (the first line) and a form (the rest). What is accepted
//! shows one credential, for one client, and is what a lenient reader of forms finds, too; nothing of it is printed;
//! and nobody gets in with a key that the client does not have.

use std::sync::LazyLock;

use doorward_authorization_server::client_auth::authenticate;
use doorward_authorization_server::settings::{
    Grants, Lifetimes, RegistrationMode, RegistrationPolicy, Settings,
};
use doorward_jose::{JwkSet, SigningKey};
use doorward_oauth::client_auth::{Credential, read};
use doorward_oauth::form::Form;
use doorward_policy::{AccessRule, ListMode, ProtectedServer, ScopeEntry, ScopeTable};
use doorward_records::client::{Client, ClientMetadata, ClientOrigin};
use doorward_types::id::{ServerName, Tenant};
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};

pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
pub(crate) const ISSUER: &str = "https://mcp.example.com";

/// The client's key, which no input can sign with.
pub(crate) static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

pub(crate) fn settings() -> Settings {
    let scope = |name: &str| ScopeEntry::new(name.parse().unwrap(), name);
    let server = ProtectedServer {
        name: ServerName::new("a"),
        path: "/a/mcp".into(),
        resource: ResourceUri::parse("https://mcp.example.com/a/mcp").unwrap(),
        scopes: ScopeTable::new(vec![scope("a"), scope("b")]).unwrap(),
        lists: ListMode::default(),
        allow: AccessRule::everyone(),
    };
    Settings {
        issuer: Issuer::parse(ISSUER).unwrap(),
        tenant: Tenant::default_tenant(),
        servers: vec![server],
        lifetimes: Lifetimes::default(),
        registration: RegistrationPolicy::new(RegistrationMode::KnownHosts),
        client_metadata_documents: Default::default(),
        grants: Grants::default(),
    }
}

pub(crate) fn keys() -> JwkSet {
    JwkSet::new([KEY.public_jwk().clone()]).unwrap()
}

/// A client that authenticates by `method`.
pub(crate) fn client(id: &str, method: &str) -> Client {
    let metadata = ClientMetadata {
        token_endpoint_auth_method: method.into(),
        ..ClientMetadata::public(vec!["https://c.test/cb".into()])
    };
    Client {
        secret: Some(Secret::new("nobody guesses this").digest()),
        ..Client::new(
            doorward_types::id::ClientId::new(id),
            ClientOrigin::Operator,
            metadata,
            NOW,
        )
    }
}

/// `input` is a header, a line end, a body.
pub fn check(input: &[u8]) {
    let (header, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (&input[..0], input),
    };
    let (Ok(header), Ok(form)) = (std::str::from_utf8(header), Form::parse(body)) else {
        return;
    };
    let headers = if header.is_empty() { vec![] } else { vec![header] };
    let Ok(presented) = read(&headers, &form) else {
        return;
    };
    let lenient: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let first = |name: &str| {
        let found = lenient
            .iter()
            .find(|(have, value)| have == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    };
    let id = presented.client_id().as_str();
    assert!(!id.is_empty());
    assert!(
        first("client_id").is_none_or(|named| named == id),
        "another client"
    );
    let (secret, assertion) = (first("client_secret"), first("client_assertion"));
    match presented.credential() {
        Credential::None => assert!(headers.is_empty() && secret.is_none() && assertion.is_none()),
        Credential::Basic(_) => assert!(!headers.is_empty() && secret.is_none() && assertion.is_none()),
        Credential::Post(shown) => {
            assert!(headers.is_empty() && assertion.is_none() && secret == Some(shown.expose()));
        }
        Credential::Assertion(shown) => {
            assert!(headers.is_empty() && secret.is_none() && assertion == Some(shown.expose()));
        }
    }
    // The id is printed; an id that holds the secret was given away by its owner.
    if let Some(secret) = secret.filter(|secret| secret.len() > 20) {
        assert!(!format!("{:?}", presented.credential()).contains(secret));
    }
    for method in ["client_secret_basic", "client_secret_post", "private_key_jwt"] {
        let judged = authenticate(
            &settings(),
            &presented,
            Some(client(id, method)),
            Some(&keys()),
            NOW,
        );
        assert!(judged.is_err(), "nobody knows the secret or the key");
    }
    let unknown = authenticate(&settings(), &presented, None, Some(&keys()), NOW);
    assert!(unknown.is_err(), "nobody is this client");
}
