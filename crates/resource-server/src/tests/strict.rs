//! Tokens that were never seen before: what gets in, and what does not.

use doorward_jose::{HeaderError, JwsError};
use doorward_oauth::access_token::{AccessTokenClaims, TokenSubject};
use doorward_policy::Subject;

use super::*;
use crate::Verification;

fn malformed(error: HeaderError) -> TokenRefusal {
    TokenRefusal::Malformed(error.into())
}

#[test]
fn a_good_token_tells_whom_it_speaks_for() {
    let world = World::new();
    let principal = world.verify(&world.mint(&claims())).unwrap();
    assert_eq!(principal.subject().to_string(), SUBJECT);
    assert_eq!(principal.username(), "alice");
    assert_eq!(principal.groups(), ["eng", "ops"]);
    assert_eq!(principal.client_id().as_str(), "c1");
    assert_eq!(principal.scopes().to_string(), "t:read");
    assert_eq!(principal.authenticated(), Some(UnixTime::from_seconds(NOW - 60)));
    assert_eq!(principal.client_scopes(), None);
    assert_eq!(principal.resource(), &resource_a());
    assert_eq!(
        principal.family().map(|family| family.to_string()).as_deref(),
        Some(FAMILY)
    );
    assert_eq!(principal.revocation_sequence(), 5);
    assert_eq!(principal.token_id().to_string(), TOKEN);
    assert_eq!(principal.issued(), UnixTime::from_seconds(NOW));
    assert_eq!(principal.expires(), UnixTime::from_seconds(NOW + 600));
    assert_eq!(principal.tenant(), &Tenant::default_tenant());
    assert_eq!(Subject::from(&*principal), *principal.policy_subject());
    assert_eq!(principal.policy_subject().username, "alice");
    let shown = format!("{principal:?}");
    assert!(
        shown.contains(TOKEN) && !shown.contains("alice") && !shown.contains("eng"),
        "{shown}"
    );
}

#[test]
fn what_the_authorization_server_writes_is_read() {
    let world = World::new();
    let minted = AccessTokenClaims {
        iss: Issuer::parse("https://as.test").unwrap(),
        sub: TokenSubject::User(SUBJECT.parse().unwrap()),
        aud: resource_a(),
        exp: NOW + 600,
        iat: NOW,
        jti: TOKEN.parse().unwrap(),
        client_id: ClientId::new("c1"),
        scope: "t:read".parse().unwrap(),
        rev: 5,
        family: Some(FAMILY.parse().unwrap()),
        username: Some("alice".into()),
        groups: Some(vec!["eng".into(), "ops".into()]),
        auth_time: Some(NOW - 60),
        client_scope: None,
    };
    let token = world
        .key
        .sign(doorward_oauth::access_token::TYPE, &minted)
        .unwrap();
    assert_eq!(
        world.verify(&token).unwrap(),
        world.verify(&world.mint(&claims())).unwrap()
    );
}

#[test]
fn rs_02_unsigned_tokens_are_refused() {
    let world = World::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(world.header(), "alg", json!(alg)).to_string();
        let token = world.forge(&header, &claims().to_string());
        world.assert_refused(&token, malformed(HeaderError::Algorithm));
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        world.assert_refused(
            &format!("{unsigned}."),
            TokenRefusal::Malformed(JwsError::NotThreeParts),
        );
        world.assert_refused(unsigned, TokenRefusal::Malformed(JwsError::NotThreeParts));
    }
}

#[test]
fn rs_03_an_hmac_with_the_public_key_is_refused() {
    let world = World::new();
    let public = serde_json::to_vec(world.key.public_jwk()).unwrap();
    let header = with(world.header(), "alg", json!("HS256")).to_string();
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims().to_string())
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
    world.assert_refused(&token, malformed(HeaderError::Algorithm));
}

