//! A packaging line as a simulation: physics, people, and a fault now and then. Pure: state and time in,
//! messages out; `devices.rs` puts them on the wire.
//!
//! One package per metre of belt. The seal heater's temperature follows the belt's speed; defects come by
//! chance; OEE is smoothed over minutes, so that a fault shows and fades. Every so often one of five things
//! goes wrong, in turn: the heater sticks, the infeed jams, somebody presses the emergency stop, the labels are
//! off, a device loses its connection. People mend it within a minute.

use serde_json::Value;

use super::dice::Dice;
use super::messages;
use crate::model::Timestamp;

/// Belt speed of a good day in m/min; a package per metre.
pub(super) const SPEED_NOMINAL: f64 = 60.0;
/// Temperatures at which people are told, in degrees Fahrenheit.
pub(super) const TEMPERATURE_WARNING: f64 = 75.0;
pub(super) const TEMPERATURE_CRITICAL: f64 = 80.0;
/// Packages per batch.
pub(super) const BATCH_SIZE: u64 = 500;
/// How fast the belt gets faster, and how fast it stops, in m/min per second.
const ACCELERATION: f64 = 12.0;
const EMERGENCY_BRAKE: f64 = 120.0;
/// Time constants in seconds.
const HEATER_TAU_S: f64 = 12.0;
const OEE_TAU_S: f64 = 180.0;
/// Chance of a defect, on a good day and with labels off.
const DEFECT_CHANCE: f64 = 0.006;
const DEFECT_CHANCE_BURST: f64 = 0.5;

/// What the devices of a line are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Temperature,
    Conveyor,
    Vision,
    EStop,
    Counter,
    Orchestrator,
    Panel,
}

impl Kind {
    /// In the order in which a line is fitted out.
    pub(super) const ALL: [Kind; 7] =
        [Kind::Temperature, Kind::Conveyor, Kind::Vision, Kind::EStop, Kind::Counter, Kind::Orchestrator, Kind::Panel];

    /// Returns the word that stands in a device's id.
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Temperature => "temp",
            Kind::Conveyor => "conveyor",
            Kind::Vision => "vision",
            Kind::EStop => "estop",
            Kind::Counter => "counter",
            Kind::Orchestrator => "orchestrator",
            Kind::Panel => "panel",
        }
    }

    /// Returns the registered type.
    pub(super) fn device_type(self) -> &'static str {
        match self {
            Kind::Temperature | Kind::Vision | Kind::Counter => "sensor",
            Kind::Conveyor => "actuator",
            Kind::EStop => "safety",
            Kind::Orchestrator => "controller",
            Kind::Panel => "hmi",
        }
    }
}

/// What the belt is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Stopped,
    Running,
    Fault,
    EmergencyStop,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Heater,
    Jam,
    EmergencyStop,
    Labels,
    Connection,
}

impl Trouble {
    const ALL: [Trouble; 5] =
        [Trouble::Jam, Trouble::Heater, Trouble::Labels, Trouble::EmergencyStop, Trouble::Connection];

    /// Returns how long people need to mend it, in seconds, from and to.
    fn mended_after(self) -> (f64, f64) {
        match self {
            Trouble::Heater => (35.0, 50.0),
            Trouble::Jam => (25.0, 40.0),
            Trouble::EmergencyStop => (20.0, 35.0),
            Trouble::Labels => (30.0, 45.0),
            Trouble::Connection => (40.0, 60.0),
        }
    }
}

/// Defects that the camera tells apart.
pub(super) const DEFECTS: [&str; 6] = [
    "label_misalignment",
    "missing_label",
    "damaged_package",
    "wrong_orientation",
    "contamination",
    "barcode_unreadable",
];

/// What a tick brings: messages of devices, and a device that hangs up.
#[derive(Debug, Default)]
pub(super) struct Tick {
    pub(super) messages: Vec<(Kind, String, Value)>,
    pub(super) hang_ups: Vec<(Kind, f64)>,
}

/// A command to the conveyor, as it comes over the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Command {
    Start,
    Stop,
    SetSpeed(f64),
    EmergencyStop,
    Reset,
}

