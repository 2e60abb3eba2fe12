use std::time::Duration;

use doorward_oauth::pkce::CodeChallenge;
use doorward_policy::AccessRule;
use doorward_records::model::Tables;
use doorward_types::digest::Digest;
use doorward_types::random::CountingRandom;

use super::*;
use crate::fixture::{self, NOW};
use crate::pending::Waiting;

struct Page {
    settings: Settings,
    tables: Tables,
    client: Client,
    user: User,
    session: Session,
    pending: PendingRequest,
    random: CountingRandom,
}

const REDIRECT: &str = "http://127.0.0.1:5000/cb";

impl Page {
    fn new() -> Self {
        let settings = fixture::settings();
        let client = fixture::client(&["http://127.0.0.1/cb"]);
        let user = fixture::user("alice", &["eng"]);
        let session = Session {
            id: Secret::new("session").digest(),
            user: user.id,
            authenticated_at: NOW,
            expires: NOW.plus(Duration::from_hours(1)),
            device: None,
            methods: vec!["pwd".into()],
        };
        let mut tables = Tables::new();
        let rows = vec![
            Write::InsertUser(user.clone()),
            Write::InsertSession(session.clone()),
            Write::InsertClient(client.clone()),
        ];
        tables.apply(&Unit::writes(rows)).unwrap();
        let pending = PendingRequest {
            nonce: Digest::of(b"nonce"),
            issued: NOW,
            client: client.id.clone(),
            client_metadata: metadata_digest(&client.metadata),
            redirect_uri: REDIRECT.into(),
            resource: settings.servers[0].resource.clone(),
            offered: settings.servers[0].default_scopes(),
            state: Some("st".into()),
            code_challenge: CodeChallenge::of("v"),
            prelogin: Digest::of(b"prelogin"),
            session: None,
            user: None,
            trace: doorward_types::id::TraceId::from_bytes([7; 16]),
        }
        .signed_in(&session);
        Self {
            settings,
            tables,
            client,
            user,
            session,
            pending,
            random: CountingRandom::default(),
        }
    }

    fn facts(&self, session: Digest) -> ConsentFacts {
        let decision = self.tables.decision(self.pending.decision_key());
        let code = match decision.as_ref().map(|decision| &decision.answer) {
            Some(DecisionAnswer::Approved { code, .. }) => self.tables.code(*code),
            _ => None,
        };
        let (user, resource) = (self.user.id, &self.pending.resource);
        ConsentFacts {
            client: self.tables.client(&self.client.id),
            session: self.tables.session(session),
            decision,
            code,
            grant: self
                .tables
                .grant(user, &self.client.id, &self.pending.redirect_host(), resource),
        }
    }

    fn decide(&self, form: &str, after: u64) -> Decided {
        let submission = Submission::parse(&Form::parse(form.as_bytes()).unwrap()).unwrap();
        let now = NOW.plus(Duration::from_secs(after));
        decide(
            &self.settings,
            &self.pending,
            &submission,
            &self.facts(self.session.id),
            now,
            &self.random,
        )
    }

    fn send(&mut self, form: &str, after: u64) -> Answer {
        let decided = self.decide(form, after);
        self.tables.apply(&decided.unit).unwrap();
        decided.answer
    }
}

const APPROVE: &str = "decision=approve&scope=t%3Aread";

fn code_of(answer: &Answer) -> Digest {
    let Answer::Code(location) = answer else {
        panic!("{answer:?}")
    };
    let url = url::Url::parse(location.expose()).unwrap();
    let get = |name: &str| url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
    assert_eq!(
        (get("state").as_str(), get("iss").as_str()),
        ("st", "https://mcp.example.com")
    );
    assert!(location.expose().starts_with(REDIRECT));
    Secret::new(get("code")).digest()
}

