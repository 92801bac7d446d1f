//! `pagekeeper read` of a process that pages: bytes that are out, memory of the program itself, a process that ends meanwhile.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use pagekeeper::{ByteCount, EngineKind, PagedVec, Space};

/// Makes the test's own program the process that is looked at, with this engine.
const TARGET: &str = "READ_TEST_TARGET";
const DATA: ByteCount = ByteCount::mib(24);
const RAM: ByteCount = ByteCount::mib(4);

/// What the word at byte `offset` of the data holds.
fn word_at(offset: u64) -> u64 {
    offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A process that keeps [`DATA`] in [`RAM`].
struct Target {
    running: Running,
    _output: BufReader<ChildStdout>,
    /// Where the data lies.
    base: u64,
    /// Where on its stack the word of offset 7 lies.
    stack: u64,
}

impl Target {
    fn start(engine: EngineKind) -> Option<Self> {
        let child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "the_target", "--nocapture"])
            .env(TARGET, engine.to_string())
            .env("TMPDIR", "/var/tmp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut running = Running(child);
        let mut output = BufReader::new(running.0.stdout.take().expect("a pipe"));
        loop {
            let mut line = String::new();
            assert!(output.read_line(&mut line).expect("a line") > 0, "it ended");
            if let Some((_, why)) = line.split_once("skipped, because ") {
                println!("skipped, because {why}");
                return None;
            }
            if let Some((_, addresses)) = line.split_once("ready ") {
                let numbers: Vec<u64> = addresses
                    .split_ascii_whitespace()
                    .map(|word| word.parse().expect("a number"))
                    .collect();
                return Some(Self {
                    running,
                    _output: output,
                    base: numbers[0],
                    stack: numbers[1],
                });
            }
        }
    }

    fn pid(&self) -> String {
        self.running.0.id().to_string()
    }
}

/// Not a test of its own.
#[test]
fn the_target() {
    let Ok(engine) = std::env::var(TARGET) else {
        return;
    };
    let engine: EngineKind = engine.parse().expect("an engine");
    let words = (DATA.get() / 8) as usize;
    let data = Space::builder()
        .ram(RAM)
        .build()
        .and_then(|space| PagedVec::<u64>::with_engine(&space, words, engine));
    let mut data = match data {
        Ok(data) => data,
        Err(error) => {
            println!("skipped, because {error}");
            return;
        }
    };
    data.resize_zeroed(words).expect("room");
    for place in (0..words).step_by(512) {
        data[place] = word_at(place as u64 * 8);
    }
    let stack = word_at(7).to_ne_bytes();
    let place = std::hint::black_box(&stack).as_ptr();
    println!("ready {} {}", data.as_ptr().addr(), place.addr());
    // Until the test is over.
    let _ = std::io::stdin().lines().next();
    std::hint::black_box(&stack);
}

fn read(pid: &str, address: u64, length: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagekeeper"));
    let address = format!("{address:#x}");
    command.args(["read", pid, &address, length, "--raw"]);
    command
}

#[test]
fn every_byte_is_read_wherever_it_is() {
    for engine in [EngineKind::Inline, EngineKind::Mapped] {
        let Some(target) = Target::start(engine) else {
            continue;
        };
        let length = DATA.get().to_string();
        let output = read(&target.pid(), target.base, &length).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{engine}: {said}");
        assert_eq!(output.stdout.len() as u64, DATA.get());
        for (page, bytes) in (0..).zip(output.stdout.chunks(4096)) {
            let word = word_at(page * 4096).to_ne_bytes();
            assert!(bytes[..8] == word && bytes[8..].iter().all(|byte| *byte == 0));
        }
    }
}

/// What the kernel lets a debugger read (Yama's `ptrace_scope`), and nothing beyond it.
#[test]
fn memory_of_the_program_itself_is_shown_as_far_as_the_kernel_shows_it() {
    let Some(target) = Target::start(EngineKind::Mapped) else {
        return;
    };
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let is_open = scope.as_ref().is_ok_and(|scope| scope.trim() == "0") || scope.is_err();
    let is_shown = is_open || rustix::process::geteuid().is_root();
    println!("ptrace_scope {scope:?}");
    let output = read(&target.pid(), target.stack, "8").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if is_shown {
        assert!(output.status.success(), "{said}");
        assert_eq!(output.stdout, word_at(7).to_ne_bytes());
    } else {
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains("ptrace_scope"), "{said}");
    }
    // What is in a space is told by the process itself either way.
    let output = read(&target.pid(), target.base, "8").output().unwrap();
    assert_eq!(output.stdout, word_at(0).to_ne_bytes());
}

#[test]
fn a_process_that_ends_while_it_is_read_is_said_to_have_ended() {
    let Some(mut target) = Target::start(EngineKind::Mapped) else {
        return;
    };
    let length = DATA.get().to_string();
    let mut reader = read(&target.pid(), target.base, &length)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than this fits into no pipe: it is in the middle.
    let mut output = reader.stdout.take().unwrap();
    let mut bytes = [0; 4096];
    output.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes[..8], word_at(0).to_ne_bytes());
    target.running.end();
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    assert!((rest.len() as u64) < DATA.get() - 4096);
    let ended = reader.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    let line = format!("pagekeeper: process {} has ended\n", target.pid());
    assert_eq!((ended.status.code(), &*said), (Some(1), &*line));
}
