//! Locks in a tiny budget, with everybody pulling at it. `PAGEKEEPER_LONG=1`: sixty seconds each instead of three.

#![allow(unsafe_code, reason = "UNSAFETY: locks by address, memory by address")]

mod support;
#[macro_use]
mod touch_support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pagekeeper::{ByteCount, EngineKind, Protection, Reservation, Space};
use support::alone;
use touch_support::{PAGE, Paged, int};

fn duration() -> Duration {
    Duration::from_secs(if std::env::var_os("PAGEKEEPER_LONG").is_some() {
        60
    } else {
        3
    })
}

/// 64 pages of RAM, 4 MiB of memory.
fn tiny() -> Reservation {
    let space = Space::builder()
        .ram(ByteCount::kib(256))
        .engine(EngineKind::Inline)
        .page_file_maximum(ByteCount::mib(64))
        .build()
        .expect("a space");
    let region = space
        .reserve(ByteCount::mib(4))
        .build()
        .expect("address space");
    region.commit(.., Protection::READ_WRITE).expect("room");
    region
}

const PAGES: usize = 1024;

fn page(region: &Reservation, index: usize) -> *mut u64 {
    region.base().wrapping_add(index % PAGES * PAGE).cast()
}

#[test]
fn four_threads_on_one_mutex_in_sixty_four_pages() {
    alone("four_threads_on_one_mutex_in_sixty_four_pages", || {
        let region = tiny();
        let mutex = page(&region, 0).expose_provenance();
        let count = page(&region, 512).expose_provenance();
        let rounds = AtomicU64::new(0);
        let end = Instant::now() + duration();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (region, rounds) = (&region, &rounds);
                scope.spawn(move || {
                    let mut state = 88_172_645_463_325_252 + thread;
                    while Instant::now() < end {
                        assert_eq!(int(call!("pthread_mutex_lock", mutex)), 0);
                        // SAFETY: a word in paged memory that the mutex guards.
                        unsafe {
                            let word = std::ptr::with_exposed_provenance_mut::<u64>(count);
                            word.write_volatile(word.read_volatile() + 1);
                        }
                        if state % 7 == 0 {
                            std::thread::sleep(Duration::from_micros(50));
                        }
                        assert_eq!(int(call!("pthread_mutex_unlock", mutex)), 0);
                        rounds.fetch_add(1, Ordering::Relaxed);
                        // Everything else wants the budget too.
                        for _ in 0..20 {
                            let index = support::next(&mut state) as usize % 500 + 1;
                            // SAFETY: pages that only this loop touches, with a value that depends on the page alone.
                            unsafe {
                                page(region, index)
                                    .add(8 * thread as usize + 1)
                                    .write_volatile(index as u64)
                            };
                        }
                    }
                });
            }
        });
        // SAFETY: nobody else is left.
        let counted = unsafe { std::ptr::with_exposed_provenance::<u64>(count).read() };
        assert_eq!(counted, rounds.into_inner());
    });
}

#[test]
fn more_waiters_than_may_be_pinned() {
    alone("more_waiters_than_may_be_pinned", || {
        const WAITERS: usize = 60;
        let region = tiny();
        // Each waits for a condition variable of its own in a page of its own.
        let at = |index: usize| page(&region, 2 * index).expose_provenance();
        let woken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for index in 0..WAITERS {
                let (condition, woken) = (at(index), &woken);
                let mutex = condition + 64;
                let flag = condition + 128;
                scope.spawn(move || {
                    assert_eq!(int(call!("pthread_mutex_lock", mutex)), 0);
                    // SAFETY: a word in paged memory that the mutex guards.
                    while unsafe { std::ptr::with_exposed_provenance::<u64>(flag).read_volatile() }
                        == 0
                    {
                        assert_eq!(int(call!("pthread_cond_wait", condition, mutex)), 0);
                    }
                    assert_eq!(int(call!("pthread_mutex_unlock", mutex)), 0);
                    woken.fetch_add(1, Ordering::Relaxed);
                });
            }
            std::thread::sleep(Duration::from_millis(300));
            for index in (0..WAITERS).rev() {
                assert_eq!(int(call!("pthread_mutex_lock", at(index) + 64)), 0);
                // SAFETY: as above.
                unsafe {
                    std::ptr::with_exposed_provenance_mut::<u64>(at(index) + 128).write_volatile(1)
                };
                assert_eq!(int(call!("pthread_mutex_unlock", at(index) + 64)), 0);
                assert_eq!(int(call!("pthread_cond_broadcast", at(index))), 0);
            }
        });
        assert_eq!(woken.into_inner(), WAITERS as u64);
    });
}

