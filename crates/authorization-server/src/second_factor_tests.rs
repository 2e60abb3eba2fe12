use doorward_records::model::Tables;
use doorward_seal::{MasterKey, Purpose};
use doorward_types::random::CountingRandom;

use super::*;
use crate::fixture::{self, NOW};
use crate::settings::Settings;

struct World {
    tables: Tables,
    user: User,
    sealer: Sealer,
    random: CountingRandom,
    settings: Settings,
    secret: TotpSecret,
    codes: Vec<Secret>,
}

const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// Alice, with an authenticator app whose code of `NOW` was used, and recovery codes.
    fn new() -> Self {
        let random = CountingRandom::default();
        let user = User {
            password_hash: Some("$one".into()),
            ..fixture::user("alice", &[])
        };
        let mut tables = Tables::new();
        tables
            .apply(&Unit::writes(vec![Write::InsertUser(user.clone())]))
            .unwrap();
        let sealer = Sealer::new(&MasterKey::generate(&random), Purpose::Authenticator);
        let secret = TotpSecret::generate(&random);
        let unit = add_totp(&user, &[], &secret, &secret.code(NOW), &sealer, NOW, &random).unwrap();
        tables.apply(&unit).unwrap();
        let (codes, unit) = new_recovery_codes(&user, &tables.authenticators_of(user.id), NOW, &random);
        tables.apply(&unit).unwrap();
        Self {
            tables,
            user,
            sealer,
            random,
            settings: fixture::settings(),
            secret,
            codes,
        }
    }

    fn half(&self) -> HalfSignedIn {
        HalfSignedIn::new(&self.user, &Secret::new("browser"), NOW)
    }

    fn decide(&self, typed: &str, now: UnixTime) -> Result<SignedIn, SecondFactorError> {
        let new = NewSession {
            settings: &self.settings,
            previous: None,
            device: None,
            now,
            random: &self.random,
        };
        let user = self.tables.user(self.user.id);
        let authenticators = self.tables.authenticators_of(self.user.id);
        decide(
            &self.half(),
            user.as_ref(),
            &authenticators,
            &Secret::new(typed),
            &self.sealer,
            new,
        )
    }
}

#[test]
fn a_code_is_accepted_once_races_included() {
    let mut world = World::new();
    assert!(is_required(&world.tables.authenticators_of(world.user.id)));
    let used = world.secret.code(NOW);
    assert_eq!(
        world.decide(&used, NOW).map(|_| ()),
        Err(SecondFactorError::Wrong),
        "at enrolment"
    );
    let later = NOW.plus(30 * SECOND);
    let code = world.secret.code(later);
    let (first, second) = (
        world.decide(&code, later).unwrap(),
        world.decide(&code, later).unwrap(),
    );
    assert_eq!(first.session.methods, ["pwd", "otp", "mfa"]);
    world.tables.apply(&first.unit).unwrap();
    assert!(world.tables.apply(&second.unit).is_err());
    assert_eq!(
        world.decide(&code, later).map(|_| ()),
        Err(SecondFactorError::Wrong)
    );
}

#[test]
fn a_recovery_code_is_good_once_however_it_is_typed() {
    let mut world = World::new();
    assert_eq!(world.codes.len(), RECOVERY_CODES);
    let code = world.codes[3].expose().to_owned();
    assert_eq!(code.len(), 19, "{code}");
    let typed = format!(" {} ", code.to_uppercase().replace('-', " "));
    let signed_in = world.decide(&typed, NOW).unwrap();
    world.tables.apply(&signed_in.unit).unwrap();
    assert_eq!(
        world.decide(&code, NOW).map(|_| ()),
        Err(SecondFactorError::Wrong)
    );
    let left = world.tables.authenticators_of(world.user.id).len();
    assert_eq!(left, RECOVERY_CODES, "nine codes and the app");
    for wrong in [
        "",
        "000000",
        "0000-0000-0000-0000",
        "aaaaaaaaaaaaaaaa",
        "12345",
        "1234567",
    ] {
        let refused = world.decide(wrong, NOW).map(|_| ());
        assert_eq!(refused, Err(SecondFactorError::Wrong), "{wrong}");
    }
}

#[test]
fn the_step_ends_with_time_browser_password_and_account() {
    let world = World::new();
    let half = world.half();
    let browser = Secret::new("browser");
    assert_eq!(half.check(&browser, NOW), Ok(()));
    assert_eq!(
        half.check(&browser, NOW.plus(LIFETIME)),
        Err(SecondFactorError::Over)
    );
    assert_eq!(
        half.check(&browser, NOW.minus(SECOND)),
        Err(SecondFactorError::Over)
    );
    assert_eq!(
        half.check(&Secret::new("another"), NOW),
        Err(SecondFactorError::Over)
    );
    let code = world.codes[0].expose();
    for changed in [
        Some(User {
            password_hash: Some("$two".into()),
            ..world.user.clone()
        }),
        Some(User {
            disabled: true,
            ..world.user.clone()
        }),
        Some(fixture::user("bobby", &[])),
        None,
    ] {
        let new = NewSession {
            settings: &world.settings,
            previous: None,
            device: None,
            now: NOW,
            random: &world.random,
        };
        let authenticators = world.tables.authenticators_of(world.user.id);
        let said = decide(
            &half,
            changed.as_ref(),
            &authenticators,
            &Secret::new(code),
            &world.sealer,
            new,
        );
        assert_eq!(said.map(|_| ()), Err(SecondFactorError::Over));
    }
}

#[test]
fn a_new_app_or_set_replaces_the_one_before() {
    let mut world = World::new();
    let before = world.tables.authenticators_of(world.user.id);
    let secret = TotpSecret::generate(&world.random);
    let wrong = add_totp(
        &world.user,
        &before,
        &secret,
        "000000",
        &world.sealer,
        NOW,
        &world.random,
    );
    assert_eq!(wrong.map(|_| ()), Err(SecondFactorError::Wrong));
    let unit = add_totp(
        &world.user,
        &before,
        &secret,
        &secret.code(NOW),
        &world.sealer,
        NOW,
        &world.random,
    );
    world.tables.apply(&unit.unwrap()).unwrap();
    let (codes, unit) = new_recovery_codes(&world.user, &before, NOW, &world.random);
    let (_, at_once) = new_recovery_codes(&world.user, &before, NOW, &world.random);
    world.tables.apply(&unit).unwrap();
    assert!(world.tables.apply(&at_once).is_err(), "one set at a time");
    let now = world.tables.authenticators_of(world.user.id);
    assert_eq!(now.len(), RECOVERY_CODES + 1);
    let old = world.codes[0].expose();
    assert_eq!(world.decide(old, NOW).map(|_| ()), Err(SecondFactorError::Wrong));
    assert!(world.decide(codes[0].expose(), NOW).is_ok());
    let later = NOW.plus(60 * SECOND);
    assert!(world.decide(&world.secret.code(later), later).is_err());
    assert!(world.decide(&secret.code(later), later).is_ok());
}
