use std::sync::atomic::Ordering;

use doorward_client::http::Http;
use doorward_client::provider::{ClientInformation, ClientOrigin, Tokens};
use doorward_local_login::store::{ClientEntry, KeySource, ServerEntry, Store, TokensEntry};
use doorward_types::random::SystemRandom;
use doorward_types::time::{Clock, FixedClock, UnixTime};

use super::*;
use crate::discovery::tests::{ISSUER, RESOURCE, World, clock, known, wanted};
use crate::verify::{NotVerified, Verified, Verify};

/// Knows everybody by the same name.
struct Knows;

#[async_trait]
impl Verify for Knows {
    async fn verify(&self, _: &Secret) -> Result<Verified, NotVerified> {
        Ok(Verified {
            scopes: None,
            subject: Some("583231".to_owned()),
            name: Some("alice\u{1b}[2J".to_owned()),
            expires: None,
        })
    }

    fn forget(&self, _: &Secret) {}
}

/// Takes no token.
struct KnowsNobody;

#[async_trait]
impl Verify for KnowsNobody {
    async fn verify(&self, _: &Secret) -> Result<Verified, NotVerified> {
        Err(NotVerified::Refused("it is for somebody else".to_owned()))
    }

    fn forget(&self, _: &Secret) {}
}

struct Place {
    _folder: tempfile::TempDir,
    store: Store,
    clock: Arc<FixedClock>,
    world: Arc<World>,
    said: Arc<Mutex<Vec<String>>>,
    login: Arc<OwnLogin>,
}

impl Place {
    fn new() -> Self {
        Self::verified_by(Arc::new(Knows))
    }

    fn verified_by(verify: Arc<dyn Verify>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), KeySource::File, Arc::new(SystemRandom)).unwrap();
        let (world, clock) = (Arc::new(World::default()), clock());
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&said);
        let login = OwnLogin::new(OwnLoginParts {
            name: "notes".to_owned(),
            user: "default".to_owned(),
            wanted: wanted(),
            scopes: "notes".parse().unwrap(),
            known: known(&world, &clock),
            verify,
            provider: None,
            client_id: None,
            client_secret: None,
            callback_port: None,
            http: Arc::clone(&world) as Arc<dyn Http>,
            store: store.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            random: Arc::new(SystemRandom),
            say: Arc::new(move |text: &str| hears.lock().unwrap().push(text.to_owned())),
        });
        Self {
            _folder: folder,
            store,
            clock,
            world,
            said,
            login,
        }
    }

    /// Somebody logs in elsewhere, for `life` seconds.
    fn keep(&self, access: &str, life: i64, refresh: bool, scope: &str) -> TokensEntry {
        let now = self.clock.now();
        let tokens = Tokens {
            issuer: ISSUER.to_owned(),
            resource: RESOURCE.to_owned(),
            client_id: "kept".to_owned(),
            access_token: Secret::new(access),
            dpop: false,
            issued_at: Some(now),
            expires_at: Some(UnixTime::from_seconds(now.seconds() + life)),
            refresh_token: refresh.then(|| Secret::new("refresh")),
            scope: scope.parse().unwrap(),
            requested: scope.parse().unwrap(),
        };
        let entry = TokensEntry::new("default", RESOURCE, &tokens, now);
        self.store.save_tokens(&entry).unwrap();
        let place = ServerEntry {
            issuer: ISSUER.to_owned(),
            resource: RESOURCE.to_owned(),
        };
        self.store.save_server(RESOURCE, "default", &place).unwrap();
        let client = ClientInformation {
            issuer: ISSUER.to_owned(),
            client_id: "kept".to_owned(),
            client_secret: None,
            token_endpoint_auth_method: Some("none".to_owned()),
            redirect_uri: Some("http://127.0.0.1:20001/callback".to_owned()),
            origin: ClientOrigin::Dynamic,
            secret_expires_at: None,
        };
        self.store
            .save_client(RESOURCE, "default", &ClientEntry::from(&client))
            .unwrap();
        entry
    }

    async fn token(&self) -> Option<String> {
        let token = self.login.token().await?;
        Some(token.expose().to_owned())
    }

    fn asked(&self) -> usize {
        self.world.seen.lock().unwrap().len()
    }
}

#[tokio::test]
async fn r06_what_is_kept_is_found_without_the_network() {
    let place = Place::new();
    assert_eq!(place.token().await, None);
    place.keep("first", 600, true, "notes");
    assert_eq!(place.token().await.as_deref(), Some("first"));
    assert_eq!(place.login.kept.granted().await, Some("notes".parse().unwrap()));
    assert_eq!(place.asked(), 0, "{:?}", place.world.seen.lock().unwrap());
    // It ends: only now somebody has to be asked.
    place.clock.advance(Duration::from_secs(700));
    assert_eq!(place.token().await.as_deref(), Some("renewed"));
    let asked = place.asked();
    assert!(asked > 0);
    assert_eq!(place.token().await.as_deref(), Some("renewed"));
    assert_eq!(place.asked(), asked);
}

