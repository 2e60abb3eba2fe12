use std::time::Duration;

use doorward_oauth::client_auth as wire;
use doorward_oauth::form::Form;
use doorward_policy::AccessRule;
use doorward_records::client::{ClientMetadata, ClientOrigin};
use doorward_records::grant::{Evidence, Family, Grant};
use doorward_records::refresh::RefreshToken;
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, FamilyId, GrantId, KeyId, Tenant, TokenId, UserId};
use doorward_types::random::CountingRandom;

use super::*;
use crate::client_auth::authenticate;
use crate::fixture::{self, NOW};

/// A client with a secret that may introspect for `introspects`.
fn machine(id: &str, introspects: &[&str]) -> Client {
    let metadata = ClientMetadata {
        token_endpoint_auth_method: "client_secret_post".into(),
        ..ClientMetadata::public(Vec::new())
    };
    Client {
        secret: Some(Secret::new("s").digest()),
        introspects: introspects.iter().map(|&name| name.into()).collect(),
        ..Client::new(ClientId::new(id), ClientOrigin::Operator, metadata, NOW)
    }
}

fn caller(client: Client) -> Authenticated {
    let body = format!("client_id={}&client_secret=s", client.id);
    let presented = wire::read(&[], &Form::parse(body.as_bytes()).unwrap()).unwrap();
    authenticate(&fixture::settings(), &presented, Some(client), None, NOW).unwrap()
}

/// A token of alice's for server `a`, held by `c1`, and the rows behind it.
fn facts() -> FamilyFacts {
    let random = CountingRandom::default();
    let user = fixture::user("alice", &[]);
    let client = Client {
        id: ClientId::new("c1"),
        ..machine("c1", &[])
    };
    let grant = Grant {
        tenant: Tenant::default_tenant(),
        id: GrantId::generate(NOW, &random),
        user: user.id,
        client: client.id.clone(),
        redirect_host: "c.test".into(),
        resource: fixture::settings().servers[0].resource.clone(),
        scopes: "t:read".parse().unwrap(),
        evidence: Evidence {
            client_name: None,
            client_metadata: Digest::of(b""),
            redirect_uri: "https://c.test/cb".into(),
            offered: "t:read".parse().unwrap(),
            authenticated_at: NOW,
        },
        created: NOW,
        updated: NOW,
    };
    FamilyFacts {
        family: Family {
            tenant: Tenant::default_tenant(),
            id: FamilyId::generate(NOW, &random),
            grant: grant.id,
            user: user.id,
            client: client.id.clone(),
            resource: grant.resource.clone(),
            scopes: grant.scopes.clone(),
            created: NOW,
            last_used: NOW,
            late_repeat: None,
            revoked: false,
            authenticated: Some(NOW),
            trace: None,
            device: None,
        },
        grant: Some(grant),
        user: Some(user),
        client: Some(client),
    }
}

fn token(subject: TokenSubject, holder: &str) -> ActiveToken {
    let settings = fixture::settings();
    ActiveToken {
        id: Some(TokenId::generate(NOW, &CountingRandom::default())),
        is_access_token: true,
        issuer: settings.issuer.clone(),
        subject,
        username: None,
        client: ClientId::new(holder),
        resource: settings.servers[0].resource.clone(),
        scopes: "t:read".parse().unwrap(),
        issued: NOW,
        expires: NOW.plus(Duration::from_mins(10)),
    }
}

fn is_active(settings: &Settings, asks: Client, facts: FamilyFacts) -> bool {
    let token = token(TokenSubject::User(facts.family.user), "c1");
    let behind = Behind::Family(Some(Box::new(facts)));
    access_token(settings, &caller(asks), token, &behind) != IntrospectionResponse::Inactive
}

#[test]
fn ex_04_only_the_resource_server_and_the_holder_are_told() {
    let settings = fixture::two_servers();
    for (asks, told) in [
        (machine("rs", &["a"]), true),
        (machine("rs", &["b", "a"]), true),
        (machine("rs", &["b"]), false),
        (machine("rs", &[]), false),
        (machine("c1", &[]), true),
        (machine("C1", &[]), false),
    ] {
        let (id, names) = (asks.id.clone(), asks.introspects.clone());
        assert_eq!(is_active(&settings, asks, facts()), told, "{id} {names:?}");
    }
}

