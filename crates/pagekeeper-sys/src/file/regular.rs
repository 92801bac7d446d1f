//! Opening what somebody else names, without doing anything else by it.
//!
//! Opening alone acts: a pipe waits for its other side, a device does things, a terminal may become one's own, a file of a file
//! system in user space never opens. So what lies there is looked at first, and then that very thing is opened.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::retry;
use super::space::{FileSystem, file_system_of};
use crate::Errno;

/// Opens an ordinary file on a file system that `is_fine`; for writing as well where `writable`.
///
/// # Errors
/// `EINVAL` for anything else than an ordinary file on such a file system; the kernel's.
pub fn open_regular(
    path: &Path,
    writable: bool,
    is_fine: impl FnOnce(&FileSystem) -> bool,
) -> Result<OwnedFd, Errno> {
    let name_only = OFlags::PATH | OFlags::CLOEXEC;
    let found = retry(|| rustix::fs::open(path, name_only, Mode::empty()))?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
    if kind != FileType::RegularFile || !is_fine(&file_system_of(&found)?) {
        return Err(Errno::INVAL);
    }
    let access = if writable {
        OFlags::RDWR
    } else {
        OFlags::RDONLY
    };
    let flags = access | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    // A thread may have descriptors of its own.
    let itself = format!("/proc/thread-self/fd/{}", found.as_raw_fd());
    retry(|| rustix::fs::open(itself.as_str(), flags, Mode::empty()))
}
