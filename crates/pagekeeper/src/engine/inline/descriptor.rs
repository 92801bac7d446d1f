//! The userfaultfd's descriptor: out of the program's way, and taken back when the program closed it all the same.
//!
//! Without a descriptor a missing page would read as zeros. A second reference, in the descriptor table of a thread of
//! its own, keeps the userfaultfd alive; the calls of [`Userfaultfd`] take it back by themselves when their number fails.

use pagekeeper_sys::userfaultfd::Userfaultfd;

/// Numbers from here on are rarely used by programs; below the usual limit of 1,024.
const HIGH: i32 = 900;

/// Has the descriptor kept; where that cannot be had, moves it to a high number at least.
pub(crate) fn keep(userfaultfd: &mut Userfaultfd) {
    if userfaultfd.keep().is_err() {
        let _ = userfaultfd.raise_above(HIGH);
    }
}
