//! Random units against the in-memory tables: the same answers, the same rows.
//!
//! Ids come from small pools so that rows meet. Half of the preconditions are taken from the present state
//! so that units are applied often enough to build something up.

use doorward_records::client::ClientStatus;
use doorward_records::code::CodeState;
use doorward_records::decision::Answer;
use doorward_records::device::DeviceState;
use doorward_records::facts::GrantFilter;
use doorward_records::key::{KeyPurpose, KeyState};
use doorward_records::model::Tables;
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Unit, Write};
use doorward_types::time::UnixTime;

use super::sample::{self, at, client_id, digest, family_id, grant_id, key_id, user_id};
use crate::store::{CommitError, Committed, Store};

/// How many ids of each kind there are.
const POOL: u64 = 4;
const TOKENS: u64 = 12;

/// Applies `steps` random units to both and compares every answer and every look-up.
pub(crate) async fn compare(store: &dyn Store, seed: u64, steps: usize) {
    let mut dice = Dice(seed);
    let mut tables = Tables::new();
    let mut applied = 0;
    for step in 0..steps {
        let unit = dice.unit(&tables);
        let expected = expect(&mut tables, &unit);
        let answer = store.commit(unit.clone()).await;
        assert_same_answer(&answer, &expected, &format!("seed {seed}, step {step}: {unit:?}"));
        applied += usize::from(expected.is_some());
        assert_same_rows(store, &tables).await;
    }
    // A comparison of refusals alone, or of successes alone, would prove little.
    assert!(
        applied > steps / 5 && applied < steps,
        "{applied} of {steps} units were applied"
    );
}

/// Applies to the tables; the sequence number if it was applied.
pub(crate) fn expect(tables: &mut Tables, unit: &Unit) -> Option<u64> {
    tables.apply(unit).ok().map(|applied| applied.revocation_sequence)
}

pub(crate) fn assert_same_answer(
    answer: &Result<Committed, CommitError>,
    expected: &Option<u64>,
    about: &str,
) {
    match (answer, expected) {
        (Ok(committed), Some(sequence)) => {
            assert_eq!(committed.revocation_sequence, *sequence, "{about}");
        }
        (Err(CommitError::Conflict), None) => {}
        _ => panic!("{answer:?} instead of {expected:?}: {about}"),
    }
}

/// Compares every look-up over every id.
pub(crate) async fn assert_same_rows(store: &dyn Store, tables: &Tables) {
    assert_eq!(store.users().await.unwrap(), tables.users());
    assert_eq!(store.clients().await.unwrap(), tables.clients());
    assert_eq!(store.keys().await.unwrap(), tables.keys());
    for after in [0, 2] {
        assert_eq!(
            store.revocations_after(after).await.unwrap(),
            tables.revocations_after(after)
        );
    }
    for name in NAMES {
        assert_eq!(store.user_by_name(name).await.unwrap(), tables.user_by_name(name));
    }
    for n in 0..POOL {
        assert_eq!(store.user(user_id(n)).await.unwrap(), tables.user(user_id(n)));
        let (setup, session) = (digest("setup", n), digest("session", n));
        assert_eq!(store.setup_link(setup).await.unwrap(), tables.setup_link(setup));
        assert_eq!(store.session(session).await.unwrap(), tables.session(session));
        let client = client_id(n);
        assert_eq!(store.client(&client).await.unwrap(), tables.client(&client));
        assert_eq!(
            store.grants_of_client(&client).await.unwrap(),
            tables.grants_of_client(&client)
        );
        let (nonce, code) = (digest("nonce", n), digest("code", n));
        assert_eq!(store.decision(nonce).await.unwrap(), tables.decision(nonce));
        assert_eq!(store.code(code).await.unwrap(), tables.code(code));
        assert_eq!(store.code_facts(code).await.unwrap(), tables.code_facts(code));
        assert_same_rows_of(store, tables, n).await;
        assert_eq!(
            store.grant_by_id(grant_id(n)).await.unwrap(),
            tables.grant_by_id(grant_id(n))
        );
        assert_eq!(
            store.family(family_id(n)).await.unwrap(),
            tables.family(family_id(n))
        );
        for user in 0..POOL {
            let (user, resource) = (user_id(user), sample::resource(n % 2));
            assert_eq!(
                store.grant(user, &client, "127.0.0.1", &resource).await.unwrap(),
                tables.grant(user, &client, "127.0.0.1", &resource),
            );
        }
    }
    for n in 0..TOKENS {
        let token = digest("refresh", n);
        assert_eq!(
            store.refresh_token(token).await.unwrap(),
            tables.refresh_token(token)
        );
    }
}

