//! Hostile arguments for handles, files and sections, from eight threads at once: a defined error each time, no crash, nothing
//! leaked.
//!
//! Names and buffers that are NULL, read-only, guarded, run off a page, or lead into the kernel; handles that are none, or of another
//! kind; every bit of every flag alone and in pairs; sizes and offsets that wrap around.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: hands bad addresses to the calls on purpose"
)]

mod hostile_flags;

use core::ffi::c_void;
use core::ptr;
use std::ffi::CString;
use std::sync::Barrier;

use hostile_flags::flag_words;
use pagekeeper_win32::alloc::VirtualAlloc;
use pagekeeper_win32::files::facts::{
    GetFileAttributesA, GetFileAttributesW, GetFileInformationByHandle, GetFileType,
};
use pagekeeper_win32::files::names::{DeleteFileA, DeleteFileW, GetTempFileNameA, GetTempPathA};
use pagekeeper_win32::files::open::{CreateFileA, CreateFileW};
use pagekeeper_win32::files::position::{
    GetFileSize, GetFileSizeEx, SetEndOfFile, SetFilePointer, SetFilePointerEx,
};
use pagekeeper_win32::files::runtime::{_get_osfhandle, _open_osfhandle};
use pagekeeper_win32::files::transfer::{
    FlushFileBuffers, GetOverlappedResult, ReadFile, WriteFile,
};
use pagekeeper_win32::free::VirtualFree;
use pagekeeper_win32::handles::{
    CloseHandle, CompareObjectHandles, DuplicateHandle, WaitForMultipleObjects, WaitForSingleObject,
};
use pagekeeper_win32::last_error::{GetLastError, SetLastError};
use pagekeeper_win32::performance::GetProcessMemoryInfo;
use pagekeeper_win32::process::GetCurrentProcess;
use pagekeeper_win32::sections::create::{
    CreateFileMappingA, CreateFileMappingW, OpenFileMappingA, OpenFileMappingW,
};
use pagekeeper_win32::sections::map::{MapViewOfFile, MapViewOfFile3, MapViewOfFileEx};
use pagekeeper_win32::sections::mapped_name::GetMappedFileNameA;
use pagekeeper_win32::sections::unmap::{FlushViewOfFile, UnmapViewOfFile, UnmapViewOfFileEx};
use pagekeeper_win32::types::{DWORD, HANDLE, PROCESS_MEMORY_COUNTERS_EX};

const THREADS: usize = 8;
const PAGE: usize = 4096;
const MARK: DWORD = 0xE1E1_E1E1;
const ALL_SHARED: DWORD = 7;
const READ: DWORD = 0x8000_0000;
const READ_WRITE: DWORD = 0xC000_0000;
const INVALID: usize = usize::MAX;

/// What a call may say when it fails here.
const DEFINED: [DWORD; 31] = [
    31, 996, 1, 2, 3, 5, 6, 8, 19, 32, 38, 50, 53, 80, 87, 112, 122, 123, 131, 193, 206, 223, 267,
    487, 998, 1006, 1132, 1224, 1314, 1455, 1784,
];

fn at(address: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address)
}

/// Fails unless the last error is one that is defined, where the call failed.
fn check(failed: bool, call: &str) {
    let error = GetLastError();
    if failed {
        assert!(
            DEFINED.contains(&error) || error == 0x8000_0001 || error == 1656,
            "{call}: failed with {error:#x}"
        );
    } else {
        assert!(
            [MARK, 0, 183].contains(&error),
            "{call}: succeeded and left {error}"
        );
    }
    SetLastError(MARK);
}

/// Closes what a hostile call has opened.
fn closed(handle: HANDLE, call: &str) {
    let is_none = handle.is_null() || handle.addr() == INVALID;
    check(is_none, call);
    if !is_none {
        assert_eq!(CloseHandle(handle), 1, "{call}");
        SetLastError(MARK);
    }
}

fn unmapped(view: *mut c_void, call: &str) {
    check(view.is_null(), call);
    if !view.is_null() {
        // SAFETY: nobody uses it.
        assert_eq!(unsafe { UnmapViewOfFile(view) }, 1, "{call}");
        SetLastError(MARK);
    }
}

/// What one thread has to be hostile with.
struct Field {
    /// Pages: committed, text without an end, reserved, read-only, guarded, no-access.
    base: usize,
    path: CString,
    file: HANDLE,
    reader: HANDLE,
    section: HANDLE,
}

