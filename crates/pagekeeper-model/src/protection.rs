//! Page protections: the eight base values and their modifiers in one byte.

use core::fmt;

use crate::Refusal;

/// What a program may do with a page, without modifiers (`PAGE_READWRITE` and its seven siblings).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BaseProtection {
    /// `PAGE_NOACCESS`: every access is a violation.
    NoAccess = 0,
    /// `PAGE_READONLY`.
    ReadOnly = 1,
    /// `PAGE_READWRITE`.
    ReadWrite = 2,
    /// `PAGE_WRITECOPY`: the first write makes a private copy. Views only.
    WriteCopy = 3,
    /// `PAGE_EXECUTE`; x86-64 hardware lets such a page be read as well.
    Execute = 4,
    /// `PAGE_EXECUTE_READ`.
    ExecuteRead = 5,
    /// `PAGE_EXECUTE_READWRITE`.
    ExecuteReadWrite = 6,
    /// `PAGE_EXECUTE_WRITECOPY`. Views only.
    ExecuteWriteCopy = 7,
}

impl BaseProtection {
    /// All eight, in the order of their Windows values (1, 2, 4, ... 0x80).
    pub const ALL: [Self; 8] = [
        Self::NoAccess,
        Self::ReadOnly,
        Self::ReadWrite,
        Self::WriteCopy,
        Self::Execute,
        Self::ExecuteRead,
        Self::ExecuteReadWrite,
        Self::ExecuteWriteCopy,
    ];
}

/// A kind of access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A load (`ExceptionInformation[0]` = 0).
    Read,
    /// A store (1).
    Write,
    /// An instruction fetch (8).
    Execute,
}

/// A page protection with its modifiers (`flProtect`).
///
/// Seven bits, so that a page's whole state fits a byte. A value of this type keeps the rules of
/// windows-memory-behaviour.md 4.3 that hold for every kind of memory; whether private memory takes it is
/// asked with [`Protection::check_private`]. `PAGE_TARGETS_INVALID` is checked and then forgotten: it has no
/// visible effect.
///
/// ```
/// use pagekeeper_model::{Access, Protection};
/// let protection = Protection::from_windows(0x104).unwrap(); // PAGE_READWRITE | PAGE_GUARD
/// assert!(protection.is_guard() && protection.allows(Access::Write));
/// assert_eq!(protection.to_windows(), 0x104);
/// assert!(Protection::from_windows(0x101).is_err()); // a guard on a no-access page
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Protection(u8);

const BASE_MASK: u8 = 7;
const GUARD: u8 = 1 << 3;
const NOCACHE: u8 = 1 << 4;
const WRITECOMBINE: u8 = 1 << 5;
const CACHE_MASK: u8 = NOCACHE | WRITECOMBINE;

const WINDOWS_GUARD: u32 = 0x100;
const WINDOWS_NOCACHE: u32 = 0x200;
const WINDOWS_WRITECOMBINE: u32 = 0x400;
const WINDOWS_TARGETS_INVALID: u32 = 0x4000_0000;
const WINDOWS_MODIFIERS: u32 =
    WINDOWS_GUARD | WINDOWS_NOCACHE | WINDOWS_WRITECOMBINE | WINDOWS_TARGETS_INVALID;

impl Protection {
    /// `PAGE_NOACCESS`.
    pub const NO_ACCESS: Self = Self::plain(BaseProtection::NoAccess);
    /// `PAGE_READONLY`.
    pub const READ_ONLY: Self = Self::plain(BaseProtection::ReadOnly);
    /// `PAGE_READWRITE`.
    pub const READ_WRITE: Self = Self::plain(BaseProtection::ReadWrite);
    /// `PAGE_WRITECOPY`.
    pub const WRITE_COPY: Self = Self::plain(BaseProtection::WriteCopy);
    /// `PAGE_EXECUTE`.
    pub const EXECUTE: Self = Self::plain(BaseProtection::Execute);
    /// `PAGE_EXECUTE_READ`.
    pub const EXECUTE_READ: Self = Self::plain(BaseProtection::ExecuteRead);
    /// `PAGE_EXECUTE_READWRITE`.
    pub const EXECUTE_READ_WRITE: Self = Self::plain(BaseProtection::ExecuteReadWrite);
    /// `PAGE_EXECUTE_WRITECOPY`.
    pub const EXECUTE_WRITE_COPY: Self = Self::plain(BaseProtection::ExecuteWriteCopy);

