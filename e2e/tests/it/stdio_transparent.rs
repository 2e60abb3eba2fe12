//! The same conversation with a server over stdio and with the same server behind `doorward stdio`: every line in either
//! direction is the same, byte for byte, except for what docs/stdio-authorization.md says is added.

mod conversations;

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use doorward_testkit::client_home::{ClientHome, PATIENCE, Running};
use doorward_testkit::command::{Finished, doorward_binary};
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, eventually};
use serde_json::{Value, json};

use self::conversations::Step;
use crate::node;
use crate::stdio_authorization::{EXTENSION, TOKEN, authorization, call, initialize};

const SCRIPT: &str = env!("CARGO_BIN_EXE_scripted-stdio");
const EVERYTHING: &str = env!("CARGO_BIN_EXE_everything-stdio");

/// The wrapper: the command of the whole program, or the small program.
#[derive(Clone, Copy)]
enum By {
    Doorward,
    SmallProgram,
}

/// A user's machine, and an authorization server whose token its host has in the environment.
struct Machine {
    home: ClientHome,
    doorward: Doorward,
    token: String,
    _up: Upstream,
}

impl Machine {
    async fn start() -> Self {
        let up = Upstream::start();
        let config = format!(
            "[[servers]]\nname = \"any\"\npath = \"/any/mcp\"\nupstream = \"{}\"\n",
            up.url()
        );
        let builder = Doorward::builder().config(&config).user("alice", PASSWORD);
        let doorward = builder.start().await;
        let client = OAuthClient::native(doorward.site()).await;
        let token = client
            .login("alice", PASSWORD, &doorward.url("/any/mcp"))
            .await
            .access;
        Self {
            home: ClientHome::new(),
            doorward,
            token,
            _up: up,
        }
    }

    /// Where what reaches a server is written down.
    fn heard(&self, name: &str) -> PathBuf {
        self.home.root().join("work").join(name)
    }

    /// A server that writes down what it hears.
    fn listening(&self, name: &str, command: &[&str]) -> Vec<String> {
        let words: Vec<String> = command.iter().map(|word| format!("'{word}'")).collect();
        let script = format!("tee '{}' | {}", self.heard(name).display(), words.join(" "));
        ["/bin/sh".to_owned(), "-c".to_owned(), script].into()
    }

    fn direct(&self, command: &[&str]) -> Running {
        let all = self.listening("direct", command);
        let arguments: Vec<&str> = all.iter().skip(1).map(String::as_str).collect();
        let mut program = self.home.program(&all[0], &arguments);
        program.env_remove("DOORWARD_STORE");
        Running::start(program)
    }

    fn wrapped(&self, command: &[&str]) -> Running {
        self.wrapped_by(By::Doorward, command)
    }

    fn wrapped_by(&self, by: By, command: &[&str]) -> Running {
        Running::start(self.wrapper_by(by, &self.listening("wrapped", command)))
    }

    fn wrapper(&self, command: &[String]) -> Command {
        self.wrapper_by(By::Doorward, command)
    }

    fn wrapper_by(&self, by: By, command: &[String]) -> Command {
        let (issuer, resource) = (&self.doorward.site().public_url, self.doorward.url("/any/mcp"));
        let (binary, mut arguments) = match by {
            By::Doorward => (doorward_binary(), vec!["stdio"]),
            By::SmallProgram => (doorward_binary().with_file_name("doorward-stdio"), Vec::new()),
        };
        arguments.extend(["--issuer", issuer, "--resource", &resource]);
        arguments.extend(["--scope", "any", "--no-login", "--"]);
        arguments.extend(command.iter().map(String::as_str));
        let mut program = self.home.program(&binary.display().to_string(), &arguments);
        program.env("DOORWARD_TOKEN", &self.token);
        program
    }

    /// Both ways, and everything that was said.
    async fn assert_the_same(&self, command: &[&str], steps: &[Step]) {
        self.assert_the_same_by(By::Doorward, command, steps).await;
    }

