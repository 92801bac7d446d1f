//! From an open file to a way of transfer: past the page cache or through it, by rings or calls.

use std::os::fd::{AsFd, OwnedFd};

use pagekeeper_sys::Errno;
use pagekeeper_sys::disk::{BlockIo, Positioned, Uring};
use pagekeeper_sys::file::{DirectIo, probe_direct, set_direct};
use pagekeeper_sys::handle::Handle;

use super::{DirectIoChoice, IoChoice, PageFileSettings};

/// Batches that may be in flight at once, and requests of each. A batch beyond that goes by plain
/// calls; 64 in flight is what the disks we know need to reach their best.
const RINGS: usize = 4;
const RING_ENTRIES: u32 = 64;

/// A page file that is ready for use.
#[derive(Debug)]
pub struct Opened {
    /// For allocating space.
    pub file: Handle,
    /// For transfers. Has a descriptor of its own.
    pub disk: Box<dyn BlockIo>,
    /// Whether transfers go past the page cache.
    pub direct: bool,
    /// Why a descriptor could not be kept safe from a program that closes or replaces it, if one could not.
    pub unkept: Option<Errno>,
}

/// Makes a disk of a new, empty page file. Tests put failing disks in.
pub type Opener = Box<dyn Fn(OwnedFd, &PageFileSettings) -> Result<Opened, Errno> + Send + Sync>;

/// The usual [`Opener`]: direct I/O and rings as the settings say and the kernel allows. Descriptors are kept safe from a
/// program that closes or replaces them, as far as the process has numbers for that.
///
/// # Errors
/// `EMFILE` without descriptors. A refusal of direct I/O or rings is no error: there is the other
/// way.
pub fn open_disk(file: OwnedFd, settings: &PageFileSettings) -> Result<Opened, Errno> {
    let copy = |file: &OwnedFd| {
        let copied = file.as_fd().try_clone_to_owned();
        copied.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    let direct = settings.direct_io == DirectIoChoice::WhenPossible
        && probe_direct(&file, 0) == DirectIo::Works
        && set_direct(&file, true).is_ok();
    let ring = match settings.io {
        IoChoice::RingWhenPossible | IoChoice::RingAsleep => {
            let ring = Uring::new(copy(&file)?, RINGS, RING_ENTRIES).ok();
            ring.map(|ring| ring.watching(settings.io == IoChoice::RingWhenPossible))
        }
        IoChoice::Positioned => None,
    };
    // Where a descriptor cannot be kept, an ordinary one has to do; whoever asks for the figures is told.
    let (disk, unkept): (Box<dyn BlockIo>, _) = match ring {
        Some(mut ring) => {
            let unkept = ring.keep().err();
            (Box::new(ring), unkept)
        }
        None => {
            let mut transfers = Handle::from(copy(&file)?);
            let unkept = keep(&mut transfers).err();
            (Box::new(Positioned::new(transfers)), unkept)
        }
    };
    let mut file = Handle::from(file);
    let unkept = keep(&mut file).err().or(unkept);
    Ok(Opened {
        file,
        disk,
        direct,
        unkept,
    })
}

/// A high number and a second reference.
fn keep(handle: &mut Handle) -> Result<(), Errno> {
    handle.keep()?;
    // A number without a second reference: threads or local sockets are refused.
    if handle.is_backed() {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}
