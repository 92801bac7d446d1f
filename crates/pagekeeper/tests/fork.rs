//! Forked children: with copies of everything, with spaces of their own, or with nothing.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: forks, and touches memory by address, which is what is tested"
)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use pagekeeper::{
    ByteCount, EngineKind, Error, ExceptionKind, FreeRequest, Handled, Heap, Protection,
    ReplaceRequest, Reservation, Section, Space,
};
use pagekeeper_heap::Request;
use support::{
    PAGE, check_page, child_engine, committed, fork, in_child, inline_works, wait, words,
    write_page,
};

/// Runs `body` in a process of its own, once with each engine.
fn alone(test: &str, body: impl FnOnce(EngineKind)) {
    if let Some(engine) = child_engine() {
        body(engine);
        println!("all was well");
        return;
    }
    for engine in [EngineKind::Inline, EngineKind::Mapped, EngineKind::Resident] {
        if engine == EngineKind::Inline && !inline_works() {
            continue;
        }
        let (status, text) = in_child(engine, test);
        assert!(
            status.success() && text.contains("all was well"),
            "{engine}: {status}: {text}"
        );
    }
}

fn space(engine: EngineKind, copies: bool) -> Space {
    Space::builder()
        .ram(ByteCount::mib(8))
        .engine(engine)
        .page_file_maximum(ByteCount::mib(256))
        .fork_copies(copies)
        .build()
        .expect("a space")
}

fn data_of(engine: EngineKind) -> ByteCount {
    match engine {
        EngineKind::Resident => ByteCount::mib(8),
        // Four times the budget.
        _ => ByteCount::mib(32),
    }
}

fn write_all(reservation: &Reservation, salt: u64) {
    for page in 0..reservation.pages().count().as_usize() {
        write_page(reservation, page, salt);
    }
}

fn check_all(reservation: &Reservation, salt: u64) {
    for page in 0..reservation.pages().count().as_usize() {
        check_page(reservation, page, salt);
    }
}

fn pause(milliseconds: u64) {
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
}

#[test]
fn a_child_has_true_copies_and_neither_side_sees_the_others_writes() {
    alone(
        "a_child_has_true_copies_and_neither_side_sees_the_others_writes",
        |engine| {
            let space = space(engine, true);
            let reservation = committed(&space, data_of(engine));
            write_all(&reservation, 1);
            let child = fork(|| {
                check_all(&reservation, 1);
                write_all(&reservation, 2);
                // The parent writes meanwhile.
                pause(300);
                check_all(&reservation, 2);
                // Everything else works too.
                let status = space.status();
                assert_eq!(status.budget, ByteCount::mib(8));
                assert_eq!(status.committed, data_of(engine));
                let more = committed(&space, ByteCount::mib(1));
                write_all(&more, 3);
                check_all(&more, 3);
                reservation.decommit(..PAGE as u64).expect("committed");
                drop(more);
            });
            write_all(&reservation, 4);
            pause(300);
            check_all(&reservation, 4);
            wait(child);
            check_all(&reservation, 4);
            // And again, from the state that the parent has now; the child forks once more.
            let child = fork(|| {
                check_all(&reservation, 4);
                write_page(&reservation, 7, 5);
                let grandchild = fork(|| {
                    check_page(&reservation, 7, 5);
                    check_page(&reservation, 8, 4);
                    write_all(&reservation, 6);
                    check_all(&reservation, 6);
                });
                wait(grandchild);
                check_page(&reservation, 7, 5);
                check_page(&reservation, 8, 4);
            });
            wait(child);
            check_all(&reservation, 4);
        },
    );
}

