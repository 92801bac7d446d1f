//! The *views* engine: parts of files and of sections in the address space, paged by the kernel
//! ([decision 0018](../../../../../docs/decisions/0018-sections-and-views.md)).
//!
//! A view lies in an arena of this engine, or in the place of a placeholder in another engine's, mapped over it, and leaves
//! inaccessible address space behind. Shared pages are the
//! page cache's; a copy-on-write page is the kernel's private copy until it moves out into a slot of a file of ours, which is
//! then mapped in its place.
//!
//! | module | what |
//! |---|---|
//! | [`source`] | an open file behind views |
//! | [`memory`] | memory without a file: a file of ours with a header that all processes share |
//! | [`book`], [`modes`] | the views, and how each page is mapped; one mutex |
//! | [`slots`] | where copied pages go |
//! | [`look`] | what is there, from the page table |
//! | [`balance`], [`trim`], [`move_out`], [`finish`] | keeping what is there within the budget |
//! | [`filled`] | what system calls must not fill by themselves meanwhile |
//! | [`kernel`] | the calls |

mod balance;
mod book;
pub(crate) mod filled;
mod finish;
mod kernel;
mod look;
mod memory;
mod modes;
mod move_out;
mod slots;
mod source;
mod trim;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pagekeeper_model::{Change as ModelChange, PageState, Protection};
use pagekeeper_sys::descriptor::apart::{self, ApartDescriptor};
use pagekeeper_sys::file::{self, FileSystemKind, WriteOut};
use pagekeeper_sys::map::{self, Advice};
use pagekeeper_sys::{Errno, perf};
use pagekeeper_units::{ByteCount, PageCount, PageNumber, PageRange};

use self::balance::Balance;
use self::book::{Book, By, HeldBook};
use self::finish::Finisher;
use self::kernel::named;
use self::modes::Mode;
use self::slots::Slots;
use super::thread::Threads;
use super::{Change, Engine, EngineBudget, EngineKind, Residence};
use crate::error::EngineError;
use crate::statistics::{EngineStatistics, Exactness};

pub(crate) use memory::{Header, LONGEST_NAME, MemoryFacts};
pub(crate) use source::{Returned, Source};

/// What the engine and its thread share.
#[derive(Debug)]
struct Core {
    book: Mutex<Book>,
    balance: Balance,
    finisher: Finisher,
    threads: Threads,
}

impl Core {
    fn book(&self) -> HeldBook<'_> {
        HeldBook::new(&self.book)
    }
}

/// What is committed in a section.
#[derive(Debug)]
pub(crate) struct Committed {
    /// As pages of a view, runs upwards.
    pub(crate) runs: Vec<PageRange>,
    /// How often somebody has committed until then.
    pub(crate) commits: u64,
}

/// The engine. See the module text.
#[derive(Debug)]
pub(crate) struct ViewEngine {
    core: Arc<Core>,
    faults_before: perf::Faults,
}

/// The threads that have the files are a pager's; to be called before they are used.
fn prepare_files_apart() {
    apart::on_start(crate::inside::stay);
}

/// Does `make` where files are out of the program's reach; what it opens stays there.
pub(crate) fn run_apart<R: Send + 'static>(
    make: impl FnOnce() -> Result<R, EngineError> + Send + 'static,
) -> Result<R, EngineError> {
    prepare_files_apart();
    apart::run(make).map_err(named("clone"))?
}

/// A second descriptor of a file of the program's, out of its reach.
pub(crate) fn carry(file: BorrowedFd<'_>) -> Result<ApartDescriptor, Errno> {
    prepare_files_apart();
    ApartDescriptor::carry(file)
}

