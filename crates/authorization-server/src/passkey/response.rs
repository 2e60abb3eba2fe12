//! What a browser answers to a ceremony (WebAuthn §5.1), as our script puts it into a form field: one JSON object
//! whose members are base64url.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_types::digest::Digest;
use serde::Deserialize;

use super::authenticator_data::{AuthenticatorData, MAX_CREDENTIAL_ID};
use super::cbor::Value;
use super::key::PublicKey;

/// Why a passkey was not accepted. Nothing that was sent is in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyError {
    /// The field is not what our script writes.
    #[error("the answer of the browser cannot be read")]
    Unreadable,
    /// The client data is no JSON of that form, or of another ceremony (WebAuthn §7.1 step 7, §7.2 step 11).
    #[error("the client data is not of this ceremony")]
    OtherCeremony,
    /// It answers another challenge (§7.1 step 8, §7.2 step 12).
    #[error("the challenge is another one")]
    OtherChallenge,
    /// It was made for another origin, or in a frame (§7.1 steps 9 to 11, §7.2 steps 13 to 15).
    #[error("it was made on another site")]
    OtherOrigin,
    /// The authenticator data cannot be read.
    #[error("the authenticator data cannot be read")]
    AuthenticatorData,
    /// The authenticator was asked by another relying party (§7.1 step 14, §7.2 step 17).
    #[error("the relying party is another one")]
    OtherRelyingParty,
    /// Nobody touched it, or it did not verify the person (§7.1 steps 15 and 16, §7.2 steps 18 and 19).
    #[error("the person was not verified")]
    NotVerified,
    /// No public key of an algorithm that was asked for (§7.1 step 20).
    #[error("the key is of no kind that was asked for")]
    Key,
    /// An attestation that nobody asked for and that proves nothing (§7.1 step 22).
    #[error("the attestation is not accepted")]
    Attestation,
    /// The signature does not fit (§7.2 step 24).
    #[error("the signature does not fit")]
    Signature,
    /// It counted backwards: there may be a copy of it (§7.2 step 25).
    #[error("the counter went back: the passkey may have been copied")]
    Copied,
    /// It is another account's, or another credential than the one it was looked up by.
    #[error("the passkey belongs to another account")]
    OtherAccount,
    /// The ceremony is too old, was used, or belongs to another browser or purpose.
    #[error("the ceremony is over")]
    Over,
    /// No such passkey, or its account may not sign in. One answer for both.
    #[error("no passkey of this server")]
    Unknown,
}

/// Who we are to authenticators, and the question that was asked.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The host of our public URL.
    pub rp_id: &'a str,
    /// Our origin, as browsers write it.
    pub origin: &'a str,
    /// The challenge, in base64url.
    pub challenge: &'a str,
}

/// A credential that was registered and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: Vec<u8>,
    /// Its public key, a COSE key.
    pub key: Vec<u8>,
    /// The counter at registration.
    pub counter: u32,
    /// Whether it can be copied to other devices.
    pub backup_eligible: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RegistrationJson {
    id: String,
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    attestation_object: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AssertionJson {
    id: String,
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    authenticator_data: String,
    signature: String,
    #[serde(default)]
    user_handle: Option<String>,
}

/// WebAuthn §5.8.1. Members that are not here may come (browsers add some so that nobody compares templates).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    #[serde(default)]
    top_origin: Option<String>,
}

/// The id of the credential that a registration claims, of which nothing is believed yet.
pub(super) fn claimed_id(field: &str) -> Option<Vec<u8>> {
    let json: RegistrationJson = serde_json::from_str(field).ok()?;
    decode(&json.id).ok()
}

/// Judges a registration (WebAuthn §7.1): a new credential, or why not.
pub fn register(field: &str, expected: Expected<'_>) -> Result<Credential, PasskeyError> {
    let json: RegistrationJson = serde_json::from_str(field).map_err(|_| PasskeyError::Unreadable)?;
    let client_data = decode(&json.client_data)?;
    check_client_data(&client_data, "webauthn.create", expected)?;
    let object = decode(&json.attestation_object)?;
    let (data, attestation) = attestation_object(&object)?;
    let parsed = check_authenticator_data(data, expected)?;
    let credential = parsed.credential.ok_or(PasskeyError::AuthenticatorData)?;
    if credential.id != decode(&json.id)? {
        return Err(PasskeyError::Unreadable);
    }
    let key = PublicKey::from_cose(&credential.cose).map_err(|_| PasskeyError::Key)?;
    attestation.check(&key, data, &client_data)?;
    Ok(Credential {
        id: credential.id.to_vec(),
        key: credential.key.to_vec(),
        counter: parsed.counter,
        backup_eligible: parsed.backup_eligible,
    })
}

/// An answer to the question to sign in, of which nothing is believed yet.
#[derive(Clone, Debug)]
pub struct UnverifiedAssertion {
    /// The id of the credential that it claims.
    pub credential_id: Vec<u8>,
    user_handle: Option<Vec<u8>>,
    client_data: Vec<u8>,
    authenticator_data: Vec<u8>,
    signature: Vec<u8>,
}

