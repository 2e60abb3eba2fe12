//! The same in front of a command: what it reads are lines, and readers of lines differ on where one ends.

use std::sync::Mutex;
use std::time::Duration;

use doorward_gateway::{Launcher, Launching, Owner, StdioSettings};
use doorward_process::{Exit, Process};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;

/// Commands that write down every line and answer it.
#[derive(Clone, Default)]
struct Scribe(Arc<Mutex<Vec<Bytes>>>);

impl Scribe {
    fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// What a command of both eras says to a line.
    fn answer(line: &[u8]) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            id: Option<&'a RawValue>,
            method: Option<String>,
        }
        let message: Message<'_> = serde_json::from_slice(line).expect("a line is JSON");
        let result = match message.method.as_deref() {
            Some("initialize") => {
                json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": { "name": "s", "version": "1" } })
            }
            Some("server/discover") => {
                json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"] })
            }
            _ => json!({ "resultType": "complete", "tools": [], "prompts": [], "resources": [] }),
        };
        let id = message.id?.get();
        Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
    }
}

impl Launcher for Scribe {
    fn launch(&self, _: Owner) -> Launching {
        let lines = Arc::clone(&self.0);
        Box::pin(async move {
            let (input, mut to_child) = mpsc::channel::<Bytes>(64);
            let (from_child, output) = mpsc::channel(64);
            let (process, ending) = Process::from_parts(input, output);
            tokio::spawn(async move {
                while let Some(line) = to_child.recv().await {
                    lines.lock().unwrap().push(line.clone());
                    if let Some(answer) = Self::answer(&line)
                        && from_child.send(Ok(answer.into())).await.is_err()
                    {
                        break;
                    }
                }
                let reason = ending.asked().await;
                ending.exit(Exit {
                    code: Some(0),
                    signal: None,
                    reason,
                });
            });
            Ok(process)
        })
    }
}

/// Where readers of lines see an end: line feeds; those of Java and JavaScript and `str.splitlines` of Python
/// at more.
fn pieces(line: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(line);
    let everywhere = text.split(|c| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    });
    let mut pieces: Vec<Vec<u8>> = everywhere.map(|piece| piece.as_bytes().to_vec()).collect();
    pieces.push(line.to_vec());
    pieces
}

/// A gateway, the commands behind it, and a session for messages of legacy revisions.
struct Commands {
    gateway: Gateway,
    scribe: Scribe,
    session: Option<HeaderValue>,
}

impl Commands {
    fn under(rules: Rules) -> Self {
        let scribe = Scribe::default();
        let settings = StdioSettings {
            answer_timeout: Duration::from_secs(20),
            per_user: 1_000,
            total: 1_000,
            ..StdioSettings::default()
        };
        let random = Arc::new(CountingRandom::default());
        let upstream = doorward_gateway::Upstream::stdio(
            ServerName::new("mcp"),
            Arc::new(scribe.clone()),
            settings,
            random,
        );
        Self {
            gateway: gateway(rules, upstream),
            scribe,
            session: None,
        }
    }

    /// Sends a mutant and returns what the commands read meanwhile.
    async fn send(&mut self, number: u64, mutant: &Mutant) -> (u16, Vec<Bytes>) {
        if self.session.is_none() {
            let initialize = Mutant {
                body: INITIALIZE.into(),
                headers: Vec::new(),
            };
            let (status, headers, _) = post(&self.gateway, number, &initialize, None).await;
            assert_eq!(status, 200);
            self.session = Some(headers["mcp-session-id"].clone());
        }
        let _ = self.scribe.take();
        let (status, _, _) = post(&self.gateway, number, mutant, self.session.as_ref()).await;
        if status == 404 && !mutant.body.is_empty() {
            // Perhaps this message ended the session; the next one gets a new one.
            self.session = None;
        }
        (status, self.scribe.take())
    }
}

#[tokio::test]
async fn mb_09_mb_10_no_reader_of_lines_sees_what_policy_refused() {
    assert_no_reader_of_lines_sees(Rules::no_admin(), Rules::open(), bodies() / 2).await;
}

#[tokio::test]
async fn mb_09_mb_10_no_reader_of_lines_sees_what_scopes_and_cedar_refused() {
    for refusing in [Rules::lacking(), Rules::cedar()] {
        assert_no_reader_of_lines_sees(refusing, Rules::all_held(), bodies() / 8).await;
    }
}

/// Sends so many messages to commands behind a gateway that refuses `t_admin` and one that does not.
async fn assert_no_reader_of_lines_sees(refusing: Rules, open: Rules, sent: u64) {
    let (mut refusing, mut open) = (Commands::under(refusing), Commands::under(open));
    let first = seed();
    let (mut harmless, mut admitted) = (0, 0);
    let mut statuses = BTreeMap::new();
    for number in first..first + sent {
        let mutant = mutant(number);
        let (status, lines) = refusing.send(number, &mutant).await;
        *statuses.entry(status).or_insert(0) += 1;
        for line in lines {
            harmless += 1;
            for piece in pieces(&line) {
                for reading in readings(&piece) {
                    assert_ne!(
                        reading.object,
                        "t_admin",
                        "DOORWARD_SEED={number}: {}",
                        String::from_utf8_lossy(&line)
                    );
                }
            }
        }
        let (_, lines) = open.send(number, &mutant).await;
        for line in lines {
            assert_eq!(
                pieces(&line).len(),
                2,
                "DOORWARD_SEED={number}: one line for every reader of lines: {line:?}"
            );
            let found = readings(&line);
            assert!(
                found
                    .iter()
                    .all(|reading| Some(&reading.object) == found.first().map(|first| &first.object)),
                "DOORWARD_SEED={number}: readers differ: {found:?}"
            );
            admitted += u64::from(found.iter().any(|reading| reading.object == "t_admin"));
        }
    }
    println!("{harmless} lines passed, {admitted} to t_admin with the seam open, {statuses:?}");
    assert!(harmless > sent / 20, "{harmless} lines of {sent} messages");
    assert!(
        admitted > sent / 20,
        "{admitted} of {sent} reach t_admin without the policy"
    );
    assert!(
        statuses
            .keys()
            .all(|status| matches!(status, 200..=299 | 400..=499)),
        "{statuses:?}"
    );
}

#[test]
fn a_command_of_the_test_answers_what_it_is_asked() {
    let answer = Scribe::answer(br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["id"], "a");
    assert_eq!(
        Scribe::answer(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
        None
    );
    assert_eq!(pieces("a\u{2028}b".as_bytes()).len(), 3);
}
