//! Types and numbers are those of Windows, as the `windows-sys` crate knows them from its metadata.

use core::mem::{align_of, offset_of, size_of};

use pagekeeper_win32::{constants, types};
use windows_sys::Win32::Foundation as foundation;
use windows_sys::Win32::Security as security;
use windows_sys::Win32::Storage::FileSystem as files;
use windows_sys::Win32::System::Console as console;
use windows_sys::Win32::System::Diagnostics::Debug as debug;
use windows_sys::Win32::System::IO as io;
use windows_sys::Win32::System::Memory as memory;
use windows_sys::Win32::System::ProcessStatus as status;
use windows_sys::Win32::System::SystemInformation as information;
use windows_sys::Win32::System::SystemServices as services;
use windows_sys::Win32::System::Threading as threading;

/// Same size, same alignment, and the fields at the same offsets (ours on the left where the name differs).
macro_rules! same_layout {
    ($module:ident, $name:ident: $($ours:ident $(= $theirs:ident)?),* $(,)?) => {
        assert_eq!(size_of::<types::$name>(), size_of::<$module::$name>(), stringify!($name));
        assert_eq!(align_of::<types::$name>(), align_of::<$module::$name>(), stringify!($name));
        $(same_layout!(@field $module, $name, $ours $(, $theirs)?);)*
    };
    (@field $module:ident, $name:ident, $field:ident) => {
        same_layout!(@field $module, $name, $field, $field);
    };
    (@field $module:ident, $name:ident, $ours:ident, $theirs:ident) => {
        assert_eq!(
            offset_of!(types::$name, $ours),
            offset_of!($module::$name, $theirs),
            "{}.{}", stringify!($name), stringify!($ours)
        );
    };
}

