//! Other processes, as `/proc` shows them: which there are, whose they are, what they did.
//!
//! Everything here is open to everybody but [`Transfers`] and [`command_line`], which follow the rules of debuggers.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Dir, Mode, OFlags};

use crate::Errno;
use crate::file::retry;
use crate::text::read_file;

/// The numbers of all processes that are shown to us, upwards.
///
/// # Errors
/// `ENOENT` without `/proc`.
pub fn list() -> Result<Vec<u32>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let folder = retry(|| rustix::fs::open("/proc", flags, Mode::empty()))?;
    let mut pids: Vec<u32> = Dir::new(folder)?
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// The number of our effective user.
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Who a process is: `/proc/PID/status` and `/proc/PID/stat`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// The short name (15 bytes at most).
    pub name: String,
    /// The number of its effective user.
    pub user: u32,
    /// When it began, in clock ticks since the machine did. A process number may come again, but not with the same beginning.
    pub started: u64,
    /// Minor faults of all its threads.
    pub minor_faults: u64,
    /// Major faults of all its threads.
    pub major_faults: u64,
    /// Its number in its own process namespace.
    pub inner_pid: u32,
    /// One letter: `R` runs, `S` sleeps, `T` stopped, `t` stopped by a debugger, `Z` ended and not waited for.
    pub state: char,
    /// Where its program's code and arguments begin, which another program that it runs (`exec`) has elsewhere. Zeros where the
    /// kernel does not say.
    pub program: [u64; 2],
}

impl Identity {
    /// Asks the kernel.
    ///
    /// # Errors
    /// `ENOENT` or `ESRCH` when it is gone.
    pub fn of(pid: u32) -> Result<Self, Errno> {
        let stat = read_file(format!("/proc/{pid}/stat"))?;
        let mut identity = Self::parse_stat(&stat).ok_or(Errno::INVAL)?;
        let status = read_file(format!("/proc/{pid}/status"))?;
        identity.user = effective_user(&status).ok_or(Errno::INVAL)?;
        identity.inner_pid = inner_pid(&status).unwrap_or(pid);
        Ok(identity)
    }

    /// `PID (NAME) STATE ...`; the name may hold blanks and brackets.
    fn parse_stat(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        // The first field behind the name is number 3 of proc_pid_stat(5).
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse().ok();
        Some(Self {
            name: name.to_owned(),
            user: 0,
            inner_pid: 0,
            started: number(22)?,
            minor_faults: number(10)?,
            major_faults: number(12)?,
            state: fields.first()?.chars().next()?,
            program: [number(26).unwrap_or(0), number(48).unwrap_or(0)],
        })
    }

