//! The tools and prompts, as clients see them.

use std::sync::Arc;

use doorward_stdio_authorization::providers::GITHUB;
use doorward_stdio_authorization::verify::Verify;
use doorward_stdio_authorization::{AuthorizationServer, TOKEN};
use doorward_types::secret::Secret;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{ErrorCode, ErrorData, PromptMessage, Role};
use rmcp::service::RequestContext;
use rmcp::{
    RoleServer, ServerHandler, prompt, prompt_handler, prompt_router, tool, tool_handler, tool_router,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::api::{Api, ApiError, Direction, Listing, Page, Sort, User, Visibility};

/// Repositories of a page if nobody says otherwise.
const PER_PAGE: u32 = 30;
/// The most that GitHub gives.
const MOST_PER_PAGE: u32 = 100;

/// The tool whose private answers take more.
pub(crate) const REPOSITORIES: &str = "get_github_user_repos";

/// The code of an authorization error that the wrapper completes.
const TO_THE_WRAPPER: i32 = 401;
/// The code of one that goes to a client as it is; what counts is its data.
const TO_A_CLIENT: i32 = -32001;

/// What `get_github_user_repos` takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoriesArguments {
    /// Which repositories: all that the token may see, only public ones, or only private ones.
    #[serde(default)]
    visibility: Visibility,
    /// In which order.
    #[serde(default)]
    sort: Sort,
    /// Which way round. Names ascend and times descend if this is left out.
    #[serde(default)]
    direction: Option<Direction>,
    /// Repositories on a page, 1 to 100; 30 if this is left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    per_page: Option<i64>,
    /// The page, from 1. Take it from `next_page` of the page before.
    #[serde(default)]
    #[schemars(range(min = 1))]
    page: Option<i64>,
}

/// What `review_repositories` takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct ReviewArguments {
    /// `all`, `public` or `private`; `all` if this is left out.
    #[serde(default)]
    visibility: Option<String>,
}

/// Where the verified token of a request is. Wherever it is, whoever stands in front has verified it and put it there.
#[derive(Clone)]
pub enum TokenIn {
    /// In `_meta`: over stdio, behind the wrapper, which takes out what the client put in.
    Meta,
    /// In the extensions of the HTTP request, as a [`VerifiedToken`].
    Request(Arc<OverHttp>),
}

/// What the tools say and do themselves where no wrapper stands in front.
pub struct OverHttp {
    /// The URL of the MCP endpoint.
    pub resource: String,
    /// Whose tokens are taken.
    pub authorization_server: AuthorizationServer,
    /// Who has verified the token, and has to know when GitHub refuses it after all.
    pub verify: Arc<dyn Verify>,
}

/// The token of an HTTP request that was verified.
#[derive(Clone, Debug)]
pub struct VerifiedToken(pub Secret);

/// The server, for any number of users: whose turn it is says the token of each request.
#[derive(Clone)]
pub struct GitHubServer {
    api: Api,
    token_in: TokenIn,
}

impl GitHubServer {
    /// A server that asks this API.
    #[must_use]
    pub const fn new(api: Api, token_in: TokenIn) -> Self {
        Self { api, token_in }
    }

    fn token(&self, context: &RequestContext<RoleServer>) -> Result<Secret, ErrorData> {
        let token = match &self.token_in {
            TokenIn::Meta => context
                .meta
                .get(TOKEN)
                .and_then(serde_json::Value::as_str)
                .map(Secret::new),
            TokenIn::Request(_) => {
                let head = context.extensions.get::<http::request::Parts>();
                let token = head.and_then(|head| head.extensions.get::<VerifiedToken>());
                token.map(|token| token.0.clone())
            }
        };
        token.ok_or_else(|| self.refused("invalid_token", None, "No access token for GitHub"))
    }

    /// An authorization error. Over stdio the wrapper completes it with everything that a client needs to get the right token; over
    /// HTTP it is complete, because nobody comes after us.
    fn refused(&self, error: &str, scopes: Option<Vec<String>>, message: &str) -> ErrorData {
        let mut authorization = serde_json::Map::new();
        let mut set = |key: &str, value| authorization.insert(key.to_owned(), value);
        set("type", json!("oauth2"));
        set("error", json!(error));
        if let Some(scopes) = scopes {
            set("scopes", json!(scopes));
        }
        let mut code = TO_THE_WRAPPER;
        if let TokenIn::Request(over) = &self.token_in {
            code = TO_A_CLIENT;
            set("resource", json!(over.resource));
            set("grant_type", json!("authorization_code"));
            set("code_challenge_method", json!("S256"));
            set("authorization_servers", json!([over.authorization_server]));
        }
        let data = json!({ "authorization": authorization });
        ErrorData::new(ErrorCode(code), message.to_owned(), Some(data))
    }

