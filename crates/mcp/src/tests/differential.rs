//! The reader against serde_json: it never accepts what serde_json refuses, and refuses of what serde_json
//! accepts only what it says it refuses.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::reader::Reader;
use crate::{EnvelopeError, Kind};

fn strict(text: &str) -> Result<(), EnvelopeError> {
    let mut reader = Reader::new(text);
    reader.value()?;
    reader.end()
}

pub(super) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-c\\\\\"/\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..24)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Writes JSON as somebody else might: every character of strings may be escaped, white space anywhere.
fn write(value: &Value, dice: &mut impl FnMut() -> u8, out: &mut String) {
    let space = |out: &mut String, roll: u8| {
        if roll.is_multiple_of(5) {
            out.push([' ', '\n', '\t', '\r'][usize::from(roll / 5) % 4]);
        }
    };
    let quote = |text: &str, dice: &mut dyn FnMut() -> u8, out: &mut String| {
        out.push('"');
        for character in text.chars() {
            let must = character < ' ' || matches!(character, '"' | '\\');
            if must || dice().is_multiple_of(4) {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                out.push(character);
            }
        }
        out.push('"');
    };
    space(out, dice());
    match value {
        Value::String(text) => quote(text, dice, out),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(item, dice, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (n, (key, item)) in members.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                space(out, dice());
                quote(key, dice, out);
                out.push(':');
                write(item, dice, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
    space(out, dice());
}

pub(super) fn written(value: &Value, seed: &[u8]) -> String {
    let mut rolls = seed.iter().cycle().copied().enumerate();
    let mut dice = move || {
        rolls
            .next()
            .map_or(1, |(n, byte)| byte.wrapping_add(n.to_le_bytes()[0]))
    };
    let mut out = String::new();
    write(value, &mut dice, &mut out);
    out
}

proptest! {
    #[test]
    fn accepts_what_is_json(value in values(), seed in prop::collection::vec(any::<u8>(), 1..32)) {
        let text = written(&value, &seed);
        prop_assert_eq!(strict(&text), Ok(()), "{}", text);
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
    }

    #[test]
    fn never_accepts_what_serde_json_refuses(
        value in values(),
        seed in prop::collection::vec(any::<u8>(), 1..32),
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}:,\"\\\\u0-9eE+.tfnd /\u{0}\u{7f}é-]{0,2}"), 1..4),
    ) {
        let mut text = written(&value, &seed);
        for (position, insert) in edits {
            let characters: Vec<(usize, char)> = text.char_indices().collect();
            if characters.is_empty() { continue }
            let (at, character) = characters[position.index(characters.len())];
            text.replace_range(at..at + character.len_utf8(), &insert);
        }
        let theirs = serde_json::from_str::<Value>(&text);
        match strict(&text) {
            Ok(()) => prop_assert!(theirs.is_ok(), "accepted, but serde_json says {:?}: {}", theirs, text),
            Err(EnvelopeError::DuplicateKey { .. } | EnvelopeError::NumberTooLong { .. } | EnvelopeError::TooDeep { .. }) => {}
            Err(error) => prop_assert!(theirs.is_err(), "refused ({}), but serde_json accepts: {}", error, text),
        }
    }

    #[test]
    fn any_text_at_all(text in "\\PC{0,40}") {
        if strict(&text).is_ok() {
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn p3_both_see_the_same_message(
        name in any::<String>(),
        uri in any::<String>(),
        arguments in values(),
        id in prop_oneof![any::<i64>().prop_map(Value::from), "[a-z\\\\\"é]{0,8}".prop_map(Value::from)],
        seed in prop::collection::vec(any::<u8>(), 1..32),
    ) {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": name, "uri": uri, "arguments": arguments,
                "_meta": {"io.modelcontextprotocol/protocolVersion": uri}}});
        let text = written(&message, &seed);
        let envelope = super::read(&text).unwrap();
        prop_assert_eq!(envelope.kind(), Kind::Request);
        prop_assert_eq!(envelope.name(), Some(&*name));
        prop_assert_eq!(envelope.uri(), Some(&*uri));
        prop_assert_eq!(envelope.meta_version(), Some(&*uri));
        prop_assert_eq!(serde_json::from_str::<Value>(envelope.id().unwrap()).unwrap(), id);
    }
}

#[test]
fn the_depth_limit_is_where_serde_json_has_it() {
    for depth in [126, 127, 128, 129] {
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(
            strict(&text).is_ok(),
            serde_json::from_str::<Value>(&text).is_ok(),
            "{depth}"
        );
    }
}
