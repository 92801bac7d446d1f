//! `/proc/PID/maps`, read line by line. A large process has 10⁵ of them, so nothing is allocated
//! per line.

use core::fmt;
use std::os::fd::OwnedFd;

use pagekeeper_units::{PageNumber, PageRange};
use rustix::fs::{Mode, OFlags};

use crate::Errno;
use crate::file::retry;
use crate::map::Access;

/// Longest name kept; what is longer is cut off.
const NAME_LENGTH: usize = 256;

/// The file or label of a mapping, in place. Empty for anonymous memory without a label.
#[derive(Clone, Copy)]
pub struct RegionName {
    bytes: [u8; NAME_LENGTH],
    length: usize,
}

impl RegionName {
    pub(super) fn new(name: &[u8]) -> Self {
        let mut bytes = [0; NAME_LENGTH];
        let length = name.len().min(NAME_LENGTH);
        bytes[..length].copy_from_slice(&name[..length]);
        Self { bytes, length }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The name for people; bytes that are no text are replaced.
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(self.as_bytes()).into_owned()
    }
}

impl Default for RegionName {
    fn default() -> Self {
        Self::new(b"")
    }
}

impl PartialEq for RegionName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for RegionName {}

impl fmt::Debug for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

/// One mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// The pages.
    pub range: PageRange,
    /// What may be done there.
    pub access: Access,
    /// Writes are seen by others (`MAP_SHARED`).
    pub shared: bool,
    /// Where in the file it starts, in bytes.
    pub offset: u64,
    /// The file's device: major and minor number.
    pub device: (u32, u32),
    /// The file's number; 0 for anonymous memory.
    pub inode: u64,
    /// The file's path, or a label such as `[heap]`, `[stack]`, `[vdso]`.
    pub name: RegionName,
}

impl Region {
    /// Whether a file stands behind it (shared memory counts as one).
    pub fn has_file(&self) -> bool {
        self.inode != 0
    }

    /// Reads a line of the text. `None` when it is not one.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut rest = line;
        let start = hexadecimal(take_until(&mut rest, b'-')?)?;
        let end = hexadecimal(take_until(&mut rest, b' ')?)?;
        let flags = take_until(&mut rest, b' ')?;
        let offset = hexadecimal(take_until(&mut rest, b' ')?)?;
        let major = hexadecimal(take_until(&mut rest, b':')?)?;
        let minor = hexadecimal(take_until(&mut rest, b' ')?)?;
        let inode_end = rest
            .iter()
            .position(|&byte| byte == b' ')
            .unwrap_or(rest.len());
        let inode = decimal(&rest[..inode_end])?;
        let name = rest[inode_end..].trim_ascii_start();
        let mut access = Access::NONE;
        access.set(Access::READ, flags.first() == Some(&b'r'));
        access.set(Access::WRITE, flags.get(1) == Some(&b'w'));
        access.set(Access::EXECUTE, flags.get(2) == Some(&b'x'));
        Some(Self {
            range: PageRange::between(PageNumber::containing(start), PageNumber::containing(end)),
            access,
            shared: flags.get(3) == Some(&b's'),
            offset,
            device: (major as u32, minor as u32),
            inode,
            name: RegionName::new(name),
        })
    }
}

fn take_until<'a>(rest: &mut &'a [u8], stop: u8) -> Option<&'a [u8]> {
    let at = rest.iter().position(|&byte| byte == stop)?;
    let taken = &rest[..at];
    *rest = &rest[at + 1..];
    Some(taken)
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

fn decimal(digits: &[u8]) -> Option<u64> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// The mappings of a process from the lowest address up, read as they are asked for.
///
/// The kernel gives whole lines; mappings that change meanwhile may be seen before or after the
/// change, or both parts of a split.
#[derive(Debug)]
pub struct Maps {
    file: OwnedFd,
    buffer: Box<[u8; Self::BUFFER]>,
    /// Bytes of the buffer that hold text not yet given out.
    start: usize,
    end: usize,
}

impl Maps {
    /// Longer than any line: a path of 4,096 bytes may be escaped fourfold.
    const BUFFER: usize = 32 << 10;

    /// The own process's.
    ///
    /// # Errors
    /// `ENOENT` without `/proc`.
    pub fn own() -> Result<Self, Errno> {
        Self::open("/proc/self/maps")
    }

    /// Another process's.
    ///
    /// # Errors
    /// `ENOENT` when it is gone, `EACCES` without the right to look into it.
    pub fn of(pid: u32) -> Result<Self, Errno> {
        Self::open(&format!("/proc/{pid}/maps"))
    }

    fn open(path: &str) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self {
            file: retry(|| rustix::fs::open(path, flags, Mode::empty()))?,
            buffer: Box::new([0; Self::BUFFER]),
            start: 0,
            end: 0,
        })
    }

    /// The next mapping; `None` after the last.
    ///
    /// # Errors
    /// What reading gives; `EINVAL` for a line that is none.
    pub fn next_region(&mut self) -> Result<Option<Region>, Errno> {
        loop {
            let text = &self.buffer[self.start..self.end];
            if let Some(at) = text.iter().position(|&byte| byte == b'\n') {
                let line = &text[..at];
                let region = Region::parse(line).ok_or(Errno::INVAL)?;
                self.start += at + 1;
                return Ok(Some(region));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end == Self::BUFFER {
                return Err(Errno::INVAL);
            }
            let free = &mut self.buffer[self.end..];
            match retry(|| rustix::io::read(&self.file, &mut *free))? {
                0 if self.end == 0 => return Ok(None),
                0 => return Err(Errno::INVAL),
                count => self.end += count,
            }
        }
    }

    /// Starts again from the lowest address.
    ///
    /// # Errors
    /// What seeking gives.
    pub fn rewind(&mut self) -> Result<(), Errno> {
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Start(0))?;
        (self.start, self.end) = (0, 0);
        Ok(())
    }
}

impl Iterator for Maps {
    type Item = Result<Region, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_region().transpose()
    }
}
