//! Where devices are registered: at a running box, or in the folder of one that is not running.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::ask::{self, OR_DATA, send};
use crate::clock::Clock;
use crate::gateway::{self, DEFAULT_PUBLISH, DEFAULT_SUBSCRIBE, Edit, NewDevice};
use crate::instrument::Registry;
use crate::model::{HttpClient, format_duration};
use crate::outbound::Outbound;
use crate::storage::disk::{self, Lock, OsDisk};
use crate::storage::state::State;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Columns of the list.
const HEADS: [&str; COLUMNS] = ["DEVICE", "TYPE", "GROUP", "TOKENS", "CERTIFICATES", "STATE", "LAST SEEN"];
pub(super) const COLUMNS: usize = 7;

/// Where devices are registered.
pub(super) enum Place {
    /// The data folder of a box that is not running.
    Folder(Folder),
    /// A running box.
    Box(Api),
}

/// A data folder, owned by this command.
pub(super) struct Folder {
    state: State,
    clock: Clock,
    _lock: Lock,
}

/// The API of a running box.
pub(super) struct Api {
    client: Outbound,
    url: String,
}

impl Place {
    /// Returns the folder, if there is one and no running box owns it; else the box at `url`.
    pub(super) fn open(url: &str, folder: Option<&Path>) -> anyhow::Result<Place> {
        if let Some(path) = folder
            && let Some(folder) = Folder::open(path)?
        {
            return Ok(Place::Folder(folder));
        }
        let client = Outbound::new(&HttpClient::plain(), TIMEOUT)?;
        Ok(Place::Box(Api { client, url: format!("{}/api/v1/devices", url.trim_end_matches('/')) }))
    }

    /// Adds a device; returns its token.
    pub(super) async fn add(&self, new: NewDevice) -> anyhow::Result<String> {
        match self {
            Place::Folder(folder) => {
                let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
                let (publish, subscribe) = (texts(&DEFAULT_PUBLISH), texts(&DEFAULT_SUBSCRIBE));
                Ok(gateway::register(&folder.state, new, &publish, &subscribe, folder.clock.now())?.token)
            }
            Place::Box(api) => {
                let mut body = json!({
                    "id": new.id, "type": new.device_type, "role": new.role, "group": new.group,
                    "shortToken": new.takes_short_token,
                });
                let texts = [
                    ("publish", new.publish.map(Value::from)),
                    ("subscribe", new.subscribe.map(Value::from)),
                    ("token", new.token.map(Value::from)),
                    ("expiresIn", new.expires_in.map(|lasts| format_duration(lasts).into())),
                ];
                put(&mut body, texts);
                let added = api.ask(Method::POST, &[], Some(body)).await?;
                Ok(added["token"].as_str().context("the box answered without a token")?.to_owned())
            }
        }
    }

    /// Changes a device; returns the token of a rotation.
    pub(super) async fn edit(&self, id: &str, edit: Edit) -> anyhow::Result<Option<String>> {
        let api = match self {
            Place::Folder(folder) => return Ok(gateway::edit(&folder.state, id, &edit, folder.clock.now())?),
            Place::Box(api) => api,
        };
        let mut body = json!({});
        let answer = match edit {
            Edit::Change(change) => {
                let members = [
                    ("type", change.device_type.map(Value::from)),
                    ("role", change.role.map(Value::from)),
                    ("group", change.group.map(Value::from)),
                    ("publish", change.publish.map(Value::from)),
                    ("subscribe", change.subscribe.map(Value::from)),
                    ("enabled", change.is_enabled.map(Value::from)),
                ];
                put(&mut body, members);
                api.ask(Method::PATCH, &[id], Some(body)).await?
            }
            Edit::Rotate { overlap, expires_in } => {
                let expires_in = expires_in.map(|lasts| format_duration(lasts).into());
                put(&mut body, [("overlap", Some(format_duration(overlap).into())), ("expiresIn", expires_in)]);
                api.ask(Method::POST, &[id, "rotate"], Some(body)).await?
            }
            Edit::AddCertificate(text) => {
                let body = json!({ "certificate": text });
                api.ask(Method::POST, &[id, "certificates"], Some(body)).await?
            }
            Edit::RemoveCertificate(text) => {
                let mark = gateway::certificate_mark(&text)?;
                api.ask(Method::DELETE, &[id, "certificates", &mark], None).await?
            }
            Edit::Revoke => api.ask(Method::POST, &[id, "revoke"], None).await?,
            Edit::Remove => api.ask(Method::DELETE, &[id], None).await?,
        };
        Ok(answer["token"].as_str().map(str::to_owned))
    }

