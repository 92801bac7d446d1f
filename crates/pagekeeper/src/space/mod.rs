//! A space: the rules, the engines, and the lock that keeps them together.
//!
//! Every operation takes the same way: lock, ask the model (refuse, or a plan), let the engine make the plan true on real
//! memory, tell the model. If the engine cannot, nothing was changed and the model never hears of it.
//!
//! | file | operations |
//! |---|---|
//! | [`allocate`] | reserve, release |
//! | [`change`] | commit, decommit, protect |
//! | [`query`] | query, judge an access, describe a page |
//! | [`resident`] | lock, unlock, prefetch, discard, trim |
//! | [`by_address`] | reservations that nobody owns; limits for their place |
//! | [`placeholder`] | address space kept for one thing after another |
//! | [`reset`], [`offer`] | contents of no interest, or of none for a while |
//! | [`write_watch`] | which pages were written |
//! | [`physical`] | frames that a program maps itself, and windows for them |
//! | [`limits`], [`attributes`] | the working set: its limits, what it says of pages |
//! | [`files`] | page files one by one, figures of the whole process |
//! | [`views`] | views of sections: map, unmap, flush |
//! | [`observe`] | what the monitor asks |
//! | [`foreign_change`] | protecting and locking what others made |
//! | [`ledger`] | engines, their budgets, what is promised of the page files |
//! | [`retire`] | a page file is taken away |
//! | [`shares`] | how engines share one budget |
//! | [`fork_copy`], [`fork_contents`] | true copies for a forked child |
//! | [`watch`] | the thread that follows the control group and tells of low memory |

mod allocate;
mod attributes;
mod by_address;
mod change;
mod degraded;
mod files;
mod foreign;
mod foreign_change;
mod fork_contents;
mod fork_copy;
mod guard;
mod ledger;
mod limits;
pub(crate) mod observe;
mod offer;
mod page_runs;
mod physical;
mod placeholder;
mod query;
mod reset;
mod resident;
mod retire;
mod shares;
mod status;
mod views;
mod watch;
mod write_watch;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use pagekeeper_model::{AddressSpace, EngineTag, Refusal};
use pagekeeper_store::page_file::{Opener, PageFileError, PageFiles, open_disk};
use pagekeeper_sys::cgroup::MemoryGroup;
use pagekeeper_sys::probe::{Feature, Switches};
use pagekeeper_units::{ByteCount, PageCount, PageNumber, PageRange};

use self::ledger::Ledger;
use self::page_runs::PageRuns;
use crate::engine::views::Returned;
use crate::engine::{EngineKind, inline};
use crate::error::{EngineError, Error, SettingsError};
use crate::exception::{Callbacks, Exception, Handled};
use crate::inside::Inside;
use crate::reservation::ReservationBuilder;
use crate::settings::Settings;

pub use attributes::PageAttributes;
pub use by_address::AddressLimits;
pub use degraded::Degraded;
pub use files::PageFileInfo;
pub(crate) use foreign::in_model_terms;
pub(crate) use fork_copy::watch_forks;
pub(crate) use guard::CoreGuard;
pub use status::SpaceStatus;
pub(crate) use views::ViewRequest;
pub use views::mapped_end;

/// An address space of its own rules: budget, page files and reservations. Cheap to clone; all clones are the same
/// space, which goes when the last clone and the last reservation have gone.
///
/// Windows: what a process has one of. Here a process may have several, which take nothing from each other.
#[derive(Clone)]
pub struct Space {
    shared: Arc<Shared>,
}

/// What all handles of a space share.
pub(crate) struct Shared {
    number: u64,
    core: Mutex<Core>,
    /// Replaced in a forked child that has copies, else always the same.
    files: RwLock<Arc<PageFiles>>,
    /// The mark of the process that it works in.
    owner: AtomicU32,
    /// The budget that was asked for last, in pages; a control group may hold it below that.
    wanted_ram: AtomicU64,
    settings: Settings,
    callbacks: Callbacks,
    low_memory: watch::LowMemory,
    watcher: Mutex<Option<watch::Watcher>>,
}

