//! What `completion/complete` and `subscriptions/listen` act on: deeper in `params` than the names of the others, and
//! read as strictly, because policy judges by it.

use std::ops::Range;

use super::{EnvelopeError, Text, string, with_quotes};
use crate::reader::Reader;

/// `ref` of `completion/complete`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) kind: Option<Text>,
    pub(crate) name: Option<Text>,
    pub(crate) uri: Option<Text>,
}

/// `notifications` of `subscriptions/listen`: the members that name things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionFilter {
    pub(crate) resources: Option<Listed>,
    pub(crate) tasks: Option<Listed>,
}

/// An array of strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Where the array stands, with its brackets.
    pub(crate) range: Range<usize>,
    /// Its strings, each with where it stands, quotes included.
    pub(crate) items: Vec<(Range<usize>, Text)>,
    /// Whether there is anything else in it, or it is no array: nobody knows then what it names.
    pub(crate) foreign: bool,
}

/// Most strings that are kept of one array. Each may cost a judgement.
pub(crate) const LISTED_LIMIT: usize = 1024;

/// An object whose members `known` are read by policy: what a case-blind parser would take for one is refused.
fn exact<'a>(
    reader: &mut Reader<'a>,
    known: &[&str],
    member: &mut dyn FnMut(&mut Reader<'a>, &str) -> Result<(), EnvelopeError>,
) -> Result<(), EnvelopeError> {
    let mut others: Vec<Box<str>> = Vec::new();
    reader.object(&mut |reader, key| {
        if known.contains(&key) {
            return member(reader, key);
        }
        let folds = |other: &str| other.eq_ignore_ascii_case(key);
        let ascii = key.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
        if !ascii || known.iter().any(|known| folds(known)) || others.iter().any(|other| folds(other)) {
            return Err(EnvelopeError::AmbiguousKey {
                at: reader.position(),
            });
        }
        if others.len() >= 64 {
            return Err(EnvelopeError::TooManyMembers);
        }
        others.push(key.into());
        reader.value()
    })
}

/// The next value if it is an object; any other is consumed.
pub(super) fn reference<'a>(
    text: &'a str,
    reader: &mut Reader<'a>,
) -> Result<Option<Reference>, EnvelopeError> {
    if reader.peek() != Some(b'{') {
        reader.value()?;
        return Ok(None);
    }
    let mut reference = Reference::default();
    exact(reader, &["type", "name", "uri"], &mut |reader, key| {
        let value = string(text, reader)?;
        match key {
            "type" => reference.kind = value,
            "name" => reference.name = value,
            _ => reference.uri = value,
        }
        Ok(())
    })?;
    Ok(Some(reference))
}

/// The next value if it is an object; any other is consumed.
pub(super) fn filter<'a>(
    text: &'a str,
    reader: &mut Reader<'a>,
) -> Result<Option<Box<SubscriptionFilter>>, EnvelopeError> {
    if reader.peek() != Some(b'{') {
        reader.value()?;
        return Ok(None);
    }
    let mut filter = SubscriptionFilter::default();
    let known = [
        "resourceSubscriptions",
        "taskIds",
        "toolsListChanged",
        "promptsListChanged",
        "resourcesListChanged",
    ];
    exact(reader, &known, &mut |reader, key| {
        match key {
            "resourceSubscriptions" => filter.resources = Some(listed(text, reader)?),
            "taskIds" => filter.tasks = Some(listed(text, reader)?),
            _ => reader.value()?,
        }
        Ok(())
    })?;
    Ok(Some(Box::new(filter)))
}

fn listed<'a>(text: &'a str, reader: &mut Reader<'a>) -> Result<Listed, EnvelopeError> {
    let (mut items, mut foreign) = (Vec::new(), false);
    let is_array = reader.peek() == Some(b'[');
    let start = reader.position();
    if is_array {
        reader.array(&mut |reader| {
            if reader.peek() != Some(b'"') || items.len() >= LISTED_LIMIT {
                foreign = true;
                return reader.value();
            }
            let quoted = reader.string()?;
            items.push((with_quotes(&quoted), Text::new(text, quoted)?));
            Ok(())
        })?;
    } else {
        reader.value()?;
    }
    Ok(Listed {
        range: start..reader.position(),
        items,
        foreign: foreign || !is_array,
    })
}
