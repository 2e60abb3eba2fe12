use doorward_jose::SigningKey;
use doorward_oauth::access_token::TokenSubject;
use doorward_oauth::client_auth as wire;
use doorward_oauth::form::Form;
use doorward_records::client::Client;
use doorward_types::id::{FamilyId, TokenId, UserId};
use doorward_types::random::CountingRandom;

use super::*;
use crate::client_auth::authenticate;
use crate::fixture::{self, NOW};

fn caller(client: &Client) -> Authenticated {
    let body = format!("client_id={}", client.id);
    let presented = wire::read(&[], &Form::parse(body.as_bytes()).unwrap()).unwrap();
    authenticate(&fixture::settings(), &presented, Some(client.clone()), None, NOW).unwrap()
}

fn claims(client: &Client, family: Option<FamilyId>) -> AccessTokenClaims {
    let (settings, random) = (fixture::settings(), CountingRandom::default());
    AccessTokenClaims {
        iss: settings.issuer.clone(),
        sub: TokenSubject::User(UserId::generate(NOW, &random)),
        aud: settings.servers[0].resource.clone(),
        exp: NOW.seconds() + 600,
        iat: NOW.seconds(),
        jti: TokenId::generate(NOW, &random),
        client_id: client.id.clone(),
        scope: "t:read".parse().unwrap(),
        rev: 0,
        family,
        username: None,
        groups: None,
        auth_time: None,
        client_scope: None,
    }
}

#[test]
fn ex_05_only_a_token_that_we_signed_and_that_still_works_is_read() {
    let settings = fixture::settings();
    let (ours, thief) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let keys = JwkSet::new([ours.public_jwk().clone()]).unwrap();
    let client = fixture::client(&["http://localhost/cb"]);
    let good = claims(&client, None);
    let read = |token: String, now| read_access_token(&settings, &keys, &Secret::new(token), now);
    let signed = |claims: &AccessTokenClaims| ours.sign("at+jwt", claims).unwrap();
    assert_eq!(read(signed(&good), NOW), Some(good.clone()));
    assert_eq!(read(thief.sign("at+jwt", &good).unwrap(), NOW), None);
    assert_eq!(read(ours.sign("JWT", &good).unwrap(), NOW), None);
    assert_eq!(read("a.b.c".into(), NOW), None);
    let late = UnixTime::from_seconds(good.exp + 60);
    assert_eq!(read(signed(&good), late), None, "it does not work any more");
    let mut foreign = good;
    foreign.iss = doorward_types::url::Issuer::parse("https://other.test").unwrap();
    assert_eq!(read(signed(&foreign), NOW), None);
}

#[test]
fn ex_05_a_token_without_a_chain_ends_alone_and_only_for_its_client() {
    let settings = fixture::settings();
    let client = fixture::client(&["http://localhost/cb"]);
    let other = fixture::client(&["http://localhost/other"]);
    let own = claims(&client, None);
    let unit = access_token(&settings, &caller(&client), &own, None, NOW);
    let Write::AppendRevocation { revoked, expires, .. } = &unit.writes[0] else {
        panic!("{unit:?}");
    };
    assert_eq!(*revoked, Revoked::Token(own.jti));
    assert!(expires.seconds() > own.exp, "longer than any verifier takes it");
    assert!(access_token(&settings, &caller(&other), &own, None, NOW).is_empty());
    assert!(refresh_token(&settings, &caller(&client), None, NOW).is_empty());
}

#[test]
fn ex_05_codes_and_secrets_are_of_no_kind_that_can_be_revoked() {
    let http = |body: &'static str| HttpRequest {
        content_type: &["application/x-www-form-urlencoded"],
        authorization: &[],
        query: None,
        body: body.as_bytes(),
    };
    let refused = parse(&http("client_id=c&token=dwc_x")).unwrap_err();
    assert_eq!(
        (refused.status(), refused.body().error.as_str()),
        (400, "unsupported_token_type")
    );
    assert_eq!(
        parse(&http("client_id=c&token=dwr_x")).unwrap().kind,
        TokenKind::Refresh
    );
    assert!(parse(&http("client_id=c")).is_err());
    assert!(parse(&http("token=x")).is_err());
}