    /// What is about authorization is an error of the protocol; everything else is a result that the model can read.
    fn outcome<T>(&self, token: &Secret, result: Result<T, ApiError>) -> Outcome<T> {
        let error = match result {
            Ok(value) => return Ok(Ok(Json(value))),
            Err(error) => error,
        };
        tracing::warn!(%error, "github: a call failed");
        match &error {
            ApiError::TokenRefused => {
                // The next request with it is refused before it gets here, with 401.
                if let TokenIn::Request(over) = &self.token_in {
                    over.verify.forget(token);
                }
                Err(self.refused("invalid_token", None, &error.to_string()))
            }
            ApiError::MissingScope { needed } => {
                // Any one of them is enough: the narrowest is asked for.
                let narrowest = GITHUB.narrowest(needed);
                let scopes = narrowest.iter().map(|scope| scope.as_str().to_owned()).collect();
                Err(self.refused("insufficient_scope", Some(scopes), &error.to_string()))
            }
            other => Ok(Err(other.to_string())),
        }
    }
}

type Outcome<T> = Result<Result<Json<T>, String>, ErrorData>;

fn bounded(value: Option<i64>, default: u32, most: u32, name: &str) -> Result<u32, ErrorData> {
    let Some(value) = value else { return Ok(default) };
    let fits = u32::try_from(value)
        .ok()
        .filter(|value| (1..=most).contains(value));
    fits.ok_or_else(|| ErrorData::invalid_params(format!("{name} must be from 1 to {most}"), None))
}

#[tool_router]
impl GitHubServer {
    #[tool(
        description = "Tells who you are on GitHub: login, name, e-mail as far as it may be seen, company, location, counts of repositories and followers. Takes no arguments.",
        annotations(title = "Your GitHub profile", read_only_hint = true, open_world_hint = true)
    )]
    async fn get_github_user_info(&self, context: RequestContext<RoleServer>) -> Outcome<User> {
        let token = self.token(&context)?;
        self.outcome(&token, self.api.user(&token).await)
    }

    #[tool(
        description = "Lists your repositories on GitHub, a page at a time: by visibility (all, public, private) and order (created, updated, pushed, full_name). Private ones take the scope `repo`. If `next_page` is there, ask for that page to see more.",
        annotations(
            title = "Your GitHub repositories",
            read_only_hint = true,
            open_world_hint = true
        )
    )]
    async fn get_github_user_repos(
        &self,
        context: RequestContext<RoleServer>,
        Parameters(arguments): Parameters<RepositoriesArguments>,
    ) -> Outcome<Page> {
        let listing = Listing {
            visibility: arguments.visibility,
            sort: arguments.sort,
            direction: arguments.direction,
            per_page: bounded(arguments.per_page, PER_PAGE, MOST_PER_PAGE, "per_page")?,
            page: bounded(arguments.page, 1, u32::MAX, "page")?,
        };
        let token = self.token(&context)?;
        self.outcome(&token, self.api.repositories(&token, &listing).await)
    }
}

#[expect(missing_docs, reason = "the macro makes functions that nobody else calls")]
#[prompt_router]
impl GitHubServer {
    /// Writes a short introduction of you from your GitHub profile.
    #[prompt(
        name = "introduce_me",
        description = "Writes a short introduction of you from your GitHub profile."
    )]
    async fn introduce_me(&self) -> Vec<PromptMessage> {
        vec![said(
            "Call get_github_user_info. Then write an introduction of this person in three sentences: who they are, where they work and \
             live if it is known, and what their account shows. Say nothing that is not in the answer.",
        )]
    }

    /// Looks through your repositories and says what needs attention.
    #[prompt(
        name = "review_repositories",
        description = "Looks through your repositories on GitHub and says which ones need attention."
    )]
    async fn review_repositories(
        &self,
        Parameters(arguments): Parameters<ReviewArguments>,
    ) -> Result<Vec<PromptMessage>, ErrorData> {
        let visibility = arguments.visibility.unwrap_or_else(|| "all".to_owned());
        // What is asked for goes into a text for a model: only the three words may.
        if !["all", "public", "private"].contains(&visibility.as_str()) {
            return Err(ErrorData::invalid_params(
                "visibility must be all, public or private",
                None,
            ));
        }
        Ok(vec![said(&format!(
            "Call get_github_user_repos with visibility \"{visibility}\", sort \"pushed\" and per_page 100, and go on with next_page until \
             there is none. Then list: repositories without a push for two years that are not archived, repositories without a \
             description, and the five that were pushed to last. Use only what the answers say."
        ))])
    }
}

fn said(text: &str) -> PromptMessage {
    PromptMessage::new_text(Role::User, text)
}

#[tool_handler(
    name = "doorward-github",
    instructions = "Acts on GitHub for its user. get_github_user_info tells who that is, get_github_user_repos lists repositories page by page. Both need a GitHub login; a call without one says how to get it."
)]
#[prompt_handler]
impl ServerHandler for GitHubServer {}