impl Field {
    fn new(folder: &std::path::Path, thread: usize) -> Self {
        let base = VirtualAlloc(ptr::null_mut(), 16 * PAGE, 0x2000, 1).addr();
        assert_ne!(base, 0);
        let path = folder.join(format!("file-{thread}"));
        std::fs::write(&path, vec![7; 5 * 65536]).expect("written");
        let path = CString::new(path.to_str().expect("a text")).expect("no zero");
        let open = |access| {
            let none = ptr::null_mut();
            let file = CreateFileA(path.as_ptr(), access, ALL_SHARED, none, 3, 0, none);
            assert_ne!(file.addr(), INVALID);
            file
        };
        let (file, reader) = (open(READ_WRITE), open(READ));
        let name = ptr::null();
        let section = CreateFileMappingA(file, ptr::null_mut(), 4, 0, 0, name);
        assert!(!section.is_null());
        let field = Self {
            base,
            path,
            file,
            reader,
            section,
        };
        field.set_up();
        field
    }

    fn set_up(&self) {
        // SAFETY: the thread's own memory, which nobody refers to.
        unsafe { VirtualFree(at(self.base), 0, 0x4000) };
        for (page, protection) in [(0, 4), (1, 4), (3, 2), (4, 0x104), (5, 1)] {
            assert!(!VirtualAlloc(at(self.base + page * PAGE), PAGE, 0x1000, protection).is_null());
        }
        // SAFETY: committed just now.
        unsafe { ptr::write_bytes(at(self.base + PAGE).cast::<u8>(), b'x', PAGE) };
        SetLastError(MARK);
    }

    /// Places that are no good texts, buffers or results; the first two are good memory.
    fn pointers(&self) -> Vec<usize> {
        vec![
            self.base,
            self.base + PAGE - 2,
            0,
            8,
            self.base + PAGE + 1,
            self.base + 2 * PAGE - 3,
            self.base + 2 * PAGE,
            self.base + 3 * PAGE,
            self.base + 4 * PAGE,
            self.base + 5 * PAGE,
            0x8000_0000_0000,
            0xFFFF_8000_0000_0000,
            usize::MAX - 2,
            c"constant".as_ptr().addr(),
        ]
    }

    fn handles(&self) -> Vec<HANDLE> {
        vec![
            self.file,
            self.reader,
            self.section,
            at(INVALID),
            at(INVALID - 1),
            at(0),
            at(0xFFFF_FFF0),
            at(1 << 63),
        ]
    }
}

fn names(field: &Field) {
    let none = ptr::null_mut();
    for pointer in field.pointers() {
        let text = at(pointer);
        closed(
            CreateFileA(text.cast(), READ, 7, none, 3, 0, none),
            "CreateFileA",
        );
        closed(
            CreateFileW(text.cast(), READ, 7, none, 3, 0, none),
            "CreateFileW",
        );
        check(DeleteFileA(text.cast()) == 0, "DeleteFileA");
        check(DeleteFileW(text.cast()) == 0, "DeleteFileW");
        check(
            GetFileAttributesA(text.cast()) == u32::MAX,
            "GetFileAttributesA",
        );
        check(
            GetFileAttributesW(text.cast()) == u32::MAX,
            "GetFileAttributesW",
        );
        closed(OpenFileMappingA(4, 0, text.cast()), "OpenFileMappingA");
        closed(OpenFileMappingW(4, 0, text.cast()), "OpenFileMappingW");
        let memory = at(INVALID);
        let made = CreateFileMappingA(memory, none, 4, 0, 4096, text.cast());
        closed(made, "CreateFileMappingA");
        let made = CreateFileMappingW(memory, none, 4, 0, 4096, text.cast());
        closed(made, "CreateFileMappingW");
        check(GetTempPathA(100, text.cast()) == 0, "GetTempPathA");
        let made = GetTempFileNameA(text.cast(), c"x".as_ptr(), 1, text.cast());
        check(made == 0, "GetTempFileNameA");
        let length = GetMappedFileNameA(GetCurrentProcess(), text, text.cast(), 100);
        check(length == 0, "GetMappedFileNameA");
        field.set_up();
    }
}

fn opening(field: &Field) {
    let (none, path) = (ptr::null_mut(), field.path.as_ptr());
    for word in flag_words() {
        closed(
            CreateFileA(path, word, 7, none, 3, 0, none),
            "CreateFileA, access",
        );
        closed(
            CreateFileA(path, READ, word, none, 3, 0, none),
            "CreateFileA, share modes",
        );
        // Only dispositions that leave the file as it is; nor shall it go with its handle.
        let disposition = if matches!(word, 2 | 5) { 0 } else { word };
        let made = CreateFileA(path, READ, 7, none, disposition, 0, none);
        closed(made, "CreateFileA, dispositions");
        let made = CreateFileA(path, READ, 7, none, 3, word & !0x400_0000, none);
        closed(made, "CreateFileA, flags");
    }
}

