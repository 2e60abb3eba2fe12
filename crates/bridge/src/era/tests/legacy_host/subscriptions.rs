//! News: `resources/subscribe` and changes of lists out of `subscriptions/listen`.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Did, Rig, notification, request};
use super::{discovered, initialize, open, refused};

/// The stream that is open after `notifications/initialized`.
fn listening(rig: &mut Rig) -> Value {
    let listen = rig
        .host(notification("notifications/initialized", json!({})))
        .sent();
    let filter = json!({ "toolsListChanged": true, "resourcesListChanged": true });
    assert_eq!(listen["params"]["notifications"], filter);
    acknowledge(rig, &listen).nothing();
    listen
}

#[track_caller]
fn acknowledge(rig: &mut Rig, listen: &Value) -> Did {
    let params = json!({ "_meta": { "io.modelcontextprotocol/subscriptionId": listen["id"] },
        "notifications": listen["params"]["notifications"] });
    rig.server(notification("notifications/subscriptions/acknowledged", params))
}

fn news(listen: &Value, method: &str, uri: Option<&str>) -> Value {
    let mut params = json!({ "_meta": { "io.modelcontextprotocol/subscriptionId": listen["id"] } });
    if let Some(uri) = uri {
        params["uri"] = uri.into();
    }
    notification(method, params)
}

#[test]
fn changes_come_out_of_a_stream() {
    let mut rig = open(&json!({}));
    let listen = listening(&mut rig);
    let told = rig
        .server(news(&listen, "notifications/tools/list_changed", None))
        .told();
    assert_eq!(
        told,
        json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" })
    );
    // A subscription opens a new stream; the old one ends when the new one is acknowledged.
    let second = rig
        .host(request(1, "resources/subscribe", json!({ "uri": "a:1" })))
        .sent();
    assert_eq!(
        second["params"]["notifications"]["resourceSubscriptions"],
        json!(["a:1"])
    );
    rig.host(request(2, "resources/subscribe", json!({ "uri": "a:2" })))
        .nothing();
    rig.server(news(&second, "notifications/tools/list_changed", None))
        .nothing();
    rig.server(news(&listen, "notifications/tools/list_changed", None))
        .told();
    let did = acknowledge(&mut rig, &second);
    assert_eq!(did.host.len(), 1);
    assert_eq!(did.host[0]["id"], 1);
    assert_eq!(did.server[0]["params"]["requestId"], listen["id"]);
    let third = did.server[1].clone();
    assert_eq!(
        third["params"]["notifications"]["resourceSubscriptions"],
        json!(["a:1", "a:2"])
    );
    let did = acknowledge(&mut rig, &third);
    assert_eq!(did.host[0]["id"], 2);
    assert_eq!(did.server[0]["params"]["requestId"], second["id"]);
    let told = rig
        .server(news(&third, "notifications/resources/updated", Some("a:2")))
        .told();
    assert_eq!(told["params"], json!({ "uri": "a:2" }));
    rig.server(news(&second, "notifications/resources/updated", Some("a:1")))
        .nothing();
    // Without it.
    let did = rig.host(request(3, "resources/unsubscribe", json!({ "uri": "a:1" })));
    assert_eq!(did.host[0]["id"], 3);
    assert_eq!(
        did.server[0]["params"]["notifications"]["resourceSubscriptions"],
        json!(["a:2"])
    );
}

#[test]
fn a_subscription_that_the_server_does_not_honour_is_refused() {
    let mut rig = open(&json!({}));
    let listen = rig
        .host(request(1, "resources/subscribe", json!({ "uri": "a:1" })))
        .sent();
    let params =
        json!({ "_meta": { "io.modelcontextprotocol/subscriptionId": listen["id"] }, "notifications": {} });
    let did = rig.server(notification("notifications/subscriptions/acknowledged", params));
    refused(did, -32602, "resource");
    let listen = rig
        .host(request(2, "resources/subscribe", json!({ "uri": "a:1" })))
        .sent();
    refused(
        rig.fail(&listen, -32601, "no streams", Value::Null),
        -32603,
        "no streams",
    );
}

#[test]
fn streams_are_opened_again_with_growing_waits() {
    let mut rig = open(&json!({}));
    let mut listen = listening(&mut rig);
    let closing = json!({ "resultType": "complete", "_meta": { "io.modelcontextprotocol/subscriptionId": listen["id"] } });
    let mut did = rig.answer(&listen, closing);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let (wait, again) = did.later.pop().expect("opened again");
        waits.push(wait.as_secs());
        listen = again;
        did = rig.fail(&listen, 502, "gone", Value::Null);
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
    let (_, listen) = did.later.pop().unwrap();
    acknowledge(&mut rig, &listen).nothing();
    // One that is never acknowledged is given up.
    let second = rig
        .host(request(1, "resources/subscribe", json!({ "uri": "a:1" })))
        .sent();
    rig.elapsed(Duration::from_secs(29)).nothing();
    let did = rig.elapsed(Duration::from_secs(1));
    assert_eq!(did.server[0]["params"]["requestId"], second["id"]);
    assert_eq!(did.host[0]["id"], 1);
    // The server says that it will not have it: that is that.
    rig.fail(&listen, -32601, "no", Value::Null).nothing();
}

#[test]
fn a_host_that_declares_nothing_opens_no_stream_for_a_server_that_tells_nothing() {
    let mut rig = Rig::legacy_host();
    let discover = rig.host(initialize(&json!({}))).sent();
    let mut result = discovered();
    result["capabilities"] = json!({ "tools": {} });
    rig.answer(&discover, result).told();
    rig.host(notification("notifications/initialized", json!({})))
        .nothing();
    refused(
        rig.host(request(1, "resources/subscribe", json!({ "uri": "a:1" }))),
        -32601,
        "resources.subscribe",
    );
    refused(
        rig.host(request(2, "logging/setLevel", json!({ "level": "info" }))),
        -32601,
        "logging",
    );
}
