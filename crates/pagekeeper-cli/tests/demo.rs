//! The demonstration on small folders, with each engine, and what becomes of files that change.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{fill, folder, json, pagekeeper};

fn demo(folder: &Path, further: &[&str]) -> Value {
    let arguments = ["--data", "16M", "--ram", "4M", "--seconds", "1", "--json"];
    json(
        pagekeeper()
            .arg("demo")
            .arg(folder)
            .args(arguments)
            .args(further),
    )
}

#[test]
fn every_engine_keeps_every_byte() {
    let data = folder();
    fill(data.path(), 9 << 20);
    for engine in ["inline", "mapped", "resident"] {
        let result = demo(data.path(), &["--engine", engine, "--threads", "3"]);
        assert_eq!(result["equal"], true, "{result:#}");
        assert_eq!(result["engine"], engine);
        assert_eq!(
            (&result["data_bytes"], &result["files"]["rounds"]),
            (&Value::from(16 << 20), &Value::from(2))
        );
        assert_eq!(result["verify"]["bytes"], 16 << 20);
        assert!(
            result["lookups"]["count"].as_u64() > Some(100),
            "{result:#}"
        );
        assert!(result["peak"]["samples"].as_u64() > Some(10), "{result:#}");
        if engine != "resident" {
            assert_eq!(result["peak_within_limit"], true, "{result:#}");
            assert!(
                result["page_file"]["used_bytes"].as_u64() > Some(0),
                "{result:#}"
            );
        }
    }
    let left: Vec<_> = fs::read_dir(data.path()).expect("read").flatten().collect();
    assert_eq!(left.len(), 3, "only what the test put there");
}

#[test]
fn one_thread_and_many() {
    let data = folder();
    fill(data.path(), 2 << 20);
    for threads in ["1", "40"] {
        let result = demo(data.path(), &["--threads", threads]);
        assert_eq!(result["equal"], true, "{result:#}");
        assert_eq!(result["threads"].to_string(), threads);
    }
}

#[test]
fn page_files_go_where_they_are_told_and_leave_nothing() {
    let data = folder();
    fill(data.path(), 5 << 20);
    let (one, other) = (folder(), folder());
    for engine in ["inline", "mapped"] {
        let places = [
            "--page-file",
            text(one.path()),
            "--page-file",
            text(other.path()),
            "--engine",
            engine,
        ];
        assert_eq!(demo(data.path(), &places)["equal"], true);
        for place in [&one, &other] {
            assert_eq!(fs::read_dir(place.path()).expect("read").count(), 0);
        }
    }
}

/// What fits needs no page file.
#[test]
fn without_a_page_file() {
    let data = folder();
    fill(data.path(), 2 << 20);
    let further = ["--page-file", "none", "--data", "4M", "--ram", "32M"];
    for engine in ["inline", "mapped"] {
        let mut command = pagekeeper();
        command.arg("demo").arg(data.path()).args(further);
        let result = json(command.args(["--engine", engine, "--seconds", "1", "--json"]));
        assert_eq!(
            (&result["equal"], &result["page_file"]["used_bytes"]),
            (&Value::from(true), &Value::from(0))
        );
    }
}

#[test]
fn files_that_cannot_be_read_are_counted() {
    let data = folder();
    fill(data.path(), 2 << 20);
    std::os::unix::fs::symlink("/etc/passwd", data.path().join("link")).expect("linked");
    let secret = data.path().join("secret");
    fs::write(&secret, "secret").expect("written");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o000))
        .expect("closed");
    let result = demo(data.path(), &[]);
    let expected = if support::is_root() { 0 } else { 1 };
    assert_eq!(
        result["files"]["skipped_unreadable"], expected,
        "{result:#}"
    );
}

/// A file that grows all the time, and one that comes and goes: no difference, but skipped.
#[test]
fn files_that_change_are_skipped_and_are_no_difference() {
    let data = folder();
    fill(data.path(), 3 << 20);
    let path = data.path().join("log");
    fs::write(&path, vec![b'a'; 50_000]).expect("written");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut log = fs::OpenOptions::new()
                    .append(true)
                    .open(&path)
                    .expect("opened");
                std::io::Write::write_all(&mut log, b"line\n").expect("written");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let arguments = ["--data", "16M", "--ram", "4M", "--seconds", "1", "--json"];
        let output = pagekeeper()
            .arg("demo")
            .arg(data.path())
            .args(arguments)
            .output();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let output = output.expect("started");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    });
    assert_eq!(result["equal"], true, "{result:#}");
    assert!(
        result["files"]["skipped_changed"].as_u64() >= Some(1),
        "{result:#}"
    );
}

#[test]
fn people_see_a_table() {
    let data = folder();
    fill(data.path(), 2 << 20);
    let arguments = ["--data", "8M", "--ram", "4M", "--seconds", "1"];
    let output = pagekeeper()
        .arg("demo")
        .arg(data.path())
        .args(arguments)
        .output()
        .expect("started");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    for word in [
        "data",
        "RAM budget",
        "peak resident",
        "within",
        "page file",
        "compressed pool",
        "faults",
        "fault latency",
        "load",
        "look-ups",
        "compare",
        "files skipped",
        "every byte of 8.00 MiB is equal",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}

/// Ended in the middle, by a signal that can be caught and by one that cannot: the folder is empty.
#[test]
fn killed_in_the_middle_it_leaves_nothing() {
    let data = folder();
    fill(data.path(), 4 << 20);
    for engine in ["inline", "mapped"] {
        for signal in ["-TERM", "-KILL"] {
            let place = folder();
            let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("pagekeeper"))
                .arg("demo")
                .arg(data.path())
                .args(["--data", "16M", "--ram", "4M", "--seconds", "60", "--json"])
                .args(["--engine", engine, "--page-file", text(place.path())])
                .spawn()
                .expect("started");
            std::thread::sleep(std::time::Duration::from_millis(1500));
            assert!(child.try_wait().expect("asked").is_none(), "still at work");
            let sent = std::process::Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status();
            assert!(sent.expect("sent").success());
            assert!(!child.wait().expect("ended").success());
            assert_eq!(
                fs::read_dir(place.path()).expect("read").count(),
                0,
                "{engine} {signal}"
            );
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}
