//! CL-14: `WWW-Authenticate` as no specification writes it.

use doorward_testkit::client_home::ClientHome;
use doorward_testkit::evil::{Evil, MCP, RESOURCE_METADATA};
use doorward_testkit::upstream::{Answer, Part};

use super::logs_in_now;

/// Answers 401 with these bytes as header lines.
fn challenge(evil: &Evil, lines: &[Vec<u8>]) {
    let mut head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n".to_vec();
    for line in lines {
        head.extend_from_slice(b"WWW-Authenticate: ");
        head.extend_from_slice(line);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let right = evil.clone();
    evil.instead(MCP, move |request| {
        let answer = right.right_answer(request);
        if answer.status == 401 {
            Answer::raw(vec![Part::Bytes(head.clone())])
        } else {
            answer
        }
    });
}

fn line(text: &str) -> Vec<Vec<u8>> {
    vec![text.as_bytes().to_vec()]
}

/// What was asked, in order, without what changes from run to run.
fn trail(evil: &Evil) -> Vec<String> {
    evil.server()
        .take()
        .iter()
        .map(|request| {
            format!(
                "{} {}",
                request.method(),
                doorward_testkit::evil::path_of(request)
            )
        })
        .collect()
}

#[tokio::test]
async fn cl_14_d5_several_schemes_and_odd_writing_still_lead_to_the_login() {
    let evil = Evil::start();
    let url = evil.at(RESOURCE_METADATA);
    let shapes = [
        line(&format!("Basic realm=\"x\", Bearer resource_metadata=\"{url}\"")),
        line(&format!(
            "Bearer resource_metadata=\"{url}\", Basic realm=\"x, y\""
        )),
        line(&format!(
            "Negotiate, Bearer realm=\"a\\\"b\", resource_metadata=\"{url}\""
        )),
        line(&format!("Negotiate YWJjZA==, bearer RESOURCE_METADATA=\"{url}\"")),
        line(&format!(
            "BEARER   resource_metadata  =  \"{url}\"  ,  ,scope=\"t:read\""
        )),
        line(&format!(
            "Digest realm=\"Bearer resource_metadata=\\\"http://198.51.100.7/\\\"\", Bearer resource_metadata=\"{url}\""
        )),
        vec![
            b"Basic realm=\"x\"".to_vec(),
            format!("Bearer resource_metadata=\"{url}\"").into_bytes(),
        ],
        line(&format!(
            "Bearer resource_metadata=\"{}\"",
            url.replace("oauth", "\\oauth")
        )),
        line("Bearer"),
        line("Bearer realm=\"x\""),
    ];
    for shape in shapes {
        let case: Vec<_> = shape
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        challenge(&evil, &shape);
        let home = ClientHome::new();
        let finished = home.login(&evil.url(), &[]).await;
        assert_eq!(finished.code, 0, "{case:?}:\n{}", finished.stderr);
        assert!(
            trail(&evil).contains(&format!("GET {RESOURCE_METADATA}")),
            "{case:?}"
        );
    }
}

/// Shapes that are wrong. What they lead to may be a login by the well-known place or a refusal, but the same each time,
/// and never a request to what only a guess could have read out of them.
#[tokio::test]
async fn cl_14_d5_broken_challenges_do_no_harm_and_always_the_same() {
    let (evil, other) = (Evil::start(), Evil::start());
    let (right, wrong) = (evil.at(RESOURCE_METADATA), other.at(RESOURCE_METADATA));
    let long = "x".repeat(64 * 1024);
    let mut shapes = vec![
        line(&format!("Bearer resource_metadata=\"{wrong}")),
        line(&format!("Bearer resource_metadata={wrong}")),
        line(&format!("Bearer resource_metadata='{wrong}'")),
        line(&format!("Bearer resource_metadata=\"{wrong}\\")),
        line(&format!("Bearer, resource_metadata=\"{wrong}\" Bearer")),
        line(&format!("Bearer realm=\"resource_metadata=\"{wrong}\"\"")),
        line(&format!("Basic resource_metadata=\"{wrong}\"")),
        line(&format!("Bearerx resource_metadata=\"{wrong}\"")),
        line(&format!("Bearer resource_metadatax=\"{wrong}\"")),
        line(&format!("resource_metadata=\"{wrong}\"")),
        line(&format!("Bearer error=\"{long}\", resource_metadata=\"{right}\"")),
        line(&",".repeat(16 * 1024)),
        line(&"Basic a=b, ".repeat(2000)),
        line(&"\\\"".repeat(4000)),
        line(""),
        line("="),
        line("Bearer ="),
        line("Bearer \"\""),
        vec![b"Bearer resource_metadata=\"\xff\xfe\"".to_vec()],
        vec![b"Bearer realm=\"\xe2\x80\xae\", scope=\"\x01\"".to_vec()],
    ];
    for (first, second) in [(&right, &wrong), (&wrong, &right)] {
        shapes.push(line(&format!(
            "Bearer resource_metadata=\"{first}\", resource_metadata=\"{second}\""
        )));
        shapes.push(line(&format!(
            "Bearer resource_metadata=\"{first}\", Resource_Metadata=\"{second}\""
        )));
    }
    for shape in shapes {
        let case: Vec<_> = shape
            .iter()
            .map(|line| format!("{:.120}", String::from_utf8_lossy(line)))
            .collect();
        challenge(&evil, &shape);
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            let home = ClientHome::new();
            let finished = home.login(&evil.url(), &[]).await;
            assert!(
                matches!(finished.code, 0 | 1 | 3),
                "{case:?}: {}\n{}",
                finished.code,
                finished.stderr
            );
            home.assert_clean(&finished, &evil.secrets()).await;
            outcomes.push((finished.code, trail(&evil)));
        }
        assert_eq!(outcomes[0], outcomes[1], "{case:?}: the same each time");
        let asked = other.server().take();
        assert!(asked.is_empty(), "{case:?}: {asked:?} was guessed");
    }
    logs_in_now(&evil, &ClientHome::new()).await;
}

