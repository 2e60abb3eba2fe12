use doorward_oauth::client_auth as message;
use doorward_oauth::form::Form;
use doorward_policy::AccessRule;
use doorward_records::client::ClientMetadata;
use doorward_types::id::ClientId;
use doorward_types::random::CountingRandom;
use doorward_types::secret::Secret;

use super::*;
use crate::client_auth::authenticate;
use crate::fixture::{self, NOW};

/// The client `reports`, which has a secret and registered the grant.
fn client(origin: ClientOrigin) -> Client {
    let metadata = ClientMetadata {
        grant_types: vec!["client_credentials".into()],
        token_endpoint_auth_method: "client_secret_post".into(),
        ..ClientMetadata::public(Vec::new())
    };
    Client {
        secret: Some(Secret::new("s").digest()),
        ..Client::new(ClientId::new("reports"), origin, metadata, NOW)
    }
}

struct Ask {
    settings: Settings,
    client: Client,
    body: &'static str,
    scope: Option<&'static str>,
    resource: Vec<String>,
}

impl Ask {
    fn of(client: Client) -> Self {
        Self {
            settings: fixture::settings(),
            client,
            body: "client_id=reports&client_secret=s",
            scope: None,
            resource: Vec::new(),
        }
    }

    fn allow(mut self, entries: &[&str]) -> Self {
        self.settings.servers[0].allow = AccessRule::parse(entries).unwrap();
        self
    }

    fn decide(&self) -> Decided {
        let form = Form::parse(self.body.as_bytes()).unwrap();
        let presented = message::read(&[], &form).unwrap();
        let client = Some(self.client.clone());
        let caller = authenticate(&self.settings, &presented, client, None, NOW).unwrap();
        let request = Request {
            scope: self.scope.map(str::to_owned),
            resource: self.resource.clone(),
        };
        decide(&self.settings, &request, &caller, NOW, &CountingRandom::default())
    }

    fn outcome(&self) -> Result<Box<Issue>, TokenRefusal> {
        self.decide().outcome
    }
}

#[test]
fn c1_the_token_speaks_for_the_client_and_nobody_else() {
    let decided = Ask::of(client(ClientOrigin::Operator)).decide();
    assert!(decided.unit.is_empty(), "used a moment ago: nothing to write");
    let issue = decided.outcome.unwrap();
    let claims = serde_json::to_value(issue.claims(&fixture::settings().issuer, 7)).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&"reports".into(), &"reports".into())
    );
    assert_eq!(claims["scope"], "t:read t:write");
    assert_eq!(claims["aud"], "https://mcp.example.com/a/mcp");
    for absent in ["username", "groups", "family"] {
        assert!(claims.get(absent).is_none(), "{absent}");
    }
    assert!(issue.refresh_token.is_none());
    assert_eq!(issue.expires_in, Duration::from_mins(60));
}

#[test]
fn the_last_use_is_noted_now_and_then() {
    let mut old = client(ClientOrigin::Operator);
    old.last_used = UnixTime::from_seconds(NOW.seconds() - 301);
    let unit = Ask::of(old).decide().unit;
    assert_eq!(unit.writes, [Write::TouchClient(ClientId::new("reports"), NOW)]);
    assert_eq!(unit.preconditions.len(), 1);
}

#[test]
fn tk_13_public_clients_get_no_token_of_their_own() {
    let mut public = client(ClientOrigin::Operator);
    public.metadata.token_endpoint_auth_method = "none".into();
    let ask = Ask {
        body: "client_id=reports",
        ..Ask::of(public)
    };
    let refused = ask.outcome().unwrap_err();
    assert_eq!(refused, TokenRefusal::NotForItself);
    assert_eq!(refused.body().error.as_str(), "unauthorized_client");
}

#[test]
fn c1_an_operator_must_have_wanted_it() {
    let approved = |origin| Client {
        approved: Some(NOW),
        ..client(origin)
    };
    for (client, good) in [
        (client(ClientOrigin::Operator), true),
        (client(ClientOrigin::Configured), true),
        (client(ClientOrigin::Confidential), false),
        (client(ClientOrigin::MetadataDocument), false),
        (client(ClientOrigin::Dynamic), false),
        (approved(ClientOrigin::Confidential), true),
        (approved(ClientOrigin::MetadataDocument), true),
    ] {
        let origin = client.origin;
        assert_eq!(Ask::of(client.clone()).outcome().is_ok(), good, "{origin:?}");
        // Named for the server, it is wanted there, whoever registered it.
        assert!(
            Ask::of(client.clone())
                .allow(&["client:reports"])
                .outcome()
                .is_ok(),
            "{origin:?}"
        );
        for rule in [
            &["user:reports"][..],
            &["group:eng"],
            &["client:Reports"],
            &["user:client:reports"],
        ] {
            let refused = Ask::of(client.clone()).allow(rule).outcome().unwrap_err();
            assert_eq!(refused, TokenRefusal::NotForItself, "{origin:?} {rule:?}");
        }
    }
    for status in [ClientStatus::Pending, ClientStatus::Disabled] {
        let mut client = client(ClientOrigin::Operator);
        client.status = status;
        assert_eq!(Ask::of(client).outcome().unwrap_err(), TokenRefusal::NotForItself);
    }
}

