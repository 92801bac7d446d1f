//! What the monitor asks of a space: sums, regions in small pieces, one page. The space lock is held for moments only, and not
//! waited for long.

use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use pagekeeper_model::{PageState, RegionInfo, RegionState};
use pagekeeper_units::{ByteCount, HIGHEST_ADDRESS, PageCount, PageNumber, PageRange};

use super::guard::CoreGuard;
use super::{SPACES, Shared, foreign, status};
use crate::engine::{Engine, EngineKind, Peeked, ReadMapping, Residence};
use crate::inside::Inside;

/// How long the monitor waits for the space lock.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two tries.
const PAUSE: Duration = Duration::from_micros(200);

/// The spaces of this process, by their numbers.
pub(crate) fn all() -> Vec<Arc<Shared>> {
    let spaces = SPACES.read().unwrap_or_else(PoisonError::into_inner);
    let mut all: Vec<Arc<Shared>> = spaces
        .iter()
        .flat_map(|spaces| spaces.values())
        .filter_map(std::sync::Weak::upgrade)
        .filter(|space| space.is_here())
        .collect();
    all.sort_unstable_by_key(|space| space.number);
    all
}

/// What a space says of itself; its engines are to be asked without its lock.
pub(crate) struct Sums {
    pub(crate) number: u64,
    pub(crate) budget: ByteCount,
    pub(crate) reserved: ByteCount,
    pub(crate) locked: ByteCount,
    pub(crate) committed: ByteCount,
    pub(crate) commit_limit: ByteCount,
    pub(crate) commit_peak: ByteCount,
    pub(crate) page_file_allocated: ByteCount,
    pub(crate) page_file_maximum: ByteCount,
    /// Slots that inline engines use.
    pub(crate) slots_used: PageCount,
    pub(crate) metadata: ByteCount,
    pub(crate) engines: Vec<Arc<dyn Engine>>,
    pub(crate) notes: Vec<String>,
}

/// A part of a space's regions.
pub(crate) struct Listing {
    /// Regions upwards, with the engine that pages each.
    pub(crate) regions: Vec<(RegionInfo, Option<Arc<dyn Engine>>)>,
    /// Where to go on; `None` at the end.
    pub(crate) next: Option<PageNumber>,
}

/// What lies at an address.
pub(crate) struct Place {
    /// From the page of the address upwards.
    pub(crate) region: RegionInfo,
    pub(crate) engine: Option<EngineKind>,
    /// Where the page is, when it is committed.
    pub(crate) residence: Option<Residence>,
    /// What the section is called that it shows.
    pub(crate) name: Option<String>,
}

impl Shared {
    /// The space lock, if it can be had soon.
    fn core_soon(&self) -> Option<CoreGuard<'_>> {
        // Before the lock: what is allocated with it held must not come from a heap in this space.
        let inside = Inside::enter();
        let until = Instant::now() + PATIENCE;
        loop {
            match self.core.try_lock() {
                Ok(core) => return Some(CoreGuard::new(core, inside)),
                Err(TryLockError::Poisoned(core)) => {
                    return Some(CoreGuard::new(core.into_inner(), inside));
                }
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => return None,
            }
        }
    }

    /// Sums of this moment. `None` while the space is busy with something long.
    pub(crate) fn sums(&self) -> Option<Sums> {
        let files = self.files();
        let core = self.core_soon()?;
        let totals = core.model.totals();
        let account = core.model.commit_account();
        let trouble = core
            .ledger
            .engines()
            .find_map(|(engine, _)| engine.health().err());
        let degraded = status::degraded(&core.ledger, &files);
        Some(Sums {
            number: self.number,
            budget: core.ledger.ram().bytes(),
            reserved: totals.reserved.bytes(),
            locked: totals.locked.bytes(),
            committed: account.charged().bytes(),
            commit_limit: account.limit().bytes(),
            commit_peak: account.peak().bytes(),
            page_file_allocated: files.usable().bytes(),
            page_file_maximum: files.maximum().bytes(),
            slots_used: files.used(),
            metadata: ByteCount::new(core.model.metadata_bytes().get() + files.overhead_bytes()),
            engines: core
                .ledger
                .engines()
                .map(|(engine, _)| Arc::clone(engine))
                .collect(),
            notes: trouble
                .iter()
                .map(ToString::to_string)
                .chain(degraded.iter().map(ToString::to_string))
                .collect(),
        })
    }

    /// At most `most` regions from `from` up. `None` while the space is busy with something long.
    pub(crate) fn list_regions(&self, from: PageNumber, most: usize) -> Option<Listing> {
        let core = self.core_soon()?;
        let all = PageRange::between(from, PageNumber::containing(HIGHEST_ADDRESS));
        let mut regions = Vec::with_capacity(most);
        for region in core.model.regions(all).take(most) {
            let engine = core
                .engine_of(region.range)
                .and_then(|tag| core.ledger.engine(tag).cloned());
            regions.push((region, engine));
        }
        let next = (regions.len() == most)
            .then(|| regions.last().map(|(region, _)| region.range.end()))
            .flatten();
        Some(Listing { regions, next })
    }

    /// Address space that the space holds, upwards. `None` while it is busy with something long.
    pub(crate) fn arena_ranges(&self) -> Option<Vec<PageRange>> {
        let core = self.core_soon()?;
        Some(core.model.arenas().map(|arena| arena.range).collect())
    }

    /// What lies at an address, if it is in address space of this space.
    pub(crate) fn place_at(&self, address: u64) -> Option<Place> {
        let page = PageNumber::containing(address);
        let core = self.core_soon()?;
        core.model.arena_at(page)?;
        let region = core
            .model
            .query(address, &foreign::KernelMap::new(&core.foreign))
            .ok()?;
        let engine = core
            .engine_of(region.range)
            .and_then(|tag| core.ledger.engine(tag).cloned());
        drop(core);
        let mut residence = None;
        if let (RegionState::Committed(_), Some(engine)) = (region.state, &engine) {
            let only = PageRange::new(page, PageCount::ONE);
            engine.residence(only, &mut |_, found| residence = Some(found));
        }
        let name = engine
            .as_ref()
            .filter(|_| region.allocation.is_some())
            .and_then(|engine| engine.name_at(page));
        Some(Place {
            region,
            name,
            engine: engine.map(|engine| engine.kind()),
            residence,
        })
    }

    /// The bytes of a page of this space, wherever they are; `None` when it is not this space's.
    pub(crate) fn peek(
        &self,
        page: PageNumber,
        into: &mut [u8; pagekeeper_units::PAGE_SIZE],
        mapping: ReadMapping<'_>,
    ) -> Option<Peeked> {
        let core = self.core_soon()?;
        core.model.arena_at(page)?;
        if !matches!(core.model.state_at(page), Some(PageState::Committed(_))) {
            return Some(Peeked::NotCommitted);
        }
        let tag = core.engine_of(PageRange::new(page, PageCount::ONE))?;
        let engine = Arc::clone(core.ledger.engine(tag)?);
        drop(core);
        Some(engine.peek(page, into, mapping))
    }
}
