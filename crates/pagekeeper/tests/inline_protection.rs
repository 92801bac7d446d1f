//! The inline engine: protections, guard pages, and accesses that are really wrong.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pagekeeper::{
    Access, ByteCount, EngineKind, ExceptionKind, Handled, Protection, RegionState, Space,
};
use support::{
    PAGE, check_page, committed, in_child, inline_works, is_child, space, words, write_page,
};

fn small() -> Space {
    space(EngineKind::Inline, ByteCount::mib(1))
}

const fn page(index: u64) -> core::ops::Range<u64> {
    index * PAGE as u64..(index + 1) * PAGE as u64
}

#[test]
fn reserve_catch_the_fault_commit_go_on() {
    if !inline_works() {
        return;
    }
    let space = small();
    let reservation = space
        .reserve(ByteCount::gib(16))
        .build()
        .expect("address space");
    let faults = Arc::new(AtomicU64::new(0));
    let (counter, by_fault) = (faults.clone(), space.clone());
    space.on_exception(move |exception| {
        if exception.kind != ExceptionKind::AccessViolation {
            return Handled::Pass;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        // Allocates, takes the space lock, faults: all allowed here.
        let text = format!("commit {:#x}", exception.address);
        assert!(!text.is_empty());
        match by_fault.commit_at(exception.address, 1, Protection::READ_WRITE) {
            Ok(()) => Handled::Retry,
            Err(_) => Handled::Pass,
        }
    });
    // A sparse spreadsheet.
    for cell in 0..1000_u64 {
        let at = reservation
            .base()
            .wrapping_add((cell * 16_000_000) as usize)
            .cast::<u64>();
        // SAFETY: inside the reservation; the callback commits what is touched.
        unsafe { at.write_volatile(cell + 1) };
    }
    for cell in 0..1000_u64 {
        let at = reservation
            .base()
            .wrapping_add((cell * 16_000_000) as usize)
            .cast::<u64>();
        // SAFETY: as above.
        assert_eq!(unsafe { at.read_volatile() }, cell + 1);
    }
    assert!(faults.load(Ordering::Relaxed) >= 999);
}

#[test]
fn a_guard_page_fires_once_and_keeps_its_contents() {
    if !inline_works() {
        return;
    }
    let space = small();
    let reservation = committed(&space, ByteCount::kib(64));
    for index in 0..16 {
        write_page(&reservation, index, 1);
    }
    let old = reservation
        .protect(
            page(3).start..page(5).end,
            Protection::READ_WRITE.with_guard(),
        )
        .expect("committed");
    assert_eq!(old, Protection::READ_WRITE);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = seen.clone();
    space.on_exception(move |exception| {
        list.lock().expect("not poisoned").push(*exception);
        Handled::Retry
    });
    check_page(&reservation, 3, 1);
    check_page(&reservation, 3, 1);
    words(&reservation, 5)[0] = 7;
    {
        let seen = seen.lock().expect("not poisoned");
        assert_eq!(seen.len(), 2, "one each: {seen:?}");
        assert!(
            seen.iter()
                .all(|exception| exception.kind == ExceptionKind::GuardPage)
        );
        assert_eq!(seen[1].access, Access::Write);
        assert_eq!(seen[1].address, reservation.base() as u64 + 5 * PAGE as u64);
    }
    let still = reservation.query(4 * PAGE as u64).expect("committed");
    assert_eq!(
        still.state,
        RegionState::Committed(Protection::READ_WRITE.with_guard())
    );
    let gone = reservation.query(3 * PAGE as u64).expect("committed");
    assert_eq!(gone.state, RegionState::Committed(Protection::READ_WRITE));
}

#[test]
fn contents_survive_every_protection_and_writes_are_refused() {
    if !inline_works() {
        return;
    }
    let space = small();
    let reservation = committed(&space, ByteCount::mib(4));
    for index in 0..1024 {
        write_page(&reservation, index, 2);
    }
    let (violations, by_fault) = (Arc::new(AtomicU64::new(0)), space.clone());
    let counter = violations.clone();
    space.on_exception(move |exception| {
        counter.fetch_add(1, Ordering::Relaxed);
        let mended = by_fault.protect_at(exception.address, 1, Protection::READ_WRITE);
        if mended.is_ok() {
            Handled::Retry
        } else {
            Handled::Pass
        }
    });
    reservation
        .protect(.., Protection::READ_ONLY)
        .expect("committed");
    for index in 0..1024 {
        check_page(&reservation, index, 2);
    }
    assert_eq!(violations.load(Ordering::Relaxed), 0, "reading is allowed");
    words(&reservation, 1000)[0] ^= 1;
    words(&reservation, 1000)[0] ^= 1;
    assert_eq!(
        violations.load(Ordering::Relaxed),
        1,
        "the first write was refused"
    );
    reservation
        .protect(.., Protection::NO_ACCESS)
        .expect("committed");
    reservation
        .protect(page(7), Protection::READ_WRITE)
        .expect("committed");
    check_page(&reservation, 7, 2);
    assert_eq!(violations.load(Ordering::Relaxed), 1);
    for index in 0..1024 {
        check_page(&reservation, index, 2);
    }
    assert_eq!(
        violations.load(Ordering::Relaxed),
        1024,
        "every page but the seventh once"
    );
}

#[test]
fn code_runs_only_where_it_may_and_survives_paging() {
    if !inline_works() {
        return;
    }
    let space = small();
    let reservation = committed(&space, ByteCount::mib(4));
    // mov eax, 42; ret
    let code = [0xB8, 42, 0, 0, 0, 0xC3];
    // SAFETY: committed, read-write.
    unsafe {
        reservation
            .base()
            .copy_from_nonoverlapping(code.as_ptr(), code.len())
    };
    reservation
        .protect(page(0), Protection::EXECUTE_READ)
        .expect("committed");
    // SAFETY: the bytes are a function of this signature.
    let function: extern "C" fn() -> i32 = unsafe { core::mem::transmute(reservation.base()) };
    assert_eq!(function(), 42);
    for index in 1..1024 {
        write_page(&reservation, index, 3);
    }
    reservation.trim(page(0));
    assert_eq!(function(), 42);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (list, by_fault) = (seen.clone(), space.clone());
    space.on_exception(move |exception| {
        list.lock().expect("not poisoned").push(exception.access);
        let mended = by_fault.protect_at(exception.address, 1, Protection::EXECUTE_READ);
        if mended.is_ok() {
            Handled::Retry
        } else {
            Handled::Pass
        }
    });
    reservation
        .protect(page(0), Protection::READ_WRITE)
        .expect("committed");
    assert_eq!(function(), 42, "mended by the callback");
    assert_eq!(*seen.lock().expect("not poisoned"), [Access::Execute]);
}

#[test]
fn without_a_callback_the_process_dies_by_sigsegv_with_one_clear_line() {
    if !inline_works() {
        return;
    }
    if is_child() {
        let space = small();
        let reservation = space
            .reserve(ByteCount::mib(1))
            .build()
            .expect("address space");
        // SAFETY: not safe at all: reserved memory. The process is to die of it.
        unsafe { reservation.base().wrapping_add(0x1234).write_volatile(1) };
        println!("survived");
        return;
    }
    let (status, text) = in_child(
        EngineKind::Inline,
        "without_a_callback_the_process_dies_by_sigsegv_with_one_clear_line",
    );
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
    assert!(
        text.contains("pagekeeper: access violation: write at 0x"),
        "{text}"
    );
    assert!(
        text.contains("1234") && text.contains("reserved but not committed"),
        "{text}"
    );
    assert!(!text.contains("survived"));
}

#[test]
fn a_fault_that_is_not_ours_still_kills_as_before() {
    if is_child() {
        let space = small();
        let _keep = committed(&space, ByteCount::kib(64));
        // SAFETY: not safe: nothing is mapped there. The process is to die of it.
        unsafe { core::ptr::without_provenance_mut::<u8>(0x40).write_volatile(1) };
        println!("survived");
        return;
    }
    if !inline_works() {
        return;
    }
    let (status, text) = in_child(
        EngineKind::Inline,
        "a_fault_that_is_not_ours_still_kills_as_before",
    );
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
}

#[test]
fn a_forked_child_does_not_have_the_ranges_and_harms_nobody() {
    if is_child() {
        let space = space(EngineKind::Inline, ByteCount::kib(512));
        let reservation = committed(&space, ByteCount::mib(4));
        for index in 0..1024 {
            write_page(&reservation, index, 4);
        }
        // SAFETY: the child only touches memory and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // A page that is out in the parent: filling it through the inherited descriptor would hit the parent.
            for index in 0..1024 {
                words(&reservation, index)[0] = 0xBAD;
            }
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert!(
            libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV,
            "{status:#x}"
        );
        for index in 0..1024 {
            check_page(&reservation, index, 4);
        }
        println!("parent unharmed");
        return;
    }
    if !inline_works() {
        return;
    }
    let (status, text) = in_child(
        EngineKind::Inline,
        "a_forked_child_does_not_have_the_ranges_and_harms_nobody",
    );
    assert!(
        status.success() && text.contains("parent unharmed"),
        "{text}"
    );
}
