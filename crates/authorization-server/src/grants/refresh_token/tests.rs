use std::time::Duration;

use doorward_policy::AccessRule;
use doorward_records::account::User;
use doorward_records::client::{Client, ClientStatus};
use doorward_records::grant::{Evidence, Family, Grant};
use doorward_records::model::Tables;
use doorward_types::id::{FamilyId, GrantId, KeyId};
use doorward_types::random::CountingRandom;

use super::*;
use crate::fixture::{self, NOW};

struct Case {
    settings: Settings,
    keys: RefreshKeys,
    tables: Tables,
    family: Family,
    random: CountingRandom,
}

fn r0() -> Secret {
    Secret::new("dwr_0")
}

impl Case {
    fn new() -> Self {
        let (settings, random) = (fixture::settings(), CountingRandom::default());
        let (user, client) = (
            fixture::user("alice", &[]),
            fixture::client(&["http://127.0.0.1/cb"]),
        );
        let (resource, scopes) = (
            settings.servers[0].resource.clone(),
            settings.servers[0].default_scopes(),
        );
        let grant = Grant {
            tenant: client.tenant.clone(),
            id: GrantId::generate(NOW, &random),
            user: user.id,
            client: client.id.clone(),
            redirect_host: "127.0.0.1".into(),
            resource: resource.clone(),
            scopes: scopes.clone(),
            evidence: Evidence {
                client_name: None,
                client_metadata: Digest::of(b"m"),
                redirect_uri: "http://127.0.0.1:1/cb".into(),
                offered: scopes.clone(),
                authenticated_at: NOW,
            },
            created: NOW,
            updated: NOW,
        };
        let family = Family {
            tenant: client.tenant.clone(),
            id: FamilyId::generate(NOW, &random),
            grant: grant.id,
            user: user.id,
            client: client.id.clone(),
            resource,
            scopes,
            created: NOW,
            last_used: NOW,
            late_repeat: None,
            revoked: false,
            authenticated: Some(NOW),
            trace: None,
            device: None,
        };
        let head = RefreshToken {
            token: r0().digest(),
            family: family.id,
            counter: 0,
            key: KeyId::new("k1"),
            issued: NOW,
            rotated: None,
        };
        let mut tables = Tables::new();
        let rows = vec![
            Write::InsertUser(user),
            Write::InsertClient(client),
            Write::InsertGrant(grant),
            Write::InsertFamily(family.clone()),
            Write::InsertRefreshToken(head),
        ];
        tables.apply(&Unit::writes(rows)).unwrap();
        Self {
            settings,
            keys: RefreshKeys::of("k1", &[]),
            tables,
            family,
            random,
        }
    }

    fn request(&self, token: &Secret) -> Request {
        Request {
            refresh_token: token.clone(),
            client: self.family.client.clone(),
            scope: None,
            resource: Vec::new(),
        }
    }

    fn decide(&self, request: &Request, after: u64) -> Decided {
        let facts = self.tables.refresh_token(request.lookup());
        let now = NOW.plus(Duration::from_secs(after));
        decide(
            &self.settings,
            &self.keys,
            request,
            facts.as_ref(),
            now,
            &self.random,
        )
    }

    fn send(&mut self, request: &Request, after: u64) -> Result<Secret, TokenRefusal> {
        let decided = self.decide(request, after);
        self.tables.apply(&decided.unit).unwrap();
        decided.outcome.map(|issue| issue.refresh_token.unwrap())
    }

    fn refresh(&mut self, token: &Secret, after: u64) -> Result<Secret, TokenRefusal> {
        self.send(&self.request(token), after)
    }

    fn revoked(&self) -> bool {
        self.tables.family(self.family.id).unwrap().family.revoked
    }
}

#[test]
fn s3_each_use_gives_the_next_token_of_the_chain() {
    let mut case = Case::new();
    let r1 = case.refresh(&r0(), 1).unwrap();
    let r2 = case.refresh(&r1, 2).unwrap();
    assert!(r1 != r2 && r1 != r0() && r1.expose().starts_with("dwr_") && r1.expose().len() == 47);
    let rows: Vec<_> = case.tables.refresh_tokens().map(|row| row.counter).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        case.tables.family(case.family.id).unwrap().family.last_used,
        NOW.plus(Duration::from_secs(2))
    );
}

#[test]
fn what_a_token_says_of_the_sign_in_survives_every_refresh() {
    let mut case = Case::new();
    let r1 = case.refresh(&r0(), 100_000).unwrap();
    let later = case.decide(&case.request(&r1), 200_000).outcome.unwrap();
    let claims = later.claims(&case.settings.issuer, 0);
    assert_eq!(claims.auth_time, Some(NOW.seconds()), "RFC 9068 §2.2.1");
    assert_eq!(claims.iat, NOW.seconds() + 200_000);
    assert_eq!(claims.client_scope, None);
}

