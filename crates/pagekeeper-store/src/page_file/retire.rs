//! Taking a page file away while the program runs.
//!
//! Three steps, so that the pager moves pages at its own pace: no new slots ([`PageFiles::retire`]),
//! the pages that are left moved one by one by whoever knows them ([`PageFiles::is_in`]), the file closed
//! ([`PageFiles::finish_retiring`]).

use std::sync::{Arc, Weak};

use pagekeeper_units::PageCount;

use super::file::PageFile;
use super::{PageFileError, PageFileId, PageFiles, Slot};
use crate::sync::Relaxed;

/// A file that is being taken away. Its number may be another file's once it is gone; this never means another.
#[derive(Debug, Clone)]
pub struct Retiring {
    id: PageFileId,
    file: Weak<PageFile>,
}

impl Retiring {
    /// Its number.
    pub const fn id(&self) -> PageFileId {
        self.id
    }
}

impl PageFiles {
    /// Begins to take a file away: nothing new is stored there. `needed`: the pages that have to find room, whatever is in
    /// memory besides; the other files grow until they can hold them. Where the file is being taken away already, nothing
    /// is asked.
    ///
    /// # Errors
    /// [`PageFileError::NotThere`]; the refusals of [`PageFiles::set_promised`] when the other files
    /// cannot take over, and the file then stays.
    pub fn retire(&self, id: PageFileId, needed: PageCount) -> Result<Retiring, PageFileError> {
        let _growth = self.growth();
        let file = self.file(id).ok_or(PageFileError::NotThere(id))?;
        if !file.retiring.swap(true, Relaxed) {
            if let Err(refusal) = self.ensure(needed) {
                file.retiring.store(false, Relaxed);
                return Err(refusal);
            }
            file.slots.close();
        }
        let file = Arc::downgrade(&file);
        Ok(Retiring { id, file })
    }

    /// Slots of the file with pages in them; none where it is gone.
    pub fn used_in(&self, retiring: &Retiring) -> PageCount {
        let used = |file: Arc<PageFile>| u64::from(file.slots.counts().used);
        PageCount::new(self.still_there(retiring).map_or(0, used))
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

    /// Closes a file that is being taken away, when no slot of it is in use any more; its space goes
    /// back to the disk. Whether it is gone.
    pub fn finish_retiring(&self, retiring: &Retiring) -> bool {
        let _growth = self.growth();
        let Some(file) = self.still_there(retiring) else {
            return true;
        };
        if file.slots.counts().used > 0 {
            return false;
        }
        drop(file);
        drop(self.take_out(retiring.id));
        true
    }

    fn still_there(&self, retiring: &Retiring) -> Option<Arc<PageFile>> {
        let file = self.file(retiring.id)?;
        let is_it = core::ptr::eq(Arc::as_ptr(&file), retiring.file.as_ptr());
        is_it.then_some(file)
    }
}
