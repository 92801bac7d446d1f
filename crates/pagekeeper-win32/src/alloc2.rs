//! Reserve with requirements on the address; make and replace placeholders. Windows: `VirtualAlloc2`.
//!
//! Source: windows-memory-behaviour.md 12.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;
use core::ptr;

use pagekeeper::{AddressLimits, ByteCount, FreeRequest};

use crate::alloc::Request;
use crate::constants::{
    ERROR_INVALID_PARAMETER, MEM_RESERVE, MemExtendedParameterAddressRequirements,
    PROCESS_VM_OPERATION,
};
use crate::errors::Code;
use crate::last_error::or;
use crate::system_info::{GRANULARITY, HIGHEST_ADDRESS};
use crate::types::{HANDLE, MEM_ADDRESS_REQUIREMENTS, MEM_EXTENDED_PARAMETER, SIZE_T, ULONG};
use crate::{memory, process, space};

const BAD: Code = Code(ERROR_INVALID_PARAMETER);
/// The type of a parameter is a byte; the other bits are reserved.
const TYPE_MASK: u64 = 0xFF;
/// Types from here on are unknown.
const FIRST_UNKNOWN: u64 = 7;
const PAGE_MASK: u64 = 0xFFF;

/// `VirtualAlloc2`. A NULL process is the own one.
#[unsafe(no_mangle)]
pub extern "C" fn VirtualAlloc2(
    process: HANDLE,
    address: *mut c_void,
    size: SIZE_T,
    kind: ULONG,
    protection: ULONG,
    parameters: *mut MEM_EXTENDED_PARAMETER,
    count: ULONG,
) -> *mut c_void {
    let result = limits(parameters, count, What::Memory).and_then(|limits| {
        let request = Request::with_placeholders(address, size, kind, protection)?;
        // MEM_COMMIT alone with no address reserves too, but not where requirements say.
        if limits.is_some() && (request.has_address() || kind & MEM_RESERVE == 0) {
            return Err(BAD);
        }
        if !process.is_null() {
            process::check_for(process, PROCESS_VM_OPERATION)?;
        }
        request.carry_out(limits)
    });
    or(result, ptr::null_mut())
}

/// What an address is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Memory of one's own, with any alignment from 64 KiB on.
    Memory,
    /// A view, which may not ask for an alignment.
    View,
}

/// What the parameters say about the address; `None` when they leave it open. NUMA nodes and attributes are hints that
/// change nothing here; partitions and handles of physical memory there are none of.
pub(crate) fn limits(
    parameters: *mut MEM_EXTENDED_PARAMETER,
    count: ULONG,
    what: What,
) -> Result<Option<AddressLimits>, Code> {
    if parameters.is_null() && count > 0 {
        return Err(BAD);
    }
    let mut seen = 0_u32;
    let mut limits = None;
    for index in 0..count as usize {
        let parameter = memory::read(parameters.wrapping_add(index))?;
        let kind = parameter.Type & TYPE_MASK;
        let known = matches!(kind, 1 | 2 | 5) && parameter.Type < FIRST_UNKNOWN;
        if !known || seen & (1 << kind) != 0 {
            return Err(BAD);
        }
        seen |= 1 << kind;
        if kind == MemExtendedParameterAddressRequirements as u64 {
            let at = ptr::with_exposed_provenance(parameter.Value);
            limits = requirements(&memory::read(at)?, what)?;
        }
    }
    Ok(limits)
}

fn requirements(
    wanted: &MEM_ADDRESS_REQUIREMENTS,
    what: What,
) -> Result<Option<AddressLimits>, Code> {
    let mut limits = AddressLimits::default();
    let lowest = wanted.LowestStartingAddress.addr() as u64;
    let highest = wanted.HighestEndingAddress.addr() as u64;
    let alignment = wanted.Alignment as u64;
    if lowest == 0 && highest == 0 && alignment == 0 {
        return Ok(None);
    }
    if highest != 0 {
        if highest & PAGE_MASK != PAGE_MASK || highest > HIGHEST_ADDRESS {
            return Err(BAD);
        }
        limits.highest = highest;
    }
    if lowest != 0 {
        if !lowest.is_multiple_of(GRANULARITY) || lowest > limits.highest {
            return Err(BAD);
        }
        limits.lowest = limits.lowest.max(lowest);
    }
    if alignment != 0 {
        if what == What::View || !alignment.is_power_of_two() || alignment < GRANULARITY {
            return Err(BAD);
        }
        limits.alignment = ByteCount::new(alignment);
    }
    Ok(Some(limits))
}

/// Where there is room for so many bytes inside of limits, for a moment at least.
pub(crate) fn find_place(size: u64, limits: AddressLimits) -> Result<u64, Code> {
    let space = space::get()?;
    let place = space
        .reserve(ByteCount::new(size))
        .within(limits)
        .build_detached()?;
    // SAFETY: nobody knows of it.
    unsafe { space.free_at(place.address(), 0, FreeRequest::Release) }?;
    Ok(place.address())
}
