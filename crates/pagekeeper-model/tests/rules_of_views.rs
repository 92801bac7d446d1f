//! Views: where they lie, what their pages may be, what is charged, and which calls are the wrong ones.
//!
//! Source: windows-memory-behaviour.md 4.3, 4.4, 4.6, 5.2, 5.3, 6.2, 7, 13, 14.

use pagekeeper_model::{
    Access, AddressSpace, AllocationKind, EngineTag, MapRequest, NoForeignMemory, PageState,
    Protection, Refusal, RegionState, RegionType, ReserveRequest, Verdict,
};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

const ENGINE: EngineTag = EngineTag(3);
const ARENA: PageNumber = PageNumber::new(0x10_0000);

fn space(limit: u64) -> AddressSpace {
    let mut space = AddressSpace::new(PageCount::new(limit));
    space
        .add_arena(PageRange::new(ARENA, PageCount::new(1 << 16)), ENGINE)
        .unwrap();
    space
}

fn request(kind: AllocationKind, protection: Protection, pages: u64) -> MapRequest {
    MapRequest {
        at: None,
        size: pages * 4096,
        protection,
        pages: protection,
        kind,
        engine: ENGINE,
        reserved: false,
        replace: false,
        file_page: 0,
    }
}

fn map(space: &mut AddressSpace, kind: AllocationKind, protection: Protection) -> u64 {
    let plan = space.plan_map(&request(kind, protection, 8)).unwrap();
    space.apply_map(plan).address()
}

/// The table of 6.2: for each way to map a view, the protections that its pages take.
#[test]
fn a_page_never_allows_more_than_its_view() {
    use Protection as P;
    let all = [
        P::NO_ACCESS,
        P::READ_ONLY,
        P::WRITE_COPY,
        P::READ_WRITE,
        P::EXECUTE,
        P::EXECUTE_READ,
        P::EXECUTE_WRITE_COPY,
        P::EXECUTE_READ_WRITE,
    ];
    let accepted: [(Protection, &[Protection]); 7] = [
        (P::READ_ONLY, &all[..3]),
        (P::WRITE_COPY, &all[..3]),
        (P::READ_WRITE, &all[..4]),
        (
            P::EXECUTE_READ,
            &[all[0], all[1], all[2], all[4], all[5], all[6]],
        ),
        (
            P::EXECUTE_WRITE_COPY,
            &[all[0], all[1], all[2], all[4], all[5], all[6]],
        ),
        (P::EXECUTE_READ_WRITE, &all),
        (P::NO_ACCESS, &all[..1]),
    ];
    for (view, takes) in accepted {
        let mut space = space(1000);
        let at = map(&mut space, AllocationKind::FileView, view);
        for protection in all {
            let planned = space.plan_protect(at, 4096, protection);
            assert_eq!(
                planned.is_ok(),
                takes.contains(&protection),
                "{protection} in a {view} view"
            );
            if let Err(refusal) = planned {
                assert_eq!(refusal, Refusal::ProtectionNotForView { protection, view });
            }
        }
    }
}

#[test]
fn an_image_keeps_a_private_copy_where_writing_was_asked_for() {
    let mut space = space(1000);
    let mut wanted = request(AllocationKind::ImageView, Protection::EXECUTE_READ_WRITE, 8);
    wanted.pages = Protection::READ_ONLY;
    let plan = space.plan_map(&wanted).unwrap();
    let at = space.apply_map(plan).address();
    for (asked, stored) in [
        (Protection::READ_WRITE, Protection::WRITE_COPY),
        (
            Protection::EXECUTE_READ_WRITE,
            Protection::EXECUTE_WRITE_COPY,
        ),
        (Protection::EXECUTE_READ, Protection::EXECUTE_READ),
    ] {
        let plan = space.plan_protect(at, 4096, asked).unwrap();
        space.apply_protect(plan);
        let region = space.query(at, &NoForeignMemory).unwrap();
        assert_eq!(region.state, RegionState::Committed(stored));
        assert_eq!(region.kind, Some(RegionType::Image));
    }
}

#[test]
fn a_query_says_mapped_and_what_the_view_was_mapped_as() {
    let mut space = space(1000);
    let at = map(&mut space, AllocationKind::FileView, Protection::READ_WRITE);
    let plan = space
        .plan_protect(at + 4096, 1, Protection::READ_ONLY)
        .unwrap();
    space.apply_protect(plan);
    let region = space.query(at + 4096, &NoForeignMemory).unwrap();
    assert_eq!(region.range.count(), PageCount::ONE);
    assert_eq!(region.kind, Some(RegionType::Mapped));
    let base = PageNumber::containing(at);
    assert_eq!(region.allocation, Some((base, Protection::READ_WRITE)));
    assert_eq!(space.access(at + 4096, Access::Read), Verdict::Ok);
    assert_ne!(space.access(at + 4096, Access::Write), Verdict::Ok);
}

