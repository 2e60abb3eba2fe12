use serde_json::{Value, json};

use super::*;
use crate::testing::{metadata, metadata_with, url};

const ISSUER: &str = "https://as.example/t";

fn parse(body: &Value) -> Result<ServerMetadata, Error> {
    let at = url("https://as.example/.well-known/oauth-authorization-server/t");
    ServerMetadata::parse(ISSUER, &at, body.to_string().as_bytes(), &UrlPolicy::strict()).map(Option::unwrap)
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::Refused(refusal) => *refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn d6_a5_the_order_of_the_specification() {
    for (issuer, expected) in [
        (
            "https://as.example",
            vec![
                "https://as.example/.well-known/oauth-authorization-server",
                "https://as.example/.well-known/openid-configuration",
            ],
        ),
        (
            "https://as.example/",
            vec![
                "https://as.example/.well-known/oauth-authorization-server",
                "https://as.example/.well-known/openid-configuration",
            ],
        ),
        (
            "https://as.example:8443/tenant1",
            vec![
                "https://as.example:8443/.well-known/oauth-authorization-server/tenant1",
                "https://as.example:8443/.well-known/openid-configuration/tenant1",
                "https://as.example:8443/tenant1/.well-known/openid-configuration",
            ],
        ),
        (
            "https://as.example/a/b/",
            vec![
                "https://as.example/.well-known/oauth-authorization-server/a/b",
                "https://as.example/.well-known/openid-configuration/a/b",
                "https://as.example/a/b/.well-known/openid-configuration",
            ],
        ),
    ] {
        let found: Vec<String> = locations(issuer).into_iter().map(String::from).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn d7_cl_03_the_issuer_is_compared_byte_for_byte() {
    assert!(parse(&metadata(ISSUER)).is_ok());
    for other in [
        json!("https://as.example/t/"),
        json!("https://as.example:443/t"),
        json!("https://AS.example/t"),
        json!("HTTPS://as.example/t"),
        json!("https://as.example/%74"),
        json!("https://honest.example"),
        json!(""),
        json!(null),
    ] {
        let refusal = refusal(parse(&metadata_with(ISSUER, &json!({ "issuer": other }))).unwrap_err());
        assert_eq!(refusal.rule, "D7", "{other}");
        assert!(refusal.problem.contains(ISSUER), "{}", refusal.problem);
    }
    assert_eq!(
        refusal(parse(&metadata_with(ISSUER, &json!({ "issuer": 1 }))).unwrap_err()).rule,
        "D7"
    );
}

#[test]
fn r18_s5_s6_cl_04_a_server_that_does_not_list_s256_is_refused() {
    assert!(parse(&metadata(ISSUER)).unwrap().code_flow().is_ok());
    for methods in [json!(null), json!([]), json!(["plain"]), json!(["s256"])] {
        let body = metadata_with(ISSUER, &json!({ "code_challenge_methods_supported": methods }));
        let refusal = refusal(parse(&body).unwrap().code_flow().unwrap_err());
        assert_eq!(refusal.rule, "S6", "{methods}");
    }
}

#[test]
fn a2_a_server_without_the_code_grant_is_not_used_for_it() {
    for changes in [
        json!({ "response_types_supported": ["token"] }),
        json!({ "grant_types_supported": ["client_credentials"] }),
        json!({ "authorization_endpoint": null }),
    ] {
        let metadata = parse(&metadata_with(ISSUER, &changes)).unwrap();
        assert!(metadata.code_flow().is_err(), "{changes}");
    }
    let quiet = json!({ "response_types_supported": null, "grant_types_supported": null });
    assert!(parse(&metadata_with(ISSUER, &quiet)).unwrap().code_flow().is_ok());
}

#[test]
fn cl_01_b20_b21_b23_no_endpoint_that_is_not_a_secure_url() {
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
        "revocation_endpoint",
        "device_authorization_endpoint",
    ] {
        for bad in [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "a:$(touch mark)",
            "--flag",
            "http://as.example/x",
            "https://as.example/a b",
            "https://as.example/\"",
            "https://as.example/\n",
            "https://u@as.example/",
            "https://as.example/#f",
        ] {
            let refusal = refusal(parse(&metadata_with(ISSUER, &json!({ name: bad }))).unwrap_err());
            assert_eq!(refusal.rule, "B20", "{name} {bad}");
            assert!(
                refusal.problem.contains(name) && !refusal.problem.contains('\n'),
                "{}",
                refusal.problem
            );
        }
    }
}

#[test]
fn members_of_the_wrong_type_are_refused_and_unknown_ones_are_not() {
    for changes in [
        json!({ "token_endpoint": null }),
        json!({ "token_endpoint": ["https://as.example/token"] }),
        json!({ "authorization_response_iss_parameter_supported": "true" }),
        json!({ "token_endpoint_auth_methods_supported": "none" }),
        json!({ "code_challenge_methods_supported": [1] }),
    ] {
        assert!(parse(&metadata_with(ISSUER, &changes)).is_err(), "{changes}");
    }
    assert!(parse(&metadata_with(ISSUER, &json!({ "jwks": { "keys": [1] } }))).is_ok());
}

#[test]
fn r12_the_default_paths_of_2025_03_26() {
    let metadata = ServerMetadata::default_paths(&url("https://mcp.example.com:8443/a/mcp?x")).unwrap();
    assert_eq!(metadata.issuer, "https://mcp.example.com:8443");
    assert_eq!(
        metadata.code_flow().unwrap().as_str(),
        "https://mcp.example.com:8443/authorize"
    );
    assert_eq!(
        metadata.token_endpoint.as_str(),
        "https://mcp.example.com:8443/token"
    );
    assert_eq!(
        metadata.registration_endpoint.unwrap().as_str(),
        "https://mcp.example.com:8443/register"
    );
}

#[test]
fn b20_d7_issuers_are_judged_before_anything_is_asked() {
    let from = url("https://mcp.example.com/.well-known/oauth-protected-resource");
    let judge = |issuer| judge_issuer(issuer, &from, &UrlPolicy::strict());
    assert!(judge("https://as.example/t").is_ok() && judge("http://localhost:9").is_ok());
    for bad in [
        "http://as.example",
        "https://as.example?x",
        "https://as.example#x",
        "javascript:x",
        "https://u@as.example",
    ] {
        assert!(judge(bad).is_err(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn any_document_is_read_or_refused(issuer in "[a-z:/.]{0,12}", endpoint in "[a-z:/.# \\\\\"]{0,24}", methods in "[a-zA-Z0-9]{0,5}") {
        let body = metadata_with(ISSUER, &json!({
            "issuer": issuer, "token_endpoint": endpoint, "code_challenge_methods_supported": [methods],
        }));
        proptest::prop_assert!(parse(&body).is_err());
    }

    #[test]
    fn d6_all_locations_are_at_the_issuers_origin(path in "(/[a-z0-9.]{0,6}){0,3}") {
        let issuer = format!("https://as.example:8443{path}");
        for place in locations(&issuer) {
            proptest::prop_assert_eq!(place.origin(), url("https://as.example:8443").origin());
        }
    }
}

#[test]
fn d6_b20_an_issuer_does_not_climb_out_of_the_well_known_folder() {
    let from = url("https://mcp.example.com/.well-known/oauth-protected-resource");
    for bad in [
        "https://as.example/../../uploads/evil",
        "https://as.example/./x",
        "https://as.example/a/%2e%2E/..",
        "https://as.example/.",
    ] {
        assert!(judge_issuer(bad, &from, &UrlPolicy::strict()).is_err(), "{bad}");
    }
    for good in [
        "https://as.example",
        "https://as.example/",
        "https://AS.example:443/a.b/..c/%20",
        "https://as.example//a",
    ] {
        assert!(judge_issuer(good, &from, &UrlPolicy::strict()).is_ok(), "{good}");
    }
}
