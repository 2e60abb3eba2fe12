//! What servers of many kinds would find in the same bytes.

use std::collections::BTreeSet;

use icu_normalizer::ComposingNormalizerBorrowed;

/// One server's view of one message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading {
    /// The method, folded as that server folds keys.
    pub method: String,
    /// What the method acts on: a tool's or prompt's name, a resource's URI, a task's id; else nothing.
    pub object: String,
}

/// How a server tells keys apart.
#[derive(Clone, Copy, Debug)]
enum Keys {
    Exact,
    /// `encoding/json` of Go and many others.
    AnyCase,
    /// NFKC, without case and invisible characters. Such a server reads tool names in the same way; prompt names and
    /// URIs, for which the specification has no alphabet, it takes as they are.
    Compatible,
}

/// Every reading of `bytes` by readers that differ in these: broken UTF-8 is replaced or left out; the first or the
/// last of two equal keys wins; keys compare exactly, without case, or by their compatibility forms. All of them
/// forgive what they can (comments, commas too many, quotes of the wrong kind, a missing end, more than one message),
/// read each message of a batch, and disagree about no JSON text that is strictly well-formed and without doubles.
#[must_use]
pub fn readings(bytes: &[u8]) -> BTreeSet<Reading> {
    let dropped: String = bytes
        .utf8_chunks()
        .map(|chunk| chunk.valid().to_owned())
        .collect();
    let replaced = String::from_utf8_lossy(bytes).into_owned();
    let mut out = BTreeSet::new();
    for text in BTreeSet::from([dropped, replaced]) {
        let messages = Loose::read_all(&text);
        for keys in [Keys::Exact, Keys::AnyCase, Keys::Compatible] {
            for last_wins in [false, true] {
                for message in &messages {
                    read(message, keys, last_wins, &mut out);
                }
            }
        }
    }
    out
}

fn read(message: &Loose, keys: Keys, last_wins: bool, out: &mut BTreeSet<Reading>) {
    if let Loose::Array(batch) = message {
        for message in batch {
            read(message, keys, last_wins, out);
        }
    }
    let member = |object: Option<&Loose>, name: &str| -> Option<Loose> {
        let Some(Loose::Object(members)) = object else {
            return None;
        };
        let mut found = members.iter().filter(|(key, _)| fold(key, keys) == name);
        let found = if last_wins {
            found.next_back()
        } else {
            found.next()
        };
        found.map(|(_, value)| value.clone())
    };
    let Some(method) = member(Some(message), "method").and_then(Loose::text) else {
        return;
    };
    let method = fold(&method, keys);
    let params = member(Some(message), "params");
    let params = params.as_ref();
    let object = match method.as_str() {
        "tools/call" | "prompts/get" => member(params, "name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => member(params, "uri"),
        method if method.starts_with("tasks/") => {
            let task = if matches!(keys, Keys::Exact) {
                "taskId"
            } else {
                "taskid"
            };
            member(params, task)
        }
        _ => None,
    };
    let object = object.and_then(Loose::text).unwrap_or_default();
    let object = match keys {
        Keys::Compatible if method == "tools/call" => compatible(&object),
        _ => object,
    };
    out.insert(Reading { method, object });
}

fn fold(text: &str, keys: Keys) -> String {
    match keys {
        Keys::Exact => text.to_owned(),
        // Go compares by simple folding, in which U+017F is an s and U+212A a k.
        Keys::AnyCase => text.replace('ſ', "s").replace('K', "k").to_lowercase(),
        Keys::Compatible => compatible(text).to_lowercase(),
    }
}

/// NFKC, then without what cannot be seen and without spaces around it.
fn compatible(text: &str) -> String {
    let normal = ComposingNormalizerBorrowed::new_nfkc().normalize(text);
    let visible: String = normal
        .chars()
        .filter(|c| {
            !matches!(
                c,
                '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\0'
            )
        })
        .collect();
    visible.trim().to_owned()
}

/// JSON, or what is meant to be.
#[derive(Clone, Debug)]
enum Loose {
    Object(Vec<(String, Loose)>),
    Array(Vec<Loose>),
    Text(String),
    /// A number or a word.
    Bare(String),
}

impl Loose {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Every value in `text`, one after the other.
    fn read_all(text: &str) -> Vec<Self> {
        let characters: Vec<char> = text.chars().collect();
        let mut reader = LooseReader {
            characters: &characters,
            at: 0,
        };
        let mut out = Vec::new();
        while reader.skip() {
            let before = reader.at;
            out.extend(reader.value(0));
            // A stray closing bracket and the like.
            reader.at = reader.at.max(before + 1);
        }
        out
    }
}

struct LooseReader<'a> {
    characters: &'a [char],
    at: usize,
}