/// A nameless file where page files lie: in the folder `place`, or beside the file of that name.
pub(crate) fn create_in(
    place: PathBuf,
    allow_ram_disk: bool,
) -> Result<ApartDescriptor, EngineError> {
    run_apart(move || {
        let refused = |reason: String| EngineError::PageFileSpace(reason);
        let folder = match place.parent() {
            Some(parent) if !place.is_dir() => parent,
            _ => place.as_path(),
        };
        let created = file::create_in_folder(folder).map_err(|error| refused(error.to_string()))?;
        let system = file::file_system_of(&created.file).map_err(named("statfs"))?;
        if system.kind == FileSystemKind::Ram && !allow_ram_disk {
            let folder = folder.display();
            return Err(refused(format!(
                "'{folder}' is in RAM, which a page file is to relieve"
            )));
        }
        ApartDescriptor::adopt(created.file).map_err(named("clone"))
    })
}

impl ViewEngine {
    /// What it works with at least: 256 KiB.
    pub(crate) const MINIMUM_RAM: PageCount = PageCount::new(64);

    /// An engine without views. Copied pages go to `place`; without one they stay in RAM.
    pub(crate) fn new(ram: PageCount, place: Option<PathBuf>, allow_ram_disk: bool) -> Self {
        let slots = Slots::new(place, allow_ram_disk);
        let core = Arc::new(Core {
            book: Mutex::new(Book::new(slots, ram.get())),
            balance: Balance::default(),
            finisher: Finisher::default(),
            threads: Threads::default(),
        });
        filled::enter(&core);
        Self {
            core,
            faults_before: perf::process_faults().unwrap_or_default(),
        }
    }

    /// Where the file of copied pages is to lie, if there is none yet.
    pub(crate) fn place_copies(&self, place: Option<PathBuf>) {
        self.core.book().slots.place(place);
    }

    /// Maps a part of a file at a free place of an arena. `offset` counts from the file's first byte.
    pub(crate) fn map(
        &self,
        range: PageRange,
        (source, offset): (Arc<Source>, u64),
        state: PageState,
        is_private: bool,
    ) -> Result<(), EngineError> {
        let mode = Mode {
            protection: state.protection(),
            is_private,
            is_locked: false,
        };
        self.core.book().map(range, (source, offset), mode)?;
        self.core.start_balancing();
        Ok(())
    }

    /// Takes a view out of the address space. Whether its section is one that is committed page by page.
    pub(crate) fn unmap(&self, range: PageRange) -> bool {
        let mut book = self.core.book();
        let is_followed = book
            .at(range.start())
            .and_then(|view| view.source.header())
            .is_some_and(|header| header.facts().is_reserved);
        book.unmap(range);
        is_followed
    }

    /// The pages of `range` that were copied, as runs, upwards.
    pub(crate) fn copied(&self, range: PageRange) -> Vec<PageRange> {
        let book = self.core.book();
        book.at(range.start())
            .and_then(|view| view.copied(range.intersection(view.range)).ok())
            .unwrap_or_default()
    }

    /// The pages of `range` that somebody has committed in the section, as runs. `None`: all, if it is no reserved
    /// one; else nothing since the view followed last ([`has_followed`](Self::has_followed)).
    pub(crate) fn committed_in_section(&self, range: PageRange) -> Option<Committed> {
        let book = self.core.book();
        let view = book.at(range.start())?;
        let range = range.intersection(view.range);
        let header = view.source.header()?;
        // Before the bits: what is committed meanwhile is followed once more.
        let commits = view.commits()?;
        if view.followed == Some(commits) {
            return None;
        }
        let runs = header.committed(view.pages_of_source(range));
        Some(Committed {
            runs: runs
                .into_iter()
                .map(|run| view.pages_of_view(run))
                .collect(),
            commits,
        })
    }

    /// The view at `page` shows what was committed in its section until then.
    pub(crate) fn has_followed(&self, page: PageNumber, commits: u64) {
        if let Some(view) = self.core.book().at_mut(page) {
            view.followed = Some(commits);
        }
    }

    /// The first run of `range` that was copied.
    pub(crate) fn first_copied(&self, range: PageRange) -> Option<PageRange> {
        let book = self.core.book();
        let view = book.at(range.start())?;
        view.first_copied(range.intersection(view.range))
    }

