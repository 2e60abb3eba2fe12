//! What a decision costs with 50 policies: `cargo bench -p doorward-policy --features cedar`.

#![expect(clippy::unwrap_used, reason = "a measurement of something broken should stop")]

use bytes::Bytes;
use divan::Bencher;
use doorward_mcp::{Call, Envelope, Extensions, Object, Revision};
use doorward_policy::cedar::{CedarPolicy, PolicyFile};
use doorward_policy::{
    AccessRule, Context, ListMode, NoFurtherPolicy, Policy, ProtectedServer, ScopeTable, Subject, may_list,
    review,
};
use doorward_types::id::{ClientId, ServerName, Tenant, UserId};
use doorward_types::random::CountingRandom;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;
use http::HeaderMap;

fn main() {
    divan::main();
}

/// 50 policies: permits by group and tool, a few forbids; `reader` looks at arguments of one tool.
fn policies(reader: bool) -> CedarPolicy {
    let mut text = String::from(
        "permit(principal in Doorward::Group::\"eng\", action, resource in Doorward::Server::\"files\");\n",
    );
    for number in 0..24 {
        text.push_str(&format!(
            "permit(principal in Doorward::Group::\"team{number}\", action, resource == Doorward::Tool::\"files/tool{number}\");\n\
             forbid(principal, action, resource) when {{ principal.name == \"guest{number}\" && context.client == \"phone\" }};\n"
        ));
    }
    text.push_str(if reader {
        "forbid(principal, action, resource == Doorward::Tool::\"files/write\") when {\n\
         context.arguments.hasTag(\"path\") && context.arguments.getTag(\"path\") like \"/etc/*\" };\n"
    } else {
        "forbid(principal, action, resource == Doorward::Tool::\"files/drop\");\n"
    });
    let name = "bench.cedar".into();
    CedarPolicy::load(&[PolicyFile { name, text }]).unwrap()
}

fn server() -> ProtectedServer {
    ProtectedServer {
        name: ServerName::new("files"),
        path: "/files/mcp".into(),
        resource: ResourceUri::parse("https://mcp.example.com/files/mcp").unwrap(),
        scopes: ScopeTable::whole("files".parse().unwrap(), "Files"),
        allow: AccessRule::everyone(),
        lists: ListMode::Grantable,
    }
}

fn subject() -> Subject {
    Subject {
        user: UserId::generate(UnixTime::EPOCH, &CountingRandom::default()),
        username: "alice".into(),
        groups: vec!["eng".into(), "ops".into()],
        client: ClientId::new("dcr_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"),
        for_itself: false,
        scopes: "files files:read files:write".parse().unwrap(),
        client_scopes: None,
        tenant: Tenant::default_tenant(),
        authenticated: Some(UnixTime::EPOCH),
    }
}

fn call() -> Call {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":{"path":"/home/alice/notes.txt","text":"a few words","options":{"mode":"append","retries":3}}}}"#;
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", "2025-11-25".parse().unwrap());
    Call::admit(
        Envelope::read(Bytes::from(body)).unwrap(),
        &headers,
        &Extensions::none(),
    )
    .unwrap()
}

fn judged(bencher: Bencher<'_, '_>, policy: &dyn Policy) {
    let (server, subject, call) = (server(), subject(), call());
    let context = Context::new(UnixTime::from_seconds(1_767_787_200), Revision::V2025_11_25);
    bencher.bench_local(|| review(&server, &subject, &context, &call, policy).unwrap());
}

#[divan::bench]
fn without_policies(bencher: Bencher<'_, '_>) {
    judged(bencher, &NoFurtherPolicy);
}

#[divan::bench]
fn fifty_that_read_no_arguments(bencher: Bencher<'_, '_>) {
    judged(bencher, &policies(false));
}

#[divan::bench]
fn fifty_of_which_one_reads_arguments(bencher: Bencher<'_, '_>) {
    judged(bencher, &policies(true));
}

/// A hundred tools of a list, as one caller asks for it again and again.
#[divan::bench]
fn a_list_of_a_hundred_tools(bencher: Bencher<'_, '_>) {
    let (server, subject, policy) = (server(), subject(), policies(true));
    let context = Context::new(UnixTime::from_seconds(1_767_787_200), Revision::V2025_11_25);
    let names: Vec<String> = (0..100).map(|number| format!("tool{number}")).collect();
    bencher.bench_local(|| {
        let shown = |name: &&String| may_list(&server, &subject, &context, Object::Tool(name), &policy);
        names.iter().filter(shown).count()
    });
}
