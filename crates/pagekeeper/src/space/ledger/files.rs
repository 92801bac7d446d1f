//! What the page files have to hold, and which there are.

use std::path::Path;
use std::sync::Arc;

use pagekeeper_model::EngineTag;
use pagekeeper_store::page_file::{PageFileError, PageFileId, Retiring};
use pagekeeper_units::PageCount;

use super::Ledger;
use crate::engine::{Engine, EngineKind};

impl Ledger {
    /// A disk that failed, or recovered, changes what can be promised: takes note of it, and says whether it did. One look
    /// at a word when nothing changed.
    pub(crate) fn follow_files(&mut self) -> bool {
        let now = self.files.changes();
        if now == self.followed {
            return false;
        }
        self.followed = now;
        self.stored_at_most = self.files.usable();
        true
    }

    /// One more page file, for whatever engine.
    pub(crate) fn add_page_file(&mut self, place: &Path) -> Result<PageFileId, PageFileError> {
        let id = self.files.add_file(place)?;
        self.stored_at_most = self.files.usable();
        for (engine, _) in self.engines() {
            engine.add_page_file(place);
        }
        self.place_copies();
        Ok(id)
    }

    /// Nothing new goes to a page file any more; refused where the others could not keep what is committed (second copies of
    /// what is in RAM make room). With it the pages that engines keep in files of their own in the same place.
    pub(crate) fn retire_page_file(
        &mut self,
        id: PageFileId,
    ) -> Result<(Retiring, PageCount), PageFileError> {
        let file = self.files.usage().into_iter().find(|file| file.id == id);
        let file = file.ok_or(PageFileError::NotThere(id))?;
        let retiring = self.files.retire(id, self.uncovered_except(None))?;
        self.stored_at_most = self.files.usable();
        if !file.retiring {
            self.engines()
                .for_each(|(engine, _)| engine.retire_page_file(&file.place));
            self.place_copies();
        }
        let kept = |(engine, _): (&Arc<dyn Engine>, _)| engine.pages_in_retired(&file.place);
        let kept = self.engines().map(kept).sum();
        Ok((retiring, kept))
    }

    /// What is committed but can be kept neither in RAM nor in the page files any more.
    pub(crate) fn uncovered(&self) -> PageCount {
        self.uncovered_except(None)
            .saturating_sub(self.files.usable())
    }

    /// Makes sure that the page files hold `wanted` pages. As much as the RAM more, where there is room for it: then a
    /// page that came in can keep its slot, and need not be written again if it leaves unchanged.
    pub(super) fn grow_files(&self, wanted: PageCount) -> Result<PageCount, PageFileError> {
        let generous = wanted + self.ram;
        if generous <= self.files.maximum()
            && let Ok(usable) = self.files.set_promised(generous)
        {
            return Ok(usable);
        }
        self.files.set_promised(wanted)
    }

    /// What the page files hold for inline engines, one left out.
    pub(super) fn uncovered_except(&self, tag: Option<EngineTag>) -> PageCount {
        let left_out = tag.map(|tag| tag.0 as usize);
        self.accounts
            .iter()
            .enumerate()
            .filter(|(other, _)| Some(*other) != left_out)
            .filter_map(|(_, account)| account.as_ref())
            .filter(|account| account.engine.kind() == EngineKind::Inline)
            .map(|account| account.charged.saturating_sub(account.promisable))
            .sum()
    }
}
