//! One page of the inline engine: six bytes that say everything.
//!
//! ```text
//! 47   42 41    38  37   36    35   34..32 31                 0
//! +------+--------+----+------+----+------+-------------------+
//! | pins | rights |COPY|LOCKED|BUSY| kind | location          |
//! +------+--------+----+------+----+------+-------------------+
//! |                state                  |
//! ```
//!
//! State and location lie in two tables. The location is of interest, and changes, only under the extent's lock; the state
//! may change beside its holder (pins, commits), always by compare-and-exchange. Who reads an entry without
//! the lock may see a location that does not belong to the state, and takes it as a hint.
//!
//! | kind | the contents are | location |
//! |---|---|---|
//! | `Reserved` | nowhere: the page is not committed | 0 |
//! | `Fill` | one 32-bit word, repeated (0: never touched, or all zeros) | the word |
//! | `Present` | in the mapping | with `COPY`: the file slot that held the same bytes when it came in |
//! | `Staged` | in a frame of the staging area | the frame's number |
//! | `Pool` | in the compressed pool | the pool's reference |
//! | `File` | in the page file | the slot |
//! | `Lost` | gone: reading back failed | 0 |
//!
//! Who may change an entry: the holder of its extent's lock; except that `Reserved` becomes `Fill` under the space
//! lock alone (a commit takes no fault-path lock and makes no system call). Both use compare-and-exchange, since a
//! pin count may change beside them. `BUSY` marks a page whose contents are being fetched with the extent
//! unlocked: everybody else waits.

use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use pagekeeper_model::{BaseProtection, Protection};

/// Where the contents of a page are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Reserved = 0,
    Fill = 1,
    Present = 2,
    Staged = 3,
    Pool = 4,
    File = 5,
    Lost = 6,
}

/// The state begins here.
const STATE_SHIFT: u32 = 32;
const KIND_SHIFT: u32 = STATE_SHIFT;
const KIND_MASK: u64 = 0x7 << KIND_SHIFT;
const LOCATION_MASK: u64 = 0xFFFF_FFFF;
const BUSY: u64 = 1 << 35;
/// `VirtualLock`: stays until unlocked. One bit, because Windows does not count locks either.
const LOCKED: u64 = 1 << 36;
const COPY: u64 = 1 << 37;
const PROTECTION_SHIFT: u32 = 38;
const PROTECTION_MASK: u64 = 0xF << PROTECTION_SHIFT;
const PIN_SHIFT: u32 = 42;
const PIN_ONE: u64 = 1 << PIN_SHIFT;
const PIN_MASK: u64 = PINS_MAX << PIN_SHIFT;

/// How often one page can be pinned at once; one more waits.
pub(crate) const PINS_MAX: u64 = 0x3F;

/// A snapshot of a page's entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    pub(crate) const RESERVED: Self = Self(0);

    pub(crate) const fn new(kind: Kind, location: u32, rights: Rights) -> Self {
        Self(
            ((kind as u64) << KIND_SHIFT)
                | location as u64
                | ((rights.bits() as u64) << PROTECTION_SHIFT),
        )
    }

    pub(crate) const fn kind(self) -> Kind {
        match (self.0 & KIND_MASK) >> KIND_SHIFT {
            0 => Kind::Reserved,
            1 => Kind::Fill,
            2 => Kind::Present,
            3 => Kind::Staged,
            4 => Kind::Pool,
            5 => Kind::File,
            _ => Kind::Lost,
        }
    }

    const fn state(self) -> u16 {
        (self.0 >> STATE_SHIFT) as u16
    }

    pub(crate) const fn location(self) -> u32 {
        (self.0 & LOCATION_MASK) as u32
    }

    pub(crate) const fn rights(self) -> Rights {
        Rights(((self.0 & PROTECTION_MASK) >> PROTECTION_SHIFT) as u8)
    }

    pub(crate) const fn pins(self) -> u64 {
        (self.0 & PIN_MASK) >> PIN_SHIFT
    }

    pub(crate) const fn is_busy(self) -> bool {
        self.0 & BUSY != 0
    }

    pub(crate) const fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    /// A present page whose file slot (in `location`) held the same bytes when it came in.
    pub(crate) const fn has_copy(self) -> bool {
        self.0 & COPY != 0
    }

    /// The same page with other contents: keeps rights, pins and LOCKED; drops BUSY and COPY.
    pub(crate) const fn moved_to(self, kind: Kind, location: u32) -> Self {
        Self(
            (self.0 & (PROTECTION_MASK | PIN_MASK | LOCKED))
                | ((kind as u64) << KIND_SHIFT)
                | location as u64,
        )
    }

    /// The same page in the mapping, remembering the slot it came from.
    pub(crate) const fn present_with_copy(self, slot: u32) -> Self {
        Self(self.moved_to(Kind::Present, slot).0 | COPY)
    }

    pub(crate) const fn with_rights(self, rights: Rights) -> Self {
        Self((self.0 & !PROTECTION_MASK) | ((rights.bits() as u64) << PROTECTION_SHIFT))
    }

    pub(crate) const fn busy(self) -> Self {
        Self(self.0 | BUSY)
    }

    pub(crate) const fn not_busy(self) -> Self {
        Self(self.0 & !BUSY)
    }

    pub(crate) const fn locked(self, locked: bool) -> Self {
        Self(if locked {
            self.0 | LOCKED
        } else {
            self.0 & !LOCKED
        })
    }

    /// Not committed any more: only pins stay, until whoever holds them lets go.
    pub(crate) const fn decommitted(self) -> Self {
        Self(self.0 & PIN_MASK)
    }

    /// Freshly committed: zeros, with these rights; pins stay.
    pub(crate) const fn committed(self, rights: Rights) -> Self {
        Self((self.0 & PIN_MASK) | Self::new(Kind::Fill, 0, rights).0)
    }

    pub(crate) const fn pinned(self) -> Self {
        Self(self.0 + PIN_ONE)
    }

    pub(crate) const fn unpinned(self) -> Self {
        Self(self.0 - PIN_ONE)
    }

    /// Committed, never touched or all zeros, writable and neither executable nor guarded, at peace and pinned by nobody:
    /// one comparison, because whole huge pages are asked.
    pub(crate) const fn is_blank(self) -> bool {
        const LOOKED_AT: u64 = LOCATION_MASK
            | KIND_MASK
            | BUSY
            | PIN_MASK
            | (((Rights::WRITE | Rights::EXECUTE | Rights::GUARD) as u64) << PROTECTION_SHIFT);
        const BLANK: u64 =
            ((Kind::Fill as u64) << KIND_SHIFT) | ((Rights::WRITE as u64) << PROTECTION_SHIFT);
        self.0 & LOOKED_AT == BLANK
    }

    /// May this page be taken out of the mapping?
    pub(crate) const fn is_evictable(self) -> bool {
        matches!(self.kind(), Kind::Present)
            && !self.is_busy()
            && !self.is_locked()
            && self.pins() == 0
    }
}

