//! Pages that are one word, repeated.
//!
//! A 32-bit word fits into the page's entry, so zeros, byte patterns and equal integers need no storage at all. A page of
//! one repeated 64-bit word (a table of the same float) goes to the pool as an LZ4 block of 33 bytes, written here
//! directly instead of asking the compressor.

use pagekeeper_units::PAGE_SIZE;

/// Length of [`packed`]'s block in bytes.
pub(crate) const PACKED_LENGTH: usize = 33;

/// The 32-bit word whose repetition is the repetition of `word`, if there is one.
pub(crate) const fn half(word: u64) -> Option<u32> {
    let low = word as u32;
    if (word >> 32) as u32 == low {
        Some(low)
    } else {
        None
    }
}

/// Fills whole pages with a word.
pub(crate) fn fill(bytes: &mut [u8], word: u32) {
    for chunk in bytes.as_chunks_mut::<4>().0 {
        *chunk = word.to_ne_bytes();
    }
}

/// An LZ4 block that unpacks to one page of `word`, repeated.
///
/// Eight literals, one match at distance 8 for all but the last five bytes, then those five as literals, as the format
/// demands of a block's end.
pub(crate) const fn packed(word: u64) -> [u8; PACKED_LENGTH] {
    const LITERALS: usize = 8;
    const TAIL: usize = 5;
    const MATCH: usize = PAGE_SIZE - LITERALS - TAIL;
    // A match length is coded less 4; 15 of that in the token, the rest in bytes of 255 and a last one below.
    const EXTENSION: usize = MATCH - 4 - 15;
    const FULL: usize = EXTENSION / 255;
    const { assert!(1 + LITERALS + 2 + FULL + 1 + 1 + TAIL == PACKED_LENGTH) };
    let bytes = word.to_ne_bytes();
    let mut block = [0xFF_u8; PACKED_LENGTH];
    block[0] = (LITERALS as u8) << 4 | 0x0F;
    let mut at = 0;
    while at < LITERALS {
        block[1 + at] = bytes[at];
        at += 1;
    }
    block[9] = LITERALS as u8;
    block[10] = 0;
    // `FULL` bytes of 255 stand there already.
    block[11 + FULL] = (EXTENSION % 255) as u8;
    block[12 + FULL] = (TAIL as u8) << 4;
    at = 0;
    while at < TAIL {
        block[13 + FULL + at] = bytes[(PAGE_SIZE - TAIL + at) % 8];
        at += 1;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagekeeper_store::codec::decompress;

    #[test]
    fn the_block_unpacks_to_the_word_repeated() {
        for word in [1.0_f64.to_bits(), 0x0123_4567_89AB_CDEF, u64::MAX - 1] {
            let mut page = [0; PAGE_SIZE];
            decompress(&packed(word), &mut page).expect("a valid block");
            for chunk in page.as_chunks::<8>().0 {
                assert_eq!(*chunk, word.to_ne_bytes());
            }
        }
    }

    #[test]
    fn words_of_equal_halves_fit_the_entry() {
        assert_eq!(half(0), Some(0));
        assert_eq!(half(0x4141_4141_4141_4141), Some(0x4141_4141));
        assert_eq!(half(1.0_f64.to_bits()), None);
        let mut page = [1; PAGE_SIZE];
        fill(&mut page, 0x0403_0201);
        assert_eq!(page[..8], [1, 2, 3, 4, 1, 2, 3, 4]);
    }
}
