//! `Mcp-Param-*`: arguments of a tool that its schema wants mirrored into headers (2026-07-28, Streamable HTTP,
//! "Custom Headers from Tool Parameters").

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::call::{NotAdmittedReason, Summary};
use crate::envelope::{EnvelopeError, slice};
use crate::headers::{decode_value, encode_value};
use crate::reader::{Quoted, Reader, resolve};

mod number;
mod schema;

use number::same_number;

/// The headers that one tool asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterHeaders(Vec<ParameterHeader>);

/// One annotated parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ParameterHeader {
    name: HeaderName,
    /// The property names that lead from `arguments` to it.
    path: Vec<Box<str>>,
}

/// One tool of a `tools/list` answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTool {
    /// Its name.
    pub name: Box<str>,
    /// The headers that it asks for; `None` if it asks for none, or in a way that the specification forbids:
    /// clients must then leave the tool alone, and nothing is known of what they would send.
    pub headers: Option<ParameterHeaders>,
    /// It asks in a way that the specification forbids: "the client MUST exclude the invalid tool".
    pub invalid: bool,
}

/// What is wrong with an `Mcp-Param-*` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterMismatch {
    /// The header, in lower case. It comes from the tool's schema and holds token characters only.
    pub header: Box<str>,
    /// What is wrong with it.
    pub problem: ParameterProblem,
}

/// See [`ParameterMismatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterProblem {
    /// The body has a value, and the header is missing.
    Missing,
    /// The header is there, and the body has no value, or `null`.
    Unexpected,
    /// It comes more than once.
    Twice,
    /// It holds characters that it may not, or malformed Base64.
    Characters,
    /// It says something else than the body.
    Different,
}

impl fmt::Display for ParameterMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            ParameterProblem::Missing => {
                "is required: list the tools again to see which headers this one needs"
            }
            ParameterProblem::Unexpected => "has no value in the body that it could mirror",
            ParameterProblem::Twice => "comes more than once",
            ParameterProblem::Characters => "holds invalid characters or encoding",
            ParameterProblem::Different => "does not match the body",
        };
        write!(f, "Header mismatch: the {} header {problem}", self.header)
    }
}

/// The tools of a `tools/list` answer: a JSON-RPC response. A message without a list of tools is an empty
/// one.
pub fn tools(message: &[u8]) -> Result<Vec<ListedTool>, EnvelopeError> {
    let text = std::str::from_utf8(message).map_err(|_| EnvelopeError::NotUtf8)?;
    schema::tools(text)
}

/// Whether a `tools/list` answer may hold annotations at all. Cheap, and never wrong when it says no.
#[must_use]
pub fn may_annotate(message: &[u8]) -> bool {
    let holds = |needle: &[u8]| message.windows(needle.len()).any(|window| window == needle);
    // The key can also be written with escapes; those of ASCII characters begin like this.
    holds(schema::ANNOTATION.as_bytes()) || holds(b"\\u00")
}

impl ParameterHeaders {
    /// Holds a `tools/call` against the headers it came with. Headers that the tool does not ask for are not
    /// looked at ("Intermediate servers that do not recognize an `Mcp-Param-{Name}` header MUST forward it").
    pub fn check(&self, call: &Summary, headers: &HeaderMap) -> Result<(), NotAdmittedReason> {
        let values = self.values(call.body_bytes());
        for (parameter, value) in self.0.iter().zip(values) {
            parameter.check(value.as_ref(), headers).map_err(|problem| {
                NotAdmittedReason::Parameter(ParameterMismatch {
                    header: parameter.name.as_str().into(),
                    problem,
                })
            })?;
        }
        Ok(())
    }

    /// The headers of a `tools/call` with this body, as a client writes them: none for what is absent, `null`, or no value
    /// that a header can hold.
    #[must_use]
    pub fn write(&self, body: &Bytes) -> Vec<(HeaderName, HeaderValue)> {
        let written = |(parameter, value): (&ParameterHeader, Option<Value>)| {
            let text = match value? {
                Value::Text(text) => encode_value(&text).into_owned(),
                Value::Number(number) => number::as_integer(&number)?,
                Value::Word(word) => word.to_owned(),
                Value::Other => return None,
            };
            Some((parameter.name.clone(), HeaderValue::from_str(&text).ok()?))
        };
        self.0.iter().zip(self.values(body)).filter_map(written).collect()
    }

