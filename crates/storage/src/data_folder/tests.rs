use std::os::unix::fs::PermissionsExt as _;

use doorward_records::model::Tables;
use doorward_records::revocation::Revoked;
use doorward_records::{Unit, Write};
use doorward_types::id::ClientId;
use doorward_types::random::SystemRandom;
use doorward_types::time::UnixTime;

use super::*;
use crate::store::Store;

fn revoke() -> Unit {
    let revoked = Revoked::Client(ClientId::new("c"));
    let now = UnixTime::from_seconds(1);
    Unit::writes(vec![Write::AppendRevocation {
        revoked,
        at: now,
        expires: now,
    }])
}

/// A folder with one revocation in it, closed.
async fn used(path: &Path) {
    let folder = DataFolder::open_or_create(path, &SystemRandom).unwrap();
    folder.store().commit(revoke()).await.unwrap();
}

async fn is_used(folder: &DataFolder) -> bool {
    let mut tables = Tables::new();
    tables.apply(&revoke()).unwrap();
    folder.store().revocations_after(0).await.unwrap() == tables.revocations_after(0)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The refusal, twice: once with and once without leave to create.
fn refusal(path: &Path) -> DataFolderError {
    let refused = DataFolder::open_or_create(path, &SystemRandom).unwrap_err();
    let again = DataFolder::open(path).unwrap_err();
    assert_eq!(refused.to_string(), again.to_string());
    refused
}

#[tokio::test]
async fn makes_a_folder_that_only_its_owner_can_read() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("deep/doorward-data");
    assert!(matches!(DataFolder::open(&path), Err(DataFolderError::Absent(_))));
    used(&path).await;
    assert_eq!(mode(&path), 0o700);
    let mut names: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["doorward.db", "doorward.lock", "master.key"]);
    let folder = DataFolder::open(&path).unwrap();
    folder.store().commit(revoke()).await.unwrap();
    for entry in std::fs::read_dir(&path).unwrap() {
        assert_eq!(
            mode(&entry.unwrap().path()),
            0o600,
            "also the log beside the database"
        );
    }
}

#[tokio::test]
async fn opens_again_with_the_same_key_and_rows() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("data");
    used(&path).await;
    let first = DataFolder::open_or_create(&path, &SystemRandom).unwrap();
    let second = DataFolder::open(&path).unwrap();
    assert_eq!(first.master_key().id(), second.master_key().id());
    assert!(is_used(&second).await);
}

#[tokio::test]
async fn an_empty_folder_is_used() {
    let outer = tempfile::tempdir().unwrap();
    assert!(matches!(
        DataFolder::open(outer.path()),
        Err(DataFolderError::Absent(_))
    ));
    used(outer.path()).await;
    assert!(is_used(&DataFolder::open(outer.path()).unwrap()).await);
}

#[tokio::test]
async fn ft_09_one_file_without_the_other_is_refused_and_left_alone() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("data");
    used(&path).await;
    let aside = outer.path().join("aside");
    for name in [DATABASE, KEY] {
        std::fs::rename(path.join(name), &aside).unwrap();
        let refused = refusal(&path);
        match name {
            DATABASE => assert!(
                matches!(refused, DataFolderError::DatabaseMissing(_)),
                "{refused}"
            ),
            _ => assert!(matches!(refused, DataFolderError::KeyMissing(_)), "{refused}"),
        }
        assert!(refused.to_string().contains("backup"), "{refused}");
        assert!(!path.join(name).exists(), "nothing new in its place");
        std::fs::rename(&aside, path.join(name)).unwrap();
        assert!(is_used(&DataFolder::open(&path).unwrap()).await);
    }
}

#[tokio::test]
async fn ft_09_a_foreign_key_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let (ours, other) = (outer.path().join("ours"), outer.path().join("other"));
    used(&ours).await;
    used(&other).await;
    std::fs::copy(other.join(KEY), ours.join(KEY)).unwrap();
    assert!(matches!(refusal(&ours), DataFolderError::OtherKey(_)));
}

