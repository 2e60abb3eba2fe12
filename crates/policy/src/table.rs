//! `[servers.scopes]`: what each scope of a server opens, made ready to be asked at every call.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use doorward_mcp::{Extensions, Object};
use doorward_types::scope::{Scope, ScopeSet};

use crate::{AccessRule, Pattern, Subject};

mod build;
mod names;

pub use build::ScopeTableError;
use names::{Names, Uris};

/// Most scopes of one server: one bit each.
pub const SCOPE_LIMIT: usize = 128;

/// One scope of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeEntry {
    /// The scope.
    pub scope: Scope,
    /// One line for people: what it opens.
    pub description: String,
    /// The tools that need it.
    pub tools: Vec<Pattern>,
    /// The prompts that need it.
    pub prompts: Vec<Pattern>,
    /// The resources and resource templates that need it, by URI.
    pub resources: Vec<Pattern>,
    /// The methods that need it, of those that MCP itself does not define.
    pub methods: Vec<String>,
    /// The scopes that it holds in itself.
    pub implies: Vec<Scope>,
    /// Whether it is left out of the default set, and asked for when a call needs it.
    pub step_up: bool,
    /// Who may have it, of those who may use the server. Everybody if not given.
    pub allow: Option<AccessRule>,
}

impl ScopeEntry {
    /// A scope that opens nothing yet, is in the default set, and may be had by everybody.
    #[must_use]
    pub fn new(scope: Scope, description: impl Into<String>) -> Self {
        Self {
            scope,
            description: description.into(),
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            methods: Vec::new(),
            implies: Vec::new(),
            step_up: false,
            allow: None,
        }
    }

    /// Whether the subject may have it.
    #[must_use]
    pub fn admits(&self, subject: &Subject) -> bool {
        self.allow
            .as_ref()
            .is_none_or(|allow| allow.admits_subject(subject))
    }
}

/// The scopes of a server and what they open. It never changes, and a clone shares it.
#[derive(Clone)]
pub struct ScopeTable(Arc<Compiled>);

/// Scopes as bits, each at the place of its entry.
type Bits = u128;

struct Compiled {
    entries: Vec<ScopeEntry>,
    /// One scope that opens everything, and no table.
    whole: bool,
    places: HashMap<Scope, u8>,
    /// For each scope itself and all it implies, directly or not.
    closures: Vec<Bits>,
    /// Those with an `allow` of their own.
    restricted: Bits,
    /// Those that are not asked for only when needed.
    defaults: Bits,
    tools: Names,
    prompts: Names,
    resources: Uris,
    methods: HashMap<Box<str>, Bits>,
    extensions: Extensions,
}

/// The scopes that an object needs: all of them.
#[derive(Clone, Copy)]
pub struct Needs<'a> {
    table: &'a ScopeTable,
    bits: Bits,
}

impl<'a> Needs<'a> {
    /// Whether no scope names the object: then nobody may touch it.
    #[must_use]
    pub const fn is_unnamed(&self) -> bool {
        self.bits == 0
    }

    pub(crate) const fn bits(&self) -> Bits {
        self.bits
    }

    /// The scopes, in the table's order.
    pub fn iter(&self) -> impl Iterator<Item = &'a Scope> + use<'a> {
        self.table.scopes_at(self.bits)
    }

    /// The scopes.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        self.table.set(self.bits)
    }
}

impl ScopeTable {
    /// No table: one scope that opens everything.
    #[must_use]
    pub fn whole(scope: Scope, description: impl Into<String>) -> Self {
        build::whole(scope, description.into())
    }

    /// A table. `Err` names the first thing that cannot be meant.
    pub fn new(entries: Vec<ScopeEntry>) -> Result<Self, ScopeTableError> {
        build::table(entries)
    }

