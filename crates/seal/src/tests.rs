use doorward_types::random::{CountingRandom, SystemRandom};
use proptest::prelude::*;

use super::*;

fn master(seed: u8) -> MasterKey {
    use base64::Engine as _;
    MasterKey::parse(&base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([seed; 32])).unwrap()
}

fn sealer() -> Sealer {
    Sealer::new(&master(7), Purpose::StoredKey)
}

fn sealed() -> Vec<u8> {
    sealer()
        .seal(b"keys/1", b"aad", b"plain text", &CountingRandom::default())
        .unwrap()
}

#[test]
fn master_key_text_round_trips_and_damage_is_refused() {
    let key = MasterKey::generate(&SystemRandom);
    let text = key.to_text();
    assert_eq!(text.expose().len(), 44);
    assert_eq!(MasterKey::parse(text.expose()).unwrap().id(), key.id());
    let bare = text.expose().trim_end();
    assert_eq!(MasterKey::parse(bare).unwrap().id(), key.id());
    assert_eq!(MasterKey::parse(&format!("{bare}\r\n")).unwrap().id(), key.id());
    for bad in [
        String::new(),
        "\n".into(),
        format!("{bare}\n\n"),
        format!(" {bare}"),
        format!("{bare}="),
        bare.get(..42).unwrap().to_owned(),
        format!("{bare}A"),
        "A".repeat(42) + "B", // non-zero trailing bits
        "+".repeat(43),
    ] {
        assert!(matches!(MasterKey::parse(&bad), Err(NotAMasterKey)), "{bad:?}");
    }
}

#[test]
fn nothing_prints_a_key() {
    let key = master(1);
    let shown = format!("{key:?}{:?}{:?}", sealer(), Mac::new(&key, Purpose::Csrf));
    assert_eq!(shown, "MasterKey([redacted])Sealer([redacted])Mac([redacted])");
}

#[test]
fn every_changed_byte_is_noticed() {
    let sealed = sealed();
    assert_eq!(
        sealer().open(b"keys/1", b"aad", &sealed).unwrap().as_slice(),
        b"plain text"
    );
    for position in 0..sealed.len() {
        for bit in 0..8 {
            let mut bad = sealed.clone();
            bad[position] ^= 1 << bit;
            let expected = match position {
                0 => OpenError::NotSealed,
                1..=8 => OpenError::UnknownKey,
                _ => OpenError::Broken,
            };
            assert_eq!(
                sealer().open(b"keys/1", b"aad", &bad),
                Err(expected),
                "byte {position} bit {bit}"
            );
        }
    }
}

#[test]
fn every_truncation_and_extension_is_noticed() {
    let sealed = sealed();
    for length in 0..sealed.len() {
        assert!(
            sealer().open(b"keys/1", b"aad", &sealed[..length]).is_err(),
            "{length} bytes"
        );
    }
    let mut longer = sealed;
    longer.push(0);
    assert_eq!(sealer().open(b"keys/1", b"aad", &longer), Err(OpenError::Broken));
    let huge = vec![1; MAX_PLAINTEXT + 200];
    assert_eq!(sealer().open(b"keys/1", b"aad", &huge), Err(OpenError::NotSealed));
    assert_eq!(
        sealer().open_text(b"", b"", &"A".repeat(MAX_PLAINTEXT * 2)),
        Err(OpenError::NotSealed)
    );
}

#[test]
fn wrong_record_associated_data_purpose_and_master_key_are_refused() {
    let sealed = sealed();
    for (record, associated) in [
        (&b"keys/2"[..], &b"aad"[..]),
        (b"keys/1", b"aae"),
        (b"keys/1", b""),
        (b"", b"aad"),
        (b"keys/1a", b"ad"),
    ] {
        assert_eq!(sealer().open(record, associated, &sealed), Err(OpenError::Broken));
    }
    let other_purpose = Sealer::new(&master(7), Purpose::AuthorizationRequest);
    assert_eq!(
        other_purpose.open(b"keys/1", b"aad", &sealed),
        Err(OpenError::Broken)
    );
    let other_master = Sealer::new(&master(8), Purpose::StoredKey);
    assert_eq!(
        other_master.open(b"keys/1", b"aad", &sealed),
        Err(OpenError::UnknownKey)
    );
}

