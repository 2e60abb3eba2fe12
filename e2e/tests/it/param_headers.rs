//! MB-07: arguments that a tool's schema wants mirrored into `Mcp-Param-*` headers.

use doorward_testkit::http::Request;
use doorward_testkit::upstream::{Answer, event};
use doorward_testkit::{Reply, marker, mcp};
use serde_json::{Value, json};

use crate::support::{Catalogue, RA};

crate::shared_catalogue!();

/// A tool of this case's own, with every kind of annotated argument.
fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object", "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" },
        "count": { "type": "integer", "x-mcp-header": "Count" },
        "dry": { "type": "boolean", "x-mcp-header": "Dry" },
        "where": { "type": "object", "properties": { "zone": { "type": "string", "x-mcp-header": "Zone" } } },
        "plain": { "type": "string" } } } })
}

/// Lists the tools through the gateway; the upstream answers with `answer`.
async fn list(catalogue: &Catalogue, answer: impl Fn() -> Answer + Send + Sync + 'static) -> Reply {
    let (case, token) = (marker(), catalogue.t().await);
    catalogue.up_a.script_for(&case, move |_| answer());
    let request = mcp::modern(&catalogue.doorward, RA, "tools/list", json!({ "cursor": case }));
    let reply = request.bearer(&token).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

fn result(tools: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "result": { "resultType": "complete", "tools": tools } })
}

fn call(catalogue: &Catalogue, tool: &str, arguments: &Value, headers: &[(&str, &str)]) -> Request {
    let mut request = mcp::call(&catalogue.doorward, RA, tool, arguments);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

/// H400: refused by the headers' own code, with the request's id, and never forwarded.
async fn refused(catalogue: &Catalogue, tool: &str, arguments: &Value, headers: &[(&str, &str)]) {
    let case = marker();
    let mut arguments = arguments.clone();
    arguments["marker"] = json!(case);
    let request = call(catalogue, tool, &arguments, headers);
    let reply = request.bearer(&catalogue.t().await).send().await;
    assert_eq!(reply.status, 400, "{arguments} {headers:?}: {}", reply.text());
    let answer = mcp::answer(&reply);
    assert_eq!(
        (&answer["error"]["code"], &answer["id"]),
        (&json!(-32020), &json!(1))
    );
    catalogue.up_a.assert_never_saw(&case);
}

async fn passes(catalogue: &Catalogue, tool: &str, arguments: &Value, headers: &[(&str, &str)]) {
    let case = marker();
    let mut arguments = arguments.clone();
    arguments["marker"] = json!(case);
    let request = call(catalogue, tool, &arguments, headers);
    let reply = request.bearer(&catalogue.t().await).send().await;
    assert_eq!(reply.status, 200, "{arguments} {headers:?}: {}", reply.text());
    let seen = catalogue.up_a.the(&case);
    for (name, value) in headers {
        assert_eq!(seen.values(name), [value.trim()], "it is passed on");
    }
}

const GOOD: [(&str, &str); 4] = [
    ("Mcp-Param-Region", "us-west1"),
    ("Mcp-Param-Count", "42"),
    ("Mcp-Param-Dry", "false"),
    ("Mcp-Param-Zone", "=?base64?WsO8cmljaA==?="),
];

fn arguments() -> Value {
    json!({ "region": "us-west1", "count": 42, "dry": false, "where": { "zone": "Zürich" }, "plain": "x" })
}

#[tokio::test]
async fn mb_07_mirrored_arguments_say_what_the_body_says() {
    let catalogue = catalogue().await;
    let name = marker();
    let (listed, tools) = (result(&json!([tool(&name)])), json!([tool(&name)]));
    let reply = list(catalogue, move || Answer::json(&listed)).await;
    assert_eq!(
        mcp::answer(&reply)["result"]["tools"],
        tools,
        "the client gets what was listed"
    );

    passes(catalogue, &name, &arguments(), &GOOD).await;
    passes(catalogue, &name, &json!({ "plain": "x", "region": null }), &[]).await;
    let foreign = [&GOOD[..], &[("Mcp-Param-Plain", "not recognized")]].concat();
    passes(catalogue, &name, &arguments(), &foreign).await;
    for (at, value) in [(0, "=?base64?dXMtd2VzdDE=?="), (1, "42.0"), (1, "4200e-2")] {
        let mut same = GOOD;
        same[at].1 = value;
        passes(catalogue, &name, &arguments(), &same).await;
    }
    let mut float = arguments();
    float["count"] = json!(42.0);
    passes(catalogue, &name, &float, &GOOD).await;

    for (at, value) in [
        (0, "us-east1"),
        (0, "US-WEST1"),
        (0, ""),
        (0, "=?base64?dXMtZWFzdDE=?="),
        (0, "=?base64?dXMtd2VzdDE?="),
        (0, "=?base64?dXMt!!d2VzdDE=?="),
        (0, "us-w\u{e9}st1"),
        (1, "43"),
        (1, "42.5"),
        (1, "0x2a"),
        (2, "False"),
        (2, "true"),
        (3, "Zurich"),
    ] {
        let mut wrong = GOOD;
        wrong[at].1 = value;
        refused(catalogue, &name, &arguments(), &wrong).await;
    }
    for (at, own) in GOOD.into_iter().enumerate() {
        let mut missing = GOOD.to_vec();
        missing.remove(at);
        refused(catalogue, &name, &arguments(), &missing).await;
        refused(catalogue, &name, &json!({}), &[own]).await;
        refused(catalogue, &name, &arguments(), &[&GOOD[..], &[own]].concat()).await;
    }
    refused(catalogue, &name, &json!({ "region": null }), &[GOOD[0]]).await;
    refused(catalogue, &name, &json!({ "Region": "us-west1" }), &[GOOD[0]]).await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn mb_07_lists_are_learnt_as_they_pass_and_replaced_by_later_ones() {
    let catalogue = catalogue().await;
    let name = marker();
    passes(catalogue, &name, &arguments(), &[]).await;
    let streamed = result(&json!([tool(&name)]));
    let notice = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} });
    let reply = list(catalogue, move || {
        Answer::events(vec![event(None, &notice), event(Some("1"), &streamed)])
    })
    .await;
    assert_eq!(mcp::answer(&reply)["result"]["tools"][0]["name"], json!(name));
    refused(catalogue, &name, &arguments(), &[]).await;

    let other = result(&json!([tool(&marker())]));
    list(catalogue, move || Answer::json(&other)).await;
    refused(catalogue, &name, &arguments(), &[]).await;

    // Bob has not listed this tool: nobody's list speaks for him.
    let client = catalogue.n1().await;
    let tokens = client
        .login("bob", doorward_testkit::PASSWORD, &catalogue.ra())
        .await;
    let reply = call(catalogue, &name, &arguments(), &[])
        .bearer(&tokens.access)
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());

    let plain = result(&json!([{ "name": name, "inputSchema": { "type": "object" } }]));
    list(catalogue, move || Answer::json(&plain)).await;
    passes(catalogue, &name, &arguments(), &[]).await;
    catalogue.still_good().await;
}
