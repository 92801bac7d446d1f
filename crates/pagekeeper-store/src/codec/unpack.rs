//! Our own LZ4 block decoder, for exactly one page.
//!
//! A fault waits for it, and pages of programs are full of short repeated patterns (zeros, runs of
//! one record), which the crate's safe decoder copies byte by byte. Here everything is copied 16
//! bytes at a time, patterns too: once a pattern has been repeated until it is 16 bytes long, whole
//! pieces are copied from that distance. Safe code, every length and offset checked.
//!
//! The block format: a token (high half: literals, low half: match length less 4; 15 means that
//! bytes follow which are added until one is not 255), the literals, a 16-bit offset back into the
//! output, and so on; the last sequence ends after its literals.

use pagekeeper_units::PAGE_SIZE;

use super::{Damaged, Page};

const PIECE: usize = 16;
const MATCH_MIN: usize = 4;
/// A half of a token that says: more bytes follow.
const MORE: usize = 15;

/// Unpacks an LZ4 block that must come to exactly one page.
#[inline]
pub(super) fn unpack(block: &[u8], page: &mut Page) -> Result<(), Damaged> {
    unpack_whole(block, page).ok_or(Damaged)
}

fn unpack_whole(block: &[u8], page: &mut Page) -> Option<()> {
    let mut input = block;
    let mut at = 0;
    loop {
        // Nearly all sequences are short and far from the end: no lengths to read, no tails.
        while at <= PAGE_SIZE - SHORT_OUTPUT
            && let Some(window) = input.first_chunk::<SHORT_INPUT>()
        {
            let token = usize::from(window[0]);
            let (literals, matched) = (token >> 4, (token & MORE) + MATCH_MIN);
            if literals == MORE || matched == MORE + MATCH_MIN {
                break;
            }
            let target = page.get_mut(at..)?.first_chunk_mut::<PIECE>()?;
            target.copy_from_slice(&window[1..=PIECE]);
            at += literals;
            let offset = window.get(1 + literals..)?.first_chunk::<2>()?;
            let offset = usize::from(u16::from_le_bytes(*offset));
            if offset == 0 || offset > at {
                return None;
            }
            if offset >= matched {
                // No overlap. Always the longest, whose excess is overwritten later: guessing how
                // much is needed would cost more.
                let piece = *page.get(at - offset..)?.first_chunk::<SHORT_MATCH>()?;
                *page.get_mut(at..)?.first_chunk_mut::<SHORT_MATCH>()? = piece;
            } else {
                copy_match(page, at, offset, matched)?;
            }
            at += matched;
            input = input.get(1 + literals + 2..)?;
        }
        let token = usize::from(take_byte(&mut input)?);
        let literals = length(token >> 4, &mut input)?;
        copy_literals(page, at, &mut input, literals)?;
        at += literals;
        if input.is_empty() {
            return (at == PAGE_SIZE).then_some(());
        }
        let (offset, rest) = input.split_first_chunk::<2>()?;
        input = rest;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let matched = length(token & MORE, &mut input)? + MATCH_MIN;
        if offset == 0 || offset > at || matched > PAGE_SIZE - at {
            return None;
        }
        copy_match(page, at, offset, matched)?;
        at += matched;
    }
}

/// Token, a piece of literals and an offset.
const SHORT_INPUT: usize = 1 + PIECE + 2;
/// The longest match that a token alone can say.
const SHORT_MATCH: usize = MORE - 1 + MATCH_MIN;
/// Literals, and a match behind them.
const SHORT_OUTPUT: usize = 3 * PIECE;

#[inline]
fn take_byte(input: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = input.split_first()?;
    *input = rest;
    Some(byte)
}

/// Half a token and the bytes that may follow it. Cannot overflow: a block is shorter than 2^32.
#[inline]
fn length(half: usize, input: &mut &[u8]) -> Option<usize> {
    let mut length = half;
    if half == MORE {
        loop {
            let byte = take_byte(input)?;
            length += usize::from(byte);
            if byte != u8::MAX {
                break;
            }
        }
    }
    Some(length)
}

#[inline]
fn copy_literals(page: &mut Page, at: usize, input: &mut &[u8], count: usize) -> Option<()> {
    // Short ones, the rule, go as one piece whose excess is overwritten later.
    if count <= PIECE
        && let Some(piece) = input.first_chunk::<PIECE>()
        && let Some(target) = page
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut::<PIECE>())
    {
        *target = *piece;
    } else {
        page.get_mut(at..)?
            .get_mut(..count)?
            .copy_from_slice(input.get(..count)?);
    }
    *input = input.get(count..)?;
    Some(())
}

#[inline]
fn copy_piece(page: &mut Page, to: usize, distance: usize) -> Option<()> {
    let piece = *page
        .get(to.checked_sub(distance)?..)?
        .first_chunk::<PIECE>()?;
    *page.get_mut(to..)?.first_chunk_mut::<PIECE>()? = piece;
    Some(())
}

