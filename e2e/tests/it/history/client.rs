//! The clients that make the load, and what they do after a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorward_testkit::browser::Browser;
use doorward_testkit::oauth::{Approved, OAuthClient, Pkce, claims, parameter};
use doorward_testkit::{Reply, marker};
use serde_json::json;
use tokio::sync::Mutex;

use super::model::{Answered, Asked, Record};
use crate::support::{Catalogue, RA};

/// How fast, and for how long.
#[derive(Clone)]
pub(super) struct Load {
    ticks: Arc<Mutex<tokio::time::Interval>>,
    stopped: Arc<AtomicBool>,
}

impl Load {
    pub(super) fn new(per_second: u32) -> Self {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        Self {
            ticks: Arc::new(Mutex::new(ticks)),
            stopped: Arc::default(),
        }
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Waits for its turn; `false` at the end.
    async fn goes_on(&self) -> bool {
        self.ticks.lock().await.tick().await;
        !self.stopped.load(Ordering::SeqCst)
    }
}

/// What a client holds of a chain.
#[derive(Clone)]
struct Held {
    chain: String,
    access: String,
    refresh: String,
}

/// A client of alice, who is signed in in its browser.
pub(super) struct Worker {
    catalogue: Arc<Catalogue>,
    record: Arc<Record>,
    client: OAuthClient,
    browser: Browser,
    name: String,
    /// A code that was not redeemed, as far as it knows.
    code: Option<Approved>,
    held: Option<Held>,
    /// Ended, and acknowledged: looked at after every crash.
    ended: Vec<Held>,
    turn: usize,
}

impl Worker {
    pub(super) async fn new(catalogue: Arc<Catalogue>, record: Arc<Record>) -> Self {
        let name = marker();
        let client = OAuthClient::register(&catalogue.doorward, &name, "http://127.0.0.1/cb").await;
        let browser = catalogue.alice().await;
        Self {
            catalogue,
            record,
            client,
            browser,
            name,
            code: None,
            held: None,
            ended: Vec::new(),
            turn: 0,
        }
    }

    /// Works until told to stop.
    pub(super) async fn work(mut self, load: Load) -> Self {
        while load.goes_on().await {
            self.turn += 1;
            match (&self.held, &self.code) {
                (None, None) => self.approve().await,
                (None, Some(_)) => self.redeem().await,
                (Some(held), _) => {
                    let held = held.clone();
                    match self.turn % 17 {
                        0 => self.revoke(&held).await,
                        1..=3 => self.refresh(&held).await,
                        4 => self.refresh_twice(&held).await,
                        5 => self.register().await,
                        _ => self.call(&held).await,
                    }
                }
            }
        }
        self
    }

    /// After a crash: what it has works, what it does not know it asks for again, what was ended is ended.
    pub(super) async fn reconcile(mut self) -> Self {
        self.register().await;
        for held in self.ended.clone() {
            self.call(&held).await;
            self.refresh_once(&held.refresh).await;
        }
        self.ended.drain(..self.ended.len().saturating_sub(3));
        if self.code.is_some() {
            self.redeem().await;
        }
        if let Some(held) = self.held.clone() {
            self.call(&held).await;
            self.refresh(&held).await;
        }
        if let Some(held) = self.held.clone() {
            self.call(&held).await;
        }
        self
    }

    async fn approve(&mut self) {
        let pkce = Pkce::new();
        let url = self.client.authorize_url(&pkce, &self.catalogue.ra());
        let sent = self.record.send();
        let callback = self.try_approve(&url).await;
        let code = callback
            .as_deref()
            .and_then(|callback| parameter(callback, "code"));
        let answer = match (&callback, &code) {
            (_, Some(code)) => Answered::Code(code.clone()),
            (None, _) => Answered::Nothing,
            (Some(callback), None) => Answered::Other(callback.clone()),
        };
        self.record.answer(&sent, Asked::Approve, answer);
        if let (Some(code), Some(callback)) = (code, callback) {
            self.code = Some(Approved {
                code,
                pkce,
                redirect_uri: self.client.redirect_uri.clone(),
                resource: self.catalogue.ra(),
                callback,
            });
        }
    }

    /// The browser's requests, any of which the crash may cut off.
    async fn try_approve(&mut self, url: &str) -> Option<String> {
        let page = self.browser.try_visit("GET", url, &[], "none").await.ok()?;
        if page.reply.status == 503 {
            return None;
        }
        let mut form = page.consent_form();
        form.tick_all();
        let fields = form.fields("approve");
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let target = url::Url::parse(&page.url).unwrap().join(&form.action).unwrap();
        let done = self
            .browser
            .try_visit("POST", target.as_str(), &fields, "same-origin")
            .await
            .ok()?;
        if done.reply.status == 503 {
            return None;
        }
        Some(
            done.redirect()
                .unwrap_or_else(|| format!("{}: {}", done.reply.status, done.text())),
        )
    }

