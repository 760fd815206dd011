//! Hands the linker the order of functions for a release, and lets it pack relocations and leave out symbols; see
//! `docs/decisions/0121`.
#![expect(clippy::disallowed_methods, reason = "this is how Cargo is asked")]

use std::path::Path;

const ORDER: &str = "packaging/first-functions.ld";

/// Set, symbols stay in a release: for `packaging/order-functions` and for profilers.
const SYMBOLS: &str = "ANDON_SYMBOLS";

fn main() {
    println!("cargo::rerun-if-changed={ORDER}");
    println!("cargo::rerun-if-env-changed={SYMBOLS}");
    let is = |name: &str, expected: &str| std::env::var(name).is_ok_and(|value| value == expected);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let order = Path::new(env!("CARGO_MANIFEST_DIR")).join(ORDER);
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", order.display());
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        if std::env::var_os(SYMBOLS).is_none() {
            println!("cargo::rustc-link-arg-bins=-Wl,-s");
        }
    }
}
