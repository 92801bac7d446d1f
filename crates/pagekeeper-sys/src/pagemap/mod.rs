//! Which pages are in memory, and which were written: the kernel's page map.
//!
//! | module | what |
//! |---|---|
//! | [`Scan`] | `PAGEMAP_SCAN` (6.7): runs of pages by category, with atomic get-and-protect |
//! | [`Entries`] | one 64-bit word a page from `/proc/self/pagemap`: everywhere |
//! | [`Presence`] | which pages are there, by the better of the two |
//! | [`resident_pages`], [`residence`] | `mincore`: everywhere, coarse |

#![allow(
    unsafe_code,
    reason = "UNSAFETY: mincore writes one byte a page into a buffer of ours"
)]

mod entries;
mod presence;
mod scan;

use linux_raw_sys::general::__NR_mincore;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

pub use entries::{Entries, Entry};
pub use presence::{Presence, presence};
pub use scan::{Categories, PageRun, Query, Scan, Scanned};

use crate::map::byte_length;
use crate::{Errno, raw};

/// Pages asked for in one call; the answers are on the stack.
const CHUNK: u64 = 1024;

/// Fills `answers` with one byte for each page of `range`: bit 0 is set when the page is in memory
/// (`mincore`). For shared file mappings that means: in the page cache.
///
/// # Errors
/// `ENOMEM` when a page is not mapped; `EINVAL` when `answers` is shorter than the range.
pub fn residence(range: PageRange, answers: &mut [u8]) -> Result<(), Errno> {
    if answers.len() < range.count().as_usize() {
        return Err(Errno::INVAL);
    }
    // SAFETY: The kernel writes one byte a page, and the buffer has that many.
    unsafe {
        raw::call(
            __NR_mincore,
            [
                range.address() as usize,
                byte_length(range),
                answers.as_mut_ptr().expose_provenance(),
            ],
        )?;
    }
    Ok(())
}

/// How many pages of `range` are in memory. Allocates nothing; takes about 20 ns a page that is
/// there and far less where there is none.
///
/// # Errors
/// `ENOMEM` when a page is not mapped.
pub fn resident_pages(range: PageRange) -> Result<PageCount, Errno> {
    let mut answers = [0; CHUNK as usize];
    let mut start = range.start();
    let mut total = 0;
    while start < range.end() {
        let piece_end = PageNumber::new((start.get() + CHUNK).min(range.end().get()));
        let piece = PageRange::between(start, piece_end);
        residence(piece, &mut answers)?;
        let pages = &answers[..piece.count().as_usize()];
        total += pages.iter().filter(|&&answer| answer & 1 != 0).count() as u64;
        start = piece_end;
    }
    Ok(PageCount::new(total))
}

#[cfg(test)]
mod tests;
