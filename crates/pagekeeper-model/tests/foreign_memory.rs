//! Queries beside and outside our own memory: section 7's merging rules and product.md's "foreign memory".

use pagekeeper_model::{
    AddressSpace, EngineTag, ForeignKind, ForeignMapping, NoForeignMemory, Protection, Refusal,
    RegionState, RegionType, ReserveRequest,
};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

const ENGINE: EngineTag = EngineTag(0);

fn range(start: u64, end: u64) -> PageRange {
    PageRange::between(PageNumber::new(start), PageNumber::new(end))
}

fn mapping(start: u64, end: u64, rights: &str, kind: ForeignKind) -> ForeignMapping {
    let range = range(start, end);
    ForeignMapping {
        range,
        allocation_base: range.start(),
        readable: rights.contains('r'),
        writable: rights.contains('w'),
        executable: rights.contains('x'),
        shared: rights.contains('s'),
        kind,
    }
}

fn space(arenas: &[(u64, u64)]) -> AddressSpace {
    let mut space = AddressSpace::new(PageCount::new(1000));
    for &(start, end) in arenas {
        space.add_arena(range(start, end), ENGINE).unwrap();
    }
    space
}

fn reserve_at(space: &mut AddressSpace, page: u64, pages: u64) {
    let request = ReserveRequest::at(page * 4096, pages * 4096, ENGINE);
    let plan = space.plan_reserve(&request).unwrap();
    space.apply_reserve(plan);
}

#[test]
fn every_kind_of_foreign_memory_has_a_type_and_is_never_free() {
    use ForeignKind as K;
    use RegionType as T;
    let rows = [
        ("r", K::Image, T::Image, Some(2), 0x80),
        ("rx", K::Image, T::Image, Some(0x20), 0x80),
        ("rw", K::Image, T::Image, Some(8), 0x80),
        ("rwx", K::Image, T::Image, Some(0x80), 0x80),
        ("", K::Image, T::Image, Some(1), 0x80),
        ("r", K::File, T::Mapped, Some(2), 2),
        ("rws", K::File, T::Mapped, Some(4), 4),
        ("rw", K::File, T::Mapped, Some(8), 8),
        ("rws", K::Anonymous, T::Mapped, Some(4), 4),
        ("rw", K::Anonymous, T::Private, Some(4), 4),
        ("x", K::Anonymous, T::Private, Some(0x10), 0x10),
        ("", K::Anonymous, T::Private, None, 1),
        ("rw", K::Stack, T::Private, Some(4), 4),
        ("rwx", K::Heap, T::Private, Some(0x40), 0x40),
    ];
    let space = space(&[]);
    for (rights, kind, expected, protect, allocation_protect) in rows {
        let map = vec![mapping(100, 200, rights, kind)];
        let region = space.query(150 * 4096 + 7, &map).unwrap();
        assert_eq!(
            region.range,
            range(150, 200),
            "from the queried page upwards"
        );
        assert_eq!(region.kind, Some(expected), "{rights} {kind:?}");
        let state = protect.map_or(RegionState::Reserved, |windows| {
            RegionState::Committed(Protection::from_windows(windows).unwrap())
        });
        assert_eq!(region.state, state, "{rights} {kind:?}");
        let (base, protection) = region.allocation.unwrap();
        assert_eq!(
            (base.get(), protection.to_windows()),
            (100, allocation_protect)
        );
    }
}

#[test]
fn an_image_answers_with_its_own_base() {
    let mut part = mapping(300, 310, "rw", ForeignKind::Image);
    part.allocation_base = PageNumber::new(280);
    let region = space(&[]).query(300 * 4096, &vec![part]).unwrap();
    assert_eq!(region.allocation.unwrap().0.get(), 280);
}

#[test]
fn free_space_runs_through_empty_arenas_up_to_what_is_taken() {
    // The kernel's map shows our arenas too; a foreign mapping lies between the second and the third.
    let mut space = space(&[(160, 320), (320, 480), (640, 800)]);
    let ours = mapping(160, 480, "rw", ForeignKind::Anonymous);
    let foreign = mapping(500, 510, "r", ForeignKind::File);
    let third = mapping(640, 800, "rw", ForeignKind::Anonymous);
    let map = vec![ours, foreign, third];
    let free = |space: &AddressSpace, page: u64| {
        let region = space.query(page * 4096, &map).unwrap();
        assert_eq!(region.state, RegionState::Free, "page {page}");
        region.range
    };
    assert_eq!(free(&space, 20), range(20, 500));
    assert_eq!(free(&space, 200), range(200, 500), "inside an arena");
    assert_eq!(
        free(&space, 490),
        range(490, 500),
        "between arena and foreign mapping"
    );
    assert_eq!(free(&space, 510).start().get(), 510);
    reserve_at(&mut space, 336, 3);
    assert_eq!(
        free(&space, 20),
        range(20, 336),
        "ends at the next allocation"
    );
    assert_eq!(
        free(&space, 339),
        range(339, 500),
        "the unusable tail of the block is free"
    );
    reserve_at(&mut space, 640, 160);
    assert_eq!(free(&space, 600), range(600, 640));
}

