//! The person at the browser, who approves of everything: the suite's authorization servers answer the first request
//! with the redirect to the client.

use reqwest::header::LOCATION;

use crate::Failure;

/// Opens `url` and hands back where it sends the browser.
pub(crate) async fn open(url: &str) -> Result<String, Failure> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let page = http.get(url).send().await?;
    let location = page.headers().get(LOCATION);
    let location = location.ok_or_else(|| format!("{url} answered {} and no redirect", page.status()))?;
    Ok(location.to_str()?.to_owned())
}

/// Opens `url` and goes where it sends the browser.
pub(crate) async fn browse(url: &str) -> Result<(), Failure> {
    let back = open(url).await?;
    reqwest::get(&back).await?;
    Ok(())
}
