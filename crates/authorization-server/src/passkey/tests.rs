use doorward_records::model::Tables;
use doorward_records::{Unit, Write};
use doorward_seal::{MasterKey, Sealer};
use doorward_types::random::CountingRandom;
use doorward_types::secret::Secret;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::key::{EDDSA, ES256, RS256};
use super::soft::{Answer, SoftPasskey, bytes, text};
use super::*;
use crate::fixture::{self, NOW};
use crate::login::NewSession;

const RP: &str = "mcp.example.com";
const ORIGIN: &str = "https://mcp.example.com";
const CHALLENGE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const EXPECTED: Expected<'static> = Expected {
    rp_id: RP,
    origin: ORIGIN,
    challenge: CHALLENGE,
};

fn created(passkey: &SoftPasskey) -> Answer {
    passkey.answer("webauthn.create", RP, ORIGIN, CHALLENGE)
}

fn got(passkey: &SoftPasskey) -> Answer {
    passkey.answer("webauthn.get", RP, ORIGIN, CHALLENGE)
}

fn verify(passkey: &SoftPasskey, field: &str, counter: u64) -> Result<u64, PasskeyError> {
    UnverifiedAssertion::parse(field)?.verify(&passkey.cose(), counter, b"handle", EXPECTED)
}

#[test]
fn every_algorithm_registers_and_signs_in() {
    for algorithm in [ES256, EDDSA, RS256] {
        let passkey = SoftPasskey::new(algorithm, b"credential");
        let credential = register(&created(&passkey).registration(), EXPECTED).unwrap();
        assert_eq!(
            (credential.id, credential.key),
            (b"credential".to_vec(), passkey.cose())
        );
        let mut answer = got(&passkey);
        answer.user_handle = Some(b"handle".to_vec());
        assert_eq!(
            verify(&passkey, &passkey.assertion(&answer), 0),
            Ok(0),
            "{algorithm}"
        );
        let other = SoftPasskey::new(algorithm, b"credential");
        assert_eq!(
            verify(&passkey, &other.assertion(&answer), 0),
            Err(PasskeyError::Signature),
            "{algorithm}"
        );
    }
}

#[test]
fn client_data_of_another_ceremony_challenge_or_origin_is_refused() {
    let passkey = SoftPasskey::new(ES256, b"credential");
    let data = |change: &dyn Fn(&mut Json)| {
        let mut data: Json = serde_json::from_str(&got(&passkey).client_data).unwrap();
        change(&mut data);
        data.to_string()
    };
    let set = |name: &'static str, value: Json| data(&|data| data[name] = value.clone());
    let twice = got(&passkey)
        .client_data
        .replacen('{', &format!("{{\"origin\":\"{ORIGIN}\","), 1);
    for (client_data, why) in [
        (set("type", json!("webauthn.create")), PasskeyError::OtherCeremony),
        (set("type", json!("payment.get")), PasskeyError::OtherCeremony),
        (set("challenge", json!("")), PasskeyError::OtherChallenge),
        (
            set("challenge", json!(format!("{CHALLENGE}="))),
            PasskeyError::OtherChallenge,
        ),
        (
            set("challenge", json!(CHALLENGE.to_lowercase())),
            PasskeyError::OtherChallenge,
        ),
        (
            set("origin", json!("https://evil.test")),
            PasskeyError::OtherOrigin,
        ),
        (
            set("origin", json!("http://mcp.example.com")),
            PasskeyError::OtherOrigin,
        ),
        (
            set("origin", json!("https://sub.mcp.example.com")),
            PasskeyError::OtherOrigin,
        ),
        (
            set("origin", json!("https://mcp.example.com:8443")),
            PasskeyError::OtherOrigin,
        ),
        (
            set("origin", json!("https://mcp.example.com/")),
            PasskeyError::OtherOrigin,
        ),
        (set("crossOrigin", json!(true)), PasskeyError::OtherOrigin),
        (set("topOrigin", json!(ORIGIN)), PasskeyError::OtherOrigin),
        (set("origin", json!(null)), PasskeyError::OtherCeremony),
        (data(&|data| *data = json!([])), PasskeyError::OtherCeremony),
        (twice, PasskeyError::OtherCeremony),
        (String::new(), PasskeyError::OtherCeremony),
    ] {
        let answer = Answer {
            client_data: client_data.clone(),
            ..got(&passkey)
        };
        assert_eq!(
            verify(&passkey, &passkey.assertion(&answer), 0),
            Err(why),
            "{client_data}"
        );
    }
    let more = Answer {
        client_data: set(
            "other_keys_can_be_added_here",
            json!("do not compare with a template"),
        ),
        ..got(&passkey)
    };
    assert_eq!(verify(&passkey, &passkey.assertion(&more), 0), Ok(0));
}

