//! Small questions to the kernel.

use std::process::Command;

use super::Case;

use crate::touch_support::{errno, int};

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut add =
        |names: &[&'static str], case: Case| all.extend(names.iter().map(|name| (*name, case)));
    add(&["nanosleep", "clock_nanosleep"], SLEEP);
    add(
        &[
            "clock_gettime",
            "clock_getres",
            "gettimeofday",
            "time",
            "times",
            "adjtimex",
        ],
        TIME,
    );
    add(&["clock_settime", "settimeofday"], SET_TIME);
    add(
        &[
            "getitimer",
            "setitimer",
            "timer_settime",
            "timer_gettime",
            "timerfd_settime",
            "timerfd_gettime",
        ],
        TIMER,
    );
    add(
        &[
            "getrusage",
            "uname",
            "sysinfo",
            "getrlimit",
            "getrlimit64",
            "prlimit",
            "prlimit64",
        ],
        ASK,
    );
    add(&["setrlimit", "setrlimit64"], LIMIT);
    add(
        &["getgroups", "setgroups", "getresuid", "getresgid"],
        GROUPS,
    );
    add(&["wait", "waitpid", "wait3", "wait4", "waitid"], WAIT);
    add(
        &[
            "sched_setparam",
            "sched_getparam",
            "sched_setscheduler",
            "sched_rr_get_interval",
        ],
        SCHEDULE,
    );
    add(
        &["sched_setaffinity", "sched_getaffinity", "getcpu"],
        PROCESSORS,
    );
    add(&["gethostname", "sethostname", "getdomainname"], NAMES);
    add(&["getentropy", "getrandom"], RANDOM);
    all
}

const SLEEP: Case = |name, paged| {
    let time = paged.value([0_i64, 1_000_000]);
    let rest = paged.value([7_i64, 7]);
    paged.out();
    let begin = std::time::Instant::now();
    let result = if name == "nanosleep" {
        call!(name, time, rest)
    } else {
        call!(name, 1, 0, time, rest)
    };
    assert_eq!(int(result), 0);
    assert!(begin.elapsed().as_micros() >= 1000);
    assert_eq!(paged.get(rest), [7, 7], "nothing was left");
    // A time that is none: an error number, returned or in errno.
    let wrong = paged.value([0_i64, -1]);
    paged.out();
    if name == "nanosleep" {
        assert_eq!((int(call!(name, wrong, rest)), errno()), (-1, libc::EINVAL));
    } else {
        assert_eq!(int(call!(name, 1, 0, wrong, rest)), libc::EINVAL);
    }
};

const TIME: Case = |name, paged| {
    let at = paged.room(512).cast::<i64>();
    paged.out();
    let result = match name {
        "clock_gettime" | "clock_getres" => call!(name, 0, at),
        "gettimeofday" => call!(name, at, 0_usize),
        _ => call!(name, at),
    };
    assert!(result >= 0, "{name}: {}", errno());
    match name {
        "clock_getres" => assert_eq!(paged.get(at), 0),
        "times" | "adjtimex" => {}
        _ => assert!(paged.get(at) > 1_600_000_000),
    }
};

const SET_TIME: Case = |name, paged| {
    // Never changes the clock: the nanoseconds are none.
    let at = paged.value([0_i64, -5]);
    paged.out();
    let result = if name == "clock_settime" {
        call!(name, 0, at)
    } else {
        call!(name, at, 0_usize)
    };
    assert_eq!(int(result), -1);
    assert!(
        matches!(errno(), libc::EINVAL | libc::EPERM),
        "{name}: {}",
        errno()
    );
};

const TIMER: Case = |name, paged| {
    let new = paged.value([0_i64, 0, 1000, 0]);
    let old = paged.value([-1_i64; 4]);
    paged.out();
    // SAFETY: timers of our own, disarmed at the end.
    unsafe {
        let mut timer: libc::timer_t = core::ptr::null_mut();
        let mut event: libc::sigevent = core::mem::zeroed();
        event.sigev_notify = libc::SIGEV_NONE;
        assert_eq!(
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer),
            0
        );
        let descriptor = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC);
        let result = match name {
            "getitimer" => call!(name, libc::ITIMER_REAL, old),
            "setitimer" => call!(name, libc::ITIMER_REAL, new, old),
            "timer_settime" => call!(name, timer, 0, new, old),
            "timer_gettime" => call!(name, timer, old),
            "timerfd_settime" => call!(name, descriptor, 0, new, old),
            _ => call!(name, descriptor, old),
        };
        assert_eq!(int(result), 0, "{name}: {}", errno());
        assert_eq!(paged.get(old), [0; 4]);
        if name == "setitimer" {
            libc::setitimer(
                libc::ITIMER_REAL,
                &core::mem::zeroed(),
                core::ptr::null_mut(),
            );
        }
        libc::timer_delete(timer);
        libc::close(descriptor);
    }
};

