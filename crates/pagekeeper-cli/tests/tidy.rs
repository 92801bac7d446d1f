//! House rules that no compiler checks: floors, the unsafe fence, sizes of files, links.

mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Line, lines_of};

/// Longer files need a reason.
const MOST_LINES: usize = 500;
/// So far above an unsafe block its SAFETY comment may begin.
const COMMENT_REACH: usize = 16;
/// Crates without any unsafe code.
const SAFE_CRATES: [&str; 3] = ["pagekeeper-units", "pagekeeper-model", "pagekeeper-cli"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository")
}

/// Files of the repository with one of these endings, by their path from its root; build products left out.
fn files(endings: &[&str]) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, endings: &[&str], found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("readable").flatten() {
            let (path, name) = (
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            );
            if path.is_dir() {
                let skipped = name == ".git" || (folder == root && name.starts_with("target"));
                if !skipped && !path.is_symlink() {
                    walk(root, &path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let short = path
                    .strip_prefix(root)
                    .expect("below")
                    .display()
                    .to_string();
                // Another process may just have moved it away.
                if let Ok(text) = fs::read_to_string(&path) {
                    found.insert(short, text);
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&root(), &root(), endings, &mut found);
    found
}

/// Fails with all complaints at once.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The floor of each crate. A crate imports only lower floors.
fn floor(crate_name: &str) -> Option<u32> {
    Some(match crate_name {
        "pagekeeper-units" => 0,
        "pagekeeper-model" | "pagekeeper-sys" | "pagekeeper-heap" => 1,
        "pagekeeper-store" => 2,
        "pagekeeper" => 3,
        "pagekeeper-cli" | "pagekeeper-bench" | "pagekeeper-win32" | "pagekeeper-preload" => 4,
        _ => return None,
    })
}

/// Names in the dependency tables of a manifest; those of tests and of build scripts apart.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            let one = table
                .split_once("dependencies.")
                .filter(|(before, _)| !before.contains("dev-"));
            inside = table.ends_with("dependencies") && !table.contains("dev-");
            found.extend(one.map(|(_, name)| name.trim_matches('"').to_owned()));
        } else if inside
            && let Some((name, _)) = line.split_once(['.', '=', ' '])
            && !name.is_empty()
            && !name.starts_with('#')
        {
            found.push(name.trim_matches('"').to_owned());
        }
    }
    found
}

#[test]
fn dependencies_are_read() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n# c = 1\n\
                    [dev-dependencies]\nd = \"1\"\n[target.'cfg(unix)'.dependencies]\ne = { path = \"f\" }\n\
                    [dependencies.g]\npath = \"h\"\n[dev-dependencies.i]\npath = \"j\"\n";
    assert_eq!(dependencies(manifest), ["a", "b", "e", "g"]);
}

#[test]
fn a_crate_imports_only_lower_floors() {
    let mut complaints = Vec::new();
    let mut seen = 0;
    for (path, manifest) in files(&["Cargo.toml"]) {
        let Some(name) = path
            .strip_prefix("crates/")
            .and_then(|path| path.strip_suffix("/Cargo.toml"))
        else {
            continue;
        };
        if !manifest.contains(&format!("name = \"{name}\"")) {
            complaints.push(format!("{path}: folder and package have one name"));
        }
        let Some(own) = floor(name) else {
            complaints.push(format!(
                "{path}: '{name}' has no floor; give it one in tidy.rs"
            ));
            continue;
        };
        seen += 1;
        for other in dependencies(&manifest)
            .iter()
            .filter(|other| other.starts_with("pagekeeper"))
        {
            if floor(other).is_none_or(|floor| floor >= own) {
                complaints.push(format!("{path}: floor {own} must not import {other}"));
            }
        }
    }
    assert!(seen >= 7, "only {seen} crates were found");
    none(complaints);
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    let manifests = files(&["Cargo.toml"]);
    let without = |(path, manifest): (&String, &String)| {
        (path.starts_with("crates/") && !manifest.contains("[lints]\nworkspace = true"))
            .then(|| format!("{path}: [lints] workspace = true is missing"))
    };
    none(manifests.iter().filter_map(without).collect());
}

/// Whether the code of a line has `unsafe` as a word of its own.
fn has_unsafe(code: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices("unsafe").any(|(at, word)| {
        !code[..at].ends_with(is_name) && !code[at + word.len()..].starts_with(is_name)
    })
}

/// `unsafe` that promises something here, so that a SAFETY comment is due: a block or an impl.
fn needs_safety(code: &str) -> bool {
    code.match_indices("unsafe").any(|(at, word)| {
        let rest = code[at + word.len()..].trim_start();
        let attribute =
            code[..at].trim_end().ends_with("#[") || code[..at].trim_end().ends_with("#![");
        !attribute && (rest.starts_with('{') || rest.starts_with("impl") || rest.is_empty())
    }) && has_unsafe(code)
}

/// Whether a file allows itself unsafe code with a reason, over one item or over all, on one line or on several.
fn is_fenced(text: &str) -> bool {
    text.contains("unsafe_code") && text.contains("UNSAFETY")
}

