//! Looking at memory from C: `PagekeeperSnapshotOpen`, `PagekeeperSnapshotTake`, `PagekeeperSnapshotClose` (`pagekeeper.h`). Windows has
//! nothing of the kind; errors go the usual way all the same, and as a line of text.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

mod layout;
mod shown;

use core::cell::RefCell;
use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pagekeeper::monitor::{MonitorError, Observer};

use self::shown::Shown;
use crate::constants::{
    ERROR_ACCESS_DENIED, ERROR_GEN_FAILURE, ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER,
    ERROR_NOT_SUPPORTED, ERROR_PARTIAL_COPY,
};
use crate::errors::Code;
use crate::last_error::{or, to_bool};

pub use layout::{
    PAGEKEEPER_COUNTERS, PAGEKEEPER_ENGINE, PAGEKEEPER_FAULT_SITE, PAGEKEEPER_PAGES,
    PAGEKEEPER_REGION, PAGEKEEPER_SNAPSHOT, PAGEKEEPER_TOTALS,
};

/// `PAGEKEEPER_SNAPSHOT_NO_REGIONS`
const NO_REGIONS: u32 = 1;

/// An observer, and what it shows.
struct Observing {
    observer: Observer,
    shown: Option<Shown>,
}

/// Observers by their numbers: a bad pointer is refused, not followed.
static ALL: Mutex<BTreeMap<usize, Arc<Mutex<Observing>>>> = Mutex::new(BTreeMap::new());

/// Odd, so that it is nobody's address and no handle; never the same twice, so that one that was closed stays closed.
static NEXT: AtomicUsize = AtomicUsize::new(1);

thread_local! {
    static PROBLEM: RefCell<CString> = RefCell::new(CString::default());
}

fn all() -> MutexGuard<'static, BTreeMap<usize, Arc<Mutex<Observing>>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `PagekeeperSnapshotOpen`: begins to look at a process; 0 is this one.
#[unsafe(no_mangle)]
pub extern "C" fn PagekeeperSnapshotOpen(pid: u32) -> *mut c_void {
    or(open(pid), ptr::null_mut())
}

fn open(pid: u32) -> Result<*mut c_void, Code> {
    let pid = if pid == 0 { std::process::id() } else { pid };
    let observer = Observer::of(pid).map_err(|error| refused(&error))?;
    let observing = Observing {
        observer,
        shown: None,
    };
    let number = NEXT.fetch_add(2, Ordering::Relaxed);
    all().insert(number, Arc::new(Mutex::new(observing)));
    Ok(ptr::without_provenance_mut(number))
}

/// `PagekeeperSnapshotTake`: the process now; valid until the next call with the same observer.
#[unsafe(no_mangle)]
pub extern "C" fn PagekeeperSnapshotTake(
    observer: *mut c_void,
    flags: u32,
) -> *const PAGEKEEPER_SNAPSHOT {
    or(take(observer, flags), ptr::null())
}

fn take(observer: *mut c_void, flags: u32) -> Result<*const PAGEKEEPER_SNAPSHOT, Code> {
    if flags & !NO_REGIONS != 0 {
        return Err(problem(
            ERROR_INVALID_PARAMETER,
            "there are no such flags: PAGEKEEPER_SNAPSHOT_ALL or PAGEKEEPER_SNAPSHOT_NO_REGIONS",
        ));
    }
    let found = all().get(&observer.addr()).map(Arc::clone);
    let found = found.ok_or_else(no_observer)?;
    let mut observing = found.lock().unwrap_or_else(PoisonError::into_inner);
    let looked = match flags {
        NO_REGIONS => observing.observer.figures(),
        _ => observing.observer.snapshot(),
    };
    let shown = Shown::new(looked.map_err(|error| refused(&error))?);
    Ok(observing.shown.insert(shown).view())
}

/// `PagekeeperSnapshotClose`: ends looking.
#[unsafe(no_mangle)]
pub extern "C" fn PagekeeperSnapshotClose(observer: *mut c_void) -> c_int {
    let found = all().remove(&observer.addr());
    to_bool(found.map(drop).ok_or_else(no_observer))
}

/// `PagekeeperSnapshotProblem`: why the last of these calls that failed in this thread did.
#[unsafe(no_mangle)]
pub extern "C" fn PagekeeperSnapshotProblem() -> *const c_char {
    PROBLEM.with_borrow(|text| text.as_ptr())
}

fn no_observer() -> Code {
    problem(
        ERROR_INVALID_HANDLE,
        "there is no such observer: PagekeeperSnapshotOpen returns one, PagekeeperSnapshotClose ends it",
    )
}

fn refused(error: &MonitorError) -> Code {
    let code = match error {
        MonitorError::NoSuchProcess { .. } | MonitorError::NoMemory { .. } => {
            ERROR_INVALID_PARAMETER
        }
        MonitorError::NotPermitted { .. }
        | MonitorError::NotDumpable { .. }
        | MonitorError::RefusedToRoot { .. } => ERROR_ACCESS_DENIED,
        MonitorError::Exited { .. } => ERROR_PARTIAL_COPY,
        MonitorError::OtherVersion { .. } => ERROR_NOT_SUPPORTED,
        _ => ERROR_GEN_FAILURE,
    };
    problem(code, &error.to_string())
}

fn problem(code: u32, text: &str) -> Code {
    PROBLEM.with_borrow_mut(|line| *line = CString::new(text).unwrap_or_default());
    Code(code)
}
