//! Step machines: what to send, and what came of it.

use crate::error::{Error, Hop};
use crate::http::{Http, HttpRequest, HttpResponse, TransportError};
use url::Url;

/// What came back for a request.
pub type Answer = Result<HttpResponse, TransportError>;

/// What a machine wants next.
#[derive(Debug)]
pub enum Step<T> {
    /// This request sent, and its answer given to [`Machine::resume`].
    Send(Box<HttpRequest>),
    /// Nothing more: the result.
    Done(T),
}

/// A part of a login that does no I/O: it says what to send and takes what came back.
pub trait Machine {
    /// What it ends with.
    type Output;

    /// Goes on. Called first with `None`, then with the answer to each request. A machine that returned
    /// [`Step::Done`] or an error is finished and not called again.
    fn resume(&mut self, answer: Option<Answer>) -> Result<Step<Self::Output>, Error>;
}

/// Runs a machine over `http` to its end.
pub async fn drive<M: Machine + Send>(machine: &mut M, http: &dyn Http) -> Result<M::Output, Error> {
    let mut answer = None;
    loop {
        match machine.resume(answer.take())? {
            Step::Done(output) => return Ok(output),
            Step::Send(request) => answer = Some(http.send(*request).await),
        }
    }
}

/// The answer, or why there is none.
pub(crate) fn reached(answer: Answer, hop: Hop, url: &Url) -> Result<HttpResponse, Error> {
    answer.map_err(|source| Error::Unreachable {
        hop,
        url: Box::new(url.clone()),
        source,
    })
}
