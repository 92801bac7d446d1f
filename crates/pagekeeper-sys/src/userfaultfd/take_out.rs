//! Taking an extent of pages out of a range, into staging memory, so that an access finds them
//! missing. Twins: by moving the pages (6.8), and by moving the mapping.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: moves pages between ranges that the caller owns"
)]

use core::fmt::Debug;

use pagekeeper_units::{PageNumber, PageRange};

use super::{MoveMode, Progress, Userfaultfd};
use crate::Errno;
use crate::map::{byte_length, move_leaving_empty};
use crate::probe::{Feature, Features};

/// Asked again so often when the kernel says that a page is in flux.
const ATTEMPTS: usize = 32;

/// Takes pages out of a registered range.
pub trait TakeOut: Send + Sync + Debug {
    /// Moves what is in `from` to the empty staging pages from `to` on; pages that are not there
    /// are passed over. Afterwards an access to `from` faults as missing. Bounded: when the kernel
    /// keeps saying `EAGAIN`, that is the error, and what was done is counted.
    ///
    /// `EBUSY` means that the first page not done is pinned or shared with a child and must stay.
    ///
    /// # Safety
    /// Both ranges must be the caller's, of like protection, with no reference into either; `to`
    /// registered with `uffd` as [`staging_is_registered`](Self::staging_is_registered) says.
    unsafe fn take_out(&self, uffd: &Userfaultfd, from: PageRange, to: PageNumber) -> Progress;

    /// Whether staging memory must be (and stays) registered with the same descriptor.
    fn staging_is_registered(&self) -> bool;

    /// What it is, for people.
    fn name(&self) -> &'static str;
}

/// The best that this kernel has.
pub fn taker(features: &Features) -> &'static dyn TakeOut {
    if features.has(Feature::Move) {
        &ByMove
    } else {
        &ByRemap
    }
}

/// Moves the pages: no copy, no new mapping.
#[derive(Debug, Clone, Copy)]
pub struct ByMove;

impl TakeOut for ByMove {
    unsafe fn take_out(&self, uffd: &Userfaultfd, from: PageRange, to: PageNumber) -> Progress {
        let mode = MoveMode::ALLOW_HOLES | MoveMode::DO_NOT_WAKE;
        let mut rest = from;
        let mut attempts = 0;
        loop {
            let target = to.plus(rest.start().since(from.start()));
            // SAFETY: Parts of the caller's ranges.
            let step = unsafe { uffd.move_pages(target, rest, mode) };
            rest = step.rest_of(rest);
            // Whatever made way is no standstill, but there are no more steps than pages.
            attempts = if step.done_bytes > 0 { 0 } else { attempts + 1 };
            let again = step.error == Some(Errno::AGAIN) && attempts < ATTEMPTS && !rest.is_empty();
            if !again {
                return Progress {
                    done_bytes: (byte_length(from) - byte_length(rest)) as u64,
                    error: step.error,
                };
            }
        }
    }

    fn staging_is_registered(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "move"
    }
}

/// Moves the mapping and leaves an empty one: slower, and each staging slot becomes a mapping of its
/// own. A page that a device writes to (registered buffers) goes along and is not noticed.
#[derive(Debug, Clone, Copy)]
pub struct ByRemap;

impl TakeOut for ByRemap {
    unsafe fn take_out(&self, _uffd: &Userfaultfd, from: PageRange, to: PageNumber) -> Progress {
        // SAFETY: The caller's ranges.
        let result = unsafe { move_leaving_empty(from, PageRange::new(to, from.count())) };
        Progress {
            done_bytes: if result.is_ok() {
                byte_length(from) as u64
            } else {
                0
            },
            error: result.err(),
        }
    }

    fn staging_is_registered(&self) -> bool {
        false
    }

    fn name(&self) -> &'static str {
        "mremap"
    }
}
