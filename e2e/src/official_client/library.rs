//! rmcp's own transport, authorized by the client library.

use std::sync::Arc;

use doorward_client::client_assertion::ClientKey;
use doorward_client::dpop::Dpop;
use doorward_client::enterprise::{EnterpriseManaged, IdpCredential, SubjectTokenType};
use doorward_client::grant::{FixedAssertion, Grant};
use doorward_client::orchestrate::Options;
use doorward_client::registration::{Application, PreRegistered};
use doorward_client::workload::Workload;
use doorward_local_login::network::{Network, roots};
use doorward_outbound::{ClientOptions, GuardedClient};
use doorward_rmcp_client::AuthorizedClient;
use doorward_types::secret::Secret;
use url::Url;

use crate::authorizer::Login;
use crate::context::{Context, Scenario};
use crate::{CLIENT_METADATA_URL, Failure, host};

pub(crate) async fn run(url: &str, scenario: &Scenario) -> Result<(), Failure> {
    let server = Url::parse(url)?;
    let client = GuardedClient::new(ClientOptions::new(roots(None, &|_| None)?));
    let network = Network::new(client.clone(), server.clone());
    let login = Login::new(options(&server, scenario)?, network);
    let authorized = AuthorizedClient::new(server, client, Arc::new(login));
    host::run(authorized.transport(), scenario).await
}

fn options(server: &Url, scenario: &Scenario) -> Result<Options, Failure> {
    let context = &scenario.context;
    let pre_registered = context.client_id.clone().map(|client_id| PreRegistered {
        client_id,
        client_secret: context.client_secret.clone().map(Secret::new),
        token_endpoint_auth_method: None,
        issuer: None,
    });
    let key = context.private_key_pem.as_deref().map(ClientKey::parse);
    Ok(Options {
        server: server.clone(),
        redirect_uri: "http://127.0.0.1:3000/callback".to_owned(),
        application: Application {
            client_name: "Doorward's client in the official suite".to_owned(),
            client_uri: None,
            software_id: None,
            software_version: None,
            client_metadata_url: Some(CLIENT_METADATA_URL.to_owned()),
            pre_registered,
            may_register: true,
        },
        grant: grant(&scenario.name, context)?,
        scope: None,
        extra: Vec::new(),
        wants_refresh: true,
        legacy: !scenario.modern(),
        allow_insecure_http: false,
        key: key.transpose()?.map(Arc::new),
        dpop: Some(Dpop::generate()?),
        prefer_dpop: false,
    })
}

/// The way to a token that the scenario is about.
fn grant(scenario: &str, context: &Context) -> Result<Grant, Failure> {
    let given = |value: &Option<String>| value.clone().ok_or("the scenario's context lacks something");
    Ok(match scenario {
        "auth/client-credentials-basic" | "auth/client-credentials-jwt" => Grant::ClientCredentials,
        "auth/enterprise-managed-authorization" => Grant::EnterpriseManaged(Arc::new(EnterpriseManaged {
            issuer: given(&context.idp_issuer)?,
            token_endpoint: Some(Url::parse(&given(&context.idp_token_endpoint)?)?),
            client_id: given(&context.idp_client_id)?,
            credential: IdpCredential::None,
            subject_token: Arc::new(FixedAssertion(Secret::new(given(&context.idp_id_token)?))),
            subject_token_type: SubjectTokenType::IdToken,
        })),
        "auth/wif-jwt-bearer" => Grant::Workload(Arc::new(Workload {
            assertion: Arc::new(FixedAssertion(Secret::new(given(&context.valid_jwt)?))),
            audience: None,
        })),
        _ => Grant::AuthorizationCode,
    })
}
