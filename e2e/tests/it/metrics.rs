//! `/metrics`: what is counted, and that nobody who calls can add to its series or put anything into it.

use std::time::Duration;

use doorward_testkit::http::{Destination, Site};
use doorward_testkit::{Doorward, eventually, mcp};
use serde_json::json;

use crate::support::{Catalogue, RA};

const SOON: Duration = Duration::from_secs(60);

/// The admin listener, whose port the log tells.
pub(crate) async fn admin(doorward: &Doorward) -> Site {
    let address = eventually("the address in the log", SOON, || async {
        let log = doorward.logs();
        let line = log.lines().find(|line| line.contains("metrics are served"))?;
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["address"].as_str()?.parse().ok()
    })
    .await;
    Site::at(&format!("http://{address}"), Destination { address, tls: None })
}

pub(crate) async fn metrics(admin: &Site) -> String {
    let reply = admin.get("/metrics").send().await;
    assert_eq!(reply.status, 200);
    let kind = reply.header("Content-Type").unwrap_or_default();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(reply.text().ends_with("# EOF\n"));
    reply.text().to_owned()
}

pub(crate) fn value(text: &str, begins: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(begins));
    let line = line.unwrap_or_else(|| panic!("{begins} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn lk_03_metrics_count_and_their_series_are_bounded_whoever_calls() {
    let builder = Doorward::builder()
        .env("DOORWARD_ADMIN_LISTEN", "127.0.0.1:0")
        .env("DOORWARD_LOG_FORMAT", "json");
    let catalogue = Catalogue::start_with(builder).await;
    let doorward = &catalogue.doorward;
    let admin = admin(doorward).await;
    assert_eq!(admin.get("/healthz").send().await.text(), "ok\n");
    let rebound = admin.get("/metrics").header("Host", "attacker.test").send().await;
    assert_eq!(rebound.status, 421, "a page whose name leads here reads nothing");

    let client = catalogue.n1().await;
    let tokens = catalogue.tokens(&client).await;
    let call = mcp::call(doorward, RA, "t_read", &json!({}));
    assert_eq!(call.clone().bearer(&tokens.access).send().await.status, 200);
    assert_eq!(call.send().await.status, 401);
    let before = metrics(&admin).await;
    let permitted =
        "doorward_decisions_total{server=\"a\",method=\"tools/call\",outcome=\"permitted\",reason=\"\"}";
    assert!(value(&before, permitted) >= 1.0);
    let refused =
        "doorward_decisions_total{server=\"a\",method=\"other\",outcome=\"refused\",reason=\"no_token\"}";
    assert!(value(&before, refused) >= 1.0);
    assert!(value(&before, "doorward_upstream_seconds_count{server=\"a\"}") >= 1.0);
    let codes = "doorward_authorization_events_total{event=\"token_authorization_code\",outcome=\"issued\"}";
    assert!(value(&before, codes) >= 1.0);
    assert!(
        value(
            &before,
            "doorward_authorization_events_total{event=\"sign_in\",outcome=\"done\"}"
        ) >= 1.0
    );

    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        10_000
    } else {
        200
    };
    for number in 0..rounds {
        let tool = format!("alice.{number}-example.com");
        let reply = mcp::call(doorward, RA, &tool, &json!({}))
            .bearer(&tokens.access)
            .send()
            .await;
        assert!(matches!(reply.status, 200 | 429), "{}", reply.status);
        let _ = mcp::call(doorward, RA, &tool, &json!({}))
            .bearer(&format!("token{number}"))
            .send()
            .await;
        if number % 20 == 0 {
            let metadata = json!({ "client_name": tool, "redirect_uris": ["http://127.0.0.1/cb"] });
            let _ = doorward.post("/register").json(&metadata).send().await;
        }
    }
    let after = metrics(&admin).await;
    // One series for each reason of ours that was met meanwhile, and none for a caller.
    assert!(after.lines().count() <= before.lines().count() + 8, "{after}");
    for private in [
        "example.com",
        "alice",
        "@",
        &client.id,
        &tokens.access,
        "127.0.0.1",
    ] {
        assert!(!after.contains(private), "{private} in\n{after}");
    }
    assert!(value(&after, "doorward_decisions_lost") == 0.0);
    catalogue.still_good().await;
}

#[tokio::test]
async fn a_port_that_was_asked_for_and_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let doorward = Doorward::builder()
        .demo()
        .env("DOORWARD_ADMIN_LISTEN", &address)
        .prepare();
    doorward.spawn();
    let code = eventually("it ends", SOON, || async { doorward.exited() }).await;
    assert_ne!(code, 0);
    let said = doorward.stderr();
    assert!(
        said.contains("cannot serve metrics on") && said.contains("admin_listen"),
        "{said}"
    );
}

/// What is reached over loopback is asked for by a page of anybody's whose name leads here (DNS rebinding).
#[tokio::test]
async fn metrics_on_every_address_answer_no_rebound_name_over_loopback() {
    let doorward = Doorward::builder()
        .demo()
        .env("DOORWARD_ADMIN_LISTEN", "0.0.0.0:0")
        .env("DOORWARD_LOG_FORMAT", "json")
        .start()
        .await;
    let address = admin(&doorward).await.address();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], address.port()));
    let site = Site::at(&format!("http://{address}"), Destination { address, tls: None });
    for (host, status) in [("attacker.test", 421), ("localhost", 200), ("127.0.0.1", 200)] {
        let reply = site.get("/metrics").set("Host", host).send().await;
        assert_eq!(reply.status, status, "{host}");
    }
}
