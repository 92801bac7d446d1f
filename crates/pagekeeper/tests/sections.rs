//! Sections and views in one process: geometry, coherence, rights, commits, what is charged, and refusals.
//!
//! Source: windows-memory-behaviour.md 6.2, 7, 13, 14.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: calls what is unsafe by address, to be refused"
)]

mod section_support;

use std::fs::File;

use pagekeeper::{
    ByteCount, EngineError, Error, Protection, Refusal, RegionState, RegionType, Section, View,
};
use section_support::{GRANULE, PAGE, byte, cause, charged, file, in_file, refusal, space};

#[test]
fn views_of_one_file_show_the_same_bytes_and_the_file_gets_them() {
    let space = space();
    let mut file = file(40 * PAGE);
    let section = Section::from_file(&space, &file)
        .protection(Protection::READ_WRITE)
        .build()
        .unwrap();
    assert_eq!(section.size(), 40 * PAGE);
    let whole = section.view().build().unwrap();
    let second = Section::from_file(&space, &file).build().unwrap();
    let part = second.view().offset(2 * GRANULE).build().unwrap();
    assert_eq!(byte(&part, 5), 33);
    whole.write_at(2 * GRANULE + 5, &[0xAB]).unwrap();
    assert_eq!(byte(&part, 5), 0xAB, "coherent across sections");
    drop(section);
    drop(second);
    whole.flush(0, 0, true).unwrap();
    assert_eq!(in_file(&mut file, 2 * GRANULE + 5), 0xAB);
    let copied = Section::from_file(&space, &file)
        .protection(Protection::WRITE_COPY)
        .build()
        .unwrap();
    let copied = copied.view().build().unwrap();
    whole.write_at(7 * PAGE, &[0xCD]).unwrap();
    assert_eq!(byte(&copied, 7 * PAGE), 0xCD, "not written yet: follows");
    copied.write_at(7 * PAGE, &[1]).unwrap();
    whole.write_at(7 * PAGE, &[2]).unwrap();
    assert_eq!(byte(&copied, 7 * PAGE), 1, "its own copy");
    assert_eq!(in_file(&mut file, 7 * PAGE), 2);
}

#[test]
fn a_query_tells_views_from_private_memory_and_copies_from_what_is_shared() {
    let space = space();
    let file = file(10 * PAGE + 100);
    let section = Section::from_file(&space, &file)
        .protection(Protection::WRITE_COPY)
        .build()
        .unwrap();
    let view = section.view().size(4 * PAGE - 6).build().unwrap();
    assert_eq!(view.pages().count().get(), 4);
    view.write_at(PAGE + 9, &[7]).unwrap();
    let states: Vec<_> = [0, PAGE, 2 * PAGE]
        .map(|at| {
            let region = view.query(at).unwrap();
            assert_eq!(region.kind, Some(RegionType::Mapped));
            let base = (view.pages().start(), Protection::WRITE_COPY);
            assert_eq!(region.allocation, Some(base));
            (region.range.count().get(), region.state)
        })
        .into();
    assert_eq!(
        states,
        [
            (1, RegionState::Committed(Protection::WRITE_COPY)),
            (1, RegionState::Committed(Protection::READ_WRITE)),
            (2, RegionState::Committed(Protection::WRITE_COPY)),
        ]
    );
    let old = view.protect(PAGE, 1, Protection::WRITE_COPY).unwrap();
    assert_eq!(old, Protection::READ_WRITE);
    let again = view.query(PAGE).unwrap().state;
    assert_eq!(again, RegionState::Committed(Protection::READ_WRITE));
}