#[test]
fn protections_guards_and_reserved_pages_are_copied_too() {
    alone(
        "protections_guards_and_reserved_pages_are_copied_too",
        |engine| {
            let space = space(engine, true);
            let reservation = space.reserve(ByteCount::mib(4)).build().expect("space");
            let page = PAGE as u64;
            reservation
                .commit(..64 * page, Protection::READ_WRITE)
                .expect("room");
            for index in 0..64 {
                write_page(&reservation, index, 1);
            }
            let at = |index: u64| index * page..(index + 1) * page;
            reservation
                .protect(at(3), Protection::READ_ONLY)
                .expect("committed");
            reservation
                .protect(at(4), Protection::NO_ACCESS)
                .expect("committed");
            let guard = Protection::READ_WRITE.with_guard();
            reservation.protect(at(5), guard).expect("committed");
            reservation.decommit(at(6)).expect("committed");
            let hits = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let seen = hits.clone();
            let by_fault = space.clone();
            let base = reservation.base() as u64;
            space.on_exception(move |exception| {
                let index = (exception.address - base) / page;
                seen.lock().unwrap().push((index, exception.kind));
                if exception.kind == ExceptionKind::AccessViolation {
                    let open = Protection::READ_WRITE;
                    by_fault
                        .commit_at(exception.address, 1, open)
                        .expect("room");
                }
                Handled::Retry
            });
            let look = || {
                check_page(&reservation, 3, 1);
                words(&reservation, 3)[0] = words(&reservation, 3)[0];
                check_page(&reservation, 4, 1);
                check_page(&reservation, 5, 1);
                assert!(words(&reservation, 6).iter().all(|word| *word == 0));
                let violation = ExceptionKind::AccessViolation;
                let hits = std::mem::take(&mut *hits.lock().unwrap());
                assert_eq!(
                    hits,
                    [
                        (3, violation),
                        (4, violation),
                        (5, ExceptionKind::GuardPage),
                        (6, violation)
                    ]
                );
                for index in (0..64).filter(|index| *index != 6) {
                    check_page(&reservation, index, 1);
                }
            };
            wait(fork(look));
            look();
        },
    );
}

#[test]
fn a_child_of_fork_may_have_a_space_of_its_own() {
    alone("a_child_of_fork_may_have_a_space_of_its_own", |engine| {
        let theirs = space(engine, false);
        let inherited = committed(&theirs, data_of(engine));
        write_all(&inherited, 1);
        let child = fork(|| {
            // Before and after it has something of its own, what was inherited is dead.
            let is_dead = || {
                let refused = inherited
                    .commit(..1, Protection::READ_WRITE)
                    .expect_err("dead");
                assert!(refused.to_string().contains("forked child"), "{refused}");
                assert!(matches!(
                    theirs.reserve(ByteCount::mib(1)).build(),
                    Err(Error::Engine { .. })
                ));
            };
            is_dead();
            let own = space(engine, false);
            let reservation = committed(&own, data_of(engine));
            write_all(&reservation, 2);
            check_all(&reservation, 2);
            is_dead();
            if engine == EngineKind::Inline {
                // Wrapped system calls too.
                let mut path = std::fs::File::open("/dev/zero").expect("there");
                let bytes = reservation.base();
                // SAFETY: committed.
                let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, 1 << 20) };
                std::io::Read::read_exact(&mut path, bytes).expect("readable");
                assert!(bytes.iter().all(|byte| *byte == 0));
            }
            drop(reservation);
            drop(own);
            // A second one, and children of the child.
            let own = space(engine, true);
            let reservation = committed(&own, ByteCount::mib(4));
            write_all(&reservation, 3);
            wait(fork(|| {
                check_all(&reservation, 3);
                write_all(&reservation, 4);
                check_all(&reservation, 4);
            }));
            check_all(&reservation, 3);
        });
        write_all(&inherited, 5);
        wait(child);
        check_all(&inherited, 5);
    });
}

#[test]
fn what_cannot_be_copied_is_said_and_never_wrong() {
    alone("what_cannot_be_copied_is_said_and_never_wrong", |engine| {
        let space = space(engine, true);
        let reservation = committed(&space, ByteCount::mib(8));
        write_all(&reservation, 1);
        let limit = |bytes| {
            let limit = rustix::process::Rlimit {
                current: bytes,
                maximum: None,
            };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).expect("a limit");
        };
        // Less than the copy needs.
        limit(Some(1 << 20));
        let child = fork(|| {
            let refused = reservation
                .commit(..1, Protection::READ_WRITE)
                .expect_err("dead");
            assert!(refused.to_string().contains("forked child"), "{refused}");
        });
        wait(child);
        limit(None);
        check_all(&reservation, 1);
        write_all(&reservation, 2);
        wait(fork(|| check_all(&reservation, 2)));
    });
}

/// Threads at work in a heap, from before a fork until after it.
fn with_busy_threads(heap: &Heap, body: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3_usize {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut round = thread;
                while !is_over.load(Ordering::Relaxed) {
                    let block = heap.blocks().allocate(16 + round % 900, Request::PLAIN);
                    let block = block.expect("memory");
                    // SAFETY: this thread's block, given back once.
                    unsafe { heap.blocks().free(block.as_ptr(), Request::PLAIN) }.expect("a block");
                    if thread == 0 && round.is_multiple_of(5_000) {
                        heap.validate().expect("a whole heap");
                    }
                    round += 1;
                }
            });
        }
        body();
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Ends a child that hangs.
fn hang_no_longer_than_a_minute() {
    // SAFETY: the signal ends the process.
    unsafe { libc::alarm(60) };
}

