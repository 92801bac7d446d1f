//! The whole bench on very little data: every path runs, every byte agrees, nothing is left behind.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pagekeeper-bench"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_quick_run_on_4_mib_measures_and_checks_everything() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder on a disk");
    let path = folder.path().to_string_lossy().into_owned();
    let written = folder.path().join("benchmarks.md");
    let ended = bench(&[
        "--quick",
        "--ram",
        "2M",
        "--data",
        "4M",
        "--seconds",
        "0.02",
        "--json",
        "--folder",
        &path,
        "--only",
        "uniform",
        "--only",
        "fits",
        "--contender",
        "inline",
        "--contender",
        "plain-huge",
        "--contender",
        "file-mapping",
        "--contender",
        "swap-zram",
        "--contender",
        "swap-file",
        "--write",
        &written.to_string_lossy(),
    ]);
    let complaints = text(&ended.stderr);
    assert!(ended.status.success(), "{complaints}");
    let results: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(
        results["differences"].as_array().map(Vec::len),
        Some(0),
        "{complaints}"
    );
    let measured = |family: &str, cell: &str, contender: &str, metric: &str| {
        results["measurements"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|one| {
                one["family"] == family
                    && one["cell"] == cell
                    && one["contender"] == contender
                    && one["metric"] == metric
            })
    };
    for kind in ["paging/compressible", "paging/incompressible"] {
        for contender in ["inline", "plain-huge"] {
            assert!(
                measured(kind, "uniform/update/2", contender, "operations/s"),
                "{kind} {contender}"
            );
            assert!(
                measured(kind, "memory", contender, "peak bytes"),
                "{kind} {contender}"
            );
        }
    }
    assert!(measured("fits", "written", "inline", "bytes"));
    // Whoever could not take part says why.
    for one in results["skipped"].as_array().expect("a list") {
        println!("skipped, because {}", one["reason"]);
        assert_eq!(one["failed"], false, "{one}");
    }
    let document = std::fs::read_to_string(&written).expect("the tables were written");
    assert!(document.contains("## Data that fits") && document.contains("--only uniform"));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name())
        .filter(|name| name != "benchmarks.md")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn bookkeeping_is_measured() {
    let ended = bench(&[
        "--quick",
        "--ram",
        "2M",
        "--data",
        "4M",
        "--only",
        "metadata",
        "--contender",
        "plain",
        "--contender",
        "inline",
        "--json",
    ]);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    let results: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let lines = results["measurements"].as_array().expect("a list");
    let alternating = lines
        .iter()
        .find(|one| one["cell"] == "alternating" && one["contender"] == "inline");
    assert_eq!(alternating.expect("measured")["median"], 20_000.0);
}

#[test]
fn what_cannot_work_is_refused_with_code_2() {
    for (arguments, reason) in [
        (
            &["--ram", "1G", "--data", "512M"][..],
            "nothing would be paged",
        ),
        (&["--folder", "/no/such/folder"], "/no/such/folder"),
        (&["--data", "9000T"], "free"),
        (&["--ram", "much"], "not a size"),
    ] {
        let ended = bench(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&ended.stderr).contains(reason),
            "{arguments:?}: {}",
            text(&ended.stderr)
        );
    }
}
