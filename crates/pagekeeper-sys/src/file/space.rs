//! A file's room on the disk: allocated before it is promised, given back when it is not needed.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FallocateFlags, StatFs};

use super::retry;
use crate::descriptor::InUse;
use crate::{Errno, rlimit};

/// How far an allocation came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct Allocated {
    /// Bytes from the start of the range that are really there now.
    pub done_bytes: u64,
    /// Why it stopped early: `ENOSPC` or `EDQUOT` no room, `EFBIG` beyond the file system's or the
    /// process's (`RLIMIT_FSIZE`) largest file.
    pub error: Option<Errno>,
}

/// By which call room is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AllocateHow {
    /// `fallocate`, and writing zeros where the file system refuses that.
    Best,
    /// Writing zeros: works everywhere, as fast as the disk writes.
    WriteZeros,
}

/// Allocates `length_bytes` bytes from `offset` on for good: a later write there cannot fail for
/// want of space. The file grows when it was shorter. Works in steps of `step_bytes`, so that what
/// was done is known when the disk fills up, and other users of the disk are not held up.
///
/// Bytes that are there are kept; where zeros must be written, nobody else may write to the range
/// meanwhile.
///
/// A process over its `RLIMIT_FSIZE` would be killed by SIGXFSZ; that limit is asked first.
pub fn allocate(
    file: impl AsFd,
    offset: u64,
    length_bytes: u64,
    step_bytes: u64,
    how: AllocateHow,
) -> Allocated {
    let mut write_zeros = how == AllocateHow::WriteZeros;
    let mut done = 0;
    while done < length_bytes {
        // Asked for anew with each step: the program may take the number for a file of its own in between.
        let _in_use = InUse::begin();
        let file = file.as_fd();
        let step = (length_bytes - done).min(step_bytes.max(4096));
        let start = offset.saturating_add(done);
        let fits = start
            .checked_add(step)
            .is_some_and(|end| end <= rlimit::file_size_bytes() && i64::try_from(end).is_ok());
        let result = if !fits {
            Err(Errno::FBIG)
        } else if write_zeros {
            zeros_by_writing(file, start, step)
        } else {
            retry(|| rustix::fs::fallocate(file, FallocateFlags::empty(), start, step))
        };
        match result {
            Ok(()) => done += step,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if !write_zeros => write_zeros = true,
            Err(errno) => {
                return Allocated {
                    done_bytes: done,
                    error: Some(errno),
                };
            }
        }
    }
    Allocated {
        done_bytes: done,
        error: None,
    }
}

/// Makes sure of the room by storing zeros where the file has no bytes yet; bytes inside the file's
/// present length are kept, and rewritten so that holes become real.
fn zeros_by_writing(
    file: rustix::fd::BorrowedFd<'_>,
    start: u64,
    length: u64,
) -> Result<(), Errno> {
    #[repr(align(4096))]
    struct Block([u8; 16 * 4096]);
    // Static, so that no stack is used; never written to.
    static ZEROS: Block = Block([0; 16 * 4096]);
    let size = retry(|| rustix::fs::fstat(file))?.st_size as u64;
    let end = start + length;
    let mut at = start;
    // Inside the file: read what is there and write it back.
    while at < end.min(size) {
        let mut page = super::AlignedPage::new();
        let got = retry(|| rustix::io::pread(file, &mut page.bytes_mut()[..], at))?;
        if got == 0 {
            break;
        }
        write_all(file, &page.bytes()[..got], at)?;
        at += got as u64;
    }
    while at < end {
        let piece = (end - at).min(ZEROS.0.len() as u64) as usize;
        write_all(file, &ZEROS.0[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

fn write_all(file: rustix::fd::BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        match retry(|| rustix::io::pwrite(file, rest, offset + done as u64))? {
            0 => return Err(Errno::IO),
            count => done += count,
        }
    }
    Ok(())
}

/// Gives the room of whole blocks in the range back to the file system; the bytes read as zero.
///
/// # Errors
/// `EOPNOTSUPP` where the file system cannot.
pub fn punch(file: impl AsFd, offset: u64, length_bytes: u64) -> Result<(), Errno> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let file = file.as_fd();
    retry(|| rustix::fs::fallocate(file, flags, offset, length_bytes))
}

/// Makes the bytes of the range zero and keeps their room.
///
/// # Errors
/// `EOPNOTSUPP` where the file system cannot.
pub fn zero_range(file: impl AsFd, offset: u64, length_bytes: u64) -> Result<(), Errno> {
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    let file = file.as_fd();
    retry(|| rustix::fs::fallocate(file, flags, offset, length_bytes))
}

/// Cuts the file, or extends it with a hole.
///
/// # Errors
/// `EFBIG` beyond the largest file (asked before, so that no SIGXFSZ comes).
pub fn truncate(file: impl AsFd, length_bytes: u64) -> Result<(), Errno> {
    let _in_use = InUse::begin();
    let file = file.as_fd();
    let size = retry(|| rustix::fs::fstat(file))?.st_size as u64;
    if length_bytes > size && length_bytes > rlimit::file_size_bytes() {
        return Err(Errno::FBIG);
    }
    retry(|| rustix::fs::ftruncate(file, length_bytes))
}

/// What kind of place a file system is for pages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileSystemKind {
    /// tmpfs or ramfs: pages written there stay in RAM, which is no gain.
    Ram,
    /// A network or user-space file system: slow, may go away.
    Remote,
    /// A disk, or something that behaves like one.
    Disk,
}

/// What the kernel says about a file system.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileSystem {
    /// What kind of place it is.
    pub kind: FileSystemKind,
    /// The kernel's number for its type.
    pub magic: u64,
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
}

/// The file system that `path` lies on.
///
/// # Errors
/// `ENOENT`, `EACCES` and so on.
pub fn file_system(path: &Path) -> Result<FileSystem, Errno> {
    Ok(describe(&retry(|| rustix::fs::statfs(path))?))
}

/// The file system that an open file lies on.
///
/// # Errors
/// The kernel's.
pub fn file_system_of(file: impl AsFd) -> Result<FileSystem, Errno> {
    let file = file.as_fd();
    Ok(describe(&retry(|| rustix::fs::fstatfs(file))?))
}

fn describe(found: &StatFs) -> FileSystem {
    const RAM: [u64; 3] = [0x0102_1994, 0x8584_58F6, 0x9584_58F6]; // tmpfs, ramfs, hugetlbfs
    const REMOTE: [u64; 8] = [
        0x6969,      // NFS
        0xFF53_4D42, // CIFS
        0xFE53_4D42, // SMB2
        0x517B,      // SMB
        0x0102_1997, // 9p
        0x6573_5546, // FUSE
        0x00C3_6400, // Ceph
        0x5346_414F, // AFS
    ];
    let magic = found.f_type as u64 & 0xFFFF_FFFF;
    let block_bytes = found.f_bsize as u64;
    FileSystem {
        kind: if RAM.contains(&magic) {
            FileSystemKind::Ram
        } else if REMOTE.contains(&magic) {
            FileSystemKind::Remote
        } else {
            FileSystemKind::Disk
        },
        magic,
        free_bytes: found.f_bavail.saturating_mul(block_bytes),
        total_bytes: found.f_blocks.saturating_mul(block_bytes),
        block_bytes,
    }
}
