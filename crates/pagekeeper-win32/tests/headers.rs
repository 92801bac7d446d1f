//! The headers: each alone, as C11 and as C++17, with and without UNICODE, without a warning; and their numbers, sizes and offsets
//! are those of the Rust side, which `tests/abi.rs` compares with Windows'.

#[allow(dead_code, reason = "not every test needs all of it")]
mod libraries;
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

use std::fmt::Write as _;
use std::fs;

use libraries::compile;
use programs::crate_folder;

/// All headers, by name.
fn headers() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(crate_folder().join("include"))
        .expect("the headers")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".h"))
        .collect();
    names.sort();
    names
}

#[test]
fn each_header_stands_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let names = headers();
    for wanted in [
        "windows.h",
        "Windows.h",
        "psapi.h",
        "Psapi.h",
        "tchar.h",
        "memoryapi.h",
    ] {
        assert!(names.iter().any(|name| name == wanted), "{wanted}");
    }
    for name in names {
        let text =
            format!("#include <{name}>\n#include <{name}>\nextern int used; int used = 1;\n");
        for (compiler, ending, standard) in [("cc", "c", "-std=c11"), ("c++", "cpp", "-std=c++17")]
        {
            let source = folder.path().join(format!("alone.{ending}"));
            fs::write(&source, &text).expect("written");
            let object = folder.path().join("alone.o");
            for unicode in [
                &[][..],
                &["-DUNICODE", "-D_UNICODE"],
                &["-DUNICODE", "-fshort-wchar"],
            ] {
                let mut options = vec![standard];
                options.extend(unicode);
                compile(compiler, &options, &source, &object);
            }
        }
    }
}

/// A structure's name in C, its size, and its fields with their offsets.
macro_rules! layout {
    ($text:ident, $name:ident: $($field:ident $(as $c:literal)?),+ $(,)?) => {
        let _ = writeln!($text, "SAME(sizeof({}), {});", stringify!($name), size_of::<pagekeeper_win32::types::$name>());
        $(
            #[allow(unused_mut, unused_assignments, reason = "few fields have another name in C")]
            {
                let mut field = stringify!($field);
                $(field = $c;)?
                let offset = core::mem::offset_of!(pagekeeper_win32::types::$name, $field);
                let _ = writeln!($text, "SAME(offsetof({}, {field}), {offset});", stringify!($name));
            }
        )+
    };
}

