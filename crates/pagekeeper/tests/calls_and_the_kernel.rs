//! What the calls ask of the kernel: with the inline engine nothing at all, with the mapped engine at most one thing for a
//! commit.
//!
//! Proved twice. Everywhere: in a process where any system call is deadly. Where `strace` is installed and allowed: by its
//! count. This test program has an allocator of its own that makes no system calls either, so that the counts are the calls'
//! own.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: an allocator, and touching memory by address"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pagekeeper::{ByteCount, EngineKind, Handled, Protection, Reservation, Space};
use pagekeeper_sys::seccomp;

const PAGE: u64 = 4096;

/// Memory from one static piece, never given back.
struct Bump;

const PIECE: usize = 512 << 20;

/// The piece; the kernel fills it as it is touched.
#[repr(align(4096))]
struct Piece(core::cell::UnsafeCell<[u8; PIECE]>);

// SAFETY: every byte is handed out once.
unsafe impl Sync for Piece {}

static MEMORY: Piece = Piece(core::cell::UnsafeCell::new([0; PIECE]));
static USED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Bump = Bump;

// SAFETY: parts of the piece that do not overlap, aligned, or null when it is used up.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = |used: usize| used.next_multiple_of(layout.align()) + layout.size();
        match USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            Some(place(used)).filter(|end| *end <= PIECE)
        }) {
            Ok(used) => {
                let start = used.next_multiple_of(layout.align());
                MEMORY.0.get().cast::<u8>().wrapping_add(start)
            }
            Err(_) => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _memory: *mut u8, _layout: Layout) {}
}

fn space(engine: EngineKind) -> Space {
    Space::builder()
        .ram(ByteCount::mib(64))
        .engine(engine)
        .page_file_maximum(ByteCount::gib(1))
        .build()
        .expect("a space")
}

/// Commits every other page of `pages`.
fn alternating(reservation: &Reservation, pages: u64) {
    for page in (0..pages).step_by(2) {
        let start = page * PAGE;
        reservation
            .commit(start..start + 1, Protection::READ_WRITE)
            .expect("committed");
    }
}

/// Every call, on memory that nobody touches.
fn every_call(space: &Space, large: &Reservation, pages: u64) {
    alternating(large, pages);
    for page in (0..pages).step_by(2) {
        let start = page * PAGE;
        let here = start..start + 1;
        large.query(start).expect("inside");
        let before = large.protect(here.clone(), Protection::READ_ONLY);
        assert_eq!(before.expect("committed"), Protection::READ_WRITE);
        large
            .protect(here.clone(), Protection::NO_ACCESS)
            .expect("committed");
        if page % 8 == 0 {
            large.decommit(here).expect("inside");
        }
        let small = space.reserve(ByteCount::kib(64)).build().expect("room");
        if page % 16 == 0 {
            small.commit(.., Protection::READ_WRITE).expect("room");
        }
    }
}

/// Runs the test `name` in a process of its own, with `wrapper` before it.
fn in_child(name: &str, mode: &str, wrapper: &[&str]) -> ExitStatus {
    let itself = std::env::current_exe().expect("a path");
    let mut command = match wrapper {
        [] => Command::new(itself),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(itself);
            command
        }
    };
    command
        .args(["--exact", name, "--nocapture"])
        .env(MODE, mode)
        .status()
        .expect("started")
}

const MODE: &str = "PAGEKEEPER_TEST_CALLS";

/// Ends this process with nothing but one system call.
fn leave() -> ! {
    // SAFETY: nothing of this process is needed any more.
    unsafe { libc::_exit(0) }
}

#[test]
fn inline_calls_on_untouched_memory_make_no_system_call() {
    const NAME: &str = "inline_calls_on_untouched_memory_make_no_system_call";
    const PAGES: u64 = 40_000;
    if std::env::var_os(MODE).is_none() {
        let status = in_child(NAME, "deadly", &[]);
        assert!(status.success(), "{status} (signal 31: a system call)");
        return;
    }
    let space = space(EngineKind::Inline);
    let reserve = || space.reserve(ByteCount::gib(1)).build().expect("room");
    // Tables whose size follows what is committed grow by doubling, with system calls that the calls share.
    let before = reserve();
    alternating(&before, PAGES);
    let large = reserve();
    drop(before);
    // With the memory of the machine the first answer decides for all.
    let stays = space.reserve(ByteCount::kib(64)).build().expect("room");
    seccomp::allow_only(&[libc::SYS_exit_group as u32]).expect("anyone may filter itself");
    every_call(&space, &large, PAGES);
    core::mem::forget(stays);
    leave();
}

