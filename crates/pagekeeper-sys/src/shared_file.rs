//! A file in memory that another process of the same user can find and read: how a process tells what it is doing.
//!
//! It has no name in any file system (`memfd_create`), goes with the last process that has it open, and is readable by its
//! user and by root alone. Another process finds it in `/proc/PID/fd`, which the kernel opens to those who may look into the
//! process. It can never become shorter (it is sealed), so a reader's mapping of it is always good.
//!
//! The first page is one of 32-bit words that both sides read and change; a thread of either process can wait for a word of
//! it to change. What lies behind it is written by the owner through its mapping and read by others with `pread`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: looks at a mapping of a file that other processes write to, as atomics or as raw bytes"
)]

use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::os::fd::OwnedFd;
use std::path::Path;

use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};
use rustix::fs::{FlockOperation, MemfdFlags, Mode, SealFlags};
use rustix::thread::futex::{self, Flags};

use crate::Errno;
use crate::file::{open_regular, retry};
use crate::lock::deadline_after;
use crate::map::{Access, Advice, Mapping, Purpose, advise, map_file};

/// Words of the first page.
pub const WORDS: usize = PAGE_SIZE / size_of::<u32>();

/// `f_type` of the file system in which files in memory lie.
const TMPFS: u64 = 0x0102_1994;

/// The owner's side: the whole file is mapped. A forked child does not have the mapping.
#[derive(Debug)]
pub struct OwnedFile {
    memory: Mapping,
}

impl OwnedFile {
    /// Makes a file of `pages` pages, all zero, that is called `name` in `/proc/PID/fd` (`/memfd:NAME`), and gives its
    /// descriptor, which only has to stay open. RAM is used as it is written to.
    ///
    /// # Errors
    /// What the kernel says: `EMFILE`, `ENOMEM`, `EACCES` or `ENOSYS` where files in memory are forbidden.
    pub fn create(name: &str, pages: PageCount) -> Result<(Self, OwnedFd), Errno> {
        let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::ftruncate(&file, pages.bytes().get())?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let memory = map_file(pages, &file, 0, Access::READ_WRITE)?.held_for(Purpose::Buffers);
        // SAFETY: the mapping is ours alone; a forked child must not write to it, and dumps need not have it.
        unsafe {
            advise(memory.range(), Advice::DoNotInherit)?;
            advise(memory.range(), Advice::DoNotDump)?;
        }
        Ok((Self { memory }, file))
    }

    /// The words of the first page.
    pub fn words(&self) -> &[AtomicU32; WORDS] {
        words_of(&self.memory)
    }

    /// Writes bytes behind the first page; what does not fit is cut off. Readers may see part of it: they are told by a word when
    /// it is whole.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let offset = offset.clamp(PAGE_SIZE, self.memory.len());
        let count = bytes.len().min(self.memory.len() - offset);
        // SAFETY: the target lies in the mapping behind the page of words; no reference into that part is ever made, and the
        // source is a slice of the caller's, not of this mapping.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.base().add(offset), count);
        }
    }

    /// Gives back the RAM of everything from `offset` (rounded up to a page) on; it reads as zeros.
    ///
    /// # Errors
    /// The kernel's.
    pub fn release_from(&self, offset: usize) -> Result<(), Errno> {
        let first = offset.max(PAGE_SIZE).div_ceil(PAGE_SIZE) as u64;
        let range = self.memory.range();
        let rest = PageRange::between(
            PageNumber::new((range.start().get() + first).min(range.end().get())),
            range.end(),
        );
        if rest.is_empty() {
            return Ok(());
        }
        // SAFETY: the range is ours, and holds nothing that anybody relies on.
        unsafe { advise(rest, Advice::Remove) }
    }
}

/// Another process's side: the first page is mapped.
#[derive(Debug)]
pub struct SharedFile {
    file: OwnedFd,
    memory: Mapping,
}

impl SharedFile {
    /// Opens the file at a path of [`crate::process::descriptors_of`].
    ///
    /// Its owner may have put something else there since its name was read: that is not opened.
    ///
    /// # Errors
    /// `EACCES` for somebody else's, `ENOENT` when it is gone, `EINVAL` when it is not such a file.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let file = open_regular(path, true, |place| place.magic == TMPFS)?;
        // Without the seal its owner could take the page away from under us.
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        let length = rustix::fs::fstat(&file)?.st_size;
        if !seals.contains(SealFlags::SHRINK) || length < PAGE_SIZE as i64 {
            return Err(Errno::INVAL);
        }
        let memory = map_file(PageCount::ONE, &file, 0, Access::READ_WRITE)?;
        Ok(Self { file, memory })
    }

    /// The words of the first page.
    pub fn words(&self) -> &[AtomicU32; WORDS] {
        words_of(&self.memory)
    }

    /// Takes the file's lock, unless another opening of the file has it; whether it did. It goes with the opening.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_lock(&self) -> Result<bool, Errno> {
        let how = FlockOperation::NonBlockingLockExclusive;
        match retry(|| rustix::fs::flock(&self.file, how)) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Gives the lock back.
    pub fn unlock(&self) {
        // Refused only for what is no open file.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }

    /// Reads bytes from `offset` on; how many there were.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < bytes.len() {
            let at = (offset + done) as u64;
            match retry(|| rustix::io::pread(&self.file, &mut bytes[done..], at))? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }
}

