//! Mappings: reserving, protecting, advising and unmapping address space.
//!
//! Two ways to hold address space: an owning [`Mapping`], which unmaps itself, and free functions
//! over a [`PageRange`] for arenas whose owner is somebody's table. Ranges are page ranges, so no
//! call here can be misaligned. Nothing here allocates.
//!
//! | module | what |
//! |---|---|
//! | here | reserve, map a file, protect, lock, move, unmap |
//! | [`advise`] | `madvise` with every advice that the pager uses |
//! | [`ZeroedTable`] | arrays of atomics that cost nothing until touched |
//! | [`held`] | what of the address space the library itself holds |
//! | [`SharedBytes`] | byte areas that several threads fill and read: staging, pools |

#![allow(
    unsafe_code,
    reason = "UNSAFETY: mapping calls change what addresses mean; each function states who answers"
)]

mod advice;
mod bytes;
mod held;
mod owned;
mod place;
mod slots;
mod table;

use core::ffi::c_void;
use core::ptr;
use std::os::fd::AsFd;

use linux_raw_sys::general::{__NR_mremap, MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE};
use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

pub use advice::{Advice, advise, advise_each};
pub use bytes::{OutOfRange, SharedBytes};
pub use held::{Purpose, held};
pub use owned::Mapping;
pub use place::{hold_place, release_place};
pub use slots::{Slot, SlotPool};
pub use table::{TableCell, ZeroedTable};

use crate::{Errno, raw};

bitflags::bitflags! {
    /// What the processor may do with a page of a mapping. Empty is no access (`PROT_NONE`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Access: u32 {
        /// Loads.
        const READ = 1;
        /// Stores.
        const WRITE = 2;
        /// Instruction fetches.
        const EXECUTE = 4;
    }
}

impl Access {
    /// Nothing at all: address space only.
    pub const NONE: Self = Self::empty();
    /// Loads and stores.
    pub const READ_WRITE: Self = Self::READ.union(Self::WRITE);
}

bitflags::bitflags! {
    /// How the kernel is to treat a mapping, told once when it is made.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Treatment: u32 {
        /// A forked child does not have it (`MADV_DONTFORK`).
        const NOT_INHERITED = 1;
        /// Core dumps leave it out (`MADV_DONTDUMP`).
        const NOT_DUMPED = 2;
        /// Huge pages wanted (`MADV_HUGEPAGE`).
        const HUGE_PAGES = 4;
        /// Huge pages forbidden (`MADV_NOHUGEPAGE`).
        const NO_HUGE_PAGES = 8;
    }
}

/// The address that a page number stands for, as a pointer.
#[inline]
pub(crate) fn pointer(page: PageNumber) -> *mut c_void {
    ptr::with_exposed_provenance_mut(page.address() as usize)
}

#[inline]
pub(crate) const fn byte_length(range: PageRange) -> usize {
    range.count().as_usize() << pagekeeper_units::PAGE_SHIFT
}

fn prot_flags(access: Access) -> ProtFlags {
    ProtFlags::from_bits_retain(access.bits())
}

/// Refuses lengths that no Rust object may have.
fn checked_length(pages: PageCount) -> Result<usize, Errno> {
    match pages.get().checked_mul(PAGE_SIZE as u64) {
        Some(0) => Err(Errno::INVAL),
        Some(bytes) if bytes <= isize::MAX as u64 => Ok(bytes as usize),
        _ => Err(Errno::NOMEM),
    }
}

