use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use doorward_records::model::Tables;
use doorward_records::revocation::Revoked;
use doorward_records::{Precondition, Write};

use super::*;
use crate::contract::random::{Dice, assert_same_answer, assert_same_rows, expect};
use crate::contract::sample::{self, at, client_id, digest, user_id};

/// A folder with a database that removes itself.
struct Bench {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        std::fs::File::create(&path).unwrap();
        open::initialise(&path, |_| Ok(())).unwrap();
        Self {
            _folder: folder,
            path,
        }
    }

    fn start(&self) -> SqliteStore {
        SqliteStore::start(&self.path, open::inspect(&self.path).unwrap(), nobody_else()).unwrap()
    }

    /// What another program sees.
    fn outside(&self) -> Connection {
        open::reader(&self.path).unwrap()
    }
}

fn revoke(n: u64) -> Unit {
    let revoked = Revoked::Client(client_id(n));
    Unit::writes(vec![Write::AppendRevocation {
        revoked,
        at: at(0),
        expires: at(100),
    }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let made = AtomicU64::new(0);
    crate::contract::all(|| async {
        let path = folder
            .path()
            .join(format!("{}.db", made.fetch_add(1, Ordering::Relaxed)));
        std::fs::File::create(&path).unwrap();
        open::initialise(&path, |_| Ok(())).unwrap();
        Arc::new(SqliteStore::start(&path, open::inspect(&path).unwrap(), nobody_else()).unwrap())
            as Arc<dyn Store>
    })
    .await;
}

/// Commits `units` so that the writer finds all of them waiting: it is held up until they are queued.
async fn together(store: &SqliteStore, units: Vec<Unit>) -> Vec<Result<Committed, CommitError>> {
    let (holding, held) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let hold = store.writer.meddle(move |_| {
        holding.send(()).unwrap();
        released.recv().unwrap();
    });
    let queue = async {
        held.await.unwrap();
        let mut commits = Box::pin(futures_join(
            units.into_iter().map(|unit| store.commit(unit)).collect(),
        ));
        // The first poll queues every unit; only then does the hold end.
        let queued = std::future::poll_fn(|context| std::task::Poll::Ready(commits.as_mut().poll(context)));
        assert!(queued.await.is_pending());
        release.send(()).unwrap();
        commits.await
    };
    tokio::join!(hold, queue).1
}

/// Waits for all, polling them in order.
async fn futures_join<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|context| {
        let mut all = true;
        for (future, result) in &mut pending {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => all = false,
                }
            }
        }
        if all {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pending.into_iter().filter_map(|(_, result)| result).collect()
}

#[tokio::test]
async fn units_that_share_a_commit_do_not_share_their_conflicts() {
    let bench = Bench::new();
    let store = bench.start();
    let mut tables = Tables::new();
    let mut dice = Dice(99);
    for round in 0..20 {
        let (mut units, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..16 {
            let unit = dice.unit(&tables);
            expected.push(expect(&mut tables, &unit));
            units.push(unit);
        }
        let answers = together(&store, units.clone()).await;
        for ((answer, expected), unit) in answers.iter().zip(&expected).zip(&units) {
            assert_same_answer(answer, expected, &format!("round {round}: {unit:?}"));
        }
        assert_same_rows(&store, &tables).await;
    }
}

#[tokio::test]
async fn waiting_units_share_one_commit() {
    let bench = Bench::new();
    let store = bench.start();
    let commits = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&commits);
    let count = move |connection: &mut Connection| {
        connection
            .commit_hook(Some(move || {
                counter.fetch_add(1, Ordering::SeqCst);
                false
            }))
            .unwrap();
    };
    store.writer.meddle(count).await;
    let answers = together(&store, (0..100).map(revoke).collect()).await;
    let numbers: Vec<u64> = answers
        .into_iter()
        .map(|answer| answer.unwrap().revocation_sequence)
        .collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    assert_eq!(commits.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ft_03_an_answer_comes_after_the_commit() {
    let bench = Bench::new();
    let store = Arc::new(bench.start());
    let callers: Vec<_> = (0..64)
        .map(|n| {
            let (store, outside) = (Arc::clone(&store), bench.outside());
            tokio::spawn(async move {
                let sequence = store.commit(revoke(n)).await.unwrap().revocation_sequence;
                let sql = "SELECT count(*) FROM revocations WHERE sequence = ?1";
                let seen: i64 = outside
                    .query_row(sql, [i64::try_from(sequence).unwrap()], |row| row.get(0))
                    .unwrap();
                assert_eq!(seen, 1, "another process must see what was answered");
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn ft_03_a_commit_that_fails_is_not_answered_as_done() {
    let bench = Bench::new();
    let store = bench.start();
    // The last moment at which a commit can still fail.
    store
        .writer
        .meddle(|connection| connection.commit_hook(Some(|| true)).unwrap())
        .await;
    for answer in together(&store, (0..8).map(revoke).collect()).await {
        assert!(matches!(answer, Err(CommitError::Unavailable(_))), "{answer:?}");
    }
    store
        .writer
        .meddle(|connection| connection.commit_hook(None::<fn() -> bool>).unwrap())
        .await;
    assert_eq!(store.revocations_after(0).await.unwrap(), (Vec::new(), 0));
    assert_eq!(store.commit(revoke(1)).await.unwrap().revocation_sequence, 1);
}

#[tokio::test]
async fn ft_07_a_full_disk_refuses_and_recovers_without_restart() {
    let bench = Bench::new();
    let store = bench.start();
    store
        .commit(Unit::writes(vec![Write::InsertClient(sample::client(0))]))
        .await
        .unwrap();
    let limit = |pages: i64| {
        move |connection: &mut Connection| {
            let _: i64 = connection
                .pragma_update_and_check(None, "max_page_count", pages, |row| row.get(0))
                .unwrap();
        }
    };
    store.writer.meddle(limit(1)).await;
    let mut large = sample::client(1);
    large.metadata.client_name = Some("x".repeat(100_000));
    let both = vec![
        revoke(1),
        Unit::writes(vec![Write::InsertClient(large.clone())]),
        revoke(2),
    ];
    let answers = together(&store, both).await;
    assert_eq!(answers.len(), 3);
    for answer in answers {
        assert!(
            matches!(answer, Err(CommitError::Unavailable(ref why)) if why == "the disk is full"),
            "{answer:?}"
        );
    }
    assert_eq!(
        store.revocations_after(0).await.unwrap(),
        (Vec::new(), 0),
        "nothing half-done"
    );
    assert!(
        store.client(&client_id(0)).await.unwrap().is_some(),
        "look-ups go on"
    );
    store.writer.meddle(limit(1_000_000)).await;
    store
        .commit(Unit::writes(vec![Write::InsertClient(large)]))
        .await
        .unwrap();
    assert!(store.client(&client_id(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn ft_08_a_locked_database_refuses_in_time_and_recovers() {
    let bench = Bench::new();
    let store = bench.start();
    let other = Connection::open(&bench.path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let started = tokio::time::Instant::now();
    let answers = together(&store, (0..50).map(revoke).collect()).await;
    // Within five seconds; the rest is for a busy machine.
    assert!(started.elapsed() < std::time::Duration::from_secs(30));
    for answer in answers {
        assert!(
            matches!(answer, Err(CommitError::Unavailable(ref why)) if why == "locked by another process"),
            "{answer:?}"
        );
    }
    assert_eq!(store.user(user_id(0)).await.unwrap(), None, "look-ups go on");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.commit(revoke(0)).await.unwrap().revocation_sequence, 1);
}

#[tokio::test]
async fn another_process_is_seen_and_waited_for() {
    let bench = Bench::new();
    let (server, command) = (bench.start(), bench.start());
    let before = server.version().await.unwrap();
    command.commit(revoke(1)).await.unwrap();
    assert_ne!(server.version().await.unwrap(), before);
    assert_eq!(server.revocations_after(0).await.unwrap().1, 1);
    let (ours, theirs) = tokio::join!(
        futures_join((0..50).map(|n| server.commit(revoke(n))).collect()),
        futures_join((0..50).map(|n| command.commit(revoke(n))).collect()),
    );
    let mut numbers: Vec<u64> = ours
        .into_iter()
        .chain(theirs)
        .map(|answer| answer.unwrap().revocation_sequence)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=101).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let bench = Bench::new();
    let store = bench.start();
    store.commit(revoke(1)).await.unwrap();
    drop(store);
    let left: Vec<_> = std::fs::read_dir(bench.path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "a clean end leaves no log");
    assert_eq!(bench.start().revocations_after(0).await.unwrap().1, 1);
}

#[tokio::test]
async fn a_copy_taken_without_a_clean_end_is_complete() {
    let bench = Bench::new();
    let store = bench.start();
    store.commit(revoke(1)).await.unwrap();
    // What a kill at this moment leaves: the files as they are.
    let crashed = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(bench.path.parent().unwrap()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), crashed.path().join(file.file_name())).unwrap();
    }
    let path = crashed.path().join("test.db");
    let restarted = SqliteStore::start(&path, open::inspect(&path).unwrap(), nobody_else()).unwrap();
    assert_eq!(restarted.revocations_after(0).await.unwrap().1, 1);
}

#[tokio::test]
async fn too_many_waiting_units_are_refused_at_once() {
    let bench = Bench::new();
    let store = bench.start();
    let answers = together(&store, (0..2000).map(revoke).collect()).await;
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(refused > 0 && refused < 2000, "{refused}");
    let highest = store.revocations_after(0).await.unwrap().1;
    assert_eq!(
        usize::try_from(highest).unwrap(),
        2000 - refused,
        "refused means not done"
    );
}

#[tokio::test]
async fn a_row_that_means_nothing_is_an_error_and_not_an_absence() {
    let bench = Bench::new();
    let store = bench.start();
    store
        .commit(Unit::writes(vec![Write::InsertClient(sample::client(0))]))
        .await
        .unwrap();
    let damage = |connection: &mut Connection| {
        connection
            .execute("UPDATE clients SET metadata = '{'", [])
            .unwrap();
    };
    store.writer.meddle(damage).await;
    assert!(matches!(
        store.client(&client_id(0)).await,
        Err(LoadError::Corrupt(_))
    ));
}

#[tokio::test]
async fn a_look_up_of_several_rows_sees_one_moment() {
    let bench = Bench::new();
    let store = bench.start();
    let family = sample::family(0, &sample::grant(0, 0, 0));
    let writes = vec![
        Write::InsertUser(sample::user(0, "alice")),
        Write::InsertClient(sample::client(0)),
        Write::InsertGrant(sample::grant(0, 0, 0)),
        Write::InsertFamily(family),
        Write::InsertRefreshToken(sample::refresh_token(0, 0, 0)),
    ];
    store.commit(Unit::writes(writes)).await.unwrap();
    let read = |c: &Connection| {
        let before = query::refresh_token(c, digest("refresh", 0))?;
        let other = Connection::open(c.path().unwrap()).unwrap();
        other.pragma_update(None, "foreign_keys", true).unwrap();
        other.execute("DELETE FROM users", []).unwrap();
        Ok((before, query::refresh_token(c, digest("refresh", 0))?))
    };
    let (before, after) = store.readers.read(read).await.unwrap();
    assert!(before.is_some());
    assert_eq!(before, after);
    assert_eq!(store.refresh_token(digest("refresh", 0)).await.unwrap(), None);
    let gone = Unit::default().given(Precondition::UserExists(user_id(0)));
    assert!(matches!(store.commit(gone).await, Err(CommitError::Conflict)));
}

/// A kill switch that one process writes is a change of the version and an entry of the feed for every other one, in the
/// same commit as what it ends; the feed of a restarted process begins with all of it.
#[tokio::test]
async fn r35_a_kill_switch_of_another_process_is_in_the_feed_with_what_it_ends() {
    let file = Bench::new();
    let (server, command) = (file.start(), file.start());
    let grant = sample::grant(0, 0, 0);
    let rows = vec![
        Write::InsertUser(sample::user(0, "alice")),
        Write::InsertClient(sample::client(0)),
        Write::InsertGrant(grant.clone()),
        Write::InsertFamily(sample::family(0, &grant)),
    ];
    server.commit(Unit::writes(rows)).await.unwrap();
    let kills = [
        (Revoked::User(grant.user), Write::RevokeFamiliesOf(grant.user)),
        (
            Revoked::Client(grant.client.clone()),
            Write::RevokeFamiliesOfClient(grant.client.clone()),
        ),
        (Revoked::Everything, Write::EndAll),
    ];
    let mut known = 0;
    for (revoked, ends) in kills {
        let before = server.version().await.unwrap();
        let entry = Write::AppendRevocation {
            revoked: revoked.clone(),
            at: at(1),
            expires: at(1_000),
        };
        command.commit(Unit::writes(vec![ends, entry])).await.unwrap();
        assert_ne!(server.version().await.unwrap(), before, "a poll notices it");
        let (feed, highest) = server.revocations_after(known).await.unwrap();
        let seen: Vec<_> = feed.into_iter().map(|entry| entry.revoked).collect();
        assert_eq!(seen, [revoked]);
        assert!(highest > known);
        known = highest;
        let family = server.family(sample::family_id(0)).await.unwrap().unwrap();
        assert!(family.family.revoked, "with what it ends, in one commit");
    }
    drop((server, command));
    let (feed, highest) = file.start().revocations_after(0).await.unwrap();
    assert_eq!((feed.len(), highest), (3, known));
}

/// Stands for the lock that a data folder holds.
fn nobody_else() -> std::fs::File {
    std::fs::File::open("/dev/null").unwrap()
}

/// A sweep after a flood, or after weeks: whoever commits meanwhile waits for a part of it, never for all of it, and
/// what is left of a chain is no chain.
#[tokio::test]
async fn a_large_sweep_is_done_in_parts() {
    let bench = Bench::new();
    let store = bench.start();
    let grant = sample::grant(0, 0, 0);
    let parents = Unit::writes(vec![
        Write::InsertUser(sample::user(0, "alice")),
        Write::InsertClient(sample::client(0)),
        Write::InsertGrant(grant.clone()),
        Write::InsertFamily(sample::family(0, &grant)),
    ]);
    store.commit(parents).await.unwrap();
    let links = apply::SWEPT_AT_ONCE + 1;
    store
        .writer
        .meddle(move |connection| {
            let sql = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2) \
                       INSERT INTO refresh_tokens SELECT randomblob(32), 'default', ?1, i, 'k', 0, 1 FROM n";
            let family = values::uuid(sample::family_id(0).as_uuid()).to_vec();
            connection.execute(sql, (family, values::integer(links))).unwrap();
        })
        .await;
    let sweep = || {
        Unit::writes(vec![Write::Sweep {
            now: at(0),
            families_idle_since: at(1_000_000),
            families_created_before: at(-1_000_000),
            clients_ungranted_since: at(-1_000_000),
            clients_unused_since: at(-1_000_000),
        }])
    };
    assert!(store.commit(sweep()).await.unwrap().more_to_sweep);
    let left = store.family(sample::family_id(0)).await.unwrap().unwrap();
    assert!(left.family.revoked);
    assert!(!store.commit(sweep()).await.unwrap().more_to_sweep);
    assert_eq!(store.family(sample::family_id(0)).await.unwrap(), None);
}
