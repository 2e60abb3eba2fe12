//! A DNS server that answers what a test says, differently each time if it likes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::{Arc, Mutex};

/// One record of an answer. All have a time to live of 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name; the records after it are that name's.
    Cname(String),
}

/// What a name is, the `n`th time its IPv4 addresses are asked for (from 0); empty: there is no such name.
pub type Zone = dyn Fn(&str, usize) -> Vec<Record> + Send + Sync;

/// Starts a server; it answers until the test process ends.
///
/// # Panics
/// When port 53 of `address` cannot be bound: this is for a network of the test's own.
pub fn start(address: &str, zone: Arc<Zone>) -> Arc<Mutex<HashMap<String, usize>>> {
    let socket = UdpSocket::bind((address, 53)).expect("port 53 in a network of our own");
    let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counts = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let answer = buffer
                .get(..length)
                .and_then(|query| answer(query, &counts, &*zone));
            if let Some(answer) = answer {
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
    asked
}

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// RFC 1035 §4: header, the question as it came, the records.
fn answer(query: &[u8], counts: &Mutex<HashMap<String, usize>>, zone: &Zone) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let round = {
        let mut counts = counts.lock().ok()?;
        let count = counts.entry(name.clone()).or_insert(0);
        let before = *count;
        if kind == A {
            *count += 1;
        }
        // The question for IPv6 comes beside the one for IPv4.
        if kind == A {
            before
        } else {
            before.saturating_sub(1)
        }
    };
    let records = zone(&name, round);
    let mut body = Vec::new();
    let (mut owner, mut count) = (name.clone(), 0u16);
    for record in &records {
        let (record_kind, data) = match record {
            Record::A(address) => (A, address.octets().to_vec()),
            Record::Aaaa(address) => (AAAA, address.octets().to_vec()),
            Record::Cname(target) => (CNAME, encode(target)),
        };
        if record_kind != CNAME && record_kind != kind {
            continue;
        }
        body.extend(encode(&owner));
        body.extend(record_kind.to_be_bytes());
        body.extend([0, 1, 0, 0, 0, 0]);
        body.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        body.extend(data);
        count += 1;
        if let Record::Cname(target) = record {
            owner.clone_from(target);
        }
    }
    let code: u8 = if records.is_empty() { 3 } else { 0 };
    let mut reply = vec![*query.first()?, *query.get(1)?, 0x85, 0x80 | code, 0, 1];
    reply.extend(count.to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(query.get(12..at + 4)?);
    reply.extend(body);
    Some(reply)
}

fn encode(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