#[test]
fn cn_09_approval_gives_a_code_for_what_was_ticked_and_a_consent_record() {
    let mut page = Page::new();
    let answer = page.send("decision=approve&scope=t%3Aread&scope=admin", 5);
    let code = page.tables.code(code_of(&answer)).unwrap();
    assert_eq!(code.scopes.to_string(), "t:read", "ticked, offered and known");
    assert_eq!(
        (code.redirect_uri.as_str(), code.state),
        (REDIRECT, CodeState::Open)
    );
    assert_eq!(code.expires, NOW.plus(Duration::from_secs(65)));
    let grant = page.tables.grant_by_id(code.grant).unwrap();
    assert_eq!(
        (grant.redirect_host.as_str(), grant.scopes.to_string().as_str()),
        ("127.0.0.1", "t:read")
    );
    assert_eq!(grant.evidence.offered.to_string(), "t:read t:write");

    page.pending.nonce = Digest::of(b"another page");
    page.send("decision=approve&scope=t%3Awrite", 100);
    let grant = page.tables.grant_by_id(code.grant).unwrap();
    assert_eq!(
        grant.scopes.to_string(),
        "t:read t:write",
        "one record, everything approved so far"
    );
}

#[test]
fn a_lost_reply_can_be_repeated_and_the_first_code_is_void() {
    let mut page = Page::new();
    let first = code_of(&page.send(APPROVE, 0));
    let second = code_of(&page.send(APPROVE, 59));
    assert_ne!(first, second);
    assert_eq!(page.tables.code(first).unwrap().state, CodeState::Void);
    assert_eq!(page.tables.code(second).unwrap().state, CodeState::Open);
    assert_eq!(
        page.decide(APPROVE, 60).answer,
        Answer::Page(PageProblem::AlreadyAnswered),
        "counted from the first"
    );
    let other = page.decide("decision=approve&scope=t%3Awrite", 59).answer;
    assert_eq!(other, Answer::Page(PageProblem::AlreadyAnswered));
    assert_eq!(
        page.decide("decision=deny", 59).answer,
        Answer::Page(PageProblem::AlreadyAnswered)
    );
}

#[test]
fn two_answers_at_once_give_one_code() {
    let mut page = Page::new();
    let (one, two) = (page.decide(APPROVE, 0), page.decide(APPROVE, 0));
    page.tables.apply(&one.unit).unwrap();
    assert!(page.tables.apply(&two.unit).is_err());
    let (one, two) = (page.decide(APPROVE, 1), page.decide(APPROVE, 1));
    page.tables.apply(&one.unit).unwrap();
    assert!(page.tables.apply(&two.unit).is_err());
    let open = page
        .tables
        .codes()
        .filter(|code| code.state == CodeState::Open)
        .count();
    assert_eq!(open, 1);
}

#[test]
fn a_redeemed_code_is_not_replaced() {
    let mut page = Page::new();
    let code = code_of(&page.send(APPROVE, 0));
    let family = doorward_types::id::FamilyId::generate(NOW, &page.random);
    let redeemed = Write::SetCodeState {
        code,
        state: CodeState::Redeemed { family },
        misses: 0,
    };
    page.tables.apply(&Unit::writes(vec![redeemed])).unwrap();
    assert_eq!(
        page.decide(APPROVE, 10).answer,
        Answer::Page(PageProblem::AlreadyAnswered)
    );
}

#[test]
fn deny_then_back_and_approve_gives_no_code() {
    let mut page = Page::new();
    let Answer::Error(location, error) = page.send("decision=deny&scope=t%3Aread", 0) else {
        panic!()
    };
    assert_eq!(error, ErrorCode::AccessDenied);
    assert!(location.expose().contains("error=access_denied") && location.expose().contains("iss="));
    assert_eq!(
        page.decide(APPROVE, 1).answer,
        Answer::Page(PageProblem::AlreadyAnswered)
    );
    assert!(
        matches!(page.decide("decision=deny", 1).answer, Answer::Error(..)),
        "the same again is repeated"
    );
    assert_eq!(page.tables.codes().count(), 0);
}