#[test]
fn rs_04_the_audience_is_one_string_and_this_resource() {
    let world = World::new();
    world.assert_refused(
        &world.mint(&without(claims(), "aud")),
        TokenRefusal::MissingClaim("aud"),
    );
    for aud in [resource_b().as_str(), "https://as.test", "", "*"] {
        world.assert_refused(
            &world.mint(&with(claims(), "aud", json!(aud))),
            TokenRefusal::WrongAudience,
        );
    }
    let ours = "https://mcp.test/a/mcp";
    for aud in [
        json!([]),
        json!(null),
        json!({}),
        json!([ours]),
        json!([ours, "x"]),
        json!(true),
        json!({ ours: 1 }),
    ] {
        world.assert_refused(
            &world.mint(&with(claims(), "aud", aud)),
            TokenRefusal::BadClaim("aud"),
        );
    }
}

#[test]
fn rs_05_the_audience_is_compared_byte_for_byte() {
    let world = World::new();
    for aud in [
        "https://mcp.test/a/mcp/",
        "https://mcp.test/a/mcp.evil.test",
        "https://mcp.test.evil.test/a/mcp",
        "https://mcp.test/a/mcp?x",
        "https://mcp.test/a/mcp#",
        "https://mcp.test/A/MCP",
        "https://MCP.test/a/mcp",
        "HTTPS://mcp.test/a/mcp",
        "https://mcp.test:443/a/mcp",
        "https://mcp.test/a",
        "https://mcp.test",
        "https://mcp.test/a/mc",
        "https://mcp.test/a/%6dcp",
        " https://mcp.test/a/mcp",
        "https://mcp.test/a/mcp\u{0}",
        "*",
    ] {
        world.assert_refused(
            &world.mint(&with(claims(), "aud", json!(aud))),
            TokenRefusal::WrongAudience,
        );
    }
}

#[test]
fn rs_06_only_access_tokens_are_access_tokens() {
    let world = World::new();
    for typ in [
        "JWT",
        "id_token+jwt",
        "dpop+jwt",
        "oauth-id-jag+jwt",
        "doorward-identity+jwt",
        "jwt",
        "at",
    ] {
        world.assert_refused(&world.key.sign(typ, &claims()).unwrap(), TokenRefusal::WrongType);
    }
    let untyped = without(world.header(), "typ").to_string();
    world.assert_refused(
        &world.forge(&untyped, &claims().to_string()),
        TokenRefusal::WrongType,
    );
    let long = world.key.sign("application/at+jwt", &claims()).unwrap();
    assert!(
        world.verify(&long).is_ok(),
        "RFC 9068 section 4 names both spellings"
    );
}

#[test]
fn rs_07_other_secrets_are_no_access_tokens() {
    let world = World::new();
    for secret in [
        "dwr_c2VjcmV0",
        "dwc_c2VjcmV0",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "a",
        "",
        "..",
        "....",
    ] {
        world.assert_refused(secret, TokenRefusal::Malformed(JwsError::NotThreeParts));
    }
    for marker in ["nonce", "at_hash", "c_hash"] {
        for value in [json!("x"), json!(null)] {
            world.assert_refused(&world.mint(&with(claims(), marker, value)), TokenRefusal::IdToken);
        }
    }
}

#[test]
fn rs_08_lifetimes_with_at_most_60_seconds_of_leeway() {
    let world = World::new();
    for name in [
        "exp",
        "iat",
        "jti",
        "sub",
        "client_id",
        "iss",
        "scope",
        "rev",
        "family",
        "username",
        "groups",
    ] {
        world.assert_refused(
            &world.mint(&without(claims(), name)),
            TokenRefusal::MissingClaim(name),
        );
    }
    for (claim, offset, expected) in [
        ("exp", -59, None),
        ("exp", -60, Some(TokenRefusal::Expired)),
        ("exp", -61, Some(TokenRefusal::Expired)),
        ("exp", -NOW, Some(TokenRefusal::Expired)),
        ("nbf", 60, None),
        ("nbf", 61, Some(TokenRefusal::NotYetValid)),
        ("nbf", 3600, Some(TokenRefusal::NotYetValid)),
        ("iat", 60, None),
        ("iat", 61, Some(TokenRefusal::NotYetValid)),
        ("iat", 3600, Some(TokenRefusal::NotYetValid)),
        ("iat", i64::MAX - NOW, Some(TokenRefusal::NotYetValid)),
        ("exp", i64::MAX - NOW, None),
    ] {
        let token = world.mint(&with(claims(), claim, json!(NOW + offset)));
        assert_eq!(world.verify(&token).err(), expected, "{claim} {offset}");
    }
}

