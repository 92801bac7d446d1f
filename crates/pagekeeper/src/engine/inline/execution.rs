//! The right to execute: the one that our own table cannot give.

use pagekeeper_model::PageState;

use super::arena::Arena;
use super::change::rights_of;
use super::entry::Rights;
use crate::engine::Change;
use crate::error::EngineError;

/// Ranges that become executable, or stop being so, need the processor's leave: the one right that our own table
/// cannot give. (So alternating execute rights meet the kernel's mapping limit; nothing else does.)
pub(super) fn allow_execution(arena: &Arena, changes: &[Change]) -> Result<(), EngineError> {
    for (done, change) in changes.iter().enumerate() {
        if executes(change.before) != executes(change.after)
            && let Err(error) = arena.set_executable(change.range, executes(change.after))
        {
            // The one that failed may be changed in part.
            restore_execution(arena, changes.get(..=done).unwrap_or_default());
            return Err(error);
        }
    }
    Ok(())
}

/// Gives the ranges the right to execute, or takes it, as it was before.
pub(super) fn restore_execution(arena: &Arena, changes: &[Change]) {
    for change in changes {
        if executes(change.before) != executes(change.after) {
            // Joins mappings rather than splitting them, so the kernel has no reason to refuse.
            let _ = arena.set_executable(change.range, executes(change.before));
        }
    }
}

pub(super) fn executes(state: PageState) -> bool {
    rights_of(state).is_some_and(Rights::allows_execute)
}