impl UnverifiedAssertion {
    /// Reads the form field.
    pub fn parse(field: &str) -> Result<Self, PasskeyError> {
        let json: AssertionJson = serde_json::from_str(field).map_err(|_| PasskeyError::Unreadable)?;
        let credential_id = decode(&json.id)?;
        if credential_id.is_empty() || credential_id.len() > MAX_CREDENTIAL_ID {
            return Err(PasskeyError::Unreadable);
        }
        Ok(Self {
            credential_id,
            user_handle: json.user_handle.as_deref().map(decode).transpose()?,
            client_data: decode(&json.client_data)?,
            authenticator_data: decode(&json.authenticator_data)?,
            signature: decode(&json.signature)?,
        })
    }

    /// Judges it (WebAuthn §7.2) against the credential that is stored under its id, with the public key `cose`
    /// and the counter of the last time, of the account with this user handle. Gives the new counter.
    pub fn verify(
        &self,
        cose: &[u8],
        counter: u64,
        user_handle: &[u8],
        expected: Expected<'_>,
    ) -> Result<u64, PasskeyError> {
        // Step 6: discoverable credentials bring the handle along; if it comes it must be right.
        if self
            .user_handle
            .as_deref()
            .is_some_and(|handle| handle != user_handle)
        {
            return Err(PasskeyError::OtherAccount);
        }
        check_client_data(&self.client_data, "webauthn.get", expected)?;
        let parsed = check_authenticator_data(&self.authenticator_data, expected)?;
        if parsed.credential.is_some() {
            return Err(PasskeyError::AuthenticatorData);
        }
        let cose = Value::read_whole(cose).map_err(|_| PasskeyError::Key)?;
        let key = PublicKey::from_cose(&cose).map_err(|_| PasskeyError::Key)?;
        let message = signed(&self.authenticator_data, &self.client_data);
        if !key.verifies(&message, &self.signature) {
            return Err(PasskeyError::Signature);
        }
        let now = u64::from(parsed.counter);
        if (now > 0 || counter > 0) && now <= counter {
            return Err(PasskeyError::Copied);
        }
        Ok(now)
    }
}

fn decode(text: &str) -> Result<Vec<u8>, PasskeyError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| PasskeyError::Unreadable)
}

fn check_client_data(bytes: &[u8], ceremony: &str, expected: Expected<'_>) -> Result<(), PasskeyError> {
    let data: ClientData = serde_json::from_slice(bytes).map_err(|_| PasskeyError::OtherCeremony)?;
    if data.r#type != ceremony {
        return Err(PasskeyError::OtherCeremony);
    }
    if data.challenge != expected.challenge {
        return Err(PasskeyError::OtherChallenge);
    }
    if data.origin != expected.origin || data.cross_origin || data.top_origin.is_some() {
        return Err(PasskeyError::OtherOrigin);
    }
    Ok(())
}

fn check_authenticator_data<'a>(
    bytes: &'a [u8],
    expected: Expected<'_>,
) -> Result<AuthenticatorData<'a>, PasskeyError> {
    let data = AuthenticatorData::parse(bytes).map_err(|_| PasskeyError::AuthenticatorData)?;
    if data.rp_id_hash != *Digest::of(expected.rp_id.as_bytes()).as_bytes() {
        return Err(PasskeyError::OtherRelyingParty);
    }
    if !data.user_present || !data.user_verified {
        return Err(PasskeyError::NotVerified);
    }
    Ok(data)
}

/// What an authenticator signs: its data, and the digest of the client's.
fn signed(authenticator_data: &[u8], client_data: &[u8]) -> Vec<u8> {
    [authenticator_data, Digest::of(client_data).as_bytes()].concat()
}

/// What an authenticator says about itself. We ask for nothing; some answer all the same.
enum Attestation<'a> {
    None,
    /// Signed with the new key itself (WebAuthn §8.2): browsers leave that in place.
    Own {
        algorithm: i128,
        signature: &'a [u8],
    },
}

impl Attestation<'_> {
    fn check(&self, key: &PublicKey, data: &[u8], client_data: &[u8]) -> Result<(), PasskeyError> {
        match self {
            Self::None => Ok(()),
            Self::Own { algorithm, signature } => {
                let fits = *algorithm == i128::from(key.algorithm())
                    && key.verifies(&signed(data, client_data), signature);
                fits.then_some(()).ok_or(PasskeyError::Attestation)
            }
        }
    }
}

/// The authenticator data inside an attestation object (WebAuthn §6.5.4), and the attestation.
fn attestation_object(bytes: &[u8]) -> Result<(&[u8], Attestation<'_>), PasskeyError> {
    let object = Value::read_whole(bytes).map_err(|_| PasskeyError::AuthenticatorData)?;
    let Value::Map(entries) = object else {
        return Err(PasskeyError::AuthenticatorData);
    };
    let [
        (Value::Text("fmt"), Value::Text(format)),
        (Value::Text("attStmt"), Value::Map(statement)),
        (Value::Text("authData"), Value::Bytes(data)),
    ] = entries.as_slice()
    else {
        return Err(PasskeyError::AuthenticatorData);
    };
    let attestation = match (*format, statement.as_slice()) {
        ("none", []) => Attestation::None,
        (
            "packed",
            [
                (Value::Text("alg"), Value::Integer(algorithm)),
                (Value::Text("sig"), Value::Bytes(signature)),
            ],
        ) => Attestation::Own {
            algorithm: *algorithm,
            signature,
        },
        _ => return Err(PasskeyError::Attestation),
    };
    Ok((data, attestation))
}
