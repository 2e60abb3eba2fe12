//! Finding the annotations in the schemas of a tool list.

use http::HeaderName;

use super::{ListedTool, ParameterHeader, ParameterHeaders};
use crate::envelope::{EnvelopeError, Text, string};
use crate::reader::Reader;

/// The schema keyword.
pub(super) const ANNOTATION: &str = "x-mcp-header";
/// Most annotations of one tool.
const ANNOTATIONS: usize = 64;
/// Longest annotation, in bytes.
const NAME_LIMIT: usize = 128;

type Result<T> = std::result::Result<T, EnvelopeError>;

pub(super) fn tools(text: &str) -> Result<Vec<ListedTool>> {
    let mut tools = Vec::new();
    let mut reader = Reader::unlimited(text);
    members(&mut reader, &mut |reader, key| {
        if key != "result" {
            return reader.value();
        }
        members(reader, &mut |reader, key| {
            if key != "tools" || reader.peek() != Some(b'[') {
                return reader.value();
            }
            reader.array(&mut |reader| {
                tools.extend(tool(text, reader)?);
                Ok(())
            })
        })
    })?;
    reader.end()?;
    Ok(tools)
}

fn tool<'a>(text: &'a str, reader: &mut Reader<'a>) -> Result<Option<ListedTool>> {
    let mut name = None;
    let mut found = Found::default();
    members(reader, &mut |reader, key| match key {
        "name" => {
            name = string(text, reader)?.map(|name| said(text, name));
            Ok(())
        }
        "inputSchema" => schema(text, reader, &Place::Root, &mut found),
        _ => reader.value(),
    })?;
    Ok(name.map(|name| ListedTool {
        name,
        invalid: found.invalid,
        headers: found.headers(),
    }))
}

/// The annotations seen so far.
#[derive(Default)]
struct Found {
    headers: Vec<ParameterHeader>,
    /// One that the specification forbids: it makes the tool definition invalid.
    invalid: bool,
}

impl Found {
    fn headers(self) -> Option<ParameterHeaders> {
        (!self.invalid && !self.headers.is_empty()).then_some(ParameterHeaders(self.headers))
    }

    fn add(&mut self, annotation: &str, path: &[Box<str>]) {
        let token = !annotation.is_empty() && annotation.len() <= NAME_LIMIT;
        let name = HeaderName::from_bytes(format!("mcp-param-{annotation}").as_bytes());
        match name {
            Ok(name)
                if token
                    && self.headers.len() < ANNOTATIONS
                    && self.headers.iter().all(|header| header.name != name) =>
            {
                let path = path.to_vec();
                self.headers.push(ParameterHeader { name, path });
            }
            _ => self.invalid = true,
        }
    }
}

/// Where a schema stands.
enum Place {
    Root,
    /// Reached from the root by these properties, and by nothing but `properties`.
    Property(Vec<Box<str>>),
    Elsewhere,
}

impl Place {
    fn property(&self, key: &str) -> Self {
        match self {
            Self::Root => Self::Property(vec![key.into()]),
            Self::Property(path) => Self::Property(path.iter().cloned().chain([key.into()]).collect()),
            Self::Elsewhere => Self::Elsewhere,
        }
    }
}

/// Consumes one schema: a value that is an object is one wherever a keyword may hold one.
fn schema<'a>(text: &'a str, reader: &mut Reader<'a>, place: &Place, found: &mut Found) -> Result<()> {
    match reader.peek() {
        Some(b'{') => {}
        Some(b'[') => {
            return reader.array(&mut |reader| schema(text, reader, &Place::Elsewhere, found));
        }
        _ => return reader.value(),
    }
    let mut annotation = None;
    let mut primitive = false;
    reader.object(&mut |reader, key| {
        match key {
            ANNOTATION => match string(text, reader)? {
                Some(name) => annotation = Some(said(text, name)),
                None => found.invalid = true,
            },
            "type" => {
                let kind = string(text, reader)?.map(|kind| said(text, kind));
                primitive = matches!(kind.as_deref(), Some("string" | "integer" | "boolean"));
            }
            "properties" => map(text, reader, place, found)?,
            "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                map(text, reader, &Place::Elsewhere, found)?;
            }
            // Data, in which the keyword means nothing.
            "default" | "const" | "enum" | "examples" => reader.value()?,
            _ => schema(text, reader, &Place::Elsewhere, found)?,
        }
        Ok(())
    })?;
    match (annotation, place) {
        (None, _) => {}
        (Some(name), Place::Property(path)) if primitive => found.add(&name, path),
        (Some(_), _) => found.invalid = true,
    }
    Ok(())
}

/// Consumes an object whose keys are names and whose values are schemas.
fn map<'a>(text: &'a str, reader: &mut Reader<'a>, place: &Place, found: &mut Found) -> Result<()> {
    members(reader, &mut |reader, key| {
        schema(text, reader, &place.property(key), found)
    })
}

fn members<'a>(reader: &mut Reader<'a>, member: crate::reader::Member<'_, 'a>) -> Result<()> {
    if reader.peek() == Some(b'{') {
        return reader.object(member);
    }
    reader.value()
}

fn said(text: &str, string: Text) -> Box<str> {
    match string {
        Text::Slice(range) => text.get(range).unwrap_or_default().into(),
        Text::Resolved(resolved) => resolved,
    }
}