#[test]
fn rt_09_a_lost_reply_is_answered_again() {
    let mut case = Case::new();
    let r1 = case.refresh(&r0(), 0).unwrap();
    for after in [0, 1, 29] {
        assert_eq!(case.refresh(&r0(), after).unwrap(), r1, "freely within 30 s");
    }
    assert_eq!(case.refresh(&r0(), 599).unwrap(), r1, "once within ten minutes");
    assert_eq!(
        case.refresh(&r0(), 599),
        Err(TokenRefusal::Replayed),
        "but once a day only"
    );
    assert!(case.revoked());
}

#[test]
fn rt_09_the_late_repeat_comes_back_after_a_day() {
    let mut case = Case::new();
    let r1 = case.refresh(&r0(), 0).unwrap();
    assert_eq!(case.refresh(&r0(), 31).unwrap(), r1);
    let day = 24 * 3600;
    let r2 = case.refresh(&r1, day).unwrap();
    assert_eq!(case.refresh(&r1, day + 31).unwrap(), r2);
    let r3 = case.refresh(&r2, day + 100).unwrap();
    assert_eq!(case.refresh(&r2, day + 131), Err(TokenRefusal::Replayed));
    assert_eq!(case.refresh(&r3, day + 132), Err(TokenRefusal::Revoked));
}

#[test]
fn rt_01_a_replay_outside_the_grace_revokes_the_chain() {
    for (unused, after) in [(false, 32), (true, 600)] {
        let mut case = Case::new();
        let r1 = case.refresh(&r0(), 0).unwrap();
        let head = if unused { r1 } else { case.refresh(&r1, 1).unwrap() };
        assert_eq!(case.refresh(&r0(), after), Err(TokenRefusal::Replayed));
        assert!(case.revoked());
        assert_eq!(case.tables.revocations_after(0).0.len(), 1);
        assert_eq!(case.refresh(&head, after), Err(TokenRefusal::Revoked));
    }
}

#[test]
fn ft_10_what_was_made_in_a_future_that_never_came_is_over() {
    let mut case = Case::new();
    let r1 = case.refresh(&r0(), 3600).unwrap();
    assert_eq!(
        case.refresh(&r0(), 0),
        Err(TokenRefusal::Replayed),
        "its grace would last until that hour comes"
    );
    assert_eq!(case.refresh(&r1, 0), Err(TokenRefusal::Revoked));

    let case = Case::new();
    let (facts, request) = (case.tables.refresh_token(r0().digest()), case.request(&r0()));
    let at = |now| {
        let decided = decide(
            &case.settings,
            &case.keys,
            &request,
            facts.as_ref(),
            now,
            &case.random,
        );
        assert!(
            decided.outcome.is_ok() || decided.unit.is_empty(),
            "and nothing is harmed"
        );
        decided.outcome.map(|_| ())
    };
    let years = Duration::from_hours(10 * 365 * 24);
    assert_eq!(at(NOW.minus(years)), Err(TokenRefusal::Expired));
    assert_eq!(
        at(NOW.minus(Duration::from_secs(59))),
        Ok(()),
        "clocks may differ by a minute"
    );
}

#[test]
fn rt_02_within_thirty_seconds_every_superseded_token_leads_to_the_one_head() {
    let mut case = Case::new();
    let r1 = case.refresh(&r0(), 0).unwrap();
    let r2 = case.refresh(&r1, 1).unwrap();
    let r3 = case.refresh(&r2, 2).unwrap();
    assert_eq!(case.refresh(&r0(), 29).unwrap(), r3);
    assert_eq!(case.refresh(&r1, 30).unwrap(), r3);
    assert_eq!(case.refresh(&r0(), 30), Err(TokenRefusal::Replayed));
}

#[test]
fn rt_02_of_two_rotations_at_once_one_happens_and_the_other_gets_the_same() {
    let mut case = Case::new();
    let request = case.request(&r0());
    let (one, two) = (case.decide(&request, 0), case.decide(&request, 0));
    case.tables.apply(&one.unit).unwrap();
    assert!(case.tables.apply(&two.unit).is_err());
    let first = one.outcome.unwrap().refresh_token.unwrap();
    assert_eq!(case.refresh(&r0(), 0).unwrap(), first);
}

