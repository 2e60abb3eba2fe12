//! Workload identity federation: the platform's JWT for this workload is the grant (RFC 7523 §2.1, MCP draft).

use std::sync::Arc;
use std::time::Duration;

use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use url::Url;

use crate::client_auth::ClientAuthentication;
use crate::client_credentials::target;
use crate::error::Error;
use crate::grant::{AssertionSource, JWT_BEARER};
use crate::peek::OwnJwt;
use crate::token::TokenRequest;

/// Clocks of two machines differ by that much without anybody noticing.
const TOLERANCE: Duration = Duration::from_mins(1);

/// What a workload's JWT must hold (W2; MCP workload identity federation).
const CLAIMS: [&str; 4] = ["iss", "sub", "aud", "exp"];

/// Who this workload is.
#[derive(Clone)]
pub struct Workload {
    /// Its JWT, issued by the platform (Kubernetes, a CI system, a cloud).
    pub assertion: Arc<dyn AssertionSource>,
    /// The `aud` that the authorization server wants, if it is neither its issuer nor its token endpoint. Without it,
    /// a JWT for anybody else is not sent: it may open that other door.
    pub audience: Option<NamedAudience>,
}

/// An audience that does not say by itself which server it means. The MCP server says which authorization server to ask, so
/// without the issuer it could have the JWT sent to any (CL-08).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAudience {
    /// `aud`, as it stands in the JWT.
    pub audience: String,
    /// `issuer` of the only authorization server that gets to see the JWT, byte for byte.
    pub issuer: String,
}

/// The authorization server that is asked, as its metadata says.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// `issuer`, byte for byte.
    pub issuer: &'a str,
    /// `token_endpoint`.
    pub token_endpoint: &'a Url,
}

/// Why an assertion is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitAssertion {
    /// Not a signed JWT.
    #[error("it is not a signed JWT")]
    NotAJwt,
    /// A claim is missing.
    #[error("it has no claim `{0}`")]
    Missing(&'static str),
    /// It is over.
    #[error("it has expired")]
    Expired,
    /// It is for somebody else.
    #[error(
        "its `aud` is another than this authorization server: have one issued for it, or name the audience that the server wants"
    )]
    OtherAudience,
    /// Its audience goes with another authorization server than the one that is asked.
    #[error("it is for another authorization server than the one that the MCP server names now")]
    OtherServer,
}

/// Judges an assertion before it is shown to `to` (W2). Neither an expired one nor one for somebody else is sent, so
/// neither is ever retried.
pub fn judge(
    workload: &Workload,
    assertion: &Secret,
    to: Audience<'_>,
    now: UnixTime,
) -> Result<(), UnfitAssertion> {
    let jwt = OwnJwt::read(assertion).ok_or(UnfitAssertion::NotAJwt)?;
    if let Some(missing) = jwt.missing(&CLAIMS).first() {
        return Err(UnfitAssertion::Missing(missing));
    }
    if jwt
        .expires_at()
        .ok_or(UnfitAssertion::Missing("exp"))?
        .plus(TOLERANCE)
        < now
    {
        return Err(UnfitAssertion::Expired);
    }
    if let Some(named) = &workload.audience
        && named.issuer != to.issuer
    {
        return Err(UnfitAssertion::OtherServer);
    }
    let is_for = |audience: &str| jwt.holds("aud", audience) == Some(true);
    let named = match &workload.audience {
        Some(named) => is_for(&named.audience),
        // Platforms differ in how they write an issuer that has no path.
        None => {
            let bare = to.issuer.trim_end_matches('/');
            is_for(to.issuer)
                || is_for(bare)
                || is_for(&format!("{bare}/"))
                || is_for(to.token_endpoint.as_str())
        }
    };
    if named {
        Ok(())
    } else {
        Err(UnfitAssertion::OtherAudience)
    }
}

