//! The state of a page inside an allocation, in one byte.

use crate::Protection;

/// What a page of an allocation is. A page outside every allocation is free and has no state here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageState {
    /// `MEM_RESERVE`: address space only.
    Reserved,
    /// `MEM_COMMIT` under a protection.
    Committed(Protection),
}

/// Set in the byte of a committed page; the protection's bits are below it.
const COMMITTED: u8 = 1 << 6;

impl PageState {
    /// Whether it is committed, whatever the protection.
    #[inline]
    pub const fn is_committed(self) -> bool {
        matches!(self, Self::Committed(_))
    }

    /// The protection of a committed page.
    #[inline]
    pub const fn protection(self) -> Option<Protection> {
        match self {
            Self::Reserved => None,
            Self::Committed(protection) => Some(protection),
        }
    }

    /// The byte that stands for it in a [`crate::page_map::PageMap`].
    #[inline]
    pub(crate) const fn to_byte(self) -> u8 {
        match self {
            Self::Reserved => 0,
            Self::Committed(protection) => COMMITTED | protection.bits(),
        }
    }

    /// The inverse of [`PageState::to_byte`].
    #[inline]
    pub(crate) const fn from_byte(byte: u8) -> Self {
        if byte & COMMITTED == 0 {
            Self::Reserved
        } else {
            Self::Committed(Protection::from_bits(byte))
        }
    }
}
