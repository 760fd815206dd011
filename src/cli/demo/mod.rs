//! `andon demo`: a whole box on this machine, and a packaging line of simulated devices that speak the real
//! protocol over loopback to it.
//!
//! The simulation is pure (`plant.rs`, `messages.rs`); `devices.rs` runs it and gives each device a WebSocket
//! client of its own. The box is the same as that of `andon run`, on settings in the demo's own folder.

mod devices;
mod dice;
mod messages;
mod plant;
#[cfg(test)]
mod plant_test;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::app::{self, App};
use crate::clock::Clock;
use crate::config;
use crate::gateway::{self, NewDevice};
use crate::http;
use crate::instrument::Registry;
use crate::storage::disk::{self, Disk, OsDisk};
use crate::storage::state::State;
use devices::{Device, Devices};
use plant::Kind;

/// Name of the settings in the demo's folder.
const SETTINGS_NAME: &str = "andon.yml";

/// Arguments of `andon demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Data folder; without it andon/demo below the state folder (~/.local/state)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many devices to simulate: seven make a line, more make further lines
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=2000))]
    devices: u16,
    /// A NATS server to publish to, for example nats://127.0.0.1:4222; without it the bus stays inside
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Settings for the box, to try one's own with the simulated devices; without it the demo's
    #[arg(long, value_name = "FILE", conflicts_with = "nats")]
    config: Option<PathBuf>,
    /// End by itself after this time, for example 10m; without it at Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Where to listen, on this machine
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:26366")]
    listen: String,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::model::parse_duration(text).map_err(|error| error.to_string())
}

/// Runs the demo until it is told to stop, or its time is over.
///
/// # Errors
/// When the folder or the port cannot be had.
pub(super) fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let address = http::listen_address(&args.listen)?;
    anyhow::ensure!(address.ip().is_loopback(), "the demo only listens on this machine, for example 127.0.0.1:26366");
    let folder = match args.data {
        Some(folder) => folder,
        None => default_folder().context("no home folder is known: name a data folder with --data")?,
    };
    let devices = Devices::new(usize::from(args.devices));
    prepare(&folder, args.nats.as_deref(), devices.all())?;
    let source = config::Source {
        file: Some(args.config.unwrap_or_else(|| folder.join(SETTINGS_NAME))),
        data: Some(folder.clone()),
        listen: Some(args.listen),
    };
    let loaded = config::load(&source)?;
    let logging = app::start_logging(&loaded.logging, &Clock::system());
    app::runtime()?.block_on(async move {
        let mut app = App::start(loaded, source, Some(logging.lines)).await?;
        say(&greeting(app.local_addr(), &folder, &devices, args.nats.as_deref(), args.duration));
        let running = devices.start(app.local_addr());
        let is_well = tokio::select! {
            is_well = app.live() => is_well,
            () = time_over(args.duration) => true,
        };
        say("\nStopping.\n");
        running.stop().await;
        let ended = app.stop().await;
        Ok(if is_well && ended { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

async fn time_over(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Returns the demo's folder below the person's state folder.
fn default_folder() -> Option<PathBuf> {
    // Where a person's state is kept is not a setting of the box, so this does not go through `config`.
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("andon/demo"))
}

/// Makes the folder with settings for the demo, and registers its devices with new tokens.
fn prepare(folder: &Path, nats: Option<&str>, devices: &[Device]) -> anyhow::Result<()> {
    let disk = OsDisk;
    let own = || -> disk::Result<disk::Lock> {
        disk.create_folder(folder)?;
        disk::lock(&disk, folder)
    };
    // Given up at the end of this function, so that the box can take it.
    let _lock = own().with_context(|| format!("cannot use the data folder {}", folder.display()))?;
    disk::replace(&disk, &folder.join(SETTINGS_NAME), settings(nats).as_bytes())?;
    let state = State::open(&folder.join("state.db"), Clock::system(), &Registry::default())?;
    for device in devices {
        state.devices().remove(&device.id)?;
        let (publish, subscribe) = device.permissions();
        let new = NewDevice {
            id: device.id.clone(),
            device_type: device.kind.device_type().to_owned(),
            publish: Some(publish),
            subscribe: Some(subscribe),
            token: Some(device.token.clone()),
            ..NewDevice::default()
        };
        gateway::register(&state, new, &[], &[], Clock::system().now())?;
    }
    Ok(())
}

/// Returns the demo's settings as a file that people may look at and change while it runs.
fn settings(nats: Option<&str>) -> String {
    let mut text = "# Settings of the running demo; written anew at each start.\n\
        box_name: demo\n\
        global:\n  scrape_interval: 5s\n  evaluation_interval: 5s\n\
        logging:\n  level: warn\n"
        .to_owned();
    if let Some(url) = nats {
        // A JSON text is a YAML text too.
        let _ = writeln!(text, "bus:\n  nats:\n    servers: [{}]", serde_json::Value::from(url));
    }
    text
}

fn greeting(
    address: SocketAddr,
    folder: &Path,
    devices: &Devices,
    nats: Option<&str>,
    duration: Option<Duration>,
) -> String {
    let all = devices.all();
    let lines = all.len().div_ceil(Kind::ALL.len());
    let noun = if lines == 1 { "packaging line" } else { "packaging lines" };
    let mut text = format!("Andon demo: http://{address}\n\n");
    let _ =
        writeln!(text, "Simulated: {lines} {noun} with {} devices, each a WebSocket client of this box.", all.len());
    for device in all.iter().take(Kind::ALL.len()) {
        let _ = writeln!(text, "  {:<20} {}", device.id, device.kind.story());
    }
    if all.len() > Kind::ALL.len() {
        let _ = writeln!(text, "  and {} more of the same kinds", all.len() - Kind::ALL.len());
    }
    let _ = writeln!(
        text,
        "\nWithin half a minute something goes wrong, and every minute or two after that: a jam, a hot seal heater,\n\
         labels that are off, an emergency stop, a lost connection. Alarms come and go with it."
    );
    if let Some(url) = nats {
        let _ = writeln!(text, "Everything the devices publish also goes to NATS at {url}.");
    }
    let _ = writeln!(text, "\nData and settings: {}", folder.display());
    let end = match duration {
        Some(duration) => format!("It ends by itself after {}, or at Ctrl-C.", crate::model::format_duration(duration)),
        None => "Ctrl-C ends it.".to_owned(),
    };
    text + &end
}

#[expect(clippy::print_stdout, reason = "what the demo tells the person who started it")]
fn say(text: &str) {
    println!("{text}");
}