/// The token request with an assertion that [`judge`] lets pass, as `client` if the server knows the workload as one. The answer is final: whatever error it is, the same
/// assertion is not sent again, and no other grant is tried in its place.
pub fn request(
    workload: &Workload,
    assertion: &Secret,
    to: Audience<'_>,
    client: Option<&ClientAuthentication>,
    (resource, scope): (Option<&str>, &ScopeSet),
    now: UnixTime,
) -> Result<TokenRequest, Error> {
    judge(workload, assertion, to, now).map_err(|why| {
        Error::NeedsUser(format!(
            "the workload's token ({}) was not sent: {why}",
            workload.assertion.name()
        ))
    })?;
    let mut request = TokenRequest::new(to.token_endpoint, JWT_BEARER).with_secret("assertion", assertion);
    if let Some(client) = client {
        request = request.authenticated(client);
    }
    Ok(target(request, resource, scope))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::grant::FixedAssertion;

    fn jwt(claims: &Value) -> Secret {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
        let header = B64.encode(r#"{"alg":"ES256","typ":"JWT"}"#);
        Secret::new(format!("{header}.{}.c2ln", B64.encode(claims.to_string())))
    }

    fn claims(aud: &Value, exp: i64) -> Value {
        json!({ "iss": "https://k8s.example", "sub": "job", "aud": aud, "exp": exp, "iat": 0, "jti": "1" })
    }

    fn workload(audience: Option<&str>) -> Workload {
        Workload {
            assertion: Arc::new(FixedAssertion(Secret::new("x"))),
            audience: audience.map(|audience| NamedAudience {
                audience: audience.to_owned(),
                issuer: "https://as.example".to_owned(),
            }),
        }
    }

    #[test]
    fn w2_an_expired_token_or_one_for_somebody_else_is_not_sent() {
        let token_endpoint = Url::parse("https://as.example/token").unwrap();
        let to = Audience {
            issuer: "https://as.example",
            token_endpoint: &token_endpoint,
        };
        let now = UnixTime::from_seconds(1000);
        let at = |aud: Value, exp, audience| judge(&workload(audience), &jwt(&claims(&aud, exp)), to, now);
        for aud in [
            json!("https://as.example"),
            json!("https://as.example/"),
            json!("https://as.example/token"),
            json!(["x", "https://as.example"]),
        ] {
            assert_eq!(at(aud, 2000, None), Ok(()));
        }
        for aud in [
            json!("https://kubernetes.default.svc"),
            json!("https://AS.example"),
            json!([]),
            json!(1),
            json!("https://as.example/token/"),
        ] {
            assert_eq!(
                at(aud.clone(), 2000, None),
                Err(UnfitAssertion::OtherAudience),
                "{aud}"
            );
        }
        assert_eq!(at(json!("api://exchange"), 2000, Some("api://exchange")), Ok(()));
        assert_eq!(
            at(json!("https://as.example"), 2000, Some("api://exchange")),
            Err(UnfitAssertion::OtherAudience)
        );
        assert_eq!(
            at(json!("https://as.example"), 939, None),
            Err(UnfitAssertion::Expired)
        );
        assert_eq!(
            at(json!("https://as.example"), 990, None),
            Ok(()),
            "clocks differ"
        );
        for (claim, why) in [("iss", "iss"), ("sub", "sub"), ("aud", "aud"), ("exp", "exp")] {
            let mut claims = claims(&json!("https://as.example"), 2000);
            claims.as_object_mut().unwrap().remove(claim);
            assert_eq!(
                judge(&workload(None), &jwt(&claims), to, now),
                Err(UnfitAssertion::Missing(why))
            );
        }
        for opaque in ["", "opaque", "a.b", "a.b.c", "a.b.c.d.e"] {
            assert_eq!(
                judge(&workload(None), &Secret::new(opaque), to, now),
                Err(UnfitAssertion::NotAJwt)
            );
        }
    }

    #[test]
    fn w2_cl_08_a_named_audience_is_for_one_server_only() {
        let workload = workload(Some("api://exchange"));
        let token = jwt(&claims(&json!("api://exchange"), 2000));
        let now = UnixTime::from_seconds(1000);
        for (issuer, endpoint, fits) in [
            ("https://as.example", "https://as.example/token", true),
            ("https://evil.example", "https://evil.example/token", false),
            ("https://evil.example", "https://as.example/token", false),
            ("https://as.example/", "https://as.example/token", false),
        ] {
            let token_endpoint = Url::parse(endpoint).unwrap();
            let to = Audience {
                issuer,
                token_endpoint: &token_endpoint,
            };
            let judged = judge(&workload, &token, to, now);
            assert_eq!(judged.is_ok(), fits, "{issuer}");
            assert!(fits || judged == Err(UnfitAssertion::OtherServer));
        }
    }

    #[test]
    fn w2_w3_the_request_names_the_resource_and_messages_hold_no_token() {
        let token_endpoint = Url::parse("https://as.example/token").unwrap();
        let to = Audience {
            issuer: "https://as.example",
            token_endpoint: &token_endpoint,
        };
        let now = UnixTime::from_seconds(1000);
        let token = jwt(&claims(&json!("https://as.example"), 2000));
        let scope = "a b".parse().unwrap();
        let workload = workload(None);
        let client = ClientAuthentication::None {
            client_id: "job".into(),
        };
        let target = (Some("https://mcp.example/mcp"), &scope);
        let request = request(&workload, &token, to, Some(&client), target, now).unwrap();
        assert_eq!(
            request.build().body.unwrap().expose(),
            format!(
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}&client_id=job\
                 &resource=https%3A%2F%2Fmcp.example%2Fmcp&scope=a+b",
                token.expose()
            )
        );
        assert!(!format!("{request:?}").contains(token.expose()));
        let old = jwt(&claims(&json!("https://as.example"), 1));
        let error = super::request(&workload, &old, to, None, (None, &scope), now).unwrap_err();
        assert!(error.to_string().contains("expired") && !error.to_string().contains(old.expose()));
    }
}
