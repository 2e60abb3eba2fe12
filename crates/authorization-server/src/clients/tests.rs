use doorward_records::model::Tables;
use doorward_types::random::CountingRandom;
use serde_json::json;

use super::*;
use crate::fixture::{self, NOW};

fn app(id: &str) -> Definition {
    Definition {
        id: id.into(),
        redirect_uris: vec!["https://app.example/cb".into()],
        ..Definition::default()
    }
}

fn secret() -> Credential {
    Credential::Secret(Secret::new("0123456789abcdef0123456789abcdef").digest())
}

fn configured(definition: &Definition) -> Client {
    judge(definition, ClientOrigin::Configured, &[]).unwrap()
}

fn tables(clients: &[Client]) -> Tables {
    let mut tables = Tables::new();
    let writes = clients.iter().cloned().map(Write::InsertClient).collect();
    tables.apply(&Unit::writes(writes)).unwrap();
    tables
}

fn feed(tables: &Tables) -> Vec<Revoked> {
    let entries = tables.revocations_after(0).0;
    assert!(
        entries
            .iter()
            .all(|entry| entry.expires >= NOW.plus(KEPT_AT_LEAST))
    );
    entries.into_iter().map(|entry| entry.revoked).collect()
}

#[test]
fn r17_a_definition_becomes_a_client() {
    let client = judge(&app("ide"), ClientOrigin::Operator, &[]).unwrap();
    assert_eq!(
        client.metadata.grant_types,
        ["authorization_code", "refresh_token"]
    );
    assert_eq!(client.metadata.token_endpoint_auth_method, "none");
    assert_eq!((client.servers, client.secret), (None, None));

    let key = doorward_jose::SigningKey::generate().unwrap();
    let service = Definition {
        credential: Credential::Keys(json!({ "keys": [key.public_jwk()] })),
        grant_types: vec!["client_credentials".into()],
        servers: Some(vec!["files".into()]),
        introspects: vec!["files".into()],
        scope: Some("files".into()),
        redirect_uris: Vec::new(),
        ..app("service")
    };
    let client = judge(&service, ClientOrigin::Configured, &[]).unwrap();
    assert_eq!(client.metadata.token_endpoint_auth_method, "private_key_jwt");
    assert!(client.metadata.jwks.is_some() && client.metadata.response_types.is_empty());
    assert_eq!(client.introspects, ["files"]);
}

#[test]
fn r17_definitions_that_could_be_mistaken_or_do_nothing_are_refused() {
    let uuid = "0198c0de-0000-7000-8000-000000000000";
    let long = "a".repeat(MAX_ID + 1);
    for id in [
        "",
        "a b",
        "client:x",
        "https://c.test/x",
        "dcr_x",
        "dcc_x",
        "\u{e4}",
        "a/b",
        uuid,
        &long,
    ] {
        assert_eq!(
            judge(&app(id), ClientOrigin::Operator, &[]).unwrap_err(),
            DefinitionProblem::Id,
            "{id}"
        );
    }
    let with = |change: &dyn Fn(&mut Definition)| {
        let mut definition = app("c");
        change(&mut definition);
        judge(&definition, ClientOrigin::Operator, &[]).unwrap_err()
    };
    let grants = |grants: &[&str]| grants.iter().map(|&grant| grant.to_owned()).collect::<Vec<_>>();
    assert!(matches!(
        with(&|d| d.redirect_uris = vec!["javascript:alert(1)".into()]),
        DefinitionProblem::Redirect(_)
    ));
    assert_eq!(with(&|d| d.redirect_uris.clear()), DefinitionProblem::Nothing);
    assert_eq!(
        with(&|d| d.grant_types = grants(&["password"])),
        DefinitionProblem::GrantType
    );
    assert_eq!(
        with(&|d| d.grant_types = grants(&["refresh_token"])),
        DefinitionProblem::GrantType
    );
    assert_eq!(
        with(&|d| d.grant_types = grants(&["client_credentials"])),
        DefinitionProblem::Public("client_credentials")
    );
    assert_eq!(
        with(&|d| d.introspects = vec!["files".into()]),
        DefinitionProblem::Public("introspection")
    );
    assert_eq!(
        with(&|d| d.scope = Some("a  \"b".into())),
        DefinitionProblem::Scope
    );
    assert_eq!(
        with(&|d| d.credential = Credential::KeysAt("http://c.test/jwks".into())),
        KeyProblem::Address.into()
    );
    assert_eq!(
        with(&|d| {
            d.redirect_uris.clear();
            d.grant_types = grants(&["authorization_code"]);
        }),
        DefinitionProblem::NoRedirect
    );
}

#[test]
fn r17_new_ids_and_secrets_are_good_and_never_the_same() {
    let random = CountingRandom::default();
    let (one, two) = (new_id(&random), new_id(&random));
    assert!(one != two && one.len() == 26);
    assert_eq!(check_id(&one), Ok(()));
    assert_ne!(generate_secret(&random), generate_secret(&random));
}

