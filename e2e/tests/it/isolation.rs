//! A command behind a server runs as our own user, for many users. What one of its processes can get at is its own.

use std::os::fd::AsFd as _;
use std::path::Path;

use base64::Engine as _;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD, command, mcp};
use serde_json::json;

/// In the environment of the gateway, and meant for it alone.
const OPERATORS: &str = "operators-own-secret";
/// In the environment of one command, by the configuration.
const NAMED: &str = "named-for-the-other-command";

/// A server that speaks the modern revision line by line. Its one tool runs `pry.sh` and answers what that
/// prints, in base64.
const SERVER: &str = r#"
INHERITED=
for fd in 3 4 5 6 7 8 9; do
  if [ -e /proc/$$/fd/$fd ]; then INHERITED="$INHERITED $fd"; fi
done
export INHERITED
folder=$(dirname "$0")
while IFS= read -r line; do
  id=$(printf '%s' "$line" | grep -o '"id" *: *[^,}]*' | head -n 1 | cut -d: -f2-)
  case "$line" in
    *'"server/discover"'*)
      result='{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"pry","version":"1"},"ttlMs":0,"cacheScope":"private"}' ;;
    *'"tools/call"'*)
      text=$(sh "$folder/pry.sh" 2>&1 | base64 | tr -d '\n')
      result='{"resultType":"complete","content":[{"type":"text","text":"'$text'"}]}' ;;
    *) result='{"resultType":"complete","tools":[],"ttlMs":0,"cacheScope":"private"}' ;;
  esac
  if [ -n "$id" ]; then printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"; fi
done
"#;

