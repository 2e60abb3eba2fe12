//! `[grants]`: which grants are on beside the two that people sign in with.

use doorward_authorization_server::settings::Grants;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Config;
use super::show::Shown;

/// Which grants are on beside `authorization_code` and `refresh_token`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GrantsFile {
    /// `client_credentials`: clients that authenticate and that an operator added, approved or named get tokens
    /// of their own. Default: `true`.
    pub(crate) client_credentials: Option<bool>,
    /// The device grant (RFC 8628), for devices without a browser. Default: `false`.
    pub(crate) device: Option<bool>,
}

impl Config {
    /// Which grants are on.
    pub(crate) fn grants(&self) -> Grants {
        let defaults = Grants::default();
        Grants {
            client_credentials: self
                .grants
                .client_credentials
                .unwrap_or(defaults.client_credentials),
            device: self.grants.device.unwrap_or(defaults.device),
        }
    }

    pub(super) fn show_grants(&self, lines: &mut Vec<Shown>) {
        let grants = self.grants();
        lines.push(self.in_file("grants.client_credentials", json!(grants.client_credentials)));
        lines.push(self.in_file("grants.device", json!(grants.device)));
    }
}
