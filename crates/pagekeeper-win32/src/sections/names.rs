//! Names of sections.
//!
//! They are found by all processes of the user, whether the section has a file or not; the library does that. Here they are read.

use core::ffi::c_char;

use crate::errors::Code;
use crate::files;

/// The name of an A call; NULL and an empty one are none.
pub(super) fn of_a(name: *const c_char) -> Result<Option<String>, Code> {
    if name.is_null() {
        return Ok(None);
    }
    let bytes = files::text_of_a(name)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|name| !name.is_empty()))
}

/// The name of a W call.
pub(super) fn of_w(name: *const u16) -> Result<Option<String>, Code> {
    if name.is_null() {
        return Ok(None);
    }
    Ok(Some(files::text_of_w(name)?).filter(|name| !name.is_empty()))
}
