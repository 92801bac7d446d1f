//! System calls as the kernel sees them, not as the engine counts them.
//!
//! A seccomp filter lets every system call of the test's thread end in a signal instead; the handler counts it and makes it
//! again with a mark in its sixth argument, which the filter lets pass and the kernel does not look at. That needs no
//! privilege and no tracer. Calls that do use six arguments (`mmap`, `futex`) pass uncounted.

use core::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{Reservation, Space};
use pagekeeper_units::ByteCount;

/// In the sixth argument of a call that has been counted.
const MARK: u32 = 0x7061_6765;
const CALLS: usize = 512;

static COUNTS: [AtomicU64; CALLS] = [const { AtomicU64::new(0) }; CALLS];

extern "C" fn count(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: The kernel gives the handler the registers that the call was made with, and takes its result from there.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let register = |index: i32| registers[index as usize];
        let number = register(libc::REG_RAX);
        if let Some(count) = COUNTS.get(number as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let result: i64;
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") register(libc::REG_RDI),
            in("rsi") register(libc::REG_RSI),
            in("rdx") register(libc::REG_RDX),
            in("r10") register(libc::REG_R10),
            in("r8") register(libc::REG_R8),
            in("r9") i64::from(MARK),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
        registers[libc::REG_RAX as usize] = result;
    }
}

/// From now on every call of this thread is counted. Says why not where that is refused.
fn count_from_now_on() -> Result<(), String> {
    let jump = |code: u32, word: u32, if_true: u8, if_false: u8| libc::sock_filter {
        code: code as u16,
        jt: if_true,
        jf: if_false,
        k: word,
    };
    let load = |offset| jump(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let is = |word, if_true| {
        jump(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            word,
            if_true,
            0,
        )
    };
    let answer = |word| jump(libc::BPF_RET | libc::BPF_K, word, 0, 0);
    let passing = [
        libc::SYS_rt_sigreturn,
        libc::SYS_mmap,
        libc::SYS_futex,
        libc::SYS_exit_group,
    ];
    let mut filter = vec![load(0)];
    for (index, call) in passing.into_iter().enumerate() {
        let to_allow = passing.len() - index - 1 + 2 + 1;
        filter.push(is(call as u32, to_allow as u8));
    }
    filter.extend([
        load(16 + 5 * 8),
        is(MARK, 1),
        answer(libc::SECCOMP_RET_TRAP),
        answer(libc::SECCOMP_RET_ALLOW),
    ]);
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: The kernel reads structs of ours; the handler only counts and repeats.
    let result = unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        libc::sigaction(libc::SIGSYS, &raw const action, core::ptr::null_mut());
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().to_string()),
    }
}

/// Calls so far: `madvise`, and all.
fn counted() -> (u64, u64) {
    let all = COUNTS.iter().map(|count| count.load(Ordering::Relaxed));
    let advice = COUNTS[libc::SYS_madvise as usize].load(Ordering::Relaxed);
    (advice, all.sum())
}

fn alternate(reservation: &Reservation, count: u64) {
    for index in 0..count {
        let start = index * 8192;
        reservation
            .commit(start..start + 1, Protection::READ_WRITE)
            .expect("commit");
    }
}

fn costs_at_most_a_call_each(test: &str, anonymous_share: u8) {
    let ended = in_child(test, || {
        let space = Space::builder()
            .ram(ByteCount::gib(1))
            .anonymous_share(anonymous_share)
            .page_file([folder()])
            .page_file_maximum(ByteCount::gib(1))
            .build()
            .expect("a space");
        let reserve = || space.reserve(ByteCount::gib(1)).build().expect("room");
        // The engine's threads are started without a filter.
        alternate(&reserve(), 1);
        let reservation = reserve();
        if let Err(reason) = count_from_now_on() {
            return println!("skipped, because a filter is refused: {reason}");
        }
        let count = 20_000;
        let (advice_before, all_before) = counted();
        alternate(&reservation, count);
        let (advice, all) = counted();
        println!(
            "commits: {count}, madvise: {}, all: {}",
            advice - advice_before,
            all - all_before
        );
        let pieces = count / 256 + 1;
        // A piece is opened by a few calls more: space in the file, treatment, access.
        assert!(advice - advice_before <= count + 2 * pieces);
        assert!(all - all_before <= count + 8 * pieces);
        drop(reservation);
        let released = counted().1 - all;
        println!("release: {released}");
        assert!(released <= 8 * pieces, "fewer calls than pages");
    });
    println!("{}", ended.output);
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
}

#[test]
fn alternating_commits_of_ordinary_memory() {
    costs_at_most_a_call_each("system_calls::alternating_commits_of_ordinary_memory", 100);
}

#[test]
fn alternating_commits_in_the_page_file() {
    costs_at_most_a_call_each("system_calls::alternating_commits_in_the_page_file", 0);
}