/// What the space lock protects.
pub(crate) struct Core {
    pub(crate) model: AddressSpace,
    pub(crate) ledger: Ledger,
    /// First pages of the arenas that were opened for one reservation at an address of its own.
    pub(crate) fixed_arenas: HashSet<PageNumber>,
    /// Pages that nobody may touch for the time being.
    pub(crate) offered: PageRuns,
    /// Writes to watched memory that the kernel cannot tell of any more.
    pub(crate) writes: write_watch::Writes,
    /// Frames that the program owns, and the windows for them.
    pub(crate) physical: physical::Physical,
    /// How memory that others made is looked up.
    pub(crate) foreign: foreign::Lookup,
    /// The budget from before a hard maximum of the working set.
    pub(crate) soft_budget: Option<PageCount>,
    /// Commit charge of sections that have gone.
    pub(crate) returned: Returned,
    /// Views of sections whose pages are committed one by one, by anybody.
    pub(crate) following: usize,
    /// Pages that views had in place of placeholders, and that the engine could not take back yet.
    pub(crate) unreturned: Vec<(EngineTag, PageRange)>,
}

/// All spaces of the process, by number, for the dispatch of exceptions.
static SPACES: RwLock<Option<HashMap<u64, Weak<Shared>>>> = RwLock::new(None);
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// The space with a number, if it is still there.
pub(crate) fn by_number(number: u64) -> Option<Arc<Shared>> {
    let spaces = SPACES.read().unwrap_or_else(PoisonError::into_inner);
    spaces.as_ref()?.get(&number)?.upgrade()
}

impl Space {
    /// Settings for a new space, all at their defaults. Variables are not looked at; see [`Settings::from_env`].
    pub fn builder() -> Settings {
        Settings::default()
    }

    pub(crate) fn new(settings: Settings) -> Result<Self, Error> {
        Self::with_opener(settings, Box::new(open_disk))
    }

    /// The same with page files on disks of the caller's: tests put failing ones in.
    pub(crate) fn with_opener(mut settings: Settings, opener: Opener) -> Result<Self, Error> {
        let switches = Switches::from_environment().unwrap_or_default();
        if switches.is_off(Feature::IoUring) {
            settings = settings.without_io_uring();
        }
        if switches.is_off(Feature::DirectIo) {
            settings = settings.buffered_page_file();
        }
        let ram = settings.budget()?;
        inline::install_handler().map_err(SettingsError::Engine)?;
        if let (initial, Some(maximum)) = (settings.page_file.initial, settings.page_file.maximum)
            && initial > maximum
        {
            return Err(SettingsError::InitialAboveMaximum { initial, maximum }.into());
        }
        let files = PageFiles::open_with(settings.page_file.clone(), opener)
            .map_err(|error| SettingsError::PageFile(error.to_string()))?;
        let files = Arc::new(files);
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut ledger = Ledger::new(number, ram.pages(), Arc::clone(&files), &settings);
        // The default engine is started at once, so that a machine that cannot run it says so here.
        ledger.start(settings.engine).map_err(|error| match error {
            Error::Settings(error) => error,
            Error::Engine { cause, .. } => SettingsError::Engine(cause),
            Error::Refused { .. } => SettingsError::UnknownEngine(settings.engine.to_string()),
        })?;
        let mut model = AddressSpace::new(PageCount::ZERO);
        model.commit_account_mut().set_limit(ledger.commit_limit());
        let shared = Arc::new(Shared {
            number,
            core: Mutex::new(Core {
                model,
                ledger,
                fixed_arenas: HashSet::new(),
                offered: PageRuns::default(),
                writes: write_watch::Writes::default(),
                physical: physical::Physical::default(),
                foreign: foreign::Lookup::default(),
                soft_budget: None,
                returned: Returned::default(),
                following: 0,
                unreturned: Vec::new(),
            }),
            files: RwLock::new(files),
            owner: AtomicU32::new(crate::fork::process_mark()),
            wanted_ram: AtomicU64::new(ram.pages().get()),
            settings,
            callbacks: Callbacks::default(),
            low_memory: watch::LowMemory::default(),
            watcher: Mutex::new(None),
        });
        SPACES
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(HashMap::new)
            .insert(number, Arc::downgrade(&shared));
        crate::monitor::start_live_source();
        if shared.settings.follow_control_group {
            // The first second counts as well.
            shared.follow_group(
                shared.settings.memory_group().as_ref(),
                MemoryGroup::limit_bytes,
            );
            shared.start_watching();
        }
        Ok(Self { shared })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) const fn is_own(tag: EngineTag) -> bool {
        Ledger::is_own(tag)
    }

