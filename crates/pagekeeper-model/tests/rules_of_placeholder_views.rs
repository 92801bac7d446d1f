//! Views in the place of placeholders (windows-memory-behaviour.md 12): over which, and what they leave.

mod support;

use pagekeeper_model::*;
use pagekeeper_units::PageNumber;

use support::*;

const VIEWS: EngineTag = EngineTag(7);

fn map_over(
    space: &mut AddressSpace,
    at: Option<u64>,
    size: u64,
    kind: AllocationKind,
) -> Result<u64, Refusal> {
    let plan = space.plan_map(&MapRequest {
        at,
        size,
        protection: Protection::READ_WRITE,
        pages: Protection::READ_WRITE,
        kind,
        engine: VIEWS,
        reserved: false,
        replace: true,
        file_page: 0,
    })?;
    assert_eq!(plan.lender(), Some(ENGINE));
    assert_eq!(plan.placement(), Placement::InArena);
    Ok(space.apply_map(plan).address())
}

#[test]
fn a_view_takes_the_place_of_exactly_one_placeholder() {
    let mut space = space();
    let at = placeholder(&mut space, 48);
    preserve(&mut space, at + 16 * PG, 16 * PG).unwrap();
    let middle = at + 16 * PG;
    let mut refused = |address, pages, kind| {
        map_over(&mut space, Some(address), pages * PG, kind).expect_err("not exactly that")
    };
    let memory = AllocationKind::MemoryView;
    for (address, pages) in [(middle, 15), (middle, 17), (middle + PG, 15), (at, 48)] {
        let error = refused(address, pages, memory);
        assert!(matches!(error, Refusal::NotWholePlaceholder { .. }));
    }
    let error = refused(middle + 1, 16, memory);
    assert!(matches!(error, Refusal::ViewMisaligned { .. }));
    let error = refused(middle, 16, AllocationKind::ImageView);
    assert_eq!(error, Refusal::ImageInPlaceholder);
    let error = refused(at + 4096 * PG, 16, memory);
    assert!(matches!(error, Refusal::NotAllocated { .. }));
    assert_eq!(
        map_over(&mut space, Some(middle), 16 * PG, memory),
        Ok(middle)
    );
    let info = space
        .allocation_at(PageNumber::containing(middle))
        .expect("a view");
    assert_eq!(
        (info.kind, info.placeholder, info.engine),
        (memory, PlaceholderRole::Replacement, VIEWS)
    );
    let error = map_over(&mut space, Some(middle), 16 * PG, memory).expect_err("a view already");
    assert!(matches!(error, Refusal::NotPlaceholder { .. }));
    // It is no private memory that could be split, nor a placeholder that could be merged.
    let error = preserve(&mut space, middle, 16 * PG).expect_err("a view");
    assert!(matches!(error, Refusal::IsView { .. }));
    let error = coalesce(&mut space, at, 48 * PG).expect_err("a view among them");
    assert!(matches!(error, Refusal::NotPlaceholder { .. }));
}

#[test]
fn a_view_that_goes_leaves_a_placeholder_or_a_hole() {
    let mut space = space();
    let at = placeholder(&mut space, 32);
    preserve(&mut space, at, 16 * PG).unwrap();
    let kind = AllocationKind::MemoryView;
    map_over(&mut space, Some(at), 16 * PG, kind).unwrap();
    let plan = space.plan_unmap(at + 5 * PG + 3, true).unwrap();
    assert_eq!(plan.lender(), Some(ENGINE));
    space.apply_restore(plan);
    // It is its arena's engine's again, and merges with its neighbour.
    coalesce(&mut space, at, 32 * PG).unwrap();
    let info = space.allocation_at(PageNumber::containing(at)).unwrap();
    assert_eq!(
        (info.range.count().get(), info.engine, info.placeholder),
        (32, ENGINE, PlaceholderRole::Placeholder)
    );
    map_over(&mut space, Some(at), 32 * PG, kind).unwrap();
    let plan = space.plan_unmap(at, false).unwrap();
    assert_eq!(plan.lender(), Some(ENGINE));
    assert!(plan.emptied_arena().is_some());
    space.apply_release(plan);
    assert!(space.allocation_at(PageNumber::containing(at)).is_none());
    // The hole is the arena's engine's: the next reservation of that engine goes there.
    assert_eq!(placeholder(&mut space, 32), at);
}
