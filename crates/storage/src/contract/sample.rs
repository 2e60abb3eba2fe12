//! Rows made from numbers.

use std::time::Duration;

use doorward_records::account::{Session, SetupLink, User};
use doorward_records::authenticator::{Authenticator, AuthenticatorKind};
use doorward_records::client::{CachedDocument, Client, ClientMetadata, ClientOrigin, ClientStatus};
use doorward_records::code::{Code, CodeState};
use doorward_records::decision::{Answer, Decision};
use doorward_records::device::{DeviceAuthorization, DeviceState};
use doorward_records::grant::{Evidence, Family, Grant};
use doorward_records::key::{KeyPurpose, KeyState, StoredKey};
use doorward_records::refresh::RefreshToken;
use doorward_records::replay::Replay;
use doorward_types::digest::Digest;
use doorward_types::id::{AuthenticatorId, ClientId, FamilyId, GrantId, KeyId, Tenant, TraceId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;
use uuid::Uuid;

/// A point `seconds` after an arbitrary start.
pub(crate) fn at(seconds: i64) -> UnixTime {
    UnixTime::from_seconds(1_800_000_000 + seconds)
}

pub(crate) fn digest(kind: &str, n: u64) -> Digest {
    Digest::of_parts(&[kind.as_bytes(), b"/", &n.to_be_bytes()])
}

fn id(kind: u128, n: u64) -> Uuid {
    Uuid::from_u128((kind << 64) | u128::from(n))
}

pub(crate) fn user_id(n: u64) -> UserId {
    UserId::from_uuid(id(1, n))
}

pub(crate) fn grant_id(n: u64) -> GrantId {
    GrantId::from_uuid(id(2, n))
}

pub(crate) fn family_id(n: u64) -> FamilyId {
    FamilyId::from_uuid(id(3, n))
}

pub(crate) fn client_id(n: u64) -> ClientId {
    ClientId::new(format!("dcr_{n}"))
}

pub(crate) fn key_id(n: u64) -> KeyId {
    KeyId::new(format!("key-{n}"))
}

pub(crate) fn resource(n: u64) -> ResourceUri {
    ResourceUri::parse(&format!("https://mcp.example.com/{n}/mcp")).unwrap()
}

pub(crate) fn scopes(n: u64) -> ScopeSet {
    ["", "files", "files mail", "files:read files:write"]
        .into_iter()
        .cycle()
        .nth(usize::try_from(n % 4).unwrap())
        .unwrap_or_default()
        .parse()
        .unwrap()
}

pub(crate) fn user(n: u64, name: &str) -> User {
    User {
        tenant: Tenant::default_tenant(),
        id: user_id(n),
        username: name.into(),
        password_hash: n.is_multiple_of(2).then(|| format!("$argon2id$v=19$of-{n}")),
        groups: if n.is_multiple_of(3) {
            vec!["eng".into(), "with \"quotes\", commas".into()]
        } else {
            Vec::new()
        },
        admin: n % 2 == 1,
        disabled: false,
        created: at(0),
    }
}

pub(crate) fn setup_link(n: u64, user: u64) -> SetupLink {
    SetupLink {
        token: digest("setup", n),
        user: user_id(user),
        expires: at(100),
    }
}

pub(crate) fn session(n: u64, user: u64) -> Session {
    Session {
        id: digest("session", n),
        user: user_id(user),
        authenticated_at: at(1),
        expires: at(100),
        device: n.is_multiple_of(2).then(|| "Firefox on Linux".into()),
        methods: vec!["pwd".into(), "otp".into()],
    }
}

pub(crate) fn client(n: u64) -> Client {
    let redirect_uris = vec![
        "http://127.0.0.1/callback".into(),
        format!("https://c{n}.test/cb"),
    ];
    Client {
        status: if n % 3 == 2 {
            ClientStatus::Pending
        } else {
            ClientStatus::Approved
        },
        metadata: ClientMetadata {
            client_name: n
                .is_multiple_of(2)
                .then(|| format!("Client {n} \u{202e}\u{1f980}")),
            application_type: Some("native".into()),
            dpop_bound_access_tokens: n % 2 == 1,
            ..ClientMetadata::public(redirect_uris)
        },
        ..Client::new(
            client_id(n),
            ClientOrigin::Dynamic,
            ClientMetadata::public(Vec::new()),
            at(i64::try_from(n).unwrap()),
        )
    }
}

/// The client with everything that it can have, of the `kind`-th origin and state.
pub(crate) fn full_client(n: u64, kind: u64) -> Client {
    let origins = [
        ClientOrigin::Confidential,
        ClientOrigin::Operator,
        ClientOrigin::MetadataDocument,
        ClientOrigin::Configured,
        ClientOrigin::Dynamic,
    ];
    let mut client = client(n);
    client.origin = *origins
        .iter()
        .cycle()
        .nth(usize::try_from(kind % 5).unwrap())
        .unwrap();
    if kind % 3 == 1 {
        client.status = ClientStatus::Disabled;
    }
    client.metadata.token_endpoint_auth_method = "private_key_jwt".into();
    client.metadata.jwks = Some(r#"{"keys":[]}"#.into());
    client.metadata.jwks_uri = Some(format!("https://c{n}.test/keys"));
    client.metadata.token_endpoint_auth_signing_alg = Some("ES256".into());
    client.secret = Some(digest("secret", n));
    client.registration_token = Some(digest("registration", n));
    client.servers = Some(vec!["files".into(), "with \"quotes\"".into()]);
    client.introspects = vec!["files".into()];
    client.document = Some(CachedDocument {
        fetched: at(1),
        fresh_until: at(2),
        jwks: Some("{}".into()),
        jwks_fetched: Some(at(3)),
        jwks_fresh_until: None,
    });
    client.expires = Some(at(40));
    client.approved = kind.is_multiple_of(2).then(|| at(5));
    client
}

pub(crate) fn authenticator(n: u64, user: u64) -> Authenticator {
    Authenticator {
        id: authenticator_id(n),
        tenant: Tenant::default_tenant(),
        user: user_id(user),
        kind: match n % 3 {
            0 => AuthenticatorKind::Passkey,
            1 => AuthenticatorKind::Totp,
            _ => AuthenticatorKind::RecoveryCode,
        },
        name: format!("Key {n} \u{1f511}"),
        lookup: (n % 3 != 1).then(|| digest("credential", n % 2)),
        sealed: vec![1, 0, 255],
        counter: n,
        created: at(3),
        last_used: None,
    }
}

pub(crate) fn replay(n: u64) -> Replay {
    Replay {
        key: digest("jti", n),
        expires: at(60),
    }
}

pub(crate) fn device_authorization(n: u64, client: u64, state: DeviceState) -> DeviceAuthorization {
    DeviceAuthorization {
        device_code: digest("device", n),
        user_code: digest("user code", n % 3),
        tenant: Tenant::default_tenant(),
        client: client_id(client),
        resource: resource(n % 2),
        offered: scopes(n),
        created: at(10),
        expires: at(70),
        interval: Duration::from_secs(5),
        last_poll: None,
        state,
        trace: trace(n),
    }
}

/// A trace id for every second row.
pub(crate) fn trace(n: u64) -> Option<TraceId> {
    TraceId::from_bytes(u128::from(n % 2).to_be_bytes())
}

pub(crate) fn authenticator_id(n: u64) -> AuthenticatorId {
    AuthenticatorId::from_uuid(id(4, n))
}

pub(crate) fn decision(n: u64, answer: Answer) -> Decision {
    Decision {
        nonce: digest("nonce", n),
        session: digest("session", n),
        answer,
        decided: at(5),
        expires: at(600),
    }
}

pub(crate) fn grant(n: u64, user: u64, client: u64) -> Grant {
    Grant {
        tenant: Tenant::default_tenant(),
        id: grant_id(n),
        user: user_id(user),
        client: client_id(client),
        redirect_host: "127.0.0.1".into(),
        resource: resource(n % 2),
        scopes: scopes(n),
        evidence: Evidence {
            client_name: Some("Client".into()),
            client_metadata: digest("metadata", client),
            redirect_uri: "http://127.0.0.1:4711/callback".into(),
            offered: scopes(2),
            authenticated_at: at(1),
        },
        created: at(10),
        updated: at(10),
    }
}

/// A code under `grant`.
pub(crate) fn code(n: u64, grant: &Grant) -> Code {
    Code {
        code: digest("code", n),
        tenant: grant.tenant.clone(),
        grant: grant.id,
        user: grant.user,
        client: grant.client.clone(),
        redirect_uri: "http://127.0.0.1:4711/callback".into(),
        code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into(),
        resource: grant.resource.clone(),
        scopes: grant.scopes.clone(),
        issued: at(10),
        expires: at(70),
        state: CodeState::Open,
        misses: 0,
        authenticated: (n % 3 != 2).then(|| at(9)),
        trace: trace(n),
    }
}

/// A family under `grant`.
pub(crate) fn family(n: u64, grant: &Grant) -> Family {
    Family {
        tenant: grant.tenant.clone(),
        id: family_id(n),
        grant: grant.id,
        user: grant.user,
        client: grant.client.clone(),
        resource: grant.resource.clone(),
        scopes: grant.scopes.clone(),
        created: at(20),
        last_used: at(20),
        late_repeat: None,
        revoked: false,
        authenticated: (n % 3 != 1).then(|| at(8)),
        trace: trace(n),
        device: n.is_multiple_of(2).then(|| "claude-code/2.1 \u{1f980}".into()),
    }
}

pub(crate) fn refresh_token(n: u64, family: u64, counter: u64) -> RefreshToken {
    RefreshToken {
        token: digest("refresh", n),
        family: family_id(family),
        counter,
        key: key_id(1),
        issued: at(20),
        rotated: None,
    }
}

pub(crate) fn key(n: u64, purpose: KeyPurpose, state: KeyState) -> StoredKey {
    StoredKey {
        tenant: Tenant::default_tenant(),
        id: key_id(n),
        purpose,
        state,
        sealed: vec![0, 1, 2, 255],
        public_jwk: (purpose == KeyPurpose::AccessToken).then(|| r#"{"kty":"EC"}"#.into()),
        created: at(i64::try_from(n).unwrap()),
        activated: (state == KeyState::Active).then(|| at(7)),
        retired: None,
    }
}
