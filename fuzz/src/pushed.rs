//! A pushed authorization request (RFC 9126): what comes out when the browser comes is what went in, without the
//! client's credentials; and what was taken is not refused then.

use doorward_authorization_server::authorize::{self, Browser};
use doorward_authorization_server::call::HttpRequest;
use doorward_authorization_server::client_auth::authenticate;
use doorward_authorization_server::{Refusal, par};
use doorward_oauth::error::ErrorCode;
use doorward_oauth::pushed::CREDENTIALS;
use doorward_types::digest::Digest;
use doorward_types::random::CountingRandom;

use super::client_call::{NOW, client, settings};

/// `input` is the body of a request.
pub fn check(input: &[u8]) {
    let http = HttpRequest {
        content_type: &["application/x-www-form-urlencoded"],
        authorization: &[],
        query: None,
        body: input,
    };
    let Ok(call) = par::parse(&http) else {
        return;
    };
    let id = call.presented.client_id().as_str().to_owned();
    if let Ok(pushed) = par::unjudged(&call, NOW) {
        let query = pushed.clone().open(Some(&id), NOW).expect("its own, in time");
        assert!(pushed.clone().open(Some("another"), NOW).is_err() || id == "another");
        assert!(pushed.open(Some(&id), NOW.plus(par::LIFETIME)).is_err());
        let sent = url::form_urlencoded::parse(input).into_owned();
        let mut sent: Vec<(String, String)> = sent
            .filter(|(name, value)| !value.is_empty() && !CREDENTIALS.contains(&name.as_str()))
            .collect();
        let mut kept: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        if !sent.iter().any(|(name, _)| name == "client_id") {
            sent.push(("client_id".into(), id.clone()));
        }
        sent.sort();
        kept.sort();
        assert_eq!(kept, sent);
    }
    let settings = settings();
    let public = client(&id, "none");
    let Ok(caller) = authenticate(&settings, &call.presented, Some(public.clone()), None, NOW) else {
        return;
    };
    let Ok(taken) = par::decide(&settings, &call, &caller, NOW) else {
        return;
    };
    let query = taken.open(Some(&id), NOW).expect("its own, in time");
    let request = authorize::parse(&query).expect("it was read before");
    let nobody = Browser {
        prelogin: Digest::of(b""),
        session: None,
    };
    let decided = authorize::decide(
        &settings,
        &request,
        Some(&public),
        &nobody,
        NOW,
        &CountingRandom::default(),
    );
    match decided {
        Ok(pending) => assert_eq!(pending.redirect_uri, "https://c.test/cb"),
        Err(Refusal::Redirect { error, .. }) => assert_eq!(error, ErrorCode::LoginRequired),
        Err(Refusal::Page(problem)) => panic!("{problem}"),
    }
}
