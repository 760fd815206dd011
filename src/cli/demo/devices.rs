//! The simulated devices as real clients: each has a WebSocket of its own to the box.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::plant::{Command, Kind, Line, Tick};
use crate::clock::Clock;
use crate::device::{Config, Connection, DeviceClient, Message};
use crate::task::{OnPanic, Phase, Tasks};

/// How often the simulation moves on.
const STEP: Duration = Duration::from_millis(100);
/// Devices that connect between two steps, so that a thousand of them do not come in one moment.
const STARTS_PER_STEP: usize = 50;
/// How long the devices have to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// One simulated device.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) token: String,
    /// Which line it belongs to, from 0.
    line: usize,
    line_name: String,
}

impl Device {
    /// Returns what it may publish on and subscribe to: what a device needs, and its own part of the line.
    pub(super) fn permissions(&self) -> (Vec<String>, Vec<String>) {
        let line = &self.line_name;
        let below = |subjects: &[&str]| subjects.iter().map(|s| format!("factory.{line}.{s}")).collect::<Vec<_>>();
        let (own, heard): (&[&str], &[&str]) = match self.kind {
            Kind::Temperature => (&["temp"], &[]),
            Kind::Conveyor => (&["conveyor.status"], &["conveyor.cmd", "emergency"]),
            Kind::Vision => (&["quality.rejects", "quality.stats"], &[]),
            Kind::EStop => (&["eStop", "emergency"], &[]),
            Kind::Counter => (&["output", "oee", "batch.complete"], &[]),
            Kind::Orchestrator => (&["status", "conveyor.cmd", "alerts.>"], &[">"]),
            Kind::Panel => (&["conveyor.cmd"], &["status", "alerts.>", "output"]),
        };
        let mut publish = crate::gateway::DEFAULT_PUBLISH.map(str::to_owned).to_vec();
        publish.push(format!("factory.{line}.status.{{device}}"));
        publish.extend(below(own));
        let mut subscribe = crate::gateway::DEFAULT_SUBSCRIBE.map(str::to_owned).to_vec();
        subscribe.extend(below(heard));
        (publish, subscribe)
    }

    /// Returns what it listens to.
    fn subscriptions(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Conveyor => &["conveyor.cmd"],
            Kind::Orchestrator => &["eStop", "conveyor.status"],
            Kind::Panel => &["status", "alerts.>"],
            Kind::Temperature | Kind::Vision | Kind::EStop | Kind::Counter => &[],
        }
    }
}

impl Kind {
    /// Returns what the device is, for people.
    pub(super) fn story(self) -> &'static str {
        match self {
            Kind::Temperature => "seal heater temperature, every second",
            Kind::Conveyor => "conveyor drive: takes commands, tells its speed",
            Kind::Vision => "camera: rejects packages by six kinds of defect",
            Kind::EStop => "emergency stop button",
            Kind::Counter => "counter: output and OEE",
            Kind::Orchestrator => "line controller: line state, alerts, commands",
            Kind::Panel => "operator panel: listens to state and alerts",
        }
    }
}

/// All devices of the demo, seven to a line.
#[derive(Debug)]
pub(super) struct Devices(Vec<Device>);

impl Devices {
    /// Returns `count` devices with new tokens.
    pub(super) fn new(count: usize) -> Devices {
        let device = |at: usize| {
            let (line, kind) = (at / Kind::ALL.len(), at % Kind::ALL.len());
            let kind = Kind::ALL.get(kind).copied().unwrap_or(Kind::Panel);
            let line_name = format!("line{}", line + 1);
            let token = format!("demo-{:032x}", rand::random::<u128>());
            Device { id: format!("{line_name}-{}", kind.word()), kind, token, line, line_name }
        };
        Devices((0..count).map(device).collect())
    }

    pub(super) fn all(&self) -> &[Device] {
        &self.0
    }

    /// Connects all devices and lets the plant run.
    pub(super) fn start(self, address: SocketAddr) -> Running {
        let tasks = Tasks::new(1);
        let plant = Plant::new(self.0, format!("ws://{address}/ws"), tasks.clone());
        tasks.spawn("plant", OnPanic::EndTask, plant.run(tasks.token(Phase::Intake)));
        Running(tasks)
    }
}

