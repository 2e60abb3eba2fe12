//! One decision as one line of JSON, written by hand: on the path of every call.
//!
//! Whatever a caller wrote leaves this place as printable ASCII: control characters, quotes and everything beyond
//! ASCII are escaped, so no text of anybody's ends a line, begins another, or moves a terminal's cursor (LK-01).

use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use doorward_types::id::TraceId;
use doorward_types::scope::{Scope, ScopeSet};
use doorward_types::time::UnixTime;
use uuid::Uuid;

/// Most policies that one line names.
const POLICIES: usize = 16;
/// Longest text of a caller's that is kept, in characters; what is longer ends in `…`.
const LONGEST: usize = 512;

/// `,"name":` as one text.
macro_rules! member {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// `,"name":"`, for texts.
macro_rules! quoted {
    ($name:literal) => {
        concat!(",\"", $name, "\":\"")
    };
}

/// What is the same for all decisions about one server, rendered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts(Arc<[u8]>);

impl ServerFacts {
    /// The server's name, its resource identifier, how it is reached, who issues its tokens, and where that issuer's
    /// metadata is.
    #[must_use]
    pub fn new(name: &str, resource: &str, transport: &str, issuer: &str, metadata: &str) -> Self {
        let mut out = Vec::new();
        for (begin, value) in [
            (quoted!("server"), name),
            (quoted!("resource"), resource),
            (quoted!("transport"), transport),
            (quoted!("issuer"), issuer),
            (quoted!("issuer_metadata"), metadata),
        ] {
            text(&mut out, begin, value);
        }
        Self(out.into())
    }
}

/// Whom a verified token speaks for.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The account, or the id that stands for a client that acts for itself.
    pub user: Uuid,
    /// The client.
    pub client: &'a str,
    /// The token's id.
    pub token: Uuid,
    /// The token chain, which leads to the consent that it came from.
    pub family: Option<Uuid>,
    /// The token's audience.
    pub audience: &'a str,
    /// Its scopes.
    pub scopes: &'a ScopeSet,
}

/// Scopes that can be told one by one, from wherever they are kept.
pub trait ScopeNames: fmt::Debug {
    /// Tells each of them, in order.
    fn each(&self, tell: &mut dyn FnMut(&Scope));
}

impl ScopeNames for ScopeSet {
    fn each(&self, tell: &mut dyn FnMut(&Scope)) {
        self.iter().for_each(tell);
    }
}

/// One decision. None of these holds a secret or an argument of a call.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When the request came.
    pub at: UnixTime,
    /// The decision's id.
    pub id: Uuid,
    /// How it ended.
    pub outcome: &'a str,
    /// Why.
    pub reason: Option<&'a str>,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// The server.
    pub server: &'a ServerFacts,
    /// Whom the token speaks for; none without a good one.
    pub caller: Option<Caller<'a>>,
    /// HTTP method.
    pub http_method: &'a str,
    /// Method of the message.
    pub method: Option<&'a str>,
    /// What it acts on.
    pub name: Option<&'a str>,
    /// Its revision.
    pub revision: Option<&'a str>,
    /// The scopes that were needed.
    pub needed: Option<&'a dyn ScopeNames>,
    /// Whether the same was refused to the same caller a moment ago.
    pub repeated: bool,
    /// Policies that decided.
    pub policies: &'a [String],
    /// The login it belongs to.
    pub trace: Option<TraceId>,
    /// The client's own trace id.
    pub traceparent: Option<TraceId>,
    /// Where it came from.
    pub peer: Option<IpAddr>,
    /// From the request to the decision, or how long a stream lasted.
    pub took: Duration,
    /// Of that, waiting for the upstream.
    pub upstream_took: Option<Duration>,
    /// What the upstream answered.
    pub upstream_status: Option<u16>,
    /// Whether a stream stays open.
    pub opens_stream: bool,
}

struct Scratch {
    line: Vec<u8>,
    second: i64,
    /// `YYYY-MM-DDTHH:MM:SS.`
    prefix: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch { line: Vec::new(), second: i64::MIN, prefix: Vec::new() })
    };
}

/// Renders `entry` with its line break and hands it to `take`. Nothing is allocated once a thread has rendered a few.
pub(super) fn rendered<T>(entry: &Entry<'_>, take: impl FnOnce(&[u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.line.clear();
        scratch.line.extend_from_slice(b"{\"time\":\"");
        time(scratch, entry.at);
        render(&mut scratch.line, entry);
        take(&scratch.line)
    })
}

/// A line for refusals that were only counted.
pub(super) fn counted(
    at: UnixTime,
    outcome: &str,
    reason: &str,
    server: &ServerFacts,
    times: u64,
) -> Vec<u8> {
    let mut out = format!("{{\"time\":\"{at}\"").into_bytes();
    text(&mut out, quoted!("outcome"), outcome);
    text(&mut out, quoted!("reason"), reason);
    number(&mut out, member!("times"), times);
    out.extend_from_slice(&server.0);
    out.extend_from_slice(b"}\n");
    out
}

