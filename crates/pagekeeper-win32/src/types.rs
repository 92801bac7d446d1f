//! Types of Windows' headers, field by field in its 64-bit layout. `tests/abi.rs` compares sizes and offsets with what
//! Windows says, and with our own headers.
//!
//! Source: windows-memory-behaviour.md 2.

#![allow(missing_docs, reason = "Windows' own names; see its documentation")]
#![allow(
    unsafe_code,
    reason = "UNSAFETY: names the type of the caller's functions; calls none"
)]

use core::ffi::c_void;

pub type BOOL = i32;
pub type BYTE = u8;
pub type WORD = u16;
/// 32 bits, as on Windows; not a `long`.
pub type DWORD = u32;
pub type LONG = i32;
pub type ULONG = u32;
pub type UINT = u32;
pub type SIZE_T = usize;
pub type ULONG_PTR = usize;
pub type DWORDLONG = u64;
pub type HANDLE = *mut c_void;
/// A union of two halves and the whole.
pub type LARGE_INTEGER = i64;

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FILETIME {
    pub dwLowDateTime: DWORD,
    pub dwHighDateTime: DWORD,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct BY_HANDLE_FILE_INFORMATION {
    pub dwFileAttributes: DWORD,
    pub ftCreationTime: FILETIME,
    pub ftLastAccessTime: FILETIME,
    pub ftLastWriteTime: FILETIME,
    pub dwVolumeSerialNumber: DWORD,
    pub nFileSizeHigh: DWORD,
    pub nFileSizeLow: DWORD,
    pub nNumberOfLinks: DWORD,
    pub nFileIndexHigh: DWORD,
    pub nFileIndexLow: DWORD,
}

/// The two halves of the offset are in a union with a pointer that nothing here uses.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OVERLAPPED {
    pub Internal: ULONG_PTR,
    pub InternalHigh: ULONG_PTR,
    pub Offset: DWORD,
    pub OffsetHigh: DWORD,
    pub hEvent: HANDLE,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SECURITY_ATTRIBUTES {
    pub nLength: DWORD,
    pub lpSecurityDescriptor: *mut c_void,
    pub bInheritHandle: BOOL,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MEMORY_BASIC_INFORMATION {
    pub BaseAddress: *mut c_void,
    pub AllocationBase: *mut c_void,
    pub AllocationProtect: DWORD,
    pub PartitionId: WORD,
    pub RegionSize: SIZE_T,
    pub State: DWORD,
    pub Protect: DWORD,
    pub Type: DWORD,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SYSTEM_INFO {
    pub wProcessorArchitecture: WORD,
    pub wReserved: WORD,
    pub dwPageSize: DWORD,
    pub lpMinimumApplicationAddress: *mut c_void,
    pub lpMaximumApplicationAddress: *mut c_void,
    pub dwActiveProcessorMask: usize,
    pub dwNumberOfProcessors: DWORD,
    pub dwProcessorType: DWORD,
    pub dwAllocationGranularity: DWORD,
    pub wProcessorLevel: WORD,
    pub wProcessorRevision: WORD,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MEMORYSTATUS {
    pub dwLength: DWORD,
    pub dwMemoryLoad: DWORD,
    pub dwTotalPhys: SIZE_T,
    pub dwAvailPhys: SIZE_T,
    pub dwTotalPageFile: SIZE_T,
    pub dwAvailPageFile: SIZE_T,
    pub dwTotalVirtual: SIZE_T,
    pub dwAvailVirtual: SIZE_T,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MEMORYSTATUSEX {
    pub dwLength: DWORD,
    pub dwMemoryLoad: DWORD,
    pub ullTotalPhys: DWORDLONG,
    pub ullAvailPhys: DWORDLONG,
    pub ullTotalPageFile: DWORDLONG,
    pub ullAvailPageFile: DWORDLONG,
    pub ullTotalVirtual: DWORDLONG,
    pub ullAvailVirtual: DWORDLONG,
    pub ullAvailExtendedVirtual: DWORDLONG,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PERFORMANCE_INFORMATION {
    pub cb: DWORD,
    pub CommitTotal: SIZE_T,
    pub CommitLimit: SIZE_T,
    pub CommitPeak: SIZE_T,
    pub PhysicalTotal: SIZE_T,
    pub PhysicalAvailable: SIZE_T,
    pub SystemCache: SIZE_T,
    pub KernelTotal: SIZE_T,
    pub KernelPaged: SIZE_T,
    pub KernelNonpaged: SIZE_T,
    pub PageSize: SIZE_T,
    pub HandleCount: DWORD,
    pub ProcessCount: DWORD,
    pub ThreadCount: DWORD,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PROCESS_MEMORY_COUNTERS_EX {
    pub cb: DWORD,
    pub PageFaultCount: DWORD,
    pub PeakWorkingSetSize: SIZE_T,
    pub WorkingSetSize: SIZE_T,
    pub QuotaPeakPagedPoolUsage: SIZE_T,
    pub QuotaPagedPoolUsage: SIZE_T,
    pub QuotaPeakNonPagedPoolUsage: SIZE_T,
    pub QuotaNonPagedPoolUsage: SIZE_T,
    pub PagefileUsage: SIZE_T,
    pub PeakPagefileUsage: SIZE_T,
    /// Only in the longer form; see [`PROCESS_MEMORY_COUNTERS_SIZE`].
    pub PrivateUsage: SIZE_T,
}

/// Size in bytes of the shorter form, without `PrivateUsage`.
pub const PROCESS_MEMORY_COUNTERS_SIZE: usize =
    core::mem::offset_of!(PROCESS_MEMORY_COUNTERS_EX, PrivateUsage);

/// `VirtualAttributes` is a `PSAPI_WORKING_SET_EX_BLOCK`: bit fields of one word.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PSAPI_WORKING_SET_EX_INFORMATION {
    pub VirtualAddress: *mut c_void,
    pub VirtualAttributes: ULONG_PTR,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PSAPI_WS_WATCH_INFORMATION {
    pub FaultingPc: *mut c_void,
    pub FaultingVa: *mut c_void,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PSAPI_WS_WATCH_INFORMATION_EX {
    pub BasicInfo: PSAPI_WS_WATCH_INFORMATION,
    pub FaultingThreadId: ULONG_PTR,
    pub Flags: ULONG_PTR,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ENUM_PAGE_FILE_INFORMATION {
    pub cb: DWORD,
    pub Reserved: DWORD,
    pub TotalSize: SIZE_T,
    pub TotalInUse: SIZE_T,
    pub PeakUsage: SIZE_T,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct WIN32_MEMORY_RANGE_ENTRY {
    pub VirtualAddress: *mut c_void,
    pub NumberOfBytes: SIZE_T,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MEM_ADDRESS_REQUIREMENTS {
    pub LowestStartingAddress: *mut c_void,
    pub HighestEndingAddress: *mut c_void,
    pub Alignment: SIZE_T,
}

/// The low byte of `Type` is the type; `Value` is a union of integers and pointers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MEM_EXTENDED_PARAMETER {
    pub Type: u64,
    pub Value: usize,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EXCEPTION_RECORD {
    pub ExceptionCode: DWORD,
    pub ExceptionFlags: DWORD,
    pub ExceptionRecord: *mut EXCEPTION_RECORD,
    pub ExceptionAddress: *mut c_void,
    pub NumberParameters: DWORD,
    pub ExceptionInformation: [ULONG_PTR; 15],
}

/// The x87 and SSE state as `fxsave` writes it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct XSAVE_FORMAT(pub [u8; 512]);

#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct CONTEXT {
    pub Home: [u64; 6],
    pub ContextFlags: DWORD,
    pub MxCsr: DWORD,
    pub SegCs: WORD,
    pub SegDs: WORD,
    pub SegEs: WORD,
    pub SegFs: WORD,
    pub SegGs: WORD,
    pub SegSs: WORD,
    pub EFlags: DWORD,
    pub Dr: [u64; 6],
    pub Rax: u64,
    pub Rcx: u64,
    pub Rdx: u64,
    pub Rbx: u64,
    pub Rsp: u64,
    pub Rbp: u64,
    pub Rsi: u64,
    pub Rdi: u64,
    pub R8: u64,
    pub R9: u64,
    pub R10: u64,
    pub R11: u64,
    pub R12: u64,
    pub R13: u64,
    pub R14: u64,
    pub R15: u64,
    pub Rip: u64,
    pub FltSave: XSAVE_FORMAT,
    pub VectorRegister: [u128; 26],
    pub VectorControl: u64,
    pub DebugControl: u64,
    pub LastBranchToRip: u64,
    pub LastBranchFromRip: u64,
    pub LastExceptionToRip: u64,
    pub LastExceptionFromRip: u64,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EXCEPTION_POINTERS {
    pub ExceptionRecord: *mut EXCEPTION_RECORD,
    pub ContextRecord: *mut CONTEXT,
}

/// `PVECTORED_EXCEPTION_HANDLER` and `PTOP_LEVEL_EXCEPTION_FILTER`.
pub type ExceptionHandler = unsafe extern "C-unwind" fn(*mut EXCEPTION_POINTERS) -> LONG;

const _: () = assert!(size_of::<MEMORY_BASIC_INFORMATION>() == 48);
const _: () = assert!(size_of::<CONTEXT>() == 1232);
const _: () = assert!(size_of::<EXCEPTION_RECORD>() == 152);

/// A union on Windows: `hMem` of movable blocks, which our heaps have none of, shares the place of these.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PROCESS_HEAP_REGION_PART {
    pub dwCommittedSize: DWORD,
    pub dwUnCommittedSize: DWORD,
    pub lpFirstBlock: *mut c_void,
    pub lpLastBlock: *mut c_void,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PROCESS_HEAP_ENTRY {
    pub lpData: *mut c_void,
    pub cbData: DWORD,
    pub cbOverhead: BYTE,
    pub iRegionIndex: BYTE,
    pub wFlags: WORD,
    pub Region: PROCESS_HEAP_REGION_PART,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct HEAP_SUMMARY {
    pub cb: DWORD,
    pub cbAllocated: SIZE_T,
    pub cbCommitted: SIZE_T,
    pub cbReserved: SIZE_T,
    pub cbMaxReserve: SIZE_T,
}
