//! `doorward policy suggest` and `check`: what servers of every kind are asked, and what is made of it.

use super::*;

const SCRIPT: &str = env!("CARGO_BIN_EXE_scripted-stdio");

/// A server of the older revisions or of the newest, with annotated tools.
pub(super) fn annotated(modern: bool) -> Upstream {
    let tool = |name: &str, annotations: Value| json!({ "name": name, "description": name, "inputSchema": { "type": "object" }, "annotations": annotations });
    let pages = [
        (
            vec![
                tool("get_it", json!({ "readOnlyHint": true })),
                tool("silent", json!({})),
            ],
            Some("2"),
        ),
        (
            vec![tool(
                "drop_it",
                json!({ "readOnlyHint": false, "destructiveHint": true }),
            )],
            None,
        ),
    ];
    Upstream::scripted(move |request| {
        let body = request.json();
        let is_modern = body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string();
        let answer =
            |result: Value| Answer::json(&json!({ "jsonrpc": "2.0", "id": body["id"], "result": result }));
        let error = |code: i64| {
            let error = json!({ "code": code, "message": "no" });
            Answer::json(&json!({ "jsonrpc": "2.0", "id": body["id"], "error": error }))
        };
        if body["id"].is_null() {
            return Answer::empty(202);
        }
        if is_modern != modern && body["method"] != "initialize" {
            return error(-32602);
        }
        match body["method"].as_str().unwrap_or_default() {
            "initialize" => answer(
                json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                "serverInfo": { "name": "s", "version": "1" } }),
            ),
            "tools/list" => {
                let page = usize::from(body["params"]["cursor"] == "2");
                let (tools, next) = &pages[page];
                let mut result = json!({ "resultType": "complete", "tools": tools });
                if let Some(next) = next {
                    result["nextCursor"] = json!(next);
                }
                answer(result)
            }
            "resources/templates/list" => answer(json!({ "resultType": "complete",
                "resourceTemplates": [{ "name": "f", "uriTemplate": "file:///{+path}" }] })),
            _ => error(-32601),
        }
    })
}

