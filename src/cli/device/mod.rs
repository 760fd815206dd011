//! `andon device`: the devices that may connect, and their tokens.
//!
//! Asks the running box over its API. With `--data` it works on the data folder of a box that is not running;
//! if one is, that folder is in use and the box is asked after all.

mod import;
mod place;

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use self::place::Place;
use crate::gateway::{Edit, NewDevice, certificate_mark};
use crate::model::parse_duration;
use crate::storage::state::Change;

/// Largest file with a certificate.
const CERTIFICATE_BYTES_MAX: u64 = 1 << 20;

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
        #[command(flatten)]
        properties: Properties,
        /// How long the token holds, such as 90d; for ever unless given
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// Show the devices that may connect
    List,
    /// Change what is given, at once also for an open connection
    Change {
        /// Its name
        id: String,
        #[command(flatten)]
        properties: Properties,
        /// Let a device in again that was revoked
        #[arg(long)]
        enable: bool,
    },
    /// Give a device a new token and print it; older ones hold a while longer
    Rotate {
        /// Its name
        id: String,
        /// How long older tokens still hold
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "24h")]
        overlap: Duration,
        /// How long the new one holds; for ever unless given
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// By which certificates a device shows who it is, where the box speaks TLS and asks for them
    Certificate {
        #[command(subcommand)]
        action: CertificateAction,
    },
    /// Take all tokens and certificates from a device and keep it out, without forgetting it; its connection is ended at once
    Revoke {
        /// Its name
        id: String,
    },
    /// Forget a device; its connection is ended at once
    Remove {
        /// Its name
        id: String,
    },
    /// Take devices over from the settings of nats-websocket-bridge, with their tokens
    Import {
        /// Its settings: appsettings.json, or a list of devices
        file: PathBuf,
        /// Take tokens of fewer than 16 characters too
        #[arg(long)]
        short_tokens: bool,
    },
}

#[derive(Debug, Subcommand)]
enum CertificateAction {
    /// Let a device in with this certificate
    Add {
        /// Its name
        id: String,
        /// A file with the certificate in PEM, its SHA-256 fingerprint, or a name in it (counts only if client_ca_file
        /// has its authority; a name that is the device's own needs no entry)
        certificate: String,
    },
    /// Take a certificate from a device; a connection made with it is ended at once
    Remove {
        /// Its name
        id: String,
        /// The file, the fingerprint or the name
        certificate: String,
    },
    /// Show by what the certificates of a device are known
    List {
        /// Its name
        id: String,
    },
}

/// What a device may be given.
#[derive(Debug, Args)]
struct Properties {
    /// What it is: sensor, actuator, controller, ...
    #[arg(long = "type", value_name = "TYPE")]
    device_type: Option<String>,
    /// A role of the settings, whose subjects it may use beside its own
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// What it belongs to, for {group} in subjects
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// A subject it may publish on, with * and > as in NATS, {device} for its name and {group}; may be repeated and
    /// replaces the default list
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// A subject it may subscribe to; may be repeated and replaces the default list
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
}

