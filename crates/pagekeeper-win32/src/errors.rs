//! The one table of error numbers: what Windows calls each reason to refuse.
//!
//! Source: windows-memory-behaviour.md 1.3 and 1.4; each refusal names its section in `pagekeeper_model`.

use pagekeeper::{EngineError, Error, Refusal};

use crate::constants::{
    ERROR_COMMITMENT_LIMIT, ERROR_GEN_FAILURE, ERROR_INVALID_ADDRESS, ERROR_INVALID_PARAMETER,
    ERROR_NO_SYSTEM_RESOURCES, ERROR_NOACCESS, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_LOCKED,
    ERROR_NOT_SUPPORTED, ERROR_SWAPERROR, ERROR_WORKING_SET_QUOTA, STATUS_GUARD_PAGE_VIOLATION,
};

/// What `GetLastError` gives after a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

impl From<Error> for Code {
    fn from(error: Error) -> Self {
        Self(match error {
            Error::Refused { refusal, .. } => of_refusal(&refusal),
            Error::Engine { cause, .. } => of_engine(&cause),
            // Variables that say nothing usable: no call can work.
            _ => ERROR_NOT_SUPPORTED,
        })
    }
}

impl From<Refusal> for Code {
    fn from(refusal: Refusal) -> Self {
        Self(of_refusal(&refusal))
    }
}

fn of_refusal(refusal: &Refusal) -> u32 {
    match refusal {
        Refusal::ConflictingAddresses { .. }
        | Refusal::CrossesArena { .. }
        | Refusal::ArenaOfOtherEngine { .. }
        | Refusal::NotAllocated { .. }
        | Refusal::LeavesAllocation { .. }
        | Refusal::NotAtBase { .. }
        | Refusal::IsPlaceholder { .. }
        | Refusal::NotPlaceholder { .. }
        | Refusal::NotWholePlaceholder { .. }
        | Refusal::OnePlaceholder { .. }
        | Refusal::NotCommitted { .. } => ERROR_INVALID_ADDRESS,
        Refusal::NoHole { .. } => ERROR_NOT_ENOUGH_MEMORY,
        Refusal::CommitmentLimit { .. } => ERROR_COMMITMENT_LIMIT,
        Refusal::NotAccessible { .. } => ERROR_NOACCESS,
        // Windows does not translate this status.
        Refusal::GuardPage { .. } => STATUS_GUARD_PAGE_VIOLATION,
        Refusal::WorkingSetQuota { .. } => ERROR_WORKING_SET_QUOTA,
        Refusal::NotLocked { .. } => ERROR_NOT_LOCKED,
        // Sizes, flags, protections, and addresses outside of user space.
        _ => ERROR_INVALID_PARAMETER,
    }
}

fn of_engine(cause: &EngineError) -> u32 {
    match cause {
        EngineError::AddressSpace(_) => ERROR_NOT_ENOUGH_MEMORY,
        EngineError::AddressTaken => ERROR_INVALID_ADDRESS,
        EngineError::PageFileSpace(_) => ERROR_COMMITMENT_LIMIT,
        EngineError::LockedTooMuch => ERROR_WORKING_SET_QUOTA,
        EngineError::PagingStopped(_) => ERROR_SWAPERROR,
        EngineError::Unavailable { .. } | EngineError::ForkedChild => ERROR_NOT_SUPPORTED,
        // The kernel's limit on mappings is the one that is met in practice.
        EngineError::Kernel { errno, .. } if errno.raw_os_error() == libc::ENOMEM => {
            ERROR_NO_SYSTEM_RESOURCES
        }
        _ => ERROR_GEN_FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagekeeper::{PageCount, PageNumber};

    #[test]
    fn reasons_have_the_numbers_of_windows() {
        let page = PageNumber::new(16);
        let pages = PageCount::ONE;
        for (refusal, code) in [
            (Refusal::SizeZero, 87),
            (Refusal::AddressTooLow { address: 1 }, 87),
            (Refusal::ConflictingAddresses { allocation: page }, 487),
            (Refusal::NoHole { pages }, 8),
            (Refusal::NotCommitted { page }, 487),
            (Refusal::NotAccessible { page }, 998),
            (Refusal::GuardPage { page }, 0x8000_0001),
            (Refusal::NotLocked { page }, 158),
        ] {
            assert_eq!(Code::from(refusal), Code(code), "{refusal}");
        }
    }
}
