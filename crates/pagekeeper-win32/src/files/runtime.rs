//! Handles of the C run-time's descriptors and back. Windows: `_get_osfhandle`, `_open_osfhandle`; `GetStdHandle`.
//!
//! A descriptor of Windows' C run-time is a descriptor of Linux here, so one number is behind both. Who owns it: a handle of
//! `CreateFile` owns its descriptor until `_open_osfhandle` gives it to the run-time; from then on `close` closes both, as on Windows.
//! `_get_osfhandle` gives the same handle each time, which needs no closing; after `close` it is a bad one.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_int;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::constants::{
    ERROR_INVALID_HANDLE, FILE_GENERIC_READ, FILE_GENERIC_WRITE, STD_ERROR_HANDLE,
    STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use crate::errors::Code;
use crate::files::{Descriptor, File, file};
use crate::handles::{self, Object};
use crate::last_error::or;
use crate::types::{DWORD, HANDLE};

/// Held while a descriptor without a handle gets one: two threads that ask get the same.
static ASKING: Mutex<()> = Mutex::new(());

/// `_get_osfhandle`: the handle of an open descriptor, or -1 with `errno` `EBADF`.
#[unsafe(no_mangle)]
pub extern "C" fn _get_osfhandle(number: c_int) -> isize {
    match of_descriptor(number) {
        Ok(handle) => handle.addr() as isize,
        Err(_) => {
            set_bad_descriptor();
            -1
        }
    }
}

fn of_descriptor(number: RawFd) -> io::Result<HANDLE> {
    let _asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    let file = File::of_runtime(number)?;
    let of_number =
        |object: &Object| matches!(object, Object::File(known) if known.number() == number);
    while let Some(known) = handles::find(of_number) {
        match handles::entry(known).map(|entry| entry.object) {
            Ok(Object::File(held)) if held.identity() == file.identity() => return Ok(known),
            // Of a file that the run-time has closed; the number is another file's by now.
            _ => handles::forget(known),
        }
    }
    let access = match status_flags(number)? & libc::O_ACCMODE {
        libc::O_RDONLY => FILE_GENERIC_READ,
        libc::O_WRONLY => FILE_GENERIC_WRITE,
        _ => FILE_GENERIC_READ | FILE_GENERIC_WRITE,
    };
    Ok(handles::insert(Object::File(Arc::new(file)), access))
}

fn status_flags(number: RawFd) -> io::Result<c_int> {
    // SAFETY: asks about a number, whatever it is.
    match unsafe { libc::fcntl(number, libc::F_GETFL) } {
        -1 => Err(io::Error::last_os_error()),
        flags => Ok(flags),
    }
}

fn set_bad_descriptor() {
    // SAFETY: the calling thread's own.
    unsafe { *libc::__errno_location() = libc::EBADF };
}

/// `_open_osfhandle`: a descriptor for a file's handle, which from now on belongs to the run-time; -1 with `errno` `EBADF` where it is no
/// file's. The flags (text, append) mean nothing on Linux.
#[unsafe(no_mangle)]
pub extern "C" fn _open_osfhandle(handle: isize, _flags: c_int) -> c_int {
    let handle = core::ptr::without_provenance_mut(handle as usize);
    to_runtime(handle).unwrap_or_else(|_| {
        set_bad_descriptor();
        -1
    })
}

fn to_runtime(handle: HANDLE) -> Result<RawFd, Code> {
    let (held, _) = file(handle)?;
    if let Descriptor::Runtime(number) = held.descriptor {
        return if held.is_lost() {
            Err(Code(ERROR_INVALID_HANDLE))
        } else {
            Ok(number)
        };
    }
    // A second number for the same opening: the first one goes when nobody else has a handle of it.
    // SAFETY: copies a descriptor that is open as long as the file is held.
    let number = unsafe { libc::fcntl(held.number(), libc::F_DUPFD_CLOEXEC, 3) };
    if number < 0 {
        return Err(Code::last());
    }
    let mut file = File::of_runtime(number)?;
    file.is_overlapped = held.is_overlapped;
    // What goes with the file (its share mode, the removal of its name) stays with whoever has it until all are closed;
    // where this was the only handle, that is the run-time.
    handles::replace(handle, Object::File(Arc::new(file)))?;
    if let Ok(mut only) = Arc::try_unwrap(held) {
        only.give_to_runtime(handle, number)?;
    }
    Ok(number)
}

impl File {
    /// Hands what goes with the file on to the descriptor that the run-time has now.
    fn give_to_runtime(&mut self, handle: HANDLE, number: RawFd) -> Result<(), Code> {
        let mut file = Self::of_runtime(number)?;
        file.is_overlapped = self.is_overlapped;
        file.removal = self.removal.take();
        file.share = self.share.take();
        if let Some(share) = &file.share {
            share.now_of_runtime(number);
        }
        handles::replace(handle, Object::File(Arc::new(file)))
    }
}

/// `GetStdHandle`
#[unsafe(no_mangle)]
pub extern "C" fn GetStdHandle(which: DWORD) -> HANDLE {
    let number = match which {
        STD_INPUT_HANDLE => Ok(0),
        STD_OUTPUT_HANDLE => Ok(1),
        STD_ERROR_HANDLE => Ok(2),
        _ => Err(Code(ERROR_INVALID_HANDLE)),
    };
    or(
        number.and_then(|number| Ok(of_descriptor(number)?)),
        core::ptr::without_provenance_mut(usize::MAX),
    )
}

/// Closes the descriptor behind a handle that is being closed, where it is the run-time's: on Windows too `CloseHandle` closes
/// the file, whoever has a number for it.
pub(crate) fn close_descriptor(object: &Object) {
    let Object::File(file) = object else {
        return;
    };
    if let Descriptor::Runtime(number) = file.descriptor
        && Arc::strong_count(file) == 1
        && !file.is_lost()
    {
        // SAFETY: the program asks for it; what still uses the number meets a bad descriptor.
        unsafe { libc::close(number) };
    }
}
