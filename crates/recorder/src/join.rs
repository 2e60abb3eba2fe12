//! Which login a request belongs to, as far as nothing in it says so.
//!
//! Everything here is in memory, bounded, and forgotten after ten minutes. What is found by it is likely, not certain:
//! people behind one address share it. So a flow that was claimed by an authorization request is taken out: from
//! there only what the request carries decides, and two logins from one address never mix.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use doorward_limits::Network;
use doorward_types::digest::Digest;
use doorward_types::id::TraceId;
use doorward_types::random::Random;
use doorward_types::time::UnixTime;
use uuid::Uuid;

/// How long hops are joined by address.
pub(crate) const WINDOW: Duration = Duration::from_secs(600);
/// Addresses that are remembered.
const PEERS: usize = 4096;
/// Flows of one address that nobody claimed yet.
const FLOWS: usize = 16;
/// Hops that one address may have written down in one window, as long as nobody has signed in: a flood is not kept,
/// and does not push out what others need.
const HOPS: u32 = 500;
/// Authorization requests that are remembered.
const CLAIMS: usize = 8192;
/// Token families that are remembered.
const FAMILIES: usize = 32_768;

/// What is known of a request when it arrives.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// Whose connection it came on.
    pub peer: Option<IpAddr>,
    /// The client it names.
    pub client: Option<String>,
    /// The resource it is for.
    pub resource: Option<String>,
    /// The `traceparent` header.
    pub traceparent: Option<String>,
}

/// How a request is joined by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To what is there; it begins nothing.
    Follow,
    /// To what is there; else it begins something.
    Begin,
}

/// A login that nobody claimed yet.
#[derive(Clone, Debug)]
struct Flow {
    trace: TraceId,
    begun: UnixTime,
    client: Option<String>,
    resource: Option<String>,
}

#[derive(Clone, Debug)]
struct Peer {
    since: UnixTime,
    hops: u32,
    flows: VecDeque<Flow>,
}

/// A map that forgets its oldest entry when it is full.
#[derive(Debug)]
struct Bounded<K, V> {
    most: usize,
    map: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Eq + Hash + Clone, V> Bounded<K, V> {
    fn new(most: usize) -> Self {
        Self {
            most,
            map: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
            while self.map.len() > self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.map.remove(&oldest);
            }
        }
    }
}

/// The memory.
#[derive(Debug)]
pub(crate) struct Joins {
    peers: Bounded<Option<Network>, Peer>,
    claims: Bounded<Digest, (TraceId, UnixTime)>,
    families: Bounded<Uuid, TraceId>,
}

impl Default for Joins {
    fn default() -> Self {
        Self {
            peers: Bounded::new(PEERS),
            claims: Bounded::new(CLAIMS),
            families: Bounded::new(FAMILIES),
        }
    }
}

impl Joins {
    /// The trace to which a request that carries none belongs.
    pub(crate) fn join(
        &mut self,
        arrival: &Arrival,
        wish: Wish,
        now: UnixTime,
        random: &dyn Random,
    ) -> Option<TraceId> {
        let peer = self.peer(arrival.peer, now);
        if let Some(flow) = peer.find(arrival) {
            flow.learn(arrival);
            return Some(flow.trace);
        }
        (wish == Wish::Begin).then(|| peer.begin(arrival, now, random))
    }

    /// The trace of an authorization request. The same request, however often it is opened, has one; two requests
    /// never share one.
    pub(crate) fn claim(
        &mut self,
        arrival: &Arrival,
        request: Digest,
        now: UnixTime,
        random: &dyn Random,
    ) -> TraceId {
        if let Some((trace, since)) = self.claims.map.get(&request)
            && now.since(*since) < WINDOW
        {
            return *trace;
        }
        let peer = self.peer(arrival.peer, now);
        let trace = match peer.position(arrival).and_then(|at| peer.flows.remove(at)) {
            Some(flow) => flow.trace,
            None => TraceId::generate(random),
        };
        self.claims.insert(request, (trace, now));
        trace
    }

    /// The trace under which a token family (or a token without one) was issued.
    pub(crate) fn of_family(&self, family: Uuid) -> Option<TraceId> {
        self.families.map.get(&family).copied()
    }

    /// From now on the family's hops belong to `trace`.
    pub(crate) fn remember_family(&mut self, family: Uuid, trace: TraceId) {
        self.families.insert(family, trace);
    }

    /// Whether one more hop of this address may be kept.
    pub(crate) fn admit(&mut self, peer: Option<IpAddr>, now: UnixTime) -> bool {
        let peer = self.peer(peer, now);
        peer.hops = peer.hops.saturating_add(1);
        peer.hops <= HOPS
    }

    fn peer(&mut self, address: Option<IpAddr>, now: UnixTime) -> &mut Peer {
        let network = address.map(Network::of);
        if !self.peers.map.contains_key(&network) {
            let fresh = Peer {
                since: now,
                hops: 0,
                flows: VecDeque::new(),
            };
            self.peers.insert(network, fresh);
        }
        let peer = self.peers.map.entry(network).or_insert_with(|| Peer {
            since: now,
            hops: 0,
            flows: VecDeque::new(),
        });
        if now.since(peer.since) >= WINDOW {
            peer.since = now;
            peer.hops = 0;
        }
        peer.flows.retain(|flow| now.since(flow.begun) < WINDOW);
        peer
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize, usize) {
        (
            self.peers.map.len().max(self.peers.order.len()),
            self.claims.map.len().max(self.claims.order.len()),
            self.families.map.len().max(self.families.order.len()),
        )
    }
}

impl Peer {
    /// The newest flow of the client; else the newest that has no client yet and fits.
    fn position(&self, arrival: &Arrival) -> Option<usize> {
        let newest = |fits: &dyn Fn(&Flow) -> bool| self.flows.iter().rposition(fits);
        let resource_fits = |flow: &Flow| match (&flow.resource, &arrival.resource) {
            (Some(known), Some(named)) => known == named,
            _ => true,
        };
        match &arrival.client {
            Some(client) => newest(&|flow| flow.client.as_ref() == Some(client) && resource_fits(flow))
                .or_else(|| newest(&|flow| flow.client.is_none() && resource_fits(flow))),
            None => newest(&|flow| resource_fits(flow)),
        }
    }

    fn find(&mut self, arrival: &Arrival) -> Option<&mut Flow> {
        let at = self.position(arrival)?;
        self.flows.get_mut(at)
    }

    fn begin(&mut self, arrival: &Arrival, now: UnixTime, random: &dyn Random) -> TraceId {
        let trace = TraceId::generate(random);
        if self.flows.len() >= FLOWS {
            self.flows.pop_front();
        }
        self.flows.push_back(Flow {
            trace,
            begun: now,
            client: arrival.client.clone(),
            resource: arrival.resource.clone(),
        });
        trace
    }
}

impl Flow {
    fn learn(&mut self, arrival: &Arrival) {
        if self.client.is_none() {
            self.client.clone_from(&arrival.client);
        }
        if self.resource.is_none() {
            self.resource.clone_from(&arrival.resource);
        }
    }
}