#[test]
fn rt_09_a_retired_key_still_answers_and_the_new_one_takes_over() {
    let mut case = Case::new();
    let r1 = case.refresh(&r0(), 0).unwrap();
    case.keys = RefreshKeys::of("k2", &["k1"]);
    assert_eq!(case.refresh(&r0(), 1).unwrap(), r1, "derived under k1");
    let r2 = case.refresh(&r1, 2).unwrap();
    let r3 = case.refresh(&r2, 3).unwrap();
    let row = case.tables.refresh_token(r2.digest()).unwrap().token;
    assert_eq!(row.key, KeyId::new("k2"));
    assert_eq!(
        case.refresh(&r0(), 4).unwrap(),
        r3,
        "link by link, each under its key"
    );
    case.keys = RefreshKeys::of("k3", &[]);
    assert_eq!(case.refresh(&r3, 5), Err(TokenRefusal::KeyMissing));
    assert!(!case.revoked(), "our fault, not theft");
}

#[test]
fn rt_03_rt_04_rt_05_wrong_client_scope_and_resource_do_no_harm() {
    let mut case = Case::new();
    let base = case.request(&r0());
    let b: String = "https://mcp.example.com/b/mcp".into();
    for (request, error) in [
        (
            Request {
                client: ClientId::new("c2"),
                ..base.clone()
            },
            "invalid_grant",
        ),
        (
            Request {
                scope: Some("t:read admin".into()),
                ..base.clone()
            },
            "invalid_scope",
        ),
        (
            Request {
                scope: Some("a  b".into()),
                ..base.clone()
            },
            "invalid_scope",
        ),
        (
            Request {
                resource: vec![b.clone()],
                ..base.clone()
            },
            "invalid_target",
        ),
        (
            Request {
                resource: vec!["/a/mcp".into()],
                ..base.clone()
            },
            "invalid_target",
        ),
        (
            Request {
                resource: vec![case.family.resource.as_str().into(), b],
                ..base
            },
            "invalid_target",
        ),
    ] {
        let decided = case.decide(&request, 0);
        assert_eq!(decided.outcome.unwrap_err().code().as_str(), error);
        assert!(decided.unit.is_empty());
    }
    assert!(case.refresh(&r0(), 1).is_ok());
}

#[test]
fn rt_04_scope_may_narrow_and_return() {
    let mut case = Case::new();
    let scoped = |case: &Case, token: &Secret, scope: &str| {
        let request = Request {
            scope: Some(scope.into()),
            ..case.request(token)
        };
        case.decide(&request, 1)
    };
    let narrow = scoped(&case, &r0(), "t:read offline_access");
    case.tables.apply(&narrow.unit).unwrap();
    let issue = narrow.outcome.unwrap();
    assert_eq!(issue.scopes.to_string(), "t:read");
    let wide = scoped(&case, &issue.refresh_token.unwrap(), "t:read t:write");
    assert_eq!(wide.outcome.unwrap().scopes.to_string(), "t:read t:write");
    let ours = scoped(&case, &r0(), "offline_access").outcome.unwrap();
    assert_eq!(ours.scopes.to_string(), "t:read t:write");
}

#[test]
fn rt_04_a37_what_a_scope_implies_can_be_asked_for_alone_and_nothing_grows() {
    let mut case = Case::new();
    case.settings.servers[0].scopes = fixture::broad_and_narrow();
    let request = |case: &Case, scope: &str| Request {
        scope: Some(scope.into()),
        ..case.request(&r0())
    };
    let mut family = case.family.clone();
    family.scopes = "write mail".parse().unwrap();
    let id = family.id;
    case.tables
        .apply(&Unit::writes(vec![Write::SetFamilyScopes(id, family.scopes)]))
        .unwrap();
    let scopes = |case: &Case, scope: &str| {
        let outcome = case.decide(&request(case, scope), 1).outcome;
        outcome.map(|issue| issue.scopes.to_string())
    };
    assert_eq!(scopes(&case, ""), Ok("mail write".into()));
    assert_eq!(scopes(&case, "read"), Ok("read".into()), "write implies it");
    assert_eq!(scopes(&case, "mail read"), Ok("mail read".into()));
    assert_eq!(scopes(&case, "admin"), Err(TokenRefusal::Scope));
    assert_eq!(scopes(&case, "write admin"), Err(TokenRefusal::Scope));
}

