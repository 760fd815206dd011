//! A whole box: built, running, reloaded, stopped.
//!
//! [`App::start`] takes the port at once, answers with a starting page while the stores open, joins the rooms
//! (`assemble.rs`) and opens the door. [`run`] is the life of the program: signals, systemd, the exit code.
//! Settings are read again on SIGHUP and `POST /-/reload` (`reload.rs`); a bad file changes nothing.

mod assemble;
mod logging;
mod own_log;
mod reload;
mod shutdown;
mod signals;
mod systemd;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

pub use logging::{Logging, OwnLines, start as start_logging};

use self::assemble::Tools;
use self::reload::Reloader;
use self::signals::{Asked, Signals};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::http::{AppState, ReloadRequest, Server};
use crate::instrument::Registry;
use crate::storage::Storage;
use crate::task::Tasks;

/// Wishes to reload that may wait; one more is answered with an error.
const RELOADS_MAX: usize = 4;

/// A running box.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    plain_address: Option<SocketAddr>,
    tasks: Tasks,
    signals: Signals,
    reloader: Reloader,
    reloads: mpsc::Receiver<ReloadRequest>,
    /// Kept to the last: dropping it syncs and unlocks the data folder.
    storage: Storage,
}

impl App {
    /// Starts a box. Returns when it is ready.
    ///
    /// # Errors
    /// When signals, the port or the data folder cannot be had.
    pub async fn start(config: Config, source: config::Source, lines: Option<OwnLines>) -> anyhow::Result<App> {
        // From the first moment, so that a box that is told to stop while it starts stops in order.
        let signals = Signals::new().context("cannot take over signals")?;
        let tasks = Tasks::new(pool_permits());
        let clock = lines.as_ref().map_or_else(Clock::system, |lines| lines.clock.clone());
        let tools = Tools { tasks: tasks.clone(), clock, registry: Registry::default() };
        let server = Server::bind(config.http.clone(), tools.clock.clone()).await?;
        let (address, plain_address) = (server.local_addr(), server.plain_addr());
        let door = server.serve(&tasks, &tools.registry);
        let scheme = config.http.scheme();
        if let Some(address) = plain_address {
            info!(%address, "listening for devices without TLS");
        }
        info!(%address, scheme, version = env!("CARGO_PKG_VERSION"), "listening");
        let storage = match assemble::open(&config, &tools).await {
            Ok(storage) => storage,
            Err(error) => {
                shutdown::stop(&tasks).await;
                return Err(error);
            }
        };
        if let Some(lines) = lines {
            own_log::store(lines, &storage.logs, &tools.registry, &tasks);
        }
        let (reload, reloads) = mpsc::channel(RELOADS_MAX);
        let (settings, shown) = watch::channel(reload::shown(&config, tools.clock.now()));
        let state = assemble::join(&config, &storage, tools, address, reload, shown);
        let reloader = Reloader::new(source, config, state.clone(), settings, door.clone());
        door.open(state);
        systemd::watchdog(&tasks);
        systemd::ready(&format!("pages at {scheme}://{address}"));
        info!(%address, "ready");
        Ok(App { address, plain_address, tasks, signals, reloader, reloads, storage })
    }

    /// Returns where the box listens, with the port that was taken.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns where the box listens without TLS beside it, with the port that was taken.
    #[must_use]
    pub fn plain_addr(&self) -> Option<SocketAddr> {
        self.plain_address
    }

    /// Returns the handles of all rooms.
    #[must_use]
    pub fn state(&self) -> &AppState {
        self.reloader.state()
    }

    /// Lives until a signal, or a task that owns state has panicked. Returns whether all is well.
    pub async fn live(&mut self) -> bool {
        let broken = self.tasks.broken();
        loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::Stop => return true,
                    Asked::Reload => {
                        // Already told in the log.
                        let _ = self.reloader.reload();
                    }
                },
                Some(request) = self.reloads.recv() => {
                    let _ = request.answer.send(self.reloader.reload());
                }
                () = broken.cancelled() => {
                    error!("a task that owns state has panicked; stopping");
                    return false;
                }
            }
        }
    }

    /// Stops the box. Returns whether everything ended in time.
    pub async fn stop(self) -> bool {
        systemd::stopping();
        info!("stopping");
        let App { tasks, storage, reloader, reloads, .. } = self;
        drop((reloader, reloads));
        let stuck = shutdown::stop(&tasks).await;
        tokio::task::block_in_place(|| storage.close());
        info!("stopped");
        stuck.is_empty()
    }
}

/// Runs a box in the foreground until it is told to stop.
///
/// # Errors
/// When the configuration has mistakes (all of them are in the message), or the box cannot start.
pub fn run(source: config::Source) -> anyhow::Result<ExitCode> {
    let loaded = config::load(&source)?;
    let logging = logging::start(&loaded.logging, &Clock::system());
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    runtime()?.block_on(async move {
        let mut app = App::start(loaded, source, Some(logging.lines)).await?;
        let is_well = app.live().await;
        let ended = app.stop().await;
        Ok(if is_well && ended { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Returns the runtime of a box: as many workers as cores, two at least.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores().clamp(2, 4))
        .thread_name("andon")
        // Queries are walked recursively; their depth is bounded, this is the room for it in unoptimised builds.
        .thread_stack_size(4 << 20)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// One place less than cores for blocking work, so that sockets and timers always find a core.
fn pool_permits() -> usize {
    cores().saturating_sub(1).max(1)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
