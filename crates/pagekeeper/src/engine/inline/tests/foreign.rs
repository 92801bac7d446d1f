//! A program that calls `madvise`, `mprotect` or `munmap` on managed memory: it ends, with a line that says why.

use std::os::unix::process::ExitStatusExt;

use super::*;

fn space_with_pages() -> Option<(Space, Reservation)> {
    let space = built(settings(ByteCount::mib(4), ByteCount::mib(16)))?;
    let reservation = committed(&space, ByteCount::mib(1));
    for page in 0..256 {
        write_page(&reservation, page, 1);
    }
    Some((space, reservation))
}

/// Runs a test again; it must die of SIGSEGV within the time that tests have, after saying `word`.
fn dies(test: &str, word: &str) {
    let mut program = std::process::Command::new("timeout");
    program
        .arg("20")
        .arg(std::env::current_exe().expect("a program"));
    let (status, text) = again(program, &format!("foreign::{test}"));
    if text.contains("skipped, because") {
        return println!("{text}");
    }
    let by_segv = status.signal() == Some(libc::SIGSEGV) || status.code() == Some(128 + 11);
    assert!(by_segv, "{status}: {text}");
    assert_eq!(text.matches(word).count(), 1, "{text}");
}

fn pages_of(reservation: &Reservation, first: usize) -> *mut libc::c_void {
    reservation.base().wrapping_add(first * PAGE_SIZE).cast()
}

#[test]
fn dropped_pages_are_in_page_errors_and_the_others_go_on() {
    if !is_child() {
        run_again(
            "foreign::dropped_pages_are_in_page_errors_and_the_others_go_on",
            &[],
        );
        return;
    }
    let Some((space, reservation)) = space_with_pages() else {
        return;
    };
    let losses = give_up_lost_pages(&space);
    let used = space.status().total.resident;
    // SAFETY: the test's own memory; what it held is lost.
    let result = unsafe {
        libc::madvise(
            pages_of(&reservation, 10),
            5 * PAGE_SIZE,
            libc::MADV_DONTNEED,
        )
    };
    assert_eq!(result, 0);
    for page in 0..256 {
        let dropped = (10..15).contains(&page);
        assert_eq!(is_right(&reservation, page, 1), !dropped, "page {page}");
    }
    assert_eq!(losses.count(), 5);
    assert_eq!(losses.errno(), Some(Errno::NODATA.raw_os_error()));
    assert_eq!(space.status().total.lost, 5);
    assert_eq!(space.status().total.resident, used, "frames are counted");
    for page in 0..256 {
        write_page(&reservation, page, 2);
    }
    space.trim();
    check(&reservation, 2);
}

#[test]
fn unmapped_memory_is_death_with_a_line() {
    if !is_child() {
        return dies("unmapped_memory_is_death_with_a_line", "(munmap, mremap)");
    }
    let Some((_space, reservation)) = space_with_pages() else {
        return;
    };
    // SAFETY: the test's own memory.
    unsafe { libc::munmap(pages_of(&reservation, 3), PAGE_SIZE) };
    check(&reservation, 1);
}

#[test]
fn protected_memory_is_death_with_a_line() {
    if !is_child() {
        return dies("protected_memory_is_death_with_a_line", "(mprotect)");
    }
    let Some((_space, reservation)) = space_with_pages() else {
        return;
    };
    // SAFETY: the test's own memory.
    unsafe { libc::mprotect(pages_of(&reservation, 3), PAGE_SIZE, libc::PROT_NONE) };
    check(&reservation, 1);
}

static HITS: AtomicU64 = AtomicU64::new(0);

extern "C" fn open_again(_: i32, information: *mut libc::siginfo_t, _: *mut libc::c_void) {
    HITS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the kernel's struct; the page is the test's own.
    unsafe {
        let page = (*information).si_addr() as usize & !0xFFF;
        libc::mprotect(
            page as *mut libc::c_void,
            PAGE_SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
        );
    }
}

#[test]
fn a_program_that_protects_and_catches_its_own_way_is_let_do_so() {
    if !is_child() {
        run_again(
            "foreign::a_program_that_protects_and_catches_its_own_way_is_let_do_so",
            &[],
        );
        return;
    }
    let Some((_space, reservation)) = space_with_pages() else {
        return;
    };
    // SAFETY: a handler of the right kind; the test's own memory.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = open_again as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(
            libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()),
            0
        );
        libc::mprotect(pages_of(&reservation, 3), 4 * PAGE_SIZE, libc::PROT_NONE);
    }
    check(&reservation, 1);
    assert_eq!(HITS.load(Ordering::Relaxed), 4);
}
