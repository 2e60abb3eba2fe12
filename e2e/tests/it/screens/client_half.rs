//! The pages that programs on a person's own machine show: how a login ended, and the login of a stdio server.

use doorward_testkit::client_home::{ClientHome, Running};
use doorward_testkit::github::App;

use super::*;
use crate::stdio_authorization::{OnGitHub, call, initialize, login_url};

/// The address that a login prints.
async fn address(running: &Running) -> String {
    running.says("open in a browser: ").await;
    let said = running.stderr();
    let (_, rest) = said.split_once("open in a browser: ").expect("an address");
    rest.split_whitespace().next().expect("an address").to_owned()
}

#[tokio::test]
async fn cl_11_the_pages_at_the_end_of_a_login_in_chromium() {
    let doorward = site().await;
    let resource = doorward.url("/notes/mcp");
    let home = ClientHome::new();
    let chromium = Chromium::start().await;
    let running = home.start_login(&resource, &["--no-browser"]);
    chromium.goto(&address(&running).await).await;
    chromium.shows("Sign in").await;
    chromium.sign_in("alice", PASSWORD).await;
    chromium.shows("Allow Doorward to use notes?").await;
    chromium.press("button[value=approve]").await;
    chromium.shows("You are logged in").await;
    chromium.look("callback-logged-in").await;
    running.ended().await.ok();

    let running = home.start_login(&resource, &["--no-browser", "--force"]);
    let authorize = address(&running).await;
    let redirect_uri = parameter(&authorize, "redirect_uri").expect("a redirect URI");
    chromium
        .goto(&format!("{redirect_uri}?code=x&state=of-another"))
        .await;
    chromium.shows("This answer belongs to no login").await;
    chromium.look("callback-of-another").await;
    chromium.goto(&authorize).await;
    chromium.shows("Allow Doorward to use notes?").await;
    chromium.press("button[value=deny]").await;
    chromium.shows("Access was not allowed").await;
    chromium.look("callback-denied").await;
    assert_eq!(running.ended().await.code, 1);
    chromium.stop().await;
}

#[tokio::test]
async fn r06_the_login_page_of_a_stdio_server_by_keyboard_in_chromium() {
    let on = OnGitHub::start(App::OAuth);
    let server = on.run(&[]);
    server.ask(&initialize(&json!({}))).await;
    let link = login_url(
        &server
            .ask(&call(2, "get_github_user_info", json!({}), None))
            .await,
    );
    let chromium = Chromium::start().await;
    chromium.goto(&link).await;
    chromium.shows("A program asks you to log in").await;
    chromium.look("stdio-login").await;
    tab_to(&chromium, "button").await;
    keys(&chromium, ENTER).await;
    chromium.shows("You are logged in").await;
    chromium.goto(&link).await;
    chromium.shows("The login is done").await;
    chromium.look("stdio-login-done").await;
    chromium.stop().await;
    server.close_stdin();
    server.ended().await;
}
