//! Signals and descriptors in processes of their own: other people's handlers, threads with everything blocked, closing
//! and replacing every descriptor while pages go out and in.

#![allow(unsafe_code, reason = "UNSAFETY: signal handlers, memory by address")]

mod support;
#[macro_use]
mod touch_support;

use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::alone;
use touch_support::{PAGE, Paged, int};

static SEEN: AtomicUsize = AtomicUsize::new(0);
static SEEN_STACK: AtomicUsize = AtomicUsize::new(0);

/// Notes the address and lets the page be used.
extern "C" fn mend(_: i32, information: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let here = 0_u8;
    // SAFETY: the kernel's information; the address is in memory of ours that is protected.
    unsafe {
        let address = (*information).si_addr().addr();
        SEEN.store(address, Ordering::SeqCst);
        SEEN_STACK.store((&raw const here).addr(), Ordering::SeqCst);
        libc::mprotect(
            std::ptr::with_exposed_provenance_mut(address & !(PAGE - 1)),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
        );
    }
}

/// A page of ordinary memory that may not be touched.
fn forbidden_page() -> *mut u8 {
    // SAFETY: a new mapping.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(at, libc::MAP_FAILED);
    let at = at.cast::<u8>();
    at.expose_provenance();
    at
}

fn install(flags: i32) {
    // SAFETY: a handler fit to be one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = mend as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | flags;
        libc::sigaddset(&raw mut action.sa_mask, libc::SIGUSR1);
        assert_eq!(
            libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()),
            0
        );
    }
}

/// Pages go out and come in again, and nothing of it reaches the program's handler.
fn page_about(paged: &mut Paged) {
    paged.reset();
    let bytes = vec![0x5A; 200_000];
    let at = paged.bytes(&bytes);
    paged.out();
    SEEN.store(0, Ordering::SeqCst);
    assert!(paged.slice(at, bytes.len()) == bytes);
    assert_eq!(
        SEEN.load(Ordering::SeqCst),
        0,
        "the handler saw a fault of ours"
    );
}

/// A fault of the program's own reaches its handler, with its address.
fn fault_of_its_own() {
    let page = forbidden_page();
    // SAFETY: the handler makes it writable.
    unsafe { page.add(123).write_volatile(1) };
    assert_eq!(SEEN.load(Ordering::SeqCst), page.addr() + 123);
}

#[test]
fn handlers_from_before_and_after_run_for_their_own_faults() {
    alone(
        "handlers_from_before_and_after_run_for_their_own_faults",
        || {
            install(0);
            fault_of_its_own();
            let mut paged = Paged::small();
            page_about(&mut paged);
            fault_of_its_own();
            // Another one, after ours, on the alternate stack that Rust gave this thread.
            install(libc::SA_ONSTACK);
            page_about(&mut paged);
            fault_of_its_own();
            // SAFETY: asks.
            let stack = unsafe {
                let mut stack: libc::stack_t = std::mem::zeroed();
                libc::sigaltstack(std::ptr::null(), &raw mut stack);
                stack
            };
            let lowest = stack.ss_sp.addr();
            assert!(
                (lowest..lowest + stack.ss_size).contains(&SEEN_STACK.load(Ordering::SeqCst)),
                "on its own stack"
            );
            page_about(&mut paged);
        },
    );
}

#[test]
fn a_one_shot_handler_runs_once_and_then_the_process_dies() {
    let name = "a_one_shot_handler_runs_once_and_then_the_process_dies";
    if !support::inline_works() {
        return;
    }
    if support::is_child() {
        let mut paged = Paged::small();
        install(libc::SA_RESETHAND);
        page_about(&mut paged);
        fault_of_its_own();
        page_about(&mut paged);
        println!("once");
        fault_of_its_own();
        println!("twice");
        return;
    }
    let (status, text) = support::in_child(pagekeeper::EngineKind::Inline, name);
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
    assert!(text.contains("once") && !text.contains("twice"), "{text}");
}

#[test]
fn a_thread_with_every_signal_blocked_pages() {
    alone("a_thread_with_every_signal_blocked_pages", || {
        let mut paged = Paged::small();
        // SAFETY: a full set for this thread.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            assert_eq!(
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()),
                0
            );
            page_about(&mut paged);
            let mut seen: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut seen);
            assert_eq!(
                libc::sigismember(&raw const seen, libc::SIGBUS),
                1,
                "the program sees what it set"
            );
        }
        // A thread that inherits the mask.
        std::thread::scope(|scope| {
            scope
                .spawn(|| page_about(&mut paged))
                .join()
                .expect("it pages too")
        });
    });
}

