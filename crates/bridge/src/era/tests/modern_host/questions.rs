//! What the server asks for during a call, and the requests that bring the answers.

use std::time::Duration;

use serde_json::json;

use super::super::{cancelled, form, request};
use super::{again, asking, call, call_of, content, elicit, key_of, open, refused, with_meta};

#[test]
fn a_question_of_the_server_ends_the_request_and_the_next_one_takes_it_up() {
    let mut rig = open(&asking());
    let sent = call(&mut rig, 1);
    let asked = rig.server_during(elicit(70, "Who?"), Some(&sent)).told();
    assert_eq!(asked["id"], 1);
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required");
    let key = key_of(result);
    assert_eq!(
        result["inputRequests"][&key],
        json!({ "method": "elicitation/create", "params": form("Who?") })
    );
    // A second one while the host is busy waits for its next request.
    rig.server_during(
        request("r", "roots/list", json!({ "_meta": { "progressToken": 1 } })),
        Some(&sent),
    )
    .nothing();
    let accepted = json!({ "action": "accept", "content": { "name": "Ann" } });
    let did = rig.host(again(
        2,
        &result["requestState"],
        json!({ key: accepted, "other": 1 }),
    ));
    assert_eq!(
        did.server,
        [json!({ "jsonrpc": "2.0", "id": 70, "result": accepted })]
    );
    let result = &did.host[0]["result"];
    assert_eq!(did.host[0]["id"], 2);
    let key = key_of(result);
    assert_eq!(result["inputRequests"][&key], json!({ "method": "roots/list" }));
    // An incomplete answer is asked for again.
    let asked = rig.host(again(3, &result["requestState"], json!({}))).told();
    assert_eq!(key_of(&asked["result"]), key);
    let state = asked["result"]["requestState"].clone();
    assert_ne!(state, result["requestState"]);
    let answer = rig.host(again(4, &state, json!({ key: { "roots": [] } }))).sent();
    assert_eq!(
        answer,
        json!({ "jsonrpc": "2.0", "id": "r", "result": { "roots": [] } })
    );
    assert_eq!(rig.answer(&sent, content()).told()["id"], 4);
    refused(rig.host(again(5, &state, json!({}))), -32602, "requestState");
}

#[test]
fn an_answer_that_comes_while_the_call_waits_is_kept() {
    let mut rig = open(&asking());
    let sent = call(&mut rig, 1);
    let asked = rig.server_during(elicit(70, "Who?"), Some(&sent)).told();
    rig.server(cancelled(70)).nothing();
    rig.answer(&sent, content()).nothing();
    let answer = rig
        .host(again(2, &asked["result"]["requestState"], json!({})))
        .told();
    assert_eq!(
        (&answer["id"], &answer["result"]["resultType"]),
        (&json!(2), &json!("complete"))
    );
}

#[test]
fn a_state_belongs_to_its_call() {
    let mut rig = open(&asking());
    let sent = call(&mut rig, 1);
    let asked = rig.server_during(elicit(70, "Who?"), Some(&sent)).told();
    let state = &asked["result"]["requestState"];
    let mut other = again(2, state, json!({}));
    other["params"]["arguments"] = json!({ "n": 2 });
    refused(rig.host(other), -32602, "another call");
    let mut other = again(3, state, json!({}));
    other["params"]["name"] = "u".into();
    refused(rig.host(other), -32602, "another call");
    for wrong in ["", "n0nce.", "n0nce.1", "n0nce.99", "other.3"] {
        refused(
            rig.host(again(4, &wrong.into(), json!({}))),
            -32602,
            "repeat the call without it",
        );
    }
    let mut without = again(5, state, json!({}));
    without["params"].as_object_mut().unwrap().remove("requestState");
    refused(rig.host(without), -32602, "without the `requestState`");
    rig.host(again(6, state, json!({}))).told();
}

