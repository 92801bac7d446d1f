//! The memory under test, what each page should be, and the shadow copy.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tried"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pagekeeper::{ByteCount, Exception, ExceptionKind, Handled, Protection, Reservation, Space};

use crate::options::Options;

pub(crate) const PAGE: usize = 4096;
pub(crate) const WORDS: usize = PAGE / 8;

/// What a page is, as far as this program knows. Its lock is held by whoever touches or changes the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Reserved,
    ReadWrite,
    ReadOnly,
    NoAccess,
    Guard,
}

impl State {
    /// The protection of a committed page.
    pub(crate) fn protection(self) -> Protection {
        match self {
            Self::Reserved | Self::NoAccess => Protection::NO_ACCESS,
            Self::ReadWrite => Protection::READ_WRITE,
            Self::ReadOnly => Protection::READ_ONLY,
            Self::Guard => Protection::READ_WRITE.with_guard(),
        }
    }

    /// Whether touching it like that raises an exception.
    pub(crate) fn raises(self, write: bool) -> bool {
        match self {
            Self::ReadWrite => false,
            Self::ReadOnly => write,
            Self::Reserved | Self::NoAccess | Self::Guard => true,
        }
    }
}

/// Everything that the threads share.
pub(crate) struct World {
    pub(crate) space: Space,
    pub(crate) reservation: Reservation,
    pub(crate) ram: ByteCount,
    states: Vec<Mutex<State>>,
    /// What the memory should hold; guarded by the page's lock.
    shadow: Vec<AtomicU64>,
    /// Pages whose owner is about to raise an exception.
    expected: Vec<AtomicBool>,
    pub(crate) exceptions: AtomicU64,
    differences: AtomicU64,
}

impl World {
    pub(crate) fn new(options: &Options) -> Result<Arc<Self>, pagekeeper::Error> {
        let space = Space::builder()
            .ram(options.ram)
            .engine(options.engine)
            .build()?;
        let reservation = space.reserve(options.data).build()?;
        let pages = reservation.pages().count().get() as usize;
        let world = Arc::new(Self {
            space: space.clone(),
            reservation,
            ram: options.ram,
            states: (0..pages).map(|_| Mutex::new(State::Reserved)).collect(),
            shadow: (0..pages * WORDS).map(|_| AtomicU64::new(0)).collect(),
            expected: (0..pages).map(|_| AtomicBool::new(false)).collect(),
            exceptions: AtomicU64::new(0),
            differences: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&world);
        space.on_exception(move |exception| match weak.upgrade() {
            Some(world) => world.mend(exception),
            None => Handled::Pass,
        });
        Ok(world)
    }

    pub(crate) fn pages(&self) -> usize {
        self.states.len()
    }

    /// The lock of a page, with what it is.
    pub(crate) fn page(&self, page: usize) -> MutexGuard<'_, State> {
        self.states[page]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The locks of a run, taken upwards.
    pub(crate) fn run(&self, first: usize, count: usize) -> Vec<MutexGuard<'_, State>> {
        (first..first + count).map(|page| self.page(page)).collect()
    }

    pub(crate) fn word(&self, page: usize, index: usize) -> *mut u64 {
        self.reservation
            .base()
            .wrapping_add(page * PAGE + index * 8)
            .cast()
    }

    pub(crate) fn shadow(&self, page: usize, index: usize) -> &AtomicU64 {
        &self.shadow[page * WORDS + index]
    }

    /// Reads a word and compares it. The page's lock is held.
    pub(crate) fn load(&self, page: usize, index: usize) {
        // SAFETY: committed, or the callback makes it so; the page's lock keeps others away.
        let found = unsafe { self.word(page, index).read_volatile() };
        self.compare(page, index, found, "load");
    }

    /// Writes a word. The page's lock is held.
    pub(crate) fn store(&self, page: usize, index: usize, value: u64) {
        // SAFETY: as in `load`.
        unsafe { self.word(page, index).write_volatile(value) };
        self.shadow(page, index).store(value, Ordering::Relaxed);
    }

    pub(crate) fn compare(&self, page: usize, index: usize, found: u64, by: &str) {
        let should = self.shadow(page, index).load(Ordering::Relaxed);
        if found != should {
            self.differs(&format!(
                "{by} of page {page}, word {index}: {found:#x} instead of {should:#x}"
            ));
        }
    }

    /// Counts and tells what should not be.
    pub(crate) fn differs(&self, what: &str) {
        if self.differences.fetch_add(1, Ordering::Relaxed) < 20 {
            eprintln!("DIFFERENCE: {what}");
        }
    }

    pub(crate) fn differences(&self) -> u64 {
        self.differences.load(Ordering::Relaxed)
    }

    /// Forgets a page's contents: it reads as zero now.
    pub(crate) fn zero_shadow(&self, page: usize) {
        for index in 0..WORDS {
            self.shadow(page, index).store(0, Ordering::Relaxed);
        }
    }

    /// Says that the next touch of a page raises an exception, makes it, and sees that it was raised.
    pub(crate) fn raising(&self, page: usize, state: State, touch: impl FnOnce()) {
        self.expected[page].store(true, Ordering::Relaxed);
        touch();
        if self.expected[page].swap(false, Ordering::Relaxed) {
            let now = self.reservation.query((page * PAGE) as u64);
            self.differs(&format!(
                "page {page}: no exception, though it was {state:?}; the space says {:?}",
                now.map(|region| region.state)
            ));
        }
    }

    /// The callback: on the thread that holds the page's lock.
    fn mend(&self, exception: &Exception) -> Handled {
        let first = self.reservation.pages().address();
        let page = (exception.address.wrapping_sub(first) / PAGE as u64) as usize;
        let expected = self
            .expected
            .get(page)
            .is_some_and(|expected| expected.swap(false, Ordering::Relaxed));
        if !expected {
            self.differs(&format!("page {page}: not expected: {exception:?}"));
            return Handled::Pass;
        }
        self.exceptions.fetch_add(1, Ordering::Relaxed);
        if exception.kind == ExceptionKind::GuardPage {
            return Handled::Retry;
        }
        // Commits what was reserved; what was committed keeps its contents and becomes writable.
        match self
            .space
            .commit_at(exception.address, 1, Protection::READ_WRITE)
        {
            Ok(()) => Handled::Retry,
            Err(error) => {
                self.differs(&format!("page {page}: {error}"));
                Handled::Pass
            }
        }
    }

    /// Compares every byte. All threads have ended.
    pub(crate) fn compare_all(&self) {
        for page in 0..self.pages() {
            let mut state = self.page(page);
            if state.raises(false) {
                self.raising(page, *state, || self.load(page, 0));
                *state = State::ReadWrite;
            }
            (0..WORDS).for_each(|index| self.load(page, index));
        }
    }
}
