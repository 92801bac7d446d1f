//! The C programs of `tests/c` and `examples/c`, built with `cc` against the kept headers, linked with the shared library and
//! with the static one, run with every engine.
//!
//! `tests/c/engine-differences.txt` lists rows that an engine answers otherwise, each with its reason and with the line that is
//! printed instead; every other line must be the rule's. A listed row that prints anything else fails, also where it comes out right: the
//! list says what is, not what was. So does a program of `tests/c/not-built.txt` (calls that are not there yet, and not declared)
//! that compiles.

#[allow(dead_code, reason = "not every test needs all of it")]
mod libraries;
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pagekeeper::fault_watch::{self, Coverage};

use libraries::{Link, WARNINGS, compile, link};
use programs::{Program, conformance, crate_folder, equal, examples, row_of, run};

/// A row that one engine answers otherwise.
struct Difference {
    /// A star is every engine.
    engine: String,
    row: String,
    /// What it prints instead.
    line: String,
}

impl Difference {
    fn is_about(&self, engine: &str, row: &str) -> bool {
        (self.engine == engine || self.engine == "*") && self.row == row
    }
}

/// Entries are two lines each: engine, row and reason; then, after an equals sign, the line that is printed instead.
fn known_differences() -> Vec<Difference> {
    let path = crate_folder().join("tests/c/engine-differences.txt");
    let text = fs::read_to_string(path).expect("the list of differences");
    let mut lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut found = Vec::new();
    while let Some(head) = lines.next() {
        let (what, reason) = head.split_once(" | ").expect("engine, row and reason");
        assert!(!reason.trim().is_empty(), "{what}: no reason");
        let (engine, row) = what.split_once(' ').expect("an engine and a row");
        let line = lines.next().and_then(|line| line.strip_prefix("= "));
        let line = line.unwrap_or_else(|| panic!("{what}: which line instead?"));
        assert_eq!(row_of(line), Some(row), "{what}: a line of another row");
        found.push(Difference {
            engine: engine.to_owned(),
            row: row.to_owned(),
            line: line.to_owned(),
        });
    }
    found
}

/// Programs of calls that are not built yet.
fn not_built() -> Vec<String> {
    let path = crate_folder().join("tests/c/not-built.txt");
    let text = fs::read_to_string(path).expect("the list of what is not there");
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            line.split_once(" | ")
                .expect("a name and a reason")
                .0
                .to_owned()
        })
        .collect()
}

fn all_programs() -> Vec<Program> {
    let mut all = conformance();
    all.extend(examples());
    let missing = not_built();
    all.retain(|program| !missing.contains(&program.name));
    all
}

#[test]
fn what_is_not_built_does_not_compile() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in not_built() {
        let built = Command::new("cc")
            .args(["-std=c11", "-Werror", "-c", "-I"])
            .arg(crate_folder().join("include"))
            .arg(crate_folder().join(format!("tests/c/{name}.c")))
            .arg("-o")
            .arg(folder.path().join("object.o"))
            .output()
            .expect("a compiler");
        assert!(
            !built.status.success(),
            "{name} compiles: take it off the list"
        );
    }
}

/// The object files, compiled once for all runs of this process.
fn objects() -> &'static [(Program, PathBuf)] {
    static OBJECTS: OnceLock<(tempfile::TempDir, Vec<(Program, PathBuf)>)> = OnceLock::new();
    let (_, objects) = OBJECTS.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let compiled = all_programs()
            .into_iter()
            .map(|program| {
                let object = folder.path().join(format!("{}.o", program.name));
                compile("cc", &["-std=c11"], &program.source, &object);
                (program, object)
            })
            .collect();
        (folder, compiled)
    });
    objects
}

/// Complaints about one program's lines.
fn compare(program: &Program, engine: &str, printed: &[String], complaints: &mut Vec<String>) {
    let known = known_differences();
    let count = program.expected.len().max(printed.len());
    for number in 0..count {
        let rule = program.expected.get(number).map_or("", String::as_str);
        let got = printed.get(number).map_or("", String::as_str);
        let row = row_of(rule).unwrap_or(&program.name);
        let instead = known.iter().find(|it| it.is_about(engine, row));
        if instead.is_some_and(|it| equal(rule, &it.line)) {
            complaints.push(format!(
                "{row}: listed as different with {engine}, but the rule itself"
            ));
        }
        let expected = instead.map_or(rule, |it| &it.line);
        if !equal(expected, got) {
            let what = if instead.is_some() { "listed" } else { "rule" };
            complaints.push(format!(
                "{}:\n    {what} {expected}\n    got  {got}",
                program.name
            ));
        }
    }
}