const ASK: Case = |name, paged| {
    let at = paged.room(1024).cast::<u64>();
    paged.out();
    let result = match name {
        "getrusage" => call!(name, 0, at),
        "uname" | "sysinfo" => call!(name, at),
        "prlimit" | "prlimit64" => call!(name, 0, libc::RLIMIT_NOFILE as usize, 0_usize, at),
        _ => call!(name, libc::RLIMIT_NOFILE as usize, at),
    };
    assert_eq!(int(result), 0, "{name}: {}", errno());
    let bytes = paged.slice(at.cast(), 16);
    assert!(bytes.iter().any(|byte| *byte != 0) || name == "getrusage");
};

const LIMIT: Case = |name, paged| {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: fills the struct.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut now) };
    let at = paged.value([now.rlim_cur, now.rlim_max]);
    paged.out();
    assert_eq!(int(call!(name, libc::RLIMIT_CORE as usize, at)), 0);
};

const GROUPS: Case = |name, paged| {
    let at = paged.value([0xAAAA_AAAA_u32; 64]);
    let (second, third) = (paged.value(9_999_u32), paged.value(9_999_u32));
    paged.out();
    match name {
        "getgroups" => assert!(int(call!(name, 64, at)) >= 0, "{}", errno()),
        "setgroups" => {
            // More than the kernel takes: refused whoever we are.
            assert_eq!(int(call!(name, 65_537_usize, at)), -1);
            assert!(matches!(errno(), libc::EPERM | libc::EINVAL));
        }
        _ => {
            assert_eq!(int(call!(name, at, second, third)), 0);
            assert_ne!(paged.get(third), 9_999);
        }
    }
};

const WAIT: Case = |name, paged| {
    #[expect(clippy::zombie_processes, reason = "the call under test waits for it")]
    let child = Command::new("/bin/sh")
        .args(["-c", "exit 3"])
        .spawn()
        .expect("a shell");
    let id = child.id() as usize;
    let status = paged.value([-1_i32; 40]);
    let usage = paged.value([-1_i64; 20]);
    paged.out();
    let result = match name {
        "wait" => call!(name, status),
        "waitpid" => call!(name, id, status, 0),
        "wait3" => call!(name, status, 0, usage),
        "wait4" => call!(name, id, status, 0, usage),
        _ => call!(name, libc::P_PID as usize, id, status, libc::WEXITED),
    };
    if name == "waitid" {
        assert_eq!(int(result), 0);
        assert_eq!(paged.get(status)[6], 3, "si_status");
    } else {
        assert_eq!(int(result) as usize, id);
        assert_eq!(paged.get(status)[0], 3 << 8);
    }
};

const SCHEDULE: Case = |name, paged| {
    let parameters = paged.value([0_i32; 4]);
    paged.out();
    let result = match name {
        "sched_setscheduler" => call!(name, 0, libc::SCHED_OTHER, parameters),
        _ => call!(name, 0, parameters),
    };
    assert_eq!(int(result), 0, "{name}: {}", errno());
};

const PROCESSORS: Case = |name, paged| {
    // SAFETY: fills the set.
    let mut now: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::sched_getaffinity(0, size_of_val(&now), &raw mut now) };
    let set = paged.value(now);
    let (processor, node) = (paged.value(7_777_u32), paged.value(7_777_u32));
    paged.out();
    let result = match name {
        "getcpu" => call!(name, processor, node),
        _ => call!(name, 0, size_of::<libc::cpu_set_t>(), set),
    };
    assert!(int(result) >= 0, "{name}: {}", errno());
    assert!(name != "getcpu" || paged.get(node) != 7_777);
};

const NAMES: Case = |name, paged| {
    let at = paged.room(300);
    paged.out();
    if name == "sethostname" {
        // Too long for the kernel: refused whoever we are.
        assert_eq!(int(call!(name, at, 300_usize)), -1);
        assert!(matches!(errno(), libc::EPERM | libc::EINVAL));
    } else {
        assert_eq!(int(call!(name, at, 300_usize)), 0);
        assert_ne!(paged.get(at), 0);
    }
};

const RANDOM: Case = |name, paged| {
    let size = if name == "getentropy" { 256 } else { 100_000 };
    let at = paged.room(size);
    paged.out();
    let result = call!(name, at, size, 0);
    assert!(result == size as isize || result == 0);
    let bytes = paged.slice(at, size);
    assert!(
        bytes[..size / 2].iter().any(|byte| *byte != 0)
            && bytes[size - 16..].iter().any(|byte| *byte != 0)
    );
};
