//! Why a page file cannot be made, grown or taken away. Each prints as one line that says what to
//! change.

use std::path::PathBuf;

use pagekeeper_sys::Errno;
use pagekeeper_sys::file::FileError;
use pagekeeper_units::ByteCount;

use super::PageFileId;

/// Why a page file, or room in it, is refused. Nothing is left behind and nothing lost then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageFileError {
    /// The list of places has an empty entry.
    #[error(
        "'{0}' has an empty entry: separate folders or files by single colons, or write 'none'"
    )]
    EmptyPlace(String),
    /// The folder does not exist.
    #[error(
        "the page file's folder '{0}' does not exist: create it, or name a file by a name with a \
         dot, such as '{0}.page'"
    )]
    FolderMissing(PathBuf),
    /// The place cannot hold a page file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Paged-out memory would stay in RAM.
    #[error(
        "'{0}' lies on a RAM file system, where paged-out memory stays in RAM: name a folder on a disk"
    )]
    RamDisk(PathBuf),
    /// The initial size exceeds the maximum.
    #[error(
        "the page file's initial size of {initial} is above its maximum of {maximum}: lower one or \
         raise the other"
    )]
    InitialAboveMaximum {
        /// The initial size asked for.
        initial: ByteCount,
        /// The maximum asked for, or half the free space.
        maximum: ByteCount,
    },
    /// The maximum is below the smallest that makes sense.
    #[error(
        "a page file of at most {0} is too small: allow at least 1M, or write 'none' for no page file"
    )]
    TooSmall(ByteCount),
    /// More slots than 32 bits can number, over all files.
    #[error("page files of {0} in all are too large: together they may hold 16T")]
    TooLarge(ByteCount),
    /// More files than a space can have.
    #[error("a space has at most {0} page files: take one away first")]
    TooManyFiles(usize),
    /// The disk has no more room. Windows: `ERROR_COMMITMENT_LIMIT`.
    #[error(
        "the disk of the page file at '{}' is full ({} allocated, {} more wanted): free some space \
         or add a page file elsewhere",
        place.display(),
        allocated.human(),
        wanted.human()
    )]
    DiskFull {
        /// Folder or file that was named.
        place: PathBuf,
        /// What the file has.
        allocated: ByteCount,
        /// What was asked for on top.
        wanted: ByteCount,
    },
    /// `RLIMIT_FSIZE` forbids a longer file. Windows: `ERROR_COMMITMENT_LIMIT`.
    #[error(
        "the page file at '{}' may not grow beyond {}: raise the file size limit (ulimit -f) or \
         add another page file",
        place.display(),
        limit.human()
    )]
    FileSizeLimit {
        /// Folder or file that was named.
        place: PathBuf,
        /// The limit, in bytes.
        limit: ByteCount,
    },
    /// All page files have reached their maximum. Windows: `ERROR_COMMITMENT_LIMIT`.
    #[error(
        "the page files hold at most {} and {} are wanted: raise their maximum or add another \
         page file",
        maximum.human(),
        wanted.human()
    )]
    MaximumReached {
        /// What was asked for in all.
        wanted: ByteCount,
        /// What all page files together may hold.
        maximum: ByteCount,
    },
    /// There is no page file at all. Windows: `ERROR_COMMITMENT_LIMIT`.
    #[error(
        "{} more than RAM holds are wanted and there is no page file: name a folder for one",
        .0.human()
    )]
    NoPageFile(ByteCount),
    /// There is no such page file, or it is gone already.
    #[error("there is no page file {}", .0.index())]
    NotThere(PageFileId),
    /// The kernel refused something else.
    #[error("cannot set up the page file at '{place}': {errno}")]
    Kernel {
        /// Folder or file that was named.
        place: PathBuf,
        /// Its answer.
        errno: Errno,
    },
    /// No address space for the page file's tables.
    #[error("no address space for the page file's tables ({0}): raise the limit (ulimit -v)")]
    Tables(Errno),
}