/// An entry in the tables.
#[derive(Clone, Copy)]
pub(crate) struct EntryCell<'table> {
    state: &'table AtomicU16,
    location: &'table AtomicU32,
}

impl<'table> EntryCell<'table> {
    pub(crate) const fn new(state: &'table AtomicU16, location: &'table AtomicU32) -> Self {
        Self { state, location }
    }

    /// See the module text for what it is worth without the extent's lock.
    #[inline]
    pub(crate) fn load(self) -> Entry {
        self.with(self.state.load(Ordering::Acquire))
    }

    #[inline]
    fn with(self, state: u16) -> Entry {
        let location = self.location.load(Ordering::Relaxed);
        Entry((u64::from(state) << STATE_SHIFT) | u64::from(location))
    }

    /// The rest of a change whose state is in place already. The lock that protects the location, or the caller's knowledge
    /// that nobody else looks at it, orders this before the next look.
    #[inline]
    fn set_location(self, before: Entry, after: Entry) {
        if before.location() != after.location() {
            self.location.store(after.location(), Ordering::Relaxed);
        }
    }

    /// Replaces the entry without comparing. Only under the extent's lock, and where it was [blank](Entry::is_blank) under
    /// it: then only [`super::untouched`] changes it beside, which looks again afterwards (commits change reserved pages
    /// only, and there is no pin to be lifted).
    #[inline]
    pub(crate) fn change_blank(self, change: impl Fn(Entry) -> Entry) {
        let before = self.with(self.state.load(Ordering::Relaxed));
        let after = change(before);
        self.state.store(after.state(), Ordering::Release);
        self.set_location(before, after);
    }

    /// Replaces the entry by `change` of it; pins may move beside us, hence the loop (bounded in practice by the number
    /// of threads that pin). The location may change under the extent's lock only.
    #[inline]
    pub(crate) fn update(self, change: impl Fn(Entry) -> Entry) -> Entry {
        match self.try_update(|entry| Some(change(entry))) {
            Ok(before) | Err(before) => before,
        }
    }

    /// Replaces the entry only when `change` gives one.
    #[inline]
    pub(crate) fn try_update(
        self,
        change: impl Fn(Entry) -> Option<Entry>,
    ) -> Result<Entry, Entry> {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let now = self.with(state);
            let Some(next) = change(now) else {
                return Err(now);
            };
            match self.state.compare_exchange_weak(
                state,
                next.state(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.set_location(now, next);
                    return Ok(now);
                }
                Err(seen) => state = seen,
            }
        }
    }
}

/// What an access may do to a committed page, in four bits: what the fault path needs of a [`Protection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights(u8);

impl Rights {
    const READ: u8 = 1;
    const WRITE: u8 = 2;
    const EXECUTE: u8 = 4;
    const GUARD: u8 = 8;

    pub(crate) fn of(protection: Protection) -> Self {
        let base = match protection.base() {
            BaseProtection::NoAccess => 0,
            BaseProtection::ReadOnly | BaseProtection::WriteCopy => Self::READ,
            BaseProtection::ReadWrite => Self::READ | Self::WRITE,
            BaseProtection::Execute
            | BaseProtection::ExecuteRead
            | BaseProtection::ExecuteWriteCopy => Self::READ | Self::EXECUTE,
            BaseProtection::ExecuteReadWrite => Self::READ | Self::WRITE | Self::EXECUTE,
        };
        Self(if protection.is_guard() {
            base | Self::GUARD
        } else {
            base
        })
    }

    const fn bits(self) -> u8 {
        self.0
    }

    pub(crate) const fn allows_read(self) -> bool {
        self.0 & Self::READ != 0
    }

    pub(crate) const fn allows_write(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    pub(crate) const fn allows_execute(self) -> bool {
        self.0 & Self::EXECUTE != 0
    }

    pub(crate) const fn is_guard(self) -> bool {
        self.0 & Self::GUARD != 0
    }

    /// Whether a page with these rights may be in the mapping at all: no-access and guard pages may not.
    pub(crate) const fn may_be_present(self) -> bool {
        self.allows_read() && !self.is_guard()
    }
}
