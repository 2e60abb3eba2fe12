//! Looks for secrets where none may be.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::raw::find;
use crate::server::Doorward;

/// The secrets that a run minted, with names for the message.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Adds one.
    ///
    /// # Panics
    /// When it is too short to be looked for.
    pub fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 12, "{name} is too short to be looked for");
        self.0.push((name.into(), secret.into()));
    }

    /// Adds a JWT: the whole, and its signature, which is what makes it usable.
    pub fn add_jwt(&mut self, name: &str, token: &str) {
        self.add(name, token);
        if let Some(signature) = token.rsplit('.').next() {
            self.add(&format!("signature of {name}"), signature);
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every form in which one could have been written: as it is, its digits in hex, in each base64,
    /// and the bytes that it encodes.
    fn forms(&self) -> Vec<(String, Vec<u8>)> {
        let mut out = Vec::new();
        for (name, secret) in &self.0 {
            let bytes = secret.as_bytes();
            let mut add = |how: &str, form: Vec<u8>| out.push((format!("{name} ({how})"), form));
            add("as it is", bytes.to_vec());
            add("hex", hex(bytes).into_bytes());
            add("base64", STANDARD_NO_PAD.encode(bytes).into_bytes());
            add("base64 with padding", STANDARD.encode(bytes).into_bytes());
            add("base64url", URL_SAFE_NO_PAD.encode(bytes).into_bytes());
            add("base64url with padding", URL_SAFE.encode(bytes).into_bytes());
            let random = secret.rsplit(['_', '.']).next().unwrap_or_default();
            if let Ok(decoded) = URL_SAFE_NO_PAD.decode(random)
                && decoded.len() >= 16
            {
                add("hex of what it encodes", hex(&decoded).into_bytes());
                add("what it encodes", decoded);
            }
        }
        out
    }

    /// The names of the secrets found in `bytes`.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        self.forms()
            .into_iter()
            .filter(|(_, form)| find(bytes, form).is_some())
            .map(|(name, _)| name)
            .collect()
    }

    /// Asserts that none is in `bytes`.
    ///
    /// # Panics
    /// When one is.
    #[track_caller]
    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "{place} holds {found:?}");
    }

    /// Asserts that none is in a server's logs, its data folder, its arguments or its environment.
    ///
    /// # Panics
    /// When one is, or when a place cannot be read.
    #[track_caller]
    pub fn assert_not_leaked_by(&self, doorward: &Doorward) {
        assert!(!self.is_empty(), "there is something to look for");
        self.assert_absent("the log", doorward.logs().as_bytes());
        let proc = Path::new("/proc").join(doorward.pid().to_string());
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(proc.join(file)).expect("our own child can be read");
            self.assert_absent(file, &bytes);
        }
        let mut files = 0;
        for entry in std::fs::read_dir(&doorward.data).expect("the data folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                files += 1;
                let bytes = std::fs::read(&path).expect("a data file");
                self.assert_absent(&path.display().to_string(), &bytes);
            }
        }
        assert!(files >= 2, "database and key are there");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
