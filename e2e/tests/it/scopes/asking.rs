//! What an app asks for, whichever way it asks, and what is remembered of the answer.

use super::*;

/// What was allowed is remembered scope by scope: what was not ticked is as new the next time as it was the first.
#[tokio::test]
async fn r15_a33_what_was_allowed_is_remembered_scope_by_scope() {
    let world = World::start().await;
    let client = world.client().await;
    let asked = Some("t:read t:write t:mail");
    let page = world.page(&client, "alice", asked).await;
    assert!(!page.1.text().contains("New:"), "{}", page.1.text());
    let tokens = world.allow(&client, page, |scope| scope == "t:read").await;
    assert_eq!(scope_of(&tokens), "t:read");
    let (mut browser, page, _) = world.page(&client, "alice", asked).await;
    let text = page.text();
    let (new, before) = text.split_once("You allowed it before to").expect("both");
    assert!(
        new.contains("Change your notes") && new.contains("Send mail for you"),
        "{text}"
    );
    assert!(
        before.contains("Read your notes") && !before.contains("Send mail"),
        "{text}"
    );
    // A denial takes nothing back, and gives nothing.
    let done = browser.submit(&page, &page.consent_form(), "deny").await;
    let back = done.redirect().expect("back to the app");
    assert_eq!(parameter(&back, "error").as_deref(), Some("access_denied"));
    let refreshed = Tokens::from_reply(&world.refresh(&client, &tokens, None).await);
    assert_eq!(scope_of(&refreshed), "t:read");
    // Asked for less than it has: the page says what it keeps.
    let page = world.page(&client, "alice", Some("t:mail")).await;
    assert!(
        page.1
            .text()
            .contains("it can also: Read your notes. It does not ask for that now."),
        "{}",
        page.1.text()
    );
    let mail = world.allow(&client, page, |_| true).await;
    assert_eq!(scope_of(&mail), "t:mail");
    let page = world.page(&client, "alice", Some("t:read t:mail")).await;
    assert!(
        page.1
            .text()
            .contains("It will be able to, as you allowed before"),
        "{}",
        page.1.text()
    );
    // Another person was never asked.
    let (_, page, _) = world.page(&client, "olga", asked).await;
    assert!(!page.text().contains("before"), "{}", page.text());
}

#[tokio::test]
async fn r15_a_request_that_is_pushed_asks_for_the_same() {
    let world = World::start().await;
    let client = world.client().await;
    let push = async |client: &OAuthClient, scope: &str| {
        let pkce = Pkce::new();
        let parameters = with(client.parameters(&pkce, &world.resource()), "scope", Some(scope));
        let form: Vec<(&str, &str)> = parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        world.doorward.post("/par").form(&form).send().await
    };
    let pushed = push(&client, "t:read t:write t:admin unknown").await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let request_uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
    let url = client.url_with(&[
        ("client_id".into(), client.id.clone()),
        ("request_uri".into(), request_uri),
    ]);
    let page = Browser::new(&world.doorward)
        .sign_in(&url, "alice", PASSWORD)
        .await;
    for words in [
        "Change your notes",
        "Left out: Read everybody's notes ( t:admin )",
    ] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    let narrow = OAuthClient {
        id: "narrow".into(),
        ..client
    };
    let beyond = push(&narrow, "t:write").await;
    assert_eq!(
        (beyond.status, beyond.oauth_error().as_deref()),
        (400, Some("invalid_scope"))
    );
    assert_eq!(push(&narrow, "t:read t:write").await.status, 201);
    assert_eq!(
        push(&narrow, "\u{1f6aa}").await.oauth_error().as_deref(),
        Some("invalid_scope")
    );
}

/// Each server asks for its own, and the one authorization server knows what all of them ask for first.
#[tokio::test]
async fn a11_metadata_is_per_server_and_the_union_of_all() {
    let (one, other) = (Upstream::start(), Upstream::start());
    let second = format!(
        "[[servers]]\nname = \"plain\"\npath = \"/plain/mcp\"\nupstream = \"{}\"\n",
        other.url()
    );
    let text = format!("{}{second}", config(&one, TABLE).replace(CLIENTS, ""));
    let doorward = Doorward::builder()
        .config(&text)
        .user("alice", PASSWORD)
        .start()
        .await;
    for (path, scopes) in [
        (
            "/.well-known/oauth-protected-resource/notes/mcp",
            json!(["t:read"]),
        ),
        (
            "/.well-known/oauth-protected-resource/plain/mcp",
            json!(["plain"]),
        ),
        (
            "/.well-known/oauth-authorization-server",
            json!(["plain", "t:read"]),
        ),
    ] {
        let document = doorward.get(path).send().await.json();
        assert_eq!(document["scopes_supported"], scopes, "{path}");
    }
    // A scope of one server means nothing at another.
    let client = OAuthClient::register(&doorward, "N1", "http://127.0.0.1/cb").await;
    let resource = doorward.url("/plain/mcp");
    let pkce = Pkce::new();
    let parameters = with(
        client.parameters(&pkce, &resource),
        "scope",
        Some("t:write plain"),
    );
    let page = Browser::new(&doorward)
        .sign_in(&client.url_with(&parameters), "alice", PASSWORD)
        .await;
    assert!(
        page.text().contains("plain") && !page.text().contains("Change your notes"),
        "{}",
        page.text()
    );
}
