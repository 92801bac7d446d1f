//! Which file a view shows. Windows: `GetMappedFileNameA`, `GetMappedFileNameW`.
//!
//! Any address that a file is mapped at will do, also one of the program or of a library. The name is that of Linux; of a file that
//! has none any more there is none.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::{c_char, c_void};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use pagekeeper::PageNumber;
use pagekeeper_sys::procmap::Maps;

use crate::constants::{
    ERROR_FILE_INVALID, ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_ADDRESS, ERROR_NOT_SUPPORTED,
    PROCESS_QUERY_INFORMATION,
};
use crate::errors::Code;
use crate::files;
use crate::last_error::or;
use crate::memory::Plain;
use crate::process;
use crate::types::{DWORD, HANDLE};

/// What the kernel puts behind the name of a file that was removed.
const REMOVED: &[u8] = b" (deleted)";

/// `GetMappedFileNameA`: the length of the name. A buffer that is too small gets what fits.
#[unsafe(no_mangle)]
pub extern "C" fn GetMappedFileNameA(
    process: HANDLE,
    address: *mut c_void,
    to: *mut c_char,
    room: DWORD,
) -> DWORD {
    let name = name(process, address).map(|path| files::to_a(&path));
    or(name.and_then(|name| fit(&name, to.cast(), room)), 0)
}

/// `GetMappedFileNameW`
#[unsafe(no_mangle)]
pub extern "C" fn GetMappedFileNameW(
    process: HANDLE,
    address: *mut c_void,
    to: *mut u16,
    room: DWORD,
) -> DWORD {
    let name = name(process, address).map(|path| files::to_w(&path));
    or(name.and_then(|name| fit(&name, to, room)), 0)
}

fn fit<T: Plain + From<u8>>(name: &[T], to: *mut T, room: DWORD) -> Result<DWORD, Code> {
    if name.len() <= room as usize {
        files::hand_over(to, name)?;
        return Ok(name.len() as DWORD - 1);
    }
    files::hand_over(to, &name[..room as usize])?;
    Err(Code(ERROR_INSUFFICIENT_BUFFER))
}

fn name(process: HANDLE, address: *mut c_void) -> Result<PathBuf, Code> {
    process::check_for(process, PROCESS_QUERY_INFORMATION)?;
    let address = address.addr() as u64;
    let unreadable = |_| Code(ERROR_NOT_SUPPORTED);
    let mut maps = Maps::own().map_err(unreadable)?;
    while let Some(region) = maps.next_region().map_err(unreadable)? {
        if !region.range.contains(PageNumber::containing(address)) {
            continue;
        }
        let bytes = region.name.as_bytes();
        if !region.has_file() || !bytes.starts_with(b"/") || bytes.ends_with(REMOVED) {
            return Err(Code(ERROR_FILE_INVALID));
        }
        return Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec())));
    }
    Err(Code(ERROR_INVALID_ADDRESS))
}
