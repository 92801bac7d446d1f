//! A model of the kernel's futex under loom, with the names of `src/lock/futex.rs`.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) use loom::hint::spin_loop;
use loom::sync::{Condvar, Mutex};

/// One look before sleeping: more only repeats what loom tries anyway.
pub(crate) const SPINS: u32 = 1;

/// Something that is wrong with the model, to see whether that is noticed; chosen by [`FLAW`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// No wake-up arrives.
    WakesNobody,
    /// Goes to sleep without comparing the word first.
    SleepsUnseen,
    /// Every access to a word is relaxed.
    OrdersNothing,
}

/// The variable that names a flaw.
pub(crate) const FLAW: &str = "PAGEKEEPER_TEST_FLAW";

fn has(flaw: Flaw) -> bool {
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    let name = NAME.get_or_init(|| std::env::var(FLAW).ok());
    name.as_deref() == Some(&format!("{flaw:?}"))
}

fn order(asked: Ordering) -> Ordering {
    match has(Flaw::OrdersNothing) {
        true => Ordering::Relaxed,
        false => asked,
    }
}

/// A word with the queue of those who sleep on it.
#[derive(Debug)]
pub(crate) struct AtomicU32 {
    value: loom::sync::atomic::AtomicU32,
    bucket: Mutex<()>,
    sleepers: Condvar,
}

impl AtomicU32 {
    pub(crate) fn new(value: u32) -> Self {
        Self {
            value: loom::sync::atomic::AtomicU32::new(value),
            bucket: Mutex::new(()),
            sleepers: Condvar::new(),
        }
    }

    pub(crate) fn load(&self, asked: Ordering) -> u32 {
        self.value.load(order(asked))
    }

    pub(crate) fn swap(&self, value: u32, asked: Ordering) -> u32 {
        self.value.swap(value, order(asked))
    }

    pub(crate) fn compare_exchange(
        &self,
        from: u32,
        to: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        self.value
            .compare_exchange(from, to, order(success), order(failure))
    }

    pub(crate) fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        update: impl FnMut(u32) -> Option<u32>,
    ) -> Result<u32, u32> {
        self.value.fetch_update(order(set), order(fetch), update)
    }
}

/// No time passes in a model.
#[derive(Debug)]
pub(crate) struct Deadline;

pub(crate) fn deadline_after(_after: Duration) -> Deadline {
    Deadline
}

/// Sleeps while the word holds `value`; whether the deadline has passed, which it never does.
pub(crate) fn sleep(word: &AtomicU32, value: u32, _deadline: Option<&Deadline>) -> bool {
    let bucket = word.bucket.lock().expect("no panic");
    if has(Flaw::SleepsUnseen) || word.value.load(Ordering::SeqCst) == value {
        drop(word.sleepers.wait(bucket).expect("no panic"));
    }
    false
}

pub(crate) fn wake_one(word: &AtomicU32) {
    let _bucket = word.bucket.lock().expect("no panic");
    if !has(Flaw::WakesNobody) {
        word.sleepers.notify_one();
    }
}

pub(crate) fn wake_all(word: &AtomicU32) {
    let _bucket = word.bucket.lock().expect("no panic");
    if !has(Flaw::WakesNobody) {
        word.sleepers.notify_all();
    }
}
