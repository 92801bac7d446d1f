//! The tables of windows-memory-behaviour.md 6, 7, 8 and 10, row by row, as far as they concern private memory.

mod support;

use pagekeeper_model::*;
use pagekeeper_units::{HIGHEST_ADDRESS, PageCount, PageNumber};

use support::*;

// 6 --------------------------------------------------------------------------------------------------------------

#[test]
fn protect_answers_the_first_pages_old_value_and_is_all_or_nothing() {
    let mut space = space();
    let base = reserve(&mut space, GR);
    commit(&mut space, base, 2 * PG, RW).unwrap();
    commit(&mut space, base + 2 * PG, PG, RO.with_guard()).unwrap();
    assert_eq!(
        protect(&mut space, base + 2 * PG, 1, RO.with_guard()),
        Ok(RO.with_guard())
    );
    assert_eq!(
        protect(&mut space, base + PG - 1, 2, RO),
        Ok(RW),
        "both pages"
    );
    assert_eq!(query(&space, base).range.count().get(), 2);
    let page = PageNumber::containing(base + 3 * PG);
    let refusal = Err(Refusal::NotCommitted { page });
    assert_eq!(protect(&mut space, base, GR, RW), refusal);
    assert_eq!(
        query(&space, base).state,
        RegionState::Committed(RO),
        "nothing was changed"
    );
    let allocation = pages(base, GR);
    let leaves = Err(Refusal::LeavesAllocation { allocation });
    assert_eq!(protect(&mut space, base, GR + 1, RW), leaves);
    let free = base + GR;
    assert_eq!(
        protect(&mut space, free, PG, RW),
        Err(Refusal::NotAllocated { address: free })
    );
    assert_eq!(protect(&mut space, base, 0, RW), Err(Refusal::SizeZero));
}

#[test]
fn cache_modifiers_belong_to_the_allocation() {
    for (allocated, asked, reported) in [
        (0x204, 4, 0x204),
        (0x204, 2, 0x202),
        (4, 0x202, 2),
        (0x404, 4, 0x404),
        (0x204, 0x104, 0x304),
    ] {
        let mut space = space();
        let request = ReserveRequest {
            protection: protection(allocated),
            commit: true,
            ..ReserveRequest::anywhere(GR, ENGINE)
        };
        let base = reserve_with(&mut space, request).unwrap().address();
        let old = protect(&mut space, base, PG, protection(asked)).unwrap();
        assert_eq!(old.to_windows(), allocated);
        assert_eq!(
            query(&space, base).state.protect(),
            reported,
            "{allocated:#x} {asked:#x}"
        );
    }
    let mut space = space();
    let base = reserve(&mut space, GR);
    commit(&mut space, base, PG, RW).unwrap();
    commit(&mut space, base + PG, PG, protection(0x204)).unwrap();
    assert_eq!(query(&space, base).range.count().get(), 2, "one region");
}

// 8, 10 ----------------------------------------------------------------------------------------------------------

#[test]
fn what_an_access_does() {
    use Access::{Execute, Read, Write};
    for (windows, allowed) in [
        (1, &[][..]),
        (2, &[Read][..]),
        (4, &[Read, Write][..]),
        (0x10, &[Read, Execute][..]),
        (0x20, &[Read, Execute][..]),
        (0x40, &[Read, Write, Execute][..]),
    ] {
        let mut space = space();
        let base = reserve(&mut space, GR);
        let state = PageState::Committed(protection(windows));
        commit(&mut space, base, PG, protection(windows)).unwrap();
        for access in [Read, Write, Execute] {
            let expected = match allowed.contains(&access) {
                true => Verdict::Ok,
                false => Verdict::AccessViolation(Some(state)),
            };
            assert_eq!(
                space.access(base + 5, access),
                expected,
                "{windows:#x} {access:?}"
            );
            let reserved = Verdict::AccessViolation(Some(PageState::Reserved));
            assert_eq!(space.access(base + PG, access), reserved);
            assert_eq!(
                space.access(base + GR, access),
                Verdict::AccessViolation(None)
            );
        }
        if windows != 1 {
            let page = PageNumber::containing(base);
            protect(&mut space, base, PG, protection(windows).with_guard()).unwrap();
            let guard = Verdict::Guard(protection(windows));
            assert_eq!(space.access(base, Write), guard, "the guard comes first");
            assert!(
                space.clear_guard(page) && !space.clear_guard(page),
                "one-shot"
            );
            assert_eq!(space.state_at(page), Some(state));
        }
    }
}

