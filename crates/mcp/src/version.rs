//! The protocol revisions that we know.

use std::fmt;

/// A revision of MCP that is spoken over Streamable HTTP, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// 2024-11-05: older than Streamable HTTP, but servers that know no newer revision (most of all those
    /// on stdio) settle on it in `initialize`, and the client then names it in every request. Its messages
    /// are those of 2025-03-26. It is accepted and not offered: see [`Revision::ALL`].
    V2024_11_05,
    /// 2025-03-26: sessions, batches, no version header. A request without a version header counts as this.
    V2025_03_26,
    /// 2025-06-18: the version header appears, batches go.
    V2025_06_18,
    /// 2025-11-25: the last one with an `initialize` handshake.
    V2025_11_25,
    /// 2026-07-28: stateless, per-request metadata.
    V2026_07_28,
}

impl Revision {
    /// Every revision that is offered, newest first: the `supported` list of an unsupported-version error.
    pub const ALL: [Self; 4] = [
        Self::V2026_07_28,
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
    ];

    /// The revision that `text` names, byte for byte.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut known = Self::ALL.into_iter().chain([Self::V2024_11_05]);
        known.find(|revision| revision.as_str() == text)
    }

    /// The date that names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Whether it opens with `initialize` and may hold sessions ("legacy" in the specification's words).
    #[must_use]
    pub fn is_legacy(self) -> bool {
        self < Self::V2026_07_28
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