    /// Begins a reservation of `size` bytes; see [`ReservationBuilder`].
    ///
    /// ```
    /// use pagekeeper::{ByteCount, Protection, Space};
    /// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
    /// let reservation = space.reserve(ByteCount::gib(64)).build()?;
    /// reservation.commit(0..4096, Protection::READ_WRITE)?;
    /// # Ok::<(), pagekeeper::Error>(())
    /// ```
    pub fn reserve(&self, size: ByteCount) -> ReservationBuilder {
        ReservationBuilder::new(self.clone(), size)
    }

    /// Registers a callback for accesses that are really wrong and for guard pages. It runs on the thread that made the
    /// access, outside any signal frame and with no lock held: it may commit memory (the classic "reserve, catch the
    /// fault, commit, go on"), allocate, fault, or never return. Callbacks are asked in the order of their
    /// registration. Returns a number for [`Space::remove_exception_callback`].
    ///
    /// Windows: `AddVectoredExceptionHandler`.
    ///
    /// ```
    /// use pagekeeper::{ByteCount, Handled, Protection, Space};
    /// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
    /// let reservation = space.reserve(ByteCount::gib(1)).build()?;
    /// let by_fault = space.clone();
    /// space.on_exception(move |exception| {
    ///     match by_fault.commit_at(exception.address, 1, Protection::READ_WRITE) {
    ///         Ok(()) => Handled::Retry,
    ///         Err(_) => Handled::Pass,
    ///     }
    /// });
    /// // SAFETY: inside the reservation; the callback commits what is touched.
    /// unsafe { reservation.base().add(123_456).write_volatile(7) };
    /// # Ok::<(), pagekeeper::Error>(())
    /// ```
    pub fn on_exception(
        &self,
        callback: impl Fn(&Exception) -> Handled + Send + Sync + 'static,
    ) -> u64 {
        self.shared.callbacks.add(Arc::new(callback))
    }

    /// Takes a callback away again; whether it was there. Windows: `RemoveVectoredExceptionHandler`.
    pub fn remove_exception_callback(&self, number: u64) -> bool {
        self.shared.callbacks.remove(number)
    }

    /// Changes the RAM budget while running. Pages leave at once when it shrinks.
    ///
    /// # Errors
    /// [`SettingsError::BudgetTooSmall`] below what the engines in use need.
    pub fn set_ram(&self, ram: ByteCount) -> Result<(), Error> {
        self.shared.set_ram(ram.pages())?;
        self.shared
            .wanted_ram
            .store(ram.pages().get(), Ordering::Relaxed);
        Ok(())
    }
}

