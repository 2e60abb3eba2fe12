//! Checks that concern more than one value.

use doorward_limits::TrustedProxies;
use url::Url;

use super::Config;
use super::address::{self, Listen, PublicUrl};
use super::duration::Span;
use super::file::{Lifetimes, Timeouts};
use super::parse::Parsed;
use super::server::{Server, Upstream};
use super::source::{Place, Problem};

/// Each entry is an origin as browsers send it (RFC 6454 §6.2).
pub(super) fn allowed_origins(parsed: &Parsed, problems: &mut Vec<Problem>) {
    for (index, text) in parsed.file.allowed_origins.iter().flatten().enumerate() {
        let written = Url::parse(text)
            .ok()
            .map(|url| url.origin().ascii_serialization());
        if written.as_deref() != Some(text) || !text.starts_with("http") {
            let place = parsed.place(&format!("allowed_origins[{index}]"));
            let problem = Problem::new(place, format!("`{}` is not an origin", text.escape_debug()));
            problems.push(match written.filter(|origin| origin.starts_with("http")) {
                Some(origin) => problem.help(format!("write `{origin}`")),
                None => problem.help("write it as browsers send it, such as `http://localhost:6274`"),
            });
        }
    }
}

/// The issuer's path is written in the one form that clients compare, and leaves the servers their addresses.
pub(super) fn issuer_path(parsed: &Parsed, servers: &[Server], problems: &mut Vec<Problem>) -> String {
    let path = parsed.file.issuer_path.clone().unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
    let canonical =
        |segment: &str| !segment.is_empty() && !matches!(segment, "." | "..") && segment.bytes().all(plain);
    let mut problem = |message: String, help: &str| {
        problems.push(Problem::new(parsed.place("issuer_path"), message).help(help));
    };
    let mut segments = path.split('/');
    if path.is_empty() {
        return path;
    }
    if segments.next() != Some("") || !segments.all(canonical) || path.starts_with("/.well-known") {
        let message = format!("`{}` is not a path for an issuer", path.escape_debug());
        problem(message, "write it as `/company`, without a slash at the end");
    }
    for server in servers {
        if server.path == path
            || server
                .path
                .strip_prefix(&path)
                .is_some_and(|rest| rest.starts_with('/'))
        {
            let message = format!("the server `{}` lies under the path of the issuer", server.name);
            problem(message, "give one of them another path");
        }
    }
    path
}

/// Each entry is an address or a network.
pub(super) fn trusted_proxies(parsed: &Parsed, problems: &mut Vec<Problem>) -> TrustedProxies {
    let texts = || parsed.file.trusted_proxies.iter().flatten().map(String::as_str);
    for (index, text) in texts().enumerate() {
        if TrustedProxies::parse([text]).is_err() {
            let place = parsed.place(&format!("trusted_proxies[{index}]"));
            let message = format!("`{}` is neither an address nor a network", text.escape_debug());
            problems.push(Problem::new(place, message).help("write it as `10.0.0.1` or `10.0.0.0/8`"));
        } else if text.ends_with("/0") {
            let place = parsed.place(&format!("trusted_proxies[{index}]"));
            let message = format!("`{text}` is everybody: who calls could say any address");
            problems.push(Problem::new(place, message).help("name the proxies alone, such as `10.0.0.1`"));
        }
    }
    TrustedProxies::parse(texts()).unwrap_or_default()
}

/// Hosts are hosts, schemes are schemes, the quota lets somebody in.
pub(super) fn registration(parsed: &Parsed, problems: &mut Vec<Problem>) {
    let registration = &parsed.file.registration;
    for (key, hosts) in [
        ("known_hosts", &registration.known_hosts),
        ("unknown_hosts", &registration.unknown_hosts),
    ] {
        for (index, host) in hosts.iter().enumerate() {
            let parsed_host = url::Host::parse(host).map(|host| host.to_string());
            if parsed_host.as_deref() != Ok(host) {
                let place = parsed.place(&format!("registration.{key}[{index}]"));
                let problem = Problem::new(place, format!("`{}` is not a host", host.escape_debug()));
                problems.push(
                    problem.help("write a lower-case host without scheme and port, such as `claude.ai`"),
                );
            }
        }
    }
    for (index, scheme) in registration.custom_schemes.iter().enumerate() {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
        let letter = scheme.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let dangerous = [
            "http",
            "https",
            "javascript",
            "data",
            "file",
            "vbscript",
            "blob",
            "about",
        ];
        if !letter || !scheme.bytes().all(allowed) || dangerous.contains(&scheme.as_str()) {
            let place = parsed.place(&format!("registration.custom_schemes[{index}]"));
            let problem = Problem::new(
                place,
                format!("`{}` cannot be a redirect scheme", scheme.escape_debug()),
            );
            problems.push(problem.help("write an app's own scheme, lower case, without `://`"));
        }
    }
    if registration.quota_per_address == Some(0) {
        let place = parsed.place("registration.quota_per_address");
        let problem = Problem::new(place, "`quota_per_address` must be at least 1");
        problems.push(problem.help("to turn registration off, set `mode = \"off\"`"));
    }
    if registration.quota == Some(0) {
        let problem = Problem::new(parsed.place("registration.quota"), "`quota` must be at least 1");
        problems.push(problem.help("to turn registration off, set `mode = \"off\"`"));
    }
}

