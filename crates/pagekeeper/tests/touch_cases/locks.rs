//! Locks in paged memory, waited for with their pages out at the beginning.

use std::time::{Duration, Instant};

use super::Case;
use crate::touch_support::{Paged, errno, int};

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut add =
        |names: &[&'static str], case: Case| all.extend(names.iter().map(|name| (*name, case)));
    add(
        &[
            "pthread_mutex_lock",
            "pthread_mutex_timedlock",
            "pthread_mutex_clocklock",
            "mtx_lock",
            "mtx_timedlock",
        ],
        MUTEX,
    );
    add(&["mtx_trylock", "mtx_unlock"], C11_MUTEX);
    add(
        &["cnd_wait", "cnd_timedwait", "cnd_signal", "cnd_broadcast"],
        C11_CONDITION,
    );
    add(&["call_once"], ONCE);
    add(
        &["pthread_mutex_trylock", "pthread_mutex_unlock"],
        MUTEX_KINDS,
    );
    add(
        &[
            "pthread_cond_wait",
            "pthread_cond_timedwait",
            "pthread_cond_clockwait",
        ],
        CONDITION,
    );
    add(
        &["pthread_cond_signal", "pthread_cond_broadcast"],
        CONDITION,
    );
    add(
        &[
            "pthread_rwlock_rdlock",
            "pthread_rwlock_timedrdlock",
            "pthread_rwlock_clockrdlock",
        ],
        RWLOCK,
    );
    add(
        &[
            "pthread_rwlock_wrlock",
            "pthread_rwlock_timedwrlock",
            "pthread_rwlock_clockwrlock",
        ],
        RWLOCK,
    );
    add(&["pthread_rwlock_unlock"], RWLOCK);
    add(&["pthread_barrier_wait"], BARRIER);
    add(&["pthread_once"], ONCE);
    add(
        &["sem_wait", "sem_timedwait", "sem_clockwait", "sem_post"],
        SEMAPHORE,
    );
    add(&["syscall"], SYSCALL);
    all
}

const WAIT: Duration = Duration::from_millis(40);

/// A moment from now on the wall clock, in paged memory; the arguments `[clock,] moment` that a function wants.
fn moment(name: &str, paged: &mut Paged, after: i64) -> Vec<usize> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let at = paged
        .value([now.as_secs() as i64 + after, 0])
        .expose_provenance();
    match name {
        _ if name.contains("_clock") => vec![0, at],
        _ if name.contains("timed") => vec![at],
        _ => vec![],
    }
}

fn with(first: usize, rest: &[usize]) -> Vec<usize> {
    [&[first], rest].concat()
}

/// Calls `name` on a thread of its own and gives back its result and how long it took.
fn on_thread(name: &str, words: Vec<usize>) -> std::thread::JoinHandle<(isize, Duration)> {
    let name = name.to_owned();
    std::thread::spawn(move || {
        let start = Instant::now();
        let result = crate::touch_support::call_words(&name, &words);
        (result, start.elapsed())
    })
}

const MUTEX: Case = |name, paged| {
    let mutex = paged.value(libc::PTHREAD_MUTEX_INITIALIZER);
    let late = moment(name, paged, 20);
    let early = moment(name, paged, -5);
    paged.out();
    assert_eq!(int(call!("pthread_mutex_lock", mutex)), 0);
    if !early.is_empty() {
        assert_eq!(
            on_thread(name, with(mutex.expose_provenance(), &early))
                .join()
                .expect("ends")
                .0 as i32,
            if name.starts_with("mtx") {
                C11_TIMED_OUT
            } else {
                libc::ETIMEDOUT
            }
        );
    }
    paged.out();
    let other = on_thread(name, with(mutex.expose_provenance(), &late));
    std::thread::sleep(WAIT);
    assert!(!other.is_finished(), "it has to wait");
    assert_eq!(int(call!("pthread_mutex_unlock", mutex)), 0);
    assert_eq!(int(other.join().expect("ends").0), 0, "{name}");
    // The other thread has it, and is gone: an ordinary mutex may be unlocked by anybody.
    assert_eq!(int(call!("pthread_mutex_trylock", mutex)), libc::EBUSY);
    assert_eq!(int(call!("pthread_mutex_unlock", mutex)), 0);
};

/// `thrd_busy` and `thrd_timedout`.
const C11_BUSY: i32 = 1;
const C11_TIMED_OUT: i32 = 4;

const C11_MUTEX: Case = |_, paged| {
    let mutex = paged.value(libc::PTHREAD_MUTEX_INITIALIZER);
    paged.out();
    assert_eq!(int(call!("mtx_trylock", mutex)), 0);
    paged.out();
    assert_eq!(int(call!("mtx_trylock", mutex)), C11_BUSY);
    let other = on_thread("mtx_lock", vec![mutex.expose_provenance()]);
    std::thread::sleep(WAIT);
    assert_eq!(int(call!("mtx_unlock", mutex)), 0);
    assert_eq!(int(other.join().expect("ends").0), 0);
    assert_eq!(int(call!("mtx_unlock", mutex)), 0);
};

