//! `Mcp-Param-*` held against the body (MB-07): which of them a server's tools ask for is learnt from the tool
//! lists that pass.
//!
//! What was learnt is kept per user. A server may list other tools, or other schemas, for other users, and
//! then nobody's list may loosen or tighten what is checked for somebody else, or tell that a tool exists.
//! Of a tool that this user has not listed nothing is known, and its calls pass: the server itself has to
//! check them anyway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use doorward_mcp::param_headers::{ParameterHeaders, may_annotate, tools};
use doorward_mcp::{Call, NotAdmitted};
use doorward_types::id::UserId;
use http::HeaderMap;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::listener::{Learns, Listener};

/// Most tools with annotations that are remembered for one user.
const TOOLS: usize = 256;
/// Most that is remembered for one server, in bytes. Users who were not seen for the longest time go first.
const CAPACITY: u64 = 8 << 20;

type Tools = HashMap<Box<str>, ParameterHeaders>;

/// What is known of one server's tools.
pub(crate) struct Parameters {
    known: Cache<UserId, Arc<Tools>, BySize>,
    /// Whether anything was ever learnt. Most servers annotate nothing, and then a call costs this one look.
    any: AtomicBool,
    learning: Mutex<()>,
}

#[derive(Clone)]
struct BySize;

impl Weighter<UserId, Arc<Tools>> for BySize {
    fn weight(&self, _: &UserId, tools: &Arc<Tools>) -> u64 {
        let each = tools
            .iter()
            .map(|(name, headers)| name.len() + headers.size() + 64);
        u64::try_from(each.sum::<usize>() + 64).unwrap_or(u64::MAX)
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            known: Cache::with_weighter(1024, CAPACITY, BySize),
            any: AtomicBool::new(false),
            learning: Mutex::new(()),
        }
    }
}

impl Parameters {
    /// Holds a `tools/call` of 2026-07-28 against the headers that its tool asks for, if they are known.
    pub(crate) fn check(&self, user: UserId, call: &Call, headers: &HeaderMap) -> Result<(), NotAdmitted> {
        if !self.any.load(Ordering::Acquire) || !is_modern(call, "tools/call") {
            return Ok(());
        }
        let known = self.known.get(&user);
        let tool = call
            .name()
            .and_then(|name| known.as_ref().and_then(|tools| tools.get(name)));
        let Some(tool) = tool else { return Ok(()) };
        tool.check(call, headers).map_err(|reason| NotAdmitted {
            reason,
            id: call.id().map(Into::into),
            legacy: false,
        })
    }

    /// Who learns from the answer to `call`: somebody if it is a `tools/list` of 2026-07-28.
    pub(crate) fn listener(self: &Arc<Self>, user: UserId, call: &Call) -> Option<Listener> {
        is_modern(call, "tools/list").then(|| Listener::new(Learns::Parameters(Arc::clone(self), user)))
    }

    /// Takes in a page of a tool list. What the page does not name stays as it was: lists have pages.
    pub(crate) fn learn(&self, user: UserId, message: &[u8]) {
        let _alone = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.get(&user);
        if known.is_none() && !may_annotate(message) {
            return;
        }
        let Ok(listed) = tools(message) else {
            tracing::debug!("a tool list is not strict JSON: nothing is learnt from it");
            return;
        };
        let mut tools = known.map_or_else(Tools::new, |known| Tools::clone(&known));
        for tool in listed {
            match tool.headers {
                Some(headers) if tools.len() < TOOLS || tools.contains_key(&tool.name) => {
                    tools.insert(tool.name, headers);
                }
                _ => drop(tools.remove(&tool.name)),
            }
        }
        if tools.is_empty() {
            self.known.remove(&user);
        } else {
            self.known.insert(user, Arc::new(tools));
            self.any.store(true, Ordering::Release);
        }
    }
}

fn is_modern(call: &Call, method: &str) -> bool {
    call.method() == Some(method) && !call.revision().is_legacy()
}
