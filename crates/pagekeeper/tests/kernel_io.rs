//! `examples/kernel_io` on small sizes: memory larger than its budget as argument of system calls and locks.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, calls libc by pointers"
)]

mod support;

#[path = "../examples/kernel_io/cases/mod.rs"]
mod cases;

use cases::{CASES, Settings};
use pagekeeper::{ByteCount, EngineKind};

#[test]
fn every_case_with_every_engine() {
    const CASE: &str = "PAGEKEEPER_CASE";
    if let (Ok(case), Some(engine)) = (std::env::var(CASE), support::child_engine()) {
        let settings = Settings {
            engine,
            size: ByteCount::mib(12),
            ram: ByteCount::mib(4),
            seconds: 1,
        };
        let (_, run) = CASES
            .iter()
            .find(|(name, _)| *name == case)
            .expect("a case");
        println!("{}", run(&settings).expect("every byte equal"));
        return;
    }
    for (_, engine) in EngineKind::NAMES {
        if engine == EngineKind::Inline && !support::inline_works() {
            continue;
        }
        for (case, _) in CASES {
            let (status, text) =
                support::in_child_with(engine, "every_case_with_every_engine", &[(CASE, case)]);
            assert!(status.success(), "{engine}, {case}: {status}\n{text}");
        }
    }
}
