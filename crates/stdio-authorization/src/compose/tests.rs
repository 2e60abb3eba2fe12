use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::discovery::tests::{RESOURCE, World, clock, known};
use crate::run::Authority as _;
use crate::verify::{NotVerified, Verified};

struct Nobody;

#[async_trait::async_trait]
impl Verify for Nobody {
    async fn verify(&self, _: &Secret) -> Result<Verified, NotVerified> {
        Err(NotVerified::Refused(String::new()))
    }

    fn forget(&self, _: &Secret) {}
}

#[test]
fn r02_vt_07_two_servers_have_two_resources() {
    let of = |name| below("https://as.example/", name).unwrap().to_string();
    assert_eq!(
        of("some-notes-server"),
        "https://as.example/stdio/some-notes-server"
    );
    let names = ["@a/b-c", "@a-b/c", "a b", "a-b", "a%20b", "a+b", "ä", "a"];
    let resources: std::collections::BTreeSet<String> = names.into_iter().map(of).collect();
    assert_eq!(resources.len(), names.len(), "{resources:?}");
}

#[tokio::test(start_paused = true)]
async fn r08_metadata_is_looked_for_every_hour() {
    let (world, clock) = (Arc::new(World::default()), clock());
    world.down.store(true, Ordering::SeqCst);
    let known = known(&world, &clock);
    let settings = Settings {
        resource: RESOURCE.to_owned(),
        authorization_servers: vec![known.configured().clone()],
        scopes: "notes".parse().unwrap(),
        tools: vec![],
        public_tools: vec![],
        protects: Protects {
            prompts: true,
            resources: true,
        },
        hand: Hand::Nothing,
    };
    let authority = Arc::new(LocalAuthority::new(
        Arc::new(settings.clone()),
        Arc::new(Nobody),
        None,
        None,
    ));
    let upkeep = Upkeep {
        authority: Arc::clone(&authority),
        known: vec![known],
        settings,
    };
    let running = tokio::spawn(upkeep.run());
    let server = || authority.settings().authorization_servers[0].clone();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(server().token_endpoint, None);
    // One that was down is asked again soon.
    world.down.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(
        server().token_endpoint.as_deref(),
        Some("https://as.example/token")
    );
    assert_eq!(server().scopes_supported, ["notes"]);
    // One that moves is found an hour later, and the hour after that.
    world.moved.store(true, Ordering::SeqCst);
    *world.scopes.lock().unwrap() = Some(json!(["more"]));
    tokio::time::sleep(Duration::from_mins(61)).await;
    assert_eq!(
        server().token_endpoint.as_deref(),
        Some("https://as.example/new/token")
    );
    assert_eq!(server().scopes_supported, ["more"]);
    world.moved.store(false, Ordering::SeqCst);
    *world.scopes.lock().unwrap() = None;
    tokio::time::sleep(Duration::from_mins(61)).await;
    assert_eq!(
        server().token_endpoint.as_deref(),
        Some("https://as.example/token")
    );
    assert_eq!(server().scopes_supported, ["notes"], "what is configured is kept");
    // One that is down for a while is forgotten nothing of.
    world.down.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_mins(61)).await;
    assert_eq!(
        server().token_endpoint.as_deref(),
        Some("https://as.example/token")
    );
    running.abort();
}
