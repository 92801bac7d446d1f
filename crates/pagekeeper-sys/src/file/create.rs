//! Creating a page file so that nothing is left behind, whatever ends the process.
//!
//! In a folder: a file that never has a name (`O_TMPFILE`), or one that loses it at once. By name:
//! a new file, or an existing *empty* ordinary one; the name is taken away as soon as the file is
//! open. Anything that may hold somebody's data is refused before it is touched.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};

use super::retry;
use crate::Errno;

/// Read and write for the owner, nothing for others.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
const FLAGS: OFlags = OFlags::RDWR.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Why a page file cannot be made there. Each prints as one line that says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The folder, or the folder of the named file, does not exist.
    #[error("the page file's folder '{0}' does not exist: create it or name another")]
    FolderMissing(PathBuf),
    /// Something on the way is not a folder.
    #[error("'{0}' is not a folder: a page file needs one")]
    NotAFolder(PathBuf),
    /// No right to create or open.
    #[error("no permission to make a page file at '{0}': choose a folder you may write to")]
    NoPermission(PathBuf),
    /// The file system is mounted read-only.
    #[error("the file system of '{0}' is read-only: choose another folder for the page file")]
    ReadOnly(PathBuf),
    /// No room for even an empty file.
    #[error("the file system of '{0}' is full: free some space or choose another folder")]
    Full(PathBuf),
    /// The named file holds bytes.
    #[error("'{0}' is not empty and will not be overwritten: remove it or name another page file")]
    NotEmpty(PathBuf),
    /// The named file is a disk or another device.
    #[error("'{0}' is a device and will not be overwritten: name a folder or an ordinary file")]
    Device(PathBuf),
    /// A pipe, a socket or a symbolic link.
    #[error("'{0}' is a {1}: name a folder or an ordinary file as page file")]
    NotOrdinary(PathBuf, &'static str),
    /// Another process holds it as its page file.
    #[error("'{0}' is in use by another process: name another page file")]
    InUse(PathBuf),
    /// Anything else.
    #[error("cannot make a page file at '{0}': {1}")]
    Other(PathBuf, Errno),
}

impl FileError {
    fn new(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::NOENT => Self::FolderMissing(path),
            Errno::NOTDIR => Self::NotAFolder(path),
            Errno::ACCESS | Errno::PERM => Self::NoPermission(path),
            Errno::ROFS => Self::ReadOnly(path),
            Errno::NOSPC | Errno::DQUOT => Self::Full(path),
            Errno::LOOP => Self::NotOrdinary(path, "symbolic link"),
            other => Self::Other(path, other),
        }
    }
}

/// How a page file came to be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// It never had a name.
    Nameless,
    /// It was created with a name, which is gone already.
    Unlinked,
    /// It was an empty file of the caller's; its name is gone already.
    TakenOver,
}

/// A page file without a name: it vanishes when its last descriptor is closed.
#[derive(Debug)]
pub struct Created {
    /// Open for reading and writing, close-on-exec, empty.
    pub file: OwnedFd,
    /// How it came to be.
    pub origin: Origin,
}

/// Makes a page file at `path`: in it when it is a folder, by that name otherwise.
///
/// # Errors
/// [`FileError`]; nothing is left behind then.
pub fn create(path: &Path) -> Result<Created, FileError> {
    match retry(|| rustix::fs::stat(path)) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
            create_in_folder(path)
        }
        _ => create_named(path),
    }
}

/// Makes a file that lies in RAM and has no name; `label` is for people who look at `/proc`.
///
/// # Errors
/// `EMFILE`, `ENOMEM`.
pub fn create_in_memory(label: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::memfd_create(label, rustix::fs::MemfdFlags::CLOEXEC)
}

/// Makes a nameless page file in `folder`.
///
/// # Errors
/// [`FileError`]; nothing is left behind then.
pub fn create_in_folder(folder: &Path) -> Result<Created, FileError> {
    let error = |errno| FileError::new(folder, errno);
    // With O_EXCL nobody can give it a name later.
    let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    match retry(|| rustix::fs::open(folder, flags, PRIVATE)) {
        Ok(file) => Ok(Created {
            file,
            origin: Origin::Nameless,
        }),
        // File systems without nameless files (NFS, FUSE, overlay of old kernels) say one of these.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
            create_and_unlink(folder).map_err(error)
        }
        Err(errno) => Err(error(errno)),
    }
}

