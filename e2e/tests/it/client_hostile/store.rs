//! CL-10: the files that hold the tokens.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use doorward_testkit::client_home::{ClientHome, PATIENCE, Running, files_under};
use doorward_testkit::evil::{Evil, TOKEN};

use super::{full, initialize, logged_in};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// 0600 files in 0700 folders, nothing else.
#[track_caller]
fn assert_private(store: &Path) {
    assert_eq!(mode(store), 0o700, "{}", store.display());
    let files = files_under(store);
    assert!(!files.is_empty(), "something is kept");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        let mut folder = file.parent().unwrap();
        while folder.starts_with(store) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
            folder = folder.parent().unwrap();
        }
    }
}

/// The command under a umask that takes nothing away.
fn open_handed(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell
}

#[tokio::test]
async fn cl_10_s2_files_are_private_whatever_the_umask() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let _browsing = home.browse();
    let running = Running::start(open_handed(&home.command(&["login", &evil.url()])));
    let finished = running.ended().await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_private(&home.store());
    home.assert_clean(&finished, &evil.secrets()).await;
    // A refresh replaces files: they stay private.
    evil.expire_access_tokens();
    let running = Running::start(open_handed(&home.command(&["connect", &evil.url()])));
    let answer = running.ask(&initialize()).await;
    assert!(answer.get("result").is_some(), "{answer}");
    assert_eq!(evil.grants("refresh_token").len(), 1, "a write took place");
    assert_private(&home.store());
    home.assert_files_clean(&evil.secrets());
}

/// Without `--store` and `DOORWARD_STORE` it lies under the user's data folder, as private.
#[tokio::test]
async fn cl_10_the_default_place_is_private_too() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let _browsing = home.browse();
    let given = home.command(&["login", &evil.url()]);
    let mut bare = Command::new(given.get_program());
    bare.args(["login", &evil.url()]).env_clear();
    for (name, value) in given.get_envs() {
        bare.env(name, value.unwrap());
    }
    let finished = Running::start(open_handed(bare.current_dir(home.root())))
        .ended()
        .await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_private(&home.root().join("home/data/doorward"));
    home.assert_clean(&finished, &evil.secrets()).await;
}

#[tokio::test]
async fn cl_10_a_store_that_others_can_write_is_not_used_as_it_is() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    std::fs::create_dir(home.store()).unwrap();
    std::fs::set_permissions(home.store(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let finished = home.login(&evil.url(), &[]).await;
    match finished.code {
        0 => assert_private(&home.store()),
        _ => assert!(files_under(&home.store()).is_empty(), "{}", finished.stderr),
    }
    home.assert_clean(&finished, &evil.secrets()).await;
}

#[tokio::test]
async fn cl_10_a_store_that_is_a_symlink_is_refused() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let elsewhere = home.root().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, home.store()).unwrap();
    let finished = home.login(&evil.url(), &[]).await;
    assert_ne!(finished.code, 0, "{}", finished.stderr);
    assert!(finished.stderr.contains("store"), "why: {}", finished.stderr);
    assert!(files_under(&elsewhere).is_empty(), "nothing was written there");
    assert_eq!(home.opened().len(), 0, "found before anybody logs in");
    home.assert_clean(&finished, &evil.secrets()).await;
}

/// Every file of a store in turn is replaced by a symlink to something precious.
#[tokio::test]
async fn cl_10_planted_symlinks_are_never_followed() {
    let evil = Evil::start();
    let model = logged_in(&evil).await;
    let names: Vec<_> = files_under(&model.store())
        .iter()
        .map(|file| file.strip_prefix(model.store()).unwrap().to_owned())
        .collect();
    assert!(!names.is_empty());
    for name in names {
        let home = logged_in_again(&evil).await;
        let (victim, planted) = (home.root().join("victim"), home.store().join(&name));
        // Two homes have the same names, but for what is random in them.
        let planted = if planted.exists() {
            planted
        } else {
            files_under(planted.parent().unwrap()).remove(0)
        };
        std::fs::write(&victim, "precious").unwrap();
        std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::remove_file(&planted).unwrap();
        symlink(&victim, &planted).unwrap();
        for arguments in [
            &["login", "--list"][..],
            &["login", &evil.url()],
            &["logout", &evil.url()],
        ] {
            let _browsing = home.browse();
            let finished = home.run(arguments).await;
            home.assert_clean(&finished, &evil.secrets()).await;
        }
        assert_eq!(
            std::fs::read_to_string(&victim).unwrap(),
            "precious",
            "{}",
            name.display()
        );
        assert_eq!(mode(&victim), 0o644, "{}", name.display());
        // What stands there now is the symlink still, or a file of its own.
        if let Ok(found) = std::fs::symlink_metadata(&planted)
            && found.is_file()
        {
            assert_eq!(found.mode() & 0o777, 0o600);
        }
    }
}

/// Symlinks of the names that a predictable temporary file could have.
#[tokio::test]
async fn cl_10_dangling_symlinks_make_no_files_elsewhere() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let model = logged_in(&evil).await;
    std::fs::create_dir(home.store()).unwrap();
    let outside = home.root().join("outside");
    std::fs::create_dir(&outside).unwrap();
    for file in files_under(&model.store()) {
        let name = file.strip_prefix(model.store()).unwrap();
        let place = home.store().join(name);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(outside.join(name.file_name().unwrap()), &place).unwrap();
        let temporary = format!("{}.tmp", name.file_name().unwrap().to_string_lossy());
        symlink(outside.join(&temporary), place.with_file_name(&temporary)).unwrap();
    }
    let finished = home.login(&evil.url(), &[]).await;
    assert_eq!(files_under(&outside), Vec::<std::path::PathBuf>::new());
    home.assert_clean(&finished, &evil.secrets()).await;
}