#[tokio::test]
async fn a_table_is_suggested_for_servers_of_every_kind_and_can_be_used_as_it_is() {
    let (modern, legacy) = (annotated(true), annotated(false));
    for (kind, rest, read, write) in [
        (
            "modern",
            format!("upstream = \"{}\"", modern.url()),
            &["get_it"][..],
            &["drop_it", "silent"][..],
        ),
        (
            "legacy",
            format!("upstream = \"{}\"", legacy.url()),
            &["get_it"],
            &["drop_it", "silent"],
        ),
        (
            "command",
            format!("command = [{SCRIPT:?}]"),
            &["t_pid", "t_read"],
            &["t_crash"],
        ),
        (
            "modern command",
            format!("command = [{SCRIPT:?}, \"modern\"]"),
            &["t_pid", "t_read"],
            &["t_crash"],
        ),
        ("demo", "demo = true".to_owned(), &[], &[]),
    ] {
        let work = doorward_testkit::folder("doorward-e2e-");
        let config = work.path().join("doorward.toml");
        let entry = server("s", &rest);
        std::fs::write(&config, &entry).unwrap();
        let suggested = policy(work.path(), &config, &["suggest"]).ok().stdout;
        assert!(
            suggested.contains("the server's own claims"),
            "{kind}: {suggested}"
        );
        let table: toml::Table = suggested
            .parse()
            .unwrap_or_else(|error| panic!("{kind}: {error}\n{suggested}"));
        let tools = |scope: &str| {
            let tools = table["servers"]["scopes"]
                .get(scope)
                .and_then(|scope| scope.get("tools"));
            let tools = tools.and_then(toml::Value::as_array).cloned().unwrap_or_default();
            tools
                .iter()
                .filter_map(|tool| tool.as_str().map(ToOwned::to_owned))
                .collect::<Vec<_>>()
        };
        if read.is_empty() {
            assert!(
                !(tools("s:read").is_empty() && tools("s:write").is_empty()),
                "{kind}: {suggested}"
            );
        } else {
            assert_eq!(
                (tools("s:read"), tools("s:write")),
                (owned(read), owned(write)),
                "{kind}"
            );
            assert_eq!(
                suggested.contains("\"file:///*\""),
                rest.contains("upstream"),
                "{suggested}"
            );
        }
        // As it is, below the entry: it is a good configuration, and names everything that the server has.
        std::fs::write(&config, format!("{entry}\n{suggested}")).unwrap();
        run(
            work.path(),
            ["config", "check", "--config", config.to_str().unwrap()],
            "",
        )
        .ok();
        let checked = policy(work.path(), &config, &["check"]).ok();
        assert!(
            checked
                .stdout
                .contains("everything it offers is named by a scope"),
            "{kind}: {checked:?}"
        );
        let json = policy(work.path(), &config, &["suggest", "s", "--format", "json"])
            .ok()
            .json();
        assert!(
            json["scopes"]["s:read"].is_object() || json["scopes"]["s:write"].is_object(),
            "{json}"
        );
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn what_scopes_leave_out_and_name_twice_is_told() {
    let up = annotated(true);
    let work = doorward_testkit::folder("doorward-e2e-");
    let config = work.path().join("doorward.toml");
    let table = "[servers.scopes.\"s:get\"]\ndescription = \"Get\"\ntools = [\"get_*\"]\n\
                 [servers.scopes.\"s:it\"]\ndescription = \"It\"\ntools = [\"*_it\"]\nstep_up = true\n";
    let entry = server("s", &format!("upstream = \"{}\"\n{table}", up.url()));
    std::fs::write(&config, &entry).unwrap();
    let told = policy(work.path(), &config, &["check"]).ok().stdout;
    for part in [
        "tools: `s:get` and `s:it` both name what is both `get_*` and `*_it`, so a call needs both scopes",
        "tool silent",
        "no Cedar policies",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("tool get_it"), "{told}");
    let json = policy(work.path(), &config, &["check", "--format", "json"])
        .ok()
        .json();
    assert_eq!(json["servers"][0]["unnamed"][0], "tool silent", "{json}");
    // What a policy names and nobody offers.
    std::fs::write(
        work.path().join("p.cedar"),
        "permit(principal, action, resource);\n@id(\"typo\") forbid(principal, action, resource == Doorward::Tool::\"s/drop_itt\");\n\
         @id(\"right\") forbid(principal, action, resource == Doorward::Tool::\"s/drop_it\");",
    )
    .unwrap();
    let plain = server("s", &format!("upstream = \"{}\"\n", up.url()));
    std::fs::write(&config, format!("[policy]\nfile = \"p.cedar\"\n{plain}")).unwrap();
    let told = policy(work.path(), &config, &["check"]).ok().stdout;
    assert!(
        told.contains("policy `typo` names the tool drop_itt, which the server does not offer"),
        "{told}"
    );
    assert!(!told.contains("`right`"), "{told}");
    std::fs::write(&config, &entry).unwrap();
    up.stop();
    let told = policy(work.path(), &config, &["check"]).ok().stdout;
    assert!(told.contains("did not say what it offers"), "{told}");
    let told = policy(work.path(), &config, &["check", "--offline"]).ok().stdout;
    assert!(told.contains("not asked"), "{told}");
    assert_eq!(policy(work.path(), &config, &["suggest", "x"]).code, 2);
    assert_eq!(policy(work.path(), &config, &["suggest"]).code, 3);
    // The schema is one that Cedar reads, in both forms.
    let schema = policy(work.path(), &config, &["schema"]).ok().stdout;
    assert!(schema.contains("namespace Doorward"), "{schema}");
    let schema = policy(work.path(), &config, &["schema", "--format", "json"])
        .ok()
        .json();
    assert!(
        schema["Doorward"]["actions"]["tools/call"].is_object(),
        "{schema}"
    );
}

/// A real server, over stdio and over HTTP: what is suggested for it is a table that can be used.
#[tokio::test]
async fn a_table_is_suggested_for_a_real_server() {
    let folder = crate::node::Folder::new();
    let [node, script] = folder.command("@modelcontextprotocol/server-everything/dist/index.js");
    let port = doorward_testkit::port::Port::reserve();
    let number = port.number();
    let mut http = folder.within(&node);
    http.args([&script, "streamableHttp"])
        .env("PORT", number.to_string());
    let _http = http
        .kill_on_drop(true)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the server listens", SOON, || async {
        std::net::TcpStream::connect(("127.0.0.1", number)).ok()
    })
    .await;
    let mut tables = Vec::new();
    for rest in [
        format!("command = [{node:?}, {script:?}]"),
        format!("upstream = \"http://127.0.0.1:{number}/mcp\""),
    ] {
        let work = doorward_testkit::folder("doorward-e2e-");
        let config = work.path().join("doorward.toml");
        let entry = server("s", &rest);
        std::fs::write(&config, &entry).unwrap();
        let suggested = policy(work.path(), &config, &["suggest"]).ok().stdout;
        for part in [
            "\"echo\"",
            "\"simple-prompt\"",
            "\"demo://resource/dynamic/text/*\"",
            "step_up = true",
        ] {
            assert!(suggested.contains(part), "{part}: {suggested}");
        }
        std::fs::write(&config, format!("{entry}\n{suggested}")).unwrap();
        let checked = run(
            work.path(),
            ["config", "check", "--config", config.to_str().unwrap()],
            "",
        )
        .ok();
        assert!(!checked.stdout.contains("note:"), "{}", checked.stdout);
        let checked = policy(work.path(), &config, &["check"]).ok();
        assert!(
            checked
                .stdout
                .contains("everything it offers is named by a scope"),
            "{checked:?}"
        );
        tables.push(suggested.parse::<toml::Table>().unwrap());
    }
    assert_eq!(tables[0], tables[1], "whichever way it is asked");
}
