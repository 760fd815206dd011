//! How things stand as coils and registers of a Modbus device: a stack light, a horn, a control.
//!
//! Each output is on while an alarm that passes its matchers fires, whatever group it is in; so it is not the news
//! that is sent, but the state. Modbus TCP, functions 5 (write one coil) and 6 (write one register).
//!
//! Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Failure;
use crate::model::Matcher;
use crate::notify::message::Message;

/// Bytes before the function: transaction, protocol, length, unit.
const HEADER_BYTES: usize = 7;

const WRITE_COIL: u8 = 5;
const WRITE_REGISTER: u8 = 6;
const COIL_ON: u16 = 0xFF00;

/// One entry of `modbus_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Modbus {
    /// Host and port.
    pub address: String,
    /// Which unit behind the address.
    pub unit: u8,
    /// What is written; at least one.
    pub outputs: Vec<Output>,
}

/// An entry of `outputs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Where.
    pub place: Place,
    /// Which alarms turn it on: those that pass all; empty: every one.
    pub matchers: Vec<Matcher>,
}

/// What is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A coil by its number, counted from 0.
    Coil(u16),
    /// A register by its number, counted from 0, with its values.
    Register {
        /// Its number.
        number: u16,
        /// While an alarm fires.
        on: u16,
        /// While none does.
        off: u16,
    },
}

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    function: u8,
    number: u16,
    value: u16,
}

impl Modbus {
    /// Without `send_resolved` outputs are only turned on; somebody else turns them off.
    pub(super) fn writes(&self, message: &Message<'_>, send_resolved: bool) -> Vec<Write> {
        let own = message.notice.alarms.iter().filter(|a| a.ends_at.is_none());
        let firing: Vec<_> = own.chain(message.standing.iter()).collect();
        let write = |output: &Output| {
            let passes = |labels| output.matchers.iter().all(|m| m.matches_labels(labels));
            let is_on = firing.iter().any(|a| passes(&a.labels));
            let write = match output.place {
                Place::Coil(number) => Write { function: WRITE_COIL, number, value: if is_on { COIL_ON } else { 0 } },
                Place::Register { number, on, off } => {
                    Write { function: WRITE_REGISTER, number, value: if is_on { on } else { off } }
                }
            };
            (is_on || send_resolved).then_some(write)
        };
        self.outputs.iter().filter_map(write).collect()
    }
}

/// Writes one after the other over one connection; taken if the device confirms each.
pub(super) async fn write(address: &str, unit: u8, writes: &[Write], timeout: Duration) -> Result<(), Failure> {
    let all = async {
        let failed = |e: std::io::Error| Failure::passing(e.to_string());
        let mut stream = TcpStream::connect(address).await.map_err(failed)?;
        for (write, transaction) in writes.iter().zip(1u16..) {
            let request = request(transaction, unit, *write);
            stream.write_all(&request).await.map_err(failed)?;
            let mut answer = [0; HEADER_BYTES + 2];
            stream.read_exact(&mut answer).await.map_err(failed)?;
            let [_, _, _, _, _, _, _, function, code] = answer;
            if function == write.function | 0x80 {
                return Err(Failure::refusal(format!("the device refuses: {}", exception(code))));
            }
            let mut rest = [0; 3];
            stream.read_exact(&mut rest).await.map_err(failed)?;
            if answer != request[..HEADER_BYTES + 2] || rest != request[HEADER_BYTES + 2..] {
                return Err(Failure::passing("the device's answer does not fit the request"));
            }
        }
        Ok(())
    };
    match tokio::time::timeout(timeout, all).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::passing(format!("no answer within {timeout:?}"))),
    }
}

fn request(transaction: u16, unit: u8, write: Write) -> [u8; HEADER_BYTES + 5] {
    let ([t1, t2], [n1, n2], [v1, v2]) =
        (transaction.to_be_bytes(), write.number.to_be_bytes(), write.value.to_be_bytes());
    [t1, t2, 0, 0, 0, 6, unit, write.function, n1, n2, v1, v2]
}

fn exception(code: u8) -> String {
    match code {
        1 => "it does not know the function".to_owned(),
        2 => "it has no such coil or register".to_owned(),
        3 => "it does not take the value".to_owned(),
        4 => "it failed".to_owned(),
        6 => "it is busy".to_owned(),
        other => format!("exception {other}"),
    }
}
