//! Page files one by one, and other figures that an interface of a whole process shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pagekeeper_store::page_file::{PageFileError, PageFileId};
use pagekeeper_units::{PageCount, PageRange};

use super::guard::CoreGuard;
use super::{Request, Space, foreign, status};
use crate::error::{Error, SettingsError};

/// Pages that are moved from a page file at a time under the space lock: 64 MiB of address space.
const MOVED_AT_ONCE: PageCount = PageCount::new(16_384);
/// How often all pages are gone through without finding one that could be moved, until the rest stays.
const IDLE_ROUNDS: usize = 8;

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
        let mut core = self.enter("add a page file")?;
        let id = core.ledger.add_page_file(place).map_err(refused)?;
        core.refresh_limit();
        Ok(id.index())
    }

    /// Takes a page file away while running: nothing new goes there, what is in it moves to the others, and its space goes
    /// back to the disk. Other threads go on meanwhile; on return nothing of the inline engine is in it but pages that the disk
    /// refused to read. What the mapped engine has there stays until it is decommitted, because memory that others may be writing
    /// to cannot change its file; the same holds for page-file-backed sections and for copies in views.
    ///
    /// Returns the pages that stay, zero when all of it is gone. Called again, it tries those again. A step that Windows does
    /// at the next start only.
    ///
    /// # Errors
    /// [`SettingsError::PageFile`] for a number that no page file has, or where the other files and RAM could not keep what is
    /// committed; the file then stays as it was.
    ///
    /// ```
    /// # let (first, second) = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// # let first = first.path();
    /// use pagekeeper::{ByteCount, EngineKind, PageCount, Space};
    ///
    /// let space = Space::builder()
    ///     .engine(EngineKind::Inline)
    ///     .ram(ByteCount::mib(1))
    ///     .page_file([first])
    ///     .page_file_maximum(ByteCount::mib(64))
    ///     .build()?;
    /// let second = space.add_page_file(second.path())?;
    /// let old = space.page_files()[0].number;
    /// assert_eq!(space.retire_page_file(old)?, PageCount::ZERO);
    /// assert_eq!(space.page_files()[0].number, second);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retire_page_file(&self, number: usize) -> Result<PageCount, Error> {
        let unknown = || {
            let text = format!("there is no page file number {number}; page_files() lists them");
            Error::from(SettingsError::PageFile(text))
        };
        let id = PageFileId::from_index(number).ok_or_else(unknown)?;
        let kept = {
            let mut core = self.enter("retire a page file")?;
            let kept = match core.ledger.retire_page_file(id) {
                Err(PageFileError::NotThere(_)) => return Err(unknown()),
                other => other.map_err(refused)?,
            };
            core.refresh_limit();
            kept
        };
        let files = self.shared().files();
        let mut idle = 0;
        let mut left = files.used_in(id);
        while left > PageCount::ZERO && idle < IDLE_ROUNDS {
            self.empty_page_file(id)?;
            let before = core::mem::replace(&mut left, files.used_in(id));
            if left < before {
                idle = 0;
            } else {
                // Pages on their way somewhere are back at the next look.
                idle += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        // Another thread may have ended it.
        let _ = files.finish_retiring(id);
        Ok(kept + left)
    }

    /// Once round all committed pages: those that lie in the file move. The lock is given up in between.
    fn empty_page_file(&self, id: PageFileId) -> Result<(), Error> {
        let request = "retire a page file";
        let allocations: Vec<PageRange> = {
            let core = self.enter(request)?;
            core.model.allocations().map(|it| it.range).collect()
        };
        for allocation in allocations {
            let mut rest = allocation;
            while !rest.is_empty() {
                let part = PageRange::new(rest.start(), rest.count().min(MOVED_AT_ONCE));
                rest = PageRange::between(part.end(), rest.end());
                let core = self.enter(request)?;
                self.shared().for_committed(&core, part, |engine, range| {
                    engine.leave_page_file(range, id)
                });
            }
        }
        let engines: Vec<_> = {
            let core = self.enter(request)?;
            core.ledger
                .engines()
                .map(|(engine, _)| Arc::clone(engine))
                .collect()
        };
        engines.iter().for_each(|engine| engine.store_staged());
        Ok(())
    }

    fn enter(&self, operation: &'static str) -> Result<CoreGuard<'_>, Error> {
        self.shared().enter(Request::new(operation, 0, 0))
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

fn refused(error: PageFileError) -> Error {
    SettingsError::PageFile(error.to_string()).into()
}
