//! What a child process writes: the same lines however they come, and messages that keep everything but the
//! identifiers.

use bytes::Bytes;
use doorward_mcp::message::{MessageError, SUBSCRIPTION_ID, identity};
use doorward_mcp::{Kind, Rewrite, ServerMessage};
use doorward_process::{LineError, Lines};
use serde_json::Value;

const LIMIT: usize = 256;

/// The first byte of `input` is the size of the pieces in which the rest comes.
pub fn check(input: &[u8]) {
    let Some((size, output)) = input.split_first() else {
        return;
    };
    let expected: Vec<&[u8]> = output
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .collect();
    match lines(output, usize::from(*size).max(1)) {
        Ok(lines) => assert_eq!(lines, expected),
        Err(_) => assert!(expected.iter().any(|line| line.len() > LIMIT)),
    }
    for line in expected {
        message(line);
    }
}

fn lines(output: &[u8], size: usize) -> Result<Vec<Bytes>, LineError> {
    let (mut lines, mut found) = (Lines::new(LIMIT), Vec::new());
    for piece in output.chunks(size) {
        lines.room().extend_from_slice(piece);
        while let Some(line) = lines.next_line()? {
            found.push(line);
        }
    }
    found.extend(lines.rest()?);
    Ok(found)
}

fn message(line: &[u8]) {
    let theirs = serde_json::from_slice::<Value>(line);
    let read = ServerMessage::read(Bytes::copy_from_slice(line));
    let message = match read {
        Ok(message) => message,
        Err(MessageError::NotJson(_) | MessageError::NotUtf8) => return,
        Err(MessageError::Empty) => return assert!(line.trim_ascii().is_empty()),
        // Whatever else is wrong with it, it is JSON.
        Err(_) => return assert!(theirs.is_ok() || is_odd(line)),
    };
    let mut theirs = match theirs {
        Ok(theirs) => theirs,
        Err(error) => return assert!(is_odd(line), "{error}"),
    };
    assert_eq!(theirs["jsonrpc"], "2.0");
    assert_eq!(message.method(), theirs["method"].as_str());
    let kind = match (theirs.get("method").is_some(), theirs["id"].is_null()) {
        (true, false) => Kind::Request,
        (true, true) => Kind::Notification,
        _ => Kind::Response,
    };
    assert_eq!(message.kind(), kind);
    // `-0` is a float to serde_json.
    if let Some(code) = theirs["error"]["code"].as_i64() {
        assert_eq!(message.error_code(), Some(code));
    }
    assert_eq!(message.rewritten(&Rewrite::default()), line);
    if let Some(id) = message.id() {
        assert_eq!(serde_json::from_str::<Value>(id).unwrap(), theirs["id"]);
        if let Some(text) = theirs["id"].as_str() {
            assert_eq!(identity(id), format!("\"{text}\""));
        }
    }

    let changed = message.rewritten(&Rewrite {
        id: Some("1"),
        progress_token: Some("2"),
        cancelled_request: Some("3"),
        subscription: Some("4"),
    });
    let params = [("progressToken", 2), ("requestId", 3)];
    if message.id().is_some() {
        theirs["id"] = 1.into();
    }
    for (key, value) in params {
        if kind != Kind::Response && scalar(&theirs["params"][key]) {
            theirs["params"][key] = value.into();
        }
    }
    let place = if kind == Kind::Response {
        "result"
    } else {
        "params"
    };
    if scalar(&theirs[place]["_meta"][SUBSCRIPTION_ID]) {
        theirs[place]["_meta"][SUBSCRIPTION_ID] = 4.into();
    }
    assert_eq!(serde_json::from_slice::<Value>(&changed).unwrap(), theirs);
}

/// Whether there may be half a surrogate pair in it, or a number that is no finite double: grammatical, but not
/// to `serde_json`.
fn is_odd(line: &[u8]) -> bool {
    let surrogate = |three: &[u8]| three.eq_ignore_ascii_case(b"\\ud");
    let number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'e' | b'E' | b'+' | b'-' | b'.');
    line.windows(3).any(surrogate)
        || line
            .split(|byte| !number(byte))
            .any(|number| number.len() > 300 || number.iter().any(|byte| matches!(byte, b'e' | b'E')))
}

fn scalar(value: &Value) -> bool {
    value.is_string() || value.is_number()
}
