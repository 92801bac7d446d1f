//! Where copied pages go when they leave RAM: slots of a nameless file of our own, a slot a page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_sys::file::{self, AllocateHow};
use pagekeeper_units::{PAGE_SIZE, PageCount};

use super::source::Backing;
use crate::error::EngineError;

/// Slots and the file behind them, which is made when it is first needed.
#[derive(Debug)]
pub(super) struct Slots {
    place: Option<PathBuf>,
    allow_ram_disk: bool,
    file: Option<Arc<Backing>>,
    /// Free runs: first slot → how many. Slots from `fresh` on were never used.
    free: BTreeMap<u64, u64>,
    fresh: u64,
    used: u64,
    /// Pages that may be copied, and that there is room for on the disk.
    promised: u64,
    allocated: u64,
}

/// Neighbouring slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotRun {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl SlotRun {
    pub(super) fn offset(self) -> u64 {
        self.first * PAGE_SIZE as u64
    }

    pub(super) fn bytes(self) -> u64 {
        self.count * PAGE_SIZE as u64
    }
}

impl Slots {
    /// Slots in a file in the folder `place`. Without one copied pages stay in RAM.
    pub(super) fn new(place: Option<PathBuf>, allow_ram_disk: bool) -> Self {
        Self {
            place,
            allow_ram_disk,
            file: None,
            free: BTreeMap::new(),
            fresh: 0,
            used: 0,
            promised: 0,
            allocated: 0,
        }
    }

    /// Pages in slots now.
    pub(super) fn used(&self) -> PageCount {
        PageCount::new(self.used)
    }

    /// Where the file is to lie, if there is none yet.
    pub(super) fn place(&mut self, place: Option<PathBuf>) {
        if self.file.is_none() {
            self.place = place;
        }
    }

    /// Whether there is a file, and in this place.
    pub(super) fn is_in(&self, place: &Path) -> bool {
        self.file.is_some() && self.place.as_deref() == Some(place)
    }

    /// The file, once there is one.
    pub(super) fn file(&self) -> Result<&Arc<Backing>, Errno> {
        self.file.as_ref().ok_or(Errno::BADF)
    }

    /// Makes sure that so many pages more can be copied, wherever they end up.
    pub(super) fn promise(&mut self, pages: PageCount) -> Result<(), EngineError> {
        let wanted = self.promised + pages.get();
        if wanted > self.allocated && self.place.is_some() {
            if self.file.is_none() {
                self.file = Some(self.create()?);
            }
            let offset = self.allocated * PAGE_SIZE as u64;
            let length = (wanted - self.allocated) * PAGE_SIZE as u64;
            let failure = self.file().and_then(|own| {
                own.with(move |file| {
                    file::allocate(file, offset, length, length, AllocateHow::Best).error
                })
            });
            if let Some(errno) = failure.unwrap_or_else(Some) {
                return Err(EngineError::PageFileSpace(format!(
                    "no room for {} of copied pages: {errno}",
                    pages.bytes().human()
                )));
            }
            self.allocated = wanted;
        }
        self.promised = wanted;
        Ok(())
    }

    /// So many pages cannot be copied any more. With the last one the room goes back to the disk.
    pub(super) fn release(&mut self, pages: PageCount) {
        self.promised = self.promised.saturating_sub(pages.get());
        if self.promised == 0 && self.used == 0 {
            if let Ok(file) = self.file() {
                let _ = file.with(|file| file::truncate(file, 0));
            }
            (self.allocated, self.fresh) = (0, 0);
            self.free.clear();
        }
    }

    fn create(&self) -> Result<Arc<Backing>, EngineError> {
        let place = self.place.clone().unwrap_or_else(|| PathBuf::from("/"));
        let file = super::create_in(place, self.allow_ram_disk)?;
        Ok(Arc::new(Backing::new(file)))
    }

    /// Takes up to `most` neighbouring slots.
    pub(super) fn take(&mut self, most: u64) -> Option<SlotRun> {
        if let Some((&first, &length)) = self.free.iter().next() {
            self.free.remove(&first);
            let count = length.min(most);
            if length > count {
                self.free.insert(first + count, length - count);
            }
            self.used += count;
            return Some(SlotRun { first, count });
        }
        let count = most.min(self.allocated.saturating_sub(self.fresh));
        if count == 0 {
            return None;
        }
        let first = self.fresh;
        self.fresh += count;
        self.used += count;
        Some(SlotRun { first, count })
    }

    /// Slots that hold nothing of use any more.
    pub(super) fn give_back(&mut self, run: SlotRun) {
        if run.count == 0 {
            return;
        }
        self.used -= run.count;
        let (mut first, mut count) = (run.first, run.count);
        if let Some((&below, &length)) = self.free.range(..first).next_back()
            && below + length == first
        {
            self.free.remove(&below);
            (first, count) = (below, length + count);
        }
        if let Some(length) = self.free.remove(&(run.first + run.count)) {
            count += length;
        }
        self.free.insert(first, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_handed_out_once_and_join_when_they_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut slots = Slots::new(Some(folder.path().to_owned()), true);
        assert!(slots.take(1).is_none(), "nothing was promised");
        slots.promise(PageCount::new(10)).unwrap();
        let one = slots.take(4).unwrap();
        let two = slots.take(4).unwrap();
        let three = slots.take(4).unwrap();
        assert_eq!((one.count, two.count, three.count), (4, 4, 2));
        assert!(slots.take(1).is_none());
        slots.give_back(one);
        slots.give_back(three);
        slots.give_back(two);
        assert_eq!(
            slots.take(10),
            Some(SlotRun {
                first: 0,
                count: 10
            })
        );
        slots.give_back(SlotRun {
            first: 0,
            count: 10,
        });
        slots.release(PageCount::new(10));
        assert_eq!(slots.used(), PageCount::ZERO);
        let file = slots.file().unwrap();
        let facts = file.with(|file| file::facts(file)).unwrap();
        assert_eq!(facts.unwrap().size_bytes, 0);
        assert!(folder.path().read_dir().unwrap().next().is_none());
    }
}
