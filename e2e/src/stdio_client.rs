//! A client of servers that tell over stdio what authorization they need (docs/stdio-authorization.md). It knows of no server and
//! of no provider: everything comes from what the server says. It writes raw JSON-RPC lines, so that nothing is hidden in an SDK.
//!
//! usage: `stdio-client [--own-login] [--modern] -- COMMAND ARGUMENTS…`
//!   --own-login   log in here, instead of showing the server's own `login_url`
//!   --modern      speak 2026-07-28 instead of 2025-11-25
//!
//! stdin: one JSON array `["tool", {arguments}]` for each call; `"done"` when somebody has come back from the server's login.
//! stdout: one JSON object for each thing that it saw: `entry`, `tools`, `refusal`, `login` or `authorize`, `result`, `failure`.

#[path = "stdio_client/login.rs"]
mod login;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::StdinLock;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

const EXTENSION: &str = "io.doorward/authorization";
const TOKEN: &str = "io.doorward/token";
/// How often a call is made before its user is told that it cannot be done.
const TRIES: usize = 3;
/// The server may still be fetching its token when the person is back: so often and so long it is asked again.
const LATE: (usize, Duration) = (160, Duration::from_millis(250));

/// A token and what it was granted for.
struct Granted {
    token: String,
    scopes: BTreeSet<String>,
}

struct Client {
    _server: Child,
    to_server: ChildStdin,
    from_server: Lines<BufReader<ChildStdout>>,
    person: std::io::Lines<StdinLock<'static>>,
    modern: bool,
    own_login: bool,
    next: u64,
    granted: Option<Granted>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let options: Vec<String> = words.by_ref().take_while(|word| word != "--").collect();
    let program = words.next().ok_or("which command?")?;
    let mut server = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut client = Client {
        to_server: server.stdin.take().ok_or("no pipe")?,
        from_server: BufReader::new(server.stdout.take().ok_or("no pipe")?).lines(),
        _server: server,
        person: std::io::stdin().lines(),
        modern: options.iter().any(|option| option == "--modern"),
        own_login: options.iter().any(|option| option == "--own-login"),
        next: 0,
        granted: None,
    };
    client.converse().await
}

pub(crate) fn saw(what: &str, mut more: Value) {
    more["saw"] = what.into();
    println!("{more}");
}

impl Client {
    async fn converse(&mut self) -> Result<(), Failure> {
        let entry = self.greet().await?;
        saw("entry", json!({ "entry": entry }));
        let listed = self.ask("tools/list", json!({})).await?;
        let tools: Vec<Value> = listed["result"]["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|tool| json!({ "name": tool["name"], "authorization": tool["_meta"][EXTENSION] }))
            .collect();
        saw("tools", json!({ "tools": tools }));
        while let Some(line) = self.person.next() {
            let wanted: Value = serde_json::from_str(&line?)?;
            let Some(tool) = wanted[0].as_str() else { continue };
            match self.call(tool, &wanted[1]).await {
                Ok(result) => saw("result", json!({ "tool": tool, "result": result })),
                Err(why) => saw("failure", json!({ "tool": tool, "why": why.to_string() })),
            }
        }
        Ok(())
    }

    /// Begins, and gives what the server says of authorization.
    async fn greet(&mut self) -> Result<Value, Failure> {
        // A client that declares the extension gets its errors, also where it could open URLs for its user.
        let declared = json!({ "experimental": { EXTENSION: {} } });
        if self.modern {
            let discovered = self.ask("server/discover", json!({})).await?;
            return Ok(discovered["result"]["capabilities"]["extensions"][EXTENSION].clone());
        }
        let greeting = json!({ "protocolVersion": "2025-11-25", "capabilities": declared,
            "clientInfo": { "name": "stdio-client", "version": "1" } });
        let initialized = self.ask("initialize", greeting).await?;
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        self.write(&note).await?;
        Ok(initialized["result"]["capabilities"]["experimental"][EXTENSION].clone())
    }

    /// Calls a tool, and does what its refusals ask for.
    async fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, Failure> {
        for _ in 0..TRIES {
            let answer = self.try_once(tool, arguments).await?;
            let Some(needed) = authorization(&answer) else {
                return outcome(answer);
            };
            saw(
                "refusal",
                json!({ "tool": tool, "code": answer["error"]["code"], "authorization": needed }),
            );
            if needed["error"] == "temporarily_unavailable" {
                return Err("nobody can be asked whether the token is good".into());
            }
            if self.own_login {
                self.log_in(needed).await?;
                continue;
            }
            let url = needed["login_url"].as_str().ok_or("there is no login_url")?;
            saw("login", json!({ "url": url }));
            self.person.next().ok_or("nobody came back")??;
            if let Some(answer) = self.after_login(tool, arguments, needed).await? {
                return outcome(answer);
            }
        }
        Err(format!("{tool} was refused {TRIES} times").into())
    }

    /// The answer after a login of the server's own, as soon as it is another one than before.
    async fn after_login(
        &mut self,
        tool: &str,
        arguments: &Value,
        before: &Value,
    ) -> Result<Option<Value>, Failure> {
        for _ in 0..LATE.0 {
            let answer = self.try_once(tool, arguments).await?;
            match authorization(&answer) {
                None => return Ok(Some(answer)),
                Some(now) if now["error"] != before["error"] || now["scopes"] != before["scopes"] => {
                    return Ok(None);
                }
                Some(_) => tokio::time::sleep(LATE.1).await,
            }
        }
        Ok(None)
    }

    /// Gets a token for what was granted before and what is needed now.
    async fn log_in(&mut self, needed: &Value) -> Result<(), Failure> {
        let mut scopes = login::strings(&needed["scopes"]);
        if let Some(before) = self.granted.take() {
            scopes.extend(before.scopes);
        }
        let (token, scopes) = login::authorize(needed, scopes).await?;
        self.granted = Some(Granted { token, scopes });
        Ok(())
    }

    async fn try_once(&mut self, tool: &str, arguments: &Value) -> Result<Value, Failure> {
        let mut params = json!({ "name": tool, "arguments": arguments });
        if let Some(granted) = &self.granted {
            params["_meta"] = json!({ TOKEN: granted.token });
        }
        self.ask("tools/call", params).await
    }

    /// Sends a request and gives its answer; whatever else comes meanwhile is none of this client's business.
    async fn ask(&mut self, method: &str, mut params: Value) -> Result<Value, Failure> {
        self.next += 1;
        let id = self.next;
        if self.modern {
            let meta = &mut params["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
            meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "stdio-client", "version": "1" });
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({ "extensions": { EXTENSION: {} } });
        }
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await?;
        loop {
            let line = self.from_server.next_line().await?.ok_or("the server ended")?;
            let message: Value = serde_json::from_str(&line)?;
            if message["id"] == id && message.get("method").is_none() {
                return Ok(message);
            }
        }
    }

    async fn write(&mut self, message: &Value) -> Result<(), Failure> {
        self.to_server
            .write_all(format!("{message}\n").as_bytes())
            .await?;
        Ok(self.to_server.flush().await?)
    }
}

/// What an answer says of authorization. The type counts, never the code.
fn authorization(answer: &Value) -> Option<&Value> {
    let needed = answer.pointer("/error/data/authorization")?;
    (needed["type"] == "oauth2").then_some(needed)
}

fn outcome(mut answer: Value) -> Result<Value, Failure> {
    match answer.get("error") {
        None => Ok(answer["result"].take()),
        Some(error) => Err(error.to_string().into()),
    }
}
