//! A space with one arena, and each operation in one call: plan, carry out (here: nothing), apply.

#![allow(dead_code, reason = "each test program uses a part of it")]

use pagekeeper_model::{
    AddressSpace, EngineTag, FreePlan, FreeRequest, NoForeignMemory, Placement, Protection,
    Refusal, RegionInfo, ReserveRequest,
};
use pagekeeper_units::{PageCount, PageRange};

pub(crate) const ENGINE: EngineTag = EngineTag(3);
pub(crate) const PG: u64 = 0x1000;
pub(crate) const GR: u64 = 0x10000;
/// Where the test's arena lies.
pub(crate) const ARENA: u64 = 0x1_0000_0000;
pub(crate) const RW: Protection = Protection::READ_WRITE;
pub(crate) const RO: Protection = Protection::READ_ONLY;

pub(crate) fn pages(address: u64, bytes: u64) -> PageRange {
    PageRange::touched_by(address, bytes).unwrap()
}

pub(crate) fn space() -> AddressSpace {
    let mut space = AddressSpace::new(PageCount::new(100_000));
    space.add_arena(pages(ARENA, 0x1000_0000), ENGINE).unwrap();
    space
}

pub(crate) fn protection(windows: u32) -> Protection {
    Protection::from_windows(windows).unwrap()
}

pub(crate) fn reserve_with(
    space: &mut AddressSpace,
    request: ReserveRequest,
) -> Result<PageRange, Refusal> {
    let plan = space.plan_reserve(&request)?;
    if let Placement::NewArenaAt(range) = plan.placement() {
        space.add_arena(range, request.engine).unwrap();
    }
    Ok(space.apply_reserve(plan))
}

pub(crate) fn reserve(space: &mut AddressSpace, size: u64) -> u64 {
    reserve_with(space, ReserveRequest::anywhere(size, ENGINE))
        .unwrap()
        .address()
}

pub(crate) fn reserve_at(
    space: &mut AddressSpace,
    address: u64,
    size: u64,
) -> Result<PageRange, Refusal> {
    reserve_with(space, ReserveRequest::at(address, size, ENGINE))
}

pub(crate) fn commit(
    space: &mut AddressSpace,
    at: u64,
    size: u64,
    p: Protection,
) -> Result<u64, Refusal> {
    let plan = space.plan_commit(at, size, p)?;
    let address = plan.range().address();
    space.apply_commit(plan);
    Ok(address)
}

pub(crate) fn decommit(space: &mut AddressSpace, at: u64, size: u64) -> Result<(), Refusal> {
    let plan = space.plan_decommit(at, size)?;
    space.apply_decommit(plan);
    Ok(())
}

pub(crate) fn release(space: &mut AddressSpace, at: u64) -> Result<(), Refusal> {
    let plan = space.plan_release(at, 0)?;
    space.apply_release(plan);
    Ok(())
}

pub(crate) fn protect(
    space: &mut AddressSpace,
    at: u64,
    size: u64,
    p: Protection,
) -> Result<Protection, Refusal> {
    let plan = space.plan_protect(at, size, p)?;
    Ok(space.apply_protect(plan))
}

pub(crate) fn query(space: &AddressSpace, address: u64) -> RegionInfo {
    space.query(address, &NoForeignMemory).unwrap()
}

pub(crate) fn placeholder_at(
    space: &mut AddressSpace,
    at: Option<u64>,
    size: u64,
) -> Result<u64, Refusal> {
    let request = ReserveRequest {
        at,
        protection: Protection::NO_ACCESS,
        placeholder: true,
        ..ReserveRequest::anywhere(size, ENGINE)
    };
    reserve_with(space, request).map(|range| range.address())
}

pub(crate) fn placeholder(space: &mut AddressSpace, pages: u64) -> u64 {
    placeholder_at(space, None, pages * PG).unwrap()
}

pub(crate) fn preserve(space: &mut AddressSpace, address: u64, size: u64) -> Result<(), Refusal> {
    match space.plan_free(address, size, FreeRequest::PreservePlaceholder, true)? {
        FreePlan::Preserve(plan) => space.apply_preserve(plan),
        other => panic!("{other:?}"),
    }
    Ok(())
}

pub(crate) fn coalesce(space: &mut AddressSpace, address: u64, size: u64) -> Result<(), Refusal> {
    match space.plan_free(address, size, FreeRequest::CoalescePlaceholders, true)? {
        FreePlan::Coalesce(plan) => space.apply_coalesce(plan),
        other => panic!("{other:?}"),
    }
    Ok(())
}
