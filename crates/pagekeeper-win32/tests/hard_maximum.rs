//! A hard maximum of the working set is the RAM budget, seen from outside: `examples/c/larger_than_ram.c` fills, updates and
//! verifies an array many times as large as the memory that it allows itself, while this test watches what the kernel says of it.
//!
//! 256 MiB in 32 MiB by default; 4 GiB in 256 MiB, with what was seen printed, by
//!
//! ```text
//! PAGEKEEPER_FULL=1 cargo test --release -p pagekeeper-win32 --test hard_maximum -- --nocapture --test-threads=1
//! ```

#[allow(dead_code, reason = "not every test needs all of it")]
mod libraries;
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pagekeeper_sys::Errno;
use pagekeeper_sys::file::cache_state;
use pagekeeper_sys::procmap::Residence;

use libraries::{Link, compile, link};
use programs::crate_folder;

const MIB: u64 = 1 << 20;

/// What an inline program may have beside its budget: the program, its libraries, tables.
const BESIDE: u64 = 32 * MIB;

/// The mapped engine's stated slack.
const SLACK: u64 = 32 * MIB;

/// The most that was seen of a program, in bytes.
#[derive(Clone, Copy, Default, Debug)]
struct Peak {
    /// In its page tables, as the kernel keeps it.
    resident: u64,
    /// Anonymous memory and the cached part of its page files, whether mapped at the moment or not.
    anonymous_and_cache: u64,
    looks: u64,
}

/// The page files of a program, found among its descriptors and opened once more.
#[derive(Default)]
struct PageFiles(BTreeMap<u64, fs::File>);

impl PageFiles {
    fn find(&mut self, pid: u32) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let is_unlinked = fs::read_link(entry.path())
                .is_ok_and(|target| target.to_string_lossy().ends_with("(deleted)"));
            let file = match is_unlinked {
                true => fs::File::options()
                    .read(true)
                    .write(true)
                    .open(entry.path()),
                false => continue,
            };
            if let Ok(file) = file
                && let Ok(data) = file.metadata()
                && data.is_file()
            {
                self.0.entry(data.ino()).or_insert(file);
            }
        }
    }

    fn cached(&self) -> Result<u64, Errno> {
        let mut pages = 0;
        for file in self.0.values() {
            pages += cache_state(file, 0, 0)?.cached_pages;
        }
        Ok(pages * 4096)
    }
}

/// Runs the program to its end and watches it; what it printed, and the most that was seen.
fn watch(mut command: Command) -> (String, Peak) {
    let output = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.reopen().expect("the same file"))
        .spawn()
        .expect("the program starts");
    let (mut peak, mut files) = (Peak::default(), PageFiles::default());
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if peak.looks % 16 == 0 {
            files.find(child.id());
        }
        // At its end a program has no sums any more.
        if let Ok(now) = Residence::of(child.id()) {
            peak.looks += 1;
            peak.resident = peak.resident.max(now.peak_resident_bytes);
            let cached = files.cached().unwrap_or(0);
            peak.anonymous_and_cache = peak.anonymous_and_cache.max(now.anonymous_bytes + cached);
        }
        std::thread::sleep(Duration::from_millis(4));
    };
    let text = fs::read_to_string(output.path()).expect("its output");
    assert!(status.success(), "{status}\n{text}");
    (text, peak)
}

/// Array, memory and updates of each thread: MiB, MiB, number.
fn sizes() -> [u64; 3] {
    match std::env::var("PAGEKEEPER_FULL").is_ok_and(|value| value == "1") {
        true => [4096, 256, 100_000],
        false => [256, 32, 10_000],
    }
}

fn run(engine: &str, folder: &Path) -> (u64, Peak) {
    let [array, memory, updates] = sizes();
    let object = folder.join("program.o");
    let binary = folder.join("program");
    let source = crate_folder().join("../../examples/c/larger_than_ram.c");
    compile("cc", &["-std=c11", "-O2"], &source, &object);
    link("cc", Link::Shared, &object, &binary);
    let mut command = Command::new(&binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PAGEKEEPER_") {
            command.env_remove(name);
        }
    }
    command
        .args([array, memory, updates].map(|number| number.to_string()))
        .env_remove("LD_LIBRARY_PATH")
        .env("PAGEKEEPER_ENGINE", engine);
    let (text, peak) = watch(command);
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    println!(
        "{engine}: {array} MiB under a hard maximum of {memory} MiB: peak resident {:.1} MiB; anonymous and page cache {:.1} MiB, in {} looks\n{text}",
        mib(peak.resident),
        mib(peak.anonymous_and_cache),
        peak.looks
    );
    assert!(
        text.contains("verified: 0 wrong words, updates all there"),
        "{text}"
    );
    assert!(peak.looks > 0, "it was seen running");
    assert!(
        peak.anonymous_and_cache > memory * MIB / 2,
        "half of the memory is used, or the watching is wrong: {peak:?}"
    );
    (memory * MIB, peak)
}

#[test]
fn inline_keeps_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (maximum, peak) = run("inline", folder.path());
    assert!(peak.resident <= maximum + BESIDE, "{peak:?}");
    assert!(peak.anonymous_and_cache <= maximum + BESIDE, "{peak:?}");
}

#[test]
fn mapped_keeps_it_within_its_slack() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (maximum, peak) = run("mapped", folder.path());
    let slack = SLACK.min(maximum);
    assert!(peak.resident <= maximum + slack + BESIDE, "{peak:?}");
    assert!(
        peak.anonymous_and_cache <= maximum + slack + BESIDE / 2,
        "{peak:?}"
    );
}