    /// The base value without modifiers.
    #[inline]
    pub const fn plain(base: BaseProtection) -> Self {
        Self(base as u8)
    }

    /// Reads a `PAGE_*` value.
    ///
    /// # Errors
    /// [`Refusal::ProtectionInvalid`]: not exactly one base bit, an unknown bit, or modifiers that do not go
    /// together: GUARD with NOACCESS; NOCACHE with GUARD, NOACCESS or WRITECOMBINE; WRITECOMBINE with NOACCESS,
    /// GUARD or NOCACHE; TARGETS_INVALID without an execute right.
    pub const fn from_windows(value: u32) -> Result<Self, Refusal> {
        let refused = Err(Refusal::ProtectionInvalid { value });
        let base = value & !WINDOWS_MODIFIERS;
        if base > 0x80 || !base.is_power_of_two() {
            return refused;
        }
        let no_access = base == 1;
        let guard = value & WINDOWS_GUARD != 0;
        let nocache = value & WINDOWS_NOCACHE != 0;
        let writecombine = value & WINDOWS_WRITECOMBINE != 0;
        let targets_invalid = value & WINDOWS_TARGETS_INVALID != 0;
        let modifiers = guard as u8 + nocache as u8 + writecombine as u8;
        if modifiers > 1 || (modifiers == 1 && no_access) || (targets_invalid && base < 0x10) {
            return refused;
        }
        let mut bits = base.trailing_zeros() as u8;
        if guard {
            bits |= GUARD;
        }
        if nocache {
            bits |= NOCACHE;
        }
        if writecombine {
            bits |= WRITECOMBINE;
        }
        Ok(Self(bits))
    }

    /// The `PAGE_*` value, modifiers included.
    pub const fn to_windows(self) -> u32 {
        let mut value = 1 << (self.0 & BASE_MASK);
        if self.0 & GUARD != 0 {
            value |= WINDOWS_GUARD;
        }
        if self.0 & NOCACHE != 0 {
            value |= WINDOWS_NOCACHE;
        }
        if self.0 & WRITECOMBINE != 0 {
            value |= WINDOWS_WRITECOMBINE;
        }
        value
    }

    /// The base value.
    #[inline]
    pub const fn base(self) -> BaseProtection {
        BaseProtection::ALL[(self.0 & BASE_MASK) as usize]
    }

    /// Whether the next access is a guard-page violation.
    #[inline]
    pub const fn is_guard(self) -> bool {
        self.0 & GUARD != 0
    }

    /// Whether `PAGE_NOCACHE` is set.
    #[inline]
    pub const fn is_nocache(self) -> bool {
        self.0 & NOCACHE != 0
    }

    /// Whether `PAGE_WRITECOMBINE` is set.
    #[inline]
    pub const fn is_writecombine(self) -> bool {
        self.0 & WRITECOMBINE != 0
    }

    /// The same with the guard armed. On a no-access page it stays as it is: Windows knows no such page.
    #[must_use]
    pub const fn with_guard(self) -> Self {
        if self.0 & BASE_MASK == 0 {
            self
        } else {
            Self(self.0 | GUARD)
        }
    }

    /// The same with the guard gone, as after its hit.
    #[must_use]
    #[inline]
    pub const fn without_guard(self) -> Self {
        Self(self.0 & !GUARD)
    }

    /// What a page of an allocation made with `allocation` gets when this is asked for: NOCACHE and
    /// WRITECOMBINE belong to the allocation, so the page takes them from there and nowhere else.
    ///
    /// Source: windows-memory-behaviour.md 6.1.
    #[must_use]
    #[inline]
    pub const fn in_allocation(self, allocation: Self) -> Self {
        Self((self.0 & !CACHE_MASK) | (allocation.0 & CACHE_MASK))
    }

