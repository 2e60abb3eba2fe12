//! The lines that `serve` prints for clients, read as those clients (and a shell) read them.

use doorward_testkit::{Doorward, PASSWORD};
use serde_json::Value;

/// Splits a line as a shell does: blanks separate, single quotes keep everything.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for character in line.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                begun = true;
            }
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            _ => {
                word.push(character);
                begun = true;
            }
        }
    }
    assert!(!quoted, "an open quote: {line}");
    if begun {
        words.push(word);
    }
    words
}

/// What a client's line adds: the name and the address, once for each server.
fn added(printed: &str, label: &str) -> Vec<(String, String)> {
    let lines = printed
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix(label));
    lines.map(|line| parsed(label, line.trim())).collect()
}

fn parsed(label: &str, line: &str) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match label {
        "Claude Code" => {
            let words = words(line);
            assert_eq!(
                words[..5],
                ["claude", "mcp", "add", "--transport", "http"],
                "{line}"
            );
            assert_eq!(words.len(), 7, "{line}");
            (words[5].clone(), words[6].clone())
        }
        "VS Code" => {
            let words = words(line);
            assert_eq!(words[..2], ["code", "--add-mcp"], "{line}");
            assert_eq!(words.len(), 3, "{line}");
            let server: Value = serde_json::from_str(&words[2]).expect("JSON");
            assert_eq!(server["type"], "http", "{line}");
            (text(&server["name"]), text(&server["url"]))
        }
        "Cursor" => {
            let json = line.split_once(": ").expect("the file, then its content").1;
            let file: Value = serde_json::from_str(json).expect("JSON");
            let servers = file["mcpServers"].as_object().expect("servers");
            let (name, server) = servers.iter().next().expect("one server");
            assert_eq!(servers.len(), 1, "{line}");
            (name.clone(), text(&server["url"]))
        }
        "Inspector" => {
            let words = words(line);
            let start = [
                "npx",
                "@modelcontextprotocol/inspector",
                "--transport",
                "http",
                "--server-url",
            ];
            assert_eq!(words[..5], start, "{line}");
            assert_eq!(words.len(), 6, "{line}");
            (String::new(), words[5].clone())
        }
        other => panic!("no client is called {other}"),
    }
}

async fn assert_lines(doorward: &Doorward, servers: &[(&str, &str)]) {
    let printed = doorward.stdout();
    let expected: Vec<(String, String)> = servers
        .iter()
        .map(|(name, path)| ((*name).to_owned(), doorward.url(path)))
        .collect();
    for client in ["Claude Code", "VS Code", "Cursor"] {
        assert_eq!(added(&printed, client), expected, "{client} in:\n{printed}");
    }
    let addresses = |pairs: &[(String, String)]| pairs.iter().map(|pair| pair.1.clone()).collect::<Vec<_>>();
    assert_eq!(
        addresses(&added(&printed, "Inspector")),
        addresses(&expected),
        "{printed}"
    );
    // The address is the resource, byte for byte: clients compare it.
    for (_, path) in servers {
        let metadata = doorward
            .get(&format!("/.well-known/oauth-protected-resource{path}"))
            .send()
            .await;
        assert_eq!(metadata.json()["resource"], doorward.url(path));
    }
}

#[tokio::test]
async fn the_lines_for_clients_name_the_demo_server() {
    let doorward = Doorward::builder().demo().public_url("http://localhost:{port}");
    let doorward = doorward.start().await;
    assert_lines(&doorward, &[("mcp", "/mcp")]).await;
}

#[tokio::test]
async fn the_lines_for_clients_name_every_server_of_a_file() {
    let config = "[[servers]]\nname = \"files\"\npath = \"/files/mcp\"\nupstream = \"http://127.0.0.1:9/mcp\"\n\n\
                  [[servers]]\nname = \"notes-2\"\npath = \"/notes\"\ndemo = true\n";
    let doorward = Doorward::builder()
        .config(config)
        .user("alice", PASSWORD)
        .start()
        .await;
    assert_lines(&doorward, &[("files", "/files/mcp"), ("notes-2", "/notes")]).await;
}
