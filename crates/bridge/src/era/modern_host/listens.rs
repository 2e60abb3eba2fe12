//! `subscriptions/listen` in front of a session that tells of changes by itself and of resources after `resources/subscribe`.

use std::collections::{BTreeMap, BTreeSet};

use super::super::message::{self, Id};
use super::super::refusal::Refusal;
use super::super::translate::SUBSCRIPTION_ID;
use super::{ModernHost, Own};
use crate::adapter::Step;
use doorward_mcp::members::{Members, raw};

/// Most streams of changes at a time.
const LISTENS: usize = 64;
/// Most resources that are listened to, in all.
const RESOURCES: usize = 1024;
/// Longest URI.
const URI_LENGTH: usize = 8 << 10;

#[derive(Default)]
pub(super) struct Listens {
    listens: Vec<Listen>,
    /// The resources of all of them, and whether the server agreed.
    resources: BTreeMap<String, bool>,
}

/// One stream of the host.
struct Listen {
    id: Id,
    tools: bool,
    prompts: bool,
    resources: bool,
    /// What it hears of.
    uris: BTreeSet<String>,
    /// What the server has not agreed to yet. Until then nothing is told: the acknowledgement comes first.
    pending: BTreeSet<String>,
    acknowledged: bool,
}

impl Listen {
    fn acknowledge(&mut self) -> Option<Step> {
        if self.acknowledged || !self.pending.is_empty() {
            return None;
        }
        self.acknowledged = true;
        let mut filter = Members::default();
        for (name, honoured) in [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ] {
            if honoured {
                filter = filter.with(name, &true);
            }
        }
        if !self.uris.is_empty() {
            filter = filter.with("resourceSubscriptions", &self.uris);
        }
        let params = Members::default().with("notifications", &filter);
        Some(self.tell("notifications/subscriptions/acknowledged", params))
    }

    fn tell(&self, method: &str, mut params: Members) -> Step {
        let meta = params.object("_meta").unwrap_or_default();
        params.set("_meta", raw(&meta.with(SUBSCRIPTION_ID, self.id.raw())));
        Step::ToHost(message::notification(method, &params))
    }

    fn hears(&self, method: &str, uri: &str) -> bool {
        match method {
            "notifications/tools/list_changed" => self.tools,
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            // "This might be a sub-resource of the one that the client actually subscribed to."
            _ => self.uris.iter().any(|subscribed| uri.starts_with(&**subscribed)),
        }
    }
}

impl ModernHost {
    pub(super) fn listen(&mut self, id: &Id, params: &Members) -> Result<Vec<Step>, Refusal> {
        let Some(session) = self.session() else {
            return Ok(Vec::new());
        };
        let offered = session.offered;
        let filter = params.object("notifications");
        let filter = filter.ok_or(Refusal::BadParams("`notifications` is missing"))?;
        let uris: BTreeSet<String> = match filter.has("resourceSubscriptions") {
            true => filter
                .value("resourceSubscriptions")
                .ok_or(Refusal::BadParams("`resourceSubscriptions` is no list of texts"))?,
            false => BTreeSet::new(),
        };
        let listens = &self.listens;
        let known = uris
            .iter()
            .filter(|uri| listens.resources.contains_key(*uri))
            .count();
        if listens.listens.len() >= LISTENS
            || listens.resources.len() + uris.len() - known > RESOURCES
            || uris.iter().any(|uri| uri.len() > URI_LENGTH)
        {
            return Err(Refusal::TooMany("subscriptions"));
        }
        if listens.listens.iter().any(|listen| listen.id == *id) {
            return Err(Refusal::BadParams(
                "this id is that of a subscription which is open",
            ));
        }
        let wants = |name| filter.value(name) == Some(true);
        let mut listen = Listen {
            id: id.clone(),
            tools: offered.tools_changed && wants("toolsListChanged"),
            prompts: offered.prompts_changed && wants("promptsListChanged"),
            resources: offered.resources_changed && wants("resourcesListChanged"),
            uris: BTreeSet::new(),
            pending: BTreeSet::new(),
            acknowledged: false,
        };
        let mut steps = Vec::new();
        // What the server does not offer is left out of the acknowledgement.
        for uri in uris.into_iter().filter(|_| offered.subscribe) {
            match self.listens.resources.get(&uri) {
                Some(true) => {
                    listen.uris.insert(uri);
                    continue;
                }
                Some(false) => {}
                None => steps.push(self.subscribe(&uri)),
            }
            listen.pending.insert(uri);
        }
        steps.extend(listen.acknowledge());
        self.listens.listens.push(listen);
        Ok(steps)
    }

    fn subscribe(&mut self, uri: &str) -> Step {
        let number = self.number();
        self.own.insert(number, Own::Subscribe(uri.to_owned()));
        self.listens.resources.entry(uri.to_owned()).or_insert(false);
        let params = Members::default().with("uri", uri);
        Step::ToServer(message::request(number, "resources/subscribe", &params))
    }

    /// In a new session.
    pub(super) fn subscribe_again(&mut self) -> Vec<Step> {
        self.own.retain(|_, own| !matches!(own, Own::Subscribe(_)));
        let uris: Vec<String> = self.listens.resources.keys().cloned().collect();
        uris.iter().map(|uri| self.subscribe(uri)).collect()
    }

    /// The server's answer to a `resources/subscribe`.
    pub(super) fn subscribed(&mut self, uri: &str, agreed: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut wanted = false;
        for listen in &mut self.listens.listens {
            let was_pending = listen.pending.remove(uri);
            if agreed && was_pending {
                listen.uris.insert(uri.to_owned());
            } else if !agreed {
                listen.uris.remove(uri);
            }
            wanted |= listen.uris.contains(uri);
            steps.extend(listen.acknowledge());
        }
        if wanted {
            self.listens.resources.insert(uri.to_owned(), true);
        } else {
            self.listens.resources.remove(uri);
            if agreed {
                steps.push(self.unsubscribe(uri));
            }
        }
        steps
    }

    fn unsubscribe(&mut self, uri: &str) -> Step {
        let number = self.number();
        self.own.insert(number, Own::Ignored);
        let params = Members::default().with("uri", uri);
        Step::ToServer(message::request(number, "resources/unsubscribe", &params))
    }

    /// The host gives up a subscription. `None` if the id is none of one.
    pub(super) fn unlisten(&mut self, id: &Id) -> Option<Vec<Step>> {
        let at = self.listens.listens.iter().position(|listen| listen.id == *id)?;
        let ended = self.listens.listens.remove(at);
        let mut steps = Vec::new();
        for uri in ended.uris {
            let mut others = self.listens.listens.iter();
            if others.any(|listen| listen.uris.contains(&uri) || listen.pending.contains(&uri)) {
                continue;
            }
            // One that the server has not answered yet is given up with the answer.
            if self.listens.resources.get(&uri) == Some(&true) {
                self.listens.resources.remove(&uri);
                steps.push(self.unsubscribe(&uri));
            }
        }
        Some(steps)
    }

    /// A change, for every stream that asked for it.
    pub(super) fn news(&self, method: &str, params: &Members) -> Vec<Step> {
        let uri = params.text("uri").unwrap_or_default();
        let hearing = self.listens.listens.iter();
        hearing
            .filter(|listen| listen.acknowledged && listen.hears(method, &uri))
            .map(|listen| listen.tell(method, params.clone()))
            .collect()
    }
}
