//! Ways to a token without a person: a workload's own, or the company's identity provider.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use doorward_client::client_assertion::ClientKey;
use doorward_client::enterprise::{EnterpriseManaged, IdpCredential, SubjectTokenType};
use doorward_client::grant::{AssertionSource, Grant};
use doorward_client::named_url::UrlPolicy;
use doorward_client::workload::{NamedAudience, Workload};
use doorward_local_login::assertion::{CommandAssertion, EnvironmentAssertion, FileAssertion};
use doorward_local_login::sign_on::{Provider, SignOn};
use url::Url;

use super::remote_options::read_secret;
use crate::error::CommandError;

/// A token that others issued to this program, and the identity provider that knows what to do with it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Without a person")]
pub(crate) struct GrantOptions {
    /// The file with the JWT that the platform gave this workload (Kubernetes, a CI system), read anew for every use
    #[arg(long, value_name = "FILE", conflicts_with_all = ["grant", "device", "workload_token_env", "workload_token_command"])]
    pub(crate) workload_token_file: Option<PathBuf>,
    /// The variable of the environment with that JWT
    #[arg(long, value_name = "NAME", conflicts_with_all = ["grant", "device", "workload_token_command"])]
    pub(crate) workload_token_env: Option<String>,
    /// The program that writes that JWT, with its arguments, separated by spaces; no shell reads them
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["grant", "device"])]
    pub(crate) workload_token_command: Option<String>,
    /// The audience that the authorization server wants in that JWT, if it is neither its issuer nor its token endpoint
    #[arg(long, value_name = "AUDIENCE", requires = "workload_issuer")]
    pub(crate) workload_audience: Option<String>,
    /// The issuer of the only authorization server that a JWT with that audience is sent to
    #[arg(long, value_name = "URL", requires = "workload_audience")]
    pub(crate) workload_issuer: Option<String>,
    /// The issuer of the company's identity provider, for enterprise-managed authorization: you sign on there once, for all
    /// servers behind it
    #[arg(long, value_name = "URL", requires = "idp_client_id",
          conflicts_with_all = ["grant", "device", "workload_token_file", "workload_token_env", "workload_token_command"])]
    pub(crate) idp_issuer: Option<String>,
    /// Its token endpoint (default: as its metadata says)
    #[arg(long, value_name = "URL", requires = "idp_issuer")]
    pub(crate) idp_token_endpoint: Option<String>,
    /// The client id of this program at the identity provider
    #[arg(long, value_name = "ID", requires = "idp_issuer")]
    pub(crate) idp_client_id: Option<String>,
    /// The file with its secret there
    #[arg(
        long,
        value_name = "FILE",
        requires = "idp_issuer",
        conflicts_with = "idp_client_key_file"
    )]
    pub(crate) idp_client_secret_file: Option<PathBuf>,
    /// The file with its private key there, PEM or JWK
    #[arg(long, value_name = "FILE", requires = "idp_issuer")]
    pub(crate) idp_client_key_file: Option<PathBuf>,
    /// The file with the ID token of a single sign-on that another program makes, read anew for every use: nobody is asked to
    /// sign on
    #[arg(long, value_name = "FILE", requires = "idp_issuer")]
    pub(crate) id_token_file: Option<PathBuf>,
}

impl GrantOptions {
    /// The grant that these options choose; `None`: they were not used.
    ///
    /// `sign_on` makes the sign-on of a person at the identity provider, where no file has one.
    pub(crate) fn grant(
        &self,
        sign_on: impl FnOnce(Provider, &IdpCredential) -> Result<SignOn, CommandError>,
    ) -> Result<Option<Grant>, CommandError> {
        if let Some(source) = self.workload_source()? {
            return Ok(Some(Grant::Workload(Arc::new(Workload {
                assertion: source,
                audience: self.named_audience()?,
            }))));
        }
        if self.workload_audience.is_some() {
            return Err(CommandError::usage(
                "--workload-audience says what a workload's token is for, and there is none",
            )
            .hint("name it with --workload-token-file, --workload-token-env or --workload-token-command"));
        }
        self.enterprise(sign_on)
    }

    fn named_audience(&self) -> Result<Option<NamedAudience>, CommandError> {
        let (Some(audience), Some(issuer)) = (&self.workload_audience, &self.workload_issuer) else {
            return Ok(None);
        };
        judged(issuer, "--workload-issuer")?;
        Ok(Some(NamedAudience {
            audience: audience.clone(),
            issuer: issuer.clone(),
        }))
    }

    fn workload_source(&self) -> Result<Option<Arc<dyn AssertionSource>>, CommandError> {
        if let Some(file) = &self.workload_token_file {
            return Ok(Some(Arc::new(FileAssertion(file.clone()))));
        }
        if let Some(name) = &self.workload_token_env {
            return Ok(Some(Arc::new(EnvironmentAssertion(name.clone()))));
        }
        let Some(command) = &self.workload_token_command else {
            return Ok(None);
        };
        let mut words = command.split_ascii_whitespace();
        let program = words
            .next()
            .ok_or_else(|| CommandError::usage("--workload-token-command names no program"))?;
        Ok(Some(Arc::new(CommandAssertion {
            program: program.into(),
            arguments: words.map(str::to_owned).collect(),
        })))
    }

