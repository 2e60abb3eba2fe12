//! HTTP/2 frames as no library would send them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What every connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frame types (RFC 9113 §6).
pub const DATA: u8 = 0;
/// Begins a stream.
pub const HEADERS: u8 = 1;
/// Ends a stream.
pub const RST_STREAM: u8 = 3;
/// Settings, or their acknowledgement.
pub const SETTINGS: u8 = 4;
/// A ping, or its answer.
pub const PING: u8 = 6;
/// Ends the connection.
pub const GOAWAY: u8 = 7;
/// Lets the other side send more.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a header block.
pub const CONTINUATION: u8 = 9;
/// The flag of the last frame of a message.
pub const END_STREAM: u8 = 0x1;
/// The flag of a settings frame or ping that answers one.
pub const ACK: u8 = 0x1;
/// The flag of the last frame of a header block.
pub const END_HEADERS: u8 = 0x4;
/// The setting that says how much a peer may send on a stream before it is let send more.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame that was received.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status that a `HEADERS` frame begins with.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let code = match *self.payload.first()? {
            // The static table of HPACK.
            0x88 => "200".into(),
            0x89 => "204".into(),
            0x8b => "304".into(),
            0x8c => "400".into(),
            0x8d => "404".into(),
            0x8e => "500".into(),
            // A literal with an indexed name.
            0x48 | 0x08 => {
                let length = *self.payload.get(1)?;
                let value = self.payload.get(2..2 + usize::from(length & 0x7f))?;
                if length & 0x80 == 0 {
                    String::from_utf8_lossy(value).into_owned()
                } else {
                    huffman_digits(value)
                }
            }
            _ => return None,
        };
        code.parse().ok()
    }

    /// The error code of `RST_STREAM` or `GOAWAY`.
    #[must_use]
    pub fn error(&self) -> Option<u32> {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }
}

/// Digits in HPACK's Huffman code (RFC 7541, appendix B).
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut digits) = (bits.as_str(), String::new());
    'next: while !rest.is_empty() {
        for (code, digit) in [
            ("00000", '0'),
            ("00001", '1'),
            ("00010", '2'),
            ("011001", '3'),
            ("011010", '4'),
            ("011011", '5'),
            ("011100", '6'),
            ("011101", '7'),
            ("011110", '8'),
            ("011111", '9'),
        ] {
            if let Some(after) = rest.strip_prefix(code) {
                digits.push(digit);
                rest = after;
                continue 'next;
            }
        }
        break;
    }
    digits
}

/// A frame's bytes.
///
/// # Panics
/// When the payload is longer than a frame can be.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload");
    let [_, a, b, c] = length.to_be_bytes();
    let mut out = vec![a, b, c, kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A header block: literals, nothing indexed, nothing compressed.
///
/// # Panics
/// When a name or value is longer than a megabyte.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            length(text.len(), &mut out);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(mut value: usize, out: &mut Vec<u8>) {
    if value < 0x7f {
        out.push(u8::try_from(value).expect("seven bits"));
        return;
    }
    out.push(0x7f);
    value -= 0x7f;
    while value >= 0x80 {
        out.push(u8::try_from(value % 0x80 + 0x80).expect("a byte"));
        value /= 0x80;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A connection on which anything can be sent.
pub struct Http2 {
    socket: Box<dyn Socket>,
    received: Vec<u8>,
    next_stream: u32,
}

impl Http2 {
    /// Connects, and sends the preface and these settings.
    ///
    /// # Panics
    /// When the connection is refused.
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        socket.set_nodelay(true).expect("a socket option");
        Self::begin(Box::new(socket), settings).await
    }

    /// The same over TLS, agreed on by ALPN.
    ///
    /// # Panics
    /// When there is no such connection, or the server does not choose HTTP/2.
    pub async fn connect_tls(
        address: SocketAddr,
        name: &str,
        trusted: CertificateDer<'static>,
        settings: &[(u16, u32)],
    ) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted).expect("a certificate");
        let mut config =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
        let tcp = TcpStream::connect(address).await.expect("a connection");
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .expect("a handshake");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::begin(Box::new(tls), settings).await
    }

    async fn begin(socket: Box<dyn Socket>, settings: &[(u16, u32)]) -> Self {
        let mut this = Self {
            socket,
            received: Vec::new(),
            next_stream: 1,
        };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        let mut bytes = PREFACE.to_vec();
        bytes.extend_from_slice(&frame(SETTINGS, 0, 0, &payload));
        this.send(&bytes).await.expect("a connection takes its preface");
        this
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the peer has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    /// The number of a new stream.
    pub const fn stream(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        stream
    }

    /// Sends a request with this body; its stream.
    ///
    /// # Errors
    /// When the peer has closed.
    pub async fn request(&mut self, fields: &[(&str, &str)], body: &[u8]) -> std::io::Result<u32> {
        let stream = self.stream();
        let flags = END_HEADERS | if body.is_empty() { END_STREAM } else { 0 };
        let mut bytes = frame(HEADERS, flags, stream, &block(fields));
        if !body.is_empty() {
            bytes.extend_from_slice(&frame(DATA, END_STREAM, stream, body));
        }
        self.send(&bytes).await?;
        Ok(stream)
    }

    /// The next frame; `None` when the peer has closed or reset the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(&[_, a, b, c, kind, flags, s, t, u, v]) = self
                .received
                .get(..9)
                .map(|head| [&[0][..], head].concat())
                .as_deref()
            {
                let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
                if self.received.len() >= end {
                    let payload = self.received[9..end].to_vec();
                    self.received.drain(..end);
                    let stream = u32::from_be_bytes([s, t, u, v]);
                    return Some(Frame {
                        kind,
                        flags,
                        stream,
                        payload,
                    });
                }
            }
            let mut buffer = [0; 16 * 1024];
            match self.socket.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Answers settings and pings until a frame comes that `wanted` wants.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        let waiting = async {
            loop {
                let frame = self.next().await?;
                if wanted(&frame) {
                    return Some(frame);
                }
                self.acknowledge(&frame).await;
            }
        };
        tokio::time::timeout(crate::http::PATIENCE, waiting)
            .await
            .expect("a frame, or the end of the connection, in time")
    }

    async fn acknowledge(&mut self, received: &Frame) {
        if matches!(received.kind, SETTINGS | PING) && received.flags & ACK == 0 {
            let payload = if received.kind == PING {
                &received.payload[..]
            } else {
                &[]
            };
            // A peer that closed meanwhile is seen by the next read.
            let _ = self.send(&frame(received.kind, ACK, 0, payload)).await;
        }
    }

    /// Waits until the peer closes; the error code of its `GOAWAY`, if it said one.
    ///
    /// # Panics
    /// When it has not closed after `deadline`.
    pub async fn closed(&mut self, deadline: Duration) -> Option<u32> {
        let mut said = None;
        let waiting = async {
            while let Some(frame) = self.next().await {
                if frame.kind == GOAWAY {
                    said = frame.error();
                }
                self.acknowledge(&frame).await;
            }
        };
        tokio::time::timeout(deadline, waiting)
            .await
            .unwrap_or_else(|_| panic!("the connection ends within {deadline:?}"));
        said
    }
}
