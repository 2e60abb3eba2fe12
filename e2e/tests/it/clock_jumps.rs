//! FT-10: somebody sets the clock, while the server runs and between two runs. What has expired stays expired,
//! what was used stays used, what was revoked stays revoked, and nobody is locked out for longer than the wrong
//! time lasts.

use std::time::Duration;

use doorward_testkit::oauth::{Approved, OAuthClient, Tokens};
use doorward_testkit::{Doorward, PASSWORD, Reply};

use crate::machine::{Machine, asserted};
use crate::support::{Catalogue, RA, assert_t};

const HOUR: f64 = 3600.0;
const YEARS: f64 = 10.0 * 365.0 * 24.0 * HOUR;
/// Where the right clock is once an access token has expired.
const EXPIRED: f64 = 12.0 * 60.0;

/// A server that has given out something of every kind, and how each is to be found later.
struct World {
    catalogue: Catalogue,
    client: OAuthClient,
    /// Its access token expired.
    expired: Tokens,
    /// Works.
    live: Tokens,
    /// Redeemed; what it made works.
    used: Approved,
    of_used: Tokens,
    /// Revoked; its access token would be good for minutes.
    revoked: Tokens,
    /// Its token R1 was rotated long ago.
    rotated: Tokens,
}

impl World {
    async fn new() -> Self {
        let catalogue =
            Catalogue::start_with(Doorward::builder().faketime().env("DOORWARD_LOG", "debug")).await;
        let client = catalogue.n1().await;
        let expired = catalogue.tokens(&client).await;
        let rotated = catalogue.tokens(&client).await;
        let head = Tokens::from_reply(&client.refresh(rotated.refresh(), &catalogue.ra()).await);
        assert_eq!(client.refresh(head.refresh(), &catalogue.ra()).await.status, 200);
        catalogue.doorward.set_clock(EXPIRED);
        assert_eq!(call(&catalogue, &expired).await, 401);
        let live = catalogue.tokens(&client).await;
        let used = catalogue.code(&client).await;
        let of_used = Tokens::from_reply(&client.redeem(&used).await);
        let approved = catalogue.code(&client).await;
        let revoked = Tokens::from_reply(&client.redeem(&approved).await);
        assert_t(&client.redeem(&approved).await, &["invalid_grant"]);
        assert_eq!(call(&catalogue, &revoked).await, 401);
        Self {
            catalogue,
            client,
            expired,
            live,
            used,
            of_used,
            revoked,
            rotated,
        }
    }

    /// Sets the clock; with a restart, while the server is down (`kill -9`).
    async fn jump(&self, to: f64, restart: bool) {
        let doorward = &self.catalogue.doorward;
        if restart {
            doorward.kill();
            doorward.set_clock(to);
            doorward.start_again().await;
        } else {
            doorward.set_clock(to);
        }
    }

    async fn call(&self, tokens: &Tokens) -> u16 {
        call(&self.catalogue, tokens).await
    }

    async fn refresh(&self, tokens: &Tokens) -> Reply {
        self.client.refresh(tokens.refresh(), &self.catalogue.ra()).await
    }

    /// What no clock changes.
    async fn nothing_comes_back(&self, when: &str) {
        assert_eq!(
            self.call(&self.expired).await,
            401,
            "{when}: expired stays expired"
        );
        assert_eq!(
            self.call(&self.revoked).await,
            401,
            "{when}: revoked stays revoked"
        );
        assert_t(&self.refresh(&self.revoked).await, &["invalid_grant"]);
    }

    /// A used code is used: and whoever presents it still ends what it made.
    async fn used_stays_used(&self, when: &str) {
        assert_t(&self.client.redeem(&self.used).await, &["invalid_grant"]);
        assert_ne!(self.call(&self.of_used).await, 200, "{when}");
        assert_t(&self.refresh(&self.of_used).await, &["invalid_grant"]);
        assert_t(&self.refresh(&self.rotated).await, &["invalid_grant"]);
    }

    async fn login_works(&self, when: &str) {
        let tokens = self.client.login("alice", PASSWORD, &self.catalogue.ra()).await;
        assert_eq!(self.call(&tokens).await, 200, "{when}: a new login");
        let next = Tokens::from_reply(&self.refresh(&tokens).await);
        assert_eq!(self.call(&next).await, 200, "{when}: and its refresh");
    }

    fn lives(&self, when: &str) {
        let logs = self.catalogue.doorward.logs();
        assert!(self.catalogue.doorward.is_alive(), "{when}: {logs}");
        assert!(!logs.contains("panicked at"), "{when}: {logs}");
    }
}

async fn call(catalogue: &Catalogue, tokens: &Tokens) -> u16 {
    catalogue
        .call_at(RA, "ft10")
        .bearer(&tokens.access)
        .send()
        .await
        .status
}

