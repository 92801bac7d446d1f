//! The one table of error numbers: what Windows calls each reason to refuse.
//!
//! Source: windows-memory-behaviour.md 1.3 and 1.4; each refusal names its section in `pagekeeper_model`.

use std::io;

use pagekeeper::{EngineError, Error, Refusal};

use crate::constants::{
    ERROR_ACCESS_DENIED, ERROR_BUSY, ERROR_CANT_RESOLVE_FILENAME, ERROR_COMMITMENT_LIMIT,
    ERROR_DIR_NOT_EMPTY, ERROR_DISK_FULL, ERROR_FILE_EXISTS, ERROR_FILE_INVALID,
    ERROR_FILE_NOT_FOUND, ERROR_FILE_TOO_LARGE, ERROR_FILENAME_EXCED_RANGE, ERROR_GEN_FAILURE,
    ERROR_INVALID_ADDRESS, ERROR_INVALID_FUNCTION, ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER,
    ERROR_IO_DEVICE, ERROR_MAPPED_ALIGNMENT, ERROR_NO_DATA, ERROR_NO_SYSTEM_RESOURCES,
    ERROR_NOACCESS, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_LOCKED, ERROR_NOT_SAME_DEVICE,
    ERROR_NOT_SUPPORTED, ERROR_PATH_NOT_FOUND, ERROR_SHARING_VIOLATION, ERROR_SWAPERROR,
    ERROR_TOO_MANY_OPEN_FILES, ERROR_USER_MAPPED_FILE, ERROR_WORKING_SET_QUOTA,
    ERROR_WRITE_PROTECT, STATUS_GUARD_PAGE_VIOLATION,
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

impl Code {
    /// What the system call that just failed in this thread says.
    pub(crate) fn last() -> Self {
        Self::from_io(&io::Error::last_os_error())
    }

    /// What an error of a system call is called.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        Self(error.raw_os_error().map_or(ERROR_GEN_FAILURE, of_errno))
    }
}

impl From<io::Error> for Code {
    fn from(error: io::Error) -> Self {
        Self::from_io(&error)
    }
}

/// Errors of file calls, as Windows' C run-time has them, the other way round.
const OF_ERRNO: &[(i32, u32)] = &[
    (libc::ENOENT, ERROR_FILE_NOT_FOUND),
    (libc::ENOTDIR, ERROR_PATH_NOT_FOUND),
    (libc::EMFILE, ERROR_TOO_MANY_OPEN_FILES),
    (libc::ENFILE, ERROR_TOO_MANY_OPEN_FILES),
    (libc::EACCES, ERROR_ACCESS_DENIED),
    (libc::EPERM, ERROR_ACCESS_DENIED),
    (libc::EISDIR, ERROR_ACCESS_DENIED),
    (libc::EBADF, ERROR_INVALID_HANDLE),
    (libc::ENOMEM, ERROR_NOT_ENOUGH_MEMORY),
    (libc::EXDEV, ERROR_NOT_SAME_DEVICE),
    (libc::EROFS, ERROR_WRITE_PROTECT),
    (libc::ETXTBSY, ERROR_SHARING_VIOLATION),
    (libc::EAGAIN, ERROR_SHARING_VIOLATION),
    (libc::EOPNOTSUPP, ERROR_NOT_SUPPORTED),
    (libc::EEXIST, ERROR_FILE_EXISTS),
    (libc::EINVAL, ERROR_INVALID_PARAMETER),
    (libc::EOVERFLOW, ERROR_INVALID_PARAMETER),
    (libc::ESPIPE, ERROR_INVALID_FUNCTION),
    (libc::EPIPE, ERROR_NO_DATA),
    (libc::ENOSPC, ERROR_DISK_FULL),
    (libc::EDQUOT, ERROR_DISK_FULL),
    (libc::EFBIG, ERROR_FILE_TOO_LARGE),
    (libc::ENOTEMPTY, ERROR_DIR_NOT_EMPTY),
    (libc::EBUSY, ERROR_BUSY),
    (libc::ENAMETOOLONG, ERROR_FILENAME_EXCED_RANGE),
    (libc::EFAULT, ERROR_NOACCESS),
    (libc::EIO, ERROR_IO_DEVICE),
    (libc::ELOOP, ERROR_CANT_RESOLVE_FILENAME),
];

fn of_errno(errno: i32) -> u32 {
    OF_ERRNO
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or(ERROR_GEN_FAILURE, |(_, code)| *code)
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
        Refusal::ViewMisaligned { .. } => ERROR_MAPPED_ALIGNMENT,
        Refusal::NotAView { .. } => ERROR_INVALID_ADDRESS,
        Refusal::CommitInFile { .. }
        | Refusal::SectionForbids { .. }
        | Refusal::OutsideSection { .. } => ERROR_ACCESS_DENIED,
        Refusal::ResetInFile { .. } => ERROR_USER_MAPPED_FILE,
        Refusal::FileEmpty => ERROR_FILE_INVALID,
        Refusal::SectionTooLarge { .. } => ERROR_NOT_ENOUGH_MEMORY,
        Refusal::NoSuchName => ERROR_FILE_NOT_FOUND,
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
        EngineError::FileAccess(_) => ERROR_ACCESS_DENIED,
        EngineError::DiskFull { .. } => ERROR_DISK_FULL,
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
    #[test]
    fn every_error_of_a_system_call_has_one_number() {
        for (index, (errno, code)) in OF_ERRNO.iter().enumerate() {
            assert!(*code != 0);
            assert!(OF_ERRNO[..index].iter().all(|(other, _)| other != errno));
            assert_eq!(
                Code::from(io::Error::from_raw_os_error(*errno)),
                Code(*code)
            );
        }
        assert_eq!(Code::from(io::Error::from_raw_os_error(9999)), Code(31));
        assert_eq!(Code::from(io::Error::other("no number")), Code(31));
    }
}
