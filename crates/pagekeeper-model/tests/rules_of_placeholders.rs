//! The tables of windows-memory-behaviour.md 12 (and 5.1, 5.3, 7) about placeholders, row by row, and what page-granular
//! allocations do to the placement of others. Views in their place: `rules_of_placeholder_views.rs`; random histories:
//! `against_naive.rs`.

mod support;

use pagekeeper_model::*;
use pagekeeper_units::{PageCount, PageNumber};

use support::*;

const NONE: Protection = Protection::NO_ACCESS;

fn replace(
    space: &mut AddressSpace,
    address: u64,
    size: u64,
    protection: Protection,
    commit: bool,
) -> Result<u64, Refusal> {
    let plan = space.plan_replace(&ReplaceRequest {
        address,
        size,
        protection,
        commit,
        write_watch: false,
    })?;
    Ok(space.apply_replace(plan).address())
}

/// First page and size of every allocation, in pages from `base`, with what it is.
fn layout(space: &AddressSpace, base: u64) -> Vec<(u64, u64, PlaceholderRole)> {
    let base = PageNumber::containing(base);
    space
        .allocations_from(base)
        .map(|it| {
            let first = it.range.start().since(base).get();
            (first, it.range.count().get(), it.placeholder)
        })
        .collect()
}

use PlaceholderRole::{Placeholder as Empty, Replacement as Filled};

#[test]
fn a_placeholder_is_reserved_without_access() {
    let mut space = space();
    let base = placeholder(&mut space, 16);
    let region = query(&space, base + PG);
    assert_eq!(region.state, RegionState::Reserved);
    assert_eq!(region.kind, Some(RegionType::Private));
    let start = PageNumber::containing(base);
    assert_eq!(region.allocation, Some((start, NONE)));
    assert_eq!(space.commit_account().charged(), PageCount::ZERO);
    // Nothing else than NOACCESS, and nothing committed.
    for (protection, commit, write_watch) in
        [(RW, false, false), (NONE, true, false), (NONE, false, true)]
    {
        let request = ReserveRequest {
            protection,
            commit,
            write_watch,
            placeholder: true,
            ..ReserveRequest::anywhere(GR, ENGINE)
        };
        let refused = space.plan_reserve(&request).map(|_| ());
        assert_eq!(refused, Err(Refusal::PlaceholderProtected { protection }));
    }
    // Nobody reserves or commits in it, nor decommits nor protects.
    let taken = Err(Refusal::ConflictingAddresses { allocation: start });
    assert_eq!(reserve_at(&mut space, base, GR).map(|_| ()), taken);
    assert_eq!(
        placeholder_at(&mut space, Some(base), GR).map(|_| ()),
        taken
    );
    let empty = Refusal::IsPlaceholder { base: start };
    assert_eq!(commit(&mut space, base, PG, RW), Err(empty));
    assert_eq!(decommit(&mut space, base, PG), Err(empty));
    assert_eq!(protect(&mut space, base, PG, RW), Err(empty));
    // A release is a release.
    assert_eq!(
        release(&mut space, base + PG),
        Err(Refusal::NotAtBase { base: start })
    );
    release(&mut space, base).unwrap();
    assert_eq!(space.totals().allocations, 0);
}

#[test]
fn a_split_gives_up_to_three_each_with_its_own_base() {
    for (first, count, expected) in [
        (0, 4, vec![(0, 4, Empty), (4, 12, Empty)]),
        (4, 4, vec![(0, 4, Empty), (4, 4, Empty), (8, 8, Empty)]),
        (12, 4, vec![(0, 12, Empty), (12, 4, Empty)]),
        (7, 1, vec![(0, 7, Empty), (7, 1, Empty), (8, 8, Empty)]),
    ] {
        let mut space = space();
        let base = placeholder(&mut space, 16);
        preserve(&mut space, base + first * PG, count * PG).unwrap();
        assert_eq!(layout(&space, base), expected);
        for &(first, count, _) in &expected {
            let region = query(&space, base + first * PG);
            let start = PageNumber::containing(base + first * PG);
            assert_eq!(region.allocation, Some((start, NONE)), "its own base");
            assert_eq!(region.range.count().get(), count);
        }
        assert_eq!(space.totals().reserved.get(), 16);
    }
}

