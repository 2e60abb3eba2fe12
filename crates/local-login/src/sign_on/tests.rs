use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use doorward_client::http::{Http, HttpRequest, HttpResponse, TransportError};
use doorward_client::provider::Tokens;
use doorward_client::sign_on::kept_as;
use doorward_types::random::SystemRandom;
use doorward_types::time::{FixedClock, UnixTime};
use http::StatusCode;
use serde_json::json;

use super::*;
use crate::builder::SessionBuilder;
use crate::session::Notice;
use crate::store::{KeySource, ServerEntry, Store, TokensEntry};

const IDP: &str = "https://idp.example";
const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

/// The identity provider, which only has its metadata; and what was asked.
#[derive(Default)]
struct Idp(Mutex<Vec<String>>);

#[async_trait]
impl Http for Idp {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        self.0.lock().unwrap().push(request.url.to_string());
        let body = json!({
            "issuer": IDP, "authorization_endpoint": "https://idp.example/authorize",
            "token_endpoint": "https://idp.example/token", "jwks_uri": "https://idp.example/keys",
        });
        Ok(HttpResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
        })
    }
}

struct World {
    folder: tempfile::TempDir,
    clock: Arc<FixedClock>,
    idp: Arc<Idp>,
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(FixedClock::new(NOW)),
            idp: Arc::default(),
            notices: Arc::default(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn store(&self) -> Store {
        Store::open(self.path(), KeySource::File, Arc::new(SystemRandom)).unwrap()
    }

    fn sign_on(&self, client_id: &str, user: &str, interactive: bool) -> SignOn {
        let server = Url::parse("https://mcp.example/mcp").unwrap();
        let mut like = SessionBuilder::new(server, "Reader").settings;
        user.clone_into(&mut like.user);
        like.interactive = interactive;
        let notices = Arc::clone(&self.notices);
        let parts = Parts {
            store: self.store(),
            http: Arc::clone(&self.idp) as Arc<dyn Http>,
            network: None,
            browser: None,
            pasted: None,
            tell: Arc::new(move |notice: &Notice| notices.lock().unwrap().push(notice.clone())),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::new(SystemRandom),
        };
        SignOn::new(provider(client_id), &IdpCredential::None, &like, parts).unwrap()
    }

    /// As a sign-on leaves it.
    fn keep(&self, client_id: &str, user: &str, id_token: &str) {
        let tokens = Tokens {
            issuer: IDP.into(),
            resource: kept_as(client_id),
            client_id: client_id.into(),
            access_token: Secret::new(id_token),
            dpop: false,
            issued_at: Some(NOW),
            expires_at: Some(NOW.plus(Duration::from_secs(300))),
            refresh_token: None,
            scope: "openid".parse().unwrap(),
            requested: "openid".parse().unwrap(),
        };
        let (store, name) = (self.store(), provider(client_id).name());
        store
            .save_tokens(&TokensEntry::new(user, &name, &tokens, NOW))
            .unwrap();
        let place = ServerEntry {
            issuer: IDP.into(),
            resource: kept_as(client_id),
        };
        store.save_server(&name, user, &place).unwrap();
    }
}

fn provider(client_id: &str) -> Provider {
    Provider {
        issuer: IDP.into(),
        client_id: client_id.into(),
    }
}

#[tokio::test]
async fn e17_an_assertion_is_kept_by_provider_client_and_user_until_it_is_over() {
    let world = World::new();
    world.keep("reader", "default", "id.token.of-one");
    let one = world.sign_on("reader", "default", false);
    one.ready(false, true).await.unwrap();
    assert_eq!(one.assertion().await.unwrap().expose(), "id.token.of-one");
    for (client_id, user) in [("reader", "work"), ("reader2", "default"), ("", "default")] {
        let other = world.sign_on(client_id, user, false);
        let error = other.assertion().await.unwrap_err().to_string();
        assert!(error.contains(IDP) && !error.contains("id.token"), "{error}");
    }
    assert!(world.idp.0.lock().unwrap().is_empty(), "nobody was asked");
    for file in std::fs::read_dir(world.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(15).any(|window| window == b"id.token.of-one");
        assert!(!found, "it is sealed");
    }
    world.clock.advance(Duration::from_secs(300));
    assert!(one.assertion().await.is_err(), "it is over");
}

#[tokio::test]
async fn e16_nobody_is_asked_where_nobody_sits_or_only_a_sign_of_life_is_sent() {
    let world = World::new();
    for (interactive, may_ask) in [(false, true), (true, false)] {
        let sign_on = world.sign_on("reader", "default", interactive);
        let error = sign_on.ready(false, may_ask).await.unwrap_err();
        assert!(matches!(error, Error::NeedsUser(_)), "{error}");
        assert!(
            error
                .to_string()
                .contains("nobody is signed on at https://idp.example")
        );
    }
    assert_eq!(*world.notices.lock().unwrap(), [], "no page was told");
    let asked = world.idp.0.lock().unwrap();
    assert!(
        asked.iter().all(|url| url.ends_with("openid-configuration")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn e17_an_id_token_is_forgotten_without_being_shown_to_anybody() {
    let world = World::new();
    world.keep("reader", "default", "id.token.of-one");
    let sign_on = world.sign_on("reader", "default", false);
    assert_eq!(sign_on.log_out(false).await.unwrap(), LoggedOut::Revoked);
    assert!(sign_on.assertion().await.is_err());
    assert!(world.idp.0.lock().unwrap().is_empty());
    assert_eq!(sign_on.log_out(false).await.unwrap(), LoggedOut::Nobody);
}
