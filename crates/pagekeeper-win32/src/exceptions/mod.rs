//! Exceptions: who is asked, in which order, and what becomes of one that nobody takes.
//!
//! | order | who | module |
//! |---|---|---|
//! | 1 | vectored handlers of the process | [`vectored`] |
//! | 2 | blocks that the thread is in, the innermost first (`PAGEKEEPER_TRY`) | [`frames`] |
//! | 3 | the unhandled-exception filter | [`unhandled`] |
//! | 4 | what Linux does: handlers of `sigaction` for memory that is not ours, else death by the signal | |
//!
//! All of it runs on the thread's own stack, outside any signal frame, with no lock held and nothing to clean up in the
//! frames between, so that a handler may fault, allocate, call any function here, or leave by `longjmp`. An exception is
//! looked at only once the program has shown that it cares (`listen`): until then faults take their usual way.
//!
//! Source: windows-memory-behaviour.md 8.

pub mod context;
pub mod frames;
pub mod raise;
pub mod unhandled;
pub mod vectored;

use core::ptr;

use pagekeeper::{Access, Exception, ExceptionKind, Handled, Interrupted, set_process_hook};

use crate::constants::{
    EXCEPTION_CONTINUE_EXECUTION, EXCEPTION_CONTINUE_SEARCH, STATUS_ACCESS_VIOLATION,
    STATUS_GUARD_PAGE_VIOLATION, STATUS_IN_PAGE_ERROR,
};
use crate::types::{CONTEXT, EXCEPTION_POINTERS, EXCEPTION_RECORD, LONG};

/// `STATUS_IO_DEVICE_ERROR`: the page's contents could not be read back.
const IO_DEVICE_ERROR: usize = 0xC000_0185;
/// `STATUS_CRC_ERROR`: other bytes came back than were written.
const CRC_ERROR: usize = 0xC000_003F;

/// From now on exceptions come here.
pub(crate) fn listen() {
    // Where the kernel refuses a signal handler there are no exceptions to be had.
    let _ = set_process_hook(on_exception);
}

/// An access that needs the program's attention.
fn on_exception(exception: &Exception, interrupted: &mut Interrupted<'_, '_>) -> Handled {
    let mut record = describe(exception);
    let mut context = context::capture(interrupted);
    match dispatch(&mut record, &mut context) {
        EXCEPTION_CONTINUE_EXECUTION => {
            context::restore(&context, interrupted);
            Handled::Retry
        }
        _ => Handled::Pass,
    }
}

/// Asks everybody in order. Returns only when the thread shall go on, or when nobody takes the exception.
fn dispatch(record: &mut EXCEPTION_RECORD, context: &mut CONTEXT) -> LONG {
    let mut pointers = EXCEPTION_POINTERS {
        ExceptionRecord: record,
        ContextRecord: context,
    };
    let pointers = &raw mut pointers;
    for ask in [vectored::ask, frames::ask, unhandled::ask] {
        let answer = ask(pointers);
        if answer == EXCEPTION_CONTINUE_EXECUTION {
            return answer;
        }
    }
    EXCEPTION_CONTINUE_SEARCH
}

fn describe(exception: &Exception) -> EXCEPTION_RECORD {
    let (code, status) = match exception.kind {
        ExceptionKind::AccessViolation => (STATUS_ACCESS_VIOLATION, None),
        ExceptionKind::GuardPage => (STATUS_GUARD_PAGE_VIOLATION, None),
        ExceptionKind::InPageError(None) => (STATUS_IN_PAGE_ERROR, Some(CRC_ERROR)),
        ExceptionKind::InPageError(Some(_)) => (STATUS_IN_PAGE_ERROR, Some(IO_DEVICE_ERROR)),
    };
    let mut information = [0; 15];
    information[0] = match exception.access {
        Access::Read => 0,
        Access::Write => 1,
        Access::Execute => 8,
    };
    information[1] = exception.address as usize;
    information[2] = status.unwrap_or(0);
    EXCEPTION_RECORD {
        ExceptionCode: code,
        ExceptionFlags: 0,
        ExceptionRecord: ptr::null_mut(),
        ExceptionAddress: ptr::with_exposed_provenance_mut(exception.instruction as usize),
        NumberParameters: if status.is_some() { 3 } else { 2 },
        ExceptionInformation: information,
    }
}
