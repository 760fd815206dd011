//! A notice as a text message by a modem on a serial line, with AT commands in text mode.
//!
//! Source: 3GPP TS 27.005 (`AT+CMGF`, `AT+CMGS`), 27.007 (`AT+CPIN`, `AT+CSCS`), 23.038 (the alphabet).

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};

use super::Failure;
use crate::model::Secret;
use crate::notify::message::Message;
use crate::template::Template;

/// Longest text of one message, in signs of the alphabet.
const TEXT_SIGNS_MAX: usize = 160;

/// So many signs are for the words: an address that leaves less is left out.
const WORDS_SIGNS_MIN: usize = 60;

/// Most that is read while an answer is awaited.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// How long the modem may think about an ordinary command; sending may take the way's whole time.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a line that has nothing to say, or takes nothing, is asked again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How often a line that another process uses is tried.
const BUSY_INTERVAL: Duration = Duration::from_millis(200);

/// Ends a text.
const SUBSTITUTE: u8 = 0x1A;

/// One entry of `sms_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sms {
    /// The serial line: `/dev/ttyUSB0`.
    pub device: PathBuf,
    /// Bits a second; a modem on USB does not care.
    pub baud: u32,
    /// The card's PIN, if it has one.
    pub pin: Option<Secret>,
    /// The number.
    pub to: String,
    /// What is said.
    pub text: Template,
}

impl Sms {
    pub(super) fn text(&self, message: &Message<'_>) -> Result<Vec<u8>, String> {
        let words = match message.own_digest(&self.text) {
            Some(digest) => digest.headline.clone(),
            None => message.render(&self.text)?,
        };
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let signs = |text: &str| -> Vec<u8> { text.chars().flat_map(|c| gsm(c).iter().copied()).collect() };
        let mut text = signs(&words);
        if text.is_empty() {
            return Err("the text is empty".to_owned());
        }
        let link = if self.text.reads("AckURL") { String::new() } else { message.ack_url() };
        let room = TEXT_SIGNS_MAX.saturating_sub(link.len() + 1);
        if link.is_empty() || room < WORDS_SIGNS_MIN || !link.chars().all(stays_itself) {
            text.truncate(TEXT_SIGNS_MAX);
        } else {
            text.truncate(room);
            text.extend(signs(&format!(" {link}")));
        }
        Ok(text)
    }
}

/// Returns a character in the alphabet of GSM, or what comes near it. Its extension is not used: it begins with the
/// sign that ends a command.
fn gsm(c: char) -> &'static [u8] {
    /// The printable signs that ASCII and the alphabet have in common.
    const SAME: &[u8] = b" !\"#%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    match c {
        '@' => &[0x00],
        '$' => &[0x02],
        '_' => &[0x11],
        'è' => &[0x04],
        'é' => &[0x05],
        'Ä' => &[0x5B],
        'Ö' => &[0x5C],
        'Ü' => &[0x5E],
        'ß' => &[0x1E],
        'ä' => &[0x7B],
        'ö' => &[0x7C],
        'ü' => &[0x7E],
        'à' => &[0x7F],
        '[' | '{' => b"(",
        ']' | '}' => b")",
        '~' => b"-",
        '\\' | '|' => b"/",
        '^' | '`' => b"'",
        '€' => b"EUR",
        '°' => b" deg",
        '…' => b"...",
        c => u8::try_from(c)
            .ok()
            .and_then(|b| SAME.iter().position(|s| *s == b))
            .map_or(b"?", |at| SAME.get(at..=at).unwrap_or(b"?")),
    }
}

/// Tells whether a character of an address is the same in the alphabet of GSM, and one sign.
fn stays_itself(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._:/".contains(c)
}

/// Sends a text; taken when the modem has handed it to the network.
pub(super) async fn send(sms: &Sms, text: &[u8], timeout: Duration) -> Result<(), Failure> {
    match tokio::time::timeout(timeout, talk(sms, text)).await {
        Ok(outcome) => outcome.map_err(Failure::passing),
        Err(_) => Err(Failure::passing(format!("the modem did not send it within {timeout:?}"))),
    }
}

async fn talk(sms: &Sms, text: &[u8]) -> Result<(), String> {
    let mut line = Line::open(sms).await?;
    // A modem that was left in the midst of a text takes this as its end.
    line.write(&[0x1B, b'\r']).await?;
    line.command("ATE0").await?;
    if let Some(pin) = &sms.pin
        && line.command("AT+CPIN?").await?.contains("SIM PIN")
    {
        line.command(&format!("AT+CPIN=\"{}\"", pin.expose())).await.map_err(|e| e.replace(pin.expose(), "***"))?;
    }
    line.command("AT+CMGF=1").await?;
    line.command("AT+CSCS=\"GSM\"").await?;
    line.write(format!("AT+CMGS=\"{}\"\r", sms.to).as_bytes()).await?;
    line.answer(|heard| heard.ends_with("> ")).await?;
    line.write(text).await?;
    line.write(&[SUBSTITUTE]).await?;
    line.answer(is_final).await.map(|_| ())
}

/// The modem's line, ours alone while it is open.
struct Line {
    fd: OwnedFd,
    heard: Vec<u8>,
}

impl Line {
    async fn open(sms: &Sms) -> Result<Line, String> {
        let told = |e: Errno| format!("{}: {e}", sms.device.display());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&sms.device, flags, Mode::empty()).map_err(told)?;
        while flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err() {
            tokio::time::sleep(BUSY_INTERVAL).await;
        }
        let mut settings: Termios = rustix::termios::tcgetattr(&fd).map_err(told)?;
        settings.make_raw();
        settings.set_speed(sms.baud).map_err(told)?;
        rustix::termios::tcsetattr(&fd, OptionalActions::Now, &settings).map_err(told)?;
        Ok(Line { fd, heard: Vec::new() })
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.fd, bytes) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(Errno::AGAIN) => tokio::time::sleep(POLL_INTERVAL).await,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Gives a command and returns what the modem says up to `OK`.
    async fn command(&mut self, command: &str) -> Result<String, String> {
        self.write(command.as_bytes()).await?;
        self.write(b"\r").await?;
        match tokio::time::timeout(COMMAND_TIMEOUT, self.answer(is_final)).await {
            Ok(answer) => answer.map_err(|e| format!("{command}: {e}")),
            Err(_) => Err(format!("{command}: no answer within {COMMAND_TIMEOUT:?}")),
        }
    }

    /// Reads until the answer is whole.
    async fn answer(&mut self, is_whole: fn(&str) -> bool) -> Result<String, String> {
        self.heard.clear();
        loop {
            let mut piece = [0; 256];
            match rustix::io::read(&self.fd, &mut piece) {
                Ok(0) => return Err("the line was closed".to_owned()),
                Ok(length) => self.heard.extend_from_slice(piece.get(..length).unwrap_or_default()),
                Err(Errno::AGAIN) => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            }
            if self.heard.len() > ANSWER_BYTES_MAX {
                return Err("the modem says too much".to_owned());
            }
            let text = String::from_utf8_lossy(&self.heard).into_owned();
            if let Some(error) = text.lines().find(|l| *l == "ERROR" || l.starts_with("+CM") && l.contains("ERROR")) {
                return Err(error.to_owned());
            }
            if is_whole(&text) {
                return Ok(text);
            }
        }
    }
}

fn is_final(heard: &str) -> bool {
    heard.ends_with("OK\r\n")
}
