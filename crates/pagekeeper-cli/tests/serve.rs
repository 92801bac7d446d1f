//! `pagekeeper serve`, over plain HTTP: the numbers, who may look, and the end of a process.

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::http::{Kept, Server, agrees, kernel_figure, program};
use support::{complaint, is_root, json, pagekeeper};

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// A demonstration that goes on, and the folder that it reads.
fn demo() -> (Kept, tempfile::TempDir) {
    let data = support::folder();
    support::fill(data.path(), 8 << 20);
    let mut demo = program();
    demo.arg("demo").arg(data.path()).args([
        "--data",
        "32M",
        "--ram",
        "16M",
        "--seconds",
        "1000",
        "--threads",
        "1",
    ]);
    (
        Kept::start(demo.stdout(Stdio::null()).stderr(Stdio::null())),
        data,
    )
}

#[test]
fn the_numbers_are_the_kernels_and_those_of_status() {
    let (demo, _data) = demo();
    let pid = demo.pid();
    let server = Server::start(&[&pid.to_string()]);
    // Under load figures move between two looks: one that agrees is enough, none that ever does is not.
    let path = format!("/api/v1/processes/{pid}");
    let agreed = (0..20).any(|_| {
        thread::sleep(Duration::from_millis(100));
        let before = kernel_figure(pid, "VmRSS");
        let told = number(&server.json(&path)["totals"]["working_set_bytes"]);
        agrees(told, before, kernel_figure(pid, "VmRSS"))
    });
    assert!(agreed, "the working set is never the kernel's");
    let snapshot = &server.json(&format!("{path}/snapshot"))["snapshot"];
    let regions = snapshot["regions"].as_array().expect("regions");
    let reserved: u64 = regions
        .iter()
        .map(|region| number(&region["size_bytes"]))
        .sum();
    assert_eq!(reserved, number(&snapshot["totals"]["reserved_bytes"]));
    let status = json(pagekeeper().args(["status", "--json"]));
    let machine = server.json("/api/v1/machine");
    for field in ["total_physical", "total_page_file", "total_virtual"] {
        assert_eq!(machine["memory"][field], status["memory"][field], "{field}");
    }
    assert_eq!(machine["system"], status["system"]);
    let list = server.json("/api/v1/processes");
    assert_eq!(
        (list.as_array().map(Vec::len), &list[0]["pid"]),
        (Some(1), &Value::from(pid))
    );
}

#[test]
fn metrics_are_prometheus_text() {
    let (demo, _data) = demo();
    let server = Server::start(&[&demo.pid().to_string()]);
    let (status, head, text) = server.get("/metrics", "");
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let sample = format!(
        "pagekeeper_working_set_bytes{{pid=\"{}\",name=\"pagekeeper\",",
        demo.pid()
    );
    let line = text
        .lines()
        .find(|line| line.starts_with(&sample))
        .expect("the sample");
    let value: u64 = line
        .rsplit(' ')
        .next()
        .and_then(|value| value.parse().ok())
        .expect("a number");
    assert!(value > 1 << 20, "{line}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            line.starts_with("pagekeeper_")
                && line
                    .rsplit(' ')
                    .next()
                    .is_some_and(|value| value.parse::<u64>().is_ok()),
            "{line}"
        );
    }
}

#[test]
fn changes_are_told_as_they_happen_and_so_is_the_end() {
    let (mut demo, _data) = demo();
    let server = Server::start(&[&demo.pid().to_string()]);
    let mut events = server.events(demo.pid());
    let (name, hello) = events.next().expect("a first event");
    assert_eq!(name, "hello");
    assert!(
        hello["snapshot"]["regions"]
            .as_array()
            .is_some_and(|regions| regions.len() > 10)
    );
    let first = number(&hello["snapshot"]["totals"]["working_set_bytes"]);
    let changed = events.by_ref().take(300).any(|(name, look)| {
        assert_eq!(name, "look");
        number(&look["later"]["snapshot"]["totals"]["working_set_bytes"]) != first
    });
    assert!(changed, "the working set never changes");
    demo.end();
    let (_, end) = events
        .find(|(name, _)| name == "ended")
        .expect("the end is told");
    assert!(
        end["text"]
            .as_str()
            .is_some_and(|text| text.contains("has ended")),
        "{end}"
    );
    // Whoever comes later sees the last state, and why nothing more comes.
    let (_, hello) = server.events(demo.pid()).next().expect("a first event");
    assert!(
        hello["ended"].is_string() && hello["moments"].as_array().is_some_and(|all| all.len() > 1)
    );
    let (status, _, body) = server.get(&format!("/api/v1/processes/{}", demo.pid()), "");
    assert!(matches!(status, 404 | 410), "{status} {body}");
}

