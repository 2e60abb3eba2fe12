//! `[client_metadata_documents]` and `[outbound]`: which clients may be known by a URL, and how documents are
//! fetched.

use std::path::PathBuf;

use doorward_authorization_server::client_metadata::{DocumentPolicy, HostPattern, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Config;
use super::parse::Parsed;
use super::show::Shown;
use super::source::Problem;

/// Clients whose `client_id` is the URL of a document that describes them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DocumentsFile {
    /// Whether there are such clients; advertised as `client_id_metadata_document_supported`. Default: `true`.
    pub(crate) enabled: Option<bool>,
    /// What happens with hosts that none of the lists names: `allow` (the redirect rules of `[registration]`
    /// decide), `ask` (they wait for `doorward client approve URL`) or `deny`. Default: `allow`.
    pub(crate) default: Option<VerdictFile>,
    /// Hosts whose clients are approved at once: `app.example.com`, or `*.example.com` for every host below one.
    pub(crate) allow: Vec<String>,
    /// Hosts whose clients wait for `doorward client approve URL`.
    pub(crate) ask: Vec<String>,
    /// Hosts whose clients are refused; their documents are not fetched. Before `ask`, which is before `allow`.
    pub(crate) deny: Vec<String>,
}

/// What happens with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VerdictFile {
    /// The redirect rules decide.
    Allow,
    /// An operator decides.
    Ask,
    /// Refused.
    Deny,
}

/// How documents of clients and their keys are fetched.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutboundFile {
    /// PEM file with certificate authorities that are believed besides the public ones; relative to the folder of
    /// this file. Default: none.
    pub(crate) certificates: Option<PathBuf>,
}

const LISTS: [&str; 3] = ["allow", "ask", "deny"];

impl DocumentsFile {
    fn lists(&self) -> [&Vec<String>; 3] {
        [&self.allow, &self.ask, &self.deny]
    }
}

/// Every entry is a host.
pub(super) fn check(parsed: &Parsed, problems: &mut Vec<Problem>) {
    let documents = &parsed.file.client_metadata_documents;
    for (key, list) in LISTS.into_iter().zip(documents.lists()) {
        for (index, host) in list.iter().enumerate() {
            if HostPattern::parse(host).is_err() {
                let place = parsed.place(&format!("client_metadata_documents.{key}[{index}]"));
                let problem = Problem::new(place, format!("`{}` is not a host", host.escape_debug()));
                problems.push(problem.help(
                    "write a lower-case host without scheme and port, such as `app.example.com`, or `*.example.com` for every host below it",
                ));
            }
        }
    }
}

impl Config {
    /// The rules for clients that are known by a URL.
    pub(crate) fn document_policy(&self) -> DocumentPolicy {
        let file = &self.documents;
        let [allow, ask, deny] = file.lists().map(|list| {
            list.iter()
                .filter_map(|host| HostPattern::parse(host).ok())
                .collect()
        });
        DocumentPolicy {
            enabled: file.enabled.unwrap_or(true),
            allow,
            ask,
            deny,
            otherwise: match file.default {
                None | Some(VerdictFile::Allow) => Verdict::Allow,
                Some(VerdictFile::Ask) => Verdict::Ask,
                Some(VerdictFile::Deny) => Verdict::Deny,
            },
        }
    }

    pub(super) fn show_documents(&self, lines: &mut Vec<Shown>) {
        let file = &self.documents;
        let mut line = |name: &str, value| {
            lines.push(self.in_file(&format!("client_metadata_documents.{name}"), value));
        };
        line("enabled", json!(file.enabled.unwrap_or(true)));
        line("default", json!(file.default.unwrap_or(VerdictFile::Allow)));
        for (key, list) in LISTS.into_iter().zip(file.lists()) {
            line(key, json!(list));
        }
        let certificates = &self.outbound_certificates;
        lines.push(self.in_file("outbound.certificates", json!(certificates)));
    }
}