    /// How much memory it takes, roughly, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let each = |parameter: &ParameterHeader| {
            let path: usize = parameter.path.iter().map(|step| step.len() + 16).sum();
            path + parameter.name.as_str().len() + 96
        };
        self.0.iter().map(each).sum()
    }

    /// For each parameter its value in the body's arguments, if it has one other than `null`.
    fn values(&self, body: &Bytes) -> Vec<Option<Value>> {
        let mut values = vec![None; self.0.len()];
        let whole = slice(body, &(0..body.len()));
        // The body was read before, by the same reader: there is nothing to refuse any more.
        let _ = within(whole, "params", &mut |params| {
            within(params, "arguments", &mut |arguments| {
                self.collect(arguments, 0, &(0..self.0.len()).collect::<Vec<_>>(), &mut values)
            })
        });
        values
    }

    /// Looks in `object`, to which the first `depth` steps of the paths of `wanted` led.
    fn collect(
        &self,
        object: &str,
        depth: usize,
        wanted: &[usize],
        values: &mut [Option<Value>],
    ) -> Result<(), EnvelopeError> {
        let mut reader = Reader::new(object);
        if reader.peek() != Some(b'{') {
            return Ok(());
        }
        reader.object(&mut |reader, key| {
            let (mut deeper, mut here) = (Vec::new(), None);
            for &index in wanted {
                let path = self.0.get(index).map(|parameter| &*parameter.path);
                match path.and_then(|path| path.get(depth..)) {
                    Some([last]) if **last == *key => here = Some(index),
                    Some([step, ..]) if **step == *key => deeper.push(index),
                    _ => {}
                }
            }
            if here.is_none() && deeper.is_empty() {
                return reader.value();
            }
            let text = value_text(object, reader)?;
            if let Some(slot) = here.and_then(|index| values.get_mut(index)) {
                *slot = Value::read(text)?;
            }
            if deeper.is_empty() {
                return Ok(());
            }
            self.collect(text, depth + 1, &deeper, values)
        })
    }
}

/// Calls `then` with the text of the member `key` of an object.
fn within(
    object: &str,
    key: &str,
    then: &mut dyn FnMut(&str) -> Result<(), EnvelopeError>,
) -> Result<(), EnvelopeError> {
    let mut reader = Reader::new(object);
    if reader.peek() != Some(b'{') {
        return Ok(());
    }
    reader.object(&mut |reader, name| {
        if name != key {
            return reader.value();
        }
        then(value_text(object, reader)?)
    })
}

/// The text of the next value.
fn value_text<'a>(text: &'a str, reader: &mut Reader<'_>) -> Result<&'a str, EnvelopeError> {
    reader.peek();
    let start = reader.position();
    reader.value()?;
    let range: Range<usize> = start..reader.position();
    Ok(text.get(range).unwrap_or_default())
}

/// A value of the body as a header is held against it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(Box<str>),
    Number(Box<str>),
    Word(&'static str),
    /// An array or an object, for which there is no header value. The schema does not admit it.
    Other,
}

impl Value {
    fn read(text: &str) -> Result<Option<Self>, EnvelopeError> {
        Ok(match text.as_bytes().first() {
            Some(b'"') => {
                let quoted = Quoted {
                    range: 1..text.len().saturating_sub(1),
                    escaped: text.contains('\\'),
                };
                Some(Self::Text(resolve(text, &quoted)?.into()))
            }
            Some(b't') => Some(Self::Word("true")),
            Some(b'f') => Some(Self::Word("false")),
            Some(b'n') | None => None,
            Some(b'[' | b'{') => Some(Self::Other),
            Some(_) => Some(Self::Number(text.into())),
        })
    }
}

impl ParameterHeader {
    fn check(&self, value: Option<&Value>, headers: &HeaderMap) -> Result<(), ParameterProblem> {
        let mut given = headers.get_all(&self.name).iter();
        let header = match (given.next(), given.next()) {
            (_, Some(_)) => return Err(ParameterProblem::Twice),
            (header, None) => header,
        };
        let (header, value) = match (header, value) {
            (None, None | Some(Value::Other)) => return Ok(()),
            // "Integer values MUST be within the safe range": what is not, clients cannot write and leave out.
            (None, Some(Value::Number(number))) if !number::is_safe(number) => return Ok(()),
            (None, Some(_)) => return Err(ParameterProblem::Missing),
            (Some(_), None) => return Err(ParameterProblem::Unexpected),
            (Some(header), Some(value)) => (header, value),
        };
        let text = header.to_str().map_err(|_| ParameterProblem::Characters)?;
        let said = decode_value(text.trim_matches([' ', '\t'])).ok_or(ParameterProblem::Characters)?;
        let same = match value {
            Value::Text(text) => said == **text,
            Value::Number(number) => same_number(&said, number),
            Value::Word(word) => said == *word,
            Value::Other => false,
        };
        if same {
            Ok(())
        } else {
            Err(ParameterProblem::Different)
        }
    }
}

#[cfg(test)]
mod tests;
