//! What the README promises about size.

use std::process::Command;

const EXAMPLE: &str = include_str!("../../examples/minimal.rs");
const README: &str = include_str!("../../README.md");

#[test]
fn the_example_is_the_readmes_and_has_twelve_lines() {
    let code = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("//!"));
        lines.map(str::to_owned).collect()
    };
    let shown = README.split("```").nth(1).unwrap();
    let shown = code(shown.split_once('\n').unwrap().1);
    let example = code(EXAMPLE);
    // The formatter breaks lines that the page keeps whole.
    let joined = |lines: &[String]| lines.concat().split_whitespace().collect::<String>();
    assert_eq!(joined(&shown), joined(&example));
    assert!(shown.len() <= 12, "{}", shown.len());
    assert!(shown.iter().all(|line| line.len() <= 120));
}

#[test]
fn fewer_than_sixty_crates_come_with_it_by_default() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "doorward-resource-server"])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let crates: std::collections::BTreeSet<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?))
        })
        .filter(|(name, _)| *name != "doorward-resource-server")
        .collect();
    assert!(crates.len() > 20, "the list was read: {crates:?}");
    assert!(crates.len() < 60, "{}: {crates:#?}", crates.len());
    for name in ["tokio", "hyper", "rustls", "axum", "axum-core", "url"] {
        assert!(
            crates.iter().all(|(other, _)| *other != name),
            "{name} is optional"
        );
    }
}
