//! What arguments are drawn from.

use pagekeeper_win32::types::DWORD;

use super::{GRANULE, PAGE};

/// The bytes that decide; zeros when they are used up.
pub(super) struct Choices<'a>(pub(super) core::slice::Iter<'a, u8>);

impl Choices<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    pub(super) fn word(&mut self) -> u32 {
        u32::from_le_bytes([(); 4].map(|()| self.byte()))
    }

    pub(super) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(self.byte()) % list.len()]
    }

    /// One of the values that make sense most of the time, anything else otherwise.
    pub(super) fn flags(&mut self, sensible: &[DWORD]) -> DWORD {
        match self.byte() % 16 {
            0 => 1 << (self.byte() % 32) | 1 << (self.byte() % 32),
            1 => self.word(),
            _ => self.one_of(sensible),
        }
    }
}

pub(super) const TYPES: [DWORD; 12] = [
    0x2000,
    0x1000,
    0x3000,
    0x2000,
    0x1000,
    0x10_2000,
    0x20_2000,
    0x20_3000,
    0x40_2000,
    0x8_0000,
    0x100_0000,
    0x2000_3000,
];
pub(super) const PROTECTIONS: [DWORD; 12] =
    [4, 4, 4, 2, 1, 0x20, 0x40, 0x10, 0x104, 0x102, 0x101, 8];

pub(super) const SIZES: [usize; 20] = [
    0,
    1,
    PAGE - 1,
    PAGE,
    PAGE,
    PAGE + 1,
    2 * PAGE,
    3 * PAGE,
    16 * PAGE,
    GRANULE,
    GRANULE + 1,
    2 << 20,
    1 << 30,
    1 << 40,
    0x7FFF_FFFE_0000,
    1 << 47,
    1 << 63,
    usize::MAX - 4095,
    usize::MAX - 4094,
    usize::MAX,
];

/// Nobody's addresses: refused wherever something is to be changed.
pub(super) const STRANGE: [usize; 10] = [
    0,
    1,
    0xFFFF,
    0x7FFE_0000,
    0x7FFF_FFFE_FFFF,
    0x7FFF_FFFF_0000,
    0x8000_0000_0000,
    0xFFFF_8000_0000_0000,
    usize::MAX - 4095,
    usize::MAX,
];
