//! A crate depends only on crates of a lower layer (ARCHITECTURE.md), and exactly one of `crates/*` is a binary.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

const LAYERS: [(&str, u8); 25] = [
    ("doorward-types", 0),
    ("doorward-jose", 1),
    ("doorward-mcp", 1),
    ("doorward-seal", 1),
    ("doorward-oauth", 2),
    ("doorward-policy", 2),
    ("doorward-records", 2),
    ("doorward-authorization-server", 3),
    ("doorward-client", 3),
    ("doorward-resource-server", 5),
    ("doorward-storage", 4),
    ("doorward-process", 4),
    ("doorward-outbound", 4),
    ("doorward-limits", 4),
    ("doorward-recorder", 5),
    ("doorward-local-login", 5),
    ("doorward-rmcp-client", 5),
    ("doorward-bridge", 6),
    ("doorward-stdio-authorization", 6),
    ("doorward-gateway", 6),
    ("doorward-web", 6),
    ("doorward-demo", 6),
    ("doorward-github", 7),
    ("doorward-stdio", 7),
    ("doorward", 7),
];
/// For development only: they may use anything, and nothing that is shipped may use them.
const DEVELOPMENT: [&str; 4] = ["doorward-testkit", "doorward-e2e", "doorward-bench", "xtask"];
/// Crates that talk to the world. Layers 0 to 3 must not.
const IO: [&str; 12] = [
    "axum",
    "hyper",
    "hyper-rustls",
    "hyper-util",
    "rusqlite",
    "rustix",
    "rustls",
    "tokio",
    "tokio-rustls",
    "tower",
    "tracing-subscriber",
    "rmcp",
];

fn metadata() -> Value {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"].as_array().unwrap()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// Names of the crates that `package` is built from (`dev` includes its tests).
fn dependencies(package: &Value, dev: bool) -> Vec<&str> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(|dependency| dev || dependency["kind"] != "dev")
        .map(name)
        .collect()
}

#[test]
fn every_edge_goes_strictly_down() {
    let metadata = metadata();
    let layers: BTreeMap<&str, u8> = LAYERS.into_iter().collect();
    let mut wrong = Vec::new();
    for package in packages(&metadata) {
        let from = name(package);
        if DEVELOPMENT.contains(&from) {
            continue;
        }
        let Some(layer) = layers.get(from) else {
            wrong.push(format!(
                "{from} has no layer: add it to ARCHITECTURE.md and to this table"
            ));
            continue;
        };
        for to in dependencies(package, false) {
            if DEVELOPMENT.contains(&to) {
                wrong.push(format!("{from} is shipped and depends on {to}"));
            }
            if layers.get(to).is_some_and(|below| below >= layer) {
                wrong.push(format!(
                    "{from} (layer {layer}) depends on {to} (layer {})",
                    layers[to]
                ));
            }
            if *layer <= 3 && IO.contains(&to) {
                wrong.push(format!(
                    "{from} is of layer {layer}, which does no I/O, and depends on {to}"
                ));
            }
        }
        // Tests may look sideways, never up.
        for to in dependencies(package, true) {
            if layers.get(to).is_some_and(|other| other > layer) {
                wrong.push(format!(
                    "tests of {from} (layer {layer}) depend on {to} (layer {})",
                    layers[to]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known: Vec<&str> = packages(&metadata).iter().map(name).collect();
    for (listed, _) in LAYERS {
        assert!(
            known.contains(&listed),
            "{listed} is in the table and not in the workspace"
        );
    }
}

#[test]
fn the_default_members_are_the_crates_and_one_of_them_is_a_binary() {
    let metadata = metadata();
    let root = Path::new(metadata["workspace_root"].as_str().unwrap());
    let default: Vec<&str> = metadata["workspace_default_members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();
    let mut binaries = Vec::new();
    for package in packages(&metadata) {
        let folder = Path::new(package["manifest_path"].as_str().unwrap())
            .parent()
            .unwrap();
        let in_crates = folder.parent() == Some(&root.join("crates"));
        let is_default = default.contains(&package["id"].as_str().unwrap());
        assert_eq!(in_crates, is_default, "{}", name(package));
        if !in_crates {
            continue;
        }
        let short = name(package).strip_prefix("doorward-").unwrap_or(name(package));
        assert_eq!(
            folder.file_name().unwrap(),
            short,
            "the folder has the crate's name"
        );
        let targets = package["targets"].as_array().unwrap().iter();
        binaries.extend(targets.filter(|target| target["kind"][0] == "bin").map(name));
    }
    assert_eq!(binaries, ["doorward"], "`cargo run` must know what to run");
}

#[test]
fn everything_that_is_shipped_keeps_the_lints() {
    for package in packages(&metadata()) {
        if DEVELOPMENT.contains(&name(package)) {
            continue;
        }
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{}",
            name(package)
        );
    }
}