#[test]
fn freeing_discarding_and_committing_are_the_wrong_calls_for_a_view_of_a_file() {
    let mut space = space(1000);
    let at = map(&mut space, AllocationKind::FileView, Protection::READ_WRITE);
    let view = PageNumber::containing(at);
    let is_view = Some(Refusal::IsView { view });
    assert_eq!(space.plan_release(at, 0).err(), is_view);
    assert_eq!(space.plan_decommit(at, 4096).err(), is_view);
    assert_eq!(space.plan_decommit(at, 0).err(), is_view);
    assert_eq!(space.plan_discard(at, 4096).err(), is_view);
    assert_eq!(
        space.plan_commit(at, 1, Protection::READ_WRITE).err(),
        Some(Refusal::CommitInFile { page: view })
    );
    assert_eq!(
        space.plan_reset(at, 4096).err(),
        Some(Refusal::ResetInFile { page: view })
    );
    let at = map(
        &mut space,
        AllocationKind::MemoryView,
        Protection::READ_WRITE,
    );
    assert!(space.plan_reset(at, 4096).is_ok());
    // Committing what is committed sets the protection, and costs nothing.
    let plan = space.plan_commit(at, 1, Protection::WRITE_COPY).unwrap();
    assert_eq!(plan.charge(), PageCount::ZERO);
    assert!(matches!(
        space.plan_commit(at, 1, Protection::EXECUTE_READ).err(),
        Some(Refusal::ProtectionNotForView { .. })
    ));
}

#[test]
fn private_memory_is_no_view() {
    let mut space = space(1000);
    let plan = space
        .plan_reserve(&ReserveRequest::anywhere(4096, ENGINE))
        .unwrap();
    let at = space.apply_reserve(plan).address();
    let no_view = Some(Refusal::NotAView { address: at });
    assert_eq!(space.plan_unmap(at, false).err(), no_view);
    assert_eq!(space.plan_flush(at, 0).err(), no_view);
    assert_eq!(
        space.plan_unmap(0x20_0000, false).err(),
        Some(Refusal::NotAView { address: 0x20_0000 })
    );
    assert!(matches!(
        space.plan_unmap(u64::MAX, false).err(),
        Some(Refusal::AddressTooHigh { .. })
    ));
}

#[test]
fn any_address_inside_unmaps_and_the_place_is_free_again() {
    let mut space = space(1000);
    let at = map(&mut space, AllocationKind::FileView, Protection::READ_ONLY);
    let plan = space.plan_unmap(at + 3 * 4096 + 17, false).unwrap();
    assert_eq!(plan.range().address(), at);
    space.apply_release(plan);
    assert_eq!(
        space.query(at, &NoForeignMemory).unwrap().state,
        RegionState::Free
    );
    assert_eq!(
        map(&mut space, AllocationKind::FileView, Protection::READ_ONLY),
        at
    );
}

#[test]
fn views_begin_at_multiples_of_64_kib_and_hold_whole_pages() {
    let mut space = space(1000);
    let mut wanted = request(AllocationKind::FileView, Protection::READ_ONLY, 1);
    wanted.size = 4090;
    wanted.at = Some(ARENA.address() + 4096);
    assert_eq!(
        space.plan_map(&wanted).err(),
        Some(Refusal::ViewMisaligned {
            value: ARENA.address() + 4096
        })
    );
    wanted.at = Some(ARENA.address() + 0x10000);
    let plan = space.plan_map(&wanted).unwrap();
    assert_eq!(plan.range().count(), PageCount::ONE);
    let first = space.apply_map(plan);
    assert_eq!(
        space.plan_map(&wanted).err(),
        Some(Refusal::ConflictingAddresses {
            allocation: first.start()
        })
    );
}

#[test]
fn only_private_copies_are_charged_and_only_once() {
    let mut space = space(20);
    let shared = map(&mut space, AllocationKind::FileView, Protection::READ_WRITE);
    let charged = |space: &AddressSpace| space.commit_account().charged().get();
    assert_eq!(charged(&space), 0);
    let copied = map(&mut space, AllocationKind::FileView, Protection::WRITE_COPY);
    assert_eq!(charged(&space), 8);
    for (from, size) in [(0, 3), (2, 3), (0, 8)] {
        for protection in [Protection::WRITE_COPY, Protection::READ_WRITE] {
            let plan = space
                .plan_protect(shared + from * 4096, size * 4096, protection)
                .unwrap();
            space.apply_protect(plan);
        }
    }
    assert_eq!(charged(&space), 16, "never more than the view has");
    assert!(matches!(
        space
            .plan_map(&request(
                AllocationKind::FileView,
                Protection::WRITE_COPY,
                8
            ))
            .err(),
        Some(Refusal::CommitmentLimit { .. })
    ));
    for at in [shared, copied] {
        let plan = space.plan_unmap(at, false).unwrap();
        space.apply_release(plan);
    }
    assert_eq!(charged(&space), 0);
    assert_eq!(space.totals().committed, PageCount::ZERO);
}

