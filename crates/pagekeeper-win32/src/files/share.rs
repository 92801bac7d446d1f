//! Share modes: what is open already may keep others out. Windows: `FILE_SHARE_READ`, `FILE_SHARE_WRITE`, `FILE_SHARE_DELETE`.
//!
//! Kept within the process. Linux has nothing of the kind between processes: another program gets in whatever the modes say.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::constants::{
    DELETE, ERROR_SHARING_VIOLATION, FILE_APPEND_DATA, FILE_EXECUTE, FILE_READ_DATA,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_WRITE_DATA,
};
use crate::errors::Code;
use crate::files::{Identity, is_lost};
use crate::types::DWORD;

/// One opening that takes part.
struct Opening {
    number: u64,
    /// What it may do, in the bits of a share mode.
    does: DWORD,
    /// What it lets others do.
    lets: DWORD,
    /// The descriptor, where the C run-time may have closed it without our knowing.
    runtime: Option<RawFd>,
}

static OPENINGS: Mutex<Option<HashMap<Identity, Vec<Opening>>>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(0);

fn with_openings<R>(work: impl FnOnce(&mut HashMap<Identity, Vec<Opening>>) -> R) -> R {
    let mut openings = OPENINGS.lock().unwrap_or_else(PoisonError::into_inner);
    work(openings.get_or_insert_default())
}

/// What rights mean for others.
fn does(access: DWORD) -> DWORD {
    let mut does = 0;
    if access & (FILE_READ_DATA | FILE_EXECUTE) != 0 {
        does |= FILE_SHARE_READ;
    }
    if access & (FILE_WRITE_DATA | FILE_APPEND_DATA) != 0 {
        does |= FILE_SHARE_WRITE;
    }
    if access & DELETE != 0 {
        does |= FILE_SHARE_DELETE;
    }
    does
}

/// An opening's part; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    identity: Identity,
    number: u64,
}

/// Opens with `access`, letting others do `lets`. Who neither reads, writes nor deletes disturbs nobody and is not asked.
pub(super) fn hold(identity: Identity, access: DWORD, lets: DWORD) -> Result<Option<Held>, Code> {
    let does = does(access);
    if does == 0 {
        return Ok(None);
    }
    with_openings(|openings| {
        let of_file = openings.entry(identity).or_default();
        check(of_file, identity, does, lets)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        of_file.push(Opening {
            number,
            does,
            lets,
            runtime: None,
        });
        Ok(Some(Held { identity, number }))
    })
}

/// Whether the name of a file may be removed now.
pub(super) fn check_removal(identity: Identity) -> Result<(), Code> {
    with_openings(|openings| match openings.get_mut(&identity) {
        Some(of_file) => check(
            of_file,
            identity,
            FILE_SHARE_DELETE,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
        ),
        None => Ok(()),
    })
}

fn check(
    of_file: &mut Vec<Opening>,
    identity: Identity,
    does: DWORD,
    lets: DWORD,
) -> Result<(), Code> {
    let collides = |other: &Opening| does & !other.lets != 0 || other.does & !lets != 0;
    if of_file.iter().any(collides) {
        of_file.retain(|other| {
            !other
                .runtime
                .is_some_and(|number| is_lost(number, identity))
        });
    }
    if of_file.iter().any(collides) {
        return Err(Code(ERROR_SHARING_VIOLATION));
    }
    Ok(())
}

impl Held {
    /// From now on the C run-time may close the descriptor without telling.
    pub(super) fn now_of_runtime(&self, number: RawFd) {
        with_openings(|openings| {
            let of_file = openings.get_mut(&self.identity).into_iter().flatten();
            for opening in of_file.filter(|opening| opening.number == self.number) {
                opening.runtime = Some(number);
            }
        });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        with_openings(|openings| {
            if let Some(of_file) = openings.get_mut(&self.identity) {
                of_file.retain(|opening| opening.number != self.number);
                if of_file.is_empty() {
                    openings.remove(&self.identity);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: DWORD = FILE_READ_DATA;
    const WRITE: DWORD = FILE_WRITE_DATA;

    #[test]
    fn each_side_must_let_the_other_in() {
        let file = (u64::MAX, 1);
        let first = hold(file, READ, FILE_SHARE_READ).expect("nobody else");
        assert!(hold(file, WRITE, FILE_SHARE_READ).is_err(), "not let in");
        assert!(hold(file, READ, 0).is_err(), "does not let the reader in");
        assert!(hold(file, READ, FILE_SHARE_READ).is_ok());
        assert!(hold(file, 0x80, 0).expect("only looks").is_none());
        assert!(check_removal(file).is_err());
        drop(first);
        assert!(hold(file, WRITE, 0).is_ok());
        assert!(check_removal(file).is_ok());
    }
}
