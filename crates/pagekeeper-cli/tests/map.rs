//! `pagekeeper map`: what it writes, and what it says where it cannot.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::http::Kept;
use support::{complaint, is_root, pagekeeper};

/// A process that does nothing for a while.
fn sleeper() -> Kept {
    let mut command = Command::new("sleep");
    let child = Kept::start(command.arg("1000"));
    // Until exec it is a copy of this test.
    while fs::read_to_string(format!("/proc/{}/comm", child.pid()))
        .is_ok_and(|name| name.trim() != "sleep")
    {
        thread::sleep(Duration::from_millis(5));
    }
    child
}

fn map_to(pid: u32, path: &Path, more: &[&str]) -> String {
    let pid = pid.to_string();
    let output = pagekeeper()
        .arg("map")
        .arg(&pid)
        .args(more)
        .arg("-o")
        .arg(path)
        .output()
        .expect("started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout.is_empty());
    fs::read_to_string(path).expect("written")
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

fn is_near(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= one.max(other) / 50 + 4096
}

#[test]
fn json_has_a_version_and_its_regions_are_the_sum() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = sleeper();
    let text = map_to(child.pid(), &folder.path().join("x.json"), &[]);
    let map: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (map["format"].as_str(), map["version"].as_u64()),
        (Some("pagekeeper-map"), Some(1))
    );
    let snapshot = &map["snapshot"];
    assert_eq!(snapshot["pid"], child.pid());
    assert_eq!(snapshot["name"], "sleep");
    let regions = snapshot["regions"].as_array().expect("regions");
    let sum = |figure: &dyn Fn(&Value) -> u64| regions.iter().map(figure).sum::<u64>();
    let totals = &snapshot["totals"];
    assert_eq!(
        sum(&|region| number(&region["size_bytes"])),
        number(&totals["reserved_bytes"])
    );
    assert_eq!(
        sum(&|region| number(&region["committed_bytes"])),
        number(&totals["committed_bytes"])
    );
    let resident = sum(&|region| number(&region["pages"]["resident"]) * 4096);
    assert!(
        is_near(resident, number(&totals["working_set_bytes"])),
        "{resident}: {totals}"
    );
    let kernel = support::http::kernel_figure(child.pid(), "VmRSS");
    assert!(is_near(resident, kernel), "{resident} against {kernel}");
    let bases: Vec<u64> = regions
        .iter()
        .map(|region| number(&region["base"]))
        .collect();
    assert!(bases.is_sorted() && bases.len() > 5);
}

#[test]
fn an_svg_is_well_formed_and_shows_the_totals() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = sleeper();
    let text = map_to(child.pid(), &folder.path().join("x.svg"), &[]);
    let picture = roxmltree::Document::parse(&text).expect("well-formed");
    let texts: Vec<&str> = picture
        .descendants()
        .filter_map(|node| node.text())
        .collect();
    for word in [
        "Reserved",
        "Committed",
        "Resident",
        "Totals",
        "image",
        "stack",
        "total",
    ] {
        assert!(texts.contains(&word), "'{word}' is missing");
    }
    assert!(
        texts.iter().any(|text| text.contains("of free space")),
        "{texts:?}"
    );
    let paths = picture
        .descendants()
        .filter(|node| node.tag_name().name() == "path");
    assert!(paths.count() > 5);
}

#[test]
fn an_html_page_holds_all_it_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = sleeper();
    let page = map_to(child.pid(), &folder.path().join("x.html"), &[]);
    assert!(page.starts_with("<!doctype html>"));
    // The page itself forbids the browser to fetch anything.
    assert!(page.contains(
        "Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline';"
    ));
    for from_elsewhere in [
        "<script src",
        "<img",
        "@import",
        "url(",
        "href=\"http",
        "fetch(",
    ] {
        assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
    }
    let (_, data) = page.split_once("id=\"data\">").expect("data");
    let (data, _) = data.split_once("</script>").expect("its end");
    let data: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(data["document"]["snapshot"]["pid"], child.pid());
}

