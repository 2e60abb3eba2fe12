//! What the reader makes of whole configurations.

use super::*;

/// Loads a file with this text (none if empty) and these variables for `serve` with these flags.
fn load_with(text: &str, variables: &[(&str, &str)], args: ServeArgs) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doorward.toml");
    let mut args = args;
    if !text.is_empty() {
        std::fs::write(&path, text).unwrap();
        args.config.config = Some(path);
    }
    let environment = Environment::from(variables);
    let prefix = format!("{}/", folder.path().display());
    Config::load_for_serve(&args, &environment).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn problems(text: &str) -> String {
    load_with(text, &[], ServeArgs::default()).unwrap_err()
}

fn flags(listen: Option<&str>, public_url: Option<&str>) -> ServeArgs {
    let config = ConfigArgs {
        listen: listen.map(Into::into),
        public_url: public_url.map(Into::into),
        ..ConfigArgs::default()
    };
    ServeArgs {
        config,
        ..ServeArgs::default()
    }
}

#[test]
fn nothing_said_means_localhost_8080() {
    let config = load_with(
        "",
        &[],
        ServeArgs {
            demo: true,
            ..ServeArgs::default()
        },
    )
    .unwrap();
    assert_eq!(config.public_url.value.as_str(), "http://localhost:8080");
    assert_eq!(config.listen.value, Listen::Localhost(8080));
    assert_eq!(config.data.value, PathBuf::from("doorward-data"));
    let server = config.servers.first().unwrap();
    assert_eq!((server.name.as_str(), server.path.as_str()), ("mcp", "/mcp"));
    assert_eq!(config.registration_mode(), file::RegistrationMode::Open);
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let text = "listen = \"localhost:1\"\nlog_level = \"warn\"\nlog_format = \"json\"\n";
    let variables = [("DOORWARD_LISTEN", "localhost:2"), ("DOORWARD_LOG", "debug")];
    let config = load_with(text, &variables, flags(Some("localhost:3"), None)).unwrap();
    assert_eq!(
        (config.listen.value.port(), &config.listen.origin),
        (3, &Origin::Flag("--listen"))
    );
    assert_eq!(
        (config.log_level.value, &config.log_level.origin),
        (LogLevel::Debug, &Origin::Environment("DOORWARD_LOG"))
    );
    assert_eq!(
        (config.log_format.value, &config.log_format.origin),
        (LogFormat::Json, &Origin::File(3))
    );
    assert_eq!(config.public_url.value.as_str(), "http://localhost:3");
}

#[test]
fn the_public_url_follows_a_port_that_the_system_chose() {
    let config = load_with("", &[], flags(Some("127.0.0.1:0"), None))
        .unwrap()
        .with_bound_port(4711);
    assert_eq!(config.public_url.value.as_str(), "http://localhost:4711");
    let config = load_with("", &[], flags(Some("0"), Some("https://mcp.example.com")))
        .unwrap()
        .with_bound_port(4711);
    assert_eq!(config.public_url.value.as_str(), "https://mcp.example.com");
}

#[test]
fn localhost_is_served_on_both_families() {
    let both = |listen: &str, public_url: Option<&str>| {
        let config = load_with("", &[], flags(Some(listen), public_url)).unwrap();
        addresses_text(&config)
    };
    assert_eq!(both("localhost:1", None), "127.0.0.1:1 [::1]:1");
    assert_eq!(both("127.0.0.1:1", None), "127.0.0.1:1 [::1]:1");
    assert_eq!(both("[::1]:1", None), "[::1]:1 127.0.0.1:1");
    assert_eq!(both("127.0.0.1:1", Some("http://127.0.0.1:1")), "127.0.0.1:1");
}

fn addresses_text(config: &Config) -> String {
    let (first, second) = address::addresses(config.listen.value, &config.public_url.value);
    second.map_or_else(|| first.to_string(), |second| format!("{first} {second}"))
}

