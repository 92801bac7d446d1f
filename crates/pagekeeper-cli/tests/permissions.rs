//! Whose processes may be looked into: the own ones without any rights, those of others not, and of those that forbid it one line.
//!
//! Run by root, the tests act as the user 65534.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const NOBODY: &str = "65534";
/// Makes the test's own program the process that is looked at.
const TARGET: &str = "PERMISSIONS_TEST_TARGET";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The programs where everybody may run them.
struct Programs {
    folder: tempfile::TempDir,
}

impl Programs {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("opened");
        let itself = std::env::current_exe().expect("a path");
        for (from, name) in [
            (Path::new(env!("CARGO_BIN_EXE_pagekeeper")), "pagekeeper"),
            (&itself, "target"),
        ] {
            std::fs::copy(from, folder.path().join(name)).expect("copied");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pagekeeper(&self, arguments: &[&str]) -> Output {
        ordinary(&self.path("pagekeeper"))
            .args(arguments)
            .output()
            .expect("started")
    }
}

/// A program run by an ordinary user.
fn ordinary(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PAGEKEEPER_") {
            command.env_remove(name);
        }
    }
    command
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The test's own program as the process that is looked at, once it says that it is ready.
fn target(programs: &Programs, mode: &str) -> Running {
    let mut child = ordinary(&programs.path("target"))
        .args(["--exact", "the_target", "--nocapture"])
        .env(TARGET, mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let output = child.stdout.take().expect("a pipe");
    let is_ready = BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("ready"));
    assert!(is_ready, "{mode}");
    Running(child)
}

/// Not a test of its own.
#[test]
fn the_target() {
    let Ok(mode) = std::env::var(TARGET) else {
        return;
    };
    if mode == "closed" {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).expect("allowed to everybody");
    }
    println!("ready");
    // Until the test is over.
    let _ = std::io::stdin().lines().next();
}

/// One line on standard error, nothing else, exit code 2.
fn assert_refused(output: &Output, line: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, format!("pagekeeper: {line}\n"));
    assert!(output.stdout.is_empty(), "{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
}

/// Everything that looks into one process without a terminal.
fn commands(pid: &str) -> [Vec<&str>; 4] {
    [
        vec!["query", pid, "0x10000"],
        vec!["read", pid, "0x10000", "16"],
        vec!["map", pid],
        vec!["serve", pid, "--listen", "127.0.0.1:0"],
    ]
}

#[test]
fn own_processes_are_shown_without_any_rights() {
    let programs = Programs::new();
    let running = target(&programs, "open");
    let pid = running.pid();
    let map = programs.pagekeeper(&["map", &pid]);
    let text = String::from_utf8_lossy(&map.stdout);
    let complaints = String::from_utf8_lossy(&map.stderr);
    assert!(map.status.success() && text.contains(&pid), "{complaints}");
    let query = programs.pagekeeper(&["query", &pid, "0x10000", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&query.stdout).expect("JSON");
    assert!(found["region"].is_null() && found["free_bytes"].as_u64() > Some(0));
    let status = programs.pagekeeper(&["status", "--json"]);
    assert!(status.status.success());
}

#[test]
fn processes_of_others_are_refused_in_one_line() {
    let programs = Programs::new();
    // Of root: one of our own, or the first of all.
    let running = is_root().then(|| Running(Command::new("sleep").arg("1000").spawn().unwrap()));
    let pid = running.as_ref().map_or("1".to_owned(), Running::pid);
    let line = format!("process {pid} belongs to user 0: only that user and root may look into it");
    for arguments in commands(&pid) {
        assert_refused(&programs.pagekeeper(&arguments), &line);
    }
}

#[test]
fn processes_that_forbid_it_are_refused_in_one_line() {
    let programs = Programs::new();
    let running = target(&programs, "closed");
    let pid = running.pid();
    let line = format!(
        "process {pid} is not dumpable (it changed its user, has more rights than you, or asked for it): only root may look into it"
    );
    for arguments in commands(&pid) {
        let output = programs.pagekeeper(&arguments);
        // Its files belong to root then, and its user is not told by their owner.
        assert_refused(&output, &line);
    }
    if is_root() {
        let looked = Command::new(programs.path("pagekeeper"))
            .args(["map", &pid])
            .output()
            .expect("started");
        assert!(looked.status.success(), "root may look");
    }
}
