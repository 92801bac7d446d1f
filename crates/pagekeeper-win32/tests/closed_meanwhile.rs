//! Handles that other threads close while they are used.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads through views, closes handles of others on purpose"
)]

use core::ffi::{CStr, c_void};
use core::ptr;
use std::ffi::CString;

use pagekeeper_win32::files::open::CreateFileA;
use pagekeeper_win32::handles::CloseHandle;
use pagekeeper_win32::sections::create::CreateFileMappingA;
use pagekeeper_win32::sections::map::MapViewOfFile;
use pagekeeper_win32::sections::unmap::UnmapViewOfFile;
use pagekeeper_win32::types::DWORD;

const ALL_SHARED: DWORD = 7;
const READ: DWORD = 0x8000_0000;
const INVALID: usize = usize::MAX;

fn at(address: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address)
}

/// Each call works or says that the handle is bad; a view that was mapped is a good one.
#[test]
fn handles_closed_by_others_meanwhile() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("shared");
    std::fs::write(&path, vec![b'a'; 70_000]).expect("written");
    let path = CString::new(path.to_str().expect("a text")).expect("no zero");
    let path: &CStr = &path;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                let none = ptr::null_mut();
                for _ in 0..300 {
                    let file = CreateFileA(path.as_ptr(), READ, ALL_SHARED, none, 3, 0, none);
                    assert_ne!(file.addr(), INVALID);
                    let section = CreateFileMappingA(file, none, 2, 0, 0, ptr::null());
                    // Somebody else may have closed the handle meanwhile, and may have another one of the same number.
                    let view = MapViewOfFile(section, 4, 0, 0, 0);
                    if !view.is_null() {
                        // SAFETY: a view of this thread; the file has so many bytes.
                        let last = unsafe { view.cast::<u8>().add(69_999).read_volatile() };
                        assert_eq!(last, b'a');
                        // SAFETY: nobody uses it.
                        assert_eq!(unsafe { UnmapViewOfFile(view) }, 1);
                    }
                    CloseHandle(section);
                    CloseHandle(file);
                }
            });
            scope.spawn(move || {
                for round in 0..3000_usize {
                    // The low numbers, where the others' handles are.
                    CloseHandle(at(4 + round % 16 * 4));
                    std::thread::yield_now();
                }
            });
        }
    });
}
