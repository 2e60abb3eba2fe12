//! Making a table, and what is wrong with one.

use std::collections::HashMap;
use std::sync::Arc;

use doorward_mcp::Extensions;
use doorward_mcp::method::is_extension;
use doorward_types::scope::Scope;

use super::names::{Names, Uris};
use super::{Bits, Compiled, SCOPE_LIMIT, ScopeEntry, ScopeTable, bit, ones};
use crate::Pattern;
use crate::uri::is_readable;

/// Why entries make no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeTableError {
    /// There is none: nothing could ever be opened.
    #[error("a scope table without a scope opens nothing: leave it out, and one scope opens everything")]
    Empty,
    /// There are more than [`SCOPE_LIMIT`].
    #[error("{0} scopes are too many for one server: 128 are possible")]
    TooMany(usize),
    /// One comes twice.
    #[error("the scope `{0}` is there twice")]
    Twice(Scope),
    /// The name means something else in OAuth, and the authorization server never grants it.
    #[error("`{0}` means something else in OAuth and is never granted: give the scope another name")]
    Reserved(Scope),
    /// One implies another that is not in the table.
    #[error(
        "`{scope}` implies `{implied}`, and there is no such scope: add it, or look for a typing mistake"
    )]
    Unknown {
        /// Who implies.
        scope: Scope,
        /// What is not there.
        implied: Scope,
    },
    /// One implies itself, by way of others.
    #[error("scopes imply each other in a circle: {}", circle(.0))]
    Circle(Vec<Scope>),
    /// A pattern for tools can match none.
    #[error(
        "`{pattern}` of `{scope}` can match no tool: their names hold only `A-Z a-z 0-9 _ - .` (and `*` stands for any of these)"
    )]
    NoTool {
        /// Whose pattern.
        scope: Scope,
        /// The pattern.
        pattern: Pattern,
    },
    /// A pattern for resources is not written as readers of URIs write it, and the feature `url` is off.
    #[error(
        "`{pattern}` of `{scope}` is read in more ways than one: write scheme and host in lower case, without a port, and a path without dots and unusual characters, or turn on the feature `url` of doorward-policy"
    )]
    Unreadable {
        /// Whose pattern.
        scope: Scope,
        /// The pattern.
        pattern: Pattern,
    },
    /// A method has a name that none can have.
    #[error(
        "{method:?} of `{scope}` can be no method: write it as the server's documentation does, without `*`"
    )]
    NoMethod {
        /// Whose method.
        scope: Scope,
        /// The method.
        method: String,
    },
    /// A method is one of MCP's own.
    #[error(
        "`{method}` of `{scope}` is a method of MCP itself: name the tools, prompts or resources that need the scope instead"
    )]
    OwnMethod {
        /// Whose method.
        scope: Scope,
        /// The method.
        method: String,
    },
}

fn circle(scopes: &[Scope]) -> String {
    let names: Vec<String> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
    names.join(" → ")
}

/// The authorization server takes these for requests of something else than access (OpenID Connect Core §3.1.2.1, §11).
const RESERVED: [&str; 2] = ["openid", "offline_access"];

pub(super) fn whole(scope: Scope, description: String) -> ScopeTable {
    let entries = vec![ScopeEntry::new(scope, description)];
    let places = places(&entries);
    compile(entries, places, vec![bit(0)], true)
}

pub(super) fn table(entries: Vec<ScopeEntry>) -> Result<ScopeTable, ScopeTableError> {
    if entries.is_empty() {
        return Err(ScopeTableError::Empty);
    }
    if entries.len() > SCOPE_LIMIT {
        return Err(ScopeTableError::TooMany(entries.len()));
    }
    let places = places(&entries);
    for (place, entry) in entries.iter().enumerate() {
        check(entry)?;
        if places
            .get(&entry.scope)
            .is_none_or(|first| usize::from(*first) != place)
        {
            return Err(ScopeTableError::Twice(entry.scope.clone()));
        }
    }
    let closures = closures(&entries, &places)?;
    Ok(compile(entries, places, closures, false))
}

