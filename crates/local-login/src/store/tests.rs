use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use doorward_client::provider::{ClientInformation, ClientOrigin, Tokens};
use doorward_types::random::SystemRandom;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use super::*;

const ISSUER: &str = "https://auth.example.com";
const RESOURCE: &str = "https://mcp.example.com/mcp";

fn open_at(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, KeySource::File, Arc::new(SystemRandom))
}

pub(super) fn tokens(issuer: &str, resource: &str, access: &str) -> Tokens {
    Tokens {
        issuer: issuer.to_owned(),
        resource: resource.to_owned(),
        client_id: "client".to_owned(),
        access_token: Secret::new(access),
        dpop: false,
        issued_at: None,
        expires_at: Some(UnixTime::from_seconds(1_800_000_000)),
        refresh_token: Some(Secret::new(format!("refresh-{access}"))),
        scope: "notes:read".parse().unwrap(),
        requested: "notes:read notes:write".parse().unwrap(),
    }
}

pub(super) fn entry(user: &str, access: &str) -> TokensEntry {
    TokensEntry::new(
        user,
        RESOURCE,
        &tokens(ISSUER, RESOURCE, access),
        UnixTime::from_seconds(1_700_000_000),
    )
}

fn access(store: &Store, user: &str) -> Option<String> {
    let found = store.tokens(ISSUER, RESOURCE, user).unwrap()?;
    Some(found.tokens().access_token.expose().to_owned())
}

fn record(folder: &Path, kind: &str) -> PathBuf {
    fs::read_dir(folder)
        .unwrap()
        .map(|found| found.unwrap().path())
        .find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(kind) && name.ends_with(".sealed")
        })
        .unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn d2_a25_keeps_tokens_apart_by_issuer_resource_and_user() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path()).unwrap();
    store.save_tokens(&entry("ann", "one")).unwrap();
    store.save_tokens(&entry("bob", "two")).unwrap();
    let again = open_at(folder.path()).unwrap();
    assert_eq!(access(&again, "ann").as_deref(), Some("one"));
    assert_eq!(access(&again, "bob").as_deref(), Some("two"));
    assert_eq!(access(&again, "eve"), None);
    for (issuer, resource) in [
        ("https://auth.example.com/", RESOURCE),
        ("https://AUTH.example.com", RESOURCE),
        (ISSUER, "https://mcp.example.com/mcp/"),
        (ISSUER, "https://mcp.example.com/other"),
    ] {
        assert!(
            again.tokens(issuer, resource, "ann").unwrap().is_none(),
            "{issuer} {resource}"
        );
    }
    let back = again.tokens(ISSUER, RESOURCE, "ann").unwrap().unwrap();
    assert_eq!(back.tokens().requested, "notes:read notes:write".parse().unwrap());
    assert_eq!(back.tokens().refresh_token.unwrap().expose(), "refresh-one");
    assert_eq!(
        back.tokens().expires_at,
        Some(UnixTime::from_seconds(1_800_000_000))
    );
    assert!(again.forget_tokens(ISSUER, RESOURCE, "ann").unwrap());
    assert!(!again.forget_tokens(ISSUER, RESOURCE, "ann").unwrap());
    assert_eq!(access(&store, "ann"), None);
    assert_eq!(access(&store, "bob").as_deref(), Some("two"));
}

#[test]
fn g13_keeps_registrations_by_issuer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path()).unwrap();
    let client = ClientInformation {
        issuer: ISSUER.to_owned(),
        client_id: "one".to_owned(),
        client_secret: Some(Secret::new("hush")),
        token_endpoint_auth_method: Some("client_secret_post".to_owned()),
        redirect_uri: Some("http://127.0.0.1:4000/callback".to_owned()),
        origin: ClientOrigin::Dynamic,
        secret_expires_at: None,
    };
    store
        .save_client(RESOURCE, "ann", &ClientEntry::from(&client))
        .unwrap();
    assert!(
        store
            .client("https://other.example.com", RESOURCE, "ann")
            .unwrap()
            .is_none()
    );
    let back = ClientInformation::from(store.client(ISSUER, RESOURCE, "ann").unwrap().unwrap());
    assert_eq!(back.client_id, "one");
    assert_eq!(back.client_secret, client.client_secret);
    assert_eq!(back.origin, ClientOrigin::Dynamic);
    assert_eq!(back.redirect_uri, client.redirect_uri);
}

