//! Making and finding sections. Windows: `CreateFileMappingA`, `CreateFileMappingW`, `CreateFileMapping2`, `OpenFileMappingA`,
//! `OpenFileMappingW` and the forms for apps.
//!
//! Without a file a section's memory is in the page file, and a name is found by all processes of the same user. `SEC_IMAGE` takes
//! executables of Windows and of Linux; their pages are shown as they lie in the file, not laid out as a loader would.
//!
//! Source: windows-memory-behaviour.md 13.1.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::{c_char, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use pagekeeper::{ByteCount, Opened, Protection, Section};

use crate::constants::{
    ERROR_ALREADY_EXISTS, ERROR_BAD_EXE_FORMAT, ERROR_INVALID_PARAMETER, ERROR_SUCCESS,
    FILE_MAP_COPY, FILE_MAP_EXECUTE, SECTION_MAP_EXECUTE, SECTION_MAP_READ, SECTION_QUERY,
};
use crate::errors::Code;
use crate::files::{self, File};
use crate::handles::{self, Object};
use crate::last_error::{SetLastError, or};
use crate::sections::attributes::Wanted;
use crate::sections::{Mapping, names, specific};
use crate::space;
use crate::types::{BOOL, DWORD, HANDLE, ULONG};

const BAD: Code = Code(ERROR_INVALID_PARAMETER);
/// In place of a file: backed by the page file.
const NO_FILE: usize = usize::MAX;
/// Executables of Windows begin like this, and have this where the word at `HEADER_AT` says.
const OF_WINDOWS: [u8; 2] = *b"MZ";
const HEADER_AT: u64 = 0x3C;
const HEADER: [u8; 4] = *b"PE\0\0";
/// Executables of Linux begin like this.
const OF_LINUX: [u8; 4] = *b"\x7fELF";

/// `CreateFileMappingA`
#[unsafe(no_mangle)]
pub extern "C" fn CreateFileMappingA(
    file: HANDLE,
    _security: *mut c_void,
    protection: DWORD,
    size_high: DWORD,
    size_low: DWORD,
    name: *const c_char,
) -> HANDLE {
    let size = u64::from(size_high) << 32 | u64::from(size_low);
    let made = names::of_a(name).and_then(|name| create(file, protection, size, name, None));
    finish(made)
}

/// `CreateFileMappingW`
#[unsafe(no_mangle)]
pub extern "C" fn CreateFileMappingW(
    file: HANDLE,
    _security: *mut c_void,
    protection: DWORD,
    size_high: DWORD,
    size_low: DWORD,
    name: *const u16,
) -> HANDLE {
    let size = u64::from(size_high) << 32 | u64::from(size_low);
    let made = names::of_w(name).and_then(|name| create(file, protection, size, name, None));
    finish(made)
}

/// `CreateFileMapping2`: attributes in an argument of their own, rights to the new handle as asked for. No extended parameters are known.
#[unsafe(no_mangle)]
pub extern "C" fn CreateFileMapping2(
    file: HANDLE,
    _security: *mut c_void,
    access: ULONG,
    protection: ULONG,
    attributes: ULONG,
    size: u64,
    name: *const u16,
    _parameters: *mut c_void,
    count: ULONG,
) -> HANDLE {
    let rights = (access != 0).then(|| rights_of(access));
    let made = if count != 0 || attributes & 0xFFFF != 0 || protection & !0xFFFF != 0 {
        Err(BAD)
    } else {
        names::of_w(name).and_then(|name| create(file, protection | attributes, size, name, rights))
    };
    finish(made)
}

/// `CreateFileMappingFromApp`: as `CreateFileMappingW`; nothing that could be executed.
#[unsafe(no_mangle)]
pub extern "C" fn CreateFileMappingFromApp(
    file: HANDLE,
    _security: *mut c_void,
    protection: ULONG,
    size: u64,
    name: *const u16,
) -> HANDLE {
    let made = check_for_app(protection & 0xFF)
        .and_then(|()| names::of_w(name))
        .and_then(|name| create(file, protection, size, name, None));
    finish(made)
}

/// Apps may not ask for protections that allow to execute.
pub(super) fn check_for_app(protection: DWORD) -> Result<(), Code> {
    if protection & 0xF0 == 0 {
        Ok(())
    } else {
        Err(BAD)
    }
}

/// Success writes the last error too: whether the section was there.
fn finish(made: Result<(HANDLE, Opened), Code>) -> HANDLE {
    let made = made.map(|(handle, opened)| {
        SetLastError(match opened {
            Opened::Existing => ERROR_ALREADY_EXISTS,
            Opened::Created => ERROR_SUCCESS,
        });
        handle
    });
    or(made, core::ptr::null_mut())
}