#[test]
fn every_listed_difference_is_of_a_row_that_exists() {
    let programs = conformance();
    for difference in known_differences() {
        let rows = programs.iter().flat_map(|program| &program.expected);
        let exists = rows
            .filter_map(|line| row_of(line))
            .any(|row| row == difference.row);
        assert!(exists, "there is no row {}", difference.row);
        let engines = ["*", "mapped", "inline", "resident"];
        assert!(
            engines.contains(&difference.engine.as_str()),
            "{}",
            difference.engine
        );
    }
}

/// Runs everything linked in one way with one engine.
fn run_all(how: Link, engine: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut complaints = Vec::new();
    for (program, object) in objects() {
        if let Some(reason) = skipped(program, engine) {
            println!("{} skipped with {engine}, because {reason}", program.name);
            continue;
        }
        let binary = folder.path().join(&program.name);
        link("cc", how, object, &binary);
        let mut command = Command::new(&binary);
        clean_environment(&mut command, folder.path());
        command
            .args(&program.arguments)
            .env("PAGEKEEPER_ENGINE", engine)
            .envs(program.environment.iter().cloned());
        let (printed, ended) = run(&mut command);
        compare(program, engine, &printed, &mut complaints);
        complaints.extend(ended.map(|how| format!("{}: {how}", program.name)));
        // A program linked with the static library is large.
        let _ = fs::remove_file(&binary);
    }
    assert!(
        complaints.is_empty(),
        "{} differences with {engine}:\n{}\n",
        complaints.len(),
        complaints.join("\n")
    );
}

/// Why a program cannot be run here: faults that the kernel answers are told by its events only.
fn skipped(program: &Program, engine: &str) -> Option<String> {
    if program.name != "watch_working_set" || engine == "inline" {
        return None;
    }
    static COVERAGE: OnceLock<Coverage> = OnceLock::new();
    let coverage = COVERAGE.get_or_init(|| {
        let coverage = fault_watch::start().expect("nobody else watches here");
        fault_watch::stop().expect("nobody else watches here");
        coverage
    });
    match coverage {
        Coverage::AllEngines => None,
        Coverage::InlineOnly { reason } => Some(reason.clone()),
    }
}

/// Settings of whoever runs the tests stay out of them, and so does cargo's search path: an older build of the library may lie
/// on it.
fn clean_environment(command: &mut Command, folder: &Path) {
    command.env_remove("LD_LIBRARY_PATH");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PAGEKEEPER_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder);
}

#[test]
fn shared_mapped() {
    run_all(Link::Shared, "mapped");
}

#[test]
fn shared_inline() {
    run_all(Link::Shared, "inline");
}

#[test]
fn shared_resident() {
    run_all(Link::Shared, "resident");
}

#[test]
fn static_mapped() {
    run_all(Link::Static, "mapped");
}

#[test]
fn static_inline() {
    run_all(Link::Static, "inline");
}

#[test]
fn static_resident() {
    run_all(Link::Static, "resident");
}

/// The one line of the documentation builds the ten-line program, as C and as C++.
#[test]
fn the_first_program_builds_with_the_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = crate_folder().join("../../examples/c/first.c");
    let expected = fs::read_to_string(first.with_extension("expected")).expect("its lines");
    let plus = folder.path().join("first.cpp");
    fs::copy(&first, &plus).expect("copied");
    for (compiler, standard, source) in [("cc", "-std=c11", &first), ("c++", "-std=c++17", &plus)] {
        let binary = folder.path().join("first");
        let libraries = libraries::folder();
        let built = Command::new(compiler)
            .args([standard, "-I"])
            .arg(crate_folder().join("include"))
            .args(WARNINGS)
            .arg(source)
            .arg("-L")
            .arg(&libraries)
            .arg("-lpagekeeper_win32")
            .arg(format!("-Wl,-rpath,{}", libraries.display()))
            .arg("-o")
            .arg(&binary)
            .output()
            .expect("a compiler");
        assert!(
            built.status.success(),
            "{compiler}: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        let mut command = Command::new(&binary);
        clean_environment(&mut command, folder.path());
        let (printed, ended) = run(&mut command);
        assert_eq!(ended, None);
        assert_eq!(printed.join("\n"), expected.trim_end(), "{compiler}");
    }
}
