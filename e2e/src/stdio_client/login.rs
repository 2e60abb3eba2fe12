//! The authorization code flow of OAuth 2.1 from what a refusal says: nothing else is known.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::{Failure, saw};

/// Longest wait for the person at the browser.
const PATIENCE: Duration = Duration::from_secs(100);

pub(crate) fn strings(list: &Value) -> BTreeSet<String> {
    let words = list.as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A token for these scopes, and the scopes that were granted.
pub(crate) async fn authorize(
    needed: &Value,
    scopes: BTreeSet<String>,
) -> Result<(String, BTreeSet<String>), Failure> {
    let inline = &needed["authorization_servers"][0];
    let server = metadata(inline).await?;
    let callback = TcpListener::bind("127.0.0.1:0").await?;
    let redirect_uri = format!("http://127.0.0.1:{}/callback", callback.local_addr()?.port());
    let client_id = client_id(&server, inline, &redirect_uri).await?;
    let (verifier, state) = (random()?, random()?);
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    let resource = text(needed, "resource")?;
    let scope = Vec::from_iter(scopes.clone()).join(" ");
    let mut url = Url::parse(text(&server, "authorization_endpoint")?)?;
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &client_id)
        .append_pair("redirect_uri", &redirect_uri)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .append_pair("scope", &scope)
        .append_pair("state", &state)
        .append_pair("resource", resource);
    saw("authorize", json!({ "url": url.as_str() }));
    let arrived = tokio::time::timeout(PATIENCE, arrival(&callback)).await??;
    let code = code(&arrived, &state, &server)?;

    let form = Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("code", &code)
        .append_pair("redirect_uri", &redirect_uri)
        .append_pair("client_id", &client_id)
        .append_pair("code_verifier", &verifier)
        .append_pair("resource", resource)
        .finish();
    let form_type = "application/x-www-form-urlencoded";
    let tokens = post(text(&server, "token_endpoint")?, form_type, form).await?;
    let granted = match tokens["scope"].as_str() {
        Some(granted) => granted.split(' ').map(str::to_owned).collect(),
        None => scopes,
    };
    Ok((text(&tokens, "access_token")?.to_owned(), granted))
}

/// The issuer's own metadata (RFC 8414), which the inline one must not contradict.
async fn metadata(inline: &Value) -> Result<Value, Failure> {
    let issuer = text(inline, "issuer")?;
    let mut url = Url::parse(issuer)?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    let reply = http()?
        .get(url)
        .header("Accept", "application/json")
        .send()
        .await?;
    let own: Value = serde_json::from_slice(&reply.error_for_status()?.bytes().await?)?;
    if own["issuer"] != issuer {
        return Err("the metadata is of another issuer".into());
    }
    for endpoint in [
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
    ] {
        if inline.get(endpoint).is_some_and(|named| *named != own[endpoint]) {
            return Err(format!("the server and its issuer name different {endpoint}s").into());
        }
    }
    if !strings(&own["code_challenge_methods_supported"]).contains("S256") {
        return Err("the authorization server does not do PKCE with S256".into());
    }
    Ok(own)
}

/// Registers (RFC 7591), or takes the public client that the server's entry names.
async fn client_id(server: &Value, inline: &Value, redirect_uri: &str) -> Result<String, Failure> {
    let Some(endpoint) = server["registration_endpoint"].as_str() else {
        let shared = inline["client_id"].as_str();
        return Ok(shared
            .ok_or("there is no way to a client id: use login_url")?
            .to_owned());
    };
    let about = json!({ "client_name": "stdio-client", "redirect_uris": [redirect_uri], "grant_types": ["authorization_code"],
        "response_types": ["code"], "token_endpoint_auth_method": "none" });
    let registered = post(endpoint, "application/json", about.to_string()).await?;
    Ok(text(&registered, "client_id")?.to_owned())
}

/// Waits for the browser at the callback; whatever else comes is answered 404.
async fn arrival(callback: &TcpListener) -> Result<Url, Failure> {
    loop {
        let (mut socket, _) = callback.accept().await?;
        let (reading, mut writing) = socket.split();
        let mut lines = BufReader::new(reading).lines();
        let first = lines.next_line().await?.unwrap_or_default();
        while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
        let target = first.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
        let arrived = Url::parse(&format!("http://127.0.0.1{}", target.unwrap_or_default()))?;
        let ours = arrived.path() == "/callback";
        let status = if ours { "200 OK" } else { "404 Not Found" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        writing.write_all(answer.as_bytes()).await?;
        if ours {
            return Ok(arrived);
        }
    }
}

/// The code, if the answer is one to our request (`state`) and comes from our authorization server (`iss`, RFC 9207).
fn code(arrived: &Url, state: &str, server: &Value) -> Result<String, Failure> {
    let get = |name: &str| {
        let mut pairs = arrived.query_pairs();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    if get("state").as_deref() != Some(state) {
        return Err("this answer belongs to another request".into());
    }
    let promised = server["authorization_response_iss_parameter_supported"] == true;
    match get("iss") {
        Some(iss) if server["issuer"] != *iss => return Err("this answer comes from another issuer".into()),
        None if promised => return Err("this answer does not say whose it is".into()),
        _ => {}
    }
    if let Some(error) = get("error") {
        return Err(format!("the login was refused: {error}").into());
    }
    get("code").ok_or_else(|| "there is no code".into())
}

/// Redirects are not followed: nothing that is sent here is for anybody else.
fn http() -> Result<reqwest::Client, Failure> {
    Ok(reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()?)
}

async fn post(url: &str, kind: &str, body: String) -> Result<Value, Failure> {
    let request = http()?.post(url).header("Content-Type", kind);
    let reply = request
        .header("Accept", "application/json")
        .body(body)
        .send()
        .await?;
    let (status, answer) = (reply.status(), reply.bytes().await?);
    let answer: Value = serde_json::from_slice(&answer)?;
    match status.is_success() && answer.get("error").is_none() {
        true => Ok(answer),
        false => Err(format!("{url} answers {status}: {}", answer["error"]).into()),
    }
}

fn text<'a>(document: &'a Value, member: &str) -> Result<&'a str, Failure> {
    document[member]
        .as_str()
        .ok_or_else(|| format!("there is no {member}").into())
}

fn random() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
