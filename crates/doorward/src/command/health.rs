//! `doorward health`: asks a running server whether it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
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

/// Longest wait for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks; exit 1 when the answer is no, also when nobody answers.
pub(super) async fn run(context: &mut Context) -> Result<(), CommandError> {
    let (first, _) = addresses(context.config.listen.value, &context.config.public_url.value);
    let address = reachable(first);
    let answer = tokio::time::timeout(PATIENCE, ask(address, context.config.tls.as_ref())).await;
    let (ready, detail) = match answer {
        Ok(Ok(200)) => (true, "ready".to_owned()),
        Ok(Ok(status)) => (false, format!("answers {status}")),
        Ok(Err(error)) => (false, error.to_string()),
        Err(_) => (false, format!("no answer within {} seconds", PATIENCE.as_secs())),
    };
    if context.output.format == Format::Json {
        context
            .output
            .json(&json!({ "ready": ready, "address": address.to_string(), "detail": detail }))?;
    } else if ready {
        context.output.line(format!("{address} is ready"))?;
    }
    if ready {
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

async fn ask(address: SocketAddr, tls: Option<&Tls>) -> Result<u16, anyhow::Error> {
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
) -> Result<u16, anyhow::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/readyz")
        .header(http::header::HOST, address.to_string())
        .body(Empty::<bytes::Bytes>::new())?;
    let status = sender.send_request(request).await?.status().as_u16();
    connection.abort();
    Ok(status)
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