#[test]
fn rs_09_numbers_of_the_wrong_type_are_refused() {
    let world = World::new();
    for name in ["exp", "nbf", "iat", "rev"] {
        for value in [
            r#""9999999999""#,
            "true",
            "[1]",
            "{}",
            "null",
            "-1",
            "18446744073709551616",
            "9999999999.5",
            "1e10",
            "1800000000.0",
        ] {
            let payload = with(claims(), name, json!("REPLACE"))
                .to_string()
                .replace("\"REPLACE\"", value);
            let token = world.forge(&world.header().to_string(), &payload);
            world.assert_refused(&token, TokenRefusal::BadClaim(name));
        }
        let payload = with(claims(), name, json!("REPLACE"))
            .to_string()
            .replace("\"REPLACE\"", "1e400");
        let token = world.forge(&world.header().to_string(), &payload);
        world.assert_refused(&token, TokenRefusal::Malformed(JwsError::NotClaims));
    }
}

#[test]
fn rs_10_critical_headers_are_refused() {
    let world = World::new();
    for crit in [json!(["x"]), json!([]), json!("exp"), json!(["exp"])] {
        let header = with(world.header(), "crit", crit).to_string();
        world.assert_refused(
            &world.forge(&header, &claims().to_string()),
            malformed(HeaderError::Critical),
        );
    }
    let header = with(world.header(), "b64", json!(false)).to_string();
    world.assert_refused(
        &world.forge(&header, &claims().to_string()),
        malformed(HeaderError::Encoding),
    );
}

#[test]
fn rs_11_a_key_inside_the_token_is_refused() {
    let world = World::new();
    let evil = SigningKey::generate().unwrap();
    for (member, value) in [
        ("jwk", serde_json::to_value(evil.public_jwk()).unwrap()),
        ("jku", json!("http://127.0.0.1:9/jwks.json")),
        ("x5u", json!("http://127.0.0.1:9/cert.pem")),
        ("x5c", json!(["MII"])),
    ] {
        let header = with(world.header(), member, value).to_string();
        world.assert_refused(
            &world.forge(&header, &claims().to_string()),
            malformed(HeaderError::EmbeddedKey),
        );
    }
    world.assert_refused(&evil.sign("at+jwt", &claims()).unwrap(), TokenRefusal::UnknownKey);
}

#[test]
fn rs_11_a_known_key_id_on_another_key_is_a_bad_signature() {
    let (world, evil) = (World::new(), World::new());
    let token = evil.forge(&world.header().to_string(), &claims().to_string());
    world.assert_refused(&token, TokenRefusal::BadSignature);
}

#[test]
fn rs_12_key_ids_are_looked_up_and_nothing_else() {
    let world = World::new();
    for (kid, refusal) in [
        (json!("../../../../dev/null"), TokenRefusal::UnknownKey),
        (json!("' OR 1=1--"), TokenRefusal::UnknownKey),
        (
            json!("x\r\nlevel=INFO forged=true"),
            malformed(HeaderError::KeyId),
        ),
        (json!("x\u{0}"), malformed(HeaderError::KeyId)),
        (json!(7), malformed(HeaderError::KeyId)),
        (
            json!("k".repeat(64 * 1024)),
            TokenRefusal::Malformed(JwsError::TooLong),
        ),
    ] {
        let header = with(world.header(), "kid", kid).to_string();
        let token = world.forge(&header, &claims().to_string());
        world.assert_refused(&token, refusal);
        assert!(!refusal.to_string().contains("forged"));
    }
    let header = without(world.header(), "kid").to_string();
    world.assert_refused(
        &world.forge(&header, &claims().to_string()),
        TokenRefusal::UnknownKey,
    );
}

