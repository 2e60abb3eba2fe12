//! Authorization responses: a code comes out only of an answer that a lenient reader, too, takes for the right one. The
//! first line of an input is the issuer that was asked, the second what it says of `iss`, the third what came back.

use doorward_client::callback::{CallbackError, CallbackParameters};
use doorward_client::error::Error;
use doorward_client::provider::{ClientInformation, ClientOrigin, Pending};
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use url::Url;

const STATE: &str = "the-state";

/// `input` is three lines.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let pending = pending(line(), line() == "true");
    let query = line();
    let Ok(answer) = CallbackParameters::from_query(query) else {
        return;
    };
    let lenient: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let all = |name: &str| {
        lenient
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
    };
    let result = answer.judge(&pending);
    assert_eq!(answer.belongs_to(&pending), all("state") == [STATE]);
    match result {
        Ok(code) => {
            assert_eq!(all("code"), [code.expose()]);
            assert!(all("error").iter().all(|error| error.is_empty()));
            ours(&pending, &all("iss"), &all("state"));
        }
        Err(CallbackError::NotOurs) => assert_ne!(all("state"), [STATE]),
        Err(CallbackError::Failed(error)) => match *error {
            Error::Answered {
                code, description, ..
            } => {
                ours(&pending, &all("iss"), &all("state"));
                assert!(!description.unwrap_or_default().chars().any(char::is_control));
                assert!(!code.is_empty() && !code.chars().any(char::is_control));
            }
            Error::Refused(refusal) => assert!(!refusal.to_string().chars().any(char::is_control)),
            other => panic!("{other}"),
        },
    }
}

/// The table of the specification, and the state.
fn ours(pending: &Pending, issuers: &[&str], states: &[&str]) {
    assert_eq!(states, [STATE]);
    match issuers {
        [] => assert!(!pending.iss_required),
        one => assert_eq!(one, [pending.issuer.as_str()]),
    }
}

fn pending(issuer: &str, iss_required: bool) -> Pending {
    Pending {
        issuer: issuer.into(),
        iss_required,
        token_endpoint: Url::parse("https://as.example/token").expect("a URL"),
        resource: "https://mcp.example.com/mcp".into(),
        verifier: Secret::new("verifier"),
        state: Secret::new(STATE),
        redirect_uri: "http://127.0.0.1:4711/callback".into(),
        requested: ScopeSet::empty(),
        client: ClientInformation {
            issuer: issuer.into(),
            client_id: "client".into(),
            client_secret: None,
            token_endpoint_auth_method: None,
            redirect_uri: None,
            origin: ClientOrigin::Dynamic,
            secret_expires_at: None,
        },
        dpop: false,
        sign_on: None,
    }
}
