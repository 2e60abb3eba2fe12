use serde_json::json;

use super::*;
use crate::named_url::UrlPolicy;
use crate::resource_metadata::ResourceMetadata;
use crate::server_metadata::ServerMetadata;
use crate::testing::{metadata_with, url};

fn discovered(resource: Option<&[&str]>, server: Option<&[&str]>) -> Discovered {
    let (mcp, issuer) = (url("https://mcp.example.com/mcp"), "https://as.example");
    let policy = UrlPolicy::strict();
    let prm =
        json!({ "resource": mcp.as_str(), "authorization_servers": [issuer], "scopes_supported": resource });
    let metadata = metadata_with(issuer, &json!({ "scopes_supported": server })).to_string();
    Discovered {
        server: mcp.clone(),
        resource: mcp.to_string(),
        sign_on: None,
        resource_metadata: ResourceMetadata::parse(&mcp, &mcp, prm.to_string().as_bytes(), &policy).unwrap(),
        authorization_server: ServerMetadata::parse(issuer, &mcp, metadata.as_bytes(), &policy)
            .unwrap()
            .unwrap(),
    }
}

fn challenged(scope: Option<&str>) -> Challenge {
    Challenge {
        scope: scope.map(|scope| scope.parse().unwrap()),
        ..Challenge::default()
    }
}

#[test]
fn a12_a9_a8_the_challenge_then_the_metadata_then_nothing() {
    let (challenge, silent) = (challenged(Some("x y")), challenged(None));
    let listed = discovered(Some(&["a", "b"]), None);
    let quiet = discovered(None, None);
    assert_eq!(initial(None, None, Some(&challenge), &listed).to_string(), "x y");
    assert_eq!(initial(None, None, Some(&silent), &listed).to_string(), "a b");
    assert_eq!(initial(None, None, None, &listed).to_string(), "a b");
    assert!(initial(None, None, Some(&silent), &quiet).is_empty());
    let user: ScopeSet = "mine".parse().unwrap();
    assert_eq!(initial(Some(&user), None, Some(&challenge), &listed), user);
}

#[test]
fn a28_offline_access_only_where_the_authorization_server_lists_it() {
    let scopes = || "a".parse::<ScopeSet>().unwrap();
    let lists = discovered(None, Some(&["a", "offline_access"]));
    assert_eq!(
        with_offline_access(scopes(), &lists, true).to_string(),
        "a offline_access"
    );
    assert_eq!(with_offline_access(scopes(), &lists, false), scopes());
    assert_eq!(
        with_offline_access(scopes(), &discovered(None, Some(&["a"])), true),
        scopes()
    );
    assert_eq!(
        with_offline_access(scopes(), &discovered(None, None), true),
        scopes()
    );
    // The resource's own list is not the authorization server's.
    assert_eq!(
        with_offline_access(scopes(), &discovered(Some(&["offline_access"]), None), true),
        scopes()
    );
    assert!(with_offline_access(ScopeSet::empty(), &lists, true).is_empty());
}

#[test]
fn a10_what_was_asked_for_before_is_asked_for_again() {
    let before: ScopeSet = "old offline_access".parse().unwrap();
    let quiet = discovered(None, None);
    assert_eq!(
        initial(None, Some(&before), Some(&challenged(Some("new"))), &quiet).to_string(),
        "new old"
    );
    let user: ScopeSet = "mine".parse().unwrap();
    assert_eq!(initial(Some(&user), Some(&before), None, &quiet), user);
}

#[test]
fn cl_13_a_list_of_scopes_has_an_end() {
    let quiet = discovered(None, None);
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("s{n}").parse::<Scope>().unwrap())
            .collect::<ScopeSet>()
    };
    assert!(bounded(&many(128), &quiet).is_ok());
    assert!(bounded(&many(129), &quiet).is_err());
    assert!(bounded(&"x".repeat(4097).parse().unwrap(), &quiet).is_err());
}