#[test]
fn write_copy_on_a_shared_view_leaves_the_file_alone() {
    let space = space();
    let mut file = file(8 * PAGE);
    let section = Section::from_file(&space, &file)
        .protection(Protection::READ_WRITE)
        .build()
        .unwrap();
    let view = section.view().build().unwrap();
    view.protect(PAGE, 3 * PAGE, Protection::WRITE_COPY)
        .unwrap();
    assert_eq!(charged(&space), 3);
    view.write_at(2 * PAGE, &[0x11]).unwrap();
    view.write_at(5 * PAGE, &[0x22]).unwrap();
    assert_eq!(in_file(&mut file, 2 * PAGE), 3);
    assert_eq!(in_file(&mut file, 5 * PAGE), 0x22);
    // Back again: what was not copied is shared once more, the copy stays.
    view.protect(PAGE, 3 * PAGE, Protection::READ_WRITE)
        .unwrap();
    view.write_at(PAGE, &[0x33]).unwrap();
    view.write_at(2 * PAGE, &[0x44]).unwrap();
    assert_eq!(in_file(&mut file, PAGE), 0x33);
    assert_eq!(in_file(&mut file, 2 * PAGE), 3);
    assert_eq!(byte(&view, 2 * PAGE), 0x44);
    drop(view);
    assert_eq!(charged(&space), 0);
}

#[test]
fn memory_without_a_file_is_shared_charged_and_gone_with_its_last_user() {
    let space = space();
    let section = Section::anonymous(&space, ByteCount::new(PAGE * 20 + 1))
        .build()
        .unwrap();
    assert_eq!(section.size(), 21 * PAGE, "whole pages");
    assert_eq!(charged(&space), 21);
    let one = section.view().build().unwrap();
    let two = section.view().offset(GRANULE).build().unwrap();
    assert_eq!(byte(&two, 0), 0);
    one.write_at(GRANULE + 3, b"x").unwrap();
    assert_eq!(byte(&two, 3), b'x');
    drop(section);
    assert_eq!(charged(&space), 21, "views keep it");
    drop(one);
    assert_eq!(byte(&two, 3), b'x');
    drop(two);
    assert_eq!(charged(&space), 0);
}

/// Runs of copies, short and long, are regions of their own, in whatever steps they are looked for.
#[test]
fn a_walk_through_a_view_meets_every_run_of_copies_once() {
    const PAGES: u64 = 1000;
    let space = space();
    let file = file(PAGES * PAGE);
    let section = Section::from_file(&space, &file)
        .protection(Protection::WRITE_COPY)
        .build()
        .unwrap();
    let view = section.view().build().unwrap();
    for page in [3].into_iter().chain(100..300).chain([700, 999]) {
        view.write_at(page * PAGE, &[0xEE]).unwrap();
    }
    let mut regions = Vec::new();
    let mut at = 0;
    while at < PAGES {
        let region = view.query(at * PAGE).unwrap();
        let is_copied = region.state == RegionState::Committed(Protection::READ_WRITE);
        regions.push((at, region.range.count().get(), is_copied));
        at += region.range.count().get();
    }
    let expected = [
        (0, 3, false),
        (3, 1, true),
        (4, 96, false),
        (100, 200, true),
        (300, 400, false),
        (700, 1, true),
        (701, 298, false),
        (999, 1, true),
    ];
    assert_eq!(regions, expected);
    // From the middle of a run on.
    let region = view.query(205 * PAGE).unwrap();
    assert_eq!(region.range.count().get(), 95);
}

/// Two views that commit by turns, and a third that only looks.
#[test]
fn commits_in_a_reserved_section_are_followed_whoever_makes_them() {
    let space = space();
    let section = Section::anonymous(&space, ByteCount::mib(64))
        .reserved()
        .build()
        .unwrap();
    let views = [0; 3].map(|_| section.view().build().unwrap());
    let is_committed = |view: &View, page: u64| {
        let region = view.query(page * PAGE).unwrap();
        matches!(region.state, RegionState::Committed(_))
    };
    for step in 0..200 {
        let (page, by) = (step * 37 % 1009, (step % 2) as usize);
        assert!(!is_committed(&views[2], page), "page {page}");
        views[by]
            .commit(page * PAGE, PAGE, Protection::READ_WRITE)
            .unwrap();
        views[by].write_at(page * PAGE, &[step as u8]).unwrap();
        for view in &views {
            assert!(is_committed(view, page), "page {page}");
            assert_eq!(byte(view, page * PAGE), step as u8);
        }
    }
    assert_eq!(charged(&space), 200);
}