/// What a curious server would do. `FOLDER` is where everything of the gateway lies.
const PRY: &str = r#"
tr '\0' '\n' < /proc/self/environ
echo "kept before: $(cat "$HOME/kept" 2>/dev/null)"
leader=$(cut -d' ' -f6 /proc/self/stat)
gateway=$(cut -d' ' -f4 /proc/$leader/stat)
for process in $gateway $leader /proc/[0-9]*; do
  process=/proc/${process#/proc/}
  tr '\0' '\n' < $process/environ
  cat $process/maps $process/limits | head -c 1000
  ls -l $process/fd $process/cwd/ $process/root/
  head -c 100 $process/mem
done
if [ -n "$INHERITED" ]; then echo "descriptor $INHERITED"; fi
find FOLDER -type f -exec cat {} +
find FOLDER/data -type f
cat FOLDER/data/* FOLDER/data/master.key FOLDER/data/homes/*/*/home/kept
ls FOLDER FOLDER/data FOLDER/data/homes FOLDER/data/homes/*
cat FOLDER/doorward.toml FOLDER/link/master.key /proc/self/root/FOLDER/data/master.key FOLDER/server/../data/master.key
cat $(dirname "$(dirname "$HOME")")/*/home/kept
kill -0 $gateway && echo "signals the gateway"
echo "secret of $(basename "$(dirname "$HOME")")" > "$HOME/kept" && echo "keeps its own"
echo "pried to the end"
"#;

async fn start() -> Doorward {
    let config = format!(
        r#"
[[servers]]
name = "pry"
path = "/pry/mcp"
command = ["sh", "server.sh"]
working_directory = "server"
[[servers]]
name = "other"
path = "/other/mcp"
command = ["sh", "server.sh"]
working_directory = "server"
env = {{ NAMED = "{NAMED}", ALSO = "env:NAMED_OUTSIDE" }}
"#
    );
    let doorward = Doorward::builder()
        .config(&config)
        .user("alice", PASSWORD)
        .user("bob", PASSWORD)
        .env("DOORWARD_LOG", "info")
        .env("OPERATORS_OWN", OPERATORS)
        .env("NAMED_OUTSIDE", "named-in-the-environment")
        .prepare();
    let folder = doorward.home().canonicalize().unwrap();
    let server = folder.join("server");
    std::fs::create_dir(&server).unwrap();
    std::fs::write(server.join("server.sh"), SERVER).unwrap();
    std::fs::write(
        server.join("pry.sh"),
        PRY.replace("FOLDER", folder.to_str().unwrap()),
    )
    .unwrap();
    std::os::unix::fs::symlink(folder.join("data"), folder.join("link")).unwrap();
    doorward.spawn();
    doorward.ready().await;
    doorward
}

/// Everything that a process of `user` behind `path` finds out.
async fn pried(doorward: &Doorward, user: &str, path: &str) -> String {
    let client = OAuthClient::native(doorward).await;
    let tokens = client.login(user, PASSWORD, &doorward.url(path)).await;
    let call = mcp::call(doorward, path, "pry", &json!({})).bearer(&tokens.access);
    let reply = call.send().await;
    assert_eq!(reply.status, 200, "{reply:?}\n{}", doorward.logs());
    let text = base64::engine::general_purpose::STANDARD
        .decode(mcp::text_of(&reply))
        .unwrap();
    let seen = String::from_utf8_lossy(&text).into_owned();
    assert!(
        seen.contains("pried to the end") && seen.contains("keeps its own"),
        "{seen}"
    );
    seen
}

/// Where a process may keep things.
fn home(seen: &str) -> String {
    let line = seen.lines().find_map(|line| line.strip_prefix("HOME="));
    line.expect("a home").to_owned()
}

/// Holds for whatever a process of any user finds out.
fn assert_nothing_of_ours(seen: &str, doorward: &Doorward) {
    let key = std::fs::read_to_string(doorward.data.join("master.key")).unwrap();
    assert!(
        !seen.contains(key.trim()) && !seen.contains("SQLite format"),
        "{seen}"
    );
    assert!(!seen.contains("DOORWARD_") && !seen.contains(OPERATORS), "{seen}");
    let ours = doorward.data.canonicalize().unwrap();
    let own = home(seen);
    for line in seen.lines() {
        // Errors name paths that the script named; a path alone was found. The way to its own folder a process may see.
        let path = line.strip_suffix(':').unwrap_or(line);
        let found = path.starts_with(ours.to_str().unwrap()) && !path.contains(": ");
        let of_its_own =
            own.starts_with(path) || Path::new(path).starts_with(Path::new(&own).parent().unwrap());
        assert!(!found || of_its_own, "{line}:\n{seen}");
        let name = ["master.key", "doorward.db", "kept"].contains(&line);
        assert!(!name && !line.starts_with("descriptor "), "{line}:\n{seen}");
        assert_ne!(line, "signals the gateway", "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vt_12_a_command_finds_nothing_of_ours_nor_of_another_user() {
    let doorward = start().await;
    // Bob's process is there, and his file, when alice's looks around; so is one that was given secrets.
    let bobs = pried(&doorward, "bob", "/pry/mcp").await;
    let named = pried(&doorward, "bob", "/other/mcp").await;
    assert!(
        named.contains(NAMED) && named.contains("named-in-the-environment"),
        "{named}"
    );
    let alices = pried(&doorward, "alice", "/pry/mcp").await;

    let (alices_home, bobs_home) = (home(&alices), home(&bobs));
    assert_ne!(alices_home, bobs_home);
    let kept = std::fs::read_to_string(Path::new(&bobs_home).join("kept")).unwrap();
    assert!(kept.starts_with("secret of "), "{kept}");
    for (seen, other_home) in [(&alices, &bobs_home), (&bobs, &alices_home)] {
        assert_nothing_of_ours(seen, &doorward);
        assert!(
            !seen.contains(other_home.as_str()),
            "another user's folder:\n{seen}"
        );
        // Not from the other command's environment, and not from the configuration file.
        assert!(
            !seen.contains(NAMED) && !seen.contains("named-in-the-environment"),
            "{seen}"
        );
    }
    assert_nothing_of_ours(&named, &doorward);
    assert!(!alices.contains(kept.trim()), "{alices}");
    // What was written stays with its user.
    let again = pried(&doorward, "bob", "/pry/mcp").await;
    assert!(
        again.contains(&format!("kept before: {}", kept.trim())),
        "{again}"
    );
    assert!(doorward.is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn vt_12_no_descriptor_that_we_inherited_reaches_a_command() {
    // A file that is open, and passed on, in whoever started the gateway.
    let doorward = start().await;
    doorward.terminate();
    doorward.wait(std::time::Duration::from_secs(60)).await;
    let key = std::fs::File::open(doorward.data.join("master.key")).unwrap();
    let descriptor = key.as_fd().try_clone_to_owned().unwrap();
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::empty()).unwrap();
    doorward.spawn();
    drop(descriptor);
    doorward.ready().await;
    let seen = pried(&doorward, "alice", "/pry/mcp").await;
    assert_nothing_of_ours(&seen, &doorward);
}

/// Runs something, and all processes that it starts, as on a kernel without Landlock.
fn without_landlock<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    const LANDLOCK: std::ops::RangeInclusive<i64> = 444..=446;
    const ENOSYS: u32 = 38;
    let filter = SeccompFilter::new(
        LANDLOCK.map(|call| (call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(ENOSYS),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    // The filter holds for one thread and what it starts.
    std::thread::scope(|scope| {
        let filtered = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            run()
        });
        filtered.join().unwrap()
    })
}

#[test]
fn vt_12_without_isolation_commands_are_refused() {
    let folder = doorward_testkit::folder("doorward-e2e-");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--", "cat"];
    let refused = without_landlock(|| command::run(folder.path(), serve, ""));
    assert_eq!(refused.code, 2, "{refused:?}");
    for words in [
        "Landlock",
        "`allow_insecure_shared_uid = true`",
        "kept from another user's files",
    ] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vt_12_an_operator_can_accept_that_there_is_no_isolation() {
    let doorward = start().await;
    doorward.terminate();
    doorward.wait(std::time::Duration::from_secs(60)).await;
    let config = std::fs::read_to_string(doorward.config_file()).unwrap();
    let accepted = format!("allow_insecure_shared_uid = true\n{config}");
    std::fs::write(doorward.config_file(), accepted).unwrap();
    without_landlock(|| doorward.spawn());
    doorward.ready().await;
    doorward.logged("may read everything that Doorward can").await;
    // What was accepted; not more: our memory stays hidden.
    let seen = pried(&doorward, "alice", "/pry/mcp").await;
    let key = std::fs::read_to_string(doorward.data.join("master.key")).unwrap();
    assert!(seen.contains(key.trim()), "{seen}");
    assert!(!seen.contains(OPERATORS), "{seen}");
}

#[test]
fn the_launcher_tells_people_that_it_is_not_for_them() {
    let folder = doorward_testkit::folder("doorward-e2e-");
    let finished = command::run(folder.path(), ["__launch", "--", "sh", "-c", "echo started"], "");
    assert_eq!((finished.code, finished.stdout.as_str()), (126, ""));
    assert!(
        finished.stderr.contains("not a command for people"),
        "{}",
        finished.stderr
    );
}