#[tokio::test]
async fn r06_r08_a_server_that_is_down_is_not_asked_at_every_call() {
    let place = Place::new();
    place.world.down.store(true, Ordering::SeqCst);
    place.keep("first", 600, true, "notes");
    // About to end, but good for the moment.
    place.clock.advance(Duration::from_secs(595));
    assert_eq!(place.token().await.as_deref(), Some("first"));
    let asked = place.asked();
    assert!(asked > 0);
    assert_eq!(place.token().await.as_deref(), Some("first"));
    place.clock.advance(Duration::from_secs(3));
    assert_eq!(place.token().await.as_deref(), Some("first"));
    place.login.refused(&Secret::new("first")).await;
    assert_eq!(place.asked(), asked);
    place.clock.advance(Duration::from_secs(20));
    assert_eq!(place.token().await, None, "it has ended");
    assert!(place.asked() > asked);
    place.world.down.store(false, Ordering::SeqCst);
    place.clock.advance(Duration::from_secs(11));
    assert_eq!(place.token().await.as_deref(), Some("renewed"));
}

#[tokio::test]
async fn r06_r08_a_token_endpoint_that_moves_is_found() {
    let place = Place::new();
    place.keep("first", 60, true, "notes");
    place.clock.advance(Duration::from_secs(61));
    assert_eq!(place.token().await.as_deref(), Some("renewed"));
    place.world.moved.store(true, Ordering::SeqCst);
    place.clock.advance(Duration::from_mins(15));
    place.keep("second", 60, true, "notes");
    place.login.kept.look_again();
    place.clock.advance(Duration::from_secs(61));
    assert_eq!(place.token().await.as_deref(), Some("renewed"));
    assert_eq!(place.world.count("/new/token"), 1);
}

#[tokio::test]
async fn r06_a_token_that_is_refused_is_renewed_or_given_up() {
    let place = Place::new();
    place.keep("first", 600, false, "notes");
    assert_eq!(place.token().await.as_deref(), Some("first"));
    place.login.refused(&Secret::new("first")).await;
    assert_eq!(place.token().await, None);
    assert_eq!(place.asked(), 0, "there is nothing to renew it with");
    place.keep("second", 600, true, "notes");
    assert_eq!(place.token().await.as_deref(), Some("second"));
    place.login.refused(&Secret::new("second")).await;
    assert_eq!(place.token().await.as_deref(), Some("renewed"));
}

#[tokio::test]
async fn r06_after_a_login_nothing_is_held_against_it() {
    let place = Place::new();
    let entry = place.keep("same", 600, false, "notes extra");
    place.login.refused(&Secret::new("same")).await;
    assert_eq!(place.token().await, None);
    place.login.want(&"delete_everything".parse().unwrap(), None);
    assert_eq!(place.login.wants(), "delete_everything notes".parse().unwrap());
    place.login.logged_in(&LoggedIn::Now(entry)).await;
    // The same token may come again; and what a call wanted that was not granted is not asked for again by itself.
    assert_eq!(place.token().await.as_deref(), Some("same"));
    assert_eq!(place.login.wants(), "extra notes".parse().unwrap());
    assert_eq!(
        *place.said.lock().unwrap(),
        ["logged in as alice\\u{1b}[2J: notes can be used now"]
    );
}

#[tokio::test]
async fn r06_step_up_asks_for_what_another_process_was_granted_as_well() {
    let place = Place::new();
    place.keep("first", 600, false, "notes extra");
    place.login.want(&"more".parse().unwrap(), None);
    assert_eq!(place.login.asked().await, "extra more notes".parse().unwrap());
    assert!(!place.login.has(&place.login.asked().await).await);
}

#[tokio::test]
async fn r06_vt_10_a_token_with_less_than_was_said_is_no_login_that_is_done() {
    let place = Place::new();
    let entry = place.keep("first", 600, false, "notes extra");
    let extra = "extra".parse().unwrap();
    assert!(place.login.has(&extra).await);
    place.login.want(&extra, Some(&Secret::new("first")));
    assert!(!place.login.has(&extra).await, "the page offers no login");
    place.keep("second", 600, false, "notes extra");
    place.login.kept.look_again();
    assert!(place.login.has(&extra).await);
    // Somebody has logged in and got the same token again: it is tried again.
    place.login.want(&extra, Some(&Secret::new("first")));
    place.login.logged_in(&LoggedIn::Now(entry)).await;
    assert!(place.login.has(&extra).await);
}

#[tokio::test]
async fn r06_a_login_whose_token_is_not_good_is_not_called_one() {
    let place = Place::verified_by(Arc::new(KnowsNobody));
    let entry = place.keep("elsewhere", 600, false, "notes");
    place.login.logged_in(&LoggedIn::Now(entry)).await;
    assert_eq!(
        *place.said.lock().unwrap(),
        ["logged in, but notes cannot be used with the token that came of it: it is for somebody else"]
    );
}