#[test]
fn what_cannot_be_split() {
    let mut space = space();
    let base = placeholder(&mut space, 16);
    let whole = pages(base, GR);
    let ordinary = reserve(&mut space, GR);
    let refused = |space: &mut AddressSpace, address, size| preserve(space, address, size).err();
    assert_eq!(refused(&mut space, base, 0), Some(Refusal::SizeZero));
    assert_eq!(
        refused(&mut space, base, GR),
        Some(Refusal::OnePlaceholder { placeholder: whole })
    );
    assert_eq!(
        refused(&mut space, base + 8 * PG, GR),
        Some(Refusal::LeavesAllocation { allocation: whole })
    );
    let other = PageNumber::containing(ordinary);
    assert_eq!(
        refused(&mut space, ordinary, PG),
        Some(Refusal::NotPlaceholder { base: other })
    );
    let free = ordinary + GR;
    assert_eq!(
        refused(&mut space, free, PG),
        Some(Refusal::NotAllocated { address: free })
    );
}

#[test]
fn a_replacement_is_exactly_the_placeholder() {
    let mut space = space();
    let base = placeholder(&mut space, 16);
    let whole = pages(base, GR);
    let wrong = Err(Refusal::NotWholePlaceholder { placeholder: whole });
    for (first, count) in [(0, 8), (0, 32), (8, 8), (1, 15)] {
        let done = replace(&mut space, base + first * PG, count * PG, RW, true);
        assert_eq!(done, wrong, "pages {first}, {count}");
    }
    assert_eq!(replace(&mut space, base, GR, RO, true), Ok(base));
    let region = query(&space, base);
    assert_eq!(region.state, RegionState::Committed(RO));
    assert_eq!(
        region.allocation.unwrap().1,
        RO,
        "AllocationProtect is the new one"
    );
    assert_eq!(space.commit_account().charged().get(), 16);
    // It is an ordinary allocation now, and no placeholder.
    let start = PageNumber::containing(base);
    let again = replace(&mut space, base, GR, RW, false);
    assert_eq!(again, Err(Refusal::NotPlaceholder { base: start }));
    protect(&mut space, base, PG, RW).unwrap();
    decommit(&mut space, base, PG).unwrap();
    commit(&mut space, base, PG, RO).unwrap();
    assert_eq!(layout(&space, base), [(0, 16, Filled)]);
}

#[test]
fn a_replacement_that_cannot_be_committed_leaves_the_placeholder() {
    let mut space = space();
    let base = placeholder(&mut space, 16);
    space.commit_account_mut().set_limit(PageCount::new(15));
    let refused = replace(&mut space, base, GR, RW, true).unwrap_err();
    assert!(matches!(refused, Refusal::CommitmentLimit { .. }));
    assert_eq!(layout(&space, base), [(0, 16, Empty)]);
    assert_eq!(
        replace(&mut space, base, GR, RW, false),
        Ok(base),
        "reserving costs nothing"
    );
    let not_private = Refusal::ProtectionNotForPrivate {
        protection: Protection::WRITE_COPY,
    };
    let other = placeholder(&mut space, 1);
    assert_eq!(
        replace(&mut space, other, PG, Protection::WRITE_COPY, false),
        Err(not_private)
    );
}