    async fn assert_the_same_by(&self, by: By, command: &[&str], steps: &[Step]) {
        let mut said = Vec::new();
        let mut ends = Vec::new();
        for peer in [self.direct(command), self.wrapped_by(by, command)] {
            let (lines, end) = converse(&peer, steps).await;
            said.push(lines);
            ends.push(end);
        }
        let (direct, wrapped) = (&said[0], &said[1]);
        for (direct, wrapped) in direct.iter().zip(wrapped) {
            let without = without_additions(wrapped, direct);
            assert_eq!(without, *direct, "as it came: {wrapped}");
        }
        assert_eq!(wrapped.len(), direct.len(), "{direct:#?}\n{wrapped:#?}");
        let marked = wrapped.iter().zip(direct).filter(|(left, right)| left != right);
        let marked = marked.count();
        assert!((2..=4).contains(&marked), "{marked} lines have additions");
        assert_eq!(ends[0].code, ends[1].code);
        assert_eq!(ends[0].stderr, ends[1].stderr);
        let [direct, wrapped] = ["direct", "wrapped"].map(|name| {
            let heard = std::fs::read(self.heard(name)).expect("what was heard");
            String::from_utf8(heard).expect("UTF-8")
        });
        assert_eq!(direct, wrapped, "what the server heard");
        assert!(direct.lines().count() >= steps.len() / 2, "{direct}");
    }
}

/// Every step in order, then the end of the input. Every line that came.
async fn converse(peer: &Running, steps: &[Step]) -> (Vec<String>, Finished) {
    let answered = Cell::new(0);
    for step in steps {
        if let Step::Send(message) | Step::Ask(message) = step {
            peer.write_line(message);
        }
        eventually(&format!("{step:?}"), PATIENCE, async || {
            let messages = peer.messages();
            for question in messages.iter().skip(answered.get()) {
                answered.set(answered.get() + 1);
                if question.get("method").is_some() && question.get("id").is_some() {
                    peer.send(&conversations::answer(question));
                }
            }
            assert!(peer.is_alive(), "it ended: {}", peer.stderr());
            step.is_done(&messages).then_some(())
        })
        .await;
    }
    peer.close_stdin();
    let end = peer.ended().await;
    (end.stdout.lines().map(str::to_owned).collect(), end)
}

/// The line without what is added to it, and without the objects that were made to hold it.
fn without_additions(line: &str, direct: &str) -> String {
    let mut line = line.to_owned();
    if direct.contains(EXTENSION) {
        return line;
    }
    let key = format!("\"{EXTENSION}\":");
    while let Some(start) = line.find(&key) {
        line.replace_range(start..end_of_object(&line, start + key.len()), "");
        cut_comma(&mut line, start);
        for holder in ["\"experimental\":{", "\"extensions\":{", "\"_meta\":{"] {
            let from = start.saturating_sub(holder.len());
            let empty = line.get(from..start) == Some(holder) && line.get(start..=start) == Some("}");
            // One that was there before, empty, stays.
            if empty && !direct.get(from..).is_some_and(|rest| rest.starts_with(holder)) {
                line.replace_range(from..=start, "");
                cut_comma(&mut line, from);
                break;
            }
        }
    }
    line
}

/// A comma too many at this place, after or before it.
fn cut_comma(line: &mut String, at: usize) {
    if line.get(at..=at) == Some(",") {
        line.remove(at);
    } else if line.get(at - 1..at) == Some(",") {
        line.remove(at - 1);
    }
}

fn end_of_object(line: &str, from: usize) -> usize {
    let mut depth = 0;
    for (offset, letter) in line[from..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return from + offset + 1;
        }
    }
    panic!("an object ends: {line}");
}

#[tokio::test]
async fn r11_the_official_everything_server_is_the_same_wrapped() {
    let machine = Machine::start().await;
    let folder = node::Folder::new();
    let command = folder.command("@modelcontextprotocol/server-everything/dist/index.js");
    let command = [command[0].as_str(), &command[1], "stdio"];
    machine
        .assert_the_same(&command, &conversations::official_server())
        .await;
}

#[tokio::test]
async fn r11_a_legacy_server_on_rmcp_is_the_same_wrapped() {
    let machine = Machine::start().await;
    machine
        .assert_the_same(&[EVERYTHING], &conversations::legacy())
        .await;
}

#[tokio::test]
async fn r11_a_modern_server_on_rmcp_is_the_same_wrapped() {
    let machine = Machine::start().await;
    machine
        .assert_the_same(&[EVERYTHING], &conversations::modern())
        .await;
}