#[test]
fn r17_an_approved_client_is_never_forgotten() {
    let mut client = fixture::client(&["https://c1.test/cb"]);
    client.status = ClientStatus::Pending;
    let mut tables = tables(std::slice::from_ref(&client));
    tables.apply(&approve(&client, NOW)).unwrap();
    assert!(tables.apply(&approve(&client, NOW)).is_err(), "it changed since");
    let years = NOW.plus(Duration::from_hours(24 * 365 * 3));
    tables
        .apply(&crate::sweep::unit(&Lifetimes::default(), years))
        .unwrap();
    let kept = tables
        .client(&client.id)
        .expect("still there after three unused years");
    assert_eq!(kept.status, ClientStatus::Approved);
}

#[test]
fn r35_rt_06_switching_off_ends_what_is_out_and_lasts() {
    let client = fixture::client(&["http://127.0.0.1/cb"]);
    let mut tables = tables(std::slice::from_ref(&client));
    tables
        .apply(&disable(&client, &Lifetimes::default(), NOW))
        .unwrap();
    assert_eq!(tables.client(&client.id).unwrap().status, ClientStatus::Disabled);
    assert_eq!(feed(&tables), [Revoked::Client(client.id.clone())]);
    let years = NOW.plus(Duration::from_hours(24 * 365 * 3));
    tables
        .apply(&crate::sweep::unit(&Lifetimes::default(), years))
        .unwrap();
    let disabled = tables.client(&client.id).expect("the memory is the point");
    tables.apply(&enable(&disabled, years)).unwrap();
    assert_eq!(tables.client(&client.id).unwrap().status, ClientStatus::Approved);
}

#[test]
fn rt_06_removing_and_revoking_tell_the_feed() {
    let client = fixture::client(&["http://127.0.0.1/cb"]);
    let mut tables = tables(std::slice::from_ref(&client));
    tables
        .apply(&revoke(&client, &[], &Lifetimes::default(), NOW))
        .unwrap();
    assert_eq!(tables.client(&client.id), Some(client.clone()), "it stays");
    let unit = remove(&client, &Lifetimes::default(), NOW);
    tables.apply(&unit).unwrap();
    assert_eq!(tables.client(&client.id), None);
    let entry = Revoked::Client(client.id);
    assert_eq!(feed(&tables), [entry.clone(), entry]);
    assert!(tables.apply(&unit).is_err());
}

#[test]
fn r17_a_secret_is_replaced_at_once() {
    let random = CountingRandom::default();
    let client = judge(
        &Definition {
            credential: secret(),
            ..app("c")
        },
        ClientOrigin::Operator,
        &[],
    )
    .unwrap();
    let mut tables = tables(std::slice::from_ref(&client));
    let lifetimes = Lifetimes::default();
    let (told, unit) = rotate_secret(&client, &lifetimes, NOW, &random).unwrap();
    let before = feed(&tables).len();
    tables.apply(&unit).unwrap();
    assert_eq!(
        feed(&tables).len(),
        before + 1,
        "what was got with the old one ends"
    );
    assert_eq!(tables.client(&client.id).unwrap().secret, Some(told.digest()));
    assert_ne!(client.secret, Some(told.digest()));
    assert_eq!(
        rotate_secret(
            &fixture::client(&["http://localhost/cb"]),
            &lifetimes,
            NOW,
            &random
        ),
        None
    );
}