fn create(
    file: HANDLE,
    protection: DWORD,
    size: u64,
    name: Option<String>,
    rights: Option<DWORD>,
) -> Result<(HANDLE, Opened), Code> {
    let wanted = Wanted::new(protection)?;
    // As on Windows NULL is no file either.
    let has_file = !file.is_null() && file.addr() != NO_FILE;
    if !has_file && size == 0 || size > i64::MAX as u64 {
        return Err(BAD);
    }
    wanted.check(has_file)?;
    let access = rights.unwrap_or_else(|| wanted.of_handle());
    let (mapping, opened) = if has_file {
        let file = files::file_for(file, wanted.of_file())?;
        of_file(&file, &wanted, size, name)?
    } else {
        of_memory(&wanted, size, name)?
    };
    Ok((handles::insert(Object::Section(mapping), access), opened))
}

fn of_memory(
    wanted: &Wanted,
    size: u64,
    name: Option<String>,
) -> Result<(Arc<Mapping>, Opened), Code> {
    let space = space::get()?;
    let builder = match &name {
        Some(name) => Section::named(space, name, ByteCount::new(size)),
        None => Section::anonymous(space, ByteCount::new(size)),
    };
    let builder = builder.protection(wanted.protection);
    let builder = if wanted.is_reserved {
        builder.reserved()
    } else {
        builder
    };
    let (section, opened) = builder.build_or_open()?;
    Ok((Arc::new(Mapping { section }), opened))
}

fn of_file(
    file: &File,
    wanted: &Wanted,
    size: u64,
    name: Option<String>,
) -> Result<(Arc<Mapping>, Opened), Code> {
    if !file.is_on_disk() {
        return Err(Code(ERROR_BAD_EXE_FORMAT));
    }
    let space = space::get()?;
    // SAFETY: the descriptor is open as long as the file is held.
    let descriptor = unsafe { BorrowedFd::borrow_raw(file.number()) };
    let builder = if wanted.is_image {
        if !is_executable(descriptor) {
            return Err(Code(ERROR_BAD_EXE_FORMAT));
        }
        Section::image(space, descriptor).protection(if wanted.is_executable {
            Protection::EXECUTE_WRITE_COPY
        } else {
            Protection::WRITE_COPY
        })
    } else {
        Section::from_file(space, descriptor).protection(wanted.protection)
    };
    let builder = match &name {
        Some(name) => builder.name(name),
        None => builder,
    };
    let (section, opened) = builder.size(size).build_or_open()?;
    Ok((Arc::new(Mapping { section }), opened))
}

/// Whether the file is a program or a library, of Windows or of Linux.
fn is_executable(file: BorrowedFd<'_>) -> bool {
    // SAFETY: open, and never closed by this: closing a second descriptor would drop the program's record locks.
    let file = unsafe { std::fs::File::from_raw_fd(file.as_raw_fd()) };
    let file = core::mem::ManuallyDrop::new(file);
    let has = |offset: u64, wanted: &[u8]| {
        let mut found = [0; 4];
        let found = &mut found[..wanted.len()];
        file.read_exact_at(found, offset).is_ok() && found == wanted
    };
    let mut at = [0; 4];
    let header = file
        .read_exact_at(&mut at, HEADER_AT)
        .map(|()| u64::from(u32::from_le_bytes(at)));
    has(0, &OF_LINUX) || has(0, &OF_WINDOWS) && header.is_ok_and(|at| has(at, &HEADER))
}

/// `OpenFileMappingA`
#[unsafe(no_mangle)]
pub extern "C" fn OpenFileMappingA(access: DWORD, _inherit: BOOL, name: *const c_char) -> HANDLE {
    or(
        names::of_a(name).and_then(|name| open(access, name)),
        core::ptr::null_mut(),
    )
}

/// `OpenFileMappingW`
#[unsafe(no_mangle)]
pub extern "C" fn OpenFileMappingW(access: DWORD, _inherit: BOOL, name: *const u16) -> HANDLE {
    or(
        names::of_w(name).and_then(|name| open(access, name)),
        core::ptr::null_mut(),
    )
}

/// `OpenFileMappingFromApp`
#[unsafe(no_mangle)]
pub extern "C" fn OpenFileMappingFromApp(access: ULONG, inherit: BOOL, name: *const u16) -> HANDLE {
    OpenFileMappingW(access, inherit, name)
}

fn open(access: DWORD, name: Option<String>) -> Result<HANDLE, Code> {
    let name = name.ok_or(BAD)?;
    let mapping = Arc::new(Mapping {
        section: Section::open(space::get()?, &name)?,
    });
    Ok(handles::insert(Object::Section(mapping), rights_of(access)))
}

/// The rights that `FILE_MAP_` flags stand for: a copy only needs reading, and the flag for executing is not the right's bit.
fn rights_of(access: DWORD) -> DWORD {
    let mut rights = specific(access);
    if access == FILE_MAP_COPY {
        rights = SECTION_MAP_READ;
    }
    if access & FILE_MAP_EXECUTE != 0 {
        rights |= SECTION_MAP_EXECUTE;
    }
    rights | SECTION_QUERY
}