#[test]
fn a_question_goes_to_a_call_only_if_it_is_clear_to_which() {
    let mut rig = open(&asking());
    let none = rig.server(elicit(1, "?")).sent();
    assert_eq!(none["error"]["code"], -32603);
    let first = call(&mut rig, 1);
    let second = rig.host(call_of(2, &json!({}))).sent();
    // Only the first one's request declares it.
    let refusal = rig.server_during(elicit(2, "?"), Some(&second)).sent();
    assert_eq!(refusal["error"]["code"], -32601);
    assert_eq!(rig.server(elicit(3, "?")).told()["id"], 1);
    let third = call(&mut rig, 3);
    let refusal = rig.server(elicit(4, "?")).sent();
    assert!(
        refusal["error"]["message"]
            .as_str()
            .unwrap()
            .contains("several calls")
    );
    assert_eq!(rig.server_during(elicit(5, "?"), Some(&third)).told()["id"], 3);
    rig.answer(&first, content()).nothing();
    rig.answer(&second, content()).told();
    // Other requests of servers.
    assert_eq!(
        rig.server(request(6, "ping", json!({}))).sent()["result"],
        json!({})
    );
    assert_eq!(
        rig.server(request(7, "x/y", json!({}))).sent()["error"]["code"],
        -32601
    );
    // A list cannot carry a question.
    let mut rig = open(&asking());
    let list = rig.host(with_meta(1, "tools/list", json!({}), &asking())).sent();
    assert_eq!(
        rig.server_during(elicit(8, "?"), Some(&list)).sent()["error"]["code"],
        -32601
    );
}

#[test]
fn pages_that_must_be_opened_first_are_asked_for_and_the_call_made_again() {
    let mut rig = open(&asking());
    let sent = call(&mut rig, 1);
    let page = json!({ "mode": "url", "elicitationId": "e", "message": "Open", "url": "https://a.example/" });
    let data = json!({ "elicitations": [page] });
    let asked = rig.fail(&sent, -32042, "page", data.clone()).told();
    let result = &asked["result"];
    let key = key_of(result);
    let expected = json!({ "mode": "url", "message": "Open", "url": "https://a.example/" });
    assert_eq!(result["inputRequests"][&key]["params"], expected);
    let second = rig
        .host(again(
            2,
            &result["requestState"],
            json!({ key: { "action": "accept" } }),
        ))
        .sent();
    assert_ne!(second["id"], sent["id"]);
    assert_eq!(second["params"], sent["params"]);
    let asked = rig.fail(&second, -32042, "page", data.clone()).told();
    let key = key_of(&asked["result"]);
    let declined = again(
        3,
        &asked["result"]["requestState"],
        json!({ key: { "action": "decline" } }),
    );
    refused(rig.host(declined), -32603, "not accepted");
    // A host that cannot open pages.
    let sent = rig.host(call_of(4, &json!({ "elicitation": {} }))).sent();
    let error = refused(rig.fail(&sent, -32042, "page", data), -32021, "elicitation.url");
    assert_eq!(
        error["data"]["requiredCapabilities"],
        json!({ "elicitation": { "url": {} } })
    );
}

#[test]
fn what_waits_for_the_host_expires_and_is_bounded() {
    let mut rig = open(&asking());
    let sent = call(&mut rig, 1);
    let asked = rig.server_during(elicit(70, "?"), Some(&sent)).told();
    rig.elapsed(Duration::from_secs(599)).nothing();
    let did = rig.elapsed(Duration::from_secs(1));
    assert_eq!(did.server[0]["id"], 70);
    assert!(did.server[0]["error"].is_object());
    assert_eq!(did.server[1]["params"]["requestId"], sent["id"]);
    refused(
        rig.host(again(2, &asked["result"]["requestState"], json!({}))),
        -32602,
        "expired",
    );
    // The 65th call that waits ends the first.
    let mut states = Vec::new();
    for number in 0..65 {
        let sent = call(&mut rig, 100 + number);
        let did = rig.server_during(elicit(1000 + number, "?"), Some(&sent));
        states.push(did.host[0]["result"]["requestState"].clone());
        assert_eq!(did.server.is_empty(), number < 64, "{number}");
    }
    refused(rig.host(again(3, &states[0], json!({}))), -32602, "expired");
    rig.host(again(4, &states[1], json!({}))).told();
}
