//! Memory with a handle beside its address, in the process's heap: what `GlobalAlloc` and `LocalAlloc` share.
//!
//! Fixed memory is its own handle. Movable memory has an entry of its own, whose address plus 8 is the handle: as on Windows no
//! address of memory looks like one, and what it points at is the memory's address. The memory itself begins 16 bytes into its
//! block, behind a note of its handle, so that the handle can be had from the address.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: keeps entries in blocks of the process's heap"
)]

use core::ffi::c_void;
use core::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pagekeeper_heap::{Request, ResizeError};

use super::{blocks, table};
use crate::constants::{
    ERROR_DISCARDED, ERROR_INVALID_HANDLE, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_LOCKED, ERROR_SUCCESS,
};
use crate::errors::Code;
use crate::types::HANDLE;

/// Marks entries, and notes before movable memory; mixed with the address.
const MARK: usize = 0x6B65_6570_4D4F_5645;
/// Bytes before movable memory.
const NOTE: usize = 16;

/// What a handle of movable memory leads to. The handle is the address of its second field.
#[repr(C)]
struct Entry {
    mark: usize,
    memory: usize,
    locks: u8,
    discardable: bool,
}

/// One lock for all entries: they change in a moment.
static ENTRIES: Mutex<()> = Mutex::new(());

pub(super) fn entries() -> MutexGuard<'static, ()> {
    ENTRIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is asked of new or resized memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) movable: bool,
    pub(super) zeroed: bool,
    pub(super) discardable: bool,
}

/// What a handle says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) locks: u8,
    pub(super) discarded: bool,
    pub(super) discardable: bool,
}

const BAD: Code = Code(ERROR_INVALID_HANDLE);
const FULL: Code = Code(ERROR_NOT_ENOUGH_MEMORY);

fn mark_of(address: usize) -> usize {
    MARK ^ address
}

/// The entry behind a handle, if it is one of movable memory. The lock of the entries is held.
fn entry<'a>(
    handle: HANDLE,
    _held: &'a mut MutexGuard<'static, ()>,
) -> Result<Option<&'a mut Entry>, Code> {
    if handle.addr().is_multiple_of(16) {
        return Ok(None);
    }
    let address = handle.addr().wrapping_sub(size_of::<usize>());
    let block = ptr::with_exposed_provenance_mut::<Entry>(address);
    if blocks::size_in_process(block.cast()) != Ok(size_of::<Entry>()) {
        return Err(BAD);
    }
    // SAFETY: a block of the process's heap that is as large, at a multiple of 16; only the holder of the lock uses entries.
    let entry = unsafe { &mut *block };
    if entry.mark == mark_of(address) {
        Ok(Some(entry))
    } else {
        Err(BAD)
    }
}

/// Makes memory; its handle.
pub(super) fn allocate(size: usize, wanted: Wanted) -> Result<HANDLE, Code> {
    if !wanted.movable {
        return Ok(blocks::of_process(size, wanted.zeroed)?.as_ptr().cast());
    }
    let block = blocks::of_process(size_of::<Entry>(), true)?.as_ptr();
    let address = block.expose_provenance();
    let handle: HANDLE = ptr::with_exposed_provenance_mut(address + size_of::<usize>());
    // Memory of size 0 is discarded from the beginning.
    let memory = match size {
        0 => 0,
        _ => match with_note(handle, size, wanted.zeroed) {
            Ok(memory) => memory,
            Err(code) => {
                free_block(address)?;
                return Err(code);
            }
        },
    };
    let entry = Entry {
        mark: mark_of(address),
        memory,
        locks: 0,
        discardable: wanted.discardable,
    };
    // SAFETY: a new block of that size, aligned to 16.
    unsafe { block.cast::<Entry>().write(entry) };
    Ok(handle)
}

fn with_note(handle: HANDLE, size: usize, zeroed: bool) -> Result<usize, Code> {
    let block = blocks::of_process(size.checked_add(NOTE).ok_or(FULL)?, zeroed)?;
    note(block.as_ptr(), handle);
    Ok(block.as_ptr().expose_provenance() + NOTE)
}

fn note(block: *mut u8, handle: HANDLE) {
    // SAFETY: a block of the process's heap with room for the note.
    unsafe {
        let words = block.cast::<usize>();
        words.write(handle.expose_provenance());
        words.add(1).write(mark_of(block.addr()));
    }
}

fn free_block(address: usize) -> Result<(), Code> {
    let open = table::of_process()?;
    let block = ptr::with_exposed_provenance_mut(address);
    // SAFETY: the caller gives the block up.
    unsafe { open.blocks().free(block, open.request(0)) }.map_err(|_| BAD)
}

/// The address of the memory; one lock more, if it is movable.
pub(super) fn lock(handle: HANDLE) -> Result<*mut c_void, Code> {
    let mut held = entries();
    match entry(handle, &mut held)? {
        None => blocks::size_in_process(handle.cast())
            .map(|_| handle)
            .map_err(|_| BAD),
        Some(entry) if entry.memory == 0 => Err(Code(ERROR_DISCARDED)),
        Some(entry) => {
            entry.locks = entry.locks.saturating_add(1);
            Ok(ptr::with_exposed_provenance_mut(entry.memory))
        }
    }
}

/// One lock less: whether any is left. The last one gone is a failure without an error, as on Windows.
pub(super) fn unlock(handle: HANDLE) -> Result<(), Code> {
    let mut held = entries();
    match entry(handle, &mut held)? {
        None => Ok(()),
        Some(entry) => {
            entry.locks = entry.locks.checked_sub(1).ok_or(Code(ERROR_NOT_LOCKED))?;
            if entry.locks == 0 {
                Err(Code(ERROR_SUCCESS))
            } else {
                Ok(())
            }
        }
    }
}

