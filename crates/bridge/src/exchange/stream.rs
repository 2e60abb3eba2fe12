//! The life of an exchange: a POST and what answers it, a stream that is kept open, a stream that is resumed.

use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::envelope::Kind;
use doorward_mcp::headers::SESSION_ID;
use doorward_mcp::message::identity;
use doorward_mcp::sse::{Event as SseEvent, EventReader};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use super::place::Place;
use super::reading::{messages, read_json, too_long, too_much};
use super::send::{ACCEPTED, Asked, read_some};
use super::{Exchanges, failed};
use crate::event::{Event, Listen, Outcome, Post};
use crate::http::{Answer, Body};
use crate::memory::Share;

/// Where a stream is resumed.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Attempts to resume an answer of which nothing came.
const RESUMPTIONS: u32 = 5;
/// How long a stream may stay open after the answer that it was for, so that its connection can be used again.
const AFTERWARDS: Duration = Duration::from_millis(250);
/// How a stream ended.
enum End {
    /// With the answer.
    Answered,
    /// Before it.
    Cut(String),
    /// In a way that cannot be resumed.
    Over(Outcome),
}

enum Content {
    Json,
    Events,
    Other,
}

impl Exchanges {
    pub(super) async fn posted(&self, post: Post) -> Outcome {
        let asked = Asked {
            method: Method::POST,
            url: &post.url,
            headers: &post.headers,
            body: post.body.clone(),
            operation: &post.operation,
            is_modern: post.is_modern,
        };
        let mut answer = match self.send(&asked).await {
            Ok(answer) => answer,
            Err(outcome) => return outcome,
        };
        if let Some(session) = answer.headers.get(SESSION_ID) {
            self.tell(Event::Session(post.number, session.clone())).await;
        }
        let Some(expects) = post.expects.as_deref() else {
            read_some(answer.body, ACCEPTED).await;
            return Outcome::Complete;
        };
        match content(&answer) {
            Content::Json => self
                .json(post.number, &mut *answer.body)
                .await
                .unwrap_or_else(|outcome| outcome),
            Content::Events => self.until_answered(&post, expects, answer).await,
            Content::Other if answer.status == StatusCode::OK => {
                failed(502, "the server's answer is neither JSON nor a stream of events")
            }
            Content::Other => failed(
                502,
                format!(
                    "the server answered {} to a request: it owes a response",
                    answer.status
                ),
            ),
        }
    }

    async fn json(&self, number: u64, body: &mut dyn Body) -> Result<Outcome, Outcome> {
        let (text, mut share) = read_json(body, self.settings.longest_message, &self.memory).await?;
        let messages = messages(&text)
            .map_err(|error| failed(502, format!("the server's answer is no message: {error}")))?;
        for message in messages {
            self.tell(Event::Message(number, Box::new(message), share.take()))
                .await;
        }
        Ok(Outcome::Complete)
    }

    /// Reads a stream up to the answer, and resumes it where the server lets us.
    async fn until_answered(&self, post: &Post, expects: &str, mut answer: Answer) -> Outcome {
        let mut place = Place::default();
        loop {
            let end = self
                .events(post.number, &mut *answer.body, Some(expects), &mut place)
                .await;
            let words = match end {
                End::Answered => {
                    self.tell(Event::Ended(post.number, Outcome::Complete)).await;
                    let rest = async { while let Some(Ok(_)) = answer.body.next().await {} };
                    let _: Result<(), _> = tokio::time::timeout(AFTERWARDS, rest).await;
                    return Outcome::Complete;
                }
                End::Over(outcome) => return outcome,
                End::Cut(words) => words,
            };
            let resume = post.resume.as_ref().zip(place.last_event_id.clone());
            let Some((headers, last)) = resume.filter(|_| place.in_vain < RESUMPTIONS) else {
                return failed(
                    502,
                    format!(
                        "{words} before the answer. The request is not sent again, since the server may have acted on it"
                    ),
                );
            };
            drop(answer);
            answer = match self.resumed(&post.url, headers, last, &mut place).await {
                Ok(answer) => answer,
                Err(outcome) => return outcome,
            };
        }
    }