#[test]
fn eight_threads_of_transfers_in_sixty_four_pages() {
    alone("eight_threads_of_transfers_in_sixty_four_pages", || {
        use std::os::unix::fs::FileExt;
        let region = tiny();
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(folder.path().join("file"))
            .expect("open");
        let stop = AtomicBool::new(false);
        let rounds = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8_usize {
                let (region, file, stop, rounds) = (&region, &file, &stop, &rounds);
                scope.spawn(move || {
                    const LENGTH: usize = 100 * PAGE;
                    // SAFETY: each thread has its own part.
                    let part = unsafe {
                        std::slice::from_raw_parts_mut(region.base().add(thread * LENGTH), LENGTH)
                    };
                    while !stop.load(Ordering::Relaxed) {
                        let value = (rounds.fetch_add(1, Ordering::Relaxed) % 251) as u8;
                        part.fill(value);
                        file.write_all_at(part, (thread * LENGTH) as u64)
                            .expect("written");
                        part.fill(255);
                        file.read_exact_at(part, (thread * LENGTH) as u64)
                            .expect("read");
                        assert!(part.iter().all(|byte| *byte == value));
                    }
                });
            }
            std::thread::sleep(duration());
            stop.store(true, Ordering::Relaxed);
        });
        assert!(rounds.into_inner() > 16);
    });
}

#[test]
fn rust_locks_live_in_paged_memory_too() {
    alone("rust_locks_live_in_paged_memory_too", || {
        use std::sync::{Condvar, Mutex};
        let mut paged = Paged::small();
        let at = paged
            .room(size_of::<(Mutex<u64>, Condvar)>())
            .cast::<(Mutex<u64>, Condvar)>();
        // SAFETY: room for it, aligned to eight bytes, and it outlives the threads.
        let pair = unsafe {
            at.write((Mutex::new(0), Condvar::new()));
            &*at
        };
        paged.out();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        *pair.0.lock().expect("not poisoned") += 1;
                        pair.1.notify_all();
                    }
                });
            }
            let mut count = pair.0.lock().expect("not poisoned");
            while *count < 4000 {
                count = pair.1.wait(count).expect("not poisoned");
            }
        });
        paged.out();
    });
}

#[test]
fn a_cancelled_thread_lets_go_of_its_pins() {
    alone("a_cancelled_thread_lets_go_of_its_pins", || {
        unsafe extern "C" {
            fn pthread_cancel(thread: libc::pthread_t) -> i32;
        }
        extern "C-unwind" fn wait(pair: *mut libc::c_void) -> *mut libc::c_void {
            let condition = pair.expose_provenance();
            call!("pthread_mutex_lock", condition + 64);
            loop {
                call!("pthread_cond_wait", condition, condition + 64);
            }
        }
        type Start = extern "C" fn(*mut libc::c_void) -> *mut libc::c_void;
        let mut paged = Paged::small();
        let pair = paged.room(200);
        paged.out();
        let mut result = std::ptr::null_mut();
        // SAFETY: a thread of our own, which only waits.
        unsafe {
            let mut thread = 0;
            let start = std::mem::transmute::<
                extern "C-unwind" fn(*mut libc::c_void) -> *mut libc::c_void,
                Start,
            >(wait);
            assert_eq!(
                libc::pthread_create(&raw mut thread, std::ptr::null(), start, pair.cast()),
                0
            );
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(pthread_cancel(thread), 0);
            assert_eq!(libc::pthread_join(thread, &raw mut result), 0);
        }
        assert_eq!(result.addr(), usize::MAX, "PTHREAD_CANCELED");
        paged.out();
    });
}
