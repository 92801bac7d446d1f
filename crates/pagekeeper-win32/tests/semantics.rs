//! `docs/windows-semantics.md` tells the truth about the tests: every test that it names exists, no row of a program is left out,
//! and its counts are right.

#[allow(dead_code, reason = "what runs programs is for the other tests")]
mod programs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use programs::{conformance, crate_folder, row_of};

/// One rule of the document.
struct Rule {
    number: String,
    mark: String,
    tests: String,
    status: String,
}

fn document() -> String {
    let path = crate_folder().join("../../docs/windows-semantics.md");
    fs::read_to_string(path).expect("the document")
}

/// Cells of a line of a table; a bar inside a cell is written with a backslash.
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_matches('|').replace("\\|", "\u{0}");
    let cells = inner.split('|');
    cells
        .map(|cell| cell.trim().replace('\u{0}', "|"))
        .collect()
}

fn rules(document: &str) -> Vec<Rule> {
    let is_number =
        |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit()) && cell.contains('.');
    document
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter(|cells| is_number(&cells[0]))
        .map(|cells| {
            let [number, _rule, mark, tests, status] = <[String; 5]>::try_from(cells)
                .unwrap_or_else(|cells| panic!("five cells are expected: {cells:?}"));
            Rule {
                number,
                mark,
                tests,
                status,
            }
        })
        .collect()
}

/// The tests that a cell names, as file and name.
fn named(cell: &str) -> Vec<(String, String)> {
    let mut file = String::new();
    let mut found = Vec::new();
    for (index, part) in cell.split('`').enumerate() {
        if index % 2 == 1 {
            found.push((file.clone(), part.to_owned()));
        } else if let Some((before, _)) = part.rsplit_once(':') {
            file = before.trim_start_matches([';', ' ']).trim().to_owned();
        }
    }
    found
}

/// All rows of all programs, by file.
fn rows() -> BTreeMap<String, Vec<String>> {
    conformance()
        .iter()
        .map(|program| {
            let ids = program.expected.iter().filter_map(|line| row_of(line));
            (
                format!("{}.c", program.name),
                ids.map(str::to_owned).collect(),
            )
        })
        .collect()
}

fn covers(pattern: &str, row: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => row.starts_with(beginning),
        None => row == pattern,
    }
}

#[test]
fn every_rule_names_tests_that_exist() {
    let rows = rows();
    let mut complaints = Vec::new();
    for rule in rules(&document()) {
        let tests = named(&rule.tests);
        let may_lack = ["impossible", "not yet"]
            .iter()
            .any(|status| rule.status.starts_with(status));
        if tests.is_empty() && !may_lack {
            complaints.push(format!("{}: no test", rule.number));
        }
        for (file, name) in tests {
            let exists = if file.ends_with(".rs") {
                fs::read_to_string(crate_folder().join("tests").join(&file))
                    .is_ok_and(|text| text.contains(&format!("fn {name}()")))
            } else {
                let of_file = rows.get(&file);
                of_file.is_some_and(|of_file| of_file.iter().any(|row| covers(&name, row)))
            };
            if !exists {
                complaints.push(format!("{}: there is no {name} in {file}", rule.number));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_row_of_every_program_belongs_to_a_rule() {
    let mut named_rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for rule in rules(&document()) {
        for (file, name) in named(&rule.tests) {
            named_rows.entry(file).or_default().push(name);
        }
    }
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, rows) in rows() {
        let patterns = named_rows.get(&file).map_or(&[][..], Vec::as_slice);
        for row in rows {
            if !patterns.iter().any(|pattern| covers(pattern, &row)) {
                complaints.push(format!("{file}: no rule names {row}"));
            }
            if !seen.insert(row.clone()) {
                complaints.push(format!("{file}: {row} is there twice"));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn numbers_marks_and_counts_are_right() {
    let document = document();
    let mut numbers = BTreeSet::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in rules(&document) {
        assert!(
            numbers.insert(rule.number.clone()),
            "{} is there twice",
            rule.number
        );
        let marks = rule.mark.split([',', '+']).map(str::trim);
        for mark in marks {
            assert!(
                ["T", "T*", "D", "I"].contains(&mark),
                "{}: mark {mark}",
                rule.number
            );
        }
        let status = ["same", "differs", "impossible", "not yet"]
            .into_iter()
            .find(|status| rule.status.starts_with(status))
            .unwrap_or_else(|| panic!("{}: status {}", rule.number, rule.status));
        assert!(
            status == "same" || rule.status.contains(": "),
            "{}: no reason",
            rule.number
        );
        *counts.entry(status).or_default() += 1;
    }
    for (status, count) in &counts {
        let line = format!("| {status} | {count} |");
        assert!(document.contains(&line), "the count should say: {line}");
    }
    let line = format!("| all | {} |", numbers.len());
    assert!(document.contains(&line), "the count should say: {line}");
}
