//! Values to columns.

use doorward_records::client::{ClientOrigin, ClientStatus};
use doorward_records::code::CodeState;
use doorward_records::key::{KeyPurpose, KeyState};
use doorward_types::digest::Digest;
use doorward_types::id::FamilyId;
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
    }
}

pub(super) fn status(status: ClientStatus) -> &'static str {
    match status {
        ClientStatus::Approved => "approved",
        ClientStatus::Pending => "pending",
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
        KeyState::Active => "active",
        KeyState::Retired => "retired",
    }
}
