//! The tables of windows-memory-behaviour.md 4 and 5, row by row, as far as they concern private memory.

// Longer than 500 lines because it is a table of rules, one case each.

mod support;

use pagekeeper_model::*;
use pagekeeper_units::{HIGHEST_ADDRESS, PageCount, PageNumber};

use support::*;

// 4.1 ------------------------------------------------------------------------------------------------------------

#[test]
fn reserve_rounds_the_address_to_granules_and_the_end_to_pages() {
    let mut space = space();
    for (size, expected) in [(1, 1), (0xFFFC, 16), (0x1_0000, 16), (0x1_0001, 17)] {
        let base = reserve(&mut space, size);
        assert_eq!(base % GR, 0);
        assert_eq!(
            query(&space, base).range.count().get(),
            expected,
            "size {size:#x}"
        );
    }
    let range = reserve_at(&mut space, 0x5000_1010, 0x1000).unwrap();
    assert_eq!(
        (range.address(), range.bytes().get()),
        (0x5000_0000, 0x3000)
    );
}

#[test]
fn commit_rounds_to_pages() {
    let mut space = space();
    let base = reserve(&mut space, 0x10000);
    assert_eq!(commit(&mut space, base + 0x1FFF, 2, RW), Ok(base + PG));
    assert_eq!(query(&space, base + PG).range.count().get(), 2);
}

#[test]
fn reserving_and_committing_in_one_call_charges_at_once() {
    let mut space = space();
    let request = ReserveRequest {
        commit: true,
        ..ReserveRequest::anywhere(0x5000, ENGINE)
    };
    let plan = space.plan_reserve(&request).unwrap();
    let change = plan.commit().unwrap();
    assert_eq!(
        (change.range, change.before),
        (plan.range(), PageState::Reserved)
    );
    assert_eq!(change.after, PageState::Committed(RW));
    assert_eq!(plan.charge().get(), 5);
    space.apply_reserve(plan);
    assert_eq!(space.commit_account().charged().get(), 5);
}

// 4.3 ------------------------------------------------------------------------------------------------------------

#[test]
fn every_protection_value() {
    let bases = [1u32, 2, 4, 8, 0x10, 0x20, 0x40, 0x80];
    for (base, expected) in bases.into_iter().zip(BaseProtection::ALL) {
        let parsed = protection(base);
        assert_eq!(parsed.base(), expected);
        assert_eq!(parsed.to_windows(), base);
        assert_eq!(
            parsed.check_private().is_err(),
            matches!(base, 8 | 0x80),
            "{base:#x}"
        );
        for modifier in [0x100, 0x200, 0x400] {
            let both = Protection::from_windows(base | modifier);
            assert_eq!(both.is_err(), base == 1, "{base:#x} with {modifier:#x}");
            if let Ok(both) = both {
                assert_eq!(both.to_windows(), base | modifier);
            }
        }
        // Checked, then forgotten.
        let targets = Protection::from_windows(base | 0x4000_0000);
        assert_eq!(
            targets,
            if base >= 0x10 {
                Ok(parsed)
            } else {
                invalid(base | 0x4000_0000)
            }
        );
    }
    for value in [
        0,
        3,
        5,
        0xFF,
        0x100,
        0x200,
        0x400,
        0x800,
        0x304,
        0x504,
        0x604,
        0x704,
        1 << 31,
    ] {
        assert_eq!(
            Protection::from_windows(value),
            invalid(value),
            "{value:#x}"
        );
    }
}

fn invalid(value: u32) -> Result<Protection, Refusal> {
    Err(Refusal::ProtectionInvalid { value })
}