async fn logged_in_again(evil: &Evil) -> ClientHome {
    let home = ClientHome::new();
    assert_eq!(home.login(&evil.url(), &[]).await.code, 0);
    home
}

/// A store that was cut, emptied, or written by somebody else: said so, or logged in anew; never a crash, never half a token.
#[tokio::test]
async fn cl_10_damaged_files_are_never_taken_for_tokens() {
    let evil = Evil::start();
    for damage in ["empty", "cut", "flipped", "garbage", "big"] {
        let home = logged_in_again(&evil).await;
        for file in files_under(&home.store()) {
            let bytes = std::fs::read(&file).unwrap();
            let changed = match damage {
                "empty" => Vec::new(),
                "cut" => bytes[..bytes.len() / 2].to_vec(),
                "flipped" => {
                    let mut bytes = bytes;
                    if let Some(last) = bytes.last_mut() {
                        *last ^= 1;
                    }
                    bytes
                }
                "garbage" => b"{\"access_token\":\"at_planted\"}".to_vec(),
                _ => vec![b' '; 8 << 20],
            };
            std::fs::write(&file, changed).unwrap();
        }
        for arguments in [&["login", "--list"][..], &["login", &evil.url()]] {
            let _browsing = home.browse();
            let finished = home.run(arguments).await;
            assert!(
                (0..=3).contains(&finished.code),
                "{damage}: {}\n{}",
                finished.code,
                finished.stderr
            );
            if damage != "big" {
                home.assert_clean(&finished, &evil.secrets()).await;
            }
        }
        for request in evil.server().take() {
            let bytes = String::from_utf8_lossy(&request.bytes()).into_owned();
            assert!(!bytes.contains("at_planted"), "{bytes}");
        }
    }
}

/// Each round refreshes, which writes the store, and is killed around the write. The refresh token of the next round shows
/// what stood in the file: the old one or the new one, and always one that works.
#[tokio::test]
async fn cl_10_a_store_is_never_torn_by_kill_9() {
    let rounds = if full() { 200 } else { 20 };
    let evil = Evil::start();
    let home = logged_in(&evil).await;
    evil.refresh_tokens_stay_good();
    let files_before = files_under(&home.store()).len();
    // The answer is held back until the clock is on it.
    let answer = evil.hold(TOKEN);
    let (mut old, mut new) = (0, 0);
    let mut delay = Duration::from_millis(5);
    for round in 0..5 * rounds {
        // A machine may be so slow that it takes more of them until both sides of the write were hit.
        if round >= rounds && old > 0 && new > 0 {
            break;
        }
        evil.expire_access_tokens();
        let before = evil.seen(TOKEN).len();
        let running = home.start_connect(&evil.url(), &["--no-browser"]);
        running.send(&initialize());
        let end = Instant::now() + PATIENCE;
        while evil.seen(TOKEN).len() == before {
            assert!(
                Instant::now() < end && running.is_alive(),
                "round {round} refreshes with what the last one left:\n{}",
                running.stderr()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        answer.notify_one();
        let moment = Instant::now() + delay;
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        running.kill();
        let grants = evil.grants("refresh_token");
        if let [.., last, this] = grants.as_slice() {
            // The edge of the write is where the kills belong.
            if last["refresh_token"] == this["refresh_token"] {
                old += 1;
                delay = (delay * 5 / 4)
                    .max(Duration::from_micros(200))
                    .min(Duration::from_secs(2));
            } else {
                new += 1;
                delay = delay * 3 / 4;
            }
        }
    }
    evil.behave();
    println!("measured: CL-10 kills: {old} before the write, {new} after it");
    assert!(
        old > 0 && new > 0,
        "kills on both sides of the write: {old} {new}"
    );
    assert_eq!(
        evil.complaints(),
        Vec::<String>::new(),
        "every token was one that was given"
    );
    assert_eq!(home.opened().len(), 1, "nobody had to log in again");
    let listed = home.run(&["login", "--list", "--format", "json"]).await.ok();
    assert!(listed.stdout.contains(&evil.url()), "{}", listed.stdout);
    let finished = home.login(&evil.url(), &[]).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_private(&home.store());
    let files = files_under(&home.store());
    assert!(
        files.len() <= files_before + 3,
        "what killed writers left is cleared away: {files:?}"
    );
    home.assert_clean(&finished, &evil.secrets()).await;
}

/// Killed anywhere in its life, from the start to the end: the next one logs in or is logged in.
#[tokio::test]
async fn cl_10_a_login_killed_anywhere_leaves_a_store_that_works() {
    let rounds = if full() { 100 } else { 10 };
    let evil = Evil::start();
    let home = ClientHome::new();
    for round in 0..rounds {
        let browsing = home.browse();
        let running = home.start_login(&evil.url(), &[]);
        // Where in a life of about this long it ends moves from round to round.
        tokio::time::sleep(Duration::from_millis(7 * (round % 40))).await;
        running.kill();
        drop(browsing);
    }
    let finished = home.login(&evil.url(), &[]).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_private(&home.store());
    assert!(evil.seen(TOKEN).iter().all(|request| request.method() == "POST"));
    home.assert_clean(&finished, &evil.secrets()).await;
}
