//! Emptying the oldest block, so that its pages move to the page file.

use pagekeeper_units::PageNumber;

use super::classes::OBJECTS_MAX;
use super::{Pool, PoolRef};
use crate::sync::Relaxed;

/// An object that should leave, and the page that it belonged to when it was listed. The pager
/// takes the page first and looks whether it is still this object that the page refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolObject {
    /// Whose contents it holds.
    pub owner: PageNumber,
    /// The object.
    pub object: PoolRef,
}

/// Room for the objects of one block (16 KiB; make it outside the fault path).
#[derive(Debug)]
pub struct DrainList {
    objects: Box<[PoolObject; OBJECTS_MAX]>,
    count: usize,
}

impl DrainList {
    /// Allocates the room.
    pub fn new() -> Self {
        let nothing = PoolObject {
            owner: PageNumber::new(0),
            object: PoolRef::from_bits(0),
        };
        Self {
            objects: Box::new([nothing; OBJECTS_MAX]),
            count: 0,
        }
    }

    /// The objects that the last [`Pool::drain_oldest`] listed.
    pub fn objects(&self) -> &[PoolObject] {
        self.objects.get(..self.count).unwrap_or_default()
    }

    fn push(&mut self, object: PoolObject) {
        if let Some(place) = self.objects.get_mut(self.count) {
            *place = object;
            self.count += 1;
        }
    }
}

impl Default for DrainList {
    fn default() -> Self {
        Self::new()
    }
}

/// A block that takes no new objects until [`Pool::end_drain`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a block that is not handed to end_drain is never filled again"]
pub struct DrainingBlock(u32);

impl Pool {
    /// Lists the objects of the block that has been in use longest, and fills it no more. `None`
    /// when no block is in use, or all are being drained. For the fault path: no allocation.
    ///
    /// The block counts as the youngest from now on: a pager that could not move its objects gets
    /// another block next time.
    pub fn drain_oldest(&self, list: &mut DrainList) -> Option<DrainingBlock> {
        list.count = 0;
        // Bounded: every block is looked at once at most.
        for _ in 0..self.ages.resident_count.load(Relaxed) {
            let block = {
                let _held = self.ages.lock.lock();
                let block = self.ages.in_use.pop_front(&self.blocks)?;
                self.ages.in_use.push_back(&self.blocks, block);
                block
            };
            if self.start_drain(block, list) {
                return Some(DrainingBlock(block));
            }
        }
        None
    }

    /// Ends the draining of a block: what could not be moved stays, and the block is filled again.
    pub fn end_drain(&self, block: DrainingBlock) {
        let DrainingBlock(block) = block;
        let Some(class) = self.blocks.state(block).map(|state| state.class) else {
            return;
        };
        let Some(shelf) = self.shelves.get(class.index()) else {
            return;
        };
        let _held = shelf.lock.lock();
        // It may have run empty meanwhile, and even be in use again.
        if let Some(state) = self.blocks.state(block)
            && state.class == class
            && state.draining
        {
            let draining = false;
            self.regroup(shelf, block, state, super::State { draining, ..state });
        }
    }

    fn start_drain(&self, block: u32, list: &mut DrainList) -> bool {
        let Some(class) = self.blocks.state(block).map(|state| state.class) else {
            return false;
        };
        let Some(shelf) = self.shelves.get(class.index()) else {
            return false;
        };
        let _held = shelf.lock.lock();
        let Some(state) = self.blocks.state(block) else {
            return false;
        };
        // An empty block is either new and about to be filled, or about to be given back.
        if state.class != class || state.draining || state.count == 0 {
            return false;
        }
        let draining = true;
        self.regroup(shelf, block, state, super::State { draining, ..state });
        self.blocks.for_each_object(block, class, |index| {
            if let Some(header) = self.area.header(block, class, index) {
                list.push(PoolObject {
                    owner: header.owner,
                    object: PoolRef::new(block, index),
                });
            }
        });
        true
    }
}
