//! Images, guard pages, exclusive views, files that are cut, and the calls that are the wrong ones for views.
//!
//! Source: windows-memory-behaviour.md 4.6, 5, 6.2, 8.3, 13.3.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: calls what is unsafe by address, to be refused"
)]

mod section_support;

use pagekeeper::{
    AllocationKind, ByteCount, EngineKind, Error, Protection, Refusal, RegionState, RegionType,
    Section,
};
use section_support::{GRANULE, PAGE, byte, file, in_file, refusal, space};

#[test]
fn an_image_is_private_where_it_is_changed() {
    let space = space();
    let mut file = file(6 * PAGE);
    let section = Section::image(&space, &file).build().unwrap();
    let (one, two) = (
        section.view().build().unwrap(),
        section.view().build().unwrap(),
    );
    assert_eq!(one.kind(), AllocationKind::ImageView);
    let region = one.query(0).unwrap();
    assert_eq!(region.kind, Some(RegionType::Image));
    assert_eq!(
        region.allocation,
        Some((one.pages().start(), Protection::EXECUTE_WRITE_COPY))
    );
    one.write_at(2 * PAGE, &[0x99]).unwrap();
    assert_eq!((byte(&two, 2 * PAGE), in_file(&mut file, 2 * PAGE)), (3, 3));
    one.protect(0, PAGE, Protection::READ_ONLY).unwrap();
    assert!(one.write_at(0, &[1]).is_err());
    one.protect(0, PAGE, Protection::READ_WRITE).unwrap();
    let stored = one.query(0).unwrap().state;
    assert_eq!(stored, RegionState::Committed(Protection::WRITE_COPY));
    assert_eq!(byte(&one, 2 * PAGE), 0x99);
}

#[test]
fn guard_pages_and_locks_work_on_views() {
    let space = space();
    let section = Section::anonymous(&space, ByteCount::new(GRANULE))
        .build()
        .unwrap();
    let view = section.view().build().unwrap();
    let guarded = Protection::READ_WRITE.with_guard();
    view.protect(PAGE, 1, guarded).unwrap();
    assert!(view.read_at(PAGE, &mut [0]).is_err(), "the alarm");
    assert_eq!(byte(&view, PAGE), 0, "once");
    let at = view.base().addr() as u64;
    space.lock_at(at, PAGE).unwrap();
    space.trim_at(at, GRANULE);
    space.unlock_at(at, PAGE).unwrap();
}

#[test]
fn only_a_section_that_nobody_shares_is_lent_for_writing() {
    let space = space();
    let size = ByteCount::new(GRANULE);
    let mine = Section::anonymous(&space, size).build().unwrap();
    let mut numbers = mine.into_exclusive::<u32>().unwrap().expect("mine alone");
    numbers.fill(3);
    assert_eq!(numbers.iter().sum::<u32>(), 3 * GRANULE as u32 / 4);
    let cloned = Section::anonymous(&space, size).build().unwrap();
    let other = cloned.clone();
    assert!(cloned.into_exclusive::<u8>().unwrap().is_none());
    let _view = other.view().build().unwrap();
    assert!(
        other.into_exclusive::<u8>().unwrap().is_none(),
        "mapped already"
    );
    let odd = Section::anonymous(&space, size).build().unwrap();
    assert!(odd.into_exclusive::<[u8; 7]>().unwrap().is_none());
    let reserved = Section::anonymous(&space, size).reserved().build().unwrap();
    assert!(reserved.into_exclusive::<u8>().unwrap().is_none());
}

#[test]
fn what_is_mapped_of_a_file_is_known() {
    use std::os::unix::fs::MetadataExt;
    let space = space();
    let file = file(40 * PAGE);
    let facts = file.metadata().unwrap();
    let mapped = || pagekeeper::mapped_end(facts.dev(), facts.ino());
    assert_eq!(mapped(), None);
    let section = Section::from_file(&space, &file).build().unwrap();
    let view = section.view().offset(GRANULE).size(PAGE).build().unwrap();
    assert_eq!(mapped(), Some(GRANULE + PAGE));
    drop(view);
    assert_eq!(mapped(), None);
}