async fn set_back(by: f64, restart: bool) {
    let world = World::new().await;
    let when = format!("set back by {by} s, restart: {restart}");
    // The time that the next process must know is written down when it first matters, then every 15 s.
    if restart {
        let mark = || async {
            world
                .catalogue
                .doorward
                .stderr()
                .contains("ahead of the time")
                .then_some(())
        };
        doorward_testkit::eventually("the clock is watched", Duration::from_secs(60), mark).await;
        world.login_works(&when).await;
        // It is written down with that line, a moment later, which nothing outside tells.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    world.jump(EXPIRED - by, restart).await;
    for _ in 0..2 {
        world.nothing_comes_back(&when).await;
        assert_eq!(world.call(&world.live).await, 200, "{when}: nobody is locked out");
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    world.used_stays_used(&when).await;
    let next = Tokens::from_reply(&world.refresh(&world.live).await);
    assert_eq!(world.call(&next).await, 200, "{when}");
    world.login_works(&when).await;
    world.jump(EXPIRED, restart).await;
    world
        .nothing_comes_back(&format!("{when}, and forward again"))
        .await;
    world.login_works(&format!("{when}, and forward again")).await;
    world.lives(&when);
    if !restart {
        let logs = world.catalogue.doorward.stderr();
        assert!(
            logs.contains("the machine's clock was set back"),
            "{when}: it is said: {logs}"
        );
    }
}

#[tokio::test]
async fn ft_10_an_hour_back_while_it_runs() {
    set_back(HOUR, false).await;
}

#[tokio::test]
async fn ft_10_an_hour_back_across_a_restart() {
    set_back(HOUR, true).await;
}

#[tokio::test]
async fn ft_10_ten_years_back_while_it_runs() {
    set_back(YEARS, false).await;
}

#[tokio::test]
async fn ft_10_ten_years_back_across_a_restart() {
    set_back(YEARS, true).await;
}

/// Ahead, where the expiry rules say who is out, and back again, where only those are who are really over.
async fn set_forward(by: f64, restart: bool) {
    let world = World::new().await;
    let when = format!("set forward by {by} s, restart: {restart}");
    world.jump(EXPIRED + by, restart).await;
    assert_eq!(world.call(&world.live).await, 401, "{when}: it has expired");
    world.nothing_comes_back(&when).await;
    if by < 30.0 * 24.0 * HOUR {
        let next = Tokens::from_reply(&world.refresh(&world.live).await);
        assert_eq!(
            world.call(&next).await,
            200,
            "{when}: who may refresh is not locked out"
        );
    } else {
        assert_t(&world.refresh(&world.live).await, &["invalid_grant"]);
    }
    world.login_works(&when).await;
    let of_that_time = world.client.login("alice", PASSWORD, &world.catalogue.ra()).await;
    assert_eq!(world.call(&of_that_time).await, 200);
    if restart {
        // Every start sweeps.
        let swept = || async { world.catalogue.doorward.stderr().contains("swept").then_some(()) };
        doorward_testkit::eventually("it swept", Duration::from_secs(60), swept).await;
    }

    world.jump(EXPIRED, restart).await;
    // It takes a second to see that ten years were a mistake.
    let back = || async { (world.refresh(&world.live).await.status == 200).then_some(()) };
    let what = "nothing was swept: who was signed in is signed in";
    doorward_testkit::eventually(what, Duration::from_secs(60), back).await;
    let when = format!("{when}, and back again");
    world.nothing_comes_back(&when).await;
    if by >= 30.0 * 24.0 * HOUR {
        assert_eq!(
            world.call(&of_that_time).await,
            401,
            "{when}: that time never came"
        );
        assert_t(&world.refresh(&of_that_time).await, &["invalid_grant"]);
    }
    world.used_stays_used(&when).await;
    world.login_works(&when).await;
    world.lives(&when);
}

#[tokio::test]
async fn ft_10_an_hour_forward_and_back_while_it_runs() {
    set_forward(HOUR, false).await;
}

#[tokio::test]
async fn ft_10_an_hour_forward_and_back_across_restarts() {
    set_forward(HOUR, true).await;
}

#[tokio::test]
async fn ft_10_ten_years_forward_and_back_while_it_runs() {
    set_forward(YEARS, false).await;
}

#[tokio::test]
async fn ft_10_ten_years_forward_and_back_across_restarts() {
    set_forward(YEARS, true).await;
}

/// Neither a clock that was set back, nor a restart, nor a sweep in a time that never came makes an assertion usable
/// again.
#[tokio::test]
async fn ft_10_tk_10_a_used_assertion_stays_used() {
    let catalogue = Catalogue::start_with(Doorward::builder().faketime()).await;
    let doorward = &catalogue.doorward;
    let machine = Machine::key(doorward, &["--client-credentials"]);
    let (assertion, resource) = (machine.assertion(), catalogue.ra());
    let present = async |when: &str| {
        let mut fields = vec![("grant_type", "client_credentials"), ("resource", &resource)];
        fields.extend(asserted(&assertion));
        let reply = doorward.post("/token").form(&fields).send().await;
        assert_t(&reply, &["invalid_client"]);
        assert!(doorward.is_alive(), "{when}: {}", doorward.logs());
    };
    let first = {
        let mut fields = vec![("grant_type", "client_credentials"), ("resource", &resource)];
        fields.extend(asserted(&assertion));
        doorward.post("/token").form(&fields).send().await
    };
    assert_eq!(first.status, 200, "{}", first.text());
    present("at once").await;
    for back in [60.0, HOUR, YEARS] {
        doorward.set_clock(-back);
        present("set back while it runs").await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        present("a moment later").await;
        doorward.kill();
        doorward.start_again().await;
        present("and across a restart").await;
        doorward.kill();
        doorward.set_clock(0.0);
        doorward.start_again().await;
        present("and right again").await;
    }
    // Ahead, where it has expired and its row is swept at the start; and back to where it would be good.
    doorward.kill();
    doorward.set_clock(HOUR);
    doorward.start_again().await;
    present("an hour ahead").await;
    doorward.set_clock(0.0);
    present("and back while it runs").await;
    doorward.kill();
    doorward.start_again().await;
    present("and back across a restart").await;
}
