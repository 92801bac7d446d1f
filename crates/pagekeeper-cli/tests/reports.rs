//! `status`, `doctor`, `--help`: figures that fit the machine, JSON that parses and is documented.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{fill, folder, json, pagekeeper};

#[test]
fn status_says_what_windows_would_say() {
    let status = json(pagekeeper().args(["status", "--json"]));
    let (memory, system) = (&status["memory"], &status["system"]);
    let number = |value: &Value| value.as_u64().expect("a number");
    assert_eq!(number(&memory["total_virtual"]), 0x7FFF_FFFE_0000);
    assert!(number(&memory["available_virtual"]) < 0x7FFF_FFFE_0000);
    assert!(number(&memory["memory_load_percent"]) <= 100);
    assert!(number(&memory["available_physical"]) <= number(&memory["total_physical"]));
    assert!(number(&memory["available_page_file"]) <= number(&memory["total_page_file"]));
    for (field, value) in [
        ("processor_architecture", 9),
        ("page_size", 4096),
        ("allocation_granularity", 65_536),
        ("processor_type", 8664),
        ("minimum_application_address", 0x1_0000),
        ("maximum_application_address", 0x7FFF_FFFE_FFFF),
    ] {
        assert_eq!(number(&system[field]), value, "{field}");
    }
    let processors = number(&system["number_of_processors"]);
    assert_eq!(
        u64::from(number(&system["active_processor_mask"]).count_ones()),
        processors
    );
}

#[test]
fn tables_fit_a_narrow_terminal() {
    for command in ["status", "doctor"] {
        let output = pagekeeper().arg(command).output().expect("started");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}

#[test]
fn the_doctor_names_every_feature_and_what_would_grant_it() {
    let report = json(
        pagekeeper()
            .args(["doctor", "--json"])
            .env("PAGEKEEPER_DISABLE", "io_uring, guard"),
    );
    assert_eq!(report["healthy"], true);
    let features = report["features"].as_array().expect("a list");
    assert_eq!(features.len(), pagekeeper_sys::probe::Feature::ALL.len());
    for feature in features {
        let bad = feature["verdict"] != "ok";
        assert_eq!(
            (feature["cost"].is_string(), feature["remedy"].is_string()),
            (bad, bad),
            "{feature}"
        );
    }
    let names: Vec<_> = features
        .iter()
        .filter(|one| one["verdict"] != "ok")
        .collect();
    assert!(names.iter().any(|one| one["name"] == "io_uring"));
    assert!(
        names.iter().any(|one| one["name"] == "guard_file"),
        "part of guard"
    );
    for list in ["engines", "page_file", "limits"] {
        assert!(
            report[list].as_array().is_some_and(|list| !list.is_empty()),
            "{list}"
        );
    }
}

#[test]
fn the_doctor_fails_where_nothing_can_be_paged() {
    let mut command = pagekeeper();
    let output = command
        .env("PAGEKEEPER_PAGE_FILE", "/no/such/folder")
        .arg("doctor")
        .output();
    let output = output.expect("started");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("MISSING") && text.contains("PAGEKEEPER_PAGE_FILE"),
        "{text}"
    );
}

#[test]
fn help_names_every_option() {
    let help = |arguments: &[&str]| {
        let output = pagekeeper().args(arguments).output().expect("started");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    let text = help(&["--help"]);
    for word in [
        "demo",
        "status",
        "doctor",
        "Exit codes",
        "PAGEKEEPER_RAM",
        "PAGEKEEPER_DISABLE",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let text = help(&["demo", "--help"]);
    for word in [
        "--data",
        "--ram",
        "--threads",
        "--engine",
        "--page-file",
        "--seconds",
        "--json",
        "/usr",
        "1G",
        "256M",
        "inline, mapped or resident",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(help(&["--version"]).starts_with("pagekeeper "));
}

#[test]
fn without_a_command_there_is_help_and_exit_code_2() {
    let output = pagekeeper().output().expect("started");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("demo"));
}

/// Every field of every report stands in `docs/program.md`.
#[test]
fn every_json_field_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/program.md");
    let text = std::fs::read_to_string(path).expect("docs/program.md");
    let data = folder();
    fill(data.path(), 1 << 20);
    let demo = ["--data", "2M", "--ram", "4M", "--seconds", "1", "--json"];
    for report in [
        json(pagekeeper().args(["status", "--json"])),
        json(pagekeeper().args(["doctor", "--json"])),
        json(pagekeeper().arg("demo").arg(data.path()).args(demo)),
    ] {
        for_each_field(&report, &mut |field| {
            assert!(
                text.contains(&format!("`{field}`")),
                "docs/program.md does not name '{field}'"
            );
        });
    }
}

fn for_each_field(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            visit(name);
            for_each_field(value, visit);
        }),
        Value::Array(elements) => elements
            .iter()
            .for_each(|element| for_each_field(element, visit)),
        _ => {}
    }
}
