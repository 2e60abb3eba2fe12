use doorward_policy::AccessRule;
use doorward_records::client::ClientMetadata;
use doorward_records::model::Tables;
use doorward_types::id::Tenant;
use doorward_types::random::CountingRandom;

use super::*;
use crate::fixture::{self, NOW};

fn device_client() -> Client {
    let mut client = fixture::client(&["http://127.0.0.1/cb"]);
    client.metadata.grant_types.push(device::GRANT_TYPE.into());
    client
}

/// A site with the grant on, a client that has it, and alice in a browser.
struct World {
    settings: Settings,
    tables: Tables,
    random: CountingRandom,
    client: Client,
    user: User,
    session: Session,
}

impl World {
    fn new() -> Self {
        let (client, user) = (device_client(), fixture::user("alice", &[]));
        let session = Session {
            id: Digest::of(b"session"),
            user: user.id,
            authenticated_at: NOW,
            expires: NOW.plus(Duration::from_hours(1)),
            device: None,
            methods: Vec::new(),
        };
        let mut tables = Tables::new();
        let rows = vec![
            Write::InsertClient(client.clone()),
            Write::InsertUser(user.clone()),
            Write::InsertSession(session.clone()),
        ];
        tables.apply(&Unit::writes(rows)).unwrap();
        Self {
            settings: fixture::settings(),
            tables,
            random: CountingRandom::default(),
            client,
            user,
            session,
        }
    }

    fn start(&mut self) -> DeviceAuthorizationResponse {
        let request = DeviceRequest::default();
        let started = start(&self.settings, &self.client, &request, None, NOW, &self.random).unwrap();
        self.tables.apply(&started.unit).unwrap();
        started.response
    }

    fn facts(&self, code: &UserCode) -> DeviceFacts {
        let authorization = self.tables.device_authorization_by_user_code(code.digest());
        let resource = &self.settings.servers[0].resource;
        DeviceFacts {
            client: authorization
                .as_ref()
                .and_then(|found| self.tables.client(&found.client)),
            grant: self
                .tables
                .grant(self.user.id, &self.client.id, NO_REDIRECT, resource),
            session: self.tables.session(self.session.id),
            authorization,
        }
    }

    fn view(&self, code: &UserCode) -> Result<DeviceView, DeviceProblem> {
        view(&self.settings, &self.facts(code), NOW)
    }

    fn state(&self, code: &UserCode) -> DeviceState {
        self.facts(code).authorization.unwrap().state
    }

    fn answer(
        &mut self,
        code: &UserCode,
        shown: &Shown,
        submission: &Submission,
    ) -> Result<(), DeviceProblem> {
        let facts = self.facts(code);
        let answered = answer(&self.settings, shown, submission, &facts, NOW, &self.random)?;
        self.tables.apply(&answered.unit).unwrap();
        Ok(())
    }
}

fn yes() -> Submission {
    Submission {
        approve: true,
        compared: true,
        ticked: "t:read".parse().unwrap(),
    }
}

#[test]
fn ex_06_codes_live_ten_minutes_and_only_digests_are_kept() {
    let mut world = World::new();
    let response = world.start();
    assert_eq!(
        (response.expires_in, response.interval),
        (Duration::from_mins(10), Duration::from_secs(5))
    );
    assert_eq!(response.verification_uri, "https://mcp.example.com/device");
    let kept = world.facts(&response.user_code).authorization.unwrap();
    assert_eq!(kept.expires, NOW.plus(LIFETIME));
    let text = format!("{kept:?}");
    assert!(!text.contains(response.device_code.expose()) && !text.contains(&response.user_code.to_string()));
    let late = NOW.plus(LIFETIME);
    let facts = DeviceFacts {
        session: Some((
            Session {
                expires: late.plus(LIFETIME),
                ..world.session.clone()
            },
            world.user.clone(),
        )),
        ..world.facts(&response.user_code)
    };
    assert_eq!(
        view(&world.settings, &facts, late),
        Err(DeviceProblem::NotWaiting)
    );
}