impl LooseReader<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    /// Passes spaces, comments, commas and colons; whether something is left.
    fn skip(&mut self) -> bool {
        while let Some(c) = self.peek() {
            if c == '/' && self.characters.get(self.at + 1) == Some(&'*') {
                let rest = &self.characters[self.at + 2..];
                let end = rest.windows(2).position(|pair| pair == ['*', '/']);
                self.at += end.map_or(rest.len() + 2, |end| end + 4);
            } else if c == '/' && self.characters.get(self.at + 1) == Some(&'/') {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else if c.is_whitespace() || c.is_control() || matches!(c, ',' | ':' | '\u{feff}') {
                self.at += 1;
            } else {
                return true;
            }
        }
        false
    }

    fn value(&mut self, depth: usize) -> Option<Loose> {
        if !self.skip() || depth > 200 {
            return None;
        }
        match self.peek()? {
            '{' => {
                self.at += 1;
                let mut members = Vec::new();
                while self.skip() && self.peek() != Some('}') {
                    let key = match self.value(depth + 1) {
                        Some(Loose::Text(key) | Loose::Bare(key)) => key,
                        Some(_) => continue,
                        None => break,
                    };
                    if !self.skip() || self.peek() == Some('}') {
                        break;
                    }
                    match self.value(depth + 1) {
                        Some(value) => members.push((key, value)),
                        None => break,
                    }
                }
                self.at += 1;
                Some(Loose::Object(members))
            }
            '[' => {
                self.at += 1;
                let mut elements = Vec::new();
                while self.skip() && self.peek() != Some(']') {
                    match self.value(depth + 1) {
                        Some(value) => elements.push(value),
                        None => break,
                    }
                }
                self.at += 1;
                Some(Loose::Array(elements))
            }
            quote @ ('"' | '\'') => {
                self.at += 1;
                Some(Loose::Text(self.string(quote)))
            }
            '}' | ']' => None,
            _ => {
                let begin = self.at;
                while self.peek().is_some_and(|c| {
                    !c.is_whitespace() && !matches!(c, ',' | ':' | '{' | '}' | '[' | ']' | '"')
                }) {
                    self.at += 1;
                }
                Some(Loose::Bare(self.characters[begin..self.at].iter().collect()))
            }
        }
    }

    fn string(&mut self, quote: char) -> String {
        let mut units: Vec<u16> = Vec::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            let c = match c {
                c if c == quote => break,
                '\\' => {
                    let Some(escape) = self.peek() else { break };
                    self.at += 1;
                    match escape {
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'u' => {
                            let end = self.characters.len().min(self.at + 4);
                            let digits: String = self.characters[self.at..end].iter().collect();
                            if let Ok(unit) = u16::from_str_radix(&digits, 16) {
                                self.at = end;
                                units.push(unit);
                            }
                            continue;
                        }
                        other => other,
                    }
                }
                c => c,
            };
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
        String::from_utf16_lossy(&units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: &[u8]) -> Vec<String> {
        readings(body)
            .into_iter()
            .map(|reading| format!("{} {}", reading.method, reading.object))
            .collect()
    }

    #[test]
    fn readers_agree_on_what_is_plain() {
        for body in [
            r#"{"method":"tools/call","params":{"name":"a"}}"#,
            r#" {"params" : {"arguments":{"name":"b","x":[1,{"name":"c"}]}, "n\u0061me":"\u0061"}, "method":"tools\/call"}"#,
        ] {
            assert_eq!(all(body.as_bytes()), ["tools/call a"], "{body}");
        }
        assert_eq!(
            all(br#"{"method":"resources/read","params":{"uri":"a","name":"b"}}"#),
            ["resources/read a"]
        );
        assert_eq!(all(br#"{"id":1,"result":{}}"#), [""; 0]);
    }

    #[test]
    fn readers_disagree_on_what_is_not() {
        for body in [
            &br#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#[..],
            br#"{"method":"tools/call","params":{"name":"b","name":"a"}}"#,
            br#"{"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            br#"{"method":"tools/call","params":{"name":"a"},"paramS":{"name":"b"}}"#,
            "{\"method\":\"tools/call\",\"params\":{\"name\":\"a\"},\"param\u{17f}\":{\"name\":\"b\"}}".as_bytes(),
            "{\"method\":\"tools/call\",\"params\":{\"name\":\"a\",\"ｎame\":\"b\"}}".as_bytes(),
            "{\"method\":\"tools/call\",\"params\":{\"name\":\"ｂ\"}}".as_bytes(),
            "{\"method\":\"tools/call\",\"params\":{\"name\":\"b\u{200d}\"}}".as_bytes(),
            b"{\"method\":\"tools/call\",\"params\":{\"name\":\"\xffb\"}}",
            br#"[{"method":"tools/call","params":{"name":"a"}},{"method":"tools/call","params":{"name":"b"}}]"#,
            br#"{"method":"tools/call","params":{"name":"a"}} {"method":"tools/call","params":{"name":"b"}}"#,
            br#"{"method":"tools/call","params":{/*"name":"a"*/'name':"b",},"#,
            br#"{"method":"tools/call","params":{"name":"b""#,
        ] {
            assert!(
                all(body).contains(&"tools/call b".to_owned()),
                "{}: {:?}",
                String::from_utf8_lossy(body),
                all(body)
            );
        }
    }
}