const C11_CONDITION: Case = |name, paged| {
    let mutex = paged
        .value(libc::PTHREAD_MUTEX_INITIALIZER)
        .expose_provenance();
    let condition = paged
        .value(libc::PTHREAD_COND_INITIALIZER)
        .expose_provenance();
    let late = moment("timed", paged, 20)[0];
    let early = moment("timed", paged, -5)[0];
    paged.out();
    assert_eq!(int(call!("mtx_lock", mutex)), 0);
    assert_eq!(
        int(call!("cnd_timedwait", condition, mutex, early)),
        C11_TIMED_OUT
    );
    assert_eq!(int(call!("mtx_unlock", mutex)), 0);
    let waiting = if name == "cnd_timedwait" {
        name
    } else {
        "cnd_wait"
    };
    let waking = if name == "cnd_broadcast" {
        name
    } else {
        "cnd_signal"
    };
    let waiting = waiting.to_owned();
    let waiter = std::thread::spawn(move || {
        assert_eq!(int(call!("mtx_lock", mutex)), 0);
        let woken = call!(&waiting, condition, mutex, late);
        (woken, call!("mtx_unlock", mutex))
    });
    while !waiter.is_finished() {
        std::thread::sleep(WAIT / 4);
        paged.region.trim(..);
        assert_eq!(int(call!(waking, condition)), 0);
    }
    let (woken, unlocked) = waiter.join().expect("ends");
    assert_eq!((int(woken), int(unlocked)), (0, 0), "{name}");
};

const MUTEX_KINDS: Case = |_, paged| {
    // Ordinary, recursive, checked, shared between processes, priority-inheriting, robust.
    for kind in 0..6 {
        // SAFETY: attributes of our own.
        let mutex = unsafe {
            let mut attributes: libc::pthread_mutexattr_t = core::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            match kind {
                1 => libc::pthread_mutexattr_settype(
                    &raw mut attributes,
                    libc::PTHREAD_MUTEX_RECURSIVE,
                ),
                2 => libc::pthread_mutexattr_settype(
                    &raw mut attributes,
                    libc::PTHREAD_MUTEX_ERRORCHECK,
                ),
                3 => libc::pthread_mutexattr_setpshared(
                    &raw mut attributes,
                    libc::PTHREAD_PROCESS_SHARED,
                ),
                4 => libc::pthread_mutexattr_setprotocol(
                    &raw mut attributes,
                    libc::PTHREAD_PRIO_INHERIT,
                ),
                5 => libc::pthread_mutexattr_setrobust(
                    &raw mut attributes,
                    libc::PTHREAD_MUTEX_ROBUST,
                ),
                _ => 0,
            };
            let mut mutex: libc::pthread_mutex_t = core::mem::zeroed();
            libc::pthread_mutex_init(&raw mut mutex, &raw const attributes);
            paged.value(mutex)
        };
        paged.out();
        assert_eq!(int(call!("pthread_mutex_trylock", mutex)), 0, "kind {kind}");
        paged.out();
        let other = on_thread("pthread_mutex_trylock", vec![mutex.expose_provenance()]);
        assert_eq!(
            int(other.join().expect("ends").0),
            libc::EBUSY,
            "kind {kind}"
        );
        let address = mutex.expose_provenance();
        let other = std::thread::spawn(move || {
            let got = call!("pthread_mutex_lock", address);
            (got, call!("pthread_mutex_unlock", address))
        });
        std::thread::sleep(WAIT);
        assert_eq!(int(call!("pthread_mutex_unlock", mutex)), 0, "kind {kind}");
        let (locked, unlocked) = other.join().expect("ends");
        assert_eq!((int(locked), int(unlocked)), (0, 0), "kind {kind}");
    }
};

const CONDITION: Case = |name, paged| {
    let condition = paged.value(libc::PTHREAD_COND_INITIALIZER);
    let mutex = paged.value(libc::PTHREAD_MUTEX_INITIALIZER);
    let flag = paged.value(0_u32).expose_provenance();
    let late = moment(name, paged, 20);
    let early = moment(name, paged, -5);
    paged.out();
    let waits = if name.contains("wait") {
        name
    } else {
        "pthread_cond_wait"
    }
    .to_owned();
    let (condition, mutex) = (condition.expose_provenance(), mutex.expose_provenance());
    if !early.is_empty() {
        call!("pthread_mutex_lock", mutex);
        let result =
            crate::touch_support::call_words(name, &[&[condition, mutex][..], &early].concat());
        assert_eq!(int(result), libc::ETIMEDOUT, "{name}");
        call!("pthread_mutex_unlock", mutex);
        paged.out();
    }
    let other = std::thread::spawn(move || {
        call!("pthread_mutex_lock", mutex);
        // SAFETY: a word in paged memory, guarded by the mutex.
        while unsafe { core::ptr::with_exposed_provenance::<u32>(flag).read_volatile() } == 0 {
            let result = crate::touch_support::call_words(
                &waits,
                &[&[condition, mutex][..], &late].concat(),
            );
            assert_eq!(int(result), 0, "{waits}");
        }
        call!("pthread_mutex_unlock", mutex);
    });
    std::thread::sleep(WAIT);
    call!("pthread_mutex_lock", mutex);
    // SAFETY: as above.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(flag).write_volatile(1) };
    call!("pthread_mutex_unlock", mutex);
    let wakes = if name.contains("wait") {
        "pthread_cond_signal"
    } else {
        name
    };
    assert_eq!(int(call!(wakes, condition)), 0);
    other.join().expect("ends well");
};

