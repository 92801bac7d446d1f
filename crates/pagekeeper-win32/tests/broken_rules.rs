//! Does a row notice when its rule is broken? Rules are drawn at random, each is broken in a copy of the source, and the row
//! that names it must then print something else.
//!
//! Takes minutes (the copy is built once for every rule), so it is run by hand:
//!
//! ```text
//! cargo test -p pagekeeper-win32 --test broken_rules -- --ignored --nocapture
//! ```
//!
//! `PAGEKEEPER_SEED` repeats a draw, `PAGEKEEPER_RULES` says how many (20). The ways to break rules, one change each, stand in
//! `tests/c/broken-rules.txt`; that each of them still fits the source is checked by every `cargo test`.

#[allow(
    dead_code,
    reason = "what compares whole programs is for the other tests"
)]
mod programs;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use programs::{Program, conformance, crate_folder, row_of, run};

/// One rule and a change that breaks it.
struct Broken {
    rule: String,
    program: String,
    row: String,
    file: String,
    old: String,
    new: String,
}

fn root() -> PathBuf {
    crate_folder()
        .join("../..")
        .canonicalize()
        .expect("the repository")
}

/// Lines that begin with a mark, without it.
fn lines_after(block: &str, mark: char) -> String {
    let lines = block.lines().filter_map(|line| line.strip_prefix(mark));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

fn all_broken() -> Vec<Broken> {
    let path = crate_folder().join("tests/c/broken-rules.txt");
    let text = fs::read_to_string(path).expect("the list");
    let blocks = text
        .split("\n\n")
        .filter(|block| block.starts_with("rule "));
    blocks
        .map(|block| {
            let word = |name: &str| {
                let found = block.lines().find_map(|line| line.strip_prefix(name));
                found
                    .unwrap_or_else(|| panic!("no '{name}' in\n{block}"))
                    .to_owned()
            };
            let (program, row) = word("row ")
                .split_once(' ')
                .map(|(program, row)| (program.to_owned(), row.to_owned()))
                .expect("a program and a row");
            Broken {
                rule: word("rule "),
                program,
                row,
                file: word("in "),
                old: lines_after(block, '-'),
                new: lines_after(block, '+'),
            }
        })
        .collect()
}

/// The source with one change; it must fit in exactly one place.
fn changed(text: &str, broken: &Broken) -> Result<String, String> {
    match text.matches(&broken.old).count() {
        1 => Ok(text.replacen(&broken.old, &broken.new, 1)),
        count => Err(format!(
            "rule {}: '{}' is {count} times in {}",
            broken.rule, broken.old, broken.file
        )),
    }
}

fn expected_line<'a>(programs: &'a [Program], broken: &Broken) -> (&'a Program, &'a str) {
    let program = programs
        .iter()
        .find(|program| program.name == broken.program)
        .unwrap_or_else(|| panic!("no program {}", broken.program));
    let line = program
        .expected
        .iter()
        .find(|line| row_of(line) == Some(&broken.row))
        .unwrap_or_else(|| panic!("no row {}", broken.row));
    (program, line)
}

#[test]
fn every_change_fits_the_source_and_names_a_row() {
    let programs = conformance();
    let mut complaints = Vec::new();
    for broken in all_broken() {
        expected_line(&programs, &broken);
        let text = fs::read_to_string(root().join(&broken.file)).expect("a source");
        complaints.extend(changed(&text, &broken).err());
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Copies what a build needs: manifests and crates, no build products.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let shown = name.to_string_lossy();
        if shown.starts_with('.') || shown.starts_with("target") {
            continue;
        }
        if path.is_dir() {
            copy_tree(&path, &to.join(&name));
        } else {
            fs::copy(&path, to.join(&name)).expect("copied");
        }
    }
}

/// Builds the shared library in the copy, quickly rather than well.
fn build_library(copy: &Path) -> Result<PathBuf, String> {
    let target = copy.join("target");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--lib", "-p", "pagekeeper-win32"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("RUSTFLAGS", "-Awarnings")
        .output()
        .expect("cargo");
    if built.status.success() {
        Ok(target.join("debug"))
    } else {
        Err(String::from_utf8_lossy(&built.stderr).into_owned())
    }
}

/// The line of one row, printed by the program when it runs with the library in `libraries`.
fn line_with(program: &Program, row: &str, libraries: &Path, folder: &Path) -> Option<String> {
    let binary = folder.join(&program.name);
    if !binary.exists() {
        let built = Command::new("cc")
            .args(["-std=c11", "-O1", "-I"])
            .arg(crate_folder().join("include"))
            .arg(&program.source)
            .arg("-o")
            .arg(&binary)
            .arg("-L")
            .arg(libraries)
            .arg("-lpagekeeper_win32")
            .arg(format!("-Wl,-rpath,{}", libraries.display()))
            .status()
            .expect("cc");
        assert!(built.success(), "{} cannot be built", program.name);
    }
    let mut command = Command::new(&binary);
    command
        .args(&program.arguments)
        .current_dir(folder)
        // Cargo's own would find the unbroken library first.
        .env_remove("LD_LIBRARY_PATH")
        .envs(program.environment.iter().cloned());
    let (lines, _) = run(&mut command);
    lines.into_iter().find(|line| row_of(line) == Some(row))
}

/// A number that looks like chance, and the next one.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let value = env::var(variable).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
#[ignore = "builds the library once for each broken rule: minutes"]
fn rows_notice_broken_rules() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |now| now.as_secs());
    let mut seed = number("PAGEKEEPER_SEED", now).max(1);
    println!("PAGEKEEPER_SEED={seed}");
    let mut left = all_broken();
    let programs = conformance();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("copy");
    copy_tree(&root(), &copy);
    let libraries = build_library(&copy).expect("the unbroken library");
    let mut drawn = Vec::new();
    for _ in 0..number("PAGEKEEPER_RULES", 20).min(left.len() as u64) {
        drawn.push(left.swap_remove((next(&mut seed) % left.len() as u64) as usize));
    }
    for broken in &drawn {
        let (program, expected) = expected_line(&programs, broken);
        let whole = line_with(program, &broken.row, &libraries, folder.path());
        assert_eq!(whole.as_deref(), Some(expected), "with nothing broken");
    }
    let mut unnoticed = Vec::new();
    for broken in &drawn {
        let (program, expected) = expected_line(&programs, broken);
        let source = copy.join(&broken.file);
        let text = fs::read_to_string(&source).expect("a source");
        fs::write(&source, changed(&text, broken).expect("it fits")).expect("written");
        let printed = build_library(&copy)
            .map(|_| line_with(program, &broken.row, &libraries, folder.path()));
        // Built again together with the next change.
        fs::write(&source, text).expect("written back");
        match printed {
            Ok(Some(line)) if line == expected => {
                unnoticed.push(format!(
                    "rule {} broken, {} unmoved",
                    broken.rule, broken.row
                ));
            }
            Ok(line) => println!(
                "rule {}: {}",
                broken.rule,
                line.unwrap_or_else(|| format!("{} | no line any more", broken.row))
            ),
            Err(why) => unnoticed.push(format!("rule {}: does not build:\n{why}", broken.rule)),
        }
    }
    assert!(unnoticed.is_empty(), "\n{}\n", unnoticed.join("\n"));
}
