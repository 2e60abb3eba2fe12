//! A browser without JavaScript: it keeps cookies, fills in forms and says where it comes from.

use std::collections::BTreeMap;

use url::Url;

use crate::html::{self, Form};
use crate::http::{Reply, Request, Site};

/// A cookie as the server set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its value.
    pub value: String,
    /// `Secure` was said.
    pub secure: bool,
    /// `HttpOnly` was said.
    pub http_only: bool,
    /// What `SameSite` said, in lower case.
    pub same_site: String,
    /// What `Path` said.
    pub path: String,
    /// Whether `Domain` was said.
    pub domain: bool,
}

/// A page that was fetched.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it came from.
    pub url: String,
    /// The answer.
    pub reply: Reply,
}

impl Page {
    /// The words a person sees.
    #[must_use]
    pub fn text(&self) -> String {
        html::text(&self.reply.text())
    }

    /// Its forms.
    #[must_use]
    pub fn forms(&self) -> Vec<Form> {
        html::forms(&self.reply.text())
    }

    /// The form that has a field or a button of that name.
    #[must_use]
    pub fn form_with(&self, name: &str) -> Option<Form> {
        self.forms()
            .into_iter()
            .find(|form| form.has(name) || form.buttons.iter().any(|button| button.name == name))
    }

    /// The login form.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn login_form(&self) -> Form {
        self.form_with("password")
            .unwrap_or_else(|| panic!("a login form:\n{}", self.reply.text()))
    }

    /// The consent form.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn consent_form(&self) -> Form {
        self.form_with("decision")
            .unwrap_or_else(|| panic!("a consent form:\n{}", self.reply.text()))
    }

    /// The absolute URL it redirects to.
    #[must_use]
    pub fn redirect(&self) -> Option<String> {
        let location = self.reply.location()?;
        Some(Url::parse(&self.url).ok()?.join(location).ok()?.to_string())
    }
}

/// The browser.
#[derive(Clone, Debug)]
pub struct Browser {
    site: Site,
    /// Its cookies for the site's host, by name.
    pub cookies: BTreeMap<String, Cookie>,
    extra: Vec<(String, String)>,
}

impl Browser {
    /// A browser that has never been anywhere, and will only visit `site`.
    #[must_use]
    pub fn new(site: &Site) -> Self {
        Self {
            site: site.clone(),
            cookies: BTreeMap::new(),
            extra: Vec::new(),
        }
    }

