//! RS: which tokens enter.

use doorward_testkit::canary::Canary;
use doorward_testkit::forge::Forge;
use doorward_testkit::oauth::claims;
use doorward_testkit::{Reply, marker, mcp, raw};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::machine::Machine;
use crate::support::{RA, RB, non_canonical};

crate::shared_catalogue!();

async fn forge() -> &'static Forge {
    static FORGE: OnceCell<Forge> = OnceCell::const_new();
    FORGE
        .get_or_init(|| async { Forge::of(&catalogue().await.doorward).await })
        .await
}

/// The claims of a token that is good, to be changed.
async fn good_claims() -> Value {
    claims(&catalogue().await.t().await)
}

async fn try_token(token: &str) -> (Reply, String) {
    let catalogue = catalogue().await;
    let case = marker();
    let reply = catalogue.call(&case).bearer(token).send().await;
    (reply, case)
}

/// U401 for a token that looks like one.
async fn refuse(what: &str, token: &str) {
    let catalogue = catalogue().await;
    let (reply, case) = try_token(token).await;
    assert_eq!(reply.status, 401, "{what}: {}", reply.text());
    catalogue.assert_u401(&reply, RA, true);
    catalogue.up_a.assert_never_saw(&case);
}

/// Signs the good claims with one member replaced by this JSON text; removed if `None`.
async fn signed_with(name: &str, value: Option<&str>) -> String {
    let mut claims = good_claims().await;
    let members = claims.as_object_mut().unwrap();
    members.remove(name);
    let mut text = claims.to_string();
    if let Some(value) = value {
        text.insert_str(1, &format!("\"{name}\":{value},"));
    }
    let forge = forge().await;
    forge.sign_text(&forge.header().to_string(), &text)
}

fn now() -> i64 {
    use doorward_types::time::Clock as _;
    doorward_types::time::SystemClock.now().seconds()
}

#[tokio::test]
async fn rs_00_the_forge_makes_good_tokens() {
    // Otherwise every refusal below would prove nothing.
    let token = forge().await.sign(&forge().await.header(), &good_claims().await);
    let (reply, _) = try_token(&token).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn rs_01_a4_a7_a11_a29_no_token_is_told_where_to_log_in() {
    let catalogue = catalogue().await;
    for (path, up) in [(RA, &catalogue.up_a), (RB, &catalogue.up_b)] {
        for method in ["POST", "GET", "DELETE"] {
            let case = marker();
            let request = catalogue.call_at(path, &case);
            let request = if method == "POST" {
                request
            } else {
                catalogue
                    .doorward
                    .request(method, path)
                    .header("Mcp-Session-Id", &case)
                    .header("Last-Event-ID", &case)
            };
            let reply = request.send().await;
            catalogue.assert_u401(&reply, path, false);
            up.assert_never_saw(&case);
            let challenge = reply.header("WWW-Authenticate").unwrap();
            let url = challenge
                .split("resource_metadata=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap();
            let metadata = catalogue.doorward.get(url).send().await;
            assert_eq!(metadata.status, 200);
            let metadata = metadata.json();
            assert_eq!(metadata["resource"], catalogue.doorward.url(path));
            assert_eq!(metadata["authorization_servers"], json!([catalogue.issuer()]));
            let scopes = metadata["scopes_supported"].as_array().unwrap();
            assert_eq!(scopes.len(), 1);
            let challenged = format!("scope=\"{}\"", scopes[0].as_str().unwrap());
            assert!(
                challenge.contains(&challenged),
                "the same scopes everywhere: {challenge}"
            );
            assert!(!metadata.to_string().contains("offline_access"));
            assert!(!challenge.contains("offline_access"));
        }
    }
    let bare = catalogue
        .doorward
        .get("/.well-known/oauth-protected-resource")
        .send()
        .await;
    assert_eq!(bare.status, 404, "with several servers the bare path names none");
    catalogue.still_good().await;
}

#[tokio::test]
async fn rs_02_unsigned_tokens_are_refused() {
    let forge = forge().await;
    let good = forge.sign(&forge.header(), &good_claims().await);
    let payload = good.split('.').nth(1).unwrap();
    let signature = good.split('.').nth(2).unwrap();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let mut header = forge.header();
        header["alg"] = json!(alg);
        let head = Forge::encode(header.to_string().as_bytes());
        refuse(
            &format!("alg {alg:?}, empty signature"),
            &format!("{head}.{payload}."),
        )
        .await;
        refuse(
            &format!("alg {alg:?}, signature left over"),
            &format!("{head}.{payload}.{signature}"),
        )
        .await;
        refuse(
            &format!("alg {alg:?}, no signature"),
            &format!("{head}.{payload}"),
        )
        .await;
        refuse(
            &format!("alg {alg:?}, signed"),
            &forge.sign(&header, &good_claims().await),
        )
        .await;
    }
    let head = good.split('.').next().unwrap();
    refuse("empty signature", &format!("{head}.{payload}.")).await;
    refuse("zeros", &format!("{head}.{payload}.{}", Forge::encode(&[0; 64]))).await;
    catalogue().await.still_good().await;
}

#[tokio::test]
async fn rs_03_the_public_key_is_no_hmac_key() {
    let forge = forge().await;
    let jwks = catalogue()
        .await
        .doorward
        .get("/.well-known/jwks.json")
        .send()
        .await
        .json();
    let key = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kid"] == forge.header()["kid"])
        .unwrap();
    assert_eq!(key["alg"], "ES256");
    assert!(key.get("d").is_none(), "the private half is private");
    let decode = |name: &str| Forge::decode(key[name].as_str().unwrap());
    let point = [decode("x"), decode("y")].concat();
    let mut der = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04".to_vec();
    der.extend_from_slice(&point);
    let standard = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----",
        &standard[..64],
        &standard[64..]
    );
    let keys = [
        ("PEM", pem.clone().into_bytes()),
        ("PEM with a line end", format!("{pem}\n").into_bytes()),
        ("DER", der),
        ("JWK", key.to_string().into_bytes()),
        ("JWKS", jwks.to_string().into_bytes()),
        ("point", point.clone()),
        ("x", point[..32].to_vec()),
        ("x in base64url", key["x"].as_str().unwrap().as_bytes().to_vec()),
        ("nothing", Vec::new()),
    ];
    for (what, secret) in keys {
        for alg in ["HS256", "HS384", "HS512"] {
            let mut header = forge.header();
            header["alg"] = json!(alg);
            refuse(
                &format!("{alg} with {what}"),
                &Forge::hmac(&header, &good_claims().await, &secret),
            )
            .await;
        }
    }
    catalogue().await.still_good().await;
}

