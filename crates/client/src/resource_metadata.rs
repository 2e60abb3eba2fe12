//! Protected resource metadata (RFC 9728): where it may stand, and what of it is believed.

use doorward_types::scope::ScopeSet;
use doorward_types::url::ResourceUri;
use url::Url;

use crate::document::Document;
use crate::error::{Error, Hop};
use crate::named_url::UrlPolicy;
use crate::text::shown;

const RULE: (&str, &str) = ("D1", "RFC 9728 §2");

/// What an MCP server says about itself, after every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceMetadata {
    /// Where the document stands.
    pub url: Url,
    /// `resource`, byte for byte.
    pub resource: String,
    /// `authorization_servers`, byte for byte and in their order; at least one.
    pub authorization_servers: Vec<String>,
    /// `scopes_supported`.
    pub scopes_supported: Option<ScopeSet>,
    /// `resource_name`, fit to be shown.
    pub resource_name: Option<String>,
    /// `dpop_bound_access_tokens_required` (RFC 9728 §2).
    pub dpop_bound_access_tokens_required: bool,
    /// `dpop_signing_alg_values_supported`.
    pub dpop_signing_alg_values_supported: Option<Vec<String>>,
}

/// The well-known URLs of an MCP server at `server` (RFC 9728 §3.1): its path inserted, then the root of its origin (D4).
#[must_use]
pub fn locations(server: &Url) -> Vec<Url> {
    const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
    let at = |path: &str, query: Option<&str>| {
        let mut url = server.clone();
        url.set_path(path);
        url.set_query(query);
        url.set_fragment(None);
        url
    };
    let root = at(WELL_KNOWN, None);
    let path = if server.path() == "/" { "" } else { server.path() };
    let inserted = at(&format!("{WELL_KNOWN}{path}"), server.query());
    if inserted == root {
        vec![root]
    } else {
        vec![inserted, root]
    }
}

impl ResourceMetadata {
    /// Judges the document that stands at `url`, for the MCP server that its user calls `server`. `None`: it is no JSON object
    /// (a page that a web server shows for every path), so there is no document here.
    pub fn parse(server: &Url, url: &Url, body: &[u8], policy: &UrlPolicy) -> Result<Option<Self>, Error> {
        let Some(document) = Document::parse(body, Hop::ResourceMetadata, url, RULE, policy) else {
            return Ok(None);
        };
        let resource = judge_resource(&document, server, policy)?;
        let authorization_servers = document.texts("authorization_servers")?.unwrap_or_default();
        if authorization_servers.is_empty() {
            return Err(document.refuse(
                ("D1", "MCP authorization server discovery; RFC 9728 §2"),
                "authorization_servers names no authorization server",
                "the MCP server's operator must name at least one issuer in authorization_servers",
            ));
        }
        let methods = document.texts("bearer_methods_supported")?.unwrap_or_default();
        if !methods.is_empty() && !methods.iter().any(|method| method == "header") {
            return Err(document.refuse(
                ("A22", "MCP authorization, token requirements"),
                "bearer_methods_supported does not list header: tokens go into the Authorization header and nowhere else",
                "the MCP server's operator must take tokens in the Authorization header",
            ));
        }
        Ok(Some(Self {
            url: url.clone(),
            resource,
            authorization_servers,
            scopes_supported: document.scopes("scopes_supported")?,
            resource_name: document.text("resource_name")?.map(shown),
            dpop_bound_access_tokens_required: document.flag("dpop_bound_access_tokens_required")?,
            dpop_signing_alg_values_supported: document.texts("dpop_signing_alg_values_supported")?,
        }))
    }
}

/// A document of one server must not make tokens for another (RFC 9728 §3.3 and §7.3).
fn judge_resource(document: &Document<'_>, server: &Url, policy: &UrlPolicy) -> Result<String, Error> {
    const RULE: (&str, &str) = ("A20", "RFC 9728 §3.3; MCP authorization, resource parameter");
    let refuse = |problem: String| {
        document.refuse(
            RULE,
            problem,
            format!("the MCP server's operator must write the URL under which people reach it, {server}, into resource"),
        )
    };
    let Some(resource) = document.text("resource")? else {
        return Err(refuse("resource is missing".into()));
    };
    if let Err(why) = policy.judge(resource) {
        return Err(refuse(format!("resource is \"{}\": {why}", shown(resource))));
    }
    if !covers(resource, server) {
        let problem = format!(
            "resource is \"{}\", which is not the server at {server}",
            shown(resource)
        );
        // Most often somebody left out the path. Never another origin: that would be the way to lead people elsewhere.
        let meant = Url::parse(resource)
            .is_ok_and(|resource| resource.origin() == server.origin() && resource.query().is_none());
        if meant {
            return Err(document.refuse(
                RULE,
                problem,
                format!(
                    "if you meant that one, use its URL: {}. Otherwise the MCP server's operator must write {server} into resource",
                    shown(resource)
                ),
            ));
        }
        return Err(refuse(problem));
    }
    Ok(resource.into())
}

/// Whether `resource` names the MCP server at `server`, or the folder that it lies in: the same origin (scheme and host in any
/// case, the default port written or not), and its path segments are the first of the server's. A slash at the end and a
/// query of the server do not count; everything else is compared as it is written.
#[must_use]
pub fn covers(resource: &str, server: &Url) -> bool {
    let Some((scheme, rest)) = resource.split_once("://") else {
        return false;
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(end);
    let origin = format!("{}://{}/", scheme.to_ascii_lowercase(), authority);
    let root = ResourceUri::parse(&origin).is_ok() || scheme.eq_ignore_ascii_case("http");
    if !root || Url::parse(&origin).map(|url| url.origin()) != Ok(server.origin()) {
        return false;
    }
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    if query.is_some() {
        return query == server.query() && segments(path).eq(segments(server.path()));
    }
    let mut theirs = segments(server.path());
    segments(path).all(|segment| theirs.next() == Some(segment))
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').filter(move |_| !path.is_empty())
}

#[cfg(test)]
mod tests;
