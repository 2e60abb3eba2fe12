//! The pages of the callback listener: small, without script, and nothing from a server in them unescaped.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use doorward_types::digest::Digest;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use doorward_client::text::shown;

/// How a page looks at first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It worked.
    Good,
    /// It did not.
    Bad,
    /// Neither.
    Plain,
}

/// What a page says. All of it is escaped when it is written.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) mood: Mood,
    pub(crate) title: &'static str,
    /// Sentences, one paragraph each.
    pub(crate) text: Vec<String>,
    /// What somebody else wrote: set apart.
    pub(crate) quote: Option<String>,
    /// What it is about, one name and value a row.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// The one thing that can be done.
    pub(crate) button: Option<Button>,
}

/// A form with nothing but a button.
#[derive(Clone, Debug)]
pub(crate) struct Button {
    /// The path that it is posted to.
    pub(crate) action: &'static str,
    /// What only our own page knows.
    pub(crate) csrf: String,
    pub(crate) label: String,
}

/// System fonts, light and dark. It stands in every page, so it is short.
const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#f5f4f0;--card:#fff;--ink:#1d1c1a;--soft:#5d5a53;--line:#e2dfd7;--inset:#f7f6f2;--good:#1b5e4d;--bad:#841b15;\
--shadow:0 1px 2px rgb(30 25 10/6%),0 12px 32px rgb(30 25 10/7%)}\
@media(prefers-color-scheme:dark){:root{--paper:#141513;--card:#1d1f1c;--ink:#ecebe5;--soft:#aaa79d;--line:#33352f;--inset:#252723;--good:#86d5be;--bad:#f6bfba;\
--shadow:0 1px 2px rgb(0 0 0/40%),0 12px 32px rgb(0 0 0/28%)}}\
*{box-sizing:border-box}\
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}\
body{margin:0;min-height:100vh;padding:clamp(1rem,10vh,6rem) 1rem 2.5rem;background:var(--paper);color:var(--ink);\
font:1rem/1.55 ui-sans-serif,system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",\"Liberation Sans\",sans-serif;overflow-wrap:anywhere}\
main{max-width:26rem;margin:0 auto;padding:clamp(1.25rem,5vw,2.25rem);background:var(--card);border:1px solid var(--line);border-radius:1rem;box-shadow:var(--shadow)}\
header{max-width:26rem;margin:0 auto 1.25rem;text-align:center;font-size:.9375rem;font-weight:650}\
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25;font-weight:650;letter-spacing:-.017em;text-wrap:balance}\
h1.good{color:var(--good)}h1.bad{color:var(--bad)}\
p{margin:0 0 .75rem}p:last-child,blockquote:last-child{margin-bottom:0}\
blockquote{margin:0 0 .75rem;padding:.625rem .875rem;background:var(--inset);border:1px solid var(--line);border-radius:.5rem;font-size:.9375rem;white-space:pre-wrap}\
dl{margin:0 0 1rem;border:1px solid var(--line);border-radius:.75rem}\
dl div{padding:.625rem .875rem}dl div+div{border-top:1px solid var(--line)}\
dt{color:var(--soft);font-size:.875rem}dd{margin:0;font-weight:600}\
form{margin:0 0 .75rem}\
button{width:100%;padding:.75rem 1rem;border:0;border-radius:.625rem;background:var(--good);color:var(--card);font:inherit;font-weight:600;cursor:pointer}\
button:focus-visible{outline:3px solid var(--soft);outline-offset:2px}\
.soft{color:var(--soft);font-size:.9375rem}";

/// Nothing but this one style sheet: no script of anybody, no picture, no frame (CL-11).
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = STANDARD.encode(Digest::of(STYLE.as_bytes()).as_bytes());
    format!("default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'")
});

impl Page {
    pub(crate) fn new(status: StatusCode, mood: Mood, title: &'static str, text: &[&str]) -> Self {
        Self {
            status,
            mood,
            title,
            text: text.iter().map(|sentence| (*sentence).to_owned()).collect(),
            quote: None,
            facts: Vec::new(),
            button: None,
        }
    }

