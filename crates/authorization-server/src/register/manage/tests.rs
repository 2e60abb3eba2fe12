use doorward_records::client::{ClientMetadata, ClientOrigin};
use doorward_records::model::Tables;
use doorward_types::random::CountingRandom;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{self, NOW};

const TOKEN: &str = "dwm_token";
const SECRET: &str = "dws_secret";

fn settings() -> Settings {
    let mut settings = fixture::settings();
    settings.registration.confidential = Some(true);
    settings
}

fn client() -> Client {
    let metadata = ClientMetadata {
        token_endpoint_auth_method: "client_secret_basic".into(),
        ..ClientMetadata::public(vec!["https://claude.ai/cb".into()])
    };
    Client {
        secret: Some(Secret::new(SECRET).digest()),
        registration_token: Some(Secret::new(TOKEN).digest()),
        ..Client::new(ClientId::new("dcc_1"), ClientOrigin::Confidential, metadata, NOW)
    }
}

fn update(members: &Value) -> Value {
    let mut body = json!({ "client_id": "dcc_1", "redirect_uris": ["https://claude.ai/cb"],
        "grant_types": ["authorization_code", "refresh_token"], "client_name": "new" });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn replaced(
    settings: &Settings,
    client: &Client,
    members: &Value,
) -> Result<(Client, RegistrationResponse), ManagementRefusal> {
    let mut tables = Tables::new();
    tables
        .apply(&Unit::writes(vec![Write::InsertClient(client.clone())]))
        .unwrap();
    let body = update(members).to_string();
    let random = CountingRandom::default();
    let (unit, response) = replace(
        settings,
        client,
        Secret::new(TOKEN),
        body.as_bytes(),
        NOW,
        &random,
    )?;
    tables.apply(&unit).unwrap();
    assert!(
        tables.apply(&unit).is_err(),
        "decided on a registration that changed since"
    );
    Ok((tables.client(&client.id).unwrap(), response))
}

#[test]
fn rg_05_without_its_token_a_registration_is_out_of_reach() {
    let managed = client();
    let public = fixture::client(&["http://localhost/cb"]);
    let right = Secret::new(TOKEN);
    assert_eq!(authenticate(Some(&managed), Some(&right)), Ok(&managed));
    for (client, token) in [
        (Some(&managed), None),
        (Some(&managed), Some(Secret::new("dwm_other"))),
        (Some(&managed), Some(Secret::new(SECRET))),
        (Some(&public), Some(Secret::new(""))),
        (Some(&public), Some(right.clone())),
        (None, Some(right)),
    ] {
        let refused = authenticate(client, token.as_ref()).unwrap_err();
        assert_eq!(
            (&refused, refused.status()),
            (&ManagementRefusal::Unauthorized, 401)
        );
        assert!(
            refused
                .challenge()
                .is_some_and(|challenge| challenge.starts_with("Bearer"))
        );
    }
}

#[test]
fn r35_what_an_operator_switched_off_its_client_cannot_touch() {
    let disabled = Client {
        status: ClientStatus::Disabled,
        ..client()
    };
    let refused = authenticate(Some(&disabled), Some(&Secret::new(TOKEN))).unwrap_err();
    assert_eq!((&refused, refused.status()), (&ManagementRefusal::Disabled, 403));
}

#[test]
fn r17_a_client_reads_its_registration_without_its_secret() {
    let shown = show(&settings(), &client(), Secret::new(TOKEN)).to_json();
    let shown: Value = serde_json::from_str(shown.expose()).unwrap();
    assert_eq!(shown["client_id"], "dcc_1");
    assert_eq!(
        shown["registration_access_token"], TOKEN,
        "RFC 7592 section 3 wants it"
    );
    assert_eq!(
        shown["registration_client_uri"],
        "https://mcp.example.com/register/dcc_1"
    );
    assert_eq!(shown["client_secret"], Value::Null);
    assert_eq!(shown["client_secret_expires_at"], 0);
}

#[test]
fn r17_an_update_is_judged_by_the_whole_policy() {
    let (row, response) = replaced(&settings(), &client(), &json!({})).unwrap();
    assert_eq!(row.metadata.client_name.as_deref(), Some("new"));
    assert_eq!(row.secret, client().secret, "kept");
    assert_eq!(response.client_secret, None, "and not told again");
    assert_eq!(
        response.registration_access_token,
        Some(Secret::new(TOKEN)),
        "not rotated"
    );
    assert_eq!(
        row.metadata.token_endpoint_auth_method, "client_secret_basic",
        "left out is kept"
    );

    let elsewhere = json!({ "redirect_uris": ["https://unknown.test/cb"] });
    let (row, _) = replaced(&settings(), &client(), &elsewhere).unwrap();
    assert_eq!(row.status, ClientStatus::Pending, "an unknown host waits again");
    let alone = json!({ "grant_types": ["authorization_code", "client_credentials"] });
    let (row, _) = replaced(&settings(), &client(), &alone).unwrap();
    assert_eq!(
        row.status,
        ClientStatus::Pending,
        "so does a grant that asks no person"
    );

    let mut known = client();
    known.metadata.redirect_uris = vec!["https://unknown.test/cb".into()];
    let (row, _) = replaced(&settings(), &known, &elsewhere).unwrap();
    assert_eq!(
        row.status,
        ClientStatus::Approved,
        "the operator allowed that much before"
    );
    known.status = ClientStatus::Pending;
    let (row, _) = replaced(&settings(), &known, &elsewhere).unwrap();
    assert_eq!(row.status, ClientStatus::Pending, "nobody approves themselves");
}

#[test]
fn r17_refused_updates_change_nothing() {
    let bad_redirect = json!({ "redirect_uris": ["javascript:alert(1)"] });
    for (members, status) in [
        (json!({ "client_id": "dcc_2" }), 400),
        (json!({ "client_id": null }), 400),
        (json!({ "client_secret": "chosen" }), 400),
        (json!({ "registration_access_token": TOKEN }), 400),
        (json!({ "client_secret_expires_at": 0 }), 400),
        (json!({ "token_endpoint_auth_method": "none" }), 400),
        (json!({ "token_endpoint_auth_method": "private_key_jwt" }), 400),
        (bad_redirect, 400),
        (json!({ "redirect_uris": [] }), 400),
    ] {
        let refused = replaced(&settings(), &client(), &members).unwrap_err();
        assert_eq!(refused.status(), status, "{members}: {refused}");
    }
    let right = json!({ "client_secret": SECRET });
    replaced(&settings(), &client(), &right).expect("its own secret may be sent");
    let mut off = settings();
    off.registration.mode = RegistrationMode::Off;
    assert_eq!(replaced(&off, &client(), &json!({})).unwrap_err().status(), 403);
    let mut no_secrets = settings();
    no_secrets.registration.confidential = None;
    let refused = replaced(&no_secrets, &client(), &json!({})).unwrap_err();
    assert_eq!(
        refused,
        RegistrationRefusal::AuthMethod.into(),
        "the policy gives none any more"
    );
}

#[test]
fn r17_from_a_secret_to_keys_and_back() {
    let key = doorward_jose::SigningKey::generate().unwrap();
    let keys =
        json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key.public_jwk()] } });
    let (with_key, response) = replaced(&settings(), &client(), &keys).unwrap();
    assert_eq!(
        (with_key.secret, response.client_secret),
        (None, None),
        "the secret is gone"
    );
    let back = json!({ "token_endpoint_auth_method": "client_secret_post" });
    let (with_secret, response) = replaced(&settings(), &with_key, &back).unwrap();
    let told = response.client_secret.expect("a new secret");
    assert_eq!(with_secret.secret, Some(told.digest()));
    assert_ne!(with_secret.secret, client().secret);
    assert_eq!(with_secret.metadata.jwks, None);
}

