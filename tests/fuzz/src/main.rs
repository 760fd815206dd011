//! Fuzzes one decoder: `FUZZ_TARGET` names it; with `FUZZ_SEEDS` it writes bytes to begin with into that
//! folder and ends.
#![no_main]

use std::sync::OnceLock;

use andon::fuzzing::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|t| t.name == name);
        let names: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
        let target = *found.unwrap_or_else(|| {
            eprintln!("FUZZ_TARGET is one of: {}", names.join(" "));
            std::process::exit(2)
        });
        if let Ok(folder) = std::env::var("FUZZ_SEEDS") {
            for (i, seed) in (target.seeds)().into_iter().enumerate() {
                std::fs::write(format!("{folder}/seed-{i}"), seed).expect("cannot write a seed");
            }
            std::process::exit(0);
        }
        target
    })
}

fuzz_target!(init: { chosen(); }, |data: &[u8]| (chosen().run)(data));
