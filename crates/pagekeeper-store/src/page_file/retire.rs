//! Taking a page file away while the program runs.
//!
//! Three steps, so that the pager moves pages at its own pace: no new slots ([`PageFiles::retire`]),
//! the pages that are left moved one by one by whoever knows them ([`PageFiles::is_in`]), the file closed
//! ([`PageFiles::finish_retiring`]).

use pagekeeper_units::PageCount;

use super::{PageFileError, PageFileId, PageFiles, Slot};
use crate::sync::Relaxed;

impl PageFiles {
    /// Begins to take a file away: nothing new is stored there, and the others grow until they can
    /// hold what is promised. Returns how many of its slots are still in use.
    ///
    /// # Errors
    /// [`PageFileError::NotThere`]; the refusals of [`PageFiles::set_promised`] when the other files
    /// cannot take over, and the file then stays.
    pub fn retire(&self, id: PageFileId) -> Result<PageCount, PageFileError> {
        let growth = self.growth();
        let file = self.file(id).ok_or(PageFileError::NotThere(id))?;
        file.retiring.store(true, Relaxed);
        // Pages in the file have to go to the others, besides what those hold already.
        if let Err(refusal) = self.ensure(growth.promised.max(self.used())) {
            file.retiring.store(false, Relaxed);
            return Err(refusal);
        }
        file.slots.close();
        Ok(PageCount::new(u64::from(file.slots.counts().used)))
    }

    /// Slots of a file with pages in them; none where it is gone.
    pub fn used_in(&self, id: PageFileId) -> PageCount {
        let used = |file: &super::file::PageFile| u64::from(file.slots.counts().used);
        PageCount::new(self.file(id).map_or(0, |file| used(&file)))
    }

    /// Keeps a file after all.
    ///
    /// # Errors
    /// [`PageFileError::NotThere`].
    pub fn keep(&self, id: PageFileId) -> Result<(), PageFileError> {
        let _growth = self.growth();
        let file = self.file(id).ok_or(PageFileError::NotThere(id))?;
        file.retiring.store(false, Relaxed);
        file.slots.reopen();
        Ok(())
    }

    /// Whether a slot belongs to a file that is not being taken away: what is in memory besides may go on relying on it. For
    /// the fault path.
    pub fn stays(&self, slot: Slot) -> bool {
        self.with_file_of(slot, |file, _| !file.retiring.load(Relaxed))
            .unwrap_or(false)
    }

    /// Whether a slot belongs to this file. For the fault path.
    pub fn is_in(&self, slot: Slot, id: PageFileId) -> bool {
        self.file_of(slot) == Some(id)
    }

    /// The next slot of a file that is in use, from `from` on (`None`: from the first). Other threads
    /// may give it back meanwhile, so the pager looks whether a page still refers to it.
    pub fn next_used(&self, id: PageFileId, from: Option<Slot>) -> Option<Slot> {
        let file = self.file(id)?;
        let base = self.slot_of(id, 0).bits();
        let local = from.map_or(0, |slot| slot.bits().saturating_sub(base));
        file.slots
            .next_used(local)
            .map(|slot| self.slot_of(id, slot))
    }

    /// Closes a file that is being taken away, when no slot of it is in use any more; its space goes
    /// back to the disk. Whether it is gone.
    ///
    /// # Errors
    /// [`PageFileError::NotThere`].
    pub fn finish_retiring(&self, id: PageFileId) -> Result<bool, PageFileError> {
        let _growth = self.growth();
        let file = self.file(id).ok_or(PageFileError::NotThere(id))?;
        if !file.retiring.load(Relaxed) || file.slots.counts().used > 0 {
            return Ok(false);
        }
        drop(file);
        drop(self.take_out(id));
        Ok(true)
    }
}
