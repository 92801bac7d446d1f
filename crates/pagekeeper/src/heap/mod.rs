//! Private heaps: many small blocks in paged memory, checked, listed, and destroyed in one stroke.
//!
//! `memory` gives a heap its pages, `allocator` makes it one for collections, `global` one for a whole program, `fork` stops them
//! while the process forks. The blocks
//! themselves are `pagekeeper_heap`'s.

mod allocator;
pub(crate) mod fork;
mod global;
mod memory;

use std::sync::Arc;

use pagekeeper_heap::{Cursor, Damage, Entry, Options, Summary};
use pagekeeper_model::{Protection, Refusal};
use pagekeeper_units::{ByteCount, PageCount};

use crate::engine::EngineKind;
use crate::error::Error;
use crate::space::{Request, Space};

pub use global::PagedGlobal;
pub use memory::HeapMemory;

/// The blocks of a heap, for callers that deal with bare pointers.
pub type HeapBlocks = pagekeeper_heap::Heap<HeapMemory>;

/// A private heap in the paged memory of a space, which may be larger than RAM. Cheap to clone; clones are the same heap, which goes
/// with all its blocks when the last clone and the last collection in it have gone. Windows: `HeapCreate`, `HeapDestroy`.
///
/// An [`allocator_api2::alloc::Allocator`]: collections live in it. It uses the mapped engine unless told otherwise, so blocks may hold
/// anything: locks, and buffers for the kernel.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use pagekeeper::{ByteCount, Heap, Space};
/// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
/// let heap = Heap::new(&space)?;
/// let mut numbers = Vec::new_in(heap.clone());
/// numbers.extend(0..100_000_u64);
/// heap.validate().expect("nobody wrote where it should not");
/// assert!(heap.summary().allocated >= 800_000);
/// # Ok::<(), pagekeeper::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Heap {
    blocks: Arc<HeapBlocks>,
}

/// What a heap shall be like. Made by [`Heap::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is made until `build` is called"]
pub struct HeapBuilder {
    space: Space,
    initial: ByteCount,
    maximum: ByteCount,
    engine: EngineKind,
    protection: Protection,
}

impl HeapBuilder {
    /// So much is committed at once. Windows: `dwInitialSize`.
    pub fn initial(mut self, size: ByteCount) -> Self {
        self.initial = size;
        self
    }

    /// It never grows beyond this, its own data included, and has no blocks of nearly 1 MiB or more. Windows: `dwMaximumSize`.
    pub fn maximum(mut self, size: ByteCount) -> Self {
        self.maximum = size;
        self
    }

    /// Served by this engine instead of the mapped one. With the inline engine blocks must hold plain data that only this program's
    /// own code touches.
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = engine;
        self
    }

    /// Code may run in its blocks. Windows: `HEAP_CREATE_ENABLE_EXECUTE`.
    pub fn executable(mut self) -> Self {
        self.protection = Protection::EXECUTE_READ_WRITE;
        self
    }

    /// Makes the heap.
    ///
    /// # Errors
    /// [`Error`] without address space or commit for its beginning, or where the engine cannot run.
    pub fn build(self) -> Result<Heap, Error> {
        let size = |bytes: ByteCount| usize::try_from(bytes.get()).unwrap_or(usize::MAX);
        let options = Options {
            initial: size(self.initial),
            maximum: size(self.maximum),
        };
        let memory = HeapMemory::new(self.space, self.engine, self.protection);
        let failure = memory.failure();
        match pagekeeper_heap::Heap::new(memory, &options) {
            Ok(blocks) => {
                let blocks = Arc::new(blocks);
                fork::enter(&blocks);
                Ok(Heap { blocks })
            }
            Err(_) => Err(failure.take().unwrap_or_else(|| {
                let wanted = self.initial.get().max(self.maximum.get());
                let request = Request::new("make a heap", 0, wanted);
                request.refused(Refusal::NoHole {
                    pages: PageCount::holding(wanted),
                })
            })),
        }
    }
}

impl Heap {
    /// A heap that grows, on the mapped engine.
    ///
    /// # Errors
    /// As [`HeapBuilder::build`].
    pub fn new(space: &Space) -> Result<Self, Error> {
        Self::builder(space).build()
    }

    /// Begins a heap; see [`HeapBuilder`].
    pub fn builder(space: &Space) -> HeapBuilder {
        HeapBuilder {
            space: space.clone(),
            initial: ByteCount::ZERO,
            maximum: ByteCount::ZERO,
            engine: EngineKind::Mapped,
            protection: Protection::READ_WRITE,
        }
    }

    /// The address that it begins at: a multiple of 64 KiB. Windows: the heap's handle.
    pub fn base(&self) -> usize {
        self.blocks.base()
    }

    /// Its blocks as bare pointers.
    pub fn blocks(&self) -> &HeapBlocks {
        &self.blocks
    }

    /// Checks every header, what stands behind each block, and every list. Windows: `HeapValidate`.
    ///
    /// # Errors
    /// The first [`Damage`] found.
    pub fn validate(&self) -> Result<(), Damage> {
        self.blocks.validate()
    }

    /// Sums. Windows: `HeapSummary`.
    pub fn summary(&self) -> Summary {
        self.blocks.summary()
    }

    /// Gives back all pages that no block needs; the largest block that could be had without more. Windows: `HeapCompact`.
    pub fn compact(&self) -> ByteCount {
        ByteCount::new(self.blocks.compact() as u64)
    }

    /// Lists regions and blocks; other threads wait as long as the list is being read. Windows: `HeapLock`, `HeapWalk`.
    ///
    /// ```
    /// use pagekeeper::{ByteCount, Heap, HeapEntry, Space};
    /// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
    /// let heap = Heap::new(&space)?;
    /// // A fresh heap: its region, one free block, and what is not committed.
    /// assert_eq!(heap.entries().count(), 3);
    /// assert!(matches!(heap.entries().next(), Some(HeapEntry::Region { .. })));
    /// # Ok::<(), pagekeeper::Error>(())
    /// ```
    pub fn entries(&self) -> HeapEntries<'_> {
        self.blocks.lock();
        HeapEntries {
            blocks: &self.blocks,
            after: None,
            is_done: false,
        }
    }
}

/// The regions and blocks of a heap. It ends early where a header was overwritten: [`Heap::validate`] says where.
#[derive(Debug)]
pub struct HeapEntries<'a> {
    blocks: &'a HeapBlocks,
    after: Option<Cursor>,
    is_done: bool,
}

impl Iterator for HeapEntries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.is_done {
            return None;
        }
        let entry = self.blocks.walk(self.after).ok().flatten();
        self.after = entry.map(|entry| entry.cursor());
        self.is_done = entry.is_none();
        entry
    }
}

impl Drop for HeapEntries<'_> {
    fn drop(&mut self) {
        self.blocks.unlock();
    }
}
