//! `andon device`: adds, lists and removes the devices that may connect.
//!
//! Asks the running box over its API. With `--data` it works on the data folder of a box that is not running;
//! if one is, that folder is in use and the box is asked after all.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::ask::{OR_DATA, json, send};
use crate::clock::Clock;
use crate::gateway::{self, DEFAULT_PUBLISH, DEFAULT_SUBSCRIBE, NewDevice};
use crate::instrument::Registry;
use crate::model::HttpClient;
use crate::outbound::Outbound;
use crate::storage::disk::{self, Lock, OsDisk};
use crate::storage::state::State;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments of `andon device`.
#[derive(Debug, Args)]
pub(super) struct DeviceArgs {
    #[command(subcommand)]
    action: Action,
    /// Where the running box is
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:26366")]
    url: String,
    /// Data folder of a box that is not running
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let a device connect; prints its token, once
    Add {
        /// Its name: letters, digits, '-' and '_'
        id: String,
        /// What it is: sensor, actuator, controller, ...
        #[arg(long = "type", value_name = "TYPE", default_value = "")]
        device_type: String,
        /// A subject it may publish on, with * and > as in NATS and {device} for its name; may be repeated and
        /// replaces the default list
        #[arg(long, value_name = "PATTERN")]
        publish: Vec<String>,
        /// A subject it may subscribe to; may be repeated and replaces the default list
        #[arg(long, value_name = "PATTERN")]
        subscribe: Vec<String>,
    },
    /// Show the devices that may connect
    List,
    /// Forget a device; its connection is ended at once
    Remove {
        /// Its name
        id: String,
    },
}

/// Carries out the action, at the box or in the folder.
pub(super) fn run(args: DeviceArgs) -> anyhow::Result<ExitCode> {
    let folder = match &args.data {
        Some(folder) => Folder::open(folder)?,
        None => None,
    };
    let text = match folder {
        Some(folder) => folder.carry_out(args.action)?,
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(Api::new(&args.url)?.carry_out(args.action))?
        }
    };
    say(&text);
    Ok(ExitCode::SUCCESS)
}

/// The data folder of a box that is not running.
struct Folder {
    state: State,
    _lock: Lock,
}

impl Folder {
    /// Opens a folder; nothing if a running box owns it.
    fn open(folder: &Path) -> anyhow::Result<Option<Folder>> {
        if !folder.is_dir() {
            bail!("there is no data folder at {}", folder.display());
        }
        let lock = match disk::lock(&OsDisk, folder) {
            Ok(lock) => lock,
            Err(disk::Error::InUse { .. }) => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot use the data folder {}", folder.display()));
            }
        };
        let state = State::open(&folder.join("state.db"), Clock::system(), &Registry::default())?;
        Ok(Some(Folder { state, _lock: lock }))
    }

    fn carry_out(&self, action: Action) -> anyhow::Result<String> {
        let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        match action {
            Action::Add { id, device_type, publish, subscribe } => {
                let new =
                    NewDevice { id, device_type, publish: given(publish), subscribe: given(subscribe), token: None };
                let added = gateway::register(&self.state, new, &texts(&DEFAULT_PUBLISH), &texts(&DEFAULT_SUBSCRIBE))?;
                Ok(welcome(&added.id, &added.token))
            }
            Action::List => {
                let rows = self
                    .state
                    .devices()
                    .list()?
                    .into_iter()
                    .map(|device| [device.id, device.device_type, "box not running".to_owned(), "-".to_owned()]);
                Ok(table(rows))
            }
            Action::Remove { id } => {
                if !self.state.devices().remove(&id)? {
                    bail!("device {id:?} is not known");
                }
                Ok(format!("Device {id} removed."))
            }
        }
    }
}

/// The API of a running box.
struct Api {
    client: Outbound,
    url: String,
}

impl Api {
    fn new(url: &str) -> anyhow::Result<Api> {
        let client = Outbound::new(&HttpClient::plain(), TIMEOUT)?;
        Ok(Api { client, url: format!("{}/api/v1/devices", url.trim_end_matches('/')) })
    }

