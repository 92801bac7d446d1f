//! Names: removing them, and finding new ones for temporary files. Windows: `DeleteFileA`, `GetTempPathA`, `GetTempFileNameA` and their W
//! forms.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_char;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pagekeeper::mapped_end;

use crate::constants::{
    ERROR_ACCESS_DENIED, ERROR_BUFFER_OVERFLOW, ERROR_DIRECTORY, ERROR_FILE_EXISTS, MAX_PATH,
};
use crate::errors::Code;
use crate::files::path::{failure, hand_over, of_a, of_w, text_of_a, text_of_w, to_a, to_w};
use crate::files::share;
use crate::last_error::{or, to_bool};
use crate::memory::Plain;
use crate::types::{BOOL, DWORD, UINT};

const ANY_WRITE: u32 = 0o222;
/// Room that a folder's name leaves for the name of a temporary file.
const ROOM_FOR_NAME: usize = 14;
/// So many letters of a prefix count.
const PREFIX: usize = 3;
/// A temporary file's number has 16 bits.
const NUMBERS: u32 = 0xFFFF;

/// `DeleteFileA`
#[unsafe(no_mangle)]
pub extern "C" fn DeleteFileA(name: *const c_char) -> BOOL {
    to_bool(of_a(name).and_then(|path| remove(&path)))
}

/// `DeleteFileW`
#[unsafe(no_mangle)]
pub extern "C" fn DeleteFileW(name: *const u16) -> BOOL {
    to_bool(of_w(name).and_then(|path| remove(&path)))
}

/// The name goes at once, even if the file is open (with the right share mode): contents go with the last handle.
fn remove(path: &Path) -> Result<(), Code> {
    let failed = |error| failure(path, &error);
    let facts = fs::symlink_metadata(path).map_err(failed)?;
    if facts.is_dir() || facts.is_file() && facts.mode() & ANY_WRITE == 0 {
        return Err(Code(ERROR_ACCESS_DENIED));
    }
    share::check_removal((facts.dev(), facts.ino()))?;
    if mapped_end(facts.dev(), facts.ino()).is_some() {
        return Err(Code(ERROR_ACCESS_DENIED));
    }
    fs::remove_file(path).map_err(failed)
}

/// `GetTempPathA`: `TMPDIR`, or what Windows asks for (`TMP`, `TEMP`), or `/tmp`; with a slash at its end.
#[unsafe(no_mangle)]
pub extern "C" fn GetTempPathA(room: DWORD, to: *mut c_char) -> DWORD {
    or(fit(&to_a(&temporary_folder()), room, to.cast()), 0)
}

/// `GetTempPathW`
#[unsafe(no_mangle)]
pub extern "C" fn GetTempPathW(room: DWORD, to: *mut u16) -> DWORD {
    or(fit(&to_w(&temporary_folder()), room, to), 0)
}

/// Writes the text if there is room, and returns its length; without room, the room that it needs, with its zero.
fn fit<T: Plain>(text: &[T], room: DWORD, to: *mut T) -> Result<DWORD, Code> {
    if text.len() > room as usize {
        return Ok(text.len() as DWORD);
    }
    hand_over(to, text)?;
    Ok(text.len() as DWORD - 1)
}

fn temporary_folder() -> PathBuf {
    let mut folder = ["TMPDIR", "TMP", "TEMP"]
        .into_iter()
        .filter_map(env::var_os)
        .find(|value| value.as_bytes().starts_with(b"/"))
        .unwrap_or_else(|| OsStr::new("/tmp").to_owned());
    if !folder.as_bytes().ends_with(b"/") {
        folder.push("/");
    }
    PathBuf::from(folder)
}

/// `GetTempFileNameA`: a name in the folder from up to three letters of the prefix and a number. With the number 0 one that is
/// free is found, and the file made.
#[unsafe(no_mangle)]
pub extern "C" fn GetTempFileNameA(
    folder: *const c_char,
    prefix: *const c_char,
    number: UINT,
    to: *mut c_char,
) -> UINT {
    let made = of_a(folder).and_then(|folder| {
        let prefix = if prefix.is_null() {
            Vec::new()
        } else {
            text_of_a(prefix)?
        };
        let (path, number) = temporary_file(&folder, &prefix, number)?;
        hand_over(to.cast(), &to_a(&path))?;
        Ok(number)
    });
    or(made, 0)
}

/// `GetTempFileNameW`
#[unsafe(no_mangle)]
pub extern "C" fn GetTempFileNameW(
    folder: *const u16,
    prefix: *const u16,
    number: UINT,
    to: *mut u16,
) -> UINT {
    let made = of_w(folder).and_then(|folder| {
        let prefix = if prefix.is_null() {
            Vec::new()
        } else {
            text_of_w(prefix)?.into_bytes()
        };
        let (path, number) = temporary_file(&folder, &prefix, number)?;
        hand_over(to, &to_w(&path))?;
        Ok(number)
    });
    or(made, 0)
}

fn temporary_file(folder: &Path, prefix: &[u8], number: UINT) -> Result<(PathBuf, UINT), Code> {
    if folder.as_os_str().len() > MAX_PATH as usize - ROOM_FOR_NAME {
        return Err(Code(ERROR_BUFFER_OVERFLOW));
    }
    if !folder.is_dir() {
        return Err(Code(ERROR_DIRECTORY));
    }
    let prefix = String::from_utf8_lossy(prefix);
    let prefix: String = prefix.chars().take(PREFIX).collect();
    let name = |number: u32| folder.join(format!("{prefix}{number:x}.TMP"));
    if number & NUMBERS != 0 {
        return Ok((name(number & NUMBERS), number & NUMBERS));
    }
    let first = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos() >> 4);
    for step in 0..=NUMBERS {
        let number = first.wrapping_add(step) & NUMBERS;
        if number == 0 {
            continue;
        }
        let path = name(number);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => return Ok((path, number)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failure(&path, &error)),
        }
    }
    Err(Code(ERROR_FILE_EXISTS))
}