const RWLOCK: Case = |name, paged| {
    let lock = paged
        .value(libc::PTHREAD_RWLOCK_INITIALIZER)
        .expose_provenance();
    let late = moment(name, paged, 20);
    paged.out();
    assert_eq!(int(call!("pthread_rwlock_wrlock", lock)), 0);
    paged.out();
    let takes = if name.contains("unlock") {
        "pthread_rwlock_rdlock"
    } else {
        name
    }
    .to_owned();
    let other = std::thread::spawn(move || {
        let result = crate::touch_support::call_words(&takes, &with(lock, &late));
        (result, call!("pthread_rwlock_unlock", lock))
    });
    std::thread::sleep(WAIT);
    assert_eq!(int(call!("pthread_rwlock_unlock", lock)), 0);
    let (taken, given) = other.join().expect("ends");
    assert_eq!((int(taken), int(given)), (0, 0), "{name}");
};

const BARRIER: Case = |name, paged| {
    let barrier = paged
        .room(size_of::<libc::pthread_barrier_t>())
        .expose_provenance();
    // SAFETY: room for a barrier.
    unsafe {
        libc::pthread_barrier_init(
            core::ptr::with_exposed_provenance_mut(barrier),
            core::ptr::null(),
            3,
        )
    };
    paged.out();
    let others: Vec<_> = (0..2).map(|_| on_thread(name, vec![barrier])).collect();
    std::thread::sleep(WAIT);
    let mut serial = usize::from(int(call!(name, barrier)) == libc::PTHREAD_BARRIER_SERIAL_THREAD);
    for other in others {
        serial +=
            usize::from(int(other.join().expect("ends").0) == libc::PTHREAD_BARRIER_SERIAL_THREAD);
    }
    assert_eq!(serial, 1);
};

const ONCE: Case = |name, paged| {
    static TIMES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    extern "C" fn once() {
        TIMES.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
    let control = paged.value(libc::PTHREAD_ONCE_INIT);
    paged.out();
    let before = TIMES.load(std::sync::atomic::Ordering::SeqCst);
    for _ in 0..2 {
        let result = call!(name, control, once as *const ());
        assert!(
            name == "call_once" || int(result) == 0,
            "C11's returns nothing"
        );
    }
    assert_eq!(TIMES.load(std::sync::atomic::Ordering::SeqCst), before + 1);
};

const SEMAPHORE: Case = |name, paged| {
    for shared in 0..2 {
        let semaphore = paged.room(size_of::<libc::sem_t>()).expose_provenance();
        // SAFETY: room for a semaphore.
        unsafe { libc::sem_init(core::ptr::with_exposed_provenance_mut(semaphore), shared, 1) };
        let late = moment(name, paged, 20);
        let early = moment(name, paged, -5);
        paged.out();
        let waits = if name == "sem_post" { "sem_wait" } else { name };
        assert_eq!(
            int(crate::touch_support::call_words(
                waits,
                &with(semaphore, &late)
            )),
            0,
            "it was one"
        );
        if !early.is_empty() {
            assert_eq!(
                int(crate::touch_support::call_words(
                    waits,
                    &with(semaphore, &early)
                )),
                -1
            );
            assert_eq!(errno(), libc::ETIMEDOUT);
        }
        paged.out();
        let other = on_thread(waits, with(semaphore, &late));
        std::thread::sleep(WAIT);
        assert_eq!(int(call!("sem_post", semaphore)), 0);
        assert_eq!(int(other.join().expect("ends").0), 0, "{waits}");
    }
};

const SYSCALL: Case = |name, paged| {
    let word = paged.value(5_u32).expose_provenance();
    let time = paged.value([0_i64, 20_000_000]);
    paged.out();
    let futex = libc::SYS_futex as usize;
    assert_eq!(
        int(call!(name, futex, word, libc::FUTEX_WAIT | 128, 4, time)),
        -1
    );
    assert_eq!(errno(), libc::EAGAIN, "another value");
    paged.out();
    assert_eq!(
        int(call!(name, futex, word, libc::FUTEX_WAIT | 128, 5, time)),
        -1
    );
    assert_eq!(errno(), libc::ETIMEDOUT);
    let other = on_thread(
        name,
        vec![futex, word, (libc::FUTEX_WAIT | 128) as usize, 5],
    );
    std::thread::sleep(WAIT);
    assert_eq!(int(call!(name, futex, word, libc::FUTEX_WAKE | 128, 1)), 1);
    assert_eq!(other.join().expect("ends").0, 0);
    // A number with a wrapper of its own.
    let buffer = paged.room(10_000);
    paged.out();
    assert_eq!(
        call!(name, libc::SYS_getrandom as usize, buffer, 10_000_usize, 0),
        10_000
    );
};
