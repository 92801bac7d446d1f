//! Windows' virtual memory for Linux programs: reserve address space by the terabyte for nothing, commit pages that are
//! then guaranteed, change and query the state of every page, and keep far more data than fits into RAM, with a page file
//! and a pager of its own, in user space, for an ordinary user.
//!
//! ```
//! use pagekeeper::{ByteCount, PagedVec, Space};
//!
//! // 16 MiB of RAM; what does not fit is packed, and then goes to a page file in TMPDIR or /var/tmp.
//! let space = Space::builder().ram(ByteCount::mib(16)).build()?;
//! let mut table = PagedVec::<u64>::with_capacity(&space, 1 << 32)?;
//! for number in 0..4_000_000 {
//!     table.push(number)?;
//! }
//! assert_eq!(table[3_999_999], 3_999_999);
//! # Ok::<(), pagekeeper::Error>(())
//! ```
//!
//! | item | Windows counterpart |
//! |---|---|
//! | [`Space`] | the process's address space |
//! | [`Reservation`] | an allocation: `VirtualAlloc(MEM_RESERVE)` |
//! | [`Reservation::commit`], [`Reservation::decommit`] | `MEM_COMMIT`, `MEM_DECOMMIT` |
//! | [`Reservation::protect`], [`Space::query`] | `VirtualProtect`, `VirtualQuery` |
//! | [`Reservation::lock`], [`Reservation::prefetch`] | `VirtualLock`, `PrefetchVirtualMemory` |
//! | [`Space::on_exception`] | `AddVectoredExceptionHandler` |
//! | [`monitor`] | `QueryWorkingSet`, `GetProcessMemoryInfo`, and what tools such as VMMap show |
//! | [`Section`], [`View`] | file mappings: `CreateFileMapping`, `MapViewOfFile` |
//! | [`PagedVec`] | none: a vector that may be larger than RAM |
//! | [`PagedAllocator`] | none: for collections that may be larger than RAM |
//! | [`Heap`] | a private heap: `HeapCreate` |
//! | [`PagedGlobal`] | none: all of a program's Rust heap may be larger than RAM |
//! | [`Settings`] | the system's page-file settings |

mod allocator;
mod engine;
mod error;
mod exception;
mod fault_sites;
pub mod fault_watch;
mod fork;
mod heap;
mod inside;
#[cfg(all(feature = "kernel-touch", not(target_feature = "crt-static")))]
mod kernel_touch;
pub mod monitor;
mod paged_vec;
mod process_hook;
mod registry;
mod reservation;
mod resident;
mod section;
mod settings;
mod space;
mod statistics;

pub use allocator::PagedAllocator;
pub use engine::{EngineKind, Residence};
pub use error::{EngineError, Error, SettingsError};
pub use exception::{Exception, ExceptionKind, Handled};
pub use heap::{Heap, HeapBlocks, HeapBuilder, HeapEntries, HeapMemory, PagedGlobal};
#[cfg(all(feature = "kernel-touch", not(target_feature = "crt-static")))]
pub use kernel_touch::{KernelTouch, kernel_touches};
pub use paged_vec::{PagedVec, Plain};
pub use pagekeeper_heap::{Damage, Entry as HeapEntry, Summary as HeapSummary};
pub use pagekeeper_model::{
    Access, AllocationInfo, AllocationKind, BaseProtection, FreeRequest, PlaceholderRole,
    Protection, Refusal, RegionInfo, RegionState, RegionType, ReplaceRequest, Verdict,
    WorkingSetFlags, WorkingSetLimits,
};
pub use pagekeeper_sys::signal::Registers;
pub use pagekeeper_units::{ByteCount, PageCount, PageNumber, PageRange};
pub use process_hook::{Interrupted, ProcessHook, set_process_hook};
pub use reservation::{Reservation, ReservationBuilder};
pub use resident::{Resident, with_resident, with_resident_mut};
pub use section::{AtomicWord, ExclusiveView, Opened, Section, SectionBuilder, View, ViewBuilder};
pub use settings::Settings;
pub use space::{
    AddressLimits, Degraded, PageAttributes, PageFileInfo, Space, SpaceStatus, mapped_end,
};
pub use statistics::{EngineStatistics, Exactness, LATENCY_BUCKETS};