    /// Whether one scope opens everything, because no table was written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.whole
    }

    /// The scopes, in the order they were given.
    #[must_use]
    pub fn entries(&self) -> &[ScopeEntry] {
        &self.0.entries
    }

    /// What is said about one scope.
    #[must_use]
    pub fn get(&self, scope: &Scope) -> Option<&ScopeEntry> {
        let place = self.0.places.get(scope)?;
        self.0.entries.get(usize::from(*place))
    }

    /// Every scope.
    #[must_use]
    pub fn known(&self) -> ScopeSet {
        self.set(self.all())
    }

    /// The scopes that challenges and resource metadata name, and that are granted when a client asks for none: all
    /// without `step_up`.
    #[must_use]
    pub fn defaults(&self) -> ScopeSet {
        self.set(self.0.defaults)
    }

    /// The scopes that these hold in themselves, them included. Those that the table does not know are left out.
    #[must_use]
    pub fn closure(&self, scopes: &ScopeSet) -> ScopeSet {
        self.set(self.closed(self.places(scopes)))
    }

    /// What an object needs. Nothing is allocated but for unusual URIs: they need what each form needs that a reader may
    /// make of them.
    #[must_use]
    pub fn needs(&self, object: Object<'_>) -> Needs<'_> {
        let table = &*self.0;
        let bits = match object {
            _ if table.whole => self.all(),
            Object::Tool(name) => table.tools.needs(name),
            Object::Prompt(name) => table.prompts.needs(name),
            Object::Resource(uri) => table.resources.needs(uri),
            Object::Method(name) => table.methods.get(name).copied().unwrap_or_default(),
        };
        Needs { table: self, bits }
    }

    /// The methods that scopes name.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.0.methods.keys().map(|name| &**name)
    }

    /// The same for whoever admits calls ([`Call::admit`](doorward_mcp::Call::admit)).
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// Scopes of this table that were kept as bits.
    pub(crate) const fn at(&self, bits: Bits) -> Needs<'_> {
        Needs { table: self, bits }
    }

    /// Every scope, as what a call without an object needs where there is no table.
    pub(crate) fn everything(&self) -> Needs<'_> {
        Needs {
            table: self,
            bits: self.all(),
        }
    }

    /// What of `needs` the subject's token does not open.
    pub(crate) fn missing<'a>(&'a self, subject: &Subject, needs: Needs<'_>) -> Needs<'a> {
        let held = self.usable(subject, self.places(&subject.scopes));
        Needs {
            table: self,
            bits: needs.bits & !held,
        }
    }

    /// What of `needs` this person may not have, whatever the client.
    pub(crate) fn not_for_user<'a>(&'a self, subject: &Subject, needs: Needs<'_>) -> Needs<'a> {
        Needs {
            table: self,
            bits: needs.bits & !self.admitted(subject),
        }
    }

    /// What of `needs` cannot be granted to this client for this person. Beside those of
    /// [`ScopeTable::not_for_user`] that is what its registration does not hold.
    pub(crate) fn not_for_client<'a>(&'a self, subject: &Subject, needs: Needs<'_>) -> Needs<'a> {
        Needs {
            table: self,
            bits: needs.bits & !self.usable(subject, self.registered(subject)),
        }
    }

    /// What to ask for to get `needs`: those scopes themselves, or, for those that the client cannot ask for, the first
    /// broader one that it can.
    pub(crate) fn askable(&self, subject: &Subject, needs: Needs<'_>) -> ScopeSet {
        let can = self.registered(subject) & self.admitted(subject);
        let mut bits = needs.bits & can;
        for place in ones(needs.bits & !can) {
            let holds = |other: &usize| {
                let closure = self.0.closures.get(*other).copied().unwrap_or_default();
                closure & bit(place) != 0
            };
            bits |= ones(can).find(holds).map_or(bit(place), bit);
        }
        self.set(bits)
    }

    /// All that the client's registration lets it ask for.
    fn registered(&self, subject: &Subject) -> Bits {
        match &subject.client_scopes {
            None => self.all(),
            Some(scopes) => self.places(scopes),
        }
    }

    /// What the scopes `held` open for a subject: those that it may still have, all that they hold in themselves, and of
    /// those again only what it may have.
    fn usable(&self, subject: &Subject, held: Bits) -> Bits {
        let admitted = self.admitted(subject);
        self.closed(held & admitted) & admitted
    }

    /// The scopes whose `allow` names the subject, or that have none.
    fn admitted(&self, subject: &Subject) -> Bits {
        let admits = |place: &usize| {
            let entry = self.0.entries.get(*place);
            entry.is_some_and(|entry| entry.admits(subject))
        };
        let restricted = self.0.restricted;
        let admitted = ones(restricted)
            .filter(admits)
            .fold(0, |bits, place| bits | bit(place));
        !restricted | admitted
    }

    fn closed(&self, bits: Bits) -> Bits {
        let closure = |place| self.0.closures.get(place).copied().unwrap_or_default();
        ones(bits).fold(0, |closed, place| closed | closure(place))
    }

    fn places(&self, scopes: &ScopeSet) -> Bits {
        let place = |scope| self.0.places.get(scope).copied();
        scopes
            .iter()
            .filter_map(place)
            .fold(0, |bits, place| bits | bit(usize::from(place)))
    }

    fn all(&self) -> Bits {
        (0..self.0.entries.len()).fold(0, |bits, place| bits | bit(place))
    }

    fn scopes_at(&self, bits: Bits) -> impl Iterator<Item = &Scope> {
        ones(bits).filter_map(|place| self.0.entries.get(place).map(|entry| &entry.scope))
    }

    fn set(&self, bits: Bits) -> ScopeSet {
        self.scopes_at(bits).cloned().collect()
    }
}

/// The bit of a place; none beyond the last.
fn bit(place: usize) -> Bits {
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    1_u128.checked_shl(place).unwrap_or_default()
}

/// The places of the bits that are set, lowest first.
fn ones(mut bits: Bits) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(place)
    })
}

impl PartialEq for ScopeTable {
    fn eq(&self, other: &Self) -> bool {
        self.0.whole == other.0.whole && self.0.entries == other.0.entries
    }
}

impl Eq for ScopeTable {}

impl fmt::Debug for ScopeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeTable")
            .field("whole", &self.0.whole)
            .field("entries", &self.0.entries)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