    async fn redeem(&mut self) {
        let Some(approved) = self.code.clone() else {
            return;
        };
        let asked = Asked::Redeem {
            code: approved.code.clone(),
        };
        let (answer, held) = self.tokens(self.client.code_form(&approved), asked).await;
        match answer {
            // The second presentation of a code that was redeemed ends its chain: a new login.
            Answered::Refused => self.code = None,
            Answered::Tokens { .. } => {
                self.code = None;
                self.held = held;
            }
            _ => {}
        }
    }

    async fn refresh(&mut self, held: &Held) {
        let (answer, next) = self.refresh_once(&held.refresh).await;
        match answer {
            Answered::Refused => self.held = None,
            Answered::Tokens { .. } => self.held = next,
            _ => {}
        }
    }

    async fn refresh_once(&self, token: &str) -> (Answered, Option<Held>) {
        let form = self.client.refresh_form(token, &self.catalogue.ra());
        let asked = Asked::Refresh { token: token.into() };
        self.tokens(form, asked).await
    }

    /// As two windows of one client do.
    async fn refresh_twice(&mut self, held: &Held) {
        let (first, second) =
            tokio::join!(self.refresh_once(&held.refresh), self.refresh_once(&held.refresh));
        if let Some(next) = first.1.or(second.1) {
            self.held = Some(next);
        }
    }

    async fn call(&self, held: &Held) {
        let sent = self.record.send();
        let request = self.catalogue.call_at(RA, "history").bearer(&held.access);
        let answer = match request.try_send().await {
            Err(_) => Answered::Nothing,
            Ok(reply) => match reply.status {
                200 => Answered::Done,
                401 => Answered::Refused,
                503 => Answered::Unavailable,
                _ => other(&reply),
            },
        };
        let asked = Asked::Call {
            access: held.access.clone(),
            chain: held.chain.clone(),
        };
        self.record.answer(&sent, asked, answer);
    }

    /// RFC 7009; a client that is not told "done" asks again.
    async fn revoke(&mut self, held: &Held) {
        let sent = self.record.send();
        let form = [("token", held.refresh.as_str()), ("client_id", &self.client.id)];
        let answer = match self
            .catalogue
            .doorward
            .post("/revoke")
            .form(&form)
            .try_send()
            .await
        {
            Err(_) => Answered::Nothing,
            Ok(reply) => match reply.status {
                200 => Answered::Done,
                503 => Answered::Unavailable,
                _ => other(&reply),
            },
        };
        if answer == Answered::Done {
            self.ended.push(held.clone());
            self.held = None;
        }
        let asked = Asked::Revoke {
            chain: held.chain.clone(),
        };
        self.record.answer(&sent, asked, answer);
    }

    async fn register(&self) {
        let sent = self.record.send();
        let metadata = json!({
            "client_name": self.name,
            "redirect_uris": ["http://127.0.0.1/cb"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        });
        let answer = match self
            .catalogue
            .doorward
            .post("/register")
            .json(&metadata)
            .try_send()
            .await
        {
            Err(_) => Answered::Nothing,
            Ok(reply) => match reply.status {
                201 => Answered::Client(reply.json()["client_id"].as_str().unwrap_or_default().into()),
                503 => Answered::Unavailable,
                _ => other(&reply),
            },
        };
        let asked = Asked::Register {
            name: self.name.clone(),
        };
        self.record.answer(&sent, asked, answer);
    }

    async fn tokens(&self, form: Vec<(String, String)>, asked: Asked) -> (Answered, Option<Held>) {
        let pairs: Vec<(&str, &str)> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let sent = self.record.send();
        let (answer, held) = match self
            .catalogue
            .doorward
            .post("/token")
            .form(&pairs)
            .try_send()
            .await
        {
            Err(_) => (Answered::Nothing, None),
            Ok(reply) => read(&reply),
        };
        self.record.answer(&sent, asked, answer.clone());
        (answer, held)
    }
}

fn read(reply: &Reply) -> (Answered, Option<Held>) {
    match (reply.status, reply.oauth_error().as_deref()) {
        (200, _) => {
            let body = reply.json();
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let held = Held {
                chain: claims(&text("access_token"))["family"]
                    .as_str()
                    .unwrap_or_default()
                    .into(),
                access: text("access_token"),
                refresh: text("refresh_token"),
            };
            let answer = Answered::Tokens {
                chain: held.chain.clone(),
                refresh: held.refresh.clone(),
            };
            (answer, Some(held))
        }
        (400, Some("invalid_grant")) => (Answered::Refused, None),
        (503, _) => (Answered::Unavailable, None),
        _ => (other(reply), None),
    }
}

fn other(reply: &Reply) -> Answered {
    Answered::Other(format!("{}: {}", reply.status, reply.text()))
}
