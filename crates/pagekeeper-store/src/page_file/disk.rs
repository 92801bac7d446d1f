//! From an open file to a way of transfer: past the page cache or through it, by rings or calls.

use std::os::fd::OwnedFd;

use pagekeeper_sys::Errno;
use pagekeeper_sys::disk::{BlockIo, Positioned, Uring};
use pagekeeper_sys::file::{DirectIo, probe_direct, set_direct};

use super::{DirectIoChoice, IoChoice, PageFileSettings};

/// Batches that may be in flight at once, and requests of each. A batch beyond that goes by plain
/// calls; 64 in flight is what the disks we know need to reach their best.
const RINGS: usize = 4;
const RING_ENTRIES: u32 = 64;

/// A page file that is ready for use.
#[derive(Debug)]
pub struct Opened {
    /// For allocating space.
    pub file: OwnedFd,
    /// For transfers. Has a descriptor of its own.
    pub disk: Box<dyn BlockIo>,
    /// Whether transfers go past the page cache.
    pub direct: bool,
}

/// Makes a disk of a new, empty page file. The library puts its own in to move descriptors out of
/// the way of `close_range` and to hold second references; tests put failing disks in.
pub type Opener = Box<dyn Fn(OwnedFd, &PageFileSettings) -> Result<Opened, Errno> + Send + Sync>;

/// The usual [`Opener`]: direct I/O and rings as the settings say and the kernel allows.
///
/// # Errors
/// `EMFILE` without descriptors. A refusal of direct I/O or rings is no error: there is the other
/// way.
pub fn open_disk(file: OwnedFd, settings: &PageFileSettings) -> Result<Opened, Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let direct = settings.direct_io == DirectIoChoice::WhenPossible
        && probe_direct(&file, 0) == DirectIo::Works
        && set_direct(&file, true).is_ok();
    let transfers = file.try_clone().map_err(errno)?;
    let ring = match settings.io {
        IoChoice::RingWhenPossible => {
            let ours = transfers.try_clone().map_err(errno)?;
            Uring::new(ours, RINGS, RING_ENTRIES).ok()
        }
        IoChoice::Positioned => None,
    };
    let disk: Box<dyn BlockIo> = match ring {
        Some(ring) => Box::new(ring),
        None => Box::new(Positioned::new(transfers)),
    };
    Ok(Opened { file, disk, direct })
}
