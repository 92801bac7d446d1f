//! Frames and windows. Windows: address windowing extensions: `AllocateUserPhysicalPages`, `FreeUserPhysicalPages`,
//! `MapUserPhysicalPages`, `MapUserPhysicalPagesScatter`; windows come from `VirtualAlloc(MEM_RESERVE | MEM_PHYSICAL)`.
//!
//! Any program may have frames, as many as can be committed. Pagekeeper never pages them; the host's swap might.
//!
//! Source: windows-memory-behaviour.md 11.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, maps frames where the caller says"
)]

use core::ffi::c_void;

use crate::constants::{ERROR_INVALID_PARAMETER, PROCESS_VM_OPERATION};
use crate::errors::Code;
use crate::last_error::to_bool;
use crate::system_info::PAGE_SIZE;
use crate::types::{BOOL, HANDLE, ULONG_PTR};
use crate::{memory, process, space};

const BAD: Code = Code(ERROR_INVALID_PARAMETER);

/// `AllocateUserPhysicalPages`, for the own process. May deliver fewer than asked for; the count says how many.
#[unsafe(no_mangle)]
pub extern "C" fn AllocateUserPhysicalPages(
    process: HANDLE,
    count: *mut ULONG_PTR,
    frames: *mut ULONG_PTR,
) -> BOOL {
    to_bool(allocate(process, count, frames))
}

fn allocate(process: HANDLE, count: *mut usize, frames: *mut usize) -> Result<(), Code> {
    process::check_for(process, PROCESS_VM_OPERATION)?;
    memory::check_writable(count)?;
    let wanted = memory::read(count)?;
    if wanted == 0 {
        return Ok(());
    }
    // Where the numbers go is looked at page by page, so that no frame is allocated that nobody would know of.
    let bytes = wanted.checked_mul(size_of::<usize>()).ok_or(BAD)?;
    for offset in (0..bytes).step_by(PAGE_SIZE as usize).chain([bytes - 1]) {
        memory::probe_write(frames.cast::<u8>().wrapping_add(offset))?;
    }
    let found = space::get()?.allocate_frames(wanted)?;
    for (index, frame) in found.iter().enumerate() {
        memory::write(frames.wrapping_add(index), frame)?;
    }
    memory::write(count, &found.len())
}

/// `FreeUserPhysicalPages`, for the own process. On failure the count says how many were freed.
///
/// # Safety
/// Nobody uses memory where the frames are mapped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FreeUserPhysicalPages(
    process: HANDLE,
    count: *mut ULONG_PTR,
    frames: *const ULONG_PTR,
) -> BOOL {
    // SAFETY: passed on.
    to_bool(unsafe { free(process, count, frames) })
}

unsafe fn free(process: HANDLE, count: *mut usize, frames: *const usize) -> Result<(), Code> {
    process::check_for(process, PROCESS_VM_OPERATION)?;
    memory::check_writable(count)?;
    let wanted = memory::read(count)?;
    let numbers = read_all(frames, wanted)?;
    // SAFETY: the caller says that nobody uses the memory.
    let freed = unsafe { space::get()?.free_frames(&numbers) };
    memory::write(count, &freed)?;
    if freed < wanted { Err(BAD) } else { Ok(()) }
}

/// `MapUserPhysicalPages`: frames NULL unmaps.
///
/// # Safety
/// Nobody relies on what is mapped there now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn MapUserPhysicalPages(
    address: *mut c_void,
    count: ULONG_PTR,
    frames: *const ULONG_PTR,
) -> BOOL {
    // SAFETY: passed on.
    to_bool(unsafe { map(address.addr() as u64, count, frames) })
}

unsafe fn map(address: u64, count: usize, frames: *const usize) -> Result<(), Code> {
    let space = space::get()?;
    // More pages than a window has cannot be right, and need not be counted out.
    let window = space.allocation_at(address).ok_or(BAD)?;
    if count as u64 > window.range.count().get() {
        return Err(BAD);
    }
    let numbers = if frames.is_null() {
        vec![0; count]
    } else {
        read_all(frames, count)?
    };
    if !frames.is_null() && numbers.contains(&0) {
        return Err(BAD);
    }
    let places = (0..count as u64).map(|index| address.wrapping_add(index * PAGE_SIZE));
    let wanted: Vec<_> = places.zip(numbers).collect();
    // SAFETY: the caller says that nobody relies on what is there.
    unsafe { space.map_frames(&wanted) }?;
    Ok(())
}

/// `MapUserPhysicalPagesScatter`: an address for each page; a zero frame, or frames NULL, unmaps.
///
/// # Safety
/// As [`MapUserPhysicalPages`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn MapUserPhysicalPagesScatter(
    addresses: *const *mut c_void,
    count: ULONG_PTR,
    frames: *const ULONG_PTR,
) -> BOOL {
    // SAFETY: passed on.
    to_bool(unsafe { scatter(addresses, count, frames) })
}

unsafe fn scatter(
    addresses: *const *mut c_void,
    count: usize,
    frames: *const usize,
) -> Result<(), Code> {
    let mut wanted = Vec::new();
    for index in 0..count {
        let address = memory::read(addresses.wrapping_add(index))?;
        let frame = if frames.is_null() {
            0
        } else {
            memory::read(frames.wrapping_add(index))?
        };
        wanted.push((address.addr() as u64, frame));
    }
    // SAFETY: the caller says that nobody relies on what is there.
    unsafe { space::get()?.map_frames(&wanted) }?;
    Ok(())
}

/// Numbers at an address that may be bad; read one by one, so that a wild count ends where the memory does.
fn read_all(from: *const usize, count: usize) -> Result<Vec<usize>, Code> {
    let mut numbers = Vec::new();
    for index in 0..count {
        numbers.push(memory::read(from.wrapping_add(index))?);
    }
    Ok(numbers)
}
