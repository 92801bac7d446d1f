//! Signals and descriptors.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd};

use super::Case;
use crate::touch_support::{errno, int};

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut add =
        |names: &[&'static str], case: Case| all.extend(names.iter().map(|name| (*name, case)));
    add(&["sigaction"], ACTION);
    add(
        &[
            "signal",
            "bsd_signal",
            "ssignal",
            "sysv_signal",
            "__sysv_signal",
            "sigset",
        ],
        SIMPLE,
    );
    add(
        &["sighold", "sigrelse", "sigignore", "siginterrupt"],
        SYSTEM_V,
    );
    add(&["sigprocmask", "pthread_sigmask"], MASK);
    add(
        &[
            "sigpending",
            "sigsuspend",
            "sigwait",
            "sigwaitinfo",
            "sigtimedwait",
            "signalfd",
        ],
        WAITING,
    );
    add(&["sigaltstack"], STACK);
    add(
        &["close", "close_range", "closefrom", "dup2", "dup3"],
        DESCRIPTORS,
    );
    add(&["fcntl", "fcntl64"], FCNTL);
    add(&["ioctl"], IOCTL);
    all
}

static CAUGHT: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

extern "C" fn handler(number: i32) {
    CAUGHT.store(number, std::sync::atomic::Ordering::SeqCst);
}

fn caught_after_raising(number: i32) -> bool {
    CAUGHT.store(0, std::sync::atomic::Ordering::SeqCst);
    // SAFETY: there is a handler.
    unsafe { libc::raise(number) };
    CAUGHT.load(std::sync::atomic::Ordering::SeqCst) == number
}

/// Runs a case on a thread of its own, whose mask may change.
fn alone(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(run).join().expect("the case passes"));
}

const ACTION: Case = |name, paged| {
    for number in [libc::SIGUSR1, libc::SIGBUS] {
        // SAFETY: plain words.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: a set of our own.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, libc::SIGBUS) };
        let new = paged.value(action);
        let old = paged.value(action);
        paged.out();
        assert_eq!(int(call!(name, number, new, old)), 0);
        assert_ne!(paged.get(old).sa_sigaction, action.sa_sigaction);
        assert!(caught_after_raising(number), "{number}");
        let seen = paged.value(action);
        paged.out();
        assert_eq!(int(call!(name, number, old, seen)), 0);
        assert_eq!(paged.get(seen).sa_sigaction, action.sa_sigaction);
        assert_eq!(
            paged.get(seen).sa_flags & libc::SA_RESTART,
            libc::SA_RESTART
        );
        // SAFETY: a set.
        let mask = paged.get(seen).sa_mask;
        // SAFETY: a set.
        let is_member = unsafe { libc::sigismember(&raw const mask, libc::SIGBUS) };
        assert_eq!(is_member, 1, "as it was set");
    }
    assert_eq!(
        (int(call!(name, 33, 0_usize, 0_usize)), errno()),
        (-1, libc::EINVAL),
        "libc's own"
    );
};

const SIMPLE: Case = |name, _| {
    let ours = handler as *const () as isize;
    for number in [libc::SIGUSR2, libc::SIGBUS] {
        let before = call!(name, number, handler as *const ());
        assert!(before != ours && before != -1, "{name}");
        assert!(caught_after_raising(number));
        let now = call!("signal", number, before as usize);
        // One-shot handlers are gone.
        assert_eq!(now, if name.contains("sysv") { 0 } else { ours }, "{name}");
    }
};

const SYSTEM_V: Case = |name, _| {
    alone(|| {
        let mut mask = [0_u64; 16];
        match name {
            "sighold" | "sigrelse" => {
                assert_eq!(int(call!("sighold", libc::SIGSEGV)), 0);
                call!("pthread_sigmask", 0, 0_usize, mask.as_mut_ptr());
                assert_eq!(mask[0], 1 << (libc::SIGSEGV - 1));
                assert_eq!(int(call!("sigrelse", libc::SIGSEGV)), 0);
                call!("pthread_sigmask", 0, 0_usize, mask.as_mut_ptr());
                assert_eq!(mask[0], 0);
            }
            "sigignore" => {
                assert_eq!(int(call!(name, libc::SIGUSR2)), 0);
                assert_eq!(call!("signal", libc::SIGUSR2, 0_usize), 1);
            }
            _ => assert_eq!(int(call!(name, libc::SIGUSR2, 1)), 0),
        }
    });
};

const MASK: Case = |name, paged| {
    let all = paged.value([u64::MAX; 16]).expose_provenance();
    let old = paged.value([7_u64; 16]).expose_provenance();
    let touched = paged.room(100_000).expose_provenance();
    paged.out();
    let paged = &*paged;
    alone(move || {
        assert_eq!(int(call!(name, libc::SIG_SETMASK, all, old)), 0);
        // Everything is blocked, and the thread pages all the same.
        for at in (0..100_000).step_by(4096) {
            // SAFETY: room in paged memory.
            unsafe { core::ptr::with_exposed_provenance_mut::<u8>(touched + at).write_volatile(1) };
        }
        let before: [u64; 16] = paged.get(core::ptr::with_exposed_provenance(old));
        assert_eq!(before[0], 0, "nothing was blocked before");
        assert_eq!(int(call!(name, libc::SIG_BLOCK, 0_usize, old)), 0);
        let now: [u64; 16] = paged.get(core::ptr::with_exposed_provenance(old));
        assert_eq!(
            now[0] & 0x7FFF_FFFF & !(1 << 8 | 1 << 18),
            0x7FFF_FFFF & !(1 << 8 | 1 << 18),
            "all but KILL and STOP"
        );
        let wrong = int(call!(name, 99, all, old));
        assert!(wrong == libc::EINVAL || wrong == -1 && errno() == libc::EINVAL);
    });
};