fn transfers(field: &Field) {
    for handle in field.handles() {
        for pointer in field.pointers() {
            let (buffer, result) = (at(pointer), at(field.base));
            for count in [0, 1, 5000, 65536, u32::MAX] {
                // SAFETY: what can be written there is the thread's own.
                let read =
                    unsafe { ReadFile(handle, buffer, count, result.cast(), ptr::null_mut()) };
                check(read == 0, "ReadFile");
                let short = count.min(5000);
                let written = WriteFile(handle, buffer, short, result.cast(), ptr::null_mut());
                check(written == 0, "WriteFile");
                field.set_up();
            }
            // SAFETY: as above.
            let read = unsafe { ReadFile(handle, result, 10, buffer.cast(), buffer.cast()) };
            check(read == 0, "ReadFile, results");
            check(
                GetOverlappedResult(handle, buffer.cast(), buffer.cast(), 0) == 0,
                "GetOverlappedResult",
            );
            check(GetFileSizeEx(handle, buffer.cast()) == 0, "GetFileSizeEx");
            check(
                GetFileSize(handle, buffer.cast()) == u32::MAX && GetLastError() != 0,
                "GetFileSize",
            );
            check(
                GetFileInformationByHandle(handle, buffer.cast()) == 0,
                "GetFileInformationByHandle",
            );
            for distance in [0, -1, i64::MIN, i64::MAX] {
                let moved =
                    SetFilePointerEx(handle, distance, buffer.cast(), (pointer % 5) as DWORD);
                check(moved == 0, "SetFilePointerEx");
                let moved = SetFilePointer(handle, distance as i32, buffer.cast(), 1);
                check(moved == u32::MAX && GetLastError() != 0, "SetFilePointer");
            }
            field.set_up();
        }
        if handle != field.file {
            check(SetEndOfFile(handle) == 0, "SetEndOfFile");
        }
        check(FlushFileBuffers(handle) == 0, "FlushFileBuffers");
        check(GetFileType(handle) == 0, "GetFileType");
        if handle != field.file && handle != field.reader {
            assert_eq!(_open_osfhandle(handle.addr() as isize, 0), -1);
        }
    }
    for number in [-1, i32::MIN, i32::MAX, 1_000_000] {
        assert_eq!(_get_osfhandle(number), -1);
    }
    SetLastError(MARK);
}

fn handles(field: &Field) {
    let own = GetCurrentProcess();
    for handle in field.handles() {
        for other in field.handles() {
            check(
                CompareObjectHandles(handle, other) == 0,
                "CompareObjectHandles",
            );
        }
        for pointer in field.pointers() {
            let result: *mut HANDLE = at(pointer).cast();
            let made = DuplicateHandle(own, handle, own, result, 0, 0, 2);
            check(made == 0, "DuplicateHandle");
            if made == 1 && pointer != 0 {
                // SAFETY: written just now.
                let duplicate = unsafe { result.read_unaligned() };
                assert_eq!(CloseHandle(duplicate), 1);
            }
            check(
                WaitForMultipleObjects(3, result, 0, 0) == u32::MAX,
                "WaitForMultipleObjects",
            );
            check(
                WaitForMultipleObjects(u32::MAX, result, 1, 0) == u32::MAX,
                "WaitForMultipleObjects",
            );
            field.set_up();
        }
        for options in flag_words() {
            if options & 1 == 0 {
                let result = at(field.base).cast();
                let made = DuplicateHandle(own, handle, own, result, 0, 0, options);
                check(made == 0, "DuplicateHandle, options");
                if made == 1 {
                    // SAFETY: written just now.
                    assert_eq!(CloseHandle(unsafe { result.read() }), 1);
                    SetLastError(MARK);
                }
            }
        }
        check(
            WaitForSingleObject(handle, 0) == u32::MAX,
            "WaitForSingleObject",
        );
    }
}

