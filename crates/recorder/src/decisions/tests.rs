use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use doorward_types::scope::ScopeSet;
use doorward_types::time::{FixedClock, UnixTime};
use serde_json::Value;

use super::*;

fn facts() -> ServerFacts {
    ServerFacts::new(
        "files",
        "https://gw.test/files/mcp",
        "http",
        "https://gw.test",
        "https://gw.test/.well-known/oauth-authorization-server",
    )
}

fn entry<'a>(server: &'a ServerFacts, scopes: &'a ScopeSet, name: &'a str) -> Entry<'a> {
    Entry {
        at: UnixTime::from_millis(1_795_264_480_298),
        id: uuid::Uuid::from_u128(1),
        outcome: "refused",
        reason: Some("insufficient_scope"),
        status: Some(403),
        server,
        caller: Some(Caller {
            user: uuid::Uuid::from_u128(2),
            client: "dcr_1",
            token: uuid::Uuid::from_u128(3),
            family: Some(uuid::Uuid::from_u128(4)),
            audience: "https://gw.test/files/mcp",
            scopes,
        }),
        http_method: "POST",
        method: Some("tools/call"),
        name: Some(name),
        revision: Some("2026-07-28"),
        needed: Some(scopes),
        repeated: false,
        policies: &[],
        trace: "4bf92f3577b34da6a3ce929d0e0e4736".parse().ok(),
        traceparent: None,
        peer: Some([192, 0, 2, 17].into()),
        took: Duration::from_micros(1234),
        upstream_took: None,
        upstream_status: None,
        opens_stream: false,
    }
}

fn started(path: &Path, max_size: u64) -> DecisionLog {
    let settings = Settings {
        path: path.into(),
        max_size,
    };
    DecisionLog::start(Some(settings), Arc::new(FixedClock::new(UnixTime::EPOCH))).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn r38_a_line_holds_the_evidence() {
    let scopes = "files:read files:write".parse().unwrap();
    let (policies, facts) = (["p0".to_owned(), "p1".to_owned()], facts());
    let entry = Entry {
        policies: &policies,
        ..entry(&facts, &scopes, "t_read")
    };
    let line = line::rendered(&entry, |line| String::from_utf8(line.to_vec()).unwrap());
    assert_eq!(
        line,
        concat!(
            r#"{"time":"2026-11-21T12:34:40.298Z","decision_id":"00000000-0000-0000-0000-000000000001","#,
            r#""outcome":"refused","reason":"insufficient_scope","status":403,"server":"files","#,
            r#""resource":"https://gw.test/files/mcp","transport":"http","issuer":"https://gw.test","#,
            r#""issuer_metadata":"https://gw.test/.well-known/oauth-authorization-server","http_method":"POST","#,
            r#""method":"tools/call","name":"t_read","revision":"2026-07-28","#,
            r#""user":"00000000-0000-0000-0000-000000000002","client":"dcr_1","#,
            r#""token":"00000000-0000-0000-0000-000000000003","family":"00000000-0000-0000-0000-000000000004","#,
            r#""audience":"https://gw.test/files/mcp","scopes":"files:read files:write","#,
            r#""scopes_needed":"files:read files:write","policies":["p0","p1"],"#,
            r#""trace":"4bf92f3577b34da6a3ce929d0e0e4736","peer":"192.0.2.17","took_us":1234}"#,
            "\n"
        )
    );
}

#[test]
fn lk_01_no_name_breaks_a_line_and_each_is_read_back() {
    let (facts, scopes) = (facts(), ScopeSet::default());
    for name in [
        "x\r\n{\"outcome\":\"permitted\"}",
        "\u{1b}[2J\u{1b}[31m",
        "\"},{\"a\":\"",
        "back\\slash\\",
        "nul\0",
        "\u{2028}\u{2029}\u{85}\u{7f}\u{202e}",
        "ünï🦀",
    ] {
        let rendered = line::rendered(&entry(&facts, &scopes, name), <[u8]>::to_vec);
        let (last, rest) = rendered.split_last().unwrap();
        assert_eq!(*last, b'\n');
        assert!(rest.iter().all(|byte| matches!(byte, b' '..=b'~')), "{name:?}");
        let read: Value = serde_json::from_slice(rest).unwrap();
        assert_eq!(read["name"], name);
        assert_eq!(read["outcome"], "refused");
    }
    let long = "é".repeat(5000);
    let rendered = line::rendered(&entry(&facts, &scopes, &long), <[u8]>::to_vec);
    let read: Value = serde_json::from_slice(&rendered).unwrap();
    assert_eq!(read["name"].as_str().unwrap().chars().count(), 513);
}

proptest::proptest! {
    #[test]
    fn lk_01_any_text_is_one_line_of_strict_json(name in ".{0,80}", client in ".{0,40}") {
        let (facts, scopes) = (facts(), ScopeSet::default());
        let mut entry = entry(&facts, &scopes, &name);
        entry.caller.as_mut().unwrap().client = &client;
        let rendered = line::rendered(&entry, <[u8]>::to_vec);
        proptest::prop_assert_eq!(rendered.iter().filter(|byte| **byte == b'\n').count(), 1);
        let read: Value = serde_json::from_slice(&rendered).unwrap();
        proptest::prop_assert_eq!(read["name"].as_str(), Some(&*name));
        proptest::prop_assert_eq!(read["client"].as_str(), Some(&*client));
    }
}

#[test]
fn files_are_private_put_aside_when_large_and_never_cut_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    let log = started(&path, 64 * 1024);
    let (facts, scopes) = (facts(), ScopeSet::default());
    for number in 0..1000 {
        log.record(&entry(&facts, &scopes, &format!("t{number}")));
        if number % 50 == 0 {
            log.flush();
        }
    }
    log.flush();
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2"]
    );
    for name in &names {
        let found = std::fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert!(found.len() <= 64 * 1024);
        assert!(!lines(&folder.path().join(name)).is_empty());
    }
    assert_eq!(lines(&path).last().unwrap()["name"], "t999");
    assert_eq!(log.lost(), 0);
}

