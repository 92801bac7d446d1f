//! Every C program prints what Windows' rules ask for: built with `cc` against the kept headers, linked with the shared and with
//! the static library, on each engine.
//!
//! One program on one engine, for whoever looks for a mistake:
//!
//! ```text
//! PAGEKEEPER_CONFORM=protect PAGEKEEPER_CONFORM_ENGINE=inline cargo test -p pagekeeper-win32 --test conform -- --nocapture
//! ```
//!
//! Where an engine must differ, `tests/c/engine-differences.txt` says "engine row | line | reason". What the library does not do
//! yet stands in `tests/c/not-yet.txt`, "row | reason"; a star ends a pattern, and an entry that nothing needs any more is an error.

mod programs;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use programs::{Program, conformance, crate_folder, equal, examples, exists, row_of, run};

const ENGINES: [&str; 3] = ["mapped", "inline", "resident"];

/// What a static program needs besides.
const SYSTEM_LIBRARIES: [&str; 5] = ["-lpthread", "-ldl", "-lm", "-lgcc_s", "-lrt"];

/// The folder where cargo leaves the libraries that it built for this test.
fn library_folder() -> PathBuf {
    let test = env::current_exe().expect("this program");
    test.parent().expect("its folder").to_owned()
}

#[derive(Clone, Copy, PartialEq)]
enum Linked {
    Shared,
    Static,
}

/// Builds one program as the README says, with warnings as errors.
fn build(program: &Program, linked: Linked, folder: &Path) -> Result<PathBuf, String> {
    let libraries = library_folder();
    let binary = folder.join(match linked {
        Linked::Shared => program.name.clone(),
        Linked::Static => format!("{}-static", program.name),
    });
    let mut command = Command::new("cc");
    command
        .args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(crate_folder().join("include"))
        .arg(&program.source)
        .arg("-o")
        .arg(&binary);
    match linked {
        Linked::Shared => command
            .arg("-L")
            .arg(&libraries)
            .arg("-lpagekeeper_win32")
            .arg(format!("-Wl,-rpath,{}", libraries.display())),
        Linked::Static => command
            .arg(libraries.join("libpagekeeper_win32.a"))
            .args(SYSTEM_LIBRARIES),
    };
    let built = command.output().expect("a C compiler");
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr);
        return Err(format!("{command:?}\n{why}"));
    }
    Ok(binary)
}

/// A row that one engine prints otherwise.
struct Exception {
    engine: String,
    row: String,
    line: String,
}

fn exceptions() -> Vec<Exception> {
    let path = crate_folder().join("tests/c/engine-differences.txt");
    let text = fs::read_to_string(path).expect("the list of differences");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (head, rest) = line.split_once(" | ").expect("engine and row");
            let (engine, row) = head.split_once(' ').expect("engine and row");
            let (shown, reason) = rest.rsplit_once(" | ").expect("a line and a reason");
            assert!(!reason.trim().is_empty(), "{row}: no reason");
            Exception {
                engine: engine.to_owned(),
                row: row.to_owned(),
                line: format!("{row} | {shown}"),
            }
        })
        .collect()
}

/// A row, or several, that the library cannot do yet; of a program that cannot even be built, all.
struct NotYet {
    pattern: String,
    beginning: bool,
    needed: bool,
}

impl NotYet {
    fn covers(&self, row: &str) -> bool {
        if self.beginning {
            row.starts_with(&self.pattern)
        } else {
            row == self.pattern
        }
    }
}

fn not_yet() -> Vec<NotYet> {
    let path = crate_folder().join("tests/c/not-yet.txt");
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (pattern, _reason) = line.split_once(" | ").expect("a row and a reason");
            NotYet {
                pattern: pattern.trim_end_matches('*').to_owned(),
                beginning: pattern.ends_with('*'),
                needed: false,
            }
        })
        .collect()
}

/// Whether something is excused; the excuse counts as needed.
fn excused(row: &str, not_yet: &mut [NotYet]) -> bool {
    let found = not_yet.iter_mut().find(|entry| entry.covers(row));
    found.map(|entry| entry.needed = true).is_some()
}

