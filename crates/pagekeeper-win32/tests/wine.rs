//! The same C sources under Wine: a second opinion on what the rules are.
//!
//! Run it alone, with what was compared shown:
//!
//! ```text
//! cargo test -p pagekeeper-win32 --test wine -- --nocapture
//! ```
//!
//! Needs `wine` and `x86_64-w64-mingw32-gcc`; without them it says so and passes. Rows in which Wine is known to differ are
//! listed, with reasons, in `tests/c/wine-differences.txt`; any other difference fails, and so does a listed row that no longer
//! exists. Listed rows that Wine gets right (another version, perhaps) are only counted.

#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use programs::{Program, conformance, crate_folder, equal, examples, exists, row_of, run};

const COMPILER: &str = "x86_64-w64-mingw32-gcc";

/// A known difference: rows by name or by their beginning, and why.
struct Difference {
    pattern: String,
    beginning: bool,
    used: bool,
}

impl Difference {
    fn covers(&self, row: &str) -> bool {
        if self.beginning {
            row.starts_with(&self.pattern)
        } else {
            row == self.pattern
        }
    }
}

fn known_differences() -> Vec<Difference> {
    let path = crate_folder().join("tests/c/wine-differences.txt");
    let text = fs::read_to_string(path).expect("the list of differences");
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (pattern, reason) = line.split_once(" | ").expect("a row and a reason");
            assert!(!reason.trim().is_empty(), "{pattern}: no reason");
            Difference {
                pattern: pattern.trim_end_matches('*').to_owned(),
                beginning: pattern.ends_with('*'),
                used: false,
            }
        })
        .collect()
}

/// Builds one program for Windows and runs it under Wine; Wine's own talk is not wanted.
fn lines_under_wine(program: &Program, folder: &Path) -> Vec<String> {
    let binary = folder.join(format!("{}.exe", program.name));
    let built = Command::new(COMPILER)
        .args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"])
        .arg("-D__USE_MINGW_ANSI_STDIO=1")
        .arg("-o")
        .args([&binary, &program.source])
        .arg("-lpsapi")
        .output()
        .expect("the cross compiler");
    assert!(
        built.status.success(),
        "{}: {}",
        program.name,
        String::from_utf8_lossy(&built.stderr)
    );
    let mut command = Command::new("wine");
    command
        .arg(&binary)
        .args(&program.arguments)
        .current_dir(folder)
        .env("WINEPREFIX", folder.join("prefix"))
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
        .stderr(Stdio::null());
    // How it ends is no matter: where Wine lacks a call, a program may stop early. Its lines count.
    run(&mut command).0
}

/// What one comparison brought.
#[derive(Default)]
struct Tally {
    equal: usize,
    known: usize,
    unknown: Vec<String>,
}

fn compare(program: &Program, printed: &[String], known: &mut [Difference], tally: &mut Tally) {
    for (number, expected) in program.expected.iter().enumerate() {
        let row = row_of(expected).unwrap_or(&program.name);
        for difference in known
            .iter_mut()
            .filter(|difference| difference.covers(row) || difference.covers(&program.name))
        {
            difference.used = true;
        }
        // Rows have names; lines of an example have only their place.
        let is_same = match row_of(expected) {
            Some(_) => printed.iter().any(|line| equal(expected, line)),
            None => printed
                .get(number)
                .is_some_and(|line| equal(expected, line)),
        };
        let is_known = known
            .iter()
            .any(|difference| difference.covers(row) || difference.covers(&program.name));
        if is_same {
            tally.equal += 1;
        } else if is_known {
            tally.known += 1;
        } else {
            let shown = printed
                .iter()
                .find(|line| row_of(line).is_some_and(|other| other == row))
                .or_else(|| printed.get(number));
            tally.unknown.push(format!(
                "{}: rule  {expected}\n    Wine  {}",
                program.name,
                shown.map_or("nothing", String::as_str)
            ));
        }
    }
}

#[test]
fn the_same_lines_under_wine() {
    for needed in ["wine", COMPILER] {
        if !exists(needed) {
            println!("skipped, because {needed} is not installed");
            return;
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut known = known_differences();
    let mut tally = Tally::default();
    for program in conformance().iter().chain(&examples()) {
        let printed = lines_under_wine(program, folder.path());
        compare(program, &printed, &mut known, &mut tally);
    }
    // Wine's server outlives its last program for a moment and would write into a folder that is gone.
    let _ = Command::new("wineserver")
        .arg("-w")
        .env("WINEPREFIX", folder.path().join("prefix"))
        .status();
    println!(
        "under Wine: {} lines equal, {} known differences, {} unknown",
        tally.equal,
        tally.known,
        tally.unknown.len()
    );
    assert!(tally.unknown.is_empty(), "\n{}\n", tally.unknown.join("\n"));
    let stale: Vec<&str> = known
        .iter()
        .filter(|difference| !difference.used)
        .map(|difference| difference.pattern.as_str())
        .collect();
    assert!(stale.is_empty(), "listed, but no such row: {stale:?}");
}
