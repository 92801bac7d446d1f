//! A reservation: a slice of address space with its own rules, owned like any other value.

use core::ops::{Bound, RangeBounds};

use pagekeeper_model::{EngineTag, FreeRequest, Protection, RegionInfo, ReserveRequest};
use pagekeeper_units::{ByteCount, PageRange};

use crate::engine::{EngineKind, Residence};
use crate::error::{Error, SettingsError};
use crate::space::{AddressLimits, Space};

/// What [`ReservationBuilder::large_pages`] aligns to.
const LARGE_PAGE: ByteCount = ByteCount::mib(2);

/// What a reservation shall be like. Made by [`Space::reserve`].
#[derive(Clone)]
#[must_use = "nothing is reserved until `build` is called"]
pub struct ReservationBuilder {
    space: Space,
    size: ByteCount,
    at: Option<u64>,
    top_down: bool,
    engine: Option<EngineKind>,
    ram: Option<ByteCount>,
    commit: bool,
    write_watch: bool,
    protection: Protection,
    limits: Option<AddressLimits>,
    large_pages: bool,
    placeholder: bool,
}

impl ReservationBuilder {
    pub(crate) fn new(space: Space, size: ByteCount) -> Self {
        Self {
            space,
            size,
            at: None,
            top_down: false,
            engine: None,
            ram: None,
            commit: false,
            write_watch: false,
            protection: Protection::READ_WRITE,
            limits: None,
            large_pages: false,
            placeholder: false,
        }
    }

    /// At this address, rounded down to 64 KiB; refused when any page there is taken.
    ///
    /// Reservations are slices of larger mappings of ours, one engine each. One rule comes from that, which Windows does not
    /// have: a reservation cannot reach across the edge of such a mapping, nor into one of another engine, while another
    /// reservation lies in it (`CrossesArena`, `ArenaOfOtherEngine`). Mappings that nobody uses give way.
    pub fn at(mut self, address: u64) -> Self {
        self.at = Some(address);
        self
    }

    /// At the highest free place instead of the lowest. Windows: `MEM_TOP_DOWN`.
    pub fn top_down(mut self) -> Self {
        self.top_down = true;
        self
    }