    /// Whether it has ended and was not waited for.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Whether it is stopped, by a signal or by a debugger.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

fn effective_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The last number of `NSpid:`, where the kernel says it.
fn inner_pid(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

/// Bytes that a process had moved between memory and disks: `/proc/PID/io`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Transfers {
    /// Read from disks.
    pub read_bytes: u64,
    /// Written to disks, or to the page cache on the way there.
    pub written_bytes: u64,
}

impl Transfers {
    /// Asks the kernel.
    ///
    /// # Errors
    /// `EACCES` for somebody else's process; `ENOENT` when it is gone or the kernel does not count.
    pub fn of(pid: u32) -> Result<Self, Errno> {
        let text = read_file(format!("/proc/{pid}/io"))?;
        let mut found = Self::default();
        for (name, value) in crate::text::sizes(&text) {
            match name {
                "read_bytes" => found.read_bytes = value,
                "write_bytes" => found.written_bytes = value,
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The command line with blanks between its words; empty for threads of the kernel.
///
/// # Errors
/// `ENOENT` or `ESRCH` when it is gone.
pub fn command_line(pid: u32) -> Result<String, Errno> {
    let text = read_file(format!("/proc/{pid}/cmdline"))?;
    Ok(text.trim_end_matches('\0').replace('\0', " "))
}

/// The open descriptors of a process that lead to something whose name begins with `prefix`, as paths to open. Those that the
/// process closed and that are kept for it (see [`crate::descriptor`]) are found as well.
///
/// # Errors
/// `EACCES` for somebody else's process, `ENOENT` when it is gone.
pub fn descriptors_of(pid: u32, prefix: &str) -> Result<Vec<PathBuf>, Errno> {
    let found = descriptors_in(format!("/proc/{pid}/fd"), prefix)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let folder = format!("/proc/{pid}/task");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let threads = retry(|| rustix::fs::open(folder.as_str(), flags, Mode::empty()))?;
    for entry in Dir::new(threads)?.filter_map(Result::ok) {
        let thread = format!("{folder}/{}", entry.file_name().to_string_lossy());
        let is_keeper = read_file(format!("{thread}/comm"))
            .is_ok_and(|name| name.trim_end() == crate::descriptor::KEEPER_NAME);
        if is_keeper {
            return descriptors_in(format!("{thread}/fd"), prefix);
        }
    }
    Ok(found)
}

fn descriptors_in(path: String, prefix: &str) -> Result<Vec<PathBuf>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let folder = retry(|| rustix::fs::open(path.as_str(), flags, Mode::empty()))?;
    let mut found = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // One that is closed meanwhile is none of ours.
        let Ok(target) = rustix::fs::readlinkat(&folder, name, Vec::new()) else {
            continue;
        };
        if target.to_bytes().starts_with(prefix.as_bytes()) {
            found.push(PathBuf::from(format!("{path}/{}", name.to_string_lossy())));
        }
    }
    Ok(found)
}

/// Memory of a process as a debugger sees it: whatever its protection, and an error instead of a signal where nothing is.
#[derive(Debug)]
pub struct ProcessMemory(OwnedFd);

impl ProcessMemory {
    /// Opens `/proc/self/mem`.
    ///
    /// # Errors
    /// `ENOENT` without `/proc`.
    pub fn own() -> Result<Self, Errno> {
        Self::open("/proc/self/mem")
    }

    /// Opens another process's, where the kernel allows that (the same user, and what Yama's `ptrace_scope` says).
    ///
    /// # Errors
    /// `EACCES`, `EPERM` where it does not; `ENOENT` when there is no such process.
    pub fn of(pid: u32) -> Result<Self, Errno> {
        Self::open(&format!("/proc/{pid}/mem"))
    }

    fn open(path: &str) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        retry(|| rustix::fs::open(path, flags, Mode::empty())).map(Self)
    }

    /// Reads bytes from `address` on.
    ///
    /// # Errors
    /// `EIO` where they, or some of them, cannot be read.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        match retry(|| rustix::io::pread(&self.0, &mut *bytes, address))? {
            count if count == bytes.len() => Ok(()),
            _ => Err(Errno::IO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_in_the_list_and_knows_itself() {
        let own = std::process::id();
        assert!(list().unwrap().contains(&own));
        let identity = Identity::of(own).unwrap();
        assert_eq!(identity.user, own_user());
        assert!(identity.minor_faults > 0 && identity.started > 0);
        assert!(!identity.has_ended() && !identity.is_stopped());
        assert!(!command_line(own).unwrap().is_empty());
    }

    #[test]
    fn names_may_hold_anything() {
        let text = "17 (a ) b) T 1 2 3 4 5 6 70 8 90 10 11 12 13 14 15 16 17 18 2200 20";
        let identity = Identity::parse_stat(text).unwrap();
        assert_eq!(identity.name, "a ) b");
        assert!(identity.is_stopped());
        assert_eq!((identity.minor_faults, identity.major_faults), (70, 90));
        assert_eq!(identity.started, 2200);
        assert_eq!(Identity::parse_stat("17 (cut"), None);
        assert_eq!(Identity::parse_stat("17 (cut) R 1"), None);
    }

    #[test]
    fn own_memory_is_read_and_what_is_none_is_refused() {
        let text = *b"some bytes";
        let memory = ProcessMemory::own().unwrap();
        let mut bytes = [0; 10];
        memory
            .read(text.as_ptr().expose_provenance() as u64, &mut bytes)
            .unwrap();
        assert_eq!(bytes, text);
        assert!(memory.read(0x10, &mut bytes).is_err());
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(Identity::of(u32::MAX >> 2).is_err());
        assert!(descriptors_of(u32::MAX >> 2, "/").is_err());
    }

    #[test]
    fn descriptors_are_found_by_what_they_lead_to() {
        let name = c"pk-test-descriptors";
        let _file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let found = descriptors_of(std::process::id(), "/memfd:pk-test-descriptors").unwrap();
        assert_eq!(found.len(), 1);
        assert!(
            descriptors_of(std::process::id(), "/memfd:pk-test-none")
                .unwrap()
                .is_empty()
        );
    }
}
