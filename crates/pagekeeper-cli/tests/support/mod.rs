//! Running the program from tests: never with the settings of whoever runs the tests.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod http;

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

/// The program, without any of its variables.
pub(crate) fn pagekeeper() -> Command {
    let mut command = Command::cargo_bin("pagekeeper").expect("the program was built");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PAGEKEEPER_") {
            command.env_remove(name);
        }
    }
    // Where TMPDIR is in RAM the default is /var/tmp; the tests say so themselves.
    command
        .env("TMPDIR", "/var/tmp")
        .timeout(std::time::Duration::from_secs(300));
    command
}

/// A folder on a disk, for data and page files.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").expect("a folder in /var/tmp")
}

/// Fills a folder with files of many sizes, some easily packed, some not: at least `bytes` in all.
pub(crate) fn fill(folder: &Path, bytes: usize) {
    let mut state = 0x1234_5678_9ABC_DEF1_u64;
    let mut written = 0;
    for number in 0.. {
        if written >= bytes {
            return;
        }
        let length = match number % 4 {
            0 => 0,
            1 => 3_001,
            2 => 64 << 10,
            _ => 700_001,
        };
        let contents: Vec<u8> = (0..length)
            .map(|at| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                if number % 3 == 0 {
                    (at / 100) as u8
                } else {
                    state as u8
                }
            })
            .collect();
        let below = folder.join(format!("part{}", number % 3));
        std::fs::create_dir_all(&below).expect("made");
        std::fs::write(below.join(format!("file{number}")), contents).expect("written");
        written += length;
    }
}

/// Runs, expects success, and reads what was printed as JSON.
pub(crate) fn json(command: &mut Command) -> Value {
    let output = command.output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {text}{complaint}",
        output.status
    );
    serde_json::from_str(&text).expect("JSON")
}

/// Runs, expects exit code 2 and one line of complaint and nothing else; the line.
pub(crate) fn complaint(command: &mut Command) -> String {
    let output = command.output().expect("started");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    assert!(text.starts_with("pagekeeper: "), "{text}");
    text
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0")))
}