#[test]
fn what_replaced_one_can_be_turned_back_all_or_in_part() {
    let mut space = space();
    let base = placeholder(&mut space, 16);
    replace(&mut space, base, GR, RW, true).unwrap();
    preserve(&mut space, base, GR).unwrap();
    assert_eq!(layout(&space, base), [(0, 16, Empty)]);
    assert_eq!(space.commit_account().charged(), PageCount::ZERO);

    replace(&mut space, base, GR, RW, true).unwrap();
    protect(&mut space, base + 2 * PG, PG, RO).unwrap();
    decommit(&mut space, base + 12 * PG, PG).unwrap();
    let lock = space.plan_lock(base + 9 * PG, 2 * PG).unwrap();
    space.apply_lock(lock);
    preserve(&mut space, base + 4 * PG, 6 * PG).unwrap();
    assert_eq!(
        layout(&space, base),
        [(0, 4, Filled), (4, 6, Empty), (10, 6, Filled)]
    );
    // What is left is as it was: states, locks, charge.
    assert_eq!(
        query(&space, base + 2 * PG).state,
        RegionState::Committed(RO)
    );
    assert_eq!(query(&space, base + 12 * PG).state, RegionState::Reserved);
    assert_eq!(query(&space, base + 13 * PG).allocation.unwrap().1, RW);
    assert_eq!(space.commit_account().charged().get(), 9);
    assert_eq!(space.totals().committed.get(), 9);
    assert_eq!(
        space.totals().locked.get(),
        1,
        "one locked page went, one stays"
    );
}

#[test]
fn what_goes_as_a_whole_can_leave_its_placeholder() {
    let mut space = space();
    let base = placeholder(&mut space, 16);
    preserve(&mut space, base + 4 * PG, 4 * PG).unwrap();
    replace(&mut space, base + 4 * PG, 4 * PG, RW, true).unwrap();
    let plan = space.plan_release(base + 4 * PG, 0).unwrap();
    assert_eq!(plan.allocation().placeholder, Filled);
    space.apply_restore(plan);
    assert_eq!(
        layout(&space, base),
        [(0, 4, Empty), (4, 4, Empty), (8, 8, Empty)]
    );
    assert_eq!(space.commit_account().charged(), PageCount::ZERO);
    coalesce(&mut space, base, GR).unwrap();
}

#[test]
#[should_panic(expected = "replaced no placeholder")]
fn an_ordinary_allocation_leaves_no_placeholder() {
    let mut space = space();
    let base = reserve(&mut space, GR);
    let plan = space.plan_release(base, 0).unwrap();
    space.apply_restore(plan);
}

#[test]
fn whole_neighbours_become_one() {
    let mut space = space();
    let base = placeholder(&mut space, 16);
    preserve(&mut space, base + 4 * PG, 4 * PG).unwrap();
    coalesce(&mut space, base, 8 * PG).unwrap();
    assert_eq!(layout(&space, base), [(0, 8, Empty), (8, 8, Empty)]);
    coalesce(&mut space, base, GR).unwrap();
    assert_eq!(layout(&space, base), [(0, 16, Empty)]);
    // Made apart.
    let next = placeholder(&mut space, 16);
    assert_eq!(next, base + GR);
    coalesce(&mut space, base, 2 * GR).unwrap();
    assert_eq!(layout(&space, base), [(0, 32, Empty)]);
    release(&mut space, base).unwrap();
    assert_eq!(reserve(&mut space, 2 * GR), base, "all of it is free again");
}

#[test]
fn what_does_not_become_one() {
    let mut space = space();
    let base = placeholder(&mut space, 16);
    assert_eq!(
        coalesce(&mut space, base, GR),
        Err(Refusal::OnePlaceholder {
            placeholder: pages(base, GR)
        })
    );
    preserve(&mut space, base + 4 * PG, 4 * PG).unwrap();
    let before = layout(&space, base);
    assert_eq!(coalesce(&mut space, base, 0), Err(Refusal::SizeZero));
    let wrong = |first, count| Refusal::NotWholePlaceholder {
        placeholder: pages(base + first * PG, count * PG),
    };
    assert_eq!(coalesce(&mut space, base + PG, 15 * PG), Err(wrong(0, 4)));
    assert_eq!(coalesce(&mut space, base, 9 * PG), Err(wrong(8, 8)));
    replace(&mut space, base + 4 * PG, 4 * PG, RW, false).unwrap();
    let base_of_other = PageNumber::containing(base + 4 * PG);
    assert_eq!(
        coalesce(&mut space, base, GR),
        Err(Refusal::NotPlaceholder {
            base: base_of_other
        })
    );
    release(&mut space, base + 4 * PG).unwrap();
    assert_eq!(
        coalesce(&mut space, base, GR),
        Err(Refusal::NotAllocated {
            address: base + 4 * PG
        })
    );
    assert_eq!(before.len(), 3);
    assert_eq!(layout(&space, base), [(0, 4, Empty), (8, 8, Empty)]);
}

