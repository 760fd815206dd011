//! The store through random lives beside a plain map: everything that happens to it follows from a seed.
//!
//! A life is some hundred steps: appends (in order, late, twice, to the same time with another value, by
//! reference and by labels, of new series), queries, syncs, maintenance with the clock moved on, cuts with
//! appends and queries in their midst, ended processes, power cuts, failing calls, full disks, unreadable and
//! damaged files. After every start and query the store is compared with what was acknowledged.
//!
//! `ANDON_TEST_SEEDS` says how many lives, `ANDON_TEST_SEED` which is the first; `tests/simulate` runs many.

mod damage;
mod life;
mod model;
mod readers;
mod script;
mod senders;
mod trouble;
mod upkeep;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::life::Life;

/// Lives in one run of the tests.
const SEEDS_DEFAULT: u64 = 200;

/// With so many failures there is no need for more.
const FAILURES_MAX: usize = 10;

/// Pseudo-random numbers that never change. Source: Steele et al., SplitMix64.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn is_one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |s| s.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// Runs the lives on all cores; returns the seeds that failed, with the reason.
fn run(first: u64, count: u64) -> Vec<(u64, String)> {
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || failed.lock().unwrap().len() >= FAILURES_MAX {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| Life::new(seed).live())) {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                failed.lock().unwrap().push((seed, text.unwrap_or_default()));
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn the_store_keeps_its_promises_through_random_lives() {
    let (first, count) = (number("ANDON_TEST_SEED", 0), number("ANDON_TEST_SEEDS", SEEDS_DEFAULT));
    let failed = run(first, count);
    for (seed, reason) in &failed {
        println!("seed {seed} failed; alone: tests/simulate --from {seed} --seeds 1\n    {reason}");
    }
    assert!(failed.is_empty(), "{} of {count} lives failed: {:?}", failed.len(), failed[0]);
    println!("{count} lives from seed {first} on: all as promised");
}
