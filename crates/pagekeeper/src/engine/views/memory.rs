//! Memory without a file: a nameless file of ours, with a header that all its processes share.
//!
//! ```text
//! 0          fixed part (at byte 32 a counter of commits, in reserved sections) and the section's name
//! 4096       one bit a page, set when committed (reserved sections only)
//! a multiple of 64 KiB    the section's first byte
//! ```

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the header is memory that other processes write to; it is read by copying and by atomics"
)]

use core::sync::atomic::{AtomicU64, Ordering};
use std::os::fd::{AsFd, BorrowedFd};

use pagekeeper_model::Protection;
use pagekeeper_sys::Errno;
use pagekeeper_sys::file::{self, AllocateHow};
use pagekeeper_sys::map::{self, Access, Mapping};
use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

/// What the file begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"PKsect\x00\x02");
/// Bytes of the fixed part; the name follows.
const FIXED: usize = 40;
/// Where the counter of commits lies.
const COMMITS: usize = 32;
/// The longest name in bytes.
pub(crate) const LONGEST_NAME: usize = 1040;
/// Views begin at such offsets.
const GRANULE: u64 = 64 << 10;
/// Room is allocated in steps of so many bytes.
const STEP: u64 = 256 << 20;

/// What a section without a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryFacts {
    /// Bytes, whole pages.
    pub(crate) size: u64,
    /// What its views may allow at most.
    pub(crate) protection: Protection,
    /// Pages are committed one by one.
    pub(crate) is_reserved: bool,
    /// Its full name; empty without one.
    pub(crate) name: String,
}

impl MemoryFacts {
    fn bitmap_bytes(&self) -> u64 {
        if !self.is_reserved {
            return 0;
        }
        (self.size / PAGE_SIZE as u64).div_ceil(64) * 8
    }

    fn data_offset(&self) -> u64 {
        (PAGE_SIZE as u64 + self.bitmap_bytes()).next_multiple_of(GRANULE)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.name.len());
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.protection.to_windows().to_le_bytes());
        bytes.extend(u32::from(self.is_reserved).to_le_bytes());
        bytes.extend((self.name.len() as u64).to_le_bytes());
        bytes.resize(FIXED, 0);
        bytes.extend(self.name.as_bytes());
        bytes
    }

    /// Reads a header that anybody may have written. `None`: it is not one of ours, or not complete yet.
    fn decode(bytes: &[u8], file_size: u64) -> Option<Self> {
        let word = |at: usize| {
            let eight = bytes.get(at..at + 8)?;
            Some(u64::from_le_bytes(eight.try_into().ok()?))
        };
        if word(0)? != MAGIC {
            return None;
        }
        let flags = word(16)?;
        let length = usize::try_from(word(24)?).ok()?;
        if length > LONGEST_NAME || flags >> 32 > 1 {
            return None;
        }
        let name = bytes.get(FIXED..FIXED + length)?;
        let facts = Self {
            size: word(8)?,
            protection: Protection::from_windows(flags as u32).ok()?,
            is_reserved: flags >> 32 == 1,
            name: String::from_utf8(name.to_vec()).ok()?,
        };
        let is_sound = facts.size > 0
            && facts.size.is_multiple_of(PAGE_SIZE as u64)
            && facts.size < 1 << 47
            && facts.data_offset() + facts.size == file_size;
        is_sound.then_some(facts)
    }
}

/// The header of a section's file, mapped as far as it is needed.
#[derive(Debug)]
pub(crate) struct Header {
    facts: MemoryFacts,
    /// Of a reserved section: the first page, and one bit a page of the section.
    shared: Option<Mapping>,
}

