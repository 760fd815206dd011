//! Questions of commands to a running box.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::model::HttpClient;
use crate::outbound::Outbound;

/// Largest answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Most of what a box says when it refuses.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Most of what is shown of an answer that is not Andon's.
const TEXT_CHARS_MAX: usize = 120;

/// A question may take as long as the box lets it, and a little.
const TIMEOUT: Duration = Duration::from_secs(150);

/// Everything there is over a slow line may take this long.
const STREAM_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What else may be tried by a command that can do without a running box.
pub(super) const OR_DATA: &str = ", --data works on the folder of one that is not running";

/// Which box a command asks.
#[derive(Debug, Default, Args)]
pub(super) struct Place {
    /// Where the running box is
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:26366")]
    url: String,
}

impl Place {
    /// Returns the box at an address.
    pub(super) fn at(url: String) -> Place {
        Place { url }
    }

    /// Returns the address of a path of that box.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

/// Asks the API; what it refuses is an error in its own words.
pub(super) async fn ask(method: Method, url: &str, parameters: &[(&str, String)]) -> anyhow::Result<Value> {
    let client = Outbound::new(&HttpClient::plain(), TIMEOUT)?;
    json(send(client.request(method, &with(url, parameters)?)?, url, "").await?, url).await
}

/// Takes an answer of any size piece by piece.
pub(super) async fn stream(
    method: Method,
    url: &str,
    parameters: &[(&str, String)],
    or: &str,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let client = Outbound::new(&HttpClient::plain(), STREAM_TIMEOUT)?;
    let mut response = send(client.request(method, &with(url, parameters)?)?, url, or).await?;
    let status = response.status();
    if status != StatusCode::OK {
        let answer: Value = serde_json::from_slice(&refusal(response).await?).unwrap_or_default();
        bail!("{}", answer["error"].as_str().map_or_else(|| format!("{url} answered {status}"), str::to_owned));
    }
    while let Some(chunk) = response.chunk().await.context("the box broke off")? {
        out.write_all(&chunk).context("cannot write")?;
    }
    Ok(())
}

fn with(url: &str, parameters: &[(&str, String)]) -> anyhow::Result<String> {
    let mut address = reqwest::Url::parse(url).with_context(|| format!("not a URL: {url}"))?;
    if !parameters.is_empty() {
        address.query_pairs_mut().extend_pairs(parameters);
    }
    Ok(address.into())
}

/// Sends a request; `or` says what else may be tried if nobody answers.
pub(super) async fn send(request: RequestBuilder, url: &str, or: &str) -> anyhow::Result<Response> {
    request.send().await.map_err(|error| {
        let error = anyhow::Error::from(error);
        let is_unknown = format!("{error:#}").contains("UnknownIssuer");
        let hint = match is_unknown {
            true => format!(
                "the certificate of {url} is of no authority known here; name its file: SSL_CERT_FILE=/etc/andon/tls/ca.pem"
            ),
            false => format!("no box answers at {url}; is it running? --url names another{or}"),
        };
        error.context(hint)
    })
}

/// Reads the beginning of what a box says when it refuses.
pub(super) async fn refusal(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await?.filter(|_| body.len() < REFUSAL_BYTES_MAX) {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads an answer in JSON; a refusal is an error in the box's own words.
pub(super) async fn json(mut response: Response, url: &str) -> anyhow::Result<Value> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            bail!("the answer is larger than {} MiB", ANSWER_BYTES_MAX >> 20);
        }
    }
    let Ok(answer) = serde_json::from_slice::<Value>(&body) else {
        let text = String::from_utf8_lossy(&body);
        let first: String = text.trim().lines().next().unwrap_or_default().chars().take(TEXT_CHARS_MAX).collect();
        bail!("{url} answered {status}, and not in JSON; is it Andon? It said: {first:?}");
    };
    match answer["status"].as_str() {
        Some("success") => Ok(answer),
        _ => bail!("{}", answer["error"].as_str().unwrap_or("the box refused without a reason")),
    }
}