#[test]
fn a_reserved_section_is_committed_through_any_view_for_all() {
    let space = space();
    let section = Section::anonymous(&space, ByteCount::gib(8))
        .reserved()
        .build()
        .unwrap();
    assert_eq!(charged(&space), 0);
    let one = section.view().build().unwrap();
    let two = section
        .view()
        .protection(Protection::READ_ONLY)
        .build()
        .unwrap();
    let reserved = two.query(5 * PAGE).unwrap();
    assert_eq!(reserved.state, RegionState::Reserved);
    assert_eq!(reserved.kind, Some(RegionType::Mapped));
    assert!(two.read_at(5 * PAGE, &mut [0]).is_err());
    one.commit(5 * PAGE, 2 * PAGE, Protection::READ_WRITE)
        .unwrap();
    assert_eq!(charged(&space), 2);
    one.write_at(6 * PAGE, &[9]).unwrap();
    assert_eq!(byte(&two, 6 * PAGE), 9);
    let region = two.query(5 * PAGE).unwrap();
    assert_eq!(region.state, RegionState::Committed(Protection::READ_ONLY));
    assert_eq!(region.range.count().get(), 2);
    // Again, wider: what is there already costs nothing.
    one.commit(4 * PAGE, 4 * PAGE, Protection::READ_WRITE)
        .unwrap();
    assert_eq!(charged(&space), 4);
    assert_eq!(byte(&one, 6 * PAGE), 9);
    // SAFETY: refused.
    let freed = unsafe { space.decommit_at(one.base().addr() as u64, PAGE) };
    assert!(matches!(refusal(freed), Refusal::IsView { .. }));
    let three = section.view().build().unwrap();
    assert_eq!(byte(&three, 6 * PAGE), 9, "a later view sees it too");
    drop((one, two, three));
    assert_eq!(charged(&space), 4, "the section has it still");
    drop(section);
    assert_eq!(charged(&space), 0);
}

#[test]
fn a_view_allows_no_more_than_its_section() {
    use Protection as P;
    let space = space();
    let file = file(4 * PAGE);
    let all = [
        P::NO_ACCESS,
        P::READ_ONLY,
        P::WRITE_COPY,
        P::READ_WRITE,
        P::EXECUTE_READ,
        P::EXECUTE_WRITE_COPY,
        P::EXECUTE_READ_WRITE,
    ];
    let allowed: [(Protection, &[usize]); 6] = [
        (P::READ_ONLY, &[0, 1, 2]),
        (P::WRITE_COPY, &[0, 1, 2]),
        (P::READ_WRITE, &[0, 1, 2, 3]),
        (P::EXECUTE_READ, &[0, 1, 2, 4, 5]),
        (P::EXECUTE_WRITE_COPY, &[0, 1, 2, 4, 5]),
        (P::EXECUTE_READ_WRITE, &[0, 1, 2, 3, 4, 5, 6]),
    ];
    for (protection, views) in allowed {
        let section = Section::from_file(&space, &file)
            .protection(protection)
            .build()
            .unwrap();
        for (at, view) in all.into_iter().enumerate() {
            let mapped = section.view().protection(view).build();
            if views.contains(&at) {
                // Where temporary files may not be executed the kernel says so.
                match mapped {
                    Err(Error::Engine { .. }) if view.allows(pagekeeper::Access::Execute) => {}
                    other => drop(other.unwrap()),
                }
            } else {
                let section = protection;
                assert_eq!(refusal(mapped), Refusal::SectionForbids { view, section });
            }
        }
    }
    for protection in [P::NO_ACCESS, P::EXECUTE, P::READ_WRITE.with_guard()] {
        let made = Section::from_file(&space, &file)
            .protection(protection)
            .build();
        assert_eq!(
            refusal(made),
            Refusal::ProtectionNotForSection { protection }
        );
    }
}

