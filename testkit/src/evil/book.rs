//! What the authorization server remembers.

use std::collections::{BTreeSet, HashMap};

use crate::identity::IdJags;
use crate::leak::Secrets;
use crate::random_text;

pub(super) struct Client {
    pub(super) secret: Option<String>,
    /// `None`: any loopback redirect.
    pub(super) redirects: Option<Vec<String>>,
}

#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) resource: String,
    pub(super) scope: BTreeSet<String>,
}

pub(super) struct Book {
    pub(super) clients: HashMap<String, Client>,
    codes: HashMap<String, Option<Grant>>,
    access: HashMap<String, (Grant, std::time::Instant)>,
    refresh: HashMap<String, Option<Grant>>,
    pub(super) expires_in: u64,
    pub(super) reused: usize,
    /// Whether a refresh token can be used again, as RFC 6749 §6 leaves open.
    pub(super) lasting: bool,
    pub(super) complaints: Vec<String>,
    /// The grants of an identity provider that are good here, each once.
    pub(super) id_jags: Option<IdJags>,
    pub(super) secrets: Secrets,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            clients: HashMap::new(),
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            expires_in: 600,
            reused: 0,
            lasting: false,
            complaints: Vec::new(),
            id_jags: None,
            secrets: Secrets::default(),
        }
    }
}

/// A new pair of tokens.
pub(super) struct Issued {
    pub(super) access: String,
    pub(super) refresh: String,
}

impl Book {
    pub(super) fn pre_register(&mut self, id: &str, secret: Option<&str>) {
        if let Some(secret) = secret {
            self.secrets.add("pre-registered secret", secret);
        }
        self.clients.insert(
            id.into(),
            Client {
                secret: secret.map(str::to_owned),
                redirects: None,
            },
        );
    }

    pub(super) fn code(&mut self, grant: Grant) -> String {
        let code = format!("code_{}", random_text());
        self.secrets.add("code", &code);
        self.codes.insert(code.clone(), Some(grant));
        code
    }

    /// The grant of a code, once.
    pub(super) fn redeem(&mut self, code: &str) -> Option<Grant> {
        self.codes.get_mut(code)?.take()
    }

    /// The grant of a refresh token; once, unless they last.
    pub(super) fn rotate(&mut self, token: &str) -> Option<Grant> {
        let slot = self.refresh.get_mut(token)?;
        if self.lasting {
            return slot.clone();
        }
        if slot.is_none() {
            self.reused += 1;
        }
        slot.take()
    }

    pub(super) fn issue(&mut self, grant: &Grant) -> Issued {
        let issued = Issued {
            access: format!("at_{}", random_text()),
            refresh: format!("rt_{}", random_text()),
        };
        self.secrets.add("access token", &issued.access);
        self.secrets.add("refresh token", &issued.refresh);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(self.expires_in);
        self.access.insert(issued.access.clone(), (grant.clone(), end));
        self.refresh.insert(issued.refresh.clone(), Some(grant.clone()));
        issued
    }

    /// What a live access token is good for.
    pub(super) fn granted(&self, access: &str) -> Option<&Grant> {
        let (grant, end) = self.access.get(access)?;
        (std::time::Instant::now() < *end).then_some(grant)
    }

    pub(super) fn expire(&mut self) {
        self.access.clear();
    }

    pub(super) fn revoke(&mut self, token: &str) {
        self.access.remove(token);
        self.refresh.remove(token);
    }

    pub(super) fn revoke_all(&mut self) {
        self.access.clear();
        self.refresh.clear();
        self.codes.clear();
    }
}
