//! Tests of the mapped engine on real memory and a real page file.
//!
//! What must end in a signal runs in a child: the test starts its own program again, for that test alone.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads and writes pages that the test has committed"
)]

mod budget;
mod commits;
mod empties;
mod failures;
mod kernel_touches;
mod lent;
mod random;
mod system_calls;
mod traps;

use std::path::PathBuf;
use std::sync::Arc;

use pagekeeper_model::{PageState, Protection};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::engine::{MappedEngine, MappedSettings, MappedSwitches};
use crate::engine::{Change, Engine};

/// Pages of a MiB.
pub(super) const MIB: u64 = 256;

/// Where tests put page files: on a disk.
pub(super) fn folder() -> PathBuf {
    std::env::var_os("PAGEKEEPER_TEST_FOLDER").map_or("/var/tmp".into(), PathBuf::from)
}

/// Settings of a small engine: sizes in pages.
pub(super) fn settings(ram: u64, share_percent: u8, file: u64) -> MappedSettings {
    MappedSettings {
        ram: PageCount::new(ram),
        anonymous_share_percent: share_percent,
        places: vec![folder()],
        maximum_file: PageCount::new(file),
        allow_ram_disk: false,
        switches: MappedSwitches::default(),
    }
}

/// An engine with one arena, which is closed when dropped.
pub(super) struct Memory {
    pub(super) engine: Arc<MappedEngine>,
    pub(super) arena: PageRange,
}

impl Memory {
    pub(super) fn new(settings: MappedSettings, pages: u64) -> Self {
        let engine = MappedEngine::new(settings).expect("an engine");
        let arena = engine
            .open_arena(None, PageCount::new(pages))
            .expect("an arena");
        Self { engine, arena }
    }

    /// File pieces only.
    pub(super) fn of_file(ram: u64, pages: u64) -> Self {
        Self::new(settings(ram, 0, pages + 64 * MIB), pages)
    }

    /// Anonymous pieces only.
    pub(super) fn anonymous(pages: u64) -> Self {
        Self::new(settings(pages.max(1024) + 512, 100, 0), pages)
    }

    pub(super) fn pages(&self, start: u64, count: u64) -> PageRange {
        PageRange::new(
            self.arena.start().plus(PageCount::new(start)),
            PageCount::new(count),
        )
    }

    pub(super) fn commit(&self, start: u64, count: u64) {
        self.engine
            .commit(&[self.to(start, count, None, Some(Protection::READ_WRITE))])
            .expect("commit");
    }

    pub(super) fn decommit(&self, start: u64, count: u64) {
        self.engine
            .decommit(&[self.to(start, count, Some(Protection::READ_WRITE), None)]);
    }

    pub(super) fn protect(&self, start: u64, count: u64, from: Protection, to: Protection) {
        self.engine
            .protect(&[self.to(start, count, Some(from), Some(to))])
            .expect("protect");
    }

    /// A change of pages from one protection to another; `None` is reserved.
    pub(super) fn to(
        &self,
        start: u64,
        count: u64,
        before: Option<Protection>,
        after: Option<Protection>,
    ) -> Change {
        let state =
            |protection: Option<_>| protection.map_or(PageState::Reserved, PageState::Committed);
        Change {
            range: self.pages(start, count),
            before: state(before),
            after: state(after),
        }
    }

    fn word(&self, page: u64) -> *mut u64 {
        let address = self.arena.start().plus(PageCount::new(page)).address();
        core::ptr::with_exposed_provenance_mut(address as usize)
    }

    pub(super) fn write(&self, page: u64, value: u64) {
        // SAFETY: The tests write to committed pages only (or mean to die).
        unsafe { self.word(page).write_volatile(value) }
    }

    pub(super) fn read(&self, page: u64) -> u64 {
        // SAFETY: As above.
        unsafe { self.word(page).read_volatile() }
    }

    /// All bytes of committed pages.
    #[expect(clippy::mut_from_ref, reason = "raw memory; the tests take turns")]
    pub(super) fn bytes(&self, start: u64, count: u64) -> &mut [u8] {
        // SAFETY: The tests see to it that the pages are committed and nobody else looks.
        unsafe { core::slice::from_raw_parts_mut(self.word(start).cast(), (count << 12) as usize) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.engine.close_arena(self.arena);
    }
}

/// Mappings of this process that touch `range`.
pub(super) fn mappings_in(range: PageRange) -> usize {
    let text = std::fs::read_to_string("/proc/self/maps").expect("maps");
    text.lines()
        .filter(|line| {
            let (start, rest) = line.split_once('-').expect("a dash");
            let end = rest.split(' ').next().expect("an end");
            let number = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
            let found = PageRange::between(
                PageNumber::containing(number(start)),
                PageNumber::containing(number(end)),
            );
            found.overlaps(range)
        })
        .count()
}

/// A small generator, seeded by `PAGEKEEPER_SEED` or the clock; the seed is printed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn seeded() -> Self {
        let seed = std::env::var("PAGEKEEPER_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        });
        println!("PAGEKEEPER_SEED={seed}");
        Self::of(seed)
    }

    pub(super) fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// How a child ended.
pub(super) struct Ended {
    pub(super) status: std::process::ExitStatus,
    pub(super) output: String,
}

/// Runs `body` in a child: the same test in a fresh process. In the child this does not return.
pub(super) fn in_child(test: &str, body: impl FnOnce()) -> Ended {
    const MARK: &str = "PAGEKEEPER_CHILD_OF_TEST";
    if std::env::var(MARK).is_ok_and(|name| name == test) {
        body();
        std::process::exit(0);
    }
    let name = format!(
        "{}::{test}",
        module_path!().split_once("::").expect("a crate").1
    );
    let output = std::process::Command::new(std::env::current_exe().expect("a program"))
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .output()
        .expect("a child");
    let text = [output.stdout, output.stderr].concat();
    Ended {
        status: output.status,
        output: String::from_utf8_lossy(&text).into_owned(),
    }
}

/// Whether `body` in a child dies of SIGSEGV.
pub(super) fn dies_of_segv(test: &str, body: impl FnOnce()) {
    use std::os::unix::process::ExitStatusExt;
    let ended = in_child(test, body);
    assert_eq!(
        ended.status.signal(),
        Some(libc::SIGSEGV),
        "{}: {}",
        ended.status,
        ended.output
    );
}

/// Sets a soft limit of this process.
pub(super) fn set_limit(resource: libc::__rlimit_resource_t, bytes: u64) {
    // The hard limit stays: an ordinary user could not raise it.
    let mut before = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: Both calls read or write structs of ours.
    let result = unsafe {
        libc::getrlimit(resource, &raw mut before);
        before.rlim_cur = bytes;
        libc::setrlimit(resource, &raw const before)
    };
    assert_eq!(result, 0);
}

/// Whether this process may do what root may.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