#[test]
fn unknown_keys_are_errors_with_a_place_and_a_guess() {
    insta::assert_snapshot!(problems("listen = \"localhost:1\"\npubic_url = \"https://a.example\"\n"), @r#"
    error: unknown key `pubic_url`
     --> doorward.toml:2:1
      |
    2 | pubic_url = "https://a.example"
      | ^^^^^^^^^
      = help: did you mean `public_url`?
    "#);
    insta::assert_snapshot!(problems("[[servers]]\nname = \"a\"\npath = \"/a\"\nupstrem = \"http://127.0.0.1:1\"\n"), @r#"
    error: unknown key `upstrem`
     --> doorward.toml:4:1
      |
    4 | upstrem = "http://127.0.0.1:1"
      | ^^^^^^^
      = help: did you mean `upstream`?
    "#);
    insta::assert_snapshot!(problems("[registration]\nmode = \"opne\"\n"), @r#"
    error: unknown value `opne`
     --> doorward.toml:2:8
      |
    2 | mode = "opne"
      |        ^^^^^^
      = help: did you mean `open`?
    "#);
    insta::assert_snapshot!(problems("[lifetimes]\ncolour = \"1s\"\n"), @r#"
    error: unknown key `colour`
     --> doorward.toml:2:1
      |
    2 | colour = "1s"
      | ^^^^^^
      = help: known here: access_token, access_token_without_refresh, code, refresh_idle, refresh_absolute, refresh_repeat, refresh_late_repeat, authorization_request, consent_repeat, session, setup_link, client_ungranted, client_unused, stream
    "#);
}

#[test]
fn wrong_text_and_wrong_types_are_errors_with_a_place() {
    insta::assert_snapshot!(problems("listen = \"localhost:1\nx"), @r"
    error: key with no value, expected `=`
     --> doorward.toml:2:2
      |
    2 | x
      |  ^
    ");
    insta::assert_snapshot!(problems("listen = 8080\n"), @r"
    error: invalid type: integer `8080`, expected a string
     --> doorward.toml:1:10
      |
    1 | listen = 8080
      |          ^^^^
    ");
    insta::assert_snapshot!(problems("[lifetimes]\ncode = \"soon\"\n"), @r#"
    error: not a duration: write a whole number and a unit, such as `500ms`, `30s`, `10m`, `12h` or `30d`
     --> doorward.toml:2:8
      |
    2 | code = "soon"
      |        ^^^^^^
    "#);
    insta::assert_snapshot!(problems("listen = \"localhost:1\"\nlisten = \"localhost:2\"\n"), @r#"
    error: duplicate key
     --> doorward.toml:2:1
      |
    2 | listen = "localhost:2"
      | ^^^^^^
    "#);
}

#[test]
fn text_in_a_wrong_place_is_not_repeated() {
    let server = "[[servers]]\nname = \"a\"\npath = \"/a/mcp\"\ncommand = [\"sh\"]\n";
    insta::assert_snapshot!(problems(&format!("{server}env = \"s3cr3t\"\n")), @r"
    error: invalid type: string, expected a map
     --> doorward.toml:5:7
      |
    5 | env = …
      |       ^
    ");
}

#[test]
fn keys_of_later_releases_are_never_ignored() {
    insta::assert_snapshot!(problems(r#"
database = "postgres://localhost/doorward"
acme = true

[[servers]]
name = "files"
path = "/files/mcp"
command = ["npx", "-y", "server"]
[servers.scopes."files:read"]
description = "Read"

[[login.providers]]
name = "corp"

[authorization_server]
mode = "external"
"#), @r#"
    error: `database` is not in this release
     --> doorward.toml:2:1
      |
    2 | database = "postgres://localhost/doorward"
      | ^^^^^^^^
      = help: leave it out: everything is kept in the `data` folder

    error: `acme` is not in this release
     --> doorward.toml:3:1
      |
    3 | acme = true
      | ^^^^
      = help: give certificate files in `[tls]`, or end TLS in front of Doorward

    error: `login` is not in this release
      --> doorward.toml:12:3
       |
    12 | [[login.providers]]
       |   ^^^^^
      = help: use local accounts: `doorward user add NAME`

    error: `authorization_server` is not in this release
      --> doorward.toml:15:2
       |
    15 | [authorization_server]
       |  ^^^^^^^^^^^^^^^^^^^^
      = help: leave it out: Doorward issues the tokens itself
    "#);
    let harmless = "acme = false\ntrusted_proxies = []\n[authorization_server]\nmode = \"embedded\"\n";
    assert!(load_with(harmless, &[], ServeArgs::default()).is_ok());
}

#[test]
fn proxies_are_addresses_or_networks() {
    insta::assert_snapshot!(problems(r#"trusted_proxies = ["10.0.0.0/8", "proxy.internal", "::1"]
"#), @r#"
    error: `proxy.internal` is neither an address nor a network
     --> doorward.toml:1:34
      |
    1 | trusted_proxies = ["10.0.0.0/8", "proxy.internal", "::1"]
      |                                  ^^^^^^^^^^^^^^^^
      = help: write it as `10.0.0.1` or `10.0.0.0/8`
    "#);
    for everybody in ["0.0.0.0/0", "::/0"] {
        let told = problems(&format!("trusted_proxies = [\"{everybody}\"]\n"));
        assert!(told.contains("is everybody"), "{told}");
    }
    let good = "trusted_proxies = [\"127.0.0.1\", \"fd00::/8\"]\n";
    let config = load_with(good, &[], ServeArgs::default()).unwrap();
    assert!(!config.trusted_proxies.is_empty());
}

#[test]
fn r32_where_metrics_are_served_can_be_said_in_the_file() {
    for written in ["off", "127.0.0.1:19464", "localhost:9465"] {
        let text = format!("admin_listen = \"{written}\"\n");
        let config = load_with(&text, &[], ServeArgs::default()).unwrap();
        let shown = config.shown();
        let line = shown.iter().find(|line| line.key == "admin_listen").unwrap();
        assert_eq!(line.origin, "file, line 1", "{written}");
    }
}

#[test]
fn g3_g4_what_others_would_refuse_in_our_own_document_is_a_problem() {
    let https = "public_url = \"https://mcp.example.com\"\n[client_metadata]\nenabled = true\n";
    let config = load_with(https, &[], ServeArgs::default()).unwrap();
    let document: serde_json::Value = serde_json::from_str(&config.client_metadata().unwrap()).unwrap();
    assert_eq!(
        document["client_id"],
        "https://mcp.example.com/client-metadata.json"
    );
    assert_eq!(document["client_name"], "Doorward");
    assert!(document.get("client_uri").is_none());
    let off = load_with(
        "[client_metadata]\nclient_name = \"A\"\n",
        &[],
        ServeArgs::default(),
    )
    .unwrap();
    assert_eq!(off.client_metadata(), None);
    for bad in [
        "public_url = \"http://localhost:8080\"\n[client_metadata]\nenabled = true\n".to_owned(),
        format!("{https}client_name = \" \"\n"),
        format!("{https}client_name = \"a\\u001bb\"\n"),
        format!("{https}client_uri = \"javascript:alert(1)\"\n"),
        format!("{https}redirect_uris = [\"http://10.0.0.1/callback\"]\n"),
        format!("{https}redirect_uris = [\"https://a.example/cb#f\"]\n"),
        format!("{https}redirect_uris = [\"com.example:/cb\"]\n"),
    ] {
        assert!(load_with(&bad, &[], ServeArgs::default()).is_err(), "{bad}");
    }
}

#[test]
fn servers_are_checked() {
    insta::assert_snapshot!(problems(r#"
[[servers]]
name = "files"
path = "/authorize"
upstream = "http://127.0.0.1:1/mcp"
[[servers]]
name = "files"
path = "/a//b"
upstream = "ftp://x"
[[servers]]
name = "Tickets!"
path = "/c"
[[servers]]
name = "d"
path = "/c"
demo = true
upstream = "http://127.0.0.1:8080/mcp"
allow = ["alice", "domain:corp.com"]
"#), @r#"
    error: `/authorize` belongs to Doorward itself
     --> doorward.toml:4:8
      |
    4 | path = "/authorize"
      |        ^^^^^^^^^^^^
      = help: choose another first segment, such as `/mcp`

    error: two servers are named `files`
     --> doorward.toml:7:8
      |
    7 | name = "files"
      |        ^^^^^^^

    error: `/a//b` cannot be a server's path
     --> doorward.toml:8:8
      |
    8 | path = "/a//b"
      |        ^^^^^^^
      = help: write a path such as `/files/mcp`: letters, digits, `-`, `_`, `.` and `~` between single slashes, none at the end

    error: `upstream` must be an `http` or `https` URL
     --> doorward.toml:9:12
      |
    9 | upstream = "ftp://x"
      |            ^^^^^^^^^

    error: `Tickets!` cannot be a server's name
      --> doorward.toml:11:8
       |
    11 | name = "Tickets!"
       |        ^^^^^^^^^^
      = help: use up to 64 lower-case letters, digits, `-` and `_`, beginning with a letter or digit

    error: server `Tickets!` has nothing behind it
      --> doorward.toml:11:8
       |
    11 | name = "Tickets!"
       |        ^^^^^^^^^^
      = help: add `upstream = "http://127.0.0.1:PORT/mcp"`, `command = ["PROGRAM", "ARGUMENT"]` or `demo = true`

    error: servers `Tickets!` and `d` have the same path
      --> doorward.toml:15:8
       |
    15 | path = "/c"
       |        ^^^^

    error: `alice` is not an access rule: write `user:NAME`, `group:NAME` or `client:ID`
      --> doorward.toml:18:10
       |
    18 | allow = ["alice", "domain:corp.com"]
       |          ^^^^^^^

    error: `domain:corp.com` needs a sign-in provider, and none can be configured yet: use `user:NAME`, `group:NAME` or `client:ID`
      --> doorward.toml:18:19
       |
    18 | allow = ["alice", "domain:corp.com"]
       |                   ^^^^^^^^^^^^^^^^^

    error: server `d` has both `upstream` and `demo`
      --> doorward.toml:16:8
       |
    16 | demo = true
       |        ^^^^
      = help: a server has exactly one of `upstream`, `command` and `demo`
    "#);
}

#[test]
fn r37_an_empty_access_rule_is_not_everybody() {
    insta::assert_snapshot!(problems(r#"
[[servers]]
name = "a"
path = "/a"
demo = true
allow = []
"#), @"
    error: `allow` names nobody
     --> doorward.toml:6:9
      |
    6 | allow = []
      |         ^^
      = help: name people as `user:NAME` or `group:NAME`; leave it out to admit every local account
    ");
}

#[test]
fn an_upstream_must_not_be_ourselves() {
    let upstream = |url: &str| ServeArgs {
        upstream: Some(url.into()),
        ..ServeArgs::default()
    };
    for ours in [
        "http://localhost:8080/mcp",
        "http://127.0.0.1:8080/x",
        "http://[::1]:8080/",
    ] {
        let error = load_with("", &[], upstream(ours)).unwrap_err();
        assert!(error.contains("is Doorward itself"), "{error}");
    }
    assert!(load_with("", &[], upstream("http://127.0.0.1:3001/mcp")).is_ok());
    insta::assert_snapshot!(load_with("", &[], upstream("localhost:3001")).unwrap_err(), @r"
    error: `upstream` must be an `http` or `https` URL
     --> flag --upstream
    ");
}

#[test]
fn b20_plain_http_is_served_on_loopback_only() {
    let refused = |listen, public_url| load_with("", &[], flags(listen, public_url)).unwrap_err();
    insta::assert_snapshot!(refused(Some("0.0.0.0:8080"), None), @r#"
    error: `public_url` is missing: under which URL do people reach this server?
     --> flag --listen
      = help: set it to an `https` origin such as `public_url = "https://mcp.example.com"`
    "#);
    insta::assert_snapshot!(refused(Some("0.0.0.0:8080"), Some("https://mcp.example.com")), @r"
    error: plain `http` is served on loopback only, and `0.0.0.0:8080` is not loopback
     --> flag --listen
      = help: give certificate files in `[tls]`, or listen on `localhost:PORT` behind a proxy that ends TLS
    ");
    insta::assert_snapshot!(refused(None, Some("http://mcp.example.com")), @r"
    error: `public_url` must be `https`: plain `http` is served on loopback only
     --> flag --public-url
      = help: end TLS in front of Doorward, or give it certificate files in `[tls]`
    ");
    insta::assert_snapshot!(refused(None, Some("https://mcp.example.com/mcp")), @r"
    error: `public_url` must be an origin, written as browsers write it: `https://mcp.example.com`
     --> flag --public-url
      = help: a server's `path` is a key of its own, under `[[servers]]`
    ");
    insta::assert_snapshot!(problems("public_url = \"http://localhost:8080\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"\n"), @r#"
    error: with `[tls]`, `public_url` must be `https`
     --> doorward.toml:1:14
      |
    1 | public_url = "http://localhost:8080"
      |              ^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    // TLS ends in front of us: a loopback listen and an https public_url are enough.
    assert!(load_with("", &[], flags(None, Some("https://mcp.example.com"))).is_ok());
    let tls = "public_url = \"https://a.example\"\nlisten = \"0.0.0.0:443\"\n[tls]\ncertificate = \"c\"\nkey = \"/k\"\n";
    let config = load_with(tls, &[], ServeArgs::default()).unwrap();
    let tls = config.tls.unwrap();
    assert!(tls.certificate.is_absolute() && tls.certificate.ends_with("c") && tls.key == Path::new("/k"));
}

#[test]
fn origins_registration_and_lifetimes_are_checked() {
    insta::assert_snapshot!(problems(r#"
allowed_origins = ["http://localhost:6274", "*", "https://a.example/", "null"]
[registration]
known_hosts = ["https://a.example", "claude.ai"]
custom_schemes = ["javascript", "My App"]
quota = 0
[lifetimes]
code = "0s"
access_token = "2h"
refresh_idle = "91d"
[timeouts]
request_body = "0s"
"#), @r#"
    error: `*` is not an origin
     --> doorward.toml:2:45
      |
    2 | allowed_origins = ["http://localhost:6274", "*", "https://a.example/", "null"]
      |                                             ^^^
      = help: write it as browsers send it, such as `http://localhost:6274`

    error: `https://a.example/` is not an origin
     --> doorward.toml:2:50
      |
    2 | allowed_origins = ["http://localhost:6274", "*", "https://a.example/", "null"]
      |                                                  ^^^^^^^^^^^^^^^^^^^^
      = help: write `https://a.example`

    error: `null` is not an origin
     --> doorward.toml:2:72
      |
    2 | allowed_origins = ["http://localhost:6274", "*", "https://a.example/", "null"]
      |                                                                        ^^^^^^
      = help: write it as browsers send it, such as `http://localhost:6274`

    error: `https://a.example` is not a host
     --> doorward.toml:4:16
      |
    4 | known_hosts = ["https://a.example", "claude.ai"]
      |                ^^^^^^^^^^^^^^^^^^^
      = help: write a lower-case host without scheme and port, such as `claude.ai`

    error: `javascript` cannot be a redirect scheme
     --> doorward.toml:5:19
      |
    5 | custom_schemes = ["javascript", "My App"]
      |                   ^^^^^^^^^^^^
      = help: write an app's own scheme, lower case, without `://`

    error: `My App` cannot be a redirect scheme
     --> doorward.toml:5:33
      |
    5 | custom_schemes = ["javascript", "My App"]
      |                                 ^^^^^^^^
      = help: write an app's own scheme, lower case, without `://`

    error: `quota` must be at least 1
     --> doorward.toml:6:9
      |
    6 | quota = 0
      |         ^
      = help: to turn registration off, set `mode = "off"`

    error: `code` must be between 1s and 3650d
     --> doorward.toml:8:8
      |
    8 | code = "0s"
      |        ^^^^

    error: `access_token` must be 1h at most
     --> doorward.toml:9:16
      |
    9 | access_token = "2h"
      |                ^^^^

    error: `refresh_idle` is longer than `refresh_absolute`
      --> doorward.toml:10:16
       |
    10 | refresh_idle = "91d"
       |                ^^^^^

    error: `request_body` must be between 100ms and 1d
      --> doorward.toml:12:16
       |
    12 | request_body = "0s"
       |                ^^^^
    "#);
}

#[test]
fn a_server_by_flag_and_servers_by_file_are_too_many() {
    let args = ServeArgs {
        demo: true,
        ..ServeArgs::default()
    };
    let text = "[[servers]]\nname = \"a\"\npath = \"/a\"\ndemo = true\n";
    insta::assert_snapshot!(load_with(text, &[], args).unwrap_err(), @r"
    error: the file names servers, and so do the flags
     --> doorward.toml:1:1
      |
    1 | [[servers]]
      | ^^^^^^^^^^^
      = help: leave out `--upstream`, `--demo` or the command after `--`, or put that server into the file
    ");
}

#[test]
fn the_query_of_an_upstream_is_not_shown() {
    let text =
        "[[servers]]\nname = \"a\"\npath = \"/a\"\nupstream = \"http://127.0.0.1:1/mcp?key=hunter2\"\n";
    let shown = load_with(text, &[], ServeArgs::default()).unwrap().shown();
    let line = shown
        .iter()
        .find(|line| line.key == "servers[0].upstream")
        .unwrap();
    assert_eq!(line.value, "http://127.0.0.1:1/mcp?…");
}

#[test]
fn a_broken_file_still_says_where_the_server_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doorward.toml");
    let args = ConfigArgs {
        config: Some(path.clone()),
        ..ConfigArgs::default()
    };
    let port = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let config = Config::load_to_ask(&args, &Environment::default());
        config
            .map(|config| config.listen.value.port())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        port("listen = \"localhost:9000\"\nlisten_to_me = true\n"),
        Ok(9000)
    );
    assert_eq!(
        port("listen = \"localhost:9000\"\n[[servers]]\nname = \"A\"\n"),
        Ok(9000)
    );
    assert_eq!(
        port("listen = \"localhost:9000\n"),
        Ok(8080),
        "no TOML: the default"
    );
    assert!(port("listen = \"x\"\n").unwrap_err().contains("not an address"));
}

#[test]
fn a_line_that_sets_a_secret_is_not_shown() {
    let error = problems("client_secret = \"hunter2\"\n");
    assert!(
        !error.contains("hunter2") && error.contains("client_secret"),
        "{error}"
    );
}

#[test]
fn shows_every_value_and_its_origin() {
    let text = "listen = \"localhost:9000\"\n[[servers]]\nname = \"a\"\npath = \"/a\"\nupstream = \"http://127.0.0.1:1/mcp\"\n[lifetimes]\ncode = \"30s\"\n";
    let config = load_with(text, &[("DOORWARD_DATA", "/data")], ServeArgs::default()).unwrap();
    let lines = config
        .shown()
        .into_iter()
        .map(|line| format!("{} = {} # {}", line.key, line.value, line.origin));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    public_url = "http://localhost:9000" # default
    issuer_path = "" # default
    listen = "localhost:9000" # file, line 1
    data = "/data" # environment DOORWARD_DATA
    log_level = "info" # default
    log_format = "auto" # default
    allowed_origins = [] # default
    trusted_proxies = [] # default
    max_connections = null # default
    max_connections_per_address = null # default
    allow_insecure_shared_uid = false # default
    admin_listen = "127.0.0.1:9464" # default
    servers[0].name = "a" # file, line 3
    servers[0].path = "/a" # file, line 4
    servers[0].upstream = "http://127.0.0.1:1/mcp" # file, line 5
    servers[0].allow = [] # default
    servers[0].lists = "grantable" # default
    servers[0].allow_insecure_anonymous = false # default
    servers[0].forward_headers = [] # default
    servers[0].timeouts.connect = "2s" # default
    servers[0].timeouts.response = "5m" # default
    servers[0].limits.calls = "3000/m" # default
    servers[0].limits.discovery = "1200/m" # default
    servers[0].limits.address = "60000/m" # default
    servers[0].limits.tool = "1200/m" # default
    servers[0].limits.tools = {} # default
    servers[0].limits.refused = "300/m" # default
    servers[0].limits.streams = 256 # default
    lifetimes.access_token = "10m" # default
    lifetimes.access_token_without_refresh = "1h" # default
    lifetimes.code = "30s" # file, line 7
    lifetimes.refresh_idle = "30d" # default
    lifetimes.refresh_absolute = "90d" # default
    lifetimes.refresh_repeat = "30s" # default
    lifetimes.refresh_late_repeat = "10m" # default
    lifetimes.authorization_request = "10m" # default
    lifetimes.consent_repeat = "1m" # default
    lifetimes.session = "12h" # default
    lifetimes.setup_link = "1d" # default
    lifetimes.client_ungranted = "30d" # default
    lifetimes.client_unused = "90d" # default
    lifetimes.stream = "1h" # default
    keys.rotate_every = "90d" # default
    keys.publish_before = "10m" # default
    timeouts.upstream_connect = "2s" # default
    timeouts.upstream_response = "5m" # default
    timeouts.request_body = "25s" # default
    decision_log.enabled = true # default
    decision_log.file = "/data/decisions.jsonl" # default
    decision_log.max_size = "64MiB" # default
    limits.calls = "3000/m" # default
    limits.discovery = "1200/m" # default
    limits.address = "60000/m" # default
    limits.tool = "1200/m" # default
    limits.tools = {} # default
    limits.refused = "300/m" # default
    limits.streams = 256 # default
    registration.mode = "open" # default
    registration.known_hosts = ["chatgpt.com","claude.ai","claude.com","insiders.vscode.dev","vscode.dev","www.cursor.com"] # default
    registration.unknown_hosts = [] # default
    registration.custom_schemes = ["cursor","vscode","vscode-insiders"] # default
    registration.quota = 10000 # default
    registration.quota_per_address = 100 # default
    registration.token = null # default
    registration.confidential = null # default
    grants.client_credentials = true # default
    grants.device = false # default
    policy.file = [] # default
    client_metadata_documents.enabled = true # default
    client_metadata_documents.default = "allow" # default
    client_metadata_documents.allow = [] # default
    client_metadata_documents.ask = [] # default
    client_metadata_documents.deny = [] # default
    outbound.certificates = null # default
    client_metadata.enabled = false # default
    client_metadata.client_name = "Doorward" # default
    client_metadata.client_uri = null # default
    client_metadata.redirect_uris = ["http://127.0.0.1/callback","http://[::1]/callback","http://localhost/callback"] # default
    "#);
}

#[test]
fn keys_are_known_before_they_are_used() {
    for (bad, key) in [
        ("publish_before = \"1s\"", "publish_before"),
        ("rotate_every = \"15m\"", "rotate_every"),
        ("rotate_every = \"4000d\"", "rotate_every"),
    ] {
        let text = problems(&format!("[keys]\n{bad}\n"));
        assert!(text.contains(&format!("`{key}` must be")), "{text}");
    }
}