#[test]
fn headers_and_library_agree() {
    let mut text = String::from(
        "#include <windows.h>\n#include <psapi.h>\n#include <io.h>\n#ifdef __cplusplus\n#define SAME(a, b) static_assert((a) == (b), #a)\n\
         #else\n#define SAME(a, b) _Static_assert((a) == (b), #a)\n#endif\n",
    );
    for (name, value) in pagekeeper_win32::constants::ALL {
        let _ = writeln!(text, "SAME((unsigned int)({name}), {value:#x}u);");
    }
    layout!(text, MEMORY_BASIC_INFORMATION: BaseAddress, AllocationBase, AllocationProtect, PartitionId, RegionSize, State,
        Protect, Type);
    layout!(text, SYSTEM_INFO: wProcessorArchitecture, wReserved, dwPageSize, lpMinimumApplicationAddress,
        lpMaximumApplicationAddress, dwActiveProcessorMask, dwNumberOfProcessors, dwProcessorType,
        dwAllocationGranularity, wProcessorLevel, wProcessorRevision);
    layout!(text, MEMORYSTATUS: dwLength, dwMemoryLoad, dwTotalPhys, dwAvailPhys, dwTotalPageFile, dwAvailPageFile,
        dwTotalVirtual, dwAvailVirtual);
    layout!(text, MEMORYSTATUSEX: dwLength, dwMemoryLoad, ullTotalPhys, ullAvailPhys, ullTotalPageFile,
        ullAvailPageFile, ullTotalVirtual, ullAvailVirtual, ullAvailExtendedVirtual);
    layout!(text, PERFORMANCE_INFORMATION: cb, CommitTotal, CommitLimit, CommitPeak, PhysicalTotal, PhysicalAvailable,
        SystemCache, KernelTotal, KernelPaged, KernelNonpaged, PageSize, HandleCount, ProcessCount, ThreadCount);
    layout!(text, PROCESS_MEMORY_COUNTERS_EX: cb, PageFaultCount, PeakWorkingSetSize, WorkingSetSize,
        QuotaPeakPagedPoolUsage, QuotaPagedPoolUsage, QuotaPeakNonPagedPoolUsage, QuotaNonPagedPoolUsage,
        PagefileUsage, PeakPagefileUsage, PrivateUsage);
    layout!(text, PSAPI_WORKING_SET_EX_INFORMATION: VirtualAddress, VirtualAttributes);
    layout!(text, ENUM_PAGE_FILE_INFORMATION: cb, Reserved, TotalSize, TotalInUse, PeakUsage);
    layout!(text, WIN32_MEMORY_RANGE_ENTRY: VirtualAddress, NumberOfBytes);
    layout!(text, MEM_ADDRESS_REQUIREMENTS: LowestStartingAddress, HighestEndingAddress, Alignment);
    layout!(text, MEM_EXTENDED_PARAMETER: Value as "Pointer");
    layout!(text, FILETIME: dwLowDateTime, dwHighDateTime);
    layout!(text, BY_HANDLE_FILE_INFORMATION: dwFileAttributes, ftCreationTime, ftLastAccessTime, ftLastWriteTime,
        dwVolumeSerialNumber, nFileSizeHigh, nFileSizeLow, nNumberOfLinks, nFileIndexHigh, nFileIndexLow);
    layout!(text, OVERLAPPED: Internal, InternalHigh, Offset, OffsetHigh, hEvent);
    layout!(text, SECURITY_ATTRIBUTES: nLength, lpSecurityDescriptor, bInheritHandle);
    layout!(text, EXCEPTION_RECORD: ExceptionCode, ExceptionFlags, ExceptionRecord, ExceptionAddress, NumberParameters,
        ExceptionInformation);
    layout!(text, EXCEPTION_POINTERS: ExceptionRecord, ContextRecord);
    layout!(text, CONTEXT: Home as "P1Home", ContextFlags, MxCsr, SegCs, SegDs, SegEs, SegFs, SegGs, SegSs, EFlags,
        Dr as "Dr0", Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, R8, R9, R10, R11, R12, R13, R14, R15, Rip, FltSave,
        VectorRegister, VectorControl, DebugControl, LastBranchToRip, LastBranchFromRip, LastExceptionToRip,
        LastExceptionFromRip);
    layout!(text, PROCESS_HEAP_ENTRY: lpData, cbData, cbOverhead, iRegionIndex, wFlags, Region);
    layout!(text, HEAP_SUMMARY: cb, cbAllocated, cbCommitted, cbReserved, cbMaxReserve);
    text.push_str("SAME(offsetof(PROCESS_HEAP_ENTRY, Region.dwUnCommittedSize), 20);\n");
    text.push_str("SAME(offsetof(PROCESS_HEAP_ENTRY, Region.lpLastBlock), 32);\n");
    let _ = writeln!(
        text,
        "SAME(sizeof(PROCESS_MEMORY_COUNTERS), {});",
        pagekeeper_win32::types::PROCESS_MEMORY_COUNTERS_SIZE
    );
    text.push_str("SAME(sizeof(DWORD), 4); SAME(sizeof(LONG), 4); SAME(sizeof(WCHAR), 2); SAME(sizeof(SIZE_T), 8);\n");
    text.push_str(
        "SAME(sizeof(BOOL), 4); SAME(sizeof(HANDLE), 8); SAME(sizeof(LARGE_INTEGER), 8);\n",
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (compiler, ending, standard) in [("cc", "c", "-std=c11"), ("c++", "cpp", "-std=c++17")] {
        let source = folder.path().join(format!("same.{ending}"));
        fs::write(&source, &text).expect("written");
        compile(
            compiler,
            &[standard],
            &source,
            &folder.path().join("same.o"),
        );
    }
}