#[test]
fn r17_rg_04_removing_ends_the_tokens_that_are_out_and_fills_no_feed() {
    let feed = |client: &Client, used| {
        let mut tables = Tables::new();
        tables
            .apply(&Unit::writes(vec![Write::InsertClient(client.clone())]))
            .unwrap();
        tables.apply(&remove(&settings(), client, used, NOW)).unwrap();
        assert_eq!(tables.client(&client.id), None);
        tables
            .revocations_after(0)
            .0
            .into_iter()
            .map(|entry| entry.revoked)
            .collect::<Vec<_>>()
    };
    assert_eq!(feed(&client(), false), []);
    assert_eq!(feed(&client(), true), [Revoked::Client(client().id)]);
    let mut alone = client();
    alone.metadata.grant_types = vec!["client_credentials".into()];
    assert_eq!(
        feed(&alone, false),
        [Revoked::Client(client().id)],
        "its tokens need no grant"
    );
}

#[test]
fn rg_04_an_update_cannot_grow_the_scopes_that_an_operator_approved() {
    let own = |scope: Option<&str>| {
        let mut approved = client();
        approved.status = ClientStatus::Approved;
        approved.approved = Some(NOW);
        approved.metadata.scope = scope.map(str::to_owned);
        approved.metadata.grant_types = vec!["client_credentials".into()];
        approved
    };
    let status = |known: Option<&str>, next: Value| {
        let members = json!({ "grant_types": ["client_credentials"], "scope": next });
        replaced(&settings(), &own(known), &members).unwrap().0.status
    };
    let (granted, waits) = (ClientStatus::Approved, ClientStatus::Pending);
    assert_eq!(status(Some("t:read t:write"), json!("t:read t:write")), granted);
    assert_eq!(status(Some("t:read t:write"), json!("t:read")), granted);
    assert_eq!(status(None, json!("t:read")), granted);
    assert_eq!(status(None, json!(null)), granted);
    assert_eq!(status(Some("t:read"), json!("t:read t:admin")), waits);
    assert_eq!(status(Some("t:read"), json!("t:admin")), waits);
    // None named is all of them.
    assert_eq!(status(Some("t:read"), json!("")), waits);
    assert_eq!(status(Some("t:read"), json!(null)), waits);
}

