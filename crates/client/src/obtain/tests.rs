use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use doorward_oauth::form::Form;
use doorward_types::random::SystemRandom;
use doorward_types::time::{FixedClock, UnixTime};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::grant::FixedAssertion;
use crate::http::{Http, HttpRequest, HttpResponse, TransportError};
use crate::provider::{ClientOrigin, Pending, Provider, ProviderError, Tokens};

const AS: &str = "https://as.example";
const MCP: &str = "https://mcp.example/mcp";

/// Answers in order, and keeps what was sent.
#[derive(Default)]
struct Script {
    answers: Mutex<Vec<Result<(u16, Value), TransportError>>>,
    sent: Mutex<Vec<HttpRequest>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let mut answers: Vec<_> = answers.into_iter().map(Ok).collect();
        answers.reverse();
        Self {
            answers: Mutex::new(answers),
            sent: Mutex::default(),
        }
    }

    fn forms(&self) -> Vec<Form> {
        let sent = self.sent.lock().unwrap();
        let form = |request: &HttpRequest| {
            Form::parse(request.body.as_ref().map_or("", Secret::expose).as_bytes()).unwrap()
        };
        sent.iter().map(form).collect()
    }
}

#[async_trait]
impl Http for Script {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.sent.lock().unwrap().push(request);
        let answer = self
            .answers
            .lock()
            .unwrap()
            .pop()
            .expect("no more requests are expected");
        let (status, body) = answer?;
        Ok(HttpResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_string().into(),
        })
    }
}

/// Keeps nothing; shows codes; time passes while it pauses.
struct Person {
    clock: Arc<FixedClock>,
    told: Mutex<Vec<String>>,
    pauses: Mutex<Vec<Duration>>,
}

#[async_trait]
impl Provider for Person {
    async fn tokens(&self, _: &str, _: &str) -> Result<Option<Tokens>, ProviderError> {
        Ok(None)
    }
    async fn save_tokens(&self, _: &Tokens) -> Result<(), ProviderError> {
        Ok(())
    }
    async fn forget_tokens(&self, _: &str, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }
    async fn client(&self, _: &str) -> Result<Option<ClientInformation>, ProviderError> {
        Ok(None)
    }
    async fn issuer_of(&self, _: &str) -> Result<Option<String>, ProviderError> {
        Ok(None)
    }
    async fn save_client(&self, _: &ClientInformation) -> Result<(), ProviderError> {
        Ok(())
    }
    async fn forget_client(&self, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }
    async fn pending(&self) -> Result<Option<Pending>, ProviderError> {
        Ok(None)
    }
    async fn save_pending(&self, _: Option<&Pending>) -> Result<(), ProviderError> {
        Ok(())
    }
    async fn redirect(&self, _: &Url) -> Result<(), ProviderError> {
        panic!("nobody is redirected (E22)")
    }
    async fn show_code(&self, authorization: &DeviceAuthorization) -> Result<(), ProviderError> {
        self.told.lock().unwrap().push(authorization.words());
        Ok(())
    }
    async fn pause(&self, duration: Duration) -> Result<(), ProviderError> {
        self.clock.advance(duration);
        self.pauses.lock().unwrap().push(duration);
        Ok(())
    }
}

fn server(grants: &[&str], methods: &[&str]) -> ServerMetadata {
    let document = json!({
        "issuer": AS,
        "authorization_endpoint": "https://as.example/authorize",
        "token_endpoint": "https://as.example/token",
        "device_authorization_endpoint": "https://as.example/device_authorization",
        "response_types_supported": ["code"],
        "grant_types_supported": grants,
        "token_endpoint_auth_methods_supported": methods,
    });
    let url = Url::parse("https://as.example/.well-known/oauth-authorization-server").unwrap();
    let body = document.to_string();
    ServerMetadata::parse(AS, &url, body.as_bytes(), &UrlPolicy::strict())
        .unwrap()
        .unwrap()
}

fn client(id: &str, secret: Option<&str>) -> ClientInformation {
    ClientInformation {
        issuer: AS.into(),
        client_id: id.into(),
        client_secret: secret.map(Secret::new),
        token_endpoint_auth_method: None,
        redirect_uri: None,
        origin: ClientOrigin::PreRegistered,
        secret_expires_at: None,
    }
}

struct Run {
    result: Result<TokenResponse, Error>,
    forms: Vec<Form>,
    sent: Vec<HttpRequest>,
    told: Vec<String>,
    pauses: Vec<u64>,
}

