use std::sync::Mutex;

use doorward_resource_server::Verification;

use super::*;

struct Says(TokenRefusal);

impl TokenVerifier for Says {
    fn verify<'a>(&'a self, _: &'a ResourceUri, _: UnverifiedToken<'a>) -> Verification<'a> {
        Verification::known(Err(self.0))
    }
}

async fn verdict(refusals: &[TokenRefusal]) -> NotVerified {
    let resource = ResourceUri::parse("https://as.example/stdio/notes").unwrap();
    let says = |refusal: &TokenRefusal| Arc::new(Says(*refusal)) as Arc<dyn TokenVerifier>;
    let verify = ByIssuers::new(resource, refusals.iter().map(says).collect());
    verify.verify(&Secret::new("x")).await.unwrap_err()
}

#[tokio::test]
async fn r07_the_refusal_of_the_one_whose_token_it_is_counts() {
    use TokenRefusal::{Blind, Expired, Inactive, NotYetValid, UnknownKey, WrongAudience, WrongIssuer};
    let refused = |refusal: TokenRefusal| NotVerified::Refused(refusal.to_string());
    for (said, expected) in [
        (vec![WrongIssuer, Expired], refused(Expired)),
        (vec![Expired, WrongIssuer], refused(Expired)),
        (vec![Blind, WrongAudience], refused(WrongAudience)),
        (vec![WrongAudience, Blind], refused(WrongAudience)),
        (vec![UnknownKey, WrongIssuer], refused(UnknownKey)),
        (vec![Inactive, WrongIssuer], refused(Inactive)),
        (vec![Inactive, Blind], NotVerified::Unavailable(Blind.to_string())),
        (
            vec![Blind, WrongIssuer],
            NotVerified::Unavailable(Blind.to_string()),
        ),
    ] {
        assert_eq!(verdict(&said).await, expected, "{said:?}");
    }
    // Another token would be as early: the clock is told of instead.
    let early = verdict(&[NotYetValid]).await;
    assert!(
        matches!(&early, NotVerified::Unavailable(why) if why.contains("not valid yet") && why.contains("clock")),
        "{early:?}"
    );
}

/// Answers in turn.
struct InTurn(Mutex<Vec<Result<Verified, NotVerified>>>);

#[async_trait]
impl Verify for InTurn {
    async fn verify(&self, _: &Secret) -> Result<Verified, NotVerified> {
        self.0.lock().unwrap().remove(0)
    }

    fn forget(&self, _: &Secret) {}
}

#[tokio::test]
async fn r06_why_tokens_cannot_be_verified_is_said_once() {
    let down = || Err(NotVerified::Unavailable("it does not answer".to_owned()));
    let good = Verified {
        scopes: None,
        subject: None,
        name: None,
        expires: None,
    };
    let bad = Err(NotVerified::Refused("expired".to_owned()));
    let verdicts = vec![down(), down(), bad, down(), Ok(good), down(), down()];
    let turns = verdicts.len();
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = Arc::clone(&said);
    let aloud = Aloud::new(
        Arc::new(InTurn(Mutex::new(verdicts))),
        "https://as.example".to_owned(),
        Arc::new(move |text: &str| hears.lock().unwrap().push(text.to_owned())),
    );
    for _ in 0..turns {
        let _verdict = aloud.verify(&Secret::new("x")).await;
    }
    let line = "tokens of https://as.example cannot be verified: it does not answer";
    assert_eq!(*said.lock().unwrap(), [line, line]);
}