#[test]
fn a_mere_reserve_needs_a_protection_for_private_memory_too() {
    let mut space = space();
    for bad in [Protection::WRITE_COPY, Protection::EXECUTE_WRITE_COPY] {
        let request = ReserveRequest {
            protection: bad,
            ..ReserveRequest::anywhere(PG, ENGINE)
        };
        let refusal = Refusal::ProtectionNotForPrivate { protection: bad };
        assert_eq!(space.plan_reserve(&request).unwrap_err(), refusal);
        let base = reserve(&mut space, PG);
        assert_eq!(commit(&mut space, base, PG, bad), Err(refusal));
        commit(&mut space, base, PG, RW).unwrap();
        assert_eq!(protect(&mut space, base, PG, bad), Err(refusal));
    }
}

// 4.4 ------------------------------------------------------------------------------------------------------------

#[test]
fn address_and_size_errors() {
    let mut space = space();
    let high = HIGHEST_ADDRESS + 1;
    let huge = 0x7FFF_FFFE_0000 + 1;
    for (address, size, refusal) in [
        (ARENA, 0, Refusal::SizeZero),
        (0x5000, PG, Refusal::AddressTooLow { address: 0x5000 }),
        (0xFFFF, PG, Refusal::AddressTooLow { address: 0xFFFF }),
        (high, PG, Refusal::AddressTooHigh { address: high }),
        (u64::MAX, PG, Refusal::AddressTooHigh { address: u64::MAX }),
        (
            ARENA,
            huge,
            Refusal::EndsPastAddressSpace {
                address: ARENA,
                size: huge,
            },
        ),
        (
            ARENA,
            u64::MAX,
            Refusal::EndsPastAddressSpace {
                address: ARENA,
                size: u64::MAX,
            },
        ),
    ] {
        assert_eq!(
            reserve_at(&mut space, address, size),
            Err(refusal),
            "{address:#x} {size:#x}"
        );
        assert_eq!(
            commit(&mut space, address, size, RW),
            Err(refusal),
            "{address:#x} {size:#x}"
        );
        assert_eq!(space.plan_reset(address, size).unwrap_err(), refusal);
    }
    for size in [huge, u64::MAX] {
        let request = ReserveRequest::anywhere(size, ENGINE);
        let refusal = Refusal::EndsPastAddressSpace { address: 0, size };
        assert_eq!(space.plan_reserve(&request).unwrap_err(), refusal);
    }
    // The last 64 KiB of user space cannot be had.
    let refusal = Refusal::EndsPastAddressSpace {
        address: high - GR,
        size: PG,
    };
    assert_eq!(reserve_at(&mut space, high - GR, PG), Err(refusal));
    assert!(reserve_at(&mut space, high - 2 * GR, GR).is_ok());
    assert!(reserve_at(&mut space, GR, PG).is_ok(), "the lowest address");
}

#[test]
fn reserving_what_is_taken_conflicts() {
    let mut space = space();
    let range = reserve_at(&mut space, ARENA, 0x3000).unwrap();
    let conflict = Err(Refusal::ConflictingAddresses {
        allocation: range.start(),
    });
    assert_eq!(reserve_at(&mut space, ARENA, PG), conflict);
    // The rest of the block is free, yet a request there is rounded down and collides (section 3).
    assert_eq!(query(&space, ARENA + 0x3000).state, RegionState::Free);
    assert_eq!(reserve_at(&mut space, ARENA + 0x8000, PG), conflict);
    assert_eq!(reserve_at(&mut space, ARENA - GR, 2 * GR), conflict);
    assert!(reserve_at(&mut space, ARENA + GR, PG).is_ok());
}

#[test]
fn no_hole_is_a_refusal_of_its_own_and_an_arena_cures_it() {
    let mut space = space();
    let request = ReserveRequest::anywhere(0x2000_0000, ENGINE);
    let refusal = Refusal::NoHole {
        pages: PageCount::new(0x20000),
    };
    assert_eq!(space.plan_reserve(&request).unwrap_err(), refusal);
    space
        .add_arena(pages(0x10_0000_0000, 0x4000_0000), ENGINE)
        .unwrap();
    assert_eq!(
        space.plan_reserve(&request).unwrap().range().address(),
        0x10_0000_0000
    );
    // Another engine's arena does not count.
    let other = ReserveRequest::anywhere(PG, EngineTag(9));
    assert_eq!(
        space.plan_reserve(&other).unwrap_err(),
        Refusal::NoHole {
            pages: PageCount::ONE
        }
    );
}