fn time(scratch: &mut Scratch, at: UnixTime) {
    let millis = at.millis();
    let second = millis.div_euclid(1000);
    if second != scratch.second {
        scratch.second = second;
        scratch.prefix.clear();
        let text = UnixTime::from_millis(second.saturating_mul(1000)).to_string();
        let whole = text.split(['.', 'Z']).next().unwrap_or_default();
        scratch.prefix.extend_from_slice(whole.as_bytes());
        scratch.prefix.push(b'.');
    }
    scratch.line.extend_from_slice(&scratch.prefix);
    let rest = u64::try_from(millis.rem_euclid(1000)).unwrap_or(0);
    for divisor in [100, 10, 1] {
        scratch.line.push(digit(rest / divisor));
    }
    scratch.line.extend_from_slice(b"Z\"");
}

fn render(out: &mut Vec<u8>, entry: &Entry<'_>) {
    id(out, quoted!("decision_id"), entry.id);
    text(out, quoted!("outcome"), entry.outcome);
    if let Some(reason) = entry.reason {
        text(out, quoted!("reason"), reason);
    }
    if let Some(status) = entry.status {
        number(out, member!("status"), status.into());
    }
    out.extend_from_slice(&entry.server.0);
    text(out, quoted!("http_method"), entry.http_method);
    for (begin, value) in [
        (quoted!("method"), entry.method),
        (quoted!("name"), entry.name),
        (quoted!("revision"), entry.revision),
    ] {
        if let Some(value) = value {
            text(out, begin, value);
        }
    }
    if let Some(caller) = &entry.caller {
        id(out, quoted!("user"), caller.user);
        text(out, quoted!("client"), caller.client);
        id(out, quoted!("token"), caller.token);
        if let Some(family) = caller.family {
            id(out, quoted!("family"), family);
        }
        text(out, quoted!("audience"), caller.audience);
        scopes(out, quoted!("scopes"), caller.scopes);
    }
    if let Some(needed) = entry.needed {
        scopes(out, quoted!("scopes_needed"), needed);
    }
    policies(out, entry.policies);
    if entry.repeated {
        put(out, ",\"repeated\":true");
    }
    origin(out, entry);
    number(out, member!("took_us"), micros(entry.took));
    if let Some(took) = entry.upstream_took {
        number(out, member!("upstream_us"), micros(took));
    }
    if let Some(status) = entry.upstream_status {
        number(out, member!("upstream_status"), status.into());
    }
    if entry.opens_stream {
        put(out, ",\"stream\":true");
    }
    put(out, "}\n");
}

fn policies(out: &mut Vec<u8>, policies: &[String]) {
    if policies.is_empty() {
        return;
    }
    put(out, ",\"policies\":[");
    for (index, policy) in policies.iter().take(POLICIES).enumerate() {
        put(out, if index > 0 { ",\"" } else { "\"" });
        escape(out, policy);
        out.push(b'"');
    }
    out.push(b']');
}

fn origin(out: &mut Vec<u8>, entry: &Entry<'_>) {
    for (begin, value) in [
        (quoted!("trace"), entry.trace),
        (quoted!("traceparent"), entry.traceparent),
    ] {
        if let Some(trace) = value {
            put(out, begin);
            for byte in trace.as_bytes() {
                out.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
            }
            out.push(b'"');
        }
    }
    let Some(peer) = entry.peer else { return };
    put(out, quoted!("peer"));
    match peer {
        IpAddr::V4(address) => {
            for (index, part) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                decimal(out, part.into());
            }
        }
        // Writing to a vector cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
    out.push(b'"');
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// `begin` is the name of the member, and the quote that the text begins with.
fn text(out: &mut Vec<u8>, begin: &str, value: &str) {
    put(out, begin);
    escape(out, value);
    out.push(b'"');
}

fn id(out: &mut Vec<u8>, begin: &str, id: Uuid) {
    put(out, begin);
    let mut buffer = Uuid::encode_buffer();
    put(out, id.hyphenated().encode_lower(&mut buffer));
    out.push(b'"');
}

fn scopes(out: &mut Vec<u8>, begin: &str, scopes: &dyn ScopeNames) {
    put(out, begin);
    let begun = out.len();
    scopes.each(&mut |scope| {
        if out.len() > begun {
            out.push(b' ');
        }
        escape(out, scope.as_str());
    });
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, begin: &str, value: u64) {
    put(out, begin);
    decimal(out, value);
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = digit(value);
        used += 1;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// The last decimal digit.
fn digit(value: u64) -> u8 {
    b'0' + u8::try_from(value % 10).unwrap_or(0)
}

const fn hex(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + nibble - 10,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Somebody else's text between two quotes. Nearly always it is printable ASCII and is copied as it is.
fn escape(out: &mut Vec<u8>, value: &str) {
    // Without a way out of the loop, so that it is done for many bytes at once.
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\');
    let all_plain = value.bytes().fold(true, |plain, byte| plain & is_plain(byte));
    if value.len() <= LONGEST && all_plain {
        return out.extend_from_slice(value.as_bytes());
    }
    for (count, character) in value.chars().enumerate() {
        if count == LONGEST {
            return out.extend_from_slice(b"\\u2026");
        }
        let mut units = [0_u16; 2];
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            ' '..='~' => out.push(u8::try_from(character).unwrap_or(b'?')),
            _ => {
                for unit in character.encode_utf16(&mut units) {
                    // Writing to a vector cannot fail.
                    drop(write!(out, "\\u{unit:04x}"));
                }
            }
        }
    }
}
