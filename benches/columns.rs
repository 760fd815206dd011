//! What a sample costs by class of series: bytes, and time to write and to read it.
//!
//!     cargo bench --bench columns [-- SAMPLES]
//!
//! Prints a row for each class that a factory has, and one for all of them in the shares that they have there.

#![expect(clippy::print_stdout, reason = "prints a table")]
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::hint::black_box;
use std::time::Instant;

use andon::storage::tsdb::bench::{open_values, seal_values};

/// Series of each class that are measured.
const SERIES: u64 = 20;
/// Each is written and read so often; the best time counts.
const ROUNDS: usize = 7;

/// A class of series.
struct Class {
    name: &'static str,
    /// Of 1000 series of a factory.
    share: f64,
    values: fn(&mut Random, usize) -> Vec<f64>,
}

const CLASSES: [Class; 11] = [
    Class { name: "constant", share: 49.0, values: |r, n| vec![r.below(90_000) as f64 / 100.0; n] },
    Class { name: "state 0/1/2", share: 42.0, values: |r, n| collect(n, |_| r.rarely(150) * (1.0 + r.rarely(2))) },
    Class { name: "slow counter", share: 119.0, values: |r, n| sum(n, 700.0, |_| r.rarely(90)) },
    Class { name: "integer counter", share: 104.0, values: |r, n| sum(n, 8e6, |_| 20.0 + r.below(7) as f64) },
    Class { name: "decimal counter", share: 37.0, values: |r, n| scaled(sum(n, 9e6, |_| 90.0 + r.below(16) as f64)) },
    Class { name: "histogram bucket", share: 288.0, values: |r, n| sum(n, 4e5, |_| bucket(r)) },
    Class { name: "slow gauge", share: 182.0, values: |r, n| scaled(sum(n, 4500.0, |_| walk(r))) },
    Class {
        name: "noise",
        share: 102.0,
        values: |r, n| collect(n, |_| (120 + r.below(60) + r.below(60)) as f64 / 100.0),
    },
    Class { name: "memory in pages", share: 4.0, values: |r, n| scale(sum(n, 5e5, |_| walk(r) * 90.0), 4096.0) },
    Class {
        name: "time of day",
        share: 20.0,
        values: |r, n| collect(n, |i| (1.79e12 + 15e3 * i as f64 - r.below(900) as f64) / 1e3),
    },
    Class { name: "double", share: 45.0, values: |r, n| smooth(n, r) },
];

fn main() {
    let samples = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(480);
    println!("{samples} samples a column: bytes a sample (ns to write / to read one)\n");
    println!("| class | share | packed | with symbols |\n|---|---|---|---|");
    let mut all = [[0.0; 3]; 2];
    let shares: f64 = CLASSES.iter().map(|c| c.share).sum();
    for class in &CLASSES {
        let found = [false, true].map(|stay| measure(class, samples, stay));
        for (all, found) in all.iter_mut().zip(&found) {
            all.iter_mut().zip(found).for_each(|(all, f)| *all += f * class.share / shares);
        }
        println!("| {} | {:.1} % | {} | {} |", class.name, class.share / 10.0, show(found[0]), show(found[1]));
    }
    println!("| all | | {} | {} |", show(all[0]), show(all[1]));
}

fn show([bytes, write, read]: [f64; 3]) -> String {
    format!("{bytes:.3} ({write:.0}/{read:.1})")
}

/// Returns bytes, time to write and time to read, each of a sample.
fn measure(class: &Class, samples: usize, stay: bool) -> [f64; 3] {
    let mut found = [0.0; 3];
    for seed in 0..SERIES {
        let values = (class.values)(&mut Random(seed), samples);
        let packed = seal_values(&values, stay);
        let best = |run: &dyn Fn()| (0..ROUNDS).map(|_| time(run)).fold(f64::MAX, f64::min);
        found[0] += packed.len() as f64;
        found[1] += best(&|| drop(black_box(seal_values(black_box(&values), stay))));
        found[2] += best(&|| drop(black_box(open_values(black_box(&packed)))));
        let back = open_values(&packed).expect("what was written is read");
        assert!(back.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())), "{}", class.name);
    }
    found.map(|sum| sum / SERIES as f64 / samples as f64)
}

fn time(run: &dyn Fn()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64
}

/// Numbers that are the same in every run. Source: Steele et al., SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns 1 in one of so many cases, else 0.
    fn rarely(&mut self, one_in: u64) -> f64 {
        f64::from(u8::from(self.below(one_in) == 0))
    }
}

fn collect(samples: usize, mut value: impl FnMut(usize) -> f64) -> Vec<f64> {
    (0..samples).map(&mut value).collect()
}

/// Adds up steps.
fn sum(samples: usize, start: f64, mut step: impl FnMut(usize) -> f64) -> Vec<f64> {
    let mut last = start;
    collect(samples, |i| {
        last += step(i);
        last
    })
}

fn scale(values: Vec<f64>, by: f64) -> Vec<f64> {
    values.into_iter().map(|v| v * by).collect()
}

/// Turns integers into decimals with one place.
fn scaled(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|v| v / 10.0).collect()
}

/// A step of up to three, in about half of the cases.
fn walk(r: &mut Random) -> f64 {
    if r.below(2) == 0 { 0.0 } else { r.below(7) as f64 - 3.0 }
}

/// Observations of one interval that fall below a bound.
fn bucket(r: &mut Random) -> f64 {
    collect(6, |_| r.rarely(2)).iter().sum()
}

/// A measured duration, smoothed: all bits of the mantissa are used.
fn smooth(samples: usize, r: &mut Random) -> Vec<f64> {
    let mut last = 0.012;
    collect(samples, |_| {
        last = 0.8 * last + 0.2 * 0.012 * (0.6 + 0.8 * (r.next() >> 11) as f64 / (1_u64 << 53) as f64);
        last
    })
}