#[test]
fn commit_stays_inside_one_allocation() {
    let mut space = space();
    let first = reserve_at(&mut space, ARENA, GR).unwrap();
    reserve_at(&mut space, ARENA + GR, GR).unwrap();
    let leaves = Err(Refusal::LeavesAllocation { allocation: first });
    assert_eq!(
        commit(&mut space, ARENA + GR - PG, 2 * PG, RW),
        leaves,
        "two neighbours"
    );
    assert_eq!(commit(&mut space, ARENA, GR + 1, RW), leaves);
    let free = ARENA + 4 * GR;
    assert_eq!(
        commit(&mut space, free, PG, RW),
        Err(Refusal::NotAllocated { address: free })
    );
    assert_eq!(
        space.totals().committed,
        PageCount::ZERO,
        "nothing was changed"
    );
}

#[test]
fn the_commit_limit_refuses_and_may_fall_below_the_charge() {
    let mut space = space();
    space.commit_account_mut().set_limit(PageCount::new(10));
    let base = reserve(&mut space, 1 << 30 >> 4);
    commit(&mut space, base, 8 * PG, RW).unwrap();
    let refusal = |wanted, available| {
        let (wanted, available) = (PageCount::new(wanted), PageCount::new(available));
        Err(Refusal::CommitmentLimit { wanted, available })
    };
    assert_eq!(
        commit(&mut space, base, 11 * PG, RW),
        refusal(3, 2),
        "only new pages are charged"
    );
    assert_eq!(
        space.commit_account().peak().get(),
        8,
        "a refused commit leaves the peak"
    );
    commit(&mut space, base, 10 * PG, RW).unwrap();
    space.commit_account_mut().set_limit(PageCount::new(4));
    assert_eq!(
        commit(&mut space, base, 10 * PG, RO),
        Ok(base),
        "a recommit costs nothing"
    );
    assert_eq!(commit(&mut space, base, 11 * PG, RW), refusal(1, 0));
    decommit(&mut space, base, 7 * PG).unwrap();
    commit(&mut space, base, PG, RW).unwrap();
    assert_eq!(space.commit_account().charged().get(), 4);
    let together = ReserveRequest {
        commit: true,
        ..ReserveRequest::anywhere(PG, ENGINE)
    };
    assert_eq!(
        space.plan_reserve(&together).unwrap_err(),
        refusal(1, 0).unwrap_err()
    );
    release(&mut space, base).unwrap();
    assert_eq!(space.commit_account().charged(), PageCount::ZERO);
    assert_eq!(space.commit_account().peak().get(), 10);
}

// 4.5 ------------------------------------------------------------------------------------------------------------

#[test]
fn a_recommit_sets_the_protection_and_costs_nothing() {
    let mut space = space();
    let base = reserve(&mut space, GR);
    commit(&mut space, base + PG, PG, RO).unwrap();
    let plan = space.plan_commit(base, 3 * PG, RW).unwrap();
    assert_eq!(plan.charge().get(), 2);
    let shown: Vec<_> = plan.changes().iter().map(|c| (c.before, c.after)).collect();
    let after = PageState::Committed(RW);
    let before = [
        PageState::Reserved,
        PageState::Committed(RO),
        PageState::Reserved,
    ];
    assert_eq!(
        shown,
        before.map(|before| (before, after)),
        "a mixed range is accepted"
    );
    space.apply_commit(plan);
    let region = query(&space, base);
    assert_eq!(
        (region.range.count().get(), region.state),
        (3, RegionState::Committed(RW))
    );
    let again = space.plan_commit(base, 3 * PG, RW).unwrap();
    assert!(
        again.changes().is_empty(),
        "nothing changes: there is nothing to carry out"
    );
}