impl Command {
    /// Reads the body of `factory.{line}.conveyor.cmd`.
    pub(super) fn parse(body: &Value) -> Option<Command> {
        match body["action"].as_str()? {
            "start" => Some(Command::Start),
            "stop" => Some(Command::Stop),
            "setSpeed" => body["value"].as_f64().map(Command::SetSpeed),
            "emergency_stop" => Some(Command::EmergencyStop),
            "reset" => Some(Command::Reset),
            _ => None,
        }
    }
}

/// One packaging line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    dice: Dice,
    /// Seconds since the line began.
    pub(super) uptime_s: f64,
    pub(super) mode: Mode,
    pub(super) speed: f64,
    pub(super) target_speed: f64,
    pub(super) commands_received: u64,
    pub(super) temperature: f64,
    pub(super) counts: Counts,
    pub(super) oee: Oee,
    pub(super) batch: u64,
    pub(super) trigger_count: u64,
    trouble: Option<(Trouble, f64)>,
    troubles: usize,
    next_trouble_s: f64,
    belt: f64,
    pub(super) running_s: f64,
    pub(super) down_s: f64,
    consecutive_rejects: u64,
    orders: Orders,
    clocks: messages::Clocks,
    /// Which devices there are, and whether each is connected.
    pub(super) devices: Vec<(Kind, bool)>,
}

/// What was made.
#[derive(Debug, Default, Clone)]
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) rejects: u64,
    /// In the order of [`DEFECTS`].
    pub(super) by_defect: [u64; 6],
    pub(super) in_batch: u64,
}

/// Overall equipment effectiveness, each part 0 to 1, smoothed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oee {
    pub(super) availability: f64,
    pub(super) performance: f64,
    pub(super) quality: f64,
}

/// What the orchestrator remembers.
#[derive(Debug, Default)]
struct Orders {
    is_slowed: bool,
    next_order_s: f64,
    has_warned: bool,
    has_alarmed: bool,
}

impl Line {
    /// Returns a line that starts up, with these devices.
    pub(super) fn new(name: String, kinds: &[Kind], seed: u64) -> Line {
        let mut dice = Dice::new(seed);
        let first_trouble_s = dice.between(25.0, 40.0);
        let troubles = usize::try_from(seed % 5).unwrap_or(0);
        Line {
            name,
            dice,
            uptime_s: 0.0,
            mode: Mode::Running,
            speed: 0.0,
            target_speed: SPEED_NOMINAL,
            commands_received: 0,
            temperature: 66.0,
            counts: Counts::default(),
            oee: Oee { availability: 0.97, performance: 0.97, quality: 0.99 },
            batch: 1,
            trigger_count: 0,
            trouble: None,
            troubles,
            next_trouble_s: first_trouble_s,
            belt: 0.0,
            running_s: 0.0,
            down_s: 0.0,
            consecutive_rejects: 0,
            orders: Orders::default(),
            clocks: messages::Clocks::default(),
            devices: kinds.iter().map(|kind| (*kind, false)).collect(),
        }
    }

    /// Lets `dt_s` seconds pass; returns what the devices say, in order.
    pub(super) fn tick(&mut self, now: Timestamp, dt_s: f64) -> Tick {
        self.uptime_s += dt_s;
        let mut tick = Tick::default();
        self.fate(now, &mut tick);
        self.move_belt(dt_s);
        self.heat(dt_s);
        self.pack(now, dt_s, &mut tick);
        self.rate(dt_s);
        self.orchestrate(now, &mut tick);
        messages::regular(self, now, dt_s, &mut tick);
        tick.messages.retain(|(kind, _, _)| self.devices.iter().any(|(k, _)| k == kind));
        tick
    }