#[test]
fn text_goes_to_the_terminal_or_to_a_file() {
    let child = sleeper();
    let output = pagekeeper()
        .args(["map", &child.pid().to_string()])
        .output()
        .expect("started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    for word in [
        "reserved",
        "committed",
        "resident",
        "[stack]",
        "libc",
        "total",
    ] {
        assert!(text.contains(word), "'{word}' is missing: {text}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    assert!(map_to(child.pid(), &folder.path().join("x.txt"), &[]).contains("[stack]"));
}

#[test]
fn a_recording_keeps_every_moment_and_ends_with_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.json");
    let mut child = sleeper();
    let text = map_to(child.pid(), &path, &["--record", "1", "--every", "0.2"]);
    let map: Value = serde_json::from_str(&text).expect("JSON");
    let later = map["later"].as_array().expect("moments");
    assert_eq!(later.len(), 5);
    // A process that does nothing changes nothing.
    assert!(
        later
            .iter()
            .all(|moment| moment["removed"].as_array().is_some_and(Vec::is_empty))
    );
    let mut recorder = support::http::program();
    recorder.args([
        "map",
        &child.pid().to_string(),
        "--record",
        "60",
        "--every",
        "0.1",
        "-o",
    ]);
    let mut recorder = recorder
        .arg(&path)
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    thread::sleep(Duration::from_millis(700));
    child.end();
    let status = recorder.wait().expect("ended");
    assert!(status.success(), "{status}");
    let text = fs::read_to_string(&path).expect("written");
    let map: Value = serde_json::from_str(&text).expect("JSON");
    let last = map["later"]
        .as_array()
        .and_then(|later| later.last())
        .expect("a last moment");
    let note = last["snapshot"]["notes"].to_string();
    assert!(
        note.contains("the recording stops here") && note.contains("has ended"),
        "{note}"
    );
}

#[test]
fn two_snapshots_are_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let (before, after) = (folder.path().join("a.json"), folder.path().join("b.json"));
    let (one, other) = (sleeper(), sleeper());
    map_to(one.pid(), &before, &[]);
    map_to(other.pid(), &after, &[]);
    let compare = |files: [&Path; 2]| {
        let mut command = pagekeeper();
        command.args(["map", "--compare"]).args(files);
        command
    };
    let same = compare([&before, &before]).output().expect("started");
    assert!(String::from_utf8_lossy(&same.stdout).ends_with("no region differs\n"));
    let differ = compare([&before, &after]).output().expect("started");
    let text = String::from_utf8_lossy(&differ.stdout).into_owned();
    assert!(
        text.contains("a.json: sleep") && text.contains("new") && text.contains("gone"),
        "{text}"
    );
    let written = folder.path().join("c.json");
    let output = compare([&before, &after])
        .arg("-o")
        .arg(&written)
        .output()
        .expect("started");
    assert!(output.status.success());
    let comparison: Value =
        serde_json::from_str(&fs::read_to_string(&written).expect("written")).expect("JSON");
    assert_eq!(comparison["format"], "pagekeeper-comparison");
    assert_eq!(comparison["after"]["pid"], other.pid());
    let page = folder.path().join("c.html");
    assert!(
        compare([&before, &after])
            .arg("-o")
            .arg(&page)
            .output()
            .expect("started")
            .status
            .success()
    );
    assert!(
        fs::read_to_string(&page)
            .expect("written")
            .contains("\"names\":[")
    );
    assert!(complaint(compare([&before, &after]).args(["-o", "c.svg"])).contains(".html"));
}

#[test]
fn mistakes_are_one_line() {
    let child = sleeper();
    let pid = child.pid().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let none = u32::MAX.to_string();
    assert!(complaint(pagekeeper().args(["map", &none])).contains("there is no process"));
    assert!(
        complaint(pagekeeper().args(["map", &pid, "-o", "x.png"]))
            .contains(".svg, .html, .json or .txt")
    );
    assert!(complaint(pagekeeper().args(["map", &pid, "--record", "1"])).contains("-o FILE.html"));
    assert!(complaint(pagekeeper().arg("map")).contains("PID"));
    complaint(pagekeeper().args(["map", &pid, "--every", "1"]));
    complaint(pagekeeper().args(["map", &pid, "--record", "0"]));
    let other = folder.path().join("other.json");
    fs::write(&other, "{}").expect("written");
    assert!(
        complaint(
            pagekeeper()
                .args(["map", "--compare"])
                .args([&other, &other])
        )
        .contains("not a file that")
    );
    let output = pagekeeper()
        .args(["map", &pid, "-o", "/nonexistent/x.json"])
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}

#[test]
fn a_kernel_thread_has_no_memory() {
    let is_kernel_thread = |pid: u32| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| stat.contains("(kthreadd)"))
    };
    if !is_kernel_thread(2) {
        println!("skipped, because process 2 is no thread of the kernel here");
        return;
    }
    complaint(pagekeeper().args(["map", "2"]));
}

#[test]
fn other_users_processes_are_refused_politely() {
    if is_root() {
        // As somebody else into this test's own process.
        let child = sleeper();
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let program = folder.path().join("pagekeeper");
        fs::copy(env!("CARGO_BIN_EXE_pagekeeper"), &program).expect("copied");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("opened");
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .args(["map", &child.pid().to_string()])
            .output();
        let Ok(output) = output else {
            println!("skipped, because there is no setpriv");
            return;
        };
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("belongs to user 0") && text.lines().count() == 1,
            "{text}"
        );
    } else {
        assert!(complaint(pagekeeper().args(["map", "1"])).contains("process 1"));
    }
}

#[test]
fn a_process_that_comes_and_goes_is_one_line_or_a_map() {
    for delay in 0..10 {
        let mut child = sleeper();
        let mut mapper = support::http::program();
        mapper.args(["map", &child.pid().to_string()]);
        let mapper = mapper
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        thread::sleep(Duration::from_micros(delay * 300));
        child.end();
        let output = mapper.wait_with_output().expect("ended");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => assert!(text.is_empty(), "{text}"),
            Some(1 | 2) => {
                assert_eq!(text.lines().count(), 1, "{text}");
                assert!(
                    text.contains("has ended")
                        || text.contains("no process")
                        || text.contains("no memory"),
                    "{text}"
                );
            }
            other => panic!("{other:?}: {text}"),
        }
    }
}

#[test]
fn a_pagekeeper_process_is_mapped() {
    let data = support::folder();
    support::fill(data.path(), 4 << 20);
    let mut demo = support::http::program();
    demo.arg("demo")
        .arg(data.path())
        .args(["--data", "16M", "--ram", "8M", "--seconds", "1000"]);
    let demo = Kept::start(demo.stdout(Stdio::null()).stderr(Stdio::null()));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.json");
    // Until it has reserved its terabyte.
    let snapshot = loop {
        let map: Value = serde_json::from_str(&map_to(demo.pid(), &path, &[])).expect("JSON");
        if number(&map["snapshot"]["totals"]["reserved_bytes"]) >= 1 << 40 {
            break map["snapshot"].clone();
        }
        thread::sleep(Duration::from_millis(100));
    };
    let regions = snapshot["regions"].as_array().expect("regions");
    let reserved: u64 = regions
        .iter()
        .map(|region| number(&region["size_bytes"]))
        .sum();
    assert_eq!(reserved, number(&snapshot["totals"]["reserved_bytes"]));
}
