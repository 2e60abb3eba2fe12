//! What a request at the redirect URI gets.

use std::time::Duration;

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::{oneshot, watch};

use super::{Candidate, Ending, Outcome, Shared, Verdict};
use crate::loopback::{Answer, Held, Site, is_for};
use crate::page::{Mood, Page, foreign_host, nothing_here};

/// How long a browser is kept waiting for the end of the login.
const HOLD: Duration = Duration::from_secs(60);

type Waiting = watch::Receiver<Option<Outcome>>;

impl Site for Shared {
    async fn answer(&self, request: Request<Incoming>, held: &Held) -> Answer {
        if !is_for(&self.authority, &request) {
            return foreign_host().response();
        }
        if request.uri().path() != self.path {
            return nothing_here().response();
        }
        if request.method() == Method::HEAD {
            // Link scanners. The browser itself comes with GET.
            return Response::new(Full::default());
        }
        if request.method() != Method::GET {
            let mut answer = wrong_method().response();
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        let purpose = request.headers().get("sec-purpose");
        let purpose = purpose.and_then(|value| value.to_str().ok());
        if purpose.is_some_and(|purpose| purpose.contains("prefetch")) {
            let mut later = Response::new(Full::default());
            *later.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return later;
        }
        let query = request.uri().query().unwrap_or_default();
        match verdict(self, query).await {
            Verdict::NotOurs => not_ours().response(),
            Verdict::Ours(waiting) => {
                // Who says how the login ended waits until the page is on its way.
                held.hold(waiting.clone());
                ended(waiting).await.response()
            }
        }
    }
}

async fn verdict(shared: &Shared, query: &str) -> Verdict {
    let mut states = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "state");
    let (Some((_, state)), None) = (states.next(), states.next()) else {
        return Verdict::NotOurs;
    };
    let (sender, receiver) = oneshot::channel();
    let candidate = Candidate {
        query: query.to_owned(),
        state: state.into_owned(),
        verdict: sender,
    };
    // The right answer waits for room like any other: a flood of wrong ones must not push it out.
    let room = tokio::time::timeout(HOLD, shared.candidates.reserve()).await;
    {
        let desk = shared.desk();
        if let Some(taken) = &desk.taken
            && taken.query == query
        {
            return Verdict::Ours(taken.outcome.subscribe());
        }
        // Under the lock, so that nobody is put into the queue after it was cleared.
        let (true, Ok(Ok(room))) = (desk.open, room) else {
            return Verdict::NotOurs;
        };
        room.send(candidate);
    }
    match tokio::time::timeout(HOLD, receiver).await {
        Ok(Ok(verdict)) => verdict,
        _ => Verdict::NotOurs,
    }
}

async fn ended(mut waiting: Waiting) -> Page {
    let told = tokio::time::timeout(HOLD, waiting.wait_for(Option::is_some)).await;
    match told {
        Ok(Ok(outcome)) => match &*outcome {
            Some(Outcome::Told(Ending::LoggedIn { server })) => logged_in(server),
            Some(Outcome::Told(Ending::Declined { words })) => declined(words.as_deref()),
            Some(Outcome::Told(Ending::Failed { reason })) => failed(reason),
            _ => untold(),
        },
        Ok(Err(_)) => untold(),
        Err(_) => goes_on(),
    }
}

fn logged_in(server: &str) -> Page {
    let title = "You are logged in";
    Page {
        quote: Some(server.to_owned()),
        ..Page::new(
            StatusCode::OK,
            Mood::Good,
            title,
            &[
                "The program that opened this page can now use:",
                "You can close this tab and go back to it.",
            ],
        )
    }
}

/// Nothing went wrong: somebody said no, most often the person who reads this.
fn declined(words: Option<&str>) -> Page {
    const LAST: &str = "The program that opened this page can ask again. You can close this tab.";
    let told = match words {
        Some(_) => "You are not logged in, and the program got nothing. The authorization server says:",
        None => "You are not logged in, and the program got nothing.",
    };
    Page {
        quote: words.map(str::to_owned),
        ..Page::new(
            StatusCode::BAD_REQUEST,
            Mood::Plain,
            "Access was not allowed",
            &[told, LAST],
        )
    }
}

fn failed(reason: &str) -> Page {
    Page {
        quote: Some(reason.to_owned()),
        ..Page::new(
            StatusCode::BAD_REQUEST,
            Mood::Bad,
            "The login failed",
            &[
                "You are not logged in. What went wrong:",
                "The program that opened this page says more. You can close this tab and try again from there.",
            ],
        )
    }
}

fn untold() -> Page {
    Page::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        Mood::Bad,
        "The login did not come to an end",
        &["The program that opened this page stopped before it was done. Start the login again from there."],
    )
}

fn goes_on() -> Page {
    Page::new(
        StatusCode::OK,
        Mood::Plain,
        "The login goes on",
        &[
            "Your answer arrived. The program that opened this page is still busy with it: look there how it ends.",
        ],
    )
}

fn not_ours() -> Page {
    Page::new(
        StatusCode::BAD_REQUEST,
        Mood::Plain,
        "This answer belongs to no login",
        &[
            "Nothing was done with it: no login that is under way here asked for it. It may be one that was given up or has ended.",
            "If you are logging in, finish it in the tab that was opened last.",
        ],
    )
}

fn wrong_method() -> Page {
    Page::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Mood::Plain,
        "Not in this way",
        &["The answer of a login comes as a plain visit to this page (GET), not as a form."],
    )
}
