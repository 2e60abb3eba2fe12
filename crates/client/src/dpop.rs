//! Proof of possession (RFC 9449), the client's side: one key per user and server, a fresh proof for every request.

use std::sync::{Arc, Mutex, PoisonError};

use doorward_jose::{SigningError, SigningKey};
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

use crate::http::HttpResponse;

/// The request header that carries a proof (RFC 9449 §4.1).
pub const HEADER: HeaderName = HeaderName::from_static("dpop");
/// The response header that carries the nonce for the next proof (RFC 9449 §8).
pub const NONCE_HEADER: HeaderName = HeaderName::from_static("dpop-nonce");
/// The error that asks for a nonce (RFC 9449 §8, §9).
pub const USE_NONCE: &str = "use_dpop_nonce";
/// What our proofs are signed with, as servers list it.
pub const ALGORITHM: &str = "ES256";

/// The longest nonce that is kept, in bytes.
const MAX_NONCE: usize = 1024;
/// A login talks to a handful of endpoints; a server that makes us talk to more gains no memory.
const MAX_ENDPOINTS: usize = 16;

/// Why there is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DpopError {
    /// The key could not be made, read or used.
    #[error("the DPoP key cannot be used: {0}")]
    Key(#[from] SigningError),
    /// The proof does not fit into a header; nonces are the only part that a server chooses.
    #[error("the proof does not fit into a header")]
    Header,
}

/// The nonce that each endpoint gave last. A nonce goes back to nobody but who gave it (RFC 9449 §8.2): not to another
/// host, and not from an authorization server to a resource on the same host, which is why whole endpoints are the key.
#[derive(Debug, Default)]
struct Nonces(Vec<(String, String)>);

/// A key that tokens are bound to, with the nonces that servers gave for it. Clones share both.
#[derive(Clone, Debug)]
pub struct Dpop {
    key: Arc<SigningKey>,
    nonces: Arc<Mutex<Nonces>>,
}

impl Dpop {
    /// With a new key (ES256).
    pub fn generate() -> Result<Self, DpopError> {
        Ok(Self::new(SigningKey::generate()?))
    }

    /// With a key that [`to_pkcs8`](Self::to_pkcs8) wrote.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, DpopError> {
        Ok(Self::new(SigningKey::from_pkcs8(pkcs8)?))
    }

    fn new(key: SigningKey) -> Self {
        Self {
            key: Arc::new(key),
            nonces: Arc::default(),
        }
    }

    /// The private key, to be kept beside the tokens that are bound to it, and as well protected (P1).
    pub fn to_pkcs8(&self) -> Result<impl std::ops::Deref<Target = Vec<u8>> + use<>, DpopError> {
        Ok(self.key.to_pkcs8()?)
    }

    /// The thumbprint of the public key (RFC 7638), which is what tokens are bound to (RFC 9449 §6.1).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.key.public_jwk().thumbprint().to_string()
    }

    /// A fresh proof for one request (RFC 9449 §4.2): `method` and `url` of it, and the access token that goes with it, none
    /// at a token endpoint. With the nonce that this endpoint gave last. Marked as sensitive.
    pub fn proof(
        &self,
        method: &Method,
        url: &Url,
        access_token: Option<&Secret>,
        now: UnixTime,
        random: &dyn Random,
    ) -> Result<HeaderValue, DpopError> {
        let target = target(url);
        let mut claims = Map::new();
        claims.insert("jti".into(), json!(Secret::generate(random).expose()));
        claims.insert("htm".into(), json!(method.as_str()));
        claims.insert("htu".into(), json!(target));
        claims.insert("iat".into(), json!(now.seconds()));
        if let Some(token) = access_token {
            claims.insert("ath".into(), json!(token.digest().to_string()));
        }
        let nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, nonce)) = nonces.0.iter().find(|(endpoint, _)| *endpoint == target) {
            claims.insert("nonce".into(), json!(nonce));
        }
        drop(nonces);
        let proof = self
            .key
            .sign_with_public_key("dpop+jwt", &Value::Object(claims))?;
        let mut value = HeaderValue::try_from(proof).map_err(|_| DpopError::Header)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Takes over the nonce that an answer of `url` brought, whatever its status (RFC 9449 §8.2). Says whether it is another
    /// one than before: only then is a request worth repeating.
    pub fn note(&self, url: &Url, headers: &HeaderMap) -> bool {
        let Some(nonce) = nonce_of(headers) else {
            return false;
        };
        let target = target(url);
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = nonces.0.iter_mut().find(|(endpoint, _)| *endpoint == target) {
            let fresh = known != nonce;
            nonce.clone_into(known);
            return fresh;
        }
        if nonces.0.len() == MAX_ENDPOINTS {
            nonces.0.remove(0);
        }
        nonces.0.push((target, nonce.to_owned()));
        true
    }
}

/// Whether an authorization server wants a nonce in the proof (RFC 9449 §8): the token error `use_dpop_nonce`.
#[must_use]
pub fn asks_for_nonce(response: &HttpResponse) -> bool {
    matches!(
        response.status,
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED
    ) && doorward_jose::parse_object(&response.body)
        .is_ok_and(|error| error.get("error").and_then(Value::as_str) == Some(USE_NONCE))
}

/// `htu`: the URL without query and fragment (RFC 9449 §4.2).
fn target(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    bare.into()
}