#[test]
fn only_clients_that_may_get_codes() {
    let world = World::new();
    let ask = |client: &Client, text: &str| {
        let request = DeviceRequest::parse(&Form::parse(text.as_bytes()).unwrap())?;
        start(&world.settings, client, &request, None, NOW, &world.random).map(|_| ())
    };
    assert_eq!(ask(&world.client, ""), Ok(()));
    assert_eq!(
        ask(
            &world.client,
            "resource=https://MCP.example.com/a/mcp&scope=t:read"
        ),
        Ok(())
    );
    let without = fixture::client(&["http://127.0.0.1/cb"]);
    assert_eq!(ask(&without, ""), Err(DeviceRefusal::NotRegistered));
    let elsewhere = Client {
        servers: Some(vec!["other".into()]),
        ..world.client.clone()
    };
    assert_eq!(ask(&elsewhere, ""), Err(DeviceRefusal::Resource));
    for status in [ClientStatus::Pending, ClientStatus::Disabled] {
        let client = Client {
            status,
            ..world.client.clone()
        };
        assert_eq!(ask(&client, ""), Err(DeviceRefusal::NotApproved));
    }
    for (text, refusal, code) in [
        (
            "resource=https://evil.test/mcp",
            DeviceRefusal::Resource,
            "invalid_target",
        ),
        (
            "resource=https://mcp.example.com/a/mcp&resource=https://mcp.example.com/a/mcp",
            DeviceRefusal::Resource,
            "invalid_target",
        ),
        ("scope=a&scope=b", DeviceRefusal::Repeated, "invalid_request"),
        ("scope=%22", DeviceRefusal::Scope, "invalid_scope"),
    ] {
        assert_eq!(ask(&world.client, text), Err(refusal), "{text}");
        assert_eq!(refusal.body().error.as_str(), code);
        assert!(!refusal.requirement().id.is_empty());
    }
}

#[test]
fn ex_06_a_taken_code_and_a_full_house_conflict() {
    let mut world = World::new();
    let request = DeviceRequest::default();
    let random = CountingRandom::default();
    let first = start(&world.settings, &world.client, &request, None, NOW, &random).unwrap();
    world.tables.apply(&first.unit).unwrap();
    // The same chance again: other rows, the same user code.
    let again = start(
        &world.settings,
        &world.client,
        &request,
        None,
        NOW,
        &CountingRandom::default(),
    )
    .unwrap();
    assert!(world.tables.apply(&again.unit).is_err());
    assert!(
        again
            .unit
            .preconditions
            .contains(&Precondition::DeviceAuthorizationsBelow(MOST))
    );
}

#[test]
fn ex_06_cn_12_the_page_names_what_asks_for_what() {
    let mut world = World::new();
    let response = world.start();
    let view = world.view(&response.user_code).unwrap();
    assert_eq!(view.client_name.as_deref(), Some("Test"));
    assert_eq!((&view.client_id, view.server.as_str()), (&world.client.id, "a"));
    let words: Vec<&str> = view
        .scopes
        .offered
        .iter()
        .map(|scope| scope.entry.description.as_str())
        .collect();
    assert_eq!(words, ["Use t:read", "Use t:write"]);
}

#[test]
fn approval_is_explicit_and_makes_a_consent_record() {
    let mut world = World::new();
    let code = world.start().user_code;
    let shown = world.view(&code).unwrap().shown;
    let not_compared = Submission {
        compared: false,
        ..yes()
    };
    assert_eq!(
        world.answer(&code, &shown, &not_compared),
        Err(DeviceProblem::NotCompared)
    );
    let nothing = Submission {
        ticked: "other".parse().unwrap(),
        ..yes()
    };
    assert_eq!(
        world.answer(&code, &shown, &nothing),
        Err(DeviceProblem::NothingTicked)
    );
    assert_eq!(world.state(&code), DeviceState::Pending);

    world.answer(&code, &shown, &yes()).unwrap();
    let grant = world.facts(&code).grant.unwrap();
    assert_eq!(
        (grant.redirect_host.as_str(), grant.scopes.to_string().as_str()),
        (NO_REDIRECT, "t:read")
    );
    let DeviceState::Approved {
        user,
        grant: under,
        scopes,
        authenticated,
    } = world.state(&code)
    else {
        panic!("approved");
    };
    assert_eq!(
        (user, under, scopes, authenticated),
        (world.user.id, grant.id, "t:read".parse().unwrap(), Some(NOW))
    );
    assert_eq!(
        world.answer(&code, &shown, &yes()),
        Err(DeviceProblem::NotWaiting),
        "once"
    );

    // A second device of the same app widens the record, under the same id.
    let code = world.start().user_code;
    let shown = world.view(&code).unwrap().shown;
    let more = Submission {
        ticked: "t:write".parse().unwrap(),
        ..yes()
    };
    world.answer(&code, &shown, &more).unwrap();
    let wider = world.facts(&code).grant.unwrap();
    assert_eq!(
        (wider.id, wider.scopes.to_string().as_str()),
        (grant.id, "t:read t:write")
    );
}

