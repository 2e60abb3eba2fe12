//! End-to-end tests against the real binary: the attack catalogue, one module for each family, and the
//! journeys that people make.

mod account;
mod account_faults;
mod apart;
mod authorization;
mod axe;
mod backup;
mod bodies;
mod body_rules;
mod bridge;
mod bridge_channel;
mod browser;
mod chromium;
mod client_authentication;
mod client_credentials;
mod client_hostile;
mod client_journeys;
mod client_peers;
mod clients;
mod clock_jumps;
mod command_line;
mod conformance;
mod consent;
mod decisions;
mod device;
mod differential;
mod ending;
mod eras;
mod examples;
mod exhaustion;
mod explain;
mod faults;
mod fidelity;
mod floods;
mod framing;
mod full_disk;
mod greeting;
mod history;
mod hostile_upstream;
mod http_surface;
mod inspector;
mod introspection;
mod isolation;
mod journeys;
mod keys;
mod leaks;
mod library;
mod limits;
mod lists;
mod locked_database;
mod login;
mod login_network;
mod machine;
mod metadata_documents;
mod metrics;
mod mirrored_headers;
mod node;
mod official_client;
mod official_server;
mod operators_clients;
mod param_headers;
mod passkeys;
mod policies;
mod pushed;
mod python;
mod refresh;
mod refusals;
mod registration;
mod registration_management;
mod relay;
mod reload;
mod resource_server;
mod reverse_proxy;
mod revoked_calls;
mod scopes;
mod screens;
mod sessions;
mod several;
mod sign_in;
mod single_sign_on;
mod stdio;
mod stdio_authorization;
mod stdio_clients;
mod stdio_github;
mod stdio_inspector;
mod stdio_steps;
mod stdio_tokens;
mod stdio_transparent;
mod streams;
mod support;
mod takeover;
mod tls;
mod token;
mod unfinished;

#[test]
fn every_file_beside_this_one_is_a_module_of_it() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "rs") && name != "main" {
            assert!(
                main.contains(&format!("mod {name};")),
                "{name}.rs is never compiled: add it to main.rs"
            );
        }
    }
}
