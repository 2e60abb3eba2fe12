use std::time::Duration;

use doorward_policy::AccessRule;
use doorward_records::client::ClientStatus;
use doorward_records::grant::Evidence;
use doorward_records::model::Tables;
use doorward_records::revocation::Revoked;
use doorward_types::id::GrantId;
use doorward_types::random::CountingRandom;

use super::*;
use crate::fixture::{self, NOW};

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "http://127.0.0.1:5000/cb";

struct Case {
    settings: Settings,
    keys: RefreshKeys,
    tables: Tables,
    code: Code,
    random: CountingRandom,
}

impl Case {
    fn new() -> Self {
        Self::with(fixture::client(&["http://127.0.0.1/cb"]))
    }

    fn with(client: Client) -> Self {
        let (settings, random) = (fixture::settings(), CountingRandom::default());
        let user = fixture::user("alice", &[]);
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
                redirect_uri: REDIRECT.into(),
                offered: scopes.clone(),
                authenticated_at: NOW,
            },
            created: NOW,
            updated: NOW,
        };
        let code = Code {
            code: Secret::new("dwc_1").digest(),
            tenant: client.tenant.clone(),
            grant: grant.id,
            user: user.id,
            client: client.id.clone(),
            redirect_uri: REDIRECT.into(),
            code_challenge: CodeChallenge::of(VERIFIER).as_str().into(),
            resource,
            scopes,
            issued: NOW,
            expires: NOW.plus(settings.lifetimes.code),
            state: CodeState::Open,
            misses: 0,
            authenticated: Some(NOW),
            trace: None,
        };
        let mut tables = Tables::new();
        let rows = vec![
            Write::InsertUser(user),
            Write::InsertClient(client),
            Write::InsertGrant(grant),
            Write::InsertCode(code.clone()),
        ];
        tables.apply(&Unit::writes(rows)).unwrap();
        Self {
            settings,
            keys: RefreshKeys::of("k", &[]),
            tables,
            code,
            random,
        }
    }

    fn request(&self) -> Request {
        Request {
            code: Secret::new("dwc_1"),
            client: self.code.client.clone(),
            redirect_uri: Some(REDIRECT.into()),
            code_verifier: Some(Secret::new(VERIFIER)),
            resource: vec![self.code.resource.as_str().into()],
            device: Some("node".into()),
        }
    }

    fn decide(&self, request: &Request, after: u64) -> Decided {
        let code = self.tables.code(request.lookup());
        let family = match code.as_ref().map(|code| code.state) {
            Some(CodeState::Redeemed { family }) => self.tables.family(family).map(|facts| facts.family),
            _ => None,
        };
        let facts = CodeFacts {
            client: code.as_ref().and_then(|code| self.tables.client(&code.client)),
            user: code.as_ref().and_then(|code| self.tables.user(code.user)),
            grant: code.as_ref().and_then(|code| self.tables.grant_by_id(code.grant)),
            family,
            code,
        };
        let now = NOW.plus(Duration::from_secs(after));
        decide(&self.settings, &self.keys, request, &facts, now, &self.random)
    }

    fn send(&mut self, request: &Request, after: u64) -> Result<Box<super::super::Issue>, TokenRefusal> {
        let decided = self.decide(request, after);
        self.tables.apply(&decided.unit).unwrap();
        decided.outcome
    }

    fn state(&self) -> (CodeState, u32) {
        let code = self.tables.code(self.code.code).unwrap();
        (code.state, code.misses)
    }
}

#[test]
fn tk_14_r19_a_redeemed_code_gives_tokens_for_its_one_resource() {
    let mut case = Case::new();
    let issue = case.send(&case.request(), 59).unwrap();
    let claims = serde_json::to_value(issue.claims(&case.settings.issuer, 7)).unwrap();
    assert_eq!(claims["aud"], "https://mcp.example.com/a/mcp");
    assert_eq!(
        (claims["scope"].as_str(), claims["rev"].as_u64()),
        (Some("t:read t:write"), Some(7))
    );
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        600
    );
    assert_eq!(claims["client_id"].as_str(), Some(case.code.client.as_str()));
    assert_eq!(
        (claims["username"].as_str(), claims["iss"].as_str()),
        (Some("alice"), Some("https://mcp.example.com"))
    );
    let refresh = issue.refresh_token.unwrap();
    assert!(refresh.expose().starts_with("dwr_") && refresh.expose().len() == 47);
    assert_eq!(
        case.tables.refresh_token(refresh.digest()).unwrap().token.counter,
        0
    );
}