#[test]
fn a_mapping_that_the_kernel_merged_with_an_arena_is_told_apart() {
    let space = space(&[(160, 320)]);
    let map = vec![mapping(100, 400, "rw", ForeignKind::Anonymous)];
    let region = |page: u64| space.query(page * 4096, &map).unwrap();
    assert_eq!(region(100).range, range(100, 160));
    assert_eq!(region(100).kind, Some(RegionType::Private));
    assert_eq!(
        (region(200).range, region(200).state),
        (range(200, 320), RegionState::Free)
    );
    assert_eq!(region(320).range, range(320, 400));
    assert_eq!(region(320).kind, Some(RegionType::Private));
}

#[test]
fn foreign_memory_in_the_last_granule_is_shown() {
    // Without address randomisation the main stack lies there.
    let top = 0x7_FFFF_FFE0;
    let map = vec![mapping(top - 8, top + 0x1F, "rw", ForeignKind::Stack)];
    let space = space(&[]);
    let region = space.query((top + 1) * 4096, &map).unwrap();
    assert_eq!(
        region.range,
        range(top + 1, top + 16),
        "clipped to what programs may use"
    );
    assert_eq!(region.kind, Some(RegionType::Private));
    let region = space.query((top - 20) * 4096, &map).unwrap();
    assert_eq!(
        (region.range, region.state),
        (range(top - 20, top - 8), RegionState::Free)
    );
}

#[test]
fn adjacent_reservations_never_merge() {
    let mut space = space(&[(160, 800)]);
    reserve_at(&mut space, 160, 16);
    reserve_at(&mut space, 176, 16);
    let region = space.query(160 * 4096, &NoForeignMemory).unwrap();
    assert_eq!(region.range, range(160, 176));
}

#[test]
fn a_changed_page_splits_a_region_and_restoring_merges_it() {
    let mut space = space(&[(160, 2048)]);
    reserve_at(&mut space, 160, 1000);
    let count = |space: &AddressSpace| space.regions(range(160, 1160)).count();
    assert_eq!(count(&space), 1);
    let plan = space
        .plan_commit(160 * 4096, 1000 * 4096, Protection::READ_WRITE)
        .unwrap();
    space.apply_commit(plan);
    for page in [300, 700, 900] {
        let plan = space
            .plan_protect(page * 4096, 4096, Protection::READ_ONLY)
            .unwrap();
        space.apply_protect(plan);
    }
    assert_eq!(count(&space), 7);
    for page in [300, 700, 900] {
        let plan = space
            .plan_protect(page * 4096, 4096, Protection::READ_WRITE)
            .unwrap();
        space.apply_protect(plan);
    }
    assert_eq!(count(&space), 1);
    let clipped: Vec<_> = space
        .regions(range(0, 200))
        .map(|region| region.range)
        .collect();
    assert_eq!(clipped, [range(160, 200)]);
}

#[test]
fn reservations_keep_clear_of_arena_edges_and_other_engines() {
    let mut space = space(&[(160, 320), (320, 480)]);
    space.add_arena(range(640, 800), EngineTag(7)).unwrap();
    let refusal = |page: u64, pages: u64| {
        let request = ReserveRequest::at(page * 4096, pages * 4096, ENGINE);
        space.plan_reserve(&request).map(|plan| plan.range())
    };
    let crosses = Err(Refusal::CrossesArena {
        arena: range(160, 320),
    });
    assert_eq!(
        refusal(304, 32),
        crosses,
        "two arenas that touch are still two"
    );
    assert_eq!(refusal(144, 32), crosses, "begins outside");
    assert_eq!(
        refusal(640, 4),
        Err(Refusal::ArenaOfOtherEngine {
            engine: EngineTag(7)
        })
    );
    assert_eq!(refusal(304, 16), Ok(range(304, 320)));
    assert_eq!(refusal(480, 16), Ok(range(480, 496)));
}
