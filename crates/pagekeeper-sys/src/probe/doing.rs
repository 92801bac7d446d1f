//! Finding each feature out by doing it, on memory and files of its own. Version numbers lie
//! (backports, filters, containers), and so do feature masks.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: registers, moves and marks pages that the probe has just reserved"
)]

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use pagekeeper_units::{PAGE_SIZE, PageCount, PageRange};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use super::Feature;
use crate::map::{self, Access, Advice, Mapping, Treatment, reserve};
use crate::pagemap::Scan;
use crate::perf::FaultCounters;
use crate::process_madvise::Batched;
use crate::procmap::ByQuery;
use crate::userfaultfd::{
    CopyMode, FaultScope, Modes, MoveMode, OpenError, Progress, UffdFeatures, Userfaultfd,
};
use crate::{Errno, disk, file, raw};

/// Tries `feature`. `folder` is where files are made.
pub(super) fn try_out(feature: Feature, folder: &Path) -> Result<(), Errno> {
    match feature {
        Feature::Userfaultfd => offered(FaultScope::UserMode, UffdFeatures::empty()),
        Feature::KernelFaults => offered(FaultScope::UserAndKernel, UffdFeatures::empty()),
        Feature::Sigbus => missing_page_is_an_error(),
        Feature::WriteProtect => write_protection_holds(),
        Feature::WriteProtectAsync => write_protection_lifts_itself(),
        Feature::WriteProtectUnpopulated => {
            offered(FaultScope::UserMode, UffdFeatures::WP_UNPOPULATED)
        }
        Feature::Move => a_page_moves(),
        Feature::Poison => a_page_is_poisoned(),
        Feature::Minor => a_minor_fault_is_answered(),
        Feature::PagemapScan => Scan::open().map(drop),
        Feature::Guard => markers_work(&two_pages()?, None),
        Feature::GuardFile => markers_on_a_file(folder),
        Feature::ProcessMadvise => Batched::probe().map(drop),
        Feature::IoUring => disk::probe_ring(),
        Feature::DirectIo => direct_transfers(folder),
        Feature::Cachestat => file::cache_state(scratch(folder)?, 0, 0).map(drop),
        Feature::ProcmapQuery => ByQuery::open().map(drop),
        Feature::PidfdGetfd => a_descriptor_comes_back(),
        Feature::Perf => FaultCounters::open().map(drop),
    }
}

fn errno(error: OpenError) -> Errno {
    match error {
        // EPERM says more than a device that is not there.
        OpenError::Refused { device, call } if call == Errno::NOSYS => device,
        other => other.errno(),
    }
}

fn offered(scope: FaultScope, wanted: UffdFeatures) -> Result<(), Errno> {
    let offered = Userfaultfd::offered(scope).map_err(errno)?;
    if offered.contains(wanted) {
        Ok(())
    } else {
        Err(Errno::INVAL)
    }
}

/// A SIGBUS-mode descriptor and two pages registered with it.
fn registered(features: UffdFeatures, modes: Modes) -> Result<(Userfaultfd, Mapping), Errno> {
    let features = features | UffdFeatures::SIGBUS;
    let none = UffdFeatures::empty();
    let uffd = Userfaultfd::open(features, none, FaultScope::UserMode).map_err(errno)?;
    let memory = two_pages()?;
    // SAFETY: Fresh memory of our own; only the kernel is asked to touch missing pages.
    unsafe { uffd.register(memory.range(), modes)? };
    Ok((uffd, memory))
}

fn two_pages() -> Result<Mapping, Errno> {
    let treatment = Treatment::NOT_INHERITED | Treatment::NO_HUGE_PAGES;
    reserve(PageCount::new(2), Access::READ_WRITE, treatment)
}

fn page(memory: &Mapping, index: u64) -> PageRange {
    PageRange::new(memory.page(index), PageCount::ONE)
}

/// Fills one page with `value` through `uffd`.
fn fill(uffd: &Userfaultfd, to: PageRange, value: u8, mode: CopyMode) -> Result<(), Errno> {
    let mut source = file::AlignedPage::new();
    source.bytes_mut().fill(value);
    // SAFETY: A page long, and the range is registered and ours.
    finished(unsafe { uffd.copy(to, source.bytes().as_ptr(), mode) })
}

fn finished(progress: Progress) -> Result<(), Errno> {
    progress.error.map_or(Ok(()), Err)
}

/// The kernel's own touch of a page: an error where ours would be a signal.
fn kernel_reads(range: PageRange) -> Result<u8, Errno> {
    let (read, write) = rustix::pipe::pipe()?;
    let argument = [write.as_raw_fd() as usize, range.address() as usize, 1];
    // SAFETY: The kernel reads one byte of ours, or refuses.
    unsafe { raw::call(linux_raw_sys::general::__NR_write, argument)? };
    let mut byte = [0];
    rustix::io::read(&read, &mut byte[..])?;
    Ok(byte[0])
}

/// The kernel's own store into a page.
fn kernel_writes(range: PageRange) -> Result<(), Errno> {
    let (read, write) = rustix::pipe::pipe()?;
    rustix::io::write(&write, b"w")?;
    let argument = [read.as_raw_fd() as usize, range.address() as usize, 1];
    // SAFETY: The kernel writes one byte into our page, or refuses.
    unsafe { raw::call(linux_raw_sys::general::__NR_read, argument)? };
    Ok(())
}

/// `EIO` stands for: claimed, and not done.
fn holds(condition: bool) -> Result<(), Errno> {
    if condition { Ok(()) } else { Err(Errno::IO) }
}

