use doorward_records::client::ClientStatus;
use doorward_types::secret::Secret;

use super::*;
use crate::cli::{ConfigArgs, ServeArgs};
use crate::config::{Config, Environment};

const SERVERS: &str =
    "[[servers]]\nname = \"files\"\npath = \"/files\"\nupstream = \"http://127.0.0.1:1/mcp\"\n";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn load(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let key = doorward_jose::SigningKey::generate().unwrap();
    let keys = serde_json::json!({ "keys": [key.public_jwk()] });
    for (name, text) in [
        ("secret", SECRET),
        ("keys.json", &keys.to_string()),
        ("broken.json", "{"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().join("doorward.toml");
    std::fs::write(&path, format!("{SERVERS}{text}")).unwrap();
    let config = ConfigArgs {
        config: Some(path),
        ..ConfigArgs::default()
    };
    let args = ServeArgs {
        config,
        ..ServeArgs::default()
    };
    let environment = Environment::from([("DW_SECRET", SECRET)]);
    let prefix = format!("{}/", folder.path().display());
    Config::load_for_serve(&args, &environment).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn client(text: &str) -> Client {
    let config = load(&format!("[[clients]]\nid = \"c\"\n{text}\n")).unwrap();
    let [entry] = config.clients.as_slice() else {
        panic!("{:?}", config.clients)
    };
    entry.client.clone()
}

fn problem(text: &str) -> String {
    load(&format!("[[clients]]\nid = \"c\"\n{text}\n")).unwrap_err()
}

#[test]
fn r17_clients_of_the_file_are_read() {
    let public = client("name = \"IDE\"\nredirect_uris = [\"http://localhost:1/cb\", \"cursor://a/b\"]");
    assert_eq!(
        (public.origin, public.status),
        (ClientOrigin::Configured, ClientStatus::Approved)
    );
    assert_eq!(
        public.metadata.redirect_uris,
        ["cursor://a/b", "http://localhost/cb"]
    );
    assert_eq!(public.metadata.token_endpoint_auth_method, "none");
    for (secret, method) in [
        ("secret = \"file:secret\"", "client_secret_basic"),
        (
            "secret = \"env:DW_SECRET\"\nsecret_in_body = true",
            "client_secret_post",
        ),
    ] {
        let client = client(&format!(
            "grant_types = [\"client_credentials\"]\nscopes = [\"a\", \"b\"]\n{secret}"
        ));
        assert_eq!(client.secret, Some(Secret::new(SECRET).digest()));
        assert_eq!(client.metadata.token_endpoint_auth_method, method);
        assert_eq!(client.metadata.scope.as_deref(), Some("a b"));
    }
    let server = client("jwks = \"keys.json\"\nintrospect = [\"files\"]\nservers = [\"files\"]");
    assert_eq!(server.metadata.token_endpoint_auth_method, "private_key_jwt");
    assert_eq!(
        (server.introspects, server.servers),
        (vec!["files".into()], Some(vec!["files".into()]))
    );
    let remote = client("jwks_uri = \"https://c.test/jwks\"\nredirect_uris = [\"https://c.test/cb\"]");
    assert_eq!(remote.metadata.jwks_uri.as_deref(), Some("https://c.test/jwks"));
}

#[test]
fn r17_what_is_wrong_with_a_client_is_said_at_its_place_without_its_secret() {
    insta::assert_snapshot!(problem("redirect_uris = [\"https://c.test/cb\"]\nsecret = \"hunter2\""), @r#"
    error: this secret has fewer than 32 characters
     --> doorward.toml:8:10
      |
    8 | secret = …
      |          ^
      = help: make one with `openssl rand -base64 32`
    "#);
    insta::assert_snapshot!(problem("grant_types = [\"client_credentials\"]"), @r#"
    error: this client: client_credentials needs a client that authenticates: give it a secret, jwks or jwks_uri
     --> doorward.toml:6:6
      |
    6 | id = "c"
      |      ^^^
    "#);
    for (text, message) in [
        (
            "secret = \"file:nowhere\"",
            "the file of this secret cannot be read",
        ),
        (
            "secret = \"env:DW_OTHER\"",
            "the environment variable of this secret is not set",
        ),
        ("secret = 7", "a secret must be a string"),
        ("jwks = \"broken.json\"", "the file of keys is not JSON"),
        ("jwks = \"nowhere.json\"", "the file of keys cannot be read"),
        ("jwks = \"secret\"", "the file of keys is not JSON"),
        (
            "jwks = \"keys.json\"\njwks_uri = \"https://c.test/jwks\"",
            "exclude each other",
        ),
        (
            "redirect_uris = [\"https://c.test/cb\"]\nservers = []",
            "`servers` names no server",
        ),
        (
            "redirect_uris = [\"https://c.test/cb\"]\nservers = [\"other\"]",
            "there is no server `other`",
        ),
        (
            "secret = \"file:secret\"\nintrospect = [\"other\"]",
            "there is no server `other`",
        ),
        (
            "redirect_uris = [\"javascript:alert(1)\"]",
            "a redirect URI has a scheme that is not allowed",
        ),
        ("redirect_uris = []", "this client could do nothing"),
        (
            "redirect_uris = [\"https://c.test/cb\"]\n[[clients]]\nid = \"c\"\nredirect_uris = [\"https://c.test/cb\"]",
            "two clients have the id `c`",
        ),
        ("colour = 1", "unknown key `colour`"),
    ] {
        let said = problem(text);
        assert!(said.contains(message), "{text}: {said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn r17_the_token_mode_needs_its_token_and_no_other_does() {
    let registration = |text: &str| load(&format!("[registration]\n{text}\n"));
    let config = registration("mode = \"token\"\ntoken = \"env:DW_SECRET\"").unwrap();
    assert_eq!(config.initial_token, Some(Secret::new(SECRET).digest()));
    for (text, message) in [
        ("mode = \"token\"", "the mode `token` needs `token`"),
        (
            "mode = \"open\"\ntoken = \"file:secret\"",
            "`token` is for the mode `token` only",
        ),
        ("token = \"file:secret\"", "`token` is for the mode `token` only"),
        ("mode = \"token\"\ntoken = \"short\"", "fewer than 20 characters"),
        ("quota_per_address = 0", "`quota_per_address` must be at least 1"),
    ] {
        let said = registration(text).unwrap_err();
        assert!(said.contains(message), "{text}: {said}");
        assert!(!said.contains("\"short\""), "{said}");
    }
}

#[test]
fn secrets_are_hidden_from_commands_and_from_config_show() {
    let text = "[[clients]]\nid = \"c\"\nredirect_uris = [\"https://c.test/cb\"]\nsecret = \"file:secret\"\n\
        [[clients]]\nid = \"d\"\nredirect_uris = [\"https://c.test/cb\"]\nsecret = \"0123456789012345678901234567890123\"\n";
    let config = load(text).unwrap();
    let hidden = config.hidden_from_commands();
    assert!(hidden.iter().any(|path| path.ends_with("secret")), "{hidden:?}");
    let shown = config.shown();
    let value = |key: &str| {
        let line = shown.iter().find(|line| line.key == key);
        line.unwrap().value.as_str().unwrap().to_owned()
    };
    assert_eq!(value("clients[0].secret"), "file:secret");
    assert_eq!(value("clients[1].secret"), "[redacted]");
}
