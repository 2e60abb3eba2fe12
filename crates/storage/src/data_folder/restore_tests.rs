use std::os::unix::fs::PermissionsExt as _;

use doorward_records::device::DeviceState;
use doorward_records::facts::GrantFilter;
use doorward_records::key::{KeyPurpose, KeyState};
use doorward_records::revocation::Revoked;
use doorward_records::{Unit, Write};
use doorward_types::random::SystemRandom;
use doorward_types::time::UnixTime;

use super::*;
use crate::contract::sample::{self, at, client_id, digest, user_id};
use crate::store::Store;

const NOW: UnixTime = UnixTime::from_seconds(1_900_000_000);

async fn write(folder: &DataFolder, writes: Vec<Write>) {
    folder.store().commit(Unit::writes(writes)).await.unwrap();
}

/// alice, bob and carol, three clients, and everything that a token can come from.
async fn full(path: &Path) -> DataFolder {
    let folder = DataFolder::open_or_create(path, &SystemRandom).unwrap();
    let grant = sample::grant(0, 0, 0);
    write(
        &folder,
        vec![
            Write::InsertUser(sample::user(0, "alice")),
            Write::InsertUser(sample::user(1, "bob")),
            Write::InsertUser(sample::user(2, "carol")),
            Write::InsertClient(sample::client(0)),
            Write::InsertClient(sample::client(1)),
            Write::InsertClient(sample::client(3)),
            Write::InsertGrant(grant.clone()),
            Write::InsertCode(sample::code(0, &grant)),
            Write::InsertFamily(sample::family(0, &grant)),
            Write::InsertRefreshToken(sample::refresh_token(0, 0, 0)),
            Write::InsertSession(sample::session(0, 0)),
            Write::InsertSetupLink(sample::setup_link(0, 0)),
            Write::InsertDeviceAuthorization(sample::device_authorization(0, 0, DeviceState::Pending)),
            Write::InsertAuthenticator(sample::authenticator(0, 0)),
            Write::InsertAuthenticator(sample::authenticator(1, 0)),
            Write::InsertKey(sample::key(0, KeyPurpose::AccessToken, KeyState::Active)),
            Write::InsertKey(sample::key(1, KeyPurpose::RefreshToken, KeyState::Active)),
        ],
    )
    .await;
    folder
}

fn revoke(n: u64) -> Write {
    Write::AppendRevocation {
        revoked: Revoked::User(user_id(n)),
        at: at(1),
        expires: NOW,
    }
}

/// Nothing that was handed out before is good.
async fn revives_nothing(folder: &DataFolder) {
    let store = folder.store();
    assert_eq!(store.keys().await.unwrap(), []);
    assert_eq!(store.grants(GrantFilter::All).await.unwrap(), []);
    assert_eq!(store.code(digest("code", 0)).await.unwrap(), None);
    assert_eq!(store.refresh_token(digest("refresh", 0)).await.unwrap(), None);
    assert_eq!(store.session(digest("session", 0)).await.unwrap(), None);
    assert_eq!(store.setup_link(digest("setup", 0)).await.unwrap(), None);
    let device = store.device_authorization(digest("device", 0)).await;
    assert_eq!(device.unwrap(), None);
    let (feed, highest) = store.revocations_after(0).await.unwrap();
    let last = feed.last().unwrap();
    assert_eq!((&last.revoked, last.sequence), (&Revoked::Everything, highest));
    assert!(store.meta(EPOCH).await.unwrap().is_some());
}

#[tokio::test]
async fn a_restore_keeps_what_happened_since_and_revives_nothing() {
    let outer = tempfile::tempdir().unwrap();
    let (path, file) = (outer.path().join("data"), outer.path().join("backup"));
    let folder = full(&path).await;
    folder.backup(&file, false, NOW).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(matches!(
        folder.backup(&file, false, NOW),
        Err(DataFolderError::BackupExists(_))
    ));
    // Since then: bob is disabled, carol removed, a client removed, another one switched off, a passkey removed.
    let mut bob = sample::user(1, "bob");
    bob.disabled = true;
    bob.groups = Vec::new();
    write(
        &folder,
        vec![
            Write::UpdateUser(bob.clone()),
            Write::DeleteUser(user_id(2)),
            Write::DeleteClient(client_id(1)),
            Write::SetClientStatus(client_id(3), doorward_records::client::ClientStatus::Disabled),
            Write::DeleteAuthenticator(sample::authenticator_id(0)),
            Write::InsertReplay(sample::replay(0)),
            revoke(0),
            revoke(1),
            revoke(2),
        ],
    )
    .await;
    let mut app = sample::authenticator(1, 0);
    app.counter = 77;
    write(&folder, vec![Write::UpdateAuthenticator(app.clone())]).await;
    assert!(matches!(
        restore(&path, &file, None, NOW, &SystemRandom),
        Err(DataFolderError::InUse(_))
    ));
    drop(folder);

    let restored = restore(&path, &file, None, NOW, &SystemRandom).unwrap();
    assert_eq!((restored.users, restored.clients, restored.merged), (2, 2, true));
    assert_eq!(restored.taken, Some(NOW));
    let aside = restored.aside.unwrap();
    assert!(aside.join(DATABASE).exists() && aside.join(KEY).exists());
    let folder = DataFolder::open(&path).unwrap();
    revives_nothing(&folder).await;
    let store = folder.store();
    assert_eq!(store.user(user_id(1)).await.unwrap(), Some(bob));
    assert_eq!(store.user(user_id(2)).await.unwrap(), None);
    let switched_off = store.client(&client_id(3)).await.unwrap().unwrap();
    assert_eq!(
        switched_off.status,
        doorward_records::client::ClientStatus::Disabled
    );
    assert_eq!(store.authenticators().await.unwrap(), [app]);
    assert!(store.replay(digest("jti", 0)).await.unwrap().is_some());
    assert_eq!(
        store.revocations_after(0).await.unwrap().1,
        4,
        "after the three of since"
    );
    // The files that were kept are the database of before.
    std::fs::copy(path.join("doorward.lock"), aside.join("doorward.lock")).unwrap();
    let before = DataFolder::open(&aside).unwrap();
    assert_eq!(before.store().keys().await.unwrap().len(), 2);
}

