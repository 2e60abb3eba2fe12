//! axe, the accessibility checker, in the page that Chromium shows.

use fantoccini::wd::WebDriverCompatibleCommand;
use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::node;

/// Runs axe and answers with what is serious or critical, in words.
const RUN: &str = r"
    const done = arguments[arguments.length - 1];
    axe.run(document, { resultTypes: ['violations'] }).then(
        ({ violations }) => done(violations
            .filter(({ impact }) => impact === 'serious' || impact === 'critical')
            .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(' | ')}`)),
        (error) => done([`axe failed: ${error}`]));
";

/// `execute/async` of WebDriver: the content security policy of our pages forbids them scripts, not the browser's
/// owner.
#[derive(Debug)]
struct ExecuteAsync(String);

impl WebDriverCompatibleCommand for ExecuteAsync {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/execute/async", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _url: &url::Url) -> (http::Method, Option<String>) {
        let body = json!({ "script": self.0, "args": [] });
        (http::Method::POST, Some(body.to_string()))
    }
}

impl Chromium {
    /// What axe finds serious or critical on the page as it is shown; empty if nothing is.
    pub(crate) async fn axe(&self) -> Value {
        let source = node::file("axe-core/axe.min.js");
        // Once in each page; it defines `window.axe`.
        let inject = format!("if (!window.axe) {{ {source} }} return typeof window.axe;");
        let kind = self
            .page
            .execute(&inject, Vec::new())
            .await
            .expect("axe can be loaded");
        assert_eq!(kind, json!("object"), "axe is there");
        self.page
            .issue_cmd(ExecuteAsync(RUN.into()))
            .await
            .expect("axe answers")
    }
}