/// Nothing lives for no time, nothing so long that it never ends.
pub(super) fn lifetimes(parsed: &Parsed, problems: &mut Vec<Problem>) {
    const LONGEST: Span = Span(std::time::Duration::from_secs(3650 * 86_400));
    const HOUR: Span = Span(std::time::Duration::from_hours(1));
    let Ok(lifetimes) = Lifetimes::from_file(&parsed.file.lifetimes) else {
        return;
    };
    for (key, span) in lifetimes.entries() {
        if span.0 < std::time::Duration::from_secs(1) || span > LONGEST {
            let place = parsed.place(&format!("lifetimes.{key}"));
            problems.push(Problem::new(
                place,
                format!("`{key}` must be between 1s and {LONGEST}"),
            ));
        }
    }
    // What a thief can use until it expires: a code (RFC 6749 section 4.1.2), a bearer token (S3).
    for (key, span, longest) in [
        ("code", lifetimes.code, Span(std::time::Duration::from_mins(1))),
        ("access_token", lifetimes.access_token, HOUR),
        (
            "access_token_without_refresh",
            lifetimes.access_token_without_refresh,
            HOUR,
        ),
    ] {
        if span > longest && span <= LONGEST {
            let place = parsed.place(&format!("lifetimes.{key}"));
            problems.push(Problem::new(place, format!("`{key}` must be {longest} at most")));
        }
    }
    if lifetimes.refresh_idle > lifetimes.refresh_absolute {
        let place = parsed.place("lifetimes.refresh_idle");
        problems.push(Problem::new(
            place,
            "`refresh_idle` is longer than `refresh_absolute`",
        ));
    }
    if lifetimes.refresh_repeat > lifetimes.refresh_late_repeat {
        let place = parsed.place("lifetimes.refresh_repeat");
        problems.push(Problem::new(
            place,
            "`refresh_repeat` is longer than `refresh_late_repeat`",
        ));
    }
}

/// Waiting takes some time, and ends.
pub(super) fn timeouts(parsed: &Parsed, problems: &mut Vec<Problem>) {
    for (key, span) in Timeouts::from_file(parsed.file.timeouts).entries() {
        problems.extend(waiting(key, span, parsed.place(&format!("timeouts.{key}"))));
    }
}

/// What is wrong with one time of waiting.
pub(super) fn waiting(key: &str, span: Span, place: Place) -> Option<Problem> {
    const LONGEST: Span = Span(std::time::Duration::from_secs(86_400));
    let good = span.0 >= std::time::Duration::from_millis(100) && span <= LONGEST;
    (!good).then(|| Problem::new(place, format!("`{key}` must be between 100ms and {LONGEST}")))
}

/// More connections from one address than there may be at all would be no limit.
pub(super) fn limits(config: &Config, place: impl Fn() -> Place, problems: &mut Vec<Problem>) {
    let (all, one) = (&config.max_connections, &config.max_connections_per_address);
    if let (Some(all), Some(one)) = (all.value, one.value)
        && one.0 > all.0
    {
        let message = format!("`max_connections_per_address` ({one}) is more than `max_connections` ({all})");
        problems.push(Problem::new(place(), message));
    }
}

/// An upstream that is ourselves would answer every call with another call.
pub(super) fn not_our_own_upstream(
    parsed: &Parsed,
    servers: &[Server],
    listen: &Listen,
    public_url: &PublicUrl,
    problems: &mut Vec<Problem>,
) {
    for server in servers {
        let Upstream::Http(url) = &server.upstream else {
            continue;
        };
        let host = url.host_str().unwrap_or_default();
        let public = url.origin().ascii_serialization() == public_url.as_str();
        let local = listen.port() != 0
            && url.port_or_known_default() == Some(listen.port())
            && address::is_loopback_host(host)
            && listen.is_loopback();
        if public || local {
            let index = parsed
                .file
                .servers
                .iter()
                .position(|entry| entry.name == server.name)
                .unwrap_or(0);
            let place = parsed.place(&format!("servers[{index}].upstream"));
            let message = format!("the `upstream` of server `{}` is Doorward itself", server.name);
            problems.push(Problem::new(place, message).help("give the address of the MCP server behind it"));
        }
    }
}