#[test]
fn authenticator_data_that_proves_too_little_is_refused() {
    let passkey = SoftPasskey::new(ES256, b"credential");
    let other = *doorward_types::digest::Digest::of(b"evil.test").as_bytes();
    for (change, why) in [
        (
            (|a, _| a.flags = 0x01) as fn(&mut Answer, _),
            PasskeyError::NotVerified,
        ),
        (|a, _| a.flags = 0x04, PasskeyError::NotVerified),
        (|a, _| a.flags = 0x00, PasskeyError::NotVerified),
        (|a, other| a.rp_id_hash = other, PasskeyError::OtherRelyingParty),
        (|a, _| a.flags = 0x15, PasskeyError::AuthenticatorData), // backed up, not eligible
        (|a, _| a.flags = 0x07, PasskeyError::AuthenticatorData), // reserved
        (|a, _| a.flags = 0x85, PasskeyError::AuthenticatorData), // extensions that are not there
        (|a, _| a.rest = vec![0], PasskeyError::AuthenticatorData), // something after it
        (
            |a, _| (a.flags, a.rest) = (0x85, vec![0x01]),
            PasskeyError::AuthenticatorData,
        ), // no map
    ] {
        let (mut create, mut get) = (created(&passkey), got(&passkey));
        change(&mut create, other);
        change(&mut get, other);
        assert_eq!(register(&create.registration(), EXPECTED), Err(why), "{create:?}");
        assert_eq!(verify(&passkey, &passkey.assertion(&get), 0), Err(why), "{get:?}");
    }
    let mut with_extensions = got(&passkey);
    (with_extensions.flags, with_extensions.rest) = (0x9d, b"\xa1\x63abc\xf5".to_vec());
    assert_eq!(verify(&passkey, &passkey.assertion(&with_extensions), 0), Ok(0));
}

#[test]
fn a_counter_never_stands_still() {
    let passkey = SoftPasskey::new(ES256, b"credential");
    for (stored, sent, outcome) in [
        (0, 0, Ok(0)),
        (0, 1, Ok(1)),
        (1, 2, Ok(2)),
        (7, 7, Err(PasskeyError::Copied)),
        (7, 6, Err(PasskeyError::Copied)),
        (7, 0, Err(PasskeyError::Copied)),
    ] {
        let mut answer = got(&passkey);
        answer.counter = sent;
        let said = verify(&passkey, &passkey.assertion(&answer), stored);
        assert_eq!(said, outcome, "{stored} then {sent}");
    }
}

#[test]
fn another_account_or_changed_bytes_are_refused() {
    let passkey = SoftPasskey::new(ES256, b"credential");
    let mut answer = got(&passkey);
    answer.user_handle = Some(b"somebody else".to_vec());
    assert_eq!(
        verify(&passkey, &passkey.assertion(&answer), 0),
        Err(PasskeyError::OtherAccount)
    );
    let field: Json = serde_json::from_str(&passkey.assertion(&got(&passkey))).unwrap();
    let changed = |name: &str, value: Json| {
        let mut field = field.clone();
        field[name] = value;
        field.to_string()
    };
    let counted = Answer {
        counter: 9,
        ..got(&passkey)
    };
    for field in [
        changed(
            "authenticatorData",
            text(&counted.authenticator_data(false)).into(),
        ),
        changed("signature", text(b"").into()),
        changed("signature", text(&passkey.sign(b"something else")).into()),
    ] {
        assert_eq!(verify(&passkey, &field, 0), Err(PasskeyError::Signature));
    }
    for field in [
        changed("id", "".into()),
        changed("id", text(&[0; 1024]).into()),
        changed("id", "+/".into()),
        changed("signature", "AA==".into()),
        changed("more", "x".into()),
        changed("clientDataJSON", Json::Null),
        String::new(),
        "[]".into(),
        format!("{} ", field["id"]),
    ] {
        assert_eq!(
            verify(&passkey, &field, 0),
            Err(PasskeyError::Unreadable),
            "{field}"
        );
    }
}