    /// Records that pages were committed by others: they get their access here.
    pub(crate) fn follow(&self, changes: &[ModelChange]) -> Result<(), EngineError> {
        self.core.book().change(changes, By::Others)
    }

    /// What was committed through a view is charged with its section.
    pub(crate) fn charge_section(&self, page: PageNumber, pages: PageCount) {
        if let Some(view) = self.core.book().at(page) {
            view.source.charge(pages);
        }
    }

    /// Writes the changed pages of a view to its file: starts it, or waits until they are at the device. Copies and
    /// memory without a file need none.
    pub(crate) fn flush(&self, range: PageRange, durable: bool) -> Result<(), EngineError> {
        let (source, offset) = {
            let book = self.core.book();
            let Some(view) = book.at(range.start()) else {
                return Ok(());
            };
            if view.source.header().is_some() {
                return Ok(());
            }
            (Arc::clone(&view.source), view.offset_of(range.start()))
        };
        if durable {
            return map::sync(range).map_err(named("msync"));
        }
        let length = range.bytes().get();
        let started =
            source.with(move |file| file::write_out(file, offset, length, WriteOut::Start));
        started
            .and_then(|result| result)
            .map_err(named("sync_file_range"))
    }

    /// An access to a page faulted although nothing is wrong with it: waits until the page is not on its way out any more.
    pub(crate) fn wait_for_access(&self, page: PageNumber) {
        self.core.book().restore_access(page);
    }

    /// The highest byte of a file that a view shows.
    pub(crate) fn mapped_end(&self, identity: (u64, u64)) -> Option<u64> {
        let book = self.core.book();
        let of_file = book
            .views
            .values()
            .filter(|view| view.source.identity() == identity);
        of_file
            .map(|view| view.offset + view.range.bytes().get())
            .max()
    }
}

impl Drop for ViewEngine {
    fn drop(&mut self) {
        self.core.balance.stop();
        self.core.finisher.stop();
        if !crate::fork::is_child() {
            self.core.threads.wait_for_end();
        }
    }
}