#[test]
fn s3_a_client_without_the_refresh_grant_gets_a_longer_token_and_no_refresh_token() {
    let mut client = fixture::client(&["http://127.0.0.1/cb"]);
    client.metadata.grant_types.pop();
    let mut case = Case::with(client);
    let issue = case.send(&case.request(), 0).unwrap();
    assert!(issue.refresh_token.is_none());
    assert_eq!(issue.expires_in, Duration::from_mins(60));
    assert_eq!(case.tables.refresh_tokens().count(), 0);
}

#[test]
fn tk_01_a_second_presentation_revokes_the_first_ones_chain() {
    let mut case = Case::new();
    let family = case.send(&case.request(), 0).unwrap().family.unwrap();
    assert_eq!(
        case.send(&case.request(), 1).unwrap_err(),
        TokenRefusal::CodeRedeemed
    );
    assert!(case.tables.family(family).unwrap().family.revoked);
    let (feed, _) = case.tables.revocations_after(0);
    assert_eq!(feed.len(), 1);
    assert_eq!(feed[0].revoked, Revoked::Family(family));
    assert!(
        feed[0].expires >= NOW.plus(Duration::from_mins(60)),
        "longer than any access token"
    );
    assert_eq!(
        case.send(&case.request(), 2).unwrap_err(),
        TokenRefusal::CodeRedeemed
    );
    assert_eq!(case.tables.revocations_after(0).0.len(), 1, "revoked once");
}

#[test]
fn tk_02_of_two_presentations_at_once_one_happens() {
    let mut case = Case::new();
    let (one, two) = (case.decide(&case.request(), 0), case.decide(&case.request(), 0));
    assert!(one.outcome.is_ok() && two.outcome.is_ok());
    case.tables.apply(&one.unit).unwrap();
    assert!(case.tables.apply(&two.unit).is_err());
    assert_eq!(
        case.send(&case.request(), 0).unwrap_err(),
        TokenRefusal::CodeRedeemed
    );
}

#[test]
fn tk_03_tk_04_tk_06_what_does_not_match_is_a_miss_and_five_kill_the_code() {
    let wrong: [fn(&mut Request); 6] = [
        |request| request.client = ClientId::new("c2"),
        |request| request.code_verifier = Some(Secret::new(VERIFIER.replace('d', "e"))),
        |request| request.code_verifier = None,
        |request| request.code_verifier = Some(Secret::new(&VERIFIER[..42])),
        |request| request.code_verifier = Some(Secret::new(CodeChallenge::of(VERIFIER).as_str())),
        |request| request.redirect_uri = Some("http://127.0.0.1:5001/cb".into()),
    ];
    for change in wrong {
        let mut case = Case::new();
        let mut request = case.request();
        change(&mut request);
        for miss in 1..=4 {
            assert_eq!(case.send(&request, 0).unwrap_err(), TokenRefusal::CodeMismatch);
            assert_eq!(case.state(), (CodeState::Open, miss));
        }
        assert_eq!(case.send(&request, 0).unwrap_err(), TokenRefusal::CodeMismatch);
        assert_eq!(case.state(), (CodeState::Void, 5));
        assert_eq!(case.send(&case.request(), 0).unwrap_err(), TokenRefusal::CodeVoid);
    }
    let mut case = Case::new();
    let absent = Request {
        redirect_uri: None,
        ..case.request()
    };
    assert!(
        case.send(&absent, 0).is_ok(),
        "OAuth 2.1 does not ask for redirect_uri"
    );
}

#[test]
fn wrong_guesses_never_harm_a_live_grant() {
    let mut case = Case::new();
    let family = case.send(&case.request(), 0).unwrap().family.unwrap();
    for _ in 0..10 {
        let guess = Request {
            code_verifier: None,
            ..case.request()
        };
        assert_eq!(case.send(&guess, 1).unwrap_err(), TokenRefusal::CodeRedeemed);
    }
    assert!(!case.tables.family(family).unwrap().family.revoked);
    assert_eq!(case.tables.revocations_after(0).1, 0);
}

