//! What people see of scopes: asked for the first time, for more, for what they may not give, on a device and later.

use doorward_testkit::oauth::with;

use super::*;

const TABLE: &str = r#"
[[servers]]
name = "notes"
path = "/notes/mcp"
demo = true
allow = ["user:alice", "group:ops"]
[servers.scopes."notes:read"]
description = "Read your notes and the lists that they are in"
tools = ["list_notes", "read_note", "search_*", "find_*", "whoami", "echo", "count_notes", "export_notes", "recent_*"]
prompts = ["summarize"]
resources = ["note:///*"]
[servers.scopes."notes:write"]
description = "Write notes in your name: add new ones, change what is in those that you have, and move them from one list to another, also in lists that you share with other people, who then see what was changed"
tools = ["add_note", "change_note", "move_note"]
implies = ["notes:read"]
step_up = true
[servers.scopes."notes:delete"]
description = "Delete notes for good"
tools = ["delete_note"]
step_up = true
[servers.scopes."notes:everybody"]
description = "Read the notes of everybody in the company"
tools = ["audit_*"]
step_up = true
allow = ["group:ops"]
[grants]
device = true
"#;

#[tokio::test]
async fn r15_what_people_are_asked_about_scopes_in_chromium() {
    let builder = Doorward::builder().config(TABLE).user("alice", PASSWORD);
    let doorward = builder.user("mallory", PASSWORD).start().await;
    let resource = doorward.url("/notes/mcp");
    let client = register(&doorward, "Claude Code", "http://127.0.0.1:43123/callback").await;
    let url = |scope: &str| {
        let parameters = with(client.parameters(&Pkce::new(), &resource), "scope", Some(scope));
        client.url_with(&parameters)
    };
    let chromium = Chromium::start().await;
    chromium.goto(&url("notes:read")).await;
    chromium.shows("Sign in").await;
    chromium.sign_in("alice", PASSWORD).await;
    chromium.shows("Allow Claude Code to use notes?").await;
    chromium.look("scopes-first").await;
    chromium.goto(&url("notes:everybody")).await;
    chromium.shows("alice cannot give this").await;
    chromium.look("scopes-none").await;

    // Everything at once, and one thing that alice may not give.
    let everything = "notes:read notes:write notes:delete notes:everybody";
    chromium.goto(&url(everything)).await;
    chromium.shows("Allow Claude Code to use notes?").await;
    chromium.look("scopes-everything").await;
    chromium.goto(&url("notes:read")).await;
    chromium.shows("Allow Claude Code to use notes?").await;
    chromium.press("button[value=approve]").await;
    eventually("the way back to the client", PATIENCE, async || {
        let all = chromium.redirects().await;
        all.into_iter().find(|url| url.contains("code="))
    })
    .await;

    // More than before, all of it and only what is new.
    chromium.goto(&url(everything)).await;
    chromium.shows("Allow Claude Code to do more with notes?").await;
    chromium.look("scopes-more").await;
    chromium.goto(&url("notes:delete")).await;
    chromium.shows("Allow Claude Code to do more with notes?").await;
    chromium.look("scopes-only-new").await;
    chromium.press("button[value=approve]").await;
    eventually("the way back to the client", PATIENCE, async || {
        let all = chromium.redirects().await;
        all.into_iter().find(|url| url.contains("code="))
    })
    .await;

    let form = [("client_id", client.id.as_str()), ("scope", everything)];
    let waiting = doorward
        .post("/device_authorization")
        .form(&form)
        .send()
        .await
        .json();
    chromium
        .goto(waiting["verification_uri_complete"].as_str().expect("a link"))
        .await;
    chromium.shows("Connect a device").await;
    chromium.press("button.primary").await;
    chromium
        .shows("Allow Claude Code on a device to use notes?")
        .await;
    chromium.look("scopes-device").await;
    chromium.goto(&doorward.url("/account")).await;
    chromium.shows("Your account").await;
    chromium.look("scopes-account").await;

    // Who may not use the server at all is told that, and not which scope is missing.
    chromium.press("form[action='/logout'] button").await;
    chromium.shows("You are signed out").await;
    chromium.goto(&url("notes:everybody")).await;
    chromium.shows("Sign in").await;
    chromium.sign_in("mallory", PASSWORD).await;
    chromium.shows("mallory may not use notes").await;
    chromium.look("scopes-not-admitted").await;
    chromium.stop().await;
}
