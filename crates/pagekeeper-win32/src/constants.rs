//! Numbers of Windows' headers. `tests/abi.rs` compares each with what Windows says, and with our own headers.
//!
//! Source: windows-memory-behaviour.md 1.2 and 1.3.

#![allow(missing_docs, reason = "Windows' own names; see its documentation")]

use crate::types::{BOOL, DWORD, LONG};

macro_rules! numbers {
    ($($kind:ident: $($name:ident = $value:expr),+ $(,)?;)+) => {
        $($(pub const $name: $kind = $value;)+)+
        /// Every number here by name, for the test that compares them with the headers.
        pub const ALL: &[(&str, u64)] = &[$($((stringify!($name), $name as u32 as u64),)+)+];
    };
}

numbers! {
    BOOL: FALSE = 0, TRUE = 1;
    DWORD:
        MEM_COMMIT = 0x1000, MEM_RESERVE = 0x2000, MEM_REPLACE_PLACEHOLDER = 0x4000,
        MEM_RESERVE_PLACEHOLDER = 0x4_0000, MEM_RESET = 0x8_0000, MEM_TOP_DOWN = 0x10_0000,
        MEM_WRITE_WATCH = 0x20_0000, MEM_PHYSICAL = 0x40_0000, MEM_RESET_UNDO = 0x100_0000,
        MEM_LARGE_PAGES = 0x2000_0000,
        MEM_COALESCE_PLACEHOLDERS = 1, MEM_PRESERVE_PLACEHOLDER = 2, MEM_DECOMMIT = 0x4000, MEM_RELEASE = 0x8000,
        MEM_FREE = 0x1_0000, MEM_PRIVATE = 0x2_0000, MEM_MAPPED = 0x4_0000, MEM_IMAGE = 0x100_0000,
        PAGE_NOACCESS = 1, PAGE_READONLY = 2, PAGE_READWRITE = 4, PAGE_WRITECOPY = 8, PAGE_EXECUTE = 0x10,
        PAGE_EXECUTE_READ = 0x20, PAGE_EXECUTE_READWRITE = 0x40, PAGE_EXECUTE_WRITECOPY = 0x80,
        PAGE_GUARD = 0x100, PAGE_NOCACHE = 0x200, PAGE_WRITECOMBINE = 0x400,
        PAGE_TARGETS_INVALID = 0x4000_0000, PAGE_TARGETS_NO_UPDATE = 0x4000_0000;
    DWORD:
        WRITE_WATCH_FLAG_RESET = 1,
        QUOTA_LIMITS_HARDWS_MIN_ENABLE = 1, QUOTA_LIMITS_HARDWS_MIN_DISABLE = 2,
        QUOTA_LIMITS_HARDWS_MAX_ENABLE = 4, QUOTA_LIMITS_HARDWS_MAX_DISABLE = 8;
    DWORD:
        ERROR_SUCCESS = 0, ERROR_FILE_NOT_FOUND = 2, ERROR_ACCESS_DENIED = 5, ERROR_INVALID_HANDLE = 6,
        ERROR_NOT_ENOUGH_MEMORY = 8, ERROR_OUTOFMEMORY = 14, ERROR_BAD_LENGTH = 24, ERROR_GEN_FAILURE = 31,
        ERROR_NOT_SUPPORTED = 50, ERROR_INVALID_PARAMETER = 87, ERROR_DISK_FULL = 112,
        ERROR_INSUFFICIENT_BUFFER = 122, ERROR_NOT_LOCKED = 158, ERROR_BUSY = 170, ERROR_ALREADY_EXISTS = 183,
        ERROR_BAD_EXE_FORMAT = 193, ERROR_NO_MORE_ITEMS = 259, ERROR_PARTIAL_COPY = 299,
        ERROR_INVALID_ADDRESS = 487, ERROR_NOACCESS = 998, ERROR_SWAPERROR = 999, ERROR_STACK_OVERFLOW = 1001,
        ERROR_FILE_INVALID = 1006, ERROR_MAPPED_ALIGNMENT = 1132, ERROR_USER_MAPPED_FILE = 1224,
        ERROR_PRIVILEGE_NOT_HELD = 1314, ERROR_NO_SYSTEM_RESOURCES = 1450, ERROR_WORKING_SET_QUOTA = 1453,
        ERROR_PAGEFILE_QUOTA = 1454, ERROR_COMMITMENT_LIMIT = 1455, ERROR_NOT_ENOUGH_QUOTA = 1816;
    DWORD:
        STATUS_GUARD_PAGE_VIOLATION = 0x8000_0001, STATUS_ACCESS_VIOLATION = 0xC000_0005,
        STATUS_IN_PAGE_ERROR = 0xC000_0006, STATUS_NO_MEMORY = 0xC000_0017,
        STATUS_NONCONTINUABLE_EXCEPTION = 0xC000_0025, STATUS_STACK_OVERFLOW = 0xC000_00FD,
        EXCEPTION_NONCONTINUABLE = 1, EXCEPTION_MAXIMUM_PARAMETERS = 15;
    LONG:
        EXCEPTION_EXECUTE_HANDLER = 1, EXCEPTION_CONTINUE_SEARCH = 0, EXCEPTION_CONTINUE_EXECUTION = -1;
    DWORD:
        PROCESSOR_ARCHITECTURE_AMD64 = 9, PROCESSOR_AMD_X8664 = 8664;
    LONG:
        MemExtendedParameterInvalidType = 0, MemExtendedParameterAddressRequirements = 1,
        MemExtendedParameterNumaNode = 2, MemExtendedParameterPartitionHandle = 3,
        MemExtendedParameterUserPhysicalHandle = 4, MemExtendedParameterAttributeFlags = 5,
        VmOfferPriorityVeryLow = 1, VmOfferPriorityLow = 2, VmOfferPriorityBelowNormal = 3,
        VmOfferPriorityNormal = 4, LowMemoryResourceNotification = 0, HighMemoryResourceNotification = 1;
}

/// `CONTEXT_ALL` less the debug registers, which are not known.
pub const CONTEXT_KNOWN: DWORD = 0x10_000F;
