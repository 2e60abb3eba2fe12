//! What the unit tests of this crate share: two servers, two clients, two people.

use doorward_policy::{AccessRule, ListMode, ProtectedServer, ScopeEntry, ScopeTable};
use doorward_records::account::User;
use doorward_records::client::{Client, ClientMetadata, ClientOrigin};
use doorward_types::id::{ServerName, Tenant, UserId};
use doorward_types::random::CountingRandom;
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};

use crate::client::content_id;
use crate::client_metadata::DocumentPolicy;
use crate::settings::{Grants, Lifetimes, RegistrationMode, RegistrationPolicy, Settings};

pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

/// One server, `mcp`, with the scopes `t:read` and `t:write`.
pub(crate) fn settings() -> Settings {
    Settings {
        issuer: Issuer::parse("https://mcp.example.com").unwrap(),
        tenant: Tenant::default_tenant(),
        servers: vec![server("a", "t:read t:write", AccessRule::everyone())],
        lifetimes: Lifetimes::default(),
        registration: RegistrationPolicy::new(RegistrationMode::KnownHosts),
        grants: Grants::default(),
        client_metadata_documents: DocumentPolicy::default(),
    }
}

/// The same with a second server, `b`.
pub(crate) fn two_servers() -> Settings {
    let mut settings = settings();
    settings.servers.push(server("b", "b", AccessRule::everyone()));
    settings
}

/// A table of scopes that are in the default set and open nothing.
pub(crate) fn table(scopes: &str) -> ScopeTable {
    let entry = |scope: &str| ScopeEntry::new(scope.parse().unwrap(), format!("Use {scope}"));
    ScopeTable::new(scopes.split(' ').map(entry).collect()).unwrap()
}

/// `read`; `write` implies it; `admin` implies that, is for the group `ops`, and both are step-up; `mail` beside them.
pub(crate) fn broad_and_narrow() -> ScopeTable {
    let entry = |scope: &str, implies: &[&str], step_up| ScopeEntry {
        implies: implies.iter().map(|scope| scope.parse().unwrap()).collect(),
        step_up,
        ..ScopeEntry::new(scope.parse().unwrap(), format!("Do {scope}"))
    };
    let admin = ScopeEntry {
        allow: Some(AccessRule::parse(&["group:ops", "client:reports"]).unwrap()),
        ..entry("admin", &["write"], true)
    };
    let table = vec![
        entry("read", &[], false),
        entry("write", &["read"], true),
        admin,
        entry("mail", &[], false),
    ];
    ScopeTable::new(table).unwrap()
}

pub(crate) fn server(name: &str, scopes: &str, allow: AccessRule) -> ProtectedServer {
    ProtectedServer {
        name: ServerName::new(name),
        path: format!("/{name}/mcp"),
        resource: ResourceUri::parse(&format!("https://mcp.example.com/{name}/mcp")).unwrap(),
        scopes: table(scopes),
        allow,
        lists: ListMode::default(),
    }
}

pub(crate) fn user(username: &str, groups: &[&str]) -> User {
    let random = CountingRandom::default();
    User {
        tenant: Tenant::default_tenant(),
        id: UserId::generate(
            UnixTime::from_seconds(i64::try_from(username.len()).unwrap()),
            &random,
        ),
        username: username.into(),
        password_hash: None,
        groups: groups.iter().map(|&group| group.into()).collect(),
        admin: false,
        disabled: false,
        created: UnixTime::EPOCH,
    }
}

/// A public client with these redirect URIs and the refresh grant.
pub(crate) fn client(redirect_uris: &[&str]) -> Client {
    let metadata = ClientMetadata {
        client_name: Some("Test".into()),
        ..ClientMetadata::public(redirect_uris.iter().map(|&uri| uri.into()).collect())
    };
    let id = content_id(&Tenant::default_tenant(), &metadata);
    Client::new(id, ClientOrigin::Dynamic, metadata, UnixTime::EPOCH)
}