#[test]
fn rt_06_what_a_person_may_not_have_any_more_ends_at_the_next_refresh() {
    let mut case = Case::new();
    case.settings.servers[0].scopes = fixture::broad_and_narrow();
    let id = case.family.id;
    let scopes = "admin read".parse().unwrap();
    case.tables
        .apply(&Unit::writes(vec![Write::SetFamilyScopes(id, scopes)]))
        .unwrap();
    let scopes = |case: &Case| {
        let outcome = case.decide(&case.request(&r0()), 1).outcome;
        outcome.map(|issue| issue.scopes.to_string())
    };
    let user = case.tables.user(case.family.user).unwrap();
    let groups = |case: &mut Case, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let user = User {
            groups,
            ..user.clone()
        };
        case.tables
            .apply(&Unit::writes(vec![Write::UpdateUser(user)]))
            .unwrap();
    };
    groups(&mut case, &["ops"]);
    assert_eq!(scopes(&case), Ok("admin read".into()));
    groups(&mut case, &["eng"]);
    assert_eq!(scopes(&case), Ok("read".into()), "the others stay");
    groups(&mut case, &["ops"]);
    assert_eq!(
        scopes(&case),
        Ok("admin read".into()),
        "and it returns with the group"
    );
    // A scope that left the table is gone; if none is left, so is the chain's use.
    case.settings.servers[0].scopes = fixture::table("read mail");
    assert_eq!(scopes(&case), Ok("read".into()));
    case.settings.servers[0].scopes = fixture::table("other");
    assert_eq!(scopes(&case), Err(TokenRefusal::NoLongerAllowed));
}

#[test]
fn rt_06_r37_nothing_is_issued_when_it_is_no_longer_allowed() {
    let disabled = User {
        disabled: true,
        ..fixture::user("alice", &[])
    };
    let refused = |change: &dyn Fn(&mut Case), refusal| {
        let mut case = Case::new();
        change(&mut case);
        assert_eq!(case.refresh(&r0(), 0), Err(refusal));
    };
    let rows = |case: &mut Case, write| {
        case.tables.apply(&Unit::writes(vec![write])).unwrap();
    };
    refused(
        &|case| rows(case, Write::UpdateUser(disabled.clone())),
        TokenRefusal::NoLongerAllowed,
    );
    refused(
        &|case| rows(case, Write::DeleteUser(case.family.user)),
        TokenRefusal::UnknownRefreshToken,
    );
    refused(
        &|case| rows(case, Write::DeleteClient(case.family.client.clone())),
        TokenRefusal::UnknownRefreshToken,
    );
    refused(
        &|case| rows(case, Write::RevokeFamily(case.family.id)),
        TokenRefusal::Revoked,
    );
    refused(
        &|case| {
            let off = Write::SetClientStatus(case.family.client.clone(), ClientStatus::Disabled);
            rows(case, off);
        },
        TokenRefusal::NoLongerAllowed,
    );
    refused(
        &|case| {
            let client = case.tables.client(&case.family.client).unwrap();
            let elsewhere = Client {
                servers: Some(vec!["elsewhere".into()]),
                ..client
            };
            rows(case, Write::UpdateClient(elsewhere));
        },
        TokenRefusal::NoLongerAllowed,
    );
    refused(
        &|case| case.settings.servers[0].allow = AccessRule::parse(&["group:ops"]).unwrap(),
        TokenRefusal::NoLongerAllowed,
    );
    refused(
        &|case| case.settings.servers.clear(),
        TokenRefusal::NoLongerAllowed,
    );
    let mut case = Case::new();
    case.settings.servers[0].scopes = fixture::table("t:read");
    let issue = case.decide(&case.request(&r0()), 0).outcome.unwrap();
    assert_eq!(
        issue.scopes.to_string(),
        "t:read",
        "a scope that vanished is not granted any more"
    );
}

#[test]
fn rt_06_a_revoked_consent_ends_the_chain() {
    let case = Case::new();
    let mut facts = case.tables.refresh_token(r0().digest()).unwrap();
    facts.family.grant = None;
    let decided = decide(
        &case.settings,
        &case.keys,
        &case.request(&r0()),
        Some(&facts),
        NOW,
        &case.random,
    );
    assert_eq!(decided.outcome.unwrap_err(), TokenRefusal::NoLongerAllowed);
}

#[test]
fn a_chain_ends_when_idle_or_too_old() {
    let day = 24 * 3600;
    let mut case = Case::new();
    assert_eq!(
        case.decide(&case.request(&r0()), 30 * day).outcome.unwrap_err(),
        TokenRefusal::Expired
    );
    let mut token = case.refresh(&r0(), 29 * day).unwrap();
    token = case.refresh(&token, 58 * day).unwrap();
    token = case.refresh(&token, 87 * day).unwrap();
    assert_eq!(case.refresh(&token, 90 * day), Err(TokenRefusal::Expired));
    assert!(!case.revoked());
}

#[test]
fn rt_08_other_texts_are_unknown() {
    let mut case = Case::new();
    for token in [
        "dwr_",
        "dwr_00",
        "DWR_0",
        "dwr_%30",
        "dwr_0\0",
        " dwr_0",
        &"x".repeat(1 << 20),
    ] {
        assert_eq!(
            case.refresh(&Secret::new(token), 0),
            Err(TokenRefusal::UnknownRefreshToken)
        );
    }
}
