//! Size classes: how a block is cut into equal objects.
//!
//! A class is chosen by how many objects it cuts a block into, not by round sizes, so that nothing
//! is left over at a block's end: the classes for 10 to 32 objects follow one another, below that
//! the steps are about a twelfth. Rounding up to the class costs 3 % on average for sizes spread
//! evenly, and at most 9 %.

use crate::codec::PACKED_MAX;

/// Bytes of a block: 8 pages, the unit in which the pool takes and gives RAM.
pub(crate) const BLOCK_BYTES: usize = 32 << 10;

/// Pages of a block.
pub const BLOCK_PAGES: u32 = 8;

/// The most objects a block holds. Four words of header and 1,024 bits fit a block's record, and an
/// LZ4 block of a page is never below 20 bytes, so smaller classes would stay empty.
pub const OBJECTS_MAX: usize = 1024;

/// Bytes before an object's own: its owner and length.
pub(crate) const HEADER_BYTES: usize = 8;

/// Objects per block, one entry a class, smallest objects last.
const CAPACITIES: [u16; CLASSES] = [
    10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 34,
    37, 40, 43, 47, 51, 55, 60, 65, 71, 78, 85, 93, 102, 113, 128, 146, 170, 204, 256, 341, 512,
    1024,
];

/// How many classes there are; fewer than the bits of a word.
pub(crate) const CLASSES: usize = 46;

/// A size class: an index below [`CLASSES`]. A higher one holds smaller objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class(u8);

const fn size_of_capacity(capacity: u16) -> usize {
    BLOCK_BYTES / capacity as usize / 8 * 8
}

const SIZES: [u16; CLASSES] = {
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        sizes[class] = size_of_capacity(CAPACITIES[class]) as u16;
        class += 1;
    }
    sizes
};

const LARGEST: usize = PACKED_MAX + HEADER_BYTES;

/// The class of each size in units of 8 bytes.
const CLASS_OF: [u8; LARGEST / 8 + 1] = {
    let mut table = [0; LARGEST / 8 + 1];
    let mut unit = 0;
    while unit < table.len() {
        let mut class = CLASSES - 1;
        while (SIZES[class] as usize) < unit * 8 {
            class -= 1;
        }
        table[unit] = class as u8;
        unit += 1;
    }
    table
};

impl Class {
    /// The class with the smallest objects that hold `length` bytes and a header; `None` above
    /// [`PACKED_MAX`].
    #[inline]
    pub(crate) fn holding(length: usize) -> Option<Self> {
        let units = (length + HEADER_BYTES).div_ceil(8);
        CLASS_OF.get(units).map(|&class| Self(class))
    }

    #[inline]
    pub(crate) fn from_index(index: usize) -> Option<Self> {
        (index < CLASSES).then_some(Self(index as u8))
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Bytes of an object with its header; a multiple of 8.
    #[inline]
    pub(crate) fn size(self) -> usize {
        SIZES
            .get(self.index())
            .map_or(BLOCK_BYTES, |&size| usize::from(size))
    }

    /// Objects in a block.
    #[inline]
    pub(crate) fn capacity(self) -> usize {
        CAPACITIES
            .get(self.index())
            .map_or(1, |&count| usize::from(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_fits_its_class_and_no_smaller_one() {
        for length in 0..=PACKED_MAX {
            let class = Class::holding(length).unwrap();
            assert!(class.size() >= length + HEADER_BYTES, "{length}");
            if let Some(smaller) = Class::from_index(class.index() + 1) {
                assert!(smaller.size() < length + HEADER_BYTES, "{length}");
            }
        }
        assert_eq!(Class::holding(PACKED_MAX + 1), None);
    }

    #[test]
    fn classes_are_ordered_aligned_and_fill_their_block() {
        for index in 0..CLASSES {
            let class = Class::from_index(index).unwrap();
            assert!(class.size().is_multiple_of(8) && class.capacity() <= OBJECTS_MAX);
            let left_over = BLOCK_BYTES - class.size() * class.capacity();
            assert!(
                left_over * 25 <= BLOCK_BYTES,
                "class {index} leaves {left_over} bytes"
            );
            if let Some(next) = Class::from_index(index + 1) {
                assert!(next.size() < class.size());
            }
        }
        assert_eq!(Class::from_index(CLASSES), None);
    }

    #[test]
    fn rounding_and_left_over_cost_less_than_six_percent() {
        let (mut wanted, mut taken) = (0.0, 0.0);
        for length in 200..=PACKED_MAX {
            let class = Class::holding(length).unwrap();
            wanted += length as f64;
            taken += BLOCK_BYTES as f64 / class.capacity() as f64;
        }
        let waste = 1.0 - wanted / taken;
        println!(
            "waste over all lengths from 200 to {PACKED_MAX}: {:.1} %",
            waste * 100.0
        );
        assert!(waste < 0.06, "{waste}");
    }
}
