//! Reading and writing. Windows: `ReadFile`, `WriteFile`, `FlushFileBuffers`, `GetOverlappedResult`.
//!
//! All transfers have ended when the call returns. The bytes go through libc's `read` and `write`, which in this library are those
//! of `pagekeeper::kernel_touches`: a buffer may be paged out, and what the kernel writes counts for `GetWriteWatch`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, hands the caller's memory to the kernel"
)]

use core::ffi::c_void;
use std::os::fd::RawFd;

use pagekeeper::Access;

use crate::constants::{
    ERROR_ACCESS_DENIED, ERROR_BROKEN_PIPE, ERROR_GEN_FAILURE, ERROR_HANDLE_EOF,
    ERROR_INVALID_FUNCTION, ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER,
    ERROR_INVALID_USER_BUFFER, ERROR_IO_INCOMPLETE, ERROR_NOACCESS, FILE_APPEND_DATA,
    FILE_READ_DATA, FILE_TYPE_PIPE, FILE_WRITE_DATA, STATUS_PENDING,
};
use crate::errors::Code;
use crate::files::{File, buffer, file, file_for};
use crate::last_error::to_bool;
use crate::memory;
use crate::types::{BOOL, DWORD, HANDLE, OVERLAPPED};

/// Both words of an offset like this: at the end of the file.
const AT_END: DWORD = u32::MAX;

/// `ReadFile`
///
/// # Safety
/// Nobody uses the buffer meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ReadFile(
    handle: HANDLE,
    to: *mut c_void,
    count: DWORD,
    done: *mut DWORD,
    overlapped: *mut OVERLAPPED,
) -> BOOL {
    to_bool(read_file(
        handle,
        to.cast(),
        count as usize,
        done,
        overlapped,
    ))
}

/// `WriteFile`
#[unsafe(no_mangle)]
pub extern "C" fn WriteFile(
    handle: HANDLE,
    from: *const c_void,
    count: DWORD,
    done: *mut DWORD,
    overlapped: *mut OVERLAPPED,
) -> BOOL {
    to_bool(write_file(
        handle,
        from.cast(),
        count as usize,
        done,
        overlapped,
    ))
}

/// Where a transfer begins.
#[derive(Clone, Copy)]
enum Start {
    /// At the position, which it moves.
    Position,
    /// At an offset; the position is behind the transfer afterwards.
    Offset(u64),
    /// Behind everything.
    End,
}

fn read_file(
    handle: HANDLE,
    to: *mut u8,
    count: usize,
    done: *mut DWORD,
    overlapped: *mut OVERLAPPED,
) -> Result<(), Code> {
    begin(done, overlapped)?;
    let file = file_for(handle, FILE_READ_DATA)?;
    let start = start(&file, overlapped)?;
    if file.is_directory {
        return Err(Code(ERROR_INVALID_FUNCTION));
    }
    buffer::check(to, count, Access::Write)?;
    let goes_on = file.is_on_disk();
    let result = transfer(&file, start, count, goes_on, |number, at, part| {
        // SAFETY: the caller hands the buffer over; bad parts of it are an error of the call.
        unsafe {
            let to = to.wrapping_add(part.start).cast();
            match at {
                Some(at) => libc::pread64(number, to, part.len(), at),
                None => libc::read(number, to, part.len()),
            }
        }
    });
    let arrived = *result.as_ref().unwrap_or(&0);
    buffer::mark_written(to.wrapping_add(arrived), count - arrived);
    let arrived = result.map_err(|(_, code)| code)?;
    if arrived == 0 && count > 0 {
        if file.kind == FILE_TYPE_PIPE {
            return Err(Code(ERROR_BROKEN_PIPE));
        }
        if !overlapped.is_null() {
            end(done, overlapped, 0)?;
            return Err(Code(ERROR_HANDLE_EOF));
        }
    }
    end(done, overlapped, arrived)
}

fn write_file(
    handle: HANDLE,
    from: *const u8,
    count: usize,
    done: *mut DWORD,
    overlapped: *mut OVERLAPPED,
) -> Result<(), Code> {
    begin(done, overlapped)?;
    let (file, access) = file(handle)?;
    if access & (FILE_WRITE_DATA | FILE_APPEND_DATA) == 0 {
        return Err(Code(ERROR_ACCESS_DENIED));
    }
    let mut start = start(&file, overlapped)?;
    if access & FILE_WRITE_DATA == 0 && file.is_on_disk() {
        start = Start::End;
    }
    buffer::check(from.cast_mut(), count, Access::Read).map_err(user_buffer)?;
    let result = transfer(&file, start, count, true, |number, at, part| {
        // SAFETY: as above, only read.
        unsafe {
            let from = from.wrapping_add(part.start).cast();
            match at {
                Some(at) => libc::pwrite64(number, from, part.len(), at),
                None => libc::write(number, from, part.len()),
            }
        }
    });
    match result {
        Ok(written) => end(done, overlapped, written),
        Err((written, code)) => {
            let code = user_buffer(code);
            // What is in the file by now is not taken back; the caller is told.
            end(done, overlapped, written)?;
            Err(code)
        }
    }
}

/// What Windows calls a bad buffer when it is written from.
fn user_buffer(code: Code) -> Code {
    match code {
        Code(ERROR_NOACCESS) => Code(ERROR_INVALID_USER_BUFFER),
        other => other,
    }
}

