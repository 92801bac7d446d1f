//! Names of sections.
//!
//! Sections without a file are found by all processes of the user; the library does that. Names of sections of files are
//! kept here, within the process: what such a name leads to on Windows, another process has by opening the file.

use core::ffi::c_char;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pagekeeper::{Opened, Section};

use crate::errors::Code;
use crate::files;
use crate::sections::Mapping;

static OF_FILES: Mutex<BTreeMap<String, Weak<Mapping>>> = Mutex::new(BTreeMap::new());
/// In front of names that say nothing else.
const LOCAL: &str = "Local\\";

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

fn full(name: &str) -> String {
    if name.contains('\\') {
        name.to_owned()
    } else {
        format!("{LOCAL}{name}")
    }
}

/// The section of a file that has the name in this process.
pub(super) fn find(name: &str) -> Option<Arc<Mapping>> {
    let names = OF_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    names.get(&full(name)).and_then(Weak::upgrade)
}

/// The section that has the name, or a new one of a file.
pub(super) fn find_or_make(
    name: &str,
    make: impl FnOnce() -> Result<Section, Code>,
) -> Result<(Arc<Mapping>, Opened), Code> {
    let full = full(name);
    let mut names = OF_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    names.retain(|_, mapping| mapping.strong_count() > 0);
    if let Some(known) = names.get(&full).and_then(Weak::upgrade) {
        return Ok((known, Opened::Existing));
    }
    let space = crate::space::get()?;
    match Section::open(space, name) {
        Ok(section) => return Ok((Arc::new(Mapping { section }), Opened::Existing)),
        Err(pagekeeper::Error::Refused {
            refusal: pagekeeper::Refusal::NoSuchName,
            ..
        }) => {}
        Err(error) => return Err(error.into()),
    }
    let mapping = Arc::new(Mapping { section: make()? });
    names.insert(full, Arc::downgrade(&mapping));
    Ok((mapping, Opened::Created))
}