/// Gives the kernel the advice that `treatment` names. `EINVAL` for huge pages means a kernel
/// without them, which is no reason to refuse memory.
fn treat(range: PageRange, treatment: Treatment) -> Result<(), Errno> {
    let table = [
        (Treatment::NOT_INHERITED, Advice::DoNotInherit, false),
        (Treatment::NOT_DUMPED, Advice::DoNotDump, false),
        (Treatment::HUGE_PAGES, Advice::HugePages, true),
        (Treatment::NO_HUGE_PAGES, Advice::NoHugePages, true),
    ];
    for (flag, advice, may_lack) in table {
        if treatment.contains(flag) {
            // SAFETY: None of these four changes contents or what an access does in this process.
            match unsafe { advise(range, advice) } {
                Err(Errno::INVAL) if may_lack => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// Private anonymous memory with no swap accounting, wherever the kernel likes.
///
/// With [`Access::NONE`] this is a reservation: address space that costs nothing. Windows:
/// `VirtualAlloc(NULL, …, MEM_RESERVE)`.
///
/// # Errors
/// `ENOMEM` without room (address space, `RLIMIT_AS`, mapping limit), `EINVAL` for no pages.
pub fn reserve(pages: PageCount, access: Access, treatment: Treatment) -> Result<Mapping, Errno> {
    reserve_with(None, pages, access, treatment, MapFlags::empty())
}

/// The same at one address, refusing when anything is mapped in the way.
///
/// # Errors
/// `EEXIST` when a page of the range is taken; `EPERM` below the lowest address allowed; else as
/// [`reserve`].
pub fn reserve_at(
    range: PageRange,
    access: Access,
    treatment: Treatment,
) -> Result<Mapping, Errno> {
    if place::give_up(range) {
        // Nobody but us has anything there.
        let fixed = MapFlags::FIXED;
        return reserve_with(Some(range.start()), range.count(), access, treatment, fixed);
    }
    let mapping = reserve_with(
        Some(range.start()),
        range.count(),
        access,
        treatment,
        MapFlags::FIXED_NOREPLACE,
    )?;
    // A kernel that does not know the flag takes the address as a hint.
    if mapping.range() == range {
        Ok(mapping)
    } else {
        Err(Errno::EXIST)
    }
}

/// The same at an address that is a multiple of `alignment` pages (a power of two).
///
/// # Errors
/// As [`reserve`]; `EINVAL` when `alignment` is no power of two.
pub fn reserve_aligned(
    pages: PageCount,
    alignment: PageCount,
    access: Access,
    treatment: Treatment,
) -> Result<Mapping, Errno> {
    if !alignment.get().is_power_of_two() {
        return Err(Errno::INVAL);
    }
    let padded = pages.checked_add(alignment).ok_or(Errno::NOMEM)?;
    let mut whole = reserve(padded, access, Treatment::empty())?;
    let mask = alignment.get() - 1;
    let start = PageNumber::new((whole.range().start().get() + mask) & !mask);
    whole.shrink_to(PageRange::new(start, pages))?;
    treat(whole.range(), treatment)?;
    Ok(whole)
}

fn reserve_with(
    at: Option<PageNumber>,
    pages: PageCount,
    access: Access,
    treatment: Treatment,
    more: MapFlags,
) -> Result<Mapping, Errno> {
    let length = checked_length(pages)?;
    let address = at.map_or(ptr::null_mut(), pointer);
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | more;
    // SAFETY: The kernel only uses addresses where nothing is; with MAP_FIXED a place that is held for this.
    let base = unsafe { rustix::mm::mmap_anonymous(address, length, prot_flags(access), flags)? };
    let start = PageNumber::containing(base.expose_provenance() as u64);
    // SAFETY: Fresh and ours alone.
    let mapping = unsafe { Mapping::from_range(PageRange::new(start, pages)) };
    treat(mapping.range(), treatment)?;
    Ok(mapping)
}

/// Maps `pages` pages of a file from byte `offset` on, shared, wherever the kernel likes.
///
/// # Errors
/// The kernel's: `EACCES` when the file is not open that way, `ENODEV` when it cannot be mapped,
/// `EINVAL` for an offset that is no multiple of the page size, `ENOMEM`.
pub fn map_file(
    pages: PageCount,
    file: impl AsFd,
    offset: u64,
    access: Access,
) -> Result<Mapping, Errno> {
    let length = checked_length(pages)?;
    let prot = prot_flags(access);
    // SAFETY: Without MAP_FIXED the kernel only uses addresses where nothing is.
    let base = unsafe {
        rustix::mm::mmap(
            ptr::null_mut(),
            length,
            prot,
            MapFlags::SHARED,
            file,
            offset,
        )?
    };
    let start = PageNumber::containing(base.expose_provenance() as u64);
    // SAFETY: Fresh and ours alone.
    Ok(unsafe { Mapping::from_range(PageRange::new(start, pages)) })
}

/// Puts a shared mapping of a file in the place of whatever `range` held.
///
/// # Errors
/// As [`map_file`]. On an error the old mapping may be gone.
///
/// # Safety
/// `range` must be memory of the caller's own, with no reference into it alive.
pub unsafe fn map_file_shared_over(
    range: PageRange,
    file: impl AsFd,
    offset: u64,
    access: Access,
) -> Result<(), Errno> {
    let length = checked_length(range.count())?;
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: The caller owns the range.
    unsafe {
        rustix::mm::mmap(
            pointer(range.start()),
            length,
            prot_flags(access),
            flags,
            file,
            offset,
        )?;
    }
    Ok(())
}

/// The same, private: the first write to a page copies it (`MAP_PRIVATE`). Nothing is set aside for the copies.
///
/// # Errors
/// As [`map_file`].
///
/// # Safety
/// As [`map_file_shared_over`].
pub unsafe fn map_file_private_over(
    range: PageRange,
    file: impl AsFd,
    offset: u64,
    access: Access,
) -> Result<(), Errno> {
    let length = checked_length(range.count())?;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: The caller owns the range.
    unsafe {
        rustix::mm::mmap(
            pointer(range.start()),
            length,
            prot_flags(access),
            flags,
            file,
            offset,
        )?;
    }
    Ok(())
}

/// Writes the changed pages of shared file mappings in `range`, and waits until they and what is needed to find them
/// again are at the device (`msync(MS_SYNC)`). Windows: `FlushViewOfFile` and `FlushFileBuffers`.
///
/// # Errors
/// `EIO`, `ENOSPC`: pages could not be written. `ENOMEM` for unmapped pages.
pub fn sync(range: PageRange) -> Result<(), Errno> {
    let flags = rustix::mm::MsyncFlags::SYNC;
    // SAFETY: Writes what is there; changes nothing.
    unsafe { rustix::mm::msync(pointer(range.start()), byte_length(range), flags) }
}

/// Puts fresh private anonymous memory in the place of whatever `range` held.
///
/// A range registered with a userfaultfd is silently no longer registered afterwards.
///
/// # Errors
/// `ENOMEM`; the old mapping may be gone then.
///
/// # Safety
/// `range` must be memory of the caller's own, with no reference into it alive.
pub unsafe fn reserve_over(
    range: PageRange,
    access: Access,
    treatment: Treatment,
) -> Result<(), Errno> {
    let length = checked_length(range.count())?;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: The caller owns the range.
    unsafe {
        rustix::mm::mmap_anonymous(pointer(range.start()), length, prot_flags(access), flags)?;
    }
    treat(range, treatment)
}

/// Changes what the processor may do in `range`. Windows: `VirtualProtect`, on whole mappings.
///
/// # Errors
/// `ENOMEM` when a page of the range is not mapped, or a mapping would have to be split beyond the
/// kernel's limit: then part of the range may have changed. `EACCES` beyond the file's rights.
///
/// # Safety
/// The caller must own the range, and no reference may be used against the new access.
pub unsafe fn protect(range: PageRange, access: Access) -> Result<(), Errno> {
    let flags = MprotectFlags::from_bits_retain(access.bits());
    // SAFETY: The caller's duty.
    unsafe { rustix::mm::mprotect(pointer(range.start()), byte_length(range), flags) }
}

/// Takes `range` out of the address space.
///
/// # Errors
/// `ENOMEM` when that would split a mapping beyond the kernel's limit.
///
/// # Safety
/// The caller must own the range, and nothing may use it afterwards.
pub unsafe fn unmap(range: PageRange) -> Result<(), Errno> {
    // SAFETY: The caller's duty.
    unsafe { rustix::mm::munmap(pointer(range.start()), byte_length(range)) }
}

/// Keeps `range` in memory (`mlock`); brings it in first. Windows: `VirtualLock`.
///
/// # Errors
/// `ENOMEM` beyond `RLIMIT_MEMLOCK` or for unmapped pages, `EPERM` where the limit is zero,
/// `EAGAIN` when a page cannot be brought in (a page missing under a userfaultfd of SIGBUS mode).
pub fn lock(range: PageRange) -> Result<(), Errno> {
    // SAFETY: Residence is not visible to the program; a range that is not ours only stays in.
    unsafe { rustix::mm::mlock(pointer(range.start()), byte_length(range)) }
}

/// Keeps the pages of `range` in memory that are there, and others as soon as they are touched (`mlock2(MLOCK_ONFAULT)`).
///
/// # Errors
/// As [`lock`]; `ENOSYS` before 4.4.
pub fn lock_as_touched(range: PageRange) -> Result<(), Errno> {
    let flags = rustix::mm::MlockFlags::ONFAULT;
    // SAFETY: As for `lock`.
    unsafe { rustix::mm::mlock_with(pointer(range.start()), byte_length(range), flags) }
}

/// Undoes [`lock`]. Windows: `VirtualUnlock`.
///
/// # Errors
/// `ENOMEM` for unmapped pages.
pub fn unlock(range: PageRange) -> Result<(), Errno> {
    // SAFETY: As for lock.
    unsafe { rustix::mm::munlock(pointer(range.start()), byte_length(range)) }
}

/// Moves the pages of `from` to `to` and leaves `from` mapped but empty
/// (`mremap(MREMAP_FIXED | MREMAP_DONTUNMAP)`).
///
/// The twin of the userfaultfd's move for pages that it refuses (after fork): slower, takes the
/// address-space lock for writing and splits mappings. Whatever `to` held is unmapped. `from` stays
/// registered with its userfaultfd; `to` is plain memory afterwards. Pages that a device writes to
/// (registered buffers) go along unnoticed.
///
/// # Errors
/// `EINVAL` when the ranges overlap or differ in length, `EFAULT` when `from` spans several
/// mappings, `ENOMEM` beyond the mapping limit.
///
/// # Safety
/// The caller must own both ranges; no reference into either may be alive.
pub unsafe fn move_leaving_empty(from: PageRange, to: PageRange) -> Result<(), Errno> {
    // SAFETY: The caller's duty, passed on.
    unsafe { remap(from, to, MREMAP_DONTUNMAP) }
}

/// Moves the mapping of `from` over `to` and leaves a hole at `from` (`mremap(MREMAP_FIXED)`).
///
/// # Errors
/// As [`move_leaving_empty`].
///
/// # Safety
/// The caller must own both ranges; no reference into either may be alive.
pub unsafe fn move_over(from: PageRange, to: PageRange) -> Result<(), Errno> {
    // SAFETY: The caller's duty, passed on.
    unsafe { remap(from, to, 0) }
}

unsafe fn remap(from: PageRange, to: PageRange, more: u32) -> Result<(), Errno> {
    if from.count() != to.count() {
        return Err(Errno::INVAL);
    }
    let flags = MREMAP_MAYMOVE | MREMAP_FIXED | more;
    // SAFETY: The caller owns both ranges.
    unsafe {
        raw::call(
            __NR_mremap,
            [
                from.address() as usize,
                byte_length(from),
                byte_length(to),
                flags as usize,
                to.address() as usize,
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
