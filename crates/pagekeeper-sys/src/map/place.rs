//! Places held free for a mapping that comes later: address space that nobody else may get meanwhile.
//!
//! For forked children, which lack what was not inherited and want to have it back at the same addresses, while every
//! allocation of theirs would like to lie in the hole.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: takes over the mapping of a place that is held"
)]

use std::sync::{Mutex, PoisonError};

use pagekeeper_units::PageRange;

use super::{Access, Treatment, reserve_at};
use crate::Errno;

static HELD: Mutex<Vec<PageRange>> = Mutex::new(Vec::new());

/// Holds a range until somebody reserves exactly that range by [`reserve_at`], or until [`release_place`].
///
/// # Errors
/// `EEXIST` when something lies there, `ENOMEM`.
pub fn hold_place(range: PageRange) -> Result<(), Errno> {
    let mapping = reserve_at(range, Access::NONE, Treatment::NOT_DUMPED)?;
    core::mem::forget(mapping);
    HELD.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(range);
    Ok(())
}

/// Gives up a place that is held; whether it was.
pub(super) fn give_up(range: PageRange) -> bool {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    match held.iter().position(|other| *other == range) {
        Some(at) => {
            held.swap_remove(at);
            true
        }
        None => false,
    }
}

/// Gives a place that is held back to the kernel.
pub fn release_place(range: PageRange) {
    if give_up(range) {
        // SAFETY: The mapping is the one that `hold_place` made; nobody else knows it.
        drop(unsafe { super::Mapping::from_range(range) });
    }
}

#[cfg(test)]
mod tests {
    use pagekeeper_units::PageCount;

    use super::*;

    #[test]
    fn a_place_is_kept_for_whoever_reserves_it() {
        let range = {
            let free = super::super::reserve(PageCount::new(64), Access::NONE, Treatment::empty());
            free.expect("address space").range()
        };
        hold_place(range).expect("free");
        assert_eq!(
            hold_place(PageRange::new(range.start(), PageCount::ONE)),
            Err(Errno::EXIST)
        );
        let mapping = reserve_at(range, Access::READ_WRITE, Treatment::empty()).expect("held");
        assert_eq!(mapping.range(), range);
        assert!(reserve_at(range, Access::NONE, Treatment::empty()).is_err());
        drop(mapping);
        hold_place(range).expect("free");
        release_place(range);
        assert!(reserve_at(range, Access::NONE, Treatment::empty()).is_ok());
    }
}
