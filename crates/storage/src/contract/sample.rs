//! Rows made from numbers.

use doorward_records::account::{Session, SetupLink, User};
use doorward_records::client::{Client, ClientMetadata, ClientOrigin, ClientStatus};
use doorward_records::code::{Code, CodeState};
use doorward_records::decision::{Answer, Decision};
use doorward_records::grant::{Evidence, Family, Grant};
use doorward_records::key::{KeyPurpose, KeyState, StoredKey};
use doorward_records::refresh::RefreshToken;
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId, GrantId, KeyId, Tenant, UserId};
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
    }
}

pub(crate) fn client(n: u64) -> Client {
    Client {
        tenant: Tenant::default_tenant(),
        id: client_id(n),
        origin: ClientOrigin::Dynamic,
        status: if n % 3 == 2 {
            ClientStatus::Pending
        } else {
            ClientStatus::Approved
        },
        metadata: ClientMetadata {
            client_name: n
                .is_multiple_of(2)
                .then(|| format!("Client {n} \u{202e}\u{1f980}")),
            client_uri: None,
            redirect_uris: vec![
                "http://127.0.0.1/callback".into(),
                format!("https://c{n}.test/cb"),
            ],
            grant_types: vec!["authorization_code".into(), "refresh_token".into()],
            response_types: vec!["code".into()],
            token_endpoint_auth_method: "none".into(),
            application_type: Some("native".into()),
            scope: None,
            software_id: None,
            dpop_bound_access_tokens: n % 2 == 1,
        },
        created: at(i64::try_from(n).unwrap()),
        last_used: at(i64::try_from(n).unwrap()),
    }
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
    }
}