/// The running plant.
#[derive(Debug)]
pub(super) struct Running(Tasks);

impl Running {
    /// Lets the devices say goodbye.
    pub(super) async fn stop(self) {
        self.0.token(Phase::Intake).cancel();
        self.0.ended(GOODBYE, |_| true).await;
    }
}

/// A command that reached the conveyor of a line.
type Heard = (usize, Command);

struct Plant {
    lines: Vec<Line>,
    waiting: std::vec::IntoIter<Device>,
    clients: HashMap<(usize, Kind), DeviceClient>,
    url: String,
    tasks: Tasks,
    clock: Clock,
    /// Commands that reached a conveyor; the sender is for the conveyors' readers. Full: the command is lost
    /// and given again.
    commands: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
}

impl Plant {
    fn new(devices: Vec<Device>, url: String, tasks: Tasks) -> Plant {
        let mut kinds: Vec<(String, Vec<Kind>)> = Vec::new();
        for device in &devices {
            match kinds.get_mut(device.line) {
                Some((_, kinds)) => kinds.push(device.kind),
                None => kinds.push((device.line_name.clone(), vec![device.kind])),
            }
        }
        let lines = kinds.into_iter().map(|(name, kinds)| Line::new(name, &kinds, rand::random())).collect();
        Plant {
            lines,
            waiting: devices.into_iter(),
            clients: HashMap::new(),
            url,
            tasks,
            clock: Clock::system(),
            commands: mpsc::channel(64),
        }
    }

    async fn run(mut self, end: CancellationToken) {
        let mut step = tokio::time::interval(STEP);
        step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut then = self.clock.elapsed();
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                Some((line, command)) = self.commands.1.recv() => {
                    if let Some(line) = self.lines.get_mut(line) {
                        line.command(command);
                    }
                }
                _ = step.tick() => {
                    let now = self.clock.elapsed();
                    // A machine that was asleep does not make a shift's packages at once.
                    let passed = now.saturating_sub(then).min(Duration::from_secs(1));
                    then = now;
                    self.connect_some().await;
                    self.step(passed.as_secs_f64()).await;
                }
            }
        }
    }

    async fn connect_some(&mut self) {
        for device in self.waiting.by_ref().take(STARTS_PER_STEP) {
            let config = Config {
                device_type: device.kind.device_type().to_owned(),
                ..Config::new(self.url.clone(), device.id.clone(), device.token.clone())
            };
            let client = DeviceClient::start(config, &self.tasks, self.clock.clone());
            for subject in device.subscriptions() {
                let pattern = format!("factory.{}.{subject}", device.line_name);
                if let Ok(messages) = client.subscribe(&pattern).await {
                    let reading = read(messages, device.line, device.kind, self.commands.0.clone());
                    self.tasks.spawn(format!("reader {}", device.id), OnPanic::EndTask, reading);
                }
            }
            self.clients.insert((device.line, device.kind), client);
        }
    }

    async fn step(&mut self, dt_s: f64) {
        let now = self.clock.now();
        for (at, line) in self.lines.iter_mut().enumerate() {
            for kind in Kind::ALL {
                if let Some(client) = self.clients.get(&(at, kind)) {
                    line.set_online(kind, *client.connection().borrow() == Connection::Connected);
                }
            }
            let Tick { messages, hang_ups } = line.tick(now, dt_s);
            for (kind, subject, body) in messages {
                if let Some(client) = self.clients.get(&(at, kind)) {
                    client.publish(&subject, &body);
                }
            }
            for (kind, seconds) in hang_ups {
                if let Some(client) = self.clients.get(&(at, kind)) {
                    let _ = client.hang_up(Duration::from_secs_f64(seconds)).await;
                }
            }
        }
    }
}

/// Takes in what a device hears; a conveyor does what it is told.
async fn read(mut messages: mpsc::Receiver<Message>, line: usize, kind: Kind, commands: mpsc::Sender<Heard>) {
    while let Some(message) = messages.recv().await {
        if let (Kind::Conveyor, Some(command)) = (kind, Command::parse(&message.payload)) {
            let _ = commands.try_send((line, command));
        }
    }
}