    async fn carry_out(&self, action: Action) -> anyhow::Result<String> {
        match action {
            Action::Add { id, device_type, publish, subscribe } => {
                let mut body = serde_json::json!({ "id": id, "type": device_type });
                for (name, list) in [("publish", given(publish)), ("subscribe", given(subscribe))] {
                    if let Some(list) = list {
                        body[name] = list.into();
                    }
                }
                let added = self.ask(Method::POST, &self.url, Some(body)).await?;
                let token = added["token"].as_str().context("the box answered without a token")?;
                Ok(welcome(&id, token))
            }
            Action::List => {
                let list = self.ask(Method::GET, &self.url, None).await?;
                let rows = list.as_array().into_iter().flatten().map(|device| {
                    let text = |name: &str| device[name].as_str().unwrap_or("-").to_owned();
                    let state = match (device["enabled"].as_bool(), device["connected"].as_bool()) {
                        (Some(false), _) => "disabled",
                        (_, Some(true)) => "connected",
                        _ => "away",
                    };
                    [text("id"), text("type"), state.to_owned(), text("lastSeen")]
                });
                Ok(table(rows))
            }
            Action::Remove { id } => {
                let mut address = self.address(&self.url)?;
                if let Ok(mut segments) = address.path_segments_mut() {
                    segments.push(&id);
                }
                self.ask(Method::DELETE, address.as_str(), None).await?;
                Ok(format!("Device {id} removed."))
            }
        }
    }

    fn address(&self, url: &str) -> anyhow::Result<reqwest::Url> {
        reqwest::Url::parse(url).with_context(|| format!("not a URL: {}", self.url))
    }

    /// Asks the box; what it refuses is an error in its own words.
    async fn ask(&self, method: Method, url: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = self.client.request(method, self.address(url)?.as_str())?;
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = json(send(request, &self.url, OR_DATA).await?, &self.url).await?;
        Ok(answer["data"].clone())
    }
}

/// Returns a list if one was given on the command line.
fn given(list: Vec<String>) -> Option<Vec<String>> {
    (!list.is_empty()).then_some(list)
}

fn welcome(id: &str, token: &str) -> String {
    format!("Device {id} added. Its token is shown only now:\n\n{token}\n")
}

/// Returns rows below their heads, in columns.
fn table(rows: impl Iterator<Item = [String; 4]>) -> String {
    let heads = ["DEVICE", "TYPE", "STATE", "LAST SEEN"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(heads).chain(rows).collect();
    let mut widths = [0_usize; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.trim_end().to_owned()
}

#[expect(clippy::print_stdout, reason = "printing the answer is what this command is for")]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(id: &str, publish: &[&str]) -> Action {
        let publish = publish.iter().map(|s| (*s).to_owned()).collect();
        Action::Add { id: id.to_owned(), device_type: "sensor".to_owned(), publish, subscribe: Vec::new() }
    }

    #[test]
    fn a_folder_that_nobody_owns_is_worked_on() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap().unwrap();
        let text = folder.carry_out(add("press-1", &[])).unwrap();
        assert!(text.contains("andon_device_"), "{text}");
        assert!(folder.carry_out(add("press-1", &[])).unwrap_err().to_string().contains("exists already"));
        let error = folder.carry_out(add("press-2", &["a..b"])).unwrap_err().to_string();
        assert!(error.contains("publish") && error.contains("a..b"), "{error}");
        let list = folder.carry_out(Action::List).unwrap();
        assert_eq!(list.lines().count(), 2, "{list}");
        assert!(list.contains("press-1  sensor"), "{list}");
        folder.carry_out(Action::Remove { id: "press-1".to_owned() }).unwrap();
        assert!(folder.carry_out(Action::Remove { id: "press-1".to_owned() }).is_err());
        let stored = std::fs::read(dir.path().join("state.db")).unwrap();
        let token = text.lines().nth(2).unwrap();
        assert!(!stored.windows(token.len()).any(|w| w == token.as_bytes()), "the token is not kept");
    }

    #[test]
    fn a_folder_in_use_is_left_to_its_box() {
        let dir = tempfile::tempdir().unwrap();
        let _owner = disk::lock(&OsDisk, dir.path()).unwrap();
        assert!(Folder::open(dir.path()).unwrap().is_none());
        assert!(Folder::open(&dir.path().join("none")).is_err());
    }
}
