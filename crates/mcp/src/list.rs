//! Lists of tools, prompts, resources, templates and tasks, without what their reader may not use.
//!
//! Only what has to change does: items that stay keep their bytes, and so does everything around the list.

use std::borrow::Cow;
use std::ops::Range;

use crate::envelope::EnvelopeError;
use crate::reader::{Quoted, Reader, resolve};

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `tools`, by `name`.
    Tools,
    /// `prompts`, by `name`.
    Prompts,
    /// `resources`, by `uri`.
    Resources,
    /// `resourceTemplates`, by `uriTemplate`.
    ResourceTemplates,
    /// `tasks`, by `taskId` (2025-11-25).
    Tasks,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Tools,
        Self::Prompts,
        Self::Resources,
        Self::ResourceTemplates,
        Self::Tasks,
    ];

    /// The list that a request of this method asks for.
    #[must_use]
    pub fn of_method(method: &str) -> Option<Self> {
        match method {
            "tools/list" => Some(Self::Tools),
            "prompts/list" => Some(Self::Prompts),
            "resources/list" => Some(Self::Resources),
            "resources/templates/list" => Some(Self::ResourceTemplates),
            "tasks/list" => Some(Self::Tasks),
            _ => None,
        }
    }

    /// The member of the result that holds the list.
    const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
            Self::Tasks => "tasks",
        }
    }

    /// The member of an item that names it.
    const fn named_by(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
            Self::Tasks => "taskId",
        }
    }
}

/// What becomes of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is left out.
    Drop,
    /// It stays as it is.
    Keep,
    /// It stays, and its `_meta` says that using it takes these scopes.
    Mark(Vec<String>),
}

/// Why an answer cannot be filtered. It must not pass then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It cannot be read strictly.
    #[error("the list cannot be read: {0}")]
    Unreadable(#[from] EnvelopeError),
    /// It has a result, and what should be the list in it is none.
    #[error("the result holds no list of what was asked for")]
    NoList,
    /// It has more items than [`MOST_ITEMS`], or would become longer than [`LONGEST`]. Lists have pages.
    #[error("the list is too long")]
    TooLong,
    /// An item that is to be marked has a `_meta` that is no object.
    #[error("an item's `_meta` is no object")]
    Meta,
}

/// The key of an item's `_meta` that says what using it takes.
pub const MARK: &str = "io.doorward/authorization";
/// How long a filtered list may be kept, in milliseconds: what its reader may use can change.
pub const LONGEST_TTL: u64 = 60_000;

/// Most items of one list: each takes a decision.
pub const MOST_ITEMS: usize = 20_000;
/// Longest that the items of a list may become, in bytes, with what is written on them.
pub const LONGEST: usize = 32 << 20;

type Edit = (Range<usize>, String);

/// Filters every list in an answer, and limits how it may be cached: `ttlMs` to [`LONGEST_TTL`], `cacheScope` to
/// `private` (2026-07-28, Caching).
///
/// `message` is one JSON-RPC message of a server. With `asked`, a result has to hold that list. Without, it is
/// taken by its shape, for messages of which nobody knows what they answer. `keep` is called with each item's name; an
/// item without one is dropped. `Ok(None)`: nothing has to change; errors and notifications never do.
pub fn filter(
    message: &[u8],
    asked: Option<Kind>,
    keep: &mut dyn FnMut(Kind, &str) -> Keep,
) -> Result<Option<Vec<u8>>, ListError> {
    let found = Found {
        asked,
        ..Found::default()
    };
    found.edited(message, keep)
}

/// Writes on the items of a list what using them takes, for a list that is the same for all its readers: no item is left out, and
/// the list may be cached as before.
///
/// `scopes` is called with each item's name; `None`: nothing is written on it. `Ok(None)`: nothing has to change.
pub fn mark(
    message: &[u8],
    asked: Kind,
    scopes: &mut dyn FnMut(&str) -> Option<Vec<String>>,
) -> Result<Option<Vec<u8>>, ListError> {
    let found = Found {
        asked: Some(asked),
        marks_only: true,
        ..Found::default()
    };
    found.edited(message, &mut |kind, name| {
        let scopes = (kind == asked).then(|| scopes(name)).flatten();
        scopes.map_or(Keep::Keep, Keep::Mark)
    })
}