    fn enterprise(
        &self,
        sign_on: impl FnOnce(Provider, &IdpCredential) -> Result<SignOn, CommandError>,
    ) -> Result<Option<Grant>, CommandError> {
        let (Some(issuer), Some(client_id)) = (&self.idp_issuer, &self.idp_client_id) else {
            return Ok(None);
        };
        judged(issuer, "--idp-issuer")?;
        let credential = self.credential()?;
        let token_endpoint = self
            .idp_token_endpoint
            .as_deref()
            .map(|text| judged(text, "--idp-token-endpoint"))
            .transpose()?;
        let subject_token: Arc<dyn AssertionSource> = match &self.id_token_file {
            Some(file) => Arc::new(FileAssertion(file.clone())),
            None => {
                let provider = Provider {
                    issuer: issuer.clone(),
                    client_id: client_id.clone(),
                };
                Arc::new(sign_on(provider, &credential)?)
            }
        };
        Ok(Some(Grant::EnterpriseManaged(Arc::new(EnterpriseManaged {
            issuer: issuer.clone(),
            token_endpoint,
            client_id: client_id.clone(),
            credential,
            subject_token,
            subject_token_type: SubjectTokenType::IdToken,
        }))))
    }

    /// How this program shows the identity provider who it is.
    pub(crate) fn credential(&self) -> Result<IdpCredential, CommandError> {
        if let Some(file) = &self.idp_client_secret_file {
            return Ok(IdpCredential::SecretBasic(read_secret(
                file,
                "--idp-client-secret-file",
            )?));
        }
        match &self.idp_client_key_file {
            Some(file) => Ok(IdpCredential::Key(client_key(file, "--idp-client-key-file")?)),
            None => Ok(IdpCredential::None),
        }
    }
}

/// Reads the private key of a client.
pub(crate) fn client_key(file: &Path, option: &str) -> Result<Arc<ClientKey>, CommandError> {
    let text = read_secret(file, option)?;
    ClientKey::parse(text.expose()).map(Arc::new).map_err(|error| {
        CommandError::usage(format!("{option}: {} is not a key to sign with", file.display())).because(&error)
    })
}

fn judged(text: &str, option: &str) -> Result<Url, CommandError> {
    UrlPolicy::strict()
        .judge(text)
        .map_err(|error| CommandError::usage(format!("{option} cannot be used: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[arg(long)]
        grant: Option<String>,
        #[arg(long)]
        device: bool,
        #[command(flatten)]
        options: GrantOptions,
    }

    fn grant(words: &[&str]) -> Result<Option<Grant>, String> {
        let line =
            Line::try_parse_from(std::iter::once(&"x").chain(words)).map_err(|error| error.to_string())?;
        let none = |_: Provider, _: &IdpCredential| Err(CommandError::no("a person signs on"));
        line.options.grant(none).map_err(|error| error.in_one_line())
    }

    #[test]
    fn e22_w2_options_choose_the_grant() {
        let shown = |words: &[&str]| format!("{:?}", grant(words).unwrap());
        assert_eq!(shown(&[]), "None");
        for words in [
            &["--workload-token-file", "/run/token"][..],
            &[
                "--workload-token-env",
                "TOKEN",
                "--workload-audience",
                "api://x",
                "--workload-issuer",
                "https://as.example",
            ],
            &["--workload-token-command", "cloud token --audience x"],
        ] {
            assert_eq!(shown(words), "Some(Workload)");
        }
        let idp = [
            "--idp-issuer",
            "https://idp.example",
            "--idp-client-id",
            "c",
            "--id-token-file",
            "/run/id",
        ];
        assert_eq!(shown(&idp), "Some(EnterpriseManaged)");
        // E16: without a file a person signs on.
        assert_eq!(grant(&idp[..4]).unwrap_err(), "a person signs on");
    }

    #[test]
    fn e7_w2_what_does_not_go_together_is_refused() {
        let idp = [
            "--idp-issuer",
            "https://idp.example",
            "--idp-client-id",
            "c",
            "--id-token-file",
            "/run/id",
        ];
        for words in [
            &["--workload-audience", "x"][..],
            &[
                "--workload-audience",
                "x",
                "--workload-issuer",
                "https://as.example",
            ],
            // CL-08: an audience alone does not say who may see the token.
            &["--workload-token-env", "A", "--workload-audience", "x"],
            &[
                "--workload-token-env",
                "A",
                "--workload-issuer",
                "https://as.example",
            ],
            &[
                "--workload-token-env",
                "A",
                "--workload-audience",
                "x",
                "--workload-issuer",
                "as.example",
            ],
            &["--workload-token-command", " "],
            &["--workload-token-env", "A", "--workload-token-file", "B"],
            &["--workload-token-env", "A", "--device"],
            &["--idp-issuer", "https://idp.example"],
            &["--idp-client-id", "c"],
            &[
                "--idp-issuer",
                "http://idp.example",
                "--idp-client-id",
                "c",
                "--id-token-file",
                "/run/id",
            ],
            &[&idp[..], &["--idp-token-endpoint", "javascript:x"]].concat(),
            &[&idp[..], &["--idp-client-secret-file", "/nowhere/secret"]].concat(),
            &[&idp[..], &["--workload-token-env", "A"]].concat(),
        ] {
            assert!(grant(words).is_err(), "{words:?}");
        }
    }
}
