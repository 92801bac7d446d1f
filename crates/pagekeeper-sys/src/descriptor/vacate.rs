//! Making room where the program wants to put a descriptor of its own.
//!
//! A program that says `dup2(x, 700)` may hit one of our numbers. Wrapped, it does not lose us anything: our file gets
//! another number first. But a thread that has already read the old number may be about to write a page to it,
//! which would end in the program's file. So transfers are counted while they use a number ([`InUse`]), and the
//! number is given away when those that may have read it are over.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use core::time::Duration;
use std::os::fd::RawFd;

use super::{NONE, NUMBERS, RECOVERY, close, duplicate_from, high_base};
use crate::Errno;
use crate::lock::FutexLock;

/// Transfers under way, in two classes: those begun before the last change of a number, and those begun after.
static UNDER_WAY: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
/// Which class begins now: the lowest bit.
static CLASS: AtomicUsize = AtomicUsize::new(0);
/// One number is given away at a time. Taken before [`RECOVERY`], never on the fault path.
static VACATING: FutexLock<()> = FutexLock::new(());

/// How long somebody may wait for transfers to end: disks that hang hang for longer.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_micros(100);

/// A transfer that reads a kept number and uses it, until dropped. For the fault path.
#[must_use]
pub(crate) struct InUse(usize);

impl InUse {
    #[inline]
    pub(crate) fn begin() -> Self {
        let class = CLASS.load(Ordering::SeqCst) & 1;
        // Whoever is counted late, in a class that was found empty, reads the number after it was changed.
        UNDER_WAY[class].fetch_add(1, Ordering::SeqCst);
        Self(class)
    }
}

impl Drop for InUse {
    #[inline]
    fn drop(&mut self) {
        UNDER_WAY[self.0 & 1].fetch_sub(1, Ordering::SeqCst);
    }
}

/// Gives `number` away if it is one of ours: the file behind it gets another. Afterwards the number is closed, and what
/// the program puts there is the program's. Does nothing for other numbers.
///
/// # Errors
/// `EMFILE` without a free number; `EBUSY` when a transfer to it does not come to its end. The number is ours as before
/// with the first, and closed with the second.
pub fn vacate(number: RawFd) -> Result<(), Errno> {
    if number == NONE {
        return Ok(());
    }
    let _one_at_a_time = VACATING.lock_outside_handler();
    if !move_away(number)? {
        return Ok(());
    }
    let before = CLASS.fetch_add(1, Ordering::SeqCst) & 1;
    let mut waited = Duration::ZERO;
    while UNDER_WAY[before].load(Ordering::SeqCst) != 0 {
        if waited >= PATIENCE {
            return Err(Errno::BUSY);
        }
        crate::time::pause(PAUSE);
        waited += PAUSE;
    }
    close(number);
    Ok(())
}

/// Gives the file behind `number` another number, beside the old one; whether it was ours.
fn move_away(number: RawFd) -> Result<bool, Errno> {
    let _guard = RECOVERY.lock_outside_handler();
    let ours = |place: &&core::sync::atomic::AtomicI32| place.load(Ordering::Acquire) == number;
    let Some(place) = NUMBERS.iter().find(ours) else {
        return Ok(false);
    };
    let fresh = duplicate_from(number, high_base()).or_else(|_| duplicate_from(number, 3))?;
    place.store(fresh, Ordering::SeqCst);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsRawFd, OwnedFd};

    use super::*;
    use crate::descriptor::{KeptDescriptor, is_own_number};

    #[test]
    fn a_number_is_given_away_and_the_file_stays() {
        let file: OwnedFd = File::open("/proc/self/maps").unwrap().into();
        let kept = KeptDescriptor::keep(file).unwrap();
        let number = kept.number();
        vacate(number).unwrap();
        assert_ne!(kept.number(), number);
        assert!(!is_own_number(number));
        assert!(kept.verify());
    }

    #[test]
    fn a_stranger_is_left_alone() {
        let file = File::open("/proc/self/maps").unwrap();
        vacate(file.as_raw_fd()).unwrap();
        assert!(file.metadata().is_ok());
    }

    #[test]
    fn a_number_in_use_is_waited_for() {
        let file: OwnedFd = File::open("/proc/self/maps").unwrap().into();
        let kept = KeptDescriptor::keep(file).unwrap();
        let number = kept.number();
        let in_use = InUse::begin();
        let giver = std::thread::spawn(move || vacate(number));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!giver.is_finished());
        drop(in_use);
        assert_eq!(giver.join().unwrap(), Ok(()));
    }
}
