//! What a file is. Windows: `GetFileType`, `GetFileInformationByHandle`, `GetFileAttributesA`, `GetFileAttributesW`.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_char;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::constants::{
    FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_READONLY, FILE_TYPE_UNKNOWN, INVALID_FILE_ATTRIBUTES,
};
use crate::errors::Code;
use crate::files::file;
use crate::files::path::{failure, of_a, of_w};
use crate::last_error::{or, to_bool};
use crate::memory;
use crate::types::{BOOL, BY_HANDLE_FILE_INFORMATION, DWORD, FILETIME, HANDLE};

const ANY_WRITE: u32 = 0o222;
/// Seconds between Windows' beginning of time, 1601, and Linux', 1970.
const YEARS_BEFORE: i64 = 11_644_473_600;
/// Windows counts time in these, Linux in nanoseconds.
const TICKS_A_SECOND: i64 = 10_000_000;

/// `GetFileType`
#[unsafe(no_mangle)]
pub extern "C" fn GetFileType(handle: HANDLE) -> DWORD {
    let kind = file(handle).and_then(|(file, _)| {
        file.facts()?;
        Ok(file.kind)
    });
    or(kind, FILE_TYPE_UNKNOWN)
}

/// `GetFileInformationByHandle`
#[unsafe(no_mangle)]
pub extern "C" fn GetFileInformationByHandle(
    handle: HANDLE,
    to: *mut BY_HANDLE_FILE_INFORMATION,
) -> BOOL {
    to_bool(file(handle).and_then(|(file, _)| memory::write(to, &describe(&file.facts()?))))
}

fn describe(facts: &fs::Metadata) -> BY_HANDLE_FILE_INFORMATION {
    BY_HANDLE_FILE_INFORMATION {
        dwFileAttributes: attributes(facts),
        // Not every file system of Linux knows when a file was made; the last change of its record comes closest.
        ftCreationTime: filetime(facts.ctime(), facts.ctime_nsec()),
        ftLastAccessTime: filetime(facts.atime(), facts.atime_nsec()),
        ftLastWriteTime: filetime(facts.mtime(), facts.mtime_nsec()),
        dwVolumeSerialNumber: facts.dev() as DWORD,
        nFileSizeHigh: (facts.len() >> 32) as DWORD,
        nFileSizeLow: facts.len() as DWORD,
        nNumberOfLinks: facts.nlink() as DWORD,
        nFileIndexHigh: (facts.ino() >> 32) as DWORD,
        nFileIndexLow: facts.ino() as DWORD,
    }
}

fn filetime(seconds: i64, nanoseconds: i64) -> FILETIME {
    let ticks = (seconds + YEARS_BEFORE) * TICKS_A_SECOND + nanoseconds / 100;
    FILETIME {
        dwLowDateTime: ticks as DWORD,
        dwHighDateTime: (ticks >> 32) as DWORD,
    }
}

/// Files are new to every backup, as on a Windows where none was made.
fn attributes(facts: &fs::Metadata) -> DWORD {
    let kind = facts.file_type();
    let mut found = if kind.is_dir() {
        FILE_ATTRIBUTE_DIRECTORY
    } else if kind.is_file() {
        FILE_ATTRIBUTE_ARCHIVE
    } else {
        FILE_ATTRIBUTE_NORMAL
    };
    if kind.is_file() && facts.mode() & ANY_WRITE == 0 {
        found |= FILE_ATTRIBUTE_READONLY;
    }
    found
}

/// `GetFileAttributesA`
#[unsafe(no_mangle)]
pub extern "C" fn GetFileAttributesA(name: *const c_char) -> DWORD {
    or(of_a(name).and_then(of_path), INVALID_FILE_ATTRIBUTES)
}

/// `GetFileAttributesW`
#[unsafe(no_mangle)]
pub extern "C" fn GetFileAttributesW(name: *const u16) -> DWORD {
    or(of_w(name).and_then(of_path), INVALID_FILE_ATTRIBUTES)
}

fn of_path(path: PathBuf) -> Result<DWORD, Code> {
    let facts = fs::metadata(&path).map_err(|error| failure(&path, &error))?;
    Ok(attributes(&facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_begins_in_1601() {
        let time = filetime(0, 100);
        let ticks = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
        assert_eq!(ticks, 116_444_736_000_000_001);
    }
}