    /// Sets a header on every request from now on, in place of the browser's own.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.extra.push((name.into(), value.into()));
        self
    }

    /// GET by typing or following a link; redirects within the site are followed.
    pub async fn get(&mut self, url: &str) -> Page {
        let url = self.site.url(url);
        let page = self.visit("GET", &url, &[], "none").await;
        self.follow(page).await
    }

    /// Presses a button (by value) of a form on `page`; redirects within the site are followed.
    pub async fn submit(&mut self, page: &Page, form: &Form, button: &str) -> Page {
        let page = self.submit_without_following(page, form, button).await;
        self.follow(page).await
    }

    /// Presses a button and stays at the answer.
    ///
    /// # Panics
    /// When the form's action is no URL.
    pub async fn submit_without_following(&mut self, page: &Page, form: &Form, button: &str) -> Page {
        let base = Url::parse(&page.url).expect("a page has a URL");
        let target = base.join(&form.action).expect("an action is a URL").to_string();
        let fields = form.fields(button);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        if form.method == "get" {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&fields)
                .finish();
            return self
                .visit("GET", &format!("{target}?{query}"), &[], "same-origin")
                .await;
        }
        self.visit("POST", &target, &fields, "same-origin").await
    }

    async fn follow(&mut self, mut page: Page) -> Page {
        for _ in 0..10 {
            let status = page.reply.status;
            let Some(next) = page.redirect().filter(|_| matches!(status, 301..=303)) else {
                return page;
            };
            if !self.is_ours(&next) {
                return page;
            }
            page = self.visit("GET", &next, &[], "same-origin").await;
        }
        panic!("more than ten redirects, the last to {:?}", page.redirect());
    }

    fn is_ours(&self, url: &str) -> bool {
        Url::parse(url)
            .is_ok_and(|url| url.origin().ascii_serialization() == crate::http::origin(&self.site.public_url))
    }

    /// One request as this browser sends it.
    ///
    /// # Panics
    /// When no answer comes.
    pub async fn visit(&mut self, method: &str, url: &str, fields: &[(&str, &str)], from: &str) -> Page {
        self.try_visit(method, url, fields, from)
            .await
            .unwrap_or_else(|error| panic!("{method} {url}: {error:#}"))
    }

    /// [`Browser::visit`] when the server may go away meanwhile.
    pub async fn try_visit(
        &mut self,
        method: &str,
        url: &str,
        fields: &[(&str, &str)],
        from: &str,
    ) -> anyhow::Result<Page> {
        let mut request = Request::new(method, url).routes(&self.site.routes);
        request = request
            .header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) doorward-testkit")
            .header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("Sec-Fetch-Site", from)
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "document");
        if method == "POST" {
            request = request
                .header("Origin", &crate::http::origin(&self.site.public_url))
                .form(fields);
        }
        if let Some(cookies) = self.cookie_header() {
            request = request.header("Cookie", &cookies);
        }
        for (name, value) in &self.extra {
            request = request.set(name, value);
        }
        let reply = request.try_send().await?;
        self.remember(&reply);
        Ok(Page {
            url: url.into(),
            reply,
        })
    }

    /// What it would send as `Cookie`.
    #[must_use]
    pub fn cookie_header(&self) -> Option<String> {
        let secure = self.site.public_url.starts_with("https:");
        let all: Vec<String> = self
            .cookies
            .iter()
            .filter(|(_, cookie)| secure || !cookie.secure)
            .map(|(name, cookie)| format!("{name}={}", cookie.value))
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn remember(&mut self, reply: &Reply) {
        for line in reply.headers.get_all("Set-Cookie") {
            let line = line.to_str().expect("a cookie is text");
            let mut parts = line.split(';').map(str::trim);
            let (name, value) = parts
                .next()
                .and_then(|pair| pair.split_once('='))
                .expect("a cookie has a name");
            let mut cookie = Cookie {
                value: value.into(),
                secure: false,
                http_only: false,
                same_site: String::new(),
                path: String::new(),
                domain: false,
            };
            let mut gone = value.is_empty();
            for part in parts {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                match key.to_ascii_lowercase().as_str() {
                    "secure" => cookie.secure = true,
                    "httponly" => cookie.http_only = true,
                    "samesite" => cookie.same_site = value.to_ascii_lowercase(),
                    "path" => cookie.path = value.into(),
                    "domain" => cookie.domain = true,
                    "max-age" => gone |= value.parse::<i64>().is_ok_and(|age| age <= 0),
                    _ => {}
                }
            }
            // Browsers drop a `__Host-` cookie that does not keep what the prefix promises (RFC 6265bis §4.1.3.2).
            assert!(
                !name.starts_with("__Host-") || (cookie.secure && cookie.path == "/" && !cookie.domain),
                "a browser would drop {line}"
            );
            if gone {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), cookie);
            }
        }
    }

    /// Opens an authorization URL, signs in if asked, and hands back the consent page.
    ///
    /// # Panics
    /// When there is neither a login nor a consent form.
    pub async fn sign_in(&mut self, authorize_url: &str, user: &str, password: &str) -> Page {
        let page = self.get(authorize_url).await;
        if page.form_with("decision").is_some() {
            return page;
        }
        let mut form = page.login_form();
        form.fill("username", user);
        form.fill("password", password);
        let button = form
            .buttons
            .first()
            .map(|button| button.value.clone())
            .unwrap_or_default();
        self.submit(&page, &form, &button).await
    }

    /// Opens an authorization URL, signs in if asked, approves everything offered, and hands back the
    /// URL at which the client would be called.
    ///
    /// # Panics
    /// When that does not end in a redirect to the client.
    pub async fn login_and_approve(&mut self, authorize_url: &str, user: &str, password: &str) -> String {
        self.login_and_decide(authorize_url, user, password, "approve")
            .await
    }

    /// [`Browser::login_and_approve`] with another decision.
    ///
    /// # Panics
    /// When that does not end in a redirect to the client.
    pub async fn login_and_decide(
        &mut self,
        authorize_url: &str,
        user: &str,
        password: &str,
        decision: &str,
    ) -> String {
        let page = self.sign_in(authorize_url, user, password).await;
        let mut form = page.consent_form();
        form.tick_all();
        let done = self.submit(&page, &form, decision).await;
        done.redirect().unwrap_or_else(|| {
            panic!(
                "a redirect to the client, not {}:\n{}",
                done.reply.status,
                done.reply.text()
            )
        })
    }
}
