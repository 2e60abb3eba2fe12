//! Revocation, and not hearing of it.

use super::*;
use crate::{LEEWAY, MAX_BLINDNESS, Revocations as _};

fn subject() -> Revoked {
    Revoked::User(SUBJECT.parse().unwrap())
}

fn family() -> Revoked {
    Revoked::Family(FAMILY.parse().unwrap())
}

fn client() -> Revoked {
    Revoked::Client(ClientId::new("c1"))
}

#[test]
fn rs_19_a_revocation_ends_warm_and_new_tokens_at_once() {
    let token = Revoked::Token(TOKEN.parse().unwrap());
    for revoked in [subject(), family(), client(), token, Revoked::Everything] {
        let world = World::new();
        let (warm, cold) = (
            world.mint(&claims()),
            world.mint(&with(claims(), "iat", json!(NOW - 1))),
        );
        world.verify(&warm).unwrap();
        world.revoke(6, revoked);
        world.assert_refused(&warm, TokenRefusal::Revoked);
        world.assert_refused(&cold, TokenRefusal::Revoked);
    }
}

#[test]
fn revoking_somebody_else_does_no_harm() {
    let world = World::new();
    let token = world.mint(&claims());
    world.verify(&token).unwrap();
    world.revoke(6, Revoked::User(FAMILY.parse().unwrap()));
    world.revoke(7, Revoked::Family(SUBJECT.parse().unwrap()));
    world.revoke(8, Revoked::Client(ClientId::new("C1")));
    assert!(world.verify(&token).is_ok());
    assert!(world.verify(&token).is_ok());
}

#[test]
fn tokens_issued_after_a_user_or_client_was_revoked_are_good_again() {
    for revoked in [subject(), client()] {
        let world = World::new();
        world.revoke(6, revoked);
        let mint = |rev: u64| world.mint(&with(claims(), "rev", json!(rev)));
        assert_eq!(world.verify(&mint(5)), Err(TokenRefusal::Revoked));
        assert!(world.verify(&mint(6)).is_ok());
        assert!(world.verify(&mint(7)).is_ok());
    }
}

#[test]
fn a_revoked_family_never_comes_back() {
    let world = World::new();
    world.revoke(6, family());
    for rev in [5, 6, 7, i64::MAX] {
        let token = world.mint(&with(claims(), "rev", json!(rev)));
        assert_eq!(world.verify(&token), Err(TokenRefusal::Revoked), "{rev}");
    }
}

#[test]
fn an_older_entry_that_arrives_late_weakens_nothing() {
    let world = World::new();
    world.revoke(9, subject());
    let at = UnixTime::EPOCH;
    world.revocations.apply(&[Revocation {
        sequence: 6,
        revoked: subject(),
        at,
        expires: at,
    }]);
    let token = world.mint(&with(claims(), "rev", json!(7)));
    assert_eq!(world.verify(&token), Err(TokenRefusal::Revoked));
    world.revocations.prune(world.clock.now());
    assert_eq!(
        world.verify(&token),
        Err(TokenRefusal::Revoked),
        "the later expiry counts"
    );
    assert_eq!(world.revocations.sequence(), 9);
    assert_eq!(world.revocations.len(), 1);
}

#[test]
fn entries_go_only_when_no_token_can_need_them_any_more() {
    let world = World::new();
    world.revoke(6, subject());
    world.revoke(7, family());
    world.revoke(8, client());
    let expires = world.clock.now().plus(Duration::from_secs(3600));
    world
        .revocations
        .prune(expires.plus(LEEWAY).minus(Duration::from_millis(1)));
    assert_eq!(
        world.revocations.len(),
        3,
        "a token is accepted for the leeway after its expiry"
    );
    world.revocations.prune(expires.plus(LEEWAY));
    assert!(world.revocations.is_empty());
    assert_eq!(
        world.revocations.sequence(),
        8,
        "the next poll goes on from here all the same"
    );
}