#[test]
fn mappings_made_apart_stay_apart() {
    let mut space = space();
    let far = 0x50_0000_0000;
    placeholder_at(&mut space, Some(far), GR).unwrap();
    placeholder_at(&mut space, Some(far + GR), GR).unwrap();
    let refused = coalesce(&mut space, far, 2 * GR).unwrap_err();
    assert_eq!(
        refused,
        Refusal::CrossesArena {
            arena: pages(far, GR)
        }
    );
}

#[test]
fn a_hole_in_a_granule_is_used_only_when_the_granule_is_free() {
    let mut space = space();
    let base = placeholder(&mut space, 16);
    preserve(&mut space, base + 3 * PG, 2 * PG).unwrap();
    release(&mut space, base + 3 * PG).unwrap();
    let free = query(&space, base + 3 * PG);
    assert_eq!(
        (free.state, free.range.count().get()),
        (RegionState::Free, 2)
    );
    // Two pages are free, yet the address is rounded down to what is taken.
    let taken = Refusal::ConflictingAddresses {
        allocation: PageNumber::containing(base),
    };
    assert_eq!(reserve_at(&mut space, base + 3 * PG, PG), Err(taken));
    assert_eq!(
        reserve(&mut space, PG),
        base + GR,
        "nor does the system choose it"
    );
    // From the granule's beginning on, up to whatever is not free.
    release(&mut space, base).unwrap();
    assert_eq!(reserve(&mut space, 5 * PG), base);
    release(&mut space, base).unwrap();
    assert_ne!(reserve(&mut space, 6 * PG), base, "the sixth page is taken");
    release(&mut space, base + 5 * PG).unwrap();
    assert_eq!(reserve(&mut space, GR), base, "all of the granule is free");
}

#[test]
fn a_reservation_made_for_itself_can_be_divided_and_goes_with_its_last_part() {
    let mut space = space();
    let far = 0x50_0000_0000;
    placeholder_at(&mut space, Some(far), 4 * GR).unwrap();
    preserve(&mut space, far + 5 * PG, 20 * PG).unwrap();
    for (address, last) in [(far + 25 * PG, false), (far, false), (far + 5 * PG, true)] {
        let plan = space.plan_release(address, 0).unwrap();
        let emptied = space.apply_release(plan);
        assert_eq!(emptied, last.then(|| pages(far, 4 * GR)));
    }
    assert_eq!(space.totals().allocations, 0);
}

#[test]
fn a_million_parts_cost_what_a_million_allocations_do() {
    const COUNT: u64 = 1_000_000;
    let mut space = AddressSpace::new(PageCount::new(1 << 30));
    space
        .add_arena(pages(ARENA, 2 * COUNT * PG), ENGINE)
        .unwrap();
    let base = placeholder(&mut space, COUNT);
    for page in 1..COUNT {
        preserve(&mut space, base + page * PG, PG).unwrap_or_else(|refusal| {
            // The last is split off already.
            assert!(page + 1 == COUNT, "{refusal}");
        });
    }
    assert_eq!(space.totals().allocations as u64, COUNT);
    let bytes = space.metadata_bytes().get() / COUNT;
    println!("{bytes} bytes of metadata a part");
    assert!(bytes < 256, "{bytes} bytes of metadata a part");
    for page in (0..COUNT).step_by(997) {
        let region = query(&space, base + page * PG);
        let start = PageNumber::containing(base + page * PG);
        assert_eq!(region.allocation, Some((start, NONE)));
        assert_eq!(region.range.count(), PageCount::ONE);
    }
    coalesce(&mut space, base, COUNT * PG).unwrap();
    assert_eq!(layout(&space, base), [(0, COUNT, Empty)]);
}