/// Two challenges for the same scheme that disagree: one of them at most is followed, the same each time.
#[tokio::test]
async fn cl_14_two_bearer_challenges_are_read_the_same_way_each_time() {
    let (evil, other) = (Evil::start(), Evil::start());
    let lines = |first: &str, second: &str| {
        vec![
            format!("Bearer resource_metadata=\"{first}\"").into_bytes(),
            format!("Bearer resource_metadata=\"{second}\"").into_bytes(),
        ]
    };
    let (right, wrong) = (evil.at(RESOURCE_METADATA), other.at(RESOURCE_METADATA));
    for shape in [lines(&right, &wrong), lines(&wrong, &right)] {
        challenge(&evil, &shape);
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            let finished = ClientHome::new().login(&evil.url(), &[]).await;
            assert!(matches!(finished.code, 0 | 1), "{}", finished.stderr);
            outcomes.push((finished.code, trail(&evil), trail(&other)));
        }
        assert_eq!(outcomes[0], outcomes[1]);
        other.assert_no_credentials();
    }
}

#[tokio::test]
async fn cl_14_b21_a_metadata_url_of_another_kind_is_not_fetched() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let secret = home.root().join("work/resource.json");
    std::fs::write(&secret, "{}").unwrap();
    for url in [
        format!("file://{}", secret.display()),
        "javascript:alert(1)".into(),
        "http://198.51.100.7/.well-known/oauth-protected-resource".into(),
        "ftp://127.0.0.1/x".into(),
        "/.well-known/elsewhere".into(),
        "//198.51.100.7/x".into(),
        "http://".into(),
        String::new(),
        format!("http://user:password@{}/elsewhere", evil.server().address()),
    ] {
        challenge(&evil, &line(&format!("Bearer resource_metadata=\"{url}\"")));
        let begun = std::time::Instant::now();
        let finished = home
            .run(&["login", &evil.url(), "--no-browser", "--auth-timeout", "5"])
            .await;
        assert_eq!(finished.code, 1, "{url}: nobody logs in: {}", finished.stderr);
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(30),
            "{url}: nobody waits for what may not be asked"
        );
        for request in evil.server().take() {
            assert!(!request.target().contains("elsewhere"), "{url} was fetched");
        }
        home.assert_clean(&finished, &evil.secrets()).await;
    }
    logs_in_now(&evil, &home).await;
}
