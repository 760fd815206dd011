//! What the black box had of a device when an alarm of it was raised, kept in the state of the box.
//!
//! A copy is a JSON array of one array a frame (`at` in ms, `in`/`out`, kind, bytes, subject, mark, code, payload), packed
//! by zstd: 2 to 10 bytes a frame. The newest 2 000 frames are kept, three copies of one alarm and 64 in all, the
//! oldest go. Two MiB on disk.

use serde::{Deserialize, Serialize};

use super::entry::{Direction, FrameView, Seen};
use crate::gateway::error::{Error, Result};
use crate::gateway::protocol::FrameType;
use crate::model::Timestamp;
use crate::storage::state::{FrozenFrames, State};

/// Frames of one copy.
const FRAMES_MAX: usize = 2000;
/// Copies of one alarm, and of all.
const COPIES_OF_ALARM_MAX: u32 = 3;
const COPIES_MAX: u32 = 64;
/// Bytes of a copy, unpacked, that are read: what the frames may hold with payloads of 4 KiB.
const UNPACKED_BYTES_MAX: usize = 32 << 20;
const LEVEL: i32 = 3;

/// A frozen copy without its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenHead {
    /// Its number.
    pub id: i64,
    /// Whose frames.
    pub device_id: String,
    /// The alarm, as links name it: 16 hexadecimal digits.
    pub alarm: String,
    /// The alarm's name.
    pub alarm_name: String,
    /// When the alarm was raised.
    pub raised_at: Timestamp,
    /// How many frames.
    pub frames: u32,
}

/// A frozen copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// What it is of.
    pub head: FrozenHead,
    /// The frames, the oldest first.
    pub frames: Vec<FrameView>,
}

/// A frame as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Row(i64, String, String, u32, String, String, String, String);

/// Writes a copy. Blocks on a file sync.
///
/// # Errors
/// [`Error::State`].
pub(in crate::gateway) fn freeze(
    state: &State,
    (device_id, alarm, alarm_name): (&str, &str, &str),
    raised_at: Timestamp,
    frames: &[FrameView],
) -> Result<()> {
    let newest = frames.get(frames.len().saturating_sub(FRAMES_MAX)..).unwrap_or_default();
    let row = FrozenFrames {
        id: 0,
        device_id: device_id.to_owned(),
        alarm: alarm.to_owned(),
        alarm_name: alarm_name.to_owned(),
        raised_at,
        frames: u32::try_from(newest.len()).unwrap_or(u32::MAX),
    };
    state.frozen().add(&row, &pack(newest)?, COPIES_OF_ALARM_MAX, COPIES_MAX)?;
    Ok(())
}

/// Reads one copy. Blocks.
///
/// # Errors
/// [`Error::State`], [`Error::Frozen`].
pub(in crate::gateway) fn read(state: &State, id: i64) -> Result<Option<Frozen>> {
    let Some((row, content)) = state.frozen().get(id)? else { return Ok(None) };
    Ok(Some(Frozen { head: row.into(), frames: unpack(&content)? }))
}

impl From<FrozenFrames> for FrozenHead {
    fn from(row: FrozenFrames) -> Self {
        let FrozenFrames { id, device_id, alarm, alarm_name, raised_at, frames } = row;
        FrozenHead { id, device_id, alarm, alarm_name, raised_at, frames }
    }
}

fn pack(frames: &[FrameView]) -> Result<Vec<u8>> {
    let rows: Vec<Row> = frames
        .iter()
        .map(|f| {
            let (way, kind) = (f.direction().to_owned(), f.kind().to_owned());
            let (subject, mark) = (f.subject.clone(), f.mark.clone());
            Row(f.at.as_millis(), way, kind, f.size, subject, mark, f.code.clone(), f.payload.clone())
        })
        .collect();
    let json = serde_json::to_vec(&rows).map_err(|error| Error::Frozen(error.to_string()))?;
    zstd::bulk::compress(&json, LEVEL).map_err(|error| Error::Frozen(error.to_string()))
}

fn unpack(content: &[u8]) -> Result<Vec<FrameView>> {
    let broken = |error: String| Error::Frozen(error);
    let json = zstd::bulk::decompress(content, UNPACKED_BYTES_MAX).map_err(|e| broken(e.to_string()))?;
    let rows: Vec<Row> = serde_json::from_slice(&json).map_err(|e| broken(e.to_string()))?;
    Ok(rows.into_iter().map(FrameView::from).collect())
}

impl From<Row> for FrameView {
    fn from(Row(at, way, kind, size, subject, mark, code, payload): Row) -> Self {
        let frame = FrameType::ALL.iter().find(|frame| frame.as_str() == kind);
        let seen = match (frame, kind.as_str()) {
            (Some(frame), _) => Seen::Frame(*frame as u8),
            (None, "begin") => Seen::Begin,
            (None, "end") => Seen::End,
            (None, _) => Seen::Other,
        };
        let direction = if way == "out" { Direction::Out } else { Direction::In };
        FrameView { at: Timestamp::from_millis(at), direction, seen, size, subject, mark, code, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(count: i64) -> Vec<FrameView> {
        let seen = [Seen::Begin, Seen::Frame(0), Seen::Frame(7), Seen::Other, Seen::End];
        let frame = |(n, seen): (i64, &Seen)| FrameView {
            at: Timestamp::from_millis(n),
            direction: if n % 2 == 0 { Direction::In } else { Direction::Out },
            seen: *seen,
            size: 120,
            subject: "telemetry.press-1.temperature".to_owned(),
            mark: n.to_string(),
            code: String::new(),
            payload: "\"ä\"".to_owned(),
        };
        (0..count).zip(seen.iter().cycle()).map(frame).collect()
    }

    #[test]
    fn a_copy_comes_back_and_is_small() {
        let packed = pack(&frames(2000)).unwrap();
        assert!(packed.len() < 20_000, "{}", packed.len());
        assert_eq!(unpack(&packed).unwrap(), frames(2000));
        for broken in [&packed[..100], b"", b"nothing"] {
            assert!(unpack(broken).is_err());
        }
    }

    #[test]
    fn copies_are_bounded_and_say_what_they_are_of() {
        let state = State::in_memory();
        let at = Timestamp::from_millis;
        freeze(&state, ("d", "00000000000000aa", "Hot"), at(1), &frames(3000)).unwrap();
        let list = state.frozen().of_device("d").unwrap();
        assert_eq!((list.len(), list[0].frames, list[0].alarm_name.as_str()), (1, 2000, "Hot"));
        let read = read(&state, list[0].id).unwrap().unwrap();
        assert_eq!((read.frames.len(), read.frames[0].at, read.head.raised_at), (2000, at(1000), at(1)));
        for n in 2..10 {
            freeze(&state, ("d", "00000000000000aa", "Hot"), at(n), &frames(5)).unwrap();
        }
        let raised: Vec<_> = state.frozen().of_alarm("00000000000000aa").unwrap().iter().map(|c| c.raised_at).collect();
        assert_eq!(raised, [at(9), at(8), at(7)]);
        for n in 0..100 {
            freeze(&state, ("e", &format!("{n:016x}"), "Cold"), at(100 + n), &frames(1)).unwrap();
        }
        assert_eq!(state.frozen().of_device("e").unwrap().len(), 64);
        assert!(state.frozen().of_device("d").unwrap().is_empty());
    }
}