#[test]
fn tk_06_a_code_expires_and_stays_expired_when_the_clock_goes_back() {
    let mut case = Case::new();
    assert_eq!(
        case.send(&case.request(), 60).unwrap_err(),
        TokenRefusal::CodeExpired
    );
    assert_eq!(case.send(&case.request(), 0).unwrap_err(), TokenRefusal::CodeVoid);
}

#[test]
fn ft_10_a_code_from_a_future_that_never_came_is_over() {
    let case = Case::new();
    let facts = CodeFacts {
        code: case.tables.code(case.code.code),
        ..CodeFacts::default()
    };
    let years = Duration::from_hours(10 * 365 * 24);
    let (settings, keys, request) = (&case.settings, &case.keys, case.request());
    let at = |now| {
        decide(settings, keys, &request, &facts, now, &case.random)
            .outcome
            .unwrap_err()
    };
    assert_eq!(at(NOW.minus(years)), TokenRefusal::CodeExpired);
    assert_eq!(
        at(NOW.minus(Duration::from_secs(59))),
        TokenRefusal::NoLongerAllowed,
        "clocks may differ by a minute"
    );
}

#[test]
fn tk_07_another_resource_neither_consumes_nor_counts() {
    let mut case = Case::new();
    for resource in [
        vec!["https://mcp.example.com/b/mcp".into()],
        vec!["/a".into()],
        vec![case.code.resource.as_str().into(); 2],
    ] {
        let request = Request {
            resource,
            ..case.request()
        };
        let refused = case.send(&request, 0).unwrap_err();
        assert_eq!(refused.code().as_str(), "invalid_target");
        assert_eq!(case.state(), (CodeState::Open, 0));
    }
    assert!(
        case.send(
            &Request {
                resource: vec![],
                ..case.request()
            },
            0
        )
        .is_ok()
    );
}

#[test]
fn rt_08_other_codes_are_unknown() {
    let mut case = Case::new();
    for code in ["dwc_", "dwc_11", "DWC_1", "dwc_%31", "dwc_1\0", " dwc_1", ""] {
        let request = Request {
            code: Secret::new(code),
            ..case.request()
        };
        assert_eq!(
            case.send(&request, 0).unwrap_err(),
            TokenRefusal::UnknownCode,
            "{code:?}"
        );
    }
    assert_eq!(case.state(), (CodeState::Open, 0));
}

#[test]
fn rt_06_r37_nothing_is_issued_when_it_is_no_longer_allowed() {
    let user = fixture::user("alice", &[]);
    let disabled = User {
        disabled: true,
        ..user
    };
    let refused = |change: &dyn Fn(&mut Case)| {
        let mut case = Case::new();
        change(&mut case);
        assert_eq!(
            case.send(&case.request(), 0).unwrap_err(),
            TokenRefusal::NoLongerAllowed
        );
    };
    refused(&|case| {
        case.tables
            .apply(&Unit::writes(vec![Write::UpdateUser(disabled.clone())]))
            .unwrap();
    });
    refused(&|case| {
        let pending = Write::SetClientStatus(case.code.client.clone(), ClientStatus::Pending);
        case.tables.apply(&Unit::writes(vec![pending])).unwrap();
    });
    refused(&|case| case.settings.servers[0].allow = AccessRule::parse(&["user:bob"]).unwrap());
    refused(&|case| case.settings.servers.clear());
    refused(&|case| {
        case.settings.servers[0].scopes = fixture::server("a", "other", AccessRule::everyone()).scopes;
    });
}

#[test]
fn a_disablement_between_decision_and_commit_conflicts() {
    let mut case = Case::new();
    let decided = case.decide(&case.request(), 0);
    let disabled = User {
        disabled: true,
        ..fixture::user("alice", &[])
    };
    case.tables
        .apply(&Unit::writes(vec![Write::UpdateUser(disabled)]))
        .unwrap();
    assert!(case.tables.apply(&decided.unit).is_err());
}
