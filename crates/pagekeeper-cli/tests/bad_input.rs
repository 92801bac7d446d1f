//! Wrong use and wrong settings: one line that says what to change, exit code 2, nothing left behind.

mod support;

use std::fs;
use std::path::Path;

use support::{complaint, fill, folder, is_root, pagekeeper};

/// Arguments of `demo`, and words that the line must have.
type Case<'text> = (&'text [&'text str], &'text [&'text str]);

#[test]
fn sizes_and_counts() {
    let cases: &[Case<'_>] = &[
        (&["--data", "5X"], &["--data", "'5X' is not a size", "512M"]),
        (&["--data", ""], &["--data", "such as 512M"]),
        (&["--data", "0"], &["--data", "above zero"]),
        (&["--data", "-1G"], &["--data", "cannot be negative"]),
        (&["--data=-1G"], &["--data", "cannot be negative"]),
        (&["--data", "2T"], &["--data", "at most"]),
        (
            &["--data", "99999999T"],
            &["--data", "larger than any address space"],
        ),
        (&["--ram", "lots"], &["--ram", "not a size"]),
        (&["--ram", "0"], &["too small", "at least"]),
        (&["--ram", "4K"], &["too small", "at least"]),
        (&["--ram", "-5M"], &["--ram", "cannot be negative"]),
        (&["--ram", "900T"], &["larger than this machine's memory"]),
        (
            &["--ram", "99999999T"],
            &["--ram", "larger than any address space"],
        ),
        (&["--threads", "0"], &["--threads", "from 1 to"]),
        (&["--threads", "-2"], &["--threads", "from 1 to"]),
        (&["--threads", "many"], &["--threads", "from 1 to"]),
        (&["--seconds", "x"], &["--seconds", "'x'"]),
        (
            &["--engine", "steam"],
            &["--engine", "mapped, inline or resident"],
        ),
        (&["--warp"], &["--warp", "--help"]),
        (&["/usr", "/bin"], &["/bin", "--help"]),
    ];
    for (arguments, words) in cases {
        let line = complaint(pagekeeper().arg("demo").args(*arguments));
        for word in *words {
            assert!(line.contains(word), "{arguments:?}: '{word}' in: {line}");
        }
    }
}

#[test]
fn folders_of_data() {
    let empty = folder();
    let tiny = folder();
    fs::write(tiny.path().join("one"), "x").expect("written");
    let (empty, tiny) = (text(empty.path()), text(tiny.path()));
    for (path, words) in [
        ("/no/such/folder", "does not exist"),
        ("/etc/passwd", "is no folder"),
        (empty.as_str(), "has no file"),
        (tiny.as_str(), "more than 65536 times"),
    ] {
        let mut command = pagekeeper();
        let line = complaint(command.args(["demo", path, "--data", "1M", "--ram", "4M", "--json"]));
        assert!(line.contains(words) && line.contains(path), "{line}");
    }
}

/// Each place for a page file, and words that the line must have. The folder it is tried in stays as it was.
#[test]
fn places_of_page_files() {
    let data = folder();
    fill(data.path(), 1 << 20);
    let places = folder();
    let full = places.path().join("letters.txt");
    fs::write(&full, "dear reader").expect("written");
    let missing = text(&places.path().join("missing"));
    let below_missing = text(&places.path().join("missing/pages.bin"));
    let below_file = text(&full.join("pages.bin"));
    let full = text(&full);
    for (place, words) in [
        (missing.as_str(), "does not exist"),
        (below_missing.as_str(), "does not exist"),
        (below_file.as_str(), "folder"),
        (full.as_str(), "not empty"),
        ("/dev/null", "device"),
        ("/dev/shm", "RAM file system"),
        ("/proc", "/proc"),
        ("", "page"),
    ] {
        if place == "/dev/shm" && !Path::new(place).is_dir() {
            println!("skipped, because there is no /dev/shm");
            continue;
        }
        for engine in ["inline", "mapped"] {
            let arguments = [
                "--data",
                "16M",
                "--ram",
                "4M",
                "--engine",
                engine,
                "--page-file",
                place,
            ];
            let line = complaint(pagekeeper().arg("demo").arg(data.path()).args(arguments));
            assert!(line.contains(words), "'{place}' with {engine}: {line}");
        }
        let mut command = pagekeeper();
        command
            .env("PAGEKEEPER_PAGE_FILE", place)
            .args(["demo", "--data", "16M"])
            .arg(data.path());
        complaint(&mut command);
    }
    assert_eq!(
        fs::read_to_string(&full).expect("still there"),
        "dear reader"
    );
    assert_eq!(
        fs::read_dir(places.path()).expect("read").count(),
        1,
        "nothing was left behind"
    );
}

#[test]
fn a_folder_that_may_not_be_written() {
    if is_root() {
        println!("skipped, because root may write everywhere");
        return;
    }
    let arguments = [
        "demo",
        "--data",
        "16M",
        "--ram",
        "4M",
        "--page-file",
        "/usr",
    ];
    let line = complaint(pagekeeper().args(arguments));
    assert!(line.contains("/usr"), "{line}");
}

#[test]
fn none_and_another_do_not_go_together() {
    let arguments = ["demo", "--page-file", "none", "--page-file", "/var/tmp"];
    let line = complaint(pagekeeper().args(arguments));
    assert!(line.contains("none"), "{line}");
}

#[test]
fn more_than_can_be_promised() {
    let data = folder();
    fill(data.path(), 1 << 20);
    let arguments = ["--data", "64M", "--ram", "8M", "--page-file", "none"];
    let line = complaint(pagekeeper().arg("demo").arg(data.path()).args(arguments));
    assert!(line.contains("less --data"), "{line}");
    let mut command = pagekeeper();
    command.env("PAGEKEEPER_PAGE_FILE_MAX", "16M");
    let arguments = ["--data", "64M", "--ram", "8M"];
    let line = complaint(command.arg("demo").arg(data.path()).args(arguments));
    assert!(line.contains("less --data"), "{line}");
}

#[test]
fn variables() {
    for (name, value, words) in [
        ("PAGEKEEPER_RAM", "-1", "cannot be negative"),
        ("PAGEKEEPER_RAM", "1K", "too small"),
        ("PAGEKEEPER_ENGINE", "steam", "mapped, inline or resident"),
        ("PAGEKEEPER_PAGE_FILE_MAX", "x", "PAGEKEEPER_PAGE_FILE_MAX"),
        ("PAGEKEEPER_PAGE_FILE_MAX", "4K", "too small"),
        ("PAGEKEEPER_STRICT", "maybe", "PAGEKEEPER_STRICT"),
        ("PAGEKEEPER_DISABLE", "warp", "warp"),
    ] {
        let line = complaint(
            pagekeeper()
                .env(name, value)
                .args(["demo", "--data", "16M"]),
        );
        assert!(line.contains(words), "{name}={value}: {line}");
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}
