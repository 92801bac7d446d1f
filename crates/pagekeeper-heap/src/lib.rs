//! Blocks inside memory that somebody else reserves and commits: what a private heap is made of, without the pager.
//!
//! A [`Heap`] takes address space and pages through the [`Memory`] trait, and hands out blocks of 16-byte alignment with 16 bytes
//! of overhead. It knows a block's size from its pointer, resizes in place where it can, lists all blocks, finds damage, refuses
//! pointers that are not blocks of its own, gives pages back that no block uses, and goes in one stroke.
//!
//! ```
//! use pagekeeper_heap::{Heap, Options, PlainMemory, Request};
//! let heap = Heap::new(PlainMemory::default(), &Options::default()).expect("memory");
//! let block = heap.allocate(100, Request::ZEROED).expect("memory");
//! assert_eq!(heap.size(block.as_ptr()), Ok(100));
//! // SAFETY: nobody uses the block any more.
//! unsafe { heap.free(block.as_ptr(), Request::PLAIN) }.expect("a block of this heap");
//! assert!(heap.size(block.as_ptr()).is_err());
//! ```
//!
//! From the outside in:
//!
//! | module | what |
//! |---|---|
//! | `heap`, `resize` | the front: allocate, free, resize, size; which way a call takes |
//! | `whole` | locking, giving back, sums |
//! | `request` | what is asked, and why it is refused |
//! | `deferred` | blocks freed by callers that must not wait |
//! | `shard` | the low-fragmentation front end: each thread's blocks by size, taken and put back without a lock |
//! | `gate` | stopping all threads' fast ways: for walking, validating, and for programs that lock the heap |
//! | `fork` | standing still while the process forks |
//! | `core` | what the heap's lock protects: bins, segments, large blocks, full magazines |
//! | `bins` | free blocks by size in two levels (TLSF) |
//! | `segment` | one growing range of address space, and which of its pages are committed |
//! | `large` | blocks with address space of their own |
//! | `header` | the 16 bytes before each block, sealed |
//! | `owners` | which heap an address belongs to |
//! | `walk`, `validate` | listing and checking |
//! | `memory`, `plain` | the seam below, and the one for tests |
//!
//! Metadata that is not a block's header lives in the C library's heap: paging it would only slow paging down, and a heap
//! may be the program's global allocator.

mod bins;
mod classes;
mod core;
mod deferred;
mod fork;
mod gate;
mod header;
mod heap;
mod large;
mod memory;
mod owners;
mod plain;
mod request;
mod resize;
mod segment;
mod shard;
mod thread;
mod validate;
mod walk;
mod whole;

pub use fork::Still;
pub use heap::Heap;
pub use memory::Memory;
pub use plain::PlainMemory;
pub use request::{Misuse, Options, Request, ResizeError, Summary, Unavailable};
pub use validate::Damage;
pub use walk::{Cursor, Entry};

/// Blocks of this size and more get address space of their own, and a heap of fixed size has none of them: a page less than
/// 1 MiB. Source: windows-memory-behaviour.md 16.2 and 16.3.
pub const LARGE_BLOCK: usize = 0xFF000;
/// Bytes before each block that belong to the heap.
pub const OVERHEAD: usize = 16;
