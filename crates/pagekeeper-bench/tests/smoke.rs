//! The whole bench on very little data: every path runs, every byte agrees, nothing is left behind.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

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
        let kernels_own = one["contender"]
            .as_str()
            .is_some_and(|name| name.starts_with("swap"));
        assert!(one["failed"] == false || kernels_own, "{one}");
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

/// Apart from the others, because the kernel cannot write to a mapped file in a group of 2 MiB.
#[test]
fn a_file_mapping_is_paged_in_its_group() {
    let ended = bench(&[
        "--quick",
        "--ram",
        "16M",
        "--data",
        "24M",
        "--seconds",
        "0.02",
        "--json",
        "--only",
        "sequential/read",
        "--contender",
        "file-mapping",
    ]);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    let results: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    for one in results["skipped"].as_array().expect("a list") {
        println!("skipped, because {}", one["reason"]);
    }
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

/// Groups, swap space and devices of a bench that was killed are gone a moment later, and its child with them.
#[test]
fn a_killed_bench_leaves_nothing() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped, because an ordinary user makes nothing that could be left");
    }
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder on a disk");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_pagekeeper-bench"))
        .args([
            "--ram",
            "16M",
            "--data",
            "64M",
            "--only",
            "uniform",
            "--seconds",
            "60",
        ])
        .args([
            "--contender",
            "swap-zram",
            "--contender",
            "swap-file",
            "--folder",
        ])
        .arg(folder.path())
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let name = format!("pagekeeper-bench-{}", bench.id());
    let start = Instant::now();
    let used = || swaps().lines().count() > 1;
    while !used() && start.elapsed() < Duration::from_secs(60) {
        if let Some(status) = bench.try_wait().expect("asked") {
            return println!("skipped, because the bench ended by itself: {status}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = swaps();
    bench.kill().expect("killed");
    bench.wait().expect("ended");
    let start = Instant::now();
    loop {
        let zram = before
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .any(|path| path.starts_with("/dev/zram") && swaps().contains(path));
        let file = std::fs::read_dir(folder.path()).expect("readable").count() > 0;
        let record = std::path::Path::new("/run")
            .join(format!("{name}.zram"))
            .exists();
        if !zram && !file && !record && !swaps().contains(&name) {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "left: zram {zram}, file {file}, record {record}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn swaps() -> String {
    std::fs::read_to_string("/proc/swaps").expect("the list of swap space")
}

#[test]
fn mapped_files_are_measured_and_checked() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder on a disk");
    let path = folder.path().to_string_lossy().into_owned();
    let ended = bench(&[
        "--quick",
        "--ram",
        "16M",
        "--data",
        "32M",
        "--seconds",
        "0.05",
        "--json",
        "--only",
        "views",
        "--folder",
        &path,
    ]);
    let complaints = text(&ended.stderr);
    assert!(ended.status.success(), "{complaints}");
    assert!(!complaints.contains("DIFFERENCE"), "{complaints}");
    let results: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    for one in results["skipped"].as_array().expect("a list") {
        println!("skipped, because {}", one["reason"]);
        assert_eq!(one["contender"], "file-mapping", "{one}");
    }
    let lines = results["measurements"].as_array().expect("a list");
    for contender in ["mapped", "plain"] {
        for cell in ["fits/first-scan/1", "fits/random/2", "larger/scan/1"] {
            let is_it = |one: &&serde_json::Value| {
                one["family"] == "views" && one["contender"] == contender && one["cell"] == cell
            };
            assert!(lines.iter().any(|one| is_it(&one)), "{contender} {cell}");
        }
    }
    let left = std::fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 0);
}

#[test]
fn being_looked_at_is_measured() {
    let ended = bench(&[
        "--quick",
        "--ram",
        "4M",
        "--data",
        "8M",
        "--seconds",
        "0.1",
        "--json",
        "--only",
        "monitor",
    ]);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    let results: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    for one in results["skipped"].as_array().expect("a list") {
        println!("skipped, because {}", one["reason"]);
        assert_eq!(one["contender"], "inline", "{one}");
    }
    let values = |cell: &str, metric: &str| {
        results["measurements"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|one| one["family"] == "monitor" && one["contender"] == "mapped")
            .find(|one| one["cell"] == cell && one["metric"] == metric)
            .and_then(|one| one["values"].as_array().cloned())
            .unwrap_or_default()
    };
    for load in ["fits/100", "fits/10000", "pages/100", "pages/10000"] {
        assert_eq!(values(load, "cost %").len(), 3, "{results:#}");
        assert_eq!(values(load, "look ms").len(), 3);
    }
}