#[test]
fn cl_08_a_secret_belongs_to_the_first_issuer_wherever_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path()).unwrap();
    let secret = Secret::new("hush");
    let pin = Pin {
        issuer: ISSUER.to_owned(),
        server: RESOURCE.to_owned(),
        of_secret: true,
    };
    store.save_pin(RESOURCE, "app", Some(&secret), &pin).unwrap();
    let elsewhere = "https://evil.example.net/mcp";
    assert_eq!(
        store.pin(elsewhere, "app", Some(&secret)).unwrap(),
        Some(pin.clone())
    );
    assert_eq!(
        store.pin(elsewhere, "app", Some(&Secret::new("other"))).unwrap(),
        None
    );
    let pin = Pin {
        of_secret: false,
        ..pin
    };
    store.save_pin(RESOURCE, "name", None, &pin).unwrap();
    assert_eq!(store.pin(elsewhere, "name", None).unwrap(), None);
    assert_eq!(store.pin(RESOURCE, "name", None).unwrap(), Some(pin));
    store.forget_pins(RESOURCE).unwrap();
    assert_eq!(store.pin(RESOURCE, "name", None).unwrap(), None);
    let kept = store.pin(elsewhere, "app", Some(&secret)).unwrap();
    assert_eq!(kept.unwrap().issuer, ISSUER, "a secret outlives a logout");
}

#[test]
fn s2_a27_e14_e17_no_secret_is_in_a_file_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path()).unwrap();
    store.save_tokens(&entry("ann", "canary-token")).unwrap();
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for word in ["canary", "example.com", "ann"] {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
    }
    assert!(!format!("{:?}", entry("ann", "canary-token")).contains("canary"));
}

#[test]
fn cl_10_files_are_for_their_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/down");
    let store = open_at(&path).unwrap();
    store.save_tokens(&entry("ann", "one")).unwrap();
    drop(store.lock_file("login", &["x"]).unwrap());
    assert_eq!(mode(&path), 0o700);
    let mut count = 0;
    for file in fs::read_dir(&path).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        count += 1;
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn cl_10_links_lead_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("store");
    symlink(outside.path(), &link).unwrap();
    assert!(matches!(open_at(&link), Err(StoreError::Link(path)) if path == link));

    let path = folder.path().join("real");
    let store = open_at(&path).unwrap();
    store.save_tokens(&entry("ann", "one")).unwrap();
    let file = record(&path, "tokens");
    let target = outside.path().join("target");
    fs::rename(&file, &target).unwrap();
    symlink(&target, &file).unwrap();
    let error = store.tokens(ISSUER, RESOURCE, "ann").unwrap_err();
    assert!(matches!(&error, StoreError::Link(at) if *at == file), "{error}");
    let before = fs::read(&target).unwrap();
    assert!(matches!(
        store.save_tokens(&entry("ann", "two")),
        Err(StoreError::Link(_))
    ));
    assert_eq!(fs::read(&target).unwrap(), before);

    // Under the name that a new record has before it is finished, a link is simply removed.
    fs::remove_file(&file).unwrap();
    let mut planted = file.into_os_string();
    planted.push(".new");
    symlink(&target, &planted).unwrap();
    store.save_tokens(&entry("ann", "three")).unwrap();
    assert_eq!(fs::read(&target).unwrap(), before);
    assert_eq!(access(&store, "ann").as_deref(), Some("three"));
}

#[test]
fn cl_10_what_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open_at(&path).unwrap();
    store.save_tokens(&entry("ann", "one")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o750)).unwrap();
    let error = open_at(&path).unwrap_err();
    assert!(
        matches!(error, StoreError::TooOpen { mode: 0o750, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("chmod go-rwx"), "{error}");
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let key = path.join("store.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        open_at(&path),
        Err(StoreError::TooOpen { mode: 0o644, .. })
    ));
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(record(&path, "tokens"), Permissions::from_mode(0o640)).unwrap();
    let store = open_at(&path).unwrap();
    assert!(matches!(
        store.tokens(ISSUER, RESOURCE, "ann"),
        Err(StoreError::TooOpen { mode: 0o640, .. })
    ));
}