#[test]
fn a_file_that_was_cut_underneath_is_an_error_and_never_a_wrong_byte() {
    let space = space();
    let file = file(8 * PAGE);
    let section = Section::from_file(&space, &file)
        .protection(Protection::READ_WRITE)
        .build()
        .unwrap();
    let view = section.view().build().unwrap();
    assert_eq!(byte(&view, 6 * PAGE), 7);
    file.set_len(5 * PAGE).unwrap();
    assert!(view.read_at(6 * PAGE, &mut [0]).is_err());
    assert!(view.write_at(6 * PAGE, &[1]).is_err());
    assert_eq!(byte(&view, 4 * PAGE), 5);
    file.set_len(8 * PAGE).unwrap();
    assert_eq!(byte(&view, 6 * PAGE), 0, "what the file has now");
}

#[test]
fn only_views_are_unmapped_and_flushed_and_only_by_their_calls() {
    let space = space();
    let section = Section::anonymous(&space, ByteCount::new(GRANULE))
        .build()
        .unwrap();
    let range = section.view().build_detached().unwrap();
    let (at, inside) = (range.address(), range.address() + 3 * PAGE + 11);
    // SAFETY: refused.
    let released = unsafe { space.free_at(at, 0, pagekeeper::FreeRequest::Release) };
    assert!(matches!(refusal(released), Refusal::IsView { .. }));
    space.flush_view_at(inside, 0, false).unwrap();
    let past = space.flush_view_at(inside, GRANULE, false);
    assert!(matches!(refusal(past), Refusal::NotAView { .. }));
    // SAFETY: nobody has a reference into it.
    unsafe { space.unmap_at(inside) }.unwrap();
    assert_eq!(space.query(at).unwrap().state, RegionState::Free);
    // SAFETY: refused.
    let again = unsafe { space.unmap_at(at) };
    assert!(matches!(refusal(again), Refusal::NotAView { .. }));
    let private = space
        .reserve(ByteCount::new(PAGE))
        .committed()
        .build()
        .unwrap();
    let address = private.base().addr() as u64;
    // SAFETY: refused.
    let unmapped = unsafe { space.unmap_at(address) };
    assert!(matches!(refusal(unmapped), Refusal::NotAView { .. }));
    let flushed = space.flush_view_at(address, 0, true);
    assert!(matches!(refusal(flushed), Refusal::NotAView { .. }));
    let engine = space
        .reserve(ByteCount::mib(1))
        .engine(EngineKind::Views)
        .build();
    assert!(matches!(engine, Err(Error::Settings(_))));
}

#[test]
fn views_of_files_are_neither_committed_nor_reset() {
    let space = space();
    let file = file(4 * PAGE);
    let section = Section::from_file(&space, &file).build().unwrap();
    let view = section.view().build().unwrap();
    let committed = view.commit(0, PAGE, Protection::READ_ONLY);
    assert!(matches!(refusal(committed), Refusal::CommitInFile { .. }));
    // SAFETY: refused.
    let reset = unsafe { space.reset_at(view.base().addr() as u64, PAGE) };
    assert!(matches!(refusal(reset), Refusal::ResetInFile { .. }));
    let wider = view.protect(0, PAGE, Protection::READ_WRITE);
    assert!(matches!(
        refusal(wider),
        Refusal::ProtectionNotForView { .. }
    ));
    assert!(view.write_at(0, &[1]).is_err());
    let memory = Section::anonymous(&space, ByteCount::new(GRANULE))
        .build()
        .unwrap();
    let view = memory.view().build().unwrap();
    view.write_at(0, &[1]).unwrap();
    // SAFETY: no reference is alive.
    unsafe { space.reset_at(view.base().addr() as u64, PAGE) }.unwrap();
    assert!(byte(&view, 0) <= 1, "the old byte or zero");
}
