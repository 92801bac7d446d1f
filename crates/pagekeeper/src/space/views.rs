//! Views of sections: map, unmap, flush, by address. Windows: `MapViewOfFile`, `UnmapViewOfFile`, `FlushViewOfFile`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: declares what takes memory away behind an address as unsafe"
)]

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};

use pagekeeper_model::{
    AllocationKind, EngineTag, MapRequest, Placement, Protection, Refusal, RegionInfo, RegionState,
};
use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

use super::{Core, Request, SPACES, Shared, Space};
use crate::engine::EngineKind;
use crate::engine::views::{Source, ViewEngine};
use crate::error::Error;

/// What a view shall be.
#[derive(Debug)]
pub(crate) struct ViewRequest {
    pub(crate) source: Arc<Source>,
    /// Where it begins in its section, in bytes: a multiple of 64 KiB.
    pub(crate) offset: u64,
    /// In bytes, within the section.
    pub(crate) size: u64,
    pub(crate) at: Option<u64>,
    pub(crate) protection: Protection,
    /// What its pages are at first.
    pub(crate) pages: Protection,
    pub(crate) kind: AllocationKind,
    /// In the place of the placeholder at `at`.
    pub(crate) replace: bool,
}

impl Space {
    /// Takes the view that holds `address`, which may be any address inside, out of the address space. Changed pages of a
    /// file reach it later by themselves; private copies are lost.
    ///
    /// Windows: `UnmapViewOfFile`.
    ///
    /// # Errors
    /// `NotAView`.
    ///
    /// # Safety
    /// No reference into the view is alive, and no [`crate::View`] owns it.
    pub unsafe fn unmap_at(&self, address: u64) -> Result<(), Error> {
        self.shared().unmap(address, false)
    }

    /// The same for a view that took the place of a placeholder, which is there again afterwards.
    ///
    /// Windows: `UnmapViewOfFileEx(MEM_PRESERVE_PLACEHOLDER)`.
    ///
    /// # Errors
    /// `NotAView`; `NotPlaceholder` where the view replaced none.
    ///
    /// # Safety
    /// As [`Space::unmap_at`].
    pub unsafe fn unmap_to_placeholder_at(&self, address: u64) -> Result<(), Error> {
        self.shared().unmap(address, true)
    }

    /// Starts writing the changed pages of a view to its file; waits until they are at the device, where `durable`. Size 0
    /// means to the end of the view. Private copies and memory without a file need no writing.
    ///
    /// Windows: `FlushViewOfFile`; with `durable` together with `FlushFileBuffers`.
    ///
    /// # Errors
    /// `NotAView`; the disk's error number where pages could not be written.
    pub fn flush_view_at(&self, address: u64, size: u64, durable: bool) -> Result<(), Error> {
        let request = Request::new("flush", address, size);
        let (engine, range) = {
            let core = self.shared().enter(request)?;
            let range = core
                .model
                .plan_flush(address, size)
                .map_err(|refusal| request.refused(refusal))?;
            (core.ledger.views().cloned(), range)
        };
        // Without the space lock: it may wait for the disk.
        engine
            .map_or(Ok(()), |engine| engine.flush(range, durable))
            .map_err(|cause| request.failed(cause))
    }
}

/// The byte behind the last that any view of this process shows of a file, which is named by device and inode. A file must
/// not be cut below it by those who keep Windows' rules.
pub fn mapped_end(device: u64, inode: u64) -> Option<u64> {
    all()
        .into_iter()
        .filter_map(|shared| {
            let engine = shared.core().ledger.views().cloned()?;
            engine.mapped_end((device, inode))
        })
        .max()
}

/// Every space of the process.
fn all() -> Vec<Arc<Shared>> {
    let spaces = SPACES.read().unwrap_or_else(PoisonError::into_inner);
    spaces
        .iter()
        .flat_map(HashMap::values)
        .filter_map(Weak::upgrade)
        .collect()
}

impl Shared {
    /// Maps a view.
    pub(crate) fn map_view(&self, wanted: ViewRequest) -> Result<PageRange, Error> {
        let request = Request::new("map", wanted.at.unwrap_or(0), wanted.size);
        let tag = self.engine_tag(EngineKind::Views, None)?;
        let header = wanted.source.header();
        let model_request = MapRequest {
            at: wanted.at,
            size: wanted.size,
            protection: wanted.protection,
            pages: wanted.pages,
            kind: wanted.kind,
            engine: tag,
            reserved: header.is_some_and(|header| header.facts().is_reserved),
            replace: wanted.replace,
            file_page: (wanted.source.data_offset() + wanted.offset) / PAGE_SIZE as u64,
        };
        let mut core = self.enter(request)?;
        let mut planned = core.model.plan_map(&model_request);
        if let Err(Refusal::CrossesArena { .. } | Refusal::ArenaOfOtherEngine { .. }) = planned
            && core.close_unused_at(wanted.at, wanted.size)
        {
            planned = core.model.plan_map(&model_request);
        }
        let plan = match planned {
            Err(Refusal::NoHole { pages }) => {
                core.open_arena(request, tag, pages)?;
                core.model.plan_map(&model_request)
            }
            other => other,
        }
        .map_err(|refusal| request.refused(refusal))?;
        let opened = match plan.placement() {
            Placement::InArena => None,
            Placement::NewArenaAt(range) => Some(core.open_arena_at(request, tag, range)?),
        };
        let place = (
            Arc::clone(&wanted.source),
            wanted.source.data_offset() + wanted.offset,
        );
        let is_private =
            wanted.protection.is_write_copy() || wanted.kind == AllocationKind::ImageView;
        if let Some(lender) = plan.lender() {
            core.lend(lender, plan.range());
        }
        let mapped = core.ledger.views().map_or(Ok(()), |engine| {
            engine.map(plan.range(), place, plan.state(), is_private)
        });
        if let Err(cause) = mapped {
            if let Some(lender) = plan.lender() {
                core.take_back(lender, plan.range());
            }
            if let Some(range) = opened {
                core.close_arena(tag, range);
            }
            return Err(request.failed(cause));
        }
        let range = core.model.apply_map(plan);
        core.ledger.change_views(range.count(), PageCount::ZERO);
        core.following += usize::from(model_request.reserved);
        core.refresh_limit();
        core.follow_section(range.address());
        Ok(range)
    }

