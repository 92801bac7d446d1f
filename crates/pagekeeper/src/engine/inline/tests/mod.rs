//! The inline engine where the disk or the program misbehaves, in whole spaces.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod ahead;
mod descriptors;
mod disks;
mod failing_disk;
mod foreign;
mod retiring;
mod undo;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pagekeeper_model::Protection;
use pagekeeper_store::page_file::{Opened, Opener};
use pagekeeper_sys::Errno;
use pagekeeper_sys::disk::{BlockIo, Fault, Faulty, Positioned, Request};
use pagekeeper_units::{ByteCount, PAGE_SIZE};

use crate::engine::EngineKind;
use crate::exception::{ExceptionKind, Handled};
use crate::{Reservation, Settings, Space};

/// A disk that misbehaves when told, shared with the page file.
#[derive(Debug, Clone)]
struct Disk(Arc<Faulty<Positioned>>);

impl BlockIo for Disk {
    fn submit_and_wait(&self, requests: &mut [Request<'_>]) {
        self.0.submit_and_wait(requests);
    }

    fn name(&self) -> &'static str {
        "faulty"
    }
}

/// A folder on a disk.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").expect("a folder")
}

fn settings(ram: ByteCount, maximum: ByteCount) -> Settings {
    Space::builder()
        .ram(ram)
        .engine(EngineKind::Inline)
        .page_file_maximum(maximum)
}

/// The space, or `None` where the engine cannot run, which is said.
fn built(settings: Settings) -> Option<Space> {
    settings
        .build()
        .inspect_err(|error| println!("skipped, because {error}"))
        .ok()
}

/// Every disk that was opened for a page file, and the file behind it.
type Disks = Arc<Mutex<Vec<(Disk, std::fs::File)>>>;

/// A space of the inline engine whose page files are all on failing disks. `None` where the engine cannot run.
fn on_failing_disks(ram: ByteCount, maximum: ByteCount) -> Option<(Space, Disks)> {
    let folder = folder();
    let disks = Disks::default();
    let theirs = Arc::clone(&disks);
    let opener: Opener = Box::new(move |file, _| {
        let copy = || file.try_clone().map_err(|_| Errno::MFILE);
        let disk = Disk(Arc::new(Faulty::new(Positioned::new(copy()?))));
        let behind = std::fs::File::from(copy()?);
        theirs
            .lock()
            .expect("no panic")
            .push((disk.clone(), behind));
        Ok(Opened {
            file: file.into(),
            disk: Box::new(disk),
            direct: false,
            unkept: None,
        })
    });
    let settings = settings(ram, maximum).page_file([folder.path()]);
    match Space::with_opener(settings, opener) {
        Ok(space) => Some((space, disks)),
        Err(error) => {
            println!("skipped, because {error}");
            None
        }
    }
}

/// The same with the one disk.
fn on_failing_disk(ram: ByteCount, maximum: ByteCount) -> Option<(Space, Disk, std::fs::File)> {
    let (space, disks) = on_failing_disks(ram, maximum)?;
    let (disk, file) = disks.lock().expect("no panic").pop().expect("opened");
    Some((space, disk, file))
}

fn committed(space: &Space, size: ByteCount) -> Reservation {
    let reservation = space.reserve(size).build().expect("address space");
    reservation
        .commit(.., Protection::READ_WRITE)
        .expect("room");
    reservation
}

/// The words of a page.
#[allow(clippy::mut_from_ref, reason = "memory behind an address")]
fn words(reservation: &Reservation, page: u64) -> &mut [u64] {
    assert!(page < reservation.pages().count().get());
    let address = reservation
        .base()
        .wrapping_add(page as usize * PAGE_SIZE)
        .cast::<u64>();
    // SAFETY: a committed page; each test gives a page to one user at a time.
    unsafe { std::slice::from_raw_parts_mut(address, PAGE_SIZE / 8) }
}

/// What nothing can pack: so pages go to the disk. Word 0 is never zero.
fn word(page: u64, salt: u64, at: usize) -> u64 {
    let mut x = (page << 20 ^ salt << 50 ^ at as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ x >> 31) | 1
}

fn write_page(reservation: &Reservation, page: u64, salt: u64) {
    for (at, target) in words(reservation, page).iter_mut().enumerate() {
        *target = word(page, salt, at);
    }
}

fn is_right(reservation: &Reservation, page: u64, salt: u64) -> bool {
    words(reservation, page)
        .iter()
        .enumerate()
        .all(|(at, found)| *found == word(page, salt, at))
}

fn check(reservation: &Reservation, salt: u64) {
    for page in 0..reservation.pages().count().get() {
        assert!(is_right(reservation, page, salt), "page {page}");
    }
}

/// Counts in-page errors, and mends each by giving the page up: it reads as zeros then.
fn give_up_lost_pages(space: &Space) -> Arc<Losses> {
    let losses = Arc::new(Losses::default());
    let counted = Arc::clone(&losses);
    let by_fault = space.clone();
    space.on_exception(move |exception| {
        let ExceptionKind::InPageError(errno) = exception.kind else {
            return Handled::Pass;
        };
        counted.count.fetch_add(1, Ordering::Relaxed);
        let mut known = counted.errno.lock().expect("no panic");
        *known = known.or(errno);
        drop(known);
        let page = exception.address & !0xFFF;
        // SAFETY: the page is read word by word; what it held is lost.
        unsafe { by_fault.decommit_at(page, 1) }.expect("committed");
        by_fault
            .commit_at(page, 1, Protection::READ_WRITE)
            .expect("room");
        Handled::Retry
    });
    losses
}

fn wait_until(done: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(
            start.elapsed() < std::time::Duration::from_secs(20),
            "it never comes"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[derive(Default)]
struct Losses {
    count: AtomicU64,
    /// The first error number that came with one.
    errno: Mutex<Option<i32>>,
}

impl Losses {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn errno(&self) -> Option<i32> {
        *self.errno.lock().expect("no panic")
    }
}

/// Runs a test of these files again in the process that `program` starts: how it ended, and what it said.
fn again(mut program: std::process::Command, test: &str) -> (std::process::ExitStatus, String) {
    let name = format!(
        "{}::{test}",
        module_path!().split_once("::").expect("a crate").1
    );
    let output = program
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env("PAGEKEEPER_CHILD", "1")
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status, text)
}

fn this_program() -> std::process::Command {
    std::process::Command::new(std::env::current_exe().expect("a program"))
}

/// Runs a test again in a process of its own, as `variables` say; its output when it succeeded.
fn run_again(test: &str, variables: &[(&str, &str)]) -> String {
    let mut program = this_program();
    program.envs(variables.iter().copied());
    let (status, text) = again(program, test);
    assert!(status.success(), "{status}: {text}");
    text
}

fn is_child() -> bool {
    std::env::var_os("PAGEKEEPER_CHILD").is_some()
}
