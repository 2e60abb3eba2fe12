//! What the rules ask of a client's metadata.

use std::collections::BTreeMap;

use doorward_oauth::redirect;
use doorward_policy::{ProtectedServer, ScopeTable};
use doorward_records::client::{Client, ClientMetadata, ClientOrigin};
use doorward_types::digest::Digest;
use doorward_types::id::{ClientId, Tenant};
use doorward_types::scope::ScopeSet;
use serde_json::{Value, json};

use crate::authorize::is_ignored;

/// The longest name that pages show, in characters.
const DISPLAY_LIMIT: usize = 80;

/// One text for one metadata: a JSON object with sorted members, written the same by every build.
#[must_use]
pub fn canonical(metadata: &ClientMetadata) -> String {
    // Sorted by `BTreeMap` and not by `serde_json::Map`, whose order depends on a feature that any
    // dependency can turn on: client ids must not change with it.
    let members: BTreeMap<&str, Value> = BTreeMap::from([
        ("application_type", json!(metadata.application_type)),
        ("client_name", json!(metadata.client_name)),
        ("client_uri", json!(metadata.client_uri)),
        (
            "dpop_bound_access_tokens",
            json!(metadata.dpop_bound_access_tokens),
        ),
        ("grant_types", json!(metadata.grant_types)),
        ("jwks", json!(metadata.jwks)),
        ("jwks_uri", json!(metadata.jwks_uri)),
        ("redirect_uris", json!(metadata.redirect_uris)),
        ("response_types", json!(metadata.response_types)),
        ("scope", json!(metadata.scope)),
        ("software_id", json!(metadata.software_id)),
        (
            "token_endpoint_auth_method",
            json!(metadata.token_endpoint_auth_method),
        ),
        (
            "token_endpoint_auth_signing_alg",
            json!(metadata.token_endpoint_auth_signing_alg),
        ),
    ]);
    let members: Vec<String> = members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, mut value)| {
            value.sort_all_objects();
            format!("\"{name}\":{value}")
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

/// What a consent page is bound to: if the client's metadata is another, the page is void.
#[must_use]
pub fn metadata_digest(metadata: &ClientMetadata) -> Digest {
    Digest::of(canonical(metadata).as_bytes())
}

/// The id of a dynamic public client: the same metadata is the same client, however often it registers.
#[must_use]
pub fn content_id(tenant: &Tenant, metadata: &ClientMetadata) -> ClientId {
    let digest = Digest::of_parts(&[tenant.as_str().as_bytes(), b"\0", canonical(metadata).as_bytes()]);
    ClientId::new(format!("dcr_{digest}"))
}

/// Whether the client registered this redirect URI (S8).
#[must_use]
pub fn has_redirect(client: &Client, requested: &str) -> bool {
    client
        .metadata
        .redirect_uris
        .iter()
        .any(|registered| redirect::matches(registered, requested))
}

/// The scopes that the client registered; none if it named none, or only such as mean nothing here.
pub(crate) fn registered_scopes(client: &Client) -> Option<ScopeSet> {
    let scope = client.metadata.scope.as_deref()?;
    let named = scope.parse::<ScopeSet>().ok()?;
    let named: ScopeSet = named.iter().filter(|scope| !is_ignored(scope)).cloned().collect();
    (!named.is_empty()).then_some(named)
}

/// All the scopes that people can grant the client; none if there is no such limit. An operator sets it (`doorward client
/// add`, `[[clients]]`). What a client registered by itself limits only tokens of its own, for which nobody is asked:
/// libraries register the scopes of the first challenge they see, whoever registers can do it again with more, and a
/// step-up that ended there could never succeed.
#[must_use]
pub fn scope_limit(client: &Client) -> Option<ScopeSet> {
    match client.origin {
        ClientOrigin::Operator | ClientOrigin::Configured => registered_scopes(client),
        ClientOrigin::Dynamic | ClientOrigin::Confidential | ClientOrigin::MetadataDocument => None,
    }
}

/// Those of `scopes` that people can grant the client: whoever may have a broad scope may have what it implies.
pub(crate) fn within_limit(client: &Client, table: &ScopeTable, scopes: &ScopeSet) -> ScopeSet {
    match scope_limit(client) {
        Some(limit) => scopes.intersection(&table.closure(&limit)),
        None => scopes.clone(),
    }
}

/// What a client asks for that names no scope: of the default set what it registered or, if it registered none of
/// that, all that it can be granted.
pub(crate) fn first_asked(client: &Client, table: &ScopeTable) -> ScopeSet {
    let defaults = table.defaults();
    let registered = registered_scopes(client).map(|registered| registered.intersection(&defaults));
    match registered {
        Some(named) if !named.is_empty() => named,
        _ => within_limit(client, table, &defaults),
    }
}

/// Whether the client may get tokens for this server at all: an operator can name those that it may.
#[must_use]
pub fn may_use(client: &Client, server: &ProtectedServer) -> bool {
    let named = client.servers.as_ref();
    named.is_none_or(|names| names.iter().any(|name| name == server.name.as_str()))
}

/// A client's own text made safe to show beside ours: no control, formatting or bidirectional characters
/// (they could rewrite what stands next to them), at most 80 characters.
#[must_use]
pub fn for_display(text: &str) -> String {
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let clean: String = text.chars().filter(|c| !invisible(*c)).collect();
    let clean = clean.trim();
    if clean.chars().count() <= DISPLAY_LIMIT {
        return clean.into();
    }
    clean.chars().take(DISPLAY_LIMIT - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn cn_07_a_clients_text_cannot_rewrite_ours() {
        for (text, shown) in [
            ("Trusted\u{202e}EDI\u{2066}", "TrustedEDI"),
            ("a\u{0}b\r\nc\u{7f}", "abc"),
            ("  \u{200b} ", ""),
            ("<svg onload=x>", "<svg onload=x>"),
            ("Jos\u{e9} \u{1f642}", "Jos\u{e9} \u{1f642}"),
        ] {
            assert_eq!(for_display(text), shown);
        }
        assert_eq!(for_display(&"x".repeat(10_240)).chars().count(), 80);
    }

    #[test]
    fn every_member_counts_for_the_id() {
        let client = fixture::client(&["http://localhost/cb"]);
        let base = client.metadata;
        let changed = [
            ClientMetadata {
                client_name: None,
                ..base.clone()
            },
            ClientMetadata {
                client_uri: Some("https://x.test".into()),
                ..base.clone()
            },
            ClientMetadata {
                redirect_uris: vec!["http://localhost/cb2".into()],
                ..base.clone()
            },
            ClientMetadata {
                grant_types: vec!["authorization_code".into()],
                ..base.clone()
            },
            ClientMetadata {
                application_type: Some("native".into()),
                ..base.clone()
            },
            ClientMetadata {
                scope: Some("a".into()),
                ..base.clone()
            },
            ClientMetadata {
                software_id: Some("a".into()),
                ..base.clone()
            },
            ClientMetadata {
                dpop_bound_access_tokens: true,
                ..base.clone()
            },
        ];
        let tenant = Tenant::default_tenant();
        let ids: std::collections::BTreeSet<_> = changed
            .iter()
            .chain([&base])
            .map(|metadata| content_id(&tenant, metadata))
            .collect();
        assert_eq!(ids.len(), changed.len() + 1);
    }

    proptest::proptest! {
        /// No text can imitate the structure around it: what is written is read again.
        #[test]
        fn canonical_text_is_json_of_the_metadata(name in ".{0,20}", uri in ".{0,20}") {
            let mut metadata = fixture::client(&["http://localhost/cb"]).metadata;
            metadata.client_name = Some(name);
            metadata.client_uri = Some(uri);
            let read: ClientMetadata = serde_json::from_str(&canonical(&metadata)).unwrap();
            proptest::prop_assert_eq!(read, metadata);
        }
    }
}