fn words_of(memory: &Mapping) -> &[AtomicU32; WORDS] {
    // SAFETY: the first page of the mapping lives as long as it, is aligned, and is only ever looked at as atomics, by all
    // processes; the file cannot become shorter.
    unsafe { &*memory.base().cast::<[AtomicU32; WORDS]>() }
}

/// Sleeps while `word`, of a file that processes share, holds `value`, at most `timeout`. Returns at once if it does not, and
/// may return early.
pub fn wait_shared(word: &AtomicU32, value: u32, timeout: Option<Duration>) {
    let deadline = timeout.map(deadline_after);
    let _ = futex::wait_bitset(
        word,
        Flags::empty(),
        value,
        deadline.as_ref(),
        NonZeroU32::MAX,
    );
}

/// Moves a word of a shared file on and wakes everybody, in all processes, who waits for it. Returns the new value.
pub fn advance_shared(word: &AtomicU32) -> u32 {
    let value = word.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
    wake_shared(word);
    value
}

/// Wakes everybody, in all processes, who waits for a word of a shared file.
pub fn wake_shared(word: &AtomicU32) {
    let _ = futex::wake(word, Flags::empty(), i32::MAX as u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::descriptors_of;

    fn pair(name: &str) -> (OwnedFile, OwnedFd, SharedFile) {
        let (owned, descriptor) = OwnedFile::create(name, PageCount::new(4)).unwrap();
        let paths = descriptors_of(std::process::id(), &format!("/memfd:{name}")).unwrap();
        let shared = SharedFile::open(&paths[0]).unwrap();
        (owned, descriptor, shared)
    }

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let (owned, _descriptor, shared) = pair("pk-test-read");
        owned.words()[7].store(5, Ordering::Release);
        assert_eq!(shared.words()[7].load(Ordering::Acquire), 5);
        owned.write(PAGE_SIZE + 3, b"figures");
        let mut bytes = [0; 9];
        assert_eq!(shared.read(PAGE_SIZE + 2, &mut bytes).unwrap(), 9);
        assert_eq!(&bytes, b"\0figures\0");
        // The page of words is not written over, and nothing is written behind the end.
        owned.write(0, b"x");
        assert_eq!(owned.words()[0].load(Ordering::Relaxed), 0);
        owned.write(4 * PAGE_SIZE - 1, b"xy");
        assert_eq!(shared.read(4 * PAGE_SIZE - 1, &mut bytes).unwrap(), 1);
        owned.release_from(PAGE_SIZE + 1).unwrap();
        assert_eq!(shared.read(PAGE_SIZE * 2, &mut bytes).unwrap(), 9);
        assert_eq!(bytes, [0; 9]);
    }

    #[test]
    fn a_waiter_is_woken_through_the_other_mapping() {
        let (owned, _descriptor, shared) = pair("pk-test-wait");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let word = &shared.words()[4];
                while word.load(Ordering::Acquire) == 0 {
                    wait_shared(word, 0, Some(Duration::from_secs(10)));
                }
            });
            advance_shared(&owned.words()[4]);
            waiter.join().unwrap();
        });
        // And the wait ends without anybody.
        wait_shared(&shared.words()[5], 0, Some(Duration::from_millis(1)));
    }

    #[test]
    fn only_its_user_may_open_it_and_nobody_may_shorten_it() {
        let (_owned, descriptor, _shared) = pair("pk-test-mode");
        let mode = rustix::fs::fstat(&descriptor).unwrap().st_mode;
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(rustix::fs::ftruncate(&descriptor, 0), Err(Errno::PERM));
        // A file that could be shortened is not mapped.
        let plain = rustix::fs::memfd_create("pk-test-plain", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&plain, 4096).unwrap();
        let paths = descriptors_of(std::process::id(), "/memfd:pk-test-plain").unwrap();
        assert_eq!(SharedFile::open(&paths[0]).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn what_is_no_file_in_memory_is_not_opened() {
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let [pipe, socket, file] = ["pipe", "socket", "file"].map(|name| folder.path().join(name));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        std::fs::write(&file, vec![0; PAGE_SIZE]).unwrap();
        // Opening the socket would give ENXIO; the pipe and the device would be opened.
        for path in [&pipe, &socket, &file, Path::new("/dev/null"), folder.path()] {
            let refused = SharedFile::open(path).unwrap_err();
            assert_eq!(refused, Errno::INVAL, "{}", path.display());
        }
        let gone = folder.path().join("gone");
        assert_eq!(SharedFile::open(&gone).unwrap_err(), Errno::NOENT);
    }
}