/// Frees memory and handle, also when it is locked.
pub(super) fn free(handle: HANDLE) -> Result<(), Code> {
    let mut held = entries();
    let Some(entry) = entry(handle, &mut held)? else {
        return free_block(handle.addr());
    };
    let (address, memory) = (ptr::from_mut(entry).addr(), entry.memory);
    entry.mark = 0;
    if memory != 0 {
        free_block(memory - NOTE)?;
    }
    free_block(address)
}

/// Bytes asked for; 0 for discarded memory.
pub(super) fn size(handle: HANDLE) -> Result<usize, Code> {
    let mut held = entries();
    let block = match entry(handle, &mut held)? {
        None => return blocks::size_in_process(handle.cast()).map_err(|_| BAD),
        Some(entry) if entry.memory == 0 => return Ok(0),
        Some(entry) => entry.memory - NOTE,
    };
    let size = blocks::size_in_process(ptr::with_exposed_provenance(block));
    size.map(|size| size - NOTE).map_err(|_| BAD)
}

/// Locks and more; of fixed memory nothing.
pub(super) fn flags(handle: HANDLE) -> Result<Flags, Code> {
    let mut held = entries();
    let flags = entry(handle, &mut held)?.map(|entry| Flags {
        locks: entry.locks,
        discarded: entry.memory == 0,
        discardable: entry.discardable,
    });
    match flags {
        Some(flags) => Ok(flags),
        None => blocks::size_in_process(handle.cast())
            .map(|_| Flags {
                locks: 0,
                discarded: false,
                discardable: false,
            })
            .map_err(|_| BAD),
    }
}

/// The handle of memory at an address.
pub(super) fn handle_of(memory: *const c_void) -> Result<HANDLE, Code> {
    let mut held = entries();
    let block = memory.cast::<u8>().wrapping_sub(NOTE);
    if blocks::size_in_process(block).is_ok_and(|size| size >= NOTE) {
        // SAFETY: a block of the process's heap with room for the note.
        let (handle, mark) = unsafe {
            let words = block.cast::<usize>();
            (words.read(), words.add(1).read())
        };
        let handle: HANDLE = ptr::with_exposed_provenance_mut(handle);
        let is_its = |entry: Option<&mut Entry>| entry.is_some_and(|e| e.memory == memory.addr());
        if mark == mark_of(block.addr()) && entry(handle, &mut held).is_ok_and(is_its) {
            return Ok(handle);
        }
    }
    blocks::size_in_process(memory.cast())
        .map(|_| memory.cast_mut())
        .map_err(|_| BAD)
}

/// Changes what a handle says of itself, or turns fixed memory into movable; the handle.
pub(super) fn modify(handle: HANDLE, wanted: Wanted) -> Result<HANDLE, Code> {
    {
        let mut held = entries();
        if let Some(entry) = entry(handle, &mut held)? {
            entry.discardable = wanted.discardable;
            return Ok(handle);
        }
    }
    let size = blocks::size_in_process(handle.cast()).map_err(|_| BAD)?;
    if !wanted.movable {
        return Ok(handle);
    }
    let movable = allocate(size, wanted)?;
    if size != 0 {
        let to = lock(movable)?;
        // SAFETY: both are blocks with room for as much, and the new one is nobody's yet.
        unsafe { ptr::copy_nonoverlapping(handle.cast::<u8>(), to.cast::<u8>(), size) };
        let _ = unlock(movable);
    }
    free(handle)?;
    Ok(movable)
}

/// Changes the size; the handle, which is another when fixed memory had to move. Fixed memory moves only where that is allowed, locked
/// memory likewise; size 0 discards movable memory that is not locked.
pub(super) fn resize(handle: HANDLE, size: usize, wanted: Wanted) -> Result<HANDLE, Code> {
    let mut held = entries();
    let Some(entry) = entry(handle, &mut held)? else {
        let moved = resize_block(handle.addr(), size, !wanted.movable, wanted.zeroed)?;
        return Ok(ptr::with_exposed_provenance_mut(moved));
    };
    if size == 0 {
        if entry.locks != 0 {
            return Err(FULL);
        }
        let memory = core::mem::take(&mut entry.memory);
        if memory != 0 {
            free_block(memory - NOTE)?;
        }
        return Ok(handle);
    }
    if entry.memory == 0 {
        entry.memory = with_note(handle, size, wanted.zeroed)?;
        return Ok(handle);
    }
    let whole = size.checked_add(NOTE).ok_or(FULL)?;
    let in_place = entry.locks != 0 && !wanted.movable;
    let block = resize_block(entry.memory - NOTE, whole, in_place, wanted.zeroed)?;
    note(ptr::with_exposed_provenance_mut(block), handle);
    entry.memory = block + NOTE;
    Ok(handle)
}

fn resize_block(block: usize, size: usize, in_place: bool, zeroed: bool) -> Result<usize, Code> {
    let open = table::of_process()?;
    let request = Request {
        zeroed,
        ..open.request(0)
    };
    let pointer = ptr::with_exposed_provenance_mut(block);
    // SAFETY: the caller of the call gives it up while it is resized.
    let moved = unsafe { open.blocks().resize(pointer, size, in_place, request) };
    moved
        .map(|block| block.as_ptr().expose_provenance())
        .map_err(|error| match error {
            ResizeError::NoMemory => FULL,
            ResizeError::Misuse(_) => BAD,
        })
}