    /// Returns by what the certificates of a device are known.
    pub(super) async fn certificates(&self, id: &str) -> anyhow::Result<Vec<String>> {
        match self {
            Place::Folder(folder) => {
                let device = folder.state.devices().get(id)?;
                let device = device.with_context(|| gateway::Error::Unknown(id.to_owned()).to_string())?;
                Ok(device.certificates.into_iter().map(|certificate| certificate.mark).collect())
            }
            Place::Box(api) => {
                let device = api.ask(Method::GET, &[id], None).await?;
                let list = device["certificates"].as_array().into_iter().flatten();
                Ok(list.filter_map(|one| one["certificate"].as_str().map(str::to_owned)).collect())
            }
        }
    }

    /// Returns all devices as rows below their heads.
    pub(super) async fn list(&self) -> anyhow::Result<Vec<[String; COLUMNS]>> {
        let mut rows = vec![HEADS.map(str::to_owned)];
        match self {
            Place::Folder(folder) => {
                for device in folder.state.devices().list()? {
                    let state = if device.is_enabled { "box not running" } else { "revoked" };
                    let counts = [device.tokens.len(), device.certificates.len()].map(|count| count.to_string());
                    let [tokens, certificates] = counts;
                    let [state, seen] = [state, "-"].map(str::to_owned);
                    let (kind, group) = (or_dash(&device.device_type), or_dash(&device.group));
                    rows.push([device.id, kind, group, tokens, certificates, state, seen]);
                }
            }
            Place::Box(api) => {
                let list = api.ask(Method::GET, &[], None).await?;
                for device in list.as_array().into_iter().flatten() {
                    let text = |name: &str| or_dash(device[name].as_str().unwrap_or_default());
                    let state = match (device["enabled"].as_bool(), device["connected"].as_bool()) {
                        (Some(false), _) => "revoked",
                        (_, Some(true)) => "connected",
                        _ => "away",
                    };
                    let count = |name: &str| device[name].as_array().map_or(0, Vec::len).to_string();
                    let (tokens, certificates, state) = (count("tokens"), count("certificates"), state.to_owned());
                    let [id, kind, group, seen] = ["id", "type", "group", "lastSeen"].map(text);
                    rows.push([id, kind, group, tokens, certificates, state, seen]);
                }
            }
        }
        Ok(rows)
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Puts the members that are given into an object.
fn put<const N: usize>(body: &mut Value, members: [(&str, Option<Value>); N]) {
    for (name, value) in members {
        if let Some(value) = value {
            body[name] = value;
        }
    }
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
        let clock = Clock::system();
        let state = State::open(&folder.join("state.db"), clock.clone(), &Registry::default())?;
        Ok(Some(Folder { state, clock, _lock: lock }))
    }
}

impl Api {
    /// Asks the box about the path below its list of devices; what it refuses is an error in its own words.
    async fn ask(&self, method: Method, path: &[&str], body: Option<Value>) -> anyhow::Result<Value> {
        let mut address = reqwest::Url::parse(&self.url).with_context(|| format!("not a URL: {}", self.url))?;
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.extend(path);
        }
        let mut request = self.client.request(method, address.as_str())?;
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = ask::json(send(request, &self.url, OR_DATA).await?, &self.url).await?;
        Ok(answer["data"].clone())
    }
}
