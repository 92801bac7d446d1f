//! What a fork copies: every touched page of a space, in a file without a name.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: copies pages of committed memory by address"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use pagekeeper_model::{PageState, Protection, RegionState};
use pagekeeper_store::page_file::PageFiles;
use pagekeeper_sys::checked_copy::copy_checked;
use pagekeeper_sys::{file, rlimit};
use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

use super::{Core, Shared};
use crate::engine::{Change, EngineKind, Residence};

/// Pages that are read and written at once.
const BATCH: usize = 256;

/// What every touched page held.
pub(super) struct Contents {
    file: File,
    /// The pages in the file, in its order.
    runs: Vec<PageRange>,
}

/// Committed pages of one protection in one allocation.
pub(super) struct Region {
    range: PageRange,
    pub(super) protection: Protection,
}

impl Region {
    /// Lets the engine change the region; `None` stands for reserved.
    pub(super) fn change(
        &self,
        core: &Core,
        before: Option<Protection>,
        after: Option<Protection>,
    ) -> Result<(), String> {
        let state = |protection: Option<Protection>| {
            protection.map_or(PageState::Reserved, PageState::Committed)
        };
        let change = Change {
            range: self.range,
            before: state(before),
            after: state(after),
        };
        if change.before == change.after {
            return Ok(());
        }
        let tag = core.engine_of(self.range);
        let Some(engine) = tag.and_then(|tag| core.ledger.engine(tag)) else {
            return Ok(());
        };
        let result = match before {
            None => engine.commit(&[change]),
            Some(_) => engine.protect(&[change]),
        };
        result.map_err(|error| error.to_string())
    }

    fn is_readable(&self) -> bool {
        use pagekeeper_model::BaseProtection as Base;
        let base = self.protection.base();
        !self.protection.is_guard() && !matches!(base, Base::NoAccess | Base::Execute)
    }
}

pub(super) fn committed_regions(core: &Core) -> Vec<Region> {
    // A child has no views.
    let private = core.model.allocations().filter(|it| !it.kind.is_view());
    let allocations: Vec<_> = private.map(|it| it.range).collect();
    let regions = allocations.iter().flat_map(|range| {
        let regions = core.model.regions(*range);
        regions.filter_map(|region| match region.state {
            RegionState::Committed(protection) => Some(Region {
                range: region.range.intersection(*range),
                protection,
            }),
            _ => None,
        })
    });
    regions.filter(|region| !region.range.is_empty()).collect()
}

impl Contents {
    /// Reads everything that was ever touched. The space lock is held.
    pub(super) fn of(shared: &Shared, core: &mut Core) -> Result<Self, String> {
        let allocations: Vec<_> = core.model.allocations().map(|it| it.range).collect();
        for range in allocations {
            core.give_up_offered(range);
        }
        let files = shared.files();
        let mut contents = Self {
            file: temporary_file(&files).map_err(|error| error.to_string())?,
            runs: Vec::new(),
        };
        let mut copier = Copier::default();
        for region in committed_regions(core) {
            let touched = touched_runs(core, region.range);
            if touched.is_empty() {
                continue;
            }
            let open = Some(Protection::READ_ONLY);
            let closed = !region.is_readable();
            if closed {
                region.change(core, Some(region.protection), open)?;
            }
            let read = touched
                .iter()
                .try_for_each(|run| copier.read(*run, &mut contents));
            if closed {
                region.change(core, open, Some(region.protection))?;
            }
            read?;
        }
        copier.flush(&contents.file)?;
        Ok(contents)
    }

    /// In the child: everything goes back to where it was.
    pub(super) fn put_back(&self) -> Result<(), String> {
        let mut bytes = vec![0; BATCH * PAGE_SIZE];
        let mut offset = 0;
        for run in &self.runs {
            let mut rest = *run;
            while !rest.is_empty() {
                let count = rest.count().as_usize().min(BATCH);
                let part = &mut bytes[..count * PAGE_SIZE];
                self.file
                    .read_exact_at(part, offset)
                    .map_err(|error| error.to_string())?;
                let to = rest.address() as *mut u8;
                // SAFETY: committed, writable, and nobody else runs in this process; a page that cannot be had fails the copy.
                let left = unsafe { copy_checked(to, part.as_ptr(), part.len()) };
                if left > 0 {
                    return Err("its pages could not be written".to_owned());
                }
                offset += part.len() as u64;
                rest =
                    PageRange::between(rest.start().plus(PageCount::new(count as u64)), rest.end());
            }
        }
        Ok(())
    }
}

/// Gathers pages and writes them in large pieces.
#[derive(Default)]
struct Copier {
    bytes: Vec<u8>,
    written: u64,
}

impl Copier {
    fn read(&mut self, run: PageRange, contents: &mut Contents) -> Result<(), String> {
        for page in run.pages() {
            let at = self.bytes.len();
            self.bytes.resize(at + PAGE_SIZE, 0);
            let from = page.address() as *const u8;
            // SAFETY: a committed, readable page; one that cannot be brought in fails the copy.
            let left = unsafe { copy_checked(self.bytes[at..].as_mut_ptr(), from, PAGE_SIZE) };
            if left > 0 {
                return Err(format!(
                    "the page at {:#x} could not be read",
                    page.address()
                ));
            }
            if self.bytes[at..].iter().all(|byte| *byte == 0) {
                self.bytes.truncate(at);
                continue;
            }
            extend(&mut contents.runs, page);
            if self.bytes.len() == BATCH * PAGE_SIZE {
                self.flush(&contents.file)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, file: &File) -> Result<(), String> {
        let end = self.written + self.bytes.len() as u64;
        // Beyond the limit the kernel would raise SIGXFSZ, which ends the process.
        if end > rlimit::file_size_bytes() {
            return Err("the copy would pass RLIMIT_FSIZE".to_owned());
        }
        file.write_all_at(&self.bytes, self.written)
            .map_err(|error| format!("the copy could not be written: {error}"))?;
        self.written = end;
        self.bytes.clear();
        Ok(())
    }
}

/// Adds a page behind the last.
fn extend(runs: &mut Vec<PageRange>, page: PageNumber) {
    let fresh = PageRange::new(page, PageCount::ONE);
    match runs.last_mut() {
        Some(last) if last.end() == page => *last = PageRange::between(last.start(), fresh.end()),
        _ => runs.push(fresh),
    }
}

/// The runs of a committed range that may hold something.
fn touched_runs(core: &Core, range: PageRange) -> Vec<PageRange> {
    let mut runs = Vec::new();
    let tag = core.engine_of(range);
    match tag.and_then(|tag| core.ledger.engine(tag)) {
        Some(engine) if engine.kind() == EngineKind::Inline => {
            engine.residence(range, &mut |run, residence| {
                if residence != Residence::Untouched {
                    runs.push(run);
                }
            });
        }
        // The kernel's answers are a sample, which will not do here.
        Some(_) => runs.push(range),
        None => {}
    }
    runs
}

/// A file without a name, beside the first page file; in RAM where there is none.
fn temporary_file(files: &PageFiles) -> std::io::Result<File> {
    let usage = files.usage();
    let Some(first) = usage.first() else {
        return Ok(File::from(file::create_in_memory("pagekeeper-fork")?));
    };
    let folder = match first.place.is_dir() {
        true => first.place.as_path(),
        false => first.place.parent().unwrap_or(Path::new("/var/tmp")),
    };
    match file::create_in_folder(folder) {
        Ok(created) => Ok(File::from(created.file)),
        Err(error) => Err(std::io::Error::other(error.to_string())),
    }
}