/// Repeats `count` bytes from `offset` bytes back. The caller checked that both fit.
#[inline]
fn copy_match(page: &mut Page, at: usize, offset: usize, count: usize) -> Option<()> {
    let end = at + count;
    let mut to = at;
    let mut distance = offset;
    if distance < PIECE {
        // The first repetitions byte by byte, until a piece can be copied from a multiple of the
        // offset.
        distance = usize::from(*MULTIPLES.get(offset)?);
        let pattern_end = end.min(at + distance - offset);
        while to < pattern_end {
            *page.get_mut(to)? = *page.get(to - offset)?;
            to += 1;
        }
    }
    // A long one doubles what it copies from: piece after piece would wait for its own stores.
    while end - to > LONG {
        let count = distance.min(end - to);
        page.copy_within(to - distance..to - distance + count, to);
        to += count;
        distance *= 2;
    }
    while to < end && to + PIECE <= PAGE_SIZE {
        copy_piece(page, to, distance)?;
        to += PIECE;
    }
    while to < end {
        *page.get_mut(to)? = *page.get(to - distance)?;
        to += 1;
    }
    Some(())
}

/// The smallest multiple of each offset that is at least a piece; a division would take longer.
const MULTIPLES: [u8; PIECE] = [
    0, 16, 16, 18, 16, 20, 18, 21, 16, 18, 20, 22, 24, 26, 28, 30,
];

/// What is left of a match, in bytes, that is copied piece by piece.
const LONG: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, Texture};
    use lz4_flex::block::{compress, decompress_into};
    use proptest::prelude::*;

    /// Ours and the crate's agree on what a block is, and what it holds.
    fn agree(block: &[u8]) {
        let (mut ours, mut theirs) = ([0; PAGE_SIZE], [0; PAGE_SIZE]);
        let expected = decompress_into(block, &mut theirs).is_ok_and(|length| length == PAGE_SIZE);
        assert_eq!(unpack(block, &mut ours).is_ok(), expected, "{block:?}");
        assert!(!expected || ours == theirs);
    }

    #[test]
    fn multiples_are_multiples() {
        for (offset, &multiple) in MULTIPLES.iter().enumerate().skip(1) {
            assert_eq!(usize::from(multiple), offset * PIECE.div_ceil(offset));
        }
    }

    #[test]
    fn patterns_of_every_length_are_repeated() {
        for period in 1..70 {
            for start in [0, 1, 7, 100] {
                let page: Vec<u8> = (0..PAGE_SIZE)
                    .map(|n| {
                        if n < start {
                            n as u8
                        } else {
                            ((n - start) % period * 7) as u8
                        }
                    })
                    .collect();
                let mut back = [0; PAGE_SIZE];
                unpack(&compress(&page), &mut back).unwrap();
                assert!(back[..] == page[..], "period {period} from {start}");
            }
        }
    }

    #[test]
    fn hand_made_blocks_at_the_edges() {
        // One literal, then a match of the rest with offset 1: extra length 4095 - 5 - 4 - 15 bytes.
        let mut block = vec![0x1F, 7, 1, 0];
        block.extend([255; 15]);
        block.push((4095 - 5 - 4 - 15 - 15 * 255) as u8);
        block.extend([0x50, 1, 2, 3, 4, 5]);
        agree(&block);
        let mut page = [0; PAGE_SIZE];
        assert_eq!(unpack(&block, &mut page), Ok(()));
        assert!(page[..4091].iter().all(|&byte| byte == 7) && page[4091..] == [1, 2, 3, 4, 5]);
        // One byte too many, and one too few.
        for change in [1, -1i8] {
            let mut wrong = block.clone();
            wrong[19] = wrong[19].wrapping_add_signed(change);
            assert_eq!(unpack(&wrong, &mut page), Err(Damaged));
        }
        // An offset of nothing, and one before the start.
        for offset in [0, 2] {
            let mut wrong = block.clone();
            wrong[2] = offset;
            assert_eq!(unpack(&wrong, &mut page), Err(Damaged));
        }
        for length in 0..block.len() {
            agree(&block[..length]);
        }
    }

    #[test]
    fn every_texture_and_every_cut_agrees_with_the_crate() {
        let mut rng = Rng::from_env();
        for texture in Texture::ALL {
            for _ in 0..100 {
                let mut block = compress(&rng.page(texture));
                agree(&block);
                for _ in 0..20 {
                    let at = rng.below(block.len() as u64) as usize;
                    let before = block[at];
                    block[at] ^= 1 << rng.below(8);
                    agree(&block);
                    block[at] = before;
                }
                agree(&block[..rng.below(block.len() as u64) as usize]);
            }
        }
    }

    proptest! {
        #[test]
        fn garbage_is_judged_as_by_the_crate(block in proptest::collection::vec(any::<u8>(), 0..600)) {
            agree(&block);
        }

        #[test]
        fn pages_of_few_symbols_come_back(
            page in proptest::collection::vec(0u8..3, PAGE_SIZE),
            run in 0usize..4000,
        ) {
            let mut page = page;
            page[..run].fill(1);
            let mut back = [0; PAGE_SIZE];
            prop_assert_eq!(unpack(&compress(&page), &mut back), Ok(()));
            prop_assert!(back[..] == page[..]);
        }
    }
}