impl Engine for ViewEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Views
    }

    fn open_arena(
        &self,
        at: Option<PageNumber>,
        pages: PageCount,
    ) -> Result<PageRange, EngineError> {
        let at = at.map(|start| PageRange::new(start, pages));
        kernel::open_arena(at, pages).map_err(|errno| match errno {
            Errno::EXIST => EngineError::AddressTaken,
            other => EngineError::AddressSpace(other),
        })
    }

    fn close_arena(&self, arena: PageRange) {
        let inside: Vec<PageRange> = {
            let book = self.core.book();
            let views = book.views.range(arena.start()..arena.end());
            views.map(|(_, view)| view.range).collect()
        };
        for view in inside {
            self.core.book().unmap(view);
        }
        // Refused only at the mapping limit: then it stays, inaccessible.
        let _ = kernel::close_arena(arena);
    }

    fn lend(&self, _range: PageRange) {
        debug_assert!(false, "no placeholder lies in an arena of views");
    }

    fn take_back(&self, _range: PageRange) -> Result<(), EngineError> {
        debug_assert!(false, "no placeholder lies in an arena of views");
        Ok(())
    }

    fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.core.book().change(changes, By::Us)
    }

    fn decommit(&self, _changes: &[Change]) {
        debug_assert!(false, "the rules refuse to decommit pages of views");
    }

    fn protect(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.core.book().change(changes, By::Us)
    }

    fn release(&self, allocation: PageRange, _committed: &[Change]) {
        self.core.book().unmap(allocation);
    }

    fn disarm_guard(&self, page: PageNumber, remaining: Protection) -> Result<(), EngineError> {
        let change = Change {
            range: PageRange::new(page, PageCount::ONE),
            before: PageState::Committed(remaining.with_guard()),
            after: PageState::Committed(remaining),
        };
        self.core.book().change(&[change], By::Us)
    }

    fn lock(&self, range: PageRange) -> Result<(), EngineError> {
        // First: from then on nothing takes these pages out.
        self.core.book().note_lock(range, true);
        kernel::lock(range).map_err(|errno| {
            self.unlock(range);
            match errno {
                Errno::NOMEM | Errno::PERM | Errno::AGAIN => EngineError::LockedTooMuch,
                errno => named("mlock")(errno),
            }
        })
    }

    fn unlock(&self, range: PageRange) {
        let _ = map::unlock(range);
        self.core.book().note_lock(range, false);
    }

    fn prefetch(&self, range: PageRange) {
        let most = self.core.book().ram / 2;
        let part = PageRange::new(range.start(), range.count().min(PageCount::new(most)));
        // A hint. Starts the reads; waits for none.
        let _ = kernel::advise(part, Advice::WillNeed);
    }

    fn discard(&self, _range: PageRange) {
        // The old bytes are as good as zeros, and others may still want them.
    }

    fn trim(&self, range: PageRange) {
        self.core.trim_range(range);
    }

    fn pages_in_retired(&self, place: &Path) -> PageCount {
        let book = self.core.book();
        match book.slots.is_in(place) {
            true => book.slots.used(),
            false => PageCount::ZERO,
        }
    }

    fn residence(&self, range: PageRange, visit: &mut dyn FnMut(PageRange, Residence)) {
        let book = self.core.book();
        let mut at = range.start();
        let gap =
            |from: PageNumber, to: PageNumber, visit: &mut dyn FnMut(PageRange, Residence)| {
                let mut at = from;
                for (&page, _) in book
                    .at(from)
                    .map(|view| view.moved.range(from..to))
                    .into_iter()
                    .flatten()
                {
                    if at < page {
                        visit(PageRange::between(at, page), Residence::Untouched);
                    }
                    at = page.plus(PageCount::ONE);
                    visit(PageRange::between(page, at), Residence::PageFile);
                }
                if at < to {
                    visit(PageRange::between(at, to), Residence::Untouched);
                }
            };
        let mut runs = Vec::new();
        let _ = look::visit(range, |run, _| look::join(&mut runs, run));
        for run in runs {
            if at < run.start() {
                gap(at, run.start(), visit);
            }
            visit(run, Residence::Resident);
            at = run.end();
        }
        if at < range.end() {
            gap(at, range.end(), visit);
        }
    }

    fn name_at(&self, page: PageNumber) -> Option<String> {
        let book = self.core.book();
        let name = &book.at(page)?.source.header()?.facts().name;
        (!name.is_empty()).then(|| name.clone())
    }

    fn health(&self) -> Result<(), EngineError> {
        self.core.balance.health()
    }

    fn set_budget(&self, budget: EngineBudget) {
        self.core.book().ram = budget.ram.max(Self::MINIMUM_RAM).get();
        self.core.balance_now();
    }

    fn overhead(&self) -> ByteCount {
        let book = self.core.book();
        let views: usize = book
            .views
            .values()
            .map(|view| {
                size_of_val(view)
                    + view.modes.record_bytes()
                    + view.moved.len() * 2 * size_of::<u64>()
            })
            .sum();
        ByteCount::new(views as u64)
    }

    fn statistics(&self) -> EngineStatistics {
        let (budget, ranges, page_file) = {
            let book = self.core.book();
            let ranges: Vec<PageRange> = book.views.values().map(|view| view.range).collect();
            (PageCount::new(book.ram), ranges, book.slots.used())
        };
        let mut resident = PageCount::ZERO;
        for range in ranges {
            let _ = look::visit(range, |run, _| resident += run.count());
        }
        let balance = &self.core.balance;
        let faults = perf::process_faults().unwrap_or_default();
        EngineStatistics {
            budget,
            resident,
            page_file,
            peak: PageCount::new(balance.peak().max(resident.get())),
            residence: Exactness::Sampled,
            soft_faults: faults.minor.saturating_sub(self.faults_before.minor),
            hard_faults: faults.major.saturating_sub(self.faults_before.major),
            faults: Exactness::Sampled,
            pages_out: balance.pages_out.get(),
            clean_drops: balance.clean_drops.get(),
            ..EngineStatistics::default()
        }
    }
}