#[test]
fn what_cannot_be_shown_is_refused_in_one_line() {
    let server = Server::start(&[]);
    for (path, status) in [
        ("/api/v1/processes/4294967295", 404),
        ("/api/v1/processes/x", 404),
        ("/api/v1/processes/4294967295/events", 404),
        ("/nowhere", 404),
    ] {
        let (told, _, body) = server.get(path, "");
        assert_eq!((told, body.lines().count()), (status, 1), "{path}: {body}");
    }
    let own = std::process::id();
    let only = Server::start(&[&own.to_string()]);
    assert_eq!(only.get("/api/v1/processes/1", "").0, 404);
    assert_eq!(only.get(&format!("/api/v1/processes/{own}"), "").0, 200);
    assert!(complaint(pagekeeper().args(["serve", "4294967295"])).contains("there is no process"));
}

#[test]
fn the_page_needs_no_other_server_and_says_so_to_the_browser() {
    let server = Server::start(&[]);
    let (status, head, page) = server.get("/", "");
    assert_eq!(status, 200);
    assert!(
        head.contains("default-src 'none'") && head.contains("frame-ancestors 'none'"),
        "{head}"
    );
    for from_elsewhere in [
        "<script src",
        "<img",
        "@import",
        "url(",
        "href=\"http",
        "fetch(\"http",
    ] {
        assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
    }
}

#[test]
fn a_name_that_was_made_to_lead_here_gets_nothing() {
    let server = Server::start(&[]);
    let (status, _, body) = server.get("/api/v1/processes", "Host: example.org\r\n");
    assert_eq!(status, 403, "{body}");
    assert_eq!(server.get("/api/v1/machine", "Host: localhost\r\n").0, 200);
}

#[test]
fn elsewhere_than_on_loopback_a_token_is_needed() {
    let refused = complaint(pagekeeper().args(["serve", "--listen", "0.0.0.0:0"]));
    assert!(refused.contains("--token-file"), "{refused}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "0123456789-abcdef\n").expect("written");
    let file = file.display().to_string();
    let mut server = Server::start(&["--listen", "0.0.0.0:0", "--token-file", &file]);
    assert!(
        server.url.ends_with("/?token=0123456789-abcdef"),
        "{}",
        server.url
    );
    server.address = server.address.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(server.get("/api/v1/machine", "").0, 403);
    assert_eq!(server.get("/", "Authorization: Bearer wrong\r\n").0, 403);
    assert_eq!(
        server
            .get(
                "/api/v1/machine",
                "Authorization: Bearer 0123456789-abcdef\r\n"
            )
            .0,
        200
    );
    let (status, head, _) = server.get("//example.org/?pid=1&token=0123456789-abcdef", "");
    assert_eq!(status, 303);
    assert!(head.contains("location: /example.org/?pid=1\r\n"), "{head}");
    assert_eq!(
        server
            .get("/", "Cookie: pagekeeper-token=0123456789-abcdef\r\n")
            .0,
        200
    );
}

#[test]
fn another_user_of_the_machine_gets_nothing() {
    if !is_root() {
        println!(
            "skipped, because only root can become another user; the rule is also tested on a list of connections"
        );
        return;
    }
    if !std::path::Path::new("/proc/net/tcp").exists() {
        println!("skipped, because the kernel keeps no list of connections here");
        return;
    }
    let server = Server::start(&[]);
    let script = format!(
        "exec 3<>/dev/tcp/{} && printf 'GET /api/v1/processes HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && cat <&3",
        server.address.replace(':', "/")
    );
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "bash",
            "-c",
            &script,
        ])
        .output();
    let Ok(output) = output else {
        println!("skipped, because there is no setpriv");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("HTTP/1.1 403") && text.contains("user 65534 may not look"),
        "{text}"
    );
}