#[test]
fn a_system_call_would_have_been_noticed() {
    const NAME: &str = "a_system_call_would_have_been_noticed";
    if std::env::var_os(MODE).is_none() {
        let status = in_child(NAME, "deadly", &[]);
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
        return;
    }
    seccomp::allow_only(&[libc::SYS_exit_group as u32]).expect("anyone may filter itself");
    drop(pagekeeper_sys::lock::SignalsBlocked::new());
    leave();
}

/// How many system calls a child makes in `mode`; `None` without a working strace.
fn counted(name: &str, mode: &str) -> Option<u64> {
    let folder = tempfile::tempdir().expect("a folder");
    let counts = folder.path().join("counts");
    let wrapper = ["strace", "-f", "-c", "-o", counts.to_str()?];
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    if !works.is_ok_and(|output| output.status.success()) {
        return None;
    }
    assert!(in_child(name, mode, &wrapper).success());
    let text = std::fs::read_to_string(counts).expect("counts");
    let total = text.lines().rfind(|line| line.ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

/// System calls for each commit of alternating pages, as strace counts them.
fn calls_for_each_commit(name: &str, engine: EngineKind) -> Option<f64> {
    const FEW: u64 = 1_000;
    const MANY: u64 = 5_000;
    if let Ok(count) = std::env::var(MODE) {
        let commits: u64 = count.parse().expect("a number");
        let space = space(engine);
        let large = space.reserve(ByteCount::gib(1)).build().expect("room");
        alternating(&large, 2 * commits);
        leave();
    }
    let few = counted(name, &FEW.to_string())?;
    let many = counted(name, &MANY.to_string())?;
    Some((many as f64 - few as f64) / (MANY - FEW) as f64)
}

#[test]
fn strace_counts_no_system_call_for_an_inline_commit() {
    const NAME: &str = "strace_counts_no_system_call_for_an_inline_commit";
    match calls_for_each_commit(NAME, EngineKind::Inline) {
        // A background thread looks around now and then; tables grow by doubling.
        Some(each) => assert!(each < 0.1, "{each} system calls for each commit"),
        None => println!("skipped, because strace is not there or may not trace"),
    }
}

#[test]
fn strace_counts_at_most_one_system_call_for_a_mapped_commit() {
    const NAME: &str = "strace_counts_at_most_one_system_call_for_a_mapped_commit";
    match calls_for_each_commit(NAME, EngineKind::Mapped) {
        Some(each) => assert!(each < 1.1, "{each} system calls for each commit"),
        None => println!("skipped, because strace is not there or may not trace"),
    }
}

/// Faults that are about to fill a page, and calls that change it meanwhile without the lock: whatever wins, nothing
/// stays behind in memory that nobody has.
#[test]
fn untouched_pages_change_beside_faults() {
    const PAGES: u64 = 64;
    let space = space(EngineKind::Inline);
    let reservation = space.reserve(ByteCount::mib(16)).build().expect("room");
    space.on_exception(|_| {
        std::thread::yield_now();
        Handled::Retry
    });
    let done = AtomicBool::new(false);
    let base = reservation.base() as usize;
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let done = &done;
            scope.spawn(move || {
                let mut page = thread;
                while !done.load(Ordering::Relaxed) {
                    page = (page * 5 + 3 + thread) % PAGES as usize;
                    let word = (base + page * PAGE as usize) as *const u64;
                    // SAFETY: in the reservation; where it is not committed the callback waits until it is.
                    assert_eq!(unsafe { word.read_volatile() }, 0);
                }
            });
        }
        let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
        let mut turn = 0_u64;
        while std::time::Instant::now() < end {
            turn += 1;
            let from = turn % PAGES;
            let here = from * PAGE..(from + 1 + turn % 7).min(PAGES) * PAGE;
            let change = match turn % 5 {
                0 | 1 => reservation.commit(.., Protection::READ_WRITE),
                2 => reservation.commit(here, Protection::READ_ONLY),
                _ => reservation.decommit(if turn.is_multiple_of(2) {
                    0..PAGES * PAGE
                } else {
                    here
                }),
            };
            change.expect("inside, and there is room");
        }
        // So that no thread waits for a page for ever.
        reservation
            .commit(.., Protection::READ_WRITE)
            .expect("room");
        done.store(true, Ordering::Relaxed);
    });
    reservation.decommit(..).expect("inside");
    let left = space.status().total.resident;
    assert!(left.is_zero(), "{left:?} pages of nobody");
    reservation
        .commit(0..PAGE, Protection::READ_WRITE)
        .expect("room");
    let word = reservation.base().cast::<u64>();
    // SAFETY: committed.
    unsafe { word.write_volatile(7) };
    assert_eq!(space.status().total.resident.get(), 1);
}