#[test]
fn keys_that_were_not_asked_for_are_refused() {
    let (p256, ed25519, rsa) = (
        SoftPasskey::new(ES256, b"c"),
        SoftPasskey::new(EDDSA, b"c"),
        SoftPasskey::new(RS256, b"c"),
    );
    let with = |cose: &[u8], at: usize, byte: u8| {
        let mut cose = cose.to_vec();
        cose[at] = byte;
        cose
    };
    let (p, e, r) = (p256.cose(), ed25519.cose(), rsa.cose());
    let longer = [&[0xa6], &p[1..], &[0x23, 1]].concat();
    let short_modulus = [
        &[0xa4, 1, 3, 3, 0x39, 1, 0, 0x20],
        bytes(&[0xff; 128]).as_slice(),
        &[0x21, 0x43, 1, 0, 1],
    ]
    .concat();
    for cose in [
        with(&p, 4, 0x27),        // EdDSA on P-256
        with(&p, 6, 2),           // another curve
        with(&p, 2, 1),           // another kind
        with(&p, 20, p[20] ^ 1),  // not on the curve
        with(&e, 4, 0x26),        // ES256 on Ed25519
        with(&e, 6, 4),           // X25519
        with(&r, r.len() - 1, 3), // another exponent
        with(&r, 11, 0),          // a leading zero
        short_modulus,
        longer,
        b"\xa0".to_vec(),
        b"\x01".to_vec(),
    ] {
        let answer = Answer {
            cose: cose.clone(),
            ..created(&p256)
        };
        let refused = register(&answer.registration(), EXPECTED);
        assert_eq!(refused, Err(PasskeyError::Key), "{cose:x?}");
    }
}

#[test]
fn attestations_are_none_or_their_own() {
    for algorithm in [ES256, EDDSA] {
        let passkey = SoftPasskey::new(algorithm, b"credential");
        let answer = created(&passkey);
        let data = answer.authenticator_data(true);
        let number = if algorithm == ES256 { 0x26 } else { 0x27 };
        let packed = |number: u8, signature: &[u8]| {
            let head = [
                &b"\xa3\x63fmt\x66packed\x67attStmt\xa2\x63alg"[..],
                &[number],
                b"\x63sig",
            ]
            .concat();
            answer.registration_as(&[&head, bytes(signature).as_slice(), b"\x68authData"].concat())
        };
        let right = passkey.sign(&answer.signed(&data));
        assert!(register(&packed(number, &right), EXPECTED).is_ok());
        let wrong = passkey.sign(b"something else");
        for field in [
            packed(number, &wrong),
            packed(number ^ 1, &right),
            answer.registration_as(b"\xa3\x63fmt\x63tpm\x67attStmt\xa0\x68authData"),
            answer.registration_as(b"\xa3\x63fmt\x64none\x67attStmt\xa1\x61x\x01\x68authData"),
        ] {
            assert_eq!(register(&field, EXPECTED), Err(PasskeyError::Attestation));
        }
        for head in [
            &b"\xa2\x63fmt\x64none\x68authData"[..],
            b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authdata",
            b"",
        ] {
            let field = answer.registration_as(head);
            assert_eq!(register(&field, EXPECTED), Err(PasskeyError::AuthenticatorData));
        }
    }
    let passkey = SoftPasskey::new(ES256, b"credential");
    let mut field: Json = serde_json::from_str(&created(&passkey).registration()).unwrap();
    field["id"] = text(b"another one").into();
    assert_eq!(
        register(&field.to_string(), EXPECTED),
        Err(PasskeyError::Unreadable)
    );
}

/// Alice, an empty set of tables with her in it, and what rules need.
struct World {
    tables: Tables,
    user: doorward_records::account::User,
    sealer: Sealer,
    random: CountingRandom,
    settings: crate::Settings,
    cookie: Secret,
}

impl World {
    fn new() -> Self {
        let random = CountingRandom::default();
        let user = fixture::user("alice", &[]);
        let mut tables = Tables::new();
        tables
            .apply(&Unit::writes(vec![Write::InsertUser(user.clone())]))
            .unwrap();
        Self {
            tables,
            user,
            sealer: Sealer::new(
                &MasterKey::generate(&random),
                doorward_seal::Purpose::Authenticator,
            ),
            settings: fixture::settings(),
            cookie: Secret::generate(&random),
            random,
        }
    }

    fn ceremony(&self, purpose: Purpose) -> Ceremony {
        Ceremony::begin(purpose, &self.cookie, NOW, &self.random)
    }

    fn add(&mut self, passkey: &SoftPasskey) {
        let ceremony = self.ceremony(Purpose::Add(self.user.id));
        let answer = passkey.answer("webauthn.create", RP, ORIGIN, ceremony.challenge());
        let (_, unit) = add(
            &ceremony,
            &answer.registration(),
            (RP, ORIGIN),
            (&self.user, "Laptop".into()),
            &self.sealer,
            NOW,
            &self.random,
        )
        .unwrap();
        self.tables.apply(&unit).unwrap();
        assert!(self.tables.apply(&unit).is_err(), "a ceremony is answered once");
    }

