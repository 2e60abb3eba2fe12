//! Sessions that get in each other's way: renewals, logins and ends at the same time, and what is left for the next.

use super::*;

impl World {
    /// Until `count` token requests were made.
    async fn asked_for_tokens(&self, count: usize) {
        for _ in 0..2000 {
            if self.count("/token") >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} token requests", self.count("/token"));
    }
}

/// Long enough for whatever is wrong to happen; what is right does not depend on it.
async fn a_while(until: impl Fn() -> bool) {
    for _ in 0..60 {
        if until() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a27_cl_12_who_stops_waiting_does_not_have_the_refresh_token_used_twice() {
    let place = Place::new();
    place.keep("old", 5);
    let machine = place.machine();
    let slow = place.world.renewals.lock().await;
    tokio::select! {
        _ = machine.header() => panic!("nothing was answered"),
        () = place.world.asked_for_tokens(1) => {}
    }
    let (second, ()) = tokio::join!(machine.header(), async {
        a_while(|| place.world.count("/token") > 1).await;
        drop(slow);
    });
    assert_eq!(second.as_deref(), Some("Bearer access-0"));
    assert_eq!(place.world.count("/token"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a27_cl_14_an_end_in_the_middle_of_a_renewal_keeps_what_it_brings() {
    let place = Place::new();
    place.keep("old", 5);
    let machine = place.machine();
    let slow = place.world.renewals.lock().await;
    tokio::select! {
        _ = machine.header() => panic!("nothing was answered"),
        () = place.world.asked_for_tokens(1) => {}
    }
    let stored = || {
        place
            .store()
            .tokens(ISSUER, SERVER, "default")
            .unwrap()
            .unwrap()
            .tokens()
    };
    assert_eq!(stored().access_token, Secret::new("old"));
    let ((), ()) = tokio::join!(machine.session.settled(), async { drop(slow) });
    assert_eq!(stored().access_token, Secret::new("access-0"));
    // And nothing else begins, which the end would cut off.
    place.clock.advance(Duration::from_secs(700));
    let url = Url::parse(SERVER).unwrap();
    assert!(machine.session.headers(&Method::POST, &url).await.is_err());
    assert_eq!(place.world.count("/token"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a27_a_renewal_elsewhere_does_not_take_the_place_of_a_login() {
    for fails in [true, false] {
        let place = Place::new();
        place.keep("old", 5);
        let (renewing, logging_in) = (place.machine(), place.machine());
        let more = Why {
            scope: Some("notes:write".parse().unwrap()),
            ..Why::default()
        };
        let slow = place.world.renewals.lock().await;
        let done = std::sync::atomic::AtomicBool::new(false);
        let login = async {
            let entry = login::recover(&logging_in.session.inner, more, login::Asker::Program)
                .await
                .unwrap();
            done.store(true, Ordering::SeqCst);
            entry
        };
        let renewal = async {
            // While the person reads the page.
            logging_in.address(0).await;
            let url = Url::parse(SERVER).unwrap();
            let _ended = renewing.session.headers(&Method::POST, &url).await;
        };
        let events = async {
            place.world.asked_for_tokens(1).await;
            tokio::join!(logging_in.allow(0), async {
                place.world.asked_for_tokens(2).await;
                a_while(|| done.load(Ordering::SeqCst)).await;
                if fails {
                    let ended = Ok("invalid_grant");
                    place.world.token_errors.lock().unwrap().push(ended);
                }
                drop(slow);
            });
        };
        let (entry, (), ()) = tokio::join!(login, renewal, events);
        let kept = place.store().tokens(ISSUER, SERVER, "default").unwrap();
        let kept = kept.expect("the tokens of the login").tokens();
        assert_eq!(kept.access_token, entry.tokens().access_token);
        assert_eq!(kept.requested, "notes:write".parse().unwrap());
    }
}

#[tokio::test]
async fn cl_13_one_login_until_an_answer_comes() {
    let place = Place::new();
    place.keep("old", 600);
    let machine = place.machine();
    let text = "Bearer error=\"invalid_token\"";
    machine.refused(401, text, "old", 1).await.unwrap();
    let (done, _) = tokio::join!(machine.refused(401, text, "access-0", 2), machine.allow(0));
    done.unwrap();
    // The same message, the next one, and one that was on its way with the token of before.
    for (token, tries) in [("access-1", 3), ("access-1", 1), ("access-1", 2)] {
        let error = machine.refused(401, text, token, tries).await.unwrap_err();
        assert!(matches!(error, Error::GaveUp { .. }), "{error}");
    }
    machine.refused(401, text, "access-0", 1).await.unwrap();
    assert_eq!(machine.addresses().len(), 1, "one tab");
    assert_eq!(place.world.count("/token"), 2, "one renewal, one code");
    // A server can answer some requests without having looked at the token.
    machine.session.answered(&HeaderMap::new());
    assert!(machine.refused(401, text, "access-1", 1).await.is_err());
    // Once something has succeeded, a refusal means what it says again.
    machine.session.succeeded("tools/call add_note");
    machine.refused(401, text, "access-1", 1).await.unwrap();
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-2"));
}

#[tokio::test]
async fn tokens_that_have_ended_and_cannot_be_renewed_lead_to_a_login() {
    let place = Place::new();
    place.keep("old", -5);
    let store = place.store();
    let entry = store.tokens(ISSUER, SERVER, "default").unwrap().unwrap();
    let tokens = Tokens {
        refresh_token: None,
        ..entry.tokens()
    };
    store
        .save_tokens(&TokensEntry::new("default", SERVER, &tokens, place.clock.now()))
        .unwrap();
    let machine = place.machine();
    assert_eq!(machine.header().await, None);
    let (done, _) = tokio::join!(machine.refused(401, "Bearer", "", 1), machine.allow(0));
    done.unwrap();
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
}

#[tokio::test]
async fn cl_13_tokens_that_end_at_once_open_no_storm_of_tabs() {
    let place = Place::new();
    place.world.life.store(0, Ordering::SeqCst);
    let machine = place.machine();
    let (done, _) = tokio::join!(machine.refused(401, "Bearer", "", 1), machine.allow(0));
    done.unwrap();
    // They cannot be renewed either.
    place.store().forget_client(ISSUER, SERVER, "default").unwrap();
    let error = machine.refused(401, "Bearer", "", 1).await.unwrap_err();
    assert!(matches!(error, Error::GaveUp { .. }), "{error}");
    place.world.life.store(600, Ordering::SeqCst);
    place.clock.advance(Duration::from_secs(61));
    let (done, _) = tokio::join!(machine.refused(401, "Bearer", "", 1), machine.allow(1));
    done.unwrap();
}

#[tokio::test]
async fn two_urls_of_one_resource_renew_each_others_tokens() {
    let place = Place::new();
    place.keep("old", 600);
    let mut settings = Place::settings();
    settings.server = Url::parse(&format!("{SERVER}/sse")).unwrap();
    let (one, other) = (place.machine(), place.machine_with(settings));
    assert!(matches!(
        other.session.log_in(false).await.unwrap(),
        LoggedIn::Now(_)
    ));
    for (round, machine) in [&other, &one, &other].into_iter().enumerate() {
        place.clock.advance(Duration::from_secs(700));
        assert_eq!(machine.header().await, Some(format!("Bearer access-{round}")));
    }
    assert!(
        place
            .world
            .requests("/token")
            .iter()
            .all(|form| form["client_id"] == "kept")
    );
    assert!(other.addresses().is_empty() && one.addresses().is_empty());
}

#[tokio::test]
async fn two_urls_of_one_resource_prove_with_the_key_of_the_tokens() {
    let place = Place::new();
    place.keep("old", 600);
    let store = place.store();
    let entry = store.tokens(ISSUER, SERVER, "default").unwrap().unwrap();
    let tokens = Tokens {
        dpop: true,
        ..entry.tokens()
    };
    store
        .save_tokens(&TokensEntry::new("default", SERVER, &tokens, place.clock.now()))
        .unwrap();
    let (theirs, mine) = (Dpop::generate().unwrap(), Dpop::generate().unwrap());
    let other_url = format!("{SERVER}/sse");
    for (server, key) in [(SERVER, &theirs), (other_url.as_str(), &mine)] {
        let key = DpopKeyEntry::new(&key.to_pkcs8().unwrap());
        store.save_dpop_key(server, "default", &key).unwrap();
    }
    let mut settings = Place::settings();
    settings.server = Url::parse(&other_url).unwrap();
    let machine = place.machine_with(settings);
    machine.session.inner.dpop(false).await.unwrap();
    let place_of = ServerEntry {
        issuer: ISSUER.to_owned(),
        resource: SERVER.to_owned(),
    };
    store.save_server(&other_url, "default", &place_of).unwrap();
    assert_eq!(machine.header().await.as_deref(), Some("DPoP old"));
    let used = machine.session.inner.state().dpop.clone().unwrap();
    assert_eq!(used.thumbprint(), theirs.thumbprint());
}

#[tokio::test]
async fn cl_08_a_secret_stays_with_its_issuer_after_a_logout() {
    let place = Place::new();
    let mut settings = Place::settings();
    settings.application.pre_registered = Some(PreRegistered {
        client_id: "given".to_owned(),
        client_secret: Some(Secret::new("hush")),
        token_endpoint_auth_method: Some("client_secret_post".to_owned()),
        issuer: None,
    });
    let machine = place.machine_with(settings.clone());
    let (done, _) = tokio::join!(machine.session.log_in(false), machine.allow(0));
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
    assert_eq!(machine.session.log_out(false).await.unwrap(), LoggedOut::Revoked);
    "https://other.example.net".clone_into(&mut place.world.issuer.lock().unwrap());
    let error = place
        .machine_with(settings.clone())
        .session
        .log_in(false)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Refused(refusal) if refusal.rule == "G14"),
        "{error}"
    );
    assert!(
        !place
            .world
            .hosts("/token")
            .contains(&"other.example.net/token".to_owned())
    );
    // Unless its user says that it is the other's.
    settings.application.pre_registered.as_mut().unwrap().issuer =
        Some("https://other.example.net".to_owned());
    let machine = place.machine_with(settings);
    let (done, _) = tokio::join!(machine.session.log_in(false), machine.allow(0));
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
}

#[tokio::test]
async fn the_failure_of_an_earlier_login_is_not_reported_for_the_next() {
    use crate::lock::{self, LockName, Note};
    let place = Place::new();
    let store = place.store();
    let name = LockName::login(SERVER, "default");
    let mut held = lock::try_take(&store, &name).unwrap().unwrap();
    held.tell(&Note {
        pid: 1,
        attempt: "earlier".to_owned(),
        authorization_url: None,
        failed: Some("denied".to_owned()),
    });
    let machine = place.machine();
    let (done, ()) = tokio::join!(machine.session.log_in(false), async {
        let waits = || {
            let notices = machine.notices.lock().unwrap();
            notices
                .iter()
                .any(|notice| matches!(notice, Notice::Waiting { .. }))
        };
        while !waits() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The holder dies before it has written anything.
        drop(held);
        machine.allow(0).await;
    });
    assert!(matches!(done.unwrap(), LoggedIn::Now(_)));
}

#[tokio::test]
async fn tokens_without_room_do_not_take_the_place_of_newer_ones() {
    let place = Place::new();
    place.keep("old", 5);
    let machine = place.machine();
    let record = std::fs::read_dir(place.folder.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tokens-"))
        .unwrap();
    let mut blocked = record.into_os_string();
    blocked.push(".new");
    std::fs::create_dir(&blocked).unwrap();
    assert_eq!(machine.header().await.as_deref(), Some("Bearer access-0"));
    std::fs::remove_dir(&blocked).unwrap();
    // Somebody logs in elsewhere meanwhile.
    place.keep("newer", 900);
    place.clock.advance(Duration::from_secs(595));
    assert_eq!(machine.header().await.as_deref(), Some("Bearer newer"));
    assert_eq!(place.machine().header().await.as_deref(), Some("Bearer newer"));
}
