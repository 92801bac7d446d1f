//! Sections (file mapping objects) and views of them.
//!
//! | module | calls |
//! |---|---|
//! | [`create`] | `CreateFileMappingA`, `CreateFileMappingW`, `CreateFileMapping2`, `CreateFileMappingFromApp`, `OpenFileMappingA`, `OpenFileMappingW`, `OpenFileMappingFromApp` |
//! | [`map`] | `MapViewOfFile`, `MapViewOfFileEx`, `MapViewOfFileFromApp`, `MapViewOfFile3`, `MapViewOfFile3FromApp` |
//! | [`unmap`] | `UnmapViewOfFile`, `UnmapViewOfFileEx`, `UnmapViewOfFile2`, `FlushViewOfFile` |
//! | [`mapped_name`] | `GetMappedFileNameA`, `GetMappedFileNameW` |
//!
//! Beneath them: `attributes` (which `SEC_` flags go together), `names` (reading names).
//!
//! Source: windows-memory-behaviour.md 6.2 and 13.

mod attributes;
pub mod create;
pub mod map;
pub mod mapped_name;
mod names;
pub mod unmap;

use std::sync::Arc;

use pagekeeper::{AllocationKind, Section};

use crate::constants::{
    ERROR_INVALID_HANDLE, GENERIC_ALL, GENERIC_EXECUTE, GENERIC_READ, GENERIC_WRITE,
    SECTION_ALL_ACCESS, SECTION_MAP_EXECUTE, SECTION_MAP_READ, SECTION_MAP_WRITE, SECTION_QUERY,
    STANDARD_RIGHTS_REQUIRED,
};
use crate::errors::Code;
use crate::handles::{Object, entry};
use crate::types::{DWORD, HANDLE};

/// What a handle of a section stands for. Its name, if it has one, goes with the last handle; views stay.
#[derive(Debug)]
pub(crate) struct Mapping {
    section: Section,
}

impl Mapping {
    /// Whether its views are views of an image (`SEC_IMAGE`).
    fn is_image(&self) -> bool {
        self.section.kind() == AllocationKind::ImageView
    }
}

/// The section behind a handle, and the handle's rights.
fn mapping(handle: HANDLE) -> Result<(Arc<Mapping>, DWORD), Code> {
    let entry = entry(handle)?;
    match entry.object {
        Object::Section(mapping) => Ok((mapping, entry.access)),
        _ => Err(Code(ERROR_INVALID_HANDLE)),
    }
}

/// The rights to a section that generic ones stand for; others as they are.
pub(crate) fn specific(access: DWORD) -> DWORD {
    let standard = STANDARD_RIGHTS_REQUIRED & !0xD_0000;
    let generic = [
        (GENERIC_READ, standard | SECTION_QUERY | SECTION_MAP_READ),
        (GENERIC_WRITE, standard | SECTION_MAP_WRITE),
        (GENERIC_EXECUTE, standard | SECTION_MAP_EXECUTE),
        (GENERIC_ALL, SECTION_ALL_ACCESS),
    ];
    let mut specific = access;
    for (bit, rights) in generic {
        if access & bit != 0 {
            specific = specific & !bit | rights;
        }
    }
    specific
}
