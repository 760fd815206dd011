//! Hands the linker the order of functions for a release, and lets it pack relocations; see `docs/decisions/0121`.
#![expect(clippy::disallowed_methods, reason = "this is how Cargo is asked")]

use std::path::Path;

const ORDER: &str = "packaging/first-functions.ld";

fn main() {
    println!("cargo::rerun-if-changed={ORDER}");
    let is = |name: &str, expected: &str| std::env::var(name).is_ok_and(|value| value == expected);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let order = Path::new(env!("CARGO_MANIFEST_DIR")).join(ORDER);
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", order.display());
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