#[test]
fn an_unfinished_line_is_cut_off_and_a_file_that_was_moved_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    std::fs::write(&path, "{\"name\":\"before\"}\n{\"name\":\"hal").unwrap();
    let log = started(&path, 1 << 20);
    let (facts, scopes) = (facts(), ScopeSet::default());
    log.record(&entry(&facts, &scopes, "after"));
    log.flush();
    let names = |path: &Path| -> Vec<String> {
        lines(path)
            .iter()
            .map(|line| line["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&path), ["before", "after"]);
    std::fs::rename(&path, folder.path().join("moved")).unwrap();
    log.record(&entry(&facts, &scopes, "anew"));
    log.flush();
    assert_eq!(names(&path), ["anew"]);
}

#[test]
fn what_cannot_be_written_holds_nobody_up_and_is_counted_in_the_file_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    std::fs::create_dir(&path).unwrap();
    let log = started(&path, 1 << 20);
    let (facts, scopes) = (facts(), ScopeSet::default());
    for _ in 0..100 {
        log.record(&entry(&facts, &scopes, "lost"));
    }
    log.flush();
    assert_eq!(log.lost(), 100);
    std::fs::remove_dir(&path).unwrap();
    // A file that cannot be used is left alone for a while; told again where it is, it is opened at once.
    log.configure(Some(Settings {
        path: path.clone(),
        max_size: 1 << 20,
    }));
    log.record(&entry(&facts, &scopes, "kept"));
    log.flush();
    let found = lines(&path);
    assert_eq!(found[0]["outcome"], "lost");
    assert_eq!(found[0]["lost"], 100);
    assert_eq!(found[1]["name"], "kept");
}

#[test]
fn a_reload_turns_it_off_and_moves_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    let log = started(&first, 1 << 20);
    let (facts, scopes) = (facts(), ScopeSet::default());
    log.record(&entry(&facts, &scopes, "one"));
    log.configure(None);
    log.record(&entry(&facts, &scopes, "two"));
    log.flush();
    let settings = Settings {
        path: second.clone(),
        max_size: 1 << 20,
    };
    log.configure(Some(settings));
    log.record(&entry(&facts, &scopes, "three"));
    log.flush();
    assert_eq!(lines(&first).len(), 1);
    assert_eq!(lines(&second)[0]["name"], "three");
}