#[test]
fn rg_04_an_update_does_not_count_as_shown_with_the_operators_token() {
    let mut settings = settings();
    settings.registration.mode = RegistrationMode::Token;
    let status = |client: &Client, members: &Value| replaced(&settings, client, members).unwrap().0.status;
    let elsewhere = json!({ "redirect_uris": ["https://evil.test/cb"] });
    let alone = json!({ "grant_types": ["authorization_code", "client_credentials"] });
    let mut known = client();
    known.status = ClientStatus::Approved;
    known.approved = Some(NOW);
    for grown in [&elsewhere, &alone] {
        assert_eq!(status(&known, grown), ClientStatus::Pending, "{grown}");
    }
    assert_eq!(status(&known, &json!({})), ClientStatus::Approved);
    // What waited since before the mode was changed goes on waiting.
    known.status = ClientStatus::Pending;
    known.approved = None;
    known.metadata.redirect_uris = vec!["https://evil.test/cb".into()];
    assert_eq!(status(&known, &elsewhere), ClientStatus::Pending);
    // What was registered with the token stays as it is.
    known.status = ClientStatus::Approved;
    assert_eq!(status(&known, &elsewhere), ClientStatus::Approved);
}

#[test]
fn r35_what_an_update_gives_up_ends_at_once() {
    let mut alone = client();
    alone.status = ClientStatus::Approved;
    alone.approved = Some(NOW);
    alone.metadata.scope = Some("t:read".into());
    alone.metadata.grant_types = vec!["client_credentials".into()];
    let ended = |members: &Value| {
        let body = update(members).to_string();
        let (bearer, random) = (Secret::new(TOKEN), CountingRandom::default());
        let (unit, _) = replace(&settings(), &alone, bearer, body.as_bytes(), NOW, &random).unwrap();
        unit.writes
            .iter()
            .filter(|write| matches!(write, Write::AppendRevocation { revoked: Revoked::Client(id), .. } if *id == alone.id))
            .count()
    };
    let same = json!({ "grant_types": ["client_credentials"], "scope": "t:read" });
    assert_eq!(ended(&same), 0);
    // It waits again, or it no longer acts alone: removing it later would find nothing to end.
    let wider = json!({ "grant_types": ["client_credentials"], "scope": "t:read t:admin" });
    assert_eq!(ended(&wider), 1);
    assert_eq!(ended(&json!({ "scope": "t:read" })), 1);
}
