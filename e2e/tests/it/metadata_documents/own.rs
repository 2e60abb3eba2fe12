//! A Doorward that publishes the document of its company's own client, and another one that takes it.

use doorward_testkit::documents::Served;
use doorward_testkit::http::Destination;
use doorward_testkit::oauth::Tokens;
use doorward_testkit::{Doorward, PASSWORD, Site};
use serde_json::json;

use super::alone;
use super::world::World;

const ID: &str = "https://tools.apps.test/client-metadata.json";

#[test]
fn g3_g4_a_doorward_publishes_its_companys_client_and_another_one_takes_it() {
    alone(
        "own::g3_g4_a_doorward_publishes_its_companys_client_and_another_one_takes_it",
        async || {
            // Behind something that ends TLS for it, as its `https` address and plain loopback listener say.
            let company = Doorward::builder()
                .demo()
                .public_url("https://tools.apps.test")
                .config("[client_metadata]\nenabled = true\nclient_name = \"Company tools\"\n")
                .start()
                .await;
            let destination = Destination {
                address: company.address,
                tls: None,
            };
            let site = Site::at("https://tools.apps.test", destination);
            let document = site.get("/client-metadata.json").send().await;
            assert_eq!(document.status, 200, "{}", document.text());
            assert_eq!(document.header("content-type"), Some("application/json"));
            let shown = document.json();
            assert_eq!(shown["client_id"], ID);
            assert_eq!(shown["token_endpoint_auth_method"], "none");
            assert_eq!(
                shown["redirect_uris"],
                json!([
                    "http://127.0.0.1/callback",
                    "http://[::1]/callback",
                    "http://localhost/callback"
                ])
            );

            let world = World::start("").await;
            world.source("/client-metadata.json", Served::json(&shown));
            let client = world.client(ID, "http://127.0.0.1:43123/callback");
            let tokens: Tokens = client.login("alice", PASSWORD, &world.resource()).await;
            assert_eq!(tokens.claims()["client_id"], ID);
            world.assert_untouched();
        },
    );
}

#[tokio::test]
async fn g3_nothing_is_published_unless_it_is_wanted() {
    let doorward = Doorward::builder().demo().start().await;
    let reply = doorward.get("/client-metadata.json").send().await;
    assert_eq!(reply.status, 404);
}
