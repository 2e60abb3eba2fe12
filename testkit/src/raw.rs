//! Raw sockets: requests that no HTTP library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One answer read off a socket.
#[derive(Clone, Debug)]
pub struct RawReply {
    /// The status; 0 if the peer closed without an answer.
    pub status: u16,
    /// Everything that was received.
    pub bytes: Vec<u8>,
}

impl RawReply {
    /// Everything as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The statuses of all answers, in order.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        text.match_indices("HTTP/1.1 ")
            .filter_map(|(at, found)| text.get(at + found.len()..)?.get(..3)?.parse().ok())
            .collect()
    }

    /// The values of a header in the first answer.
    #[must_use]
    pub fn headers(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        head.split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }
}

/// Sends `bytes` on a new connection and reads until one whole answer came or the peer closed.
///
/// # Panics
/// When the connection is refused, or neither happens in time.
pub async fn send(address: SocketAddr, bytes: &[u8]) -> RawReply {
    let mut socket = TcpStream::connect(address)
        .await
        .expect("the server accepts connections");
    // A server may answer and close before it read everything.
    let _ = socket.write_all(bytes).await;
    let mut received = Vec::new();
    let read = async {
        let mut buffer = [0; 16 * 1024];
        loop {
            match socket.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => received.extend_from_slice(&buffer[..count]),
            }
            if is_whole(&received) {
                break;
            }
        }
    };
    let ended = tokio::time::timeout(crate::http::PATIENCE, read).await;
    assert!(
        ended.is_ok(),
        "an answer or a closed connection in time, got: {}",
        String::from_utf8_lossy(&received)
    );
    RawReply {
        status: status_of(&received),
        bytes: received,
    }
}

/// Sends `bytes` on a new connection and reads until the peer closed.
///
/// # Panics
/// When the connection is refused, or stays open.
pub async fn until_closed(address: SocketAddr, bytes: &[u8]) -> RawReply {
    let mut socket = TcpStream::connect(address)
        .await
        .expect("the server accepts connections");
    let _ = socket.write_all(bytes).await;
    let mut received = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let read = async {
        // A reset is a close, too; what came before it counts.
        while let Ok(count @ 1..) = socket.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..count]);
        }
    };
    let ended = tokio::time::timeout(crate::http::PATIENCE, read).await;
    assert!(
        ended.is_ok(),
        "a closed connection in time, got: {}",
        String::from_utf8_lossy(&received)
    );
    RawReply {
        status: status_of(&received),
        bytes: received,
    }
}

/// Sends `bytes`, waits `linger`, and drops the connection without reading the answer.
///
/// # Panics
/// When the connection is refused.
pub async fn send_and_vanish(address: SocketAddr, bytes: &[u8], linger: Duration) {
    let mut socket = TcpStream::connect(address)
        .await
        .expect("the server accepts connections");
    let _ = socket.write_all(bytes).await;
    tokio::time::sleep(linger).await;
    drop(socket);
}

fn status_of(bytes: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(bytes);
    text.strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

/// Whether `bytes` hold one complete HTTP/1.1 answer.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let body = &bytes[end + 4..];
    let status = status_of(bytes);
    if status == 204 || status == 304 || (100..200).contains(&status) {
        return true;
    }
    if let Some(length) = header(&head, "content-length") {
        return length.parse::<usize>().is_ok_and(|length| body.len() >= length);
    }
    header(&head, "transfer-encoding")
        .is_some_and(|_| body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n"))
}

fn header(head: &str, name: &str) -> Option<String> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(have, _)| *have == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// Where `needle` begins in `haystack`.
#[must_use]
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}
