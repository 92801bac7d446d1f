//! Memory that Pagekeeper did not make: what the kernel's map says of it.

use pagekeeper_units::{PageNumber, PageRange};

/// What a foreign mapping is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForeignKind {
    /// A program or library: a file mapped with an executable part.
    Image,
    /// Another file, or shared memory.
    File,
    /// Anonymous memory.
    Anonymous,
    /// A thread's or the main stack.
    Stack,
    /// The `brk` heap.
    Heap,
}

/// One mapping of the kernel's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignMapping {
    /// Its pages.
    pub range: PageRange,
    /// Where the thing that it is part of begins: an image's lowest mapping. `range.start()` otherwise.
    pub allocation_base: PageNumber,
    /// Whether it can be read.
    pub readable: bool,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether it can be executed.
    pub executable: bool,
    /// Whether writes are seen by others (MAP_SHARED).
    pub shared: bool,
    /// What it is made of.
    pub kind: ForeignKind,
}

/// The kernel's map of this process (`/proc/self/maps` or its ioctl), as far as a query needs it.
///
/// The answer includes Pagekeeper's own mappings; the model knows its arenas and looks past them.
pub trait ForeignMemory {
    /// The mapping that holds `page`, or else the lowest one above it. `None` when there is none.
    fn at_or_after(&self, page: PageNumber) -> Option<ForeignMapping>;
}

/// No foreign memory at all: for tests, and where only Pagekeeper's own memory matters.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoForeignMemory;

impl ForeignMemory for NoForeignMemory {
    fn at_or_after(&self, _page: PageNumber) -> Option<ForeignMapping> {
        None
    }
}

/// Mappings in ascending order: a snapshot of the kernel's map.
impl ForeignMemory for [ForeignMapping] {
    fn at_or_after(&self, page: PageNumber) -> Option<ForeignMapping> {
        let at = self.partition_point(|mapping| mapping.range.end() <= page);
        self.get(at).copied()
    }
}

impl ForeignMemory for Vec<ForeignMapping> {
    fn at_or_after(&self, page: PageNumber) -> Option<ForeignMapping> {
        self.as_slice().at_or_after(page)
    }
}