async fn assert_same_rows_of(store: &dyn Store, tables: &Tables, n: u64) {
    let (user, client) = (user_id(n), client_id(n));
    for filter in [
        GrantFilter::All,
        GrantFilter::User(user),
        GrantFilter::Client(client),
    ] {
        assert_eq!(
            store.grants(filter.clone()).await.unwrap(),
            tables.grants(&filter)
        );
    }
    assert_eq!(
        store.families_of_user(user).await.unwrap(),
        tables.families_of_user(user)
    );
    assert_eq!(store.sessions_of(user).await.unwrap(), tables.sessions_of(user));
    assert_eq!(
        store.authenticators_of(user).await.unwrap(),
        tables.authenticators_of(user)
    );
    assert_eq!(store.authenticators().await.unwrap(), tables.authenticators());
    let (credential, used) = (digest("credential", n), digest("jti", n));
    assert_eq!(
        store.authenticator_by_lookup(credential).await.unwrap(),
        tables.authenticator_by_lookup(credential)
    );
    assert_eq!(store.replay(used).await.unwrap(), tables.replay(used));
    let (device, typed) = (digest("device", n), digest("user code", n));
    assert_eq!(
        store.device_authorization(device).await.unwrap(),
        tables.device_authorization(device)
    );
    assert_eq!(
        store.device_authorization_by_user_code(typed).await.unwrap(),
        tables.device_authorization_by_user_code(typed)
    );
    let note = note(n);
    assert_eq!(store.meta(note).await.unwrap(), tables.meta(note));
}

