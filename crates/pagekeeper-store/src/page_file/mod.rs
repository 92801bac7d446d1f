//! Page files: where pages go that do not fit into RAM.
//!
//! A page file is raw 4 KiB slots and nothing else; every map of it lies in RAM, because nothing in
//! it is of use after the process. It has no name, so nothing remains when the process dies.
//!
//! | module | what |
//! |---|---|
//! | [`settings`](PageFileSettings) | what a user may say |
//! | `place` | from a named place to an open file there |
//! | `disk` | from an open file to a way of transfer |
//! | `file` | one page file: slots, checksums |
//! | `read` | pages from the disk, each checked |
//! | `write` | pages to the disk, one run or several at once |
//! | `grow` | space really allocated before it is promised |
//! | `mend` | slots that could not be written, tried again |
//! | `retire` | taking a file away while running |
//! | [`PageFiles`] | all files of a space, one numbering of slots |
//!
//! See `docs/page-file.md` for what is assumed of the disk.

mod disk;
mod error;
mod file;
mod grow;
mod mend;
mod place;
mod read;
mod retire;
mod set;
mod settings;
mod write;

pub use disk::{Opened, Opener, open_disk};
pub use error::PageFileError;
pub use read::{READ_PAGES_MAX, ReadError, ReadOutcome, SlotRead};
pub use retire::Retiring;
pub use set::{PageFileUsage, PageFiles, Placement};
pub use settings::{DirectIoChoice, IoChoice, PageFileSettings, Places};
pub use write::{RUNS_AT_ONCE, WriteError};

pub use crate::slots::RUN_MAX;

/// The most page files of a space.
pub const FILES_MAX: usize = 16;

/// A page file of a space, by the place in its table. Numbers of files that are gone are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageFileId(u8);

impl PageFileId {
    /// The number, below [`FILES_MAX`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The place with this number, whether a file is there or not; `None` from [`FILES_MAX`] on.
    pub fn from_index(index: usize) -> Option<Self> {
        (index < FILES_MAX).then_some(Self(index as u8))
    }

    fn all() -> impl Iterator<Item = Self> {
        (0..FILES_MAX as u8).map(Self)
    }
}

/// A slot of 4 KiB in one of the page files of a space. Every number may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Slot(u32);

impl Slot {
    /// The slot with these bits, as [`Slot::bits`] gave them.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The slot as 32 bits, for a page table.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The slot `count` slots further on, in the same run.
    #[inline]
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }
}

/// Slots side by side in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotRun {
    /// The first.
    pub first: Slot,
    /// How many, at least one.
    pub count: u32,
}

impl SlotRun {
    /// One slot.
    #[inline]
    pub const fn one(slot: Slot) -> Self {
        Self {
            first: slot,
            count: 1,
        }
    }

    /// Its slots in order.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (0..self.count).map(move |index| self.first.plus(index))
    }
}

#[cfg(test)]
mod tests;
