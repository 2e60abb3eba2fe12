//! The official Inspector on the command line, in front of the GitHub server over stdio.

use std::path::Path;
use std::process::Output;

use doorward_testkit::client_home::PATIENCE;
use doorward_testkit::github::App;
use serde_json::{Value, json};

use crate::node;
use crate::stdio_authorization::OnGitHub;

const INSPECTOR: &str = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";

/// The Inspector does one thing for each start. What the server says to it is kept beside it.
struct Inspector {
    folder: node::Folder,
    on: OnGitHub,
    era: &'static str,
}

impl Inspector {
    fn new(era: &'static str) -> Self {
        let folder = node::Folder::new();
        let on = OnGitHub::start(App::OAuth);
        let words: Vec<String> = on.command().iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "export DOORWARD_STORE='{}'\n{} | tee -a lines\n",
            on.home.store().display(),
            words.join(" ")
        );
        std::fs::write(folder.path().join("server.sh"), script).expect("a script");
        Self { folder, on, era }
    }

    async fn run(&self, words: &[&str]) -> Output {
        let [node, script] = self.folder.command(INSPECTOR);
        let mut command = self.folder.within(node);
        command
            .arg(script)
            .args(["--cli", "/bin/sh", "server.sh", "--transport", "stdio"])
            .args(["--protocol-era", self.era, "--format", "json"])
            .args(words)
            .env("MCP_INSPECTOR_SECRET_STORE", "file")
            .kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        ended.expect("the Inspector ends").expect("the Inspector starts")
    }

    async fn user_info(&self, more: &[&str]) -> Output {
        let call = ["--method", "tools/call", "--tool-name", "get_github_user_info"];
        self.run(&[&call, more].concat()).await
    }

    /// The last line that the server wrote.
    fn last_line(&self) -> Value {
        let lines = std::fs::read_to_string(Path::new(self.folder.path()).join("lines")).expect("lines");
        let last = lines.lines().next_back().expect("a line");
        serde_json::from_str(last).expect("JSON")
    }
}

fn last_of(text: &[u8]) -> Value {
    let text = String::from_utf8_lossy(text).into_owned();
    let last = text.trim().lines().next_back().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
}

async fn lists_and_is_refused(era: &'static str, code: i64, printed: &Value, exit: i32) {
    let inspector = Inspector::new(era);
    let listed = inspector.run(&["--method", "tools/list"]).await;
    let tools = last_of(&listed.stdout)["result"]["tools"].take();
    let marks: Vec<(&str, &Value)> = tools
        .as_array()
        .expect("tools")
        .iter()
        .map(|tool| {
            (
                tool["name"].as_str().expect("a name"),
                &tool["_meta"]["io.doorward/authorization"],
            )
        })
        .collect();
    let mark = json!({ "required": true, "scopes": ["read:user"] });
    assert_eq!(
        marks,
        [("get_github_user_info", &mark), ("get_github_user_repos", &mark)]
    );

    let refused = inspector.user_info(&[]).await;
    assert_eq!(refused.status.code(), Some(exit), "{refused:?}");
    assert!(refused.stdout.is_empty(), "{refused:?}");
    assert_eq!(last_of(&refused.stderr), *printed);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        words.contains("open http://127.0.0.1:"),
        "its user sees where to log in: {words}"
    );
    // What it was sent says everything.
    let sent = inspector.last_line();
    assert_eq!(sent["error"]["code"], code, "{sent}");
    let needed = &sent["error"]["data"]["authorization"];
    assert_eq!(needed["type"], "oauth2", "{sent}");
    assert_eq!(
        needed["authorization_url"],
        format!("{}/login/oauth/authorize", inspector.on.github.base())
    );

    let token = format!("DOORWARD_TOKEN={}", inspector.on.github.token("read:user"));
    let called = inspector.user_info(&["-e", &token]).await;
    let user = last_of(&called.stdout)["result"].take();
    assert_eq!(user["structuredContent"]["login"], "octo-test", "{called:?}");
}

#[tokio::test]
async fn r04_r05_r09_the_inspector_lists_tools_and_gets_the_error() {
    let printed = json!({ "error": { "code": "error", "message": "Authorization required to call get_github_user_info" } });
    lists_and_is_refused("legacy", -32001, &printed, 1).await;
}

/// In the modern era it knows the code: 401 is a login that is needed.
#[tokio::test]
async fn r04_r05_r09_the_modern_inspector_lists_tools_and_gets_the_error() {
    let printed = json!({ "error": { "code": "auth_required", "status": 401,
        "message": "Authorization required to call get_github_user_info" } });
    lists_and_is_refused("modern", 401, &printed, 3).await;
}