#[test]
fn applying_nothing_disturbs_nobody() {
    let set = RevocationSet::default();
    let generation = set.generation();
    set.apply(&[]);
    assert_eq!(set.generation(), generation);
    assert!(set.is_empty());
}

#[test]
fn who_has_not_heard_of_the_feed_refuses_with_503() {
    let world = World::new();
    let token = world.mint(&claims());
    world.verify(&token).unwrap();
    world.clock.advance(MAX_BLINDNESS);
    assert!(world.verify(&token).is_ok());
    world.clock.advance(Duration::from_millis(1));
    let refusal = world.verify(&token).unwrap_err();
    assert_eq!((refusal, refusal.status().as_u16()), (TokenRefusal::Blind, 503));
    let fresh = world.mint(&with(claims(), "rev", json!(6)));
    assert_eq!(world.verify(&fresh), Err(TokenRefusal::Blind), "new tokens too");
    assert_eq!(
        world.verify("x.y.z").unwrap_err().status(),
        401,
        "what is bad is bad all the same"
    );
    world.revocations.heard(world.clock.monotonic());
    assert!(world.verify(&token).is_ok() && world.verify(&fresh).is_ok());
    world.revocations.heard(Duration::ZERO);
    assert!(world.verify(&token).is_ok(), "never moves backwards");
}

#[test]
fn a_wall_clock_that_steps_blinds_nobody_and_hides_no_blindness() {
    let world = World::new();
    let token = world.mint(&claims());
    let start = world.clock.now();
    world.clock.set(start.plus(MAX_BLINDNESS * 3));
    assert!(world.verify(&token).is_ok(), "a laptop wakes up");
    world.clock.advance(MAX_BLINDNESS + Duration::from_millis(1));
    world.clock.set(start);
    assert_eq!(world.verify(&token), Err(TokenRefusal::Blind), "and is set back");
}

#[test]
fn a_set_that_never_heard_of_the_feed_lets_nobody_in() {
    let world = World::new();
    let verifier = JwtVerifier::new(JwtVerifierSettings {
        issuer: Issuer::parse("https://as.test").unwrap(),
        tenant: Tenant::default_tenant(),
        keys: world.keys.clone(),
        revocations: Arc::new(RevocationSet::new()),
        clock: world.clock.clone(),
        cache_capacity: 0,
    });
    let token = world.mint(&claims());
    assert_eq!(
        verifier.judge(&resource_a(), UnverifiedToken::new(&token)),
        Err(TokenRefusal::Blind)
    );
}

#[test]
fn revoking_while_many_threads_verify_leaves_no_token_behind() {
    let world = World::new();
    let tokens: Vec<String> = (0..8)
        .map(|n| world.mint(&with(claims(), "client_id", json!(format!("c{n}")))))
        .collect();
    for token in &tokens {
        world.verify(token).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    for token in &tokens {
                        let _verdict = world.verify(token);
                    }
                }
            });
        }
        for n in 0..8 {
            world.revoke(6 + n, Revoked::Client(ClientId::new(format!("c{n}"))));
            // From the moment `apply` returned, whatever the other threads stored.
            for _ in 0..50 {
                assert_eq!(
                    world.verify(&tokens[usize::try_from(n).unwrap()]),
                    Err(TokenRefusal::Revoked)
                );
            }
        }
    });
}

#[test]
fn what_is_issued_after_everything_was_revoked_enters() {
    let world = World::new();
    world.revoke(6, Revoked::Everything);
    let before = world.mint(&claims());
    world.assert_refused(&before, TokenRefusal::Revoked);
    let after = world.mint(&with(claims(), "rev", json!(6)));
    assert!(world.verify(&after).is_ok());
    // A single token stays revoked, whatever it claims to have known.
    world.revoke(7, Revoked::Token(TOKEN.parse().unwrap()));
    world.assert_refused(
        &world.mint(&with(claims(), "rev", json!(9))),
        TokenRefusal::Revoked,
    );
    let other = with(with(claims(), "jti", json!(FAMILY)), "rev", json!(9));
    assert!(world.verify(&world.mint(&other)).is_ok());
}
