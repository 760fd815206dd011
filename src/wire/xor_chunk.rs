//! Samples packed as Prometheus packs them in its blocks and streams: differences of differences of times, values
//! by their bits against the value before.
//!
//! We store samples otherwise; this is what remote read hands out. A chunk is the count of its samples in two bytes,
//! highest first, and a stream of bits, highest first. The first sample is its time as a zigzag varint and its value
//! whole; the second the distance in time as a varint; each further one how much the distance changed:
//!
//! | bits before | change                       |
//! |-------------|------------------------------|
//! | `0`         | none                         |
//! | `10`        | 14 bits                      |
//! | `110`       | 17 bits                      |
//! | `1110`      | 20 bits                      |
//! | `1111`      | 64 bits                      |
//!
//! A value is `0` if it did not change; `10` and the bits that differ, in the frame of the value before; or `11`, five
//! bits for the zeros before, six for the length (0 is 64), and the bits that differ.
//! Source: Prometheus 3, `tsdb/chunkenc/xor.go`; "Gorilla: A Fast, Scalable, In-Memory Time Series Database" (2015).

/// Most samples of a chunk, as upstream has it.
pub const SAMPLES_MAX: usize = 120;

/// Packs up to [`SAMPLES_MAX`] samples; what is over is left out. Times are in milliseconds and rise.
#[must_use]
pub fn encode(times: &[i64], values: &[f64]) -> Vec<u8> {
    let count = times.len().min(values.len()).min(SAMPLES_MAX);
    let mut bits = Bits { bytes: u16::try_from(count).unwrap_or(0).to_be_bytes().to_vec(), free: 0 };
    let (mut last_time, mut distance) = (0i64, 0i64);
    let mut packer = Values::default();
    for (i, (time, value)) in times.iter().zip(values).take(count).enumerate() {
        let next = time.wrapping_sub(last_time);
        match i {
            0 => {
                bits.varint(((time << 1) ^ (time >> 63)).cast_unsigned());
                bits.push(value.to_bits(), 64);
                packer.last = value.to_bits();
            }
            1 => bits.varint(next.cast_unsigned()),
            _ => change(&mut bits, next.wrapping_sub(distance)),
        }
        if i > 0 {
            packer.push(&mut bits, value.to_bits());
            distance = next;
        }
        last_time = *time;
    }
    bits.bytes
}

/// Writes how much a distance changed.
fn change(bits: &mut Bits, change: i64) {
    let fits = |width: u32| -((1 << (width - 1)) - 1) <= change && change <= 1 << (width - 1);
    let (mark, mark_bits, width) = match change {
        0 => (0, 1, 0),
        _ if fits(14) => (0b10, 2, 14),
        _ if fits(17) => (0b110, 3, 17),
        _ if fits(20) => (0b1110, 4, 20),
        _ => (0b1111, 4, 64),
    };
    bits.push(mark, mark_bits);
    bits.push(change.cast_unsigned(), width);
}

/// Packs values, each against the one before.
#[derive(Debug, Default)]
struct Values {
    last: u64,
    /// Zeros before and after the bits that were written last; `None` before any were.
    frame: Option<(u32, u32)>,
}

impl Values {
    fn push(&mut self, bits: &mut Bits, value: u64) {
        let differs = value ^ self.last;
        self.last = value;
        if differs == 0 {
            bits.push(0, 1);
            return;
        }
        // Five bits hold the zeros before.
        let (before, after) = (differs.leading_zeros().min(31), differs.trailing_zeros());
        match self.frame {
            Some((wide_before, wide_after)) if before >= wide_before && after >= wide_after => {
                bits.push(0b10, 2);
                bits.push(differs >> wide_after, 64 - wide_before - wide_after);
            }
            _ => {
                let width = 64 - before - after;
                bits.push(0b11, 2);
                bits.push(u64::from(before), 5);
                bits.push(u64::from(width % 64), 6);
                bits.push(differs >> after, width);
                self.frame = Some((before, after));
            }
        }
    }
}

/// Bits, highest first.
#[derive(Debug)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are free.
    free: u32,
}

