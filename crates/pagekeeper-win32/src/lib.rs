//! Windows' virtual-memory calls for C and C++ programs on Linux: `windows.h` and one library to link.
//!
//! An edge of [`pagekeeper`]: it translates names, types, flags and error numbers, and decides nothing. Each call is one
//! function with Windows' name and C's calling convention; what it takes and returns is said by the headers in `include/`, which
//! are kept by hand, and by Windows' own documentation. Which rules it keeps: `docs/windows-semantics.md`.
//!
//! | module | calls |
//! |---|---|
//! | [`alloc`], [`alloc2`] | `VirtualAlloc`, `VirtualAllocEx`, `VirtualAlloc2` |
//! | [`free`], [`protect`], [`query`], [`lock`] | `VirtualFree`, `VirtualProtect`, `VirtualQuery` and their `Ex` forms; `VirtualLock`, `VirtualUnlock` |
//! | [`write_watch`] | `GetWriteWatch`, `ResetWriteWatch` |
//! | [`offer`], [`prefetch`] | `OfferVirtualMemory`, `ReclaimVirtualMemory`, `DiscardVirtualMemory`; `PrefetchVirtualMemory` |
//! | [`physical`] | `AllocateUserPhysicalPages`, `MapUserPhysicalPages`, ... |
//! | [`working_set`] | `SetProcessWorkingSetSizeEx`, `EmptyWorkingSet`, `QueryWorkingSetEx`, ... |
//! | [`fault_watch`] | `InitializeProcessForWsWatch`, `GetWsChanges`, `GetWsChangesEx` |
//! | [`memory_status`], [`system_info`], [`performance`], [`page_files`] | `GlobalMemoryStatusEx`, `GetSystemInfo`, `GetPerformanceInfo`, `GetProcessMemoryInfo`, `EnumPageFiles` |
//! | [`handles`] | `CloseHandle`, `DuplicateHandle`, `WaitForSingleObject`, `WaitForMultipleObjects` |
//! | [`files`] | `CreateFile`, `ReadFile`, `WriteFile`, `SetFilePointerEx`, `GetFileSizeEx`, `_get_osfhandle`, ... |
//! | [`sections`] | `CreateFileMapping`, `OpenFileMapping`, `MapViewOfFile`, `UnmapViewOfFile`, `FlushViewOfFile`, ... |
//! | [`notification`], [`process`] | `CreateMemoryResourceNotification`; `GetCurrentProcess`, `Sleep` |
//! | [`exceptions`] | `AddVectoredExceptionHandler`, `SetUnhandledExceptionFilter`, `RaiseException`, blocks in C |
//! | [`heap`] | `HeapCreate`, `HeapAlloc`, `HeapWalk`, ...; `GlobalAlloc`, `LocalAlloc` |
//! | [`snapshot`] | `PagekeeperSnapshotTake`, ...: not of Windows, `pagekeeper.h` |
//! | [`last_error`], [`bad_pointer`] | `GetLastError`, `SetLastError`; `IsBadReadPtr` and its family |
//!
//! Beneath them: [`types`] and [`constants`] in Windows' layout, `errors` with the one table of error numbers, `space`
//! with the process's one space, and `memory`, which reads and writes the caller's memory without trusting it.

#![allow(
    non_snake_case,
    non_camel_case_types,
    non_upper_case_globals,
    reason = "Windows' own names"
)]

pub mod alloc;
pub mod alloc2;
pub mod bad_pointer;
pub mod constants;
mod errors;
pub mod exceptions;
pub mod fault_watch;
pub mod files;
pub mod free;
pub mod handles;
pub mod heap;
pub mod last_error;
pub mod lock;
mod memory;
pub mod memory_status;
pub mod notification;
pub mod offer;
pub mod page_files;
pub mod performance;
pub mod physical;
pub mod prefetch;
pub mod process;
pub mod protect;
pub mod query;
pub mod sections;
pub mod snapshot;
mod space;
pub mod system_info;
pub mod types;
pub mod working_set;
pub mod write_watch;
