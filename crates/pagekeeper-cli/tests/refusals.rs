//! A container that refuses system calls: the same result, another way.

mod support;

use pagekeeper_sys::Errno;
use pagekeeper_sys::seccomp::{Refusal, Scope, refuse};
use support::{complaint, fill, folder, json, pagekeeper};

/// Runs the test of that name in a process of its own, because what is refused stays refused.
fn alone(name: &str) -> bool {
    const VARIABLE: &str = "REFUSALS_TEST_ALONE";
    if std::env::var(VARIABLE).is_ok_and(|value| value == name) {
        return true;
    }
    let itself = std::env::current_exe().expect("a path");
    let status = std::process::Command::new(itself)
        .args(["--exact", name, "--nocapture"])
        .env(VARIABLE, name)
        .status()
        .expect("started");
    assert!(status.success(), "{name}: {status}");
    false
}

const SMALL: [&str; 7] = ["--data", "16M", "--ram", "4M", "--seconds", "1", "--json"];

#[test]
fn without_userfaultfd_the_mapped_engine_is_used() {
    if !alone("without_userfaultfd_the_mapped_engine_is_used") {
        return;
    }
    let data = folder();
    fill(data.path(), 4 << 20);
    refuse(&Refusal::userfaultfd(Errno::PERM), Scope::Process).expect("refused");
    let mut command = pagekeeper();
    let output = command
        .arg("demo")
        .arg(data.path())
        .args(SMALL)
        .output()
        .expect("started");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert_eq!(complaints.lines().count(), 1, "{complaints}");
    assert!(
        complaints.contains("using the mapped engine"),
        "{complaints}"
    );
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&result["equal"], &result["engine"]),
        (&true.into(), &"mapped".into())
    );
    assert!(result["engine_fallback"].is_string());

    for (option, variable) in [(Some("inline"), None), (None, Some("inline"))] {
        let mut command = pagekeeper();
        command.arg("demo").arg(data.path()).args(SMALL);
        if let Some(engine) = option {
            command.args(["--engine", engine]);
        }
        if let Some(engine) = variable {
            command.env("PAGEKEEPER_ENGINE", engine);
        }
        let line = complaint(&mut command);
        assert!(line.contains("--engine mapped"), "{line}");
    }
    let report = json(pagekeeper().args(["doctor", "--json"]));
    assert_eq!(report["healthy"], true);
    let inline = report["engines"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["name"] == "inline"));
    let inline = inline.expect("listed");
    assert_eq!(inline["verdict"], "warning", "{report:#}");
}

#[test]
fn without_io_uring_nothing_else_changes() {
    if !alone("without_io_uring_nothing_else_changes") {
        return;
    }
    let data = folder();
    fill(data.path(), 4 << 20);
    refuse(&Refusal::io_uring(Errno::PERM), Scope::Process).expect("refused");
    for engine in ["inline", "mapped"] {
        let result = json(
            pagekeeper()
                .arg("demo")
                .arg(data.path())
                .args(SMALL)
                .args(["--engine", engine]),
        );
        assert_eq!(
            (&result["equal"], &result["engine"]),
            (&true.into(), &engine.into())
        );
    }
    let report = json(pagekeeper().args(["doctor", "--json"]));
    let features = report["features"].as_array().expect("listed");
    let ring = features
        .iter()
        .find(|one| one["name"] == "io_uring")
        .expect("listed");
    assert_eq!(ring["verdict"], "note");
    assert!(
        ring["remedy"]
            .as_str()
            .is_some_and(|text| text.contains("seccomp")),
        "{ring:#}"
    );
}