#[test]
fn denied_is_final_and_needs_no_tick() {
    let mut world = World::new();
    let code = world.start().user_code;
    let shown = world.view(&code).unwrap().shown;
    let no = Submission {
        approve: false,
        compared: false,
        ticked: ScopeSet::empty(),
    };
    world.answer(&code, &shown, &no).unwrap();
    assert_eq!(world.state(&code), DeviceState::Denied);
    assert_eq!(
        world.answer(&code, &shown, &yes()),
        Err(DeviceProblem::NotWaiting)
    );
    assert_eq!(world.facts(&code).grant, None);
}

#[test]
fn cn_05_an_answer_is_about_what_this_sign_in_was_shown() {
    let mut world = World::new();
    let (code, other) = (world.start().user_code, world.start().user_code);
    let shown = world.view(&code).unwrap().shown;
    assert_eq!(world.answer(&other, &shown, &yes()), Err(DeviceProblem::Changed));
    let elsewhere = Shown {
        session: Digest::of(b"other"),
        ..shown.clone()
    };
    assert_eq!(
        world.answer(&code, &elsewhere, &yes()),
        Err(DeviceProblem::OtherSession)
    );
    let renamed = Client {
        metadata: ClientMetadata {
            client_name: Some("Trusted IDE".into()),
            ..world.client.metadata.clone()
        },
        ..world.client.clone()
    };
    let mut tables = world.tables.clone();
    tables
        .apply(&Unit::writes(vec![Write::UpdateClient(renamed)]))
        .unwrap();
    std::mem::swap(&mut world.tables, &mut tables);
    assert_eq!(world.answer(&code, &shown, &yes()), Err(DeviceProblem::Changed));
    std::mem::swap(&mut world.tables, &mut tables);
    world.answer(&code, &shown, &yes()).unwrap();
}

#[test]
fn rt_06_nothing_is_approved_for_whom_or_what_is_gone() {
    let mut world = World::new();
    let code = world.start().user_code;
    let facts = world.facts(&code);
    let judged = |facts: &DeviceFacts| view(&world.settings, facts, NOW).map(|_| ());
    assert_eq!(judged(&facts), Ok(()));
    let session = |session: Session, user: User| DeviceFacts {
        session: Some((session, user)),
        ..facts.clone()
    };
    let disabled = User {
        disabled: true,
        ..world.user.clone()
    };
    assert_eq!(
        judged(&session(world.session.clone(), disabled)),
        Err(DeviceProblem::OtherSession)
    );
    let expired = Session {
        expires: NOW,
        ..world.session.clone()
    };
    assert_eq!(
        judged(&session(expired, world.user.clone())),
        Err(DeviceProblem::OtherSession)
    );
    for client in [
        None,
        Some(Client {
            status: ClientStatus::Disabled,
            ..world.client.clone()
        }),
        Some(Client {
            servers: Some(Vec::new()),
            ..world.client.clone()
        }),
    ] {
        let facts = DeviceFacts {
            client,
            ..facts.clone()
        };
        assert_eq!(judged(&facts), Err(DeviceProblem::Changed));
    }
    assert_eq!(
        judged(&DeviceFacts {
            authorization: None,
            ..facts.clone()
        }),
        Err(DeviceProblem::NotWaiting)
    );
    world.settings.servers[0].allow = AccessRule::parse(&["user:bob".to_owned()]).unwrap();
    assert_eq!(
        view(&world.settings, &facts, NOW).map(|_| ()),
        Err(DeviceProblem::NotAdmitted)
    );
    assert_eq!(Tenant::default_tenant(), facts.authorization.unwrap().tenant);
}

#[test]
fn an_answer_is_read_or_none() {
    let read = |text: &str| Submission::parse(&Form::parse(text.as_bytes()).unwrap());
    assert_eq!(
        read("decision=approve&compared=yes&scope=t:read&scope=%22"),
        Some(yes())
    );
    for text in ["", "decision=", "decision=maybe", "compared=yes&scope=t:read"] {
        assert_eq!(read(text), None, "{text}");
    }
    assert!(!read("decision=approve&compared=on").unwrap().compared);
}
