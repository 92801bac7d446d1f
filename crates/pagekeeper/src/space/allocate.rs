//! Reserve and release: address space comes and goes.

use pagekeeper_model::{
    EngineTag, FreePlan, FreeRequest, PageState, Placement, Refusal, RegionState, ReserveRequest,
};
use pagekeeper_units::{
    ByteCount, PAGE_SIZE, PAGES_PER_GRANULE, PAGES_PER_HUGE_PAGE, PageCount, PageRange,
};

use super::ledger::Ledger;
use super::{Core, Request, Shared};
use crate::engine::{Change, Engine, EngineKind};
use crate::error::{EngineError, Error};
use crate::registry::{self, Registered};

/// Address space that is mapped at once: mapping is a system call, slicing it is none.
const ARENA: ByteCount = ByteCount::tib(1);
/// Below this the kernel's answer "no" is final.
const LEAST_ARENA: ByteCount = ByteCount::mib(2);

impl Shared {
    /// Reserves, and commits too if the request says so. Windows: `VirtualAlloc(MEM_RESERVE [| MEM_COMMIT])`.
    pub(crate) fn reserve(&self, wanted: &ReserveRequest) -> Result<PageRange, Error> {
        let request = Request::new("reserve", wanted.at.unwrap_or(0), wanted.size);
        if wanted.write_watch {
            self.prepare_write_watch(request)?;
        }
        let mut core = self.enter(request)?;
        let mut planned = core.model.plan_reserve(wanted);
        if let Err(Refusal::CrossesArena { .. } | Refusal::ArenaOfOtherEngine { .. }) = planned
            && core.close_unused_arenas(wanted)
        {
            planned = core.model.plan_reserve(wanted);
        }
        let plan = match planned {
            Err(Refusal::NoHole { pages }) => {
                core.open_arena(request, wanted.engine, pages)?;
                core.model.plan_reserve(wanted)
            }
            other => other,
        }
        .map_err(|refusal| request.refused(refusal))?;
        let opened = match plan.placement() {
            Placement::InArena => None,
            Placement::NewArenaAt(range) => {
                Some(core.open_arena_at(request, wanted.engine, range)?)
            }
        };
        if let Some(change) = plan.commit()
            && let Err(error) = core.commit_runs(request, wanted.engine, &[change], plan.charge())
        {
            if let Some(range) = opened {
                core.close_arena(wanted.engine, range);
            }
            return Err(error);
        }
        let charge = plan.charge();
        if wanted.write_watch
            && let Some(change) = plan.commit()
        {
            core.watch_changes(&[change], plan.range());
        }
        let range = core.model.apply_reserve(plan);
        core.ledger.charge(wanted.engine, charge, PageCount::ZERO);
        Ok(range)
    }

    /// Decommits, releases, or makes placeholders smaller or larger. Windows: `VirtualFree`.
    pub(crate) fn free(&self, address: u64, size: u64, how: FreeRequest) -> Result<(), Error> {
        let request = Request::new("free", address, size);
        let mut core = self.enter(request)?;
        let plan = core
            .model
            .plan_free(address, size, how, self.is_strict())
            .map_err(|refusal| request.refused(refusal))?;
        match plan {
            FreePlan::Decommit(plan) => {
                core.refuse_in_window(request)?;
                core.give_up_offered(plan.range());
                let tag = core.engine_of(plan.range());
                core.remember_writes(plan.changes());
                if let Some(engine) = tag.and_then(|tag| core.ledger.engine(tag)) {
                    engine.decommit(plan.changes());
                }
                if let Some(tag) = tag {
                    core.ledger.charge(tag, PageCount::ZERO, plan.refund());
                }
                core.model.apply_decommit(plan);
            }
            FreePlan::Release(plan) => {
                let range = plan.range();
                core.give_up_offered(range);
                let tag = plan.allocation().engine;
                let committed = core.committed_runs(range, plan.refund());
                let refund = plan.refund();
                core.forget_writes(range, &committed);
                core.physical.forget_window(range);
                if let Some(engine) = core.ledger.engine(tag) {
                    engine.release(range, &committed);
                }
                let emptied = core.model.apply_release(plan);
                core.ledger.charge(tag, PageCount::ZERO, refund);
                if let Some(arena) = emptied {
                    core.arena_emptied(tag, arena);
                }
            }
            FreePlan::Preserve(plan) => core.preserve_placeholder(plan),
            FreePlan::Coalesce(plan) => core.model.apply_coalesce(plan),
        }
        Ok(())
    }
}

