use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use doorward_jose::SigningKey;
use serde_json::{Value, json};

use super::*;
use crate::callback::{CallbackError, CallbackParameters};
use crate::orchestrate::{self, Options, Outcome, Why};
use crate::registration::PreRegistered;
use crate::testing::{Desk, Script, options};

const IDP: &str = "https://idp.example/tenant/";
const DOCUMENT: &str = "GET https://idp.example/tenant/.well-known/openid-configuration";
const TOKEN: &str = "POST https://idp.example/tenant/token";
const KEYS: &str = "GET https://idp.example/tenant/keys";
const CLIENT: &str = "at-idp";
const NOW: i64 = 1_000_000;

fn document() -> Value {
    json!({
        "issuer": IDP,
        "authorization_endpoint": "https://idp.example/tenant/authorize",
        "token_endpoint": "https://idp.example/tenant/token",
        "jwks_uri": "https://idp.example/tenant/keys",
        "revocation_endpoint": "https://idp.example/tenant/revoke",
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "offline_access"],
        "authorization_response_iss_parameter_supported": true,
    })
}

fn changed(changes: &Value) -> Value {
    let mut document = document();
    for (name, value) in changes.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

fn claims(nonce: &str) -> Value {
    json!({ "iss": IDP, "sub": "someone", "aud": CLIENT, "exp": NOW + 300, "iat": NOW, "nonce": nonce })
}

fn jwks(key: &SigningKey) -> Value {
    json!({ "keys": [key.public_jwk()] })
}

fn sign_on_options() -> Options {
    let mut options = options(IDP);
    options.scope = Some(SCOPE.parse().unwrap());
    options.application.may_register = false;
    options.application.pre_registered = Some(PreRegistered {
        client_id: CLIENT.into(),
        client_secret: None,
        token_endpoint_auth_method: None,
        issuer: Some(IDP.into()),
    });
    options
}

async fn found(desk: &Desk) -> Result<Discovered, Error> {
    drive(&mut FindIdentityProvider::new(IDP, CLIENT)?, &desk.http).await
}

async fn sent_to(desk: &Desk, discovered: &Discovered) -> Url {
    let options = sign_on_options();
    match orchestrate::authorize_at(&desk.env(), &options, &Why::default(), discovered).await {
        Ok(Outcome::Redirect(url)) => url,
        other => panic!("{other:?}"),
    }
}

fn get_of(url: &Url, name: &str) -> Option<String> {
    let mut values = url.query_pairs().filter(|(n, _)| n == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    assert!(values.next().is_none(), "{name} once");
    value
}

fn callback(parameters: &[(&str, &str)]) -> CallbackParameters {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    CallbackParameters::from_query(&query).unwrap()
}

/// Signs on at a provider whose ID token is what `token` makes of the nonce.
async fn signs_on(token: impl Fn(&str) -> String, keys: Value) -> Result<(Tokens, Desk), Error> {
    let desk = Desk::new(Script::default().on(DOCUMENT, document()).on(KEYS, keys));
    let discovered = found(&desk).await.unwrap();
    let shown = sent_to(&desk, &discovered).await;
    let nonce = get_of(&shown, "nonce").unwrap();
    desk.http.add(
        TOKEN,
        json!({ "access_token": "for-userinfo", "token_type": "Bearer", "expires_in": 9999,
                "refresh_token": "refresh-1", "id_token": token(&nonce) }),
    );
    let state = get_of(&shown, "state").unwrap();
    let answer = callback(&[("code", "the-code"), ("state", &state), ("iss", IDP)]);
    match orchestrate::finish(&desk.env(), &sign_on_options(), &answer).await {
        Ok(tokens) => Ok((tokens, desk)),
        Err(CallbackError::Failed(error)) => {
            assert!(
                desk.memory.tokens.lock().unwrap().is_empty(),
                "nothing of a bad answer is kept"
            );
            Err(*error)
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn e16_a_sign_on_uses_state_nonce_and_pkce_and_keeps_the_id_token() {
    let key = SigningKey::generate().unwrap();
    let make = |nonce: &str| key.sign("JWT", &claims(nonce)).unwrap();
    let (tokens, desk) = signs_on(make, jwks(&key)).await.unwrap();
    // E17: what is kept is the assertion, until it says that it is over, and under a name that no resource has.
    assert!(
        OwnJwt::read(&tokens.access_token)
            .unwrap()
            .holds("sub", "someone")
            == Some(true)
    );
    assert_eq!(tokens.expires_at, Some(UnixTime::from_seconds(NOW + 300)));
    assert_eq!(
        (tokens.issuer.as_str(), client_of(&tokens.resource)),
        (IDP, Some(CLIENT))
    );
    assert!(Url::parse(&tokens.resource).is_err() || tokens.resource.contains(' '));
    assert!(!format!("{tokens:?}").contains(tokens.access_token.expose()));
    let sent = desk.http.sent();
    let exchange = sent.iter().find(|sent| sent.line() == TOKEN).unwrap().form();
    for (name, value) in [
        ("grant_type", Some("authorization_code")),
        ("code", Some("the-code")),
        ("client_id", Some(CLIENT)),
        ("resource", None),
    ] {
        assert_eq!(exchange.get(name), value, "{name}");
    }
    assert!(
        exchange
            .get("code_verifier")
            .is_some_and(|verifier| verifier.len() >= 43)
    );
}

#[tokio::test]
async fn e16_the_request_asks_for_an_id_token_and_for_no_resource() {
    let desk = Desk::new(Script::default().on(DOCUMENT, document()));
    let discovered = found(&desk).await.unwrap();
    let (one, two) = (
        sent_to(&desk, &discovered).await,
        sent_to(&desk, &discovered).await,
    );
    assert!(one.as_str().starts_with("https://idp.example/tenant/authorize?"));
    for (name, value) in [
        ("response_type", Some("code")),
        ("code_challenge_method", Some("S256")),
        ("scope", Some("offline_access openid")),
        ("prompt", Some("consent")),
        ("resource", None),
    ] {
        let mut found = get_of(&one, name).map(|text| {
            let mut words: Vec<_> = text.split(' ').map(str::to_owned).collect();
            words.sort();
            words.join(" ")
        });
        assert_eq!(found.take().as_deref(), value, "{name}");
    }
    for name in ["state", "nonce", "code_challenge"] {
        let (one, two) = (get_of(&one, name).unwrap(), get_of(&two, name).unwrap());
        assert!(one.len() >= 43 && one != two, "{name} is new each time");
    }
    let mut options = sign_on_options();
    options.extra = vec![("nonce".into(), "mine".into())];
    let refused = orchestrate::authorize_at(&desk.env(), &options, &Why::default(), &discovered).await;
    assert!(refused.unwrap_err().to_string().contains("nonce"), "ours alone");
}

#[tokio::test]
async fn e16_an_answer_of_another_issuer_or_for_another_state_is_no_answer() {
    let desk = Desk::new(Script::default().on(DOCUMENT, document()));
    let discovered = found(&desk).await.unwrap();
    for (iss, is_ours) in [
        (Some("https://evil.example"), true),
        (Some("https://idp.example/tenant"), true),
        (None, true),
        (Some(IDP), false),
    ] {
        let shown = sent_to(&desk, &discovered).await;
        let state = get_of(&shown, "state").unwrap();
        let state = if is_ours { state } else { format!("{state}x") };
        let mut parameters = vec![("code", "stolen"), ("state", &state)];
        parameters.extend(iss.map(|iss| ("iss", iss)));
        let answer = callback(&parameters);
        let error = orchestrate::finish(&desk.env(), &sign_on_options(), &answer)
            .await
            .unwrap_err();
        assert_eq!(matches!(error, CallbackError::NotOurs), !is_ours, "{error}");
        assert!(
            desk.http.sent().iter().all(|sent| sent.line() != TOKEN),
            "{iss:?}"
        );
    }
}

#[tokio::test]
async fn e16_an_id_token_that_fails_one_check_is_thrown_away() {
    let key = SigningKey::generate().unwrap();
    let other = SigningKey::generate().unwrap();
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 15] = [
        ("iss", |claims| {
            claims["iss"] = json!("https://idp.example/tenant");
        }),
        ("iss", |claims| {
            claims.as_object_mut().unwrap().remove("iss");
        }),
        ("aud", |claims| claims["aud"] = json!("another-client")),
        ("aud", |claims| claims["aud"] = json!(["another-client", "third"])),
        ("aud", |claims| claims["aud"] = json!([CLIENT, 7])),
        ("aud", |claims| claims["aud"] = Value::Null),
        ("azp", |claims| claims["aud"] = json!([CLIENT, "another-client"])),
        ("azp", |claims| claims["azp"] = json!("another-client")),
        ("exp", |claims| claims["exp"] = json!(NOW)),
        ("exp", |claims| claims["exp"] = json!("tomorrow")),
        ("iat", |claims| claims["iat"] = json!(NOW + 3600)),
        ("iat", |claims| {
            claims.as_object_mut().unwrap().remove("iat");
        }),
        ("nonce", |claims| claims["nonce"] = json!("of-another-sign-on")),
        ("nonce", |claims| {
            claims.as_object_mut().unwrap().remove("nonce");
        }),
        ("sub", |claims| {
            claims.as_object_mut().unwrap().remove("sub");
        }),
    ];
    for (claim, change) in changes {
        let make = |nonce: &str| {
            let mut claims = claims(nonce);
            change(&mut claims);
            key.sign("JWT", &claims).unwrap()
        };
        let error = signs_on(make, jwks(&key)).await.err().unwrap().to_string();
        assert!(error.contains(claim) && error.contains("E16"), "{claim}: {error}");
        assert!(
            !error.contains("someone") && !error.contains("of-another"),
            "{error}"
        );
    }
    for typ in ["at+jwt", "oauth-id-jag+jwt"] {
        let make = |nonce: &str| key.sign(typ, &claims(nonce)).unwrap();
        let error = signs_on(make, jwks(&key)).await.err().unwrap();
        assert!(error.to_string().contains("type"), "{error}");
    }
    let make = |nonce: &str| other.sign("JWT", &claims(nonce)).unwrap();
    assert!(signs_on(make, jwks(&key)).await.is_err(), "an unknown key");
    assert!(signs_on(make, json!({ "keys": [] })).await.is_err(), "no key");
    assert!(signs_on(make, json!([])).await.is_err(), "no key set");
    assert!(
        signs_on(|_| String::new(), jwks(&key)).await.is_err(),
        "no ID token"
    );
}

#[tokio::test]
async fn e16_no_signature_and_a_signature_with_a_shared_secret_are_none() {
    let key = SigningKey::generate().unwrap();
    for alg in ["none", "HS256", "HS512"] {
        let make = |nonce: &str| {
            let header = json!({ "alg": alg, "typ": "JWT" }).to_string();
            let claims = claims(nonce).to_string();
            let signature = if alg == "none" { "" } else { "c2lnbmF0dXJl" };
            format!("{}.{}.{signature}", B64.encode(header), B64.encode(claims))
        };
        let error = signs_on(make, jwks(&key)).await.err().unwrap();
        assert!(matches!(error, Error::Refused(_)), "{alg}: {error}");
    }
}

#[tokio::test]
async fn e16_several_audiences_need_an_azp_and_a_key_id_is_needed_where_there_are_several_keys() {
    let key = SigningKey::generate().unwrap();
    let make = |nonce: &str| {
        let mut claims = claims(nonce);
        claims["aud"] = json!(["api", CLIENT]);
        claims["azp"] = json!(CLIENT);
        key.sign("JWT", &claims).unwrap()
    };
    assert!(signs_on(make, jwks(&key)).await.is_ok());
    let bare = |nonce: &str| unnamed(&key.sign("JWT", &claims(nonce)).unwrap());
    let other = SigningKey::generate().unwrap();
    let several = json!({ "keys": [key.public_jwk(), other.public_jwk()] });
    let error = signs_on(bare, several).await.err().unwrap();
    assert!(error.to_string().contains("names no key"), "{error}");
}

/// The same token without `kid`; its signature does not fit any more.
fn unnamed(token: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", B64.encode(r#"{"alg":"ES256"}"#))
}

#[tokio::test]
async fn e22_an_identity_provider_is_what_it_says_it_is_byte_for_byte() {
    for (changes, rule) in [
        (json!({ "issuer": "https://idp.example/tenant" }), "D7"),
        (json!({ "issuer": null }), "D7"),
        (json!({ "jwks_uri": null }), "E16"),
        (json!({ "jwks_uri": "http://idp.example/keys" }), "B20"),
        // Codes go over TLS alone.
        (json!({ "token_endpoint": "http://idp.example/token" }), "B20"),
        (
            json!({ "authorization_endpoint": "http://idp.example/authorize" }),
            "B20",
        ),
        (json!({ "authorization_endpoint": null }), "A5"),
        (json!({ "code_challenge_methods_supported": ["plain"] }), "S6"),
        (json!({ "response_types_supported": ["id_token"] }), "A2"),
    ] {
        let desk = Desk::new(Script::default().on(DOCUMENT, changed(&changes)));
        match found(&desk).await.unwrap_err() {
            Error::Refused(refusal) => assert_eq!(refusal.rule, rule, "{changes}: {refusal}"),
            error => panic!("{changes}: {error}"),
        }
        assert_eq!(desk.http.take_lines(), [DOCUMENT], "nothing else was asked");
    }
    for issuer in [
        "http://idp.example",
        "https://idp.example/?x=1",
        "idp.example",
        "https://u:p@idp.example",
    ] {
        assert!(FindIdentityProvider::new(issuer, CLIENT).is_err(), "{issuer}");
    }
    let nowhere = found(&Desk::new(Script::default())).await.unwrap_err();
    assert!(nowhere.to_string().contains("404"), "{nowhere}");
    let down = Desk::new(Script::default().on(DOCUMENT, (503, "later")));
    assert!(matches!(
        found(&down).await.unwrap_err(),
        Error::Unreachable { .. }
    ));
}

/// Renews what was kept at a provider that answers with `answer`.
async fn renewed(key: &SigningKey, answer: Value) -> (Result<Option<Tokens>, Error>, Desk) {
    let make = |nonce: &str| key.sign("JWT", &claims(nonce)).unwrap();
    let (tokens, desk) = signs_on(make, jwks(key)).await.unwrap();
    let discovered = found(&desk).await.unwrap();
    desk.http.clear(TOKEN);
    desk.http.add(TOKEN, answer);
    desk.http.take_lines();
    let options = sign_on_options();
    let result = orchestrate::renew(&desk.env(), &options, &discovered, &tokens).await;
    (result, desk)
}

#[tokio::test]
async fn e17_an_assertion_is_renewed_for_the_same_person_alone() {
    let key = SigningKey::generate().unwrap();
    let answer = |changes: &Value| {
        let mut claims = json!({ "iss": IDP, "sub": "someone", "aud": CLIENT, "exp": NOW + 900, "iat": NOW });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        json!({ "access_token": "x", "token_type": "Bearer", "id_token": key.sign("JWT", &claims).unwrap() })
    };
    let (result, desk) = renewed(&key, answer(&json!({}))).await;
    let tokens = result.unwrap().unwrap();
    assert_eq!(tokens.expires_at, Some(UnixTime::from_seconds(NOW + 900)));
    assert_eq!(
        tokens.refresh_token.as_ref().unwrap().expose(),
        "refresh-1",
        "as long as no other comes"
    );
    let form = {
        let sent = desk.http.sent();
        sent.iter().find(|sent| sent.line() == TOKEN).unwrap().form()
    };
    assert_eq!(
        (
            form.get("grant_type"),
            form.get("refresh_token"),
            form.get("resource")
        ),
        (Some("refresh_token"), Some("refresh-1"), None)
    );
    for changes in [
        json!({ "sub": "somebody-else" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "aud": "another-client" }),
        json!({ "nonce": "of-another-sign-on" }),
    ] {
        let (result, desk) = renewed(&key, answer(&changes)).await;
        assert!(result.unwrap().is_none(), "a person has to sign on: {changes}");
        let kept = desk.memory.tokens.lock().unwrap();
        let kept = kept.values().next().unwrap();
        assert_eq!(
            (kept.expires_at, kept.refresh_token.as_ref()),
            (Some(UnixTime::from_seconds(NOW + 300)), None),
            "{changes}"
        );
    }
}

#[tokio::test]
async fn e17_a27_a_refresh_token_that_was_rotated_is_kept_before_the_keys_are_fetched() {
    let key = SigningKey::generate().unwrap();
    let make = |nonce: &str| key.sign("JWT", &claims(nonce)).unwrap();
    let (tokens, desk) = signs_on(make, jwks(&key)).await.unwrap();
    let discovered = found(&desk).await.unwrap();
    let again = json!({ "iss": IDP, "sub": "someone", "aud": CLIENT, "exp": NOW + 900, "iat": NOW });
    desk.http.clear(TOKEN);
    desk.http.add(
        TOKEN,
        json!({ "access_token": "x", "token_type": "Bearer", "refresh_token": "refresh-2",
                "id_token": key.sign("JWT", &again).unwrap() }),
    );
    desk.http.clear(KEYS);
    desk.http.add(KEYS, (503, "later"));
    let options = sign_on_options();
    let result = orchestrate::renew(&desk.env(), &options, &discovered, &tokens).await;
    assert!(matches!(result, Err(Error::Unreachable { .. })), "{result:?}");
    let kept = desk.memory.tokens.lock().unwrap();
    let kept = kept.values().next().unwrap();
    assert_eq!(kept.refresh_token.as_ref().unwrap().expose(), "refresh-2");
    assert_eq!(kept.access_token, tokens.access_token);
}

#[tokio::test]
async fn e17_a_provider_that_renews_no_id_tokens_is_asked_once() {
    let key = SigningKey::generate().unwrap();
    let (result, desk) = renewed(&key, json!({ "access_token": "x", "token_type": "Bearer" })).await;
    assert!(result.unwrap().is_none(), "a person has to sign on");
    let kept = desk.memory.tokens.lock().unwrap();
    assert!(kept.values().all(|tokens| tokens.refresh_token.is_none()));
}

#[tokio::test]
async fn e17_what_is_given_back_is_the_refresh_token() {
    let key = SigningKey::generate().unwrap();
    let make = |nonce: &str| key.sign("JWT", &claims(nonce)).unwrap();
    let (_, desk) = signs_on(make, jwks(&key)).await.unwrap();
    let revoke = "POST https://idp.example/tenant/revoke";
    desk.http.add(revoke, json!({}));
    let discovered = found(&desk).await.unwrap();
    orchestrate::log_out(&desk.env(), &sign_on_options(), &discovered)
        .await
        .unwrap();
    assert!(desk.memory.tokens.lock().unwrap().is_empty());
    let sent = desk.http.sent();
    let forms: Vec<_> = sent.iter().filter(|sent| sent.line() == revoke).collect();
    assert_eq!(
        forms.len(),
        1,
        "an ID token cannot be revoked, and is shown to no endpoint for it"
    );
    assert_eq!(forms[0].form().get("token"), Some("refresh-1"));
}
