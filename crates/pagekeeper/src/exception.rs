//! Accesses that are really wrong, and guard pages: dispatched outside the signal frame.
//!
//! The fault handler only finds out that an access is no matter of paging. The thread then leaves the signal frame and
//! goes on here, on its own stack, with its own signal mask and no lock held: so the space lock can be taken, the model
//! asked, and the program's callbacks run, which may fault, allocate, commit memory or never return.
//!
//! | cause | Windows | without a callback that mends it |
//! |---|---|---|
//! | reserved or no-access page, write to read-only, execute without the right | `0xC0000005` access violation | SIGSEGV |
//! | armed guard page (it is disarmed first) | `0x80000001` guard page violation | SIGSEGV |
//! | the page's contents could not be read back | `0xC0000006` in-page error | SIGBUS |
//!
//! Source: windows-memory-behaviour.md 8.

use core::num::NonZeroI32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use pagekeeper_model::{Access, Verdict};
use pagekeeper_sys::signal::{self, Decision, Redirected};
use pagekeeper_units::PageNumber;

use crate::process_hook::{self, Interrupted};
use crate::registry::Reading;
use crate::space;

/// Why the handler sends a thread here; fits into a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Violation,
    Guard,
    InPage(Option<NonZeroI32>),
}

impl Cause {
    const fn to_word(self) -> usize {
        match self {
            Self::Violation => 0,
            Self::Guard => 1,
            Self::InPage(None) => 2,
            Self::InPage(Some(errno)) => 2 | (errno.get() as u32 as usize) << 8,
        }
    }

    const fn from_word(word: usize) -> Self {
        match word & 0xFF {
            0 => Self::Violation,
            1 => Self::Guard,
            _ => Self::InPage(NonZeroI32::new((word >> 8) as i32)),
        }
    }
}

/// What the fault handler returns for a fault that is to be dispatched.
pub(crate) fn redirect(cause: Cause) -> Decision {
    Decision::Redirect {
        target: dispatch,
        argument: cause.to_word(),
    }
}

/// What kind of exception it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionKind {
    /// The page is not committed, or its protection forbids the access. Windows: `EXCEPTION_ACCESS_VIOLATION`.
    AccessViolation,
    /// First touch of a guard page, which is disarmed now. Windows: `STATUS_GUARD_PAGE_VIOLATION`.
    GuardPage,
    /// The page's contents could not be read back: the disk's error number, or `None` where the disk returned other
    /// bytes than were written. Windows: `STATUS_IN_PAGE_ERROR`.
    InPageError(Option<i32>),
}

/// An access that needs the program's attention. Windows: `EXCEPTION_RECORD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// What kind.
    pub kind: ExceptionKind,
    /// The exact address that was touched, in bytes; not rounded to a page.
    pub address: u64,
    /// What the instruction wanted.
    pub access: Access,
    /// The address of the instruction, in bytes.
    pub instruction: u64,
}

/// What a callback made of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// Mended, for instance by committing the page: run the instruction again.
    /// Windows: `EXCEPTION_CONTINUE_EXECUTION`.
    Retry,
    /// Not this callback's business: ask the next one. Windows: `EXCEPTION_CONTINUE_SEARCH`.
    Pass,
}

/// A registered callback.
pub(crate) type Callback = Arc<dyn Fn(&Exception) -> Handled + Send + Sync>;

/// The callbacks of one space, first asked first.
#[derive(Default)]
pub(crate) struct Callbacks {
    list: RwLock<Vec<(u64, Callback)>>,
    next: Mutex<u64>,
}

impl Callbacks {
    pub(crate) fn add(&self, callback: Callback) -> u64 {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        self.list
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((*next, callback));
        *next
    }

    pub(crate) fn remove(&self, number: u64) -> bool {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let before = list.len();
        list.retain(|(other, _)| *other != number);
        list.len() < before
    }