#[test]
fn refuses_what_is_no_folder_or_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(open_at(&file), Err(StoreError::NotAFolder(_))));
    let path = folder.path().join("store");
    let store = open_at(&path).unwrap();
    store.save_tokens(&entry("ann", "one")).unwrap();
    let tokens = record(&path, "tokens");
    fs::remove_file(&tokens).unwrap();
    fs::create_dir(&tokens).unwrap();
    assert!(matches!(
        store.tokens(ISSUER, RESOURCE, "ann"),
        Err(StoreError::NotAFile(_))
    ));
    fs::remove_dir(&tokens).unwrap();
    // It must not hold anybody up.
    let made = std::process::Command::new("mkfifo")
        .arg(&tokens)
        .status()
        .unwrap();
    assert!(made.success());
    assert!(store.tokens(ISSUER, RESOURCE, "ann").is_err());
}

#[test]
fn a_damaged_record_is_told_and_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path()).unwrap();
    store.save_tokens(&entry("ann", "one")).unwrap();
    let anns = record(folder.path(), "tokens");
    store.save_tokens(&entry("bob", "two")).unwrap();
    let good = fs::read(&anns).unwrap();
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    for bad in [&b""[..], b"{}", &good[..good.len() / 2], &good[..20], &changed] {
        fs::write(&anns, bad).unwrap();
        let error = store.tokens(ISSUER, RESOURCE, "ann").unwrap_err();
        assert!(
            matches!(&error, StoreError::Damaged(path) if *path == anns),
            "{error}"
        );
    }
    let kept = store.all_tokens().unwrap();
    assert_eq!(kept.tokens.len(), 1);
    assert_eq!(kept.tokens[0].user, "bob");
    assert_eq!(kept.unreadable.len(), 1);
    // Logging in again puts it right.
    store.save_tokens(&entry("ann", "three")).unwrap();
    assert_eq!(access(&store, "ann").as_deref(), Some("three"));
}

#[test]
fn a_record_in_the_place_of_another_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path()).unwrap();
    store.save_tokens(&entry("ann", "one")).unwrap();
    let anns = record(folder.path(), "tokens");
    let kept = fs::read(&anns).unwrap();
    store.forget_tokens(ISSUER, RESOURCE, "ann").unwrap();
    store.save_tokens(&entry("bob", "two")).unwrap();
    fs::write(record(folder.path(), "tokens"), kept).unwrap();
    assert!(matches!(
        store.tokens(ISSUER, RESOURCE, "bob"),
        Err(StoreError::Damaged(_))
    ));
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path()).unwrap();
    store.save_tokens(&entry("ann", "one")).unwrap();
    let file = record(folder.path(), "tokens");
    let text = b"doorward store 2\nwhatever it is".to_vec();
    fs::write(&file, &text).unwrap();
    let error = store.tokens(ISSUER, RESOURCE, "ann").unwrap_err();
    assert!(
        matches!(&error, StoreError::Newer { found, .. } if found == "2"),
        "{error}"
    );
    assert_eq!(fs::read(&file).unwrap(), text);
}

#[test]
fn a_lost_or_changed_key_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path()).unwrap();
    store.save_tokens(&entry("ann", "one")).unwrap();
    let key = folder.path().join("store.key");
    fs::remove_file(&key).unwrap();
    assert!(matches!(open_at(folder.path()), Err(StoreError::KeyMissing(_))));
    fs::write(&key, "not a key").unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(open_at(folder.path()), Err(StoreError::KeyDamaged(_))));
    let other = MasterKey::generate(&SystemRandom);
    fs::write(&key, other.to_text().expose()).unwrap();
    let store = open_at(folder.path()).unwrap();
    let kept = store.all_tokens().unwrap();
    assert!(
        matches!(kept.unreadable[..], [StoreError::OtherKey(_)]),
        "{kept:?}"
    );
}

#[test]
fn finds_the_folder_of_the_platform() {
    let home = || Some(OsString::from("/home/ann"));
    assert_eq!(
        default_folder(home(), Some("/data".into())).unwrap(),
        Path::new("/data/doorward")
    );
    for relative in [None, Some("data".into()), Some("".into())] {
        let found = default_folder(home(), relative).unwrap();
        assert!(
            found.starts_with("/home/ann") && found.ends_with("doorward"),
            "{found:?}"
        );
    }
    assert!(matches!(default_folder(None, None), Err(StoreError::NoHome)));
}
