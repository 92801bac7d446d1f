//! Small blocks in RAM: a private heap beside glibc's malloc and mimalloc.
//!
//! | pattern | a call is |
//! |---|---|
//! | pairs | a block of 64 bytes, allocated and freed |
//! | batch | the same, a thousand allocated, then a thousand freed |
//! | churn | a random one of 10,000 blocks of 16 to 4,096 bytes, freed and allocated anew |
//! | handover | a block of 16 to 271 bytes, allocated by one thread and freed by another |
//! | resize | a block made half as large again, from 16 bytes to 128 KiB, over and over |
//! | one by one | one of a million blocks of 48 bytes, freed in the order in which they came |
//! | destroy | the same by destroying the heap; mimalloc's and glibc's have no such thing here |

#![allow(
    unsafe_code,
    reason = "UNSAFETY: bare allocators are what is measured; each block is freed once by its own"
)]

use std::sync::{Barrier, mpsc};
use std::time::Instant;

use pagekeeper::{EngineKind, Heap, HeapBlocks};
use pagekeeper_heap::Request;
use pagekeeper_units::ByteCount;
use serde::{Deserialize, Serialize};

use crate::contender::{ContenderKind, Place, ours_space};

/// Whose blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Allocator {
    Ours,
    Glibc,
    Mimalloc,
}

impl Allocator {
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Glibc, Self::Mimalloc];

    /// Its figures' name.
    pub(crate) const fn metric(self) -> &'static str {
        match self {
            Self::Ours => "ours ns",
            Self::Glibc => "glibc ns",
            Self::Mimalloc => "mimalloc ns",
        }
    }

    /// Under which contender its figures are kept: only ours is one of those that race for memory.
    pub(crate) const fn contender(self) -> ContenderKind {
        match self {
            Self::Ours => ContenderKind::Mapped,
            Self::Glibc | Self::Mimalloc => ContenderKind::Plain,
        }
    }
}

/// Patterns in the order of the table.
pub(crate) const PATTERNS: [&str; 7] = [
    "pairs",
    "batch",
    "churn",
    "handover",
    "resize",
    "one-by-one",
    "destroy",
];
/// How many threads make the calls.
pub(crate) const THREADS: [u64; 2] = [1, 2];

/// The name of a cell of the table.
pub(crate) fn cell(pattern: &str, threads: u64) -> String {
    format!("{pattern}/{threads}")
}

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) allocator: Allocator,
    pub(crate) place: Place,
    pub(crate) threads: u64,
    /// Calls of each pattern and thread.
    pub(crate) calls: u64,
}

/// Nanoseconds of a call, by pattern.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) figures: Vec<(String, f64)>,
}

/// Bare blocks.
trait Blocks: Sync {
    fn allocate(&self, size: usize) -> *mut u8;

    /// # Safety
    /// A block of this allocator that nobody uses.
    unsafe fn free(&self, block: *mut u8);

    /// # Safety
    /// A block of this allocator that nobody else uses.
    unsafe fn resize(&self, block: *mut u8, size: usize) -> *mut u8;
}

struct Glibc;

impl Blocks for Glibc {
    fn allocate(&self, size: usize) -> *mut u8 {
        // SAFETY: asks for memory.
        unsafe { libc::malloc(size) }.cast()
    }

    unsafe fn free(&self, block: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { libc::free(block.cast()) };
    }

    unsafe fn resize(&self, block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { libc::realloc(block.cast(), size) }.cast()
    }
}

struct Mimalloc;

impl Blocks for Mimalloc {
    fn allocate(&self, size: usize) -> *mut u8 {
        // SAFETY: asks for memory.
        unsafe { libmimalloc_sys::mi_malloc(size) }.cast()
    }

    unsafe fn free(&self, block: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { libmimalloc_sys::mi_free(block.cast()) };
    }

    unsafe fn resize(&self, block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { libmimalloc_sys::mi_realloc(block.cast(), size) }.cast()
    }
}

impl Blocks for HeapBlocks {
    fn allocate(&self, size: usize) -> *mut u8 {
        Self::allocate(self, size, Request::PLAIN).map_or(core::ptr::null_mut(), |p| p.as_ptr())
    }

    unsafe fn free(&self, block: *mut u8) {
        // SAFETY: the caller's promise.
        let freed = unsafe { Self::free(self, block, Request::PLAIN) };
        assert!(freed.is_ok(), "{freed:?}");
    }

    unsafe fn resize(&self, block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let moved = unsafe { Self::resize(self, block, size, false, Request::PLAIN) };
        moved.map_or(core::ptr::null_mut(), |p| p.as_ptr())
    }
}

/// Measures all patterns.
///
/// # Errors
/// Where the space or the heap cannot be made.
pub(crate) fn run(job: &Job) -> anyhow::Result<Report> {
    let mut figures = Vec::new();
    match job.allocator {
        Allocator::Glibc => measure(&Glibc, job, &mut figures),
        Allocator::Mimalloc => measure(&Mimalloc, job, &mut figures),
        Allocator::Ours => {
            let space = ours_space(EngineKind::Mapped, &job.place, ByteCount::gib(1))?;
            measure(Heap::new(&space)?.blocks(), job, &mut figures);
            let heap = Heap::new(&space)?;
            let blocks: Vec<usize> = many(heap.blocks());
            let start = Instant::now();
            drop(heap);
            let each = start.elapsed().as_nanos() as f64 / blocks.len() as f64;
            figures.push(("destroy".to_owned(), each));
        }
    }
    Ok(Report { figures })
}

