//! The engine of views in the ledger, and where files for sections may lie.

use std::path::PathBuf;
use std::sync::Arc;

use pagekeeper_units::PageCount;

use super::{Account, Ledger};
use crate::engine::EngineKind;
use crate::engine::views::ViewEngine;

impl Ledger {
    /// The engine of views, with copied pages in the place of the first page file.
    pub(super) fn open_views(&mut self, ram: PageCount) -> Account {
        let place = self.section_places().into_iter().next();
        let engine = Arc::new(ViewEngine::new(ram, place, self.allow_ram_disk));
        self.views = Some(Arc::clone(&engine));
        Account {
            engine,
            ram,
            promisable: PageCount::ZERO,
            charged: PageCount::ZERO,
        }
    }

    /// The engine of views, if there is one.
    pub(crate) const fn views(&self) -> Option<&Arc<ViewEngine>> {
        self.views.as_ref()
    }

    /// Views with so many pages came or went. They count for shares only: what is charged for them is charged with
    /// sections and copies.
    pub(crate) fn change_views(&mut self, more: PageCount, fewer: PageCount) {
        if let Some(Some(account)) = self.accounts.get_mut(EngineKind::Views as usize) {
            account.charged = (account.charged + more).saturating_sub(fewer);
        }
        self.follow_use();
    }

    /// Where sections without a file may put theirs, in order of preference.
    pub(crate) fn section_places(&self) -> Vec<PathBuf> {
        let usage = self.files.usage().into_iter();
        let staying = usage.filter(|file| !file.retiring);
        staying.map(|file| file.place).collect()
    }

    /// Copied pages in views go to the first page file's place, if their file is not made yet.
    pub(super) fn place_copies(&self) {
        if let Some(views) = &self.views {
            views.place_copies(self.section_places().into_iter().next());
        }
    }

    /// Whether such files may lie in RAM.
    pub(crate) const fn allows_ram_disk(&self) -> bool {
        self.allow_ram_disk
    }
}
