//! Handles: small numbers that stand for objects, as long as somebody has them open.
//!
//! A handle is a multiple of 4, as on Windows, and says nothing about what it stands for; the table knows. The two lowest bits
//! do not count, as there. Several handles may stand for one object ([`DuplicateHandle`]); each has rights of its own. What a
//! call needs it takes out of the table as a counted reference, so that a handle that is closed by another thread
//! meanwhile does not take the object away from under it.
//!
//! Pseudo handles (the own process, the own thread) are numbers that need no table and no closing.
//!
//! Why it is so: `docs/decisions/0019-handles-and-files.md`.

mod calls;
mod table;
mod wait;

pub use calls::{CloseHandle, CompareObjectHandles, DuplicateHandle, GetHandleInformation};
pub use wait::{WaitForMultipleObjects, WaitForSingleObject, WaitForSingleObjectEx};

pub(crate) use table::{Object, close, close_all, entry, find, forget, insert, replace};

use crate::types::HANDLE;

/// The number behind the pseudo handle of the own process.
pub(crate) const CURRENT_PROCESS: usize = usize::MAX;
/// The number behind the pseudo handle of the own thread.
pub(crate) const CURRENT_THREAD: usize = usize::MAX - 1;

/// Whether the number stands for something without being in the table.
pub(crate) fn is_pseudo(handle: HANDLE) -> bool {
    matches!(handle.addr(), CURRENT_PROCESS | CURRENT_THREAD)
}