impl core::fmt::Debug for Space {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Space")
            .field("number", &self.shared.number)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn core(&self) -> CoreGuard<'_> {
        let inside = Inside::enter();
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let returned = core.returned.take();
        if !returned.is_zero() {
            core.model.commit_account_mut().refund(returned);
        }
        CoreGuard::new(core, inside)
    }

    /// The space lock, for an operation that a forked child cannot make: its lock may be held for ever by a thread that
    /// only the parent has.
    pub(crate) fn enter(&self, request: Request) -> Result<CoreGuard<'_>, Error> {
        if !self.is_here() {
            return Err(request.failed(EngineError::ForkedChild));
        }
        let mut core = self.core();
        core.follow_files();
        core.follow_section(request.address);
        Ok(core)
    }

    /// Whether it belongs to this process, rather than to the one that this one was forked from.
    pub(crate) fn is_here(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == crate::fork::process_mark()
    }

    pub(crate) fn callbacks(&self) -> &Callbacks {
        &self.callbacks
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.settings.strict
    }

    pub(crate) fn default_engine(&self) -> EngineKind {
        self.settings.engine
    }

    /// The tag of the engine for a reservation, which is started if need be.
    pub(crate) fn engine_tag(
        &self,
        kind: EngineKind,
        own_budget: Option<PageCount>,
    ) -> Result<EngineTag, Error> {
        let mut core = self.enter(Request::new("reserve", 0, 0))?;
        if own_budget.is_none()
            && let Some(tag) = core.ledger.started(kind)
        {
            // The way of nearly every reservation: no engine starts, so no limit moves.
            return Ok(tag);
        }
        let tag = match own_budget {
            None => core.ledger.start(kind)?,
            Some(ram) => core.ledger.start_own(kind, ram)?,
        };
        core.refresh_limit();
        Ok(tag)
    }

    /// An engine was started for a reservation that then was not made.
    pub(crate) fn abandon_own(&self, tag: EngineTag) {
        if !self.is_here() {
            return;
        }
        let mut core = self.core();
        if Ledger::is_own(tag) {
            core.drop_own(tag);
        }
    }

    pub(crate) fn files(&self) -> Arc<PageFiles> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&files)
    }

    pub(crate) fn set_ram(&self, ram: PageCount) -> Result<(), Error> {
        let mut core = self.enter(Request::new("set the RAM budget", 0, ram.bytes().get()))?;
        core.ledger.set_ram(ram)?;
        core.refresh_limit();
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(spaces) = SPACES
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            spaces.remove(&self.number);
        }
        let is_here = self.is_here();
        if !is_here {
            // The thread is the parent's.
            core::mem::forget(
                self.watcher
                    .get_mut()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
        } else if let Some(watcher) = self
            .watcher
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            watcher.stop();
        }
        let files = self.files();
        let core = self.core.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !is_here {
            // Nothing of it is here; its engines' threads are not either.
            core.ledger.forget();
            core::mem::forget(files);
            return;
        }
        if self.settings.statistics_at_exit {
            eprint!("{}", status::summary(&core.ledger, &files));
        }
        // Views first: some may lie in arenas of other engines.
        core.unmap_lent_views();
        let arenas: Vec<_> = core
            .model
            .arenas()
            .map(|arena| (arena.range, arena.engine))
            .collect();
        for (range, tag) in arenas {
            if let Some(engine) = core.ledger.engine(tag) {
                allocate::close(&**engine, range);
            }
        }
    }
}

/// What an operation says of itself when it fails.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) operation: &'static str,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

impl Request {
    pub(crate) const fn new(operation: &'static str, address: u64, size: u64) -> Self {
        Self {
            operation,
            address,
            size,
        }
    }

    pub(crate) fn refused(self, refusal: Refusal) -> Error {
        Error::Refused {
            operation: self.operation,
            address: self.address,
            size: ByteCount::new(self.size),
            refusal,
        }
    }

    pub(crate) fn failed(self, cause: EngineError) -> Error {
        Error::Engine {
            operation: self.operation,
            address: self.address,
            size: ByteCount::new(self.size),
            cause,
        }
    }

    /// The page files cannot be promised more: a matter of the commit limit, or of the disk.
    pub(crate) fn no_page_file(self, error: &PageFileError, wanted: PageCount) -> Error {
        match error {
            PageFileError::MaximumReached { .. } | PageFileError::NoPageFile { .. } => self
                .refused(Refusal::CommitmentLimit {
                    wanted,
                    available: PageCount::ZERO,
                }),
            other => self.failed(EngineError::PageFileSpace(other.to_string())),
        }
    }
}
