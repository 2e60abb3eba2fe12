//! A strict JSON reader over text: grammar of RFC 8259 to the letter, no tree, no recursion without a bound.
//!
//! It accepts a subset of what common parsers accept, and leaves nothing for them to disagree about:
//! duplicate keys (compared after their escapes are resolved), lone surrogates, numbers that overflow,
//! and everything that is not JSON are refused.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use crate::envelope::EnvelopeError;

/// Nesting at which a text is refused: one more than the deepest accepted.
pub(crate) const DEPTH_LIMIT: usize = 128;
/// Longest number, in characters. The longest that means anything in a double has 17 digits.
const NUMBER_LIMIT: usize = 128;
/// Most members of one object of a client.
const MEMBER_LIMIT: usize = 4096;
/// Most members of one object of a server that is looked into. Each key takes memory until the object ends.
const TOLERANT_MEMBER_LIMIT: usize = 65_536;
/// Up to here, keys are compared one by one; beyond, through a hash set.
const LINEAR_LIMIT: usize = 16;

type Result<T> = std::result::Result<T, EnvelopeError>;

/// Where a string's content stands, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quoted {
    pub(crate) range: Range<usize>,
    pub(crate) escaped: bool,
}

/// What is done with one member of an object: it must consume the value.
pub(crate) type Member<'m, 'a> = &'m mut dyn FnMut(&mut Reader<'a>, &str) -> Result<()>;

pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Most members of one object.
    members: usize,
    tolerant: bool,
    /// Keys of the objects that are open, innermost last: one allocation for the whole text.
    keys: Vec<Cow<'a, str>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            members: MEMBER_LIMIT,
            tolerant: false,
            keys: Vec::with_capacity(LINEAR_LIMIT),
        }
    }

    /// A reader that takes objects of any number of members.
    pub(crate) fn unlimited(text: &'a str) -> Self {
        Self {
            members: usize::MAX,
            ..Self::new(text)
        }
    }

    /// A reader of what a server wrote. No policy hangs on most of it: it takes all that the grammar allows
    /// (half a surrogate pair, where a text was cut; integers of any length; objects of any width), and sees
    /// to duplicate keys only in objects that are looked into, not in what [`Self::value`] passes over.
    pub(crate) fn tolerant(text: &'a str) -> Self {
        Self {
            members: TOLERANT_MEMBER_LIMIT,
            tolerant: true,
            ..Self::new(text)
        }
    }

    /// The next byte that is not white space, not consumed.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Where the next byte stands.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(EnvelopeError::TrailingBytes { at: self.at }),
        }
    }

    /// Consumes one value of any kind.
    pub(crate) fn value(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'{') if self.tolerant => self.pass_over_object(),
            Some(b'{') => self.object(&mut |reader, _| reader.value()),
            Some(b'[') => self.array(&mut Self::value),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => self.syntax(),
        }
    }

    /// Consumes an object; `member` is called after each colon.
    pub(crate) fn object(&mut self, member: Member<'_, 'a>) -> Result<()> {
        self.open(b'{')?;
        let first = self.keys.len();
        let mut seen: Option<HashSet<Cow<'a, str>>> = None;
        let mut count = 0;
        if self.peek() != Some(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return self.syntax();
                }
                let quoted = self.string()?;
                let key = self.resolve(&quoted)?;
                count += 1;
                if count > self.members {
                    return Err(EnvelopeError::TooManyMembers);
                }
                self.remember(key.clone(), first, &mut seen)?;
                self.expect(b':')?;
                member(self, &key)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    _ => break,
                }
            }
        }
        self.keys.truncate(first);
        self.close(b'}')
    }

    fn pass_over_object(&mut self) -> Result<()> {
        self.open(b'{')?;
        if self.peek() != Some(b'}') {
            loop {
                self.peek();
                self.string()?;
                self.expect(b':')?;
                self.value()?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    _ => break,
                }
            }
        }
        self.close(b'}')
    }

    /// Refuses a key that the object already has.
    fn remember(
        &mut self,
        key: Cow<'a, str>,
        first: usize,
        seen: &mut Option<HashSet<Cow<'a, str>>>,
    ) -> Result<()> {
        if let Some(seen) = seen {
            return if seen.insert(key) {
                Ok(())
            } else {
                Err(EnvelopeError::DuplicateKey { at: self.at })
            };
        }
        let siblings = self.keys.get(first..).unwrap_or_default();
        if siblings.contains(&key) {
            return Err(EnvelopeError::DuplicateKey { at: self.at });
        }
        if siblings.len() >= LINEAR_LIMIT {
            let mut set: HashSet<_> = self.keys.drain(first..).collect();
            set.insert(key);
            *seen = Some(set);
        } else {
            self.keys.push(key);
        }
        Ok(())
    }

    /// Consumes an array; `item` is called at each item and must consume it.
    pub(crate) fn array(&mut self, item: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.open(b'[')?;
        if self.peek() != Some(b']') {
            loop {
                item(self)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    _ => break,
                }
            }
        }
        self.close(b']')
    }

    /// Consumes a string and tells where its content stands.
    pub(crate) fn string(&mut self) -> Result<Quoted> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                Some(0..=0x1f) | None => return self.syntax(),
                Some(_) => self.at += 1,
            }
        }
        let range = start..self.at;
        self.at += 1;
        Ok(Quoted { range, escaped })
    }

    /// Consumes what follows a backslash and gives the character it means.
    fn escape(&mut self) -> Result<char> {
        let meaning = match self.byte() {
            Some(b @ (b'"' | b'\\' | b'/')) => char::from(b),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return self.syntax(),
        };
        self.at += 1;
        Ok(meaning)
    }

    /// `\uXXXX`, or the two of a surrogate pair. A lone surrogate is no character, and parsers differ on it.
    fn unicode_escape(&mut self) -> Result<char> {
        let start = self.at;
        let pair = self.code_point();
        if pair.is_err() && self.tolerant {
            self.at = start;
            self.hex()?;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        pair
    }

    fn code_point(&mut self) -> Result<char> {
        let high = self.hex()?;
        let code = match high {
            0xd800..=0xdbff => {
                if self.byte() != Some(b'\\') {
                    return self.syntax();
                }
                self.at += 1;
                if self.byte() != Some(b'u') {
                    return self.syntax();
                }
                self.at += 1;
                let low = self.hex()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return self.syntax();
                }
                0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            _ => high,
        };
        char::from_u32(code).map_or_else(|| self.syntax(), Ok)
    }

    fn hex(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.byte().and_then(|b| char::from(b).to_digit(16)) else {
                return self.syntax();
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// The content of a string with its escapes resolved.
    fn resolve(&self, quoted: &Quoted) -> Result<Cow<'a, str>> {
        resolve(self.text, quoted)
    }

    /// Consumes a number and tells where it stands.
    pub(crate) fn number(&mut self) -> Result<Range<usize>> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.syntax(),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let exponent = matches!(self.byte(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        let range = start..self.at;
        if self.tolerant {
            return Ok(range);
        }
        if range.len() > NUMBER_LIMIT {
            return Err(EnvelopeError::NumberTooLong { at: start });
        }
        // `1e999` is infinity to one parser and an error to the next.
        let overflows = || {
            let text = self.text.get(range.clone()).unwrap_or_default();
            text.parse::<f64>().map_or(true, f64::is_infinite)
        };
        if exponent && overflows() {
            return Err(EnvelopeError::NumberTooLong { at: start });
        }
        Ok(range)
    }

    fn digits(&mut self) -> Result<()> {
        if !matches!(self.byte(), Some(b'0'..=b'9')) {
            return self.syntax();
        }
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<()> {
        match self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            true => {
                self.at += word.len();
                Ok(())
            }
            false => self.syntax(),
        }
    }

    fn open(&mut self, bracket: u8) -> Result<()> {
        self.expect(bracket)?;
        self.depth += 1;
        if self.depth >= DEPTH_LIMIT {
            return Err(EnvelopeError::TooDeep { at: self.at });
        }
        Ok(())
    }

    fn close(&mut self, bracket: u8) -> Result<()> {
        self.depth -= 1;
        self.expect(bracket)
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        self.syntax()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn syntax<T>(&self) -> Result<T> {
        Err(EnvelopeError::Syntax { at: self.at })
    }
}

/// The content of a string of `text` with its escapes resolved; borrowed when there are none.
pub(crate) fn resolve<'a>(text: &'a str, quoted: &Quoted) -> Result<Cow<'a, str>> {
    let content = text.get(quoted.range.clone()).unwrap_or_default();
    if !quoted.escaped {
        return Ok(Cow::Borrowed(content));
    }
    let mut resolved = String::with_capacity(content.len());
    let mut reader = Reader {
        text: content,
        at: 0,
        depth: 0,
        members: 0,
        tolerant: false,
        keys: Vec::new(),
    };
    while let Some(rest) = content.get(reader.at..) {
        let plain = rest.find('\\').unwrap_or(rest.len());
        resolved.push_str(rest.get(..plain).unwrap_or_default());
        if plain == rest.len() {
            break;
        }
        reader.at += plain + 1;
        resolved.push(reader.escape()?);
    }
    Ok(Cow::Owned(resolved))
}
