//! `doorward health`: asks a running server whether it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Context;
use crate::config::Tls;
use crate::config::address::addresses;
use crate::error::CommandError;
use crate::output::Format;
use crate::serve::reload::RELOAD_FAILED;

/// Longest wait for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer that is read.
const LONGEST: usize = 4096;

/// What the server said.
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    /// When the configuration was last read again in vain.
    fn failed_reload(&self) -> Option<&str> {
        self.body
            .lines()
            .find_map(|line| line.strip_prefix(RELOAD_FAILED))
    }
}

/// Asks; exit 1 when the answer is no, also when nobody answers.
pub(super) async fn run(context: &mut Context) -> Result<(), CommandError> {
    let (first, _) = addresses(context.config.listen.value, &context.config.public_url.value);
    let address = reachable(first);
    let answer = tokio::time::timeout(PATIENCE, ask(address, context.config.tls.as_ref())).await;
    let (answer, detail) = match answer {
        Ok(Ok(answer)) if answer.status == 200 => (Some(answer), "ready".to_owned()),
        Ok(Ok(answer)) => (None, format!("answers {}", answer.status)),
        Ok(Err(error)) => (None, error.to_string()),
        Err(_) => (None, format!("no answer within {} seconds", PATIENCE.as_secs())),
    };
    let failed_reload = answer.as_ref().and_then(Answer::failed_reload);
    if context.output.format == Format::Json {
        context.output.json(&json!({
            "ready": answer.is_some(),
            "address": address.to_string(),
            "detail": detail,
            "last_reload_failed": failed_reload,
        }))?;
    } else if answer.is_some() {
        context.output.line(format!("{address} is ready"))?;
        if let Some(when) = failed_reload {
            context.output.line(format!(
                "its configuration is not the one in the file: reading it again failed at {when}; its log and `doorward config check` say why"
            ))?;
        }
    }
    if answer.is_some() {
        return Ok(());
    }
    Err(CommandError::no(format!("{address} is not ready: {detail}"))
        .hint("is it running, and with this `listen`? (`--listen`, DOORWARD_LISTEN or `--config`)"))
}

/// A server that listens everywhere is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(address: SocketAddr, tls: Option<&Tls>) -> Result<Answer, anyhow::Error> {
    let stream = TcpStream::connect(address).await?;
    let Some(tls) = tls else {
        return status(stream, address).await;
    };
    let certificate = crate::serve::tls::certificates(&tls.certificate)
        .map_err(|error| anyhow::anyhow!("{error}"))?
        .swap_remove(0);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OurCertificate {
            certificate,
            provider,
        }))
        .with_no_client_auth();
    let name = ServerName::from(address.ip());
    status(
        TlsConnector::from(Arc::new(config)).connect(name, stream).await?,
        address,
    )
    .await
}

async fn status(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
) -> Result<Answer, anyhow::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/readyz")
        .header(http::header::HOST, address.to_string())
        .body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    connection.abort();
    // The status is the answer; more than a few lines is not ours.
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status, body })
}

/// Accepts exactly the certificate of the configuration: the question goes to an address of this
/// machine, whose name the certificate need not have, and whoever holds the key is the server.
#[derive(Debug)]
struct OurCertificate {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OurCertificate {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *presented == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(
            "another certificate than the configured one answers there".into(),
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
