//! Page files one by one, and other figures that an interface of a whole process shows.

use std::path::PathBuf;

use pagekeeper_units::PageCount;

use super::{Space, foreign, status};

/// One page file. Windows: `ENUM_PAGE_FILE_INFORMATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFileInfo {
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