#[test]
fn a_retired_master_key_still_opens_and_is_reported_as_outdated() {
    let old = sealed();
    let rotated = Sealer::new(&master(8), Purpose::StoredKey).with_retired(&master(7), Purpose::StoredKey);
    assert_eq!(
        rotated.open(b"keys/1", b"aad", &old).unwrap().as_slice(),
        b"plain text"
    );
    assert!(rotated.is_outdated(&old));
    let new = rotated
        .seal(b"keys/1", b"aad", b"x", &CountingRandom::default())
        .unwrap();
    assert!(!rotated.is_outdated(&new));
    assert_eq!(sealer().open(b"keys/1", b"aad", &new), Err(OpenError::UnknownKey));
}

#[test]
fn the_same_text_is_sealed_differently_each_time() {
    let random = CountingRandom::default();
    let one = sealer().seal(b"r", b"", b"same", &random).unwrap();
    let two = sealer().seal(b"r", b"", b"same", &random).unwrap();
    assert_ne!(one, two);
}

#[test]
fn too_long_is_not_sealed() {
    let text = vec![0; MAX_PLAINTEXT + 1];
    assert_eq!(
        sealer().seal(b"", b"", &text, &CountingRandom::default()),
        Err(SealError::TooLong)
    );
    let longest = sealer()
        .seal(b"", b"", &text[1..], &CountingRandom::default())
        .unwrap();
    assert_eq!(sealer().open(b"", b"", &longest).unwrap().len(), MAX_PLAINTEXT);
}

#[test]
fn sealed_text_is_canonical() {
    let text = sealer()
        .seal_text(b"", b"a", b"0123", &CountingRandom::default())
        .unwrap();
    assert_eq!(sealer().open_text(b"", b"a", &text).unwrap().as_slice(), b"0123");
    assert_eq!(
        sealer().open_text(b"", b"a", &format!("{text}=")),
        Err(OpenError::NotSealed)
    );
    assert_eq!(
        sealer().open_text(b"", b"a", &format!("{text} ")),
        Err(OpenError::NotSealed)
    );
    assert_eq!(sealer().open_text(b"", b"a", ""), Err(OpenError::NotSealed));
    assert_eq!(sealer().open_text(b"", b"a", "é"), Err(OpenError::NotSealed));
}

#[test]
fn mac_known_answer_and_refusals() {
    // RFC 4231 §4.3 has a short key; HMAC pads keys with zeros, so it can be given as 32 bytes.
    let mut key = [0; 32];
    key[..4].copy_from_slice(b"Jefe");
    let mac = Mac::from_key(&key);
    let hex: String = mac
        .tag(&[b"what do ya want ", b"for nothing?"])
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(
        hex,
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );

    let tag = mac.tag(&[b"m"]);
    assert!(mac.verify(&[b"m"], &tag));
    assert!(!mac.verify(&[b"n"], &tag));
    assert!(!mac.verify(&[b"m"], &tag[..31]));
    assert!(!mac.verify(&[b"m"], b""));
    let text = mac.tag_text(&[b"m"]);
    assert!(mac.verify_text(&[b"m"], &text));
    for bad in ["", "=", &text[1..], &format!("{text}=")] {
        assert!(!mac.verify_text(&[b"m"], bad), "{bad}");
    }
}

#[test]
fn macs_of_different_purposes_and_masters_differ() {
    let all: std::collections::BTreeSet<_> = [
        Purpose::StoredKey,
        Purpose::AuthorizationRequest,
        Purpose::Csrf,
        Purpose::McpSession,
    ]
    .into_iter()
    .flat_map(|purpose| [1, 2].map(|seed| Mac::new(&master(seed), purpose).tag(&[b"m"])))
    .collect();
    assert_eq!(all.len(), 8);
}

#[test]
fn derivation_is_stable_across_releases() {
    // Whoever changes these makes every existing data folder unreadable.
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    // Computed with another implementation of RFC 5869 and RFC 2104.
    assert_eq!(hex(&master(7).id()), "c86c4f186bbc4351");
    assert_eq!(
        hex(&Mac::new(&master(7), Purpose::Csrf).tag(&[b"m"])),
        "b734a3035a93c3b6b5f1d4e799d1e8b33a381a322edbc8da585007b8d2de22ed"
    );
    let sealed = sealed();
    assert_eq!((sealed[0], hex(&sealed[1..9])), (1, "c86c4f186bbc4351".into()));
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened(
        record: Vec<u8>, associated: Vec<u8>, text: Vec<u8>
    ) {
        let sealed = sealer().seal(&record, &associated, &text, &SystemRandom).unwrap();
        let opened = sealer().open(&record, &associated, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), &text[..]);
    }

    #[test]
    fn noise_is_never_opened(noise: Vec<u8>) {
        prop_assert!(sealer().open(b"", b"", &noise).is_err());
    }
}
