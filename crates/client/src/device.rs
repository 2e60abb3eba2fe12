//! Logging in on another device (RFC 8628), the client's side.

use std::time::Duration;

use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use url::Url;

use crate::client_auth::ClientAuthentication;
use crate::client_credentials::target;
use crate::document::Document;
use crate::error::{Error, Hop, Refusal};
use crate::http::HttpResponse;
use crate::named_url::UrlPolicy;
use crate::token::{TokenRequest, failure};

pub use doorward_oauth::device::GRANT_TYPE;

const RULE: (&str, &str) = ("R22", "RFC 8628 §3.2");
/// What is waited between polls if the server says nothing (RFC 8628 §3.2).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// How much longer after `slow_down` (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// A server can make nobody wait longer than this between two polls, nor for the whole.
const LONGEST_INTERVAL: Duration = Duration::from_mins(1);
const LONGEST_LIFE: Duration = Duration::from_mins(60);
/// The longest user code that is shown.
const MAX_USER_CODE: usize = 64;

/// What a person has to be told, and what is polled with.
#[derive(Clone, Debug)]
pub struct DeviceAuthorization {
    /// What is polled with.
    pub device_code: Secret,
    /// What the person types: printable, without anything that moves a cursor.
    pub user_code: String,
    /// Where: `https`, or `http` on this machine.
    pub verification_uri: Url,
    /// The same with the code in it, for a QR code or a click.
    pub verification_uri_complete: Option<Url>,
    /// When both codes end.
    pub expires_at: UnixTime,
    interval: Duration,
}

/// The device authorization request (RFC 8628 §3.1, RFC 8707 §2).
#[must_use]
pub fn request(
    endpoint: &Url,
    client: &ClientAuthentication,
    resource: Option<&str>,
    scope: &ScopeSet,
) -> TokenRequest {
    let request = TokenRequest::form(endpoint, Hop::DeviceAuthorization).authenticated(client);
    target(request, resource, scope)
}

impl DeviceAuthorization {
    /// Reads the answer of the device authorization endpoint at `endpoint`.
    pub fn read(
        response: &HttpResponse,
        endpoint: &Url,
        policy: &UrlPolicy,
        now: UnixTime,
    ) -> Result<Self, Error> {
        if !response.status.is_success() {
            return Err(failure(Hop::DeviceAuthorization, endpoint, response));
        }
        let refuse = |problem: &str| -> Error {
            let remedy = "its operator must answer as RFC 8628 section 3.2 says";
            Refusal::new(Hop::DeviceAuthorization, Some(endpoint), RULE, problem, remedy).into()
        };
        let document = Document::parse(&response.body, Hop::DeviceAuthorization, endpoint, RULE, policy)
            .ok_or_else(|| refuse("the answer is not a JSON object"))?;
        let device_code = document.text("device_code")?.filter(|code| !code.is_empty());
        let user_code = document.text("user_code")?.filter(|code| is_showable(code));
        let seconds = |name: &str| document.whole_number(name);
        let life = seconds("expires_in")?.ok_or_else(|| refuse("expires_in is missing"))?;
        let interval = seconds("interval")?.map_or(DEFAULT_INTERVAL, Duration::from_secs);
        Ok(Self {
            device_code: Secret::new(device_code.ok_or_else(|| refuse("device_code is missing"))?),
            user_code: user_code
                .ok_or_else(|| refuse("user_code is missing, or not a code that can be shown"))?
                .to_owned(),
            verification_uri: document
                .endpoint("verification_uri")?
                .ok_or_else(|| refuse("verification_uri is missing"))?,
            verification_uri_complete: document.endpoint("verification_uri_complete")?,
            expires_at: now.plus(Duration::from_secs(life).min(LONGEST_LIFE)),
            interval: interval.clamp(Duration::from_secs(1), LONGEST_INTERVAL),
        })
    }

    /// What to tell the person, in two lines, for a terminal.
    #[must_use]
    pub fn words(&self) -> String {
        let Self {
            verification_uri,
            user_code,
            ..
        } = self;
        let direct = match &self.verification_uri_complete {
            Some(complete) => format!("\n  (or open {complete} and compare the code)"),
            None => String::new(),
        };
        format!("On any device, open {verification_uri} and type this code: {user_code}{direct}")
    }

    /// Begins to wait.
    #[must_use]
    pub fn polling(&self) -> Polling {
        Polling {
            device_code: self.device_code.clone(),
            interval: self.interval,
            expires_at: self.expires_at,
        }
    }
}

/// Printable ASCII: a server's code is shown next to our own words.
fn is_showable(code: &str) -> bool {
    !code.is_empty() && code.len() <= MAX_USER_CODE && code.bytes().all(|b| matches!(b, 0x20..=0x7e))
}

/// What a poll brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Wait as long as [`Polling::interval`] says, then ask again.
    Again,
    /// Refused, or over: nothing will come of this code.
    Over(&'static str),
    /// Something else than RFC 8628 knows: the caller reports the answer as it is.
    Other,
}

/// Asks whether the person is done (RFC 8628 §3.4): at the pace that the server sets, until the code ends.
#[derive(Clone, Debug)]
pub struct Polling {
    device_code: Secret,
    interval: Duration,
    expires_at: UnixTime,
}