    /// Carries out a command that reached the conveyor.
    pub(super) fn command(&mut self, command: Command) {
        self.commands_received += 1;
        match (command, self.mode) {
            (Command::Start, Mode::Stopped) => self.mode = Mode::Running,
            (Command::Stop, Mode::Running) => self.mode = Mode::Stopped,
            (Command::SetSpeed(speed), _) => self.target_speed = speed.clamp(0.0, 1.5 * SPEED_NOMINAL),
            (Command::EmergencyStop, _) => self.mode = Mode::EmergencyStop,
            (Command::Reset, Mode::Fault) if !self.is_troubled(Trouble::Jam) => self.mode = Mode::Stopped,
            (Command::Reset, Mode::EmergencyStop) if !self.is_troubled(Trouble::EmergencyStop) => {
                self.mode = Mode::Stopped;
            }
            (Command::Start | Command::Stop | Command::Reset, _) => {}
        }
    }

    /// Notes whether a device is connected, which the orchestrator tells.
    pub(super) fn set_online(&mut self, kind: Kind, is_online: bool) {
        for device in self.devices.iter_mut().filter(|(k, _)| *k == kind) {
            device.1 = is_online;
        }
    }

    /// Returns a device's id.
    pub(super) fn device_id(&self, kind: Kind) -> String {
        format!("{}-{}", self.name, kind.word())
    }

    /// Tells whether this goes wrong now.
    pub(super) fn is_troubled(&self, trouble: Trouble) -> bool {
        self.trouble.is_some_and(|(t, _)| t == trouble)
    }

    /// Returns measurement noise of this standard deviation.
    pub(super) fn noise(&mut self, deviation: f64) -> f64 {
        self.dice.noise() * deviation
    }

    /// Lets trouble begin and end.
    fn fate(&mut self, now: Timestamp, tick: &mut Tick) {
        if let Some((trouble, until_s)) = self.trouble {
            if self.uptime_s >= until_s {
                self.trouble = None;
                self.next_trouble_s = self.uptime_s + self.dice.between(40.0, 80.0);
                messages::mended(self, trouble, now, tick);
            }
        } else if self.uptime_s >= self.next_trouble_s {
            let trouble = Trouble::ALL.get(self.troubles % Trouble::ALL.len()).copied().unwrap_or(Trouble::Jam);
            self.troubles += 1;
            let (from, to) = trouble.mended_after();
            let lasts_s = self.dice.between(from, to);
            self.trouble = Some((trouble, self.uptime_s + lasts_s));
            match trouble {
                Trouble::Jam => self.mode = Mode::Fault,
                Trouble::EmergencyStop => {
                    // Hard-wired: the belt stops whatever the network does.
                    self.mode = Mode::EmergencyStop;
                    self.trigger_count += 1;
                }
                Trouble::Connection => {
                    let lost = self.dice.pick(&[Kind::Temperature, Kind::Vision, Kind::Counter], Kind::Counter);
                    tick.hang_ups.push((lost, lasts_s));
                }
                Trouble::Heater | Trouble::Labels => {}
            }
            messages::troubled(self, trouble, now, tick);
        }
    }

    fn move_belt(&mut self, dt_s: f64) {
        let (goal, rate) = match self.mode {
            Mode::Running => (self.target_speed, ACCELERATION),
            Mode::Stopped => (0.0, ACCELERATION),
            Mode::Fault | Mode::EmergencyStop => (0.0, EMERGENCY_BRAKE),
        };
        let step = (goal - self.speed).clamp(-rate * dt_s, rate * dt_s);
        self.speed = (self.speed + step).max(0.0);
    }

    /// The heater keeps 70 F at full speed, a little less at rest, and runs away when it sticks.
    fn heat(&mut self, dt_s: f64) {
        let stuck = if self.is_troubled(Trouble::Heater) { 16.0 } else { 0.0 };
        let goal = 66.0 + 4.0 * self.speed / SPEED_NOMINAL + stuck;
        self.temperature += (goal - self.temperature) * (1.0 - (-dt_s / HEATER_TAU_S).exp()) + self.noise(0.05);
    }