#[tokio::test]
async fn rs_04_a23_a26_b9_s14_another_audience_is_refused() {
    let catalogue = catalogue().await;
    let both = json!([catalogue.ra(), catalogue.rb()]).to_string();
    let (rb, issuer) = (
        json!(catalogue.rb()).to_string(),
        json!(catalogue.issuer()).to_string(),
    );
    for aud in [
        None,
        Some(rb.as_str()),
        Some(&issuer),
        Some("[]"),
        Some("null"),
        Some("\"\""),
        Some("{}"),
        Some("true"),
        Some(&both),
    ] {
        refuse(&format!("aud {aud:?}"), &signed_with("aud", aud).await).await;
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rs_05_audiences_compare_byte_for_byte() {
    let catalogue = catalogue().await;
    let ra = catalogue.ra();
    let authority = catalogue.doorward.host();
    for aud in [
        format!("{ra}/"),
        format!("{ra}.evil.test"),
        format!("{ra}?x"),
        format!("{ra}#x"),
        ra.replace("/a/mcp", "/A/MCP"),
        ra.replace("http://", "HTTP://"),
        ra.replace("http://", "https://"),
        ra.replace(&authority, &format!("{authority}:80")),
        ra.replace(&format!(":{}", catalogue.doorward.address().port()), ""),
        ra.replace("127.0.0.1", "localhost"),
        ra.trim_end_matches("/mcp").to_owned(),
        catalogue.issuer().to_owned(),
        format!(" {ra}"),
        format!("{ra}\0"),
        String::from("*"),
    ] {
        refuse(&aud, &signed_with("aud", Some(&json!(aud).to_string())).await).await;
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rs_06_only_access_tokens_are_access_tokens() {
    let forge = forge().await;
    for typ in [
        None,
        Some("JWT"),
        Some("id_token+jwt"),
        Some("dpop+jwt"),
        Some("oauth-id-jag+jwt"),
        Some("doorward-identity+jwt"),
        Some("at+jwt2"),
        Some(""),
    ] {
        let mut header = forge.header();
        match typ {
            Some(typ) => header["typ"] = json!(typ),
            None => drop(header.as_object_mut().unwrap().remove("typ")),
        }
        refuse(
            &format!("typ {typ:?}"),
            &forge.sign(&header, &good_claims().await),
        )
        .await;
    }
    for marker_of_an_id_token in ["nonce", "at_hash", "c_hash"] {
        refuse(
            marker_of_an_id_token,
            &signed_with(marker_of_an_id_token, Some("\"x\"")).await,
        )
        .await;
    }
    catalogue().await.still_good().await;
}

#[tokio::test]
async fn rs_07_other_secrets_are_no_access_tokens() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let code = catalogue.code(&client).await.code;
    let tokens = catalogue.tokens(&client).await;
    let session = catalogue
        .alice()
        .await
        .cookies
        .values()
        .next()
        .unwrap()
        .value
        .clone();
    let machine = Machine::key(&catalogue.doorward, &["--client-credentials"]);
    let assertion = machine.assertion();
    let metadata = json!({
        "redirect_uris": ["https://c4.test/cb"], "token_endpoint_auth_method": "private_key_jwt",
        "jwks": { "keys": [machine.forge().public_jwk()] },
    });
    let registered = catalogue.doorward.post("/register").json(&metadata).send().await;
    assert_eq!(registered.status, 201, "{}", registered.text());
    let registered = registered.json();
    for (what, secret) in [
        ("a client assertion", assertion.as_str()),
        (
            "a registration access token",
            registered["registration_access_token"].as_str().unwrap(),
        ),
        ("a refresh token", tokens.refresh()),
        ("a code", code.as_str()),
        ("a client id", client.id.as_str()),
        ("a session", session.as_str()),
    ] {
        refuse(what, secret).await;
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rs_08_times_are_checked_with_a_minute_of_leeway() {
    let expired = (now() - 61).to_string();
    let future = (now() + 3600).to_string();
    for (name, value) in [
        ("exp", None),
        ("exp", Some(expired.as_str())),
        ("nbf", Some(future.as_str())),
        ("iat", Some(future.as_str())),
        ("iat", None),
        ("jti", None),
        ("sub", None),
        ("client_id", None),
        ("iss", None),
    ] {
        refuse(&format!("{name} = {value:?}"), &signed_with(name, value).await).await;
    }
    let other_issuer = json!("https://evil.test").to_string();
    refuse("another issuer", &signed_with("iss", Some(&other_issuer)).await).await;
    let (reply, _) = try_token(&signed_with("exp", Some(&(now() - 20).to_string())).await).await;
    assert_eq!(
        reply.status,
        200,
        "20 seconds are within the leeway: {}",
        reply.text()
    );
    catalogue().await.still_good().await;
}

#[tokio::test]
async fn rs_09_odd_times_are_refused() {
    for name in ["exp", "nbf", "iat"] {
        for value in [
            "\"9999999999\"",
            "true",
            "[1]",
            "{}",
            "1e400",
            "-1",
            "18446744073709551616",
            "null",
            "1.5",
            "9999999999.5",
        ] {
            if (name, value) == ("nbf", "-1") || (name, value) == ("nbf", "null") {
                // A beginning long ago, or none, is none.
                continue;
            }
            let (reply, case) = try_token(&signed_with(name, Some(value)).await).await;
            assert_eq!(reply.status, 401, "{name} = {value}: {}", reply.text());
            catalogue().await.up_a.assert_never_saw(&case);
        }
    }
    refuse("exp twice", &twice("exp", "9999999999").await).await;
    refuse("aud twice", &twice("aud", "\"https://evil.test\"").await).await;
    catalogue().await.still_good().await;
}

/// The good claims with `name` a second time.
async fn twice(name: &str, value: &str) -> String {
    let mut text = good_claims().await.to_string();
    text.insert_str(1, &format!("\"{name}\":{value},"));
    let forge = forge().await;
    forge.sign_text(&forge.header().to_string(), &text)
}

#[tokio::test]
async fn rs_10_critical_headers_are_not_ignored() {
    let forge = forge().await;
    for (name, value) in [
        ("crit", json!(["x"])),
        ("crit", json!([])),
        ("crit", json!("exp")),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        let mut header = forge.header();
        header[name] = value.clone();
        refuse(
            &format!("{name} = {value}"),
            &forge.sign(&header, &good_claims().await),
        )
        .await;
    }
    catalogue().await.still_good().await;
}

#[tokio::test]
async fn rs_11_keys_that_a_token_brings_along_are_not_used() {
    let attacker = Forge::attacker();
    let canary = Canary::start();
    let kid = forge().await.header()["kid"].clone();
    for (name, value) in [
        ("jku", json!(canary.url("/jwks"))),
        ("x5u", json!(canary.url("/x5u"))),
        ("jwk", attacker.public_jwk()),
        ("x5c", json!(["MIIB"])),
    ] {
        for kid in [kid.clone(), attacker.header()["kid"].clone()] {
            let mut header = attacker.header();
            header["kid"] = kid;
            header[name] = value.clone();
            refuse(name, &attacker.sign(&header, &good_claims().await)).await;
        }
    }
    refuse(
        "an attacker's key",
        &attacker.sign(&forge().await.header(), &good_claims().await),
    )
    .await;
    catalogue().await.still_good().await;
    assert_eq!(canary.visits(), 0);
}

#[tokio::test]
async fn rs_12_odd_key_ids_are_refused_and_cannot_write_the_log() {
    let catalogue = catalogue().await;
    let forge = forge().await;
    let forged = marker();
    let huge = "k".repeat(64 * 1024);
    let kids = [
        json!("../../../../dev/null"),
        json!("' OR 1=1--"),
        json!(format!("x\r\n{{\"level\":\"INFO\",\"message\":\"{forged}\"}}")),
        json!(format!("\u{1b}[2J{forged}")),
        json!(huge),
        json!("a\0b"),
        json!(1),
        json!(null),
        json!(["x"]),
        json!(""),
    ];
    for kid in kids {
        let mut header = forge.header();
        header["kid"] = kid.clone();
        let token = forge.sign(&header, &good_claims().await);
        let case = marker();
        let reply = catalogue.call(&case).bearer(&token).try_send().await;
        // A header of 64 KiB may be refused before anything looks at it.
        let status = reply.map_or(431, |reply| reply.status);
        assert!(
            matches!(status, 401 | 400 | 431),
            "{}: {status}",
            kid.to_string().get(..40).unwrap_or_default()
        );
        catalogue.up_a.assert_never_saw(&case);
    }
    let without = {
        let mut header = forge.header();
        header.as_object_mut().unwrap().remove("kid");
        forge.sign(&header, &good_claims().await)
    };
    refuse("no kid", &without).await;
    for line in catalogue.doorward.logs().lines() {
        assert!(!line.contains('\u{1b}') && !line.contains('\r'), "{line:?}");
        assert!(
            !(line.contains(&forged) && line.starts_with("{\"level\":\"INFO\",\"message\":\"mark")),
            "{line}"
        );
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rs_14_scopes_are_compared_whole() {
    let catalogue = catalogue().await;
    for scope in [
        "\"aa\"",
        "\"A\"",
        "\"a\\u0000\"",
        "\"b\"",
        "\"\"",
        "[\"a\"]",
        "{\"a\":true}",
        "null",
        "true",
        "\" a\"",
        "\"a\\tb\"",
    ] {
        let (reply, case) = try_token(&signed_with("scope", Some(scope)).await).await;
        assert!(
            matches!(reply.status, 401 | 403),
            "scope {scope}: {} {}",
            reply.status,
            reply.text()
        );
        if reply.status == 403 {
            let challenge = reply
                .header("WWW-Authenticate")
                .expect("a challenge that names the scope");
            assert!(
                challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"a\""),
                "{challenge}"
            );
            assert!(challenge.contains("resource_metadata="), "{challenge}");
        }
        catalogue.up_a.assert_never_saw(&case);
    }
    let (reply, case) = try_token(&signed_with("scope", None).await).await;
    assert!(matches!(reply.status, 401 | 403), "{}", reply.status);
    catalogue.up_a.assert_never_saw(&case);
    catalogue.still_good().await;
}

#[tokio::test]
async fn rs_16_a_token_belongs_into_the_authorization_header() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let case = marker();
    let in_query = catalogue.call_at(&format!("{RA}?access_token={token}"), &case);
    let alone = in_query.clone().send().await;
    assert!(matches!(alone.status, 400 | 401), "query alone: {}", alone.status);
    let both = in_query.bearer(&token).send().await;
    assert!(
        matches!(both.status, 400 | 401),
        "header and query: {}",
        both.status
    );
    let form = catalogue
        .doorward
        .post(RA)
        .form(&[("access_token", &token), ("marker", &case)])
        .send()
        .await;
    assert!(matches!(form.status, 400 | 401 | 415), "{}", form.status);
    catalogue.up_a.assert_never_saw(&case);
    assert!(!catalogue.doorward.logs().contains(&token), "redacted in the log");
    for scheme in ["bearer", "BEARER"] {
        let reply = catalogue
            .call("scheme")
            .set("Authorization", &format!("{scheme} {token}"))
            .send()
            .await;
        assert_eq!(reply.status, 200, "scheme names compare without case");
    }
    for odd in [
        format!("Basic {token}"),
        format!("DPoP {token}"),
        token.clone(),
        format!("Bearer {token} x"),
        "Bearer".into(),
        "Bearer ".into(),
    ] {
        let reply = catalogue.call(&case).set("Authorization", &odd).send().await;
        assert!(matches!(reply.status, 400 | 401), "{}", reply.status);
        catalogue.up_a.assert_never_saw(&case);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rs_17_two_credentials_are_none() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let bad = "eyJ.x.y";
    for headers in [
        vec![
            ("Authorization", format!("Bearer {token}")),
            ("Authorization", format!("Bearer {bad}")),
        ],
        vec![
            ("Authorization", format!("Bearer {bad}")),
            ("Authorization", format!("Bearer {token}")),
        ],
        vec![
            ("Authorization", format!("Bearer {token}")),
            ("authorization", format!("Bearer {token}")),
        ],
        vec![("Authorization", format!("Bearer {token}, Bearer {bad}"))],
        vec![("Authorization", format!("Bearer {bad}, Bearer {token}"))],
        vec![("Proxy-Authorization", format!("Bearer {token}"))],
        vec![("Authorization_", format!("Bearer {token}"))],
        vec![("X-Authorization", format!("Bearer {token}"))],
        vec![("Cookie", format!("Authorization=Bearer {token}"))],
    ] {
        let case = marker();
        let mut request = catalogue.call(&case);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        let reply = request.send().await;
        assert!(
            matches!(reply.status, 400 | 401),
            "{:?}: {}",
            headers[0].0,
            reply.status
        );
        catalogue.up_a.assert_never_saw(&case);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn rs_18_a_warm_cache_lets_nothing_else_in() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    assert_eq!(catalogue.call("warm").bearer(&token).send().await.status, 200);
    let half = token.len() / 2;
    let replaced = format!("{}{}", &token[..half], "A".repeat(token.len() - half));
    let mut payload = token.clone().into_bytes();
    let at = token.find('.').unwrap() + 30;
    payload[at] = if payload[at] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(payload).unwrap();
    let not_canonical = non_canonical(&token);
    assert_ne!(not_canonical, token);
    let rounds = 1000 / 4;
    let requests = |path: &'static str, token: String| {
        let case = marker();
        async move {
            for _ in 0..rounds {
                let reply = catalogue.call_at(path, &case).bearer(&token).send().await;
                catalogue.assert_u401(&reply, path, true);
            }
            catalogue.up_a.assert_never_saw(&case);
            catalogue.up_b.assert_never_saw(&case);
        }
    };
    let good = async {
        for _ in 0..rounds {
            let reply = catalogue.call("interleaved").bearer(&token).send().await;
            assert_eq!(mcp::text_of(&reply), "t_read ok");
        }
    };
    let bad = [
        (RB, token.clone()),
        (RA, replaced),
        (RA, changed),
        (RA, not_canonical),
    ];
    let bad = futures_util::future::join_all(bad.map(|(path, token)| requests(path, token)));
    futures_util::future::join(good, bad).await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn a_token_with_bytes_around_it_is_refused() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let host = catalogue.doorward.host();
    for value in [
        format!("{token}="),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}\u{80}"),
        token.replace('.', ".."),
    ] {
        let request = format!(
            "POST {RA} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {value}\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let reply = raw::send(catalogue.doorward.address(), request.as_bytes()).await;
        assert!(matches!(reply.status, 400 | 401), "{}", reply.text());
    }
}
