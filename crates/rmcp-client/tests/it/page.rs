//! What the documentation shows is what runs.

const PAGE: &str = include_str!("../../../../docs/rust-clients.md");
const EXAMPLES: [(&str, &str); 3] = [
    (
        "crates/rmcp-client/examples/call_tool.rs",
        include_str!("../../examples/call_tool.rs"),
    ),
    (
        "crates/rmcp-client/examples/headless_job.rs",
        include_str!("../../examples/headless_job.rs"),
    ),
    (
        "crates/client/examples/own_provider.rs",
        include_str!("../../../client/examples/own_provider.rs"),
    ),
];

#[test]
fn r21_the_pages_examples_are_those_that_run() {
    let blocks = PAGE.matches("```rust\n").count();
    assert_eq!(
        blocks,
        EXAMPLES.len(),
        "every block of code is an example that runs"
    );
    for (path, example) in EXAMPLES {
        let code: Vec<&str> = example
            .lines()
            .filter(|line| !line.starts_with("//!") && !line.starts_with("#!["))
            .collect();
        let shown = format!("<!-- {path} -->\n```rust\n{}\n```\n", code.join("\n").trim());
        assert!(PAGE.contains(&shown), "docs/rust-clients.md shows another {path}");
    }
}
