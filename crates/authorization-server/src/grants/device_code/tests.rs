use doorward_records::account::Session;
use doorward_records::facts::GrantFilter;
use doorward_records::model::Tables;
use doorward_records::revocation::Revoked;
use doorward_types::id::UserId;
use doorward_types::random::CountingRandom;

use super::*;
use crate::device;
use crate::fixture::{self, NOW};
use crate::keys::{KeyRing, missing};

/// A device of alice's that has its codes and waits.
struct World {
    settings: Settings,
    tables: Tables,
    keys: KeyRing,
    random: CountingRandom,
    client: Client,
    user: User,
    code: Secret,
}

impl World {
    fn new() -> Self {
        let random = CountingRandom::default();
        let (mut client, user) = (
            fixture::client(&["http://127.0.0.1/cb"]),
            fixture::user("alice", &[]),
        );
        client
            .metadata
            .grant_types
            .push(doorward_oauth::device::GRANT_TYPE.into());
        let settings = fixture::settings();
        let mut tables = Tables::new();
        let session = Session {
            id: Digest::of(b"session"),
            user: user.id,
            authenticated_at: NOW,
            expires: NOW.plus(Duration::from_hours(1)),
            device: None,
            methods: Vec::new(),
        };
        let rows = vec![
            Write::InsertClient(client.clone()),
            Write::InsertUser(user.clone()),
            Write::InsertSession(session),
        ];
        tables.apply(&Unit::writes(rows)).unwrap();
        let master = doorward_seal::MasterKey::generate(&random);
        for unit in missing(&[], &settings.tenant, &master, NOW, &random).unwrap() {
            tables.apply(&unit).unwrap();
        }
        let keys = KeyRing::open(&tables.keys(), &master).unwrap();
        let request = device::DeviceRequest::default();
        let started = device::start(&settings, &client, &request, None, NOW, &random).unwrap();
        tables.apply(&started.unit).unwrap();
        Self {
            settings,
            tables,
            keys,
            random,
            client,
            user,
            code: started.response.device_code,
        }
    }

    fn waiting(&self) -> DeviceAuthorization {
        self.tables.device_authorization(self.code.digest()).unwrap()
    }

    fn answer(&mut self, approve: bool) {
        let facts = device::DeviceFacts {
            authorization: Some(self.waiting()),
            client: Some(self.client.clone()),
            session: self.tables.session(Digest::of(b"session")),
            grant: None,
        };
        let shown = device::view(&self.settings, &facts, NOW).unwrap().shown;
        let submission = device::Submission {
            approve,
            compared: true,
            ticked: "t:read".parse().unwrap(),
        };
        let answered =
            device::answer(&self.settings, &shown, &submission, &facts, NOW, &self.random).unwrap();
        self.tables.apply(&answered.unit).unwrap();
    }

    fn request(&self) -> Request {
        Request {
            device_code: self.code.clone(),
            client: self.client.id.clone(),
            resource: Vec::new(),
            device: Some("tv".into()),
        }
    }

    fn facts(&self, request: &Request) -> DeviceCodeFacts {
        let Some(found) = self.tables.device_authorization(request.lookup()) else {
            return DeviceCodeFacts::default();
        };
        let mut facts = DeviceCodeFacts {
            client: self.tables.client(&found.client),
            ..DeviceCodeFacts::default()
        };
        match &found.state {
            DeviceState::Approved { user, grant, .. } => {
                facts.user = self.tables.user(*user);
                facts.grant = self.tables.grant_by_id(*grant);
            }
            DeviceState::Redeemed { family } => {
                facts.family = self.tables.family(*family).map(|facts| facts.family);
            }
            DeviceState::Pending | DeviceState::Denied => {}
        }
        facts.authorization = Some(found);
        facts
    }

    fn decide(&self, request: &Request, at: UnixTime) -> Decided {
        decide(
            &self.settings,
            self.keys.refresh(),
            request,
            &self.facts(request),
            at,
            &self.random,
        )
    }

    /// Polls at a time and commits what was decided.
    fn poll(&mut self, request: &Request, seconds: u64) -> Result<UserId, TokenRefusal> {
        let decided = self.decide(request, NOW.plus(Duration::from_secs(seconds)));
        self.tables.apply(&decided.unit).unwrap();
        decided.outcome.map(|_| self.user.id)
    }
}

#[test]
fn ex_06_polls_that_come_too_soon_make_the_interval_longer() {
    let mut world = World::new();
    let request = world.request();
    for (second, refusal, interval) in [
        (0, TokenRefusal::DevicePending, 5),
        (5, TokenRefusal::DevicePending, 5),
        (9, TokenRefusal::SlowDown, 10),
        (18, TokenRefusal::SlowDown, 15),
        (33, TokenRefusal::DevicePending, 15),
        (47, TokenRefusal::SlowDown, 20),
    ] {
        assert_eq!(world.poll(&request, second), Err(refusal), "second {second}");
        assert_eq!(world.waiting().interval, Duration::from_secs(interval));
    }
    assert_eq!(TokenRefusal::SlowDown.body().error.as_str(), "slow_down");
    assert_eq!(
        TokenRefusal::DevicePending.body().error.as_str(),
        "authorization_pending"
    );
    // However fast it polls, what is written is bounded.
    let mut written = 0;
    for tenth in 0..600 {
        let decided = world.decide(
            &request,
            NOW.plus(Duration::from_secs(47))
                .plus(Duration::from_millis(tenth * 100)),
        );
        written += usize::from(!decided.unit.is_empty());
        world.tables.apply(&decided.unit).unwrap();
        assert_eq!(decided.outcome.err(), Some(TokenRefusal::SlowDown));
    }
    assert_eq!((written, world.waiting().interval), (20, SLOWEST));
}

