//! What each thread does: operations picked at random.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tried"
)]

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use pagekeeper::{ByteCount, EngineError, Error, Refusal};

use crate::world::{PAGE, State, WORDS, World};

/// One kind of operation: its name, how often in a thousand, and what it does.
type Operation = (&'static str, u64, fn(&mut Worker));

/// All operations; the shares make a thousand.
pub(crate) const OPERATIONS: [Operation; 17] = [
    ("load", 380, Worker::load),
    ("store", 250, Worker::store),
    ("fill a page", 80, Worker::fill),
    ("compare a page", 60, Worker::compare),
    ("write(2) from it", 30, Worker::write_out),
    ("read(2) into it", 30, Worker::read_in),
    ("commit", 30, Worker::commit),
    ("decommit", 15, Worker::decommit),
    ("protect", 30, Worker::protect),
    ("discard", 10, Worker::discard),
    ("prefetch", 30, Worker::prefetch),
    ("lock and unlock", 15, Worker::lock),
    ("trim", 15, Worker::trim),
    ("query", 10, Worker::query),
    ("residence", 8, Worker::residence),
    ("trim everything", 2, Worker::trim_all),
    ("set the budget", 5, Worker::set_ram),
];

/// Counters that everybody may look at.
pub(crate) struct Progress {
    pub(crate) counts: [AtomicU64; OPERATIONS.len()],
    /// The operation that the thread is in.
    pub(crate) now: AtomicUsize,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; OPERATIONS.len()],
            now: AtomicUsize::new(0),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

/// One thread.
pub(crate) struct Worker {
    world: Arc<World>,
    progress: Arc<Progress>,
    random: u64,
    /// What the system calls write to and read from.
    file: std::fs::File,
}

impl Worker {
    pub(crate) fn new(
        world: Arc<World>,
        progress: Arc<Progress>,
        seed: u64,
    ) -> std::io::Result<Self> {
        let file = rustix::fs::memfd_create("soak", rustix::fs::MemfdFlags::CLOEXEC)?;
        Ok(Self {
            world,
            progress,
            random: seed | 1,
            file: file.into(),
        })
    }

    pub(crate) fn step(&mut self) {
        let mut pick = self.below(1000);
        for (index, (_, share, operation)) in OPERATIONS.iter().enumerate() {
            if pick < *share {
                self.progress.now.store(index, Ordering::Relaxed);
                operation(self);
                self.progress.counts[index].fetch_add(1, Ordering::Relaxed);
                return;
            }
            pick -= share;
        }
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, most: u64) -> u64 {
        (self.next() >> 16) % most
    }

    fn any_page(&mut self) -> usize {
        self.below(self.world.pages() as u64) as usize
    }

    /// A run of at most `most` pages.
    fn any_run(&mut self, most: usize) -> (usize, usize) {
        let first = self.any_page();
        let count = 1 + self.below(most as u64) as usize;
        (first, count.min(self.world.pages() - first))
    }

    fn bytes(first: usize, count: usize) -> std::ops::Range<u64> {
        (first * PAGE) as u64..((first + count) * PAGE) as u64
    }

    /// Tells of an error that is no part of the plan.
    fn accept(&self, what: &str, result: Result<(), Error>, may_be: impl Fn(&Error) -> bool) {
        if let Err(error) = result
            && !may_be(&error)
        {
            self.world.differs(&format!("{what}: {error}"));
        }
    }

    /// Touches a word of a page by `touch`, whatever the page is; afterwards it is what the exception made of it.
    fn touch(&mut self, write: bool) -> usize {
        let page = self.any_page();
        let (index, value) = (self.below(WORDS as u64) as usize, self.next());
        let world = Arc::clone(&self.world);
        let mut state = world.page(page);
        let touch = || {
            if write {
                world.store(page, index, value);
            } else {
                world.load(page, index);
            }
        };
        if state.raises(write) {
            world.raising(page, *state, touch);
            *state = State::ReadWrite;
        } else {
            touch();
        }
        page
    }

    fn load(&mut self) {
        self.touch(false);
    }

    fn store(&mut self) {
        self.touch(true);
    }

    /// A whole page with contents of all kinds: words alike, compressible, random.
    fn fill(&mut self) {
        let (page, kind, base) = (self.any_page(), self.below(4), self.next());
        let mut state = self.world.page(page);
        if *state == State::Reserved || *state == State::NoAccess {
            return;
        }
        for index in 0..WORDS {
            let value = match kind {
                0 => base,
                1 if !index.is_multiple_of(8) => 0x2020_2020_2020_2020,
                2 if index.is_multiple_of(2) => base,
                _ => (base ^ (index as u64) << 17).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            };
            if state.raises(true) {
                self.world
                    .raising(page, *state, || self.world.store(page, index, value));
                *state = State::ReadWrite;
            } else {
                self.world.store(page, index, value);
            }
        }
    }

    fn compare(&mut self) {
        let page = self.any_page();
        let state = self.world.page(page);
        if !state.raises(false) {
            (0..WORDS).for_each(|index| self.world.load(page, index));
        }
    }

    /// The kernel reads pages. Where they may not be read, it says so and nothing changes.
    fn write_out(&mut self) {
        let (first, count) = self.any_run(6);
        let locks = self.world.run(first, count);
        let readable = locks.iter().take_while(|it| !it.raises(false)).count();
        // SAFETY: the kernel looks at what may be looked at.
        let moved = unsafe {
            libc::pwrite(
                self.file.as_raw_fd(),
                self.world.word(first, 0).cast(),
                count * PAGE,
                0,
            )
        };
        let should = if readable == 0 {
            -1
        } else {
            (readable * PAGE) as isize
        };
        if moved != should {
            let error = std::io::Error::last_os_error();
            self.world.differs(&format!(
                "write from {count} pages at {first}, {readable} readable: {moved} ({error})"
            ));
        }
        let mut copy = vec![0_u64; readable * WORDS];
        // SAFETY: ordinary memory of that size.
        unsafe {
            libc::pread(
                self.file.as_raw_fd(),
                copy.as_mut_ptr().cast(),
                readable * PAGE,
                0,
            )
        };
        for (at, word) in copy.iter().enumerate() {
            self.world
                .compare(first + at / WORDS, at % WORDS, *word, "write(2)");
        }
    }

    /// The kernel writes pages.
    fn read_in(&mut self) {
        let (first, count) = self.any_run(6);
        let base = self.next();
        let values: Vec<u64> = (0..count * WORDS)
            .map(|at| base.rotate_left(at as u32 / 64))
            .collect();
        let locks = self.world.run(first, count);
        let writable = locks.iter().take_while(|it| !it.raises(true)).count();
        // SAFETY: ordinary memory out; the kernel touches what may be touched.
        let moved = unsafe {
            libc::pwrite(
                self.file.as_raw_fd(),
                values.as_ptr().cast(),
                count * PAGE,
                0,
            );
            libc::pread(
                self.file.as_raw_fd(),
                self.world.word(first, 0).cast(),
                count * PAGE,
                0,
            )
        };
        let should = if writable == 0 {
            -1
        } else {
            (writable * PAGE) as isize
        };
        if moved != should {
            let error = std::io::Error::last_os_error();
            self.world.differs(&format!(
                "read into {count} pages at {first}, {writable} writable: {moved} ({error})"
            ));
        }
        for (at, value) in values.iter().take(moved.max(0) as usize / 8).enumerate() {
            self.world
                .shadow(first + at / WORDS, at % WORDS)
                .store(*value, Ordering::Relaxed);
        }
    }

    fn commit(&mut self) {
        let (first, count) = self.any_run(20);
        let state = [State::ReadWrite, State::ReadWrite, State::ReadOnly][self.below(3) as usize];
        let mut locks = self.world.run(first, count);
        let result = self
            .world
            .reservation
            .commit(Self::bytes(first, count), state.protection());
        if result.is_ok() {
            locks.iter_mut().for_each(|lock| **lock = state);
        }
        self.accept("commit", result, |_| false);
    }

    fn decommit(&mut self) {
        let (first, count) = self.any_run(20);
        let mut locks = self.world.run(first, count);
        let result = self.world.reservation.decommit(Self::bytes(first, count));
        if result.is_ok() {
            for (page, lock) in (first..).zip(&mut locks) {
                **lock = State::Reserved;
                self.world.zero_shadow(page);
            }
        }
        self.accept("decommit", result, |_| false);
    }

    fn protect(&mut self) {
        let (first, count) = self.any_run(8);
        let pick = self.below(6) as usize;
        let mut locks = self.world.run(first, count);
        let state = [
            State::ReadWrite,
            State::ReadWrite,
            State::ReadWrite,
            State::ReadOnly,
            State::NoAccess,
            State::Guard,
        ][pick];
        let reserved = locks.iter().any(|lock| **lock == State::Reserved);
        let result = self
            .world
            .reservation
            .protect(Self::bytes(first, count), state.protection())
            .map(drop);
        if result.is_ok() {
            if reserved {
                self.world.differs("protect of a reserved page worked");
            }
            locks.iter_mut().for_each(|lock| **lock = state);
        }
        self.accept("protect", result, |error| {
            reserved && matches!(error.refusal(), Some(Refusal::NotCommitted { .. }))
        });
    }

    /// Every page has its old bytes or zeros afterwards; once it was written to, that stays so.
    fn discard(&mut self) {
        let (first, count) = self.any_run(20);
        let value = self.next();
        let locks = self.world.run(first, count);
        if locks.iter().any(|lock| **lock != State::ReadWrite) {
            return;
        }
        let result = self.world.reservation.discard(Self::bytes(first, count));
        self.accept("discard", result, |_| false);
        for page in first..first + count {
            let written = value as usize % WORDS;
            self.world.store(page, written, value);
            let zeros = (0..WORDS).any(|index| {
                // SAFETY: committed and readable; the page's lock is held.
                let found = unsafe { self.world.word(page, index).read_volatile() };
                index != written
                    && found == 0
                    && self.world.shadow(page, index).load(Ordering::Relaxed) != 0
            });
            if zeros {
                self.world.zero_shadow(page);
                self.world
                    .shadow(page, written)
                    .store(value, Ordering::Relaxed);
            }
            (0..WORDS).for_each(|index| self.world.load(page, index));
        }
    }

    /// Locking an armed guard page fails and disarms it, as in Windows.
    fn lock(&mut self) {
        let (first, count) = self.any_run(4);
        let mut locks = self.world.run(first, count);
        let result = self.world.reservation.lock(Self::bytes(first, count));
        if let Err(Error::Refused {
            refusal: Refusal::GuardPage { page },
            ..
        }) = &result
        {
            let index = page.get() - self.world.reservation.pages().start().get();
            *locks[index as usize - first] = State::ReadWrite;
        }
        drop(locks);
        self.accept("lock", result, |error| {
            matches!(
                error,
                Error::Refused {
                    refusal: Refusal::NotAccessible { .. }
                        | Refusal::NotCommitted { .. }
                        | Refusal::GuardPage { .. }
                        | Refusal::WorkingSetQuota { .. },
                    ..
                } | Error::Engine {
                    cause: EngineError::LockedTooMuch,
                    ..
                }
            )
        });
        std::thread::yield_now();
        // Others may have unlocked or decommitted in the meantime; and none of what was locked before may stay so.
        for page in first..first + count {
            let result = self.world.reservation.unlock(Self::bytes(page, 1));
            self.accept("unlock", result, |error| error.refusal().is_some());
        }
    }

    // From here on nothing changes contents, so no page is locked: beside everything else.

    fn prefetch(&mut self) {
        let (first, count) = self.any_run(64);
        let result = self.world.reservation.prefetch(Self::bytes(first, count));
        self.accept("prefetch", result, |_| false);
    }

    fn trim(&mut self) {
        let (first, count) = self.any_run(64);
        self.world.reservation.trim(Self::bytes(first, count));
    }

    fn trim_all(&mut self) {
        self.world.space.trim();
    }

    fn query(&mut self) {
        let page = self.any_page();
        let result = self.world.reservation.query((page * PAGE) as u64);
        self.accept("query", result.map(drop), |_| false);
    }

    fn residence(&mut self) {
        let (first, count) = self.any_run(64);
        let runs = self.world.reservation.residence(Self::bytes(first, count));
        if runs
            .iter()
            .any(|(_, residence)| *residence == pagekeeper::Residence::Lost)
        {
            self.world.differs("a page is lost");
        }
    }

    /// Between the budget that was asked for and three times that.
    fn set_ram(&mut self) {
        let ram = self.world.ram.get();
        let ram = ram + self.below(ram * 2) / 3 * u64::from(self.below(2) as u32);
        let result = self.world.space.set_ram(ByteCount::new(ram));
        self.accept("set the budget", result, |_| false);
    }
}