fn measure(blocks: &impl Blocks, job: &Job, figures: &mut Vec<(String, f64)>) {
    let calls = job.calls;
    let mut add = |name: &str, ns: f64| figures.push((name.to_owned(), ns));
    add(
        "pairs",
        threads(job.threads, calls, |_| pairs(blocks, calls)),
    );
    add(
        "batch",
        threads(job.threads, calls, |_| batch(blocks, calls)),
    );
    let churn = |thread| churn(blocks, calls / 4, thread);
    add("churn", threads(job.threads, calls / 4, churn));
    if job.threads == 1 {
        add("handover", handover(blocks, calls / 4));
    }
    let resizes = calls / 10;
    add(
        "resize",
        threads(job.threads, resizes, |_| resize(blocks, resizes)),
    );
    if job.threads == 1 {
        let held = many(blocks);
        let start = Instant::now();
        for block in &held {
            // SAFETY: each once.
            unsafe { blocks.free(core::ptr::with_exposed_provenance_mut(*block)) };
        }
        add(
            "one-by-one",
            start.elapsed().as_nanos() as f64 / held.len() as f64,
        );
    }
}

/// Nanoseconds of a call when each thread makes `calls` of them at the same time.
fn threads(count: u64, calls: u64, body: impl Fn(u64) + Sync) -> f64 {
    let barrier = Barrier::new(count as usize);
    let took = std::thread::scope(|scope| {
        let start = |thread| {
            let (body, barrier) = (&body, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let start = Instant::now();
                body(thread);
                start.elapsed()
            })
        };
        let all: Vec<_> = (0..count).map(start).collect();
        let took = all.into_iter().filter_map(|thread| thread.join().ok());
        took.max().unwrap_or_default()
    });
    took.as_nanos() as f64 / calls as f64
}

/// Writes what a program would write at least.
fn touch(block: *mut u8) -> *mut u8 {
    assert!(!block.is_null(), "no memory");
    // SAFETY: a new block has eight bytes at least.
    unsafe { block.cast::<u64>().write_volatile(1) };
    block
}

fn pairs(blocks: &impl Blocks, calls: u64) {
    for _ in 0..calls {
        let block = touch(blocks.allocate(64));
        // SAFETY: nobody else has it.
        unsafe { blocks.free(block) };
    }
}

fn batch(blocks: &impl Blocks, calls: u64) {
    let mut held = Vec::with_capacity(1000);
    for _ in 0..calls / 1000 {
        held.extend((0..1000).map(|_| touch(blocks.allocate(64))));
        for block in held.drain(..) {
            // SAFETY: each once.
            unsafe { blocks.free(block) };
        }
    }
}

/// Small and repeatable.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

fn churn(blocks: &impl Blocks, calls: u64, thread: u64) {
    let mut state = 0x1234_5678 + thread;
    let mut held: Vec<*mut u8> = (0..10_000)
        .map(|_| touch(blocks.allocate(16 + next(&mut state) % 4081)))
        .collect();
    for _ in 0..calls {
        let at = next(&mut state) % held.len();
        // SAFETY: replaced at once.
        unsafe { blocks.free(held[at]) };
        held[at] = touch(blocks.allocate(16 + next(&mut state) % 4081));
    }
    for block in held {
        // SAFETY: each once.
        unsafe { blocks.free(block) };
    }
}

fn handover(blocks: &impl Blocks, calls: u64) -> f64 {
    const AT_ONCE: u64 = 500;
    let (send, receive) = mpsc::sync_channel::<Vec<usize>>(4);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for round in 0..calls / AT_ONCE {
                let size = |number: u64| 16 + ((number * 37 + round) % 256) as usize;
                let new = |number| touch(blocks.allocate(size(number))).expose_provenance();
                if send.send((0..AT_ONCE).map(new).collect()).is_err() {
                    return;
                }
            }
        });
        for block in receive.into_iter().flatten() {
            // SAFETY: each once.
            unsafe { blocks.free(core::ptr::with_exposed_provenance_mut(block)) };
        }
    });
    start.elapsed().as_nanos() as f64 / calls as f64
}

fn resize(blocks: &impl Blocks, calls: u64) {
    let mut done = 0;
    while done < calls {
        let mut size = 16;
        let mut block = touch(blocks.allocate(size));
        while size < 128 << 10 && done < calls {
            size += size / 2;
            // SAFETY: nobody else has it.
            block = touch(unsafe { blocks.resize(block, size) });
            done += 1;
        }
        // SAFETY: as above.
        unsafe { blocks.free(block) };
    }
}

fn many(blocks: &impl Blocks) -> Vec<usize> {
    (0..1_000_000)
        .map(|_| touch(blocks.allocate(48)).expose_provenance())
        .collect()
}