    fn sign_in(&self, ceremony: &Ceremony, field: &str) -> Result<crate::login::SignedIn, PasskeyError> {
        let assertion = UnverifiedAssertion::parse(field)?;
        let presented = Presented {
            ceremony,
            assertion: &assertion,
            found: self
                .tables
                .authenticator_by_lookup(lookup(&assertion.credential_id)),
            used: self.tables.replay(ceremony.replay_key()).is_some(),
        };
        let new = NewSession {
            settings: &self.settings,
            previous: None,
            device: None,
            now: NOW,
            random: &self.random,
        };
        sign_in(presented, (RP, ORIGIN), &self.sealer, new)
    }
}

#[test]
fn a_passkey_signs_in_and_its_answer_is_good_once() {
    let mut world = World::new();
    let passkey = SoftPasskey::new(ES256, b"credential");
    world.add(&passkey);
    let ceremony = world.ceremony(Purpose::SignIn);
    let mut answer = passkey.answer("webauthn.get", RP, ORIGIN, ceremony.challenge());
    answer.counter = 3;
    answer.user_handle = Some(user_handle(world.user.id).to_vec());
    let field = passkey.assertion(&answer);
    let signed_in = world.sign_in(&ceremony, &field).unwrap();
    assert_eq!(signed_in.user.username, "alice");
    assert_eq!(signed_in.session.methods, ["hwk", "mfa"]);
    world.tables.apply(&signed_in.unit).unwrap();
    assert_eq!(world.tables.authenticators_of(world.user.id)[0].counter, 3);
    assert_eq!(
        world.sign_in(&ceremony, &field).map(|_| ()),
        Err(PasskeyError::Over)
    );
    assert!(world.tables.apply(&signed_in.unit).is_err(), "races included");
    let unknown = SoftPasskey::new(ES256, b"unknown");
    let field = unknown.assertion(&answer);
    let field = field.replace(&text(b"credential"), &text(b"unknown"));
    let ceremony = world.ceremony(Purpose::SignIn);
    assert_eq!(
        world.sign_in(&ceremony, &field).map(|_| ()),
        Err(PasskeyError::Unknown)
    );
}

#[test]
fn a_disabled_account_does_not_sign_in() {
    let mut world = World::new();
    let passkey = SoftPasskey::new(ES256, b"credential");
    world.add(&passkey);
    let disabled = doorward_records::account::User {
        disabled: true,
        ..world.user.clone()
    };
    world
        .tables
        .apply(&Unit::writes(vec![Write::UpdateUser(disabled)]))
        .unwrap();
    let ceremony = world.ceremony(Purpose::SignIn);
    let answer = passkey.answer("webauthn.get", RP, ORIGIN, ceremony.challenge());
    let refused = world.sign_in(&ceremony, &passkey.assertion(&answer));
    assert_eq!(refused.map(|_| ()), Err(PasskeyError::Unknown));
}

#[test]
fn cn_08_a_ceremony_is_bound_to_browser_purpose_and_time() {
    let world = World::new();
    let ceremony = world.ceremony(Purpose::SignIn);
    let other = Secret::generate(&world.random);
    assert_eq!(ceremony.check(Purpose::SignIn, &world.cookie, NOW), Ok(()));
    for (purpose, cookie, now) in [
        (Purpose::SignIn, &other, NOW),
        (Purpose::Add(world.user.id), &world.cookie, NOW),
        (Purpose::SignIn, &world.cookie, NOW.plus(LIFETIME)),
        (
            Purpose::SignIn,
            &world.cookie,
            NOW.minus(std::time::Duration::from_secs(1)),
        ),
    ] {
        assert_eq!(ceremony.check(purpose, cookie, now), Err(PasskeyError::Over));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(data in prop::collection::vec(any::<u8>(), 0..300), field in ".{0,200}") {
        let _parsed = authenticator_data::AuthenticatorData::parse(&data);
        prop_assert!(register(&field, EXPECTED).is_err());
        prop_assert!(UnverifiedAssertion::parse(&field).is_err());
    }

    #[test]
    fn one_changed_byte_is_noticed(at in 0_usize..1000, flip in 1_u8..=255) {
        let passkey = SoftPasskey::new(EDDSA, b"credential");
        let answer = got(&passkey);
        let mut data = answer.authenticator_data(false);
        let signature = passkey.sign(&answer.signed(&data));
        let at = at % data.len();
        data[at] ^= flip;
        let field = json!({
            "id": text(b"credential"), "clientDataJSON": text(answer.client_data.as_bytes()),
            "authenticatorData": text(&data), "signature": text(&signature),
        });
        prop_assert!(verify(&passkey, &field.to_string(), 0).is_err());
    }
}