fn sections(field: &Field) {
    let (none, name) = (ptr::null_mut(), ptr::null());
    for word in flag_words() {
        for file in [
            at(INVALID),
            field.file,
            field.reader,
            field.section,
            at(0x40_0000),
        ] {
            let made = CreateFileMappingA(file, none, word, 0, 65536, name);
            closed(made, "CreateFileMappingA, protections");
            let made = CreateFileMappingA(file, none, word | 2, 0, 65536, name);
            closed(made, "CreateFileMappingA, attributes");
        }
        unmapped(
            MapViewOfFile(field.section, word, 0, 0, 0),
            "MapViewOfFile, access",
        );
        let view = MapViewOfFile3(field.section, none, none, 0, 0, word, 4, ptr::null_mut(), 0);
        unmapped(view, "MapViewOfFile3, types");
        let view = MapViewOfFile3(field.section, none, none, 0, 0, 0, word, ptr::null_mut(), 0);
        unmapped(view, "MapViewOfFile3, protections");
    }
    // Sizes beyond all bounds: nothing that could be extended or committed.
    for high in [1 << 10, 1 << 15, i32::MAX as DWORD, 1 << 31, u32::MAX] {
        for protection in [2, 4, 0x400_0004] {
            let made = CreateFileMappingA(field.reader, none, protection, high, 1, name);
            closed(made, "CreateFileMappingA, sizes");
            if protection != 4 {
                let made =
                    CreateFileMappingA(at(INVALID), none, protection | 0x400_0000, high, 1, name);
                closed(made, "CreateFileMappingA, sizes of memory");
            }
        }
    }
}

fn views(field: &Field) {
    for pointer in field.pointers() {
        let place = at(pointer);
        for size in [
            0,
            1,
            PAGE,
            5 * 65536,
            5 * 65536 + 1,
            1 << 46,
            1 << 63,
            usize::MAX,
        ] {
            for (high, low) in [
                (0, 0),
                (0, 65536),
                (0, 1),
                (0, u32::MAX),
                (u32::MAX, 0),
                (u32::MAX, u32::MAX),
            ] {
                for handle in [field.section, field.file, at(0)] {
                    let view = MapViewOfFileEx(handle, 4, high, low, size, place);
                    unmapped(view, "MapViewOfFileEx");
                }
            }
            check(FlushViewOfFile(place, size) == 0, "FlushViewOfFile");
        }
        let list = if pointer == field.base + 4 * PAGE {
            8
        } else {
            pointer
        };
        let view = MapViewOfFile3(field.section, at(0), at(0), 0, 0, 0, 4, at(list).cast(), 2);
        unmapped(view, "MapViewOfFile3, parameters");
        for flags in flag_words() {
            // SAFETY: there is no view at any of these places.
            check(
                unsafe { UnmapViewOfFileEx(place, flags) } == 0,
                "UnmapViewOfFileEx",
            );
        }
        field.set_up();
    }
}

/// What is open, by number and name.
fn descriptors() -> Vec<String> {
    let open = std::fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let named = open.map(|entry| {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        format!("{:?} {}", entry.file_name(), target.display())
    });
    named.collect()
}

#[test]
fn eight_threads_with_nothing_good_in_mind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = VirtualAlloc(ptr::null_mut(), PAGE, 0x2000, 4);
    let committed = || {
        let mut counters = PROCESS_MEMORY_COUNTERS_EX::default();
        assert_eq!(
            GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, 80),
            1
        );
        counters.PagefileUsage
    };
    // What the library opens once and keeps is there before anything is counted.
    let none = ptr::null_mut();
    let made = CreateFileMappingA(at(INVALID), none, 4, 0, 4096, ptr::null());
    unmapped(MapViewOfFile(made, 2, 0, 0, 0), "the first view");
    unmapped(MapViewOfFile(made, 1, 0, 0, 0), "the first copied view");
    assert_eq!(CloseHandle(made), 1);
    let (charge, open) = (committed(), descriptors());
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, folder) = (&barrier, folder.path());
            scope.spawn(move || {
                let field = Field::new(folder, thread);
                barrier.wait();
                let steps: [fn(&Field); 6] = [names, opening, transfers, handles, sections, views];
                for step in 0..steps.len() {
                    steps[(step + thread) % steps.len()](&field);
                }
                for handle in [field.file, field.reader, field.section] {
                    assert_eq!(CloseHandle(handle), 1);
                }
                // SAFETY: nobody uses it.
                assert_eq!(unsafe { VirtualFree(at(field.base), 0, 0x8000) }, 1);
            });
        }
    });
    assert_eq!(committed(), charge, "commit charge leaked");
    assert_eq!(descriptors(), open, "descriptors leaked");
    // SAFETY: nobody uses it.
    assert_eq!(unsafe { VirtualFree(first, 0, 0x8000) }, 1);
}

/// The same in processes of their own, since a process has one default engine.
#[test]
fn with_the_other_engines() {
    let own = std::env::current_exe().expect("this program");
    for engine in ["inline", "resident"] {
        let status = std::process::Command::new(&own)
            .args(["--exact", "eight_threads_with_nothing_good_in_mind"])
            .env("PAGEKEEPER_ENGINE", engine)
            .status()
            .expect("run");
        assert!(status.success(), "{engine}: {status}");
    }
}
