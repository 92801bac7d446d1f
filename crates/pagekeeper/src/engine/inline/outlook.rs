//! Whether trying to pack a page is worth the time.
//!
//! Random bytes, pictures and what is packed already lie together by the megabyte. Trying each of their pages takes more time than
//! its checksum does. So after a while without success only some are tried, and with the first that packs all are again: what is
//! lost then is at most that a few pages that would pack are written to the disk.

use core::sync::atomic::{AtomicU32, Ordering};

/// So many failures on end mean that the next will most likely fail too.
const HOPELESS: u32 = 64;
/// Then one in so many is tried.
const ONE_IN: u32 = 8;

/// See the module text.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    /// Pages on end that did not pack or were not tried. Racing notes may lose one another.
    without_success: AtomicU32,
}

impl Outlook {
    /// Whether the next page should be tried.
    pub(super) fn is_worth_a_try(&self) -> bool {
        let pages = self.without_success.load(Ordering::Relaxed);
        pages < HOPELESS || pages.is_multiple_of(ONE_IN)
    }

    /// A page packed, or did not, or was not tried.
    pub(super) fn note(&self, packed: bool) {
        if packed {
            self.without_success.store(0, Ordering::Relaxed);
        } else {
            self.without_success.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_tried_while_none_packs_and_all_once_one_does() {
        let outlook = Outlook::default();
        let mut tried = 0;
        for _ in 0..HOPELESS + 80 {
            tried += u32::from(outlook.is_worth_a_try());
            outlook.note(false);
        }
        assert_eq!(tried, HOPELESS + 80 / ONE_IN);
        outlook.note(true);
        assert!((0..HOPELESS).all(|_| {
            outlook.note(false);
            outlook.is_worth_a_try()
        }));
        outlook.note(false);
        assert!(!outlook.is_worth_a_try());
        // Wrapping round is one more try.
        outlook.without_success.store(u32::MAX, Ordering::Relaxed);
        outlook.note(false);
        assert!(outlook.is_worth_a_try());
    }
}