    /// An access that is allowed faulted: where a view is the reason, waits until it may go on, for a bounded time.
    pub(crate) fn wait_for_access(&self, address: u64) {
        let page = PageNumber::containing(address);
        let engine = {
            let core = self.core();
            core.views_at(page).map(|(engine, _)| Arc::clone(engine))
        };
        if let Some(engine) = engine {
            engine.wait_for_access(page);
        }
    }

    pub(crate) fn unmap(&self, address: u64, preserve: bool) -> Result<(), Error> {
        let request = Request::new("unmap", address, 0);
        let mut core = self.enter(request)?;
        let plan = core
            .model
            .plan_unmap(address, preserve)
            .map_err(|refusal| request.refused(refusal))?;
        let range = plan.range();
        let engine = core.ledger.views().cloned();
        if let Some(engine) = &engine {
            core.following -= usize::from(engine.unmap(range));
        }
        let lender = plan.lender();
        if let Some(lender) = lender {
            core.take_back(lender, range);
        }
        let tag = lender.unwrap_or(plan.allocation().engine);
        let emptied = match preserve {
            true => {
                core.model.apply_restore(plan);
                None
            }
            false => core.model.apply_release(plan),
        };
        core.ledger.change_views(PageCount::ZERO, range.count());
        core.refresh_limit();
        if let Some(arena) = emptied {
            core.arena_emptied(tag, arena);
        }
        Ok(())
    }
}

impl Core {
    fn views_at(&self, page: PageNumber) -> Option<(&Arc<ViewEngine>, PageRange)> {
        let allocation = self.model.allocation_at(page)?;
        let engine = self.ledger.views()?;
        allocation
            .kind
            .is_view()
            .then_some((engine, allocation.range))
    }

    /// What others committed in the section of the view at `address` is committed in the view, too.
    pub(crate) fn follow_section(&mut self, address: u64) {
        if self.following == 0 {
            return;
        }
        let Some((engine, range)) = self.views_at(PageNumber::containing(address)) else {
            return;
        };
        let engine = Arc::clone(engine);
        let Some(committed) = engine.committed_in_section(range) else {
            return;
        };
        for run in committed.runs {
            let Ok(plan) = self.model.plan_follow(run) else {
                return;
            };
            if plan.changes().is_empty() {
                continue;
            }
            if engine.follow(plan.changes()).is_err() {
                // The next call tries again.
                return;
            }
            self.model.apply_follow(plan);
        }
        engine.has_followed(range.start(), committed.commits);
    }

    /// What was just committed in a view belongs to its section.
    pub(super) fn charge_section(&self, range: PageRange, charge: PageCount) {
        if !charge.is_zero()
            && let Some((engine, _)) = self.views_at(range.start())
        {
            engine.charge_section(range.start(), charge);
        }
    }

    /// Whether the first page of `range` is a private copy already.
    pub(super) fn is_copied(&self, range: PageRange) -> bool {
        let first = PageRange::new(range.start(), PageCount::ONE);
        self.views_at(range.start())
            .is_some_and(|(engine, _)| !engine.copied(first).is_empty())
    }

    /// A page that was copied shows read-write from then on: cuts the region where that changes.
    pub(super) fn show_copies(&self, region: &mut RegionInfo) {
        let RegionState::Committed(protection) = region.state else {
            return;
        };
        if !protection.is_write_copy() {
            return;
        }
        let Some((engine, _)) = self.views_at(region.range.start()) else {
            return;
        };
        let start = region.range.start();
        match engine.first_copied(region.range) {
            Some(copied) if copied.start() == start => {
                region.range = copied;
                region.state = RegionState::Committed(protection.once_copied());
            }
            Some(copied) => region.range = PageRange::between(start, copied.start()),
            None => {}
        }
    }

    /// As for reservations: arenas that lie in the way and are empty go back to the kernel.
    fn close_unused_at(&mut self, at: Option<u64>, size: u64) -> bool {
        let tag = EngineTag(EngineKind::Views as u8);
        at.is_some_and(|at| {
            self.close_unused_arenas(&pagekeeper_model::ReserveRequest::at(at, size, tag))
        })
    }
}