    /// Moves packages past the camera.
    fn pack(&mut self, now: Timestamp, dt_s: f64, tick: &mut Tick) {
        self.belt += self.speed / 60.0 * dt_s;
        let chance = if self.is_troubled(Trouble::Labels) { DEFECT_CHANCE_BURST } else { DEFECT_CHANCE };
        while self.belt >= 1.0 {
            self.belt -= 1.0;
            self.counts.total += 1;
            self.counts.in_batch += 1;
            let is_defect = self.dice.happens(chance);
            self.oee.quality += (if is_defect { 0.0 } else { 1.0 } - self.oee.quality) / OEE_TAU_S;
            if is_defect {
                self.reject(now, tick);
            } else {
                self.consecutive_rejects = 0;
            }
            if self.counts.in_batch >= BATCH_SIZE {
                messages::batch_complete(self, now, tick);
                self.batch += 1;
                self.counts.in_batch = 0;
            }
        }
    }

    fn reject(&mut self, now: Timestamp, tick: &mut Tick) {
        self.counts.rejects += 1;
        self.consecutive_rejects += 1;
        let is_label = self.is_troubled(Trouble::Labels) && self.dice.happens(0.8);
        let defect = if is_label { 0 } else { self.dice.pick(&[0, 1, 2, 3, 4, 5], 0) };
        if let Some(count) = self.counts.by_defect.get_mut(defect) {
            *count += 1;
        }
        let confidence = self.dice.between(0.86, 0.995);
        messages::reject(self, DEFECTS.get(defect).copied().unwrap_or("other"), confidence, now, tick);
        if self.consecutive_rejects == 3 {
            messages::consecutive_rejects(self, now, tick);
        }
    }

    /// Smooths availability and performance; quality is smoothed per package.
    fn rate(&mut self, dt_s: f64) {
        let is_running = self.mode == Mode::Running && self.speed > 1.0;
        let part = 1.0 - (-dt_s / OEE_TAU_S).exp();
        self.oee.availability += (if is_running { 1.0 } else { 0.0 } - self.oee.availability) * part;
        if is_running {
            self.running_s += dt_s;
            let pace = (self.speed / SPEED_NOMINAL).min(1.0) * 0.98;
            self.oee.performance += (pace - self.oee.performance) * part;
        } else {
            self.down_s += dt_s;
        }
    }

    /// Watches the temperature and brings the line back after a stop; orders go out over the wire.
    fn orchestrate(&mut self, now: Timestamp, tick: &mut Tick) {
        if self.temperature >= TEMPERATURE_WARNING && !self.orders.has_warned {
            self.orders.has_warned = true;
            messages::hot(self, TEMPERATURE_WARNING, "warning", now, tick);
        }
        if self.temperature >= TEMPERATURE_CRITICAL && !self.orders.has_alarmed {
            self.orders.has_alarmed = true;
            messages::hot(self, TEMPERATURE_CRITICAL, "critical", now, tick);
        }
        if self.temperature < TEMPERATURE_WARNING - 2.0 {
            (self.orders.has_warned, self.orders.has_alarmed) = (false, false);
        }
        if self.uptime_s < self.orders.next_order_s {
            return;
        }
        // An order may be lost on the way, so it is given again until the line does what it should.
        let order = match self.mode {
            Mode::Fault if !self.is_troubled(Trouble::Jam) => Some(("reset", None)),
            Mode::EmergencyStop if !self.is_troubled(Trouble::EmergencyStop) => Some(("reset", None)),
            Mode::Stopped => Some(("start", None)),
            Mode::Running if self.temperature >= TEMPERATURE_CRITICAL && self.target_speed > SPEED_NOMINAL / 2.0 => {
                self.orders.is_slowed = true;
                Some(("setSpeed", Some(SPEED_NOMINAL / 2.0)))
            }
            Mode::Running if self.temperature < TEMPERATURE_WARNING && self.orders.is_slowed => {
                self.orders.is_slowed = self.target_speed < SPEED_NOMINAL;
                self.orders.is_slowed.then_some(("setSpeed", Some(SPEED_NOMINAL)))
            }
            Mode::Running | Mode::Fault | Mode::EmergencyStop => None,
        };
        if let Some((action, value)) = order {
            self.orders.next_order_s = self.uptime_s + 3.0;
            messages::order(self, action, value, now, tick);
        }
    }

    /// Returns the clocks of regular messages.
    pub(super) fn clocks(&mut self) -> &mut messages::Clocks {
        &mut self.clocks
    }
}
