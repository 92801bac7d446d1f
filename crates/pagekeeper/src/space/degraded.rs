//! What still works, but less well or less safely than it should: shown by [`SpaceStatus`](super::SpaceStatus).

use pagekeeper_sys::Errno;
use pagekeeper_units::ByteCount;

/// Something that the program, or whoever runs it, should know of. Nothing is lost so far.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Degraded {
    /// The disk refused to write parts of the page files. They are out of use and tried again from time to time; the
    /// commit limit is lower by as much.
    #[error(
        "{size} of the page files cannot be written and is out of use; it is tried again from time to time"
    )]
    Withdrawn {
        /// How much.
        size: ByteCount,
    },
    /// More is committed than RAM budget and page files can still keep, because the disk failed since: touching memory may
    /// end as an in-page error. Add a page file ([`Space::add_page_file`](super::Space::add_page_file)), raise the
    /// budget, or decommit.
    #[error(
        "the page files hold {missing} less than was promised: add a page file, raise the RAM budget, or decommit"
    )]
    Uncovered {
        /// How much is missing.
        missing: ByteCount,
    },
    /// The last write to the page file failed; pages stay in RAM as long as there is room.
    #[error("the last write to the page file failed: {0}")]
    WriteFailed(Errno),
    /// Page files whose descriptors are not held a second time: should the program close or replace one, what is in the
    /// file is lost, and in-page errors follow.
    /// Raise `RLIMIT_NOFILE`, or make fewer spaces and page files.
    #[error(
        "the descriptors of {count} page files are not protected against being closed ({cause}): raise RLIMIT_NOFILE"
    )]
    DescriptorsNotKept {
        /// How many.
        count: usize,
        /// Why.
        cause: Errno,
    },
}
