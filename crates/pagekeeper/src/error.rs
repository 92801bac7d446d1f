//! What can go wrong, by floor: settings, an engine, an operation on a space.

use pagekeeper_model::Refusal;
use pagekeeper_units::{ByteCount, ParseByteCountError};

/// Why an operation on a space did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The rules refuse it: the caller asked for something that Windows would refuse too.
    #[error("{operation} of {size} at {address:#x}: {refusal}")]
    Refused {
        /// What was asked for, such as `commit`.
        operation: &'static str,
        /// The address that was given, in bytes; 0 for "anywhere".
        address: u64,
        /// The size that was given.
        size: ByteCount,
        /// The reason.
        #[source]
        refusal: Refusal,
    },
    /// The rules allow it, but the kernel or the disk did not play along.
    #[error("{operation} of {size} at {address:#x}: {cause}")]
    Engine {
        /// What was asked for.
        operation: &'static str,
        /// The address that was given, in bytes; 0 for "anywhere".
        address: u64,
        /// The size that was given.
        size: ByteCount,
        /// The reason.
        #[source]
        cause: EngineError,
    },
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Error {
    /// The rule that refused, when it was a rule.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether it was refused because the commit limit or the disk leaves no room.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => matches!(refusal, Refusal::CommitmentLimit { .. }),
            Self::Engine { cause, .. } => {
                matches!(
                    cause,
                    EngineError::PageFileSpace(_) | EngineError::AddressSpace(_)
                )
            }
            Self::Settings(_) => false,
        }
    }
}

/// Why an engine could not do what the rules allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The kernel gave no address space.
    #[error("the kernel gave no address space ({0}); see RLIMIT_AS and vm.overcommit_memory")]
    AddressSpace(pagekeeper_sys::Errno),
    /// Something lies at the address that was asked for.
    #[error("something else already lies at that address")]
    AddressTaken,
    /// The page file could not be extended.
    #[error("the page file could not be extended: {0}")]
    PageFileSpace(String),
    /// A system call failed.
    #[error("{call} failed: {errno}")]
    Kernel {
        /// The call.
        call: &'static str,
        /// Its error.
        errno: pagekeeper_sys::Errno,
    },
    /// The kernel lacks what the engine needs.
    #[error("the {engine} engine cannot run here: {reason}")]
    Unavailable {
        /// The engine.
        engine: &'static str,
        /// What is missing.
        reason: String,
    },
    /// A write to the page file failed earlier: nothing more is paged out.
    #[error("paging stopped after a failed write to the page file: {0}")]
    PagingStopped(pagekeeper_sys::Errno),
    /// A forked child has nothing of its parent's reservations.
    #[error("this process is a forked child: it has nothing of its parent's reservations")]
    ForkedChild,
    /// A file is not open for what is wanted of it, or cannot be mapped at all.
    #[error("the file cannot be mapped like that: {0}")]
    FileAccess(String),
    /// The disk has no room for a file that was to be extended.
    #[error("the disk is full: the file could not be extended to {size}")]
    DiskFull {
        /// The size that was wanted.
        size: ByteCount,
    },
    /// Names of sections cannot be used now.
    #[error("names of sections cannot be used: {0}")]
    Names(String),
    /// More pages were to be locked than the budget can spare.
    #[error("more memory would be locked than the RAM budget can spare")]
    LockedTooMuch,
}

/// Why a setting is not usable. Each message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Not a size.
    #[error("{name}: {reason}")]
    Size {
        /// The setting's name.
        name: &'static str,
        /// What is wrong with the text.
        reason: ParseByteCountError,
    },
    /// No such engine.
    #[error("unknown engine '{0}': use mapped, inline or resident")]
    UnknownEngine(String),
    /// The RAM budget is below what the engine can work with.
    #[error("a RAM budget of {given} is too small: give at least {least}")]
    BudgetTooSmall {
        /// What was given.
        given: ByteCount,
        /// The smallest that works.
        least: ByteCount,
    },
    /// The RAM budget is larger than any address space.
    #[error("a RAM budget of {0} is larger than this machine's memory")]
    BudgetTooLarge(ByteCount),
    /// The page file's initial size is above its maximum.
    #[error("the page file's initial size {initial} is above its maximum {maximum}")]
    InitialAboveMaximum {
        /// The initial size.
        initial: ByteCount,
        /// The maximum.
        maximum: ByteCount,
    },
    /// Something is wrong with the place of the page file.
    #[error("page file: {0}")]
    PageFile(String),
    /// The engine that was asked for cannot run here.
    #[error("{0}")]
    Engine(EngineError),
    /// A yes-or-no setting is neither.
    #[error("{name}={value}: use 1 or 0")]
    Switch {
        /// The setting's name.
        name: &'static str,
        /// What was given.
        value: String,
    },
}
