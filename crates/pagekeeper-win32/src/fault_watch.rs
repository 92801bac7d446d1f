//! Which pages came into the working set. Windows: `InitializeProcessForWsWatch`, `GetWsChanges`, `GetWsChangesEx`.
//!
//! Bit 0 of `FaultingVa` is set for a soft fault, as Windows' kernel has it; a hard fault was answered by a disk.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;
use core::ptr;

use pagekeeper::EngineKind;
use pagekeeper::fault_watch::{self, Coverage, FaultWatchError, WatchedFault};

use crate::constants::{
    ERROR_GEN_FAILURE, ERROR_INSUFFICIENT_BUFFER, ERROR_NO_MORE_ITEMS, ERROR_NOT_SUPPORTED,
    PROCESS_QUERY_INFORMATION,
};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::memory::Plain;
use crate::types::{
    BOOL, DWORD, HANDLE, PSAPI_WS_WATCH_INFORMATION, PSAPI_WS_WATCH_INFORMATION_EX,
};
use crate::{memory, process, space};

/// Set in the address of a soft fault.
const SOFT: usize = 1;

/// `InitializeProcessForWsWatch`. Called again, it begins anew.
#[unsafe(no_mangle)]
pub extern "C" fn InitializeProcessForWsWatch(process: HANDLE) -> BOOL {
    to_bool(initialize(process))
}

fn initialize(process: HANDLE) -> Result<(), Code> {
    process::check_for(process, PROCESS_QUERY_INFORMATION)?;
    let engine = space::get()?.default_engine();
    match fault_watch::start().map_err(refused)? {
        // Nothing would ever be told of this process's memory.
        Coverage::InlineOnly { .. } if engine != EngineKind::Inline => {
            fault_watch::stop().map_err(refused)?;
            Err(Code(ERROR_NOT_SUPPORTED))
        }
        _ => Ok(()),
    }
}

/// `GetWsChanges`: the records since the last time, and one more whose `FaultingPc` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn GetWsChanges(
    process: HANDLE,
    to: *mut PSAPI_WS_WATCH_INFORMATION,
    length: DWORD,
) -> BOOL {
    let result = changes(process, to, length, basic);
    to_bool(result.map(drop).map_err(Code::from))
}

/// `GetWsChangesEx`: with the thread of each. `length` becomes what the records need, also where they do not fit.
#[unsafe(no_mangle)]
pub extern "C" fn GetWsChangesEx(
    process: HANDLE,
    to: *mut PSAPI_WS_WATCH_INFORMATION_EX,
    length: *mut DWORD,
) -> BOOL {
    let extended = |fault: Option<&WatchedFault>| PSAPI_WS_WATCH_INFORMATION_EX {
        BasicInfo: basic(fault),
        FaultingThreadId: fault.map_or(0, |fault| fault.thread as usize),
        Flags: 0,
    };
    let result = memory::read(length).and_then(|given| {
        let (needed, result) = match changes(process, to, given, extended) {
            Ok(needed) => (needed, Ok(())),
            Err(Failure::TooSmall { needed }) => (needed, Err(Code(ERROR_INSUFFICIENT_BUFFER))),
            Err(Failure::Other(code)) => return Err(code),
        };
        memory::write(length, &needed)?;
        result
    });
    to_bool(result)
}

/// A record as C has it; `None` is the last one.
fn basic(fault: Option<&WatchedFault>) -> PSAPI_WS_WATCH_INFORMATION {
    let pointer = |address| ptr::with_exposed_provenance_mut::<c_void>(address);
    PSAPI_WS_WATCH_INFORMATION {
        FaultingPc: pointer(fault.map_or(0, |fault| fault.instruction as usize)),
        FaultingVa: pointer(fault.map_or(0, |fault| {
            let address = fault.address as usize;
            if fault.read_disk {
                address & !SOFT
            } else {
                address | SOFT
            }
        })),
    }
}

enum Failure {
    /// With the bytes that all records need.
    TooSmall {
        needed: DWORD,
    },
    Other(Code),
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::Other(code)
    }
}

impl From<Failure> for Code {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooSmall { .. } => Self(ERROR_INSUFFICIENT_BUFFER),
            Failure::Other(code) => code,
        }
    }
}

/// Writes the records as `show` has them, and the last one; the bytes that they take. A buffer that is too small is returned empty,
/// and no record is lost.
fn changes<T: Plain>(
    process: HANDLE,
    to: *mut T,
    length: DWORD,
    show: impl Fn(Option<&WatchedFault>) -> T,
) -> Result<DWORD, Failure> {
    process::check_for(process, PROCESS_QUERY_INFORMATION)?;
    let room = length as usize / size_of::<T>();
    // Before anything is taken that could not be handed over.
    if room > 0 {
        memory::check_writable(to)?;
        memory::check_writable(to.wrapping_add(room - 1))?;
    }
    let bytes = |records: usize| DWORD::try_from((records + 1) * size_of::<T>());
    let faults = match fault_watch::take(room.saturating_sub(1)) {
        Ok(faults) if room > 0 => faults,
        Ok(faults) => return Err(too_small(bytes(faults.len()))),
        Err(FaultWatchError::TooMany { records }) => {
            if room > 0 {
                memory::write(to, &show(None))?;
            }
            return Err(too_small(bytes(records)));
        }
        Err(error) => return Err(Failure::Other(refused(error))),
    };
    let all = faults.iter().map(Some).chain([None]);
    for (index, fault) in all.enumerate() {
        memory::write(to.wrapping_add(index), &show(fault))?;
    }
    Ok(bytes(faults.len()).unwrap_or(DWORD::MAX))
}

fn too_small<E>(needed: Result<DWORD, E>) -> Failure {
    Failure::TooSmall {
        needed: needed.unwrap_or(DWORD::MAX),
    }
}

fn refused(error: FaultWatchError) -> Code {
    Code(match error {
        // What Windows' kernel calls unsuccessful.
        FaultWatchError::NotStarted => ERROR_GEN_FAILURE,
        FaultWatchError::Busy => ERROR_NO_MORE_ITEMS,
        FaultWatchError::TooMany { .. } => ERROR_INSUFFICIENT_BUFFER,
        _ => ERROR_NOT_SUPPORTED,
    })
}
