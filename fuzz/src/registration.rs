//! Registration requests and updates (RFC 7591, RFC 7592): what is accepted is safe, is read alike by a plain
//! reader of JSON, and gives nobody more than the policy does.

use doorward_authorization_server::Settings;
use doorward_authorization_server::register::{self, Step, manage};
use doorward_authorization_server::settings::{Grants, Lifetimes, RegistrationMode, RegistrationPolicy};
use doorward_records::client::{Client, ClientMetadata, ClientOrigin, ClientStatus};
use doorward_records::{Unit, Write};
use doorward_types::id::{ClientId, Tenant};
use doorward_types::random::CountingRandom;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use doorward_types::url::Issuer;
use serde_json::Value;

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

/// `input` is the body of a request.
pub fn check(input: &[u8]) {
    for mode in [
        RegistrationMode::KnownHosts,
        RegistrationMode::Open,
        RegistrationMode::Token,
    ] {
        for confidential in [None, Some(true)] {
            let settings = settings(mode, confidential);
            registered(&settings, input);
            for status in [ClientStatus::Approved, ClientStatus::Pending] {
                replaced(&settings, status, input);
            }
        }
    }
}

fn settings(mode: RegistrationMode, confidential: Option<bool>) -> Settings {
    Settings {
        issuer: Issuer::parse("https://mcp.example.com").unwrap(),
        tenant: Tenant::default_tenant(),
        servers: Vec::new(),
        lifetimes: Lifetimes::default(),
        registration: RegistrationPolicy {
            initial_token: Some(Secret::new("token").digest()),
            confidential,
            ..RegistrationPolicy::new(mode)
        },
        client_metadata_documents: Default::default(),
        grants: Grants::default(),
    }
}

fn registered(settings: &Settings, input: &[u8]) {
    let token = Secret::new("token");
    let Ok(registration) = register::parse(settings, Some(&token), input) else {
        return;
    };
    let random = CountingRandom::default();
    let decided = register::decide(settings, &registration, None, 0, NOW, &random);
    let Ok(Step::Register { unit, response }) = decided else {
        panic!("what was accepted is registered");
    };
    let client = written(unit);
    sound(settings, &client, ClientStatus::Pending);
    let said: Value = serde_json::from_slice(input).unwrap();
    let told: Value = serde_json::from_str(response.to_json().expose()).unwrap();
    // Ports and order included, and not another list than a plain reader finds.
    assert_eq!(told["redirect_uris"], list(&said["redirect_uris"]));
    assert_eq!(told["client_id"], client.id.as_str());
    assert_eq!(told["client_secret"].is_string(), client.secret.is_some());
    let public = client.metadata.token_endpoint_auth_method == "none";
    assert_eq!(told["registration_access_token"].is_null(), public);
    if public {
        assert_eq!(registration.client_id(), Some(&client.id));
        let again = register::decide(settings, &registration, Some(&client), 0, NOW, &random);
        let Ok(Step::Register { unit, response }) = again else {
            panic!("the same client registers again");
        };
        assert!(unit.is_empty());
        assert_eq!(response.client_id, client.id.as_str());
    }
}

fn replaced(settings: &Settings, status: ClientStatus, input: &[u8]) {
    let metadata = ClientMetadata {
        token_endpoint_auth_method: "client_secret_basic".into(),
        ..ClientMetadata::public(vec!["https://c.test/cb".into()])
    };
    let before = Client {
        status,
        secret: Some(Secret::new("secret").digest()),
        registration_token: Some(Secret::new("token").digest()),
        ..Client::new(ClientId::new("dcc_1"), ClientOrigin::Confidential, metadata, NOW)
    };
    let (token, random) = (Secret::new("token"), CountingRandom::default());
    let Ok((unit, _)) = manage::replace(settings, &before, token, input, NOW, &random) else {
        return;
    };
    let after = written(unit);
    let said: Value = serde_json::from_slice(input).unwrap();
    assert_eq!(said["client_id"], "dcc_1");
    assert_eq!((&after.id, after.origin), (&before.id, before.origin));
    assert_eq!(after.registration_token, before.registration_token);
    assert_ne!(after.metadata.token_endpoint_auth_method, "none");
    sound(settings, &after, status);
}

fn written(unit: Unit) -> Client {
    let client = unit.writes.into_iter().find_map(|write| match write {
        Write::InsertClient(client) | Write::UpdateClient(client) => Some(client),
        _ => None,
    });
    client.expect("a client is written")
}

fn list(value: &Value) -> Value {
    if value.is_null() {
        Value::Array(Vec::new())
    } else {
        value.clone()
    }
}

/// Judged without the code that made it. `known` is the status of the registration that it replaces.
fn sound(settings: &Settings, client: &Client, known: ClientStatus) {
    let metadata = &client.metadata;
    for uri in &metadata.redirect_uris {
        let url = url::Url::parse(uri).unwrap();
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let custom =
            ["cursor", "vscode", "vscode-insiders"].contains(&url.scheme()) || url.scheme().contains('.');
        assert!(
            url.scheme() == "https" || (url.scheme() == "http" && local) || custom,
            "{uri}"
        );
        assert!(
            url.fragment().is_none() && url.username().is_empty() && url.password().is_none(),
            "{uri}"
        );
    }
    let secret = metadata.token_endpoint_auth_method.starts_with("client_secret_");
    assert_eq!(client.secret.is_some(), secret);
    let keys = metadata.jwks.is_some() || metadata.jwks_uri.is_some();
    assert_eq!(metadata.token_endpoint_auth_method == "private_key_jwt", keys);
    if let Some(jwks) = &metadata.jwks {
        let set: Value = serde_json::from_str(jwks).unwrap();
        for key in set["keys"].as_array().unwrap() {
            for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
                assert!(key.get(private).is_none(), "a private key was taken");
            }
        }
    }
    assert!(
        metadata
            .jwks_uri
            .as_ref()
            .is_none_or(|uri| uri.starts_with("https://"))
    );
    let alone = metadata.registered("client_credentials");
    assert!(!alone || metadata.token_endpoint_auth_method != "none");
    // Nobody approves themselves for tokens that ask no person.
    let operator = settings.registration.mode == RegistrationMode::Token;
    assert!(!alone || operator || client.status == ClientStatus::Pending);
    let elsewhere = metadata
        .redirect_uris
        .iter()
        .any(|uri| uri.starts_with("https://c.test"));
    if elsewhere
        && settings.registration.mode == RegistrationMode::KnownHosts
        && known == ClientStatus::Pending
    {
        assert_eq!(client.status, ClientStatus::Pending, "an unknown host waits");
    }
}
