//! The C programs of `tests/c` and `examples/c`: where they are, what they must print, and how lines are compared.
//!
//! A program `x.c` has beside it `x.expected`, line by line what it must print: what Windows' rules ask for, whoever runs it. `#`
//! stands for a number that differs from machine to machine. A comment `// env: NAME=VALUE` in a program sets a variable for its
//! run, `/* arguments of the test: A B */` its arguments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// No program needs longer, even on a busy machine with a debug build.
const PATIENCE: Duration = Duration::from_secs(300);

/// One C program with what it must print.
pub(crate) struct Program {
    /// Its name without the ending; row ids of conformance programs are names of their own.
    pub(crate) name: String,
    /// The source.
    pub(crate) source: PathBuf,
    /// The lines that it must print.
    pub(crate) expected: Vec<String>,
    /// Variables that its run needs.
    pub(crate) environment: Vec<(String, String)>,
    /// Arguments that its run needs.
    pub(crate) arguments: Vec<String>,
}

/// The folder of this crate.
pub(crate) fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The programs of a folder below the crate's, by name; those without `.expected` are not tests.
fn programs_of(folder: &str) -> Vec<Program> {
    let folder = crate_folder().join(folder);
    let mut found: Vec<Program> = fs::read_dir(&folder)
        .expect("the folder with programs")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "c"))
        .map(|source| {
            let text = fs::read_to_string(&source).expect("a source");
            let expected = fs::read_to_string(source.with_extension("expected"))
                .unwrap_or_else(|_| panic!("{} has no .expected", source.display()));
            let after = |mark: &str| {
                text.lines()
                    .filter_map(|line| line.split_once(mark).map(|(_, rest)| rest))
                    .map(|rest| rest.trim_end_matches("*/").trim().to_owned())
                    .collect::<Vec<_>>()
            };
            Program {
                name: source
                    .file_stem()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned(),
                expected: expected.lines().map(str::to_owned).collect(),
                environment: after("// env: ")
                    .iter()
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                arguments: after("arguments of the test: ")
                    .iter()
                    .flat_map(|line| line.split_whitespace())
                    .map(str::to_owned)
                    .collect(),
                source,
            }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!found.is_empty(), "no programs in {}", folder.display());
    found
}

/// The tables of rules.
pub(crate) fn conformance() -> Vec<Program> {
    programs_of("tests/c")
}

/// The worked examples.
pub(crate) fn examples() -> Vec<Program> {
    programs_of("../../examples/c")
}

/// Whether a command can be run at all.
pub(crate) fn exists(command: &str) -> bool {
    Command::new(command)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The id of a row: what stands before the first bar, or nothing where a line has none.
pub(crate) fn row_of(line: &str) -> Option<&str> {
    line.split_once(" |").map(|(id, _)| id)
}

/// Whether a printed line is the expected one, `#` standing for a number.
pub(crate) fn equal(expected: &str, printed: &str) -> bool {
    let mut parts = expected.split('#');
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    for part in parts {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if after.len() == rest.len() {
            return false;
        }
        let Some(next) = after.strip_prefix(part) else {
            return false;
        };
        rest = next;
    }
    rest.is_empty()
}

/// Runs a command to its end and returns the lines that it printed, and how it ended if that was not well.
pub(crate) fn run(command: &mut Command) -> (Vec<String>, Option<String>) {
    let output = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.reopen().expect("the same file"))
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let start = Instant::now();
    let ended = loop {
        match child.try_wait().expect("a child") {
            Some(status) if status.success() => break None,
            Some(status) => break Some(format!("ended with {status}")),
            None if start.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                break Some(format!("was still running after {PATIENCE:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let bytes = fs::read(output.path()).expect("its output");
    let text = String::from_utf8_lossy(&bytes);
    let lines = text
        .lines()
        .map(|line| line.trim_end_matches('\r').to_owned());
    (lines.collect(), ended)
}

#[test]
fn a_number_may_stand_for_any() {
    assert!(equal("a # b #", "a 12 b 0"));
    assert!(equal("plain", "plain"));
    assert!(!equal("a #", "a "));
    assert!(!equal("a #", "a 1x"));
    assert!(!equal("a", "ab"));
    assert!(!equal("ab", "a"));
}
