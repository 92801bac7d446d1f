//! The page files, one by one. Windows: `EnumPageFilesA`, `EnumPageFilesW`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, calls the caller's function"
)]

use core::ffi::{c_char, c_void};
use std::os::unix::ffi::OsStrExt;

use pagekeeper::PageFileInfo;

use crate::errors::Code;
use crate::last_error::to_bool;
use crate::space;
use crate::types::{BOOL, DWORD, ENUM_PAGE_FILE_INFORMATION};

/// The caller's function; FALSE ends the enumeration.
type Callback<T> =
    unsafe extern "C-unwind" fn(*mut c_void, *mut ENUM_PAGE_FILE_INFORMATION, *const T) -> BOOL;

/// `EnumPageFilesA`: names are the folders or files that the settings name, in the bytes that Linux has for them.
///
/// # Safety
/// The function takes what Windows gives such a function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn EnumPageFilesA(
    callback: Callback<c_char>,
    context: *mut c_void,
) -> BOOL {
    to_bool(each(|info, file| {
        let mut name: Vec<u8> = file.place.as_os_str().as_bytes().to_vec();
        name.push(0);
        // SAFETY: the caller's promise; both structures live until it returns.
        unsafe { callback(context, info, name.as_ptr().cast()) }
    }))
}

/// `EnumPageFilesW`: the same in UTF-16.
///
/// # Safety
/// As [`EnumPageFilesA`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn EnumPageFilesW(
    callback: Callback<u16>,
    context: *mut c_void,
) -> BOOL {
    to_bool(each(|info, file| {
        let mut name: Vec<u16> = file.place.to_string_lossy().encode_utf16().collect();
        name.push(0);
        // SAFETY: as above.
        unsafe { callback(context, info, name.as_ptr()) }
    }))
}

fn each(
    mut call: impl FnMut(&mut ENUM_PAGE_FILE_INFORMATION, &PageFileInfo) -> BOOL,
) -> Result<(), Code> {
    for file in space::get()?.page_files() {
        let mut info = ENUM_PAGE_FILE_INFORMATION {
            cb: size_of::<ENUM_PAGE_FILE_INFORMATION>() as DWORD,
            Reserved: 0,
            TotalSize: file.maximum.as_usize(),
            TotalInUse: file.used.as_usize(),
            PeakUsage: file.peak.as_usize(),
        };
        if call(&mut info, &file) == 0 {
            break;
        }
    }
    Ok(())
}
