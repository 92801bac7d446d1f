//! Placeholders: address space that is kept for one thing after another. Windows: `VirtualAlloc2` with
//! `MEM_RESERVE_PLACEHOLDER` and `MEM_REPLACE_PLACEHOLDER`.
//!
//! Made by [`crate::ReservationBuilder::placeholder`]; split, merged and released by [`Space::free_at`]. All parts of one stay in
//! its arena and with its engine. Engines know pages, not allocations, so to them a replacement by private memory is a commit
//! and its end a release of just its pages; what lies next to it is never touched. For a view
//! ([`crate::ViewBuilder::replacing_placeholder`]) the engine lends the pages to the engine of views.
//!
//! Source: windows-memory-behaviour.md 12.

use pagekeeper_model::{Change, EngineTag, PlaceholderRole, PreservePlan, ReplaceRequest};
use pagekeeper_units::{PageCount, PageRange};

use super::{Core, Request, Shared, Space};
use crate::engine::EngineKind;
use crate::error::{EngineError, Error};

impl Space {
    /// Puts private memory in the place of a placeholder, exactly its pages; they read as zero where they are committed. Returns
    /// them. [`Space::free_at`] turns them back into a placeholder, or frees them.
    ///
    /// ```
    /// use pagekeeper::{ByteCount, FreeRequest, Protection, ReplaceRequest, Space};
    /// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
    /// let ring = space.reserve(ByteCount::kib(128)).placeholder().build_detached()?;
    /// let half = ByteCount::kib(64).get();
    /// // SAFETY: nothing is there yet that could be in use.
    /// unsafe { space.free_at(ring.address(), half, FreeRequest::PreservePlaceholder)? };
    /// space.replace_placeholder_at(&ReplaceRequest {
    ///     address: ring.address(),
    ///     size: half,
    ///     protection: Protection::READ_WRITE,
    ///     commit: true,
    ///     write_watch: false,
    /// })?;
    /// # Ok::<(), pagekeeper::Error>(())
    /// ```
    ///
    /// Windows: `VirtualAlloc2(MEM_RESERVE [| MEM_COMMIT] | MEM_REPLACE_PLACEHOLDER)`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule (`NotPlaceholder`, `NotWholePlaceholder`, `CommitmentLimit`, ...);
    /// [`EngineError::Unavailable`] where writes shall be watched and the inline engine serves the placeholder: that
    /// engine's memory can only be watched as a reservation of its own.
    pub fn replace_placeholder_at(&self, wanted: &ReplaceRequest) -> Result<PageRange, Error> {
        self.shared().replace_placeholder(wanted)
    }
}

impl Shared {
    fn replace_placeholder(&self, wanted: &ReplaceRequest) -> Result<PageRange, Error> {
        let request = Request::new("replace a placeholder", wanted.address, wanted.size);
        if wanted.write_watch {
            self.prepare_write_watch(request)?;
        }
        let mut core = self.enter(request)?;
        let plan = core
            .model
            .plan_replace(wanted)
            .map_err(|refusal| request.refused(refusal))?;
        let tag = plan.engine();
        let kind = core.ledger.engine(tag).map(|engine| engine.kind());
        if wanted.write_watch && kind == Some(EngineKind::Inline) {
            return Err(request.failed(EngineError::Unavailable {
                engine: "write watch",
                reason:
                    "the placeholder is served by the inline engine: reserve watched memory apart, \
                         or make the placeholder with the mapped engine"
                        .to_owned(),
            }));
        }
        let charge = plan.charge();
        if let Some(change) = plan.commit() {
            core.commit_runs(request, tag, &[change], charge)?;
            if wanted.write_watch {
                core.watch_changes(&[change], plan.range());
            }
        }
        let range = core.model.apply_replace(plan);
        core.ledger.charge(tag, charge, PageCount::ZERO);
        Ok(range)
    }
}

impl Core {
    /// A view is about to take the place of a placeholder.
    pub(super) fn lend(&mut self, tag: EngineTag, range: PageRange) {
        self.unreturned.retain(|(_, pages)| *pages != range);
        if let Some(engine) = self.ledger.engine(tag) {
            engine.lend(range);
        }
    }

    /// The view has gone. Where the kernel refuses (it is short of mappings), the pages stay out of reach until something is to
    /// be committed there: that the view is gone is what counts.
    pub(super) fn take_back(&mut self, tag: EngineTag, range: PageRange) {
        if let Some(engine) = self.ledger.engine(tag)
            && engine.take_back(range).is_err()
        {
            self.unreturned.push((tag, range));
        }
    }

    /// Once more, for pages that are to be committed now.
    pub(super) fn return_pages_of(&mut self, changes: &[Change]) -> Result<(), EngineError> {
        for (tag, range) in core::mem::take(&mut self.unreturned) {
            let Some(engine) = self.ledger.engine(tag) else {
                continue;
            };
            let refused = engine.take_back(range).err();
            if let Some(cause) = refused {
                self.unreturned.push((tag, range));
                if changes.iter().any(|change| change.range.overlaps(range)) {
                    return Err(cause);
                }
            }
        }
        Ok(())
    }

    /// The space goes: no view stays in an arena that another engine closes.
    pub(super) fn unmap_lent_views(&mut self) {
        let Some(views) = self.ledger.views().cloned() else {
            return;
        };
        let replacements = self.model.allocations().filter(|allocation| {
            allocation.kind.is_view() && allocation.placeholder == PlaceholderRole::Replacement
        });
        for range in replacements.map(|allocation| allocation.range) {
            views.unmap(range);
        }
    }

    /// The pages of the plan are given back to the engine, and stay a placeholder.
    pub(super) fn preserve_placeholder(&mut self, plan: PreservePlan) {
        let (range, tag, refund) = (plan.range(), plan.allocation().engine, plan.refund());
        self.give_up_offered(range);
        self.forget_writes(range, plan.changes());
        if let Some(engine) = self.ledger.engine(tag) {
            engine.release(range, plan.changes());
        }
        self.model.apply_preserve(plan);
        self.ledger.charge(tag, PageCount::ZERO, refund);
    }
}