#[test]
fn only_a_file_of_our_own_is_written_and_nobody_else_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let (facts, scopes) = (facts(), ScopeSet::default());
    let write = |path: &Path| {
        let log = started(path, 1 << 20);
        log.record(&entry(&facts, &scopes, "one"));
        log.flush();
        log.lost()
    };
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    std::fs::write(&target, "no line break").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert_eq!(write(&link), 1);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "no line break");

    let open = folder.path().join("open");
    std::fs::write(&open, "").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(write(&open), 0);
    let mode = std::fs::metadata(&open).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let busy = folder.path().join("busy");
    let other = started(&busy, 1 << 20);
    other.record(&entry(&facts, &scopes, "theirs"));
    other.flush();
    assert_eq!(write(&busy), 1);
    assert_eq!(lines(&busy).len(), 1);
}

#[test]
fn r38_refusals_that_are_only_counted_are_told_in_one_line_for_each_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    let log = started(&path, 1 << 20);
    let facts = facts();
    let at = |seconds: i64| UnixTime::from_seconds(1_795_264_480 + seconds);
    for second in 0..59 {
        log.count(at(second), "refused", "no_token", &facts);
    }
    log.count(at(59), "refused", "rate_limited", &facts);
    log.count(at(60), "refused", "no_token", &facts);
    log.flush();
    let found = lines(&path);
    let told: Vec<_> = found
        .iter()
        .map(|line| (line["reason"].as_str().unwrap(), line["times"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [("no_token", 60), ("rate_limited", 1)]);
    assert_eq!(found[0]["server"], "files");
    assert_eq!(found[0]["decision_id"], Value::Null);
    // The next decision tells what has gathered for a minute.
    log.count(at(100), "refused", "no_token", &facts);
    let scopes = ScopeSet::default();
    let mut later = entry(&facts, &scopes, "later");
    later.at = at(161);
    log.record(&later);
    log.flush();
    let found = lines(&path);
    assert_eq!(
        (&found[2]["times"], &found[3]["name"]),
        (&1.into(), &"later".into())
    );
}

fn told(path: &Path) -> Vec<(String, u64)> {
    lines(path)
        .iter()
        .filter_map(|line| Some((line["reason"].as_str()?.to_owned(), line["times"].as_u64()?)))
        .collect()
}

fn eventually(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !what() {
        assert!(Instant::now() < deadline, "it did not come about");
        std::thread::yield_now();
    }
}

#[test]
fn r38_what_was_counted_is_told_though_nothing_else_happens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    let settings = Settings {
        path: path.clone(),
        max_size: 1 << 20,
    };
    // The clock stands: the writer wakes by itself.
    let clock = Arc::new(FixedClock::new(UnixTime::EPOCH));
    let log = DecisionLog::gathering(Some(settings), clock, Duration::from_millis(20)).unwrap();
    log.flush();
    for (reason, lines) in [("no_token", 1), ("expired", 2)] {
        log.count(UnixTime::EPOCH, "refused", reason, &facts());
        eventually(|| told(&path).len() == lines);
    }
    let expected = [("no_token".to_owned(), 1), ("expired".to_owned(), 1)];
    assert_eq!(told(&path), expected);
    assert_eq!(log.lost(), 0);
}

#[test]
fn r38_what_was_counted_is_told_before_the_file_changes_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    let log = started(&first, 1 << 20);
    let count = |reason| log.count(UnixTime::EPOCH, "refused", reason, &facts());
    count("no_token");
    log.configure(Some(Settings {
        path: second.clone(),
        max_size: 1 << 20,
    }));
    log.flush();
    assert_eq!(told(&first), [("no_token".to_owned(), 1)]);
    count("expired");
    drop(log);
    eventually(|| told(&second).len() == 1);
    assert_eq!(told(&second), [("expired".to_owned(), 1)]);
}