    async fn resumed(
        &self,
        url: &Url,
        headers: &HeaderMap,
        last: HeaderValue,
        place: &mut Place,
    ) -> Result<Answer, Outcome> {
        tokio::time::sleep(place.wait()).await;
        place.in_vain += 1;
        let mut headers = headers.clone();
        headers.insert(LAST_EVENT_ID, last);
        let answer = self.send(&stream_request(url, &headers)).await.map_err(|outcome| match outcome {
            Outcome::Refused(refused) => failed(
                502,
                format!(
                    "the connection broke before the answer, and the server does not let the stream be resumed ({}). The request is not sent again, since the server may have acted on it",
                    refused.status
                ),
            ),
            outcome => outcome,
        })?;
        match content(&answer) {
            Content::Events => Ok(answer),
            Content::Json | Content::Other => Err(failed(
                502,
                "the connection broke before the answer, and the server resumes with something that is no stream of events",
            )),
        }
    }

    /// Keeps a stream of the session open until the server does not offer it any more.
    pub(super) async fn listened(&self, listen: Listen) -> Outcome {
        let mut place = Place::default();
        loop {
            let mut headers = listen.headers.clone();
            if let Some(last) = &place.last_event_id {
                headers.insert(LAST_EVENT_ID, last.clone());
            }
            match self.send(&stream_request(&listen.url, &headers)).await {
                Ok(mut answer) if matches!(content(&answer), Content::Events) => {
                    self.tell(Event::Listening(listen.number)).await;
                    match self
                        .events(listen.number, &mut *answer.body, None, &mut place)
                        .await
                    {
                        End::Over(Outcome::Failed(failure)) => {
                            tracing::warn!(error = failure.message, "a message of the server is lost");
                        }
                        End::Cut(words) => {
                            tracing::debug!(words, "the stream of the session is opened again");
                        }
                        End::Answered | End::Over(_) => {}
                    }
                }
                Ok(_) => return Outcome::Complete,
                Err(outcome @ Outcome::Refused(_)) => return outcome,
                Err(Outcome::Failed(failure)) if matches!(failure.code, 502 | 503) => {
                    tracing::debug!(
                        error = failure.message,
                        "the stream of the session is tried again"
                    );
                }
                Err(outcome) => return outcome,
            }
            tokio::time::sleep(place.wait()).await;
            place.in_vain = place.in_vain.saturating_add(1);
        }
    }

    /// The one stream of HTTP+SSE, whose first event says where messages go.
    pub(super) async fn listened_to_sse(&self, listen: Listen) -> Outcome {
        let mut answer = match self.send(&stream_request(&listen.url, &listen.headers)).await {
            Ok(answer) => answer,
            Err(outcome) => return outcome,
        };
        if !matches!(content(&answer), Content::Events) {
            return failed(
                502,
                "the server speaks neither Streamable HTTP nor HTTP+SSE: is this the URL of its MCP endpoint?",
            );
        }
        let mut place = Place::default();
        match self
            .events_at(
                listen.number,
                &mut *answer.body,
                None,
                &mut place,
                Some(&listen.url),
            )
            .await
        {
            End::Cut(words) => failed(502, words),
            End::Over(outcome) => outcome,
            End::Answered => Outcome::Complete,
        }
    }

    async fn events(
        &self,
        number: u64,
        body: &mut dyn Body,
        expects: Option<&str>,
        place: &mut Place,
    ) -> End {
        self.events_at(number, body, expects, place, None).await
    }