    fn ask(&self, exception: &Exception) -> Handled {
        // A copy: a callback may register another, or never return.
        let list = self
            .list
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (_, callback) in list {
            if callback(exception) == Handled::Retry {
                return Handled::Retry;
            }
        }
        Handled::Pass
    }
}

/// On the thread's own stack, outside the signal frame. Holds nothing while the hook runs, which may leave by `longjmp`.
fn dispatch(redirected: &mut Redirected<'_>) -> signal::Verdict {
    let Some((number, exception)) = judge(redirected) else {
        return signal::Verdict::Resume;
    };
    if process_hook::ask(&exception, &mut Interrupted::new(&mut redirected.fault)) == Handled::Retry
    {
        return signal::Verdict::Resume;
    }
    match space::by_number(number) {
        Some(space) => die(&space, &exception),
        None => signal::Verdict::Resume,
    }
}

/// The exception that the access is, with the number of its space; `None` when it is none any more, or when a callback of
/// the space has mended it.
fn judge(redirected: &Redirected<'_>) -> Option<(u64, Exception)> {
    let cause = Cause::from_word(redirected.argument);
    let fault = &redirected.fault;
    let access = if fault.is_instruction_fetch() {
        Access::Execute
    } else if fault.is_write() {
        Access::Write
    } else {
        Access::Read
    };
    let address = fault.address() as u64;
    let instruction = fault.instruction_pointer() as u64;
    // Released in the meantime: the access is as wrong as before, and the kernel will say so.
    let number = Reading::begin()
        .find(PageNumber::containing(address))
        .map(|found| found.space)?;
    let space = space::by_number(number)?;
    let kind = match cause {
        Cause::InPage(errno) => ExceptionKind::InPageError(errno.map(NonZeroI32::get)),
        Cause::Violation | Cause::Guard => match space.judge(address, access) {
            // Another thread committed the page or was first at the guard; or a page of a view is on its way out.
            Verdict::Ok => {
                space.wait_for_access(address);
                return None;
            }
            Verdict::Guard(_) => ExceptionKind::GuardPage,
            Verdict::AccessViolation(_) | Verdict::Foreign => ExceptionKind::AccessViolation,
        },
    };
    let exception = Exception {
        kind,
        address,
        access,
        instruction,
    };
    let handled = space.callbacks().ask(&exception);
    (handled == Handled::Pass).then_some((number, exception))
}

/// One clear line, then death with the registers of the faulting instruction.
fn die(space: &space::Shared, exception: &Exception) -> signal::Verdict {
    use std::io::Write;
    let verb = match exception.access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Execute => "execute",
    };
    let what = match exception.kind {
        ExceptionKind::AccessViolation => "access violation".to_owned(),
        ExceptionKind::GuardPage => "guard page violation".to_owned(),
        ExceptionKind::InPageError(None) => {
            "in-page error (the page file returned other bytes than were written)".to_owned()
        }
        ExceptionKind::InPageError(Some(errno)) => {
            format!(
                "in-page error ({})",
                std::io::Error::from_raw_os_error(errno)
            )
        }
    };
    let page = space.describe(exception.address);
    let _ = writeln!(
        std::io::stderr(),
        "pagekeeper: {what}: {verb} at {:#x} by the instruction at {:#x}; the page is {page}",
        exception.address,
        exception.instruction,
    );
    // SEGV_MAPERR and SEGV_ACCERR, BUS_OBJERR: what a debugger shows for such an access.
    match exception.kind {
        ExceptionKind::InPageError(_) => signal::Verdict::Die {
            signal: signal::SIGNAL_BUS,
            code: 3,
        },
        _ => signal::Verdict::Die {
            signal: signal::SIGNAL_SEGV,
            code: 2,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_survives_its_word() {
        for cause in [
            Cause::Violation,
            Cause::Guard,
            Cause::InPage(None),
            Cause::InPage(NonZeroI32::new(5)),
        ] {
            assert_eq!(Cause::from_word(cause.to_word()), cause);
        }
    }
}
