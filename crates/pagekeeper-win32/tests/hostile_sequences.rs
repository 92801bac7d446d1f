//! Random sequences of calls with hostile arguments, on every engine: `hostile_sequence/mod.rs` says what is checked. The same entry is the
//! fuzz target's (`fuzz/README.md`).
//!
//! The seed is printed; `PAGEKEEPER_SEED` repeats a run, `PAGEKEEPER_SEQUENCES` says how many (120). What fails is made as short as it
//! goes and printed as bytes; given in `PAGEKEEPER_SEQUENCE` they are all that runs, and `PAGEKEEPER_TRACE=1` shows each call.

mod hostile_sequence;

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestError, TestRunner};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
#[ignore = "run by nothing_changes_where_a_call_fails, once for each engine"]
fn sequences() {
    if let Ok(bytes) = std::env::var("PAGEKEEPER_SEQUENCE") {
        let bytes: Vec<u8> = bytes
            .split(' ')
            .map(|byte| byte.parse().expect("numbers below 256"))
            .collect();
        return hostile_sequence::run(&bytes);
    }
    let seed = number("PAGEKEEPER_SEED").expect("a seed");
    let mut runner = TestRunner::new(ProptestConfig {
        cases: number("PAGEKEEPER_SEQUENCES").unwrap_or(120) as u32,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..700);
    let outcome = runner.run(&bytes, |bytes| {
        hostile_sequence::run(&bytes);
        Ok(())
    });
    match outcome {
        Err(TestError::Fail(why, bytes)) => {
            let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
            panic!("{why}\nPAGEKEEPER_SEQUENCE=\"{}\"", bytes.join(" "));
        }
        other => other.expect("sequences"),
    }
}

/// A process has one space with one default engine: one process for each.
#[test]
fn nothing_changes_where_a_call_fails() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |now| now.as_secs());
    let seed = number("PAGEKEEPER_SEED").unwrap_or(now);
    println!("PAGEKEEPER_SEED={seed}");
    for engine in ["mapped", "inline", "resident"] {
        let own = std::env::current_exe().expect("this program");
        let output = Command::new(own)
            .args(["--exact", "sequences", "--ignored", "--nocapture"])
            .env("PAGEKEEPER_ENGINE", engine)
            .env("PAGEKEEPER_RAM", "16M")
            .env("PAGEKEEPER_PAGE_FILE_MAX", "64M")
            .env("PAGEKEEPER_SEED", seed.to_string())
            .output()
            .expect("this program starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{engine}: {}\n{text}",
            output.status
        );
        assert!(text.contains("1 passed"), "{engine}: {text}");
    }
}
