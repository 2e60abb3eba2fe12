//! Tokens that were seen before.

use super::*;

#[test]
fn a_warm_token_is_the_same_principal() {
    let world = World::new();
    let token = world.mint(&claims());
    let first = world.verify(&token).unwrap();
    for _ in 0..100 {
        assert!(
            Arc::ptr_eq(&first, &world.verify(&token).unwrap()),
            "no second principal is made"
        );
    }
    assert_eq!(world.verifier.remembered(), 1);
}

#[test]
fn rs_18_a_warm_token_opens_nothing_but_itself() {
    let world = World::new();
    let token = world.mint(&claims());
    world.verify(&token).unwrap();
    let half = token.len() / 2;
    let mut last_half = token[..half].to_owned();
    last_half.extend(
        token[half..]
            .chars()
            .map(|c| if c == 'A' || c == '.' { c } else { 'A' }),
    );
    let payload_at = token.find('.').unwrap() + 10;
    let mut payload = token.clone();
    payload.replace_range(
        payload_at..=payload_at,
        if &token[payload_at..=payload_at] == "A" {
            "B"
        } else {
            "A"
        },
    );
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet
        .iter()
        .position(|c| Some(c) == token.as_bytes().last())
        .unwrap();
    let not_canonical = format!("{}{}", &token[..token.len() - 1], char::from(alphabet[value | 1]));
    for _ in 0..1000 {
        assert_eq!(
            world.verify_at(&resource_b(), &token),
            Err(TokenRefusal::WrongAudience)
        );
        for bad in [
            &last_half,
            &payload,
            &not_canonical,
            &token[..half].to_owned(),
            &format!("{token}="),
        ] {
            assert!(world.verify(bad).is_err(), "{bad}");
        }
        assert!(world.verify(&token).is_ok());
    }
}

#[test]
fn a_warm_token_expires() {
    let world = World::new();
    let token = world.mint(&claims());
    world.verify(&token).unwrap();
    world.at(659);
    assert!(world.verify(&token).is_ok(), "59 seconds of leeway");
    world.at(660);
    assert_eq!(world.verify(&token), Err(TokenRefusal::Expired));
    assert_eq!(world.verifier.remembered(), 0, "forgotten");
    assert_eq!(world.verify(&token), Err(TokenRefusal::Expired));
}

#[test]
fn a_removed_key_ends_warm_tokens() {
    let world = World::new();
    let token = world.mint(&claims());
    world.verify(&token).unwrap();
    let next = SigningKey::generate().unwrap();
    let both = JwkSet::new([next.public_jwk().clone(), world.key.public_jwk().clone()]).unwrap();
    world.keys.replace(both);
    assert!(
        world.verify(&token).is_ok(),
        "verified anew under the rotated set"
    );
    world
        .keys
        .replace(JwkSet::new([next.public_jwk().clone()]).unwrap());
    world.assert_refused(&token, TokenRefusal::UnknownKey);
}

#[test]
fn a_bad_token_is_remembered_until_the_keys_change() {
    let world = World::new();
    let next = SigningKey::generate().unwrap();
    let token = next.sign("at+jwt", &claims()).unwrap();
    world.assert_refused(&token, TokenRefusal::UnknownKey);
    assert_eq!(world.verifier.bad_remembered(), 1);
    let both = JwkSet::new([next.public_jwk().clone(), world.key.public_jwk().clone()]).unwrap();
    world.keys.replace(both);
    assert!(world.verify(&token).is_ok());
}

#[test]
fn what_time_or_revocation_refuses_is_not_remembered_as_bad() {
    let world = World::new();
    let early = world.mint(&with(claims(), "nbf", json!(NOW + 100)));
    assert_eq!(world.verify(&early), Err(TokenRefusal::NotYetValid));
    world.clock.advance(Duration::from_secs(62));
    assert_eq!(world.verify(&early), Err(TokenRefusal::Blind));
    world.at(62);
    assert!(world.verify(&early).is_ok());
    assert_eq!(world.verifier.bad_remembered(), 0);
}

#[test]
fn a_bad_token_at_one_resource_is_not_bad_at_another() {
    let world = World::new();
    let token = world.mint(&claims());
    assert_eq!(
        world.verify_at(&resource_b(), &token),
        Err(TokenRefusal::WrongAudience)
    );
    assert!(world.verify_at(&resource_a(), &token).is_ok());
    assert_eq!(
        world.verify_at(&resource_b(), &token),
        Err(TokenRefusal::WrongAudience)
    );
}

#[test]
fn resource_and_token_do_not_run_together_in_the_key() {
    let key = |resource: &str, token: &str| {
        crate::cache::key(
            &ResourceUri::parse(resource).unwrap(),
            UnverifiedToken::new(token),
        )
    };
    assert_ne!(key("https://mcp.test/a", "bc"), key("https://mcp.test/ab", "c"));
    assert_ne!(key("https://mcp.test/a", "b"), key("https://mcp.test/b", "b"));
    assert_ne!(
        key("https://mcp.test/a", "b"),
        doorward_types::digest::Digest::of(b"https://mcp.test/ab")
    );
}

#[test]
fn floods_of_good_and_bad_tokens_stay_within_bounds() {
    let world = World::with_capacity(16);
    for n in 0..200 {
        let token = world.mint(&with(claims(), "username", json!(format!("u{n}"))));
        assert!(world.verify(&token).is_ok());
    }
    assert!(
        world.verifier.remembered() <= 64,
        "{}",
        world.verifier.remembered()
    );
    for n in 0..5000 {
        assert!(world.verify(&format!("a.b.{n}")).is_err());
    }
    assert!(
        world.verifier.bad_remembered() <= 1200,
        "{}",
        world.verifier.bad_remembered()
    );
}

#[test]
fn a_token_that_is_too_long_is_not_even_hashed() {
    let world = World::new();
    let token = format!("{}.{}", world.mint(&claims()), "x".repeat(1 << 20));
    assert_eq!(
        world.verify(&token),
        Err(TokenRefusal::Malformed(doorward_jose::JwsError::TooLong))
    );
    assert_eq!(world.verifier.bad_remembered(), 0);
}