impl Core {
    /// Opens an arena for `pages` pages, larger where the kernel allows it.
    pub(super) fn open_arena(
        &mut self,
        request: Request,
        tag: EngineTag,
        pages: PageCount,
    ) -> Result<(), Error> {
        let wanted = PageCount::new(pages.get().next_multiple_of(PAGES_PER_HUGE_PAGE));
        let own = Ledger::is_own(tag);
        // An own budget has one reservation and needs no more address space than that.
        let mut size = if own {
            wanted
        } else {
            wanted.max(ARENA.pages())
        };
        loop {
            match self.map_arena(request, tag, None, size) {
                Ok(_) => return Ok(()),
                Err(Error::Engine {
                    cause: EngineError::AddressSpace(errno),
                    ..
                }) => {
                    let smaller = PageCount::new(size.get() / 4);
                    if size == wanted {
                        // Windows' answer when no hole is large enough.
                        let _ = errno;
                        return Err(request.refused(Refusal::NoHole { pages }));
                    }
                    size = smaller.max(wanted).max(LEAST_ARENA.pages());
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Address space of ours that no reservation uses is no reason to refuse one: arenas that lie in the way and are empty go
    /// back to the kernel. Whether there was one.
    pub(super) fn close_unused_arenas(&mut self, wanted: &ReserveRequest) -> bool {
        let granule = PAGES_PER_GRANULE * PAGE_SIZE as u64;
        let Some(at) = wanted.at else {
            return false;
        };
        let start = at & !(granule - 1);
        let Some(range) = PageRange::touched_by(start, wanted.size.saturating_add(at - start))
        else {
            return false;
        };
        let unused: Vec<_> = self
            .model
            .arenas()
            .filter(|arena| arena.allocations == 0 && arena.range.overlaps(range))
            .collect();
        for arena in &unused {
            self.fixed_arenas.remove(&arena.range.start());
            self.close_arena(arena.engine, arena.range);
        }
        !unused.is_empty()
    }

    pub(super) fn open_arena_at(
        &mut self,
        request: Request,
        tag: EngineTag,
        range: PageRange,
    ) -> Result<PageRange, Error> {
        let opened = self.map_arena(request, tag, Some(range), range.count())?;
        self.fixed_arenas.insert(opened.start());
        Ok(opened)
    }

    fn map_arena(
        &mut self,
        request: Request,
        tag: EngineTag,
        at: Option<PageRange>,
        pages: PageCount,
    ) -> Result<PageRange, Error> {
        let Some(engine) = self.ledger.engine(tag) else {
            return Err(request.refused(Refusal::NoHole { pages }));
        };
        let opened = engine.open_arena(at.map(PageRange::start), pages);
        let range = match opened {
            Ok(range) => range,
            Err(EngineError::AddressTaken) => {
                let allocation = at.map_or_else(Default::default, PageRange::start);
                return Err(request.refused(Refusal::ConflictingAddresses { allocation }));
            }
            Err(cause) => return Err(request.failed(cause)),
        };
        if engine.kind() != EngineKind::Inline {
            // So that the fault handler knows accesses in it as ours. (The inline engine enters its own.)
            registry::insert(Registered {
                range,
                space: self.ledger.space(),
                inline: None,
            });
        }
        if self.model.add_arena(range, tag).is_err() {
            // The kernel gave address space that the model already knows: cannot be while both keep their word.
            engine.close_arena(range);
            return Err(request.refused(Refusal::ConflictingAddresses {
                allocation: range.start(),
            }));
        }
        Ok(range)
    }

    /// Nothing is left in an arena. One that was opened for reservations anywhere is kept for the next: mapping it costs system
    /// calls.
    pub(super) fn arena_emptied(&mut self, tag: EngineTag, arena: PageRange) {
        if self.fixed_arenas.remove(&arena.start()) {
            self.close_arena(tag, arena);
        }
        if Ledger::is_own(tag) {
            self.drop_own(tag);
        }
    }

    pub(super) fn close_arena(&mut self, tag: EngineTag, range: PageRange) {
        self.unreturned.retain(|(_, pages)| !range.covers(*pages));
        // An arena at a fixed address has left the model with its allocation; others are told here.
        let _ = self.model.remove_arena(range);
        if let Some(engine) = self.ledger.engine(tag) {
            close(&**engine, range);
        }
    }

    /// The one reservation of an own engine has gone.
    pub(super) fn drop_own(&mut self, tag: EngineTag) {
        let arenas: Vec<_> = self
            .model
            .arenas()
            .filter(|arena| arena.engine == tag)
            .map(|arena| arena.range)
            .collect();
        for range in arenas {
            self.close_arena(tag, range);
        }
        self.ledger.stop_own(tag);
        self.refresh_limit();
    }

    /// The engine that serves the allocation of `range`.
    pub(crate) fn engine_of(&self, range: PageRange) -> Option<EngineTag> {
        Some(self.model.allocation_at(range.start())?.engine)
    }

    /// The committed runs of an allocation, as changes to reserved. Nothing to look for where nothing is committed.
    fn committed_runs(&self, allocation: PageRange, committed: PageCount) -> Vec<Change> {
        if committed.is_zero() {
            return Vec::new();
        }
        self.model
            .regions(allocation)
            .filter_map(|region| match region.state {
                RegionState::Committed(protection) => Some(Change {
                    range: region.range,
                    before: PageState::Committed(protection),
                    after: PageState::Reserved,
                }),
                _ => None,
            })
            .collect()
    }
}

/// Closes an arena and forgets it for the fault handler.
pub(super) fn close(engine: &dyn Engine, range: PageRange) {
    if engine.kind() != EngineKind::Inline {
        registry::remove(range);
    }
    engine.close_arena(range);
}