impl Header {
    /// Makes `file`, which is empty, a section's: the room first, the header last, so that nobody ever believes half a
    /// section.
    pub(crate) fn create(file: BorrowedFd<'_>, facts: MemoryFacts) -> Result<Self, Errno> {
        let data = facts.data_offset();
        file::truncate(file, data + facts.size)?;
        // All bits at once: where room is made by writing, nobody may have them mapped.
        let promised = if facts.is_reserved {
            data
        } else {
            data + facts.size
        };
        allocate(file, 0, promised)?;
        let header = Self::map(file, facts)?;
        file::write_at(file, &header.facts.encode(), 0)?;
        Ok(header)
    }

    /// Reads the header of a file that somebody else made. `None`: it is no section of ours.
    pub(crate) fn open(file: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let size = file::facts(file)?.size_bytes;
        let mut bytes = [0; FIXED + LONGEST_NAME];
        let length = file::read_at(file, &mut bytes, 0)?;
        match MemoryFacts::decode(&bytes[..length], size) {
            Some(facts) => Self::map(file, facts).map(Some),
            None => Ok(None),
        }
    }

    fn map(file: BorrowedFd<'_>, facts: MemoryFacts) -> Result<Self, Errno> {
        let shared = match facts.bitmap_bytes() {
            0 => None,
            bytes => {
                let pages = PageCount::ONE + PageCount::holding(bytes);
                Some(map::map_file(pages, file, 0, Access::READ_WRITE)?)
            }
        };
        Ok(Self { facts, shared })
    }

    /// What the section is.
    pub(crate) fn facts(&self) -> &MemoryFacts {
        &self.facts
    }

    /// Where its first byte lies.
    pub(super) fn data_offset(&self) -> u64 {
        self.facts.data_offset()
    }

    fn words(&self) -> &[AtomicU64] {
        let Some(shared) = &self.shared else {
            return &[];
        };
        let count = self.facts.bitmap_bytes() as usize / 8;
        // SAFETY: Mapped behind the first page for as long as `self`; other processes change it, as atomics may be.
        unsafe {
            let bitmap = shared.base().add(PAGE_SIZE).cast::<AtomicU64>();
            core::slice::from_raw_parts(bitmap, count)
        }
    }

    /// How often somebody has committed pages, in any process; `None` where all are committed from the start.
    pub(super) fn commits(&self) -> Option<&AtomicU64> {
        let shared = self.shared.as_ref()?;
        // SAFETY: Inside the first page, mapped for as long as `self`, a multiple of eight; shared by atomics only.
        Some(unsafe { &*shared.base().add(COMMITS).cast::<AtomicU64>() })
    }

    /// Whether a page, counted from the section's first, is committed.
    pub(super) fn is_committed(&self, page: u64) -> bool {
        if !self.facts.is_reserved {
            return true;
        }
        let word = self.words().get(page as usize / 64);
        word.is_some_and(|word| word.load(Ordering::Acquire) >> (page % 64) & 1 == 1)
    }

    /// The committed runs of `pages`, counted from the section's first.
    pub(super) fn committed(&self, pages: PageRange) -> Vec<PageRange> {
        let mut runs: Vec<PageRange> = Vec::new();
        let words = self.words();
        let mut at = pages.start().get();
        while at < pages.end().get() {
            let word = words
                .get(at as usize / 64)
                .map_or(0, |word| word.load(Ordering::Acquire));
            if self.facts.is_reserved && word >> (at % 64) == 0 {
                // Nothing more in this word.
                at = (at / 64 + 1) * 64;
                continue;
            }
            if self.is_committed(at) {
                let one = PageRange::new(PageNumber::new(at), PageCount::ONE);
                match runs.last_mut() {
                    Some(last) if last.end() == one.start() => {
                        *last = PageRange::between(last.start(), one.end());
                    }
                    _ => runs.push(one),
                }
            }
            at += 1;
        }
        runs
    }

