//! Sizes and positions. Windows: `SetFilePointer`, `SetFilePointerEx`, `GetFileSize`, `GetFileSizeEx`, `SetEndOfFile`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, moves positions of descriptors"
)]

use crate::constants::{
    ERROR_INVALID_FUNCTION, ERROR_INVALID_PARAMETER, ERROR_NEGATIVE_SEEK, ERROR_SUCCESS,
    FILE_BEGIN, FILE_CURRENT, FILE_END, FILE_WRITE_DATA, INVALID_FILE_SIZE,
    INVALID_SET_FILE_POINTER,
};
use crate::errors::Code;
use crate::files::{File, file, file_for};
use crate::last_error::{SetLastError, or, to_bool};
use crate::memory;
use crate::types::{BOOL, DWORD, HANDLE, LARGE_INTEGER, LONG};

/// `GetFileSize`: the lower half; the upper one where the caller wants it.
#[unsafe(no_mangle)]
pub extern "C" fn GetFileSize(handle: HANDLE, high: *mut DWORD) -> DWORD {
    let low = size(handle).and_then(|size| {
        if !high.is_null() {
            memory::write(high, &((size >> 32) as DWORD))?;
        }
        Ok(size as DWORD)
    });
    halved(low, INVALID_FILE_SIZE)
}

/// `GetFileSizeEx`
#[unsafe(no_mangle)]
pub extern "C" fn GetFileSizeEx(handle: HANDLE, to: *mut LARGE_INTEGER) -> BOOL {
    to_bool(size(handle).and_then(|size| memory::write(to, &(size as i64))))
}

/// A lower half that looks like failure is told from one by the last error.
fn halved(low: Result<DWORD, Code>, failure: DWORD) -> DWORD {
    if low == Ok(failure) {
        SetLastError(ERROR_SUCCESS);
    }
    or(low, failure)
}

fn size(handle: HANDLE) -> Result<u64, Code> {
    let (file, _) = file(handle)?;
    if !file.is_on_disk() {
        return Err(Code(ERROR_INVALID_FUNCTION));
    }
    Ok(file.facts()?.len())
}

/// `SetFilePointerEx`
#[unsafe(no_mangle)]
pub extern "C" fn SetFilePointerEx(
    handle: HANDLE,
    distance: LARGE_INTEGER,
    now: *mut LARGE_INTEGER,
    from: DWORD,
) -> BOOL {
    to_bool(file(handle).and_then(|(file, _)| {
        let at = seek(&file, distance, from)?;
        if now.is_null() {
            return Ok(());
        }
        memory::write(now, &at)
    }))
}

/// `SetFilePointer`: the distance in one signed half, or in two.
#[unsafe(no_mangle)]
pub extern "C" fn SetFilePointer(handle: HANDLE, low: LONG, high: *mut LONG, from: DWORD) -> DWORD {
    halved(
        set_halved(handle, low, high, from),
        INVALID_SET_FILE_POINTER,
    )
}

fn set_halved(handle: HANDLE, low: LONG, high: *mut LONG, from: DWORD) -> Result<DWORD, Code> {
    let (file, _) = file(handle)?;
    let distance = if high.is_null() {
        i64::from(low)
    } else {
        i64::from(memory::read(high)?) << 32 | i64::from(low as u32)
    };
    let before = seek(&file, 0, FILE_CURRENT)?;
    let at = seek(&file, distance, from)?;
    if high.is_null() {
        // A position that the caller cannot be told is refused.
        if at > i64::from(u32::MAX) {
            seek(&file, before, FILE_BEGIN)?;
            return Err(Code(ERROR_INVALID_PARAMETER));
        }
    } else {
        memory::write(high, &((at >> 32) as LONG))?;
    }
    Ok(at as DWORD)
}

/// Moves the position; behind the end is fine.
fn seek(file: &File, distance: i64, from: DWORD) -> Result<i64, Code> {
    let from = match from {
        FILE_BEGIN => libc::SEEK_SET,
        FILE_CURRENT => libc::SEEK_CUR,
        FILE_END => libc::SEEK_END,
        _ => return Err(Code(ERROR_INVALID_PARAMETER)),
    };
    // SAFETY: moves the position of a descriptor that is open, or fails.
    let at = unsafe { libc::lseek64(file.number(), distance, from) };
    if at >= 0 {
        return Ok(at);
    }
    let error = std::io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::EINVAL) => Code(ERROR_NEGATIVE_SEEK),
        _ => Code::from(error),
    })
}

/// `SetEndOfFile`: the file ends at the position, shorter or longer than before; what is added reads zero.
#[unsafe(no_mangle)]
pub extern "C" fn SetEndOfFile(handle: HANDLE) -> BOOL {
    to_bool(set_end(handle))
}

fn set_end(handle: HANDLE) -> Result<(), Code> {
    let file = file_for(handle, FILE_WRITE_DATA)?;
    if !file.is_on_disk() {
        return Err(Code(ERROR_INVALID_FUNCTION));
    }
    let end = seek(&file, 0, FILE_CURRENT)?;
    if (end as u64) < file.facts()?.len() {
        file.check_may_end_at(end as u64)?;
    }
    // SAFETY: changes the length of a file that is open for writing.
    if unsafe { libc::ftruncate64(file.number(), end) } == 0 {
        Ok(())
    } else {
        Err(Code::last())
    }
}
