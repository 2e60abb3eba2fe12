//! End-to-end tests against the real binary: the attack catalogue, one module for each family, and the
//! journeys that people make.

mod apart;
mod authorization;
mod bodies;
mod browser;
mod chromium;
mod clients;
mod command_line;
mod conformance;
mod consent;
mod differential;
mod ending;
mod exhaustion;
mod faults;
mod fidelity;
mod floods;
mod framing;
mod greeting;
mod hostile_upstream;
mod http_surface;
mod inspector;
mod isolation;
mod journeys;
mod leaks;
mod mirrored_headers;
mod node;
mod official_server;
mod param_headers;
mod python;
mod refresh;
mod registration;
mod relay;
mod reload;
mod resource_server;
mod reverse_proxy;
mod sessions;
mod several;
mod stdio;
mod streams;
mod support;
mod tls;
mod token;

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