async fn run(
    grant: Grant,
    server: ServerMetadata,
    client: ClientInformation,
    key: Option<&ClientKey>,
    script: Script,
) -> Run {
    let clock = Arc::new(FixedClock::new(UnixTime::from_seconds(1000)));
    let person = Person {
        clock: clock.clone(),
        told: Mutex::default(),
        pauses: Mutex::default(),
    };
    let env = Environment {
        provider: &person,
        http: &script,
        clock: &*clock,
        random: &SystemRandom,
    };
    let scope = "read".parse().unwrap();
    let policy = UrlPolicy::strict();
    let asking = Asking {
        env: &env,
        server: &server,
        resource: MCP,
        scope: &scope,
        client: &client,
        key,
        dpop: None,
        policy: &policy,
    };
    let result = asking.obtain(&grant).await;
    Run {
        result,
        forms: script.forms(),
        sent: script.sent.into_inner().unwrap(),
        told: person.told.into_inner().unwrap(),
        pauses: person
            .pauses
            .into_inner()
            .unwrap()
            .iter()
            .map(Duration::as_secs)
            .collect(),
    }
}

fn token() -> (u16, Value) {
    (
        200,
        json!({ "access_token": "t", "token_type": "Bearer", "expires_in": 60 }),
    )
}

fn refused(code: &str) -> (u16, Value) {
    (400, json!({ "error": code }))
}

fn es256() -> ClientKey {
    use base64::Engine as _;
    let pair = doorward_jose::SigningKey::generate().unwrap();
    let pem = base64::engine::general_purpose::STANDARD.encode(pair.to_pkcs8().unwrap());
    ClientKey::parse(&format!(
        "-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----"
    ))
    .unwrap()
}