    /// Served by this engine instead of the space's.
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = Some(engine);
        self
    }

    /// With a RAM budget of its own, which the rest of the space loses: neither takes from the other.
    pub fn own_budget(mut self, ram: ByteCount) -> Self {
        self.ram = Some(ram);
        self
    }

    /// Commits every page in the same call.
    pub fn committed(mut self) -> Self {
        self.commit = true;
        self
    }

    /// The protection that the reservation remembers (`AllocationProtect`), and that of the pages where they are committed
    /// in the same call. Default read-write.
    pub fn protection(mut self, protection: Protection) -> Self {
        self.protection = protection;
        self
    }

    /// Remembers which pages are written ([`Space::written_at`]). Where the inline engine would serve it the mapped engine
    /// does: that one lets the kernel keep the marks. Needs a kernel of 6.7 or later. Windows: `MEM_WRITE_WATCH`.
    pub fn write_watch(mut self) -> Self {
        self.write_watch = true;
        self
    }

    /// A placeholder: address space to be divided and replaced piece by piece ([`Space::replace_placeholder_at`]). To be used
    /// with [`ReservationBuilder::build_detached`]: a [`Reservation`] releases no more than the part at its base.
    /// Windows: `MEM_RESERVE_PLACEHOLDER`.
    pub fn placeholder(mut self) -> Self {
        self.placeholder = true;
        self.protection = Protection::NO_ACCESS;
        self
    }

    /// Inside of these limits; not together with an address. Windows: `MEM_ADDRESS_REQUIREMENTS`.
    pub fn within(mut self, limits: AddressLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// In large pages of 2 MiB, committed at once and kept in RAM: begins at a multiple of 2 MiB, is served by the resident
    /// engine, and locked. Windows: `MEM_LARGE_PAGES`.
    pub fn large_pages(mut self) -> Self {
        self.large_pages = true;
        self.commit = true;
        self.engine = Some(EngineKind::Resident);
        if self.at.is_none() {
            let limits = self.limits.get_or_insert_default();
            limits.alignment = limits.alignment.max(LARGE_PAGE);
        }
        self
    }

    /// Reserves.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule; [`Error::Settings`] where an own budget cannot be had or the engine cannot
    /// run here.
    pub fn build(self) -> Result<Reservation, Error> {
        let (range, engine, tag) = self.reserve()?;
        Ok(Reservation {
            space: self.space,
            range,
            engine,
            tag,
        })
    }

    /// Reserves, and leaves the reservation to the space: it stays until [`Space::free_at`] releases it.
    ///
    /// # Errors
    /// As [`ReservationBuilder::build`].
    pub fn build_detached(self) -> Result<PageRange, Error> {
        self.reserve().map(|(range, ..)| range)
    }

    fn reserve(&self) -> Result<(PageRange, EngineKind, EngineTag), Error> {
        let shared = self.space.shared();
        let kind = match self.engine.unwrap_or(shared.default_engine()) {
            EngineKind::Inline if self.write_watch => EngineKind::Mapped,
            EngineKind::Views => {
                return Err(SettingsError::UnknownEngine(EngineKind::Views.to_string()).into());
            }
            kind => kind,
        };
        let tag = shared.engine_tag(kind, self.ram.map(ByteCount::pages))?;
        let request = ReserveRequest {
            at: self.at,
            size: self.size.get(),
            protection: self.protection,
            engine: tag,
            commit: self.commit,
            top_down: self.top_down,
            write_watch: self.write_watch,
            placeholder: self.placeholder,
        };
        let reserved = match &self.limits {
            Some(limits) => shared.reserve_within(&request, limits),
            None => shared.reserve(&request),
        };
        let reserved = match reserved {
            Ok(range) if self.large_pages => shared.keep_in_ram(range).map(|()| range),
            other => other,
        };
        if reserved.is_err() {
            shared.abandon_own(tag);
        }
        reserved.map(|range| (range, kind, tag))
    }
}

/// A reservation; released when dropped.
///
/// Addresses are given as offsets from its base. The memory is reached through [`Reservation::base`]; see
/// [`crate::PagedVec`] for a safe view of plain data.
pub struct Reservation {
    space: Space,
    range: PageRange,
    engine: EngineKind,
    tag: EngineTag,
}