#[test]
fn rs_13_the_issuer_is_compared_byte_for_byte() {
    let world = World::new();
    for iss in [
        "https://as.test/",
        "https://AS.test",
        "HTTPS://as.test",
        "https://as.test:443",
        "https://as.tes",
        "",
    ] {
        world.assert_refused(
            &world.mint(&with(claims(), "iss", json!(iss))),
            TokenRefusal::WrongIssuer,
        );
    }
    for iss in [json!(["https://as.test"]), json!(null), json!(1)] {
        world.assert_refused(
            &world.mint(&with(claims(), "iss", iss)),
            TokenRefusal::BadClaim("iss"),
        );
    }
}

#[test]
fn rs_14_scopes_are_read_strictly() {
    let world = World::new();
    for scope in [
        "t:read\u{0}",
        "t:read  t:write",
        " t:read",
        "t:read ",
        "t:\"read",
        "t:read\n",
        "t:re\u{e4}d",
    ] {
        world.assert_refused(
            &world.mint(&with(claims(), "scope", json!(scope))),
            TokenRefusal::BadClaim("scope"),
        );
    }
    for scope in [
        json!(["t:read"]),
        json!({ "t:read": true }),
        json!(null),
        json!(1),
    ] {
        world.assert_refused(
            &world.mint(&with(claims(), "scope", scope)),
            TokenRefusal::BadClaim("scope"),
        );
    }
    for limit in [json!(""), json!("a  b"), json!(["a"]), json!(null), json!(1)] {
        world.assert_refused(
            &world.mint(&with(claims(), "client_scope", limit)),
            TokenRefusal::BadClaim("client_scope"),
        );
    }
    let limited = world.mint(&with(claims(), "client_scope", json!("t:read t:write")));
    let limit = world
        .verify(&limited)
        .unwrap()
        .client_scopes()
        .map(ToString::to_string);
    assert_eq!(limit.as_deref(), Some("t:read t:write"));
    // Well-formed, but other scopes than `t:read`: policy denies them.
    for scope in ["t:readwrite", "T:READ", ""] {
        let principal = world
            .verify(&world.mint(&with(claims(), "scope", json!(scope))))
            .unwrap();
        assert!(
            !principal.scopes().contains(&"t:read".parse().unwrap()),
            "{scope}"
        );
    }
}

#[test]
fn ids_names_and_groups_are_read_strictly() {
    let world = World::new();
    for name in ["sub", "jti", "family"] {
        for id in [
            "",
            "alice",
            &SUBJECT.to_uppercase(),
            &format!("{{{SUBJECT}}}"),
            &SUBJECT.replace('-', ""),
            &format!("urn:uuid:{SUBJECT}"),
        ] {
            world.assert_refused(
                &world.mint(&with(claims(), name, json!(id))),
                TokenRefusal::BadClaim(name),
            );
        }
    }
    for name in ["username", "client_id", "sub", "jti", "family"] {
        for value in [json!(""), json!(null), json!(1), json!(["x"]), json!({})] {
            world.assert_refused(
                &world.mint(&with(claims(), name, value)),
                TokenRefusal::BadClaim(name),
            );
        }
    }
    for groups in [
        json!("eng"),
        json!(null),
        json!([1]),
        json!({ "eng": 1 }),
        json!([["eng"]]),
    ] {
        world.assert_refused(
            &world.mint(&with(claims(), "groups", groups)),
            TokenRefusal::BadClaim("groups"),
        );
    }
    assert!(
        world
            .verify(&world.mint(&with(claims(), "groups", json!([]))))
            .unwrap()
            .groups()
            .is_empty()
    );
}

#[test]
fn a_token_of_another_tenant_is_nothing_here() {
    let world = World::new();
    world.assert_refused(
        &world.mint(&with(claims(), "tenant", json!("other"))),
        TokenRefusal::WrongTenant,
    );
    world.assert_refused(
        &world.mint(&with(claims(), "tenant", json!(["default"]))),
        TokenRefusal::BadClaim("tenant"),
    );
    assert!(
        world
            .verify(&world.mint(&with(claims(), "tenant", json!("default"))))
            .is_ok()
    );
}