/// Who turned on a second factor after the backup did so because a password was not enough.
#[tokio::test]
async fn a_second_factor_of_since_is_not_lost() {
    let outer = tempfile::tempdir().unwrap();
    let (path, file) = (outer.path().join("data"), outer.path().join("backup"));
    let folder = full(&path).await;
    folder.backup(&file, true, NOW).unwrap();
    let since = sample::authenticator(4, 1);
    write(&folder, vec![Write::InsertAuthenticator(since.clone())]).await;
    drop(folder);
    let restored = restore(&path, &file, None, NOW, &SystemRandom).unwrap();
    assert_eq!(
        (restored.weakened, restored.older_key),
        (Vec::<String>::new(), false)
    );
    let folder = DataFolder::open(&path).unwrap();
    let kept = folder.store().authenticators_of(user_id(1)).await.unwrap();
    assert_eq!(kept, [since]);

    // Under another master key it cannot be kept: whoever restores is told whose it was.
    drop(folder);
    let folder = DataFolder::open_alone(&path).unwrap();
    let new = MasterKey::generate(&SystemRandom);
    folder.replace_master_key(&new, Unit::default()).await.unwrap();
    let restored = restore(
        &path,
        &file,
        None,
        NOW.plus(std::time::Duration::from_secs(1)),
        &SystemRandom,
    )
    .unwrap();
    assert_eq!(
        (restored.weakened, restored.older_key),
        (vec!["bob".to_owned()], true)
    );
}

#[tokio::test]
async fn a_lost_folder_comes_back_from_the_file_and_the_key() {
    let outer = tempfile::tempdir().unwrap();
    let (path, other) = (outer.path().join("data"), outer.path().join("other"));
    let (sealed, whole) = (outer.path().join("sealed"), outer.path().join("whole"));
    let folder = full(&path).await;
    folder.backup(&sealed, false, NOW).unwrap();
    folder.backup(&whole, true, NOW).unwrap();
    let id = folder.master_key().id();
    let key = std::fs::read_to_string(path.join(KEY)).unwrap();
    let holds_key = |file: &Path| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(43).any(|window| window == key.trim().as_bytes())
    };
    assert_eq!((holds_key(&sealed), holds_key(&whole)), (false, true));

    let missing = restore(&other, &sealed, None, NOW, &SystemRandom).unwrap_err();
    assert!(matches!(missing, DataFolderError::BackupKey(_)), "{missing}");
    let foreign = MasterKey::generate(&SystemRandom);
    let foreign = restore(&other, &sealed, Some(foreign), NOW, &SystemRandom).unwrap_err();
    assert!(matches!(foreign, DataFolderError::BackupKey(_)), "{foreign}");
    assert!(matches!(
        DataFolder::open(&other),
        Err(DataFolderError::Absent(_))
    ));

    let given = MasterKey::parse(&key).unwrap();
    let restored = restore(&other, &sealed, Some(given), NOW, &SystemRandom).unwrap();
    assert_eq!(
        (restored.users, restored.merged, restored.aside),
        (3, false, None)
    );
    let found = DataFolder::open(&other).unwrap();
    assert_eq!(found.master_key().id(), id);
    revives_nothing(&found).await;
    drop(found);

    // Over a folder that was made anew meanwhile: another installation, whose accounts say nothing about ours.
    let third = outer.path().join("third");
    drop(DataFolder::open_or_create(&third, &SystemRandom).unwrap());
    let restored = restore(&third, &whole, None, NOW, &SystemRandom).unwrap();
    assert_eq!((restored.users, restored.merged), (3, false));
    let found = DataFolder::open(&third).unwrap();
    assert_eq!(found.master_key().id(), id);
    revives_nothing(&found).await;
    assert!(
        !holds_key(&third.join(DATABASE)),
        "the key does not stay in the database"
    );
}