/// The lines that one engine must print.
fn expected_on(program: &Program, engine: &str, exceptions: &[Exception]) -> Vec<String> {
    let of_row = |line: &String| {
        let row = row_of(line)?;
        let found = exceptions
            .iter()
            .find(|other| other.engine == engine && other.row == row)?;
        Some(found.line.clone())
    };
    let lines = program.expected.iter();
    lines
        .map(|line| of_row(line).unwrap_or_else(|| line.clone()))
        .collect()
}

/// Runs a built program on an engine; complaints are added.
fn check(
    program: &Program,
    binary: &Path,
    engine: &str,
    (exceptions, not_yet): (&[Exception], &mut [NotYet]),
    complaints: &mut Vec<String>,
) {
    let folder = binary.parent().expect("its folder");
    let mut command = Command::new(binary);
    command
        .args(&program.arguments)
        .current_dir(folder)
        .env("PAGEKEEPER_ENGINE", engine)
        .env("PAGEKEEPER_PAGE_FILE_MAX", "4G")
        .env("PAGEKEEPER_RAM", "256M")
        .env_remove("PAGEKEEPER_STRICT")
        .envs(program.environment.iter().cloned());
    let (printed, ended) = run(&mut command);
    let name = binary.file_name().expect("a name").to_string_lossy();
    if let Some(how) = ended
        && !excused(&program.name, not_yet)
    {
        complaints.push(format!("{name} on {engine} {how}"));
    }
    let expected = expected_on(program, engine, exceptions);
    for (number, rule) in expected.iter().enumerate() {
        let line = printed.get(number).map_or("nothing", String::as_str);
        if !equal(rule, line) && !excused(row_of(rule).unwrap_or(&program.name), not_yet) {
            complaints.push(format!(
                "{name} on {engine}\n    rule    {rule}\n    printed {line}"
            ));
        }
    }
    if printed.len() > expected.len() {
        complaints.push(format!(
            "{name} on {engine}: {} lines too many",
            printed.len() - expected.len()
        ));
    }
}

fn wanted(name: &str, variable: &str) -> bool {
    env::var(variable).map_or(true, |only| {
        only.split(',').any(|one| one == name) || only.is_empty()
    })
}

#[test]
fn every_program_prints_the_rules() {
    if !exists("cc") {
        println!("skipped, because cc is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let exceptions = exceptions();
    let mut not_yet = not_yet();
    let mut complaints = Vec::new();
    let mut runs = 0;
    let programs = conformance().into_iter().chain(examples());
    for program in programs.filter(|program| wanted(&program.name, "PAGEKEEPER_CONFORM")) {
        for linked in [Linked::Shared, Linked::Static] {
            let binary = match build(&program, linked, folder.path()) {
                Ok(binary) => binary,
                Err(why) => {
                    if !excused(&program.name, &mut not_yet) {
                        complaints.push(why);
                    }
                    continue;
                }
            };
            // Statically linked it is the same code: one engine shows that all of it is there.
            let engines = ENGINES
                .iter()
                .take(if linked == Linked::Shared { 3 } else { 1 });
            for engine in engines.filter(|engine| wanted(engine, "PAGEKEEPER_CONFORM_ENGINE")) {
                let notes = (&exceptions[..], &mut not_yet[..]);
                check(&program, &binary, engine, notes, &mut complaints);
                runs += 1;
            }
            let _ = fs::remove_file(binary);
        }
    }
    let is_whole =
        wanted("all", "PAGEKEEPER_CONFORM") && wanted("all", "PAGEKEEPER_CONFORM_ENGINE");
    for entry in not_yet.iter().filter(|entry| is_whole && !entry.needed) {
        complaints.push(format!(
            "{} is done: take it out of not-yet.txt",
            entry.pattern
        ));
    }
    println!("{runs} runs, {} complaints", complaints.len());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_exception_names_a_row() {
    let programs = conformance();
    for exception in exceptions() {
        assert!(
            ENGINES.contains(&exception.engine.as_str()),
            "{}: no such engine",
            exception.engine
        );
        let is_known = programs.iter().any(|program| {
            program
                .expected
                .iter()
                .any(|line| row_of(line) == Some(&exception.row))
        });
        assert!(is_known, "{}: no such row", exception.row);
    }
}