#[tokio::test]
async fn ft_09_a_damaged_key_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("data");
    used(&path).await;
    let whole = std::fs::read(path.join(KEY)).unwrap();
    let contents = [
        Vec::new(),
        b"\xff\xfe".to_vec(),
        whole[..40].to_vec(),
        [&whole[..], b"x"].concat(),
    ];
    for content in contents {
        std::fs::write(path.join(KEY), &content).unwrap();
        let refused = refusal(&path);
        assert!(
            matches!(refused, DataFolderError::KeyUnreadable { .. }),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn ft_09_a_damaged_or_newer_database_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("data");
    used(&path).await;
    let whole = std::fs::read(path.join(DATABASE)).unwrap();
    for content in [
        &whole[..0],
        &whole[..whole.len() / 2],
        b"something else altogether",
    ] {
        std::fs::write(path.join(DATABASE), content).unwrap();
        let refused = refusal(&path);
        assert!(matches!(refused, DataFolderError::Database { .. }), "{refused}");
        assert_eq!(
            std::fs::read(path.join(DATABASE)).unwrap(),
            content,
            "left as it was"
        );
    }
    std::fs::write(path.join(DATABASE), &whole).unwrap();
    Connection::open(path.join(DATABASE))
        .unwrap()
        .pragma_update(None, "user_version", 4711)
        .unwrap();
    assert!(refusal(&path).to_string().contains("schema version 4711"));
}

#[tokio::test]
async fn files_that_others_can_read_are_refused() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("data");
    used(&path).await;
    for open in [0o770, 0o702, 0o777] {
        set_mode(&path, open);
        assert!(matches!(refusal(&path), DataFolderError::TooOpen { mode, .. } if mode == open));
    }
    set_mode(&path, 0o755);
    for (name, open) in [(KEY, 0o640), (KEY, 0o604), (KEY, 0o622), (DATABASE, 0o644)] {
        set_mode(&path.join(name), open);
        let refused = refusal(&path);
        assert!(
            matches!(refused, DataFolderError::TooOpen { mode, .. } if mode == open),
            "{refused}"
        );
        assert!(refused.to_string().contains("chmod go-rwx"));
        set_mode(&path.join(name), 0o600);
    }
    assert!(is_used(&DataFolder::open(&path).unwrap()).await);
}

#[test]
fn a_file_in_its_place_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("data");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(refusal(&path), DataFolderError::NotAFolder(_)));
    assert!(matches!(
        refusal(&path.join("below")),
        DataFolderError::NotAFolder(_)
    ));
}

#[test]
fn an_unwritable_place_is_refused() {
    // On any Linux and for any user, root included: nothing can be made here.
    let path = Path::new("/proc/doorward-data");
    let refused = DataFolder::open_or_create(path, &SystemRandom).unwrap_err();
    assert!(
        matches!(refused, DataFolderError::Inaccessible { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("--data"));
}

/// Copies a finished folder under the names that an interrupted creation leaves.
fn interrupted(finished: &Path, path: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir(path).unwrap();
    for (from, to) in files {
        std::fs::copy(finished.join(from), path.join(to)).unwrap();
    }
}

#[tokio::test]
async fn ft_01_a_creation_that_was_killed_is_started_anew_or_finished() {
    let outer = tempfile::tempdir().unwrap();
    let finished = outer.path().join("finished");
    used(&finished).await;

    // Killed before any file got its name: nobody was ever answered from it.
    let left_overs: [&[(&str, &str)]; 3] = [
        &[(KEY, NEW_KEY)],
        &[(KEY, NEW_KEY), (KEY, NEW_DATABASE)],
        &[(DATABASE, NEW_DATABASE), (KEY, NEW_KEY)],
    ];
    for (n, files) in left_overs.into_iter().enumerate() {
        let path = outer.path().join(format!("early-{n}"));
        interrupted(&finished, &path, files);
        std::fs::write(path.join("doorward.db.new-journal"), "x").unwrap();
        assert!(matches!(DataFolder::open(&path), Err(DataFolderError::Absent(_))));
        let folder = DataFolder::open_or_create(&path, &SystemRandom).unwrap();
        assert!(!is_used(&folder).await);
        drop(folder);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 3);
    }

    // Killed between the two names: the pair is complete.
    let path = outer.path().join("late");
    interrupted(&finished, &path, &[(DATABASE, DATABASE), (KEY, NEW_KEY)]);
    let folder = DataFolder::open_or_create(&path, &SystemRandom).unwrap();
    assert!(is_used(&folder).await);
    drop(folder);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 3);

    // A left-over key that does not fit is no help for a lost one.
    let (path, other) = (outer.path().join("lost"), outer.path().join("other"));
    used(&other).await;
    interrupted(&finished, &path, &[(DATABASE, DATABASE)]);
    std::fs::copy(other.join(KEY), path.join(NEW_KEY)).unwrap();
    assert!(matches!(refusal(&path), DataFolderError::KeyMissing(_)));
}

#[test]
fn processes_that_start_together_make_one_folder() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("data");
    let ids: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    DataFolder::open_or_create(&path, &SystemRandom)
                        .unwrap()
                        .master_key()
                        .id()
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_it_shows_holds_no_key() {
    let outer = tempfile::tempdir().unwrap();
    let folder = DataFolder::open_or_create(&outer.path().join("data"), &SystemRandom).unwrap();
    let key = std::fs::read_to_string(folder.path().join(KEY)).unwrap();
    assert!(!format!("{folder:?}").contains(key.trim()));
}