#[test]
fn geometry_is_checked() {
    let space = space();
    let section = Section::anonymous(&space, ByteCount::new(3 * GRANULE))
        .build()
        .unwrap();
    let size = 3 * GRANULE;
    for (offset, bytes) in [
        (size, 0),
        (GRANULE, 2 * GRANULE + 1),
        (0, size + 1),
        (size, 1),
    ] {
        let outside = Refusal::OutsideSection {
            offset,
            size: bytes,
            section: size,
        };
        assert_eq!(
            refusal(section.view().offset(offset).size(bytes).build()),
            outside
        );
    }
    for value in [1, PAGE, GRANULE + PAGE] {
        let misaligned = Refusal::ViewMisaligned { value };
        assert_eq!(refusal(section.view().offset(value).build()), misaligned);
    }
    let view = section.view().offset(2 * GRANULE).build().unwrap();
    let at = view.base().addr() as u64;
    assert_eq!(at % GRANULE, 0);
    let value = at + PAGE;
    assert_eq!(
        refusal(section.view().at(value).build()),
        Refusal::ViewMisaligned { value }
    );
    let taken = refusal(section.view().at(at).build());
    assert!(matches!(taken, Refusal::ConflictingAddresses { .. }));
    drop(view);
    let view = section.view().at(at).build().unwrap();
    assert_eq!(view.base().addr() as u64, at);
    // Somewhere that was never ours.
    let far = 0x3000_0000_0000;
    let far_view = section.view().at(far).build().unwrap();
    far_view.write_at(0, &[3]).unwrap();
    assert_eq!(far_view.base().addr() as u64, far);
}

#[test]
fn a_section_needs_what_its_file_allows() {
    let space = space();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    std::fs::write(&path, b"").unwrap();
    let read_only = File::open(&path).unwrap();
    let made = Section::from_file(&space, &read_only).build();
    assert_eq!(refusal(made), Refusal::FileEmpty);
    std::fs::write(&path, vec![7; 5000]).unwrap();
    let read_write = Section::from_file(&space, &read_only).protection(Protection::READ_WRITE);
    assert!(matches!(
        cause(read_write.build()),
        EngineError::FileAccess(_)
    ));
    let larger = Section::from_file(&space, &read_only).size(5001).build();
    let too_large = Refusal::SectionTooLarge {
        size: 5001,
        limit: 5000,
    };
    assert_eq!(refusal(larger), too_large);
    let write_only = File::options().write(true).open(&path).unwrap();
    let unreadable = Section::from_file(&space, &write_only).build();
    assert!(matches!(cause(unreadable), EngineError::FileAccess(_)));
    let pipe = File::open("/dev/null").unwrap();
    let odd = Section::from_file(&space, &pipe).build();
    assert!(matches!(cause(odd), EngineError::FileAccess(_)));
    // A writable section extends its file at once.
    let both = File::options().read(true).write(true).open(&path).unwrap();
    let section = Section::from_file(&space, &both)
        .protection(Protection::READ_WRITE)
        .size(3 * PAGE)
        .build()
        .unwrap();
    assert_eq!(both.metadata().unwrap().len(), 3 * PAGE);
    drop((read_only, write_only, both));
    let view = section.view().build().unwrap();
    assert_eq!((byte(&view, 4999), byte(&view, 5000)), (7, 0));
    view.write_at(3 * PAGE - 1, &[8]).unwrap();
    view.unmap().unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[3 * PAGE as usize - 1], 8);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let space = space();
    let anonymous = |bytes| Section::anonymous(&space, ByteCount::new(bytes)).build();
    assert_eq!(refusal(anonymous(0)), Refusal::SizeZero);
    assert!(matches!(
        refusal(anonymous(1 << 43)),
        Refusal::SectionTooLarge { .. }
    ));
    assert!(matches!(
        refusal(anonymous(1 << 40)),
        Refusal::CommitmentLimit { .. }
    ));
    let huge = Section::anonymous(&space, ByteCount::gib(2))
        .reserved()
        .build()
        .unwrap();
    let view = huge.view().build().unwrap();
    let all = view.commit(0, 2 << 30, Protection::READ_WRITE);
    assert!(matches!(refusal(all), Refusal::CommitmentLimit { .. }));
    assert_eq!(charged(&space), 0);
}
