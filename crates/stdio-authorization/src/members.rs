//! Changing single members of JSON objects, with every other value left byte for byte as it is.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// An object whose values were not decoded.
#[derive(Debug, Default)]
pub(crate) struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// Reads an object; anything else is `None`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.get())
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1.get().to_owned())
    }

    /// Sets a member in place, or at the end if it is new. `text` is JSON.
    pub(crate) fn set(&mut self, key: &str, text: String) {
        let Ok(value) = RawValue::from_string(text) else {
            return;
        };
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some(member) => member.1 = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Changes the object at `path` below this one. Objects that are missing on the way are made; where something else than an
    /// object stands in the way, nothing is changed and the answer is false.
    pub(crate) fn edit(&mut self, path: &[&str], change: &mut dyn FnMut(&mut Self)) -> bool {
        let Some((first, rest)) = path.split_first() else {
            change(self);
            return true;
        };
        let below = self.get(first).map_or_else(|| Some(Self::default()), Self::read);
        let Some(mut below) = below else { return false };
        if !below.edit(rest, change) {
            return false;
        }
        self.set(first, below.text());
        true
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reading)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_members_keep_their_bytes() {
        let mut members = Members::read(r#"{"b" : 1.0e2, "a":{"x": [1,  2],"é":"\u00e9"}}"#).unwrap();
        assert!(members.edit(&["a", "new", "deep"], &mut |object| {
            object.set("k", "true".to_owned());
        }));
        assert_eq!(
            members.text(),
            r#"{"b":1.0e2,"a":{"x":[1,  2],"é":"\u00e9","new":{"deep":{"k":true}}}}"#
        );
        assert!(!members.edit(&["b", "c"], &mut |object| object.set("k", "true".to_owned())));
        assert_eq!(members.remove("b").as_deref(), Some("1.0e2"));
        assert!(Members::read("[1]").is_none());
    }
}