impl Bits {
    /// Appends the lowest `width` bits of a number.
    fn push(&mut self, number: u64, width: u32) {
        let mut left = width;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            left -= taken;
            self.free -= taken;
            let part = (number >> left) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << self.free).to_le_bytes()[0];
            }
        }
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push((number & 0x7f) | 0x80, 8);
            number >>= 7;
        }
        self.push(number, 8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads bits, highest first.
    struct Reader<'a>(&'a [u8], usize);

    impl Reader<'_> {
        fn take(&mut self, width: u32) -> u64 {
            (0..width).fold(0, |number, _| {
                let bit = self.0[self.1 / 8] >> (7 - self.1 % 8) & 1;
                self.1 += 1;
                number << 1 | u64::from(bit)
            })
        }

        fn varint(&mut self) -> u64 {
            let mut number = 0;
            for shift in (0..).step_by(7) {
                let byte = self.take(8);
                number |= (byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            number
        }

        fn change(&mut self) -> i64 {
            let ones = (0..4).take_while(|_| self.take(1) == 1).count();
            let width = [0, 14, 17, 20, 64][ones];
            let bits = self.take(width);
            // As upstream: of the two numbers with one picture the higher one is meant.
            if width < 64 && width > 0 && bits > 1 << (width - 1) { (bits as i64) - (1 << width) } else { bits as i64 }
        }
    }

    /// Unpacks a chunk, as upstream's iterator does.
    fn decode(chunk: &[u8]) -> Vec<(i64, u64)> {
        let count = u16::from_be_bytes([chunk[0], chunk[1]]);
        let mut reader = Reader(&chunk[2..], 0);
        let mut found = Vec::new();
        let (mut time, mut distance, mut value, mut frame) = (0i64, 0i64, 0u64, (0, 0));
        for i in 0..count {
            if i == 0 {
                let zigzag = reader.varint();
                (time, value) = ((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64), reader.take(64));
                found.push((time, value));
                continue;
            }
            distance = if i == 1 { reader.varint() as i64 } else { distance.wrapping_add(reader.change()) };
            time = time.wrapping_add(distance);
            if reader.take(1) == 1 {
                if reader.take(1) == 1 {
                    let before = reader.take(5) as u32;
                    let width = match reader.take(6) as u32 {
                        0 => 64,
                        width => width,
                    };
                    frame = (before, 64 - before - width);
                }
                value ^= reader.take(64 - frame.0 - frame.1) << frame.1;
            }
            found.push((time, value));
        }
        found
    }

    fn check(times: &[i64], values: &[f64]) {
        let expected: Vec<_> = times.iter().copied().zip(values.iter().map(|v| v.to_bits())).collect();
        assert_eq!(decode(&encode(times, values)), expected);
    }

    #[test]
    fn samples_come_back() {
        check(&[], &[]);
        check(&[-5], &[f64::NAN]);
        check(&[0, 15_000, 30_000, 45_001, 1 << 40, i64::MAX], &[1.0, 1.0, -2.5, 1e300, 0.0, f64::INFINITY]);
        let times: Vec<i64> = (0..120).map(|i| i * 1000 + i % 3).collect();
        let values: Vec<f64> = (0..120).map(|i| f64::from(i * i) / 7.0).collect();
        check(&times, &values);
        // Both ends of each width.
        for edge in [8191, 8192, -8191, 65535, 65536, 65537, -65535, 524_288, 524_289, -524_287, -524_288] {
            check(&[0, 1_000_000, 2_000_000 + edge], &[1.0, 2.0, 3.0]);
        }
    }

    /// The chunk is that of a block which promtool 2.42 made of the same samples.
    #[test]
    fn chunks_are_those_of_upstream() {
        let after_ms = [0, 15_000, 30_000, 45_001, 60_000, 68_195, 140_000, 900_000, 1_900_000];
        let times = after_ms.map(|after| 1_700_000_000_000 + after);
        let values = [1.0, 1.0, -2.5, 1e300, 0.0, f64::INFINITY, 0.1, 0.3, 123_456.789];
        let hex: String = encode(&times, &values).iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = "000980a0abfef9623ff00000000000009875301dffec000e0faf8cf90f22001d67bffe9f8df90f22001d67a56c9ff\
                        c000000000000cf87ac3f404999999999999be0000000000150087a77d5555555555553c7530187efe5a2e7f591a8bf40";
        assert_eq!(hex, expected);
    }

    proptest! {
        #[test]
        fn any_samples_come_back(samples in proptest::collection::vec((any::<i64>(), any::<u64>()), 0..SAMPLES_MAX)) {
            let mut times: Vec<i64> = samples.iter().map(|s| s.0 / 4).collect();
            times.sort_unstable();
            let values: Vec<f64> = samples.iter().map(|s| f64::from_bits(s.1)).collect();
            check(&times, &values);
        }
    }
}