/// The one nonce of an answer, if it is one: `1*NQCHAR` (RFC 9449 §8.1).
fn nonce_of(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(NONCE_HEADER).iter();
    let (nonce, None) = (all.next()?.to_str().ok()?, all.next()) else {
        return None;
    };
    let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    (!nonce.is_empty() && nonce.len() <= MAX_NONCE && nonce.bytes().all(allowed)).then_some(nonce)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use doorward_types::random::CountingRandom;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn claims(proof: &HeaderValue) -> Value {
        let part = proof.to_str().unwrap().split('.').nth(1).unwrap().to_owned();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    fn answer(nonces: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for nonce in nonces {
            headers.append(NONCE_HEADER, nonce.parse().unwrap());
        }
        headers
    }

    fn at(dpop: &Dpop, method: &Method, to: &str, token: Option<&str>) -> Value {
        let (now, token) = (UnixTime::from_seconds(7), token.map(Secret::new));
        let proof = dpop
            .proof(
                method,
                &url(to),
                token.as_ref(),
                now,
                &doorward_types::random::SystemRandom,
            )
            .unwrap();
        assert!(proof.is_sensitive());
        claims(&proof)
    }

    #[test]
    fn p1_dpop_every_proof_is_fresh_and_names_method_target_and_token() {
        let dpop = Dpop::generate().unwrap();
        let first = at(
            &dpop,
            &Method::POST,
            "https://mcp.example/mcp?x=1#y",
            Some("token"),
        );
        assert_eq!(first["htm"], "POST");
        assert_eq!(first["htu"], "https://mcp.example/mcp");
        assert_eq!(first["iat"], 7);
        // RFC 9449 §4.2: base64url of SHA-256 of the token's ASCII text.
        assert_eq!(first["ath"], "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A");
        assert!(first.get("nonce").is_none());
        let second = at(&dpop, &Method::GET, "https://mcp.example/mcp", Some("token"));
        assert_eq!(second["htm"], "GET");
        assert_ne!(first["jti"], second["jti"]);
        assert!(
            at(&dpop, &Method::POST, "https://as.example/token", None)
                .get("ath")
                .is_none()
        );
    }

    #[test]
    fn p1_the_key_survives_and_the_thumbprint_is_that_of_the_header() {
        let dpop = Dpop::generate().unwrap();
        let again = Dpop::from_pkcs8(&dpop.to_pkcs8().unwrap()).unwrap();
        assert_eq!(again.thumbprint(), dpop.thumbprint());
        let proof = again
            .proof(
                &Method::GET,
                &url("https://a.example/"),
                None,
                UnixTime::EPOCH,
                &CountingRandom::default(),
            )
            .unwrap();
        let header = URL_SAFE_NO_PAD
            .decode(proof.to_str().unwrap().split('.').next().unwrap())
            .unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        let jwk = doorward_jose::Jwk::parse(header["jwk"].to_string().as_bytes()).unwrap();
        assert_eq!(jwk.thumbprint().to_string(), dpop.thumbprint());
        assert!(Dpop::from_pkcs8(b"x").is_err());
        assert!(!format!("{dpop:?}").contains("\"d\""));
    }

    #[test]
    fn p1_p3_a_nonce_goes_back_to_who_gave_it_and_to_nobody_else() {
        let dpop = Dpop::generate().unwrap();
        let (token, mcp) = ("https://host.example/token", "https://host.example/mcp");
        assert!(dpop.note(&url(token), &answer(&["for-as"])));
        assert!(
            !dpop.note(&url(token), &answer(&["for-as"])),
            "nothing new, nothing to repeat"
        );
        assert!(dpop.note(&url(mcp), &answer(&["for-rs"])));
        assert_eq!(at(&dpop, &Method::POST, token, None)["nonce"], "for-as");
        assert_eq!(
            at(&dpop, &Method::POST, &format!("{mcp}?a=b"), Some("t"))["nonce"],
            "for-rs"
        );
        for elsewhere in [
            "https://evil.example/mcp",
            "https://host.example:8443/mcp",
            "http://host.example/mcp",
        ] {
            assert!(
                at(&dpop, &Method::POST, elsewhere, Some("t"))
                    .get("nonce")
                    .is_none()
            );
        }
        assert!(dpop.note(&url(mcp), &answer(&["next"])));
        assert_eq!(at(&dpop, &Method::GET, mcp, Some("t"))["nonce"], "next");
    }

    #[test]
    fn p3_what_is_no_nonce_is_not_taken_over() {
        let dpop = Dpop::generate().unwrap();
        let mcp = url("https://host.example/mcp");
        for bad in [
            &[][..],
            &[""],
            &["a", "b"],
            &["a b"],
            &["a\"b"],
            &["a\\b"],
            &[&"x".repeat(MAX_NONCE + 1)],
        ] {
            assert!(!dpop.note(&mcp, &answer(bad)), "{bad:?}");
        }
        assert!(at(&dpop, &Method::GET, mcp.as_str(), None).get("nonce").is_none());
        for n in 0..=MAX_ENDPOINTS {
            dpop.note(&url(&format!("https://host.example/{n}")), &answer(&["n"]));
        }
        assert_eq!(dpop.nonces.lock().unwrap().0.len(), MAX_ENDPOINTS);
    }

    #[test]
    fn p1_a_token_endpoint_asks_for_a_nonce_by_its_error_code() {
        let response = |status: u16, body: &str| HttpResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        };
        assert!(asks_for_nonce(&response(400, r#"{"error":"use_dpop_nonce"}"#)));
        assert!(asks_for_nonce(&response(
            401,
            r#"{"error":"use_dpop_nonce","x":1}"#
        )));
        assert!(!asks_for_nonce(&response(200, r#"{"error":"use_dpop_nonce"}"#)));
        assert!(!asks_for_nonce(&response(400, r#"{"error":"invalid_grant"}"#)));
        assert!(!asks_for_nonce(&response(400, "use_dpop_nonce")));
    }
}
