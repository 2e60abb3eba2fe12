//! The URL of the server that last ran on a data folder, for commands that print links. A command is told
//! the folder (`--data`) and often not the URL; a link to the default address would lead nowhere.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::config::{Config, Origin, PublicUrl};

/// Beside the two files that matter. It is a hint: it may be missing, and is not in a backup.
const FILE: &str = "public-url";

/// Notes under which URL the server is reached.
pub(crate) fn note(data: &Path, public_url: &PublicUrl) -> std::io::Result<()> {
    let next = data.join(format!("{FILE}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)?;
    writeln!(file, "{public_url}")?;
    std::fs::rename(next, data.join(FILE))
}

/// The configured URL; if nobody configured one, the noted one.
pub(crate) fn public_url(config: &Config) -> PublicUrl {
    let configured = &config.public_url;
    if configured.origin != Origin::Default || config.listen.origin != Origin::Default {
        return configured.value.clone();
    }
    let noted = std::fs::read_to_string(config.data.value.join(FILE)).ok();
    noted
        .and_then(|text| PublicUrl::parse(text.trim_end()).ok())
        .unwrap_or_else(|| configured.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ConfigArgs;
    use crate::config::Environment;

    #[test]
    fn links_lead_to_the_server_that_ran_on_the_folder() {
        let data = tempfile::tempdir().unwrap();
        let url = |listen: Option<&str>| {
            let args = ConfigArgs {
                data: Some(data.path().into()),
                listen: listen.map(Into::into),
                ..ConfigArgs::default()
            };
            public_url(&Config::load(&args, &Environment::default()).unwrap()).to_string()
        };
        assert_eq!(url(None), "http://localhost:8080");
        note(data.path(), &PublicUrl::parse("https://mcp.example.com").unwrap()).unwrap();
        assert_eq!(url(None), "https://mcp.example.com");
        assert_eq!(
            url(Some("localhost:9000")),
            "http://localhost:9000",
            "what is said counts"
        );
        std::fs::write(data.path().join(FILE), "http://evil.test/\u{1b}").unwrap();
        assert_eq!(
            url(None),
            "http://localhost:8080",
            "what is no public URL is no hint"
        );
    }
}