#[test]
fn a_token_bound_to_a_key_is_no_bearer_token() {
    let world = World::new();
    for cnf in [json!({ "jkt": "x" }), json!({}), json!(null)] {
        world.assert_refused(
            &world.mint(&with(claims(), "cnf", cnf)),
            TokenRefusal::SenderConstrained,
        );
    }
}

#[test]
fn duplicate_claims_are_refused() {
    let world = World::new();
    let twice = claims()
        .to_string()
        .replacen('{', r#"{"aud":"https://mcp.test/b/mcp","#, 1);
    let token = world.forge(&world.header().to_string(), &twice);
    world.assert_refused(&token, TokenRefusal::Malformed(JwsError::NotClaims));
}

#[test]
fn refusals_have_a_status_a_word_and_a_text_without_values() {
    let world = World::new();
    for (claims, secret) in [
        (with(claims(), "iss", json!("https://secret.test")), "secret"),
        (with(claims(), "username", json!(["secret"])), "secret"),
        (with(claims(), "scope", json!("sec\u{0}ret")), "sec"),
    ] {
        let refusal = world.verify(&world.mint(&claims)).unwrap_err();
        assert!(!refusal.to_string().contains(secret) && !format!("{refusal:?}").contains(secret));
        assert_eq!(refusal.status(), 401);
        assert!(
            refusal
                .reason()
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_')
        );
    }
}

#[test]
fn a_verdict_can_be_waited_for() {
    let verification: Verification<'_, Arc<Principal>> =
        Verification::awaited(async { Err(TokenRefusal::Expired) });
    let mut verification = std::pin::pin!(verification);
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(
        verification.as_mut().poll(&mut context),
        Poll::Ready(Err(TokenRefusal::Expired))
    );
    let mut known = std::pin::pin!(Verification::<Arc<Principal>>::known(Err(TokenRefusal::Revoked)));
    assert_eq!(
        known.as_mut().poll(&mut context),
        Poll::Ready(Err(TokenRefusal::Revoked))
    );
    assert_eq!(
        known.as_mut().poll(&mut context),
        Poll::Pending,
        "no second verdict"
    );
}

proptest::proptest! {
    #[test]
    fn noise_is_refused_with_401(text: String) {
        let world = World::new();
        proptest::prop_assert_eq!(world.verify(&text).unwrap_err().status(), 401);
    }
}

/// What a client's own token says.
fn own() -> Value {
    let person = ["username", "groups", "family", "auth_time"];
    person
        .into_iter()
        .fold(with(claims(), "sub", json!("c1")), |claims, name| {
            without(claims, name)
        })
}

#[test]
fn c1_a_clients_own_token_speaks_for_the_client() {
    let world = World::new();
    let principal = world.verify(&world.mint(&own())).unwrap();
    assert!(principal.is_client() && !principal.is_anonymous());
    assert_eq!(
        principal.subject(),
        doorward_types::id::UserId::of_client(&ClientId::new("c1"))
    );
    assert_eq!((principal.username(), principal.family()), ("client:c1", None));
    assert!(principal.policy_subject().for_itself);
    assert!(!world.verify(&world.mint(&claims())).unwrap().is_client());
}

#[test]
fn c1_no_token_speaks_for_a_client_and_a_person() {
    let world = World::new();
    for (name, value) in [
        ("username", json!("alice")),
        ("groups", json!(["eng"])),
        ("family", json!(FAMILY)),
        ("auth_time", json!(NOW)),
    ] {
        world.assert_refused(
            &world.mint(&with(own(), name, value)),
            TokenRefusal::BadClaim(name),
        );
    }
    // A client cannot be called what an account is called.
    let account = with(with(own(), "sub", json!(SUBJECT)), "client_id", json!(SUBJECT));
    world.assert_refused(&world.mint(&account), TokenRefusal::BadClaim("sub"));
    // Another client's id is no account either.
    world.assert_refused(
        &world.mint(&with(own(), "sub", json!("c2"))),
        TokenRefusal::BadClaim("sub"),
    );
}
