//! Opening a file. Windows: `CreateFileA`, `CreateFileW`.
//!
//! | argument | here |
//! |---|---|
//! | access | generic and specific rights; what a handle may do is checked at every call |
//! | share mode | kept within the process, see `share` |
//! | security attributes | none: who may use a new file is the umask's matter, and handles are not inherited |
//! | disposition | all five; `CREATE_ALWAYS` and `OPEN_ALWAYS` leave 183 as the last error where the file was there, every other success 0 |
//! | `FILE_ATTRIBUTE_READONLY` | of a new file: nobody may write to it |
//! | `FILE_FLAG_DELETE_ON_CLOSE` | the name goes with the last handle, or at exit; at once where the share mode lets nobody in, so that nothing is left after a crash |
//! | `FILE_FLAG_OVERLAPPED` | every transfer must name its offset; it has ended when the call returns |
//! | `FILE_FLAG_WRITE_THROUGH` | `O_DSYNC` |
//! | `FILE_FLAG_SEQUENTIAL_SCAN`, `FILE_FLAG_RANDOM_ACCESS` | advice for the kernel |
//! | `FILE_FLAG_BACKUP_SEMANTICS` | needed for a folder, as on Windows |
//! | `FILE_FLAG_OPEN_REPARSE_POINT` | does not follow a symbolic link |
//! | other flags and attributes, the template | no effect |

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::{c_char, c_void};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use crate::constants::{
    CREATE_ALWAYS, CREATE_NEW, DELETE, ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS,
    ERROR_FILE_EXISTS, ERROR_INVALID_PARAMETER, ERROR_SUCCESS, FILE_ALL_ACCESS, FILE_APPEND_DATA,
    FILE_ATTRIBUTE_READONLY, FILE_EXECUTE, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_DELETE_ON_CLOSE,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_FLAG_OVERLAPPED, FILE_FLAG_RANDOM_ACCESS,
    FILE_FLAG_SEQUENTIAL_SCAN, FILE_FLAG_WRITE_THROUGH, FILE_READ_ATTRIBUTES, FILE_READ_DATA,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_WRITE_DATA, OPEN_ALWAYS,
    OPEN_EXISTING, SYNCHRONIZE, TRUNCATE_EXISTING,
};
use crate::errors::Code;
use crate::files::path::{failure, of_a, of_w};
use crate::files::{File, Removal, share, specific};
use crate::handles::{self, Object};
use crate::last_error::{SetLastError, or};
use crate::types::{DWORD, HANDLE};

const SHARE_MODES: DWORD = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
/// Permissions of a new file, before the umask.
const NEW_FILE: u32 = 0o666;
const ANY_WRITE: u32 = 0o222;
/// So often a file that appears and disappears meanwhile is tried.
const TRIES: usize = 100;

/// `CreateFileA`
#[unsafe(no_mangle)]
pub extern "C" fn CreateFileA(
    name: *const c_char,
    access: DWORD,
    share: DWORD,
    _security: *mut c_void,
    disposition: DWORD,
    flags: DWORD,
    _template: HANDLE,
) -> HANDLE {
    finish(of_a(name).and_then(|path| create(path, access, share, disposition, flags)))
}

/// `CreateFileW`
#[unsafe(no_mangle)]
pub extern "C" fn CreateFileW(
    name: *const u16,
    access: DWORD,
    share: DWORD,
    _security: *mut c_void,
    disposition: DWORD,
    flags: DWORD,
    _template: HANDLE,
) -> HANDLE {
    finish(of_w(name).and_then(|path| create(path, access, share, disposition, flags)))
}

/// Success writes the last error too: whether the file was there.
fn finish(result: Result<(HANDLE, DWORD), Code>) -> HANDLE {
    let result = result.map(|(handle, said)| {
        SetLastError(said);
        handle
    });
    or(result, core::ptr::without_provenance_mut(usize::MAX))
}

/// What is asked for.
struct Request {
    path: PathBuf,
    access: DWORD,
    disposition: DWORD,
    flags: DWORD,
}

