//! What is to be bridged, and how.

use std::time::Duration;

use http::HeaderMap;
use url::Url;

use doorward_policy::Pattern;

/// Which transport the server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP; HTTP+SSE of 2024-11-05 if the server does not have it.
    #[default]
    Auto,
    /// Streamable HTTP alone.
    Streamable,
    /// HTTP+SSE of 2024-11-05 alone.
    Sse,
}

/// What [`run`](crate::run) works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The MCP server.
    pub url: Url,
    /// Which transport it speaks.
    pub transport: Transport,
    /// Headers for every request to it, and to nobody else.
    pub headers: HeaderMap,
    /// Tools that the host does not get to see.
    pub ignored_tools: Vec<Pattern>,
    /// How often a `ping` is sent to a legacy server on which nothing else happens.
    pub keep_alive: Option<Duration>,
    /// Whether cookies of the server are kept, in memory.
    pub cookies: bool,
    /// The longest message of either side, in bytes.
    pub longest_message: usize,
}

/// The longest message of either side unless told otherwise, in bytes.
pub const LONGEST_MESSAGE: usize = 32 << 20;

impl Settings {
    /// The settings for a server about which nothing else was said.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            transport: Transport::Auto,
            headers: HeaderMap::new(),
            ignored_tools: Vec::new(),
            keep_alive: None,
            cookies: true,
            longest_message: LONGEST_MESSAGE,
        }
    }

    /// Whether a tool is kept from the host.
    #[must_use]
    pub fn ignores(&self, tool: &str) -> bool {
        self.ignored_tools.iter().any(|pattern| pattern.matches(tool))
    }
}