/// Carries out the action, at the box or in the folder.
pub(super) fn run(args: DeviceArgs) -> anyhow::Result<ExitCode> {
    let place = Place::open(&args.url, args.data.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(carry_out(&place, args.action))?;
    say(&text);
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(place: &Place, action: Action) -> anyhow::Result<String> {
    Ok(match action {
        Action::Add { id, properties, expires } => {
            let new = NewDevice {
                id: id.clone(),
                device_type: properties.device_type.unwrap_or_default(),
                role: properties.role.unwrap_or_default(),
                group: properties.group.unwrap_or_default(),
                publish: given(properties.publish),
                subscribe: given(properties.subscribe),
                expires_in: expires,
                ..NewDevice::default()
            };
            let token = place.add(new).await?;
            format!("Device {id} added. {}", shown_once(&token))
        }
        Action::List => table(place.list().await?),
        Action::Change { id, properties, enable } => {
            let change = Change {
                device_type: properties.device_type,
                role: properties.role,
                group: properties.group,
                publish: given(properties.publish),
                subscribe: given(properties.subscribe),
                is_enabled: enable.then_some(true),
            };
            if change == Change::default() {
                anyhow::bail!("nothing to change: see andon device change --help");
            }
            place.edit(&id, Edit::Change(change)).await?;
            format!("Device {id} changed.")
        }
        Action::Rotate { id, overlap, expires } => {
            let token = place.edit(&id, Edit::Rotate { overlap, expires_in: expires }).await?.unwrap_or_default();
            format!("Device {id} has a new token. {}", shown_once(&token))
        }
        Action::Certificate { action } => certificate(place, action).await?,
        Action::Revoke { id } => {
            place.edit(&id, Edit::Revoke).await?;
            format!("Device {id} is kept out. A new token and `andon device change {id} --enable` let it in again.")
        }
        Action::Remove { id } => {
            place.edit(&id, Edit::Remove).await?;
            format!("Device {id} removed.")
        }
        Action::Import { file, short_tokens } => import::import(place, &file, short_tokens).await?,
    })
}

async fn certificate(place: &Place, action: CertificateAction) -> anyhow::Result<String> {
    Ok(match action {
        CertificateAction::Add { id, certificate } => {
            let mark = certificate_mark(&text_of(&certificate)?)?;
            place.edit(&id, Edit::AddCertificate(mark.clone())).await?;
            format!("Device {id} may show the certificate {mark}.")
        }
        CertificateAction::Remove { id, certificate } => {
            let mark = certificate_mark(&text_of(&certificate)?)?;
            place.edit(&id, Edit::RemoveCertificate(mark.clone())).await?;
            format!("Device {id} may not show the certificate {mark} any more.")
        }
        CertificateAction::List { id } => {
            let list = place.certificates(&id).await?;
            if list.is_empty() { format!("Device {id} has no certificates.") } else { list.join("\n") }
        }
    })
}

/// Returns what is in the file of that name; the text itself if there is none.
fn text_of(text: &str) -> anyhow::Result<String> {
    let path = Path::new(text);
    if !path.is_file() {
        return Ok(text.to_owned());
    }
    let mut content = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {text}"))?;
    file.take(CERTIFICATE_BYTES_MAX).read_to_string(&mut content).with_context(|| format!("cannot read {text}"))?;
    Ok(content)
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Returns a list if one was given on the command line.
fn given(list: Vec<String>) -> Option<Vec<String>> {
    (!list.is_empty()).then_some(list)
}

fn shown_once(token: &str) -> String {
    format!("Its token is shown only now:\n\n{token}\n")
}

/// Returns rows below their heads, in columns.
fn table<const N: usize>(rows: Vec<[String; N]>) -> String {
    let mut widths = [0_usize; N];
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
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        device: DeviceArgs,
    }

    /// Carries out a line in the folder.
    fn device(folder: &std::path::Path, line: &str) -> anyhow::Result<String> {
        let data = folder.to_str().unwrap();
        let words = ["device"].into_iter().chain(line.split(' ')).chain(["--data", data]);
        let args = Line::try_parse_from(words)?.device;
        let place = Place::open(&args.url, args.data.as_deref())?;
        tokio::runtime::Builder::new_current_thread().build()?.block_on(carry_out(&place, args.action))
    }

    #[test]
    fn a_folder_that_nobody_owns_is_worked_on() {
        let dir = tempfile::tempdir().unwrap();
        let text = device(dir.path(), "add press-1 --type sensor --group line1 --expires 90d").unwrap();
        assert!(text.contains("andon_device_"), "{text}");
        let error = |line| device(dir.path(), line).unwrap_err().to_string();
        assert!(error("add press-1").contains("exists already"));
        let bad = error("add press-2 --publish a..b");
        assert!(bad.contains("publish") && bad.contains("a..b"), "{bad}");
        assert!(error("change press-1").contains("nothing to change"));
        device(dir.path(), "change press-1 --publish factory.{group}.>").unwrap();
        let rotated = device(dir.path(), "rotate press-1").unwrap();
        assert!(rotated.contains("andon_device_"), "{rotated}");
        let list = device(dir.path(), "list").unwrap();
        assert_eq!(list.lines().count(), 2, "{list}");
        assert!(list.contains("press-1  sensor  line1  2       0 "), "{list}");
        assert!(device(dir.path(), "revoke press-1").unwrap().contains("kept out"));
        assert!(device(dir.path(), "list").unwrap().contains("revoked"));
        let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/pinned.pem");
        let added = device(dir.path(), &format!("certificate add press-1 {pem}")).unwrap();
        device(dir.path(), "certificate add press-1 Gate.plant.example").unwrap();
        let listed = device(dir.path(), "certificate list press-1").unwrap();
        assert!(added.contains(listed.lines().next().unwrap()) && listed.contains("gate.plant.example"), "{listed}");
        let remove = format!("certificate remove press-1 {pem}");
        device(dir.path(), &remove).unwrap();
        assert!(device(dir.path(), &remove).unwrap_err().to_string().contains("none that is known"));
        assert_eq!(device(dir.path(), "certificate list press-1").unwrap(), "gate.plant.example");
        assert!(error("certificate add press-1 sha256:12").contains("fingerprint"));
        assert!(error("certificate list press-9").contains("press-9"));
        device(dir.path(), "remove press-1").unwrap();
        for line in ["remove press-1", "rotate press-1", "revoke press-1", "change press-1 --enable"] {
            assert!(error(line).contains("is not known"), "{line}");
        }
        let stored = std::fs::read(dir.path().join("state.db")).unwrap();
        for text in [text, rotated] {
            let token = text.lines().nth(2).unwrap();
            assert!(!stored.windows(token.len()).any(|w| w == token.as_bytes()), "the token is not kept");
        }
    }

    #[test]
    fn devices_of_the_bridge_come_with_their_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("appsettings.json");
        let settings = r#"{
            "Gateway": {"MaxMessageSize": 1048576, "MessageRateLimitPerSecond": 100},
            "Jwt": {"Secret": "a-secret-of-at-least-thirty-two-bytes!", "Issuer": "i", "Audience": "a"},
            "Devices": [
                {"DeviceId": "sensor-1", "Token": "sensor-token-0000001", "DeviceType": "sensor",
                 "AllowedPublishTopics": ["telemetry.{deviceId}.>"], "AllowedSubscribeTopics": []},
                {"deviceId": "short", "token": "short-token"},
                {"deviceId": "no spaces", "token": "sensor-token-0000002"},
                {"deviceId": "no-token"}
            ]}"#;
        std::fs::write(&file, settings).unwrap();
        let line = format!("import {}", file.display());
        let text = device(dir.path(), &line).unwrap();
        assert!(text.contains("1 device taken over, 3 not") && text.contains("short: token:"), "{text}");
        assert!(text.contains("messages_per_second: 100") && text.contains("issuer: i"), "{text}");
        assert!(!text.contains("thirty"), "secrets are not printed: {text}");
        let again = device(dir.path(), &format!("{line} --short-tokens")).unwrap();
        assert!(again.contains("1 device taken over, 3 not") && again.contains("exists already"), "{again}");
        assert!(device(dir.path(), "list").unwrap().contains("sensor-1  sensor"));
    }

    #[test]
    fn a_folder_in_use_is_left_to_its_box() {
        use crate::storage::disk::{self, OsDisk};
        let dir = tempfile::tempdir().unwrap();
        let _owner = disk::lock(&OsDisk, dir.path()).unwrap();
        assert!(matches!(Place::open("http://127.0.0.1:1", Some(dir.path())).unwrap(), Place::Box(_)));
        assert!(Place::open("http://127.0.0.1:1", Some(&dir.path().join("none"))).is_err());
    }
}