fn missing_page_is_an_error() -> Result<(), Errno> {
    let (uffd, memory) = registered(UffdFeatures::empty(), Modes::MISSING)?;
    holds(kernel_reads(page(&memory, 0)) == Err(Errno::FAULT))?;
    fill(&uffd, page(&memory, 0), 3, CopyMode::empty())?;
    holds(kernel_reads(page(&memory, 0)) == Ok(3))
}

fn write_protection_holds() -> Result<(), Errno> {
    let modes = Modes::MISSING | Modes::WRITE_PROTECT;
    let (uffd, memory) = registered(UffdFeatures::PAGEFAULT_FLAG_WP, modes)?;
    fill(&uffd, page(&memory, 0), 3, CopyMode::WRITE_PROTECTED)?;
    holds(kernel_writes(page(&memory, 0)) == Err(Errno::FAULT))?;
    // SAFETY: Ours.
    unsafe { uffd.write_protect(page(&memory, 0), false)? };
    holds(kernel_writes(page(&memory, 0)).is_ok())
}

fn write_protection_lifts_itself() -> Result<(), Errno> {
    let modes = Modes::MISSING | Modes::WRITE_PROTECT;
    let (uffd, memory) = registered(UffdFeatures::WP_ASYNC, modes)?;
    fill(&uffd, page(&memory, 0), 3, CopyMode::WRITE_PROTECTED)?;
    holds(kernel_writes(page(&memory, 0)).is_ok())
}

fn a_page_moves() -> Result<(), Errno> {
    let (uffd, memory) = registered(UffdFeatures::MOVE, Modes::MISSING)?;
    let (from, to) = (page(&memory, 0), page(&memory, 1));
    fill(&uffd, from, 7, CopyMode::empty())?;
    // Early versions could turn in circles on a busy page; a page that nobody uses is not busy.
    const ATTEMPTS: usize = 8;
    let mut result = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        // SAFETY: Both ours, no references.
        result = finished(unsafe { uffd.move_pages(to.start(), from, MoveMode::empty()) });
        if result != Err(Errno::AGAIN) {
            break;
        }
    }
    result?;
    holds(kernel_reads(to) == Ok(7) && kernel_reads(from) == Err(Errno::FAULT))
}

fn a_page_is_poisoned() -> Result<(), Errno> {
    let (uffd, memory) = registered(UffdFeatures::POISON, Modes::MISSING)?;
    // SAFETY: Ours.
    finished(unsafe { uffd.poison(page(&memory, 0)) })?;
    holds(kernel_reads(page(&memory, 0)).is_err())
}

fn a_minor_fault_is_answered() -> Result<(), Errno> {
    let features = UffdFeatures::SIGBUS | UffdFeatures::MINOR_SHMEM;
    let none = UffdFeatures::empty();
    let uffd = Userfaultfd::open(features, none, FaultScope::UserMode).map_err(errno)?;
    let memory_file = rustix::fs::memfd_create("probe", rustix::fs::MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&memory_file, PAGE_SIZE as u64)?;
    rustix::io::pwrite(&memory_file, b"m", 0)?;
    let memory = map::map_file(PageCount::ONE, &memory_file, 0, Access::READ_WRITE)?;
    // SAFETY: Ours; only the kernel is asked to touch the page before it is there.
    unsafe {
        uffd.register(memory.range(), Modes::MINOR)?;
        finished(uffd.continue_faults(memory.range()))?;
    }
    holds(kernel_reads(memory.range()) == Ok(b'm'))
}

/// Marks the first of two pages and takes the marker away. `kept`: what the page reads afterwards.
fn markers_work(memory: &Mapping, kept: Option<u8>) -> Result<(), Errno> {
    let first = page(memory, 0);
    // SAFETY: Ours; only the kernel is asked to touch the marked page.
    unsafe {
        map::advise(first, Advice::GuardInstall)?;
        let closed = kernel_reads(first) == Err(Errno::FAULT);
        let beside = kernel_reads(page(memory, 1)).is_ok();
        map::advise(first, Advice::GuardRemove)?;
        holds(closed && beside && kernel_reads(first) == Ok(kept.unwrap_or(0)))
    }
}

fn scratch(folder: &Path) -> Result<std::os::fd::OwnedFd, Errno> {
    match file::create_in_folder(folder) {
        Ok(created) => Ok(created.file),
        Err(file::FileError::Other(_, errno)) => Err(errno),
        Err(file::FileError::FolderMissing(_)) => Err(Errno::NOENT),
        Err(file::FileError::NotAFolder(_)) => Err(Errno::NOTDIR),
        Err(file::FileError::Full(_)) => Err(Errno::NOSPC),
        Err(file::FileError::ReadOnly(_)) => Err(Errno::ROFS),
        Err(_) => Err(Errno::ACCESS),
    }
}

fn markers_on_a_file(folder: &Path) -> Result<(), Errno> {
    let scratch = scratch(folder)?;
    file::truncate(&scratch, 2 * PAGE_SIZE as u64)?;
    rustix::io::pwrite(&scratch, b"k", 0)?;
    let memory = map::map_file(PageCount::new(2), &scratch, 0, Access::READ_WRITE)?;
    markers_work(&memory, Some(b'k'))
}

fn direct_transfers(folder: &Path) -> Result<(), Errno> {
    match file::probe_direct(scratch(folder)?, 0) {
        file::DirectIo::Works => Ok(()),
        file::DirectIo::Refused(errno) => Err(errno),
    }
}

fn a_descriptor_comes_back() -> Result<(), Errno> {
    let itself = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let (read, write) = rustix::pipe::pipe()?;
    let number = write.as_fd().as_raw_fd();
    let again = rustix::process::pidfd_getfd(&itself, number, PidfdGetfdFlags::empty())?;
    rustix::io::write(&again, b"x")?;
    let mut byte = [0];
    rustix::io::read(&read, &mut byte[..])?;
    holds(byte == *b"x")
}
