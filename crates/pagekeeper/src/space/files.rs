//! Page files one by one, and other figures that an interface of a whole process shows.

use std::path::{Path, PathBuf};

use pagekeeper_store::page_file::PageFileError;
use pagekeeper_units::PageCount;

use super::{Request, Space, foreign, status};
use crate::error::{Error, SettingsError};

/// One page file. Windows: `ENUM_PAGE_FILE_INFORMATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFileInfo {
    /// Its number, as [`Space::add_page_file`] and [`Space::retire_page_file`] mean it.
    pub number: usize,
    /// Whether it is being taken away.
    pub retiring: bool,
    /// The folder or file that the settings name.
    pub place: PathBuf,
    /// Pages up to which it grows, which the commit limit counts.
    pub maximum: PageCount,
    /// Pages with contents in them.
    pub used: PageCount,
    /// The most that ever were seen; at least what is used now.
    pub peak: PageCount,
}

impl Space {
    /// The page files in order of preference. What the mapped engine keeps in its own files, which lie in the same places,
    /// is counted with the first. Windows: `EnumPageFiles`.
    pub fn page_files(&self) -> Vec<PageFileInfo> {
        let status = self.status();
        let mapped: PageCount = status
            .engines
            .iter()
            .filter(|(kind, _)| *kind == crate::EngineKind::Mapped)
            .map(|(_, figures)| figures.page_file)
            .sum();
        let mut files: Vec<PageFileInfo> = self
            .shared()
            .files()
            .usage()
            .into_iter()
            .map(|file| PageFileInfo {
                number: file.id.index(),
                retiring: file.retiring,
                place: file.place,
                maximum: file.maximum.pages(),
                used: file.used,
                peak: file.used,
            })
            .collect();
        if let Some(first) = files.first_mut() {
            first.used += mapped;
            first.peak = first.used;
        }
        files
    }

    /// Adds a page file while running, in a folder or at a name; it comes last in preference. Returns its number.
    ///
    /// # Errors
    /// [`SettingsError::PageFile`] with what to change.
    pub fn add_page_file(&self, place: &Path) -> Result<usize, Error> {
        let mut core = self.shared().enter(Request::new("add a page file", 0, 0))?;
        let id = core.ledger.add_page_file(place).map_err(refused)?;
        core.refresh_limit();
        Ok(id.index())
    }

    /// Prints the summary to the standard error output where the settings ask for it. For a space that lives as long as the
    /// process, and is never dropped.
    pub fn print_statistics_if_wanted(&self) {
        if self.shared().settings.statistics_at_exit && self.shared().is_here() {
            let core = self.shared().core();
            eprint!("{}", status::summary(&core.ledger, &self.shared().files()));
        }
    }

    /// Address space in bytes that others use in this process: mapped, accessible, and not this space's. What libraries only
    /// set aside (malloc does, 64 MiB for each thread) comes and goes with threads and is left out.
    pub fn foreign_bytes(&self) -> u64 {
        let core = self.shared().core();
        let ours = |range| core.model.arenas().any(|arena| arena.range.overlaps(range));
        foreign::mappings()
            .iter()
            .filter(|mapping| mapping.readable || mapping.writable || mapping.executable)
            .filter(|mapping| !ours(mapping.range))
            .map(|mapping| mapping.range.bytes().get())
            .sum()
    }
}

pub(super) fn refused(error: PageFileError) -> Error {
    SettingsError::PageFile(error.to_string()).into()
}