#[test]
fn a_commit_may_be_wider_than_the_reservation_and_re_arm_a_guard() {
    let mut space = space();
    let request = ReserveRequest {
        protection: Protection::NO_ACCESS,
        ..ReserveRequest::anywhere(GR, ENGINE)
    };
    let base = reserve_with(&mut space, request).unwrap().address();
    commit(&mut space, base, PG, RW).unwrap();
    let region = query(&space, base);
    assert_eq!(region.state, RegionState::Committed(RW));
    assert_eq!(
        region.allocation.unwrap().1,
        Protection::NO_ACCESS,
        "AllocationProtect stays"
    );
    commit(&mut space, base, PG, RW.with_guard()).unwrap();
    assert!(space.clear_guard(PageNumber::containing(base)));
    commit(&mut space, base, PG, RW.with_guard()).unwrap();
    assert!(
        space.clear_guard(PageNumber::containing(base)),
        "armed again"
    );
}

// 4.6 ------------------------------------------------------------------------------------------------------------

#[test]
fn reset_takes_whole_pages_and_tolerates_reserved_ones() {
    let mut space = space();
    let base = reserve(&mut space, GR);
    commit(&mut space, base + PG, 2 * PG, RW).unwrap();
    let plan = space.plan_reset(base + 1, 4 * PG).unwrap();
    assert_eq!(plan.address(), base);
    let ranges: Vec<_> = plan.committed().iter().map(|run| run.range).collect();
    assert_eq!(ranges, [pages(base + PG, 2 * PG)]);
    assert!(
        space
            .plan_reset(base + PG + 1, PG)
            .unwrap()
            .committed()
            .is_empty()
    );
    let allocation = pages(base, GR);
    let leaves = Refusal::LeavesAllocation { allocation };
    assert_eq!(space.plan_reset(base, GR + 1).unwrap_err(), leaves);
    let free = Refusal::NotAllocated { address: base + GR };
    assert_eq!(space.plan_reset(base + GR, PG).unwrap_err(), free);
}

// 4.7 ------------------------------------------------------------------------------------------------------------

#[test]
fn top_down_takes_the_highest_place_and_the_rest_the_lowest() {
    let mut space = space();
    let end = ARENA + 0x1000_0000;
    let top = ReserveRequest {
        top_down: true,
        ..ReserveRequest::anywhere(0x3000, ENGINE)
    };
    assert_eq!(reserve_with(&mut space, top).unwrap().address(), end - GR);
    assert_eq!(
        reserve_with(&mut space, top).unwrap().address(),
        end - 2 * GR
    );
    assert_eq!(reserve(&mut space, 0x3000), ARENA);
    assert_eq!(reserve(&mut space, 0x3000), ARENA + GR);
    release(&mut space, ARENA).unwrap();
    assert_eq!(
        reserve(&mut space, 2 * GR),
        ARENA + 2 * GR,
        "the first hole is too small"
    );
    assert_eq!(reserve(&mut space, GR), ARENA, "but not for this one");
    let at = ReserveRequest {
        top_down: true,
        ..ReserveRequest::at(ARENA + 8 * GR, PG, ENGINE)
    };
    assert_eq!(
        reserve_with(&mut space, at).unwrap().address(),
        ARENA + 8 * GR,
        "no effect"
    );
}

// 5 --------------------------------------------------------------------------------------------------------------

