//! Private heaps. Windows: `HeapCreate` and its family, `GlobalAlloc`, `LocalAlloc`.
//!
//! | module | calls |
//! |---|---|
//! | [`create`] | `HeapCreate`, `HeapDestroy`, `GetProcessHeap`, `GetProcessHeaps` |
//! | [`blocks`] | `HeapAlloc`, `HeapReAlloc`, `HeapFree`, `HeapSize` |
//! | [`inspect`] | `HeapValidate`, `HeapWalk`, `HeapSummary`, `HeapCompact`, `HeapLock`, `HeapUnlock` |
//! | [`information`] | `HeapQueryInformation`, `HeapSetInformation` |
//! | [`global`], [`local`] | `GlobalAlloc`, `LocalAlloc` and what belongs to them, over `movable` |
//!
//! A handle is the address that the heap begins at. `table` knows which heaps there are, `fork` holds it still while the
//! process forks.
//!
//! Source: windows-memory-behaviour.md 16.

pub mod blocks;
pub mod create;
mod fork;
pub mod global;
pub mod information;
pub mod inspect;
pub mod local;
mod movable;
mod table;