/// What the file says is what there is: each step is a file, and what the client is after it.
#[test]
fn r17_r35_clients_of_the_file_follow_it_but_not_out_of_the_kill_switch() {
    let lifetimes = Lifetimes::default();
    let mut tables = Tables::new();
    let id = ClientId::new("ide");
    let read = |tables: &mut Tables, file: &[Definition]| {
        let defined = file.iter().map(configured).collect();
        let changes = configure(&tables.clients(), defined, &lifetimes, NOW).unwrap();
        for unit in &changes.units {
            tables.apply(unit).unwrap();
        }
        let again = configure(
            &tables.clients(),
            file.iter().map(configured).collect(),
            &lifetimes,
            NOW,
        )
        .unwrap();
        assert_eq!(again.units, [], "the same file changes nothing");
        (changes.switched_off.len(), changes.withdrawn.len())
    };
    let status = |tables: &Tables| tables.client(&id).unwrap().status;

    assert_eq!(read(&mut tables, &[app("ide")]), (0, 0));
    assert_eq!(status(&tables), ClientStatus::Approved);
    let renamed = Definition {
        name: Some("IDE".into()),
        credential: secret(),
        ..app("ide")
    };
    read(&mut tables, &[renamed]);
    let row = tables.client(&id).unwrap();
    assert_eq!(
        (row.metadata.client_name.as_deref(), row.secret.is_some()),
        (Some("IDE"), true)
    );
    assert_eq!(feed(&tables), []);

    assert_eq!(read(&mut tables, &[]), (0, 1));
    assert_eq!(status(&tables), ClientStatus::Disabled);
    assert_eq!(feed(&tables), [Revoked::Client(id.clone())]);
    assert!(is_withdrawn(&tables.client(&id).unwrap()));
    assert_eq!(read(&mut tables, &[app("ide")]), (0, 0));
    assert_eq!(
        status(&tables),
        ClientStatus::Approved,
        "back in the file, back in use"
    );

    let switch_off = |tables: &mut Tables| {
        let unit = disable(&tables.client(&id).unwrap(), &lifetimes, NOW);
        tables.apply(&unit).unwrap();
    };
    switch_off(&mut tables);
    assert_eq!(
        read(&mut tables, &[app("ide")]),
        (1, 0),
        "a start does not undo the kill switch"
    );
    assert_eq!(status(&tables), ClientStatus::Disabled);
    read(&mut tables, &[]);
    assert_eq!(read(&mut tables, &[app("ide")]), (1, 0), "nor does a way round");
    assert_eq!(status(&tables), ClientStatus::Disabled);
    let unit = enable(&tables.client(&id).unwrap(), NOW);
    tables.apply(&unit).unwrap();
    assert_eq!(read(&mut tables, &[app("ide")]), (0, 0));
    assert_eq!(status(&tables), ClientStatus::Approved);

    read(&mut tables, &[]);
    switch_off(&mut tables);
    assert_eq!(
        read(&mut tables, &[app("ide")]),
        (1, 0),
        "switched off while it was out of the file"
    );
    assert_eq!(status(&tables), ClientStatus::Disabled);
}

/// A token carries what its client might have when it was issued: one that is out may not do more than the client.
#[test]
fn r35_b27_what_the_file_takes_from_a_client_its_tokens_lose_too() {
    let mut tables = Tables::new();
    let narrower = |tables: &mut Tables, file: &Definition| {
        let before = feed(tables).len();
        let changes = configure(
            &tables.clients(),
            vec![configured(file)],
            &Lifetimes::default(),
            NOW,
        );
        for unit in changes.unwrap().units {
            tables.apply(&unit).unwrap();
        }
        feed(tables).len() > before
    };
    let with = |scope: Option<&str>, servers: Option<&[&str]>| Definition {
        scope: scope.map(str::to_owned),
        servers: servers.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        ..app("ide")
    };
    for (definition, loses) in [
        (with(None, None), false),
        (with(Some("read write"), None), true),
        (with(Some("read write delete"), None), false),
        (with(Some("read"), None), true),
        (with(Some("write"), None), true),
        (with(None, None), false),
        (with(None, Some(&["a", "b"])), true),
        (with(None, Some(&["a", "b", "c"])), false),
        (with(None, Some(&["b"])), true),
        (with(None, None), false),
        (
            Definition {
                grant_types: vec!["authorization_code".into()],
                ..app("ide")
            },
            true,
        ),
        (app("ide"), false),
        (
            Definition {
                credential: secret(),
                ..app("ide")
            },
            false,
        ),
        (
            Definition {
                credential: Credential::Secret(Digest::of(b"another")),
                ..app("ide")
            },
            true,
        ),
    ] {
        assert_eq!(narrower(&mut tables, &definition), loses, "{definition:?}");
    }
}

#[test]
fn r35_a_key_more_ends_no_token_and_a_key_less_does() {
    let keys: Vec<_> = (0..2)
        .map(|_| doorward_jose::SigningKey::generate().unwrap())
        .collect();
    let registered = |which: &[usize]| {
        let keys: Vec<_> = which.iter().map(|index| keys[*index].public_jwk()).collect();
        configured(&Definition {
            credential: Credential::Keys(json!({ "keys": keys })),
            ..app("nightly")
        })
    };
    for (before, after, ends) in [
        (&[0][..], &[0, 1][..], false),
        (&[0, 1], &[1, 0], false),
        (&[0, 1], &[1], true),
        (&[0], &[1], true),
    ] {
        assert_eq!(
            loses(&registered(before), &registered(after)),
            ends,
            "{before:?} {after:?}"
        );
    }
    let plain = configured(&app("nightly"));
    assert!(loses(&registered(&[0]), &plain) && !loses(&plain, &registered(&[0])));
}

#[test]
fn r17_the_file_takes_no_client_of_another_origin_over() {
    let operators = judge(&app("ide"), ClientOrigin::Operator, &[]).unwrap();
    let refused = configure(
        &[operators],
        vec![configured(&app("ide"))],
        &Lifetimes::default(),
        NOW,
    );
    assert_eq!(refused.unwrap_err(), IdTaken(ClientId::new("ide")));
}