#[test]
fn decommit_takes_every_page_that_it_touches() {
    let mut space = space();
    let base = reserve(&mut space, GR);
    commit(&mut space, base, GR, RW).unwrap();
    decommit(&mut space, base + PG - 1, 2).unwrap();
    assert_eq!(query(&space, base).state, RegionState::Reserved);
    assert_eq!(query(&space, base).range.count().get(), 2);
    assert_eq!(space.commit_account().charged().get(), 14);
    let plan = space.plan_decommit(base, 4 * PG).unwrap();
    assert_eq!(
        plan.refund().get(),
        2,
        "reserved pages in the range are fine"
    );
    space.apply_decommit(plan);
    let region = query(&space, base);
    assert_eq!(
        (region.state, region.state.protect()),
        (RegionState::Reserved, 0)
    );
    assert_eq!(region.allocation.unwrap().1, RW);
}

#[test]
fn decommit_and_release_sizes() {
    let mut space = space();
    let base = reserve(&mut space, 3 * PG);
    let allocation = pages(base, 3 * PG);
    commit(&mut space, base, 3 * PG, RW).unwrap();
    let base_page = PageNumber::containing(base);
    let not_at_base = Err(Refusal::NotAtBase { base: base_page });
    assert_eq!(decommit(&mut space, base + PG, 0), not_at_base);
    assert_eq!(
        decommit(&mut space, base, 3 * PG + 1),
        Err(Refusal::DecommitPastEnd { allocation })
    );
    decommit(&mut space, base + PG - 1, 0).unwrap();
    assert_eq!(
        space.totals().committed,
        PageCount::ZERO,
        "size 0 in the first page: everything"
    );
    assert_eq!(
        space.plan_release(base, PG).unwrap_err(),
        Refusal::SizeNotZero { size: PG }
    );
    assert_eq!(release(&mut space, base + PG), not_at_base);
    for address in [0, 0x5000, base + 3 * PG] {
        let free = Err(Refusal::NotAllocated { address });
        assert_eq!(release(&mut space, address), free);
        assert_eq!(decommit(&mut space, address, PG), free);
    }
    let high = HIGHEST_ADDRESS + 1;
    assert_eq!(
        release(&mut space, high),
        Err(Refusal::AddressTooHigh { address: high })
    );
    assert_eq!(
        decommit(&mut space, high, PG),
        Err(Refusal::AddressTooHigh { address: high })
    );
    release(&mut space, base + PG - 1).unwrap();
    assert_eq!(space.totals().reserved, PageCount::ZERO);
}

#[test]
fn decommit_with_release_is_a_release_unless_strict() {
    let mut space = space();
    let base = reserve(&mut space, GR);
    let both = FreeRequest::DecommitAndRelease;
    assert_eq!(
        space.plan_free(base, 0, both, true).unwrap_err(),
        Refusal::DecommitWithRelease
    );
    assert!(matches!(
        space.plan_free(base, 0, both, false),
        Ok(FreePlan::Release(_))
    ));
    let refusal = Refusal::SizeNotZero { size: GR };
    assert_eq!(space.plan_free(base, GR, both, false).unwrap_err(), refusal);
    let plain = space.plan_free(base, GR, FreeRequest::Decommit, true);
    assert!(matches!(plain, Ok(FreePlan::Decommit(_))));
}

#[test]
fn release_unlocks_and_tells_of_an_arena_of_its_own() {
    let mut space = space();
    let range = reserve_at(&mut space, 0x7000_0000, 3 * PG).unwrap();
    assert_eq!(space.arena_at(range.start()).unwrap().range, range);
    commit(&mut space, 0x7000_0000, PG, RW).unwrap();
    let plan = space.plan_lock(0x7000_0000, PG).unwrap();
    space.apply_lock(plan);
    let plan = space.plan_release(0x7000_0000, 0).unwrap();
    assert_eq!(
        (plan.refund().get(), plan.emptied_arena()),
        (1, Some(range))
    );
    assert_eq!(space.remove_arena(range), Err(ArenaError::InUse(range)));
    assert_eq!(space.apply_release(plan), Some(range));
    assert_eq!(space.totals().locked, PageCount::ZERO);
    space.remove_arena(range).unwrap();
    assert_eq!(space.access(0x7000_0000, Access::Read), Verdict::Foreign);
}
