//! A passkey in software, for tests: what it answers can be changed before it is signed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "for tests: what cannot happen ends the test"
)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_types::digest::Digest;
use serde_json::json;

use super::key::{EDDSA, ES256, RS256};

/// Flags: user present, user verified.
pub const VERIFIED: u8 = 0x05;
const HAS_CREDENTIAL: u8 = 0x40;

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A credential with its private half.
pub struct SoftPasskey {
    /// Its id.
    pub id: Vec<u8>,
    key: Key,
}

impl std::fmt::Debug for SoftPasskey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoftPasskey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a browser and an authenticator answer, before it is signed.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The client data, JSON.
    pub client_data: String,
    /// SHA-256 of the relying party id.
    pub rp_id_hash: [u8; 32],
    /// The flags.
    pub flags: u8,
    /// The counter.
    pub counter: u32,
    /// The credential id.
    pub id: Vec<u8>,
    /// The COSE key.
    pub cose: Vec<u8>,
    /// What follows in the authenticator data.
    pub rest: Vec<u8>,
    /// The user handle of an assertion.
    pub user_handle: Option<Vec<u8>>,
}

impl SoftPasskey {
    /// A new one, for this COSE algorithm.
    #[must_use]
    pub fn new(algorithm: i64, id: &[u8]) -> Self {
        let key = match algorithm {
            ES256 => Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            EDDSA => Key::Ed25519(Ed25519KeyPair::generate().unwrap()),
            RS256 => Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
            _ => unreachable!("no such algorithm"),
        };
        Self { id: id.to_vec(), key }
    }

    /// The COSE key.
    #[must_use]
    pub fn cose(&self) -> Vec<u8> {
        match &self.key {
            Key::P256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                [
                    &[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32],
                    x,
                    &[0x22, 0x58, 32],
                    y,
                ]
                .concat()
            }
            Key::Ed25519(key) => [
                &[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32],
                key.public_key().as_ref(),
            ]
            .concat(),
            Key::Rsa(key) => {
                // PKCS #1 in DER: nine bytes in front of a modulus of 2048 bits.
                let n = &key.public_key().as_ref()[9..9 + 256];
                let head = [0xa4, 1, 3, 3, 0x39, 1, 0, 0x20];
                [&head, bytes(n).as_slice(), &[0x21, 0x43, 1, 0, 1]].concat()
            }
        }
    }

    /// An answer to the question `challenge` of this relying party; `ceremony` is `webauthn.create` or
    /// `webauthn.get`.
    #[must_use]
    pub fn answer(&self, ceremony: &str, rp_id: &str, origin: &str, challenge: &str) -> Answer {
        Answer {
            client_data: json!({
                "type": ceremony, "challenge": challenge, "origin": origin, "crossOrigin": false,
            })
            .to_string(),
            rp_id_hash: *Digest::of(rp_id.as_bytes()).as_bytes(),
            flags: VERIFIED,
            counter: 0,
            id: self.id.clone(),
            cose: self.cose(),
            rest: Vec::new(),
            user_handle: None,
        }
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::P256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Key::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .expect("a key signs");
                signature
            }
        }
    }

    /// The form field that answers with a signature.
    #[must_use]
    pub fn assertion(&self, answer: &Answer) -> String {
        let data = answer.authenticator_data(false);
        let signature = self.sign(&answer.signed(&data));
        let mut field = json!({
            "id": text(&answer.id), "clientDataJSON": text(answer.client_data.as_bytes()),
            "authenticatorData": text(&data), "signature": text(&signature),
        });
        if let Some(handle) = &answer.user_handle {
            field["userHandle"] = text(handle).into();
        }
        field.to_string()
    }
}

impl Answer {
    /// The authenticator data, with the new credential or without.
    #[must_use]
    pub fn authenticator_data(&self, registers: bool) -> Vec<u8> {
        let flags = self.flags | if registers { HAS_CREDENTIAL } else { 0 };
        let mut data = [&self.rp_id_hash[..], &[flags], &self.counter.to_be_bytes()].concat();
        if registers {
            let length = u16::try_from(self.id.len()).unwrap();
            data.extend([0; 16]);
            data.extend(length.to_be_bytes());
            data.extend(&self.id);
            data.extend(&self.cose);
        }
        data.extend(&self.rest);
        data
    }

    /// What is signed for this authenticator data.
    #[must_use]
    pub fn signed(&self, data: &[u8]) -> Vec<u8> {
        [data, Digest::of(self.client_data.as_bytes()).as_bytes()].concat()
    }

    /// The form field that registers, without an attestation.
    #[must_use]
    pub fn registration(&self) -> String {
        self.registration_as(b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData")
    }

    /// The form field that registers; `head` is the attestation object up to its `authData`.
    #[must_use]
    pub fn registration_as(&self, head: &[u8]) -> String {
        let object = [head, &bytes(&self.authenticator_data(true))].concat();
        json!({
            "id": text(&self.id), "clientDataJSON": text(self.client_data.as_bytes()),
            "attestationObject": text(&object),
        })
        .to_string()
    }
}

/// A CBOR byte string.
#[must_use]
pub fn bytes(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let head = match length {
        0..=23 => vec![0x40 | bytes.len() as u8],
        24..=255 => vec![0x58, bytes.len() as u8],
        _ => [&[0x59], &length.to_be_bytes()[..]].concat(),
    };
    [&head, bytes].concat()
}

/// base64url.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
