//! Placeholders: address space that is kept for one thing after another. Windows: `VirtualAlloc2` with
//! `MEM_RESERVE_PLACEHOLDER` and `MEM_REPLACE_PLACEHOLDER`.
//!
//! Made by [`crate::ReservationBuilder::placeholder`]; split, merged and released by [`Space::free_at`]. All parts of one stay in
//! its arena and with its engine. Engines know pages, not allocations, so to them a replacement is a commit and its end a
//! release of just its pages; what lies next to it is never touched.
//!
//! Source: windows-memory-behaviour.md 12.

use pagekeeper_model::{PreservePlan, ReplaceRequest};
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