/// `doorward-stdio` is `doorward stdio`: what passes, how it refuses, how the command's end is told, what it says of itself.
#[tokio::test]
async fn r11_the_small_program_does_the_same() {
    let machine = Machine::start().await;
    machine
        .assert_the_same_by(By::SmallProgram, &[EVERYTHING], &conversations::legacy())
        .await;

    let mut without = machine.wrapper_by(By::SmallProgram, &[EVERYTHING.to_owned()]);
    without.env_remove("DOORWARD_TOKEN");
    let without = Running::start(without);
    let refused = without.ask(&call(2, "echo", json!({}), None)).await;
    assert_eq!(authorization(&refused)["type"], "oauth2", "{refused}");
    without.close_stdin();
    assert_eq!(without.ended().await.code, 0);

    let sleeping = ["/bin/sh", "-c", "read line; exit 7"].map(ToOwned::to_owned);
    let ends = Running::start(machine.wrapper_by(By::SmallProgram, &sleeping));
    ends.send(&initialize(&json!({})));
    assert_eq!(ends.ended().await.code, 7);

    let missing = Running::start(machine.wrapper_by(By::SmallProgram, &["no-such-program".to_owned()]));
    let ended = missing.ended().await;
    assert_eq!(ended.code, 3);
    assert!(
        ended.stderr.contains("`no-such-program`") && ended.stderr.contains("is it installed"),
        "{}",
        ended.stderr
    );

    let binary = doorward_binary().with_file_name("doorward-stdio");
    let unnamed = machine.home.program(
        &binary.display().to_string(),
        &["--issuer", "https://a.example", "--", "sh", "x"],
    );
    let ended = Running::start(unnamed).ended().await;
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("`sh` starts many servers"),
        "{}",
        ended.stderr
    );
}

/// The token of a request is all that is taken out of it.
#[tokio::test]
async fn r06_r11_the_server_hears_everything_but_the_token() {
    let machine = Machine::start().await;
    let wrapped = machine.wrapped(&[SCRIPT, "legacy"]);
    wrapped.ask(&initialize(&json!({}))).await;
    let token = &machine.token;
    let spaced = r#"{ "params":{"name":"t_read", "_meta" : {"progressToken":1.50, "TOKEN":"SECRET","x":[1e2,"\u00e9"]},"arguments":{"marker":"é"}},"id" : "a\u0062","method":"tools/call", "jsonrpc":"2.0"}"#;
    let sent = spaced.replace("TOKEN", TOKEN).replace("SECRET", token);
    wrapped.write_line(&sent);
    wrapped.answer(&json!("ab")).await;
    wrapped.ask(&call(3, "t_read", json!({}), Some(token))).await;
    wrapped.close_stdin();
    wrapped.ended().await;
    let heard = std::fs::read_to_string(machine.heard("wrapped")).expect("what was heard");
    assert!(
        !heard.contains(token.as_str()) && !heard.contains(TOKEN),
        "{heard}"
    );
    let mut lines = heard.lines();
    assert_eq!(
        lines.next(),
        Some(&*initialize(&json!({})).to_string()),
        "{heard}"
    );
    let spaced: Value = serde_json::from_str(&spaced.replace(r#" "TOKEN":"SECRET","#, "")).expect("JSON");
    let second = lines.next().expect("a line");
    assert_eq!(serde_json::from_str::<Value>(second).expect("JSON"), spaced);
    // Numbers and escapes are written as they were.
    for part in [r#""progressToken":1.50"#, r#"[1e2,"\u00e9"]"#, r#""a\u0062""#] {
        assert!(second.contains(part), "{part} in {second}");
    }
    assert_eq!(
        lines.next(),
        Some(&*call(3, "t_read", json!({}), None).to_string())
    );
}

#[tokio::test]
async fn r11_a_cancellation_reaches_a_wrapped_server_after_its_call() {
    let machine = Machine::start().await;
    for era in ["legacy", "modern"] {
        let wrapped = Running::start(machine.wrapper(&[SCRIPT.to_owned(), era.to_owned()]));
        wrapped.send(&call(2, "t_wait", json!({ "marker": "m" }), None));
        let params = json!({ "requestId": 2 });
        wrapped.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }));
        let id = Cell::new(10);
        eventually("the server gives up", Duration::from_secs(60), async || {
            id.set(id.get() + 1);
            let told = wrapped.ask(&call(id.get(), "t_given_up", json!({}), None)).await;
            told.to_string().contains("\\\"m\\\"").then_some(())
        })
        .await;
        let answered = wrapped.messages();
        assert!(answered.iter().all(|message| message["id"] != 2), "{answered:?}");
        wrapped.close_stdin();
        wrapped.ended().await;
    }
}