#[test]
fn guards_go_off_page_by_page() {
    let mut space = space();
    let base = reserve(&mut space, GR);
    commit(&mut space, base, 4 * PG, RW.with_guard()).unwrap();
    query(&space, base);
    for page in pages(base, 4 * PG).pages() {
        assert_eq!(space.guard_at(page), Some(RW));
        assert!(space.clear_guard(page));
    }
    assert_eq!(query(&space, base).state, RegionState::Committed(RW));
    assert!(
        !space.clear_guard(PageNumber::containing(base + 5 * PG)),
        "reserved"
    );
    assert!(!space.clear_guard(PageNumber::new(5)), "free");
}

#[test]
fn locking() {
    let mut space = space();
    let base = reserve(&mut space, 16 * GR);
    let page = |number: u64| PageNumber::containing(base + number * PG);
    commit(&mut space, base, 60 * PG, RW).unwrap();
    protect(&mut space, base + 50 * PG, PG, Protection::NO_ACCESS).unwrap();
    protect(&mut space, base + 51 * PG, PG, RW.with_guard()).unwrap();
    let not_accessible = |number| Refusal::NotAccessible { page: page(number) };
    assert_eq!(
        space.plan_lock(base + 50 * PG, PG).unwrap_err(),
        not_accessible(50)
    );
    assert_eq!(
        space.plan_lock(base + 59 * PG, 2 * PG).unwrap_err(),
        not_accessible(60)
    );
    let guard = Refusal::GuardPage { page: page(51) };
    assert_eq!(space.plan_lock(base + 51 * PG, 1).unwrap_err(), guard);
    assert!(space.clear_guard(page(51)), "the caller disarms it");
    assert!(
        space.plan_lock(base + 51 * PG, 1).is_ok(),
        "the second call works"
    );
    // 50 pages minimum less 8 of overhead.
    let quota = |wanted, available| {
        let (wanted, available) = (PageCount::new(wanted), PageCount::new(available));
        Refusal::WorkingSetQuota { wanted, available }
    };
    assert_eq!(space.plan_lock(base, 43 * PG).unwrap_err(), quota(43, 42));
    for expected in [42, 0] {
        let plan = space.plan_lock(base, 42 * PG).unwrap();
        assert_eq!(plan.added().get(), expected, "there is no lock count");
        space.apply_lock(plan);
    }
    assert_eq!(space.plan_lock(base, 43 * PG).unwrap_err(), quota(1, 0));
    let not_locked = Refusal::NotLocked { page: page(42) };
    assert_eq!(
        space.plan_unlock(base + 40 * PG, 4 * PG).unwrap_err(),
        not_locked
    );
    assert_eq!(
        space.not_locked(pages(base + 40 * PG, 4 * PG)),
        [pages(base + 42 * PG, 2 * PG)]
    );
    let plan = space.plan_unlock(base + PG, 2 * PG).unwrap();
    space.apply_unlock(plan);
    assert_eq!(space.totals().locked.get(), 40);
    decommit(&mut space, base, 10 * PG).unwrap();
    assert_eq!(
        space.totals().locked.get(),
        32,
        "a decommitted page is not locked"
    );
    assert_eq!(
        query(&space, base + 20 * PG).range.count().get(),
        30,
        "a lock splits no region"
    );
}