impl Reservation {
    /// The address of its first byte: a multiple of 64 KiB.
    pub fn base(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.range.address() as usize)
    }

    /// Its size in bytes: whole pages.
    pub fn size(&self) -> ByteCount {
        self.range.bytes()
    }

    /// Its pages.
    pub fn pages(&self) -> PageRange {
        self.range
    }

    /// The engine that serves it.
    pub fn engine(&self) -> EngineKind {
        self.engine
    }

    /// The space that it belongs to.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Whether it has a budget of its own.
    pub fn has_own_budget(&self) -> bool {
        Space::is_own(self.tag)
    }

    /// Commits every page that the bytes of `range` (offsets from the base) touch. Fresh pages read as zero; pages
    /// that were committed keep their contents and get the protection. Windows: `MEM_COMMIT`.
    ///
    /// # Errors
    /// [`Error::Refused`]: `CommitmentLimit` when no more can be promised, `LeavesAllocation`, `SizeZero`.
    ///
    /// ```
    /// use pagekeeper::{ByteCount, Protection, Space};
    /// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
    /// let table = space.reserve(ByteCount::tib(1)).build()?;
    /// table.commit(..8192, Protection::READ_WRITE)?;
    /// // SAFETY: committed, and nobody else has the reservation.
    /// let first = unsafe { core::slice::from_raw_parts_mut(table.base(), 8192) };
    /// first[8191] = 1;
    /// # Ok::<(), pagekeeper::Error>(())
    /// ```
    pub fn commit(
        &self,
        range: impl RangeBounds<u64>,
        protection: Protection,
    ) -> Result<(), Error> {
        let (address, size) = self.part(range);
        self.space.commit_at(address, size, protection)
    }

    /// Decommits every page that the bytes of `range` touch; their contents are lost. Windows: `MEM_DECOMMIT`.
    ///
    /// # Errors
    /// [`Error::Refused`] when the range leaves the reservation.
    pub fn decommit(&self, range: impl RangeBounds<u64>) -> Result<(), Error> {
        let (address, size) = self.part(range);
        self.space
            .shared()
            .free(address, size, FreeRequest::Decommit)
    }

    /// Changes the protection; returns that of the first page before. Windows: `VirtualProtect`.
    ///
    /// # Errors
    /// [`Error::Refused`]: `NotCommitted`, `LeavesAllocation`, `ProtectionNotForPrivate`.
    pub fn protect(
        &self,
        range: impl RangeBounds<u64>,
        protection: Protection,
    ) -> Result<Protection, Error> {
        let (address, size) = self.part(range);
        self.space.protect_at(address, size, protection)
    }

    /// What the page at `offset` is, and how far pages are like it. Windows: `VirtualQuery`.
    ///
    /// # Errors
    /// As [`Space::query`].
    pub fn query(&self, offset: u64) -> Result<RegionInfo, Error> {
        self.space
            .query(self.range.address().saturating_add(offset))
    }

    /// Where each committed page of `range` is right now.
    pub fn residence(&self, range: impl RangeBounds<u64>) -> Vec<(PageRange, Residence)> {
        let (address, size) = self.part(range);
        self.space.residence(address, size)
    }

    /// Brings pages in ahead of time, with many reads in flight. Windows: `PrefetchVirtualMemory`.
    ///
    /// # Errors
    /// As [`Space::prefetch_at`].
    pub fn prefetch(&self, range: impl RangeBounds<u64>) -> Result<(), Error> {
        self.space.prefetch_at(&[self.part(range)])
    }

    /// Keeps pages in RAM. Windows: `VirtualLock`.
    ///
    /// # Errors
    /// As [`Space::lock_at`].
    pub fn lock(&self, range: impl RangeBounds<u64>) -> Result<(), Error> {
        let (address, size) = self.part(range);
        self.space.lock_at(address, size)
    }

    /// Lets locked pages go. Windows: `VirtualUnlock`.
    ///
    /// # Errors
    /// As [`Space::unlock_at`].
    pub fn unlock(&self, range: impl RangeBounds<u64>) -> Result<(), Error> {
        let (address, size) = self.part(range);
        self.space.unlock_at(address, size)
    }

    /// Says that the contents are of no interest. Windows: `DiscardVirtualMemory`.
    ///
    /// # Errors
    /// As [`Space::discard_at`].
    pub fn discard(&self, range: impl RangeBounds<u64>) -> Result<(), Error> {
        let (address, size) = self.part(range);
        self.space.shared().discard(address, size)
    }

    /// Takes pages out of the working set now; contents stay. Windows: `VirtualUnlock` of unlocked pages.
    pub fn trim(&self, range: impl RangeBounds<u64>) {
        let (address, size) = self.part(range);
        self.space.trim_at(address, size);
    }

    /// Address and size of a part. An end past the reservation is kept, so that the rules can refuse it.
    pub(crate) fn part(&self, range: impl RangeBounds<u64>) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.size().get(),
        };
        (
            self.range.address().saturating_add(start),
            end.saturating_sub(start),
        )
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let released = self
            .space
            .shared()
            .free(self.range.address(), 0, FreeRequest::Release);
        let in_child = !self.space.shared().is_here();
        debug_assert!(
            in_child || released.is_ok(),
            "a reservation was released by somebody else: {released:?}"
        );
    }
}

impl core::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reservation")
            .field("range", &self.range)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
