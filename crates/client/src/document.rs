//! JSON documents of servers, read strictly: no key twice, every member that is used has its type.

use doorward_jose::parse_object;
use doorward_types::scope::{Scope, ScopeSet};
use serde_json::{Map, Value};
use url::Url;

use crate::error::{Error, Hop, Refusal};
use crate::named_url::UrlPolicy;
use crate::text::shown;

/// The most items of a list that are read.
const MAX_ITEMS: usize = 256;

/// A JSON object, with what refusals about it have to say.
pub(crate) struct Document<'a> {
    members: Map<String, Value>,
    hop: Hop,
    url: &'a Url,
    rule: &'static str,
    clause: &'static str,
    policy: &'a UrlPolicy,
}

impl<'a> Document<'a> {
    /// Reads `body`, which came from `url`. `rule` and `clause` say what asks for members to have their type.
    pub(crate) fn parse(
        body: &[u8],
        hop: Hop,
        url: &'a Url,
        (rule, clause): (&'static str, &'static str),
        policy: &'a UrlPolicy,
    ) -> Option<Self> {
        let members = parse_object(body).ok()?;
        Some(Self {
            members,
            hop,
            url,
            rule,
            clause,
            policy,
        })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// A string member; `null` is the same as absent.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_type(name, "a string")),
        }
    }

    /// A boolean member; absent is `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong_type(name, "true or false")),
        }
    }

    /// A member that is a number without sign and fraction.
    pub(crate) fn whole_number(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| self.wrong_type(name, "a whole number")),
        }
    }

    /// An array of strings.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) if items.len() <= MAX_ITEMS => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Some)
                .ok_or_else(|| self.wrong_type(name, "an array of strings")),
            Some(_) => Err(self.wrong_type(name, "an array of at most 256 strings")),
        }
    }

    /// An array of scopes. What is no scope (RFC 6749 §3.3) could never be asked for, so it is left out.
    pub(crate) fn scopes(&self, name: &str) -> Result<Option<ScopeSet>, Error> {
        let listed = self.texts(name)?;
        Ok(listed.map(|items| {
            items
                .iter()
                .filter_map(|item| item.parse::<Scope>().ok())
                .collect()
        }))
    }

    /// The URL of an endpoint (B20, B21).
    pub(crate) fn endpoint(&self, name: &str) -> Result<Option<Url>, Error> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match self.policy.judge(text) {
            Ok(url) => Ok(Some(url)),
            Err(why) => Err(self.refuse(
                ("B20", "MCP security best practices; OAuth 2.1 §1.5"),
                format!("{name} is \"{}\": {why}", shown(text)),
                "its operator must name an https URL without user name and fragment",
            )),
        }
    }

    /// A refusal of this document.
    pub(crate) fn refuse(
        &self,
        (rule, clause): (&'static str, &'static str),
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Error {
        Refusal::new(self.hop, Some(self.url), (rule, clause), problem, remedy).into()
    }

    fn wrong_type(&self, name: &str, expected: &str) -> Error {
        self.refuse(
            (self.rule, self.clause),
            format!("{name} is not {expected}"),
            format!("its operator must correct {name} in this document"),
        )
    }
}
