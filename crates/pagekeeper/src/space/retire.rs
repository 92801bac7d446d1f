//! A page file is taken away while the program runs.

use core::cell::Cell;
use core::time::Duration;
use std::sync::Arc;

use pagekeeper_store::page_file::{PageFileError, PageFileId};
use pagekeeper_units::{PageCount, PageRange};

use super::files::refused;
use super::guard::CoreGuard;
use super::{Request, Space};
use crate::engine::Vacated;
use crate::error::{Error, SettingsError};

/// Pages that are moved at a time under the space lock: 64 MiB of address space.
const MOVED_AT_ONCE: PageCount = PageCount::new(16_384);
/// How often all pages are gone through without finding one that could be moved, until the rest stays.
const IDLE_ROUNDS: usize = 8;
/// What is waited between rounds: pages on their way somewhere, and disks that refuse, may be done by then.
const PAUSE: Duration = Duration::from_millis(10);
/// How often in a round reading may fail several times in a row. Then the disk is taken for dead.
const UNREADABLE: usize = 64;

/// What stood in the way of a round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    None,
    /// Pages that the disk refused to read: asking again at once is of no use.
    Unreadable,
    /// The other files took nothing more.
    Refused,
}

impl Space {
    /// Takes a page file away while running: nothing new goes there, what is in it moves to the others, and its space goes
    /// back to the disk. Other threads go on meanwhile; on return nothing of the inline engine is in it but pages that the disk
    /// refused to read, or that no other disk took. What the mapped engine has there stays until it is decommitted, because memory
    /// that others may be writing to cannot change its file; the same holds for copies in views.
    ///
    /// Returns the pages that stay, zero when all of it is gone. Called again, it tries those again. Page-file-backed sections that
    /// were made in the same place stay as long as they live, and are not counted. A step that Windows does at the next start only.
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
        let (retiring, kept) = {
            let mut core = self.enter_to_retire()?;
            let begun = match core.ledger.retire_page_file(id) {
                Err(PageFileError::NotThere(_)) => return Err(unknown()),
                other => other.map_err(refused)?,
            };
            core.refresh_limit();
            begun
        };
        let files = self.shared().files();
        let mut left = files.used_in(&retiring);
        let mut idle = 0;
        while left > PageCount::ZERO && idle < IDLE_ROUNDS {
            let obstacle = self.empty_page_file(id)?;
            let before = core::mem::replace(&mut left, files.used_in(&retiring));
            if left == PageCount::ZERO || left == before && obstacle == Obstacle::Unreadable {
                break;
            }
            idle = if left < before { 0 } else { idle + 1 };
            std::thread::sleep(PAUSE);
        }
        files.finish_retiring(&retiring);
        Ok(kept + left)
    }

    /// Once round all committed pages: those that lie in the file move. The lock is given up in between.
    fn empty_page_file(&self, id: PageFileId) -> Result<Obstacle, Error> {
        let allocations: Vec<PageRange> = {
            let core = self.enter_to_retire()?;
            core.model.allocations().map(|it| it.range).collect()
        };
        let mut unreadable = 0;
        for allocation in allocations {
            let mut rest = allocation;
            while !rest.is_empty() {
                let part = PageRange::new(rest.start(), rest.count().min(MOVED_AT_ONCE));
                let next = match self.empty_part(part, id)? {
                    Vacated::All => part.end(),
                    Vacated::Refused(_) => return Ok(Obstacle::Refused),
                    Vacated::Unreadable(_) if unreadable == UNREADABLE => {
                        return Ok(Obstacle::Unreadable);
                    }
                    Vacated::Unreadable(next) => {
                        unreadable += 1;
                        next
                    }
                };
                rest = PageRange::between(next, rest.end());
            }
        }
        let engines: Vec<_> = {
            let core = self.enter_to_retire()?;
            let engines = core.ledger.engines();
            engines.map(|(engine, _)| Arc::clone(engine)).collect()
        };
        engines.iter().for_each(|engine| engine.store_staged(id));
        Ok(match unreadable {
            0 => Obstacle::None,
            _ => Obstacle::Unreadable,
        })
    }

    /// The committed pages of a part, under one hold of the space lock.
    fn empty_part(&self, part: PageRange, id: PageFileId) -> Result<Vacated, Error> {
        let core = self.enter_to_retire()?;
        let vacated = Cell::new(Vacated::All);
        self.shared().for_committed(&core, part, |engine, range| {
            if vacated.get() == Vacated::All {
                vacated.set(engine.leave_page_file(range, id));
            }
        });
        Ok(vacated.get())
    }

    fn enter_to_retire(&self) -> Result<CoreGuard<'_>, Error> {
        self.shared()
            .enter(Request::new("retire a page file", 0, 0))
    }
}