/// A key of an object that is looked into must not be one that a case-blind reader takes for one of `known`.
pub(crate) fn exact(key: &str, known: &[&str], at: usize) -> Result<(), EnvelopeError> {
    let alike = |known: &&str| *known != key && known.eq_ignore_ascii_case(key);
    if known.iter().any(alike) {
        return Err(EnvelopeError::AmbiguousKey { at });
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    asked: Option<Kind>,
    /// Nothing is left out, and nothing is said about caching.
    marks_only: bool,
    edits: Vec<Edit>,
}

impl Found {
    fn edited(
        mut self,
        message: &[u8],
        keep: &mut dyn FnMut(Kind, &str) -> Keep,
    ) -> Result<Option<Vec<u8>>, ListError> {
        let text = std::str::from_utf8(message).map_err(|_| EnvelopeError::NotUtf8)?;
        let mut reader = Reader::tolerant(text);
        if reader.peek() != Some(b'{') {
            return Err(EnvelopeError::NotAnObject.into());
        }
        let mut failed = None;
        reader.object(&mut |reader, key| {
            exact(key, &["result"], reader.position())?;
            if key == "result" {
                self.result(text, reader, keep, &mut failed)
            } else {
                reader.value()
            }
        })?;
        reader.end()?;
        match failed {
            Some(error) => Err(error),
            None => Ok(self.applied(text)),
        }
    }

    fn result<'a>(
        &mut self,
        text: &'a str,
        reader: &mut Reader<'a>,
        keep: &mut dyn FnMut(Kind, &str) -> Keep,
        failed: &mut Option<ListError>,
    ) -> Result<(), EnvelopeError> {
        if reader.peek() != Some(b'{') {
            if self.asked.is_some() {
                *failed = Some(ListError::NoList);
            }
            return reader.value();
        }
        let inside = reader.position() + 1;
        let mut caching = Caching::default();
        let (mut lists, mut cached, mut empty) = (Vec::new(), false, true);
        let known: Vec<&str> = Kind::ALL
            .iter()
            .map(|kind| kind.member())
            .chain(Caching::MEMBERS)
            .collect();
        reader.object(&mut |reader, key| {
            empty = false;
            exact(key, &known, reader.position())?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.member() == key);
            match kind {
                Some(kind) if reader.peek() == Some(b'[') => {
                    lists.push(kind);
                    cached |= kind != Kind::Tasks;
                    self.items(text, reader, kind, keep, failed)
                }
                _ => caching.member(text, reader, key),
            }
        })?;
        if self.asked.is_some_and(|asked| !lists.contains(&asked)) {
            *failed = Some(ListError::NoList);
        }
        if cached && !self.marks_only {
            self.edits.extend(caching.limited(inside));
        }
        Ok(())
    }

    fn items<'a>(
        &mut self,
        text: &'a str,
        reader: &mut Reader<'a>,
        kind: Kind,
        keep: &mut dyn FnMut(Kind, &str) -> Keep,
        failed: &mut Option<ListError>,
    ) -> Result<(), EnvelopeError> {
        reader.peek();
        let start = reader.position();
        let mut kept: Vec<Cow<'a, str>> = Vec::new();
        let mut changed = false;
        let (mut count, mut length) = (0, 0);
        reader.array(&mut |reader| {
            count += 1;
            if count > MOST_ITEMS || length > LONGEST {
                *failed = Some(ListError::TooLong);
                return reader.value();
            }
            let item = Item::read(text, reader, kind)?;
            let raw = text.get(item.range.clone()).unwrap_or_default();
            let nameless = match self.marks_only {
                true => Keep::Keep,
                false => Keep::Drop,
            };
            let verdict = item.name.as_deref().map_or(nameless, |name| keep(kind, name));
            match verdict {
                Keep::Keep => {
                    length += raw.len();
                    kept.push(Cow::Borrowed(raw));
                }
                Keep::Drop => changed = true,
                Keep::Mark(scopes) => match item.marked(text, &scopes) {
                    Ok(marked) => {
                        changed = true;
                        length += marked.len();
                        kept.push(Cow::Owned(marked));
                    }
                    Err(error) => *failed = Some(error),
                },
            }
            Ok(())
        })?;
        if changed {
            self.edits
                .push((start..reader.position(), format!("[{}]", kept.join(","))));
        }
        Ok(())
    }

    fn applied(self, text: &str) -> Option<Vec<u8>> {
        if self.edits.is_empty() {
            return None;
        }
        Some(apply(text, self.edits).into_bytes())
    }
}

