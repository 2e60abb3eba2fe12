//! A JSON object whose values stay the text that they were: numbers keep their digits, content is never decoded.
//!
//! For those who translate a message or change single members of it. Who only passes it on needs [`ServerMessage`] and
//! [`Envelope`](crate::Envelope), which copy nothing.
//!
//! [`ServerMessage`]: crate::ServerMessage

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// The most members that are read. Each takes far more memory than the six bytes that it may be long (CL-15); none of the objects
/// that are taken apart has more than a few dozen.
const MOST: usize = 1 << 16;

/// A value as JSON text.
pub type Raw = Box<RawValue>;

/// The JSON text of `value`.
#[must_use]
pub fn raw(value: &(impl Serialize + ?Sized)) -> Raw {
    // What is written here are texts, numbers and objects with text keys: none of them can fail.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The members of an object, in order. Without their values in `Debug`.
#[derive(Clone, Default)]
pub struct Members(Vec<(String, Raw)>);

impl Members {
    /// Reads an object. `None` for anything else, and for one of more than 65,536 members.
    #[must_use]
    pub fn read(value: &RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }

    /// The same, from its text.
    #[must_use]
    pub fn read_text(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    /// Whether there is such a member, `null` included.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The first member of this name.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The member as what it should be; `None` too if it is something else.
    #[must_use]
    pub fn value<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }

    /// The member as text; `None` too if it is something else.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        self.value(key)
    }

    /// The member as an object; `None` too if it is something else.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<Self> {
        Self::read(self.get(key)?)
    }

    /// Whether the member is an object.
    #[must_use]
    pub fn has_object(&self, key: &str) -> bool {
        self.get(key).is_some_and(is_object)
    }

    /// Takes a member away.
    pub fn take(&mut self, key: &str) -> Option<Raw> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    /// Sets a member: in its place if it is there, else at the end.
    pub fn set(&mut self, key: &str, value: Raw) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// With a member set to what `value` is as JSON.
    #[must_use]
    pub fn with(mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Self {
        self.set(key, raw(value));
        self
    }

    /// Changes the object at `key`, which is removed if nothing is left of it. Nothing happens if it is no object.
    pub fn change(&mut self, key: &str, change: impl FnOnce(&mut Self)) {
        let Some(mut inner) = self.object(key) else { return };
        change(&mut inner);
        if inner.is_empty() {
            self.take(key);
        } else {
            self.set(key, raw(&inner));
        }
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({})", self.0.len())
    }
}

/// Whether the text is that of an object.
#[must_use]
pub fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
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

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {MOST} members")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MOST {
                        return Err(serde::de::Error::invalid_length(members.len(), &self));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text_and_members_their_order() {
        let text = r#"{"b" : 1.0e2, "a":{"x": [1,  2],"\u00e9":"\u00e9"},"n":null}"#;
        let mut members = Members::read_text(text.as_bytes()).unwrap();
        assert_eq!(members.get("b").unwrap().get(), "1.0e2");
        assert!(members.has("n") && members.has_object("a") && !members.has_object("b"));
        members.change("a", |inner| {
            inner.take("x");
        });
        members.set("b", raw("new"));
        let written = serde_json::to_string(&members.clone().with("c", &7)).unwrap();
        assert_eq!(
            written,
            "{\"b\":\"new\",\"a\":{\"é\":\"\\u00e9\"},\"n\":null,\"c\":7}"
        );
        members.change("a", |inner| {
            inner.take("é");
        });
        assert!(!members.has("a"), "nothing was left of it");
        assert!(Members::read_text(b"[1]").is_none());
        assert_eq!(format!("{members:?}"), "Members(2)");
    }

    #[test]
    fn cl_15_no_object_takes_more_memory_than_its_text_deserves() {
        let object = |members: usize| format!("{{{}}}", vec!["\"\":0"; members].join(","));
        assert_eq!(Members::read_text(object(MOST).as_bytes()).unwrap().len(), MOST);
        assert!(Members::read_text(object(MOST + 1).as_bytes()).is_none());
    }
}