#[test]
fn ex_06_each_state_has_its_error() {
    let mut world = World::new();
    let request = world.request();
    let life = device::LIFETIME.as_secs();
    let late = world.decide(&request, NOW.plus(device::LIFETIME));
    assert_eq!(late.outcome.err(), Some(TokenRefusal::DeviceExpired));
    assert_eq!(world.poll(&request, life - 1), Err(TokenRefusal::DevicePending));
    world.answer(false);
    assert_eq!(world.poll(&request, 1), Err(TokenRefusal::DeviceDenied));
    assert_eq!(world.poll(&request, life + 1), Err(TokenRefusal::DeviceDenied));
    for (refusal, code, status) in [
        (TokenRefusal::DeviceExpired, "expired_token", 400),
        (TokenRefusal::DeviceDenied, "access_denied", 400),
        (TokenRefusal::UnknownDeviceCode, "invalid_grant", 400),
        (TokenRefusal::DeviceCodeRedeemed, "invalid_grant", 400),
    ] {
        assert_eq!((refusal.code().as_str(), refusal.status()), (code, status));
    }
}

#[test]
fn ex_06_another_client_or_resource_gets_nothing_and_harms_nothing() {
    let mut world = World::new();
    world.answer(true);
    let other = Request {
        client: ClientId::new("dcr_other"),
        ..world.request()
    };
    assert_eq!(world.poll(&other, 1), Err(TokenRefusal::WrongClient));
    let unknown = Request {
        device_code: Secret::new("dwd_guess"),
        ..world.request()
    };
    assert_eq!(world.poll(&unknown, 1), Err(TokenRefusal::UnknownDeviceCode));
    let elsewhere = Request {
        resource: vec!["https://mcp.example.com/b/mcp".into()],
        ..world.request()
    };
    assert_eq!(world.poll(&elsewhere, 1), Err(TokenRefusal::Resource));
    let right = world.request();
    assert_eq!(world.poll(&right, 1), Ok(world.user.id));
}

#[test]
fn ex_06_approved_is_redeemed_once_and_the_second_time_ends_it() {
    let mut world = World::new();
    world.answer(true);
    let request = world.request();
    let first = world.decide(&request, NOW);
    let race = world.decide(&request, NOW);
    world.tables.apply(&first.unit).unwrap();
    assert!(
        world.tables.apply(&race.unit).is_err(),
        "of two polls one is answered"
    );
    let issue = first.outcome.unwrap();
    assert_eq!(issue.scopes.to_string(), "t:read");
    assert!(issue.refresh_token.is_some());
    let DeviceState::Redeemed { family } = world.waiting().state else {
        panic!("redeemed");
    };
    let made = world.tables.family(family).unwrap().family;
    assert_eq!(
        (made.user, made.device.as_deref(), made.revoked),
        (world.user.id, Some("tv"), false)
    );

    assert_eq!(world.poll(&request, 1), Err(TokenRefusal::DeviceCodeRedeemed));
    assert!(world.tables.family(family).unwrap().family.revoked);
    let (feed, _) = world.tables.revocations_after(0);
    assert_eq!(
        feed.last().map(|entry| entry.revoked.clone()),
        Some(Revoked::Family(family))
    );
    assert_eq!(world.poll(&request, 2), Err(TokenRefusal::DeviceCodeRedeemed));
}

#[test]
fn rt_06_an_approval_ends_with_its_consent_its_user_and_its_client() {
    let mut world = World::new();
    world.answer(true);
    let request = world.request();
    let before = world.tables.clone();

    let grants = world.tables.grants(&GrantFilter::User(world.user.id));
    let unit = crate::account::end_grants(&grants, Duration::from_mins(15), NOW);
    world.tables.apply(&unit).unwrap();
    let gone = world.poll(&request, 1);
    assert!(
        matches!(
            gone,
            Err(TokenRefusal::UnknownDeviceCode | TokenRefusal::NoLongerAllowed)
        ),
        "{gone:?}"
    );

    world.tables = before.clone();
    let user = world.user.clone();
    let unit = crate::administer::revoke_user(&user, &world.settings.lifetimes, NOW);
    world.tables.apply(&unit).unwrap();
    assert!(
        world.poll(&request, 1).is_err(),
        "the kill switch ends approvals too"
    );

    world.tables = before.clone();
    let disabled = crate::administer::disable_user(&user, &world.settings.lifetimes, NOW);
    world.tables.apply(&disabled).unwrap();
    let enabled = crate::administer::enable_user(&world.tables.user(user.id).unwrap());
    world.tables.apply(&enabled).unwrap();
    assert!(world.poll(&request, 1).is_err(), "it does not come back");

    world.tables = before;
    world.settings.servers.clear();
    assert_eq!(world.poll(&request, 1), Err(TokenRefusal::NoLongerAllowed));
}
