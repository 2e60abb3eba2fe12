//! Changing single members of JSON objects, with every other value left byte for byte as it is.

use doorward_mcp::members::Members as Inner;
use serde_json::value::RawValue;

/// An object whose values were not decoded; they go in and out as JSON text.
#[derive(Debug, Default)]
pub(crate) struct Members(Inner);

impl Members {
    /// Reads an object; anything else is `None`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        Inner::read_text(text.as_bytes()).map(Self)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(RawValue::get)
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<String> {
        self.0.take(key).map(|value| value.get().to_owned())
    }

    /// Sets a member in place, or at the end if it is new. `text` is JSON.
    pub(crate) fn set(&mut self, key: &str, text: String) {
        if let Ok(value) = RawValue::from_string(text) {
            self.0.set(key, value);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
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
