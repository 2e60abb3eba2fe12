use doorward_records::facts::GrantFilter;
use doorward_records::grant::{Evidence, Grant};
use doorward_records::model::Tables;
use doorward_types::id::{GrantId, Tenant};
use doorward_types::random::CountingRandom;
use doorward_types::scope::ScopeSet;

use super::*;
use crate::fixture::{self, NOW};

/// alice and bob, each with two browsers, and two apps with two chains each.
struct World {
    tables: Tables,
    random: CountingRandom,
    clients: [ClientId; 2],
    users: [User; 2],
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            tables: Tables::new(),
            random: CountingRandom::default(),
            clients: ["http://127.0.0.1/a", "http://127.0.0.1/b"].map(|uri| fixture::client(&[uri]).id),
            users: [fixture::user("alice", &[]), fixture::user("bob", &[])],
        };
        for uri in ["http://127.0.0.1/a", "http://127.0.0.1/b"] {
            world.write(Write::InsertClient(fixture::client(&[uri])));
        }
        for user in world.users.clone() {
            world.write(Write::InsertUser(user.clone()));
            for browser in ["one", "two"] {
                world.write(Write::InsertSession(Session {
                    id: Digest::of(format!("{} {browser}", user.username).as_bytes()),
                    user: user.id,
                    authenticated_at: NOW,
                    expires: NOW.plus(Duration::from_hours(1)),
                    device: None,
                    methods: Vec::new(),
                }));
            }
            for client in world.clients.clone() {
                let grant = world.grant(&user, &client);
                world.chain(&grant);
                world.chain(&grant);
            }
        }
        world
    }

    fn write(&mut self, write: Write) {
        self.tables.apply(&Unit::writes(vec![write])).unwrap();
    }

    fn grant(&mut self, user: &User, client: &ClientId) -> Grant {
        let scopes: ScopeSet = "t:read".parse().unwrap();
        let grant = Grant {
            tenant: Tenant::default_tenant(),
            id: GrantId::generate(NOW, &self.random),
            user: user.id,
            client: client.clone(),
            redirect_host: "127.0.0.1".into(),
            resource: fixture::settings().servers.swap_remove(0).resource,
            scopes: scopes.clone(),
            evidence: Evidence {
                client_name: None,
                client_metadata: Digest::of(b"metadata"),
                redirect_uri: "http://127.0.0.1/a".into(),
                offered: scopes,
                authenticated_at: NOW,
            },
            created: NOW,
            updated: NOW,
        };
        self.write(Write::InsertGrant(grant.clone()));
        grant
    }

    fn chain(&mut self, grant: &Grant) -> FamilyId {
        let family = Family {
            tenant: grant.tenant.clone(),
            id: FamilyId::generate(NOW, &self.random),
            grant: grant.id,
            user: grant.user,
            client: grant.client.clone(),
            resource: grant.resource.clone(),
            scopes: grant.scopes.clone(),
            created: NOW,
            last_used: NOW,
            late_repeat: None,
            revoked: false,
            authenticated: Some(NOW),
            trace: None,
            device: None,
        };
        let id = family.id;
        self.write(Write::InsertFamily(family));
        id
    }

    fn facts(&self, user: usize) -> AccountFacts {
        let user = self.users[user].clone();
        AccountFacts {
            grants: self.tables.grants(&GrantFilter::User(user.id)),
            sessions: self.tables.sessions_of(user.id),
            user,
        }
    }

    fn chains(&self, user: usize) -> Vec<FamilyId> {
        let facts = self.facts(user);
        let all = facts.grants.iter().flat_map(|facts| &facts.families);
        all.map(|family| family.id).collect()
    }

    fn end(&mut self, user: usize, ending: &Ending) -> Result<(), NotThere> {
        let unit = end(ending, &self.facts(user), &Lifetimes::default(), NOW)?;
        self.tables.apply(&unit).unwrap();
        Ok(())
    }

    fn feed(&self) -> Vec<Revoked> {
        let (feed, _) = self.tables.revocations_after(0);
        feed.into_iter().map(|entry| entry.revoked).collect()
    }
}