/// Whether a test file takes its permission from the module that it belongs to: unit tests (`x/tests.rs`, `x/tests/y.rs`)
/// from what they test (`x/mod.rs`) or their own front, parts of a test program (`tests/x/y.rs`) from its front or root.
fn is_fenced_by_its_front(path: &str, all: &BTreeMap<String, String>) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else {
        return false;
    };
    let fenced = |front: String| all.get(&front).is_some_and(|text| is_fenced(text));
    if folder.contains("/src/") {
        let tested = match file {
            "tests.rs" => Some(folder),
            _ => folder.strip_suffix("/tests"),
        };
        return tested.is_some_and(|tested| {
            fenced(format!("{tested}/mod.rs")) || fenced(format!("{folder}/mod.rs"))
        });
    }
    let Some((root, part)) = folder.split_once("/tests/") else {
        return false;
    };
    let is_root_of = |(path, text): (&String, &String)| {
        let in_root = path.strip_prefix(&format!("{root}/tests/"));
        in_root.is_some_and(|file| !file.contains('/'))
            && text.contains(&format!("mod {part};"))
            && is_fenced(text)
    };
    fenced(format!("{folder}/mod.rs")) || all.iter().any(is_root_of)
}

#[test]
fn unsafe_code_stays_behind_its_fence() {
    let mut complaints = Vec::new();
    let all = files(&[".rs"]);
    for (path, text) in all.clone() {
        let lines = lines_of(&text);
        let uses: Vec<usize> = (0..lines.len())
            .filter(|&at| has_unsafe(&lines[at].code))
            .collect();
        if uses.is_empty() {
            continue;
        }
        let owner = path.split('/').nth(1).unwrap_or_default();
        if SAFE_CRATES.contains(&owner) {
            complaints.push(format!("{path}:{}: no unsafe code in {owner}", uses[0] + 1));
        }
        if !is_fenced(&text) && !is_fenced_by_its_front(&path, &all) {
            complaints.push(format!(
                "{path}: unsafe code without allow(unsafe_code, reason = \"UNSAFETY: ...\")"
            ));
        }
        for at in uses.into_iter().filter(|&at| needs_safety(&lines[at].code)) {
            if !is_explained(&lines, at) {
                complaints.push(format!("{path}:{}: no SAFETY comment", at + 1));
            }
        }
    }
    none(complaints);
}

/// Whether a comment with SAFETY stands in the line or shortly above it.
fn is_explained(lines: &[Line], at: usize) -> bool {
    let above = &lines[at.saturating_sub(COMMENT_REACH)..=at];
    above.iter().any(|line| line.comment.contains("SAFETY"))
}

#[test]
fn files_are_short_and_clean() {
    let mut complaints = Vec::new();
    for (path, text) in files(&[".rs"]) {
        let count = text.lines().count();
        if count > MOST_LINES && !text.contains("// Longer than 500 lines because") {
            complaints.push(format!(
                "{path}: {count} lines; split it, or say '// Longer than 500 lines because ...'"
            ));
        }
        for (number, line) in text.lines().enumerate() {
            let mut complain =
                |what: &str| complaints.push(format!("{path}:{}: {what}", number + 1));
            if line.contains('\t') {
                complain("a tab");
            }
            if line.ends_with(char::is_whitespace) {
                complain("blanks at the end");
            }
        }
        for (number, line) in lines_of(&text).iter().enumerate() {
            for word in ["todo!", "unimplemented!", "dbg!"] {
                if line.code.contains(word) {
                    complaints.push(format!("{path}:{}: {word}", number + 1));
                }
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            complaints.push(format!("{path}: no newline at the end"));
        }
    }
    none(complaints);
}

/// Targets of `[text](target)` outside of code blocks.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let mut rest = if in_code { "" } else { line };
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, behind)) = after.split_once(')') else {
                break;
            };
            found.push(target.to_owned());
            rest = behind;
        }
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let mut complaints = Vec::new();
    for (path, text) in files(&[".md"]) {
        let folder = root().join(&path).parent().expect("a folder").to_owned();
        for link in links(&text) {
            let target = link.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !elsewhere && !target.is_empty() && !folder.join(target).exists() {
                complaints.push(format!("{path}: '{link}' leads nowhere"));
            }
        }
    }
    none(complaints);
}

#[test]
fn the_changelog_has_a_place_for_what_is_new() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    assert!(
        text.lines()
            .any(|line| line.starts_with("## ") && line.contains("Unreleased")),
        "{text}"
    );
}

/// The example in the README is the one that is compiled and run in `tests/readme.rs`.
#[test]
fn the_example_in_the_readme_is_tested() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let (_, after) = readme.split_once("```rust\n").expect("an example in Rust");
    let (example, _) = after.split_once("```").expect("its end");
    let tested = include_str!("readme.rs");
    assert!(
        tested.contains(example),
        "tests/readme.rs does not have this text:\n{example}"
    );
}
