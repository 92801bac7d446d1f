//! Packing one page: same-filled pages become a word, others go through LZ4.
//!
//! The fault path runs through here in both directions, so neither direction allocates, formats or
//! panics; the encoder's hash table and output lie in a [`CodecScratch`] that the caller made
//! beforehand. The decoder checks every length and offset, because what it is given may come back
//! from a disk or from memory that a stray store has hit.

mod unpack;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use pagekeeper_units::PAGE_SIZE;

/// The bytes of one page.
pub type Page = [u8; PAGE_SIZE];

/// The longest packed form, in bytes, that is worth keeping (three quarters of a page). A page that
/// packs to more than this counts as incompressible: storing it packed would save too little for
/// the time that unpacking costs.
pub const PACKED_MAX: usize = 3072;

const OUTPUT_LEN: usize = get_maximum_output_size(PAGE_SIZE);

/// The encoder's working memory: 8 KiB of hash table and 4.5 KiB of output. Make one per work area
/// outside the fault path and reuse it.
pub struct CodecScratch {
    table: CompressTable,
    output: Box<[u8; OUTPUT_LEN]>,
}

impl CodecScratch {
    /// Allocates and touches the tables, so that a later use neither allocates nor takes a fault
    /// that costs more than a read.
    pub fn new() -> Self {
        let mut scratch = Self {
            table: CompressTable::small(),
            output: Box::new([0; OUTPUT_LEN]),
        };
        let mut page = [0; PAGE_SIZE];
        page[PAGE_SIZE / 2] = 1;
        let _ = compress(&page, &mut scratch);
        scratch.output.fill(0xA5);
        scratch
    }
}

impl Default for CodecScratch {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for CodecScratch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CodecScratch").finish_non_exhaustive()
    }
}

/// What a page packs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressed<'a> {
    /// Every aligned 8-byte word of the page is this one.
    Same(u64),
    /// An LZ4 block of at most [`PACKED_MAX`] bytes, in the scratch's output.
    Packed(&'a [u8]),
    /// Longer than [`PACKED_MAX`]: store the page as it is.
    Incompressible,
}

/// A stored form that does not unpack to a page, or a page whose checksum is not the one that was
/// kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored page is damaged")]
pub struct Damaged;

/// The word that fills `page`, or `None` when its words differ.
///
/// A page is filled with one word exactly when it equals itself shifted by that word; the
/// comparison stops at the first difference, which in ordinary data lies in the first bytes.
#[inline]
pub fn same_filled(page: &Page) -> Option<u64> {
    let (word, rest) = page.split_first_chunk::<8>()?;
    (rest == &page[..PAGE_SIZE - 8]).then(|| u64::from_ne_bytes(*word))
}

/// Fills `page` with a word, the inverse of [`same_filled`].
#[inline]
pub fn fill(page: &mut Page, word: u64) {
    for bytes in page.as_chunks_mut::<8>().0 {
        *bytes = word.to_ne_bytes();
    }
}

/// Packs a page. For the fault path: no allocation, no panic.
///
/// Nobody may write to the page meanwhile (it lies in staging, where the program cannot reach it).
#[inline]
pub fn compress<'a>(page: &Page, scratch: &'a mut CodecScratch) -> Compressed<'a> {
    if let Some(word) = same_filled(page) {
        return Compressed::Same(word);
    }
    let length = compress_into_with_table(page, scratch.output.as_mut_slice(), &mut scratch.table);
    match length {
        Ok(length) if length <= PACKED_MAX => match scratch.output.get(..length) {
            Some(packed) => Compressed::Packed(packed),
            None => Compressed::Incompressible,
        },
        _ => Compressed::Incompressible,
    }
}

/// Unpacks an LZ4 block that [`compress`] made. For the fault path: no allocation, no panic.
///
/// # Errors
/// [`Damaged`] when the block is malformed or does not unpack to exactly one page; `page` then
/// holds nothing of use.
#[inline]
pub fn decompress(packed: &[u8], page: &mut Page) -> Result<(), Damaged> {
    unpack::unpack(packed, page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, Texture};
    use proptest::prelude::*;

    #[test]
    fn same_filled_pages_become_a_word_and_come_back() {
        let mut scratch = CodecScratch::new();
        for word in [0, u64::MAX, 0xA5A5_A5A5_A5A5_A5A5, 0x0123_4567_89AB_CDEF] {
            let mut page = [0; PAGE_SIZE];
            fill(&mut page, word);
            assert_eq!(compress(&page, &mut scratch), Compressed::Same(word));
        }
    }

    #[test]
    fn one_different_byte_anywhere_is_not_same_filled() {
        for position in [0, 1, 7, 8, 2047, 4088, 4095] {
            let mut page = [0x5A; PAGE_SIZE];
            page[position] ^= 1;
            assert_eq!(same_filled(&page), None, "byte {position}");
        }
    }

    #[test]
    fn random_pages_are_incompressible() {
        let mut scratch = CodecScratch::new();
        let page = Rng::from_env().page(Texture::Random);
        assert_eq!(compress(&page, &mut scratch), Compressed::Incompressible);
    }

    #[test]
    fn pages_of_every_texture_come_back_unchanged() {
        let mut rng = Rng::from_env();
        let mut scratch = CodecScratch::new();
        let mut back = [0; PAGE_SIZE];
        for texture in Texture::ALL {
            for _ in 0..200 {
                let page = rng.page(texture);
                match compress(&page, &mut scratch) {
                    Compressed::Same(word) => fill(&mut back, word),
                    Compressed::Packed(packed) => {
                        assert!(packed.len() <= PACKED_MAX);
                        decompress(packed, &mut back).unwrap();
                    }
                    Compressed::Incompressible => continue,
                }
                assert!(page == back, "{texture:?}");
            }
        }
    }

    #[test]
    fn a_block_of_the_wrong_length_is_damaged() {
        let mut back = [0; PAGE_SIZE];
        let mut short = vec![0; get_maximum_output_size(100)];
        let length = lz4_flex::block::compress_into(&[7; 100], &mut short).unwrap();
        assert_eq!(decompress(&short[..length], &mut back), Err(Damaged));
        let mut long = vec![0; get_maximum_output_size(5000)];
        let length = lz4_flex::block::compress_into(&[7; 5000], &mut long).unwrap();
        assert_eq!(decompress(&long[..length], &mut back), Err(Damaged));
        assert_eq!(decompress(&[], &mut back), Err(Damaged));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..3200)) {
            let _ = decompress(&bytes, &mut [0; PAGE_SIZE]);
        }

        #[test]
        fn a_flipped_bit_never_panics(seed: u64, position: prop::sample::Index, bit in 0u8..8) {
            let page = Rng::new(seed).page(Texture::Text);
            let mut scratch = CodecScratch::new();
            if let Compressed::Packed(packed) = compress(&page, &mut scratch) {
                let mut packed = packed.to_vec();
                let position = position.index(packed.len());
                packed[position] ^= 1 << bit;
                let _ = decompress(&packed, &mut [0; PAGE_SIZE]);
            }
        }
    }
}
