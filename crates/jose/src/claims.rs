//! The claims of a verified token, read by name **and** type.

use serde_json::{Map, Value};

/// Why a claim was refused. Names the claim, never its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// It is required and not there.
    #[error("the claim {0} is missing")]
    Missing(&'static str),
    /// It is there and of another type. Never treated as absent (CVE-2026-25537).
    #[error("the claim {0} has the wrong type")]
    WrongType(&'static str),
}

/// The payload of a token: a JSON object with unique keys.
#[derive(Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    pub(crate) const fn new(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// Whether the claim is there, whatever its value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A string. `null` is of the wrong type, not absent.
    pub fn string(&self, name: &'static str) -> Result<Option<&str>, ClaimError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ClaimError::WrongType(name)),
        }
    }

    /// A string that must be there.
    pub fn required_string(&self, name: &'static str) -> Result<&str, ClaimError> {
        self.string(name)?.ok_or(ClaimError::Missing(name))
    }

    /// A whole number from 0 to 2^63 - 1, written without fraction or exponent.
    pub fn integer(&self, name: &'static str) -> Result<Option<i64>, ClaimError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) if number >= 0 => Ok(Some(number)),
                _ => Err(ClaimError::WrongType(name)),
            },
        }
    }

    /// A whole number that must be there.
    pub fn required_integer(&self, name: &'static str) -> Result<i64, ClaimError> {
        self.integer(name)?.ok_or(ClaimError::Missing(name))
    }

    /// An array of strings.
    pub fn strings(&self, name: &'static str) -> Result<Option<Vec<&str>>, ClaimError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().ok_or(ClaimError::WrongType(name)))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(ClaimError::WrongType(name)),
        }
    }

    /// The JSON object.
    #[must_use]
    pub const fn as_object(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Names the claims and hides their values: they are personal data.
impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
