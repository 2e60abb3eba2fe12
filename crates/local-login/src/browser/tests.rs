use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;

/// A program that writes its arguments down, one a line, and ends with `status`.
fn recorder(folder: &Path, status: u8) -> PathBuf {
    let path = folder.join(format!("recorder-{status}"));
    let log = folder.join("log");
    let script = format!(
        "#!/bin/sh\nenv > '{env}'\nfor word in \"$@\"; do printf '%s\\n' \"$word\" >> '{log}.tmp'; done\n\
         printf 'noise\\n'; printf 'noise\\n' >&2\nmv '{log}.tmp' '{log}'\nexit {status}\n",
        log = log.display(),
        env = folder.join("env").display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn browser(template: &str) -> Browser {
    let template = template.to_owned();
    Browser::from_environment(&move |name| (name == "BROWSER").then(|| template.clone()))
}

/// What the recorder got, once it has.
async fn recorded(folder: &Path) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(text) = std::fs::read_to_string(folder.join("log")) {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(tokio::time::Instant::now() < deadline, "the recorder was started");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn cl_01_b20_b21_b22_what_is_not_https_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = recorder(folder.path(), 0);
    let mark = folder.path().join("mark");
    let browser = browser(&format!("{} %s", program.display()));
    let touch = format!("a:$(touch {})", mark.display());
    for hostile in [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:msgbox(1)",
        touch.as_str(),
        "--flag",
        "-e:x",
        "http://as.example/authorize",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://10.0.0.1/",
        "ftp://as.example/",
        "ms-settings:x",
        "x-apple.systempreferences:x",
        "https://user:password@as.example/",
        "https://as.example@evil.example/",
        "blob:https://as.example/1",
        "view-source:https://as.example/",
    ] {
        let Ok(url) = Url::parse(hostile) else { continue };
        let refused = browser.open(&url).await;
        assert!(
            matches!(refused, Err(BrowserError::Refused(_))),
            "{hostile}: {refused:?}"
        );
    }
    let long = Url::parse(&format!("https://as.example/?{}", "x".repeat(MAX_URL))).unwrap();
    assert!(browser.open(&long).await.is_err());
    assert!(!mark.exists());
    assert!(!folder.path().join("log").exists(), "nothing was started");
}

#[tokio::test]
async fn cl_01_b22_the_url_is_one_argument_whatever_is_in_it() {
    let mark = tempfile::tempdir().unwrap();
    let touch = format!("touch {}", mark.path().join("mark").display());
    for hostile in [
        "https://as.example/authorize?a=b&c=d#e".to_owned(),
        "https://as.example/a b\tc\nd --flag \"q\" 'r' `s`".to_owned(),
        format!("https://as.example/$({touch})?x=$({touch})&y=`{touch}`;{touch}|{touch}#'$({touch})"),
        "https://as.example/?q=%s%s --incognito %20".to_owned(),
        "https://as.example/\\\\evil/<>^{}|".to_owned(),
        "http://127.0.0.1:4711/x y".to_owned(),
        "http://localhost/".to_owned(),
        "http://[::1]:1/".to_owned(),
        "https://bücher.example/ü".to_owned(),
    ] {
        let url = Url::parse(&hostile).unwrap();
        for template in ["{} %s", "{}", "{} --new-window %s", "{} --url=%s", "{} %s %s"] {
            let folder = tempfile::tempdir().unwrap();
            let program = recorder(folder.path(), 0);
            let browser = browser(&template.replace("{}", &program.display().to_string()));
            browser.open(&url).await.unwrap().finished().await.unwrap();
            let arguments = recorded(folder.path()).await;
            let urls: Vec<&String> = arguments.iter().filter(|word| word.contains("://")).collect();
            assert_eq!(urls.len(), 1, "{hostile} {template}: {arguments:?}");
            let expected = template.split(' ').skip(1).filter(|word| *word != "%s").count();
            let own = usize::from(!template.contains("=%s"));
            assert_eq!(
                arguments.len(),
                expected + own,
                "{hostile} {template}: {arguments:?}"
            );
            let shown = urls[0].trim_start_matches("--url=");
            assert!(
                shown
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"$`'\"\\|<>(){}^".contains(&b)),
                "{shown}"
            );
            // The same place in the end.
            let (before, after) = (url.clone(), Url::parse(shown).unwrap());
            assert_eq!(
                (before.scheme(), before.host(), before.port()),
                (after.scheme(), after.host(), after.port())
            );
            let pairs = |url: &Url| url.query_pairs().into_owned().collect::<Vec<_>>();
            assert_eq!(pairs(&before), pairs(&after));
        }
    }
    assert!(!mark.path().join("mark").exists());
}

#[tokio::test]
async fn a_program_that_fails_is_noticed_and_the_next_one_tried() {
    let folder = tempfile::tempdir().unwrap();
    let bad = recorder(folder.path(), 3);
    let good = recorder(folder.path(), 0);
    let url = Url::parse("https://as.example/").unwrap();
    let missing = folder.path().join("missing");
    let both = browser(&format!(
        "{} %s:{}:{}",
        missing.display(),
        bad.display(),
        good.display()
    ));
    assert_eq!(
        both.open(&url).await.unwrap().program(),
        good.display().to_string()
    );
    let none = browser(&format!("{}:{}", missing.display(), bad.display()));
    let error = match none.open(&url).await {
        Err(error) => error,
        // A machine so busy that the script outlives its watching.
        Ok(opened) => opened.finished().await.unwrap_err(),
    };
    assert!(error.to_string().contains("exit status: 3"), "{error}");
}

#[tokio::test]
async fn a_program_that_stays_is_the_browser_and_its_late_failure_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let program = folder.path().join("slow");
    let script = format!(
        "#!/bin/sh\nwhile ! [ -e '{}' ]; do sleep 0.05; done\nexit 4\n",
        gate.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let opened = browser(&program.display().to_string())
        .open(&Url::parse("https://as.example/").unwrap())
        .await
        .unwrap();
    std::fs::write(&gate, "").unwrap();
    let error = opened.finished().await.unwrap_err();
    assert!(error.to_string().contains("exit status: 4"), "{error}");
}

#[tokio::test]
async fn the_browser_inherits_nothing_that_is_meant_for_us() {
    let folder = tempfile::tempdir().unwrap();
    let program = recorder(folder.path(), 0);
    let url = Url::parse("https://as.example/").unwrap();
    let opened = browser(&program.display().to_string()).open(&url).await.unwrap();
    opened.finished().await.unwrap();
    recorded(folder.path()).await;
    let environment = std::fs::read_to_string(folder.path().join("env")).unwrap();
    assert!(environment.contains("PATH="), "{environment}");
    assert!(
        !environment.lines().any(|line| line.starts_with("DOORWARD_")),
        "{environment}"
    );
}

#[tokio::test]
async fn without_a_desktop_nothing_is_tried() {
    let url = Url::parse("https://as.example/").unwrap();
    if cfg!(target_os = "linux") {
        let headless = Browser::from_environment(&|_| None);
        assert_eq!(headless.open(&url).await.err(), Some(BrowserError::NoDesktop));
        for variable in ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"] {
            let desktop = Browser::from_environment(&|name| (name == variable).then(|| ":0".to_owned()));
            assert!(!desktop.commands.is_empty(), "{variable}");
        }
    }
    let list = Browser::from_environment(&|name| (name == "BROWSER").then(|| " : a  --b %s :c".to_owned()));
    let own: Vec<&str> = list.commands.iter().map(|words| words[0].as_str()).collect();
    assert_eq!(&own[..2], ["a", "c"]);
    assert_eq!(list.commands[0], ["a", "--b", "%s"]);
}