#[tokio::test]
async fn ft_09_what_is_no_backup_is_refused_and_nothing_is_touched() {
    let outer = tempfile::tempdir().unwrap();
    let (path, file) = (outer.path().join("data"), outer.path().join("backup"));
    let folder = full(&path).await;
    folder.backup(&file, true, NOW).unwrap();
    drop(folder);
    let whole = std::fs::read(&file).unwrap();
    let bad = outer.path().join("bad");
    let mut flipped = whole.clone();
    flipped[100] ^= 0x40;
    let database = std::fs::read(path.join(DATABASE)).unwrap();
    for bytes in [&whole[..whole.len() / 2], &flipped, &database, b"text", b""] {
        std::fs::write(&bad, bytes).unwrap();
        let refused = restore(&path, &bad, None, NOW, &SystemRandom).unwrap_err();
        assert!(matches!(refused, DataFolderError::Backup { .. }), "{refused}");
    }
    let refused = restore(&path, &outer.path().join("none"), None, NOW, &SystemRandom).unwrap_err();
    assert!(matches!(refused, DataFolderError::BackupAbsent(_)));
    let folder = DataFolder::open(&path).unwrap();
    assert_eq!(folder.store().keys().await.unwrap().len(), 2);
    drop(folder);

    // A backup that is merely copied into place would revive everything.
    std::fs::copy(&file, path.join(DATABASE)).unwrap();
    let refused = DataFolder::open(&path).unwrap_err();
    assert!(
        matches!(
            &refused,
            DataFolderError::Database {
                why: OpenError::IsABackup,
                ..
            }
        ),
        "{refused}"
    );
}

/// The database was damaged: what it knew is lost, what the backup holds comes back.
#[tokio::test]
async fn a_damaged_database_is_replaced_and_kept() {
    let outer = tempfile::tempdir().unwrap();
    let (path, file) = (outer.path().join("data"), outer.path().join("backup"));
    let folder = full(&path).await;
    folder.backup(&file, false, NOW).unwrap();
    drop(folder);
    let database = path.join(DATABASE);
    let whole = std::fs::read(&database).unwrap();
    std::fs::write(&database, &whole[..whole.len() / 2]).unwrap();
    std::fs::write(path.join("doorward.db-wal"), b"of the damaged one").unwrap();
    let restored = restore(&path, &file, None, NOW, &SystemRandom).unwrap();
    assert!(!restored.merged);
    let aside = restored.aside.unwrap();
    assert_eq!(
        std::fs::read(aside.join(DATABASE)).unwrap().len(),
        whole.len() / 2
    );
    revives_nothing(&DataFolder::open(&path).unwrap()).await;
}

#[tokio::test]
async fn ft_05_a_master_key_that_was_not_finished_is_settled() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("data");
    let folder = full(&path).await;
    let old = folder.master_key().id();
    let together = DataFolder::open(&path).unwrap();
    assert!(matches!(
        DataFolder::open_alone(&path),
        Err(DataFolderError::InUse(_))
    ));
    drop((folder, together));

    // Killed after the new key was written: the old one is in use, and the new one goes.
    let new = MasterKey::generate(&SystemRandom);
    files::write_new(&path.join(NEW_KEY), new.to_text().expose().as_bytes()).unwrap();
    assert_eq!(DataFolder::open(&path).unwrap().master_key().id(), old);
    assert!(!path.join(NEW_KEY).exists());

    // Killed after the commit: the new one is in use.
    let before = std::fs::read(path.join(KEY)).unwrap();
    let folder = DataFolder::open_alone(&path).unwrap();
    folder.replace_master_key(&new, Unit::default()).await.unwrap();
    std::fs::rename(path.join(KEY), path.join(NEW_KEY)).unwrap();
    std::fs::write(path.join(KEY), before).unwrap();
    std::fs::set_permissions(path.join(KEY), std::fs::Permissions::from_mode(0o600)).unwrap();
    let folder = DataFolder::open(&path).unwrap();
    assert_eq!(folder.master_key().id(), new.id());
    assert!(!path.join(NEW_KEY).exists());
    drop(folder);

    // A unit that cannot be applied leaves everything as it was.
    let folder = DataFolder::open_alone(&path).unwrap();
    let third = MasterKey::generate(&SystemRandom);
    let impossible = Unit::writes(vec![Write::ReplaceSealed(sample::key_id(9), Vec::new())]);
    let refused = folder.replace_master_key(&third, impossible).await;
    assert!(matches!(refused, Err(DataFolderError::KeyNotReplaced(_))));
    assert_eq!(DataFolder::open(&path).unwrap().master_key().id(), new.id());
}
