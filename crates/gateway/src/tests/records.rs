//! Every refusal leaves one log record, and no record holds a secret.

use std::io;

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::refuse::Escaped;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn lk_01_lk_02_r32_one_well_formed_record_without_secrets() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .finish();
    // While there is only one, a call site that another test reaches first asks that test's thread whether
    // anybody listens, and is then off for good.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let fixture = Fixture::new().await;
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let secret = "SECRET-TOKEN";
    let arguments = CALL.replace("\"arguments\":{}", "\"arguments\":{\"k\":\"SECRET-TOKEN\"}");
    for request in [
        post(secret, CALL, &[("user-agent", "x\tSECRET-TOKEN")]),
        post("mallory", &arguments, &[("cookie", secret)]),
        post(
            "alice",
            &CALL.replace("t_read", "t\\u001b[31mSECRET-TOKEN\\r\\n"),
            &[],
        ),
    ] {
        fixture.gateway.handle(route, request).await;
    }
    let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!written.contains(secret), "{written}");
    let records: Vec<Value> = written
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect(line))
        .filter(|record| record["fields"]["message"] == "call refused")
        .collect();
    assert_eq!(records.len(), 3, "one for each");
    let fields = &records[1]["fields"];
    assert_eq!(fields["outcome"], "refused");
    assert_eq!(
        (&fields["server"], &fields["method"]),
        (&"a".into(), &"tools/call".into())
    );
    assert_eq!(
        (&fields["reason"], &fields["name"]),
        (&"not_allowed".into(), &"t_read".into())
    );
    assert_eq!(fields["user"], "00000000-0000-0000-0000-000000000003");
    assert!(fields["decision_id"].is_string());
}

#[test]
fn lk_01_foreign_text_stays_on_its_line() {
    assert_eq!(
        Escaped("a\r\nb\u{1b}[0m\"\\é\0").to_string(),
        "a\\u{d}\\u{a}b\\u{1b}[0m\\u{22}\\u{5c}\\u{e9}\\u{0}"
    );
    assert_eq!(Escaped(&"x".repeat(1000)).to_string().len(), 256);
}