    pub(crate) fn html(&self) -> String {
        let class = match self.mood {
            Mood::Good => " class=\"good\"",
            Mood::Bad => " class=\"bad\"",
            Mood::Plain => "",
        };
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title} · Doorward</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <header>Doorward</header>\n<main>\n<h1{class}>{title}</h1>\n",
            title = escaped(self.title)
        );
        let (last, first) = match self.text.split_last() {
            Some((last, first)) => (Some(last), first),
            None => (None, &[][..]),
        };
        // Writing to a String does not fail.
        for sentence in first {
            let _ = writeln!(html, "<p>{}</p>", escaped(sentence));
        }
        if let Some(quote) = &self.quote {
            let _ = writeln!(html, "<blockquote>{}</blockquote>", escaped(&shown(quote)));
        }
        if !self.facts.is_empty() {
            html.push_str("<dl>\n");
            for (name, value) in &self.facts {
                let (name, value) = (escaped(name), escaped(&shown(value)));
                let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
            }
            html.push_str("</dl>\n");
        }
        if let Some(button) = &self.button {
            let _ = writeln!(
                html,
                "<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"csrf\" value=\"{}\">\
                 <button>{}</button></form>",
                escaped(button.action),
                escaped(&button.csrf),
                escaped(&shown(&button.label))
            );
        }
        if let Some(last) = last {
            let _ = writeln!(html, "<p class=\"soft\">{}</p>", escaped(last));
        }
        html.push_str("</main>\n</body>\n</html>\n");
        html
    }

    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.html()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        // A form's answer may lead to another site, which `form-action` would forbid.
        let form = if self.button.is_some() {
            ""
        } else {
            "; form-action 'none'"
        };
        if let Ok(policy) = HeaderValue::from_str(&format!("{}{form}", *POLICY)) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        // The address of the page may hold a code. From a form the browser says to ourselves where it comes from.
        let referrer = if self.button.is_some() {
            "same-origin"
        } else {
            "no-referrer"
        };
        headers.insert(REFERRER_POLICY, HeaderValue::from_static(referrer));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(
            "cross-origin-opener-policy",
            HeaderValue::from_static("same-origin"),
        );
        response
    }
}

pub(crate) fn nothing_here() -> Page {
    Page::new(
        StatusCode::NOT_FOUND,
        Mood::Plain,
        "There is nothing here",
        &["This address is only there for a login."],
    )
}

pub(crate) fn foreign_host() -> Page {
    Page::new(
        StatusCode::FORBIDDEN,
        Mood::Plain,
        "Not under this name",
        &["This address is only there for a login, and only under its own name."],
    )
}

/// For text and for attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(quote: &str) -> Page {
        Page {
            quote: Some(quote.to_owned()),
            ..Page::new(
                StatusCode::OK,
                Mood::Bad,
                "The login failed",
                &["The server said:", "Look into the log."],
            )
        }
    }

    #[test]
    fn cl_11_b23_what_others_wrote_is_text_and_nothing_else() {
        let html = page("<script>alert(1)</script>\"'&\u{1b}[2J\u{202e}").html();
        assert!(
            html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"),
            "{html}"
        );
        assert!(!html.contains("<script") && !html.contains('\u{1b}') && !html.contains('\u{202e}'));
    }

    #[test]
    fn cl_11_b23_the_page_allows_its_own_style_and_nothing_else() {
        let response = page("x").response();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains("script"));
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-content-type-options"), "nosniff");
        let html = page("x").html();
        let style = html
            .split("<style>")
            .nth(1)
            .unwrap()
            .split("</style>")
            .next()
            .unwrap();
        let digest = STANDARD.encode(Digest::of(style.as_bytes()).as_bytes());
        assert!(
            policy.contains(&digest),
            "the policy names the style that is served"
        );
        assert!(!html.contains("src=") && !html.contains("href=") && !html.contains("style="));
    }
}
