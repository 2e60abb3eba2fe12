//! Claims of a client assertion (RFC 7523 §3), signed with the client's key: a line with its `typ`, then the claims.
//! What is accepted says, to a plain reader of JSON, that it is this client's, for us alone, for a short time, and
//! once.

use doorward_authorization_server::client_auth::authenticate;
use doorward_oauth::client_auth::{ASSERTION_TYPE, read};
use doorward_oauth::form::Form;
use serde_json::Value;

use super::client_call::{ISSUER, KEY, NOW, client, keys, settings};

const ID: &str = "c4";

/// `input` is a type, a line end, JSON.
pub fn check(input: &[u8]) {
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (Ok(typ), Ok(claims)) = (
        std::str::from_utf8(&input[..at]),
        serde_json::from_slice::<Value>(&input[at + 1..]),
    ) else {
        return;
    };
    let Ok(assertion) = KEY.sign(typ, &claims) else {
        return;
    };
    let fields = [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
    ];
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let Ok(form) = Form::parse(body.as_bytes()) else {
        return;
    };
    let Ok(presented) = read(&[], &form) else {
        return;
    };
    assert_eq!(claims["iss"], presented.client_id().as_str());
    let judged = authenticate(
        &settings(),
        &presented,
        Some(client(ID, "private_key_jwt")),
        Some(&keys()),
        NOW,
    );
    let Ok(caller) = judged else {
        return;
    };
    assert_eq!((&claims["iss"], &claims["sub"]), (&ID.into(), &ID.into()));
    // An empty path is `/` (RFC 3986 §6.2.3).
    let audience = claims["aud"].as_str().expect("one text");
    assert_eq!(audience.strip_suffix('/').unwrap_or(audience), ISSUER);
    let ahead = claims["exp"].as_i64().expect("a whole number") - NOW.seconds();
    assert!((-60..=660).contains(&ahead), "{ahead}");
    for name in ["iat", "nbf"] {
        assert!(
            claims
                .get(name)
                .is_none_or(|time| time.as_i64().unwrap() <= NOW.seconds() + 60)
        );
    }
    assert!(
        claims["jti"]
            .as_str()
            .is_some_and(|id| (1..=256).contains(&id.len()))
    );
    let short = typ.to_ascii_lowercase();
    let short = short.strip_prefix("application/").unwrap_or(&short);
    assert!(matches!(short, "jwt" | "client-authentication+jwt"), "{typ}");
    let replay = caller.replay().expect("it is used once");
    assert!(replay.expires.seconds() >= claims["exp"].as_i64().unwrap());
}