impl Polling {
    /// How long to wait before the next request, the first one included.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the code has ended without an answer.
    #[must_use]
    pub fn is_over(&self, now: UnixTime) -> bool {
        now >= self.expires_at
    }

    /// The next token request, for the resource of the device authorization request: MCP wants it in every token request (A19).
    #[must_use]
    pub fn request(
        &self,
        token_endpoint: &Url,
        client: &ClientAuthentication,
        resource: Option<&str>,
    ) -> TokenRequest {
        let request = TokenRequest::new(token_endpoint, GRANT_TYPE)
            .with_secret("device_code", &self.device_code)
            .authenticated(client);
        target(request, resource, &ScopeSet::default())
    }

    /// Takes the error code of an answer that brought no token (RFC 8628 §3.5).
    pub fn refused(&mut self, error: &str) -> Poll {
        match error {
            "authorization_pending" => Poll::Again,
            "slow_down" => {
                self.interval = (self.interval + SLOWER).min(LONGEST_INTERVAL);
                Poll::Again
            }
            "access_denied" => Poll::Over("the request was denied on the other device"),
            "expired_token" => Poll::Over("the code has expired before anybody approved it"),
            _ => Poll::Other,
        }
    }

    /// Takes note of an answer that did not come: twice as long until the next one (RFC 8628 §3.5).
    pub fn unreachable(&mut self) {
        self.interval = (self.interval * 2).min(LONGEST_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use serde_json::{Value, json};

    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1000);

    fn read(body: &Value) -> Result<DeviceAuthorization, Error> {
        let response = HttpResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.to_string().into(),
        };
        let endpoint = Url::parse("https://as.example/device_authorization").unwrap();
        DeviceAuthorization::read(&response, &endpoint, &UrlPolicy::strict(), NOW)
    }

    fn body() -> Value {
        json!({ "device_code": "hush", "user_code": "BCDF-GHJK", "verification_uri": "https://as.example/device",
                "verification_uri_complete": "https://as.example/device?user_code=BCDF-GHJK", "expires_in": 600 })
    }

    #[test]
    fn r22_the_answer_of_rfc_8628_is_read_and_told() {
        let answer = read(&body()).unwrap();
        assert_eq!(answer.expires_at, UnixTime::from_seconds(1600));
        assert_eq!(answer.polling().interval(), Duration::from_secs(5));
        let words = answer.words();
        assert!(
            words.contains("https://as.example/device and type this code: BCDF-GHJK"),
            "{words}"
        );
        assert!(!format!("{answer:?} {words}").contains("hush"));
        let mut greedy = body();
        greedy["interval"] = json!(100_000);
        greedy["expires_in"] = json!(100_000_000);
        let answer = read(&greedy).unwrap();
        assert_eq!(answer.polling().interval(), LONGEST_INTERVAL);
        assert_eq!(answer.expires_at, NOW.plus(LONGEST_LIFE));
    }

    #[test]
    fn r22_b20_b21_cl_01_what_nobody_should_open_or_type_is_refused() {
        for (member, value) in [
            ("verification_uri", json!("javascript:alert(1)")),
            ("verification_uri", json!("http://as.example/device")),
            ("verification_uri", json!("file:///etc/passwd")),
            ("verification_uri", Value::Null),
            ("verification_uri_complete", json!("data:text/html,x")),
            ("user_code", json!("")),
            ("user_code", json!("A\u{1b}[2JB")),
            ("user_code", json!("\u{202e}ABCD")),
            ("user_code", json!("x".repeat(65))),
            ("device_code", json!("")),
            ("device_code", json!(7)),
            ("expires_in", json!("600")),
            ("expires_in", json!(-1)),
            ("interval", json!("5")),
        ] {
            let mut body = body();
            body[member] = value.clone();
            let error = read(&body).unwrap_err();
            assert!(matches!(error, Error::Refused(_)), "{member} {value}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
    }

    #[test]
    fn r22_polling_keeps_the_pace_that_the_server_sets() {
        let mut polling = read(&body()).unwrap().polling();
        assert_eq!(polling.refused("authorization_pending"), Poll::Again);
        assert_eq!(polling.interval(), Duration::from_secs(5));
        assert_eq!(polling.refused("slow_down"), Poll::Again);
        assert_eq!(polling.interval(), Duration::from_secs(10));
        polling.unreachable();
        assert_eq!(polling.interval(), Duration::from_secs(20));
        for _ in 0..20 {
            polling.refused("slow_down");
        }
        assert_eq!(polling.interval(), LONGEST_INTERVAL);
        assert!(matches!(polling.refused("access_denied"), Poll::Over(_)));
        assert!(matches!(polling.refused("expired_token"), Poll::Over(_)));
        assert_eq!(polling.refused("invalid_client"), Poll::Other);
        assert!(
            !polling.is_over(UnixTime::from_seconds(1599)) && polling.is_over(UnixTime::from_seconds(1600))
        );
        let client = ClientAuthentication::None {
            client_id: "tv".into(),
        };
        let endpoint = Url::parse("https://as.example/token").unwrap();
        assert_eq!(
            polling
                .request(&endpoint, &client, Some("https://mcp.example/mcp"))
                .build()
                .body
                .unwrap()
                .expose(),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=hush&client_id=tv&resource=https%3A%2F%2Fmcp.example%2Fmcp"
        );
    }
}
