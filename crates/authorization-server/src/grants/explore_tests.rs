//! Walks every state that the code and refresh rules can reach within stated bounds, breadth first.
//!
//! *Actors*: two clients that follow the protocol and send again what was not answered; a thief who sees
//! every code and every refresh token that was ever issued, but not the verifiers, and presents them as
//! either client. *Steps*: a request is read and decided on the rows of that moment; later its unit is
//! committed, and conflicts are decided anew up to three times; the reply arrives or is lost; everything
//! but the rows is forgotten (restart); time moves by 31 s or 11 min. Any two steps of different requests
//! interleave. What is checked on each step and state is in [`World::check_step`] and
//! [`World::check_rows`].
//!
//! | walk | sends A, B | thief | lost | restarts | time steps | at once | states |
//! |---|---|---|---|---|---|---|---|
//! | guessing a code | 2, 0 | 5 | 1 | 0 | 1 | 2 | 415,508 |
//! | one chain | 3, 0 | 2 | 1 | 1 | 2 | 2 | 523,592 |
//! | two clients | 3, 2 | 1 | 1 | 1 | 1 | 2 | 410,305 |
//! | one client alone | 6, 0 | 0 | 1 | 1 | 4 | 1 | 67,330 |
//!
//! The numbers are asserted: a change of the rules that reaches other states has to say so here. States are
//! told apart by 128 bits of SHA-256.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use doorward_oauth::pkce::CodeChallenge;
use doorward_records::client::Client;
use doorward_records::code::{Code, CodeState};
use doorward_records::grant::{Evidence, Grant};
use doorward_records::model::Tables;
use doorward_records::{Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::id::{FamilyId, GrantId};
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use super::{authorization_code, refresh_token};
use crate::fixture::{self, NOW};
use crate::keys::RefreshKeys;
use crate::settings::Settings;
use crate::token::TokenRefusal;

/// What a walk may spend, and what a state has spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Budget {
    sends: [u8; 2],
    attacks: u8,
    losses: u8,
    restarts: u8,
    ticks: u8,
    at_once: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    Code { of: usize, with_verifier: bool },
    Refresh(Rc<str>),
}

/// A request: who sends it (`None`: the thief), which client it claims to be, what it presents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Ask {
    sender: Option<usize>,
    claims: usize,
    what: What,
}