#[test]
fn tk_07_the_resource_is_one_server_that_the_client_may_use() {
    let two = |resource: &[&str], servers: Option<&[&str]>| {
        let mut client = client(ClientOrigin::Operator);
        client.servers = servers.map(|names| names.iter().map(|&name| name.into()).collect());
        let ask = Ask {
            settings: fixture::two_servers(),
            resource: resource.iter().map(|&text| text.into()).collect(),
            ..Ask::of(client)
        };
        ask.outcome().map(|issue| issue.resource.as_str().to_owned())
    };
    let (a, b) = ("https://mcp.example.com/a/mcp", "https://mcp.example.com/b/mcp");
    assert_eq!(two(&[b], None), Ok(b.to_owned()));
    assert_eq!(two(&[b], Some(&["b"])), Ok(b.to_owned()));
    assert_eq!(two(&[b], Some(&["a"])), Err(TokenRefusal::NotForItself));
    assert_eq!(two(&[b], Some(&[])), Err(TokenRefusal::NotForItself));
    assert_eq!(two(&[], None), Err(TokenRefusal::Resource));
    assert_eq!(two(&[a, b], None), Err(TokenRefusal::Resource));
    assert_eq!(two(&["https://evil.test/mcp"], None), Err(TokenRefusal::Resource));
}

#[test]
fn a_client_limited_by_its_registration_says_so_in_its_token() {
    let mut client = client(ClientOrigin::Operator);
    let limit = |client: &Client| {
        let issue = Ask::of(client.clone()).outcome().unwrap();
        assert_eq!(issue.authenticated, None, "nobody signed in");
        issue.client_scopes.map(|scopes| scopes.to_string())
    };
    assert_eq!(limit(&client), None);
    client.metadata.scope = Some("openid t:read other".into());
    assert_eq!(limit(&client).as_deref(), Some("other t:read"));
}

#[test]
fn r15_a_client_gets_only_scopes_that_name_it() {
    let granted = |rule: &[&str], scope| {
        let mut ask = Ask::of(client(ClientOrigin::Operator));
        let mut entries = fixture::broad_and_narrow().entries().to_vec();
        entries[2].allow = Some(AccessRule::parse(rule).unwrap());
        ask.settings.servers[0].scopes = doorward_policy::ScopeTable::new(entries).unwrap();
        ask.scope = Some(scope);
        ask.outcome().map(|issue| issue.scopes.to_string())
    };
    let (named, others) = (&["client:reports", "user:alice"][..], &["group:ops"][..]);
    assert_eq!(granted(named, "read admin"), Ok("admin read".into()));
    assert_eq!(granted(others, "read admin"), Ok("read".into()));
    assert_eq!(granted(others, "admin"), Err(TokenRefusal::Scope));
    assert_eq!(
        granted(named, ""),
        Ok("mail read".into()),
        "step-up scopes are asked for"
    );
}

#[test]
fn a11_only_scopes_that_exist_and_were_registered() {
    let granted = |registered: Option<&str>, scope| {
        let mut client = client(ClientOrigin::Operator);
        client.metadata.scope = registered.map(str::to_owned);
        let ask = Ask {
            scope,
            ..Ask::of(client)
        };
        ask.outcome().map(|issue| issue.scopes.to_string())
    };
    assert_eq!(granted(None, Some("t:read")), Ok("t:read".into()));
    assert_eq!(granted(None, Some("t:read unknown")), Ok("t:read".into()));
    assert_eq!(granted(None, Some("offline_access")), Ok("t:read t:write".into()));
    assert_eq!(granted(Some("t:read"), None), Ok("t:read".into()));
    assert_eq!(
        granted(Some("t:read"), Some("t:read t:write")),
        Ok("t:read".into())
    );
    assert_eq!(granted(Some("t:read"), Some("t:write")), Err(TokenRefusal::Scope));
    assert_eq!(granted(None, Some("unknown")), Err(TokenRefusal::Scope));
    assert_eq!(granted(None, Some("\"")), Err(TokenRefusal::Scope));
    assert_eq!(granted(Some("gone"), None), Err(TokenRefusal::Scope));
}
