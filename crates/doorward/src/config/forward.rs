//! `forward_headers`: which of a client's headers may pass to an upstream besides those that always do.

use http::HeaderName;

use super::file::ServerFile;
use super::source::{Place, Problem};

/// Why a header may never be named.
fn reason(name: &str) -> Option<&'static str> {
    let is = |names: &[&str]| names.contains(&name);
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if name.contains('_') {
        return Some("has a `_`, which some servers read as `-`, and so as another header");
    }
    if is(&[
        "authorization",
        "cookie",
        "set-cookie",
        "www-authenticate",
        "authentication-info",
    ]) || begins(&["proxy-"])
    {
        return Some("carries credentials: a client's token never passes to an upstream");
    }
    if is(&[
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "host",
        // Packed answers do not pass.
        "accept-encoding",
    ]) || begins(&["content-", "http2-"])
    {
        return Some("belongs to one connection or one message, and is written anew for the upstream");
    }
    if begins(&["mcp-"]) || is(&["accept", "last-event-id", "traceparent", "tracestate"]) {
        return Some("belongs to MCP or to tracing: what of it may pass passes always, after it was checked");
    }
    if is(&["origin", "referer", "date", "via"]) || begins(&["sec-", "access-control-"]) {
        return Some("speaks about the client's browser or way, not about the upstream");
    }
    let method_or_target = is(&[
        "x-original-url",
        "x-rewrite-url",
        "x-http-method",
        "x-method-override",
    ]) || begins(&["x-http-method-", "x-original-"]);
    if method_or_target {
        return Some("could make the upstream see another request than the one that was judged");
    }
    let forwarded = is(&[
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "x-host",
    ]) || begins(&[
        "forwarded-",
        "x-forwarded",
        "x-envoy-",
        "cf-",
        "fastly-",
        "x-azure-",
    ]);
    let identity = is(&[
        "x-user",
        "x-username",
        "x-email",
        "x-groups",
        "x-api-key",
        "x-access-token",
        "from",
    ]) || begins(&[
        "doorward-",
        "x-doorward-",
        "remote-",
        "x-remote-",
        "x-auth",
        "x-user-",
        "x-webauth-",
        "x-ssl-",
        "ssl-",
        "x-client-cert",
        "x-goog-",
        "x-ms-",
        "x-amzn-",
        "x-amz-",
        "tailscale-",
        "x-token-",
        "x-id-token",
        "x-mcp-",
        "x-jwt-",
        "x-consumer-",
        "x-credential-",
        "x-pomerium-",
        "x-vouch-",
        "oidc-",
        "x-oidc-",
    ]);
    (forwarded || identity)
        .then_some("tells who somebody is or where they come from: servers behind a gateway believe it, and a client could write anything")
}

/// The names, each fit to pass.
pub(super) fn headers(
    entry: &ServerFile,
    at: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> = Vec::new();
    for (index, text) in entry.forward_headers.iter().enumerate() {
        let place = || at(&format!("forward_headers[{index}]"));
        let Ok(name) = HeaderName::try_from(text.as_str()) else {
            let message = format!("`{}` is not the name of a header", text.escape_debug());
            problems.push(Problem::new(place(), message));
            continue;
        };
        if let Some(reason) = reason(name.as_str()) {
            let message = format!("`{text}` cannot be forwarded: it {reason}");
            problems
                .push(Problem::new(place(), message).help("name headers of your own, such as `X-Tenant`"));
        } else if !names.contains(&name) {
            names.push(name);
        }
    }
    if entry.upstream.is_none() && !entry.forward_headers.is_empty() {
        let message = "`forward_headers` belongs to an `upstream`: nothing else gets HTTP headers";
        problems.push(Problem::new(at("forward_headers"), message).help("leave it out"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hd_03_a_client_cannot_be_let_write_what_servers_behind_gateways_believe() {
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "host",
            "connection",
            "transfer-encoding",
            "te",
            "upgrade",
            "content-type",
            "content-length",
            "mcp-session-id",
            "mcp-method",
            "x-forwarded-for",
            "forwarded",
            "x-real-ip",
            "x-doorward-user",
            "doorward-identity",
            "remote-user",
            "x-remote-user",
            "x-auth-request-user",
            "x-original-url",
            "x-http-method-override",
            "sec-fetch-site",
            "origin",
            "x_forwarded_for",
            "x_tenant",
            "cf-connecting-ip",
            "x-amzn-oidc-identity",
            "tailscale-user-login",
            "x-mcp-authorized",
            "x-jwt-assertion",
            "x-consumer-username",
            "x-pomerium-claim-email",
            "oidc-claim-sub",
            "accept-encoding",
        ] {
            assert!(reason(name).is_some(), "{name}");
        }
        for name in [
            "x-tenant",
            "x-request-id",
            "accept-language",
            "x-feature-flags",
            "baggage",
        ] {
            assert_eq!(reason(name), None, "{name}");
        }
    }
}
