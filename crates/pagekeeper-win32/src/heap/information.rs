//! What a heap says of itself, and what can be told it. Windows: `HeapQueryInformation`, `HeapSetInformation`.
//!
//! Source: windows-memory-behaviour.md 16.4.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use super::table;
use crate::constants::{
    ERROR_GEN_FAILURE, ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_PARAMETER, ERROR_NOACCESS,
    HeapCompatibilityInformation, HeapEnableTerminationOnCorruption, HeapOptimizeResources,
};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::memory;
use crate::types::{BOOL, DWORD, HANDLE, LONG, SIZE_T, ULONG};

/// The low-fragmentation front end.
const FRONT_END: ULONG = 2;
/// The version of `HEAP_OPTIMIZE_RESOURCES_INFORMATION`, its first field; its second must be 0.
const OPTIMIZE_VERSION: DWORD = 1;

static ENDS_ON_CORRUPTION: AtomicBool = AtomicBool::new(false);

/// Whether the program shall end when a heap is found corrupted.
pub(super) fn ends_on_corruption() -> bool {
    ENDS_ON_CORRUPTION.load(Ordering::Relaxed)
}

/// `HeapQueryInformation`
#[unsafe(no_mangle)]
pub extern "C" fn HeapQueryInformation(
    heap: HANDLE,
    class: LONG,
    information: *mut c_void,
    length: SIZE_T,
    needed: *mut SIZE_T,
) -> BOOL {
    let query = || {
        if class != HeapCompatibilityInformation {
            return Err(Code(ERROR_INVALID_PARAMETER));
        }
        if heap.is_null() {
            return Err(Code(ERROR_NOACCESS));
        }
        let value = table::with(heap, |open| {
            ULONG::from(open.blocks().has_front_end()) * FRONT_END
        })?;
        if !needed.is_null() {
            memory::write(needed, &size_of::<ULONG>())?;
        }
        if length < size_of::<ULONG>() {
            return Err(Code(ERROR_INSUFFICIENT_BUFFER));
        }
        memory::write(information.cast(), &value)
    };
    to_bool(query())
}

/// `HeapSetInformation`
#[unsafe(no_mangle)]
pub extern "C" fn HeapSetInformation(
    heap: HANDLE,
    class: LONG,
    information: *mut c_void,
    length: SIZE_T,
) -> BOOL {
    to_bool(match class {
        HeapCompatibilityInformation => set_front_end(heap, information.cast(), length),
        HeapEnableTerminationOnCorruption => {
            ENDS_ON_CORRUPTION.store(true, Ordering::Relaxed);
            Ok(())
        }
        HeapOptimizeResources => optimize(heap, information.cast(), length),
        _ => Err(Code(ERROR_INVALID_PARAMETER)),
    })
}

fn set_front_end(heap: HANDLE, value: *const ULONG, length: SIZE_T) -> Result<(), Code> {
    if length < size_of::<ULONG>() {
        return Err(Code(ERROR_INSUFFICIENT_BUFFER));
    }
    let value = memory::read(value)?;
    table::with(heap, |open| {
        if open.is_unserialised() {
            return Err(Code(ERROR_INVALID_PARAMETER));
        }
        match value {
            FRONT_END => open.blocks().use_front_end(),
            // What it is already.
            0 if !open.blocks().has_front_end() => {}
            // Once on it stays on; look-aside lists are of older versions.
            0 | 1 => return Err(Code(ERROR_GEN_FAILURE)),
            _ => return Err(Code(ERROR_INVALID_PARAMETER)),
        }
        Ok(())
    })?
}

/// Gives back what can be, of one heap or of all.
fn optimize(heap: HANDLE, information: *const DWORD, length: SIZE_T) -> Result<(), Code> {
    if length < 2 * size_of::<DWORD>() {
        return Err(Code(ERROR_INSUFFICIENT_BUFFER));
    }
    let (version, flags) = (
        memory::read(information)?,
        memory::read(information.wrapping_add(1))?,
    );
    if version != OPTIMIZE_VERSION || flags != 0 {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    let heaps = if heap.is_null() {
        table::all()
    } else {
        vec![heap]
    };
    for heap in heaps {
        table::with(heap, |open| open.heap().compact())?;
    }
    Ok(())
}
