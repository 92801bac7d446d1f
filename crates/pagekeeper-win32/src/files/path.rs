//! Windows' names for Linux' files.
//!
//! `\` and `/` both separate. A name that begins with one of them begins at the root, any other at the current folder. There
//! are no drives: a name with a drive letter says "path not found", as on a Windows without that drive. `\\?\` in front of a name means
//! nothing here; servers (`\\server\share`) are not found. Of Windows' device names `NUL` is there.
//!
//! Texts of the A calls are bytes, which Linux takes as they are; those of the W calls become UTF-8.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: names of the file system calls take any bytes"
)]

use core::ffi::c_char;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::constants::{
    ERROR_BAD_NETPATH, ERROR_FILE_NOT_FOUND, ERROR_FILENAME_EXCED_RANGE, ERROR_INVALID_NAME,
    ERROR_PATH_NOT_FOUND,
};
use crate::errors::Code;
use crate::memory::{self, Plain};

/// No name is longer on Windows, the zero at its end included.
const LONGEST: usize = 32_767;

/// A text of the caller's, without the zero at its end.
fn text<T: Plain + PartialEq + From<u8>>(from: *const T) -> Result<Vec<T>, Code> {
    let mut found = Vec::new();
    for index in 0..LONGEST {
        let next = memory::read(from.wrapping_add(index))?;
        if next == T::from(0) {
            return Ok(found);
        }
        found.push(next);
    }
    Err(Code(ERROR_FILENAME_EXCED_RANGE))
}

/// The text of an A call.
pub(crate) fn text_of_a(from: *const c_char) -> Result<Vec<u8>, Code> {
    text(from.cast::<u8>())
}

/// The text of a W call. Half a surrogate pair is no character and names nothing.
pub(crate) fn text_of_w(from: *const u16) -> Result<String, Code> {
    String::from_utf16(&text(from)?).map_err(|_| Code(ERROR_INVALID_NAME))
}

/// The file that an A call names.
pub(super) fn of_a(from: *const c_char) -> Result<PathBuf, Code> {
    if from.is_null() {
        return Err(Code(ERROR_PATH_NOT_FOUND));
    }
    path(text_of_a(from)?)
}

/// The file that a W call names.
pub(super) fn of_w(from: *const u16) -> Result<PathBuf, Code> {
    if from.is_null() {
        return Err(Code(ERROR_PATH_NOT_FOUND));
    }
    path(text_of_w(from)?.into_bytes())
}

/// What a name of Windows stands for here.
fn path(name: Vec<u8>) -> Result<PathBuf, Code> {
    let slashed: Vec<u8> = name
        .into_iter()
        .map(|byte| if byte == b'\\' { b'/' } else { byte })
        .collect();
    let plain = ["//?/", "//./"]
        .iter()
        .find_map(|prefix| slashed.strip_prefix(prefix.as_bytes()));
    let is_server = plain.is_none() && slashed.starts_with(b"//");
    let rest = plain.unwrap_or(&slashed);
    if rest.is_empty() {
        return Err(Code(ERROR_PATH_NOT_FOUND));
    }
    if rest.eq_ignore_ascii_case(b"nul") {
        return Ok(PathBuf::from("/dev/null"));
    }
    if rest[0].is_ascii_alphabetic() && rest.get(1) == Some(&b':') {
        return Err(Code(ERROR_PATH_NOT_FOUND));
    }
    if is_server {
        return Err(Code(ERROR_BAD_NETPATH));
    }
    // Behind a prefix a name is a whole one, even if it was not written so.
    let whole = match plain {
        Some(rest) if rest[0] != b'/' => [b"/", rest].concat(),
        _ => rest.to_vec(),
    };
    Ok(PathBuf::from(OsString::from_vec(whole)))
}

/// Which of the two "not found" it is: the file in its folder, or the folder.
pub(super) fn not_found(path: &Path) -> Code {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Code(if folder.is_dir() {
        ERROR_FILE_NOT_FOUND
    } else {
        ERROR_PATH_NOT_FOUND
    })
}

/// The error of a call on a name.
pub(super) fn failure(path: &Path, error: &std::io::Error) -> Code {
    match error.raw_os_error() {
        Some(libc::ENOENT) => not_found(path),
        _ => Code::from_io(error),
    }
}

/// A name for the caller of an A call, with the zero at its end.
pub(crate) fn to_a(path: &Path) -> Vec<u8> {
    [path.as_os_str().as_bytes(), &[0]].concat()
}

/// A name for the caller of a W call, with the zero at its end.
pub(crate) fn to_w(path: &Path) -> Vec<u16> {
    let text = path.to_string_lossy();
    text.encode_utf16().chain([0]).collect()
}

/// Writes a text that fits.
pub(crate) fn hand_over<T: Plain>(to: *mut T, text: &[T]) -> Result<(), Code> {
    for (index, unit) in text.iter().enumerate() {
        memory::write(to.wrapping_add(index), unit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str) -> Result<String, u32> {
        path(name.as_bytes().to_vec())
            .map(|path| path.display().to_string())
            .map_err(|Code(code)| code)
    }

    #[test]
    fn both_separators_are_one() {
        assert_eq!(found(r"a\b/c.dat"), Ok("a/b/c.dat".to_owned()));
        assert_eq!(found(r"\tmp\x"), Ok("/tmp/x".to_owned()));
        assert_eq!(found(r"\\?\tmp\x"), Ok("/tmp/x".to_owned()));
        assert_eq!(found(r"\\.\NUL"), Ok("/dev/null".to_owned()));
        assert_eq!(found("nul"), Ok("/dev/null".to_owned()));
    }

    #[test]
    fn what_linux_has_not_is_not_found() {
        assert_eq!(found(r"C:\x"), Err(3));
        assert_eq!(found("z:x"), Err(3));
        assert_eq!(found(r"\\?\C:\x"), Err(3));
        assert_eq!(found(r"\\server\share\x"), Err(53));
        assert_eq!(found(""), Err(3));
    }
}