/// A region larger than its budget, full of noise, so that the page file and the ring are in use.
fn in_use() -> Paged {
    let paged = Paged::new(
        pagekeeper::ByteCount::mib(2),
        pagekeeper::ByteCount::mib(16),
    );
    write(&paged, 1);
    paged
}

fn write(paged: &Paged, salt: u64) {
    for index in 0..4096 {
        support::write_page(&paged.region, index, salt);
    }
}

fn check(paged: &Paged, salt: u64) {
    for index in 0..4096 {
        support::check_page(&paged.region, index, salt);
    }
}

#[test]
fn closing_everything_loses_nothing() {
    alone("closing_everything_loses_nothing", || {
        let paged = in_use();
        std::thread::scope(|scope| {
            // In the middle of it.
            let worker = scope.spawn(|| {
                for salt in 2..5 {
                    write(&paged, salt);
                    check(&paged, salt);
                }
            });
            while !worker.is_finished() {
                // SAFETY: nothing of this test is open.
                assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
            worker.join().expect("no byte lost");
        });
        check(&paged, 4);
    });
}

#[test]
fn closing_everything_past_us_loses_nothing() {
    alone("closing_everything_past_us_loses_nothing", || {
        let paged = in_use();
        for salt in 2..8 {
            // As bare as can be.
            // SAFETY: nothing of this test is open.
            unsafe {
                let result: isize;
                std::arch::asm!(
                    "syscall",
                    inlateout("rax") libc::SYS_close_range as isize => result,
                    in("rdi") 3,
                    in("rsi") u32::MAX as usize,
                    in("rdx") 0,
                    out("rcx") _,
                    out("r11") _,
                );
                assert_eq!(result, 0);
            }
            check(&paged, salt - 1);
            write(&paged, salt);
        }
        check(&paged, 7);
    });
}

/// The numbers that are open now, but for the standard ones.
fn open_numbers() -> Vec<i32> {
    (3..20_000)
        .chain(1_048_000..1_048_576)
        // SAFETY: asks for flags.
        .filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } != -1)
        .collect()
}

#[test]
fn replacing_our_descriptors_loses_nothing_on_either_side() {
    alone(
        "replacing_our_descriptors_loses_nothing_on_either_side",
        || {
            let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
            let path = folder.path().join("the program's own");
            std::fs::write(&path, vec![b'-'; 1 << 20]).expect("written");
            let file = std::fs::File::options()
                .read(true)
                .write(true)
                .open(&path)
                .expect("open");
            let paged = in_use();
            let stop = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|scope| {
                let worker = scope.spawn(|| {
                    let mut salt = 2;
                    while !stop.load(Ordering::Relaxed) {
                        write(&paged, salt);
                        check(&paged, salt);
                        salt += 1;
                    }
                    salt - 1
                });
                let open = open_numbers();
                assert!(open.len() >= 4, "ours are among them: {open:?}");
                for _ in 0..20 {
                    for number in open_numbers() {
                        if number != file.as_raw_fd() {
                            let name = if number % 2 == 0 { "dup2" } else { "dup3" };
                            assert_eq!(
                                int(call!(name, file.as_raw_fd(), number, libc::O_CLOEXEC)),
                                number
                            );
                        }
                    }
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    for number in open_numbers() {
                        if number != file.as_raw_fd() {
                            call!("close", number);
                        }
                    }
                }
                stop.store(true, Ordering::Relaxed);
                let salt = worker.join().expect("no byte lost");
                check(&paged, salt);
            });
            let after = std::fs::read(&path).expect("there");
            assert!(
                after.len() == 1 << 20 && after.iter().all(|byte| *byte == b'-'),
                "pages went into the program's file"
            );
        },
    );
}

#[test]
fn users_and_groups_may_change_while_a_space_lives() {
    alone("users_and_groups_may_change_while_a_space_lives", || {
        let mut paged = Paged::small();
        // libc stops every thread for this, ours included.
        // SAFETY: to what it is.
        unsafe { assert_eq!(libc::setuid(libc::getuid()), 0) };
        page_about(&mut paged);
    });
}
