//! What is asked of a heap, and why it says no.

/// How a heap shall be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Bytes committed at once. Windows: `dwInitialSize`.
    pub initial: usize,
    /// Bytes that the heap never exceeds, its own data included; 0 for a heap that grows. Windows: `dwMaximumSize`.
    pub maximum: usize,
}

/// How one call shall be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The bytes that are new read as zero. Windows: `HEAP_ZERO_MEMORY`.
    pub zeroed: bool,
    /// Waits while another thread has locked the heap. Windows: not `HEAP_NO_SERIALIZE`.
    pub serialised: bool,
    /// Fails when other threads keep the heap busy, instead of waiting; freed blocks are taken back later. For a global
    /// allocator, which may be called with other locks held.
    pub impatient: bool,
}

impl Request {
    /// As most calls are.
    pub const PLAIN: Self = Self {
        zeroed: false,
        serialised: true,
        impatient: false,
    };
    /// With new bytes zero.
    pub const ZEROED: Self = Self {
        zeroed: true,
        ..Self::PLAIN
    };
}

/// Why a heap cannot be made: no address space, or no commit for its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a heap: make its initial size smaller, or raise the commit limit")]
pub struct Unavailable;

/// Why a pointer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// The address is not this heap's: another heap's, or no heap's.
    #[error("not memory of this heap")]
    Foreign,
    /// No whole block header stands before it: no block begins here, or something wrote over the header.
    #[error("no block of this heap begins here, or its header was overwritten")]
    NoBlock,
    /// The block was freed before.
    #[error("the block is free already")]
    Free,
}

/// Why a block was not resized. It is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResizeError {
    /// No memory, or no room in place where that was asked for.
    #[error("no memory for that size")]
    NoMemory,
    /// The pointer is not a block.
    #[error(transparent)]
    Misuse(#[from] Misuse),
}

/// Sums over a heap, in bytes. Windows: `HEAP_SUMMARY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Blocks of the program, with their headers and what was not asked for.
    pub allocated: u64,
    /// Committed pages.
    pub committed: u64,
    /// Reserved address space.
    pub reserved: u64,
    /// The largest that `reserved` can be; the same as `reserved` for a heap that grows.
    pub most_reserved: u64,
}
