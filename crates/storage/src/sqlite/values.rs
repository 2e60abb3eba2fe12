//! Values to columns.

use doorward_records::authenticator::AuthenticatorKind;
use doorward_records::client::{ClientOrigin, ClientStatus};
use doorward_records::code::CodeState;
use doorward_records::device::DeviceState;
use doorward_records::key::{KeyPurpose, KeyState};
use doorward_types::digest::Digest;
use doorward_types::id::FamilyId;
use doorward_types::time::UnixTime;
use uuid::Uuid;

pub(super) fn uuid(uuid: &Uuid) -> &[u8] {
    uuid.as_bytes()
}

pub(super) fn digest(digest: &Digest) -> &[u8] {
    digest.as_bytes()
}

/// Counters are far from the end of the range; a limit beyond it means "any number".
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn origin(origin: ClientOrigin) -> &'static str {
    match origin {
        ClientOrigin::Dynamic => "dynamic",
        ClientOrigin::Confidential => "confidential",
        ClientOrigin::Operator => "operator",
        ClientOrigin::Configured => "configured",
        ClientOrigin::MetadataDocument => "metadata_document",
    }
}

pub(super) fn status(status: ClientStatus) -> &'static str {
    match status {
        ClientStatus::Approved => "approved",
        ClientStatus::Pending => "pending",
        ClientStatus::Disabled => "disabled",
    }
}

pub(super) fn code_state(state: &CodeState) -> (&'static str, Option<&FamilyId>) {
    match state {
        CodeState::Open => ("open", None),
        CodeState::Redeemed { family } => ("redeemed", Some(family)),
        CodeState::Void => ("void", None),
    }
}

pub(super) fn purpose(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::AccessToken => "access_token",
        KeyPurpose::RefreshToken => "refresh_token",
    }
}

pub(super) fn key_state(state: KeyState) -> &'static str {
    match state {
        KeyState::Next => "next",
        KeyState::Active => "active",
        KeyState::Retired => "retired",
    }
}

pub(super) fn authenticator_kind(kind: AuthenticatorKind) -> &'static str {
    match kind {
        AuthenticatorKind::Passkey => "passkey",
        AuthenticatorKind::Totp => "totp",
        AuthenticatorKind::RecoveryCode => "recovery_code",
    }
}

/// The columns that a device authorization's state takes.
pub(super) struct DeviceColumns<'a> {
    pub(super) state: &'static str,
    pub(super) user: Option<&'a [u8]>,
    pub(super) grant: Option<&'a [u8]>,
    pub(super) scopes: Option<String>,
    pub(super) family: Option<&'a [u8]>,
    pub(super) authenticated: Option<i64>,
}

pub(super) fn device_state(state: &DeviceState) -> DeviceColumns<'_> {
    let columns = |state| DeviceColumns {
        state,
        user: None,
        grant: None,
        scopes: None,
        family: None,
        authenticated: None,
    };
    match state {
        DeviceState::Pending => columns("pending"),
        DeviceState::Denied => columns("denied"),
        DeviceState::Approved {
            user,
            grant,
            scopes,
            authenticated,
        } => DeviceColumns {
            user: Some(uuid(user.as_uuid())),
            grant: Some(uuid(grant.as_uuid())),
            scopes: Some(scopes.to_string()),
            authenticated: authenticated.map(UnixTime::millis),
            ..columns("approved")
        },
        DeviceState::Redeemed { family } => DeviceColumns {
            family: Some(uuid(family.as_uuid())),
            ..columns("redeemed")
        },
    }
}
