//! Pages that only say something: what happened, what to do next, and the id with which the operator
//! finds out why (`doorward explain`).

use std::borrow::Cow;

use askama::Template;
use axum::response::Response;
use doorward_authorization_server::PageProblem;
use doorward_oauth::form::FormError;
use doorward_oauth::requirement::{self, Requirement};
use doorward_storage::LoadError;
use http::StatusCode;

use crate::body::BodyError;
use crate::commit::Unavailable;
use crate::csrf::ForgedForm;
use crate::origin::ForeignOrigin;
use crate::pages::{Chrome, page};
use crate::passwords::Busy;
use crate::sealed_request::NotSealed;
use crate::state::WebState;

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    chrome: &'a Chrome,
    good: bool,
    title: &'a str,
    text: &'a str,
    next: &'a str,
    links_home: bool,
    links_account: bool,
    reference: Option<String>,
}

/// A page that says that something did not work.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// What happened, as a headline.
    pub(crate) title: &'static str,
    /// What happened, in a sentence.
    pub(crate) text: String,
    /// What to do next.
    pub(crate) next: Cow<'static, str>,
    /// Whether to link to the start page.
    pub(crate) links_home: bool,
    /// Whether to link to the account page.
    pub(crate) links_account: bool,
    /// The rule that refused, for the log.
    pub(crate) rule: String,
}

/// Where people are sent when a form is no longer good.
pub(crate) const START_AGAIN: &str = "Go back to your app and start from there: ask it to connect (or sign in) again. You can close this page.";

impl Problem {
    /// A problem with the status and the words for people; `rule` goes to the log only.
    pub(crate) fn new(
        status: StatusCode,
        title: &'static str,
        text: impl Into<String>,
        next: impl Into<Cow<'static, str>>,
        rule: impl Into<String>,
    ) -> Self {
        Self {
            status,
            title,
            text: text.into(),
            next: next.into(),
            links_home: false,
            links_account: false,
            rule: rule.into(),
        }
    }

    /// The form was sent from elsewhere, or by a browser that was not given it.
    pub(crate) fn forged(rule: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This form did not come from here",
            "The answer could not be matched to a page that this browser was shown, so nothing was done. Cookies may be turned off for this site.",
            START_AGAIN,
            format!("{}: {}", requirement::CONSENT_FORGED.id, rule.into()),
        )
    }

    /// The sealed request is unknown, expired or was answered.
    pub(crate) fn stale(rule: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "This page is no longer valid",
            "It was open for too long, was answered already, or belongs to another sign-in.",
            START_AGAIN,
            rule,
        )
    }

    /// The store did not answer, or too much is going on.
    pub(crate) fn unavailable(rule: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This is taking a moment",
            "The server could not do this just now. Nothing was changed.",
            "Wait a few seconds, then reload this page.",
            rule,
        )
    }

    /// The form cannot be read.
    pub(crate) fn unreadable(rule: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "This form could not be read",
            "What arrived is not what the page sends, so nothing was done.",
            START_AGAIN,
            rule,
        )
    }

    /// The id of the rule, if it begins with one, and the reason.
    fn named(&self) -> (Option<&'static str>, &str) {
        let named = self
            .rule
            .split_once(": ")
            .and_then(|(id, reason)| Requirement::find(id).map(|rule| (rule.id, reason)));
        match named {
            Some((id, reason)) => (Some(id), reason),
            None => (None, &self.rule),
        }
    }

    /// Logs the refusal and renders the page.
    pub(crate) fn respond(&self, state: &WebState) -> Response {
        let (rule, reason) = self.named();
        tracing::info!(status = self.status.as_u16(), rule, reason, "refused");
        let reference = doorward_recorder::current().map(|trace| trace.to_string());
        let mut response = page(
            self.status,
            &MessagePage {
                chrome: &state.site().chrome,
                good: false,
                title: self.title,
                text: &self.text,
                next: &self.next,
                links_home: self.links_home,
                links_account: self.links_account,
                reference,
            },
        );
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(http::header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl From<PageProblem> for Problem {
    fn from(problem: PageProblem) -> Self {
        let title = match problem {
            PageProblem::UnknownClient => "Unknown app",
            PageProblem::ClientPending(_) => "Not approved yet",
            PageProblem::ClientDisabled => "This app is switched off",
            PageProblem::DocumentsOff | PageProblem::DocumentHostDenied(_) => "This app is not allowed here",
            PageProblem::DocumentUnread(_) => "This app could not be checked",
            PageProblem::DocumentRefused(_) => "This app is not set up correctly",
            PageProblem::Unreadable(_)
            | PageProblem::AmbiguousClient
            | PageProblem::MissingClient
            | PageProblem::MissingRedirect
            | PageProblem::UnregisteredRedirect
            | PageProblem::StateTooLong
            | PageProblem::DocumentAddress(_) => "This request was stopped",
            PageProblem::SetupLink => "This link does not work any more",
            _ => "This page is no longer valid",
        };
        let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let rule = format!("{}: {problem:?}", problem.requirement().id);
        // The first sentence says what happened, the others what to do.
        let words = problem.to_string();
        let (text, next) = words.split_once(". ").unwrap_or((&words, ""));
        let text = format!("{}.", text.trim_end_matches('.'));
        Self::new(status, title, text, next.to_owned(), rule)
    }
}

impl From<ForeignOrigin> for Problem {
    fn from(error: ForeignOrigin) -> Self {
        Self::forged(error.to_string())
    }
}

impl From<ForgedForm> for Problem {
    fn from(error: ForgedForm) -> Self {
        Self::forged(error.to_string())
    }
}

impl From<NotSealed> for Problem {
    fn from(error: NotSealed) -> Self {
        Self::stale(format!("{}: {error}", requirement::CONSENT_FORGED.id))
    }
}

impl From<FormError> for Problem {
    fn from(error: FormError) -> Self {
        Self::unreadable(error.to_string())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        Self {
            status: error.status(),
            ..Self::unreadable(error.to_string())
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        Unavailable::from(error).into()
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<Busy> for Problem {
    fn from(error: Busy) -> Self {
        Self::unavailable(error.to_string())
    }
}

/// For every `503`.
pub(crate) const RETRY_AFTER: http::HeaderValue = http::HeaderValue::from_static("2");

/// A page that says that something worked.
pub(crate) fn done(state: &WebState, title: &str, text: &str, next: &str) -> Response {
    good(state, title, text, next, false)
}

/// The same, with a link to the account.
pub(crate) fn done_in_account(state: &WebState, title: &str, text: &str, next: &str) -> Response {
    good(state, title, text, next, true)
}

fn good(state: &WebState, title: &str, text: &str, next: &str, links_account: bool) -> Response {
    let chrome = &state.site().chrome;
    page(
        StatusCode::OK,
        &MessagePage {
            chrome,
            good: true,
            title,
            text,
            next,
            links_home: false,
            links_account,
            reference: None,
        },
    )
}

/// The answer for a path that is not there.
pub(crate) fn not_found(state: &WebState) -> Response {
    let problem = Problem::new(
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "This address does not exist on this server.",
        "Check the address. The start page lists the servers that are protected here.",
        "no route",
    );
    Problem {
        links_home: true,
        ..problem
    }
    .respond(state)
}

/// The answer for a path that is there, by another method.
pub(crate) fn wrong_method(state: &WebState) -> Response {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "This page cannot be opened by its address",
        "It is only reached by a form or by an app.",
        START_AGAIN,
        "wrong method",
    )
    .respond(state)
}