/// `text` with its edits done.
fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (range, by) in edits {
        out.push_str(text.get(at..range.start).unwrap_or_default());
        out.push_str(&by);
        at = range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// What a result says about how it may be kept.
#[derive(Default)]
struct Caching {
    ttl: Option<Range<usize>>,
    scope: Option<Range<usize>>,
    /// It has members that only revisions with caching have.
    modern: bool,
    edits: Vec<Edit>,
}

impl Caching {
    const MEMBERS: [&'static str; 3] = ["ttlMs", "cacheScope", "resultType"];

    fn member<'a>(&mut self, text: &'a str, reader: &mut Reader<'a>, key: &str) -> Result<(), EnvelopeError> {
        reader.peek();
        let start = reader.position();
        reader.value()?;
        let range = start..reader.position();
        let value = text.get(range.clone()).unwrap_or_default();
        self.modern |= Self::MEMBERS.contains(&key);
        match key {
            "ttlMs" => {
                let longest = match value.parse::<f64>() {
                    Ok(ttl) if ttl <= LONGEST_TTL as f64 => None,
                    Ok(_) => Some(LONGEST_TTL),
                    // No number: nothing says that it may be kept at all.
                    Err(_) => Some(0),
                };
                self.edits
                    .extend(longest.map(|longest| (range.clone(), longest.to_string())));
                self.ttl = Some(range);
            }
            "cacheScope" => {
                if value != "\"private\"" {
                    self.edits.push((range.clone(), "\"private\"".into()));
                }
                self.scope = Some(range);
            }
            _ => {}
        }
        Ok(())
    }

    /// The edits, with what is missing at `inside`, just after the result's opening bracket. The result holds a list, so
    /// something follows there.
    fn limited(self, inside: usize) -> Vec<Edit> {
        let mut edits = self.edits;
        if self.modern && self.scope.is_none() {
            edits.push((inside..inside, "\"cacheScope\":\"private\",".into()));
        }
        edits
    }
}

/// One item of a list.
struct Item<'a> {
    range: Range<usize>,
    name: Option<Cow<'a, str>>,
    meta: Option<Range<usize>>,
    /// The value of an earlier mark in `_meta`.
    mark: Option<Range<usize>>,
    /// Whether `_meta` has members.
    meta_filled: bool,
    /// Whether `_meta` is there and no object.
    meta_broken: bool,
}

impl<'a> Item<'a> {
    fn read(text: &'a str, reader: &mut Reader<'a>, kind: Kind) -> Result<Self, EnvelopeError> {
        let is_object = reader.peek() == Some(b'{');
        let start = reader.position();
        let mut item = Self {
            range: start..start,
            name: None,
            meta: None,
            mark: None,
            meta_filled: false,
            meta_broken: false,
        };
        if is_object {
            let known = [kind.named_by(), "_meta"];
            reader.object(&mut |reader, key| {
                exact(key, &known, reader.position())?;
                if key == "_meta" {
                    item.meta(reader)
                } else if key == kind.named_by() && reader.peek() == Some(b'"') {
                    let quoted: Quoted = reader.string()?;
                    item.name = Some(resolve(text, &quoted)?);
                    Ok(())
                } else {
                    reader.value()
                }
            })?;
        } else {
            reader.value()?;
        }
        item.range = start..reader.position();
        Ok(item)
    }

    fn meta(&mut self, reader: &mut Reader<'a>) -> Result<(), EnvelopeError> {
        if reader.peek() != Some(b'{') {
            self.meta_broken = true;
            return reader.value();
        }
        let start = reader.position();
        let (mut mark, mut filled) = (None, false);
        reader.object(&mut |reader, key| {
            filled = true;
            reader.peek();
            let start = reader.position();
            reader.value()?;
            if key == MARK {
                mark = Some(start..reader.position());
            }
            Ok(())
        })?;
        self.meta = Some(start..reader.position());
        (self.mark, self.meta_filled) = (mark, filled);
        Ok(())
    }

    /// The item with the scopes in its `_meta`, in place of whatever the server says there.
    fn marked(&self, text: &str, scopes: &[String]) -> Result<String, ListError> {
        if self.meta_broken {
            return Err(ListError::Meta);
        }
        let quoted: Vec<String> = scopes.iter().map(|scope| quote(scope)).collect();
        let value = format!("{{\"required\":true,\"scopes\":[{}]}}", quoted.join(","));
        let (at, by) = match (&self.mark, &self.meta) {
            (Some(mark), _) => (mark.clone(), value),
            (None, Some(meta)) => {
                let comma = if self.meta_filled { "," } else { "" };
                let inside = meta.start + 1;
                (inside..inside, format!("\"{MARK}\":{value}{comma}"))
            }
            // An item that is marked has a name, so something follows.
            (None, None) => {
                let inside = self.range.start + 1;
                (inside..inside, format!("\"_meta\":{{\"{MARK}\":{value}}},"))
            }
        };
        let before = text.get(self.range.start..at.start).unwrap_or_default();
        let after = text.get(at.end..self.range.end).unwrap_or_default();
        Ok(format!("{before}{by}{after}"))
    }
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
