//! What is to be known of an open file, positioned transfers, and reaching files that other tables hold.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};

use super::retry;
use crate::Errno;
use crate::map::Access;

/// Facts about a file (`fstat`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileFacts {
    /// The file system (`st_dev`).
    pub device: u64,
    /// The file on it (`st_ino`).
    pub inode: u64,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Whether it is an ordinary file, rather than a folder, a device or a pipe.
    pub is_regular: bool,
    /// The user that it belongs to.
    pub owner: u32,
    /// Permission bits.
    pub permissions: u32,
    /// How many names it has.
    pub names: u64,
}

/// What the kernel says of an open file.
///
/// # Errors
/// `EBADF` when the number was closed behind our back.
pub fn facts(file: impl AsFd) -> Result<FileFacts, Errno> {
    let file = file.as_fd();
    let found = retry(|| rustix::fs::fstat(file))?;
    Ok(FileFacts {
        device: found.st_dev,
        inode: found.st_ino,
        size_bytes: found.st_size as u64,
        is_regular: FileType::from_raw_mode(found.st_mode) == FileType::RegularFile,
        owner: found.st_uid,
        permissions: found.st_mode & 0o7777,
        names: found.st_nlink,
    })
}

/// Whether the file was opened for all of `access`; executing needs reading.
///
/// # Errors
/// `EBADF`.
pub fn is_open_for(file: impl AsFd, access: Access) -> Result<bool, Errno> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    let mode = flags & OFlags::RWMODE;
    let reads = !flags.contains(OFlags::PATH) && (mode == OFlags::RDONLY || mode == OFlags::RDWR);
    let writes = mode == OFlags::RDWR || mode == OFlags::WRONLY;
    let wants_read = access.intersects(Access::READ | Access::EXECUTE);
    Ok((!wants_read || reads) && (!access.contains(Access::WRITE) || writes))
}

/// A second descriptor of the same opening.
///
/// # Errors
/// `EMFILE`.
pub fn duplicate(file: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(file, 3)
}

/// Opens the same file once more, for reading or writing as it is open.
///
/// # Errors
/// `ENOENT` without `/proc`, `EACCES` where the rights were changed since.
pub fn reopen_alike(file: impl AsFd) -> Result<OwnedFd, Errno> {
    let file = file.as_fd();
    let mode = rustix::fs::fcntl_getfl(file)? & OFlags::RWMODE;
    // The thread's: it may have a table of its own.
    let path = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
    let flags = mode | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    retry(|| rustix::fs::open(path.as_str(), flags, Mode::empty()))
}

/// Takes all rights from everybody but the owner, and the owner's right to execute.
///
/// # Errors
/// `EPERM` for a file of another user.
pub fn make_private(file: impl AsFd) -> Result<(), Errno> {
    rustix::fs::fchmod(file, Mode::RUSR | Mode::WUSR)
}

/// Reads all of `bytes` at `offset`; fewer only at the end of the file. Returns how many.
///
/// # Errors
/// The kernel's.
pub fn read_at(file: impl AsFd, bytes: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let file = file.as_fd();
    let mut done = 0;
    while done < bytes.len() {
        match retry(|| rustix::io::pread(file, &mut bytes[done..], offset + done as u64))? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

/// Writes all of `bytes` at `offset`.
///
/// # Errors
/// The kernel's; `EIO` where it stops without one.
pub fn write_at(file: impl AsFd, bytes: &[u8], offset: u64) -> Result<(), Errno> {
    let file = file.as_fd();
    let mut done = 0;
    while done < bytes.len() {
        match retry(|| rustix::io::pwrite(file, &bytes[done..], offset + done as u64))? {
            0 => return Err(Errno::IO),
            count => done += count,
        }
    }
    Ok(())
}

/// Opens the file behind descriptor `number` of process (or thread) `pid`, once more, for reading and, where wanted, writing.
/// Whose process that is, and what the file is, has to be looked at afterwards.
///
/// # Errors
/// `ENOENT` when there is none, `EACCES` and `EPERM` when it may not be looked into.
pub fn of_process(pid: u32, number: u32, access: Access) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/{pid}/fd/{number}");
    let mode = if access.contains(Access::WRITE) {
        OFlags::RDWR
    } else {
        OFlags::RDONLY
    };
    // Without O_NONBLOCK a pipe with no other end would wait.
    let flags = mode | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    retry(|| rustix::fs::open(path.as_str(), flags, Mode::empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_was_opened_for_is_known() {
        let file = super::super::create_in_memory("rights").unwrap();
        assert_eq!(is_open_for(&file, Access::READ_WRITE), Ok(true));
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let read_only = std::fs::File::open(again).unwrap();
        assert_eq!(is_open_for(&read_only, Access::READ), Ok(true));
        assert_eq!(is_open_for(&read_only, Access::READ_WRITE), Ok(false));
    }
}