const WAITING: Case = |name, paged| {
    let set = paged
        .value([
            1_u64 << (libc::SIGUSR1 - 1),
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ])
        .expose_provenance();
    let none = paged.value([0_u64; 16]).expose_provenance();
    let answer = paged.value([0_i32; 32]).expose_provenance();
    let time = paged.value([5_i64, 0]).expose_provenance();
    paged.out();
    let paged = &*paged;
    alone(move || {
        let first = || paged.get::<i32>(core::ptr::with_exposed_provenance(answer));
        assert_eq!(
            int(call!("pthread_sigmask", libc::SIG_BLOCK, set, 0_usize)),
            0
        );
        // SAFETY: a handler of ours.
        let before = unsafe { libc::signal(libc::SIGUSR1, handler as *const () as usize) };
        // SAFETY: blocked, so it waits.
        unsafe { libc::raise(libc::SIGUSR1) };
        match name {
            "sigpending" => {
                assert_eq!(int(call!(name, answer)), 0);
                assert_eq!(first(), 1 << (libc::SIGUSR1 - 1));
                call!("sigsuspend", none);
            }
            "sigsuspend" => {
                assert_eq!((int(call!(name, none)), errno()), (-1, libc::EINTR));
            }
            "sigwait" => {
                assert_eq!(int(call!(name, set, answer)), 0);
                assert_eq!(first(), libc::SIGUSR1);
            }
            "signalfd" => {
                let descriptor = int(call!(name, -1, set, libc::SFD_CLOEXEC));
                let mut information = [0_u32; 32];
                // SAFETY: room for one information.
                let got = unsafe { libc::read(descriptor, (&raw mut information).cast(), 128) };
                assert_eq!((got, information[0]), (128, libc::SIGUSR1 as u32));
                // SAFETY: ours.
                unsafe { libc::close(descriptor) };
            }
            _ => {
                assert_eq!(int(call!(name, set, answer, time)), libc::SIGUSR1);
                assert_eq!(first(), libc::SIGUSR1);
            }
        }
        // SAFETY: as it was.
        unsafe { libc::signal(libc::SIGUSR1, before) };
    });
};

const STACK: Case = |name, paged| {
    let old = paged.value([1_usize; 3]).expose_provenance();
    paged.out();
    alone(|| assert_eq!(int(call!(name, 0_usize, old)), 0));
    assert_eq!(
        paged.get::<[usize; 3]>(core::ptr::with_exposed_provenance(old))[1] as u32 & 1,
        0
    );
};

const DESCRIPTORS: Case = |name, paged| {
    // Closing everything is for processes of their own (kernel_touch_descriptors.rs); here a number far up.
    let file = File::open("/dev/null").expect("open");
    // SAFETY: a number that is free.
    let number = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 20_000) };
    let number = if number < 0 {
        file.try_clone().expect("a number").into_raw_fd()
    } else {
        number
    };
    paged.out();
    match name {
        "close" => assert_eq!(int(call!(name, number)), 0),
        "close_range" => assert_eq!(int(call!(name, number, number, 0)), 0),
        "closefrom" if number >= 20_000 => drop(call!(name, number)),
        "closefrom" => assert_eq!(int(call!("close", number)), 0),
        "dup2" => assert_eq!(int(call!(name, file.as_raw_fd(), number)), number),
        _ => assert_eq!(
            int(call!(name, file.as_raw_fd(), number, libc::O_CLOEXEC)),
            number
        ),
    }
    if name.starts_with("dup") {
        assert_eq!(int(call!("close", number)), 0);
    }
    assert_eq!((int(call!("close", number)), errno()), (-1, libc::EBADF));
};

const FCNTL: Case = |name, paged| {
    let folder = super::folder();
    let file = File::create_new(folder.path().join("file")).expect("open");
    // SAFETY: plain words.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as i16;
    let lock = paged.value(lock);
    paged.out();
    assert_eq!(
        int(call!(name, file.as_raw_fd(), libc::F_SETLK, lock)),
        0,
        "{}",
        errno()
    );
    paged.out();
    assert_eq!(int(call!(name, file.as_raw_fd(), libc::F_GETLK, lock)), 0);
    assert_eq!(
        paged.get(lock).l_type,
        libc::F_UNLCK as i16,
        "nobody else has it"
    );
};

const IOCTL: Case = |name, paged| {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut &writer, b"seven..").expect("written");
    let count = paged.value(0_i32);
    paged.out();
    assert_eq!(
        int(call!(
            name,
            reader.as_raw_fd(),
            libc::FIONREAD as usize,
            count
        )),
        0
    );
    assert_eq!(paged.get(count), 7);
    drop(writer);
};
