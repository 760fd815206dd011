//! Takes devices over from nats-websocket-bridge.
//!
//! Its settings are JSON: `Devices` is a list of its `DeviceInfo`, or an object of them by id; `Gateway` and `Jwt` are
//! said again as settings of this box. Names of members are taken in any case, as .NET does.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::place::Place;
use crate::gateway::NewDevice;

/// Largest file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Members of `Gateway` and `Jwt`, and what they are here: `GatewayOptions` and `JwtOptions`.
const SETTINGS: [(&str, &str, &str); 6] = [
    ("Gateway", "MaxMessageSize", "message_size_limit"),
    ("Gateway", "MessageRateLimitPerSecond", "messages_per_second"),
    ("Gateway", "AuthenticationTimeoutSeconds", "auth_timeout"),
    ("Jwt", "Issuer", "issuer"),
    ("Jwt", "Audience", "audience"),
    ("Jwt", "ClockSkewSeconds", "clock_skew"),
];

/// Adds the devices of a file; says what became of each, and which settings belong to them.
pub(super) async fn import(place: &Place, file: &Path, takes_short_token: bool) -> anyhow::Result<String> {
    let text = read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let settings: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .with_context(|| format!("{} is not JSON", file.display()))?;
    let devices = devices(&settings);
    let hints = hints(&settings);
    if devices.is_empty() && hints.is_empty() {
        bail!("{} has neither Devices nor settings of a gateway", file.display());
    }
    let (mut taken, mut refused) = (0, String::new());
    for (id, device) in devices {
        let texts = |name: &str| {
            let list = member(device, name)?.as_array()?;
            Some(list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect())
        };
        let text = |name: &str| member(device, name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let new = NewDevice {
            id: id.clone(),
            device_type: text("deviceType"),
            publish: texts("allowedPublishTopics"),
            subscribe: texts("allowedSubscribeTopics"),
            // Without one it would get a new one, which it does not know.
            token: Some(text("token")),
            takes_short_token,
            ..NewDevice::default()
        };
        match place.add(new).await {
            Ok(_) => taken += 1,
            Err(error) => _ = writeln!(refused, "  {id}: {error}"),
        }
    }
    let devices = if taken == 1 { "device" } else { "devices" };
    let not = refused.lines().count();
    let mut said = format!("{taken} {devices} taken over, {not} not{}\n{refused}", if not == 0 { "." } else { ":" });
    if !hints.is_empty() {
        let _ = write!(said, "\nThe same in this box's settings:\n\n{hints}");
    }
    Ok(said.trim_end().to_owned())
}

fn read(file: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the devices by id: of a member `Devices` at the top or below `Gateway`, or of a file that is the list.
fn devices(settings: &Value) -> Vec<(String, &Value)> {
    let below = member(settings, "Gateway").and_then(|gateway| member(gateway, "Devices"));
    let list = member(settings, "Devices").or(below).unwrap_or(settings);
    match list {
        Value::Array(list) => {
            let id = |device: &Value| member(device, "deviceId").and_then(Value::as_str).unwrap_or("").to_owned();
            list.iter().map(|device| (id(device), device)).collect()
        }
        Value::Object(by_id) if !std::ptr::eq(list, settings) => {
            by_id.iter().map(|(id, device)| (id.clone(), device)).collect()
        }
        _ => Vec::new(),
    }
}

/// Writes what the bridge's other settings are here.
fn hints(settings: &Value) -> String {
    let (mut gateway, mut jwt) = (String::new(), String::new());
    for (section, name, key) in SETTINGS {
        let Some(value) = member(settings, section).and_then(|section| member(section, name)) else { continue };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let unit = if name.ends_with("Seconds") { "s" } else { "" };
        let _ = match section {
            "Jwt" => writeln!(jwt, "    {key}: {value}{unit}"),
            _ => writeln!(gateway, "  {key}: {value}{unit}"),
        };
    }
    if member(settings, "Jwt").and_then(|jwt| member(jwt, "Secret")).is_some() {
        jwt.push_str("    # The text of Jwt.Secret, in a file that only andon can read.\n");
        jwt.push_str("    secret_file: /etc/andon/jwt.secret\n");
    }
    match (gateway.is_empty(), jwt.is_empty()) {
        (true, true) => String::new(),
        (_, true) => format!("gateway:\n{gateway}"),
        _ => format!("gateway:\n{gateway}  jwt:\n{jwt}"),
    }
}

/// Returns a member, whatever its case.
fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
