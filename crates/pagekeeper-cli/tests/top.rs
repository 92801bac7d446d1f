//! `top` through a pseudo-terminal, and what `top`, `query` and `read` say of processes that cannot be looked at.

mod support;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use support::pagekeeper;

/// How long something may take to be shown, on a machine that is busy with much else.
const PATIENCE: Duration = Duration::from_secs(90);

/// `pagekeeper top` in a terminal of its own.
struct Terminal {
    child: Child,
    master: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// Everything that was written.
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(arguments: &[&str], columns: u16, rows: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&slave, size(columns, rows)).unwrap();
        let standard = |slave: &OwnedFd| Stdio::from(slave.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_pagekeeper"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .stdin(standard(&slave))
            .stdout(standard(&slave))
            .stderr(standard(&slave))
            .spawn()
            .unwrap();
        drop(slave);
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, to_screen, to_written) = (
            master.try_clone().unwrap(),
            Arc::clone(&screen),
            Arc::clone(&written),
        );
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The last descriptor of the other side is closed: an error, which ends it as well.
            while let Ok(count) = reader.read(&mut bytes) {
                if count == 0 {
                    break;
                }
                to_screen.lock().unwrap().process(&bytes[..count]);
                to_written
                    .lock()
                    .unwrap()
                    .extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            child,
            master,
            screen,
            written,
        }
    }

    fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen shows something.
    fn shows(&self, what: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if text.contains(what) {
                return text;
            }
            assert!(Instant::now() < until, "'{what}' is not shown:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.screen
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(rows, columns);
        tcsetwinsize(&self.master, size(columns, rows)).unwrap();
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-WINCH", &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end; the exit code.
    fn ends(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What was written last is still on its way.
                std::thread::sleep(Duration::from_millis(300));
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it does not end:\n{}", self.text());
    }

    fn wrote(&self, sequence: &str) -> bool {
        String::from_utf8_lossy(&self.written.lock().unwrap()).contains(sequence)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// A process that sleeps, under a name that nothing else has.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn keys_walk_through_list_process_help_and_out() {
    let sleeper = Sleeper::start();
    let mut terminal = Terminal::start(&["top"], 80, 24);
    terminal.shows("processes,");
    let text = terminal.shows("wset");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    // Only the sleeper, and into it.
    terminal.keys(&format!("/{}\r", sleeper.pid()));
    terminal.shows(&format!("only '{}'", sleeper.pid()));
    terminal.shows(" sleep ");
    terminal.keys("\r");
    terminal.shows("by /proc");
    terminal.shows("REGION");
    terminal.keys("?");
    terminal.shows("keys (any key closes this)");
    terminal.keys("x");
    terminal.keys(" ");
    terminal.shows("PAUSED");
    terminal.keys(" ");
    terminal.keys("ss");
    terminal.shows("vsize");
    terminal.keys("k");
    terminal.shows("=image");
    terminal.resize(120, 40);
    terminal.shows("working set");
    terminal.resize(80, 24);
    // Back to the list, with the filter ended too.
    terminal.keys("\x7f");
    terminal.shows("processes,");
    terminal.keys("q");
    assert_eq!(terminal.ends(), Some(0));
    // The screen from before, the cursor, and no mouse any more.
    for sequence in ["\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h", "\x1b[?1000l"] {
        assert!(terminal.wrote(sequence), "{sequence:?}");
    }
}

/// The terminal is what it was, and the shell is told which signal it was.
#[test]
fn a_signal_ends_it_and_puts_the_terminal_back() {
    use std::os::unix::process::ExitStatusExt as _;
    for (name, number) in [("TERM", 15), ("HUP", 1), ("INT", 2)] {
        let mut terminal = Terminal::start(&["top"], 100, 30);
        terminal.shows("processes,");
        let pid = terminal.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
        assert_eq!(terminal.ends(), None, "{name}");
        let status = terminal.child.try_wait().unwrap().unwrap();
        assert_eq!(status.signal(), Some(number));
        for sequence in ["\x1b[?1049l", "\x1b[?25h", "\x1b[?1000l"] {
            assert!(terminal.wrote(sequence), "{name}: {sequence:?}");
        }
    }
}

/// A name that steers a terminal is shown, not obeyed.
#[test]
fn names_of_processes_are_no_commands_to_the_terminal() {
    let folder = support::folder();
    // The kernel takes the short name from the program's.
    let program = folder.path().join("\u{1b}[8mhidden");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let child = Command::new(&program).arg("1000").spawn().unwrap();
    let mut sleeper = Sleeper(child);
    let comm = format!("/proc/{}/comm", sleeper.pid());
    let until = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&comm).is_ok_and(|name| name.contains("hidden")) {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = sleeper.pid();
    for arguments in [vec!["map", &pid], vec!["query", &pid, "0x1000"]] {
        let output = pagekeeper().args(&arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}");
        assert!(!text.contains('\u{1b}'), "{arguments:?}: {text:?}");
        if arguments[0] == "map" {
            assert!(text.contains("?[8mhidden"), "{text:?}");
        }
    }
    sleeper.0.kill().unwrap();
}

#[test]
fn a_process_that_is_killed_disappears() {
    let mut sleeper = Sleeper::start();
    let pid = sleeper.pid();
    let mut terminal = Terminal::start(&["top", &pid], 100, 30);
    terminal.shows("by /proc");
    sleeper.0.kill().unwrap();
    sleeper.0.wait().unwrap();
    let text = terminal.shows(&format!("process {pid} has ended"));
    assert!(text.contains("processes,"), "{text}");
    terminal.keys("\x03");
    assert_eq!(terminal.ends(), Some(0));
}

/// One line on standard error, nothing else, and the exit code.
fn refusal(arguments: &[&str]) -> (String, Option<i32>) {
    let output = pagekeeper().args(arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    (text, output.status.code())
}

#[test]
fn what_cannot_be_looked_at_is_one_line() {
    let none = "4194305";
    for arguments in [
        &["query", none, "0x10000"][..],
        &["read", none, "0x10000", "16"],
    ] {
        let (text, code) = refusal(arguments);
        assert_eq!(text, format!("pagekeeper: there is no process {none}\n"));
        assert_eq!(code, Some(2));
    }
    let sleeper = Sleeper::start();
    let (text, code) = refusal(&["read", &sleeper.pid(), "0x10000", "16"]);
    assert!(text.contains("does not use Pagekeeper"), "{text}");
    assert_eq!(code, Some(2));
    let (text, code) = refusal(&["query", &sleeper.pid(), "here"]);
    assert!(text.contains("is no address"), "{text}");
    assert_eq!(code, Some(2));
    // No terminal.
    let (text, code) = refusal(&["top"]);
    assert!(text.contains("top needs a terminal"), "{text}");
    assert_eq!(code, Some(2));
    // In a terminal it is said before the screen changes.
    let mut terminal = Terminal::start(&["top", none], 80, 24);
    assert_eq!(terminal.ends(), Some(2));
    assert!(terminal.text().contains("there is no process"));
    assert!(!terminal.wrote("\x1b[?1049h"));
}

#[test]
fn somebody_elses_process_is_refused_politely() {
    if rustix::process::geteuid().is_root() {
        println!("skipped, because root may look into every process");
        return;
    }
    let (text, code) = refusal(&["query", "1", "0x10000"]);
    assert_eq!(
        text,
        "pagekeeper: process 1 belongs to user 0: only that user and root may look into it\n"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn addresses_are_described_as_windows_does() {
    let sleeper = Sleeper::start();
    let free = support::json(pagekeeper().args(["query", &sleeper.pid(), "0x10000", "--json"]));
    assert!(free["region"].is_null());
    assert!(free["free_bytes"].as_u64().unwrap() > 0);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", sleeper.pid())).unwrap();
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
    let (start, rest) = stack.split_once('-').unwrap();
    let (end, _) = rest.split_once(' ').unwrap();
    let (start, end) = (
        u64::from_str_radix(start, 16).unwrap(),
        u64::from_str_radix(end, 16).unwrap(),
    );
    let last = format!("{:#x}", end - 1);
    let found = support::json(pagekeeper().args(["query", &sleeper.pid(), &last, "--json"]));
    let region = &found["region"];
    assert_eq!(region["base"], end - 4096);
    assert_eq!(region["size_bytes"], 4096);
    assert_eq!(region["allocation_base"], start);
    assert_eq!(region["kind"], "stack");
    assert_eq!(region["protection"], 4);
    assert_eq!(found["page"], "resident");
    let output = pagekeeper()
        .args(["query", &sleeper.pid(), &last])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in [
        "PAGE_READWRITE (0x4)",
        "MEM_COMMIT",
        "MEM_PRIVATE",
        "in the working set",
    ] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn status_goes_on_until_nobody_reads() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pagekeeper"))
        .args(["status", "--watch", "0.1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        let status: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(status["memory"]["commit_charge"].as_u64().is_some());
    }
    drop(lines);
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it goes on for nobody");
        std::thread::sleep(Duration::from_millis(50));
    }
}