#[test]
fn structures_have_the_layout_of_windows() {
    same_layout!(memory, MEMORY_BASIC_INFORMATION: BaseAddress, AllocationBase, AllocationProtect, PartitionId,
        RegionSize, State, Protect, Type);
    same_layout!(memory, WIN32_MEMORY_RANGE_ENTRY: VirtualAddress, NumberOfBytes);
    same_layout!(information, SYSTEM_INFO: dwPageSize, lpMinimumApplicationAddress, lpMaximumApplicationAddress,
        dwActiveProcessorMask, dwNumberOfProcessors, dwProcessorType, dwAllocationGranularity, wProcessorLevel,
        wProcessorRevision);
    same_layout!(information, MEMORYSTATUSEX: dwLength, dwMemoryLoad, ullTotalPhys, ullAvailPhys, ullTotalPageFile,
        ullAvailPageFile, ullTotalVirtual, ullAvailVirtual, ullAvailExtendedVirtual);
    same_layout!(information, MEMORYSTATUS: dwLength, dwMemoryLoad, dwTotalPhys, dwAvailPhys, dwTotalPageFile,
        dwAvailPageFile, dwTotalVirtual, dwAvailVirtual);
    same_layout!(status, PERFORMANCE_INFORMATION: cb, CommitTotal, CommitLimit, CommitPeak, PhysicalTotal,
        PhysicalAvailable, SystemCache, KernelTotal, KernelPaged, KernelNonpaged, PageSize, HandleCount, ProcessCount,
        ThreadCount);
    same_layout!(status, PROCESS_MEMORY_COUNTERS_EX: cb, PageFaultCount, PeakWorkingSetSize, WorkingSetSize,
        QuotaPeakPagedPoolUsage, QuotaPagedPoolUsage, QuotaPeakNonPagedPoolUsage, QuotaNonPagedPoolUsage, PagefileUsage,
        PeakPagefileUsage, PrivateUsage);
    assert_eq!(
        types::PROCESS_MEMORY_COUNTERS_SIZE,
        size_of::<status::PROCESS_MEMORY_COUNTERS>()
    );
    same_layout!(status, PSAPI_WORKING_SET_EX_INFORMATION: VirtualAddress, VirtualAttributes);
    same_layout!(status, PSAPI_WS_WATCH_INFORMATION: FaultingPc, FaultingVa);
    same_layout!(status, PSAPI_WS_WATCH_INFORMATION_EX: BasicInfo, FaultingThreadId, Flags);
    same_layout!(status, ENUM_PAGE_FILE_INFORMATION: cb, Reserved, TotalSize, TotalInUse, PeakUsage);
    same_layout!(memory, MEM_ADDRESS_REQUIREMENTS: LowestStartingAddress, HighestEndingAddress, Alignment);
    assert_eq!(
        size_of::<types::MEM_EXTENDED_PARAMETER>(),
        size_of::<memory::MEM_EXTENDED_PARAMETER>()
    );
    same_layout!(debug, EXCEPTION_RECORD: ExceptionCode, ExceptionFlags, ExceptionRecord, ExceptionAddress,
        NumberParameters, ExceptionInformation);
    same_layout!(debug, EXCEPTION_POINTERS: ExceptionRecord, ContextRecord);
    same_layout!(foundation, FILETIME: dwLowDateTime, dwHighDateTime);
    same_layout!(files, BY_HANDLE_FILE_INFORMATION: dwFileAttributes, ftCreationTime, ftLastAccessTime, ftLastWriteTime,
        dwVolumeSerialNumber, nFileSizeHigh, nFileSizeLow, nNumberOfLinks, nFileIndexHigh, nFileIndexLow);
    same_layout!(io, OVERLAPPED: Internal, InternalHigh, Offset = Anonymous, hEvent);
    same_layout!(security, SECURITY_ATTRIBUTES: nLength, lpSecurityDescriptor, bInheritHandle);
    same_layout!(memory, PROCESS_HEAP_ENTRY: lpData, cbData, cbOverhead, iRegionIndex, wFlags, Region = Anonymous);
    same_layout!(memory, HEAP_SUMMARY: cb, cbAllocated, cbCommitted, cbReserved, cbMaxReserve);
    // Only the alignment is ours: Windows' metadata does not say 16 for all of them.
    assert_eq!(size_of::<types::CONTEXT>(), size_of::<debug::CONTEXT>());
    macro_rules! context {
        ($($ours:ident $(= $theirs:ident)?),* $(,)?) => {
            $(same_layout!(@field debug, CONTEXT, $ours $(, $theirs)?);)*
        };
    }
    context!(
        Home = P1Home,
        ContextFlags,
        MxCsr,
        SegCs,
        SegDs,
        SegEs,
        SegFs,
        SegGs,
        SegSs,
        EFlags,
        Dr = Dr0,
        Rax,
        Rcx,
        Rdx,
        Rbx,
        Rsp,
        Rbp,
        Rsi,
        Rdi,
        R8,
        R9,
        R10,
        R11,
        R12,
        R13,
        R14,
        R15,
        Rip,
        FltSave = Anonymous,
        VectorRegister,
        VectorControl,
        DebugControl,
        LastBranchToRip,
        LastBranchFromRip,
        LastExceptionToRip,
        LastExceptionFromRip
    );
}

/// Each constant of ours with Windows' value of that name.
macro_rules! same_numbers {
    ($seen:ident; $($module:ident: $($name:ident),+ $(,)?;)+) => {
        $($(
            assert_eq!(
                constants::$name as u32, $module::$name as u32, "{}", stringify!($name)
            );
            $seen.push(stringify!($name));
        )+)+
    };
}