/// Creates a file under a random name and takes the name away.
pub(super) fn create_and_unlink(folder: &Path) -> Result<Created, Errno> {
    const ATTEMPTS: usize = 32;
    let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = retry(|| rustix::fs::open(folder, folder_flags, Mode::empty()))?;
    for _ in 0..ATTEMPTS {
        let name = random_name()?;
        let flags = FLAGS | OFlags::CREATE | OFlags::EXCL;
        let file = match retry(|| rustix::fs::openat(&folder, &name, flags, PRIVATE)) {
            Err(Errno::EXIST) => continue,
            other => other?,
        };
        retry(|| rustix::fs::unlinkat(&folder, &name, AtFlags::empty()))?;
        return Ok(Created {
            file,
            origin: Origin::Unlinked,
        });
    }
    Err(Errno::EXIST)
}

fn random_name() -> Result<OsString, Errno> {
    let mut bytes = [0_u8; 8];
    retry(|| rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()))?;
    Ok(OsString::from(format!(
        ".pagekeeper-{:016x}",
        u64::from_ne_bytes(bytes)
    )))
}

/// Makes a page file by name: creates it, or takes over an empty ordinary file; takes the name away.
///
/// # Errors
/// [`FileError`]; what existed is left as it was then.
pub fn create_named(path: &Path) -> Result<Created, FileError> {
    let error = |errno| FileError::new(path, errno);
    let name = path.file_name().ok_or_else(|| error(Errno::ISDIR))?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = retry(|| rustix::fs::open(parent, folder_flags, Mode::empty()))
        .map_err(|errno| FileError::new(parent, errno))?;
    // Look before opening: opening a device or a pipe may have effects of its own.
    let exists = match retry(|| rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(found) => {
            refuse_unless_empty(path, &found)?;
            true
        }
        Err(Errno::NOENT) => false,
        Err(errno) => return Err(error(errno)),
    };
    let file = if exists {
        retry(|| rustix::fs::openat(&folder, name, FLAGS | OFlags::NONBLOCK, Mode::empty()))
    } else {
        let flags = FLAGS | OFlags::CREATE | OFlags::EXCL;
        retry(|| rustix::fs::openat(&folder, name, flags, PRIVATE))
    }
    .map_err(error)?;
    take_name_away(path, folder.as_fd(), name, &file)?;
    let origin = if exists {
        Origin::TakenOver
    } else {
        Origin::Unlinked
    };
    Ok(Created { file, origin })
}

fn refuse_unless_empty(path: &Path, found: &rustix::fs::Stat) -> Result<(), FileError> {
    let owned = || path.to_owned();
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if found.st_size == 0 => Ok(()),
        FileType::RegularFile => Err(FileError::NotEmpty(owned())),
        FileType::BlockDevice | FileType::CharacterDevice => Err(FileError::Device(owned())),
        FileType::Directory => Err(FileError::NotOrdinary(owned(), "folder")),
        FileType::Symlink => Err(FileError::NotOrdinary(owned(), "symbolic link")),
        FileType::Fifo => Err(FileError::NotOrdinary(owned(), "pipe")),
        FileType::Socket => Err(FileError::NotOrdinary(owned(), "socket")),
        FileType::Unknown => Err(FileError::NotOrdinary(owned(), "special file")),
    }
}

/// Makes sure that what was opened is still empty, ours alone and the same that the name stands
/// for, and removes the name.
fn take_name_away(
    path: &Path,
    folder: rustix::fd::BorrowedFd<'_>,
    name: &OsStr,
    file: &OwnedFd,
) -> Result<(), FileError> {
    let error = |errno| FileError::new(path, errno);
    // A file system without locks cannot tell; the checks below remain.
    let locked = retry(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive));
    if locked == Err(Errno::AGAIN) {
        return Err(FileError::InUse(path.to_owned()));
    }
    let opened = retry(|| rustix::fs::fstat(file)).map_err(error)?;
    refuse_unless_empty(path, &opened)?;
    let named =
        retry(|| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)).map_err(error)?;
    if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino) {
        return Err(FileError::InUse(path.to_owned()));
    }
    retry(|| rustix::fs::unlinkat(folder, name.as_bytes(), AtFlags::empty())).map_err(error)
}
