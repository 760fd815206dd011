//! Walks the fields of a protobuf message without building it, and writes fields one after another.
//!
//! Source: Protocol Buffers, "Encoding"; groups (wire types 3 and 4) are not taken.

use super::{Error, Result};

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
pub(super) const FIXED32: u8 = 5;

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    /// Its number.
    pub(super) number: u64,
    /// What it holds.
    pub(super) value: Value<'a>,
}

/// A field's value with its offset.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// Length-delimited.
    Bytes(&'a [u8], usize),
    /// Varint or fixed width, as bits.
    Number(u64, usize),
}

/// Walks the fields of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    /// Where `bytes` starts in the whole body, for messages.
    base: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], base: usize) -> Self {
        Fields { bytes, at: 0, base }
    }

    pub(super) fn fail<T>(&self, what: &'static str) -> Result<T> {
        Err(Error::Protobuf { what, offset: self.base + self.at })
    }

    /// Takes a message of less than 128 bytes, with its offset, if one comes next under this tag of one byte;
    /// else nothing is taken.
    pub(super) fn short_message(&mut self, tag: u8) -> Option<(&'a [u8], usize)> {
        let [found, len @ 0..0x80, rest @ ..] = self.bytes.get(self.at..)? else { return None };
        let message = rest.get(..usize::from(*len)).filter(|_| *found == tag)?;
        let at = self.base + self.at + 2;
        self.at += 2 + message.len();
        Some((message, at))
    }

    fn varint(&mut self) -> Result<u64> {
        if let Some(short @ 0..0x80) = self.bytes.get(self.at) {
            self.at += 1;
            return Ok(u64::from(*short));
        }
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.bytes.get(self.at) else { return self.fail("a number is cut off") };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if shift == 63 && *byte > 1 {
                    return self.fail("a number over 64 bits");
                }
                return Ok(value);
            }
        }
        self.fail("a number over 64 bits")
    }

    /// Takes a number of a packed list; `None` at its end.
    pub(super) fn next_varint(&mut self) -> Result<Option<u64>> {
        if self.at == self.bytes.len() { Ok(None) } else { self.varint().map(Some) }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return self.fail("a field is longer than its frame");
        };
        self.at += taken.len();
        Ok(taken)
    }

    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        let value = match u8::try_from(tag & 7).unwrap_or(u8::MAX) {
            _ if number == 0 => return self.fail("field number 0"),
            VARINT => {
                let at = self.base + self.at;
                Value::Number(self.varint()?, at)
            }
            FIXED64 => {
                let at = self.base + self.at;
                Value::Number(little_endian(self.take(8)?), at)
            }
            BYTES => {
                let len = self.varint()?;
                let at = self.base + self.at;
                Value::Bytes(self.take(len)?, at)
            }
            FIXED32 => {
                let at = self.base + self.at;
                Value::Number(little_endian(self.take(4)?), at)
            }
            _ => return self.fail("an unknown wire type"),
        };
        Ok(Some(Field { number, value }))
    }
}

/// Reads bytes that are one varint and nothing else; `None` if they are not.
pub(super) fn whole_varint(bytes: &[u8]) -> Option<u64> {
    let (last, more) = bytes.split_last()?;
    let fits = bytes.len() < 10 || (bytes.len() == 10 && *last <= 1);
    let is_whole = *last < 0x80 && more.iter().all(|byte| *byte >= 0x80);
    (fits && is_whole).then(|| bytes.iter().rev().fold(0, |value, byte| (value << 7) | u64::from(byte & 0x7f)))
}

/// Walks fields that have been checked before; ends where they are not sound.
pub(super) fn sound_fields(bytes: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut fields = Fields::new(bytes, 0);
    std::iter::from_fn(move || fields.next().ok().flatten())
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// Appends a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Returns how many bytes a varint takes.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends the tag of a field with a number below 16.
pub(super) fn put_tag(out: &mut Vec<u8>, number: u8, wire: u8) {
    out.push(number << 3 | wire);
}

/// Appends a length-delimited field.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_tag(out, number, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field that is a varint.
pub(super) fn put_number(out: &mut Vec<u8>, number: u8, value: u64) {
    put_tag(out, number, VARINT);
    put_varint(out, value);
}

/// Returns the length of a length-delimited field with a one-byte tag.
pub(super) fn bytes_field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// Appends a message of two texts, as labels are everywhere: name 1, value 2.
pub(super) fn put_label(out: &mut Vec<u8>, number: u8, name: &[u8], value: &[u8]) {
    put_tag(out, number, BYTES);
    put_varint(out, (bytes_field_len(name.len()) + bytes_field_len(value.len())) as u64);
    put_bytes(out, 1, name);
    put_bytes(out, 2, value);
}
