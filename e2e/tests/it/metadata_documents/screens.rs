//! The consent pages of clients that are known by a URL, in Chromium, to be looked at.

use doorward_testkit::PASSWORD;
use doorward_testkit::oauth::Pkce;

use super::alone;
use super::world::{APP, World, document};
use crate::chromium::Chromium;

const LIAR: &str = "https://login.evil.test/client.json";

#[test]
fn s12_rg_10_rg_13_consent_for_clients_with_documents_in_chromium() {
    let test = "screens::s12_rg_10_rg_13_consent_for_clients_with_documents_in_chromium";
    alone(test, async || {
        let config = "[client_metadata_documents]\nallow = [\"*.apps.test\", \"*.evil.test\"]\n";
        let world = World::start(config).await;
        // The certificate of the site is the test's own; its name is one of the network outside.
        let chromium = Chromium::start_with(&[
            "--ignore-certificate-errors",
            "--host-resolver-rules=MAP gw.test 127.0.0.1",
        ])
        .await;
        for (id, name, redirect, picture) in [
            (
                APP,
                "Example Chat",
                "https://app.apps.test/oauth/callback",
                "consent-document",
            ),
            (
                APP,
                "Example Editor",
                "http://127.0.0.1:43123/callback",
                "consent-document-loopback",
            ),
            (
                LIAR,
                "Claude (official, verified)",
                "https://login.evil.test/cb",
                "consent-document-lying",
            ),
        ] {
            world.serve(document(id, name, &[redirect]));
            let client = world.client(id, redirect);
            chromium
                .goto(&client.authorize_url(&Pkce::new(), &world.resource()))
                .await;
            let heading = chromium
                .page
                .find(fantoccini::Locator::Css("h1"))
                .await
                .expect("a heading");
            if heading.text().await.expect("text") == "Sign in" {
                chromium.look(&format!("login-{picture}")).await;
                chromium.sign_in("alice", PASSWORD).await;
            }
            chromium.shows(&format!("Allow {name} to use mcp?")).await;
            chromium.look(picture).await;
            // The next one starts from nothing: documents are kept for a while.
            world.doorward.command(&["client", "remove", id]).ok();
        }
        chromium.stop().await;
    });
}
