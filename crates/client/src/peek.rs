//! What a JWT says that we hold ourselves: looked at, so that it is not sent where it does not belong. Nothing is
//! decided by it that its receiver does not decide again: the signature is not ours to check.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_jose::parse_object;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use serde_json::{Map, Value};

/// Header and claims of a signed JWT that this program was given. Without `Debug`: claims are personal data.
pub(crate) struct OwnJwt {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl OwnJwt {
    /// Reads a compact JWS; `None` for anything else (an opaque token, a JWE).
    pub(crate) fn read(token: &Secret) -> Option<Self> {
        let mut parts = token.expose().split('.');
        let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let object = |part| parse_object(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
        })
    }

    /// `typ` of the header, without `application/`.
    pub(crate) fn typ(&self) -> Option<&str> {
        let typ = self.header.get("typ")?.as_str()?;
        Some(typ.strip_prefix("application/").unwrap_or(typ))
    }

    /// Whether a claim is `value`, or a list that holds it. `None` if there is no such claim.
    pub(crate) fn holds(&self, claim: &str, value: &str) -> Option<bool> {
        Some(match self.claims.get(claim)? {
            Value::String(only) => only == value,
            Value::Array(several) => several.iter().any(|one| one == value),
            _ => false,
        })
    }

    /// Which of `names` are not among the claims.
    pub(crate) fn missing<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        names
            .iter()
            .copied()
            .filter(|name| !self.claims.contains_key(*name))
            .collect()
    }

    /// `exp`.
    pub(crate) fn expires_at(&self) -> Option<UnixTime> {
        self.claims
            .get("exp")
            .and_then(Value::as_i64)
            .map(UnixTime::from_seconds)
    }
}