#[test]
fn a_reserved_section_is_committed_through_one_view_and_followed_in_the_others() {
    let mut space = space(1000);
    let mut wanted = request(AllocationKind::MemoryView, Protection::READ_WRITE, 8);
    wanted.reserved = true;
    let plan = space.plan_map(&wanted).unwrap();
    assert_eq!(plan.state(), PageState::Reserved);
    let one = space.apply_map(plan).address();
    wanted.protection = Protection::READ_ONLY;
    wanted.pages = Protection::READ_ONLY;
    let plan = space.plan_map(&wanted).unwrap();
    let other = space.apply_map(plan).address();

    let plan = space
        .plan_commit(one + 4096, 2 * 4096, Protection::READ_WRITE)
        .unwrap();
    assert_eq!(plan.charge(), PageCount::new(2));
    space.apply_commit(plan);
    let seen = PageRange::new(PageNumber::containing(other + 4096), PageCount::new(2));
    let plan = space.plan_follow(seen).unwrap();
    assert_eq!(plan.changes().len(), 1);
    space.apply_follow(plan);
    assert!(space.plan_follow(seen).unwrap().changes().is_empty());
    assert_eq!(
        space.state_at(PageNumber::containing(other + 4096)),
        Some(PageState::Committed(Protection::READ_ONLY)),
        "with the other view's own protection"
    );
    assert_eq!(
        space.state_at(PageNumber::containing(other)),
        Some(PageState::Reserved)
    );
    assert_eq!(space.commit_account().charged(), PageCount::new(2));
    for at in [one, other] {
        let plan = space.plan_unmap(at, false).unwrap();
        space.apply_release(plan);
    }
    assert_eq!(
        space.commit_account().charged(),
        PageCount::new(2),
        "the section keeps what was committed in it"
    );
}

#[test]
fn a_large_view_lies_like_its_file() {
    const GRANULE: u64 = 16;
    let mut space = space(100_000);
    let mut place = |pages, file_page| {
        let plan = space.plan_map(&MapRequest {
            file_page,
            ..request(AllocationKind::FileView, Protection::READ_ONLY, pages)
        });
        space.apply_map(plan.unwrap())
    };
    assert_eq!(place(16, 0).start(), ARENA, "the lowest place");
    for (pages, file_page) in [(512, 0), (600, 0), (5000, 32), (512, 1600), (2048, 512 * 7)] {
        let view = place(pages, file_page);
        assert_eq!(view.count().get(), pages);
        assert_eq!(view.start().get() % 512, file_page % 512, "{pages}");
    }
    // What was skipped is used by smaller ones.
    let second = PageNumber::new(ARENA.get() + GRANULE);
    assert_eq!(place(16, 0).start(), second);
    // At granules only, whatever the file's page is.
    assert_eq!(place(512, 5).start().get() % GRANULE, 0);
}

#[test]
fn a_large_view_needs_room_to_lie_like_its_file() {
    let mut space = AddressSpace::new(PageCount::new(100_000));
    let arena = PageRange::new(ARENA, PageCount::new(608));
    space.add_arena(arena, ENGINE).unwrap();
    let large = request(AllocationKind::FileView, Protection::READ_ONLY, 512);
    let pages = PageCount::new(512 + 496);
    assert_eq!(
        space.plan_map(&large).unwrap_err(),
        Refusal::NoHole { pages }
    );
}

#[test]
fn pages_that_are_committed_as_write_copy_are_charged_once() {
    let mut space = space(12);
    let at = map(
        &mut space,
        AllocationKind::MemoryView,
        Protection::READ_WRITE,
    );
    let charged = |space: &AddressSpace| space.totals().committed.get();
    let commit = |space: &mut AddressSpace, first: u64, pages: u64, protection| {
        let plan = space.plan_commit(at + first * 4096, pages * 4096, protection)?;
        space.apply_commit(plan);
        Ok::<_, Refusal>(())
    };
    assert_eq!(charged(&space), 0, "a view costs nothing");
    commit(&mut space, 0, 3, Protection::WRITE_COPY).unwrap();
    assert_eq!(charged(&space), 3);
    commit(&mut space, 0, 4, Protection::WRITE_COPY).unwrap();
    assert_eq!(charged(&space), 4, "one more");
    // Back and forth: what may have been copied stays charged, and never more than the view has.
    commit(&mut space, 0, 8, Protection::READ_WRITE).unwrap();
    commit(&mut space, 0, 8, Protection::WRITE_COPY).unwrap();
    assert_eq!(charged(&space), 8);
    let plan = space.plan_unmap(at, false).unwrap();
    space.apply_release(plan);
    assert_eq!(charged(&space), 0);
}

#[test]
fn write_copy_pages_need_room_under_the_limit() {
    let mut space = space(2);
    let at = map(
        &mut space,
        AllocationKind::MemoryView,
        Protection::READ_WRITE,
    );
    let refused = space.plan_commit(at, 3 * 4096, Protection::WRITE_COPY);
    assert_eq!(
        refused.unwrap_err(),
        Refusal::CommitmentLimit {
            wanted: PageCount::new(3),
            available: PageCount::new(2)
        }
    );
    assert!(
        space
            .plan_commit(at, 2 * 4096, Protection::WRITE_COPY)
            .is_ok()
    );
}
