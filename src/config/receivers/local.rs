//! The kinds that need no service elsewhere: the bus, a command, a Modbus device, a modem.

use std::time::Duration;

use super::{Common, Shared};
use crate::config::{http_client, matcher};
use crate::model::HttpClient;
use crate::notify::{Kind, Modbus, Nats, Output, Place, RunCommand, Sms};
use crate::yaml::{Fields, Item};

/// The port of Modbus TCP.
const MODBUS_PORT: u16 = 502;

/// How long a command or a modem may take.
const SLOW_TIMEOUT: Duration = Duration::from_secs(60);

/// Texts that a modem sends in a minute, at most, unless the settings say otherwise.
pub(super) const TEXTS_PER_MINUTE: usize = 6;

/// What these kinds may all say.
fn common(fields: &Fields<'_>, timeout: Duration) -> Common {
    let own = fields.get("timeout").and_then(|item| item.duration()).filter(|t| !t.is_zero());
    Common { send_resolved: fields.bool("send_resolved"), timeout: own.unwrap_or(timeout), http: HttpClient::plain() }
}

pub(super) fn nats(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&["send_resolved", "timeout", "subject", "payload", "wait_for_answer"])?;
    let nats = Nats {
        subject: shared.template(&fields.required("subject")?),
        payload: fields.get("payload").map(|item| shared.template(&item)),
        is_request: fields.bool("wait_for_answer").unwrap_or(false),
    };
    Some((Kind::Nats(Box::new(nats)), common(&fields, super::TIMEOUT)))
}

pub(super) fn command(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&["send_resolved", "timeout", "command", "args"])?;
    let program = fields.required_string("command")?;
    if program.trim().is_empty() || program.contains('\0') {
        return fields.item().mistake("command is empty");
    }
    if program.contains(char::is_whitespace) {
        let known = fields.get("command")?;
        return known.mistake_with("no shell reads the command", "name the program alone, and its arguments in args");
    }
    let arguments = fields.items("args").iter().map(|item| shared.template(item)).collect();
    Some((Kind::Command(Box::new(RunCommand { program, arguments })), common(&fields, SLOW_TIMEOUT)))
}

pub(super) fn modbus(item: &Item<'_>, _: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&["send_resolved", "timeout", "address", "unit", "outputs"])?;
    let address = http_client::with_port(&fields.required_string("address")?, MODBUS_PORT);
    let unit = fields.get("unit").map_or(Some(1), |item| item.integer_within(0, 255))?;
    let entries = fields.items("outputs");
    if entries.is_empty() {
        return fields.item().mistake("outputs is missing: what is to be written");
    }
    let outputs: Vec<Output> = entries.iter().filter_map(output).collect();
    let modbus = Modbus { address, unit: u8::try_from(unit).ok()?, outputs };
    Some((Kind::Modbus(Box::new(modbus)), common(&fields, super::TIMEOUT)))
}

fn output(item: &Item<'_>) -> Option<Output> {
    let fields = item.fields(&["coil", "register", "on", "off", "matchers"])?;
    let number = |key: &str, default: i64| {
        let read = fields.get(key).map_or(Some(default), |item| item.integer_within(0, 65_535));
        read.and_then(|n| u16::try_from(n).ok())
    };
    let place = match (fields.get("coil"), fields.get("register")) {
        (Some(_), None) => {
            if let Some(item) = fields.get("on").or_else(|| fields.get("off")) {
                return item.mistake("a coil is on or off; values are for registers");
            }
            Place::Coil(number("coil", 0)?)
        }
        (None, Some(_)) => {
            Place::Register { number: number("register", 0)?, on: number("on", 1)?, off: number("off", 0)? }
        }
        _ => return fields.item().mistake("one of coil and register is needed"),
    };
    Some(Output { place, matchers: fields.items("matchers").iter().flat_map(matcher::read).collect() })
}

pub(super) fn sms(item: &Item<'_>, shared: &Shared<'_>) -> Option<(Kind, Common)> {
    let fields = item.fields(&["send_resolved", "timeout", "device", "baud", "pin", "pin_file", "to", "text"])?;
    let to = fields.required("to")?;
    let number = to.string()?;
    let digits = number.strip_prefix('+').unwrap_or(&number);
    if digits.is_empty() || digits.len() > 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return to.mistake_with(format!("not a number to send to: {number:?}"), "write it like '+491701234567'");
    }
    let baud = fields.get("baud").map_or(Some(115_200), |item| item.integer_within(300, 4_000_000))?;
    let pin = shared.folder.secret(&fields, "pin", "pin_file");
    if pin.as_ref().is_some_and(|pin| !pin.expose().bytes().all(|b| b.is_ascii_digit())) {
        return fields.item().mistake("a pin is made of digits");
    }
    let sms = Sms {
        device: fields.required_string("device")?.into(),
        baud: u32::try_from(baud).ok()?,
        pin,
        to: number,
        text: shared.text(&fields, "text", r#"{{ template "sms.default.text" . }}"#),
    };
    Some((Kind::Sms(Box::new(sms)), common(&fields, SLOW_TIMEOUT)))
}
