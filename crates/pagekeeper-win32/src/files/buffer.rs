//! The caller's memory of a transfer, looked at before anything is transferred.
//!
//! As on Windows all of it counts, also what lies behind the last byte that arrives: a page in it that cannot be used fails the
//! call before the file is touched, an armed guard page is disarmed and fails it once, and every page of a buffer
//! that was given to be filled counts as written for `GetWriteWatch`.
//!
//! Source: windows-memory-behaviour.md 8.3 and 9.

use pagekeeper::{Access, Verdict};

use crate::constants::{ERROR_NOACCESS, STATUS_GUARD_PAGE_VIOLATION};
use crate::errors::Code;
use crate::{memory, space};

const PAGE_SIZE: usize = 4096;

/// Refuses unless every page can be accessed like that.
pub(super) fn check(first: *mut u8, length: usize, access: Access) -> Result<(), Code> {
    let space = space::get()?;
    let end = first
        .addr()
        .checked_add(length)
        .ok_or(Code(ERROR_NOACCESS))?;
    let mut at = first.addr();
    while at < end {
        if space.allocation_at(at as u64).is_none() {
            // Somebody else's memory: the way to know is to touch it.
            let byte = first.with_addr(at);
            match access {
                Access::Write => memory::probe_write(byte)?,
                _ => drop(memory::probe_read(byte)?),
            }
            at = (at / PAGE_SIZE + 1).saturating_mul(PAGE_SIZE);
            continue;
        }
        // All pages of a region are alike.
        match space.access(at as u64, access) {
            Verdict::Ok => {}
            Verdict::Guard(_) => return Err(Code(STATUS_GUARD_PAGE_VIOLATION)),
            Verdict::AccessViolation(_) | Verdict::Foreign => return Err(Code(ERROR_NOACCESS)),
        }
        let range = space.query(at as u64)?.range;
        at = range.end().address() as usize;
    }
    Ok(())
}

/// Marks what was given but not filled as written where writes are watched.
pub(super) fn mark_written(first: *mut u8, length: usize) {
    let Ok(space) = space::get() else {
        return;
    };
    let end = first.addr().saturating_add(length);
    let mut at = first.addr();
    while at < end {
        let page_end = (at / PAGE_SIZE + 1).saturating_mul(PAGE_SIZE);
        match space.allocation_at(at as u64) {
            Some(allocation) if allocation.write_watch => {
                // The byte keeps its value. If another thread has taken the page away, there is nothing to mark.
                let _ = memory::probe_write(first.with_addr(at));
                at = page_end;
            }
            Some(allocation) => at = allocation.range.end().address() as usize,
            None => at = page_end,
        }
    }
}