/// A request that was decided and is not committed yet.
#[derive(Debug)]
struct Flight {
    ask: Ask,
    unit: Unit,
    answer: Result<Rc<str>, TokenRefusal>,
    at: u32,
    tries: u8,
    print: u128,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl Eq for Flight {}

impl Hash for Flight {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

/// Tables, told apart by their fingerprint.
#[derive(Debug)]
struct Rows {
    tables: Tables,
    print: u128,
}

impl Rows {
    fn new(tables: Tables) -> Rc<Self> {
        Rc::new(Self {
            print: print(&tables),
            tables,
        })
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl Eq for Rows {}

impl Hash for Rows {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

/// 128 bits of SHA-256 over whatever a value hashes.
fn print(value: &impl Hash) -> u128 {
    #[derive(Default)]
    struct Collector(Vec<u8>);
    impl Hasher for Collector {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut collector = Collector::default();
    value.hash(&mut collector);
    u128::from_be_bytes(*Digest::of(&collector.0).as_bytes().first_chunk().unwrap())
}

/// One client's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Holder {
    token: Option<Rc<str>>,
    locked_out: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    rows: Rc<Rows>,
    seconds: u32,
    holders: [Holder; 2],
    flights: Vec<Rc<Flight>>,
    spent: Budget,
}

/// The same bytes for the same seed: equal histories must lead to equal states.
struct Seeded(u64);

impl Random for Seeded {
    fn fill(&self, out: &mut [u8]) {
        let digest = Digest::of(&self.0.to_be_bytes());
        for (to, from) in out.iter_mut().zip(digest.as_bytes().iter().cycle()) {
            *to = *from;
        }
    }
}

type Memory<K, V> = RefCell<HashMap<K, V>>;

struct World {
    settings: Settings,
    keys: RefreshKeys,
    clients: [Client; 2],
    bounds: Budget,
    /// Every refresh token by its digest: the thief has them all.
    tokens: RefCell<HashMap<Digest, Rc<str>>>,
    /// Deciding and committing depend on rows, request and time only, so each is done once.
    decided: Memory<(u128, Ask, u32, u8), Rc<Flight>>,
    committed: Memory<(u128, u128), Option<Rc<Rows>>>,
}

fn code(of: usize) -> Secret {
    Secret::new(format!("dwc_{of}"))
}

fn verifier(of: usize) -> Secret {
    Secret::new(of.to_string().repeat(43))
}

fn grant_id(of: usize) -> GrantId {
    GrantId::generate(NOW, &Seeded(1000 + of as u64))
}

impl World {
    fn new(bounds: Budget) -> Self {
        Self {
            settings: fixture::settings(),
            keys: RefreshKeys::of("k1", &[]),
            clients: [
                fixture::client(&["https://a.example/cb"]),
                fixture::client(&["https://b.example/cb"]),
            ],
            bounds,
            tokens: RefCell::default(),
            decided: RefCell::default(),
            committed: RefCell::default(),
        }
    }

    /// One person approved both clients; each has its code.
    fn start(&self) -> State {
        let user = fixture::user("alice", &[]);
        let mut writes = vec![Write::InsertUser(user.clone())];
        for (of, client) in self.clients.iter().enumerate() {
            let resource = self.settings.servers[0].resource.clone();
            let scopes = self.settings.servers[0].default_scopes();
            let evidence = Evidence {
                client_name: None,
                client_metadata: Digest::of(b"m"),
                redirect_uri: client.metadata.redirect_uris[0].clone(),
                offered: scopes.clone(),
                authenticated_at: NOW,
            };
            writes.push(Write::InsertClient(client.clone()));
            writes.push(Write::InsertGrant(Grant {
                tenant: client.tenant.clone(),
                id: grant_id(of),
                user: user.id,
                client: client.id.clone(),
                redirect_host: "x".into(),
                resource: resource.clone(),
                scopes: scopes.clone(),
                evidence,
                created: NOW,
                updated: NOW,
            }));
            writes.push(Write::InsertCode(Code {
                code: code(of).digest(),
                tenant: client.tenant.clone(),
                grant: grant_id(of),
                user: user.id,
                client: client.id.clone(),
                redirect_uri: client.metadata.redirect_uris[0].clone(),
                code_challenge: CodeChallenge::of(verifier(of).expose()).as_str().into(),
                resource,
                scopes,
                issued: NOW,
                expires: NOW.plus(self.settings.lifetimes.code),
                state: CodeState::Open,
                misses: 0,
                authenticated: Some(NOW),
                trace: None,
            }));
        }
        let mut rows = Tables::new();
        rows.apply(&Unit::writes(writes)).unwrap();
        State {
            rows: Rows::new(rows),
            seconds: 0,
            holders: Default::default(),
            flights: Vec::new(),
            spent: Budget::default(),
        }
    }

    /// The same, after client A redeemed its code and got the reply.
    fn start_with_tokens(&self) -> State {
        let mut state = self.start();
        let ask = Ask {
            sender: Some(0),
            claims: 0,
            what: What::Code {
                of: 0,
                with_verifier: true,
            },
        };
        let flight = self.decide(&state, ask, 0);
        state.rows = self.apply(&state.rows, &flight).unwrap();
        state.holders[0].token = flight.answer.clone().ok();
        state
    }

    fn decide(&self, state: &State, ask: Ask, tries: u8) -> Rc<Flight> {
        let key = (state.rows.print, ask, state.seconds, tries);
        if let Some(flight) = self.decided.borrow().get(&key) {
            return flight.clone();
        }
        let flight = Rc::new(self.decide_now(&state.rows.tables, key.1.clone(), state.seconds, tries));
        self.decided.borrow_mut().insert(key, flight.clone());
        flight
    }

    /// The rows after a commit, if it does not conflict. Everything is checked on the way.
    fn apply(&self, rows: &Rc<Rows>, flight: &Flight) -> Option<Rc<Rows>> {
        let key = (rows.print, flight.print);
        if let Some(after) = self.committed.borrow().get(&key) {
            return after.clone();
        }
        let mut tables = rows.tables.clone();
        let applied = flight.unit.is_empty() || tables.apply(&flight.unit).is_ok();
        let after = applied.then(|| {
            self.check_step(&rows.tables, &tables, flight);
            Self::check_rows(&tables);
            Rows::new(tables)
        });
        self.committed.borrow_mut().insert(key, after.clone());
        after
    }

    fn decide_now(&self, rows: &Tables, ask: Ask, seconds: u32, tries: u8) -> Flight {
        let now = at(seconds);
        let client = self.clients[ask.claims].id.clone();
        let decided = match &ask.what {
            What::Code { of, with_verifier } => {
                let request = authorization_code::Request {
                    code: code(*of),
                    client,
                    redirect_uri: None,
                    code_verifier: with_verifier.then(|| verifier(*of)),
                    resource: Vec::new(),
                    device: None,
                };
                let code = rows.code(request.lookup()).unwrap();
                let redeemed = match code.state {
                    CodeState::Redeemed { family } => rows.family(family).map(|facts| facts.family),
                    _ => None,
                };
                let facts = authorization_code::CodeFacts {
                    client: rows.client(&code.client),
                    user: rows.user(code.user),
                    grant: rows.grant_by_id(code.grant),
                    family: redeemed,
                    code: Some(code),
                };
                // A second chain of one code would get other bytes than the first, and be seen.
                let seed = rows.families().count() as u64 * 2 + *of as u64;
                authorization_code::decide(&self.settings, &self.keys, &request, &facts, now, &Seeded(seed))
            }
            What::Refresh(token) => {
                let request = refresh_token::Request {
                    refresh_token: Secret::new(token.as_ref()),
                    client,
                    scope: None,
                    resource: Vec::new(),
                };
                let facts = rows.refresh_token(request.lookup());
                refresh_token::decide(
                    &self.settings,
                    &self.keys,
                    &request,
                    facts.as_ref(),
                    now,
                    &Seeded(0),
                )
            }
        };
        let answer = decided.outcome.map(|issue| {
            let secret = issue.refresh_token.unwrap();
            let token: Rc<str> = Rc::from(secret.expose());
            self.tokens.borrow_mut().insert(secret.digest(), token.clone());
            token
        });
        let print = print(&(&ask, &decided.unit, format!("{answer:?}"), seconds, tries));
        Flight {
            ask,
            unit: decided.unit,
            answer,
            at: seconds,
            tries,
            print,
        }
    }

    fn successors(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        if state.flights.len() < self.bounds.at_once {
            for ask in self.asks(state) {
                let mut after = state.clone();
                match ask.sender {
                    Some(client) => after.spent.sends[client] += 1,
                    None => after.spent.attacks += 1,
                }
                after.flights.push(self.decide(state, ask, 0));
                after
                    .flights
                    .sort_by(|a, b| a.ask.cmp(&b.ask).then(a.at.cmp(&b.at)));
                next.push(after);
            }
        }
        for position in 0..state.flights.len() {
            self.commit(state, position, &mut next);
        }
        if state.spent.ticks < self.bounds.ticks {
            for step in [31, 660] {
                let mut after = state.clone();
                after.seconds += step;
                after.spent.ticks += 1;
                next.push(after);
            }
        }
        if !state.flights.is_empty() && state.spent.restarts < self.bounds.restarts {
            let mut after = state.clone();
            after.flights.clear();
            after.spent.restarts += 1;
            next.push(after);
        }
        next
    }

    /// What the actors can send now.
    fn asks(&self, state: &State) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (client, holder) in state.holders.iter().enumerate() {
            if !holder.locked_out && state.spent.sends[client] < self.bounds.sends[client] {
                let what = match &holder.token {
                    Some(token) => What::Refresh(token.clone()),
                    None => What::Code {
                        of: client,
                        with_verifier: true,
                    },
                };
                asks.push(Ask {
                    sender: Some(client),
                    claims: client,
                    what,
                });
            }
        }
        if state.spent.attacks < self.bounds.attacks {
            let tokens = self.tokens.borrow();
            for claims in [0, 1] {
                let guess = What::Code {
                    of: 0,
                    with_verifier: false,
                };
                let stolen = state
                    .rows
                    .tables
                    .refresh_tokens()
                    .map(|row| What::Refresh(tokens[&row.token].clone()));
                asks.extend(stolen.chain([guess]).map(|what| Ask {
                    sender: None,
                    claims,
                    what,
                }));
            }
        }
        asks
    }

    /// Commits a flight: it conflicts and is decided anew, or is answered; the answer arrives or is lost.
    fn commit(&self, state: &State, position: usize, next: &mut Vec<State>) {
        let mut after = state.clone();
        let flight = after.flights.remove(position);
        let Some(rows) = self.apply(&state.rows, &flight) else {
            if flight.tries < 2 {
                after
                    .flights
                    .insert(position, self.decide(state, flight.ask.clone(), flight.tries + 1));
            }
            next.push(after); // else: 503, the client may send again
            return;
        };
        after.rows = rows;
        if state.spent.losses < self.bounds.losses && flight.ask.sender.is_some() {
            let mut lost = after.clone();
            lost.spent.losses += 1;
            next.push(lost);
        }
        if let Some(client) = flight.ask.sender {
            let holder = &mut after.holders[client];
            match &flight.answer {
                Ok(token) => holder.token = Some(token.clone()),
                Err(_) => holder.locked_out = true,
            }
        }
        next.push(after);
    }

    /// What must hold of every commit.
    fn check_step(&self, before: &Tables, after: &Tables, flight: &Flight) {
        let now = at(flight.at);
        // Wrong guesses never harm: no row of any chain moves, and nothing is revoked.
        let guess = match &flight.ask.what {
            What::Code { with_verifier, .. } => !with_verifier,
            What::Refresh(token) => {
                let owner = before
                    .refresh_token(Secret::new(token.as_ref()).digest())
                    .map(|facts| facts.family.family.client);
                owner != Some(self.clients[flight.ask.claims].id.clone())
            }
        };
        if guess {
            assert!(flight.answer.is_err(), "a guess got tokens: {flight:?}");
            assert!(
                before.families().eq(after.families()),
                "a guess harmed a chain: {flight:?}"
            );
            assert!(before.refresh_tokens().eq(after.refresh_tokens()));
            assert_eq!(before.revocations_after(0), after.revocations_after(0));
        }
        // Codes move forward only, and families never come back to life.
        for (old, new) in before.codes().zip(after.codes()) {
            assert!(
                old.state == CodeState::Open || old.state == new.state,
                "{old:?} became {new:?}"
            );
            assert!(new.misses <= authorization_code::MAX_MISSES && new.misses >= old.misses);
            assert!(new.misses < authorization_code::MAX_MISSES || new.state == CodeState::Void);
        }
        for old in before.families().filter(|family| family.revoked) {
            assert!(after.family(old.id).unwrap().family.revoked);
        }
        match &flight.ask.what {
            What::Code {
                of,
                with_verifier: true,
            } => Self::check_code(before, after, flight, *of),
            What::Refresh(token) if !guess => self.check_refresh(before, after, flight, token, now),
            _ => {}
        }
    }

    /// A code that is presented in full: tokens once, afterwards its chain is revoked.
    fn check_code(before: &Tables, after: &Tables, flight: &Flight, of: usize) {
        let old = before.code(code(of).digest()).unwrap();
        match old.state {
            CodeState::Open if flight.answer.is_ok() => {
                let new = after.code(old.code).unwrap();
                assert!(matches!(new.state, CodeState::Redeemed { .. }));
            }
            CodeState::Redeemed { family } if !flight.unit.is_empty() => {
                assert_eq!(flight.answer, Err(TokenRefusal::CodeRedeemed));
                assert!(after.family(family).unwrap().family.revoked);
                assert!(Self::is_in_feed(after, family));
            }
            _ => assert!(flight.answer.is_err()),
        }
    }

    /// A refresh token presented by (or as) its client: the grace, and what is outside of it.
    fn check_refresh(&self, before: &Tables, after: &Tables, flight: &Flight, token: &str, now: UnixTime) {
        let digest = Secret::new(token).digest();
        let old = before.refresh_token(digest).unwrap();
        let family = old.family.family.id;
        let new = after.refresh_token(digest).unwrap();
        match &flight.answer {
            Ok(answered) => {
                assert!(!new.family.family.revoked);
                let head = new.later.last().unwrap();
                assert_eq!(
                    head.token,
                    Secret::new(answered.as_ref()).digest(),
                    "the answer is the one unused head"
                );
                let Some(rotated) = old.token.rotated else { return };
                let since = now.since(rotated);
                let late = old.later.len() == 1
                    && since < Duration::from_mins(10)
                    && old
                        .family
                        .family
                        .late_repeat
                        .is_none_or(|last| now.since(last) >= Duration::from_hours(24));
                assert!(
                    since < Duration::from_secs(30) || late,
                    "answered outside the grace: {flight:?}"
                );
                assert_eq!(old.later.len(), new.later.len(), "a repeat makes no new token");
            }
            Err(TokenRefusal::Replayed) => {
                let since = now.since(old.token.rotated.unwrap());
                assert!(since >= Duration::from_secs(30), "refused within the grace");
                assert!(
                    new.family.family.revoked && Self::is_in_feed(after, family),
                    "a replay revokes"
                );
                // With one lost reply and nobody else, a client is never locked out inside the grace.
                let alone = self.bounds.attacks == 0 && self.bounds.at_once == 1;
                assert!(
                    !alone || since >= Duration::from_mins(10),
                    "an honest client was locked out"
                );
            }
            Err(refusal) => assert!(old.family.family.revoked, "refused without a reason: {refusal:?}"),
        }
    }

    fn is_in_feed(rows: &Tables, family: FamilyId) -> bool {
        use doorward_records::revocation::Revoked;
        rows.revocations_after(0)
            .0
            .iter()
            .any(|entry| entry.revoked == Revoked::Family(family))
    }

    /// What must hold of the rows in every state.
    fn check_rows(rows: &Tables) {
        for of in [0, 1] {
            let chains = rows
                .families()
                .filter(|family| family.grant == grant_id(of))
                .count();
            assert!(chains <= 1, "a code made {chains} chains");
        }
        for family in rows.families() {
            let links = || rows.refresh_tokens().filter(|token| token.family == family.id);
            let counters: BTreeSet<u64> = links().map(|token| token.counter).collect();
            assert_eq!(
                counters.len(),
                links().count(),
                "a refresh token has two successors"
            );
            let heads: Vec<u64> = links()
                .filter(|token| token.rotated.is_none())
                .map(|token| token.counter)
                .collect();
            assert_eq!(
                heads,
                Vec::from_iter(counters.last().copied()),
                "a live chain has one head, its last link"
            );
        }
    }

    /// Walks everything; gives the number of states and of those where client A is locked out.
    fn walk(&self, start: State) -> (usize, usize) {
        let mut seen = HashSet::from([start.clone()]);
        let mut queue = VecDeque::from([start]);
        let mut locked_out = 0;
        while let Some(state) = queue.pop_front() {
            locked_out += usize::from(state.holders[0].locked_out);
            for after in self.successors(&state) {
                if !seen.contains(&after) {
                    seen.insert(after.clone());
                    queue.push_back(after);
                }
            }
        }
        (seen.len(), locked_out)
    }
}

fn at(seconds: u32) -> UnixTime {
    NOW.plus(Duration::from_secs(seconds.into()))
}

#[expect(clippy::print_stdout, reason = "the number of states is a result of the test")]
fn report(walk: &str, bounds: Budget, states: usize, expected: usize) {
    println!("{walk}: {states} states within {bounds:?}");
    assert_eq!(states, expected, "{walk}: update the table above");
}

#[test]
fn tk_01_tk_04_rt_01_guessing_a_code() {
    let bounds = Budget {
        sends: [2, 0],
        attacks: 5,
        losses: 1,
        restarts: 0,
        ticks: 1,
        at_once: 2,
    };
    let world = World::new(bounds);
    let (states, locked_out) = world.walk(world.start());
    report("guessing a code", bounds, states, 415_508);
    assert!(locked_out > 0, "five misses or a second redemption are reached");
}

#[test]
fn rt_01_rt_02_rt_09_one_chain() {
    let bounds = Budget {
        sends: [3, 0],
        attacks: 2,
        losses: 1,
        restarts: 1,
        ticks: 2,
        at_once: 2,
    };
    let world = World::new(bounds);
    let (states, locked_out) = world.walk(world.start_with_tokens());
    report("one chain", bounds, states, 523_592);
    assert!(locked_out > 0, "revocation after a replay is reached");
}

#[test]
fn tk_03_rt_03_two_clients_and_a_thief() {
    let bounds = Budget {
        sends: [3, 2],
        attacks: 1,
        losses: 1,
        restarts: 1,
        ticks: 1,
        at_once: 2,
    };
    let world = World::new(bounds);
    let (states, _) = world.walk(world.start());
    report("two clients", bounds, states, 410_305);
}

#[test]
fn rt_09_an_honest_client_survives_a_lost_reply() {
    let bounds = Budget {
        sends: [6, 0],
        attacks: 0,
        losses: 1,
        restarts: 1,
        ticks: 4,
        at_once: 1,
    };
    let world = World::new(bounds);
    let (states, locked_out) = world.walk(world.start_with_tokens());
    report("one client alone", bounds, states, 67_330);
    assert!(locked_out > 0, "outside the grace it is locked out");
}