fn check(entry: &ScopeEntry) -> Result<(), ScopeTableError> {
    let scope = || entry.scope.clone();
    if RESERVED.contains(&entry.scope.as_str()) {
        return Err(ScopeTableError::Reserved(scope()));
    }
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'*');
    if let Some(pattern) = entry
        .tools
        .iter()
        .find(|pattern| !pattern.as_str().bytes().all(in_alphabet))
    {
        return Err(ScopeTableError::NoTool {
            scope: scope(),
            pattern: pattern.clone(),
        });
    }
    if let Some(pattern) = entry
        .resources
        .iter()
        .find(|pattern| !is_readable(pattern.as_str()))
    {
        return Err(ScopeTableError::Unreadable {
            scope: scope(),
            pattern: pattern.clone(),
        });
    }
    for method in &entry.methods {
        let (scope, method) = (scope(), method.clone());
        if method.is_empty()
            || !method
                .bytes()
                .all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'*')
        {
            return Err(ScopeTableError::NoMethod { scope, method });
        }
        if !is_extension(&method) {
            return Err(ScopeTableError::OwnMethod { scope, method });
        }
    }
    Ok(())
}

/// Where each scope first stands. No more than [`SCOPE_LIMIT`] entries come here.
fn places(entries: &[ScopeEntry]) -> HashMap<Scope, u8> {
    let mut places = HashMap::with_capacity(entries.len());
    for (place, entry) in (0_u8..).zip(entries) {
        places.entry(entry.scope.clone()).or_insert(place);
    }
    places
}

/// For each scope itself and all it implies, directly or not.
fn closures(entries: &[ScopeEntry], places: &HashMap<Scope, u8>) -> Result<Vec<Bits>, ScopeTableError> {
    let mut implied: Vec<Bits> = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut bits = 0;
        for other in &entry.implies {
            let place = places.get(other).ok_or_else(|| ScopeTableError::Unknown {
                scope: entry.scope.clone(),
                implied: other.clone(),
            })?;
            bits |= bit(usize::from(*place));
        }
        implied.push(bits);
    }
    let mut closures: Vec<Option<Bits>> = vec![None; entries.len()];
    for place in 0..entries.len() {
        visit(place, &implied, &mut closures, &mut Vec::new())
            .map_err(|circle| ScopeTableError::Circle(named(&circle, entries)))?;
    }
    Ok(closures.into_iter().map(Option::unwrap_or_default).collect())
}

/// Depth first, at most [`SCOPE_LIMIT`] deep. `Err` is a way that leads back to where it began.
fn visit(
    place: usize,
    implied: &[Bits],
    closures: &mut [Option<Bits>],
    path: &mut Vec<usize>,
) -> Result<Bits, Vec<usize>> {
    if let Some(start) = path.iter().position(|earlier| *earlier == place) {
        let mut circle: Vec<usize> = path.iter().skip(start).copied().collect();
        circle.push(place);
        return Err(circle);
    }
    if let Some(Some(known)) = closures.get(place) {
        return Ok(*known);
    }
    path.push(place);
    let mut closure = bit(place);
    for next in ones(implied.get(place).copied().unwrap_or_default()) {
        closure |= visit(next, implied, closures, path)?;
    }
    path.pop();
    if let Some(slot) = closures.get_mut(place) {
        *slot = Some(closure);
    }
    Ok(closure)
}

fn named(places: &[usize], entries: &[ScopeEntry]) -> Vec<Scope> {
    let entry = |place: &usize| entries.get(*place).map(|entry| entry.scope.clone());
    places.iter().filter_map(entry).collect()
}

fn compile(
    entries: Vec<ScopeEntry>,
    places: HashMap<Scope, u8>,
    closures: Vec<Bits>,
    whole: bool,
) -> ScopeTable {
    let those = |is: fn(&ScopeEntry) -> bool| {
        let chosen = entries.iter().enumerate().filter(|(_, entry)| is(entry));
        chosen.fold(0, |bits, (place, _)| bits | bit(place))
    };
    let patterns = |of: fn(&ScopeEntry) -> &[Pattern]| {
        let all = entries.iter().enumerate();
        all.flat_map(move |(place, entry)| of(entry).iter().map(move |pattern| (place, pattern)))
    };
    let mut methods: HashMap<Box<str>, Bits> = HashMap::new();
    for (place, entry) in entries.iter().enumerate() {
        for method in &entry.methods {
            *methods.entry(method.as_str().into()).or_default() |= bit(place);
        }
    }
    ScopeTable(Arc::new(Compiled {
        whole,
        places,
        closures,
        restricted: those(|entry| entry.allow.is_some()),
        defaults: those(|entry| !entry.step_up),
        tools: Names::new(patterns(|entry| &entry.tools)),
        prompts: Names::new(patterns(|entry| &entry.prompts)),
        resources: Uris::new(patterns(|entry| &entry.resources)),
        extensions: methods.keys().map(|name| &**name).collect::<Extensions>(),
        methods,
        entries,
    }))
}
