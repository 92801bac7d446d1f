//! What a section may be: page protection and `SEC_` attributes, which go together and which not.
//!
//! Source: windows-memory-behaviour.md 13.1.

use pagekeeper::{BaseProtection, Protection};

use crate::constants::{
    ERROR_BAD_EXE_FORMAT, ERROR_INVALID_PARAMETER, ERROR_PRIVILEGE_NOT_HELD, FILE_EXECUTE,
    FILE_READ_DATA, FILE_WRITE_DATA, PAGE_NOCACHE, PAGE_WRITECOMBINE, SEC_COMMIT, SEC_FILE,
    SEC_IMAGE, SEC_LARGE_PAGES, SEC_NOCACHE, SEC_RESERVE, SEC_WRITECOMBINE, SECTION_MAP_EXECUTE,
    SECTION_MAP_READ, SECTION_MAP_WRITE, SECTION_QUERY, STANDARD_RIGHTS_REQUIRED,
};
use crate::errors::Code;
use crate::types::DWORD;

const BAD: Code = Code(ERROR_INVALID_PARAMETER);
/// Where the attributes begin: below them are page protections.
const PROTECTIONS: DWORD = 0xFFFF;
const KNOWN: DWORD =
    SEC_IMAGE | SEC_RESERVE | SEC_COMMIT | SEC_NOCACHE | SEC_WRITECOMBINE | SEC_LARGE_PAGES;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What views may allow at most, with NOCACHE or WRITECOMBINE where the attributes have them.
    pub(super) protection: Protection,
    /// `SEC_RESERVE`.
    pub(super) is_reserved: bool,
    /// `SEC_IMAGE`.
    pub(super) is_image: bool,
    /// Not `SEC_IMAGE_NO_EXECUTE`.
    pub(super) is_executable: bool,
    is_large: bool,
}

impl Wanted {
    /// Reads `flProtect`.
    pub(super) fn new(word: DWORD) -> Result<Self, Code> {
        let attributes = word & !PROTECTIONS;
        let has = |flag| attributes & flag != 0;
        if has(SEC_FILE) || attributes & !KNOWN != 0 {
            return Err(BAD);
        }
        // SEC_IMAGE may come with SEC_NOCACHE only: together they are SEC_IMAGE_NO_EXECUTE.
        if has(SEC_IMAGE) && attributes & !(SEC_IMAGE | SEC_NOCACHE) != 0 {
            return Err(BAD);
        }
        let how = attributes & (SEC_COMMIT | SEC_RESERVE);
        let is_cached_otherwise = has(SEC_NOCACHE | SEC_WRITECOMBINE) && !has(SEC_IMAGE);
        if how == SEC_COMMIT | SEC_RESERVE
            || is_cached_otherwise && how == 0
            || has(SEC_NOCACHE) && has(SEC_WRITECOMBINE)
            || has(SEC_LARGE_PAGES) && how != SEC_COMMIT
        {
            return Err(BAD);
        }
        let mut pages = word & PROTECTIONS;
        let base = Protection::from_windows(pages)?;
        if pages & !0xFF != 0
            || matches!(
                base.base(),
                BaseProtection::NoAccess | BaseProtection::Execute
            )
        {
            return Err(BAD);
        }
        if !has(SEC_IMAGE) {
            pages |= if has(SEC_NOCACHE) { PAGE_NOCACHE } else { 0 };
            pages |= if has(SEC_WRITECOMBINE) {
                PAGE_WRITECOMBINE
            } else {
                0
            };
        }
        Ok(Self {
            protection: Protection::from_windows(pages)?,
            is_reserved: has(SEC_RESERVE),
            is_image: has(SEC_IMAGE),
            is_executable: has(SEC_IMAGE) && !has(SEC_NOCACHE),
            is_large: has(SEC_LARGE_PAGES),
        })
    }

    /// What only sections of files, or only those without, may be.
    pub(super) fn check(&self, has_file: bool) -> Result<(), Code> {
        match (self.is_large, has_file) {
            (true, true) => Err(BAD),
            (true, false) => Err(Code(ERROR_PRIVILEGE_NOT_HELD)),
            (false, false) if self.is_image => Err(Code(ERROR_BAD_EXE_FORMAT)),
            (false, _) => Ok(()),
        }
    }

    fn writes(&self) -> bool {
        matches!(
            self.protection.base(),
            BaseProtection::ReadWrite | BaseProtection::ExecuteReadWrite
        )
    }

    fn executes(&self) -> bool {
        matches!(
            self.protection.base(),
            BaseProtection::ExecuteRead
                | BaseProtection::ExecuteReadWrite
                | BaseProtection::ExecuteWriteCopy
        )
    }

    /// The rights that it needs to its file.
    pub(super) fn of_file(&self) -> DWORD {
        let mut rights = FILE_READ_DATA;
        rights |= if self.writes() { FILE_WRITE_DATA } else { 0 };
        rights |= if self.executes() { FILE_EXECUTE } else { 0 };
        rights
    }

    /// The rights of the handle that is made.
    pub(super) fn of_handle(&self) -> DWORD {
        let mut rights = STANDARD_RIGHTS_REQUIRED | SECTION_QUERY | SECTION_MAP_READ;
        rights |= if self.writes() { SECTION_MAP_WRITE } else { 0 };
        rights |= if self.executes() || self.is_image {
            SECTION_MAP_EXECUTE
        } else {
            0
        };
        rights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(word: DWORD, has_file: bool) -> Result<DWORD, u32> {
        Wanted::new(word)
            .and_then(|wanted| wanted.check(has_file).map(|()| wanted))
            .map(|wanted| wanted.protection.to_windows())
            .map_err(|Code(code)| code)
    }

    #[test]
    fn attributes_go_together_as_on_windows() {
        for (word, memory, file) in [
            (0, Ok(4), Ok(4)),
            (SEC_COMMIT, Ok(4), Ok(4)),
            (SEC_RESERVE, Ok(4), Ok(4)),
            (SEC_COMMIT | SEC_RESERVE, Err(87), Err(87)),
            (SEC_COMMIT | SEC_NOCACHE, Ok(0x204), Ok(0x204)),
            (SEC_RESERVE | SEC_WRITECOMBINE, Ok(0x404), Ok(0x404)),
            (SEC_NOCACHE, Err(87), Err(87)),
            (SEC_WRITECOMBINE, Err(87), Err(87)),
            (SEC_LARGE_PAGES, Err(87), Err(87)),
            (SEC_LARGE_PAGES | SEC_RESERVE, Err(87), Err(87)),
            (SEC_LARGE_PAGES | SEC_COMMIT, Err(1314), Err(87)),
            (SEC_IMAGE, Err(193), Ok(4)),
            (SEC_IMAGE | SEC_NOCACHE, Err(193), Ok(4)),
            (SEC_IMAGE | SEC_COMMIT, Err(87), Err(87)),
            (SEC_IMAGE | SEC_WRITECOMBINE, Err(87), Err(87)),
            (SEC_FILE, Err(87), Err(87)),
            (SEC_FILE | SEC_COMMIT, Err(87), Err(87)),
        ] {
            assert_eq!(answer(word | 4, false), memory, "{word:#x} without a file");
            assert_eq!(answer(word | 4, true), file, "{word:#x} with a file");
        }
        for protection in [0, 1, 0x10, 6, 0x104, 0x204, 0x404, 0x1000] {
            assert_eq!(answer(protection, true), Err(87), "{protection:#x}");
        }
    }
}