    /// Reads events until the answer or the end. `sse`: the URL of an HTTP+SSE stream.
    async fn events_at(
        &self,
        number: u64,
        body: &mut dyn Body,
        expects: Option<&str>,
        place: &mut Place,
        sse: Option<&Url>,
    ) -> End {
        let limit = self.settings.longest_message;
        let mut reader = EventReader::new(limit);
        let mut share = self.memory.share();
        let words = loop {
            let piece = match body.next().await {
                Some(Ok(piece)) => piece,
                Some(Err(words)) => break format!("the connection broke: {words}"),
                None => break "the stream ended".to_owned(),
            };
            if share.grow(piece.len()).is_err() {
                return End::Over(too_much());
            }
            let Ok(events) = reader.push(&piece) else {
                return End::Over(too_long(limit));
            };
            place.note(&reader);
            let complete = !events.is_empty();
            for event in events {
                place.in_vain = 0;
                match self.event(number, event, expects, sse, &mut share).await {
                    Ok(true) => return End::Answered,
                    Ok(false) => {}
                    Err(outcome) => return End::Over(outcome),
                }
            }
            if complete {
                // What has come of the next event is at most a piece.
                share = self.memory.share();
            }
        };
        End::Cut(words)
    }

    /// Whether it was the answer.
    async fn event(
        &self,
        number: u64,
        event: SseEvent,
        expects: Option<&str>,
        sse: Option<&Url>,
        share: &mut Share,
    ) -> Result<bool, Outcome> {
        match (&*event.kind, sse) {
            ("endpoint", Some(base)) => {
                let url = endpoint(base, &event.data)?;
                self.tell(Event::Endpoint(number, url)).await;
                return Ok(false);
            }
            ("" | "message", _) if !event.data.trim().is_empty() => {}
            // To prime us with an id (2025-11-25), or of a kind that MCP does not know.
            _ => return Ok(false),
        }
        let messages = match messages(&Bytes::from(event.data)) {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(%error, "the server sent an event that is no message: it is not passed");
                return Ok(false);
            }
        };
        let mut answered = false;
        for message in messages {
            answered |= message.kind() == Kind::Response
                && expects.is_some_and(|asked| {
                    message
                        .id()
                        .is_none_or(|given| identity(given) == identity(asked))
                });
            self.tell(Event::Message(number, Box::new(message), share.take()))
                .await;
        }
        Ok(answered)
    }
}

fn stream_request<'a>(url: &'a Url, headers: &'a HeaderMap) -> Asked<'a> {
    Asked {
        method: Method::GET,
        url,
        headers,
        body: Bytes::new(),
        operation: "stream",
        is_modern: false,
    }
}

fn content(answer: &Answer) -> Content {
    let value = answer
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if essence.eq_ignore_ascii_case("text/event-stream") {
        Content::Events
    } else if essence.eq_ignore_ascii_case("application/json") {
        Content::Json
    } else {
        Content::Other
    }
}

/// Where messages go. Another origin would get them, and the token with them (CL-09).
fn endpoint(base: &Url, said: &str) -> Result<Url, Outcome> {
    let url = base
        .join(said.trim())
        .ok()
        .filter(|url| url.origin() == base.origin());
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    url.ok_or_else(|| {
        failed(
            502,
            "the server names an endpoint for messages that is not its own: nothing is sent there",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cl_09_messages_go_to_the_servers_own_origin_alone() {
        let base = Url::parse("https://mcp.example:8443/sse").unwrap();
        for (said, url) in [
            (
                "/messages?session=1",
                "https://mcp.example:8443/messages?session=1",
            ),
            ("messages", "https://mcp.example:8443/messages"),
            ("https://mcp.example:8443/m", "https://mcp.example:8443/m"),
        ] {
            assert_eq!(endpoint(&base, said).unwrap().as_str(), url);
        }
        for said in [
            "https://evil.example/m",
            "//evil.example/m",
            "http://mcp.example:8443/m",
            "https://mcp.example/m",
            "https://user:secret@mcp.example:8443/m",
            "javascript:alert(1)",
            "https://mcp.example:8443@evil.example/",
        ] {
            assert!(endpoint(&base, said).is_err(), "{said}");
        }
    }
}