#[test]
fn numbers_are_those_of_windows() {
    let mut seen: Vec<&str> = Vec::new();
    same_numbers! { seen;
        foundation: FALSE, TRUE, ERROR_SUCCESS, ERROR_FILE_NOT_FOUND, ERROR_ACCESS_DENIED, ERROR_INVALID_HANDLE,
            ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_BAD_LENGTH, ERROR_GEN_FAILURE, ERROR_NOT_SUPPORTED,
            ERROR_INVALID_PARAMETER, ERROR_DISK_FULL, ERROR_INSUFFICIENT_BUFFER, ERROR_NOT_LOCKED, ERROR_BUSY,
            ERROR_ALREADY_EXISTS, ERROR_BAD_EXE_FORMAT, ERROR_NO_MORE_ITEMS, ERROR_PARTIAL_COPY, ERROR_INVALID_ADDRESS,
            ERROR_NOACCESS, ERROR_SWAPERROR, ERROR_STACK_OVERFLOW, ERROR_FILE_INVALID, ERROR_MAPPED_ALIGNMENT,
            ERROR_USER_MAPPED_FILE, ERROR_PRIVILEGE_NOT_HELD, ERROR_NO_SYSTEM_RESOURCES, ERROR_WORKING_SET_QUOTA,
            ERROR_PAGEFILE_QUOTA, ERROR_COMMITMENT_LIMIT,
        ERROR_COMMITMENT_MINIMUM, ERROR_NOT_ENOUGH_QUOTA, STATUS_GUARD_PAGE_VIOLATION,
            STATUS_ACCESS_VIOLATION, STATUS_IN_PAGE_ERROR, STATUS_NO_MEMORY, STATUS_NONCONTINUABLE_EXCEPTION,
            STATUS_STACK_OVERFLOW, STATUS_HEAP_CORRUPTION, ERROR_DISCARDED;
        memory: HEAP_NO_SERIALIZE, HEAP_GENERATE_EXCEPTIONS, HEAP_ZERO_MEMORY, HEAP_REALLOC_IN_PLACE_ONLY,
            HEAP_CREATE_ENABLE_EXECUTE, HeapCompatibilityInformation, HeapEnableTerminationOnCorruption,
            HeapOptimizeResources, GMEM_FIXED, GMEM_MOVEABLE, GMEM_ZEROINIT, GHND, GPTR, LMEM_FIXED, LMEM_MOVEABLE,
            LMEM_ZEROINIT, LHND, LPTR;
        services: LMEM_MODIFY, LMEM_DISCARDABLE, LMEM_DISCARDED, LMEM_INVALID_HANDLE, LMEM_LOCKCOUNT;
        services: PROCESS_HEAP_REGION, PROCESS_HEAP_UNCOMMITTED_RANGE, PROCESS_HEAP_ENTRY_BUSY,
            PROCESS_HEAP_ENTRY_MOVEABLE, PROCESS_HEAP_ENTRY_DDESHARE;
        memory: MEM_COMMIT, MEM_RESERVE, MEM_REPLACE_PLACEHOLDER, MEM_RESERVE_PLACEHOLDER, MEM_RESET, MEM_RESET_UNDO,
            MEM_LARGE_PAGES, MEM_PRESERVE_PLACEHOLDER, MEM_DECOMMIT, MEM_RELEASE, MEM_FREE, MEM_PRIVATE, MEM_MAPPED,
            MEM_IMAGE, PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE, PAGE_WRITECOPY, PAGE_EXECUTE, PAGE_EXECUTE_READ,
            PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY, PAGE_GUARD, PAGE_NOCACHE, PAGE_WRITECOMBINE,
            PAGE_TARGETS_INVALID, PAGE_TARGETS_NO_UPDATE, QUOTA_LIMITS_HARDWS_MIN_ENABLE,
            QUOTA_LIMITS_HARDWS_MIN_DISABLE, QUOTA_LIMITS_HARDWS_MAX_ENABLE, QUOTA_LIMITS_HARDWS_MAX_DISABLE,
            MemExtendedParameterInvalidType, MemExtendedParameterAddressRequirements, MemExtendedParameterNumaNode,
            MemExtendedParameterPartitionHandle, MemExtendedParameterUserPhysicalHandle,
            MemExtendedParameterAttributeFlags, VmOfferPriorityVeryLow, VmOfferPriorityLow, VmOfferPriorityBelowNormal,
            VmOfferPriorityNormal, LowMemoryResourceNotification, HighMemoryResourceNotification;
        services: MEM_TOP_DOWN, MEM_WRITE_WATCH, MEM_PHYSICAL, MEM_COALESCE_PLACEHOLDERS, MAXIMUM_WAIT_OBJECTS;
        foundation: ERROR_INVALID_FUNCTION, ERROR_PATH_NOT_FOUND, ERROR_TOO_MANY_OPEN_FILES, ERROR_NOT_SAME_DEVICE,
            ERROR_WRITE_PROTECT, ERROR_SHARING_VIOLATION, ERROR_HANDLE_EOF, ERROR_BAD_NETPATH, ERROR_FILE_EXISTS,
            ERROR_BROKEN_PIPE, ERROR_BUFFER_OVERFLOW, ERROR_INVALID_NAME, ERROR_NEGATIVE_SEEK, ERROR_DIR_NOT_EMPTY,
            ERROR_FILENAME_EXCED_RANGE, ERROR_FILE_TOO_LARGE, ERROR_NO_DATA, ERROR_DIRECTORY, ERROR_IO_INCOMPLETE,
            ERROR_IO_DEVICE, ERROR_NOT_SAME_OBJECT, ERROR_INVALID_USER_BUFFER, ERROR_CANT_RESOLVE_FILENAME, GENERIC_READ, GENERIC_WRITE,
            GENERIC_EXECUTE, GENERIC_ALL, MAX_PATH, DUPLICATE_CLOSE_SOURCE, DUPLICATE_SAME_ACCESS, WAIT_OBJECT_0,
            WAIT_TIMEOUT, WAIT_FAILED;
        files: DELETE, SYNCHRONIZE, FILE_READ_DATA, FILE_WRITE_DATA, FILE_APPEND_DATA, FILE_EXECUTE,
            FILE_READ_ATTRIBUTES, FILE_ALL_ACCESS, FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE,
            FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SHARE_DELETE, CREATE_NEW, CREATE_ALWAYS, OPEN_EXISTING, OPEN_ALWAYS,
            TRUNCATE_EXISTING, FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_SYSTEM,
            FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_TEMPORARY,
            FILE_FLAG_WRITE_THROUGH, FILE_FLAG_OVERLAPPED, FILE_FLAG_NO_BUFFERING, FILE_FLAG_RANDOM_ACCESS,
            FILE_FLAG_SEQUENTIAL_SCAN, FILE_FLAG_DELETE_ON_CLOSE, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_POSIX_SEMANTICS,
            FILE_FLAG_OPEN_REPARSE_POINT, FILE_BEGIN, FILE_CURRENT, FILE_END, FILE_TYPE_UNKNOWN, FILE_TYPE_DISK,
            FILE_TYPE_CHAR, FILE_TYPE_PIPE, INVALID_FILE_SIZE, INVALID_SET_FILE_POINTER, INVALID_FILE_ATTRIBUTES;
        files: STANDARD_RIGHTS_REQUIRED;
        memory: FILE_MAP_ALL_ACCESS, FILE_MAP_COPY, FILE_MAP_EXECUTE, FILE_MAP_LARGE_PAGES, FILE_MAP_READ,
            FILE_MAP_TARGETS_INVALID, FILE_MAP_WRITE, MEM_UNMAP_WITH_TRANSIENT_BOOST, SECTION_ALL_ACCESS,
            SECTION_EXTEND_SIZE, SECTION_MAP_EXECUTE, SECTION_MAP_EXECUTE_EXPLICIT, SECTION_MAP_READ, SECTION_MAP_WRITE,
            SECTION_QUERY, SEC_COMMIT, SEC_FILE, SEC_IMAGE, SEC_IMAGE_NO_EXECUTE, SEC_LARGE_PAGES, SEC_NOCACHE, SEC_RESERVE,
            SEC_WRITECOMBINE;
        console: STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE;
        threading: PROCESS_VM_OPERATION, PROCESS_DUP_HANDLE, PROCESS_SET_QUOTA, PROCESS_QUERY_INFORMATION,
            PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_ALL_ACCESS, THREAD_ALL_ACCESS, INFINITE;
        information: PROCESSOR_ARCHITECTURE_AMD64;
    }
    // Numbers that the metadata lacks or has under another name, from Microsoft's documentation.
    let documented = [
        ("WRITE_WATCH_FLAG_RESET", 1),
        ("EXCEPTION_NONCONTINUABLE", 1),
        ("EXCEPTION_MAXIMUM_PARAMETERS", 15),
        ("EXCEPTION_EXECUTE_HANDLER", 1),
        ("EXCEPTION_CONTINUE_SEARCH", 0),
        ("EXCEPTION_CONTINUE_EXECUTION", 0xFFFF_FFFF),
        ("PROCESSOR_AMD_X8664", 8664),
        ("GMEM_MODIFY", 0x80),
        ("GMEM_DISCARDABLE", 0x100),
        ("GMEM_DISCARDED", 0x4000),
        ("GMEM_INVALID_HANDLE", 0x8000),
        ("GMEM_LOCKCOUNT", 0xFF),
    ];
    for (name, value) in constants::ALL {
        let known = documented
            .iter()
            .any(|(other, number)| other == name && number == value);
        assert!(
            known || seen.contains(name),
            "{name} is compared with nothing"
        );
    }
}
