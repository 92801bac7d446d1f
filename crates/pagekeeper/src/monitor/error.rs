//! Why a process cannot be looked at: one line each, which says what to do.

use pagekeeper_sys::Errno;
use pagekeeper_sys::process::{self, Identity};

/// Why a process cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// There is no such process.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// Its number.
        pid: u32,
    },
    /// The process is somebody else's.
    #[error("process {pid} belongs to user {owner}: only that user and root may look into it")]
    NotPermitted {
        /// Its number.
        pid: u32,
        /// The number of its user.
        owner: u32,
    },
    /// The process is ours, but the kernel shows nobody what is in it.
    #[error(
        "process {pid} is not dumpable (it changed its user, has more rights than you, or asked for it): only root may look into it"
    )]
    NotDumpable {
        /// Its number.
        pid: u32,
    },
    /// The kernel shows root less than everything here: a security module, a container, a process with rights that we lack.
    #[error(
        "process {pid}: the kernel refuses even root to look into it: it has rights that you lack, or a security module or container forbids it"
    )]
    RefusedToRoot {
        /// Its number.
        pid: u32,
    },
    /// The process ended while it was being looked at.
    #[error("process {pid} has ended")]
    Exited {
        /// Its number.
        pid: u32,
    },
    /// The process has no address space: a thread of the kernel, or one that has ended and was not waited for.
    #[error(
        "process {pid} has no memory of its own: a kernel thread, or one that has ended and was not waited for"
    )]
    NoMemory {
        /// Its number.
        pid: u32,
    },
    /// The process does not use Pagekeeper, which what was asked for needs.
    #[error("process {pid} does not use Pagekeeper")]
    NotPagekeeper {
        /// Its number.
        pid: u32,
    },
    /// The process uses a Pagekeeper that speaks otherwise.
    #[error(
        "process {pid} uses another version of Pagekeeper (it speaks version {theirs}, this one {ours}): use its own program"
    )]
    OtherVersion {
        /// Its number.
        pid: u32,
        /// The version of its figures.
        theirs: u32,
        /// The version that this library reads.
        ours: u32,
    },
    /// The process does not answer: it is stopped, or has no processor to run on.
    #[error(
        "process {pid} does not answer: it is stopped (kill -CONT {pid} lets it go on), or gets no processor time"
    )]
    Silent {
        /// Its number.
        pid: u32,
    },
    /// Nothing can be read at the address.
    #[error("process {pid}: {address:#x}: {reason}")]
    Unreadable {
        /// Its number.
        pid: u32,
        /// The first address that cannot be read.
        address: u64,
        /// Why not.
        reason: String,
    },
    /// The kernel refused something else.
    #[error("process {pid}: {what}: {errno}")]
    Kernel {
        /// Its number.
        pid: u32,
        /// What was asked of the kernel.
        what: &'static str,
        /// Its answer.
        errno: Errno,
    },
}

impl MonitorError {
    /// What the kernel's refusal to show something of `pid` means.
    pub(super) fn refused(pid: u32, what: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::SRCH => Self::Exited { pid },
            Errno::ACCESS | Errno::PERM if process::own_user() == 0 => match Identity::of(pid) {
                Ok(_) => Self::RefusedToRoot { pid },
                Err(_) => Self::Exited { pid },
            },
            Errno::ACCESS | Errno::PERM => match Identity::of(pid) {
                Ok(identity) if identity.user == process::own_user() => Self::NotDumpable { pid },
                Ok(identity) => Self::NotPermitted {
                    pid,
                    owner: identity.user,
                },
                Err(_) => Self::Exited { pid },
            },
            errno => Self::Kernel { pid, what, errno },
        }
    }
}