fn jwt(claims: &Value) -> Secret {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
    let header = B64.encode(r#"{"alg":"ES256"}"#);
    Secret::new(format!("{header}.{}.c2ln", B64.encode(claims.to_string())))
}

#[tokio::test]
async fn c2_a34_a_program_gets_a_token_with_its_key_or_its_secret() {
    let metadata = server(&["client_credentials"], &["private_key_jwt"]);
    let key = es256();
    let run_key = run(
        Grant::ClientCredentials,
        metadata,
        client("job", None),
        Some(&key),
        Script::new([token()]),
    )
    .await;
    assert_eq!(run_key.result.unwrap().access_token.expose(), "t");
    let form = &run_key.forms[0];
    assert_eq!(
        (form.get("grant_type"), form.get("resource")),
        (Some("client_credentials"), Some(MCP))
    );
    assert!(form.get("client_assertion").is_some() && form.get("client_secret").is_none());

    let metadata = server(&["client_credentials"], &["client_secret_basic"]);
    let run_secret = run(
        Grant::ClientCredentials,
        metadata,
        client("job", Some("hush")),
        None,
        Script::new([token()]),
    )
    .await;
    assert!(run_secret.result.is_ok());
    assert!(
        run_secret.sent[0].headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
}

#[tokio::test]
async fn c1_c2_c3_what_a_server_does_not_offer_is_not_tried() {
    let without = server(&["authorization_code"], &["client_secret_basic"]);
    let asked = run(
        Grant::ClientCredentials,
        without,
        client("job", Some("s")),
        None,
        Script::default(),
    )
    .await;
    assert!(asked.result.unwrap_err().to_string().contains("C3"));
    let public = server(&["client_credentials"], &["none"]);
    let asked = run(
        Grant::ClientCredentials,
        public,
        client("job", None),
        None,
        Script::default(),
    )
    .await;
    assert!(asked.result.unwrap_err().to_string().contains("C2"));
    assert!(asked.sent.is_empty());
}

#[tokio::test]
async fn e1_e22_both_legs_without_the_authorization_endpoint() {
    let claims = json!({ "aud": AS, "resource": MCP, "exp": 2000 });
    let id_jag = {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
        let header = B64.encode(r#"{"alg":"ES256","typ":"oauth-id-jag+jwt"}"#);
        format!("{header}.{}.c2ln", B64.encode(claims.to_string()))
    };
    let exchanged =
        json!({ "access_token": id_jag, "token_type": "N_A", "issued_token_type": enterprise::ID_JAG });
    let grant = || Grant::EnterpriseManaged(Arc::new(enterprise::tests::okta()));
    let metadata = || server(&[crate::grant::JWT_BEARER], &["client_secret_basic"]);
    let script = Script::new([(200, exchanged), token()]);
    let whole = run(grant(), metadata(), client("c", Some("s")), None, script).await;
    assert!(whole.result.is_ok());
    let urls: Vec<_> = whole.sent.iter().map(|request| request.url.as_str()).collect();
    assert_eq!(urls, ["https://idp.example/token", "https://as.example/token"]);
    assert_eq!(whole.forms[0].get("audience"), Some(AS));
    assert_eq!(whole.forms[1].get("assertion"), Some(id_jag.as_str()));
    let shown = format!("{:?}", whole.sent);
    assert!(!shown.contains(&id_jag) && !shown.contains("id.tok.en"), "E12");

    // The identity provider says no: nothing reaches the authorization server.
    let script = Script::new([refused("access_denied")]);
    let denied = run(grant(), metadata(), client("c", Some("s")), None, script).await;
    assert!(
        denied
            .result
            .unwrap_err()
            .to_string()
            .contains("identity provider answered access_denied")
    );
    assert_eq!(denied.sent.len(), 1);
}

#[tokio::test]
async fn w2_one_request_and_no_other_grant_after_it() {
    let workload = |aud: &str| {
        let claims = json!({ "iss": "i", "sub": "s", "aud": aud, "exp": 2000, "iat": 1, "jti": "1" });
        let assertion = Arc::new(FixedAssertion(jwt(&claims)));
        Grant::Workload(Arc::new(Workload {
            assertion,
            audience: None,
        }))
    };
    let metadata = || server(&[crate::grant::JWT_BEARER], &["none"]);
    let good = run(
        workload(AS),
        metadata(),
        client("job", None),
        None,
        Script::new([token()]),
    )
    .await;
    assert!(good.result.is_ok());
    assert_eq!(
        (good.forms[0].get("client_id"), good.forms[0].get("client_secret")),
        (Some("job"), None)
    );
    let nameless = run(
        workload(AS),
        metadata(),
        client("", None),
        None,
        Script::new([token()]),
    )
    .await;
    assert!(nameless.result.is_ok() && !nameless.forms[0].has("client_id"));
    for code in [
        "invalid_grant",
        "invalid_scope",
        "unauthorized_client",
        "temporarily_unavailable",
    ] {
        let script = Script::new([refused(code)]);
        let once = run(workload(AS), metadata(), client("job", None), None, script).await;
        assert!(once.result.unwrap_err().to_string().contains(code));
        assert_eq!(once.sent.len(), 1);
    }
    let never = run(
        workload("https://kubernetes"),
        metadata(),
        client("job", None),
        None,
        Script::default(),
    )
    .await;
    assert!(never.result.unwrap_err().to_string().contains("aud") && never.sent.is_empty());
}

#[tokio::test]
async fn r22_a_device_waits_at_the_pace_of_the_server_until_somebody_approves() {
    let codes = || {
        let body = json!({ "device_code": "d", "user_code": "BCDF-GHJK", "verification_uri": "https://as.example/device",
                           "expires_in": 600, "interval": 5 });
        (200, body)
    };
    let metadata = || server(&[device::GRANT_TYPE], &["none"]);
    let script = Script::new([
        codes(),
        refused("authorization_pending"),
        refused("slow_down"),
        token(),
    ]);
    let approved = run(Grant::Device, metadata(), client("tv", None), None, script).await;
    assert!(approved.result.is_ok());
    assert_eq!(approved.pauses, [5, 5, 10]);
    assert!(approved.told[0].contains("BCDF-GHJK"));
    assert_eq!(approved.forms[0].get("resource"), Some(MCP));
    assert_eq!(approved.forms[3].get("device_code"), Some("d"));

    let script = Script::new([codes(), refused("access_denied")]);
    let denied = run(Grant::Device, metadata(), client("tv", None), None, script).await;
    assert!(denied.result.unwrap_err().to_string().contains("denied"));

    let pending = std::iter::repeat_with(|| refused("authorization_pending")).take(200);
    let script = Script::new(std::iter::once(codes()).chain(pending));
    let late = run(Grant::Device, metadata(), client("tv", None), None, script).await;
    assert!(late.result.unwrap_err().to_string().contains("expired"));
    assert_eq!(late.pauses.iter().sum::<u64>(), 600);

    let without = server(&["authorization_code"], &["none"]);
    let asked = run(
        Grant::Device,
        without,
        client("tv", None),
        None,
        Script::default(),
    )
    .await;
    assert!(asked.result.is_err() && asked.sent.is_empty());
}

#[tokio::test]
async fn e22_d6_the_configured_identity_provider_is_found_by_its_metadata() {
    let metadata = || server(&[crate::grant::JWT_BEARER], &["client_secret_basic"]);
    let okta = enterprise::EnterpriseManaged {
        token_endpoint: None,
        ..enterprise::tests::okta()
    };
    let grant = Grant::EnterpriseManaged(Arc::new(okta));
    let document =
        json!({ "issuer": "https://idp.example", "token_endpoint": "https://idp.example/elsewhere" });
    let script = Script::new([(404, json!({})), (200, document), refused("access_denied")]);
    let found = run(grant.clone(), metadata(), client("c", Some("s")), None, script).await;
    assert!(found.result.is_err());
    assert_eq!(found.sent[2].url.as_str(), "https://idp.example/elsewhere");
    let impostor =
        json!({ "issuer": "https://evil.example", "token_endpoint": "https://evil.example/token" });
    let script = Script::new([(200, impostor)]);
    let refused = run(grant.clone(), metadata(), client("c", Some("s")), None, script).await;
    assert!(refused.result.unwrap_err().to_string().contains("D7") && refused.sent.len() == 1);
    let script = Script::new([(404, json!({})), (404, json!({}))]);
    let nowhere = run(grant, metadata(), client("c", Some("s")), None, script).await;
    assert!(nowhere.result.unwrap_err().to_string().contains("token endpoint"));
}