fn note(n: u64) -> &'static str {
    if n.is_multiple_of(2) { "epoch" } else { "clock" }
}

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// A repeatable sequence of choices (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn coin(&mut self) -> bool {
        self.roll(2) == 0
    }

    fn id(&mut self) -> u64 {
        self.roll(POOL)
    }

    fn time(&mut self) -> UnixTime {
        at(i64::try_from(self.roll(60)).unwrap())
    }

    fn name(&mut self) -> &'static str {
        let n = usize::try_from(self.roll(3)).unwrap();
        NAMES.get(n).copied().unwrap_or("dave")
    }

    /// A unit; most of those that would be refused are thrown again, so that rows come together.
    pub(crate) fn unit(&mut self, tables: &Tables) -> Unit {
        loop {
            let unit = self.any_unit(tables);
            if tables.clone().apply(&unit).is_ok() || self.roll(8) == 0 {
                return unit;
            }
        }
    }

    /// Up to two preconditions and one to three writes.
    fn any_unit(&mut self, tables: &Tables) -> Unit {
        let mut unit = Unit::default();
        for _ in 0..self.roll(3) {
            unit = unit.given(self.precondition(tables));
        }
        for _ in 0..=self.roll(3) {
            unit = unit.then(self.write(tables));
        }
        unit
    }

    fn precondition(&mut self, tables: &Tables) -> Precondition {
        let n = self.id();
        match self.roll(28) {
            0 => Precondition::UserEnabled(user_id(n)),
            1 => Precondition::UsernameFree(self.name().into()),
            2 => Precondition::UserExists(user_id(n)),
            3 => Precondition::SetupLinkExists(digest("setup", n)),
            4 => Precondition::SessionExists(digest("session", n)),
            5 => Precondition::ClientHasStatus(client_id(n), ClientStatus::Approved),
            6 => Precondition::ClientExists(client_id(n)),
            7 => Precondition::ClientAbsent(client_id(n)),
            8 => Precondition::UngrantedClientsBelow(self.roll(POOL + 2)),
            9 => Precondition::DecisionAbsent(digest("nonce", n)),
            10 => {
                let present = tables.decision(digest("nonce", n)).filter(|_| self.coin());
                Precondition::DecisionIs(present.unwrap_or_else(|| sample::decision(n, Answer::Denied)))
            }
            11 => Precondition::GrantExists(grant_id(n)),
            12 => Precondition::GrantAbsent(sample::grant(n, self.id(), self.id())),
            13 => {
                let code = digest("code", n);
                let present = tables.code(code).filter(|_| self.coin());
                let (state, misses) = present.map_or((CodeState::Open, 1), |row| (row.state, row.misses));
                Precondition::CodeIs { code, state, misses }
            }
            14 => Precondition::FamilyLive(family_id(n)),
            15 => {
                let present = tables.family(family_id(n)).filter(|_| self.coin());
                let at = present.and_then(|facts| facts.family.late_repeat);
                Precondition::FamilyLateRepeatIs(family_id(n), at)
            }
            16 => {
                let token = digest("refresh", self.roll(TOKENS));
                let present = tables.refresh_token(token).filter(|_| self.coin());
                Precondition::RefreshTokenRotatedIs(token, present.and_then(|facts| facts.token.rotated))
            }
            17 => {
                let present = tables.user(user_id(n)).filter(|_| self.coin());
                Precondition::UserIs(present.unwrap_or_else(|| sample::user(n, "alice")))
            }
            18 => Precondition::NoActiveKeyLike(sample::key(n, self.purpose(), KeyState::Active)),
            _ => self.newer_precondition(tables),
        }
    }

    fn newer_precondition(&mut self, tables: &Tables) -> Precondition {
        let n = self.id();
        match self.roll(9) {
            0 => {
                let present = tables.client(&client_id(n)).filter(|_| self.coin());
                Precondition::ClientIs(present.unwrap_or_else(|| sample::client(n)))
            }
            1 => {
                let present = tables.grants(&GrantFilter::All);
                let live = present.into_iter().find(|facts| facts.grant.id == grant_id(n));
                let live = live.filter(|_| self.coin()).map_or_else(Vec::new, |facts| {
                    facts.families.into_iter().map(|family| family.id).collect()
                });
                Precondition::LiveFamiliesOfGrantAre(grant_id(n), live)
            }
            2 => Precondition::KeyHasState(key_id(n), self.key_state()),
            3 => {
                let present = tables.authenticators().into_iter().next();
                let present = present.filter(|_| self.coin());
                Precondition::AuthenticatorIs(present.unwrap_or_else(|| sample::authenticator(n, n)))
            }
            4 => Precondition::ReplayAbsent(digest("jti", n)),
            5 => {
                let present = tables.device_authorization(digest("device", n));
                let pending = || sample::device_authorization(n, n, DeviceState::Pending);
                Precondition::DeviceAuthorizationIs(present.filter(|_| self.coin()).unwrap_or_else(pending))
            }
            6 => Precondition::DeviceAuthorizationsBelow(self.roll(POOL)),
            7 => Precondition::UserCodeFree(digest("user code", n)),
            _ => Precondition::MetaIs {
                name: note(n).into(),
                value: tables.meta(note(n)).filter(|_| self.coin()),
            },
        }
    }

    fn key_state(&mut self) -> KeyState {
        match self.roll(3) {
            0 => KeyState::Next,
            1 => KeyState::Active,
            _ => KeyState::Retired,
        }
    }

    fn purpose(&mut self) -> KeyPurpose {
        if self.coin() {
            KeyPurpose::AccessToken
        } else {
            KeyPurpose::RefreshToken
        }
    }

    fn write(&mut self, tables: &Tables) -> Write {
        match self.roll(11) {
            0 => self.write_account(),
            1 => self.write_client(),
            2 => self.write_decision_or_key(),
            8 => self.write_authenticator(tables),
            9 | 10 => self.write_device_or_note(tables),
            3 | 4 => self.write_grant(tables),
            _ => self.write_chain(tables),
        }
    }

    fn write_account(&mut self) -> Write {
        let n = self.id();
        match self.roll(13) {
            0..=3 => Write::InsertUser(sample::user(n, self.name())),
            4 => {
                let mut user = sample::user(n, self.name());
                user.disabled = self.coin();
                user.groups = vec!["ops".into()];
                Write::UpdateUser(user)
            }
            5 => Write::DeleteUser(user_id(n)),
            6 | 7 => Write::InsertSetupLink(sample::setup_link(n, self.id())),
            8 => Write::DeleteSetupLink(digest("setup", n)),
            9 => Write::InsertSession(sample::session(n, self.id())),
            10 => Write::DeleteSession(digest("session", n)),
            11 => Write::DeleteSetupLinksOf(user_id(n)),
            _ => Write::DeleteSessionsOf(user_id(n)),
        }
    }

    fn write_client(&mut self) -> Write {
        let n = self.id();
        match self.roll(11) {
            0..=2 => Write::InsertClient(sample::client(n)),
            3 => Write::InsertClient(sample::full_client(n, self.roll(15))),
            9 | 10 => Write::UpdateClient(sample::full_client(n, self.roll(15))),
            4 => Write::SetClientStatus(client_id(n), ClientStatus::Pending),
            5 | 6 => Write::TouchClient(client_id(n), self.time()),
            7 => Write::DeleteClient(client_id(n)),
            _ => Write::ReapClients {
                before: self.time(),
                limit: self.roll(3),
            },
        }
    }

    fn write_decision_or_key(&mut self) -> Write {
        let n = self.id();
        let answer = if self.coin() {
            Answer::Denied
        } else {
            Answer::Approved {
                scopes: sample::scopes(n),
                code: digest("code", self.id()),
            }
        };
        match self.roll(8) {
            0 | 1 => Write::InsertDecision(sample::decision(n, answer)),
            2 => Write::UpdateDecision(sample::decision(n, answer)),
            3 | 4 => {
                let state = self.key_state();
                Write::InsertKey(sample::key(n, self.purpose(), state))
            }
            5 => Write::ActivateKey(key_id(n), self.time()),
            6 if self.coin() => Write::DeleteKey(key_id(n)),
            6 => Write::ReplaceSealed(key_id(n), vec![u8::try_from(n).unwrap(); 3]),
            _ => Write::RetireKey(key_id(n), self.time()),
        }
    }

    fn write_authenticator(&mut self, tables: &Tables) -> Write {
        let n = self.id();
        match self.roll(7) {
            0..=2 => Write::InsertAuthenticator(sample::authenticator(n, self.id())),
            3 => Write::DeleteAuthenticator(sample::authenticator_id(n)),
            4 => Write::DeleteAuthenticatorsOf(user_id(n)),
            _ => {
                let present = tables.authenticators().into_iter().next();
                let mut changed = present.unwrap_or_else(|| sample::authenticator(n, n));
                changed.counter += 1;
                changed.sealed.push(7);
                changed.name = "renamed".into();
                changed.last_used = Some(self.time());
                Write::UpdateAuthenticator(changed)
            }
        }
    }

    fn device_state(&mut self, tables: &Tables) -> DeviceState {
        let present = tables.grant_by_id(grant_id(self.id()));
        match self.roll(5) {
            0 | 1 => DeviceState::Pending,
            2 => DeviceState::Denied,
            3 => DeviceState::Redeemed {
                family: family_id(self.id()),
            },
            _ => DeviceState::Approved {
                user: user_id(self.id()),
                grant: present.map_or(grant_id(9), |grant| grant.id),
                scopes: sample::scopes(self.id()),
                authenticated: (self.roll(2) == 0).then(|| sample::at(6)),
            },
        }
    }

    fn write_device_or_note(&mut self, tables: &Tables) -> Write {
        let n = self.id();
        let state = self.device_state(tables);
        match self.roll(12) {
            0..=2 => Write::InsertDeviceAuthorization(sample::device_authorization(n, self.id(), state)),
            3..=5 => {
                let present = tables.device_authorization(digest("device", n));
                let mut changed =
                    present.unwrap_or_else(|| sample::device_authorization(n, n, DeviceState::Pending));
                changed.interval += std::time::Duration::from_secs(5);
                changed.last_poll = Some(self.time());
                changed.state = state;
                Write::UpdateDeviceAuthorization(changed)
            }
            6 | 7 => Write::InsertReplay(sample::replay(n)),
            8 | 9 => Write::SetMeta {
                name: note(n).into(),
                value: vec![u8::try_from(n).unwrap(); 2],
            },
            10 if self.coin() => Write::EndAll,
            _ => Write::DeleteGrant(grant_id(n)),
        }
    }

    fn write_grant(&mut self, tables: &Tables) -> Write {
        let n = self.id();
        let present = tables.grant_by_id(grant_id(self.id()));
        let grant = present.unwrap_or_else(|| sample::grant(n, n, n));
        match self.roll(6) {
            0 | 1 => Write::InsertGrant(sample::grant(n, self.id(), self.id())),
            2 => {
                let changed = sample::grant(n + 1, n, n);
                Write::UpdateGrant(doorward_records::grant::Grant {
                    id: grant.id,
                    ..changed
                })
            }
            3 | 4 => Write::InsertCode(sample::code(n, &grant)),
            _ => {
                let state = match self.roll(3) {
                    0 => CodeState::Open,
                    1 => CodeState::Void,
                    _ => CodeState::Redeemed {
                        family: family_id(self.id()),
                    },
                };
                Write::SetCodeState {
                    code: digest("code", n),
                    state,
                    misses: 1,
                }
            }
        }
    }

    fn write_chain(&mut self, tables: &Tables) -> Write {
        let n = self.id();
        match self.roll(21) {
            20 => Write::RevokeFamiliesOfKey(key_id(n)),
            16 => Write::RevokeFamiliesOf(user_id(n)),
            17 => Write::RevokeFamiliesOfGrant(grant_id(n)),
            18 => Write::RevokeFamiliesOfClient(client_id(n)),
            19 => Write::DeleteGrantsOf(user_id(n)),
            0..=3 => {
                let present = tables.grant_by_id(grant_id(self.id()));
                let grant = present.unwrap_or_else(|| sample::grant(n, n, n));
                Write::InsertFamily(sample::family(n, &grant))
            }
            4 => Write::TouchFamily(family_id(n), self.time()),
            5 => Write::SetFamilyLateRepeat(family_id(n), self.time()),
            6 => Write::RevokeFamily(family_id(n)),
            7 => Write::SetFamilyScopes(family_id(n), sample::scopes(self.id())),
            8..=10 => {
                Write::InsertRefreshToken(sample::refresh_token(self.roll(TOKENS), self.id(), self.roll(3)))
            }
            11 | 12 => Write::SetRefreshTokenRotated(digest("refresh", self.roll(TOKENS)), self.time()),
            13 | 14 => {
                let revoked = match self.roll(5) {
                    3 => Revoked::Token("0198c0de-0000-7000-8000-000000000000".parse().unwrap()),
                    4 => Revoked::Everything,
                    0 => Revoked::Family(family_id(n)),
                    1 => Revoked::User(user_id(n)),
                    _ => Revoked::Client(client_id(n)),
                };
                Write::AppendRevocation {
                    revoked,
                    at: at(0),
                    expires: self.time(),
                }
            }
            _ => self.sweep(),
        }
    }

    fn sweep(&mut self) -> Write {
        let day = 24 * 60 * 60;
        let later = if self.roll(4) == 0 { day } else { -day };
        let around = |dice: &mut Self, centre: i64| at(centre + i64::try_from(dice.roll(60)).unwrap());
        Write::Sweep {
            now: around(self, 30 + later),
            families_idle_since: around(self, -30),
            families_created_before: around(self, -40),
            clients_ungranted_since: around(self, -58),
            clients_unused_since: around(self, -30),
        }
    }
}