#[test]
fn heaps_are_whole_in_a_child_with_copies_whatever_other_threads_did() {
    alone(
        "heaps_are_whole_in_a_child_with_copies_whatever_other_threads_did",
        |engine| {
            let space = space(engine, true);
            let heap = Heap::builder(&space).engine(engine).build().expect("room");
            let mut text = allocator_api2::vec::Vec::new_in(heap.clone());
            text.extend(0..10_000_u32);
            with_busy_threads(&heap, || {
                for _ in 0..8 {
                    let child = fork(|| {
                        hang_no_longer_than_a_minute();
                        heap.validate().expect("a whole heap");
                        assert!(heap.entries().count() > 1);
                        assert!(heap.summary().allocated >= 40_000);
                        heap.compact();
                        assert!(text.iter().copied().eq(0..10_000));
                        with_busy_threads(&heap, || heap.validate().expect("a whole heap"));
                        assert!(Heap::builder(&space).engine(engine).build().is_ok());
                    });
                    wait(child);
                }
            });
            heap.validate().expect("a whole heap");
        },
    );
}

#[test]
fn a_child_without_copies_may_lock_and_drop_its_heaps_and_make_others() {
    alone(
        "a_child_without_copies_may_lock_and_drop_its_heaps_and_make_others",
        |engine| {
            let old = space(engine, false);
            let heap = Heap::builder(&old).engine(engine).build().expect("room");
            with_busy_threads(&heap, || {
                for _ in 0..8 {
                    let inherited = Heap::builder(&old).engine(engine).build().expect("room");
                    let child = fork(move || {
                        hang_no_longer_than_a_minute();
                        inherited.blocks().lock();
                        assert!(inherited.blocks().unlock());
                        drop(inherited);
                        let new = space(engine, false);
                        let heap = Heap::builder(&new).engine(engine).build().expect("room");
                        with_busy_threads(&heap, || heap.validate().expect("a whole heap"));
                    });
                    wait(child);
                }
            });
            heap.validate().expect("a whole heap");
        },
    );
}

/// A child has no views, but what lies beside one in the same arena; the place of the view can be used again.
#[test]
fn beside_a_view_in_the_place_of_a_placeholder_a_child_has_its_copies() {
    alone(
        "beside_a_view_in_the_place_of_a_placeholder_a_child_has_its_copies",
        |engine| {
            let space = space(engine, true);
            let size = ByteCount::kib(192);
            let section = Section::anonymous(&space, size).build().expect("room");
            let place = space.reserve(size).placeholder().build_detached();
            let base = place.expect("address space").address();
            let part = 0x1_0000;
            // SAFETY: nobody uses it.
            unsafe { space.free_at(base + part, part, FreeRequest::PreservePlaceholder) }
                .expect("a part");
            let fill = |at: u64, byte: u8| {
                let made = space.replace_placeholder_at(&ReplaceRequest {
                    address: at,
                    size: part,
                    protection: Protection::READ_WRITE,
                    commit: true,
                    write_watch: false,
                });
                let pages = made.expect("room");
                // SAFETY: committed just now, and nobody else's.
                unsafe { first_byte(pages.address()).write_bytes(byte, part as usize) };
            };
            fill(base, 1);
            fill(base + 2 * part, 3);
            let view = section.view().size(part);
            let view = view.replacing_placeholder(base + part).build_detached();
            assert_eq!(view.expect("a view").address(), base + part);
            // SAFETY: these pages are committed, and nobody else's.
            let byte = |at: u64| unsafe { first_byte(at + part - 1).read() };
            // SAFETY: as above.
            unsafe { first_byte(base + 2 * part - 1).write(2) };
            let child = fork(|| {
                assert_eq!((byte(base), byte(base + 2 * part)), (1, 3));
                // SAFETY: nobody uses it.
                unsafe { space.unmap_to_placeholder_at(base + part) }.expect("a view to the rules");
                fill(base + part, 7);
                let all = (byte(base), byte(base + part), byte(base + 2 * part));
                assert_eq!(all, (1, 7, 3));
            });
            wait(child);
            let all = (byte(base), byte(base + part), byte(base + 2 * part));
            assert_eq!(all, (1, 2, 3));
        },
    );
}

fn first_byte(address: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(address as usize)
}
