//! Small facts about the own process: whether it may be looked into, what its threads are called,
//! what was decided about all of its memory.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: one bare prctl call that touches no memory"
)]

use std::ffi::CStr;

use linux_raw_sys::general::__NR_prctl;
use pagekeeper_units::PageCount;
use rustix::process::DumpableBehavior;

use crate::map::{Access, Treatment, reserve};
use crate::{Errno, pagemap, raw};

/// Whether core dumps are made and `/proc/self` belongs to the user. Without it the page map may be
/// closed to an ordinary user.
pub fn is_dumpable() -> bool {
    matches!(
        rustix::process::dumpable_behavior(),
        Ok(DumpableBehavior::Dumpable)
    )
}

/// The user in whose name the process acts (its effective user).
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Names the calling thread (15 bytes are kept).
///
/// # Errors
/// None in practice.
pub fn set_thread_name(name: &CStr) -> Result<(), Errno> {
    rustix::thread::set_name(name)
}

/// Whether huge pages were forbidden for the whole process (`PR_SET_THP_DISABLE`).
pub fn huge_pages_are_forbidden() -> bool {
    rustix::thread::transparent_huge_pages_are_disabled().unwrap_or(false)
}

/// Whether same-page merging was asked for the whole process (`PR_SET_MEMORY_MERGE`, 6.4).
pub fn merges_all_memory() -> bool {
    const PR_GET_MEMORY_MERGE: usize = 68;
    // SAFETY: Returns a number; touches no memory.
    unsafe { raw::call(__NR_prctl, [PR_GET_MEMORY_MERGE, 0, 0, 0, 0]) == Ok(1) }
}

/// Whether `mlockall(MCL_FUTURE)` is in force: every new mapping is brought in and locked at once, so
/// reserving address space is not free and nothing can be paged out. Found out by mapping a page.
pub fn future_memory_is_locked() -> bool {
    let Ok(page) = reserve(PageCount::ONE, Access::READ_WRITE, Treatment::empty()) else {
        // Locked memory is used up: then a mapping is refused with EAGAIN.
        return true;
    };
    pagemap::resident_pages(page.range()).is_ok_and(|pages| !pages.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_test_process_locks_nothing() {
        assert!(!future_memory_is_locked());
        assert!(!merges_all_memory());
    }

    #[test]
    fn threads_can_be_named() {
        let thread = std::thread::spawn(|| {
            set_thread_name(c"pk-test").unwrap();
            rustix::thread::name().unwrap()
        });
        assert_eq!(thread.join().unwrap().as_c_str(), c"pk-test");
    }
}