    /// Whether an access goes through, leaving the guard aside (ask [`Protection::is_guard`] first). A write to
    /// a write-copy page goes through: it makes the private copy.
    ///
    /// Source: windows-memory-behaviour.md 8.1.
    #[inline]
    pub const fn allows(self, access: Access) -> bool {
        use BaseProtection as B;
        match access {
            Access::Read => !matches!(self.base(), B::NoAccess),
            Access::Write => matches!(
                self.base(),
                B::ReadWrite | B::WriteCopy | B::ExecuteReadWrite | B::ExecuteWriteCopy
            ),
            Access::Execute => self.0 & BASE_MASK >= B::Execute as u8,
        }
    }

    /// Whether private memory takes it.
    ///
    /// # Errors
    /// [`Refusal::ProtectionNotForPrivate`]: the write-copy values are for views (4.3).
    #[inline]
    pub const fn check_private(self) -> Result<(), Refusal> {
        match self.base() {
            BaseProtection::WriteCopy | BaseProtection::ExecuteWriteCopy => {
                Err(Refusal::ProtectionNotForPrivate { protection: self })
            }
            _ => Ok(()),
        }
    }

    /// Whether a page of a view that was mapped as `view` takes it: it must not allow more than the view does. A write
    /// to a write-copy page needs no more than the right to read.
    ///
    /// Source: windows-memory-behaviour.md 6.2.
    ///
    /// # Errors
    /// [`Refusal::ProtectionNotForView`].
    #[inline]
    pub const fn check_view(self, view: Self) -> Result<Self, Refusal> {
        let (wanted, granted) = (self.shared_rights(), view.shared_rights());
        if wanted & !granted == 0 {
            Ok(self)
        } else {
            Err(Refusal::ProtectionNotForView {
                protection: self,
                view,
            })
        }
    }

    /// What it allows on memory that others share: 1 read, 2 write, 4 execute.
    #[inline]
    const fn shared_rights(self) -> u8 {
        use BaseProtection as B;
        match self.base() {
            B::NoAccess => 0,
            B::ReadOnly | B::WriteCopy => 1,
            B::ReadWrite => 3,
            B::Execute | B::ExecuteRead | B::ExecuteWriteCopy => 5,
            B::ExecuteReadWrite => 7,
        }
    }

    /// The same with a private copy in the place of a shared write: what an image keeps of a request.
    #[must_use]
    pub const fn copied_on_write(self) -> Self {
        self.with_base(match self.base() {
            BaseProtection::ReadWrite => BaseProtection::WriteCopy,
            BaseProtection::ExecuteReadWrite => BaseProtection::ExecuteWriteCopy,
            other => other,
        })
    }

    /// What a write-copy page shows once it was copied; others stay as they are.
    #[must_use]
    pub const fn once_copied(self) -> Self {
        self.with_base(match self.base() {
            BaseProtection::WriteCopy => BaseProtection::ReadWrite,
            BaseProtection::ExecuteWriteCopy => BaseProtection::ExecuteReadWrite,
            other => other,
        })
    }

    /// Whether the first write makes a private copy.
    #[inline]
    pub const fn is_write_copy(self) -> bool {
        matches!(
            self.base(),
            BaseProtection::WriteCopy | BaseProtection::ExecuteWriteCopy
        )
    }

    #[inline]
    const fn with_base(self, base: BaseProtection) -> Self {
        Self((self.0 & !BASE_MASK) | base as u8)
    }

    /// The bits, below 64, for storage.
    #[inline]
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// The inverse of [`Protection::bits`]; bits that mean nothing are dropped.
    #[inline]
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & (BASE_MASK | GUARD | CACHE_MASK))
    }
}

impl fmt::Display for Protection {
    /// `READWRITE`, `READONLY|GUARD`: Windows' names without `PAGE_`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = [
            "NOACCESS",
            "READONLY",
            "READWRITE",
            "WRITECOPY",
            "EXECUTE",
            "EXECUTE_READ",
            "EXECUTE_READWRITE",
            "EXECUTE_WRITECOPY",
        ];
        f.write_str(NAMES[(self.0 & BASE_MASK) as usize])?;
        for (bit, name) in [
            (GUARD, "GUARD"),
            (NOCACHE, "NOCACHE"),
            (WRITECOMBINE, "WRITECOMBINE"),
        ] {
            if self.0 & bit != 0 {
                write!(f, "|{name}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