    /// Commits pages for everybody: room first, then the bits. Says how often somebody had committed before; nothing where
    /// all pages are committed from the start.
    pub(super) fn commit(
        &self,
        pages: PageRange,
        file: BorrowedFd<'_>,
    ) -> Result<Option<u64>, Errno> {
        if !self.facts.is_reserved {
            return Ok(None);
        }
        let offset = self.data_offset() + pages.start().get() * PAGE_SIZE as u64;
        allocate(file, offset, pages.bytes().get())?;
        for page in pages.pages() {
            let (word, bit) = (page.get() / 64, 1 << (page.get() % 64));
            if let Some(word) = self.words().get(word as usize) {
                word.fetch_or(bit, Ordering::AcqRel);
            }
        }
        // After the bits: whoever sees the new count sees them. Also where all of them were set: who set them may not have
        // come to counting yet, and this commit is over now.
        let commits = self.commits();
        Ok(commits.map(|commits| commits.fetch_add(1, Ordering::AcqRel)))
    }
}

/// Makes sure of room on the disk. In RAM (no page file) that is promised by the commit limit.
fn allocate(file: impl AsFd, offset: u64, length: u64) -> Result<(), Errno> {
    let file = file.as_fd();
    if file::file_system_of(file)?.kind == file::FileSystemKind::Ram {
        return Ok(());
    }
    file::allocate(file, offset, length, STEP, AllocateHow::Best)
        .error
        .map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(is_reserved: bool) -> MemoryFacts {
        MemoryFacts {
            size: 300 * PAGE_SIZE as u64,
            protection: Protection::READ_WRITE,
            is_reserved,
            name: "Local\\orders".to_owned(),
        }
    }

    #[test]
    fn a_header_is_read_back_and_nothing_else_is_believed() {
        let file = file::create_in_memory("header").unwrap();
        assert!(Header::open(file.as_fd()).unwrap().is_none(), "empty");
        let made = Header::create(file.as_fd(), facts(true)).unwrap();
        let read = Header::open(file.as_fd()).unwrap().unwrap();
        assert_eq!(made.facts(), read.facts());
        assert_eq!(read.data_offset() % GRANULE, 0);
        for damage in [0, 9, 16, 20, 31] {
            let before = facts(true).encode()[damage];
            file::write_at(&file, &[before ^ 0x5A], damage as u64).unwrap();
            assert!(
                Header::open(file.as_fd()).unwrap().is_none(),
                "byte {damage}"
            );
            file::write_at(&file, &[before], damage as u64).unwrap();
        }
        file::truncate(&file, 100_000).unwrap();
        assert!(Header::open(file.as_fd()).unwrap().is_none(), "cut off");
    }

    #[test]
    fn commits_are_seen_by_everybody_who_has_the_file() {
        let file = file::create_in_memory("bits").unwrap();
        let one = Header::create(file.as_fd(), facts(true)).unwrap();
        let other = Header::open(file.as_fd()).unwrap().unwrap();
        let range = |from, to| PageRange::between(PageNumber::new(from), PageNumber::new(to));
        one.commit(range(60, 70), file.as_fd()).unwrap();
        other.commit(range(299, 300), file.as_fd()).unwrap();
        for header in [&one, &other] {
            assert_eq!(
                header.committed(range(0, 300)),
                [range(60, 70), range(299, 300)]
            );
            assert_eq!(header.committed(range(65, 68)), [range(65, 68)]);
            assert!(header.is_committed(69) && !header.is_committed(70));
        }
        let count = || one.commits().unwrap().load(Ordering::Acquire);
        assert_eq!(count(), 2);
        assert_eq!(other.commit(range(61, 64), file.as_fd()), Ok(Some(2)));
        assert_eq!(count(), 3, "counted by whoever returns");
        assert_eq!(other.commit(range(61, 71), file.as_fd()), Ok(Some(3)));
        assert_eq!(count(), 4);
        let reopened = Header::open(file.as_fd()).unwrap().unwrap();
        assert_eq!(reopened.facts(), &facts(true));
        let whole =
            Header::create(file::create_in_memory("all").unwrap().as_fd(), facts(false)).unwrap();
        assert_eq!(whole.committed(range(3, 200)), [range(3, 200)]);
        assert_eq!(whole.commit(range(3, 200), file.as_fd()), Ok(None));
    }
}
