//! What browsers and authenticators answer (WebAuthn): one text per CBOR value, nothing in authenticator data that is
//! not accounted for, a registration that is accepted has a key that can be read again, and no signature is made up.

use doorward_authorization_server::passkey::authenticator_data::{AuthenticatorData, MAX_CREDENTIAL_ID};
use doorward_authorization_server::passkey::cbor::Value;
use doorward_authorization_server::passkey::key::PublicKey;
use doorward_authorization_server::passkey::{Expected, UnverifiedAssertion, register};

/// The site and the question of the seeds.
const EXPECTED: Expected<'static> = Expected {
    rp_id: "mcp.example.com",
    origin: "https://mcp.example.com",
    challenge: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
};
/// The base point of P-256 as a COSE key: nobody signs with it here.
const KEY: &[u8] = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96\x22\x58\x20\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5";

/// The first byte of `input` says what the rest is: CBOR, authenticator data, or one of the two form fields.
pub fn check(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    match kind {
        b'c' => cbor(rest),
        b'a' => authenticator_data(rest),
        b'r' => registration(rest),
        _ => assertion(rest),
    }
}

fn cbor(input: &[u8]) {
    let Ok((value, rest)) = Value::read(input) else {
        return;
    };
    let mut written = Vec::new();
    write(&value, &mut written);
    assert_eq!([written.as_slice(), rest].concat(), input, "one text per value");
    assert_eq!(Value::read_whole(&written), Ok(value));
}

fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Integer(number) if *number >= 0 => head(0, u64::try_from(*number).unwrap(), out),
        Value::Integer(number) => head(1, u64::try_from(-1 - number).unwrap(), out),
        Value::Bytes(bytes) => {
            head(2, bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Value::Text(text) => {
            head(3, text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(values) => {
            head(4, values.len() as u64, out);
            values.iter().for_each(|value| write(value, out));
        }
        Value::Map(entries) => {
            head(5, entries.len() as u64, out);
            for (key, value) in entries {
                write(key, out);
                write(value, out);
            }
        }
        Value::Boolean(yes) => out.push(0xf4 + u8::from(*yes)),
    }
}

fn head(major: u8, number: u64, out: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let (short, length) = match number {
        0..=23 => (bytes[7], 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    out.push(major << 5 | short);
    out.extend_from_slice(&bytes[8 - length..]);
}

fn authenticator_data(input: &[u8]) {
    let Ok(data) = AuthenticatorData::parse(input) else {
        return;
    };
    assert_eq!(data.rp_id_hash, input[..32]);
    assert_eq!(data.user_verified, input[32] & 4 != 0);
    assert_eq!(data.counter.to_be_bytes(), input[33..37]);
    assert_eq!(data.credential.is_some(), input[32] & 0x40 != 0);
    if let Some(credential) = data.credential {
        assert!((1..=MAX_CREDENTIAL_ID).contains(&credential.id.len()));
        assert_eq!(Value::read_whole(credential.key), Ok(credential.cose));
    } else {
        assert!(input.len() == 37 || input[32] & 0x80 != 0);
    }
}

fn registration(input: &[u8]) {
    let Ok(field) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(credential) = register(field, EXPECTED) {
        let cose = Value::read_whole(&credential.key).unwrap();
        assert!(PublicKey::from_cose(&cose).is_ok());
        assert!((1..=MAX_CREDENTIAL_ID).contains(&credential.id.len()));
    }
}

fn assertion(input: &[u8]) {
    let Ok(field) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(assertion) = UnverifiedAssertion::parse(field) {
        assert!(assertion.verify(KEY, 0, b"handle", EXPECTED).is_err());
    }
}