#[test]
fn ex_04_whatever_ended_since_makes_a_token_inactive() {
    type Change = fn(&mut Settings, &mut FamilyFacts);
    let changes: [Change; 9] = [
        |_, facts| facts.family.revoked = true,
        |_, facts| facts.grant = None,
        |_, facts| facts.user = None,
        |_, facts| facts.user.as_mut().unwrap().disabled = true,
        |_, facts| facts.client = None,
        |_, facts| facts.client.as_mut().unwrap().status = ClientStatus::Disabled,
        |_, facts| facts.client.as_mut().unwrap().status = ClientStatus::Pending,
        |settings, _| settings.servers[0].allow = AccessRule::parse(&["user:bob"]).unwrap(),
        |settings, _| settings.servers.clear(),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let (mut settings, mut facts) = (fixture::settings(), facts());
        assert!(is_active(&settings, machine("rs", &["a"]), facts.clone()));
        change(&mut settings, &mut facts);
        assert!(!is_active(&settings, machine("rs", &["a"]), facts), "change {n}");
    }
    // A chain that is no more, and rows that are not the token's kind.
    let rs = caller(machine("rs", &["a"]));
    let user = TokenSubject::User(UserId::generate(NOW, &CountingRandom::default()));
    for behind in [
        Behind::Family(None),
        Behind::Client(Some(Box::new(machine("c1", &[])))),
    ] {
        let told = access_token(&fixture::settings(), &rs, token(user.clone(), "c1"), &behind);
        assert_eq!(told, IntrospectionResponse::Inactive);
    }
}

#[test]
fn ex_04_a_clients_own_token_stands_with_the_client() {
    let settings = fixture::settings();
    let rs = caller(machine("rs", &["a"]));
    let ask = |behind: Behind| {
        let own = token(TokenSubject::Client(ClientId::new("c1")), "c1");
        access_token(&settings, &rs, own, &behind) != IntrospectionResponse::Inactive
    };
    let mut off = machine("c1", &[]);
    off.status = ClientStatus::Disabled;
    assert!(ask(Behind::Client(Some(Box::new(machine("c1", &[]))))));
    assert!(!ask(Behind::Client(Some(Box::new(off)))));
    assert!(!ask(Behind::Client(Some(Box::new(machine("c2", &[]))))));
    assert!(!ask(Behind::Client(None)));
    assert!(!ask(Behind::Family(Some(Box::new(facts())))));
}

#[test]
fn ex_04_a_refresh_token_is_told_about_to_its_holder_while_it_is_the_newest() {
    let settings = fixture::settings();
    let with = |change: &dyn Fn(&mut RefreshFacts)| {
        let family = facts();
        let mut facts = RefreshFacts {
            token: RefreshToken {
                token: Digest::of(b"dwr_x"),
                family: family.family.id,
                counter: 0,
                key: KeyId::new("k"),
                issued: NOW,
                rotated: None,
            },
            later: Vec::new(),
            family,
        };
        change(&mut facts);
        facts
    };
    let told = |client: &str, introspects: &[&str], facts: Option<&RefreshFacts>, later: Duration| {
        let asks = caller(machine(client, introspects));
        refresh_token(&settings, &asks, facts, NOW.plus(later)) != IntrospectionResponse::Inactive
    };
    let (good, soon) = (with(&|_| {}), Duration::ZERO);
    assert!(told("c1", &[], Some(&good), soon));
    assert!(!told("c2", &[], Some(&good), soon));
    assert!(!told("rs", &["a"], Some(&good), soon));
    assert!(!told("c1", &[], None, soon));
    assert!(!told(
        "c1",
        &[],
        Some(&with(&|facts| facts.token.rotated = Some(NOW))),
        soon
    ));
    assert!(!told(
        "c1",
        &[],
        Some(&with(&|facts| facts.family.family.revoked = true)),
        soon
    ));
    assert!(!told("c1", &[], Some(&good), settings.lifetimes.refresh_idle));
}

#[test]
fn a_token_says_what_it_is() {
    for (token, kind) in [
        ("dwr_x", TokenKind::Refresh),
        ("a.b.c", TokenKind::Access),
        ("dwc_x", TokenKind::Other),
        ("dws_x", TokenKind::Other),
        ("dwx", TokenKind::Unknown),
        ("a.b", TokenKind::Unknown),
        ("", TokenKind::Unknown),
        ("dw\u{e9}_x", TokenKind::Unknown),
    ] {
        assert_eq!(TokenKind::of(&Secret::new(token)), kind, "{token}");
    }
}

#[test]
fn ex_04_public_and_switched_off_clients_may_not_ask() {
    let mut public = machine("c1", &["a"]);
    public.metadata.token_endpoint_auth_method = "none".into();
    let presented = wire::read(&[], &Form::parse(b"client_id=c1").unwrap()).unwrap();
    let nobody = authenticate(&fixture::settings(), &presented, Some(public), None, NOW).unwrap();
    assert_eq!(check_caller(&nobody).unwrap_err().status(), 401);
    for (status, code) in [(ClientStatus::Disabled, 401), (ClientStatus::Pending, 400)] {
        let mut client = machine("rs", &["a"]);
        client.status = status;
        assert_eq!(check_caller(&caller(client)).unwrap_err().status(), code);
    }
    assert!(check_caller(&caller(machine("rs", &["a"]))).is_ok());
}
