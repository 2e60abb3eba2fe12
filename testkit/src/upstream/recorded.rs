//! What arrived, and how five parsers would read it.

use std::collections::BTreeSet;

use serde_json::Value;

/// One request as it came off the wire.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Request line and headers, byte for byte.
    pub head: Vec<u8>,
    /// The body, transfer coding removed.
    pub body: Vec<u8>,
}

impl Recorded {
    /// The method.
    #[must_use]
    pub fn method(&self) -> String {
        self.line().split(' ').next().unwrap_or_default().to_owned()
    }

    /// The request target.
    #[must_use]
    pub fn target(&self) -> String {
        self.line().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    fn line(&self) -> String {
        String::from_utf8_lossy(&self.head)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// Name and value of each header, in order, names as sent.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        String::from_utf8_lossy(&self.head)
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect()
    }

    /// Every value of a header.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<String> {
        self.headers()
            .into_iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// Everything in one piece.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), b"\r\n\r\n", &self.body].concat()
    }

    /// The body as JSON; `Null` if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The MCP method and the name (tool, prompt) that parsers of five kinds find in the body: the
    /// first of two equal keys wins, the last wins, keys compare without case, after compatibility
    /// folding of width, and with broken UTF-8 replaced.
    #[must_use]
    pub fn five_ways(&self) -> BTreeSet<(String, String)> {
        let lenient = String::from_utf8_lossy(&self.body);
        let mut out = BTreeSet::new();
        for fold in [
            |key: &str| key.to_owned(),
            |key: &str| key.to_ascii_lowercase(),
            narrow,
        ] {
            for last_wins in [false, true] {
                let members = members(&lenient, fold);
                let params = pick(&members, "params", last_wins).unwrap_or_default();
                let method = pick(&members, "method", last_wins).unwrap_or_default();
                let inner = self::members(&params, fold);
                let name = pick(&inner, "name", last_wins).unwrap_or_default();
                out.insert((unquote(&method), narrow(&unquote(&name))));
            }
        }
        out
    }
}

/// Full-width letters become ASCII, lower case: what NFKC with case folding does to them.
fn narrow(text: &str) -> String {
    text.chars()
        .map(|c| match u32::from(c) {
            code @ 0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(c),
            _ => c,
        })
        .filter(|c| !matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}'))
        .collect::<String>()
        .to_ascii_lowercase()
}

fn unquote(raw: &str) -> String {
    serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned())
}

fn pick(members: &[(String, String)], name: &str, last_wins: bool) -> Option<String> {
    let mut found = members
        .iter()
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.clone());
    if last_wins {
        found.next_back()
    } else {
        found.next()
    }
}

/// The members of a JSON object in order, values raw, duplicates kept. Lenient.
fn members(text: &str, fold: fn(&str) -> String) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let text = text.trim_start();
    let Some(mut rest) = text.strip_prefix('{') else {
        return out;
    };
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        if rest.is_empty() || rest.starts_with('}') {
            return out;
        }
        let mut keys = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let Some(Ok(key)) = keys.next() else { return out };
        rest = rest[keys.byte_offset()..].trim_start();
        let Some(after) = rest.strip_prefix(':') else {
            return out;
        };
        rest = after.trim_start();
        let mut values =
            serde_json::Deserializer::from_str(rest).into_iter::<Box<serde_json::value::RawValue>>();
        let Some(Ok(value)) = values.next() else {
            return out;
        };
        out.push((fold(&key), value.get().to_owned()));
        rest = &rest[values.byte_offset()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(body: &str) -> Vec<String> {
        let request = Recorded {
            head: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        request
            .five_ways()
            .into_iter()
            .map(|(method, name)| format!("{method} {name}"))
            .collect()
    }

    #[test]
    fn five_parsers_disagree_where_a_body_is_ambiguous() {
        assert_eq!(
            ways(r#"{"method":"tools/call","params":{"name":"a"}}"#),
            ["tools/call a"]
        );
        assert_eq!(
            ways(r#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#),
            ["tools/call a", "tools/call b"]
        );
        assert!(
            ways(r#"{"method":"tools/call","params":{"name":"a","NAME":"b"}}"#)
                .contains(&"tools/call b".into())
        );
        assert!(ways(r#"{"method":"tools/call","params":{"name":"ａ"}}"#).contains(&"tools/call a".into()));
    }
}
