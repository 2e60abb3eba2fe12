//! CL-08: credentials belong to the authorization server that they were made for.

use doorward_testkit::client_home::ClientHome;
use doorward_testkit::evil::{Evil, MCP, REGISTER, TOKEN};

use super::{bridge, call, logged_in, text};

/// Nothing that `evil` gave out came to `other`.
fn assert_nothing_old(evil: &Evil, other: &Evil) {
    let secrets = evil.secrets();
    for request in other.server().requests() {
        secrets.assert_absent("what the other server got", &request.bytes());
    }
}

#[tokio::test]
async fn cl_08_a25_d2_g14_a_new_authorization_server_gets_nothing_of_the_old_one() {
    let (evil, other) = (Evil::start(), Evil::start());
    let home = logged_in(&evil).await;
    let old = evil.authorizations()[0]["client_id"].clone();
    evil.switch_to(&other);
    evil.revoke_everything();
    let finished = home.login(&evil.url(), &[]).await;
    assert_eq!(finished.code, 0, "it registers anew:\n{}", finished.stderr);
    assert_eq!(other.seen(REGISTER).len(), 1, "a registration of its own");
    assert_eq!(other.grants("authorization_code").len(), 1);
    assert_eq!(other.grants("refresh_token").len(), 0);
    for request in other.server().requests() {
        let bytes = String::from_utf8_lossy(&request.bytes()).into_owned();
        assert!(!bytes.contains(&old), "the old client id came along: {bytes}");
    }
    assert_nothing_old(&evil, &other);
    assert_eq!(evil.grants("refresh_token").len(), 0, "its own is dead or unused");
    home.assert_clean(&finished, &other.secrets()).await;
    // And back: what was kept for the first is still its own, and only its own.
    evil.behave();
    let finished = home.login(&evil.url(), &[]).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let secrets = other.secrets();
    for request in evil.server().requests() {
        // Its MCP server is what the tokens of either are for.
        if doorward_testkit::evil::path_of(&request) != MCP {
            secrets.assert_absent("what the first server got", &request.bytes());
        }
    }
    assert_eq!(
        evil.seen(REGISTER).len(),
        1,
        "its registration was kept by issuer"
    );
}

#[tokio::test]
async fn cl_08_g14_a_running_bridge_takes_nothing_along_either() {
    let (evil, other) = (Evil::start(), Evil::start());
    let home = logged_in(&evil).await;
    let running = bridge(&home, &evil.url(), &[]).await;
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    evil.switch_to(&other);
    evil.revoke_everything();
    let _browsing = home.browse();
    let answer = running.ask(&call(2, "t_read")).await;
    assert_eq!(text(&answer), "t_read ok", "{}", running.stderr());
    assert_nothing_old(&evil, &other);
    // A token of the one server was never shown to the other's endpoints; the MCP server sees both, one after the other.
    assert_eq!(other.seen(TOKEN).len(), 1);
}

/// The python-sdk #3435 case: a secret that a person was given for one server.
#[tokio::test]
async fn cl_08_g13_g14_a_pre_registered_secret_is_pinned_to_its_issuer() {
    let (evil, other, home) = (Evil::start(), Evil::start(), ClientHome::new());
    let secret = doorward_testkit::random_text();
    evil.pre_register("given-id", Some(&secret));
    let file = home.root().join("secret");
    // The one file that may hold it: it is the person's own.
    let more = [
        "--client-id",
        "given-id",
        "--client-secret-file",
        file.to_str().unwrap(),
    ];
    std::fs::write(&file, &secret).unwrap();
    let finished = home.login(&evil.url(), &more).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(evil.seen(REGISTER).len(), 0, "it is registered already");
    let token = evil.seen(TOKEN).remove(0);
    assert!(
        !token.values("authorization").is_empty() || token_form_has_secret(&evil, &secret),
        "the secret was used where it belongs"
    );

    evil.switch_to(&other);
    evil.revoke_everything();
    let finished = home.login(&evil.url(), &more).await;
    assert_eq!(finished.code, 1, "it stops:\n{}", finished.stderr);
    assert!(
        finished.stderr.contains(&evil.issuer()) && finished.stderr.contains(&other.issuer()),
        "for whom it was, and who asks: {}",
        finished.stderr
    );
    assert_nothing_old(&evil, &other);
    other.assert_no_credentials();
    for request in other.server().requests() {
        let bytes = String::from_utf8_lossy(&request.bytes()).into_owned();
        assert!(!bytes.contains(&secret), "{bytes}");
    }
    std::fs::remove_file(&file).unwrap();
    home.assert_clean(&finished, &evil.secrets()).await;
}

fn token_form_has_secret(evil: &Evil, secret: &str) -> bool {
    evil.forms(TOKEN)
        .iter()
        .any(|form| form.get("client_secret").is_some_and(|have| have == secret))
}

/// The same with a bridge that a host starts with the options in its configuration, where nobody looks at the terminal.
#[tokio::test]
async fn cl_08_g14_a_bridge_with_a_pre_registered_secret_stops_at_another_issuer() {
    let (evil, other, home) = (Evil::start(), Evil::start(), ClientHome::new());
    let secret = doorward_testkit::random_text();
    evil.pre_register("given-id", Some(&secret));
    let file = home.root().join("secret");
    std::fs::write(&file, &secret).unwrap();
    let more = [
        "--client-id",
        "given-id",
        "--client-secret-file",
        file.to_str().unwrap(),
    ];
    {
        let _browsing = home.browse();
        let running = bridge(&home, &evil.url(), &more).await;
        assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
        evil.switch_to(&other);
        evil.revoke_everything();
        let answer = running.ask(&call(2, "t_read")).await;
        assert!(answer.get("error").is_some(), "{answer}");
    }
    other.assert_no_credentials();
    for request in other.server().requests() {
        let bytes = String::from_utf8_lossy(&request.bytes()).into_owned();
        assert!(!bytes.contains(&secret), "{bytes}");
    }
}

/// A server that names several: the one that this machine knows is taken, whatever the order.
#[tokio::test]
async fn cl_08_a25_the_known_authorization_server_is_preferred_and_a_foreign_token_is_not_sent() {
    let (evil, other) = (Evil::start(), Evil::start());
    let home = logged_in(&evil).await;
    let (ours, theirs) = (evil.issuer(), other.issuer());
    evil.edit(doorward_testkit::evil::RESOURCE_METADATA, move |metadata| {
        metadata["authorization_servers"] = serde_json::json!([theirs, ours]);
    });
    evil.expire_access_tokens();
    let _browsing = home.browse();
    let running = bridge(&home, &evil.url(), &[]).await;
    assert_eq!(text(&running.ask(&call(1, "t_read")).await), "t_read ok");
    assert_nothing_old(&evil, &other);
    assert_eq!(home.opened().len(), 1, "a refresh was enough");
}
