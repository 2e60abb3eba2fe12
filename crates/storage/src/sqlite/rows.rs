//! Rows to values.

use std::time::Duration;

use doorward_records::account::{Session, SetupLink, User};
use doorward_records::authenticator::{Authenticator, AuthenticatorKind};
use doorward_records::client::{Client, ClientOrigin, ClientStatus};
use doorward_records::code::{Code, CodeState};
use doorward_records::decision::{Answer, Decision};
use doorward_records::device::{DeviceAuthorization, DeviceState};
use doorward_records::grant::{Family, Grant};
use doorward_records::key::{KeyPurpose, KeyState, StoredKey};
use doorward_records::refresh::RefreshToken;
use doorward_records::replay::Replay;
use doorward_records::revocation::{Revocation, Revoked};
use doorward_types::digest::Digest;
use doorward_types::id::{AuthenticatorId, ClientId, FamilyId, GrantId, KeyId, Tenant, TraceId, UserId};
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;
use rusqlite::Row;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::store::LoadError;

/// Why a row could not be had.
#[derive(Debug)]
pub(super) enum RowError {
    Sqlite(rusqlite::Error),
    /// This column holds something that this version cannot read.
    Column(&'static str),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<RowError> for LoadError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Sqlite(
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..),
            ) => Self::Corrupt("a column has another type".into()),
            RowError::Sqlite(error) => Self::Unavailable(super::open::describe(&error).into()),
            RowError::Column(column) => Self::Corrupt(format!("column {column}")),
        }
    }
}

type Read<T> = Result<T, RowError>;

pub(super) fn user(row: &Row<'_>) -> Read<User> {
    Ok(User {
        tenant: tenant(row)?,
        id: UserId::from_uuid(uuid(row, "id")?),
        username: row.get("username")?,
        password_hash: row.get("password_hash")?,
        groups: json(row, "group_names")?,
        admin: row.get("admin")?,
        disabled: row.get("disabled")?,
        created: time(row, "created")?,
    })
}

pub(super) fn setup_link(row: &Row<'_>) -> Read<SetupLink> {
    Ok(SetupLink {
        token: digest(row, "token")?,
        user: UserId::from_uuid(uuid(row, "user_id")?),
        expires: time(row, "expires")?,
    })
}

pub(super) fn session(row: &Row<'_>) -> Read<Session> {
    Ok(Session {
        id: digest(row, "id")?,
        user: UserId::from_uuid(uuid(row, "user_id")?),
        authenticated_at: time(row, "authenticated_at")?,
        expires: time(row, "expires")?,
        device: row.get("device")?,
        methods: json(row, "methods")?,
    })
}

pub(super) fn client(row: &Row<'_>) -> Read<Client> {
    Ok(Client {
        tenant: tenant(row)?,
        id: ClientId::new(row.get::<_, String>("id")?),
        origin: match text(row, "origin")?.as_str() {
            "dynamic" => ClientOrigin::Dynamic,
            "confidential" => ClientOrigin::Confidential,
            "operator" => ClientOrigin::Operator,
            "configured" => ClientOrigin::Configured,
            "metadata_document" => ClientOrigin::MetadataDocument,
            _ => return Err(RowError::Column("origin")),
        },
        status: match text(row, "status")?.as_str() {
            "approved" => ClientStatus::Approved,
            "pending" => ClientStatus::Pending,
            "disabled" => ClientStatus::Disabled,
            _ => return Err(RowError::Column("status")),
        },
        metadata: json(row, "metadata")?,
        created: time(row, "created")?,
        last_used: time(row, "last_used")?,
        secret: optional_digest(row, "secret")?,
        registration_token: optional_digest(row, "registration_token")?,
        servers: optional_json(row, "servers")?,
        introspects: json(row, "introspects")?,
        document: optional_json(row, "document")?,
        expires: optional_time(row, "expires")?,
        approved: optional_time(row, "approved")?,
    })
}

pub(super) fn decision(row: &Row<'_>) -> Read<Decision> {
    Ok(Decision {
        nonce: digest(row, "nonce")?,
        session: digest(row, "session_id")?,
        answer: match text(row, "answer")?.as_str() {
            "approved" => Answer::Approved {
                scopes: parsed(row, "scopes")?,
                code: digest(row, "code")?,
            },
            "denied" => Answer::Denied,
            _ => return Err(RowError::Column("answer")),
        },
        decided: time(row, "decided")?,
        expires: time(row, "expires")?,
    })
}

