//! The userfaultfd's descriptor: out of the program's way, and taken back when the program closed it all the same.
//!
//! Without a descriptor a missing page would read as zeros. A second reference, in the descriptor table of a thread of
//! its own, keeps the userfaultfd alive; the calls of [`Userfaultfd`] take it back by themselves when their number fails.
//! So the engine does not start without that second reference, and where the descriptor cannot be taken back (the program
//! has used up its numbers, or lowered their limit) the process stops with one line: going on would mean wrong data.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use pagekeeper_sys::Errno;
use pagekeeper_sys::probe::{Feature, Switches, VARIABLE};
use pagekeeper_sys::signal;
use pagekeeper_sys::time::pause;
use pagekeeper_sys::userfaultfd::{FaultScope, UffdFeatures, Userfaultfd};

use crate::error::EngineError;

/// How often a lost descriptor is asked for, a hundredth of a second each: the program may be about to close others.
const TRIES: u32 = 200;

static STOPPING: AtomicBool = AtomicBool::new(false);

const LOST: &str = "pagekeeper: the userfaultfd of the inline engine was closed by the program and could not be taken back \
    (no free descriptor number?): stopping, because pages that are out would read as zeros\n";

/// A userfaultfd, with what may be used of it.
///
/// # Errors
/// `Unavailable` where the kernel or a switch refuses what the engine cannot do without.
pub(crate) fn open() -> Result<Userfaultfd, EngineError> {
    let unavailable = |reason: String| EngineError::Unavailable {
        engine: "inline",
        reason,
    };
    // A name that is unknown is the program's to report (`doctor` does); here it switches nothing off.
    let switches = Switches::from_environment().unwrap_or_default();
    for needed in [Feature::Userfaultfd, Feature::Sigbus, Feature::WriteProtect] {
        if switches.is_off(needed) {
            return Err(unavailable(format!(
                "{} is switched off by {VARIABLE}",
                needed.name()
            )));
        }
    }
    let required = UffdFeatures::SIGBUS | UffdFeatures::PAGEFAULT_FLAG_WP;
    let optional = match switches.is_off(Feature::Move) {
        true => UffdFeatures::empty(),
        false => UffdFeatures::MOVE,
    };
    Userfaultfd::open(required, optional, FaultScope::UserMode)
        .map_err(|error| unavailable(error.to_string()))
}

/// Has the descriptor kept.
///
/// # Errors
/// `Unavailable` with what to change.
pub(crate) fn keep(userfaultfd: &mut Userfaultfd) -> Result<(), EngineError> {
    let unavailable = |reason: String| EngineError::Unavailable {
        engine: "inline",
        reason,
    };
    match userfaultfd.keep() {
        Err(Errno::MFILE) => Err(unavailable(
            "no descriptor number is left for its userfaultfd: raise RLIMIT_NOFILE (ulimit -n), or make fewer spaces"
                .to_owned(),
        )),
        Err(errno) => Err(unavailable(format!(
            "its userfaultfd cannot be protected against being closed: {errno}"
        ))),
        Ok(()) if !userfaultfd.is_backed() => Err(unavailable(
            "its userfaultfd cannot be held a second time (threads or local sockets are refused, or no descriptor \
             number is left: see ulimit -n and ulimit -u): use the mapped engine"
                .to_owned(),
        )),
        Ok(()) => Ok(()),
    }
}

/// Makes sure that the descriptor is there; stops the process when it is lost for good. Works on the fault path.
pub(crate) fn hold(userfaultfd: &Userfaultfd) {
    for _ in 0..TRIES {
        if userfaultfd.take_back_if_lost().is_ok() {
            return;
        }
        pause(Duration::from_millis(10));
    }
    if STOPPING.swap(true, Ordering::Relaxed) {
        // Another thread is saying so: one line is enough.
        loop {
            pause(Duration::from_secs(1));
        }
    }
    signal::stop_process(LOST)
}