#[test]
fn nothing_ticked_is_denied() {
    for form in [
        "decision=approve",
        "decision=approve&scope=admin",
        "decision=approve&scope=%22",
    ] {
        assert!(
            matches!(
                Page::new().send(form, 0),
                Answer::Error(_, ErrorCode::AccessDenied)
            ),
            "{form}"
        );
    }
    for form in [
        "",
        "decision=maybe",
        "decision=approve&decision=approve",
        "decision=deny&decision=approve",
    ] {
        let form = Form::parse(form.as_bytes()).unwrap();
        assert_eq!(Submission::parse(&form), Err(PageProblem::NoAnswer));
    }
}

#[test]
fn r37_the_access_rule_decides_who_may_approve() {
    for (rule, admitted) in [
        ("user:alice", true),
        ("group:eng", true),
        ("user:bob", false),
        ("group:ops", false),
    ] {
        let mut page = Page::new();
        page.settings.servers[0].allow = AccessRule::parse(&[rule]).unwrap();
        let shown = view(
            &page.settings,
            &page.pending,
            Some(&page.client),
            &page.user,
            None,
        );
        let answer = page.send(APPROVE, 0);
        assert_eq!(shown.unwrap().admitted, admitted, "{rule}");
        assert_eq!(matches!(answer, Answer::Code(_)), admitted, "{rule}");
        assert_eq!(
            matches!(answer, Answer::Error(_, ErrorCode::AccessDenied)),
            !admitted,
            "{rule}"
        );
    }
}

#[test]
fn r15_a_person_gives_no_scope_that_they_may_not_have() {
    let given = |groups: &[&str], form: &str| {
        let mut page = Page::new();
        page.settings.servers[0].scopes = fixture::broad_and_narrow();
        page.pending.offered = "read admin".parse().unwrap();
        page.user.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        page.tables
            .apply(&Unit::writes(vec![Write::UpdateUser(page.user.clone())]))
            .unwrap();
        let answer = page.send(form, 0);
        let scopes: Vec<String> = page.tables.codes().map(|code| code.scopes.to_string()).collect();
        (matches!(answer, Answer::Code(_)), scopes.join(","))
    };
    let both = "decision=approve&scope=read&scope=admin";
    assert_eq!(given(&["ops"], both), (true, "admin read".into()));
    assert_eq!(given(&["eng"], both), (true, "read".into()));
    let admin = "decision=approve&scope=admin";
    assert_eq!(given(&["eng"], admin), (false, String::new()));
    // What was not asked for cannot be ticked either.
    assert_eq!(
        given(&["ops"], "decision=approve&scope=mail"),
        (false, String::new())
    );
}

#[test]
fn cn_09_b27_what_is_given_later_is_joined_and_told_as_an_elevation() {
    let mut page = Page::new();
    let submission = |ticked: &str| Submission {
        choice: Choice::Approve,
        ticked: ticked.parse().unwrap(),
    };
    let mut send = |nonce: &[u8], ticked: &str| {
        page.pending.nonce = Digest::of(nonce);
        let facts = ConsentFacts {
            grant: page.tables.grants_of_client(&page.client.id).pop(),
            ..page.facts(page.session.id)
        };
        let ticked = submission(ticked);
        let decided = decide(&page.settings, &page.pending, &ticked, &facts, NOW, &page.random);
        page.tables.apply(&decided.unit).unwrap();
        decided
            .elevation
            .map(|grown| (grown.grant, grown.before.to_string(), grown.after.to_string()))
    };
    assert_eq!(send(b"1", "t:read"), None, "the first approval is none");
    assert_eq!(send(b"2", "t:read"), None);
    let grown = send(b"3", "t:write").unwrap();
    assert_eq!((grown.1.as_str(), grown.2.as_str()), ("t:read", "t:read t:write"));
    assert_eq!(send(b"4", "t:read"), None);
    assert_eq!(
        page.tables
            .grants_of_client(&page.client.id)
            .pop()
            .map(|grant| grant.id),
        Some(grown.0)
    );
}

