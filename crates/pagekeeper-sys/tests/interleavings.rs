//! The words that threads sleep on, through all interleavings: `src/lock/words.rs` itself, with loom's atomics and a model of
//! the kernel's futex behind it.
//!
//! The last test takes something away (a wake-up, the futex's look before it sleeps, the order of memory) and expects loom to
//! notice, so that the others are known to be able to fail.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: a cell that several threads share under a lock"
)]

mod futex;

#[path = "../src/lock/words.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a module of the library, of which not every call has a model"
)]
mod words;

use std::process::Command;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32 as Count, Ordering};
use loom::thread;

use crate::futex::{AtomicU32, FLAW, Flaw};
use crate::words::{Event, RawLock, WaitWord};

/// What a lock protects.
struct Locked {
    lock: RawLock,
    value: UnsafeCell<u32>,
}

// SAFETY: the value is touched under the lock only; loom says so if not.
unsafe impl Sync for Locked {}
// SAFETY: as above.
unsafe impl Send for Locked {}

impl Locked {
    fn new() -> Self {
        Self {
            lock: RawLock {
                word: AtomicU32::new(0),
            },
            value: UnsafeCell::new(0),
        }
    }

    fn add_one(&self) {
        self.lock.lock();
        // SAFETY: the lock is held.
        self.value.with_mut(|value| unsafe { *value += 1 });
        self.lock.unlock();
    }
}

/// At most so many times a thread loses the processor where it did not ask for it: more takes minutes.
const PREEMPTIONS: usize = 3;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

fn three_threads_count() {
    let shared = Arc::new(Locked::new());
    let others: Vec<_> = (0..2)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.add_one())
        })
        .collect();
    shared.add_one();
    for other in others {
        other.join().expect("no panic");
    }
    shared.lock.lock();
    // SAFETY: the lock is held.
    let value = shared.value.with(|value| unsafe { *value });
    assert_eq!(value, 3);
}

/// Somebody changes a state and moves the number; two wait until the state is as they want it.
fn two_wait_for_a_state() {
    let shared = Arc::new((
        WaitWord {
            word: AtomicU32::new(0),
        },
        AtomicBool::new(false),
    ));
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (word, is_done) = &*shared;
                loop {
                    let seen = word.current();
                    if is_done.load(Ordering::Acquire) {
                        return;
                    }
                    word.wait(seen, None);
                }
            })
        })
        .collect();
    shared.1.store(true, Ordering::Release);
    shared.0.wake_all();
    for waiter in waiters {
        waiter.join().expect("no panic");
    }
}

/// As the threads that read ahead end: the end is told once, and who hears of it passes it on.
fn an_end_is_passed_on() {
    let shared = Arc::new((
        Event {
            word: AtomicU32::new(0),
        },
        AtomicBool::new(false),
    ));
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (event, is_over) = &*shared;
                loop {
                    event.wait(None);
                    if is_over.load(Ordering::Acquire) {
                        return event.set();
                    }
                }
            })
        })
        .collect();
    shared.1.store(true, Ordering::Release);
    shared.0.set();
    for waiter in waiters {
        waiter.join().expect("no panic");
    }
}

/// Every set is taken at most once, and a set behind which nobody has taken anything is never lost.
fn work_is_never_left_lying() {
    let shared = Arc::new((
        Event {
            word: AtomicU32::new(0),
        },
        Count::new(0),
    ));
    let worker = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let (event, orders) = &*shared;
            let mut done = 0;
            while done < 2 {
                assert!(event.wait(None));
                done += orders.swap(0, Ordering::AcqRel);
            }
        })
    };
    for _ in 0..2 {
        shared.1.fetch_add(1, Ordering::AcqRel);
        shared.0.set();
    }
    worker.join().expect("no panic");
}

#[test]
fn a_lock_lets_one_in_and_forgets_nobody() {
    explore(three_threads_count);
}

#[test]
fn a_wait_word_loses_no_wake_up() {
    explore(two_wait_for_a_state);
}

#[test]
fn an_event_passes_the_end_on() {
    explore(an_end_is_passed_on);
}

#[test]
fn an_event_loses_no_order() {
    explore(work_is_never_left_lying);
}

/// What a test here says of a model with a flaw, in a process of its own: loom ends it.
fn verdict(flaw: Flaw, test: &str) -> String {
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", test])
        .env(FLAW, format!("{flaw:?}"))
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("started");
    assert!(
        !output.status.success(),
        "{flaw:?} is not noticed by {test}"
    );
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_flaw_is_noticed() {
    if std::env::var_os(FLAW).is_some() {
        return;
    }
    let lock = "a_lock_lets_one_in_and_forgets_nobody";
    let wait_word = "a_wait_word_loses_no_wake_up";
    let (end, order) = ("an_event_passes_the_end_on", "an_event_loses_no_order");
    for (flaw, test, finding) in [
        (Flaw::WakesNobody, lock, "deadlock"),
        (Flaw::WakesNobody, wait_word, "deadlock"),
        (Flaw::WakesNobody, end, "deadlock"),
        (Flaw::SleepsUnseen, wait_word, "deadlock"),
        (Flaw::SleepsUnseen, order, "deadlock"),
        (Flaw::OrdersNothing, lock, "Causality violation"),
    ] {
        let text = verdict(flaw, test);
        assert!(text.contains(finding), "{flaw:?}, {test}: {text}");
    }
}
