//! MB: the headers that repeat what the body says.

use doorward_testkit::{marker, mcp};
use serde_json::json;

use crate::bodies::{CALL, H400, MODERN, refuse_with};

crate::shared_catalogue!();

fn without(position: usize) -> Vec<(&'static str, &'static str)> {
    let mut headers = MODERN.to_vec();
    headers.remove(position);
    headers
}

#[tokio::test]
async fn mb_02_header_and_body_name_the_same_method() {
    let catalogue = catalogue().await;
    for method in [
        "tools/list",
        "Tools/Call",
        "TOOLS/CALL",
        "tools/call, tools/list",
        "=?base64?dG9vbHMvY2FsbA==?=",
    ] {
        let mut headers = MODERN;
        headers[1].1 = method;
        refuse_with(catalogue, &headers, CALL, H400).await;
    }
    let mut headers = MODERN;
    headers[1].1 = "tools/list";
    refuse_with(catalogue, &headers, &CALL.replace("t_read", "t_admin"), H400).await;
    let body = CALL.replace("tools/call", "Tools/Call");
    refuse_with(catalogue, &MODERN, &body, H400).await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn mb_03_each_mirrored_header_is_there_once_and_says_something() {
    let catalogue = catalogue().await;
    for (position, (name, value)) in MODERN.into_iter().enumerate() {
        refuse_with(catalogue, &without(position), CALL, H400).await;
        for again in [value, "other", ""] {
            let twice = [&MODERN[..], &[(name, again)]].concat();
            refuse_with(catalogue, &twice, CALL, H400).await;
        }
        for blank in ["", " ", "\t"] {
            let blank = [&without(position)[..], &[(name, blank)]].concat();
            refuse_with(catalogue, &blank, CALL, H400).await;
        }
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn mb_04_versions_agree_and_are_known() {
    let catalogue = catalogue().await;
    for version in [
        "2025-11-25",
        "2025-03-26",
        "2024-11-05",
        "2099-01-01",
        "2026-07-28 x",
    ] {
        let headers = [&without(0)[..], &[("MCP-Protocol-Version", version)]].concat();
        refuse_with(catalogue, &headers, CALL, H400).await;
    }
    let supported = json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]);
    let unknown = mcp::meta().to_string().replace(mcp::MODERN, "2099-01-01");
    for (body, version) in [
        (CALL.replace("META", &unknown), "2099-01-01"),
        (CALL.replace(r#","_meta":META"#, ""), "2099-01-01"),
        (CALL.replace(r#","_meta":META"#, ""), "2026-7-28"),
    ] {
        let headers = [&without(0)[..], &[("MCP-Protocol-Version", version)]].concat();
        let reply = refuse_with(catalogue, &headers, &body, (400, -32022)).await;
        let data = &mcp::answer(&reply)["error"]["data"];
        assert_eq!(
            (&data["supported"], &data["requested"]),
            (&supported, &json!(version))
        );
    }
    catalogue.still_good().await;
}

/// Whoever reads what arrives, by its body or by its headers, finds the tool that policy judged.
#[tokio::test]
async fn mb_05_legacy_bodies_are_judged_and_lying_headers_stay_behind() {
    let catalogue = catalogue().await;
    for version in [
        Some("2025-11-25"),
        Some("2025-06-18"),
        Some("2025-03-26"),
        Some("2024-11-05"),
        None,
    ] {
        let case = marker();
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "t_admin", "arguments": { "m": case } } });
        let mut request = catalogue
            .call("unused")
            .without("MCP-Protocol-Version")
            .json(&body);
        if let Some(version) = version {
            request = request.header("MCP-Protocol-Version", version);
        }
        let reply = request.bearer(&catalogue.t().await).send().await;
        assert_eq!(mcp::text_of(&reply), "t_admin ok");
        let seen = catalogue.up_a.the(&case);
        let read: Vec<_> = seen.five_ways().into_iter().collect();
        assert_eq!(read, [("tools/call".to_owned(), "t_admin".to_owned())]);
        assert!(!String::from_utf8_lossy(&seen.head).contains("t_read"));
        assert_eq!(seen.values("Mcp-Name"), [""; 0]);
        assert_eq!(seen.values("Mcp-Method"), [""; 0]);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn mb_06_encoded_names_are_decoded_before_they_are_compared() {
    let catalogue = catalogue().await;
    let case = marker();
    let right = catalogue.call(&case).set("Mcp-Name", "=?base64?dF9yZWFk?=");
    assert_eq!(right.bearer(&catalogue.t().await).send().await.status, 200);
    assert_eq!(
        catalogue.up_a.the(&case).values("Mcp-Name"),
        ["=?base64?dF9yZWFk?="]
    );
    for name in [
        "=?base64?dF9hZG1pbg==?=",
        "=?base64?dF9yZWF?=",
        "=?base64?dF9y*WFk?=",
        "=?base64?dF9yZWFk",
        "=?BASE64?dF9yZWFk?=",
        "=?Base64?dF9yZWFk?=",
        "=?base64?dF9yZWFkAA==?=",
        "=?base64?dF9yZWFkDQo=?=",
        "=?base64?dF9yZWFkDQpYOiB5?=",
        "=?base64?/w==?=",
        "=?base64??=",
    ] {
        let headers = [MODERN[0], MODERN[1], ("Mcp-Name", name)];
        refuse_with(catalogue, &headers, CALL, H400).await;
    }
    catalogue.still_good().await;
}