/// What both do first: whatever happens, the count of a call that fails is 0.
fn begin(done: *mut DWORD, overlapped: *mut OVERLAPPED) -> Result<(), Code> {
    if done.is_null() {
        return if overlapped.is_null() {
            Err(Code(ERROR_INVALID_PARAMETER))
        } else {
            Ok(())
        };
    }
    memory::write(done, &0)
}

fn start(file: &File, overlapped: *mut OVERLAPPED) -> Result<Start, Code> {
    if overlapped.is_null() {
        return if file.is_overlapped {
            Err(Code(ERROR_INVALID_PARAMETER))
        } else {
            Ok(Start::Position)
        };
    }
    let given = memory::read(overlapped)?;
    // There are no events here, so none can be a good one.
    if !given.hEvent.is_null() {
        return Err(Code(ERROR_INVALID_HANDLE));
    }
    if !file.is_on_disk() {
        return Ok(Start::Position);
    }
    if given.Offset == AT_END && given.OffsetHigh == AT_END {
        return Ok(Start::End);
    }
    let offset = u64::from(given.OffsetHigh) << 32 | u64::from(given.Offset);
    if offset > i64::MAX as u64 {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    Ok(Start::Offset(offset))
}

/// Writes down what became of it.
fn end(done: *mut DWORD, overlapped: *mut OVERLAPPED, count: usize) -> Result<(), Code> {
    if !done.is_null() {
        memory::write(done, &(count as DWORD))?;
    }
    if !overlapped.is_null() {
        let mut given = memory::read(overlapped)?;
        given.Internal = 0;
        given.InternalHigh = count;
        memory::write(overlapped, &given)?;
    }
    Ok(())
}

/// Moves `count` bytes in as many steps as it takes, or, unless it goes on, what one step moves: a reader of a pipe takes what is
/// there. A failure says how many bytes went before it.
fn transfer(
    file: &File,
    start: Start,
    count: usize,
    goes_on: bool,
    step: impl Fn(RawFd, Option<i64>, core::ops::Range<usize>) -> isize,
) -> Result<usize, (usize, Code)> {
    let number = file.number();
    let is_on_disk = file.is_on_disk();
    let nothing = |code| (0, code);
    let first = match start {
        Start::Position => None,
        Start::Offset(offset) => Some(offset as i64),
        Start::End => Some(file.facts().map_err(nothing)?.len() as i64),
    };
    let before = match first {
        None if is_on_disk => Some(seek(number, 0, libc::SEEK_CUR).map_err(nothing)?),
        _ => None,
    };
    let mut moved = 0;
    while moved < count {
        let at = first.map(|first| first.saturating_add(moved as i64));
        let step = step(number, at, moved..count);
        if step < 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() == std::io::ErrorKind::Interrupted {
                continue;
            }
            // The caller will try again from where it was.
            if let (Some(before), true) = (before, moved > 0) {
                seek(number, before, libc::SEEK_SET).map_err(nothing)?;
            }
            return Err((moved, Code::from(error)));
        }
        moved += step as usize;
        if step == 0 || !goes_on {
            break;
        }
    }
    if let (Some(first), true) = (first, is_on_disk) {
        let behind = first.saturating_add(moved as i64);
        seek(number, behind, libc::SEEK_SET).map_err(|code| (moved, code))?;
    }
    Ok(moved)
}

fn seek(number: RawFd, to: i64, from: i32) -> Result<i64, Code> {
    // SAFETY: moves the position of a descriptor that is open, or fails.
    match unsafe { libc::lseek64(number, to, from) } {
        -1 => Err(Code::last()),
        at => Ok(at),
    }
}

/// `FlushFileBuffers`: everything written to the file is on the disk when it returns.
#[unsafe(no_mangle)]
pub extern "C" fn FlushFileBuffers(handle: HANDLE) -> BOOL {
    to_bool(flush(handle))
}

fn flush(handle: HANDLE) -> Result<(), Code> {
    let (file, access) = file(handle)?;
    if access & (FILE_WRITE_DATA | FILE_APPEND_DATA) == 0 {
        return Err(Code(ERROR_ACCESS_DENIED));
    }
    if !file.is_on_disk() {
        return Ok(());
    }
    // SAFETY: the descriptor is open as long as the file lives.
    if unsafe { libc::fsync(file.number()) } == 0 {
        Ok(())
    } else {
        Err(Code::last())
    }
}

/// `GetOverlappedResult`: transfers have always ended.
#[unsafe(no_mangle)]
pub extern "C" fn GetOverlappedResult(
    handle: HANDLE,
    overlapped: *mut OVERLAPPED,
    done: *mut DWORD,
    _wait: BOOL,
) -> BOOL {
    to_bool(overlapped_result(handle, overlapped, done))
}

fn overlapped_result(
    handle: HANDLE,
    overlapped: *mut OVERLAPPED,
    done: *mut DWORD,
) -> Result<(), Code> {
    file(handle)?;
    let given = memory::read(overlapped)?;
    match given.Internal {
        0 => memory::write(done, &(given.InternalHigh as DWORD)),
        STATUS_PENDING => Err(Code(ERROR_IO_INCOMPLETE)),
        _ => Err(Code(ERROR_GEN_FAILURE)),
    }
}