#[test]
fn rt_06_one_chain_ends_and_nothing_else() {
    let mut world = World::new();
    let before = world.chains(0);
    world.end(0, &Ending::Chain(before[1])).unwrap();
    let mut left = before.clone();
    left.remove(1);
    assert_eq!(world.chains(0), left);
    assert_eq!(world.feed(), [Revoked::Family(before[1])]);
    assert_eq!((world.chains(1).len(), world.facts(0).grants.len()), (4, 2));
    assert_eq!(world.end(0, &Ending::Chain(before[1])), Err(NotThere), "once");
}

#[test]
fn rt_06_an_app_ends_with_every_chain_in_the_feed() {
    let mut world = World::new();
    let client = world.clients[0].clone();
    let before = world.chains(0);
    world.end(0, &Ending::Client(client.clone())).unwrap();
    let left = world.chains(0);
    assert_eq!((left.len(), world.facts(0).grants.len()), (2, 1));
    let mut gone: Vec<Revoked> = before
        .into_iter()
        .filter(|id| !left.contains(id))
        .map(Revoked::Family)
        .collect();
    let mut feed = world.feed();
    gone.sort_by_key(|revoked| format!("{revoked:?}"));
    feed.sort_by_key(|revoked| format!("{revoked:?}"));
    assert_eq!(feed, gone);
    assert_eq!(world.chains(1).len(), 4, "the same app of somebody else");
    assert_eq!(world.end(0, &Ending::Client(client)), Err(NotThere));
}

#[test]
fn rt_06_a_code_that_is_redeemed_meanwhile_is_not_forgotten() {
    let mut world = World::new();
    let client = world.clients[0].clone();
    let ending = Ending::Client(client.clone());
    let unit = end(&ending, &world.facts(0), &Lifetimes::default(), NOW).unwrap();
    let grant = world.facts(0).of_client(&client).next().unwrap().grant.clone();
    let late = world.chain(&grant);
    assert!(world.tables.apply(&unit).is_err(), "decided without that chain");
    world.end(0, &ending).unwrap();
    assert!(world.feed().contains(&Revoked::Family(late)));
}

#[test]
fn rt_06_r35_everything_is_sessions_consents_and_one_entry() {
    let mut world = World::new();
    world.end(0, &Ending::Everything).unwrap();
    let facts = world.facts(0);
    assert_eq!((facts.grants.len(), facts.sessions.len()), (0, 0));
    assert_eq!(world.feed(), [Revoked::User(world.users[0].id)]);
    assert_eq!((world.chains(1).len(), world.facts(1).sessions.len()), (4, 2));
}

#[test]
fn a_browser_is_signed_out_alone() {
    let mut world = World::new();
    let id = world.facts(0).sessions[0].id;
    world.end(0, &Ending::Browser(id)).unwrap();
    assert_eq!((world.facts(0).sessions.len(), world.chains(0).len()), (1, 4));
    assert_eq!(world.feed(), []);
}

#[test]
fn rt_06_what_belongs_to_others_is_not_there() {
    let mut world = World::new();
    let (chain, browser) = (world.chains(1)[0], world.facts(1).sessions[0].id);
    for ending in [
        Ending::Chain(chain),
        Ending::Browser(browser),
        Ending::Client(ClientId::new("dcr_unknown")),
    ] {
        assert_eq!(world.end(0, &ending), Err(NotThere), "{ending:?}");
    }
    assert_eq!((world.chains(1).len(), world.facts(1).sessions.len()), (4, 2));
}

#[test]
fn what_is_ended_is_read_as_it_is_written() {
    let world = World::new();
    for ending in [
        Ending::Chain(world.chains(0)[0]),
        Ending::Client(ClientId::new("https://app.example/oauth?a=b&what=everything")),
        Ending::Browser(world.facts(0).sessions[0].id),
        Ending::Everything,
    ] {
        let (what, id) = ending.fields();
        let text = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("what", what), ("id", &id)])
            .finish();
        assert_eq!(Ending::parse(&Form::parse(text.as_bytes()).unwrap()), Ok(ending));
    }
    for text in [
        "",
        "what=",
        "what=chain",
        "what=chain&id=x",
        "what=client",
        "what=browser&id=AAAA",
        "what=all",
        "what=everything&what=everything",
    ] {
        assert_eq!(
            Ending::parse(&Form::parse(text.as_bytes()).unwrap()),
            Err(NotThere),
            "{text}"
        );
    }
}