pub(super) fn grant(row: &Row<'_>) -> Read<Grant> {
    Ok(Grant {
        tenant: tenant(row)?,
        id: GrantId::from_uuid(uuid(row, "id")?),
        user: UserId::from_uuid(uuid(row, "user_id")?),
        client: ClientId::new(row.get::<_, String>("client_id")?),
        redirect_host: row.get("redirect_host")?,
        resource: resource(row)?,
        scopes: parsed(row, "scopes")?,
        evidence: json(row, "evidence")?,
        created: time(row, "created")?,
        updated: time(row, "updated")?,
    })
}

pub(super) fn code(row: &Row<'_>) -> Read<Code> {
    Ok(Code {
        code: digest(row, "code")?,
        tenant: tenant(row)?,
        grant: GrantId::from_uuid(uuid(row, "grant_id")?),
        user: UserId::from_uuid(uuid(row, "user_id")?),
        client: ClientId::new(row.get::<_, String>("client_id")?),
        redirect_uri: row.get("redirect_uri")?,
        code_challenge: row.get("code_challenge")?,
        resource: resource(row)?,
        scopes: parsed(row, "scopes")?,
        issued: time(row, "issued")?,
        expires: time(row, "expires")?,
        state: match text(row, "state")?.as_str() {
            "open" => CodeState::Open,
            "redeemed" => CodeState::Redeemed {
                family: FamilyId::from_uuid(uuid(row, "family_id")?),
            },
            "void" => CodeState::Void,
            _ => return Err(RowError::Column("state")),
        },
        misses: row.get("misses")?,
        authenticated: optional_time(row, "authenticated")?,
        trace: trace(row)?,
    })
}

pub(super) fn family(row: &Row<'_>) -> Read<Family> {
    Ok(Family {
        tenant: tenant(row)?,
        id: FamilyId::from_uuid(uuid(row, "id")?),
        grant: GrantId::from_uuid(uuid(row, "grant_id")?),
        user: UserId::from_uuid(uuid(row, "user_id")?),
        client: ClientId::new(row.get::<_, String>("client_id")?),
        resource: resource(row)?,
        scopes: parsed(row, "scopes")?,
        created: time(row, "created")?,
        last_used: time(row, "last_used")?,
        late_repeat: optional_time(row, "late_repeat")?,
        revoked: row.get("revoked")?,
        authenticated: optional_time(row, "authenticated")?,
        trace: trace(row)?,
        device: row.get("device")?,
    })
}

pub(super) fn refresh_token(row: &Row<'_>) -> Read<RefreshToken> {
    Ok(RefreshToken {
        token: digest(row, "token")?,
        family: FamilyId::from_uuid(uuid(row, "family_id")?),
        counter: counter(row, "counter")?,
        key: KeyId::new(row.get::<_, String>("key_id")?),
        issued: time(row, "issued")?,
        rotated: optional_time(row, "rotated")?,
    })
}

pub(super) fn revocation(row: &Row<'_>) -> Read<Revocation> {
    let target = text(row, "target")?;
    let bad = |_| RowError::Column("target");
    Ok(Revocation {
        sequence: counter(row, "sequence")?,
        revoked: match text(row, "kind")?.as_str() {
            "family" => Revoked::Family(target.parse().map_err(bad)?),
            "user" => Revoked::User(target.parse().map_err(bad)?),
            "client" => Revoked::Client(ClientId::new(target)),
            "token" => Revoked::Token(target.parse().map_err(bad)?),
            "everything" => Revoked::Everything,
            _ => return Err(RowError::Column("kind")),
        },
        at: time(row, "at")?,
        expires: time(row, "expires")?,
    })
}

pub(super) fn key(row: &Row<'_>) -> Read<StoredKey> {
    Ok(StoredKey {
        tenant: tenant(row)?,
        id: KeyId::new(row.get::<_, String>("id")?),
        purpose: match text(row, "purpose")?.as_str() {
            "access_token" => KeyPurpose::AccessToken,
            "refresh_token" => KeyPurpose::RefreshToken,
            _ => return Err(RowError::Column("purpose")),
        },
        state: match text(row, "state")?.as_str() {
            "next" => KeyState::Next,
            "active" => KeyState::Active,
            "retired" => KeyState::Retired,
            _ => return Err(RowError::Column("state")),
        },
        sealed: row.get("sealed")?,
        public_jwk: row.get("public_jwk")?,
        created: time(row, "created")?,
        activated: optional_time(row, "activated")?,
        retired: optional_time(row, "retired")?,
    })
}

