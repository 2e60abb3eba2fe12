//! A token request with proof of possession, sent again once if the server wants its nonce in it (RFC 9449 §5, §8).

use doorward_types::random::Random;
use doorward_types::time::Clock;
use http::Method;
use url::Url;

use crate::dpop::{self, Dpop};
use crate::error::{Error, Hop, Refusal};
use crate::http::HttpRequest;
use crate::machine::{Answer, Machine, Step, reached};
use crate::token::{TokenRequest, TokenResponse, process};

/// What goes with every token request of a login.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    /// The key that tokens shall be bound to; `None` asks for bearer tokens.
    pub dpop: Option<&'a Dpop>,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Chance.
    pub random: &'a dyn Random,
}

/// Asks a token endpoint. `build` makes the request anew for each try, because what authenticates a client is good for one
/// (a signed assertion has a `jti`, RFC 7523 §3).
pub struct ProvenRequest<'a, F> {
    proof: Proof<'a>,
    build: F,
    sent: Option<(Hop, Url)>,
    repeated: bool,
}

impl<'a, F: FnMut() -> Result<TokenRequest, Error>> ProvenRequest<'a, F> {
    /// Ready to start.
    pub const fn new(proof: Proof<'a>, build: F) -> Self {
        Self {
            proof,
            build,
            sent: None,
            repeated: false,
        }
    }

    fn send(&mut self) -> Result<Step<TokenResponse>, Error> {
        let request = (self.build)()?;
        self.sent = Some((request.hop(), request.url().clone()));
        let mut request: HttpRequest = request.build();
        if let Some(dpop) = self.proof.dpop {
            let (now, random) = (self.proof.clock.now(), self.proof.random);
            let proof = dpop
                .proof(&Method::POST, &request.url, None, now, random)
                .map_err(|why| Error::NeedsUser(why.to_string()))?;
            request.headers.insert(dpop::HEADER, proof);
        }
        Ok(Step::Send(Box::new(request)))
    }
}

impl<F: FnMut() -> Result<TokenRequest, Error>> Machine for ProvenRequest<'_, F> {
    type Output = TokenResponse;

    fn resume(&mut self, answer: Option<Answer>) -> Result<Step<TokenResponse>, Error> {
        let (Some(answer), Some((hop, url))) = (answer, self.sent.take()) else {
            return self.send();
        };
        let response = reached(answer, hop, &url)?;
        if let Some(dpop) = self.proof.dpop {
            let fresh = dpop.note(&url, &response.headers);
            if fresh && !self.repeated && dpop::asks_for_nonce(&response) {
                self.repeated = true;
                return self.send();
            }
        }
        let token = process(hop, &url, &response)?;
        if token.dpop && self.proof.dpop.is_none() {
            let problem = "the token is bound to a key (token_type DPoP), and no proof was sent";
            let remedy = "its operator must bind tokens only to keys that clients prove to have";
            return Err(Refusal::new(hop, Some(&url), ("P1", "RFC 9449 §5"), problem, remedy).into());
        }
        Ok(Step::Done(token))
    }
}

#[cfg(test)]
mod tests {
    use doorward_types::random::SystemRandom;
    use doorward_types::time::{FixedClock, UnixTime};
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::http::HttpResponse;

    fn response(status: u16, body: &str, nonce: Option<&'static str>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(nonce) = nonce {
            headers.insert(dpop::NONCE_HEADER, http::HeaderValue::from_static(nonce));
        }
        Ok(HttpResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.to_owned().into(),
        })
    }

    /// Plays `answers`; gives the proofs that were sent, and what came of it.
    fn play(dpop: Option<&Dpop>, answers: Vec<Answer>) -> (Vec<String>, Result<TokenResponse, Error>) {
        let clock = FixedClock::new(UnixTime::EPOCH);
        let proof = Proof {
            dpop,
            clock: &clock,
            random: &SystemRandom,
        };
        let endpoint = Url::parse("https://as.example/token").unwrap();
        let mut machine = ProvenRequest::new(proof, || Ok(TokenRequest::new(&endpoint, "refresh_token")));
        let (mut sent, mut answers) = (Vec::new(), answers.into_iter());
        let mut answer = None;
        loop {
            match machine.resume(answer.take()) {
                Ok(Step::Done(token)) => return (sent, Ok(token)),
                Err(error) => return (sent, Err(error)),
                Ok(Step::Send(request)) => {
                    let proof = request
                        .headers
                        .get(dpop::HEADER)
                        .map(|value| value.to_str().unwrap().to_owned());
                    sent.push(proof.unwrap_or_default());
                    answer = answers.next();
                }
            }
        }
    }

    const BOUND: &str = r#"{"access_token":"t","token_type":"DPoP"}"#;
    const ASKS: &str = r#"{"error":"use_dpop_nonce"}"#;

    #[test]
    fn p1_a_request_is_repeated_once_with_the_nonce_in_a_new_proof() {
        let dpop = Dpop::generate().unwrap();
        let (sent, token) = play(
            Some(&dpop),
            vec![response(400, ASKS, Some("n1")), response(200, BOUND, Some("n2"))],
        );
        assert!(token.unwrap().dpop);
        assert_eq!(sent.len(), 2);
        assert_ne!(sent[0], sent[1]);
        // The next one has the nonce at once: no second challenge.
        let (sent, token) = play(Some(&dpop), vec![response(200, BOUND, None)]);
        assert!(token.is_ok() && sent.len() == 1);
    }

    #[test]
    fn p1_an_endless_wish_for_nonces_ends() {
        let dpop = Dpop::generate().unwrap();
        let asking = |nonce| response(400, ASKS, nonce);
        for answers in [
            vec![asking(Some("n1")), asking(Some("n2")), asking(Some("n3"))],
            vec![asking(Some("n1")), asking(Some("n1"))],
            vec![asking(None)],
        ] {
            let (sent, token) = play(Some(&dpop), answers);
            assert!(sent.len() <= 2, "{}", sent.len());
            assert!(token.unwrap_err().to_string().contains("use_dpop_nonce"));
        }
    }

    #[test]
    fn p1_without_a_key_no_bound_token_is_taken() {
        let (sent, token) = play(None, vec![response(200, BOUND, None)]);
        assert_eq!(sent, [""]);
        assert!(token.unwrap_err().to_string().contains("P1"));
        let (_, token) = play(
            None,
            vec![response(
                200,
                r#"{"access_token":"t","token_type":"Bearer"}"#,
                None,
            )],
        );
        assert!(!token.unwrap().dpop);
    }
}