/// What was opened.
struct Opened {
    descriptor: OwnedFd,
    was_there: bool,
}

fn create(
    path: PathBuf,
    access: DWORD,
    lets: DWORD,
    disposition: DWORD,
    flags: DWORD,
) -> Result<(HANDLE, DWORD), Code> {
    let mut access = specific(access) | SYNCHRONIZE | FILE_READ_ATTRIBUTES;
    if flags & FILE_FLAG_DELETE_ON_CLOSE != 0 {
        access |= DELETE;
    }
    if access & !FILE_ALL_ACCESS != 0 {
        return Err(Code(ERROR_ACCESS_DENIED));
    }
    let truncates_unwritable = disposition == TRUNCATE_EXISTING && access & FILE_WRITE_DATA == 0;
    if lets & !SHARE_MODES != 0
        || !(CREATE_NEW..=TRUNCATE_EXISTING).contains(&disposition)
        || truncates_unwritable
    {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    let request = Request {
        path,
        access,
        disposition,
        flags,
    };
    let opened = request.open()?;
    let was_there = opened.was_there;
    let file = request.set_up(opened, lets)?;
    close_at_exit();
    let handle = handles::insert(Object::File(Arc::new(file)), access);
    let says_so = was_there && matches!(disposition, CREATE_ALWAYS | OPEN_ALWAYS);
    let said = if says_so {
        ERROR_ALREADY_EXISTS
    } else {
        ERROR_SUCCESS
    };
    Ok((handle, said))
}

impl Request {
    fn is_for_reading(&self) -> bool {
        self.access & (FILE_READ_DATA | FILE_EXECUTE) != 0
    }

    fn is_for_writing(&self) -> bool {
        self.access & (FILE_WRITE_DATA | FILE_APPEND_DATA) != 0 || self.disposition == CREATE_ALWAYS
    }

    /// How Linux opens it. Never with truncation: first the others are asked.
    fn options(&self, as_new: bool) -> OpenOptions {
        let mut more = libc::O_NOCTTY;
        if self.flags & FILE_FLAG_WRITE_THROUGH != 0 {
            more |= libc::O_DSYNC;
        }
        if self.flags & FILE_FLAG_OPEN_REPARSE_POINT != 0 {
            more |= libc::O_NOFOLLOW;
        }
        if self.access & FILE_APPEND_DATA != 0 && self.access & FILE_WRITE_DATA == 0 {
            more |= libc::O_APPEND;
        }
        let is_read_only = self.flags & FILE_ATTRIBUTE_READONLY != 0;
        let mode = if is_read_only {
            NEW_FILE & !ANY_WRITE
        } else {
            NEW_FILE
        };
        let mut options = OpenOptions::new();
        options
            .read(self.is_for_reading() || !self.is_for_writing())
            .write(self.is_for_writing() || as_new)
            .create_new(as_new)
            .mode(mode)
            .custom_flags(more);
        options
    }

    fn open(&self) -> Result<Opened, Code> {
        let makes_new = matches!(self.disposition, CREATE_NEW | CREATE_ALWAYS | OPEN_ALWAYS);
        let opens_old = self.disposition != CREATE_NEW;
        for _ in 0..TRIES {
            if makes_new {
                match self.options(true).open(&self.path) {
                    Ok(file) => return Ok(self.opened(file, false)),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(failure(&self.path, &error)),
                }
            }
            if !opens_old {
                return Err(Code(ERROR_FILE_EXISTS));
            }
            match self.open_old() {
                Ok(file) => return Ok(self.opened(file, true)),
                // It was removed between the two looks.
                Err(error) if makes_new && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failure(&self.path, &error)),
            }
        }
        Err(Code(ERROR_ACCESS_DENIED))
    }

    /// Opens what is there; for looking only, if there is no right to more and no more is asked for.
    fn open_old(&self) -> io::Result<fs::File> {
        match self.options(false).open(&self.path) {
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && !self.is_for_reading()
                    && !self.is_for_writing() =>
            {
                let mut looking = OpenOptions::new();
                looking
                    .read(true)
                    .custom_flags(libc::O_PATH)
                    .open(&self.path)
            }
            other => other,
        }
    }

    fn opened(&self, file: fs::File, was_there: bool) -> Opened {
        Opened {
            descriptor: file.into(),
            was_there,
        }
    }

    /// Asks the others, and does what the flags say.
    fn set_up(&self, opened: Opened, lets: DWORD) -> Result<File, Code> {
        let is_new = !opened.was_there;
        let mut file = File::new(opened.descriptor)?;
        file.is_overlapped = self.flags & FILE_FLAG_OVERLAPPED != 0;
        if file.is_directory && self.flags & FILE_FLAG_BACKUP_SEMANTICS == 0 {
            return Err(Code(ERROR_ACCESS_DENIED));
        }
        if !file.is_on_disk() {
            return Ok(file);
        }
        // The attribute, not the rights: a file without any right to write is read-only for the superuser too.
        let is_read_only = !is_new && file.facts()?.mode() & ANY_WRITE == 0;
        if is_read_only && (self.is_for_writing() || self.access & DELETE != 0) {
            return Err(Code(ERROR_ACCESS_DENIED));
        }
        file.share = match share::hold(file.identity, self.access, lets) {
            Err(code) => return Err(self.forget_new(is_new, code)),
            Ok(held) => held,
        };
        if !is_new && matches!(self.disposition, CREATE_ALWAYS | TRUNCATE_EXISTING) {
            file.check_may_end_at(0)?;
            truncate(&file)?;
        }
        self.advise(&file);
        if self.flags & FILE_FLAG_DELETE_ON_CLOSE != 0 {
            file.removal = self.removal(lets)?;
        }
        Ok(file)
    }

    /// A file that was made only to be refused is no file.
    fn forget_new(&self, is_new: bool, code: Code) -> Code {
        if is_new {
            let _ = fs::remove_file(&self.path);
        }
        code
    }

    /// With a share mode that lets nobody in, nobody can miss the name.
    fn removal(&self, lets: DWORD) -> Result<Option<Removal>, Code> {
        if lets == 0 {
            fs::remove_file(&self.path).map_err(|error| failure(&self.path, &error))?;
            return Ok(None);
        }
        Ok(Some(Removal {
            path: absolute(&self.path)?,
            process: std::process::id(),
        }))
    }

    fn advise(&self, file: &File) {
        let advice = match self.flags & (FILE_FLAG_SEQUENTIAL_SCAN | FILE_FLAG_RANDOM_ACCESS) {
            FILE_FLAG_SEQUENTIAL_SCAN => libc::POSIX_FADV_SEQUENTIAL,
            FILE_FLAG_RANDOM_ACCESS => libc::POSIX_FADV_RANDOM,
            _ => return,
        };
        // SAFETY: the descriptor is ours; advice changes no contents, and if it is not taken nothing is lost.
        unsafe { libc::posix_fadvise(file.number(), 0, 0, advice) };
    }
}

/// The current folder may be another one by the time the name is removed.
fn absolute(path: &Path) -> Result<PathBuf, Code> {
    Ok(std::path::absolute(path)?)
}

fn truncate(file: &File) -> Result<(), Code> {
    // SAFETY: the descriptor is open as long as the file lives.
    if unsafe { libc::ftruncate(file.descriptor.number().as_raw_fd(), 0) } == 0 {
        return Ok(());
    }
    Err(Code::last())
}

/// Windows closes all handles at the end of a process; names that go with their files go then.
fn close_at_exit() {
    extern "C" fn close() {
        handles::close_all();
    }
    static ONCE: Once = Once::new();
    // SAFETY: the function may run at any time, also while threads are still running.
    ONCE.call_once(|| unsafe {
        libc::atexit(close);
    });
}

const _: () = assert!(OPEN_EXISTING > CREATE_NEW && OPEN_EXISTING < TRUNCATE_EXISTING);