pub(super) fn authenticator(row: &Row<'_>) -> Read<Authenticator> {
    Ok(Authenticator {
        id: AuthenticatorId::from_uuid(uuid(row, "id")?),
        tenant: tenant(row)?,
        user: UserId::from_uuid(uuid(row, "user_id")?),
        kind: match text(row, "kind")?.as_str() {
            "passkey" => AuthenticatorKind::Passkey,
            "totp" => AuthenticatorKind::Totp,
            "recovery_code" => AuthenticatorKind::RecoveryCode,
            _ => return Err(RowError::Column("kind")),
        },
        name: row.get("name")?,
        lookup: optional_digest(row, "lookup")?,
        sealed: row.get("sealed")?,
        counter: counter(row, "counter")?,
        created: time(row, "created")?,
        last_used: optional_time(row, "last_used")?,
    })
}

pub(super) fn replay(row: &Row<'_>) -> Read<Replay> {
    Ok(Replay {
        key: digest(row, "key")?,
        expires: time(row, "expires")?,
    })
}

pub(super) fn device_authorization(row: &Row<'_>) -> Read<DeviceAuthorization> {
    Ok(DeviceAuthorization {
        device_code: digest(row, "device_code")?,
        user_code: digest(row, "user_code")?,
        tenant: tenant(row)?,
        client: ClientId::new(row.get::<_, String>("client_id")?),
        resource: resource(row)?,
        offered: parsed(row, "offered")?,
        created: time(row, "created")?,
        expires: time(row, "expires")?,
        interval: Duration::from_secs(counter(row, "interval_seconds")?),
        last_poll: optional_time(row, "last_poll")?,
        state: match text(row, "state")?.as_str() {
            "pending" => DeviceState::Pending,
            "denied" => DeviceState::Denied,
            "approved" => DeviceState::Approved {
                user: UserId::from_uuid(uuid(row, "user_id")?),
                grant: GrantId::from_uuid(uuid(row, "grant_id")?),
                scopes: parsed(row, "scopes")?,
                authenticated: optional_time(row, "authenticated")?,
            },
            "redeemed" => DeviceState::Redeemed {
                family: FamilyId::from_uuid(uuid(row, "family_id")?),
            },
            _ => return Err(RowError::Column("state")),
        },
        trace: trace(row)?,
    })
}

fn tenant(row: &Row<'_>) -> Read<Tenant> {
    Ok(Tenant::new(row.get::<_, String>("tenant")?))
}

fn resource(row: &Row<'_>) -> Read<ResourceUri> {
    ResourceUri::parse(&text(row, "resource")?).map_err(|_| RowError::Column("resource"))
}

fn text(row: &Row<'_>, column: &'static str) -> Read<String> {
    Ok(row.get(column)?)
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: &'static str) -> Read<T> {
    text(row, column)?.parse().map_err(|_| RowError::Column(column))
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> Read<T> {
    serde_json::from_str(&text(row, column)?).map_err(|_| RowError::Column(column))
}

fn optional_json<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> Read<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|_| RowError::Column(column)))
        .transpose()
}

fn trace(row: &Row<'_>) -> Read<Option<TraceId>> {
    let bytes: Option<[u8; 16]> = row.get("trace")?;
    bytes
        .map(|bytes| TraceId::from_bytes(bytes).ok_or(RowError::Column("trace")))
        .transpose()
}

fn optional_digest(row: &Row<'_>, column: &'static str) -> Read<Option<Digest>> {
    Ok(row.get::<_, Option<[u8; 32]>>(column)?.map(Digest::from_bytes))
}

fn digest(row: &Row<'_>, column: &'static str) -> Read<Digest> {
    Ok(Digest::from_bytes(row.get(column)?))
}

fn uuid(row: &Row<'_>, column: &'static str) -> Read<Uuid> {
    Ok(Uuid::from_bytes(row.get(column)?))
}

fn time(row: &Row<'_>, column: &'static str) -> Read<UnixTime> {
    Ok(UnixTime::from_millis(row.get(column)?))
}

fn optional_time(row: &Row<'_>, column: &'static str) -> Read<Option<UnixTime>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(UnixTime::from_millis))
}

fn counter(row: &Row<'_>, column: &'static str) -> Read<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| RowError::Column(column))
}