#[test]
fn cn_05_another_session_or_an_old_page_gets_no_code() {
    let page = Page::new();
    let submission = Submission {
        choice: Choice::Approve,
        ticked: page.pending.offered.clone(),
    };
    let ask = |facts: &ConsentFacts, pending: &PendingRequest, after: Duration| {
        decide(
            &page.settings,
            pending,
            &submission,
            facts,
            NOW.plus(after),
            &page.random,
        )
        .answer
    };
    let facts = page.facts(page.session.id);
    let now = Duration::ZERO;
    let mut other = facts.clone();
    other.session.as_mut().unwrap().0.id = Secret::new("other").digest();
    let mut disabled = facts.clone();
    disabled.session.as_mut().unwrap().1.disabled = true;
    let unbound = PendingRequest {
        session: None,
        user: None,
        ..page.pending.clone()
    };
    for (facts, pending) in [
        (
            &ConsentFacts {
                session: None,
                ..facts.clone()
            },
            &page.pending,
        ),
        (&other, &page.pending),
        (&disabled, &page.pending),
        (&facts, &unbound),
    ] {
        assert_eq!(ask(facts, pending, now), Answer::Page(PageProblem::SignedOut));
    }
    assert_eq!(
        ask(&facts, &page.pending, Duration::from_mins(10)),
        Answer::Page(PageProblem::Expired)
    );
    assert!(matches!(
        ask(&facts, &page.pending, Duration::from_mins(9)),
        Answer::Code(_)
    ));
}

#[test]
fn cn_09_changed_client_metadata_or_redirects_get_a_page() {
    let mut page = Page::new();
    let submission = Submission {
        choice: Choice::Approve,
        ticked: page.pending.offered.clone(),
    };
    let mut facts = page.facts(page.session.id);
    facts.client.as_mut().unwrap().metadata.client_name = Some("Other".into());
    let changed = decide(
        &page.settings,
        &page.pending,
        &submission,
        &facts,
        NOW,
        &page.random,
    );
    assert_eq!(changed.answer, Answer::Page(PageProblem::ClientChanged));
    assert!(changed.unit.is_empty());
    facts.client = None;
    let gone = decide(
        &page.settings,
        &page.pending,
        &submission,
        &facts,
        NOW,
        &page.random,
    );
    assert_eq!(gone.answer, Answer::Page(PageProblem::UnknownClient));
    page.pending.redirect_uri = "http://127.0.0.1:5000/other".into();
    assert_eq!(
        page.decide(APPROVE, 0).answer,
        Answer::Page(PageProblem::UnregisteredRedirect)
    );
}

#[test]
fn s12_cn_12_the_page_shows_where_it_leads_and_warns_of_loopback() {
    let mut page = Page::new();
    page.client.metadata.client_name = Some("\u{202e}Trusted\u{200b} IDE\n<b>".into());
    page.pending.client_metadata = metadata_digest(&page.client.metadata);
    page.pending.offered = "t:read".parse().unwrap();
    let shown = view(
        &page.settings,
        &page.pending,
        Some(&page.client),
        &page.user,
        None,
    )
    .unwrap();
    assert_eq!(shown.client_name.as_deref(), Some("Trusted IDE<b>"));
    assert_eq!(
        (shown.redirect_host.as_str(), shown.redirect_uri.as_str()),
        ("127.0.0.1", REDIRECT)
    );
    assert!(shown.loopback_only && shown.returns_to_local_program);
    assert_eq!(shown.scopes.offered.len(), 1);
    assert_eq!((shown.server.as_str(), shown.username.as_str()), ("a", "alice"));
    assert_eq!(for_display(&"x".repeat(10_240)).chars().count(), 80);
}

#[test]
fn the_login_form_belongs_to_the_browser_that_started() {
    let page = Page::new();
    let check = |cookie, after| {
        Waiting::Judged(page.pending.clone()).check_login(
            &page.settings,
            cookie,
            NOW.plus(Duration::from_secs(after)),
        )
    };
    assert_eq!(check(Some(Digest::of(b"prelogin")), 0), Ok(()));
    assert_eq!(
        check(Some(Digest::of(b"other")), 0),
        Err(PageProblem::OtherBrowser)
    );
    assert_eq!(check(None, 0), Err(PageProblem::OtherBrowser));
    assert_eq!(
        check(Some(Digest::of(b"prelogin")), 600),
        Err(PageProblem::Expired)
    );
}
