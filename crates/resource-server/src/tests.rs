use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_jose::{JwkSet, SigningKey};
use doorward_records::revocation::{Revocation, Revoked};
use doorward_types::id::{ClientId, Tenant};
use doorward_types::time::{Clock, FixedClock, UnixTime};
use doorward_types::url::{Issuer, ResourceUri};
use serde_json::{Value, json};

use crate::{
    JwtVerifier, JwtVerifierSettings, LocalKeys, Principal, RevocationSet, TokenRefusal, TokenVerifier,
    UnverifiedToken,
};

mod cached;
mod revoked;
mod strict;

const NOW: i64 = 1_800_000_000;
const SUBJECT: &str = "0198c0de-0000-7000-8000-000000000001";
const FAMILY: &str = "0198c0de-0000-7000-8000-000000000002";
const TOKEN: &str = "0198c0de-0000-7000-8000-000000000003";

/// A verifier for one issuer, with a hand on everything it asks.
struct World {
    key: SigningKey,
    keys: Arc<LocalKeys>,
    revocations: Arc<RevocationSet>,
    clock: Arc<FixedClock>,
    verifier: JwtVerifier,
}

fn resource_a() -> ResourceUri {
    ResourceUri::parse("https://mcp.test/a/mcp").unwrap()
}

fn resource_b() -> ResourceUri {
    ResourceUri::parse("https://mcp.test/b/mcp").unwrap()
}

fn claims() -> Value {
    json!({
        "iss": "https://as.test", "sub": SUBJECT, "aud": "https://mcp.test/a/mcp", "exp": NOW + 600,
        "iat": NOW, "jti": TOKEN, "client_id": "c1", "scope": "t:read", "rev": 5, "family": FAMILY,
        "username": "alice", "groups": ["eng", "ops"], "auth_time": NOW - 60,
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

impl World {
    fn new() -> Self {
        Self::with_capacity(100)
    }

    fn with_capacity(cache_capacity: usize) -> Self {
        let key = SigningKey::generate().unwrap();
        let keys = Arc::new(LocalKeys::new(JwkSet::new([key.public_jwk().clone()]).unwrap()));
        let revocations = Arc::new(RevocationSet::new());
        let clock = Arc::new(FixedClock::new(UnixTime::from_seconds(NOW)));
        revocations.heard(clock.monotonic());
        let verifier = JwtVerifier::new(JwtVerifierSettings {
            issuer: Issuer::parse("https://as.test").unwrap(),
            tenant: Tenant::default_tenant(),
            keys: keys.clone(),
            revocations: revocations.clone(),
            clock: clock.clone(),
            cache_capacity,
        });
        Self {
            key,
            keys,
            revocations,
            clock,
            verifier,
        }
    }

    /// Moves the clock, and has heard of the feed since.
    fn at(&self, seconds: i64) {
        self.clock.set(UnixTime::from_seconds(NOW + seconds));
        self.revocations.heard(self.clock.monotonic());
    }

    fn mint(&self, claims: &Value) -> String {
        self.key.sign("at+jwt", claims).unwrap()
    }

    /// A well signed token with any header and payload.
    fn forge(&self, header: &str, payload: &str) -> String {
        let pkcs8 = self.key.to_pkcs8().unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap();
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        );
        let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn header(&self) -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.key.key_id() })
    }

    fn verify(&self, token: &str) -> Result<Arc<Principal>, TokenRefusal> {
        self.verify_at(&resource_a(), token)
    }

    fn verify_at(&self, resource: &ResourceUri, token: &str) -> Result<Arc<Principal>, TokenRefusal> {
        let verification = self.verifier.verify(resource, UnverifiedToken::new(token));
        match std::pin::pin!(verification).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => panic!("local verification never waits"),
        }
    }

    /// Refused, and refused in the same way a second time.
    #[track_caller]
    fn assert_refused(&self, token: &str, refusal: TokenRefusal) {
        for _ in 0..2 {
            assert_eq!(self.verify(token), Err(refusal), "{token}");
        }
    }

    fn revoke(&self, sequence: u64, revoked: Revoked) {
        let at = self.clock.now();
        let expires = at.plus(Duration::from_secs(3600));
        self.revocations.apply(&[Revocation {
            sequence,
            revoked,
            at,
            expires,
        }]);
    }
}