#[test]
fn discard_and_prefetch() {
    let mut space = space();
    let base = reserve(&mut space, GR);
    let page = |number: u64| PageNumber::containing(base + number * PG);
    commit(&mut space, base, 4 * PG, RW).unwrap();
    commit(&mut space, base + 3 * PG, PG, RO).unwrap();
    assert_eq!(
        space.plan_discard(base, 3 * PG).unwrap().range(),
        pages(base, 3 * PG)
    );
    let unaligned = Refusal::NotPageAligned {
        address: base + 1,
        size: PG,
    };
    assert_eq!(space.plan_discard(base + 1, PG).unwrap_err(), unaligned);
    let read_only = Refusal::NotReadWrite {
        page: page(3),
        protection: RO,
    };
    assert_eq!(space.plan_discard(base, 4 * PG).unwrap_err(), read_only);
    let reserved = Refusal::NotCommitted { page: page(4) };
    assert_eq!(space.plan_discard(base + 4 * PG, PG).unwrap_err(), reserved);

    assert_eq!(space.plan_prefetch(&[]).unwrap_err(), Refusal::NoRanges);
    assert_eq!(
        space.plan_prefetch(&[(base, 0)]).unwrap_err(),
        Refusal::SizeZero
    );
    let entries = [
        (0, 1),
        (u64::MAX, 9),
        (base + 1, GR),
        (base + 3 * PG, 1),
        (base - 9, 10),
    ];
    let plan = space.plan_prefetch(&entries).unwrap();
    let [all, last, first] = [(0, 3), (3, 1), (0, 1)].map(|(at, n)| pages(base + at * PG, n * PG));
    assert_eq!(plan.ranges(), [all, last, last, first]);
}

#[test]
fn working_set_limits() {
    let available = PageCount::new(100_000);
    let mut limits = WorkingSetLimits::DEFAULT;
    assert_eq!(
        (
            limits.minimum().bytes().get(),
            limits.maximum().bytes().get()
        ),
        (204_800, 1_413_120)
    );
    assert_eq!(limits.flags().bits(), 0xA);
    let before = limits;
    assert_eq!(
        limits.set(u64::MAX, u64::MAX, 0, available),
        Ok(WorkingSetChange::Trim)
    );
    assert_eq!(limits, before, "a trim leaves the limits");
    for (minimum, maximum) in [
        (0, 0),
        (0, 100 * PG),
        (u64::MAX, 100 * PG),
        (100 * PG, u64::MAX),
        (100 * PG, 99 * PG),
        (PG, 12 * PG),
        (PG, 19 * PG),
        (PG, (100_000 - 512) * PG),
    ] {
        let refused = limits.set(minimum, maximum, 0, available);
        assert!(
            matches!(refused, Err(Refusal::WorkingSetLimits { .. })),
            "{minimum} {maximum}"
        );
    }
    for flags in [3, 0xC, 0xF, 0x10] {
        let refused = limits.set(100 * PG, 200 * PG, flags, available);
        assert_eq!(refused, Err(Refusal::WorkingSetFlags { flags }));
    }
    assert_eq!(limits, before, "a refusal changes nothing");
    limits.set(PG, 200 * PG + 1, 1, available).unwrap();
    assert_eq!(
        (limits.minimum().get(), limits.maximum().get()),
        (20, 200),
        "raised, whole pages"
    );
    assert!(limits.has_hard_minimum() && !limits.has_hard_maximum());
    limits.set(100 * PG, 200 * PG, 4, available).unwrap();
    assert_eq!(
        limits.flags(),
        WorkingSetFlags::MIN_ENABLE | WorkingSetFlags::MAX_ENABLE
    );
    assert_eq!(limits.lockable().get(), 92);
}

#[test]
fn query_below_and_above() {
    let space = space();
    let region = query(&space, 0);
    assert_eq!(
        (region.state, region.allocation, region.kind),
        (RegionState::Free, None, None)
    );
    assert_eq!(region.state.protect(), 1);
    let top = HIGHEST_ADDRESS + 1 - GR;
    assert_eq!(region.range.end().address(), top);
    let last = query(&space, top + 5 * PG);
    assert_eq!(
        last.allocation,
        Some((PageNumber::containing(top), Protection::NO_ACCESS))
    );
    assert_eq!(
        (last.state, last.kind),
        (RegionState::Reserved, Some(RegionType::Private))
    );
    assert_eq!(last.range, pages(top + 5 * PG, GR - 5 * PG));
    let address = HIGHEST_ADDRESS + 1;
    let refusal = Refusal::AddressTooHigh { address };
    assert_eq!(space.query(address, &NoForeignMemory), Err(refusal));
}
