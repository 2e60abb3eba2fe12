//! A JSON object whose values stay the text that they were: numbers keep their digits, content is never decoded.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// A value as JSON text.
pub(super) type Raw = Box<RawValue>;

/// The JSON text of `value`.
pub(super) fn raw(value: &(impl Serialize + ?Sized)) -> Raw {
    // What is written here are texts, numbers and objects with text keys: none of them can fail.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The members of an object, in order.
#[derive(Clone, Default)]
pub(super) struct Members(Vec<(String, Raw)>);

impl Members {
    /// Reads an object. `None` for anything else.
    pub(super) fn read(value: &RawValue) -> Option<Self> {
        serde_json::from_str(value.get()).ok()
    }

    /// Reads the text of an object.
    pub(super) fn read_text(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn get(&self, key: &str) -> Option<&RawValue> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The member as what it should be; `None` too if it is something else.
    pub(super) fn value<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.value(key)
    }

    pub(super) fn object(&self, key: &str) -> Option<Self> {
        Self::read(self.get(key)?)
    }

    /// Whether the member is an object.
    pub(super) fn has_object(&self, key: &str) -> bool {
        self.get(key).is_some_and(is_object)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Raw> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    /// Sets a member: in its place if it is there, else at the end.
    pub(super) fn set(&mut self, key: &str, value: Raw) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    #[must_use]
    pub(super) fn with(mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Self {
        self.set(key, raw(value));
        self
    }

    /// Changes the object at `key`, which is removed if nothing is left of it. Nothing happens if it is no object.
    pub(super) fn change(&mut self, key: &str, change: impl FnOnce(&mut Self)) {
        let Some(mut inner) = self.object(key) else { return };
        change(&mut inner);
        if inner.is_empty() {
            self.take(key);
        } else {
            self.set(key, raw(&inner));
        }
    }
}

/// Whether the text is that of an object.
pub(super) fn is_object(value: &RawValue) -> bool {
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
        deserializer.deserialize_map(Object)
    }
}
