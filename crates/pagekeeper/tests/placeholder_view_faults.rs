//! Faults, system calls, errors and ends of views in the place of placeholders, with every engine. That neither side touches the
//! other's memory is in `placeholder_views.rs`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pagekeeper::{
    ByteCount, EngineKind, ExceptionKind, FreeRequest, Handled, Protection, Refusal,
    ReplaceRequest, Section, Space,
};
use support::{PAGE, with_every_engine};

const BYTES: u64 = PAGE as u64;

fn space(engine: EngineKind) -> Space {
    support::space(engine, ByteCount::mib(8))
}

fn memory(space: &Space) -> Section {
    Section::anonymous(space, ByteCount::kib(192))
        .build()
        .expect("a section")
}

fn word(address: u64) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(address as usize)
}

/// 64 KiB of the section between two placeholders of as much; its address.
fn ring(space: &Space, section: &Section) -> u64 {
    let size = ByteCount::kib(192);
    let base = space
        .reserve(size)
        .placeholder()
        .build_detached()
        .expect("address space")
        .address();
    // SAFETY: nobody uses it.
    unsafe { space.free_at(base + 0x1_0000, 0x1_0000, FreeRequest::PreservePlaceholder) }
        .expect("a part");
    section
        .view()
        .size(0x1_0000)
        .replacing_placeholder(base + 0x1_0000)
        .build_detached()
        .expect("a view");
    base + 0x1_0000
}

/// A file without a name, filled with sevens.
fn file_of(pages: u64) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&vec![7; (pages * BYTES) as usize])
        .expect("room");
    file
}

/// With the inline engine a fault there must not be answered by it, although the arena is its own.
#[test]
fn a_file_cut_below_such_a_view_is_an_in_page_error() {
    with_every_engine(
        "a_file_cut_below_such_a_view_is_an_in_page_error",
        |engine| {
            let space = space(engine);
            let file = file_of(16);
            let section = Section::from_file(&space, &file)
                .protection(Protection::READ_WRITE)
                .build()
                .expect("a section");
            let at = ring(&space, &section);
            let seen = Arc::new(AtomicU32::new(0));
            let (count, again) = (Arc::clone(&seen), file.try_clone().expect("a descriptor"));
            space.on_exception(move |exception| {
                assert!(matches!(exception.kind, ExceptionKind::InPageError(_)));
                assert_eq!(exception.address & !0xFFF, at + 9 * BYTES);
                count.fetch_add(1, Ordering::SeqCst);
                again.set_len(16 * BYTES).expect("longer again");
                Handled::Retry
            });
            file.set_len(5 * BYTES).expect("shorter");
            // SAFETY: a view that nobody else knows.
            unsafe {
                assert_eq!(word(at + 4 * BYTES).read(), 0x0707_0707_0707_0707);
                assert_eq!(word(at + 9 * BYTES).read(), 0, "what the file has now");
            }
            assert_eq!(seen.load(Ordering::SeqCst), 1);
        },
    );
}

/// System calls on it, with private memory of the engine on both sides.
#[test]
fn the_kernel_reads_and_writes_across_its_edges() {
    with_every_engine("the_kernel_reads_and_writes_across_its_edges", |engine| {
        let space = space(engine);
        let section = memory(&space);
        let at = ring(&space, &section);
        for beside in [at - 0x1_0000, at + 0x1_0000] {
            let made = space.replace_placeholder_at(&ReplaceRequest {
                address: beside,
                size: 0x1_0000,
                protection: Protection::READ_WRITE,
                commit: true,
                write_watch: false,
            });
            made.expect("room");
        }
        let start: *mut u8 = word(at - 0x1_0000).cast();
        // SAFETY: committed, a view, committed; nobody else knows them.
        let all = unsafe { std::slice::from_raw_parts_mut(start, 0x3_0000) };
        let content: Vec<u8> = (0..all.len()).map(|at| (at / 7) as u8).collect();
        let mut file = file_of(0);
        file.write_all(&content).expect("room");
        for _ in 0..3 {
            file.seek(SeekFrom::Start(0)).expect("a file");
            all.fill(0);
            space.trim_at(at - 0x1_0000, 0x3_0000);
            file.read_exact(all).expect("all of it");
            assert_eq!(all, content);
            space.trim_at(at - 0x1_0000, 0x3_0000);
            let mut copy = file_of(0);
            copy.write_all(all).expect("all of it");
            copy.seek(SeekFrom::Start(0)).expect("a file");
            let mut back = Vec::new();
            copy.read_to_end(&mut back).expect("all of it");
            assert_eq!(back, content);
        }
    });
}

#[test]
fn a_space_that_goes_takes_such_views_along() {
    with_every_engine("a_space_that_goes_takes_such_views_along", |engine| {
        let space = space(engine);
        let section = memory(&space);
        let at = 0x5000_0000;
        let place = space.reserve(ByteCount::kib(192)).at(at).placeholder();
        place.build_detached().expect("free");
        // SAFETY: nobody uses it.
        unsafe { space.free_at(at + 0x8000, 0x8000, FreeRequest::PreservePlaceholder) }
            .expect("a part");
        section
            .view()
            .protection(Protection::WRITE_COPY)
            .size(0x8000)
            .replacing_placeholder(at + 0x8000)
            .build_detached()
            .expect("a view");
        // SAFETY: a view that nobody else knows.
        unsafe { word(at + 0x8000).write(1) };
        drop(section);
        drop(space);
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let there = maps.lines().find(|line| line.starts_with("5000"));
        assert_eq!(there, None);
    });
}

#[test]
fn only_what_replaced_a_placeholder_leaves_one() {
    with_every_engine("only_what_replaced_a_placeholder_leaves_one", |engine| {
        let space = space(engine);
        let section = memory(&space);
        let view = section.view().build().expect("a view");
        // SAFETY: refused.
        let left = unsafe { space.unmap_to_placeholder_at(view.pages().address()) };
        let left = left.expect_err("an ordinary view");
        assert!(matches!(
            left.refusal(),
            Some(Refusal::NotPlaceholder { .. })
        ));
        // A view that is dropped frees its place.
        let base = space
            .reserve(ByteCount::kib(64))
            .placeholder()
            .build_detached()
            .expect("address space")
            .address();
        let view = section.view().size(0x1_0000).replacing_placeholder(base);
        drop(view.build().expect("a view"));
        assert!(space.allocation_at(base).is_none());
    });
}
