//! The mapping at an address, without reading the whole map where the kernel can do that.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: one ioctl that fills a struct and a name buffer of ours"
)]

use core::fmt::Debug;
use core::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as c;
use pagekeeper_units::{PageNumber, PageRange};
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{self, Opcode, Updater, opcode};

use super::{Maps, Region, RegionName};
use crate::Errno;
use crate::file::retry;
use crate::map::Access;
use crate::probe::{Feature, Features};

const PROCMAP_QUERY: Opcode = opcode::read_write::<c::procmap_query>(b'f', 17);

/// Finds mappings of the own process by address.
pub trait MapLookup: Send + Sync + Debug {
    /// The mapping that holds `address`, or else the next one above; `None` above the last.
    ///
    /// # Errors
    /// What the kernel gives; `ENOENT` without `/proc`.
    fn at_or_above(&self, address: u64) -> Result<Option<Region>, Errno>;

    /// The mapping that holds `address`.
    ///
    /// # Errors
    /// As [`at_or_above`](Self::at_or_above).
    fn at(&self, address: u64) -> Result<Option<Region>, Errno> {
        let found = self.at_or_above(address)?;
        Ok(found.filter(|region| region.range.contains(PageNumber::containing(address))))
    }
}

/// The best that this kernel has.
pub fn map_lookup(features: &Features) -> Box<dyn MapLookup> {
    if features.has(Feature::ProcmapQuery)
        && let Ok(query) = ByQuery::open()
    {
        return Box::new(query);
    }
    Box::new(ByText)
}

/// One ioctl an address (6.11).
///
/// Its descriptor is an ordinary one, which the program may close or replace: see [`ByQuery::is_intact`]. A forked child that inherits
/// it asks about its parent.
#[derive(Debug)]
pub struct ByQuery {
    file: ManuallyDrop<OwnedFd>,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for ByQuery {
    fn drop(&mut self) {
        if self.is_intact() {
            // SAFETY: it is not used again.
            drop(unsafe { ManuallyDrop::take(&mut self.file) });
        }
    }
}

impl ByQuery {
    /// Opens the map and asks one question, to see whether this kernel answers.
    ///
    /// # Errors
    /// `ENOTTY` before 6.11; `ENOENT` without `/proc`.
    pub fn open() -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = retry(|| rustix::fs::open("/proc/self/maps", flags, Mode::empty()))?;
        let identity = identity_of(file.as_fd())?;
        let query = Self {
            file: ManuallyDrop::new(file),
            identity,
        };
        query.at_or_above(0)?;
        Ok(query)
    }

    /// Its number.
    #[cfg(test)]
    pub(super) fn number(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&*self.file)
    }

    /// Whether its number still is the map: a program may have closed it, or put something else in its place.
    pub fn is_intact(&self) -> bool {
        identity_of(self.file.as_fd()).is_ok_and(|identity| identity == self.identity)
    }
}

fn identity_of(file: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let status = rustix::fs::fstat(file)?;
    Ok((status.st_dev, status.st_ino))
}

impl ByQuery {
    /// As [`MapLookup::at_or_above`], but without the name, which is a third of the price.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn nameless_at_or_above(&self, address: u64) -> Result<Option<Region>, Errno> {
        self.ask(address, &mut [])
    }

    /// One question. The name goes into `name`; none is asked for where that is empty.
    fn ask(&self, address: u64, name: &mut [u8]) -> Result<Option<Region>, Errno> {
        // SAFETY: A struct of integers, for which zero is a value.
        let mut argument: c::procmap_query = unsafe { core::mem::zeroed() };
        argument.size = size_of::<c::procmap_query>() as u64;
        argument.query_flags = c::procmap_query_flags::PROCMAP_QUERY_COVERING_OR_NEXT_VMA as u64;
        argument.query_addr = address;
        if !name.is_empty() {
            argument.vma_name_size = name.len() as u32;
            argument.vma_name_addr = name.as_mut_ptr().expose_provenance() as u64;
        }
        // SAFETY: Opcode and struct belong together; the name buffer is as long as it says.
        match unsafe { ioctl::ioctl(&*self.file, Updater::<PROCMAP_QUERY, _>::new(&mut argument)) }
        {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        }
        let is = |flag: c::procmap_query_flags| argument.vma_flags & flag as u64 != 0;
        let mut access = Access::NONE;
        access.set(
            Access::READ,
            is(c::procmap_query_flags::PROCMAP_QUERY_VMA_READABLE),
        );
        access.set(
            Access::WRITE,
            is(c::procmap_query_flags::PROCMAP_QUERY_VMA_WRITABLE),
        );
        access.set(
            Access::EXECUTE,
            is(c::procmap_query_flags::PROCMAP_QUERY_VMA_EXECUTABLE),
        );
        // The size counts the final zero byte, and is zero without a name.
        let name_length = (argument.vma_name_size as usize)
            .saturating_sub(1)
            .min(name.len());
        Ok(Some(Region {
            range: PageRange::between(
                PageNumber::containing(argument.vma_start),
                PageNumber::containing(argument.vma_end),
            ),
            access,
            shared: is(c::procmap_query_flags::PROCMAP_QUERY_VMA_SHARED),
            offset: argument.vma_offset,
            device: (argument.dev_major, argument.dev_minor),
            inode: argument.inode,
            name: RegionName::new(&name[..name_length]),
        }))
    }
}

impl MapLookup for ByQuery {
    fn at_or_above(&self, address: u64) -> Result<Option<Region>, Errno> {
        self.ask(address, &mut [0; 4096])
    }
}

/// Reads the text from the start until the address is reached. Works everywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByText;

impl MapLookup for ByText {
    fn at_or_above(&self, address: u64) -> Result<Option<Region>, Errno> {
        let page = PageNumber::containing(address);
        let mut maps = Maps::own()?;
        while let Some(region) = maps.next_region()? {
            if region.range.end() > page {
                return Ok(Some(region));
            }
        }
        Ok(None)
    }
}
