//! Files: opening, reading, writing, sizes and positions, as far as programs that map files need them.
//!
//! | module | calls |
//! |---|---|
//! | [`open`] | `CreateFileA`, `CreateFileW` |
//! | [`transfer`] | `ReadFile`, `WriteFile`, `FlushFileBuffers`, `GetOverlappedResult` |
//! | [`position`] | `SetFilePointer`, `SetFilePointerEx`, `GetFileSize`, `GetFileSizeEx`, `SetEndOfFile` |
//! | [`facts`] | `GetFileType`, `GetFileInformationByHandle`, `GetFileAttributesA`, `GetFileAttributesW` |
//! | [`names`] | `DeleteFileA`, `GetTempPathA`, `GetTempFileNameA`, ... and their W forms |
//! | [`runtime`] | `_get_osfhandle`, `_open_osfhandle`, `GetStdHandle`: handles of the C run-time's descriptors |
//!
//! Beneath them: `path` (Windows' names for Linux' files), `share` (who lets whom in), `buffer` (the caller's memory, looked at
//! before anything is transferred), and here the open file itself.
//!
//! Why it is so: `docs/decisions/0019-handles-and-files.md`.

mod buffer;
pub mod facts;
pub mod names;
pub mod open;
mod path;
pub mod position;
pub mod runtime;
mod share;
pub mod transfer;

pub(crate) use path::{hand_over, text_of_a, text_of_w, to_a, to_w};

use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use pagekeeper::mapped_end;

use crate::constants::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_HANDLE, ERROR_USER_MAPPED_FILE, FILE_ALL_ACCESS,
    FILE_GENERIC_EXECUTE, FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_TYPE_CHAR, FILE_TYPE_DISK,
    FILE_TYPE_PIPE, GENERIC_ALL, GENERIC_EXECUTE, GENERIC_READ, GENERIC_WRITE,
};
use crate::errors::Code;
use crate::handles::{Object, entry};
use crate::types::{DWORD, HANDLE};

/// Which file, whatever its names: device and inode.
pub(crate) type Identity = (u64, u64);

/// An open file: what all handles duplicated from one another have in common, the position included.
#[derive(Debug)]
pub(crate) struct File {
    descriptor: Descriptor,
    identity: Identity,
    kind: DWORD,
    is_directory: bool,
    /// `FILE_FLAG_OVERLAPPED`: every transfer names its offset.
    is_overlapped: bool,
    /// Removes the name when the file is let go.
    removal: Option<Removal>,
    /// What others may do meanwhile; `None` where nothing is asked for.
    share: Option<share::Held>,
}

/// Who closes the descriptor.
#[derive(Debug)]
enum Descriptor {
    /// We, when the last handle is closed.
    Ours(OwnedFd),
    /// The C run-time has the number too, and may close it at any time.
    Runtime(RawFd),
}

/// A name to be removed, and what it must still stand for.
#[derive(Debug)]
struct Removal {
    path: PathBuf,
    /// A child made by `fork` has a copy of this, and nothing to remove.
    process: u32,
}

impl File {
    /// Takes a descriptor that was just opened.
    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Self::of(Descriptor::Ours(descriptor))
    }

    /// Takes part in a descriptor of the C run-time.
    fn of_runtime(number: RawFd) -> io::Result<Self> {
        Self::of(Descriptor::Runtime(number))
    }

    fn of(descriptor: Descriptor) -> io::Result<Self> {
        let facts = facts_of(descriptor.number())?;
        let kind = facts.file_type();
        Ok(Self {
            identity: (facts.dev(), facts.ino()),
            kind: if kind.is_char_device() {
                FILE_TYPE_CHAR
            } else if kind.is_fifo() || kind.is_socket() {
                FILE_TYPE_PIPE
            } else {
                FILE_TYPE_DISK
            },
            is_directory: kind.is_dir(),
            is_overlapped: false,
            removal: None,
            share: None,
            descriptor,
        })
    }

    /// Its number. Of the run-time's only as good as the program is careful.
    pub(crate) fn number(&self) -> RawFd {
        self.descriptor.number()
    }

    /// Which file it is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether it has a size and a position.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.kind == FILE_TYPE_DISK && !self.is_directory
    }

    /// Refuses to cut the file where a view of this process still shows it.
    pub(crate) fn check_may_end_at(&self, end: u64) -> Result<(), Code> {
        let (device, inode) = self.identity;
        match mapped_end(device, inode) {
            Some(mapped) if end < mapped => Err(Code(ERROR_USER_MAPPED_FILE)),
            _ => Ok(()),
        }
    }

    /// What the kernel says about it now.
    pub(crate) fn facts(&self) -> Result<fs::Metadata, Code> {
        Ok(facts_of(self.number())?)
    }

    /// Whether the C run-time has closed the descriptor, or its number is another file's by now.
    fn is_lost(&self) -> bool {
        matches!(self.descriptor, Descriptor::Runtime(number) if is_lost(number, self.identity))
    }
}

impl Descriptor {
    fn number(&self) -> RawFd {
        match self {
            Self::Ours(descriptor) => descriptor.as_raw_fd(),
            Self::Runtime(number) => *number,
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let Some(removal) = &self.removal else {
            return;
        };
        let is_it = |facts: fs::Metadata| (facts.dev(), facts.ino()) == self.identity;
        if removal.process == std::process::id()
            && fs::symlink_metadata(&removal.path).is_ok_and(is_it)
        {
            // If somebody else was quicker, all the better.
            let _ = fs::remove_file(&removal.path);
        }
    }
}

/// The rights to a file that generic ones stand for; others as they are.
pub(crate) fn specific(access: DWORD) -> DWORD {
    let generic = [
        (GENERIC_READ, FILE_GENERIC_READ),
        (GENERIC_WRITE, FILE_GENERIC_WRITE),
        (GENERIC_EXECUTE, FILE_GENERIC_EXECUTE),
        (GENERIC_ALL, FILE_ALL_ACCESS),
    ];
    let mut specific = access;
    for (bit, rights) in generic {
        if access & bit != 0 {
            specific = specific & !bit | rights;
        }
    }
    specific
}

/// The file behind a handle, and the handle's rights.
pub(crate) fn file(handle: HANDLE) -> Result<(Arc<File>, DWORD), Code> {
    let entry = entry(handle)?;
    match entry.object {
        Object::File(file) if !file.is_lost() => Ok((file, entry.access)),
        _ => Err(Code(ERROR_INVALID_HANDLE)),
    }
}

/// The file behind a handle that has all of these rights.
pub(crate) fn file_for(handle: HANDLE, rights: DWORD) -> Result<Arc<File>, Code> {
    let (file, access) = file(handle)?;
    if access & rights == rights {
        Ok(file)
    } else {
        Err(Code(ERROR_ACCESS_DENIED))
    }
}

#[allow(
    unsafe_code,
    reason = "UNSAFETY: looks at a descriptor that may be closed"
)]
fn facts_of(number: RawFd) -> io::Result<fs::Metadata> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: asked about, never closed, because it is never dropped. A number that stands for nothing is an error of the
    // system call.
    let file = ManuallyDrop::new(unsafe { fs::File::from_raw_fd(number) });
    file.metadata()
}

/// Whether a number no longer stands for this file.
fn is_lost(number: RawFd, identity: Identity) -> bool {
    !facts_of(number).is_ok_and(|facts| (facts.dev(), facts.ino()) == identity)
}
