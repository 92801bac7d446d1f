//! Exclusion, wake-ups that are not lost, waits that end, signals that come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

#[test]
fn counts_right_under_contention() {
    static LOCK: FutexLock<u64> = FutexLock::new(0);
    thread::scope(|scope| {
        for outside in [false, true, false, true] {
            scope.spawn(move || {
                for _ in 0..50_000 {
                    if outside {
                        *LOCK.lock_outside_handler() += 1;
                    } else {
                        *LOCK.lock() += 1;
                    }
                }
            });
        }
    });
    assert_eq!(*LOCK.lock(), 200_000);
    assert!(!LOCK.is_locked());
}

#[test]
fn a_held_lock_is_refused_and_freed_even_by_a_panic() {
    let lock = FutexLock::new(1);
    let guard = lock.lock();
    assert!(lock.try_lock().is_none());
    assert!(lock.try_lock_outside_handler().is_none());
    drop(guard);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = lock.lock();
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(result.is_err());
    assert_eq!(*lock.try_lock().expect("no poison"), 1);
}

#[test]
fn a_sleeper_gets_the_lock() {
    let lock = FutexLock::new(false);
    thread::scope(|scope| {
        let mut guard = lock.lock();
        let waiter = scope.spawn(|| *lock.lock());
        thread::sleep(Duration::from_millis(30));
        *guard = true;
        drop(guard);
        assert!(waiter.join().expect("the waiter ends"));
    });
}

#[test]
fn signals_are_blocked_and_come_back_nested() {
    let outer = SignalsBlocked::new();
    let start = outer.mask_before();
    let inner = SignalsBlocked::new();
    // SIGKILL (9) and SIGSTOP (19) cannot be blocked, libc's SIGSETXID (33) must not be.
    assert_eq!(inner.mask_before(), !(1 << 8 | 1 << 18 | 1 << 32));
    drop(inner);
    drop(outer);
    assert_eq!(SignalsBlocked::new().mask_before(), start);
}

#[test]
fn no_wake_up_is_lost() {
    let word = Arc::new(WaitWord::new());
    let state = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (word, state) = (Arc::clone(&word), Arc::clone(&state));
            thread::spawn(move || {
                let mut seen = 0;
                while seen < 20_000 {
                    let sequence = word.current();
                    let now = state.load(Ordering::Relaxed);
                    if now == seen {
                        assert!(word.wait(sequence, Some(Duration::from_secs(20))));
                    }
                    seen = now;
                }
            })
        })
        .collect();
    for _ in 0..20_000 {
        state.fetch_add(1, Ordering::Relaxed);
        word.wake_all();
    }
    for thread in threads {
        thread.join().expect("every waiter sees the end");
    }
}

#[test]
fn waits_end_in_time() {
    let (word, event) = (WaitWord::new(), Event::new());
    let start = Instant::now();
    assert!(!word.wait(word.current(), Some(Duration::from_millis(20))));
    assert!(!event.wait(Some(Duration::from_millis(20))));
    assert!(start.elapsed() >= Duration::from_millis(40));
    assert!(
        word.wait(word.current().wrapping_sub(2), None),
        "has moved already"
    );
}

#[test]
fn an_event_lets_one_through_for_each_set() {
    let event = Event::new();
    event.set();
    event.set();
    assert!(event.wait(None));
    assert!(!event.try_take(), "set twice counts once");
    let through = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                assert!(event.wait(Some(Duration::from_secs(20))));
                through.fetch_add(1, Ordering::Relaxed);
            });
        }
        for count in 1..=3 {
            event.set();
            while through.load(Ordering::Relaxed) < count {
                thread::yield_now();
            }
        }
    });
}
