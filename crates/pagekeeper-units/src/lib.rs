//! Numbers of Pagekeeper: page numbers, page counts, page ranges and byte sizes.
//!
//! The lowest floor. Everything here is plain arithmetic with its alignment and overflow rules; no
//! kernel, no allocation (except for text), no unsafe code.
//!
//! | type | what it is | unit |
//! |---|---|---|
//! | [`PageNumber`] | an address divided by 4,096 | pages |
//! | [`PageCount`] | how many pages | pages |
//! | [`PageRange`] | a start and a count, never empty on purpose, never past the end | pages |
//! | [`ByteCount`] | how many bytes; parses and prints `512M` | bytes |

mod byte_count;
mod page;

pub use byte_count::{ByteCount, ParseByteCountError};
pub use page::{PageCount, PageNumber, PageRange};

/// Size of a page in bytes. The platform is x86-64, where the base page is 4 KiB.
pub const PAGE_SIZE: usize = 4096;

/// The binary logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// Windows' allocation granularity in bytes: reservations start at multiples of it.
///
/// Source: windows-memory-behaviour.md 1.1.
pub const ALLOCATION_GRANULARITY: usize = 65_536;

/// Pages in one allocation granule (16).
pub const PAGES_PER_GRANULE: u64 = (ALLOCATION_GRANULARITY / PAGE_SIZE) as u64;

/// Size in bytes of a huge page of the processor (2 MiB).
pub const HUGE_PAGE_SIZE: usize = 2 << 20;

/// Pages in one huge page (512).
pub const PAGES_PER_HUGE_PAGE: u64 = (HUGE_PAGE_SIZE / PAGE_SIZE) as u64;

/// The lowest address that a program may reserve (`lpMinimumApplicationAddress`), in bytes.
pub const LOWEST_ADDRESS: u64 = 0x1_0000;

/// The highest address that a program may use (`lpMaximumApplicationAddress`), in bytes, inclusive.
pub const HIGHEST_ADDRESS: u64 = 0x7FFF_FFFE_FFFF;
